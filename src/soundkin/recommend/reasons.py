"""Why a track is in an answer, in words that can be checked by ear."""

import math

import numpy as np
from numpy.typing import NDArray

from soundkin.filters import folded
from soundkin.recommend.hits import Moment, Query
from soundkin.record import Track

Array = NDArray[np.float32]

_SAME_TEMPO = 0.04  # octaves: 3 %, about what a listener takes for the same beat
_SAME_ENERGY = 0.05


def reasons(a: Track, b: Track) -> tuple[str, ...]:
    """Say what two tracks have in common besides their sound.

    Parameters
    ----------
    a, b : Track
        The query, and a track of its answer.

    Returns
    -------
    tuple of str
        "same artist", "genre samba", "tempo 128", "key A minor", "energy 0.72"; empty when nothing is known to agree.
    """
    shared = []
    if a.artist and folded(a.artist) == folded(b.artist):
        shared.append("same artist")
    own = set(map(folded, a.genres))
    genres = [genre for genre in b.genres if folded(genre) in own]
    if genres:
        shared.append(f"genre {genres[0]}")
    if a.bpm and b.bpm and abs(math.log2(a.bpm / b.bpm)) < _SAME_TEMPO:
        shared.append(f"tempo {b.bpm:.0f}")
    if a.key and a.key == b.key:
        shared.append(f"key {b.key}")
    if a.energy is not None and b.energy is not None and abs(a.energy - b.energy) <= _SAME_ENERGY:
        shared.append(f"energy {b.energy:.2f}")
    return tuple(shared)


def moments_of(
    query: Query, starts: Array, windows: Array, seconds: float, most: int = 3
) -> tuple[Moment, ...]:
    """Find where a track sounds most like what was asked for.

    Parameters
    ----------
    query : Query
        What was asked for; without windows there are no moments.
    starts : float32 (w,)
        Where the windows of the track begin, seconds.
    windows : float32 (w, d)
        Their vectors.
    seconds : float
        Length of one.
    most : int
        At most so many moments.

    Returns
    -------
    tuple of Moment
        Best first; no moment of either track comes twice.
    """
    if query.windows is None or query.starts is None or not len(windows) or not len(query.windows):
        return ()
    if query.windows.shape[1] != windows.shape[1]:
        return ()
    cosines = _units(windows) @ _units(query.windows).T
    found = []
    for _ in range(min(most, *cosines.shape)):
        here, there = np.unravel_index(int(cosines.argmax()), cosines.shape)
        cosine = round(float(cosines[here, there]), 4)
        found.append(Moment(float(starts[here]), float(query.starts[there]), seconds, cosine))
        cosines[here, :] = cosines[:, there] = -np.inf
    return tuple(found)


def in_words(moment: Moment) -> str:
    """Return a moment for people: "0:45 is like 1:20 there"."""
    return f"{_clock(moment.here)} is like {_clock(moment.there)} there"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _units(rows: Array) -> Array:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
