"""Filters on what is known of a track, such as `genre=samba` or `year>=1990`, as a small tree.

`parse` reads what people type, `matches` says what a filter means. The indexes translate the same tree into
their engine's own filters, and the tests hold them to `matches`.
"""

import contextlib
import difflib
import math
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from soundkin.errors import InputError

FIELDS: dict[str, str] = {
    "genre": "text",
    "subgenre": "text",
    "artist": "text",
    "album": "text",
    "title": "text",
    "key": "text",
    "format": "text",
    "year": "number",
    "duration": "number",
    "bpm": "number",
    "energy": "number",
    "added": "number",
}
"""Field people filter by -> its kind. Units: duration s, bpm beats/min, energy 0..1, added unix s."""

_PAYLOAD_KEYS = {"subgenre": "subgenres", "title": "name"}
_TERM = re.compile(r"\s*([A-Za-z]+)\s*(!=|>=|<=|=|<|>)(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_AGO = re.compile(r"(\d+(?:\.\d+)?)([hdwy])", re.ASCII)
_SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0, "y": 365.25 * 86_400.0}
_CODECS = {
    "ogg": ("vorbis", "opus", "flac", "speex"), "oga": ("vorbis", "opus", "flac"), "m4a": ("aac", "alac"),
    "m4b": ("aac", "alac"), "mp4": ("aac", "alac", "mp3"), "wma": ("wmav1", "wmav2", "wmapro", "wmalossless"),
    "wv": ("wavpack",), "aif": ("aiff",), "webm": ("opus", "vorbis"), "mka": ("opus", "vorbis", "aac", "flac"),
}  # fmt: skip
"""Suffix of a file -> what may be in it, as a library calls it."""
_CLOCK = re.compile(r"(?:(\d+):(?=\d\d:))?(\d+):([0-5]\d(?:\.\d+)?)", re.ASCII)


def payload_key(field: str) -> str:
    """Name under which an index keeps a field.

    Parameters
    ----------
    field : str
        A key of `FIELDS`.

    Returns
    -------
    str
        The key in the payload of a point.
    """
    return _PAYLOAD_KEYS.get(field, field)


def clean_text(text: str) -> str:
    """Text that can be written as UTF-8.

    File names may hold bytes that are no text, which Python keeps as lone surrogates; the engines refuse
    those.

    Parameters
    ----------
    text : str
        Any string.

    Returns
    -------
    str
        The same string with each lone surrogate replaced by "?".
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Match:
    """A text field is one of some values, letter by letter; a field with several values needs one of them.

    Parameters
    ----------
    field : str
        A text field of `FIELDS`.
    values : tuple of str
        At least one value.

    Raises
    ------
    InputError
        The field is not a text field, or there is no value.
    """

    field: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        _expect_kind(self.field, "text")
        if isinstance(self.values, str) or not self.values:
            raise InputError(
                f"filter on {self.field}: got {self.values!r}, wanted a tuple of values; give one or more"
            )
        object.__setattr__(self, "values", tuple(dict.fromkeys(map(clean_text, self.values))))


@dataclass(frozen=True, slots=True)
class Range:
    """A number field lies between bounds; a track without the number does not match.

    Parameters
    ----------
    field : str
        A number field of `FIELDS`.
    gt, gte, lt, lte : float, optional
        Bounds in the field's unit: greater, greater or equal, less, less or equal. At least one.

    Raises
    ------
    InputError
        The field is not a number field, no bound is given, or a bound is not finite.
    """

    field: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def __post_init__(self) -> None:
        _expect_kind(self.field, "number")
        bounds = [bound for bound in (self.gt, self.gte, self.lt, self.lte) if bound is not None]
        if not bounds or not all(map(math.isfinite, bounds)):
            raise InputError(
                f"filter on {self.field}: got bounds {bounds}, wanted finite numbers; give one or more"
            )


@dataclass(frozen=True, slots=True)
class HasId:
    """The track is one of these.

    Parameters
    ----------
    ids : frozenset of int
        Point ids; none at all matches nothing.
    """

    ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a filter: `Not(Match("artist", ...))` also matches tracks without an artist.

    Parameters
    ----------
    part : Filter
        What must not hold.
    """

    part: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    """All of some filters hold.

    Parameters
    ----------
    parts : tuple of Filter
        At least one.

    Raises
    ------
    InputError
        There is no part.
    """

    parts: tuple["Filter", ...]

    def __post_init__(self) -> None:
        _expect_parts(self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of some filters holds.

    Parameters
    ----------
    parts : tuple of Filter
        At least one.

    Raises
    ------
    InputError
        There is no part.
    """

    parts: tuple["Filter", ...]

    def __post_init__(self) -> None:
        _expect_parts(self.parts)


Filter: TypeAlias = Match | Range | HasId | Not | And | Or


def _expect_kind(field: str, kind: str) -> None:
    if FIELDS.get(field) != kind:
        fields = ", ".join(name for name, its in FIELDS.items() if its == kind)
        raise InputError(f"filter on {field!r}: wanted a {kind} field; use one of {fields}")


def _expect_parts(parts: Sequence[Filter]) -> None:
    # an engine reads an empty "or" as "anything", arithmetic reads it as "nothing": refuse to choose
    if not parts:
        raise InputError(
            "filter without parts: and/or want one or more filters; leave the filter out instead"
        )


def matches(where: Filter, payload: Mapping[str, Any], point_id: int) -> bool:
    """Whether a point passes a filter: the meaning that every index must give it.

    Parameters
    ----------
    where : Filter
        The filter.
    payload : Mapping
        Payload of the point: strings, lists of strings or numbers; unknown values are absent.
    point_id : int
        Id of the point.

    Returns
    -------
    bool
        True if the point passes.
    """
    match where:
        case Match(field, values):
            have = payload.get(payload_key(field), ())
            return have in values if isinstance(have, str) else any(value in values for value in have)
        case Range(field, gt, gte, lt, lte):
            number = payload.get(payload_key(field))
            return (
                number is not None
                and (gt is None or number > gt)
                and (gte is None or number >= gte)
                and (lt is None or number < lt)
                and (lte is None or number <= lte)
            )
        case HasId(ids):
            return point_id in ids
        case Not(part):
            return not matches(part, payload, point_id)
        case And(parts):
            return all(matches(part, payload, point_id) for part in parts)
        case Or(parts):
            return any(matches(part, payload, point_id) for part in parts)


def parse(texts: Sequence[str], known_values: Callable[[str], Collection[str]]) -> Filter | None:
    """Read filters as people type them; a track must pass all of them.

    `genre=samba`, `genre=samba,salsa` (either), `artist!=Chayanne`, `year>=1990`, `duration<9:30`,
    `added>7d` (not more than a week ago), `bpm=118..124` (both ends
    included; either may be left out), `year=1990,2001..2005`.

    Parameters
    ----------
    texts : sequence of str
        The filters. Numbers are in the unit of `FIELDS`; durations may be m:ss or h:mm:ss, and `added` a day
        (2026-11-01), a moment (2026-11-01T18:00), both in local time, or how long ago (12h, 7d, 2w, 1y).
    known_values : callable
        Given a text field, the distinct values tracks have in it (a mapping's keys will do). What is typed
        finds every spelling that differs only in case, so that an index need only match exactly.

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
    parts = tuple(_parse_one(text, known_values) for text in texts)
    if len(parts) > 1:
        return And(parts)
    return parts[0] if parts else None


def _parse_one(text: str, known_values: Callable[[str], Collection[str]]) -> Filter:
    found = _TERM.fullmatch(text)
    if not found or not found[3].strip():
        raise InputError(
            f"filter {text!r}: wanted FIELD=VALUE, FIELD!=VALUE or FIELD>=NUMBER, like year>=1990"
        )
    field, operator, value = found[1].lower(), found[2], found[3].strip()
    if field not in FIELDS:
        raise InputError(f"filter {text!r}: no field {field!r}; {_suggest(field, FIELDS)}")
    if FIELDS[field] == "number":
        return _parse_numbers(text, field, operator, value)
    if operator not in ("=", "!="):
        raise InputError(
            f"filter {text!r}: {field} is text and has no order; use {field}=... or {field}!=..."
        )
    match = Match(field, tuple(_resolve(text, field, value, known_values(field))))
    return Not(match) if operator == "!=" else match


def _resolve(text: str, field: str, value: str, known: Iterable[str]) -> list[str]:
    """Turn typed values into the spellings tracks have; a comma inside a known value is part of it."""
    spellings: dict[str, list[str]] = {}
    for spelling in known:
        spellings.setdefault(_fold(spelling), []).append(spelling)
    pieces, resolved, start = value.split(","), list[str](), 0
    while start < len(pieces):
        # the longest run of pieces that is a known value: "Earth, Wind & Fire,ABBA" names two artists
        for end in range(len(pieces), start, -1):
            same = spellings.get(_fold(",".join(pieces[start:end])))
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


def _fold(text: str) -> str:
    """Key under which spellings that differ in case, outer space or Unicode composition are the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def _suggest_codec(field: str, got: str, known: Collection[str]) -> str:
    """Say what people mean by the suffix of a file; "" when it is none, or no track is of that kind."""
    codecs = [codec for codec in _CODECS.get(_fold(got).lstrip("."), ()) if codec in known]
    return f"a format is a codec: format={','.join(codecs)}" if field == "format" and codecs else ""


def _suggest(got: str, valid: Iterable[str], spellings: Mapping[str, list[str]] | None = None) -> str:
    """Name up to five valid words near what was typed, else some of them."""
    choices = list(valid)
    near = difflib.get_close_matches(_fold(got), choices, n=5, cutoff=0.5)
    shown = near or sorted(choices)[: len(FIELDS)]
    words = ", ".join(" ".join((spellings[word][0] if spellings else word).split()) for word in shown)
    if not words:
        return "no track has a value there"
    return f"nearest: {words}" if near else f"known: {words}{' ...' if len(choices) > len(shown) else ''}"


def _parse_numbers(text: str, field: str, operator: str, value: str) -> Filter:
    if operator not in ("=", "!="):
        least, most = _span(text, field, value)
        # of a day, "after" begins when it is over
        bound = {">": ("gt", most), ">=": ("gte", least), "<": ("lt", least), "<=": ("lte", most)}[operator]
        return Range(field, **dict([bound]))
    ranges = list[Range]()
    for piece in value.split(","):
        first, dots, last = (part.strip() for part in piece.partition(".."))
        if field == "added" and not dots and _AGO.fullmatch(first):
            raise InputError(
                f"filter {text!r}: {first} ago is one moment; wanted added>{first}, or added<{first}"
            )
        low = _span(text, field, first)[0] if first or not dots else None
        high = _span(text, field, last or first)[1] if last or not dots else None
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            raise InputError(
                f"filter {text!r}: {piece.strip()!r} is no range; give LOW..HIGH, like bpm=118..124"
            )
        ranges.append(Range(field, gte=low, lte=high))
    either = ranges[0] if len(ranges) == 1 else Or(tuple(ranges))
    return Not(either) if operator == "!=" else either


def _span(text: str, field: str, value: str) -> tuple[float, float]:
    """Read a number: the least and the greatest that is meant, which only for a day differ."""
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return float(value), float(value)
    clock = _CLOCK.fullmatch(value) if field == "duration" else None
    if clock:
        hours, minutes, seconds = map(float, clock.groups(default="0"))
        return (total := hours * 3600 + minutes * 60 + seconds), total
    if field == "added":
        if ago := _AGO.fullmatch(value):
            return (moment := time.time() - float(ago[1]) * _SECONDS[ago[2]]), moment
        with contextlib.suppress(ValueError, OverflowError, OSError):
            day = datetime.fromisoformat(value)
            if len(value) > len("2026-11-01"):
                return day.timestamp(), day.timestamp()
            return day.timestamp(), (day + timedelta(days=1)).timestamp() - 1
    wanted, like = {
        "duration": ("seconds or m:ss", "duration>=120"),
        "added": ("a date, or how long ago", "added>2026-11-01 or added>7d"),
    }.get(field, ("a number", f"{field}>=120"))
    raise InputError(f"filter {text!r}: {field} wants {wanted}, got {value!r}; like {like}")
