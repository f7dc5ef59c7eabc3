"""Spellings of one name: what differs in case, outer space or Unicode composition alone is the same to people."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping


def folded(text: str) -> str:
    """Return the key under which all spellings of a name are the same.

    Parameters
    ----------
    text : str
        As somebody wrote it.

    Returns
    -------
    str
        E.g. `"Rock "` -> `"rock"`.
    """
    if text.isascii():
        return text.strip().casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def common_spelling(
    names: Iterable[str] | Mapping[str, int], key: Callable[[str], str] = folded
) -> dict[str, str]:
    """Choose one spelling for all that are the same name: the most frequent one.

    Parameters
    ----------
    names : iterable of str, or mapping of str to int
        Names as often as they occur, or how often each does.
    key : callable
        What is the same for spellings of one name.

    Returns
    -------
    dict of str to str
        Each spelling -> the one to show; of two that are equally frequent the first in the order of the alphabet.
    """
    counts = Counter(names)
    chosen: dict[str, str] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        chosen.setdefault(key(name), name)
    return {name: chosen[key(name)] for name in counts}


def counted(names: Iterable[str] | Mapping[str, int]) -> Counter[str]:
    """Count names, all spellings of one together.

    Parameters
    ----------
    names : iterable of str, or mapping of str to int
        Names as often as they occur, or how often each does.

    Returns
    -------
    Counter of str
        Under the spellings that `common_spelling` chooses.
    """
    given, out = Counter(names), Counter[str]()
    for name, chosen in common_spelling(given).items():
        out[chosen] += given[name]
    return out
