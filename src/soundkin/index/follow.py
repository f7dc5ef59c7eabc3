"""The index follows the record: whoever opens it applies what the record has gained since.

The record stamps every change with a revision, the index remembers up to which revision it has come. A crash between
the two costs nothing but doing the last changes again.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from soundkin.index import Index, Mark, Point, RebuildNeeded, rebuild
from soundkin.index.points import batched
from soundkin.record import Record, Track

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from soundkin.index.settings import QdrantSettings

Array = NDArray[np.float32]

_AT_ONCE = 5000  # changes held in memory, 20 MB: there may be a million
# Whoever asks does not wait until a load of hours is over, which changes the record faster than an index follows it.
_ROUNDS = 5


def catch_up(index: Index, record: Record) -> None:
    """Apply to an index what its record has gained since.

    Parameters
    ----------
    index : Index
        Any engine.
    record : Record
        Open for reading or writing.

    Raises
    ------
    RebuildNeeded
        The index is of another record, or of a later state of this one (an old copy was put back).
    """
    mark = index.mark or Mark(record.uuid, 0)
    if is_foreign(mark, record):
        raise RebuildNeeded("the index belongs to another record; it is built again")
    if index.mark is not None and mark.revision == record.revision:
        _add_spaces(index, record)
        return
    upto = _apply(index, record, mark.revision)
    # What changed meanwhile another server may have applied, before this one put back what was there until then.
    # What comes after some rounds of that comes with the next question.
    for _ in range(_ROUNDS):
        if record.revision == upto:
            break
        upto = _apply(index, record, upto)
    index.flush(Mark(record.uuid, upto))


def _apply(index: Index, record: Record, since: int) -> int:
    """Apply what came after a revision; the one the index has come to."""
    changes = record.changes(since)
    # After the changes: a writer may add a space at any moment, and they must not know more than the index.
    _add_spaces(index, record)
    index.delete(int(id_, 16) for id_ in changes.removed)
    for some in batched(changes.changed, _AT_ONCE):
        index.upsert(point_of(*change) for change in some)
    return changes.revision


def _add_spaces(index: Index, record: Record) -> None:
    for space, dims in dims_of(record).items():
        index.add_space(space, dims)


def is_foreign(mark: Mark, record: Record) -> bool:
    """Tell whether an index reflects something else than a record or an earlier state of it.

    Parameters
    ----------
    mark : Mark
        Of the index.
    record : Record
        Open for reading or writing.

    Returns
    -------
    bool
        True for the index of another record, or of a later state of this one (an old copy was put back).
    """
    return mark.record != record.uuid or mark.revision > record.revision


def rebuild_from(
    record_at: str | Path, where: "str | Path | QdrantSettings | QdrantClient", **server: Any
) -> None:
    """Build the index of a library from its record alone.

    Parameters
    ----------
    record_at : str or Path
        Where the record is: the library's folder, or a URL.
    where : str, Path, QdrantSettings or QdrantClient
        The index: a folder, or a Qdrant server.
    **server
        As in `rebuild`.
    """
    with Record.open(record_at) as record:
        changes = record.changes(0)
        mark = Mark(record.uuid, changes.revision)
        rebuild(where, mark, dims_of(record), (point_of(*change) for change in changes.changed), **server)


def dims_of(record: Record) -> dict[str, int]:
    """Return the spaces of a record with their dimensions.

    Parameters
    ----------
    record : Record
        Open for reading or writing.

    Returns
    -------
    dict of str to int
        Space id -> dimensions.
    """
    return {space.id: space.dims for space in record.spaces()}


def point_of(track: Track, vectors: dict[str, Array]) -> Point:
    """Return the point that stands for a track in an index.

    Parameters
    ----------
    track : Track
        As the record has it.
    vectors : dict
        Space id -> float32 (d,). One that points nowhere, all zeros, is left out: the track is not found by it.

    Returns
    -------
    Point
        The payload holds what filters ask for.
    """
    payload = {
        "artist": track.artist,
        "album": track.album,
        "name": track.name,
        "genre": list(track.genres),
        "subgenres": list(track.genres[1:]),
        "file": track.path,
        "format": track.format,
        "key": track.key,
        "year": track.year,
        "added": int(track.added),
        "duration": track.duration,
        "bpm": track.bpm,
        "energy": track.energy,
        "loudness": track.loudness,
    }
    return Point(int(track.id, 16), {space: v for space, v in vectors.items() if v.any()}, payload)
