"""Groups of tracks that sound alike, named by what sets them apart."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import must_be_finite, unit
from soundkin.errors import InputError
from soundkin.explore.projection import extra, principal
from soundkin.record import Track

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

METHODS = ("kmeans", "hdbscan")
LEAST = 10
UNASSIGNED = -1
_REDUCED = 50
_FEWEST, _MOST = 2, 64
_SAMPLE = 3000
# A word names a cluster when at least this share of its tracks has it, and this many times more than elsewhere.
_SHARE, _LIFT, _WORDS = 0.1, 1.5, 3
_TEMPI = ((80, "slow"), (110, "walking pace"), (135, "lively"), (math.inf, "fast"))
_ENERGIES = ((0.33, "calm"), (0.66, "medium energy"), (math.inf, "energetic"))


@dataclass(frozen=True)
class Cluster:
    """Tracks that sound alike.

    Parameters
    ----------
    number : int
        0 is the largest.
    name : str
        What sets it apart.
    members : list of int
        Numbers of its tracks, the most typical first.
    """

    number: int
    name: str
    members: list[int]


def group(vectors: Array, method: str = "kmeans", count: int | None = None, seed: int = 0) -> Ints:
    """Group vectors.

    Parameters
    ----------
    vectors : float32 (n, d)
        Ten or more.
    method : str
        "kmeans" gives every track a cluster; "hdbscan" (Campello et al., 2013) finds natural groups, and leaves out
        what belongs to none.
    count : int, optional
        How many clusters k-means makes; default the number of the best silhouette (Rousseeuw, 1987) of a few tried.
    seed : int
        The same seed gives the same clusters.

    Returns
    -------
    int64 (n,)
        Cluster numbers, the largest is 0; `UNASSIGNED` for none.

    Raises
    ------
    InputError
        An unknown method, too few vectors, one that is not finite, or a count that cannot be.
    MissingExtra
        scikit-learn is not installed.
    """
    n = len(vectors)
    if method not in METHODS:
        raise InputError(f"no clustering is called {method!r}; there are {', '.join(METHODS)}")
    if n < LEAST:
        raise InputError(f"{n} tracks came; {LEAST} or more are needed for clusters that mean something")
    if count is not None and not _FEWEST <= count <= n // 2:
        raise InputError(f"{count} clusters of {n} tracks; wanted {_FEWEST} to {n // 2}")
    must_be_finite(vectors)
    module = extra("sklearn.cluster")
    centred = unit(vectors) - unit(vectors).mean(axis=0)
    reduced = principal(centred, min(_REDUCED, *centred.shape))
    if method == "hdbscan":
        least = max(5, n // 100)
        found = module.HDBSCAN(min_cluster_size=least, min_samples=5, copy=True).fit_predict(reduced)
    else:
        tried = [count] if count else _counts(n)
        labels = [module.KMeans(k, n_init=4, random_state=seed).fit_predict(reduced) for k in tried]
        found = labels[0] if count else max(labels, key=lambda each: _silhouette(reduced, each, seed))
    return _by_size(np.asarray(found, np.int64))


def _counts(n: int) -> list[int]:
    """Return the numbers of clusters to try: around the root of half the tracks."""
    middle = math.sqrt(n / 2)
    tried = {min(_MOST, max(_FEWEST, round(middle * factor))) for factor in (0.35, 0.5, 0.7, 1.0)}
    return sorted(k for k in tried if k <= n // 2)


def _silhouette(reduced: Array, labels: Ints, seed: int) -> float:
    if len(set(labels.tolist())) < _FEWEST:
        return -1.0
    module = extra("sklearn.metrics")
    size = min(_SAMPLE, len(labels) - 1)
    return float(module.silhouette_score(reduced, labels, sample_size=size, random_state=seed))


def _by_size(labels: Ints) -> Ints:
    counts = Counter(label for label in labels.tolist() if label != UNASSIGNED)
    number = {
        label: i for i, (label, _) in enumerate(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    }
    return np.array([number.get(label, UNASSIGNED) for label in labels.tolist()], np.int64)


def describe(tracks: Sequence[Track], vectors: Array, labels: Ints) -> list[Cluster]:
    """Name clusters and order their tracks.

    Parameters
    ----------
    tracks : sequence of Track
        n of them.
    vectors : float32 (n, d)
        Theirs.
    labels : int64 (n,)
        From `group`.

    Returns
    -------
    list of Cluster
        The largest first.
    """
    places = unit(vectors)
    numbers = sorted(set(labels.tolist()) - {UNASSIGNED})
    words = [words_of(track) for track in tracks]
    named = names([[words[i] for i in np.flatnonzero(labels == number)] for number in numbers])
    out = []
    for number, name in zip(numbers, named, strict=True):
        members = np.flatnonzero(labels == number)
        typical = places[members] @ places[members].mean(axis=0)
        order = members[np.argsort(-typical, kind="stable")].tolist()
        out.append(Cluster(number, name or f"like {tracks[order[0]].name}", order))
    return out


def words_of(track: Track) -> list[str]:
    """Return the words that may name a cluster a track is in: genres, artist, tempo, energy, mode, decade."""
    words = [*track.genres, *([track.artist] if track.artist else [])]
    if track.bpm is not None:
        words.append(next(word for most, word in _TEMPI if track.bpm < most))
    if track.energy is not None:
        words.append(next(word for most, word in _ENERGIES if track.energy < most))
    if track.key:
        words.append(track.key.rpartition(" ")[2])
    if track.year:
        words.append(f"{track.year // 10 * 10}s")
    return list({word.casefold(): word for word in words}.values())


def names(clusters: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """Name clusters by class-based TF-IDF (Grootendorst, 2022): words that are frequent here, and rare elsewhere.

    Parameters
    ----------
    clusters : sequence of sequence of sequence of str
        The words of each track of each cluster.

    Returns
    -------
    list of str
        Up to three words each, the most telling first; empty where none sets a cluster apart.
    """
    counts = [Counter(word for track in cluster for word in track) for cluster in clusters]
    total = sum(counts, Counter[str]())
    tracks = sum(map(len, clusters))
    average = sum(total.values()) / max(len(clusters), 1)
    out = []
    for cluster, count in zip(clusters, counts, strict=True):
        all_here = max(sum(count.values()), 1)
        telling = {
            word: n / all_here * math.log(1 + average / total[word])
            for word, n in count.items()
            if n >= max(2, _SHARE * len(cluster)) and n / len(cluster) >= _LIFT * total[word] / tracks
        }
        best = sorted(telling, key=lambda word: (-telling[word], word))[:_WORDS]
        out.append(", ".join(best))
    return out
