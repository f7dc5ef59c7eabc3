"""Putting likes that sound alike together: the tastes of a person, and few enough sounds to compare with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.record.feedback import Opinion

Array = NDArray[np.float32]

SKIP_WEIGHT = 0.5
"""A skip says less than a dislike."""
_SKIPS_COUNT = 30 * 86_400.0
_MOST_PLAYED = 64

MOST_SPEAK = 256
"""Of more likes so many speak, and of more dislikes the nearest so many: what a recommendation costs stays as it is."""
_MOST_TASTES = 8
_ROUNDS = 8


@dataclass(frozen=True)
class Taste:
    """Which tracks speak for and against others.

    Parameters
    ----------
    likes, dislikes, skips : list of str
        Track ids, the latest first.
    """

    likes: list[str]
    dislikes: list[str]
    skips: list[str]


def taste_of(opinions: Mapping[str, Opinion], now: float) -> Taste:
    """Read a taste from what a profile thinks of tracks.

    Parameters
    ----------
    opinions : mapping of str to Opinion
        By track id.
    now : float
        Seconds since 1970.

    Returns
    -------
    Taste
        Where nothing is liked, what was played most speaks instead. A skip counts for a month, unless the track was
        played or liked since.
    """
    said: dict[str, list[tuple[float, str]]] = {"like": [], "dislike": [], "": []}
    for id_, o in opinions.items():
        if o.verdict:
            said[o.verdict].append((-o.said, id_))
        elif o.skipped > max(o.played, now - _SKIPS_COUNT):
            said[""].append((-o.skipped, id_))
    likes, dislikes, skips = ([id_ for _, id_ in sorted(side)] for side in said.values())
    if not likes:
        gone = {*dislikes, *skips}
        often = [id_ for id_, o in opinions.items() if o.plays > o.skips and id_ not in gone]
        likes = sorted(often, key=lambda id_: (-opinions[id_].plays, id_))[:_MOST_PLAYED]
    return Taste(likes, dislikes, skips)


def tastes_of(vectors: Array) -> NDArray[np.intp]:
    """Divide likes into tastes: one for one like, two for two to four, three for five to nine, ... up to eight.

    Parameters
    ----------
    vectors : float32 (n, d)
        Of unit length, n >= 1.

    Returns
    -------
    int (n,)
        Number of the taste of each like, from 0 without gaps.
    """
    return _clusters(vectors, min(_MOST_TASTES, math.ceil(math.sqrt(len(vectors)))))


def speakers(likes: Sequence[str], most: int = MOST_SPEAK) -> list[str]:
    """Order likes so that the first of them can speak for all.

    Parameters
    ----------
    likes : sequence of str
        Track ids, the latest first.
    most : int
        So many speak, or fewer.

    Returns
    -------
    list of str
        All of them: first half of `most` the latest, so that a new like is felt at once, then the others by their ids.
        Ids are digests of the music: that order is as good as drawn by lot, and the same each time.
    """
    latest = likes[: most - most // 2]
    return [*latest, *sorted(likes[len(latest) :])]


def condense(vectors: Array, most: int) -> Array:
    """Let few sounds stand for many likes.

    Parameters
    ----------
    vectors : float32 (n, d)
        Of unit length, n >= 1.
    most : int
        At most so many sounds.

    Returns
    -------
    float32 (m, d)
        Of unit length: the likes themselves, or the middle of each group of them.
    """
    if len(vectors) <= most:
        return vectors
    group = _clusters(vectors, most)
    sums = _sums(vectors, group, int(group.max()) + 1)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def _clusters(vectors: Array, k: int) -> NDArray[np.intp]:
    """Cluster by spherical k-means that starts from sounds far from each other; the same for the same likes."""
    starts = [int((vectors @ vectors.mean(axis=0)).argmax())]
    nearest = vectors @ vectors[starts[0]]
    while len(starts) < k:
        starts.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[starts[-1]])
    centres = vectors[starts]
    for _ in range(_ROUNDS):
        group = (vectors @ centres.T).argmax(axis=1)
        sums = _sums(vectors, group, k)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-12), centres)
    group = (vectors @ centres.T).argmax(axis=1)
    return np.unique(group, return_inverse=True)[1].reshape(-1)


def _sums(vectors: Array, group: NDArray[np.intp], k: int) -> Array:
    """Add up the vectors of each of k groups."""
    return (group == np.arange(k)[:, None]).astype(np.float32) @ vectors
