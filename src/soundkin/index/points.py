"""What goes into an index, checked at the door.

The engines take NaN and zero vectors without a word, and one replays after a crash what it has refused
before: nothing may reach them unchecked.
"""

import hashlib
import itertools
import math
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from soundkin.errors import InputError, StoreError
from soundkin.filters import clean_text

PAYLOAD: dict[str, str] = {
    "artist": "keyword",
    "genre": "keyword",
    "subgenres": "keyword",
    "name": "keyword",
    "album": "keyword",
    "file": "keyword",
    "format": "keyword",
    "key": "keyword",
    "year": "integer",
    "added": "integer",
    "duration": "float",
    "bpm": "float",
    "energy": "float",
    "loudness": "float",
}
"""What an index keeps of a track besides its vectors, for filters -> how the engines index it."""

LAYOUT = hashlib.blake2b(repr(sorted(PAYLOAD.items())).encode(), digest_size=4).hexdigest()
"""Stands for `PAYLOAD`: an index that was filled with another one lacks what filters ask for."""

BATCH = 500
"""Points handed to an engine at once: 4 MB of 2,048-d vectors, far below any engine's limit on one write."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to which state of which record an index has been filled.

    Parameters
    ----------
    record : str
        The record's own id, so that an index is never taken for that of another library.
    revision : int
        The record's revision that the index reflects; the changes since then have yet to be applied.
    """

    record: str
    revision: int


@dataclass(frozen=True, slots=True)
class Point:
    """One track as an index holds it.

    Parameters
    ----------
    id : int
        Unsigned 64-bit number.
    vectors : mapping of str to float (d,)
        Space id -> vector; any subset of the index's spaces. Only directions count: an index keeps unit
        vectors.
    payload : mapping
        Keys of `PAYLOAD`; keywords are a string or a list of strings; None is the same as absent.
    """

    id: int
    vectors: Mapping[str, npt.NDArray[np.floating[Any]]]
    payload: Mapping[str, Any] = field(default_factory=dict)


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Cut into lists.

    Parameters
    ----------
    items : iterable
        Anything.
    size : int
        Length of each list but the last.

    Yields
    ------
    list
        The next items.
    """
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def check_spaces(spaces: Mapping[str, int]) -> None:
    """Refuse spaces no index can have.

    Parameters
    ----------
    spaces : mapping of str to int
        Space id -> dimensions.

    Raises
    ------
    InputError
        There is none, an id is empty, or a space has less than one dimension.
    """
    if not spaces:
        raise InputError("index: got no space, wanted at least one; name the space of the vectors")
    for space, dims in spaces.items():
        if not space or dims < 1:
            raise InputError(
                f"space {space!r}: got {dims} dimensions; give it an id and 1 or more dimensions"
            )


def check_points(points: Iterable[Point], spaces: Mapping[str, int]) -> list[Point]:
    """Make points fit for every engine, or refuse them all.

    Parameters
    ----------
    points : iterable of Point
        What came.
    spaces : mapping of str to int
        The spaces of the index.

    Returns
    -------
    list of Point
        One per id, the last that came: unit vectors, payload as plain Python values that UTF-8 can hold.

    Raises
    ------
    InputError
        See `Index.upsert`.
    StoreError
        A vector is of a space the index does not have.
    """
    last = {check_id(point.id): point for point in points}
    vectors: dict[int, dict[str, npt.NDArray[np.float32]]] = {point_id: {} for point_id in last}
    for space in dict.fromkeys(space for point in last.values() for space in point.vectors):
        ids = [point_id for point_id, point in last.items() if space in point.vectors]
        rows = unit_rows(space, [last[point_id].vectors[space] for point_id in ids], spaces, "points")
        for point_id, row in zip(ids, rows, strict=True):
            vectors[point_id][space] = row
    return [Point(point_id, vectors[point_id], _check_payload(point)) for point_id, point in last.items()]


def unit_rows(
    space: str, vectors: list[npt.ArrayLike], spaces: Mapping[str, int], what: str
) -> npt.NDArray[np.float32]:
    """Stack vectors of one space and bring each to length 1.

    Parameters
    ----------
    space : str
        Space id.
    vectors : list of array-like (d,)
        One or more.
    spaces : mapping of str to int
        The spaces of the index.
    what : str
        What the vectors are, for errors.

    Returns
    -------
    float32 (n, d)
        Unit vectors.

    Raises
    ------
    InputError
        A vector is not finite, zero or of other dimensions.
    StoreError
        The index does not have the space.
    """
    if space not in spaces:
        have = ", ".join(spaces)
        raise StoreError(f"{what}: got space {space!r}, the index has {have}; add the space or use another")
    shape = (spaces[space],)
    try:
        odd = next((np.shape(vector) for vector in vectors if np.shape(vector) != shape), None)
        if odd is not None:
            raise InputError(f"{what}: got a vector of shape {odd}, space {space} wants {shape}")
        rows = np.asarray(vectors, dtype=np.float64)  # in double precision no length overflows
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what}: got no vector of numbers ({error}), space {space} wants {shape}"
        ) from error
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.count_nonzero(~(np.isfinite(norms) & (norms > 0)))
    if bad:
        raise InputError(
            f"{what}: {bad} of {len(rows)} vectors of {space} are zero or not finite; embed again"
        )
    return np.ascontiguousarray(rows / norms, dtype=np.float32)


def check_id(point_id: int) -> int:
    """Make an id a plain int.

    Parameters
    ----------
    point_id : int
        Any kind of integer.

    Returns
    -------
    int
        The same number.

    Raises
    ------
    InputError
        It is no unsigned 64-bit number.
    """
    try:
        number = operator.index(point_id)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise InputError(f"point id: got {point_id!r}, wanted an unsigned 64-bit number; use the track's id")
    return number


def check_ids(ids: Collection[int]) -> frozenset[int]:
    """Make ids plain ints.

    Parameters
    ----------
    ids : collection of int
        Any kinds of integers.

    Returns
    -------
    frozenset of int
        The same numbers.

    Raises
    ------
    InputError
        One of them is no unsigned 64-bit number.
    """
    # thousands come with every question of somebody who likes thousands: looked at as a whole where that is enough
    if set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) < 2**64:
        return frozenset(ids)
    return frozenset(map(check_id, ids))


def _check_payload(point: Point) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for key, value in point.payload.items():
        kind = PAYLOAD.get(key)
        try:
            if value is None and kind:
                continue
            if kind == "keyword":
                payload[key] = _text(value) if isinstance(value, str) else [_text(item) for item in value]
            elif kind == "integer" and -(2**63) <= operator.index(value) < 2**63:
                payload[key] = operator.index(value)
            elif kind == "float" and math.isfinite(value):
                payload[key] = float(value)
            else:
                raise TypeError
        except (TypeError, ValueError):
            wanted = kind or f"one of {', '.join(PAYLOAD)}"
            raise InputError(f"payload of point {point.id}: got {key}={value!r}, wanted {wanted}") from None
    return payload


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return clean_text(value)
