"""Groups of tracks that sound alike, named by what sets them apart: the same ones for every door."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import must_be_finite, unit
from soundkin.errors import InputError
from soundkin.filters import common_spelling, folded
from soundkin.record import Track

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

UNASSIGNED = -1
_FEWEST, _MOST = 2, 40
_USUAL, _LEAST = 12, 6  # tracks that a cluster has on average at least, and that each one has
_STARTS, _TURNS, _TRAINED = 10, 20, 20_000
# A word names a cluster when at least this share of its tracks has it, so many of them, and so many times more than
# elsewhere.
_SHARE, _TRACKS, _LIFT, _WORDS = 1 / 3, 3, 1.5, 3
_TEMPI = ((80, "slow"), (110, "walking pace"), (135, "lively"), (math.inf, "fast"))
_ENERGIES = ((0.33, "calm"), (0.66, "medium energy"), (math.inf, "energetic"))


@dataclass(frozen=True, slots=True)
class Cluster:
    """Tracks that sound alike.

    Parameters
    ----------
    number : int
        1 for the largest.
    name : str
        What sets it apart.
    tracks : tuple of Track
        The most typical first.
    rows : tuple of int
        Rows of them among the vectors that were grouped.
    """

    number: int
    name: str
    tracks: tuple[Track, ...]
    rows: tuple[int, ...]


def group(vectors: Array, count: int | None = None, seed: int = 0) -> Ints:
    """Put tracks that sound alike together, by spherical k-means (Dhillon and Modha, Machine Learning 42, 2001).

    Parameters
    ----------
    vectors : float32 (n, d)
        Any n.
    count : int, optional
        How many clusters; default about sqrt(n / 2), 40 at most and 12 tracks or more in each on average; one of fewer
        than 6 tracks then joins the others.
    seed : int
        The same seed gives the same clusters.

    Returns
    -------
    int64 (n,)
        Cluster numbers, 0 is the largest.

    Raises
    ------
    InputError
        A vector is not finite, or a count cannot be.
    """
    n = len(vectors)
    if count is not None and not _FEWEST <= count <= n // 2:
        least = 2 * max(count, _FEWEST)
        able = f"wanted {_FEWEST} to {n // 2}" if n >= 2 * _FEWEST else f"{least} tracks or more are needed"
        raise InputError(f"{count} clusters of {n} tracks; {able}")
    if not n:
        return np.empty(0, np.int64)
    must_be_finite(vectors)
    dice, places = np.random.default_rng(seed), unit(vectors)
    some = places if n <= _TRAINED else places[np.sort(dice.choice(n, _TRAINED, replace=False))]
    k = count or int(np.clip(round(math.sqrt(n / 2)), 1, min(_MOST, max(1, n // _USUAL))))
    starts = [_settled(some, _begin(some, k, dice)) for _ in range(_STARTS if k > 1 else 1)]
    middles = max(starts, key=lambda start: float((some @ start.T).max(axis=1).sum()))
    while True:
        member = (places @ middles.T).argmax(axis=1)
        sizes = np.bincount(member, minlength=len(middles))
        if count or len(middles) == 1 or sizes.min() >= _LEAST:
            return by_size(member)
        middles = _settled(some, np.delete(middles, sizes.argmin(), axis=0))


def _settled(vectors: Array, middles: Array) -> Array:
    """Move middles to where the tracks are that are nearest to them, until they stay or `_TURNS` have passed."""
    before = None
    for _ in range(_TURNS):
        member = (vectors @ middles.T).argmax(axis=1)
        if before is not None and np.array_equal(member, before):
            break
        here = [vectors[member == c] for c in range(len(middles))]
        middles = unit(
            np.stack([rows.sum(axis=0) if len(rows) else middles[c] for c, rows in enumerate(here)])
        )
        before = member
    return middles


def _begin(vectors: Array, k: int, dice: np.random.Generator) -> Array:
    """Choose first middles far from each other (k-means++, Arthur and Vassilvitskii, 2007)."""
    rows = [int(dice.integers(len(vectors)))]
    for _ in range(k - 1):
        distance = np.maximum(1 - (vectors @ vectors[rows].T).max(axis=1), 0).astype(np.float64)
        total = distance.sum()
        rows.append(int(dice.choice(len(vectors), p=distance / total)) if total > 0 else rows[0])
    return vectors[rows]


def by_size(labels: NDArray[np.integer]) -> Ints:
    """Renumber clusters by their size.

    Parameters
    ----------
    labels : int (n,)
        Any numbers; `UNASSIGNED` for none.

    Returns
    -------
    int64 (n,)
        The same clusters: 0 is the largest; `UNASSIGNED` for none.
    """
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
        From `group`, or other clusters numbered `by_size`.

    Returns
    -------
    list of Cluster
        The largest first.
    """
    places = unit(vectors)
    numbers = sorted(set(labels.tolist()) - {UNASSIGNED})
    words = [words_of(track) for track in tracks]
    spelled = common_spelling(word for each in words for word in each)
    words = [[spelled[word] for word in each] for each in words]
    named = names([[words[i] for i in np.flatnonzero(labels == number)] for number in numbers])
    out, shared = [], Counter(named)
    for number, name in zip(numbers, named, strict=True):
        members = np.flatnonzero(labels == number)
        typical = places[members] @ places[members].mean(axis=0)
        rows = members[np.argsort(-typical, kind="stable")].tolist()
        own = tuple(tracks[i] for i in rows)
        like = f"like {own[0].name}"
        name = like if not name else f"{name}, {like}" if shared[name] > 1 else name
        out.append(Cluster(number + 1, name, own, tuple(rows)))
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
    return list({folded(word): word for word in words}.values())


def names(clusters: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """Name clusters by class-based TF-IDF (Grootendorst, 2022): words that are frequent here, and rare elsewhere.

    Parameters
    ----------
    clusters : sequence of sequence of sequence of str
        The words of each track of each cluster.

    Returns
    -------
    list of str
        Up to three words each, the most telling first: what a third of its tracks have, three of them at least, and
        one and a half times as often as all do; empty where nothing is.
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
            if n >= max(_TRACKS, _SHARE * len(cluster)) and n / len(cluster) >= _LIFT * total[word] / tracks
        }
        best = sorted(telling, key=lambda word: (-telling[word], word))[:_WORDS]
        out.append(", ".join(best))
    return out
