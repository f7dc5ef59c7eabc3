"""The record of one library: the truth from which the search index is derived.

One SQLite file holds every track with its tags, its vectors in every space, and every failure with its
reason. One process writes, any number read at the same time. Each change of a track gets the next number of
one counter, the revision, so that an index can ask for everything that happened since it last looked.

`opening` has the tables and how the file is opened and locked, `rows` what a row looks like in Python,
`feedback` what people said, and this file every other statement that reads or changes a row. It is long because
that is one thing: splitting it would put what must agree into different files.
"""

import hashlib
import itertools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from soundkin.embed import Embedded, Failure, FileState, Space
from soundkin.errors import InputError, NotFound, StoreError
from soundkin.record.feedback import FeedbackTables
from soundkin.record.listing import ListingTables
from soundkin.record.opening import (
    lock_for_writing,
    open_to_note,
    open_to_read,
    open_to_write,
    plain_words,
    unlock,
    writer_of,
)
from soundkin.record.rows import (
    COLUMNS,
    PUT,
    Array,
    Changes,
    FileRow,
    RecordedFailure,
    Summary,
    Track,
    floats,
    fold,
    from_row,
    storable,
    to_row,
    to_track,
    words_of,
)

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["Changes", "FileRow", "Record", "RecordedFailure", "Summary", "Track", "writer_of"]

# A file that failed since its track was embedded counts as what it is now.
_DAMAGED = "FROM damage d JOIN tracks t ON t.number = d.track WHERE t.path NOT IN (SELECT path FROM failures)"

_NUMBERS = ("bpm", "energy", "loudness", "duration")
_DISTINCT = ("title", "artist", "album", "album_artist", "genre", "key", "format")


class Record(FeedbackTables, ListingTables):
    """The record of one library; open it with `Record.open`, close it with `with` or `close()`.

    Any method raises StoreError when the file cannot be read or written. Reading from several threads is
    safe. Every changing method is whole by itself: it happens completely and is committed when it returns,
    unless it stands in a `batch()` or a `transaction()`.
    """

    def __init__(self, folder: Path, db: sqlite3.Connection, lock: "BaseFileLock | None") -> None:
        self.folder = folder
        self._db = db
        self._writer_lock = lock
        self._guard = threading.RLock()
        self._depth = 0  # changes nested in each other
        self._batch: tuple[int, float] | None = None
        self._pending, self._began = 0, 0.0  # changes since BEGIN, and when that was
        self._closed = False
        self._notes = False
        self._known: dict[str, tuple[int, Space]] = {}  # spaces; they never change, nor go
        self._distinct: dict[
            str, tuple[int, list[str]]
        ] = {}  # values of fields, with the revision they are of

    @classmethod
    def open(cls, folder: str | os.PathLike[str], write: bool = False) -> Self:
        """Open the record in a library folder.

        Parameters
        ----------
        folder : path
            The library folder.
        write : bool
            False opens for reading: nothing is created, another process may be writing, and a folder that
            cannot be written is fine. True creates the folder and the record when missing and keeps other
            writers out.

        Returns
        -------
        Record
            An open record.

        Raises
        ------
        NotFound
            There is no record to read.
        StoreError
            Another process is writing (the message names it), the file is damaged, was made by a newer
            Soundkin, or cannot be read or written.
        """
        path = Path(folder).absolute()
        if not write:
            return cls(path, open_to_read(path), None)
        lock = lock_for_writing(path)
        try:
            return cls(path, open_to_write(path), lock)
        except BaseException:
            unlock(path, lock)
            raise

    @classmethod
    def open_to_note(cls, folder: str | os.PathLike[str]) -> Self:
        """Open the record to read it and to add feedback, also while another process is writing.

        Parameters
        ----------
        folder : path
            The library folder.

        Returns
        -------
        Record
            An open record that takes profiles and feedback, and no other change.

        Raises
        ------
        NotFound
            There is no record.
        StoreError
            The file is damaged, was made by a newer Soundkin, or cannot be read.
        """
        path = Path(folder).absolute()
        record = cls(path, open_to_note(path), None)
        record._notes = True
        return record

    def close(self) -> None:
        """Close the record; an unfinished batch is committed by its own `with`, not here."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._db.close()
            if self._writer_lock is not None:
                unlock(self.folder, self._writer_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def uuid(self) -> str:
        """32 random hex digits that tell this record from every other, for an index to remember."""
        return str(self._rows("SELECT value FROM meta WHERE key = 'uuid'")[0][0])

    @property
    def revision(self) -> int:
        """Number of the latest change of a track."""
        return int(self._rows("SELECT value FROM meta WHERE key = 'revision'")[0][0])

    @property
    def commits(self) -> int:
        """A number that is another one once any other connection has committed anything; it costs next to nothing."""
        return int(self._rows("PRAGMA data_version")[0][0])

    # ---- changing

    @contextmanager
    def batch(self, every: int = 100, seconds: float = 5.0) -> Iterator[None]:
        """Commit the changes made inside only now and then, as a scan does: a commit waits for the disk.

        Every change is whole by itself, so what has been done is also committed when an exception leaves the
        block.

        Parameters
        ----------
        every : int
            Commit after so many changes,
        seconds : float
            or with the first change made so long after the last commit.

        Yields
        ------
        None

        Raises
        ------
        StoreError
            The record is open for reading, or cannot be written.
        """
        self._to_write()
        if self._batch is not None:
            raise StoreError("a batch is already open on this record: use one batch at a time")
        self._batch = every, seconds
        try:
            yield
        finally:
            self._batch = None
            with self._guard, plain_words(self.folder):
                self._commit()

    def transaction(self) -> AbstractContextManager[None]:
        """Make the changes inside happen together or, when an exception leaves the block, not at all.

        Returns
        -------
        context manager
            For a `with` statement; may stand inside a `batch()`.

        Raises
        ------
        StoreError
            The record is open for reading, or cannot be written.
        """
        return self._change()

    def add_space(self, space: Space, active: bool = True) -> None:
        """Make a space known, so that its vectors are accepted.

        Parameters
        ----------
        space : Space
            New, known or deactivated.
        active : bool
            True makes it active. False is for vectors from elsewhere: a known space stays as it is, a new one
            is not active.
        """
        with self._change():
            self._db.execute(
                "INSERT INTO spaces (id, json, created, active) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET active = max(active, excluded.active)",
                (space.id, space.to_json(), time.time(), int(active)),
            )

    def deactivate(self, space_id: str) -> None:
        """Say that no more vectors of a space will come; those there are stay.

        Parameters
        ----------
        space_id : str
            A known space.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        with self._change():
            number, _ = self._space(space_id)
            self._db.execute("UPDATE spaces SET active = 0 WHERE number = ?", (number,))

    def put(self, embedded: Embedded) -> str:
        """Record one embedded file with its vectors and its damage, and forget an earlier failure of it.

        A known path keeps its id. The vectors of the spaces given are replaced; when the content changed,
        those of all other spaces go, because they describe other audio.

        Parameters
        ----------
        embedded : Embedded
            Vectors finite, float32 (d,), of known spaces.

        Returns
        -------
        str
            The track's id. A new path gets the first free one of its content's: the same file gets the same
            id in every library, and copies in one library get different ones.

        Raises
        ------
        StoreError
            A vector's space is unknown or its shape or values are wrong.
        """
        with self._change():
            spaces = self._spaces()
            vectors = {_number(spaces, s): _checked(spaces[s], v) for s, v in embedded.vectors.items()}
            windows = {
                _number(spaces, s): _checked_windows(spaces[s], *w) for s, w in embedded.windows.items()
            }
            path = os.fsencode(embedded.file.path)
            found = self._db.execute(
                "SELECT number, id, content, added FROM tracks WHERE path = ?", (path,)
            ).fetchone()
            if found is None:
                id_, added = self._free_id(embedded.content), time.time()
                self._db.execute("DELETE FROM removed WHERE id = ?", (id_,))
            else:
                number, id_, content, added = found
                self._drop_vectors(
                    number, None if content != embedded.content else set(vectors) | set(windows)
                )
            track = to_track(embedded, id_, added)
            self._db.execute(PUT, (self._next_revision(), *to_row(track)))
            if found is None:
                number = self._db.execute("SELECT number FROM tracks WHERE id = ?", (id_,)).fetchone()[0]
            self._put_words(number, track)
            self._db.executemany(
                "INSERT INTO vectors VALUES (?, ?, ?)", [(s, number, v.tobytes()) for s, v in vectors.items()]
            )
            self._db.executemany(
                "INSERT INTO windows VALUES (?, ?, ?, ?)",
                [(s, number, starts.tobytes(), w.tobytes()) for s, (starts, w) in windows.items()],
            )
            self._keep_fingerprint(number, embedded.fingerprint, found is None or content == embedded.content)
            self._forget_failures(path)
            self._db.execute("DELETE FROM damage WHERE track = ?", (number,))
            if embedded.damage:
                damage = number, storable(embedded.damage), time.time()
                self._db.execute("INSERT INTO damage VALUES (?, ?, ?)", damage)
        return str(id_)

    def add_vectors(self, space_id: str, ids: Sequence[str], vectors: Sequence[npt.ArrayLike] | Array) -> int:
        """Give tracks vectors that were made elsewhere; a track that has one in the space keeps it.

        Parameters
        ----------
        space_id : str
            A known space.
        ids : sequence of str
            n track ids.
        vectors : float32 (n, d)
            Finite, in the same order.

        Returns
        -------
        int
            Number of tracks that had none and got one.

        Raises
        ------
        NotFound
            The space or a track is unknown.
        StoreError
            The shape or values of the vectors are wrong.
        """
        added = 0
        with self._change():
            space = self._space(space_id)
            for id_, vector in zip(ids, vectors, strict=True):
                found = self._db.execute("SELECT number FROM tracks WHERE id = ?", (id_,)).fetchone()
                if found is None:
                    raise NotFound(f"no track has the id {id_!r}: put it before its vectors")
                values = space[0], found[0], _checked(space, vector).tobytes()
                if self._db.execute("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)", values).rowcount:
                    revision = self._next_revision()
                    self._db.execute("UPDATE tracks SET revision = ? WHERE number = ?", (revision, found[0]))
                    added += 1
        return added

    def touch(self, file: FileState) -> None:
        """Record another size or time of a file with the same content, and forget an earlier failure of it.

        Parameters
        ----------
        file : FileState
            The file as it is now.

        Raises
        ------
        NotFound
            No track has this path.
        """
        self.move(file.path, file)

    def move(self, old_path: str, file: FileState) -> str:
        """Record that a file is now elsewhere with the same content; its track keeps id, vectors and tags.

        As on disk, a track that was at the new path is overwritten: it is removed.

        Parameters
        ----------
        old_path : str
            Path of the track so far.
        file : FileState
            The file as it is now.

        Returns
        -------
        str
            The track's id.

        Raises
        ------
        NotFound
            No track has the old path.
        """
        with self._change():
            track = self.by_path(old_path)
            if track is None:
                raise NotFound(f"no track has the path {old_path!r}: index it first")
            if file.path != old_path:
                self.remove(paths=[file.path])
            self._db.execute(
                "UPDATE tracks SET path = ?, size = ?, mtime_ns = ?, revision = ? WHERE id = ?",
                (os.fsencode(file.path), file.size, file.mtime_ns, self._next_revision(), track.id),
            )
            number = self._db.execute("SELECT number FROM tracks WHERE id = ?", (track.id,)).fetchone()[0]
            self._put_words(number, self.track(track.id))
            self._forget_failures(os.fsencode(old_path), os.fsencode(file.path))
        return track.id

    def fail(self, failure: Failure) -> None:
        """Record that a file could not be embedded; an earlier failure of the same path is replaced.

        A track of this path stays as it was. The usual cause is passing (a disk asleep, a file being
        written), and music must not drop out of every answer because of it; a file that is gone is for
        `remove`.

        Parameters
        ----------
        failure : Failure
            What went wrong, and the state of the file then.
        """
        file = failure.file
        with self._change():
            self._db.execute(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)",
                (
                    os.fsencode(file.path),
                    file.size,
                    file.mtime_ns,
                    storable(failure.kind),
                    storable(failure.reason),
                    time.time(),
                ),
            )

    def remove(self, ids: Iterable[str] = (), paths: Iterable[str] = ()) -> int:
        """Forget tracks with all that is theirs; of paths also their failures. The unknown is passed over.

        Parameters
        ----------
        ids : iterable of str
            Track ids.
        paths : iterable of str
            Paths of tracks or failures.

        Returns
        -------
        int
            Number of tracks removed.
        """
        removed = 0
        with self._change():
            for column, value in itertools.chain(
                (("id", i) for i in ids), (("path", os.fsencode(path)) for path in paths)
            ):
                if isinstance(value, bytes):
                    self._forget_failures(value)
                for number, id_ in self._rows(f"SELECT number, id FROM tracks WHERE {column} = ?", (value,)):
                    self._drop_vectors(number)
                    for table in ("words", "damage", "fingerprints"):
                        self._db.execute(f"DELETE FROM {table} WHERE track = ?", (number,))
                    self._db.execute("DELETE FROM tracks WHERE number = ?", (number,))
                    self._db.execute(
                        "INSERT OR REPLACE INTO removed VALUES (?, ?)", (id_, self._next_revision())
                    )
                    removed += 1
        return removed

    # ---- reading

    def files(self) -> dict[str, FileRow]:
        """Return what a scan compares the files it meets with.

        Returns
        -------
        dict of str to FileRow
            From path to id, size, mtime_ns and content.
        """
        rows = self._rows("SELECT path, id, size, mtime_ns, content FROM tracks")
        return {os.fsdecode(row[0]): FileRow._make(row[1:]) for row in rows}

    def paths(self) -> dict[str, str]:
        """Return where every track is.

        Returns
        -------
        dict of str to str
            From id to path.
        """
        return {row[0]: os.fsdecode(row[1]) for row in self._rows("SELECT id, path FROM tracks")}

    def failures(self) -> list[RecordedFailure]:
        """Return every file that could not be embedded, and every damaged one that was, by path.

        Returns
        -------
        list of RecordedFailure
            With kind, reason and time; of kind "damaged" are those that have a track all the same.
        """
        rows = self._rows(
            "SELECT path, size, mtime_ns, kind, reason, at FROM failures UNION ALL "
            f"SELECT t.path, t.size, t.mtime_ns, 'damaged', reason, at {_DAMAGED} ORDER BY 1"
        )
        return [
            RecordedFailure(Failure(FileState(os.fsdecode(path), size, mtime_ns), kind, reason), at)
            for path, size, mtime_ns, kind, reason, at in rows
        ]

    def damaged_files(self) -> set[str]:
        """Return the paths of the tracks whose files are damaged.

        Returns
        -------
        set of str
            Those that were embedded for what can be heard of them.
        """
        rows = self._rows("SELECT path FROM tracks WHERE number IN (SELECT track FROM damage)")
        return {os.fsdecode(row[0]) for row in rows}

    def failed_files(self) -> dict[str, tuple[int, int]]:
        """Return the files a scan need not try again while they are as they were.

        Returns
        -------
        dict of str to (int, int)
            From path to size and mtime_ns.
        """
        rows = self._rows("SELECT path, size, mtime_ns FROM failures")
        return {os.fsdecode(path): (size, mtime_ns) for path, size, mtime_ns in rows}

    def spaces(self) -> list[Space]:
        """Return every known space, oldest first.

        Returns
        -------
        list of Space
            Active or not.
        """
        return [space for _, space in self._spaces().values()]

    def active_spaces(self) -> list[Space]:
        """Return the spaces that new tracks are embedded in, oldest first.

        Returns
        -------
        list of Space
            Those added and not deactivated.
        """
        rows = self._rows("SELECT json FROM spaces WHERE active ORDER BY number")
        return [Space.from_json(row[0]) for row in rows]

    def track(self, track_id: str) -> Track:
        """Return one track.

        Parameters
        ----------
        track_id : str
            16 hex digits.

        Returns
        -------
        Track
            As it is now.

        Raises
        ------
        NotFound
            No track has this id.
        """
        for track in self.tracks([track_id]):
            return track
        raise NotFound(f"no track has the id {track_id!r}: search by words, or see the library's list")

    def tracks(self, ids: Sequence[str] | None = None) -> Iterator[Track]:
        """Return tracks one by one, in little memory.

        Parameters
        ----------
        ids : sequence of str, optional
            Which, in this order; ids that no track has are passed over. None for all by id: an order that
            depends on the music alone, not on which worker was done first.

        Yields
        ------
        Track
            As it is when its turn comes.
        """
        if ids is None:
            last = ""
            while rows := self._rows(
                f"SELECT {COLUMNS} FROM tracks t WHERE t.id > ? ORDER BY t.id LIMIT 2000", (last,)
            ):
                yield from map(from_row, rows)
                last = rows[-1][0]
            return
        for start in range(0, len(ids), 500):  # old SQLite takes at most 999 values in a statement
            chunk = list(map(storable, ids[start : start + 500]))
            rows = self._rows(
                f"SELECT {COLUMNS} FROM tracks t WHERE t.id IN (?{', ?' * (len(chunk) - 1)})", chunk
            )
            found = {row[0]: from_row(row) for row in rows}
            yield from (found[i] for i in chunk if i in found)

    def by_path(self, path: str) -> Track | None:
        """Return the track of a file.

        Parameters
        ----------
        path : str
            Absolute.

        Returns
        -------
        Track or None
            None when no track has this path.
        """
        try:
            encoded = os.fsencode(path)
        except UnicodeEncodeError:  # typed by a person; no file can have such a name
            return None
        rows = self._rows(f"SELECT {COLUMNS} FROM tracks t WHERE t.path = ?", (encoded,))
        return from_row(rows[0]) if rows else None

    def search(self, words: str, limit: int = 50) -> list[Track]:
        """Find tracks by words of title, artist, album, file name or the two folders above it.

        Case and accents do not matter. Every word must begin a word of the track, in any order. (It reads every text,
        which benchmarks/bench_scan.py times as a part of `similar`; unlike SQLite's FTS5 it is always there and finds
        part of a Japanese title.)

        Parameters
        ----------
        words : str
            What a person typed.
        limit : int
            At most so many.

        Returns
        -------
        list of Track
            First those where the words as typed are a whole field, then begin one, stand somewhere, stand
            somewhere with the last one unfinished, and the rest; ties by title.
        """
        phrase = fold(words)
        # a word of a script without spaces is folded to several; it is found as a whole
        wanted = [folded for word in words.split()[:32] if (folded := fold(word))]
        if not wanted:
            return []
        rows = self._rows(
            f"SELECT {COLUMNS} FROM words w JOIN tracks t ON t.number = w.track "
            f"WHERE {' AND '.join(['instr(w.text, ?)'] * len(wanted))} "
            "ORDER BY CASE WHEN instr(w.text, ?) THEN 0 WHEN instr(w.text, ?) THEN 1 "
            "WHEN instr(w.text, ?) THEN 2 WHEN instr(w.text, ?) THEN 3 ELSE 4 END, w.text, t.id LIMIT ?",
            (
                *(f" {word}" for word in wanted),
                f"| {phrase} |",
                f"| {phrase} ",
                f" {phrase} ",
                f" {phrase}",
                limit,
            ),
        )
        return [from_row(row) for row in rows]

    def vectors(self, space_id: str) -> tuple[list[str], Array]:
        """Return every vector of a space.

        Parameters
        ----------
        space_id : str
            A known space.

        Returns
        -------
        ids : list of str
            Of the n tracks that have a vector, sorted.
        vectors : float32 (n, d)
            In the same order.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        with self._snapshot():
            number, space = self._space(space_id)
            ids = self._rows("SELECT id, number FROM tracks ORDER BY id")
            place = {track: i for i, (_, track) in enumerate(ids)}
            out = np.empty((len(ids), space.dims), np.float32)
            held = np.zeros(len(ids), bool)
            cursor = self._db.execute("SELECT track, vector FROM vectors WHERE space = ?", (number,))
            while rows := cursor.fetchmany(8192):
                places = [place[track] for track, _ in rows]
                out[places] = np.frombuffer(b"".join([blob for _, blob in rows]), "<f4").reshape(
                    len(rows), -1
                )
                held[places] = True
        if held.all():
            return [id_ for id_, _ in ids], out
        return [id_ for (id_, _), there in zip(ids, held, strict=True) if there], out[held]

    def vector(self, track_id: str, space_id: str) -> Array:
        """Return one track's vector.

        Parameters
        ----------
        track_id, space_id : str
            A track, and a space it was embedded in.

        Returns
        -------
        float32 (d,)
            As it was put.

        Raises
        ------
        NotFound
            The space is unknown, or the track has no vector in it.
        """
        ((blob,),) = self._of_track("v.vector", "vectors", track_id, space_id)
        return floats(blob)

    def vectors_of(self, ids: Sequence[str], space_id: str) -> Array:
        """Return the vectors of some tracks.

        Parameters
        ----------
        ids : sequence of str
            Tracks that have a vector in the space.
        space_id : str
            A known space.

        Returns
        -------
        float32 (n, d)
            In the order of `ids`.

        Raises
        ------
        NotFound
            The space is unknown, or a track has no vector in it.
        """
        number, space = self._space(space_id)
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), 500):
            chunk = list(ids[start : start + 500])
            rows = self._rows(
                "SELECT t.id, v.vector FROM tracks t CROSS JOIN vectors v ON v.space = ? AND v.track = t.number "
                f"WHERE t.id IN (?{', ?' * (len(chunk) - 1)})",
                (number, *chunk),
            )
            found.update(rows)
        missing = next((id_ for id_ in ids if id_ not in found), None)
        if missing is not None:
            raise NotFound(f"track {missing!r} has no vectors in the space {space_id!r}: index it again")
        joined = b"".join([found[id_] for id_ in ids])
        return np.frombuffer(joined, "<f4").astype(np.float32).reshape(len(ids), space.dims)

    def tracks_with_vectors(self, ids: Sequence[str], space_id: str) -> list[tuple[Track, Array]]:
        """Return those of some tracks that are there and have a vector in a space.

        Parameters
        ----------
        ids : sequence of str
            Track ids.
        space_id : str
            A known space.

        Returns
        -------
        list of (Track, float32 (d,))
            By id.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, _ = self._space(space_id)
        found: dict[str, tuple[Track, Array]] = {}
        for start in range(0, len(ids), 500):
            chunk = list(ids[start : start + 500])
            rows = self._rows(
                f"SELECT {COLUMNS}, v.vector FROM tracks t CROSS JOIN vectors v ON v.space = ? AND v.track = t.number "
                f"WHERE t.id IN (?{', ?' * (len(chunk) - 1)})",
                (number, *chunk),
            )
            found.update((row[0], (from_row(row[:-1]), floats(row[-1]))) for row in rows)
        return [found[id_] for id_ in sorted(found)]

    def sample(self, space_id: str, most: int) -> Array:
        """Return the vectors of tracks that stand for all.

        Parameters
        ----------
        space_id : str
            A known space.
        most : int
            At most so many.

        Returns
        -------
        float32 (n, d)
            Those with the smallest ids. Ids are digests of the music: the choice is as good as drawn by lot, the same
            in every copy of a library, and changes little as it grows.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, space = self._space(space_id)
        rows = self._rows(
            "SELECT v.vector FROM tracks t CROSS JOIN vectors v ON v.space = ? AND v.track = t.number "
            "ORDER BY t.id LIMIT ?",
            (number, most),
        )
        return (
            np.frombuffer(b"".join([row[0] for row in rows]), "<f4")
            .astype(np.float32)
            .reshape(-1, space.dims)
        )

    def size(self, space_id: str) -> int:
        """Return how many tracks have a vector in a space.

        Parameters
        ----------
        space_id : str
            A known space.

        Returns
        -------
        int
            Their number.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, _ = self._space(space_id)
        return int(self._rows("SELECT count(*) FROM vectors WHERE space = ?", (number,))[0][0])

    def windows(self, track_id: str, space_id: str) -> tuple[Array, Array]:
        """Return one track's windows.

        Parameters
        ----------
        track_id, space_id : str
            A track, and a space it was embedded in.

        Returns
        -------
        starts : float32 (w,)
            Seconds.
        vectors : float32 (w, d)
            Kept with 11 significant bits.

        Raises
        ------
        NotFound
            The space is unknown, or the track has no windows in it.
        """
        ((starts, blob),) = self._of_track("v.starts, v.vectors", "windows", track_id, space_id)
        times = floats(starts)
        return times, np.frombuffer(blob, "<f2").astype(np.float32).reshape(len(times), -1)

    def fingerprints(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the fingerprints of tracks, see `fingerprint`.

        Parameters
        ----------
        ids : sequence of str
            Track ids.

        Returns
        -------
        dict of str to bytes
            Without those of tracks that have none: imported, or indexed by an older Soundkin.
        """
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), 500):
            chunk = list(map(storable, ids[start : start + 500]))
            found |= self._rows(
                "SELECT t.id, f.bytes FROM tracks t JOIN fingerprints f ON f.track = t.number "
                f"WHERE t.id IN (?{', ?' * (len(chunk) - 1)})",
                chunk,
            )
        return found

    def missing(self, space_id: str) -> list[str]:
        """Return the files that have no vector in a space.

        Parameters
        ----------
        space_id : str
            A known space.

        Returns
        -------
        list of str
            Paths, in the order in which they came into the record.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, _ = self._space(space_id)
        rows = self._rows(
            "SELECT path FROM tracks WHERE number NOT IN (SELECT track FROM vectors WHERE space = ?) "
            "ORDER BY number",
            (number,),
        )
        return [os.fsdecode(row[0]) for row in rows]

    def changes(self, since: int) -> Changes:
        """Return what an index that stands at a revision must apply.

        Only what is committed counts, also in the process that writes: what a crash can take back must not be
        applied.

        Parameters
        ----------
        since : int
            The revision of the last call, or 0 for everything.

        Returns
        -------
        Changes
            The tracks that are new or different, each with all its vectors by space id; the ids removed; and
            the revision to pass next time. The tracks are read as they are asked for: one that changes
            meanwhile comes with the next call.

        Raises
        ------
        StoreError
            `since` is later than the record (it is another one, or an old copy): build the index anew.
        """
        with Record.open(self.folder) as committed:
            revision = committed.revision
            if since > revision:
                raise StoreError(
                    f"the index is at revision {since}, the record in {self.folder} only at {revision} "
                    "(an old copy?): delete the index, it will be built anew"
                )
            rows = committed._rows("SELECT id FROM removed WHERE revision > ? ORDER BY revision", (since,))
        return Changes(self._changed(since, revision), [row[0] for row in rows], revision)

    def distinct(self, field: str) -> list[str]:
        """Return the values a field has, for completion and filters.

        Parameters
        ----------
        field : str
            title, artist, album, album_artist, genre, key or format. The title of a track without one is its `name`.

        Returns
        -------
        list of str
            Sorted without regard to case; empty values are left out.

        Raises
        ------
        InputError
            There is no such field.
        """
        if field not in _DISTINCT:
            raise InputError(f"no field {field!r} has a list of values: use one of {', '.join(_DISTINCT)}")
        revision = self.revision
        seen, known = self._distinct.get(field, (-1, []))
        if seen != revision:
            known = self._values(field)
            self._distinct[field] = revision, known
        return list(known)

    def _values(self, field: str) -> list[str]:
        column = "genres" if field == "genre" else field
        values = {row[0] for row in self._rows(f"SELECT DISTINCT {column} FROM tracks")}
        if field == "genre":
            values = {genre for genres in values for genre in json.loads(genres)}
        if field == "title" and "" in values:
            paths = self._rows("SELECT path FROM tracks WHERE title = ''")
            values |= {storable(Path(os.fsdecode(path)).stem) for (path,) in paths}
        return sorted(values - {""}, key=lambda value: (value.casefold(), value))

    def numbers(self, field: str) -> npt.NDArray[np.float64]:
        """Return the numbers that tracks have in a field.

        Parameters
        ----------
        field : str
            bpm, energy, loudness or duration.

        Returns
        -------
        float64 (n,)
            Of the tracks that have one, in no order.

        Raises
        ------
        InputError
            There is no such field.
        """
        if field not in _NUMBERS:
            raise InputError(f"no field {field!r} has numbers: use one of {', '.join(_NUMBERS)}")
        rows = self._rows(f"SELECT {field} FROM tracks WHERE {field} IS NOT NULL")
        return np.array([row[0] for row in rows], np.float64)

    def counts(self) -> Summary:
        """Sum up what the library holds.

        Returns
        -------
        Summary
            Totals.
        """
        with self._snapshot():
            tracks, seconds, audio = self._rows(
                "SELECT count(*), coalesce(sum(duration), 0.0), coalesce(sum(size), 0) FROM tracks"
            )[0]
            pages, page = self._rows("PRAGMA page_count")[0][0], self._rows("PRAGMA page_size")[0][0]
            formats = self._rows("SELECT format, count(*) FROM tracks GROUP BY 1 ORDER BY 2 DESC, 1")
            failures = self._rows(
                "SELECT kind, count(*) FROM (SELECT kind FROM failures UNION ALL "
                f"SELECT 'damaged' {_DAMAGED}) GROUP BY 1 ORDER BY 2 DESC, 1"
            )
            vectors = self._rows(
                "SELECT id, (SELECT count(*) FROM vectors WHERE space = number) FROM spaces "
                "ORDER BY 2 DESC, number"
            )
        return Summary(tracks, seconds, audio, pages * page, dict(formats), dict(failures), dict(vectors))

    # ---- inside

    def _open_db(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"the record in {self.folder} has been closed: open it again")
        return self._db

    def _to_write(self) -> sqlite3.Connection:
        if self._writer_lock is None:
            raise StoreError(f"the record in {self.folder} was opened for reading: open it with write=True")
        return self._open_db()

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._guard, plain_words(self.folder):
            return self._open_db().execute(sql, values).fetchall()

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Let several queries see the same state, whatever another process commits meanwhile."""
        with self._guard, plain_words(self.folder):
            db = self._open_db()
            begin = not db.in_transaction
            if begin:
                db.execute("BEGIN")
            try:
                yield
            finally:
                if begin:
                    db.execute("COMMIT")

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Make one change whole, alone or as part of what surrounds it."""
        with self._guard, plain_words(self.folder):
            db = self._to_write()
            if not db.in_transaction:
                db.execute("BEGIN IMMEDIATE")
                self._pending, self._began = 0, time.monotonic()
            db.execute("SAVEPOINT change")
            self._depth += 1
            try:
                yield
                db.execute("RELEASE change")
            except BaseException:
                if db.in_transaction:  # when the disk is full, SQLite itself may have rolled everything back
                    db.execute("ROLLBACK TO change")
                    db.execute("RELEASE change")
                    if self._depth == 1 and self._batch is None:
                        db.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1
            if self._depth == 0:
                self._pending += 1
                every, seconds = self._batch or (1, 0.0)
                if self._pending >= every or time.monotonic() - self._began >= seconds:
                    self._commit()

    @contextmanager
    def _note(self) -> Iterator[None]:
        """Add feedback as one change; unlike others it needs no lock of its own, for it takes no revision."""
        if not self._notes:
            with self._change():
                yield
            return
        with self._guard, plain_words(self.folder):
            db = self._open_db()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _commit(self) -> None:
        if not self._closed and self._db.in_transaction:
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _next_revision(self) -> int:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
        return self.revision

    def _free_id(self, content: str) -> str:
        for salt in itertools.count():
            id_ = hashlib.blake2b(f"{content}:{salt}".encode(), digest_size=8).hexdigest()
            if not self._db.execute("SELECT 1 FROM tracks WHERE id = ?", (id_,)).fetchone():
                return id_
        raise AssertionError("unreachable")

    def _put_words(self, number: int, track: Track) -> None:
        self._db.execute("INSERT OR REPLACE INTO words VALUES (?, ?)", (number, words_of(track)))

    def _drop_vectors(self, track: int, spaces: set[int] | None = None) -> None:
        """Delete a track's vectors and windows of some spaces, or of all."""
        numbers = [number for number, _ in self._spaces().values()] if spaces is None else spaces
        for table in ("vectors", "windows"):
            self._db.executemany(
                f"DELETE FROM {table} WHERE space = ? AND track = ?", [(number, track) for number in numbers]
            )

    def _keep_fingerprint(self, track: int, fingerprint: bytes, same: bool) -> None:
        """Store a fingerprint; without one, that of the same content stays and that of another one goes."""
        if fingerprint:
            self._db.execute("INSERT OR REPLACE INTO fingerprints VALUES (?, ?)", (track, fingerprint))
        elif not same:
            self._db.execute("DELETE FROM fingerprints WHERE track = ?", (track,))

    def _forget_failures(self, *paths: bytes) -> None:
        self._db.executemany("DELETE FROM failures WHERE path = ?", [(path,) for path in paths])

    def _spaces(self) -> dict[str, tuple[int, Space]]:
        rows = self._rows("SELECT id, number, json FROM spaces ORDER BY number")
        return {id_: (number, Space.from_json(text)) for id_, number, text in rows}

    def _space(self, space_id: str) -> tuple[int, Space]:
        if space_id in self._known:
            return self._known[space_id]
        self._known = spaces = self._spaces()
        if space_id not in spaces:
            raise NotFound(f"the library has no space {space_id!r}: it has {', '.join(spaces) or 'none yet'}")
        return spaces[space_id]

    def _of_track(self, what: str, table: str, track_id: str, space_id: str) -> list[tuple[bytes, ...]]:
        number, _ = self._space(space_id)
        rows = self._rows(
            f"SELECT {what} FROM tracks t JOIN {table} v ON v.space = ? AND v.track = t.number "
            "WHERE t.id = ?",
            (number, track_id),
        )
        if not rows:
            raise NotFound(f"track {track_id!r} has no {table} in the space {space_id!r}: index it again")
        return rows

    def _changed(self, since: int, until: int) -> Iterator[tuple[Track, dict[str, Array]]]:
        with Record.open(self.folder) as committed:
            while True:
                with committed._snapshot():
                    rows = committed._rows(
                        f"SELECT {COLUMNS}, t.revision FROM tracks t "
                        "WHERE t.revision > ? AND t.revision <= ? ORDER BY t.revision LIMIT 1000",
                        (since, until),
                    )
                    if not rows:
                        return
                    last = rows[-1][-1]
                    # CROSS keeps SQLite to this order: left to itself it reads every vector there is to find these
                    found = committed._rows(
                        "SELECT t.id, s.id, v.vector FROM tracks t CROSS JOIN spaces s "
                        "CROSS JOIN vectors v ON v.space = s.number AND v.track = t.number "
                        "WHERE t.revision > ? AND t.revision <= ?",
                        (since, last),
                    )
                vectors: dict[str, dict[str, Array]] = {}
                for track_id, space_id, blob in found:
                    vectors.setdefault(track_id, {})[space_id] = floats(blob)
                for row in rows:
                    yield from_row(row[:-1]), vectors.get(row[0], {})
                since = last


def _number(spaces: dict[str, tuple[int, Space]], space_id: str) -> int:
    if space_id not in spaces:
        raise StoreError(f"vectors of the unknown space {space_id!r} came: add_space() it before its vectors")
    return spaces[space_id][0]


def _checked(numbered: tuple[int, Space], vector: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return a track vector as it is stored, or refuse what is not of the space."""
    space = numbered[1]
    out = _finite(space, vector)
    if out.shape != (space.dims,):
        raise StoreError(
            f"a vector of shape {out.shape} came for the space {space.id}, which has ({space.dims},)"
        )
    return out


def _checked_windows(
    numbered: tuple[int, Space], starts: npt.ArrayLike, vectors: npt.ArrayLike
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float16]]:
    """Return windows as they are stored; their width is the encoder's own, since pooling may change it."""
    windows, times = _finite(numbered[1], vectors), np.asarray(starts, "<f4")
    if windows.ndim != 2 or times.shape != windows.shape[:1]:
        raise StoreError(
            f"starts of shape {times.shape} came for windows of shape {windows.shape}: wanted (w,), (w, d)"
        )
    limit = np.finfo(np.float16).max
    if windows.size and np.abs(windows).max() > limit:
        raise StoreError(f"a window vector beyond {limit} came for the space {numbered[1].id}: scale it down")
    return times, windows.astype("<f2")


def _finite(space: Space, vectors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    out = np.asarray(vectors, "<f4")
    if not np.isfinite(out).all():
        raise StoreError(
            f"a vector with NaN or infinity came for the space {space.id}: wanted finite numbers"
        )
    return out
