"""What a record is kept in: the few things that a file of SQLite's and a server of PostgreSQL's do each in its way.

Every statement on the tables is written once, in SQL that both understand; `sqlite` and `postgres` are all that knows
which of the two it is. A record's place says which: a folder, or a URL.
"""

import json
import os
import re
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from soundkin.errors import InputError, MissingExtra, StoreError

Place: TypeAlias = Path | str
"""Where a record is: the folder of a library, or the URL of a PostgreSQL database."""

SCHEMES = ("postgresql://", "postgres://")


class Database(ABC):
    """An open database. What it raises, `in_plain_words` turns into errors of ours."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """Run one statement with a question mark for each of the `values`, and return its cursor."""

    @abstractmethod
    def executemany(self, sql: str, rows: Any, /) -> Any:
        """Run one statement for each of the `rows`, and return its cursor: its `rowcount` is of all of them."""

    @abstractmethod
    def begin(self, writing: bool) -> None:
        """Begin a transaction: one that sees one state throughout, or one for `writing`."""

    @abstractmethod
    def line_up(self, alone: bool) -> None:
        """Wait, in a transaction of notes, for those that must not be at the same time; `alone` for all."""

    @abstractmethod
    def next_revision(self) -> int:
        """Take the next revision."""

    @abstractmethod
    def batches(self, sql: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        """Yield the rows of a query with these `values`, some at a time, inside a transaction."""

    @abstractmethod
    def stored_bytes(self) -> int:
        """Return how large the record is."""

    @abstractmethod
    def go_on_numbering(self) -> None:
        """Let new rows be numbered after those that came with numbers of their own."""

    @abstractmethod
    def say(self, how_far: dict[str, Any]) -> None:
        """Tell whoever asks for the writer, which this is, how far its scan is; nobody has to hear it."""

    @abstractmethod
    def in_plain_words(self) -> AbstractContextManager[None]:
        """Turn what the database says into one line that names the cause."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database, and of the lock of its one writer."""


def place_of(where: str | os.PathLike[str]) -> Place:
    """Return the place that a path or a URL names.

    Parameters
    ----------
    where : path-like or str
        A folder, or ``postgresql://user@host/database``.

    Returns
    -------
    Path or str
        Of a folder the absolute path; a URL as it came.

    Raises
    ------
    InputError
        It is a URL of something else, or one that would be taken for another.
    """
    text = os.fspath(where)
    if text.startswith(SCHEMES):
        user, _, _ = text.partition("://")[2].partition("?")[0].rpartition("@")
        if re.search(r"[/@\s]|%(?![0-9a-fA-F]{2})", user):
            raise InputError(
                f"record {shown(text)}: its name or password has a letter that a URL cannot have; write / as %2F, "
                "@ as %40, % as %25 and a space as %20"
            )
        return text
    if re.match(r"[a-z][a-z0-9+]*://", text):
        raise InputError(f"record {shown(text)}; wanted postgresql://USER@HOST/DATABASE")
    return Path(where).absolute()


def url_of(text: str) -> str:
    """Return the URL of a record that somebody typed; raise InputError for anything else, such as a folder."""
    place = place_of(text)
    if isinstance(place, Path):
        raise InputError(
            f"record {_hidden(text)!r}; wanted postgresql://USER@HOST/DATABASE, or none for the library's own file"
        )
    return place


def shown(place: Place) -> str:
    """Return a place as people may see it: a URL without its password."""
    if isinstance(place, Path):
        return str(place)
    return _hidden(place)


def _hidden(text: str) -> str:
    """Replace the passwords in a word that a person typed."""
    return re.sub(
        r"(?<=password=)[^&]*", "***", re.sub(r"(?<=://)([^:/@]*):(?:[^?]*|[^/@]*)@", r"\1:***@", text)
    )


def engine_of(place: Place) -> ModuleType:
    """Return the module that opens records at a place: `sqlite` or `postgres`.

    Parameters
    ----------
    place : Path or str
        As `place_of` gives it.

    Returns
    -------
    module
        It has `open_to_read`, `open_to_note`, `open_to_write` and `writer_now`, which each take the place.

    Raises
    ------
    MissingExtra
        It is a URL, and what speaks to PostgreSQL is not installed.
    """
    if isinstance(place, Path):
        from soundkin.record import sqlite

        return sqlite
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"a record in PostgreSQL needs psycopg ({error}): pip install 'soundkin[postgres]'"
        ) from error
    from soundkin.record import postgres

    return postgres


def writer_now(place: Place) -> dict[str, Any]:
    """Return what the process that is writing says about itself.

    Parameters
    ----------
    place : Path or str
        Of a record.

    Returns
    -------
    dict
        As `about_me` has it, with "scan" while it scans: the fields of `scan.Progress`. Empty when there is no such
        process, or one that has not said who it is: what a process said is gone when it ends, however it does.
    """
    said: dict[str, Any] = engine_of(place).writer_now(place)
    return said


def writer_of(place: Place) -> str:
    """Name the process that is writing, or return "" when there is none, or none that has said who it is."""
    return in_words(writer_now(place))


def too_new(place: object, version: int, known: int) -> StoreError:
    """Make the error for a record that only a later version can read."""
    return StoreError(
        f"{place} was made by a newer Soundkin (version {version}, known here: {known}): "
        "upgrade this one, in the way it was installed"
    )


def about_me() -> str:
    """Return what the next one is told who wants to write while this process does."""
    command = " ".join(map(_hidden, [Path(sys.argv[0]).name, *sys.argv[1:]]))
    return json.dumps(
        {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": re.sub(r"(?<=--api-key[ =])\S+", "***", command)[:200],
        }
    )


def in_words(said: dict[str, Any]) -> str:
    """Return what a process has `said` about itself, for people; nothing for nobody."""
    if not said:
        return ""
    return f"process {int(said['pid'])} on {said['host']} (since {said['since']}: {said['command']})"
