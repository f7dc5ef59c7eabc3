"""The tree that a filter is, and what it means."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
    "loudness": "number",
    "added": "number",
}
"""Field that an index keeps -> its kind. Units: duration s, bpm beats/min, energy 0..1, loudness dBFS, added unix s."""

_PAYLOAD_KEYS = {"subgenre": "subgenres", "title": "name"}


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
class _Several:
    """Some filters together.

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
        # an engine reads an empty "or" as "anything", arithmetic reads it as "nothing": refuse to choose
        if not self.parts:
            raise InputError(
                "filter without parts: and/or want one or more filters; leave the filter out instead"
            )


class And(_Several):
    """All of some filters hold."""

    __slots__ = ()


class Or(_Several):
    """At least one of some filters holds."""

    __slots__ = ()


Filter: TypeAlias = Match | Range | HasId | Not | And | Or


def _expect_kind(field: str, kind: str) -> None:
    if FIELDS.get(field) != kind:
        fields = ", ".join(name for name, its in FIELDS.items() if its == kind)
        raise InputError(f"filter on {field!r}: wanted a {kind} field; use one of {fields}")


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
