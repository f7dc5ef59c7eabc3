"""From the record of who played what to a table to learn from: people, or sessions where there are few people.

Somebody alone has no others to be compared with, but what is played in one sitting belongs together: then rows are
sessions. Bots, and who has played nearly everything, say nothing about what goes together, and are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError
from soundkin.record import Record
from soundkin.record.feedback import Heard
from soundkin.taste.matrix import Plays

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

LIKE_WEIGHT = 3.0
"""A like says as much as so many plays."""
LEAST_ROWS, LEAST_TRACKS = 10, 20
"""Fewer people (or sessions) and tracks say nothing."""
_LEAST_OF_A_ROW = 2
_SITTING = 1800.0  # seconds of silence that end a session
_BOT = 2000  # plays a day: 24 hours of 43 s each
_EVERYTHING = 0.5  # of so many tracks of a library
_LARGE = 200  # tracks; who has heard half of a smaller library may have a taste all the same


@dataclass(frozen=True)
class History:
    """What there is to learn from.

    Parameters
    ----------
    plays : Plays
        A row for each person or session.
    latest : float64 (m,)
        When each entry was last, seconds since 1970.
    rows : str
        "people" or "sessions".
    bots, omnivores : int
        How many were left out.
    """

    plays: Plays
    latest: NDArray[np.float64]
    rows: str
    bots: int
    omnivores: int


def weight_of(heard: Heard) -> float:
    """Return how much somebody is for a track: plays less skips, and a like; 0 for what is disliked."""
    if heard.verdict == "dislike":
        return 0.0
    return max(0.0, heard.plays - heard.skips) + (LIKE_WEIGHT if heard.verdict == "like" else 0.0)


def read(record: Record, place: Mapping[str, int]) -> History:
    """Read the history of a library.

    Parameters
    ----------
    record : Record
        Of the library.
    place : mapping of str to int
        Numbers of tracks, from 0, by id; others are passed over.

    Returns
    -------
    History
        Of people, or where there are fewer than `LEAST_ROWS`, of sessions.

    Raises
    ------
    InputError
        There is too little to learn from.
    """
    bots = record.busiest(_BOT)
    names: dict[str, int] = {}
    rows, items, weights, latest = list[int](), list[int](), list[float](), list[float]()
    for name, heard in record.heard():
        if name not in bots and heard.track in place and (weight := weight_of(heard)) > 0:
            rows.append(names.setdefault(name, len(names)))
            items.append(place[heard.track])
            weights.append(weight)
            latest.append(heard.at)
    people = _history(rows, items, weights, latest, len(names), len(place), "people", len(bots))
    if _enough(people):
        return people
    sessions = _sessions(record, place, bots)
    if _enough(sessions):
        return sessions
    raise InputError(
        f"too little is known of who plays what: {people.plays.height} people and {sessions.plays.height} sessions "
        f"with two tracks or more; wanted {LEAST_ROWS} of either, and {LEAST_TRACKS} tracks: import plays, see "
        "`soundkin taste import`"
    )


def _sessions(record: Record, place: Mapping[str, int], bots: set[str]) -> History:
    rows, items, latest = list[int](), list[int](), list[float]()
    number, before, at = -1, "", 0.0
    for name, track, when in record.played():
        if name in bots or track not in place:
            continue
        if name != before or when - at > _SITTING:
            number += 1
        before, at = name, when
        rows.append(number)
        items.append(place[track])
        latest.append(when)
    return _history(rows, items, [1.0] * len(rows), latest, number + 1, len(place), "sessions", len(bots))


def _history(
    rows: list[int],
    items: list[int],
    weights: list[float],
    latest: list[float],
    height: int,
    width: int,
    kind: str,
    bots: int,
) -> History:
    """Put entries into a table, without rows of one track or of nearly all."""
    plays = Plays.of(rows, items, weights, height, width)
    place = np.asarray(rows, np.int64) * width + np.asarray(items, np.int64)
    times = np.zeros(len(plays.items))
    where = np.searchsorted(plays.rows * width + plays.items, place)
    np.maximum.at(times, where, np.asarray(latest, np.float64))
    sizes = plays.sizes
    is_all = (sizes > _EVERYTHING * width) & (width > _LARGE) if kind == "people" else np.zeros(height, bool)
    keep = (sizes >= _LEAST_OF_A_ROW) & ~is_all
    entries = np.repeat(keep, sizes)
    return History(plays.some(np.flatnonzero(keep)), times[entries], kind, bots, int(is_all.sum()))


def _enough(history: History) -> bool:
    return history.plays.height >= LEAST_ROWS and int((history.plays.listeners > 1).sum()) >= LEAST_TRACKS
