"""What mixes are made of: moods as computed values, and a length in time."""

import difflib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError
from soundkin.filters import And, Filter, HasId, Match, Range
from soundkin.record.rows import fold

T = TypeVar("T")

MOODS: dict[str, tuple[str, ...]] = {
    "calm": ("energy<=30%",),
    "quiet": ("loudness<=30%",),
    "sleep": ("energy<=15%", "loudness<=50%"),
    "focus": ("energy<=50%", "duration>=120"),
    "slow": ("bpm<=30%",),
    "fast": ("bpm>=70%",),
    "loud": ("loudness>=70%",),
    "energetic": ("energy>=70%",),
    "party": ("energy>=50%", "bpm>=100", "bpm<=140"),
    "workout": ("energy>=70%", "bpm>=115"),
    "happy": ("key major", "energy>=50%"),
    "bright": ("key major",),
    "sad": ("key minor", "energy<=50%"),
    "dark": ("key minor",),
}
"""Words for moods, and what they ask of the computed values; a percentage is that quantile of the library's own."""


def mood(
    words: Sequence[str], values_of: Callable[[str], NDArray[np.float64]], keys: Sequence[str]
) -> Filter | None:
    """Turn words for moods into a filter; a track must fit all of them.

    Parameters
    ----------
    words : sequence of str
        Keys of `MOODS`, in any case.
    values_of : callable
        Given "energy", "bpm" or "loudness", the values that the tracks of the library have, float64 (n,).
    keys : sequence of str
        The keys that tracks are in, like "A minor".

    Returns
    -------
    Filter or None
        None when there are no words.

    Raises
    ------
    InputError
        No such word; the message lists the nearest.
    """
    parts = [_condition(condition, values_of, keys) for word in words for condition in _meaning(word)]
    return And(tuple(parts)) if parts else None


def _meaning(word: str) -> tuple[str, ...]:
    found = MOODS.get(fold(word))
    if found is None:
        near = difflib.get_close_matches(fold(word), MOODS, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(sorted(MOODS))}"
        raise InputError(f"mood {word!r}: no such word; {hint}")
    return found


def _condition(
    condition: str, values_of: Callable[[str], NDArray[np.float64]], keys: Sequence[str]
) -> Filter:
    nothing = HasId(frozenset())
    if condition.startswith("key "):
        wanted = tuple(key for key in keys if key.endswith(condition.removeprefix("key")))
        return Match("key", wanted) if wanted else nothing
    field, sign, text = condition.partition("<=" if "<=" in condition else ">=")
    if not text.endswith("%"):
        bound = float(text)
    else:
        values = values_of(field)
        if not len(values):
            return nothing
        bound = float(np.quantile(values, float(text[:-1]) / 100))
    return Range(field, lte=bound) if sign == "<=" else Range(field, gte=bound)


def cut(tracks: Sequence[T], seconds_of: Callable[[T], float], length: float) -> list[T]:
    """Take tracks in their order until they fill a length.

    Parameters
    ----------
    tracks : sequence
        The best first.
    seconds_of : callable
        How long one is.
    length : float
        Seconds to fill.

    Returns
    -------
    list
        One that would make it too long is passed over for a later one that fits; as near to the length as that gets,
        and never farther beyond it than below it without the last one.
    """
    taken, total = list[T](), 0.0
    for track in tracks:
        seconds = max(seconds_of(track), 1.0)
        over = total + seconds - length
        if over <= 0 or over < length - total:
            taken.append(track)
            total += seconds
        if total >= length:
            break
    return taken
