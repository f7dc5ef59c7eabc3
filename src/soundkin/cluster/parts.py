"""What a run leaves: Parquet files, each of which settles some dozens of files for good.

A part has one row per file. `outcome` says what came of it:

``embedded``
    The columns of `Track` tell what it is; for each space there are ``vector.SPACE`` (fixed-size list of float32),
    ``starts.SPACE`` (seconds) and ``windows.SPACE`` (float16, as in a record), next to ``fingerprint`` and ``damage``.
``copy``
    Its bytes are those of another row, which has the vectors: `content` says of which.
``failed``
    ``kind`` and ``reason`` say why.

``path_bytes`` is the path, which need not be text, and ``spaces`` are the ids of the spaces that the row settles. The
metadata of the schema describes these spaces in full under ``soundkin.spaces``. A part appears as a whole, so whatever
is there counts, and a run that was killed has nothing to clear up.

The manifest repeats of many parts which files they settle: with it, a run that goes on need not open them all.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soundkin import exchange
from soundkin.cluster.places import Place
from soundkin.embed import Embedded, Failure, FileState, Outcome, Same, Space
from soundkin.errors import InputError, MissingExtra, SoundkinError
from soundkin.exchange.formats import KINDS, Rows, checked, exported
from soundkin.record.rows import storable, to_track, track_id
from soundkin.scan import printable

PARTS, MANIFEST = "parts", "manifest"
EMBEDDED, COPY, FAILED = "embedded", "copy", "failed"
_ROWS_AT_ONCE = 512
_TRACK = [name for name in KINDS if name not in ("path", "size", "mtime_ns", "content")]


@dataclass(frozen=True)
class Settled:
    """What is settled of one file.

    Parameters
    ----------
    file : FileState
        As it was.
    outcome : str
        "embedded", "copy" or "failed".
    content : str
        32 hex digits; empty when nobody could read it.
    spaces : tuple of str
        Ids of the spaces that this is about.
    failure : Failure or None
        Why it failed.
    seconds : float
        Length of what was embedded.
    damaged : bool
        It was embedded for what can be heard of it.
    """

    file: FileState
    outcome: str
    content: str
    spaces: tuple[str, ...]
    failure: Failure | None = None
    seconds: float = 0.0
    damaged: bool = False


@dataclass(frozen=True)
class Done:
    """What came of one file, on its way into a part: the outcome, the content where it is known, and the spaces."""

    outcome: Outcome
    content: str
    spaces: tuple[str, ...]

    @property
    def settled(self) -> Settled:
        """What the manifest keeps of it."""
        of = self.outcome
        if isinstance(of, Failure):
            return Settled(of.file, FAILED, self.content, self.spaces, of)
        if isinstance(of, Same):
            return Settled(of.file, COPY, of.content, self.spaces)
        return Settled(of.file, EMBEDDED, of.content, self.spaces, None, of.duration, bool(of.damage))


def arrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet, or raise MissingExtra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra(
            "Parquet needs pyarrow, which is not installed: pip install 'soundkin[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet


# ---- writing


def write_part(place: Place, name: str, rows: Sequence[Done], spaces: Sequence[Space], at: float) -> None:
    """Write a part; it appears when it is complete.

    Parameters
    ----------
    place : Place
        Of the results.
    name : str
        Of the file, below `PARTS`.
    rows : sequence of Done
        One per file.
    spaces : sequence of Space
        All that the rows have vectors in.
    at : float
        Now, seconds since 1970.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    pa, parquet = arrow()
    columns = _state_columns(pa, [row.settled for row in rows]) | _track_columns(pa, rows, at)
    outcomes = [row.outcome if isinstance(row.outcome, Embedded) else None for row in rows]
    columns["fingerprint"] = pa.array([(one and one.fingerprint) or None for one in outcomes], pa.binary())
    columns["damage"] = pa.array([one and storable(one.damage) for one in outcomes], pa.string())
    for space in spaces:
        vectors = [one and one.vectors.get(space.id) for one in outcomes]
        windows = [one.windows.get(space.id) if one else None for one in outcomes]
        columns[f"vector.{space.id}"] = pa.array(vectors, pa.list_(pa.float32(), space.dims))
        columns[f"starts.{space.id}"] = pa.array([one and one[0] for one in windows], pa.list_(pa.float32()))
        halves = [one and one[1].astype(np.float16).reshape(-1) for one in windows]
        columns[f"windows.{space.id}"] = pa.array(halves, pa.list_(pa.float16()))
    told = {"soundkin.spaces": json.dumps([{"id": s.id, "space": s.to_json()} for s in spaces])}
    _write(place, name, pa.table(columns).replace_schema_metadata(told), parquet, pa)


def write_manifest(place: Place, name: str, settled: Sequence[Settled], parts: Sequence[str]) -> None:
    """Note which files some parts settle.

    Parameters
    ----------
    place : Place
        Of the results.
    name : str
        Of the file, below `MANIFEST`.
    settled : sequence of Settled
        Of all the parts.
    parts : sequence of str
        Their names.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    pa, parquet = arrow()
    told = {"soundkin.parts": json.dumps(list(parts))}
    table = pa.table(_state_columns(pa, settled)).replace_schema_metadata(told)
    _write(place, name, table, parquet, pa)


def _write(place: Place, name: str, table: Any, parquet: Any, pa: Any) -> None:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    place.write(name, sink.getvalue().to_pybytes())


def _state_columns(pa: Any, settled: Sequence[Settled]) -> dict[str, Any]:
    files = [one.file for one in settled]
    reasons = [one.failure for one in settled]
    return {
        "path": pa.array([storable(file.path) for file in files], pa.string()),
        "path_bytes": pa.array([os.fsencode(file.path) for file in files], pa.binary()),
        "size": pa.array([file.size for file in files], pa.int64()),
        "mtime_ns": pa.array([file.mtime_ns for file in files], pa.int64()),
        "content": pa.array([one.content for one in settled], pa.string()),
        "outcome": pa.array([one.outcome for one in settled], pa.string()),
        "kind": pa.array([one and storable(one.kind) for one in reasons], pa.string()),
        "reason": pa.array([one and storable(one.reason) for one in reasons], pa.string()),
        "spaces": pa.array([one.spaces for one in settled], pa.list_(pa.string())),
    }


def _track_columns(pa: Any, rows: Sequence[Done], at: float) -> dict[str, Any]:
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), tuple: pa.list_(pa.string())}
    tracks = [
        to_track(row.outcome, track_id(row.content), at) if isinstance(row.outcome, Embedded) else None
        for row in rows
    ]
    return {
        name: pa.array([storable(getattr(track, name)) if track else None for track in tracks], types[KINDS[name][0]])
        for name in _TRACK
    }  # fmt: skip


# ---- reading


def settled_in(place: Place) -> Iterator[Settled]:
    """Yield what is settled by all the results of a place.

    Parameters
    ----------
    place : Place
        Need not exist.

    Yields
    ------
    Settled
        From the manifest; from the parts themselves where it does not name them.

    Raises
    ------
    InputError
        A file is damaged.
    """
    named: set[str] = set()
    for name in place.names(MANIFEST):
        with place.open(name) as stream, _readable(place, name):
            _, parquet = arrow()
            file = parquet.ParquetFile(stream)
            named.update(json.loads(file.schema_arrow.metadata[b"soundkin.parts"]))
            yield from _settled(file)
    for name in place.names(PARTS):
        if name not in named:
            yield from settled_of(place, name)


def settled_of(place: Place, name: str) -> list[Settled]:
    """Return what one part settles.

    Parameters
    ----------
    place : Place
        Of the results.
    name : str
        Of the part.

    Returns
    -------
    list of Settled
        One per file.
    """
    with place.open(name) as stream, _readable(place, name):
        _, parquet = arrow()
        return list(_settled(parquet.ParquetFile(stream)))


def _settled(file: Any) -> Iterator[Settled]:
    names = ["path_bytes", "size", "mtime_ns", "content", "outcome", "kind", "reason", "spaces"]
    more = [name for name in ("duration", "damage") if name in file.schema_arrow.names]
    for batch in file.iter_batches(columns=[*names, *more]):
        for row in batch.to_pylist():
            state = FileState(os.fsdecode(row["path_bytes"]), row["size"], row["mtime_ns"])
            failure = Failure(state, row["kind"], row["reason"]) if row["outcome"] == FAILED else None
            yield Settled(
                state, row["outcome"], row["content"], tuple(row["spaces"]), failure,
                row.get("duration") or 0.0, bool(row.get("damage")),
            )  # fmt: skip


class PartFile:
    """A part, opened for reading; use it as a context manager.

    Parameters
    ----------
    place : Place
        Where it is.
    name : str
        Of the file.

    Raises
    ------
    InputError
        It is not there, damaged, or something else.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._stream = place.open(name)
        try:
            with _readable(place, name):
                _, parquet = arrow()
                self._file = parquet.ParquetFile(self._stream)
                told = (self._file.schema_arrow.metadata or {}).get(b"soundkin.spaces")
                if told is None:
                    raise ValueError("its metadata names no spaces")
                self._spaces = {one["id"]: str(one["space"]) for one in json.loads(told)}
                self.spaces = [exported(_rows(id_, text)).space for id_, text in self._spaces.items()]
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self._file.metadata.num_rows)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what came of each file.

        Yields
        ------
        Embedded, Same or Failure
            Checked; a `Same` is a copy.

        Raises
        ------
        InputError
            A row is not what it should be.
        """
        batches = self._file.iter_batches(_ROWS_AT_ONCE)
        while True:
            with _readable(self._place, self._name):
                batch = next(batches, None)
                found = [] if batch is None else self._outcomes(batch)
            if batch is None:
                return
            yield from found

    def _outcomes(self, batch: Any) -> list[Outcome]:
        columns = batch.to_pydict()
        columns["path"] = list(map(os.fsdecode, columns["path_bytes"]))
        tracks: dict[int, Embedded] = {}
        for id_ in self._spaces:
            self._add(columns, id_, tracks)
        out: list[Outcome] = []
        for i, outcome in enumerate(columns["outcome"]):
            state = {
                name: checked(name, columns[name][i]) for name in ("path", "size", "mtime_ns", "content")
            }
            content = state.pop("content")
            if outcome == EMBEDDED:
                out.append(tracks[i])
            elif outcome == COPY:
                out.append(Same(FileState(**state), content))
            elif outcome == FAILED:
                out.append(Failure(FileState(**state), columns["kind"][i], columns["reason"][i]))
            else:
                raise ValueError(f"outcome is {outcome!r}")
        return out

    def _add(self, columns: Mapping[str, Sequence[Any]], id_: str, tracks: dict[int, Embedded]) -> None:
        """Add the vectors of a space to the tracks of some rows."""
        places = [i for i, vector in enumerate(columns[f"vector.{id_}"]) if vector is not None]
        if not places:
            return
        taken = {name: [columns[name][i] for i in places] for name in KINDS if name in columns}
        prints = [columns["fingerprint"][i] for i in places]
        vectors = [columns[f"vector.{id_}"][i] for i in places]
        content = exported(_rows(id_, self._spaces[id_], taken, vectors, prints))
        lengths = np.linalg.norm(content.vectors.astype(np.float64), axis=1)
        if not ((np.abs(lengths - 1) < exchange.UNIT) | (lengths == 0)).all():
            raise ValueError("the length of a vector is not 1")
        for row, i in enumerate(places):
            track = content.tracks[row]
            if i not in tracks:
                state = FileState(track.path, track.size, track.mtime_ns)
                tracks[i] = exchange.embedded(track, state, {}, content.fingerprints.get(row, b""))
                tracks[i].damage = columns["damage"][i] or ""
            tracks[i].vectors[id_] = content.vectors[row]
            starts = np.array(columns[f"starts.{id_}"][i], np.float32)
            windows = np.array(columns[f"windows.{id_}"][i], np.float32).reshape(len(starts), -1)
            tracks[i].windows[id_] = starts, windows


def _rows(
    id_: str, text: str, columns: Mapping[str, Sequence[Any]] | None = None, vectors: Any = None, prints: Any = ()
) -> Rows:  # fmt: skip
    if columns is None:  # only the space is to be checked
        columns, vectors = {"path": [], "content": []}, np.empty((0, Space.from_json(text).dims), np.float32)
    return Rows(text, id_, columns, vectors, prints)


class _readable:
    """Turns whatever a damaged or foreign file makes a reader raise into one line."""

    def __init__(self, place: Place, name: str) -> None:
        self._told = printable(place.told(name))

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, SoundkinError):
            return
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{self._told} is damaged or no result of `soundkin index --engine ray` ({reason}): delete it and run that "
            "again"
        ) from error
