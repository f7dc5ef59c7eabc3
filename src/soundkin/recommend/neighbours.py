"""What sounds like one track, or like one moment of it."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Space, is_gone
from soundkin.errors import NotFound
from soundkin.filters import Filter
from soundkin.index import Index
from soundkin.recommend.closeness import CLOSE, Closeness
from soundkin.recommend.copies import (
    COPY_SECONDS,
    COPY_SIMILARITY,
    FINGERPRINT_SIMILARITY,
    is_copy,
    reach_of,
    same_recordings,
    windows_of,
)
from soundkin.recommend.hits import Hit, Moment, Query
from soundkin.recommend.pieces import are_versions, piece_of
from soundkin.recommend.reasons import in_words, moments_of, reasons
from soundkin.recommend.variety import Variety, pick
from soundkin.record import Record, Track

Array = NDArray[np.float32]

# So many of the nearest are looked at for each that is wanted, and at least so many: with more of them
# benchmarks/bench_hubness.py prints the same figures.
_POOL_PER_HIT, _POOL = 2, 30
_SAME = 1 - 1e-4
_SAME_RECORDING = "the same recording"
# Of so many tracks the moments are compared: each costs reading its windows.
_MOMENTS_POOL = 200


def similar(
    record: Record,
    index: Index,
    space: Space,
    query: Query,
    k: int,
    usual: Closeness,
    where: Filter | None = None,
    rules: Variety | None = None,
    moments: bool = False,
    versions: bool = False,
) -> list[Hit]:
    """Find the k tracks nearest to a query, without the query and its copies.

    Near is what is surprisingly similar for the two (see `Closeness.evidence`), so that tracks which are similar to
    everything do not stand in every answer.

    Parameters
    ----------
    record, index : Record, Index
        Of the library; the index up to date with the record.
    space : Space
        Where to look.
    query : Query
        What to look for.
    k : int
        How many.
    usual : Closeness
        Of the space.
    where : Filter, optional
        Only tracks that pass.
    rules : Variety, optional
        How the answer may not repeat itself; default any way it likes.
    moments : bool
        Order by the most similar moment, not by the tracks as a whole.
    versions : bool
        Keep copies of the query, which come first with a similarity of 1, and say of each that it is one, or another
        version of the piece.

    Returns
    -------
    list of Hit
        Best first; k of them whenever there are k.
    """
    unwanted = unwanted_of(query)
    near = nearest(record, index, space, query, k, usual, unwanted, where, moments, versions)
    places = list(range(len(near.found)))
    if rules is not None and places:
        known = [near.tracks[number] for number, _ in near.found]
        fit = -np.arange(len(places), dtype=np.float64) if moments else near.evidence
        artists, albums = [t.artist for t in known], [t.album for t in known]
        same = same_recordings(record, space.id, known, near.vectors)
        places = pick(fit, near.vectors, artists, albums, k, rules, same)
    close = not places or usual.is_close(float(near.evidence.max()))
    kinds = dict.fromkeys(places, "")
    if versions:
        kinds = {
            p: _version_of(record, space, query, near.tracks[near.found[p][0]], near.found[p][1])
            for p in places
        }
        places.sort(key=lambda place: kinds[place] != _SAME_RECORDING)
    hits = list[Hit]()
    for place in places[:k]:
        number, score = near.found[place]
        track, kind = near.tracks[number], kinds[place]
        hit = hit_of(record, space, track, score, query, usual, close, moments=near.moments.get(number))
        if (
            kind == _SAME_RECORDING
        ):  # an encoder hears a copy of a low bit rate as duller music: it is the same all the same
            hit = replace(hit, similarity=1.0, close=True)
        hits.append(replace(hit, reasons=(kind, *hit.reasons)) if kind else hit)
    return hits


@dataclass(frozen=True)
class Near:
    """The neighbours of a query, best first.

    Parameters
    ----------
    found : list of (int, float)
        Number and cosine of each.
    tracks : dict of int to Track
        The tracks behind the numbers.
    vectors : float32 (n, d)
        Their vectors.
    evidence : float64 (n,)
        See `Closeness.evidence`.
    moments : dict of int to tuple of Moment
        By number, where they decide the order.
    """

    found: list[tuple[int, float]]
    tracks: dict[int, Track]
    vectors: Array
    evidence: NDArray[np.float64]
    moments: dict[int, tuple[Moment, ...]]


def unwanted_of(query: Query) -> set[int]:
    """Return the numbers of the tracks that are no answer before any search: that of the query itself."""
    return {int(query.like.id, 16)} if query.like is not None and query.like.id else set()


def nearest(
    record: Record,
    index: Index,
    space: Space,
    query: Query,
    k: int,
    usual: Closeness,
    unwanted: set[int],
    where: Filter | None = None,
    moments: bool = False,
    versions: bool = False,
) -> Near:
    """Find more than the k tracks nearest to a query, without copies of it.

    Parameters
    ----------
    record, index, space, query, k, usual, where, moments, versions
        As for `similar`.
    unwanted : set of int
        Numbers of tracks that are no answer; the copies that are met join them.

    Returns
    -------
    Near
        At least k whenever there are k.
    """
    size = max(_MOMENTS_POOL, _POOL_PER_HIT * k) if moments else _POOL_PER_HIT * k + _POOL
    while True:
        found = index.search(space.id, query.vector, size, where, unwanted)
        tracks = tracks_of(record, [number for number, _ in found])
        copies = {
            number
            for number, score in found
            if number not in tracks
            or (not versions and is_copy_of(record, space, query, tracks[number], score))
        }
        unwanted |= copies
        if len(found) - len(copies) >= k or len(found) < size:
            break
        size *= 2  # and the question is put again, so that k are left
    found = [(number, score) for number, score in found if number not in copies]
    if not found:
        return Near([], {}, np.empty((0, space.dims), np.float32), np.empty(0), {})
    vectors = vectors_of(record, space, [number for number, _ in found])
    evidence = usual.evidence(vectors, query.vector[None], query.is_known)[:, 0]
    order, matched = _ordered(record, space, query, found, evidence, moments)
    found = [found[place] for place in order]
    return Near(found, tracks, vectors[order], evidence[order], matched)


def _version_of(record: Record, space: Space, query: Query, track: Track, cosine: float) -> str:
    """Say in words what a track is of the piece that is asked for; "" when it is another piece."""
    like = query.like
    if like is None:
        return ""
    if is_copy_of(record, space, query, track, cosine):
        return _SAME_RECORDING
    same = are_versions(piece_of(like), piece_of(track), cosine)
    return "another version" if same else ""


def _ordered(
    record: Record,
    space: Space,
    query: Query,
    found: Sequence[tuple[int, float]],
    evidence: NDArray[np.float64],
    moments: bool,
) -> tuple[list[int], dict[int, tuple[Moment, ...]]]:
    """Order what was found, best first: places; and by number the moments of each where they decide."""
    matched = {}
    if moments:
        for number, _ in found:
            matched[number] = _moments(record, space, query, f"{number:016x}")

    def key(place: int) -> tuple[float, bool, float, float, int]:
        number, cosine = found[place]
        best = matched[number][0].cosine if matched.get(number) else -1.0
        # the same sound is no surprise to weigh: it is what was asked for
        return -best, cosine < _SAME, -round(float(evidence[place]), 4), -round(cosine, 6), number

    return sorted(range(len(found)), key=key), matched


def hit_of(
    record: Record,
    space: Space,
    track: Track,
    cosine: float,
    query: Query,
    usual: Closeness,
    close: bool = True,
    follows: bool = False,
    moments: tuple[Moment, ...] | None = None,
) -> Hit:
    """Describe a track of an answer, with its reasons.

    Parameters
    ----------
    record : Record
        Where its windows are.
    space : Space
        Where it was found.
    track : Track
        What was found.
    cosine : float
        With the query.
    query : Query
        What was asked for, or the like that speaks for it.
    usual : Closeness
        Of the space.
    close : bool
        Whether the answer as a whole is closer than chance.
    follows : bool
        Whether the query is one like of several.
    moments : tuple of Moment, optional
        Where they are known already.

    Returns
    -------
    Hit
        For people and programs.
    """
    like = query.like
    if moments is None:
        moments = _moments(record, space, query, track.id)
    why = list(reasons(like, track)) if like is not None else []
    why += map(in_words, moments[:1])
    if follows and like is not None:
        why.append(f"follows {like.artist} - {like.name}" if like.artist else f"follows {like.name}")
    similarity = usual.similarity(cosine, query.vector if query.is_text else None)
    return Hit(
        track.id, track.path, track.title, track.artist, track.album, track.duration,
        round(similarity, 4), tuple(why), round(cosine, 4), moments,
        like.id if follows and like is not None else "", close or similarity >= CLOSE, not is_gone(track.path),
    )  # fmt: skip


def tracks_of(record: Record, numbers: Sequence[int]) -> dict[int, Track]:
    """Return tracks by the numbers that an index has for them."""
    return {int(track.id, 16): track for track in record.tracks([f"{number:016x}" for number in numbers])}


def vectors_of(record: Record, space: Space, numbers: Sequence[int]) -> Array:
    """Return the vectors of tracks by the numbers that an index has for them: float32 (n, d), of unit length."""
    rows = record.vectors_of([f"{number:016x}" for number in numbers], space.id)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def read(record: Record, space: Space, numbers: Sequence[int]) -> tuple[list[Track], Array]:
    """Read tracks with their vectors by the numbers that an index has for them, at the cost of one of both.

    Parameters
    ----------
    record : Record
        Where they are; those that went since the index was asked are left out.
    space : Space
        Of the vectors.
    numbers : sequence of int
        In any order.

    Returns
    -------
    tracks : list of Track
        By id.
    vectors : float32 (n, d)
        Theirs, of unit length.
    """
    found = record.tracks_with_vectors([f"{number:016x}" for number in numbers], space.id)
    rows = np.array([vector for _, vector in found], np.float32).reshape(len(found), space.dims)
    return [track for track, _ in found], rows / np.maximum(
        np.linalg.norm(rows, axis=1, keepdims=True), 1e-12
    )


def with_windows(record: Record, space: Space, query: Query) -> Query:
    """Return a query with the windows of its track, where the record has them."""
    if query.windows is not None or not query.is_known:
        return query
    assert query.like is not None
    with contextlib.suppress(NotFound):  # imported vectors have none
        starts, windows = record.windows(query.like.id, space.id)
        return replace(query, starts=starts, windows=windows)
    return query


def is_copy_of(record: Record, space: Space, query: Query, track: Track, cosine: float) -> bool:
    """Tell whether a track is the recording that is asked for.

    Parameters
    ----------
    record : Record
        Where its windows are.
    space : Space
        Where it was found.
    query : Query
        What is asked for.
    track : Track
        What was found.
    cosine : float
        Of the two.

    Returns
    -------
    bool
        As `is_copy`; False when only a moment is asked for, for then a copy is an answer.
    """
    if query.like is None or not query.whole:
        return False
    apart = abs(query.like.duration - track.duration)
    if cosine < FINGERPRINT_SIMILARITY or apart > reach_of(cosine):
        return is_copy(query.like, track, cosine)
    prints = record.fingerprints([query.like.id, track.id])
    own, other = query.fingerprint or prints.get(query.like.id, b""), prints.get(track.id, b"")
    if own and other:
        return is_copy(query.like, track, cosine, None, None, own, other)
    if cosine < COPY_SIMILARITY or apart > COPY_SECONDS:
        return is_copy(query.like, track, cosine)
    windows = with_windows(record, space, query).windows, windows_of(record, track.id, space.id)
    return is_copy(query.like, track, cosine, *windows)


def _moments(record: Record, space: Space, query: Query, track_id: str) -> tuple[Moment, ...]:
    with contextlib.suppress(NotFound):  # imported vectors have no windows
        return moments_of(query, *record.windows(track_id, space.id), space.window_seconds)
    return ()
