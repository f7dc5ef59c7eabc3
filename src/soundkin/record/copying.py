"""A record taken from one place to another as it is: from a file to a server that many share, and back.

Ids, revisions and what the record is known by stay, so an index of it goes on where it stands.
"""

from collections.abc import Callable
from typing import Any

from soundkin.errors import StoreError
from soundkin.record import Record
from soundkin.record.database import Database, Place

_TABLES = (
    "tracks", "words", "removed", "spaces", "vectors", "windows", "failures", "damage", "profiles", "feedback",
    "fingerprints", "layouts",
)  # fmt: skip


def copy_record(source: Place, target: Place, report: Callable[[str, int], None] | None = None) -> int:
    """Copy a record to a place where there is none.

    Parameters
    ----------
    source, target : Path or str
        A folder, or the URL of a PostgreSQL database.
    report : callable, optional
        Called with the name of a table and how many of its rows are copied.

    Returns
    -------
    int
        Number of tracks.

    Raises
    ------
    NotFound
        There is no record to copy.
    StoreError
        There is a record at the target already, another process writes there, or it cannot be written.
    """
    with Record.open(source) as old, Record.open(target, write=True) as new:
        if new.revision or new.spaces() or len(new.profiles()) > 1 or new.feedback("default"):
            raise StoreError(f"there is a library in {new.name} already: name a place where there is none")
        with old._snapshot(), new.transaction():
            for key, value in old._rows("SELECT key, value FROM meta WHERE key != 'version'"):
                new._db.execute(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (key, str(value)),
                )
            for table in _TABLES:
                copy_table(table, old._db, new._db, report)
            new._db.go_on_numbering()
        return new.counts().tracks


def copy_table(table: str, old: Any, new: Any, report: Callable[[str, int], None] | None = None) -> None:
    """Copy the rows of one table.

    Parameters
    ----------
    table : str
        Of this name at both places.
    old, new : Database, or connections of SQLite's
        In a transaction each.
    report : callable, optional
        As for `copy_record`.
    """
    columns = [column[0] for column in old.execute(f"SELECT * FROM {table} LIMIT 0").description]
    named, done = ", ".join(f'"{name}"' for name in columns), 0
    put = f"INSERT INTO {table} ({named}) VALUES (?{', ?' * (len(columns) - 1)})"
    for rows in _batches(old, f"SELECT {named} FROM {table}"):
        new.executemany(put, rows)
        done += len(rows)
        if report:
            report(table, done)


def _batches(old: Any, sql: str) -> Any:
    return old.batches(sql, ()) if isinstance(old, Database) else [old.execute(sql).fetchall()]
