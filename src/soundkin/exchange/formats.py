"""The formats of `soundkin.exchange`: what a file looks like, and whether one that came is what it claims to be.

Each format is a pair of functions. What they read is checked in one place, because a file may come from anywhere.
"""

import itertools
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from soundkin.audio import Listening
from soundkin.embed import Space, content_hash
from soundkin.errors import InputError, MissingExtra, SoundkinError, StoreError
from soundkin.fingerprint import sketch
from soundkin.playlists import SUFFIXES
from soundkin.record import Track
from soundkin.record.rows import storable
from soundkin.scan import printable

Array = NDArray[np.float32]

IMPORTED = "imported"


@dataclass(frozen=True)
class Exported:
    """What a file of our own holds.

    Parameters
    ----------
    space : Space
        Of the vectors.
    tracks : list of Track
        As they were in the library that was exported.
    vectors : float32 (n, d)
        One per track.
    fingerprints : dict of int to bytes
        Of those tracks that have one, by their places.
    """

    space: Space
    tracks: list[Track]
    vectors: Array
    fingerprints: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Foreign:
    """What a file by others holds.

    Parameters
    ----------
    space : Space
        Stands for whatever made the vectors.
    names : list of str
        What the file calls its songs.
    vectors : float32 (n, d)
        One per song, scaled to unit length.
    songs : list of (str, str)
        Artist and title of each, where the file says them; else empty.
    """

    space: Space
    names: list[str]
    vectors: Array
    songs: list[tuple[str, str]] = field(default_factory=list)


def write(path: str | os.PathLike[str], exported: Exported) -> None:
    """Write a file that `read` understands; it appears under its name only when it is complete.

    Parameters
    ----------
    path : path-like
        To create or replace; the suffix decides the format.
    exported : Exported
        What to write.

    Raises
    ------
    InputError
        The suffix is unknown, or the file cannot be written.
    MissingExtra
        The format needs an extra that is not installed.
    """
    target = Path(path).expanduser()
    write_as, _ = _format(target)
    partial = target.with_name(f"{target.name}.part")
    try:
        partial.unlink(missing_ok=True)
        write_as(partial, exported)
        os.replace(partial, target)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot write {printable(os.fspath(target))} ({reason}): choose another place"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def read(path: str | os.PathLike[str], encoder_name: str = IMPORTED) -> Exported | Foreign:
    """Read an export of ours, or vectors by others.

    Parameters
    ----------
    path : path-like
        The suffix tells the format.
    encoder_name : str
        What to call whatever made vectors by others.

    Returns
    -------
    Exported or Foreign
        Checked: one vector per row, and a space that is what it claims to be.

    Raises
    ------
    InputError
        There is no such file, it is damaged or of another kind, or vectors by others are not usable.
    MissingExtra
        The format needs an extra that is not installed.
    """
    source = Path(path).expanduser()
    name = printable(os.fspath(source))
    _, read_as = _format(source, f"; {', '.join(SUFFIXES)} for a playlist; .json for a profile")
    if not source.is_file():
        raise InputError(f"no such file: {name}")
    try:
        content = read_as(source)
        if isinstance(content, Rows):
            return exported(content)
        names, vectors = content
        return Foreign(foreign_space(encoder_name, content_hash(source), vectors.shape[1]), names, vectors)
    except SoundkinError:
        raise
    except (
        Exception
    ) as error:  # no list of types is enough: numpy's parser alone lets a TokenError and a SystemError out
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{name} cannot be imported, it is damaged or no export ({reason}): export it again"
        ) from error


# ---- rows


def _field_kinds() -> Iterator[tuple[str, tuple[type, bool]]]:
    """Give each field of `Track` its type, and whether it may be None: int | None -> (int, True)."""
    for name, hint in get_type_hints(Track).items():
        kinds = get_args(hint) if NoneType in get_args(hint) else (get_origin(hint) or hint,)
        yield name, (kinds[0], NoneType in kinds)


KINDS = dict(_field_kinds())


@dataclass(frozen=True)
class Rows:
    """What a file of ours says, not yet checked.

    Parameters
    ----------
    space, space_id : str
        The space as JSON, and the id that the file says it has.
    columns : mapping of str to sequence
        By the names of `Track`; `genres` as sequences of text.
    vectors : array-like (n, d)
        One per row.
    fingerprints : sequence of bytes or None
        One per row, or none at all.
    """

    space: str
    space_id: str
    columns: Mapping[str, Sequence[Any]]
    vectors: Any
    fingerprints: Sequence[bytes | None] = ()


def exported(rows: Rows) -> Exported:
    """Check what a file says, or raise whatever says what is wrong: `read` puts it into words."""
    space = _checked_space(rows.space, rows.space_id)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        vectors = np.ascontiguousarray(rows.vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != space.dims:
        raise ValueError(f"vectors of shape {vectors.shape}, the space has {space.dims} dimensions")
    if missing := {"path", "content"} - rows.columns.keys():
        raise ValueError(f"no column {' and '.join(sorted(missing))}")
    # A file of another version may lack a field, or have one more.
    columns = {name: rows.columns.get(name, [None] * len(vectors)) for name in KINDS}
    values = {name: [checked(name, value) for value in column] for name, column in columns.items()}
    if len({len(vectors), *map(len, values.values())}) > 1:
        raise ValueError("columns of different lengths")
    tracks = [Track(*row) for row in zip(*values.values(), strict=True)]
    prints = {place: bytes(one) for place, one in enumerate(rows.fingerprints) if one}
    if rows.fingerprints and len(rows.fingerprints) != len(vectors):
        raise ValueError("fingerprints and vectors of different numbers")
    try:
        for one in prints.values():
            sketch(one)
    except StoreError as error:
        raise ValueError(str(error)) from error
    return Exported(space, tracks, vectors, prints)


def checked(name: str, value: Any) -> Any:
    """Return the value of a field of `Track` as its type, or raise an error that shows it.

    Parameters
    ----------
    name : str
        Of the field.
    value : object
        None or NaN where nothing is known.

    Raises
    ------
    TypeError, ValueError
        It is no such value.
    """
    kind, optional = KINDS[name]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None if optional else kind()
    if kind in (int, float):
        number = kind(value)
        if not abs(number) < 2**63:
            raise ValueError(f"{name} is {value!r}")
        return number
    texts = [value] if kind is str else list(value)
    if isinstance(value, (str, bytes)) != (kind is str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} is {value!r}")
    if name == "path":
        os.fsencode(value)  # raises ValueError for what no file can be called
        if "\0" in value:
            raise ValueError(f"path is {value!r}")
    return value if kind is str else tuple(texts)


def _checked_space(text: str, claimed: str) -> Space:
    space = Space.from_json(text)
    hints = get_type_hints(Space)
    if not all(isinstance(getattr(space, name), hint) for name, hint in hints.items()) or space.dims < 1:
        raise ValueError(f"its space is {text!r}")
    _check_name(space.encoder)
    Listening.named(space.listening)
    if space.id != claimed:
        raise InputError(
            f"the file says its vectors are of the space {claimed!r}, but describes {space.id!r}: export it again"
        )
    return space


def _check_name(encoder: str) -> None:
    # The name of an encoder is also that of its folder in a library.
    if not encoder.isprintable() or not encoder or encoder[0] == "." or set(encoder) & set("/\\:"):
        raise InputError(
            f"{encoder!r} cannot name an encoder: wanted a name without / \\ : and no dot in front"
        )


def foreign_space(encoder_name: str, source: str, dims: int) -> Space:
    """Return a space that stands for whatever made vectors by others; `source` is a hash that tells them from any."""
    _check_name(encoder_name)
    # A listening has to be one that can be named, and most systems hear the whole track.
    return Space(encoder_name, source, "", 0.0, 0.0, "all", "", dims)


# ---- .npz


def _write_npz(file: Path, exported: Exported) -> None:
    arrays = {name: _array(name, [getattr(t, name) for t in exported.tracks]) for name in KINDS}
    arrays["ids"] = arrays.pop("id")
    arrays["vectors"] = exported.vectors
    prints = [exported.fingerprints.get(place, b"") for place in range(len(exported.tracks))]
    arrays["fingerprints"] = np.frombuffer(b"".join(prints), np.uint8)
    arrays["fingerprint_sizes"] = np.array([len(one) for one in prints], np.int64)
    arrays["space"], arrays["space_id"] = np.array(exported.space.to_json()), np.array(exported.space.id)
    with open(file, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _array(name: str, values: list[Any]) -> NDArray[Any]:
    kind, optional = KINDS[name]
    if kind is tuple:
        return np.array([json.dumps(value) for value in values], np.str_)
    if optional:
        return np.array([math.nan if value is None else value for value in values], np.float64)
    return np.array(values, {str: np.str_, int: np.int64, float: np.float64}[kind])


def _read_npz(file: Path) -> Rows:
    with open(file, "rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array instead of many")
        columns = {name: archive[name].tolist() for name in KINDS if name in archive}
        columns["id"] = archive["ids"].tolist()
        if "genres" in columns:
            columns["genres"] = list(map(json.loads, columns["genres"]))
        prints = list[bytes | None]()
        if "fingerprints" in archive:
            ends = [0, *np.cumsum(archive["fingerprint_sizes"]).tolist()]
            whole = archive["fingerprints"].tobytes()
            prints = [whole[begin:end] for begin, end in itertools.pairwise(ends)]
        return Rows(str(archive["space"]), str(archive["space_id"]), columns, archive["vectors"], prints)


# ---- .parquet


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra(
            "Parquet needs pyarrow, which is not installed: pip install 'soundkin[parquet]', or use .npz or .sqlite"
        ) from error
    return pyarrow, pyarrow.parquet


def _write_parquet(file: Path, exported: Exported) -> None:
    pa, parquet = _arrow()
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), tuple: pa.list_(pa.string())}
    columns = {
        name: pa.array([storable(getattr(t, name)) for t in exported.tracks], types[kind])
        for name, (kind, _) in KINDS.items()
    }
    columns["path_bytes"] = pa.array([os.fsencode(t.path) for t in exported.tracks], pa.binary())
    prints = map(exported.fingerprints.get, range(len(exported.tracks)))
    columns["fingerprint"] = pa.array(prints, pa.binary())
    numbers = pa.array(exported.vectors.reshape(-1), pa.float32())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(numbers, exported.space.dims)
    told = {"soundkin.space": exported.space.to_json(), "soundkin.space_id": exported.space.id}
    with open(file, "wb") as stream:
        parquet.write_table(pa.table(columns).replace_schema_metadata(told), stream)


def _read_parquet(file: Path) -> Rows:
    pa, parquet = _arrow()
    with open(file, "rb") as stream:
        table = parquet.ParquetFile(stream).read()
    told = table.schema.metadata or {}
    if b"soundkin.space" not in told:
        raise ValueError("its metadata names no space")
    space, space_id = told[b"soundkin.space"].decode(), told[b"soundkin.space_id"].decode()
    columns = {name: table[name].to_pylist() for name in KINDS if name in table.column_names}
    if "path_bytes" in table.column_names:
        columns["path"] = list(map(os.fsdecode, table["path_bytes"].to_pylist()))
    # A program that has changed a row may have written lists of any length instead.
    dims = Space.from_json(space).dims
    vectors = table["vector"].cast(pa.list_(pa.float32(), dims)).combine_chunks()
    if vectors.null_count:
        raise ValueError("a vector is missing")
    prints = table["fingerprint"].to_pylist() if "fingerprint" in table.column_names else ()
    rows = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, dims)
    return Rows(space, space_id, columns, rows, prints)


# ---- .sqlite

# Columns of `songs` that others look for, first; `file` and `genre` are for people, the rest are fields of `Track`.
_SONG = {"song_id": "id", "artist": "artist", "name": "title", "album": "album"}
_REST = [name for name in KINDS if name not in _SONG.values()]
_SQL: dict[str, Callable[[Any], Any]] = {"path": os.fsencode, "genres": json.dumps}
_SQL_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL", tuple: "TEXT"}


def _write_sqlite(file: Path, exported: Exported) -> None:
    first = ", ".join(f"{name} TEXT" for name in (*_SONG, "genre", "file"))
    rest = ", ".join(f'"{name}" {"BLOB" if name == "path" else _SQL_TYPES[KINDS[name][0]]}' for name in _REST)
    marks = ", ".join("?" * (len(_SONG) + 3 + len(_REST)))
    songs = [[_SQL.get(name, storable)(getattr(t, name)) for name in _SONG.values()] for t in exported.tracks]
    for place, (row, t) in enumerate(zip(songs, exported.tracks, strict=True)):
        row += [storable(t.genres[0] if t.genres else ""), storable(t.path)]
        row += [_SQL.get(name, storable)(getattr(t, name)) for name in _REST]
        row.append(exported.fingerprints.get(place))
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(f"CREATE TABLE songs ({first}, {rest}, fingerprint BLOB, PRIMARY KEY (song_id))")
        db.execute("CREATE TABLE songs_vectors (song_id TEXT PRIMARY KEY, embedding BLOB)")
        db.execute("CREATE TABLE space (id TEXT, json TEXT)")
        db.execute("INSERT INTO space VALUES (?, ?)", (exported.space.id, exported.space.to_json()))
        db.executemany(f"INSERT INTO songs VALUES ({marks})", songs)
        db.executemany(
            "INSERT INTO songs_vectors VALUES (?, ?)",
            (
                (t.id, v.astype("<f8").tobytes())
                for t, v in zip(exported.tracks, exported.vectors, strict=True)
            ),
        )


def _read_sqlite(file: Path) -> Rows | tuple[list[str], Array]:
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        if "songs_vectors" not in tables:
            raise ValueError("no table songs_vectors")
        if "space" not in tables:
            return _read_foreign(db)
        cursor = db.execute("SELECT * FROM songs JOIN songs_vectors USING (song_id) ORDER BY song_id")
        names = [_SONG.get(column[0], column[0]) for column in cursor.description]
        rows = cursor.fetchall()
        ((space_id, space),) = db.execute("SELECT id, json FROM space")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    columns["path"] = list(map(os.fsdecode, columns["path"]))
    columns["genres"] = list(map(json.loads, columns["genres"]))
    blobs, prints = columns.pop("embedding"), columns.pop("fingerprint", ())
    none = np.empty((0, Space.from_json(space).dims), np.float32)
    return Rows(space, space_id, columns, _floats(blobs) if blobs else none, prints)


def _read_foreign(db: sqlite3.Connection) -> tuple[list[str], Array]:
    rows = db.execute("SELECT song_id, embedding FROM songs_vectors").fetchall()
    if not rows:
        raise ValueError("songs_vectors is empty")
    names = [str(row[0]) for row in rows]
    return names, units(names, _floats([row[1] for row in rows]))


def units(names: Sequence[str], vectors: NDArray[np.float64]) -> Array:
    """Scale vectors by others, float64 (n, d), to unit length; raise InputError when one cannot be, with its name."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    if bad := np.flatnonzero(~(np.isfinite(largest[:, 0]) & (largest[:, 0] > 0))).tolist():
        raise InputError(
            f"{len(bad)} of {len(names)} vectors are zero or not finite, the first is of song "
            f"{printable(names[bad[0]])!r}: leave them out and import again"
        )
    vectors = vectors / largest  # so that no length overflows
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _floats(blobs: Sequence[bytes]) -> NDArray[np.float64]:
    """Stack blobs of little-endian float64: float64 (n, d)."""
    sizes = sorted({len(blob) for blob in blobs})
    if len(sizes) > 1 or sizes[0] == 0 or sizes[0] % 8:
        told = ", ".join(f"{size} bytes" for size in sizes[:3])
        raise InputError(
            f"embeddings of {told}: wanted the same number of float64 (8 bytes each) for every song"
        )
    return np.frombuffer(b"".join(blobs), "<f8").reshape(len(blobs), -1)


# ---- formats

_Write = Callable[[Path, Exported], None]
_Read = Callable[[Path], Rows | tuple[list[str], Array]]

_FORMATS: dict[str, tuple[_Write, _Read]] = {
    ".npz": (_write_npz, _read_npz),
    ".parquet": (_write_parquet, _read_parquet),
    ".sqlite": (_write_sqlite, _read_sqlite),
    ".db": (_write_sqlite, _read_sqlite),
}


def _format(path: Path, more: str = "") -> tuple[_Write, _Read]:
    if path.suffix.lower() not in _FORMATS:
        raise InputError(
            f"{printable(os.fspath(path))} has no known suffix: wanted one of {', '.join(_FORMATS)}{more}"
        )
    return _FORMATS[path.suffix.lower()]
