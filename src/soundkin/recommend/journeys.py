"""From one track to another in small steps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Space
from soundkin.errors import InputError
from soundkin.filters import Filter
from soundkin.index import Index
from soundkin.recommend.closeness import Closeness
from soundkin.recommend.copies import likely_copies, same_recordings
from soundkin.recommend.hits import Hit, Query
from soundkin.recommend.neighbours import hit_of, is_copy_of, tracks_of, vectors_of
from soundkin.recommend.pieces import are_versions, piece_of
from soundkin.recommend.variety import Variety
from soundkin.record import Record, Track
from soundkin.record.rows import fold

Array = NDArray[np.float32]

LONGEST = 200
"""Tracks of the longest path: more do not make smaller steps."""
_NEAR_STOP, _MOST_NEAR = (
    24,
    64,
)  # candidates for each stop of a path: as many as it has stops, in these bounds
_ROUNDS = 2  # how often stops are looked for again, halfway between their neighbours
_REPAIRS = 60  # at most so many times a path is mended before it is taken as it is
_WANDER = 0.08  # how much a seed changes what a step costs, in cosine
_DIRECT = 0.25  # how much the way to a stop counts beside the steps themselves


@dataclass(frozen=True)
class Journey:
    """A path.

    Parameters
    ----------
    hits : list of Hit
        From the start to the end; the similarity of each is that with the one before it, of the first 1.
    jumps : list of int
        Places in `hits` whose step is as large as between unrelated tracks.
    """

    hits: list[Hit]
    jumps: list[int] = field(default_factory=list)


@dataclass
class _Stops:
    """Candidates: their numbers (m,), vectors (m, d), artists and albums, and for each stop which of them it may be."""

    numbers: list[int]
    vectors: Array
    tracks: list[Track]
    layers: list[list[int]]


def travel(
    record: Record,
    index: Index,
    space: Space,
    start: Query,
    end: Query,
    n: int,
    usual: Closeness,
    where: Filter | None = None,
    rules: Variety | None = None,
    seed: int | None = None,
) -> Journey:
    """Go from one track to another, every step small.

    Stops are looked for evenly along the great circle from the one sound to the other; of the candidates of all stops
    the cheapest way through is taken (Viterbi), where a step costs the square of the distance of the two sounds, so
    that one large step is worse than two small ones. Then each stop is looked for again halfway between its neighbours.

    Parameters
    ----------
    record, index : Record, Index
        Of the library; the index up to date with the record.
    space : Space
        Where to go.
    start, end : Query
        Two tracks.
    n : int
        How many tracks, with both ends: 2 to `LONGEST`.
    usual : Closeness
        Of the space.
    where : Filter, optional
        Only tracks that pass, but for the ends.
    rules : Variety, optional
        At most so many tracks of an artist or album in so many that follow each other; default `Variety(per_artist=2)`.
    seed : int, optional
        Another one, another path; by default the smoothest.

    Returns
    -------
    Journey
        n tracks, or fewer when no more pass or lie near the way.

    Raises
    ------
    InputError
        Both ends are the same recording, or n is out of its range.
    """
    if not 2 <= n <= LONGEST:
        raise InputError(f"n={n}; wanted how many tracks with both ends, 2 to {LONGEST}")
    if start.like is None or end.like is None:
        raise InputError("a path wants two tracks, not vectors")
    cosine = float(start.vector @ end.vector)
    if (start.like.id and start.like.id == end.like.id) or is_copy_of(record, space, start, end.like, cosine):
        raise InputError(
            "start and end are the same recording, so nothing lies between: `soundkin radio` plays what is near it"
        )
    rules = rules or Variety()
    noise = None if seed is None else np.random.default_rng(seed)
    unwanted = {int(q.like.id, 16) for q in (start, end) if q.like is not None and q.like.id}
    ends = np.stack([start.vector, end.vector])
    points = _along(ends[0], ends[1], n - 2)
    way, stops = list[int](), _Stops([], ends[:0], [], [])
    for _ in range(_ROUNDS if n > 2 else 0):
        stops = _candidates(record, index, space, points, where, unwanted, (start, end))
        if not stops.numbers:
            break
        way = _through(stops, ends, (start.like, end.like), points, rules, noise, record, space)
        line = np.concatenate([ends[:1], stops.vectors[way], ends[1:]])
        middle = line[:-2] + line[2:]
        points = middle / np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-6)
    return _told(record, space, usual, start, end, [stops.tracks[i] for i in way], stops.vectors[way])


def _along(a: Array, b: Array, n: int) -> Array:
    """Return n points evenly between two unit vectors on the great circle through them, float32 (n, d)."""
    angle = math.acos(max(-1.0, min(1.0, float(a @ b))))
    share = np.arange(1, n + 1)[:, None] / (n + 1)
    if angle < 1e-3 or angle > math.pi - 1e-3:  # the same direction, or every way round is as long
        points = (1 - share) * a + share * b + 1e-6
    else:
        points = np.sin((1 - share) * angle) * a + np.sin(share * angle) * b
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9), np.float32)


def _candidates(
    record: Record,
    index: Index,
    space: Space,
    points: Array,
    where: Filter | None,
    unwanted: set[int],
    ends: tuple[Query, Query],
) -> _Stops:
    """Find what lies near each point, without copies and versions of the ends."""
    near = max(_NEAR_STOP, min(len(points), _MOST_NEAR))
    found = [
        [number for number, _ in index.search(space.id, point, near, where, unwanted)] for point in points
    ]
    tracks = tracks_of(record, list(dict.fromkeys(number for near in found for number in near)))
    numbers = sorted(tracks)
    vectors = vectors_of(record, space, numbers) if numbers else ends[0].vector[None][:0]
    cosines = vectors @ np.stack([query.vector for query in ends]).T
    likely = likely_copies([tracks[number] for number in numbers], [query.like for query in ends], cosines)
    kept = [
        place
        for place, number in enumerate(numbers)
        if not any(
            _is_version(query, tracks[number], float(cosines[place, i]))
            or (
                likely[place, i]
                and is_copy_of(record, space, query, tracks[number], float(cosines[place, i]))
            )
            for i, query in enumerate(ends)
        )
    ]
    where_is = {numbers[place]: i for i, place in enumerate(kept)}
    layers = [[where_is[number] for number in near if number in where_is] for near in found]
    chosen = [numbers[place] for place in kept]
    return _Stops(chosen, vectors[kept], [tracks[number] for number in chosen], layers)


def _is_version(end: Query, track: Track, cosine: float) -> bool:
    return end.like is not None and are_versions(piece_of(end.like), piece_of(track), cosine)


def _through(
    stops: _Stops,
    ends: Array,
    names: tuple[Track, Track],
    points: Array,
    rules: Variety,
    noise: np.random.Generator | None,
    record: Record,
    space: Space,
) -> list[int]:
    """Choose one candidate for each stop: the cheapest way that keeps the rules, as far as that goes."""
    everyone = list(range(len(stops.numbers)))
    layers = [list(layer) or everyone for layer in stops.layers]
    if len(everyone) < len(layers):  # a small library: as many stops as there are tracks
        keep = np.linspace(0, len(layers) - 1, len(everyone)).round().astype(int)
        layers, points = [everyone for _ in keep], points[keep]
    elif len(everyone) < 3 * len(layers):
        layers = [everyone for _ in layers]
    strayed = 1 - points @ stops.vectors.T
    if noise is not None:
        strayed = strayed + noise.exponential(_WANDER / _DIRECT, strayed.shape)
    banned: list[set[int]] = [set() for _ in layers]
    same = same_recordings(record, space.id, stops.tracks, stops.vectors)
    way = list[int]()
    for _ in range(_REPAIRS):
        open_ = [
            [c for c in layer if c not in banned[i]] or [c for c in everyone if c not in banned[i]] or layer
            for i, layer in enumerate(layers)
        ]
        way = _cheapest(open_, stops.vectors, ends, strayed)
        broken = _repeated(way, strayed) or _broken(way, stops, names, rules, same)
        if not broken:
            return way
        for place, worse in broken:
            banned[place].update(worse)
    once = list[int]()
    for place in way:
        if place not in once and not same(place, once):
            once.append(place)
    return once


def _cheapest(
    layers: list[list[int]], vectors: Array, ends: Array, strayed: NDArray[np.floating]
) -> list[int]:
    """Viterbi: one candidate a layer, so that the squared steps and the straying sum up to the least."""
    cost = np.square(1 - vectors[layers[0]] @ ends[0]) + _DIRECT * np.square(strayed[0, layers[0]])
    back = list[NDArray[np.intp]]()
    for i in range(1, len(layers)):
        steps = np.square(1 - vectors[layers[i - 1]] @ vectors[layers[i]].T)
        steps[np.equal.outer(layers[i - 1], layers[i])] = 100.0  # not the same track twice
        total = cost[:, None] + steps
        back.append(total.argmin(axis=0))
        cost = total.min(axis=0) + _DIRECT * np.square(strayed[i, layers[i]])
    place = int((cost + np.square(1 - vectors[layers[-1]] @ ends[1])).argmin())
    way = [layers[-1][place]]
    for i in range(len(layers) - 2, -1, -1):
        place = int(back[i][place])
        way.append(layers[i][place])
    return way[::-1]


def _repeated(way: Sequence[int], strayed: NDArray[np.floating]) -> list[tuple[int, list[int]]]:
    """Return the stops where candidates must not come because they come where they stray less: stop, candidates."""
    own = {place: min((strayed[i, place], i) for i, p in enumerate(way) if p == place)[1] for place in way}
    twice = [place for place in own if way.count(place) > 1]
    return [(i, [p for p in twice if own[p] != i]) for i in range(len(way))] if twice else []


def _broken(
    way: Sequence[int],
    stops: _Stops,
    names: tuple[Track, Track],
    rules: Variety,
    same: Callable[[int, Sequence[int]], list[int]],
) -> list[tuple[int, list[int]]]:
    """Return the stops that break the rules, and the candidates that would do the same there; none when all is well."""
    everyone = range(len(stops.tracks))
    again = [(i, [place, *same(place, everyone)]) for i, place in enumerate(way) if same(place, way[:i])]
    if again:
        return again
    line = [names[0], *(stops.tracks[place] for place in way), names[1]]
    found = list[tuple[int, list[int]]]()
    for name_of, most in ((_artist, rules.per_artist), (_album, rules.per_album)):
        texts = [name_of(track) for track in line]
        for last in range(1, len(line)):
            window = range(max(0, last - rules.window + 1), last + 1)
            name = texts[last]
            inner = [i for i in window if texts[i] == name and 0 < i < len(line) - 1]
            if name and inner and sum(texts[i] == name for i in window) > most:
                # the last of them that is no end of the path goes, and counts no more
                found.append((inner[-1] - 1, [c for c in everyone if name_of(stops.tracks[c]) == name]))
                texts[inner[-1]] = ""
    return found


def _artist(track: Track) -> str:
    return fold(track.artist)


def _album(track: Track) -> str:
    return fold(track.album)


def _told(
    record: Record,
    space: Space,
    usual: Closeness,
    start: Query,
    end: Query,
    tracks: list[Track],
    vectors: Array,
) -> Journey:
    """Describe each track of a path by what it has in common with the one before."""
    assert start.like is not None
    queries = [start, *(Query(v, t) for v, t in zip(vectors, tracks, strict=True)), end]
    hits = [hit_of(record, space, start.like, 1.0, Query(start.vector), usual, moments=())]
    jumps = list[int]()
    for place in range(1, len(queries)):
        before, here = queries[place - 1], queries[place]
        assert here.like is not None
        cosine = float(before.vector @ here.vector)
        hits.append(hit_of(record, space, here.like, cosine, before, usual, moments=()))
        if usual.similarity(cosine) <= 0:
            jumps.append(place)
    return Journey(hits, jumps)
