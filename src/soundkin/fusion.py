"""One question, several spaces: reciprocal rank fusion.

Cosines of different spaces mean different things, ranks do not. A track scores the sum, over the spaces, of
1 / (60 + its rank); Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods", 2009.
"""

from collections.abc import Mapping

from soundkin.embed import Space, is_gone
from soundkin.filters import Filter
from soundkin.index import Index
from soundkin.recommend import Closeness, Hit, Query, nearest, reasons, unwanted_of
from soundkin.record import Record, Track

_DAMPING = 60
# How deep each space is searched, in multiples of what is wanted: a track that one space likes best and another one
# likes well beats what both only like.
_DEPTH, _LEAST_DEPTH = 10, 100


def similar(
    record: Record,
    index: Index,
    queries: Mapping[Space, Query],
    k: int,
    usual: Mapping[str, Closeness],
    where: Filter | None = None,
) -> list[Hit]:
    """Find the k tracks that the spaces together find nearest.

    Parameters
    ----------
    record, index : Record, Index
        Of the library; the index up to date with the record.
    queries : mapping of Space to Query
        The same question in each space; at least one.
    k : int
        How many.
    usual : mapping of str to Closeness
        Of each space, by its id.
    where : Filter, optional
        Only tracks that pass.

    Returns
    -------
    list of Hit
        Best first, k of them whenever there are k, without the query and what any of the spaces takes for a copy of
        it. `similarity` is the score as a share of the best possible one, 0..1; among the reasons are the ranks.
    """
    unwanted = set[int]().union(*map(unwanted_of, queries.values()))
    depth = max(_DEPTH * k, _LEAST_DEPTH)
    while True:
        rankings = {}
        for space, query in queries.items():
            near = nearest(record, index, space, query, depth, usual[space.id], unwanted, where)
            rankings[space.encoder] = [near.tracks[number] for number, _ in near.found[:depth]]
        ranks = _ranks(rankings, unwanted)
        exhausted = all(len(ranking) < depth for ranking in rankings.values())
        if len(ranks) >= k or exhausted:
            break
        depth *= 2  # one space only saw that the first tracks of another one are copies
    like = next((query.like for query in queries.values() if query.like is not None), None)
    best = sorted(ranks.values(), key=lambda ranked: (-_score(ranked[1]), ranked[0].id))[:k]
    return [_hit(track, places, like, len(queries)) for track, places in best]


_Ranked = tuple[Track, dict[str, int]]  # a track, and its rank with each encoder that found it


def _ranks(rankings: Mapping[str, list[Track]], unwanted: set[int]) -> dict[str, _Ranked]:
    ranked: dict[str, _Ranked] = {}
    for space, tracks in rankings.items():
        wanted = (track for track in tracks if int(track.id, 16) not in unwanted)
        for rank, track in enumerate(wanted, 1):
            ranked.setdefault(track.id, (track, {}))[1][space] = rank
    return ranked


def _score(places: Mapping[str, int]) -> float:
    return sum(1 / (_DAMPING + rank) for rank in places.values())


def _hit(track: Track, places: Mapping[str, int], like: Track | None, spaces: int) -> Hit:
    told = tuple(f"{encoder} #{rank}" for encoder, rank in places.items())
    return Hit(
        track.id, track.path, track.title, track.artist, track.album, track.duration,
        round(_score(places) * (_DAMPING + 1) / spaces, 4),
        told + (reasons(like, track) if like is not None else ()), there=not is_gone(track.path),
    )  # fmt: skip
