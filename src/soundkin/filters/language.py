"""Filters as people type them.

    genre=samba,salsa and (year>=1990 or not liked)

A value ends where `and` or `or` begins another condition, so "artist=Simon and Garfunkel" needs no quotes; quotes
take a value letter by letter.
"""

import contextlib
import difflib
import fnmatch
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import NoReturn

from soundkin.errors import InputError
from soundkin.filters.nodes import FIELDS, And, Filter, HasId, Match, Not, Or, Range
from soundkin.filters.spelling import folded

FLAGS = ("liked", "disliked", "played", "never-played")
"""Words that say what a person did with a track; they need no value."""

_PATH = "path"
_CONDITIONS = (*FIELDS, _PATH, *FLAGS)
_DEEPEST = 50  # parentheses and `not` inside each other
_LONGEST = 10_000  # characters

_WORD = r"[A-Za-z]+(?:-[A-Za-z]+)*"
_TERM = re.compile(rf"\s*({_WORD})\s*(!=|>=|<=|=|<|>)")
_BARE = re.compile(rf"\s*({_WORD})(?=[\s)]|$)")
_BEGINS = rf"(?:not\b\s*|\(\s*)*(?:{_WORD}\s*(?:[!<>]?=|[<>])|(?:{'|'.join(FLAGS)})(?![^\s)]))"
_NEXT = re.compile(rf"\s+(?:and|or)\b\s*(?:{_BEGINS})", re.IGNORECASE)
_QUOTED = re.compile(r'\s*"([^"]*)"(?=\s|,|\)|$)')
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):(?=\d\d:))?(\d+):([0-5]\d(?:\.\d+)?)", re.ASCII)
_AGO = re.compile(r"(\d+(?:\.\d+)?)([hdwy])", re.ASCII)
_SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0, "y": 365.25 * 86_400.0}
_KEY = re.compile(r"([A-Ga-g])([#b]?) *(|m|M|[Mm]in|[Mm]inor|[Mm]aj|[Mm]ajor)", re.ASCII)
_CODECS = {
    "ogg": ("vorbis", "opus", "flac", "speex"), "oga": ("vorbis", "opus", "flac"), "m4a": ("aac", "alac"),
    "m4b": ("aac", "alac"), "mp4": ("aac", "alac", "mp3"), "wma": ("wmav1", "wmav2", "wmapro", "wmalossless"),
    "wv": ("wavpack",), "aif": ("aiff",), "webm": ("opus", "vorbis"), "mka": ("opus", "vorbis", "aac", "flac"),
}  # fmt: skip
"""Suffix of a file -> what may be in it, as a library calls it."""
_DATE = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?", re.ASCII)

Known = Callable[[str], Collection[str]]
Ids = Callable[[str, str], Collection[int]]


def _nobody(field: str, value: str) -> Collection[int]:
    return ()


class Values(tuple[str, ...]):
    """The values that a field has, which are folded once for however many filters."""

    @cached_property
    def spellings(self) -> dict[str, list[str]]:
        """Folded value -> how tracks spell it."""
        found: dict[str, list[str]] = {}
        for spelling in self:
            found.setdefault(folded(spelling), []).append(spelling)
        return found


def parse(texts: Sequence[str], known_values: Known, ids_of: Ids = _nobody) -> Filter | None:
    """Read filters as people type them; a track must pass all of them.

    `genre=samba`, `genre=samba,salsa` (either), `artist!=Chayanne`, `year>=1990`, `duration<9:30`,
    `bpm=118..124` (both ends included; either may be left out), `year=1990,2001..2005`, `added>=2025-01-31`,
    `added<7d` (an age: in the last seven days), `path=*/Live/*`, `liked`, `never-played`; joined by `and`, `or`,
    `not` and parentheses.

    Parameters
    ----------
    texts : sequence of str
        The filters. Numbers are in the unit of `FIELDS`; durations may be m:ss or h:mm:ss, `added` a year, month or
        day of local time, or an age like 12h, 7d, 2w or 1y, of which the smaller is the later.
    known_values : callable
        Given a text field, the distinct values tracks have in it (a mapping's keys will do); given "path", names of
        folders. What is typed finds every spelling that differs only in case, so that an index need only match exactly.
    ids_of : callable, optional
        Given one of `FLAGS` and "", or "path" and a pattern for `glob`, the point ids of the tracks it holds for.

    Returns
    -------
    Filter or None
        None if `texts` is empty.

    Raises
    ------
    InputError
        An unknown field, an operator the field does not have, not a number, or a value that no track has; the
        message lists the nearest valid ones.
    """
    parts = tuple(_Reader(text, known_values, ids_of).whole() for text in texts)
    if len(parts) > 1:
        return And(parts)
    return parts[0] if parts else None


def glob(pattern: str) -> Callable[[str], bool]:
    """Make a test of paths from a pattern.

    Parameters
    ----------
    pattern : str
        A file or folder, in which `*` stands for anything (also for several folders), `?` for a character and `[ab]`
        for one of several. A folder stands for all that is below it. Unless it begins at the root, it may begin at
        any folder. Case does not matter.

    Returns
    -------
    callable
        Given a path, whether it is the file, or in the folder, that the pattern names.

    Examples
    --------
    >>> live = glob("live/*.flac")
    >>> live("/music/Live/1.flac"), live("/music/Alive/1.flac"), glob("/music")("/music/Live/1.flac")
    (True, False, True)
    """
    plain = folded(pattern.replace("\\", "/")).rstrip("/")
    inner = re.sub(r"\\[zZ]$", "", fnmatch.translate(plain))
    begins = "" if plain.startswith(("/", "*")) or re.match("[a-z]:", plain) else "(?:.*/)?"
    whole = re.compile(rf"(?s:{begins}){inner}(?s:/.*)?")
    return lambda path: whole.fullmatch(folded(path.replace("\\", "/"))) is not None


class _Reader:
    """Reads one text from left to right.

    Parameters
    ----------
    text : str
        What was typed.
    known_values, ids_of : callable
        As for `parse`.
    """

    def __init__(self, text: str, known_values: Known, ids_of: Ids) -> None:
        self.text, self.at, self.groups, self.depth = text, 0, 0, 0
        self.known_values, self.ids_of = known_values, ids_of

    def whole(self) -> Filter:
        if len(self.text) > _LONGEST:
            raise InputError(f"filter of {len(self.text)} characters: wanted {_LONGEST} at most")
        where = self.alternatives()
        if rest := self.text[self.at :].strip():
            self.refuse(f"wanted `and` or `or` before {rest!r}")
        return where

    def alternatives(self) -> Filter:
        parts = [self.conditions()]
        while self.takes(r"or\b"):
            parts.append(self.conditions())
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def conditions(self) -> Filter:
        parts = [self.condition()]
        while self.takes(r"and\b"):
            parts.append(self.condition())
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def condition(self) -> Filter:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise InputError(
                f"filter: more than {_DEEPEST} parentheses and `not` inside each other; use fewer"
            )
        if self.takes(r"not(?=[\s(])"):
            where: Filter = Not(self.condition())
        elif self.takes(r"\("):
            self.groups += 1
            where = self.alternatives()
            self.groups -= 1
            if not self.takes(r"\)"):
                self.refuse("a parenthesis is not closed (put values with parentheses in quotes)")
        else:
            where = self.term()
        self.depth -= 1
        return where

    def takes(self, pattern: str) -> bool:
        found = re.compile(rf"\s*{pattern}", re.IGNORECASE).match(self.text, self.at)
        if found:
            self.at = found.end()
        return found is not None

    def term(self) -> Filter:
        begin = self.at
        found = _TERM.match(self.text, self.at)
        if not found:
            return self.flag()
        self.at = found.end()
        field, operator, value = found[1].lower(), found[2], self.value().strip()
        text = self.text[begin : self.at].strip()
        if field in FLAGS:
            raise InputError(f"filter {text!r}: {field} takes no value; write {field}, or not {field}")
        if field not in _CONDITIONS:
            raise InputError(f"filter {text!r}: no field {field!r}; {_suggest(field, _CONDITIONS)}")
        if not value:
            self.refuse("wanted FIELD=VALUE, FIELD!=VALUE or FIELD>=NUMBER, like year>=1990")
        if FIELDS.get(field) == "number":
            return _parse_numbers(text, field, operator, value)
        if operator not in ("=", "!="):
            raise InputError(
                f"filter {text!r}: {field} is text and has no order; use {field}=... or {field}!=..."
            )
        where = self.files(text, value) if field == _PATH else self.words(text, field, value)
        return Not(where) if operator == "!=" else where

    def flag(self) -> Filter:
        found = _BARE.match(self.text, self.at)
        name = found[1].lower() if found else ""
        if not found or name not in FLAGS:
            near = f"{name} wants a value" if name in _CONDITIONS else _suggest(name, _CONDITIONS)
            got = f", got {self.text[self.at :].strip()!r}; {near}" if name else ""
            self.refuse(f"wanted FIELD=VALUE, FIELD>=NUMBER or a word like liked{got}")
        self.at = found.end()
        if name == "never-played":
            return Not(HasId(frozenset(self.ids_of("played", ""))))
        return HasId(frozenset(self.ids_of(name, "")))

    def value(self) -> str:
        """Take the text of a value: up to the next condition, or to the end of the group it stands in."""
        begin, end, inside, first = self.at, self.at, 0, True
        while end < len(self.text):
            quoted = _QUOTED.match(self.text, end) if first else None
            if quoted:
                end, first = quoted.end(), False
                continue
            letter = self.text[end]
            if letter == ")" and not inside and self.groups:
                break
            inside += (letter == "(") - (letter == ")" and inside > 0)
            if letter.isspace() and _NEXT.match(self.text, end):
                break
            first = letter == "," or (first and letter.isspace())
            end += 1
        self.at = end
        return self.text[begin:end]

    def words(self, text: str, field: str, value: str) -> Filter:
        return Match(field, tuple(_resolve(text, field, value, self.known_values(field))))

    def files(self, text: str, value: str) -> Filter:
        quoted = _QUOTED.fullmatch(value)
        pattern = quoted[1] if quoted else value
        ids = frozenset(self.ids_of(_PATH, pattern))
        if not ids:
            names = list(self.known_values(_PATH))
            near = _suggest(pattern.strip("*/"), map(folded, names), {folded(name): [name] for name in names})
            raise InputError(f"filter {text!r}: no track is at such a path; {near}")
        return HasId(ids)

    def refuse(self, wanted: str) -> NoReturn:
        raise InputError(f"filter {self.text!r}: {wanted}")


def _resolve(text: str, field: str, value: str, known: Iterable[str]) -> list[str]:
    """Turn typed values into the spellings tracks have; a comma inside a known value is part of it."""
    spellings = (known if isinstance(known, Values) else Values(known)).spellings
    pieces, resolved, start = value.split(","), list[str](), 0
    while start < len(pieces):
        # the longest run of pieces that is a known value: "Earth, Wind & Fire,ABBA" names two artists
        for end in range(len(pieces), start, -1):
            run = ",".join(pieces[start:end])
            quoted = _QUOTED.fullmatch(run.strip())
            same = spellings.get(folded(run)) or (spellings.get(folded(quoted[1])) if quoted else None)
            if field == "key" and not same:
                same = [
                    spelling for each in spellings.values() for spelling in each if _is_key(run, spelling)
                ]
            if same:
                resolved += same
                start = end
                break
        else:
            piece = pieces[start].strip()
            raise InputError(
                f"filter {text!r}: no track has {field} {piece!r}; "
                + (_suggest_codec(field, piece, spellings) or _suggest(piece, spellings, spellings))
            )
    return resolved


def _is_key(typed: str, key: str) -> bool:
    """Tell whether what was typed, like Am, C, F#m or "db major", is a key, whatever its black keys are called."""
    one, other = _KEY.fullmatch(typed.strip()), _KEY.fullmatch(key.strip())
    if not one or not other:
        return False
    return _pitch(one) == _pitch(other) and _is_minor(one) == _is_minor(other)


def _pitch(key: re.Match[str]) -> int:
    return ("C D EF G A B".index(key[1].upper()) + {"#": 1, "b": -1}.get(key[2], 0)) % 12


def _is_minor(key: re.Match[str]) -> bool:
    return key[3] == "m" or key[3].lower().startswith("min")


def _suggest_codec(field: str, got: str, known: Collection[str]) -> str:
    """Say what people mean by the suffix of a file; "" when it is none, or no track is of that kind."""
    codecs = [codec for codec in _CODECS.get(folded(got).lstrip("."), ()) if codec in known]
    return f"a format is a codec: format={','.join(codecs)}" if field == "format" and codecs else ""


def _suggest(got: str, valid: Iterable[str], spellings: Mapping[str, list[str]] | None = None) -> str:
    """Name up to five valid words near what was typed, else some of them."""
    choices = list(valid)
    wanted = folded(got)
    near = [choice for choice in choices if wanted and wanted in choice][:5]
    near = near or difflib.get_close_matches(wanted, choices, n=5, cutoff=0.5)
    if not near and len(choices) > len(_CONDITIONS):  # of many the first are no help
        by_word = {word: choice for choice in choices for word in choice.split()}
        words_near = difflib.get_close_matches(wanted, by_word, n=5, cutoff=0.45)
        near = list(dict.fromkeys(by_word[word] for word in words_near))
    shown = near or sorted(choices)[: len(_CONDITIONS)]
    words = ", ".join(" ".join((spellings[word][0] if spellings else word).split()) for word in shown)
    if not words:
        return "no track has a value there"
    return f"nearest: {words}" if near else f"known: {words}{' ...' if len(choices) > len(shown) else ''}"


def _parse_numbers(text: str, field: str, operator: str, value: str) -> Filter:
    if operator not in ("=", "!="):
        if _is_age(field, value.strip()):  # what is younger came later
            operator = operator.translate(str.maketrans("<>", "><"))
        least, most = _span(text, field, value)
        # of a day, "after" begins when it is over
        bound = {">": ("gt", most), ">=": ("gte", least), "<": ("lt", least), "<=": ("lte", most)}[operator]
        return Range(field, **dict([bound]))
    ranges = list[Range]()
    for piece in value.split(","):
        first, dots, last = (part.strip() for part in piece.partition(".."))
        if not dots and _is_age(field, first):
            raise InputError(
                f"filter {text!r}: {first} ago is one moment; wanted added<{first} (later) or added>{first} (before)"
            )
        if all(not end or _is_age(field, end) for end in (first, last)):
            ends = (last, first)  # the greater age is the earlier moment, in whichever order they come
            first, last = sorted(ends, key=_age, reverse=True) if first and last else ends
        low = _span(text, field, first)[0] if first or not dots else None
        high = _span(text, field, last or first)[1] if last or not dots else None
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            raise InputError(
                f"filter {text!r}: {piece.strip()!r} is no range; give LOW..HIGH, like bpm=118..124"
            )
        ranges.append(Range(field, gte=low, lte=high))
    either = ranges[0] if len(ranges) == 1 else Or(tuple(ranges))
    return Not(either) if operator == "!=" else either


def _is_age(field: str, value: str) -> bool:
    """Tell whether a value says how long ago, and not when."""
    return field == "added" and _AGO.fullmatch(value) is not None


def _age(value: str) -> float:
    """Return what an age is in seconds; 0 for what is none."""
    found = _AGO.fullmatch(value)
    return float(found[1]) * _SECONDS[found[2]] if found else 0.0


def _span(text: str, field: str, value: str) -> tuple[float, float]:
    """Read a number: the least and the greatest that is meant, which differ only for a day, month or year."""
    value = value.strip()
    if field == "added":
        with contextlib.suppress(ValueError, OverflowError, OSError):
            return _times(value)
    if _NUMBER.fullmatch(value):
        return float(value), float(value)
    clock = _CLOCK.fullmatch(value) if field == "duration" else None
    if clock:
        hours, minutes, seconds = map(float, clock.groups(default="0"))
        return (total := hours * 3600 + minutes * 60 + seconds), total
    wanted, like = {
        "duration": ("seconds or m:ss", "duration>=120"),
        "added": ("a date, or how long ago", "added>=2026-11-01, or added<7d for the last 7 days"),
    }.get(field, ("a number", f"{field}>={_EXAMPLES.get(field, '120')}"))
    raise InputError(f"filter {text!r}: {field} wants {wanted}, got {value!r}; like {like}")


def _times(value: str) -> tuple[float, float]:
    """Read a time: its first and last second, which are one for a moment; raise ValueError for what is none."""
    if _AGO.fullmatch(value):
        return (moment := time.time() - _age(value)), moment
    found = _DATE.fullmatch(value)
    if not found:
        return (moment := datetime.fromisoformat(value).timestamp()), moment
    year, month, day = (int(part) if part else 0 for part in found.groups())
    first = datetime(year, month or 1, day or 1)
    after = (
        first + timedelta(days=1)
        if day
        else datetime(year + (month in (0, 12)), month % 12 + 1 if month else 1, 1)
    )
    return first.timestamp(), after.timestamp() - 1


_EXAMPLES = {"year": "1990", "energy": "0.5", "loudness": "-14"}
