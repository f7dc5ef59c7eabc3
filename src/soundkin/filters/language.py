"""Filters as people type them.

    genre=samba,salsa and (year>=1990 or not liked)

A value ends where `and` or `or` begins another condition, so "artist=Simon and Garfunkel" needs no quotes; quotes
take a value letter by letter.
"""

import difflib
import fnmatch
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NoReturn

from soundkin.errors import InputError
from soundkin.filters.nodes import FIELDS, And, Filter, HasId, Match, Not, Or, Range

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
_DATE = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?", re.ASCII)

Known = Callable[[str], Collection[str]]
Ids = Callable[[str, str], Collection[int]]


def _nobody(field: str, value: str) -> Collection[int]:
    return ()


def parse(texts: Sequence[str], known_values: Known, ids_of: Ids = _nobody) -> Filter | None:
    """Read filters as people type them; a track must pass all of them.

    `genre=samba`, `genre=samba,salsa` (either), `artist!=Chayanne`, `year>=1990`, `duration<9:30`,
    `bpm=118..124` (both ends included; either may be left out), `year=1990,2001..2005`, `added>=2025-01-31`,
    `path=*/Live/*`, `liked`, `never-played`; joined by `and`, `or`, `not` and parentheses.

    Parameters
    ----------
    texts : sequence of str
        The filters. Numbers are in the unit of `FIELDS`; durations may be m:ss or h:mm:ss, `added` a year, month or
        day of local time.
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
    plain = _fold(pattern.replace("\\", "/")).rstrip("/")
    inner = re.sub(r"\\[zZ]$", "", fnmatch.translate(plain))
    begins = "" if plain.startswith(("/", "*")) or re.match("[a-z]:", plain) else "(?:.*/)?"
    whole = re.compile(rf"(?s:{begins}){inner}(?s:/.*)?")
    return lambda path: whole.fullmatch(_fold(path.replace("\\", "/"))) is not None


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
            got = f", got {self.text[self.at :].strip()!r}; {_suggest(name, _CONDITIONS)}" if name else ""
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
            near = _suggest(pattern.strip("*/"), map(_fold, names), {_fold(name): [name] for name in names})
            raise InputError(f"filter {text!r}: no track is at such a path; {near}")
        return HasId(ids)

    def refuse(self, wanted: str) -> NoReturn:
        raise InputError(f"filter {self.text!r}: {wanted}")


def _resolve(text: str, field: str, value: str, known: Iterable[str]) -> list[str]:
    """Turn typed values into the spellings tracks have; a comma inside a known value is part of it."""
    spellings: dict[str, list[str]] = {}
    for spelling in known:
        spellings.setdefault(_fold(spelling), []).append(spelling)
    pieces, resolved, start = value.split(","), list[str](), 0
    while start < len(pieces):
        # the longest run of pieces that is a known value: "Earth, Wind & Fire,ABBA" names two artists
        for end in range(len(pieces), start, -1):
            run = ",".join(pieces[start:end])
            quoted = _QUOTED.fullmatch(run.strip())
            same = spellings.get(_fold(run)) or (spellings.get(_fold(quoted[1])) if quoted else None)
            if same:
                resolved += same
                start = end
                break
        else:
            piece = pieces[start].strip()
            raise InputError(
                f"filter {text!r}: no track has {field} {piece!r}; {_suggest(piece, spellings, spellings)}"
            )
    return resolved


def _fold(text: str) -> str:
    """Key under which spellings that differ in case, outer space or Unicode composition are the same."""
    if text.isascii():
        return text.strip().casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def _suggest(got: str, valid: Iterable[str], spellings: Mapping[str, list[str]] | None = None) -> str:
    """Name up to five valid words near what was typed, else some of them."""
    choices = list(valid)
    near = difflib.get_close_matches(_fold(got), choices, n=5, cutoff=0.5)
    shown = near or sorted(choices)[: len(_CONDITIONS)]
    words = ", ".join(" ".join((spellings[word][0] if spellings else word).split()) for word in shown)
    if not words:
        return "no track has a value there"
    return f"nearest: {words}" if near else f"known: {words}{' ...' if len(choices) > len(shown) else ''}"


def _parse_numbers(text: str, field: str, operator: str, value: str) -> Filter:
    if operator not in ("=", "!="):
        first, after = _span(text, field, value)
        if operator in (">", "<="):  # beyond the whole day that was named, or up to its end
            if after is not None:
                return Range(field, gte=after) if operator == ">" else Range(field, lt=after)
            return Range(field, gt=first) if operator == ">" else Range(field, lte=first)
        return Range(field, gte=first) if operator == ">=" else Range(field, lt=first)
    ranges = list[Range]()
    for piece in value.split(","):
        first_text, dots, last_text = (part.strip() for part in piece.partition(".."))
        low, _ = _span(text, field, first_text) if first_text or not dots else (None, None)
        high, after = (
            _span(text, field, last_text if dots else first_text) if last_text or not dots else (None, None)
        )
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            raise InputError(
                f"filter {text!r}: {piece.strip()!r} is no range; give LOW..HIGH, like bpm=118..124"
            )
        ranges.append(Range(field, gte=low, lte=None if after is not None else high, lt=after))
    either = ranges[0] if len(ranges) == 1 else Or(tuple(ranges))
    return Not(either) if operator == "!=" else either


def _span(text: str, field: str, value: str) -> tuple[float, float | None]:
    """Read a number, or when a day, month or year begins and when it is over."""
    found = _DATE.fullmatch(value.strip()) if field == "added" else None
    if found is None:
        return _number(text, field, value), None
    year, month, day = (int(part) if part else None for part in found.groups())
    try:
        first = date(year or 0, month or 1, day or 1)
        if day:
            after = first + timedelta(days=1)
        else:
            after = date(first.year + (month in (None, 12)), 1 if month in (None, 12) else first.month + 1, 1)
        begin, end = (datetime(d.year, d.month, d.day).timestamp() for d in (first, after))
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"filter {text!r}: there is no date {value.strip()!r}; like added>=2025-01-31"
        ) from error
    return begin, end


def _number(text: str, field: str, value: str) -> float:
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return float(value)
    clock = _CLOCK.fullmatch(value) if field == "duration" else None
    if clock:
        hours, minutes, seconds = clock.groups(default="0")
        return float(hours) * 3600 + float(minutes) * 60 + float(seconds)
    wanted = {"duration": "seconds or m:ss", "added": "a date like 2025-01-31"}.get(field, "a number")
    raise InputError(
        f"filter {text!r}: {field} wants {wanted}, got {value!r}; like {_EXAMPLES.get(field, field + '>=120')}"
    )


_EXAMPLES = {
    "added": "added>=2025-01-31",
    "year": "year>=1990",
    "energy": "energy>=0.5",
    "loudness": "loudness>=-14",
}
