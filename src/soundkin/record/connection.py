"""How a record is read and changed: what stands together in one transaction, and what a batch commits."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

from soundkin.errors import StoreError
from soundkin.record.database import Database, Place, engine_of, place_of, shown

_READ, _NOTE, _WRITE = "read", "note", "write"  # what may be done to an open record


class Connection:
    """An open record, with nothing yet about what it holds; see `Record`."""

    def __init__(self, place: Place, db: Database, allowed: str) -> None:
        self.place, self.name = place, shown(place)
        self._db = db
        self._allowed = allowed
        self._guard = threading.RLock()
        self._depth = 0  # changes nested in each other
        self._batch: tuple[int, float] | None = None
        self._pending, self._began = 0, 0.0  # changes since BEGIN, and when that was
        self._closed = False

    @classmethod
    def open(cls, where: str | os.PathLike[str], write: bool = False) -> Self:
        """Open the record of a library.

        Parameters
        ----------
        where : path or URL
            The library folder, or ``postgresql://user@host/database``.
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
            Another process is writing (the message names it), the record is damaged, was made by a newer
            Soundkin, or cannot be read or written.
        MissingExtra
            It is a URL, and psycopg is not installed.
        """
        place = place_of(where)
        engine = engine_of(place)
        if write:
            return cls(place, engine.open_to_write(place), _WRITE)
        return cls(place, engine.open_to_read(place), _READ)

    @classmethod
    def open_to_note(cls, where: str | os.PathLike[str]) -> Self:
        """Open the record to read it and to add feedback, also while another process is writing.

        Parameters
        ----------
        where : path or URL
            As for `open`.

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
        place = place_of(where)
        return cls(place, engine_of(place).open_to_note(place), _NOTE)

    def close(self) -> None:
        """Close the record; an unfinished batch is committed by its own `with`, not here."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._db.close()

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
            with self._guard, self._db.in_plain_words():
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

    def _open_db(self) -> Database:
        if self._closed:
            raise StoreError(f"the record in {self.name} has been closed: open it again")
        return self._db

    def _to_write(self) -> Database:
        if self._allowed != _WRITE:
            raise StoreError(f"the record in {self.name} was opened for reading: open it with write=True")
        return self._open_db()

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._guard, self._db.in_plain_words():
            rows: list[Any] = self._open_db().execute(sql, values).fetchall()
            return rows

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Let several queries see the same state, whatever another process commits meanwhile."""
        with self._guard, self._db.in_plain_words():
            db = self._open_db()
            begin = not db.in_transaction
            if begin:
                db.begin(writing=False)
            try:
                yield
            finally:
                if begin and db.in_transaction:  # a server that went has ended it
                    db.execute("COMMIT")

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Make one change whole, alone or as part of what surrounds it."""
        with self._guard, self._db.in_plain_words():
            db = self._to_write()
            if not db.in_transaction:
                db.begin(writing=True)
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
    def _note(self, alone: bool = True) -> Iterator[None]:
        """Add feedback as one change; unlike others it needs no lock of its own, for it takes no revision.

        Notes from several processes wait for one another, but for those that say they need not be `alone`.
        """
        if self._allowed != _NOTE:
            with self._change():
                self._db.line_up(alone)
                yield
            return
        with self._guard, self._db.in_plain_words():
            db = self._open_db()
            db.begin(writing=True)
            try:
                db.line_up(alone)
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
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _next_revision(self) -> int:
        return self._db.next_revision()
