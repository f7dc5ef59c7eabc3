"""Vectors leave a library and enter another with what is known of their tracks, so that nothing is embedded twice.

The suffix of the file decides its format. All hold the same: one row per track with the fields of `Track`, its vector
and fingerprint, and the space of the vectors as JSON next to the id it must have.

``.npz``
    Arrays ``ids``, ``vectors`` (float32 (n, d)) and one per other field of `Track`: text as unicode, missing numbers as
    NaN, the genres of a track as a JSON list; ``fingerprints``, the bytes of all in a row, and ``fingerprint_sizes``;
    ``space`` and ``space_id``. No pickles.
``.parquet``
    A column per field, ``vector`` (fixed-size list of float32), ``fingerprint`` and ``path_bytes``; the schema's
    metadata has the space under ``soundkin.space`` and ``soundkin.space_id``. Needs the extra ``parquet``.
``.sqlite``, ``.db``
    Tables ``songs_vectors (song_id, embedding)`` with little-endian float64 blobs, ``songs`` and ``space (id, json)``.
    A file by others that has only ``songs_vectors`` can be read too.
A collection of Qdrant
    See `qdrant`: on a server or in a folder, of ours, or as its tutorial makes it.

A file name need not be text: where a format takes only UTF-8, ``path`` or ``file`` is for people and a column of bytes
next to it is the path.
"""

import os
from collections import defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Embedded, FileState, Space, content_hash
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import DecodeError
from soundkin.exchange.formats import IMPORTED, Exported, Foreign, read, write
from soundkin.exchange.tastes import Mark, read_profile
from soundkin.record import Record, Track
from soundkin.record.rows import fold
from soundkin.scan import printable
from soundkin.tags import Tags

__all__ = [
    "IMPORTED", "UNIT", "Exported", "Foreign", "ImportReport", "Mark", "embedded", "merge", "read", "read_any",
    "read_profile", "take", "write", "write_any",
]  # fmt: skip

Array = NDArray[np.float32]

_NAMED = 5  # how many rows without a place in the library are named
UNIT = 1e-3  # how far from 1 the length of a track vector may be


@dataclass
class ImportReport:
    """What an import did.

    Parameters
    ----------
    space : str
        Id of the space of the vectors.
    rows : int
        Rows of the file; each is matched, added, unmatched or refused.
    matched : int
        The library has the track.
    vectors : int
        Tracks of the library that had no vector in this space and got one.
    added : int
        The file was on disk as described, and became a track.
    unmatched : int
        Neither the library nor the disk has it.
    refused : int
        The vector is not usable, or the file on disk is not the one that was exported.
    fingerprints : int
        Tracks of the library that had no fingerprint and got one.
    left_out : list of str
        The first few of the unmatched and refused, with reasons.
    """

    space: str
    rows: int
    matched: int = 0
    vectors: int = 0
    added: int = 0
    unmatched: int = 0
    refused: int = 0
    fingerprints: int = 0
    left_out: list[str] = field(default_factory=list)

    def _refuse(self, name: str, reason: str) -> None:
        self.refused += 1
        self._name(name, reason)

    def _pass_over(self, name: str, reason: str) -> None:
        self.unmatched += 1
        self._name(name, reason)

    def _name(self, name: str, reason: str) -> None:
        if len(self.left_out) < _NAMED:
            self.left_out.append(f"{printable(name)}: {reason}")


def read_any(
    where: str | os.PathLike[str],
    encoder_name: str = IMPORTED,
    collection: str | None = None,
    api_key: str | None = None,
) -> Exported | Foreign:
    """Read a file, or a collection of a Qdrant.

    Parameters
    ----------
    where : str or path-like
        A file; or the URL or folder of a Qdrant, as which any folder counts when there is a collection.
    encoder_name : str
        What to call whatever made vectors by others.
    collection, api_key : str, optional
        Of the Qdrant.

    Raises
    ------
    InputError, MissingExtra
        As `read`.
    StoreError
        The Qdrant cannot be reached or refuses.
    """
    if collection is None and not _is_qdrant(where):
        return read(where, encoder_name)
    from soundkin.exchange import qdrant  # its client takes a third of a second to import

    return qdrant.read(where, encoder_name, collection or qdrant.COLLECTION, api_key)


def write_any(
    where: str | os.PathLike[str],
    exported: Exported,
    collection: str | None = None,
    api_key: str | None = None,
) -> None:
    """Write a file, or a collection of a Qdrant.

    Parameters
    ----------
    where : str or path-like
        A file; or the URL or folder of a Qdrant, as which any folder counts when there is a collection.
    exported : Exported
        What to write.
    collection, api_key : str, optional
        Of the Qdrant.

    Raises
    ------
    InputError, MissingExtra
        As `write`.
    StoreError
        The Qdrant cannot be reached or refuses.
    """
    if collection is None and not _is_qdrant(where):
        write(where, exported)
        return
    from soundkin.exchange import qdrant

    qdrant.write(where, exported, collection or qdrant.COLLECTION, api_key)


def _is_qdrant(where: str | os.PathLike[str]) -> bool:
    """Tell the URL of a server, or the folder of a Qdrant in a process, from a file."""
    text = os.fspath(where)
    folder = Path(text).expanduser()
    is_folder = (folder / "meta.json").is_file() and (folder / "collection").is_dir()
    return is_folder or text.lower().startswith(("http://", "https://"))


def take(record: Record, space: Space) -> Exported:
    """Take out of a record what an export holds.

    Parameters
    ----------
    record : Record
        Open.
    space : Space
        One that the record knows.

    Returns
    -------
    Exported
        Every track that has a vector in the space, by id.
    """
    ids, vectors = record.vectors(space.id)
    tracks = list(record.tracks(ids))
    if len(tracks) < len(ids):  # another process removed some in between
        place = {id_: i for i, id_ in enumerate(ids)}
        vectors = vectors[[place[track.id] for track in tracks]]
    prints = record.fingerprints([track.id for track in tracks])
    places = {place: prints[track.id] for place, track in enumerate(tracks) if track.id in prints}
    return Exported(space, tracks, vectors, places)


def merge(record: Record, content: Exported | Foreign, activate: bool = False) -> ImportReport:
    """Bring vectors into a record: all of them or, when something goes wrong, none.

    A track that has a vector in the space keeps it, so a second time changes nothing.

    Parameters
    ----------
    record : Record
        Open for writing.
    content : Exported or Foreign
        From `read`.
    activate : bool
        Let scans fill the space from now on.

    Returns
    -------
    ImportReport
        What happened.
    """
    space, vectors = content.space, content.vectors
    report = ImportReport(space.id, len(vectors))
    found: list[tuple[str, int]]  # (track id, row)
    new: list[tuple[FileState, int]]  # (file on disk, row)
    if isinstance(content, Foreign):
        found, new = _find_names(record, content, report), []
    else:
        found, new = _find_tracks(record, content, report)
    if not found and not new:
        return report
    with record.transaction():
        record.add_space(space, active=activate)
        report.vectors = record.add_vectors(
            space.id, [id_ for id_, _ in found], vectors[[i for _, i in found]]
        )
        if isinstance(content, Exported):
            prints = content.fingerprints
            report.fingerprints = record.add_fingerprints({id_: prints[i] for id_, i in found if i in prints})
            for file, i in new:
                record.put(embedded(content.tracks[i], file, {space.id: vectors[i]}, prints.get(i, b"")))
    return report


# ---- finding the tracks of rows


def _find_tracks(
    record: Record, content: Exported, report: ImportReport
) -> tuple[list[tuple[str, int]], list[tuple[FileState, int]]]:
    """Find each row in the library by its bytes, or else on disk; a row that knows no bytes goes by its path."""
    files = record.files()
    by_content = defaultdict(list)
    for row in files.values():
        by_content[row.content].append(row.track_id)
    found: list[tuple[str, int]] = []
    new: dict[str, tuple[FileState, int]] = {}
    lengths = np.linalg.norm(content.vectors.astype(np.float64), axis=1)
    for i, track in enumerate(content.tracks):
        known = files.get(track.path)
        ids = by_content.get(track.content) or ([known.track_id] if known and not track.content else [])
        if not abs(lengths[i] - 1) < UNIT:
            report._refuse(track.path, f"its vector has the length {lengths[i]:.3g}, wanted 1")
        elif ids:
            report.matched += 1
            found += [(id_, i) for id_ in ids]
        elif known or track.path in new:
            report._refuse(track.path, "the library has another file at this path")
        elif (file := _on_disk(track, report)) is not None:
            report.added += 1
            new[track.path] = file, i
    return found, list(new.values())


def _on_disk(track: Track, report: ImportReport) -> FileState | None:
    """Return the state of a track's file, if it is there with the very bytes that were embedded."""
    path = track.path
    if not os.path.isabs(path):
        report._pass_over(path, "not in the library, and no absolute path")
        return None
    try:
        status = os.stat(path)
        same = status.st_size == track.size and content_hash(path) == track.content
    except (OSError, DecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        report._pass_over(path, f"not in the library, and on disk: {reason}")
        return None
    if not same:
        report._refuse(path, "the file on disk is not the one that was embedded")
        return None
    return FileState(path, status.st_size, status.st_mtime_ns)


def _find_names(record: Record, content: Foreign, report: ImportReport) -> list[tuple[str, int]]:
    """Find songs by what others call them.

    That is a track id, a content hash, a path or, if only one has it, a file stem; then artist and title, where they
    say them and only one track has both.
    """
    ids: dict[str, list[str]] = {}
    contents, paths, stems = defaultdict(list), {}, defaultdict(set)
    for path, row in record.files().items():
        ids[row.track_id] = paths[path] = [row.track_id]
        contents[row.content].append(row.track_id)
        stems[Path(path).stem].add(row.content)
    songs = _songs(record) if any(map(any, content.songs)) else {}
    found = []
    for i, name in enumerate(content.names):
        # The stem of a name with a dot in it is the name itself; that of a path is what its file is called.
        stem = next((known for known in (name, Path(name).stem) if known in stems), name)
        same_stem = stems.get(stem, set())
        named = ids.get(name) or contents.get(name) or paths.get(name) or paths.get(os.path.abspath(name))
        if not named and len(same_stem) == 1:
            named = contents[next(iter(same_stem))]
        if not named and content.songs and len(alike := songs.get(_folded(*content.songs[i]), set())) == 1:
            named = contents[next(iter(alike))]
        if named:
            report.matched += 1
            found += [(id_, i) for id_ in named]
        else:
            reason = "several files have this name" if same_stem else "no id, content hash, path or file name"
            report._pass_over(name, reason)
    return found


def _songs(record: Record) -> dict[tuple[str, str], set[str]]:
    """Return the contents of the tracks of each artist and title; nothing for those that lack one of them."""
    out = defaultdict(set)
    for track in record.tracks():
        if track.artist and track.title:
            out[_folded(track.artist, track.title)].add(track.content)
    return out


def _folded(artist: str, title: str) -> tuple[str, str]:
    return fold(artist), fold(title)


def embedded(track: Track, file: FileState, vectors: dict[str, Array], fingerprint: bytes) -> Embedded:
    """Return a track as what the record takes; the opposite of `rows.to_track`.

    Parameters
    ----------
    track : Track
        What is known of it.
    file : FileState
        Where it is.
    vectors : dict
        Space id -> track vector, float32 (d,).
    fingerprint : bytes
        Empty for none.

    Returns
    -------
    Embedded
        Without windows.
    """
    tags = {f.name: getattr(track, f.name) for f in fields(Tags)} | {"bpm": track.tagged_bpm}
    analysis = {f.name: getattr(track, f.name) for f in fields(Analysis)}
    return Embedded(
        file, track.content, track.duration, track.sample_rate, track.channels, track.format,
        Tags(**tags), Analysis(**analysis), vectors, fingerprint=fingerprint,
    )  # fmt: skip
