"""The record of one library: the truth from which the search index is derived.

One SQLite file, or a PostgreSQL database that many servers share, holds every track with its tags, its vectors in
every space, and every failure with its reason. One process writes, any number read at the same time. Each change of a
track gets the next number of one counter, the revision, so that an index can ask for everything that happened since it
last looked.

`sqlite` and `postgres` have the tables and how they are opened and locked, `database` what the two do each in its way,
`connection` how a record is read and changed, `rows` what a row looks like in Python. `vectors`, `listing`, `feedback`,
`layouts` and `runs` each hold the statements about one thing; this file those about files and their tracks.
"""

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence

from soundkin.embed import Embedded, Failure, FileState
from soundkin.errors import NotFound, StoreError
from soundkin.record.database import writer_now, writer_of
from soundkin.record.derived import DerivedTables
from soundkin.record.feedback import FeedbackTables
from soundkin.record.layouts import LayoutTables
from soundkin.record.listing import ListingTables
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
    track_id,
    words_of,
)
from soundkin.record.runs import RunTables

__all__ = ["Changes", "FileRow", "Record", "RecordedFailure", "Summary", "Track", "writer_now", "writer_of"]

# A file that failed since its track was embedded counts as what it is now.
_DAMAGED = "FROM damage d JOIN tracks t ON t.number = d.track WHERE t.path NOT IN (SELECT path FROM failures)"


class Record(FeedbackTables, LayoutTables, ListingTables, RunTables, DerivedTables):
    """The record of one library; open it with `Record.open`, close it with `with` or `close()`.

    Any method raises StoreError when the file cannot be read or written. Reading from several threads is
    safe. Every changing method is whole by itself: it happens completely and is committed when it returns,
    unless it stands in a `batch()` or a `transaction()`.
    """

    # ---- changing

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
            vectors, windows = self._checked(embedded)
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
            self._add_vectors(number, vectors, windows)
            self._keep_fingerprint(number, embedded.fingerprint, found is None or content == embedded.content)
            self._forget_failures(path)
            self._db.execute("DELETE FROM damage WHERE track = ?", (number,))
            if embedded.damage:
                damage = number, storable(embedded.damage), time.time()
                self._db.execute("INSERT INTO damage VALUES (?, ?, ?)", damage)
        return str(id_)

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
                "INSERT INTO failures (path, size, mtime_ns, kind, reason, at) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, "
                "kind = excluded.kind, reason = excluded.reason, at = excluded.at",
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
                        "INSERT INTO removed VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET revision = excluded.revision",
                        (id_, self._next_revision()),
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
            f"WHERE {' AND '.join(['instr(w.text, ?) > 0'] * len(wanted))} "
            "ORDER BY CASE WHEN instr(w.text, ?) > 0 THEN 0 WHEN instr(w.text, ?) > 0 THEN 1 "
            "WHEN instr(w.text, ?) > 0 THEN 2 WHEN instr(w.text, ?) > 0 THEN 3 ELSE 4 END, w.text, t.id LIMIT ?",
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
        with Record.open(self.place) as committed:
            revision = committed.revision
            if since > revision:
                raise StoreError(
                    f"the index is at revision {since}, the record in {self.name} only at {revision} "
                    "(an old copy?): delete the index, it will be built anew"
                )
            rows = committed._rows("SELECT id FROM removed WHERE revision > ? ORDER BY revision", (since,))
        return Changes(self._changed(since, revision), [row[0] for row in rows], revision)

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
            stored = self._db.stored_bytes()
            formats = self._rows("SELECT format, count(*) FROM tracks GROUP BY 1 ORDER BY 2 DESC, 1")
            failures = self._rows(
                "SELECT kind, count(*) FROM (SELECT kind FROM failures UNION ALL "
                f"SELECT 'damaged' {_DAMAGED}) AS f GROUP BY 1 ORDER BY 2 DESC, 1"
            )
            vectors = self._rows(
                "SELECT id, (SELECT count(*) FROM vectors WHERE space = number) FROM spaces "
                "ORDER BY 2 DESC, number"
            )
        return Summary(tracks, seconds, int(audio), stored, dict(formats), dict(failures), dict(vectors))

    # ---- inside

    def _free_id(self, content: str) -> str:
        for salt in itertools.count():
            id_ = track_id(content, salt)
            if not self._db.execute("SELECT 1 FROM tracks WHERE id = ?", (id_,)).fetchone():
                return id_
        raise AssertionError("unreachable")

    def _put_words(self, number: int, track: Track) -> None:
        self._db.execute(
            "INSERT INTO words VALUES (?, ?) ON CONFLICT (track) DO UPDATE SET text = excluded.text",
            (number, words_of(track)),
        )

    def _forget_failures(self, *paths: bytes) -> None:
        self._db.executemany("DELETE FROM failures WHERE path = ?", [(path,) for path in paths])

    def _changed(self, since: int, until: int) -> Iterator[tuple[Track, dict[str, Array]]]:
        with Record.open(self.place) as committed:
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
                        "CROSS JOIN vectors v WHERE v.space = s.number AND v.track = t.number "
                        "AND t.revision > ? AND t.revision <= ?",
                        (since, last),
                    )
                vectors: dict[str, dict[str, Array]] = {}
                for track_id, space_id, blob in found:
                    vectors.setdefault(track_id, {})[space_id] = floats(blob)
                for row in rows:
                    yield from_row(row[:-1]), vectors.get(row[0], {})
                since = last
