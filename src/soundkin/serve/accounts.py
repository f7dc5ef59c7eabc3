"""Who may ask: users, tokens and sessions; and the playlists that each of them keeps.

All of it lies in one small SQLite file beside the record, readable by its owner alone; or with the record in
PostgreSQL, where who logs in at one server is known to all. Passwords are kept as scrypt
makes them, tokens and sessions as their SHA-256: who steals the file cannot log in with it.
"""

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundkin.errors import InputError, NotFound, StoreError
from soundkin.record.copying import copy_table
from soundkin.record.database import Place, engine_of
from soundkin.record.feedback import OWNS, clean_name
from soundkin.serve.throttle import SharedThrottle, Throttle

FILE_NAME = "server.sqlite"
SESSION_SECONDS = 30 * 86_400.0
_SHORTEST = 8
# OWASP's Password Storage Cheat Sheet, 2024: N = 2^15, r = 8, p = 3; 32 MB and about a fifth of a second.
SCRYPT = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 64 << 20}
"""What a password costs; less where tests log in by the dozen. Passwords kept under another one are not known again."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS users "
    "(name TEXT PRIMARY KEY, salt BLOB NOT NULL, key BLOB NOT NULL, created REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS tokens "
    "(hash TEXT PRIMARY KEY, user TEXT NOT NULL, label TEXT NOT NULL, created REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sessions (hash TEXT PRIMARY KEY, user TEXT NOT NULL, expires REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS playlists "  # tracks: a JSON list of ids
    "(id TEXT PRIMARY KEY, name TEXT NOT NULL, tracks TEXT NOT NULL, changed REAL NOT NULL)",
)
_VERSION = 1  # since then playlists have an owner; "" is whoever sits at the machine of the server


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in.

    Parameters
    ----------
    name : str
        As it is kept; a profile of the library has the same name.
    created : float
        Seconds since 1970.
    tokens : tuple of str
        What their tokens are called.
    """

    name: str
    created: float
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A playlist that is kept.

    Parameters
    ----------
    id, name : str
        16 hex digits; what it is called.
    tracks : tuple of str
        Track ids, in playing order.
    changed : float
        Seconds since 1970.
    """

    id: str
    name: str
    tracks: tuple[str, ...]
    changed: float


def user_name(name: str) -> str:
    """Return a user's name as it is kept, or refuse it: it is a profile's, and begins the names of their further ones.

    Parameters
    ----------
    name : str
        What somebody typed.

    Returns
    -------
    str
        As `clean_name` gives it.

    Raises
    ------
    InputError
        It is no name of a profile, or holds what stands between users and their profiles.
    """
    name = clean_name(name)
    if OWNS in name:
        raise InputError(f"a user called {name!r}; wanted a name without {OWNS!r}, which is for profiles")
    return name


class Accounts:
    """Users and playlists of one library; every method opens the file for itself, so any thread may call.

    Parameters
    ----------
    place : Path or str
        Where the record of the library is.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._nobody = secrets.token_bytes(16)

    def throttle(self, kind: str, free: int = 5, longest: float = 900.0) -> Throttle:
        """Return what slows guessing down, shared where the accounts are.

        Parameters
        ----------
        kind : str
            What is counted.
        free, longest : int, float
            As for `Throttle`.

        Returns
        -------
        Throttle
            Of this server alone where the accounts are in a file.
        """
        if isinstance(self._place, str):
            return SharedThrottle(self._place, kind, free, longest)
        return Throttle(free, longest)

    # ---- users

    def users(self) -> list[User]:
        """Return every user, by name."""
        with self._reading() as db:
            labels: dict[str, list[str]] = {}
            for user, label in db.execute('SELECT "user", label FROM tokens ORDER BY created'):
                labels.setdefault(user, []).append(label)
            rows = db.execute("SELECT name, created FROM users ORDER BY name").fetchall()
        return [User(name, created, tuple(labels.get(name, ()))) for name, created in rows]

    def any(self) -> bool:
        """Tell whether there is a user."""
        with self._reading() as db:
            return db.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None

    def empty(self) -> bool:
        """Tell whether there is neither a user nor a playlist."""
        with self._reading() as db:
            tables = ("users", "playlists")
            return not any(db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in tables)

    def check_empty(self) -> None:
        """Raise StoreError where there is a user or a playlist."""
        if not self.empty():
            raise StoreError("there are users or playlists there already: name a place where there are none")

    def add(self, name: str, password: str) -> str:
        """Let somebody in from now on.

        Parameters
        ----------
        name : str
            As for a profile.
        password : str
            At least 8 characters.

        Returns
        -------
        str
            The name as it is kept.

        Raises
        ------
        InputError
            The name is unusable or taken, or the password too short.

        Notes
        -----
        The first user takes over the playlists that were kept while nobody had to log in.
        """
        name = user_name(name)
        if len(password) < _SHORTEST:
            raise InputError(f"a password of {len(password)} characters; wanted {_SHORTEST} or more")
        salt = secrets.token_bytes(16)
        row = name, salt, _stretched(password, salt), time.time()
        with self._open() as db:
            first = not db.execute("SELECT 1 FROM users LIMIT 1").fetchone()
            if not db.execute("INSERT INTO users VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row).rowcount:
                raise InputError(
                    f"there is a user {name!r} already: remove them first, or choose another name"
                )
            if first:
                db.execute('UPDATE playlists SET "user" = ? WHERE "user" = \'\'', (name,))
        return name

    def remove(self, name: str) -> None:
        """Let somebody in no longer; their sessions and tokens end at once. Raise NotFound for a stranger."""
        name = clean_name(name)
        with self._open() as db:
            if not db.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount:
                raise NotFound(f"there is no user {name!r}")
            db.execute('DELETE FROM tokens WHERE "user" = ?', (name,))
            db.execute('DELETE FROM sessions WHERE "user" = ?', (name,))

    def token(self, name: str, label: str) -> str:
        """Make a token for a program that asks in somebody's name.

        Parameters
        ----------
        name : str
            A user.
        label : str
            What it is for.

        Returns
        -------
        str
            The token; it is not kept and cannot be shown again.

        Raises
        ------
        InputError
            The name is unusable.
        NotFound
            There is no such user.
        """
        name, made = user_name(name), f"sk_{secrets.token_urlsafe(32)}"
        with self._open() as db:
            # Changes nothing, but whoever removes the user waits for the token, and takes it along.
            if not db.execute("UPDATE users SET name = name WHERE name = ?", (name,)).rowcount:
                raise NotFound(f"there is no user {name!r}: soundkin user add {name}")
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?)", (_hash(made), name, label, time.time()))
        return made

    # ---- asking

    def log_in(self, name: str, password: str) -> tuple[str, str] | None:
        """Begin a session of whoever knows the password.

        Parameters
        ----------
        name, password : str
            What somebody typed.

        Returns
        -------
        tuple of (str, str) or None
            The name of the user, and the secret of the session; None for a stranger, and after the same time.
        """
        try:
            name = user_name(name)
        except InputError:
            name = ""
        with self._reading() as db:
            row = db.execute("SELECT salt, key FROM users WHERE name = ?", (name,)).fetchone()
        salt, key = row or (self._nobody, b"")
        if not hmac.compare_digest(_stretched(password, salt), key):
            return None
        secret, now = secrets.token_urlsafe(32), time.time()
        with self._open() as db:
            db.execute("DELETE FROM sessions WHERE expires < ?", (now,))
            # Stretching takes its time: they may have been removed meanwhile, or be back with another password. What
            # changes nothing lets whoever removes them wait for the session, and take it along.
            if not db.execute(
                "UPDATE users SET name = name WHERE name = ? AND salt = ?", (name, salt)
            ).rowcount:
                return None
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_hash(secret), name, now + SESSION_SECONDS))
        return name, secret

    def log_out(self, secret: str) -> None:
        """End a session."""
        with self._open() as db:
            db.execute("DELETE FROM sessions WHERE hash = ?", (_hash(secret),))

    def of_session(self, secret: str) -> str | None:
        """Return whose session this is, or None."""
        with self._reading() as db:
            found = db.execute(
                'SELECT "user" FROM sessions WHERE hash = ? AND expires > ?', (_hash(secret), time.time())
            ).fetchone()
        return _still(found)

    def of_token(self, token: str) -> str | None:
        """Return whose token this is, or None."""
        with self._reading() as db:
            found = db.execute('SELECT "user" FROM tokens WHERE hash = ?', (_hash(token),)).fetchone()
        return _still(found)

    # ---- playlists: of one user; of all of them where nobody has to log in

    def playlists(self, user: str | None = None) -> list[Kept]:
        """Return every playlist of a user, by name."""
        mine, values = _mine(user)
        with self._reading() as db:
            rows = db.execute(
                f"SELECT id, name, tracks, changed FROM playlists WHERE {mine} ORDER BY lower(name), id",
                values,
            )
            return [_kept(row) for row in rows]

    def playlist(self, id_: str, user: str | None = None) -> Kept:
        """Return a playlist of a user; raise NotFound when there is none."""
        mine, values = _mine(user)
        with self._reading() as db:
            row = db.execute(
                f"SELECT id, name, tracks, changed FROM playlists WHERE id = ? AND {mine}", (id_, *values)
            ).fetchone()
        if row is None:
            raise _no_playlist(id_)
        return _kept(row)

    def keep_playlist(
        self, name: str, tracks: Sequence[str], id_: str | None = None, user: str | None = None
    ) -> Kept:
        """Keep a playlist.

        Parameters
        ----------
        name : str
            What it is called; several may be called the same.
        tracks : sequence of str
            Track ids, in playing order.
        id_ : str, optional
            Of the one to replace; default a new one.
        user : str, optional
            Whose it is; default whoever sits at the machine of the server, who may change any.

        Returns
        -------
        Kept
            As it is now.

        Raises
        ------
        NotFound
            There is none to replace.
        """
        kept = Kept(id_ or secrets.token_hex(8), name.strip(), tuple(tracks), time.time())
        row = kept.name, json.dumps(kept.tracks), kept.changed, kept.id
        mine, values = _mine(user)
        with self._open() as db:
            if id_ is None:
                db.execute(
                    'INSERT INTO playlists (name, tracks, changed, id, "user") VALUES (?, ?, ?, ?, ?)',
                    (*row, user or ""),
                )
            elif not db.execute(
                f"UPDATE playlists SET name = ?, tracks = ?, changed = ? WHERE id = ? AND {mine}",
                (*row, *values),
            ).rowcount:
                raise _no_playlist(id_)
        return kept

    def drop_playlist(self, id_: str, user: str | None = None) -> None:
        """Forget a playlist of a user; raise NotFound when there is none."""
        mine, values = _mine(user)
        with self._open() as db:
            if not db.execute(f"DELETE FROM playlists WHERE id = ? AND {mine}", (id_, *values)).rowcount:
                raise _no_playlist(id_)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """Open what all lies in, to change nothing: where there is no file yet, there is nobody in it."""
        if isinstance(self._place, Path) and not _is_there(self._place / FILE_NAME):
            with closing(sqlite3.connect(":memory:")) as db:
                _bring_up(db)
                yield db
            return
        with self._open() as db:
            yield db

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Open what all lies in; what is done inside is done whole or not at all."""
        if isinstance(self._place, str):
            with engine_of(self._place).session(self._place) as session:
                yield session
            return
        file = self._place / FILE_NAME
        try:
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # before anything is in it
            with closing(sqlite3.connect(file, timeout=10)) as db, db:
                if _version(db) < _VERSION:
                    _bring_up(db)
                yield db
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(
                f"{file} cannot be used ({reason}): check its permissions and its disk"
            ) from error


def _is_there(file: Path) -> bool:
    """Tell whether there is such a file; raise StoreError where that cannot be seen, which is not the same as no."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"{file} cannot be read ({error.strerror}): check its permissions") from error
    return True


def _mine(user: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the condition that a playlist is of a user, and its values."""
    return ("TRUE", ()) if user is None else ('"user" = ?', (user,))


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _bring_up(db: sqlite3.Connection) -> None:
    """Make the tables of a new file, and in one from before what has come since."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        if _version(db) >= _VERSION:  # another process was here
            return
        for table in _TABLES:
            db.execute(table)
        db.execute("ALTER TABLE playlists ADD COLUMN user TEXT NOT NULL DEFAULT ''")
        db.execute(
            "UPDATE playlists SET user = coalesce((SELECT name FROM users ORDER BY created LIMIT 1), '')"
        )
        db.execute(f"PRAGMA user_version = {_VERSION}")


def _still(found: tuple[str] | None) -> str | None:
    """Return the user that a row names, unless they are from before the names of users were told from profiles'."""
    return None if found is None or OWNS in found[0] else found[0]


def _no_playlist(id_: str) -> NotFound:
    return NotFound(f"there is no playlist {id_!r}")


def _stretched(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **SCRYPT)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _kept(row: tuple[str, str, str, float]) -> Kept:
    return Kept(row[0], row[1], tuple(json.loads(row[2])), row[3])


def copy_accounts(source: Accounts, target: Accounts) -> None:
    """Copy users, tokens, sessions and playlists to where there are none.

    Parameters
    ----------
    source, target : Accounts
        Of two libraries.

    Raises
    ------
    StoreError
        There is a user or a playlist at the target already, or it cannot be written.
    """
    target.check_empty()
    with source._reading() as old, target._open() as new:
        for table in ("users", "tokens", "sessions", "playlists"):
            copy_table(table, old, new)
