"""From many likes and dislikes to one list.

Tastes are not averaged: the average of salsa and metal is neither. Each taste brings its own candidates from the
index, and every candidate is weighed against every like. What speaks for it adds up as -ln of the chance that an
unrelated track is as close, like by like (Fisher's way to combine tests, Statistical Methods for Research Workers,
1925): one like that it is surprisingly close to counts for more than many that it is a little closer to than usual,
and several that agree count for more than one.

The candidates come from Qdrant's recommendation by best score, and so do the answers of the other strategies, which
are Qdrant's. Its fusion of ranks (prefetch and reciprocal rank fusion) is not used: ranks that tie come in another
order from each engine, and what is fused finds less. benchmarks/bench_fusion.py prints how often and how much.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Space
from soundkin.errors import InputError
from soundkin.filters import Filter, HasId
from soundkin.index import STRATEGIES as _OF_THE_INDEX
from soundkin.index import Index, scores_of, target_of
from soundkin.recommend.closeness import Closeness
from soundkin.recommend.copies import FINGERPRINT_SIMILARITY, likely_copies, same_recordings
from soundkin.recommend.hits import Hit, Query
from soundkin.recommend.neighbours import hit_of, is_copy_of, read, with_windows
from soundkin.recommend.second import Second, passing
from soundkin.recommend.tastes import MOST_SPEAK, condense, tastes_of
from soundkin.recommend.variety import Variety, pick, repeats
from soundkin.record import Record, Track

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

STRATEGIES = ("agreement", *_OF_THE_INDEX)
"""How likes and dislikes are brought together; the first is the default, the others are Qdrant's."""

_POOL_PER_HIT, _LEAST_PER_TASTE, _MOST = 6, 40, 4096
# Candidates are looked for near so many sounds; they are weighed against every like.
_MOST_SOUGHT = 12
# Copies of likes that others speak for are looked for among so many neighbours of each track.
_NEIGHBOURS = 4
# What "best" scores the least similar of them, see `index.Examples`.
_BEST_OF_A_COPY = 0.5 + 0.5 * FINGERPRINT_SIMILARITY / (1 + FINGERPRINT_SIMILARITY)
_FORGOTTEN_DAYS = 90.0
_DAY = 86_400.0


@dataclass(frozen=True)
class Seeds:
    """What is known of somebody's taste.

    Parameters
    ----------
    likes, dislikes : tuple of Query
        At least one like.
    weights : tuple of float
        How much each dislike counts, 0 to 1; default all 1.
    unwanted : frozenset of int
        More tracks that are no answer, nor are copies of them, by the numbers that an index has for them: likes that
        others speak for. The likes and dislikes never are.
    far : mapping of int to float
        More dislikes and their weights, by those numbers; the `MOST_SPEAK` of them that are nearest to the likes count.
    played : mapping of int to float
        When tracks were played last, seconds since 1970, by those numbers.
    """

    likes: tuple[Query, ...]
    dislikes: tuple[Query, ...] = ()
    weights: tuple[float, ...] = ()
    unwanted: frozenset[int] = frozenset()
    far: Mapping[int, float] = field(default_factory=dict)
    played: Mapping[int, float] = field(default_factory=dict)


@dataclass
class _Pool:
    """Candidates: vectors (n, d), scores (n,), what part comes from each taste (n, t) and should (t,), best like.

    Some may be copies of what is known; `is_copy` tells of one, at some cost.
    """

    numbers: list[int]
    tracks: list[Track]
    vectors: Array
    is_copy: Callable[[int], bool]
    scores: Floats
    shares: Array | None
    due: Array | None
    follows: NDArray[np.intp]
    evidence: Floats


def recommend(
    record: Record,
    index: Index,
    space: Space,
    seeds: Seeds,
    k: int,
    usual: Closeness,
    strategy: str = STRATEGIES[0],
    where: Filter | None = None,
    rules: Variety | None = None,
    discover: float | None = None,
    second: Second | None = None,
) -> list[Hit]:
    """Recommend k tracks to somebody.

    Parameters
    ----------
    record, index : Record, Index
        Of the library; the index up to date with the record.
    space : Space
        Where to look.
    seeds : Seeds
        What is known of the taste.
    k : int
        How many.
    usual : Closeness
        Of the space.
    strategy : str
        One of `STRATEGIES`.
    where : Filter, optional
        Only tracks that pass.
    rules : Variety, optional
        How the list may not repeat itself; default `Variety()`.
    discover : float, optional
        The time, seconds since 1970: prefers what was not played long before that, or never.
    second : Second, optional
        Who knows what such people play: brings candidates of its own, and has a say in the score.

    Returns
    -------
    list of Hit
        In the order to hear them; k of them whenever there are k. No like, no dislike, no copy of one, and no recording
        twice.

    Raises
    ------
    InputError
        There is no like, no such strategy, or k < 1.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"strategy {strategy!r}; wanted one of {', '.join(STRATEGIES)}")
    if not seeds.likes:
        raise InputError("nothing to go by: wanted one like at least, or a profile that likes something")
    if k < 1:
        raise InputError(f"k={k}; wanted how many tracks to recommend, 1 or more")
    rules = rules or Variety()
    seeds = nearest_dislikes(record, index, space, seeds)
    size = _POOL_PER_HIT * k
    while True:
        found, is_all = _candidates(index, space.id, seeds, size, strategy, where)
        if second is not None:
            found |= _asked_too(index, space.id, seeds, size, where, second)
        pool = _weigh(record, space, seeds, found, usual, strategy)
        if second is not None and pool.numbers:
            pool.scores = second.fuse(pool.numbers, pool.scores, pool.evidence)
        if discover is not None:
            pool.scores = _prefer_forgotten(pool, seeds, discover)
        places = _choose(record, index, space, seeds, pool, k, rules)
        chosen = [pool.tracks[p].artist for p in places], [pool.tracks[p].album for p in places]
        if is_all or (len(places) == k and (size >= _MOST or not repeats(*chosen, rules))):
            break
        size *= 4
    close = usual.is_close(float(pool.evidence.max())) if len(pool.numbers) else False
    # of hundreds of likes, only those that are followed have their moments read
    followed = {
        i: with_windows(record, space, seeds.likes[i]) for i in {int(pool.follows[p]) for p in places}
    }
    out = []
    for p in places:
        like = followed[int(pool.follows[p])]
        cosine = float(pool.vectors[p] @ like.vector)
        out.append(hit_of(record, space, pool.tracks[p], cosine, like, usual, close, follows=True))
    return out if second is None else [second.explained(hit) for hit in out]


def nearest_dislikes(record: Record, index: Index, space: Space, seeds: Seeds) -> Seeds:
    """Read, of dislikes that are too many to weigh each, those that are nearest to the likes.

    Parameters
    ----------
    record, index, space : Record, Index, Space
        As for `recommend`.
    seeds : Seeds
        With at least one like.

    Returns
    -------
    Seeds
        Without any that are `far`; those are no answer.
    """
    if not seeds.far:
        return seeds
    sounds = condense(np.stack([query.vector for query in seeds.likes]), _MOST_SOUGHT)
    near = index.recommend(space.id, sounds, [], MOST_SPEAK, "best", HasId(frozenset(seeds.far)))
    tracks, vectors = read(record, space, [number for number, _ in near])
    more = tuple(Query(vector, track) for vector, track in zip(vectors, tracks, strict=True))
    weights = (seeds.weights or (1.0,) * len(seeds.dislikes)) + tuple(
        seeds.far[int(track.id, 16)] for track in tracks
    )
    unwanted = seeds.unwanted | seeds.far.keys()
    return replace(seeds, dislikes=seeds.dislikes + more, weights=weights, unwanted=unwanted, far={})


def _candidates(
    index: Index, space: str, seeds: Seeds, size: int, strategy: str, where: Filter | None
) -> tuple[set[int], bool]:
    """Find candidates, and whether they are all there are."""
    unwanted = _unwanted(seeds)
    likes = np.stack([query.vector for query in seeds.likes])
    if strategy != "agreement":
        dislikes = [query.vector for query in seeds.dislikes]
        found = index.recommend(space, likes, dislikes, size, strategy, where, unwanted)
        return {number for number, _ in found}, len(found) < size
    sounds = condense(likes, _MOST_SOUGHT)
    taste = tastes_of(sounds)
    n = taste.max() + 1
    each = max(_LEAST_PER_TASTE, math.ceil(size / n))
    parts = [index.recommend(space, sounds[taste == t], [], each, "best", where, unwanted) for t in range(n)]
    return {number for part in parts for number, _ in part}, any(len(part) < each for part in parts)


def _unwanted(seeds: Seeds) -> set[int]:
    known = (q.like for q in (*seeds.likes, *seeds.dislikes))
    return {*seeds.unwanted, *(int(track.id, 16) for track in known if track and track.id)}


def _asked_too(
    index: Index, space: str, seeds: Seeds, size: int, where: Filter | None, second: Second
) -> set[int]:
    sounds = condense(np.stack([query.vector for query in seeds.likes]), _MOST_SOUGHT)
    return passing(index, space, sounds, second, size, where, _unwanted(seeds))


def _weigh(
    record: Record, space: Space, seeds: Seeds, found: set[int], usual: Closeness, strategy: str
) -> _Pool:
    """Read the candidates and score them; of copies of what is known those are left out that would count most."""
    tracks, vectors = read(record, space, list(found))
    is_copy = _copies_of(record, space, (*seeds.likes, *seeds.dislikes), tracks, vectors)
    sounds = np.stack([query.vector for query in seeds.likes])
    evidence = usual.evidence(vectors, sounds, np.array([query.is_known for query in seeds.likes]))
    shares = due = None
    if strategy != "agreement":
        # not the index's own scores: each engine rounds in its own way, and tracks that are equal would change places
        far = np.stack([query.vector for query in seeds.dislikes]) if seeds.dislikes else sounds[:0]
        scores = scores_of(vectors, target_of(sounds, far, strategy)).astype(np.float64)
    else:
        taste = tastes_of(sounds)
        scores, shares = _agree(evidence, taste)
        due = (np.bincount(taste) / len(taste)).astype(np.float32)
        scores *= _pushed(usual, vectors, seeds, evidence.max(axis=1, initial=0.0))
    nearest = evidence.max(axis=1, initial=0.0)
    # scores are read from the lowest to the highest, and an answer is close when its nearest is: no copy may be these
    kept = np.ones(len(tracks), bool)
    for values in (scores, -scores, nearest):
        while kept.any() and is_copy(best := int(np.where(kept, values, -np.inf).argmax())):
            kept[best] = False
    places = np.flatnonzero(kept)
    tracks = [tracks[place] for place in places]
    return _Pool(
        [int(track.id, 16) for track in tracks], tracks, vectors[kept], lambda place: is_copy(int(places[place])),
        scores[kept], None if shares is None else shares[kept], due, evidence[kept].argmax(axis=1), nearest[kept],
    )  # fmt: skip


def _agree(evidence: Floats, taste: NDArray[np.intp]) -> tuple[Floats, Array]:
    """Add up what speaks for each candidate, and say what part of it comes from each taste."""
    per_taste = np.stack([evidence[:, taste == t].sum(axis=1) for t in range(taste.max() + 1)], axis=1)
    total = per_taste.sum(axis=1)
    return total, (per_taste / np.maximum(total, 1e-12)[:, None]).astype(np.float32)


def _pushed(usual: Closeness, vectors: Array, seeds: Seeds, for_it: Floats) -> Floats:
    """Say what is left of each score when dislikes are near: nothing where one is as near as the nearest like."""
    if not seeds.dislikes:
        return np.ones(len(vectors))
    weights = np.array(seeds.weights or [1.0] * len(seeds.dislikes))
    are_known = np.array([query.is_known for query in seeds.dislikes])
    sounds = np.stack([query.vector for query in seeds.dislikes])
    evidence = usual.evidence(vectors, sounds, are_known)
    against = (evidence * weights).max(axis=1) / np.maximum(for_it, 1e-12)
    # what is nearer to a dislike than to any like comes last, but comes: the farther from it the sooner
    return np.where(against < 1, 1 - against**2, -1e-6 * np.minimum(against, 1e3))


def _prefer_forgotten(pool: _Pool, seeds: Seeds, now: float) -> Floats:
    """Scale scores down for what was played lately: to a half after 90 days, to nothing just now."""
    lowest = min(0.0, float(pool.scores.min(initial=0.0)))
    age = np.array([now - seeds.played.get(number, -math.inf) for number in pool.numbers]) / _DAY
    return (pool.scores - lowest) * (1 - 0.5 ** (np.maximum(age, 0) / _FORGOTTEN_DAYS))


def _choose(
    record: Record, index: Index, space: Space, seeds: Seeds, pool: _Pool, k: int, rules: Variety
) -> list[int]:
    """Pick k of the candidates, none of them a copy of what is unwanted."""
    artists, albums = [t.artist for t in pool.tracks], [t.album for t in pool.tracks]
    same = same_recordings(record, space.id, pool.tracks, pool.vectors)
    struck = list[int]()
    while True:
        places = pick(
            pool.scores, pool.vectors, artists, albums, k, rules, same, shares=pool.shares, due=pool.due,
            never=struck, refused=pool.is_copy,
        )  # fmt: skip
        known = tuple(_near_unwanted(record, index, space, seeds, pool, places))
        is_copy = _copies_of(record, space, known, [pool.tracks[p] for p in places], pool.vectors[places])
        new = [place for i, place in enumerate(places) if is_copy(i)]
        if not new:
            return places
        struck += new


def _near_unwanted(
    record: Record, index: Index, space: Space, seeds: Seeds, pool: _Pool, places: list[int]
) -> list[Query]:
    """Return the unwanted tracks that the index finds near the chosen ones, which may be copies of them."""
    if not seeds.unwanted or not places:
        return []
    vectors = pool.vectors[places]
    # without a filter for thousands of ids, which takes longer: copies come first among the neighbours
    near = index.recommend(space.id, vectors, [], _NEIGHBOURS * len(places) + _LEAST_PER_TASTE, "best")
    met = [number for number, score in near if score >= _BEST_OF_A_COPY and number in seeds.unwanted]
    tracks, others = read(record, space, met)
    return [Query(vector, track) for vector, track in zip(others, tracks, strict=True)]


def _copies_of(
    record: Record, space: Space, known: tuple[Query, ...], tracks: list[Track], vectors: Array
) -> Callable[[int], bool]:
    """Return a function that tells of a place whether that track is a recording that is known."""
    if not known or not tracks:
        return lambda place: False
    cosines = vectors @ np.stack([query.vector for query in known]).T
    likely = likely_copies(tracks, [query.like for query in known], cosines)

    @cache  # as long as the list is made
    def is_copy(place: int) -> bool:
        return any(
            is_copy_of(record, space, known[i], tracks[place], float(cosines[place, i]))
            for i in np.flatnonzero(likely[place])
        )

    return is_copy
