"""What there is to say about the vectors of a library: neighbours, hubs, orphans, pairs, groups."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import unit
from soundkin.evaluate.labels import labels_of
from soundkin.evaluate.metrics import hubness, occurrences
from soundkin.explore.clusters import LEAST
from soundkin.library import Library
from soundkin.recommend import is_copy
from soundkin.recommend.clusters import Cluster, describe, group
from soundkin.record import Track

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

SHOWN = 10
_NEIGHBOURS = 10
_BLOCK = 1024


@dataclass(frozen=True)
class Findings:
    """The vectors of a library, looked at.

    Parameters
    ----------
    space : str
        Whose.
    tracks : list of Track
        n of them.
    vectors : float32 (n, d)
        Unit length.
    near : int64 (n, k)
        The nearest others of each, the nearest first.
    cosine : float32 (n, k)
        How near.
    counts : int64 (n,)
        In how many such lists each is.
    album : int64 (n,)
        Number of the album of each.
    clusters : list of Cluster
        The largest first.
    """

    space: str
    tracks: list[Track]
    vectors: Array
    near: Ints
    cosine: Array
    counts: Ints
    album: Ints
    clusters: list[Cluster]

    @property
    def skew(self) -> float:
        """Hubness: the skewness of the counts."""
        return hubness(self.counts)

    def name(self, number: int) -> str:
        """Return artist and title of a track, or what its file is called."""
        track = self.tracks[number]
        title = track.title or os.path.splitext(os.path.basename(track.path))[0]
        return f"{track.artist} - {title}" if track.artist else title

    def hubs(self) -> list[int]:
        """Return the tracks that are in most lists, the most first."""
        return np.argsort(-self.counts, kind="stable")[:SHOWN].tolist()

    def orphans(self) -> list[int]:
        """Return the tracks that are in no list."""
        return np.flatnonzero(self.counts == 0).tolist()

    def closest(self) -> list[tuple[int, int, float]]:
        """Return the most similar pairs of different albums that are no copies: numbers and cosine."""
        rows = np.repeat(np.arange(len(self.tracks)), self.near.shape[1])
        other, cosine = self.near.ravel(), self.cosine.ravel()
        able = np.flatnonzero((rows < other) & (self.album[rows] != self.album[other]))
        out: list[tuple[int, int, float]] = []
        for at in able[np.argsort(-cosine[able], kind="stable")].tolist():
            i, j, value = int(rows[at]), int(other[at]), float(cosine[at])
            if not is_copy(self.tracks[i], self.tracks[j], value):
                out.append((i, j, value))
            if len(out) == SHOWN:
                break
        return out

    def strangest(self) -> list[tuple[int, int, float]]:
        """Return the tracks whose nearest is farthest: their number, that of the nearest, and the cosine."""
        order = np.argsort(self.cosine[:, 0], kind="stable")[:SHOWN]
        return [(int(i), int(self.near[i, 0]), float(self.cosine[i, 0])) for i in order]


def look(library: Library, space: str | None = None, seed: int = 0) -> Findings:
    """Look at the vectors of a library.

    Parameters
    ----------
    library : Library
        Which.
    space : str, optional
        Default the one that answers queries.
    seed : int
        Of the clusters.

    Raises
    ------
    NotFound
        There is no such space.
    """
    chosen = library.space(space).id
    ids, rows = library.vectors(chosen)
    by_id = {track.id: track for track in library.tracks()}
    there = [row for row, name in enumerate(ids) if name in by_id]  # one may have gone while we looked
    ids, rows = [ids[row] for row in there], rows if len(there) == len(ids) else rows[there]
    tracks, vectors = [by_id[name] for name in ids], unit(rows)
    near, cosine = neighbours(vectors, min(_NEIGHBOURS, max(len(ids) - 1, 0)))
    counts = occurrences(near, len(ids))
    # as `Library.clusters` does, of what was read here: the library may have grown since
    groups = describe(tracks, rows, group(rows, seed=seed)) if len(ids) >= LEAST else []
    return Findings(chosen, tracks, vectors, near, cosine, counts, labels_of(tracks).album, groups)


def neighbours(vectors: Array, k: int) -> tuple[Ints, Array]:
    """Find the nearest others of each vector, exactly, a block at a time.

    Parameters
    ----------
    vectors : float32 (n, d)
        Unit length.
    k : int
        How many, less than n.

    Returns
    -------
    numbers : int64 (n, k)
        The nearest first.
    cosines : float32 (n, k)
        How near.
    """
    n = len(vectors)
    numbers, cosines = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    for begin in range(0, n if k else 0, _BLOCK):
        rows = np.arange(begin, min(begin + _BLOCK, n))
        similar = vectors[rows] @ vectors.T
        similar[np.arange(len(rows)), rows] = -np.inf
        best = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        value = np.take_along_axis(similar, best, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        numbers[rows] = np.take_along_axis(best, order, axis=1)
        cosines[rows] = np.take_along_axis(value, order, axis=1)
    return numbers, cosines
