"""A record in a file of SQLite's: its tables and their versions, its one writer, its errors in plain words."""

import json
import os
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundkin.errors import NotFound, StoreError
from soundkin.record.database import Database, about_me, in_words, too_new
from soundkin.record.rows import stem_of

if TYPE_CHECKING:
    from filelock import BaseFileLock

FILE_NAME = "record.sqlite"

# Each script takes a record from version i to i + 1; a released script is never edited. `number` is a short
# key for the tables of one record, never shown: with it vectors are appended in order, where the random
# digits of an id would rewrite a page per track. Paths are bytes because a file name need not be Unicode.
MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    INSERT INTO meta VALUES
        ('uuid', lower(hex(randomblob(16)))), ('created', strftime('%s', 'now')), ('revision', 0);
    CREATE TABLE tracks (
        number INTEGER PRIMARY KEY, revision INTEGER NOT NULL,
        id TEXT NOT NULL UNIQUE, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        content TEXT NOT NULL,
        title TEXT NOT NULL, artist TEXT NOT NULL, album TEXT NOT NULL, album_artist TEXT NOT NULL,
        genres TEXT NOT NULL, -- a JSON list
        year INTEGER, track INTEGER, disc INTEGER, duration REAL NOT NULL,
        bpm REAL, key TEXT NOT NULL, energy REAL, loudness REAL,
        format TEXT NOT NULL, sample_rate INTEGER NOT NULL, channels INTEGER NOT NULL, added REAL NOT NULL,
        tagged_bpm REAL, recording_mbid TEXT NOT NULL, release_mbid TEXT NOT NULL, artist_mbid TEXT NOT NULL,
        isrc TEXT NOT NULL, track_gain REAL, album_gain REAL
    );
    CREATE INDEX tracks_content ON tracks (content);
    CREATE INDEX tracks_revision ON tracks (revision);
    CREATE TABLE words (track INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE TABLE removed (id TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX removed_revision ON removed (revision);
    CREATE TABLE spaces (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, json TEXT NOT NULL,
        created REAL NOT NULL, active INTEGER NOT NULL
    );
    CREATE TABLE vectors (
        space INTEGER NOT NULL, track INTEGER NOT NULL,
        vector BLOB NOT NULL, -- float32, little endian
        PRIMARY KEY (space, track)
    ) WITHOUT ROWID;
    CREATE TABLE windows (
        space INTEGER NOT NULL, track INTEGER NOT NULL,
        starts BLOB NOT NULL, -- float32 (w,), seconds
        vectors BLOB NOT NULL, -- float16 (w, d)
        PRIMARY KEY (space, track)
    );
    CREATE TABLE failures (
        path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        kind TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE damage (track INTEGER PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL);
    -- Untitled tracks are filtered by the names of their files from now on: an index has to take them again.
    UPDATE tracks SET revision = number + (SELECT value FROM meta WHERE key = 'revision') WHERE title = '';
    UPDATE meta SET value = max(value, coalesce((SELECT max(revision) FROM tracks), 0)) WHERE key = 'revision';
    """,
    """
    CREATE TABLE profiles (name TEXT PRIMARY KEY, created REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE feedback (
        number INTEGER PRIMARY KEY, profile TEXT NOT NULL,
        track TEXT NOT NULL, -- tracks.id; the track may be gone, and may come back
        kind TEXT NOT NULL CHECK (kind IN ('like', 'dislike', 'unlike', 'skip', 'play')),
        at REAL NOT NULL
    );
    CREATE INDEX feedback_profile ON feedback (profile, track, kind, at);
    """,
    """
    CREATE TABLE fingerprints (track INTEGER PRIMARY KEY, bytes BLOB NOT NULL); -- see fingerprint.py
    """,
    """
    CREATE TABLE layouts (
        space TEXT NOT NULL, method TEXT NOT NULL, seed INTEGER NOT NULL, anchors INTEGER NOT NULL,
        ids BLOB NOT NULL, -- the digits of tracks.id as uint64 (n,), little endian
        places BLOB NOT NULL, -- float32 (n, 2)
        PRIMARY KEY (space, method, seed)
    );
    """,
)

# synchronous=FULL: one fsync a commit, which a scan pays every few seconds and no one notices. NORMAL would
# survive `kill -9` as well, but a power cut could take back the last commits; an index that had already
# applied them would then be ahead of its record and miss whatever gets the same revisions the second time.
_WRITER_PRAGMAS = """
    PRAGMA page_size = 16384;  -- 512-d vectors (2 KB) fit seven to a page instead of spilling
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -32768;
"""
_PATIENCE = (
    10.0  # seconds to wait for a lock of another process, e.g. while it recovers the file after a crash
)

# A scan holds the lock of the file for 5 s at a time, and longer while one file takes long.
_LONG_PATIENCE = 60.0


_BATCH = 8192


class SQLite(sqlite3.Connection, Database):
    """An open file; see `Database`."""

    folder: Path
    lock: "BaseFileLock | None" = None

    def begin(self, writing: bool) -> None:
        """Begin a transaction, which for `writing` waits for that of another connection."""
        self.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    def line_up(self, alone: bool) -> None:
        """Do nothing, `alone` or not: one transaction writes at a time."""

    def next_revision(self) -> int:
        """Take the next revision."""
        self.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
        return int(self.execute("SELECT value FROM meta WHERE key = 'revision'").fetchone()[0])

    def batches(self, sql: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        """Yield the rows of a query with these `values`, some at a time."""
        cursor = self.execute(sql, values)
        while rows := cursor.fetchmany(_BATCH):
            yield rows

    def stored_bytes(self) -> int:
        """Return how large the file is when all that is committed stands in it."""
        (pages,), (size,) = (self.execute(f"PRAGMA page_{what}").fetchone() for what in ("count", "size"))
        return int(pages * size)

    def go_on_numbering(self) -> None:
        """Do nothing: the next number is one more than the largest."""

    def say(self, how_far: dict[str, Any]) -> None:
        """Say in the file that names the writer how far its scan is."""
        file = self.folder / "writer.json"
        with suppress(OSError, ValueError):
            said = json.loads(file.read_text())
            (new := file.with_suffix(".new")).write_text(json.dumps(said | {"scan": how_far}))
            os.replace(new, file)

    def in_plain_words(self) -> AbstractContextManager[None]:
        """Turn what SQLite says into one line that names the cause."""
        return plain_words(self.folder)

    def close(self) -> None:
        """Let go of the file, and of the lock of its one writer."""
        super().close()
        if self.lock is not None:
            unlock(self.folder, self.lock)


def open_to_read(folder: Path) -> SQLite:
    """Open an existing record without changing anything; see `Record.open`."""
    file = folder / FILE_NAME
    nothing = NotFound(f"there is no library in {folder}: make one with `soundkin index PATH...`")
    with plain_words(folder):
        try:
            file.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise nothing from None
        except OSError as error:
            raise StoreError(f"{file} cannot be read ({error.strerror}): check its permissions") from error
        try:
            db, version = _connect(file, "mode=ro")
        except sqlite3.OperationalError as error:
            # In a folder that cannot be written, SQLite cannot make the shared memory its readers and writer
            # meet in. With nothing left in the write-ahead log the file alone is whole, and `immutable` reads
            # just that.
            log = folder / f"{FILE_NAME}-wal"
            unwritable = error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))
            if not unwritable or (log.exists() and log.stat().st_size):
                raise
            db, version = _connect(file, "immutable=1")
        if version == 0:
            db.close()
            raise nothing
        if version < len(MIGRATIONS):
            db.close()
            _renew(folder)
            db, _ = _connect(file, "mode=ro")
        return db


def open_to_note(folder: Path) -> SQLite:
    """Open an existing record to add feedback to it, while another process may be writing the rest."""
    open_to_read(folder).close()  # says what is wrong, and brings the tables up to date
    with plain_words(folder):
        db, _ = _connect(folder / FILE_NAME, "mode=rw", _LONG_PATIENCE)
        db.execute("PRAGMA synchronous = FULL")
        return db


def _renew(folder: Path) -> None:
    """Bring the tables of an older Soundkin up to date, which is adding a few empty ones."""
    try:
        open_to_write(folder).close()
    except StoreError as error:
        raise StoreError(
            f"the library in {folder} is of an older Soundkin and could not be renewed: {error}"
        ) from error


def open_to_write(folder: Path) -> SQLite:
    """Become the only writer, open or create the record, and bring its tables up to date."""
    lock = lock_for_writing(folder)
    try:
        db = _open_to_write(folder)
    except BaseException:
        unlock(folder, lock)
        raise
    db.lock = lock
    return db


def _open_to_write(folder: Path) -> SQLite:
    with plain_words(folder):
        db, version = _connect(folder / FILE_NAME, "mode=rwc")
        try:
            db.executescript(_WRITER_PRAGMAS)
            if version < len(MIGRATIONS):
                scripts = "".join(MIGRATIONS[version:])
                db.executescript(
                    f"BEGIN IMMEDIATE; {scripts} PRAGMA user_version = {len(MIGRATIONS)}; COMMIT;"
                )
        except BaseException:
            db.close()
            raise
        return db


def _connect(file: Path, mode: str, patience: float = _PATIENCE) -> tuple[SQLite, int]:
    db = sqlite3.connect(
        f"{file.as_uri()}?{mode}", patience, isolation_level=None, check_same_thread=False, uri=True,
        factory=SQLite,
    )  # fmt: skip
    db.folder = file.parent
    db.create_function("stem_of", 1, stem_of, deterministic=True)
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise too_new(file, version, len(MIGRATIONS))
    except BaseException:
        db.close()
        raise
    return db, version


def lock_for_writing(folder: Path) -> "BaseFileLock":
    """Become the only writer. The system lets go of the lock when this process dies, however it dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "writer.lock", timeout=0, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        (folder / "writer.json").write_text(about_me())
    except Timeout:
        holder_now = in_words(writer_now(folder)) or "another process, which has not said who it is yet,"
        raise StoreError(f"{holder_now} is writing to {folder}: wait for it, or stop it") from None
    except OSError as error:
        lock.release()
        reason = error.strerror or str(error)
        raise StoreError(
            f"{folder} cannot be written ({reason}): check its permissions and its disk"
        ) from error
    return lock


def unlock(folder: Path, lock: "BaseFileLock") -> None:
    """Let the next writer in."""
    with suppress(OSError):
        (folder / "writer.json").unlink()
    lock.release()


def writer_now(folder: Path) -> dict[str, Any]:
    """Return what the process that is writing says about itself; see `database.writer_now`."""
    try:
        found: dict[str, Any] = json.loads((folder / "writer.json").read_text())
        pid, host = int(found["pid"]), str(found["host"])
        if host == socket.gethostname() and os.name == "posix":
            with suppress(PermissionError):  # it lives, and is another user's
                os.kill(pid, 0)
        return found if in_words(found) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@contextmanager
def plain_words(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into one line that names the cause."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        words = next((text for start, text in _WORDS.items() if name.startswith(start)), _OTHERWISE)
        raise StoreError(f"{words.format(folder)} ({error})") from error


_DAMAGED = "the record in {} is damaged: restore a copy of record.sqlite, or delete it and index anew"
_LOCKED = "the record in {} is locked by another program: wait for it, or close it"
_OTHERWISE = "the record in {} could not be used: if this stays, restore a copy or index anew"
_WORDS = {
    "SQLITE_FULL": "no room for {}: disk or quota full, make room and try again; what is committed is safe",
    "SQLITE_READONLY": "{} cannot be written, it is read-only: check its permissions and its disk",
    "SQLITE_CANTOPEN": "the record in {} cannot be opened: check the permissions of the folder and its files",
    "SQLITE_NOTADB": _DAMAGED,
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_IOERR": "the disk of {} failed to read or write: check the disk and its quota",
}
