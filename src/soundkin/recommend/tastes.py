"""Putting likes that sound alike together: the tastes of a person, and few enough sounds to compare with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.record.feedback import Opinion

Array = NDArray[np.float32]

SKIP_WEIGHT = 0.5
"""A skip says less than a dislike."""
_SKIPS_COUNT = 30 * 86_400.0
_MOST_PLAYED = 64

MOST_LIKES = 256
"""With more likes, those that sound alike are compared as one: what a recommendation costs stays as it is."""
_MOST_TASTES = 8
_ROUNDS = 8


@dataclass(frozen=True)
class Taste:
    """Which tracks speak for and against others.

    Parameters
    ----------
    likes, dislikes, skips : list of str
        Track ids.
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
    likes = [id_ for id_, o in opinions.items() if o.verdict == "like"]
    dislikes = [id_ for id_, o in opinions.items() if o.verdict == "dislike"]
    skips = [
        id_ for id_, o in opinions.items() if not o.verdict and o.skipped > max(o.played, now - _SKIPS_COUNT)
    ]
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


def condense(vectors: Array, most: int = MOST_LIKES) -> tuple[Array, Array, NDArray[np.intp]]:
    """Let few sounds stand for many likes.

    Parameters
    ----------
    vectors : float32 (n, d)
        Of unit length, n >= 1.
    most : int
        At most so many sounds.

    Returns
    -------
    sounds : float32 (m, d)
        Of unit length: the likes themselves, or the middle of each group of them.
    weights : float32 (m,)
        How many likes each stands for.
    likes : int (m,)
        Place of a like that each is nearest to.
    """
    n = len(vectors)
    if n <= most:
        return vectors, np.ones(n, np.float32), np.arange(n)
    group = _clusters(vectors, most)
    sums = _sums(vectors, group, int(group.max()) + 1)
    middles = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    nearness = np.einsum("nd,nd->n", vectors, middles[group])
    order = np.lexsort((np.arange(n), -nearness, group))  # of each group the nearest comes first
    nearest = order[np.searchsorted(group[order], np.arange(len(sums)))]
    return middles, np.bincount(group).astype(np.float32), nearest


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
