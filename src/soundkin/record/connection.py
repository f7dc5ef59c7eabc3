"""How a record's file is read and changed: what stands together in one transaction, and what a batch commits."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from soundkin.errors import StoreError
from soundkin.record.opening import (
    lock_for_writing,
    open_to_note,
    open_to_read,
    open_to_write,
    plain_words,
    unlock,
)

if TYPE_CHECKING:
    from filelock import BaseFileLock


class Connection:
    """An open record, with nothing yet about what it holds; see `Record`."""

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
