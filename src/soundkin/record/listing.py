"""Lists of tracks and counts of values, made inside the database: pages of a library of any size, in little memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from soundkin.errors import InputError
from soundkin.record.connection import Connection
from soundkin.record.database import Database, Place
from soundkin.record.rows import COLUMNS, Track, fold, from_row, stem_of

_NAME = "CASE WHEN t.title != '' THEN t.title ELSE stem_of(t.path) END"
_ORDERS = {
    "artist": "t.artist = '', lower(t.artist) {way}, lower(t.album), t.disc, t.track, t.title, t.id",
    "title": f"lower({_NAME}) {{way}}, lower(t.artist), t.id",
    "album": "t.album = '', lower(t.album) {way}, t.disc, t.track, t.title, t.id",
    **{
        field: f"t.{field} IS NULL, t.{field} {{way}}, lower(t.artist), t.id"
        for field in ("year", "added", "duration", "bpm", "energy")
    },
}
ORDERS = tuple(_ORDERS)
_VALUES = {
    "genre": ("g.value", ", json_each(t.genres) g"),
    "artist": ("t.artist", ""),
    "album": ("t.album", ""),
    "key": ("t.key", ""),
    "format": ("t.format", ""),
    "decade": ("t.year / 10 * 10", ""),
    "tempo": ("CAST(t.bpm / 20 AS INTEGER) * 20", ""),
    "energy": (
        "CASE WHEN t.energy < 0.33 THEN 0 WHEN t.energy < 0.66 THEN 1 WHEN t.energy >= 0.66 THEN 2 END",
        "",
    ),
}
COUNTED = tuple(_VALUES)


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on the tracks of a record, in SQL.

    Parameters
    ----------
    sql : str
        About the table ``t``; never NULL.
    values : tuple
        For its question marks.
    """

    sql: str = "TRUE"
    values: tuple[object, ...] = ()

    @staticmethod
    def among(column: str, values: Sequence[str]) -> "Where":
        """Return the condition that a column is one of some values, however many there are."""
        return Where(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),))

    @staticmethod
    def having(values: Sequence[str], first: int) -> "Where":
        """Return the condition that one of the genres, from the number `first` on, is one of `values`."""
        inside = "SELECT 1 FROM json_each(t.genres) g WHERE g.key >= ? AND g.value IN (SELECT value FROM json_each(?))"
        return Where(f"EXISTS ({inside})", (first, json.dumps(list(values))))

    @staticmethod
    def named(values: Sequence[str]) -> "Where":
        """Return the condition that the name people see is one of `values`."""
        return Where.among(f"({_NAME})", values)


_NUMBERS = ("bpm", "energy", "loudness", "duration")
_DISTINCT = ("title", "artist", "album", "album_artist", "genre", "key", "format")


class ListingTables(Connection):
    """The part of a record that lists tracks, and the values they have; see `Record`."""

    def __init__(self, place: Place, db: Database, allowed: str) -> None:
        super().__init__(place, db, allowed)
        # values of fields, with the revision they are of
        self._distinct: dict[str, tuple[int, list[str]]] = {}

    def page(
        self, where: Where, order: str = "artist", descending: bool = False, offset: int = 0, limit: int = 50
    ) -> tuple[int, list[Track]]:
        """Return some of the tracks for which a condition holds.

        Parameters
        ----------
        where : Where
            The condition.
        order : str
            One of `ORDERS`; tracks that have no such value come last.
        descending : bool
            The other way round.
        offset, limit : int
            So many are passed over, and so many come at most.

        Returns
        -------
        total : int
            How many there are in all.
        tracks : list of Track
            In their order.

        Raises
        ------
        InputError
            There is no such order.
        """
        if order not in _ORDERS:
            raise InputError(f"no order {order!r}: use one of {', '.join(ORDERS)}")
        by = _ORDERS[order].format(way="DESC" if descending else "ASC")
        with self._snapshot():
            total = self.count(where)
            rows = self._rows(
                f"SELECT {COLUMNS} FROM tracks t WHERE {where.sql} ORDER BY {by} LIMIT ? OFFSET ?",
                (*where.values, limit, offset),
            )
        return total, [from_row(row) for row in rows]

    def count(self, where: Where) -> int:
        """Return for how many tracks a condition holds."""
        with self._snapshot():
            return int(self._rows(f"SELECT count(*) FROM tracks t WHERE {where.sql}", where.values)[0][0])

    def ids(self, where: Where) -> list[str]:
        """Return the ids of the tracks for which a condition holds, in no order."""
        return [row[0] for row in self._rows(f"SELECT t.id FROM tracks t WHERE {where.sql}", where.values)]

    def count_values(self, field: str, where: Where) -> list[tuple[Any, int]]:
        """Count the tracks that have each value of a field.

        Parameters
        ----------
        field : str
            One of `COUNTED`. A decade is its first year, a tempo the least of 20 beats per minute, an energy 0, 1 or 2.
        where : Where
            Only tracks for which it holds.

        Returns
        -------
        list of (value, int)
            The most frequent first; without those that have none.

        Raises
        ------
        InputError
            There is no such field.
        """
        if field not in _VALUES:
            raise InputError(f"no values are counted of {field!r}: use one of {', '.join(COUNTED)}")
        column, more = _VALUES[field]
        with self._snapshot():
            rows = self._rows(
                f"SELECT v, n FROM (SELECT {column} AS v, count(DISTINCT t.number) AS n FROM tracks t{more} "
                f"WHERE {where.sql} GROUP BY 1) AS c WHERE CAST(v AS TEXT) != '' ORDER BY n DESC, v",
                where.values,
            )
        return [(row[0], row[1]) for row in rows]

    def names_like(self, field: str, words: str, limit: int = 10) -> list[tuple[str, int]]:
        """Find artists or albums by the beginnings of words.

        Parameters
        ----------
        field : str
            "artist" or "album".
        words : str
            What a person typed, the last word maybe unfinished.
        limit : int
            At most so many.

        Returns
        -------
        list of (str, int)
            Names with how many tracks have them, the most frequent first.
        """
        wanted = [folded for word in words.split()[:32] if (folded := fold(word))]
        if field not in ("artist", "album"):
            raise InputError(f"no names of {field!r}: use artist or album")
        if not wanted:
            return []
        rows = self._rows(
            f"SELECT t.{field}, count(*) FROM words w JOIN tracks t ON t.number = w.track "
            f"WHERE t.{field} != '' AND {' AND '.join(['instr(w.text, ?) > 0'] * len(wanted))} "
            "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 500",
            [f" {word}" for word in wanted],
        )
        fits = [(name, n) for name, n in rows if all(f" {word}" in f" {fold(name)}" for word in wanted)]
        return fits[:limit]

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
            values |= {stem_of(path) for (path,) in paths}
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
