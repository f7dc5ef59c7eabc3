"""Why `agreement` is fused here and not by Qdrant: one question to two of its engines, and how good the answers are.

    soundkin index MUSIC --library LIBRARY
    python benchmarks/bench_fusion.py LIBRARY [--qdrant URL]

Qdrant fuses the neighbours of several likes by their ranks: one prefetch a like, then reciprocal rank fusion. That is
asked of Qdrant Edge and of a server (the client's own in-memory one, if no URL is given), over one library in which a
share of the tracks is there twice, as copies of files are. The made-up listeners are those of bench_taste.py with two
tastes. Told are the share of answers that are the same, track by track, and as sets; and the nDCG of what is found.
Then the same for what `recommend` makes of both engines, strategy by strategy.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
import qdrant_edge as engine
from bench_taste import K, Music, judge, listener
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from soundkin.index import Index, Mark, Point, open_index, rebuild
from soundkin.library import Library
from soundkin.recommend import STRATEGIES, Query, Seeds, recommend
from soundkin.recommend.variety import FREE

_PREFETCH, _DAMPING = 100, 60
Floats = NDArray[np.float32]


def by_edge(index: Index, space: str) -> Callable[[Floats], list[int]]:
    """Let Qdrant Edge fuse."""
    shard = index._shard  # type: ignore[attr-defined]

    def ask(likes: Floats) -> list[int]:
        near = [
            engine.Prefetch(query=engine.Query.Nearest(like.tolist(), using=space), limit=_PREFETCH)
            for like in likes
        ]
        fused: Any = engine.Fusion.Rrf(k=_DAMPING)  # its type is told as no Fusion, which it is
        return [
            int(hit.id) for hit in shard.query(engine.QueryRequest(limit=2 * K, prefetches=near, query=fused))
        ]

    return ask


def by_server(client: QdrantClient, space: str) -> Callable[[Floats], list[int]]:
    """Let the server fuse."""

    def ask(likes: Floats) -> list[int]:
        near = [models.Prefetch(query=like.tolist(), using=space, limit=_PREFETCH) for like in likes]
        fused = models.RrfQuery(rrf=models.Rrf(k=_DAMPING))
        found = client.query_points("soundkin", prefetch=near, query=fused, limit=2 * K, with_payload=False)
        return [int(hit.id) for hit in found.points]

    return ask


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", help="folder of a library")
    parser.add_argument("--qdrant", help="URL of a server")
    parser.add_argument("--listeners", type=int, default=100)
    parser.add_argument("--twice", type=float, default=0.02, help="share of the tracks that are there twice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    client = QdrantClient(args.qdrant) if args.qdrant else QdrantClient(":memory:")
    with Library.open(args.library) as library, tempfile.TemporaryDirectory() as name:
        space = library.space()
        ids, rows = library.vectors()
        tracks = {track.id: track for track in library.tracks()}
        rng = np.random.default_rng(args.seed)
        numbers = [int(id_, 16) for id_ in ids]
        points = [Point(number, {space.id: row}) for number, row in zip(numbers, rows, strict=True)]
        again = rng.choice(len(ids), round(args.twice * len(ids)), replace=False)
        points += [Point(numbers[i] ^ 1 << 62, {space.id: rows[i]}) for i in again]
        for where in (Path(name) / "index", client):
            rebuild(where, Mark("bench", 1), {space.id: space.dims}, points)
        with open_index(Path(name) / "index") as edge, open_index(client) as server:
            native = by_edge(edge, space.id), by_server(client, space.id)
            folders = [os.path.dirname(tracks[id_].path) for id_ in ids]
            music = Music(ids, np.unique(folders, return_inverse=True)[1])

            def ours(index: Index, strategy: str) -> Callable[[NDArray[np.intp]], list[int]]:
                def ask(likes: NDArray[np.intp]) -> list[int]:
                    seeds = Seeds(tuple(Query(rows[i], tracks[ids[i]]) for i in likes))
                    found = recommend(
                        library._reader(),
                        index,
                        space,
                        seeds,
                        K,
                        library.closeness(space),
                        strategy,
                        rules=FREE,
                    )
                    return [int(hit.id, 16) for hit in found]

                return ask

            def fused(ask: Callable[[Floats], list[int]]) -> Callable[[NDArray[np.intp]], list[int]]:
                def without(likes: NDArray[np.intp]) -> list[int]:
                    known = {numbers[i] for i in likes}
                    return [number for number in ask(rows[likes]) if number not in known]

                return without

            pairs = {"fused by Qdrant": (fused(native[0]), fused(native[1]))}
            pairs |= {f"recommend, {one}": (ours(edge, one), ours(server, one)) for one in STRATEGIES}
            print(f"{len(ids)} tracks, {len(again)} of them twice, {args.listeners} listeners\n")
            return report(music, numbers, pairs, args.listeners, args.seed, args.check)


def report(
    music: Music,
    numbers: list[int],
    pairs: dict[str, tuple[Callable[..., list[int]], Callable[..., list[int]]]],
    listeners: int,
    seed: int,
    check: bool,
) -> int:
    """Ask both engines, and print how often they agree."""
    place = {number: i for i, number in enumerate(numbers)}
    rows, targets = [], Targets()
    for name, (one, other) in pairs.items():
        rng = np.random.default_rng((seed, 2))
        same, sets, good = [], [], []
        for _ in range(listeners):
            likes, wanted = listener(music, 2, rng)
            a, b = one(likes), other(likes)
            same.append(a[:K] == b[:K])
            sets.append(set(a[:K]) == set(b[:K]))
            good.append(judge([place[number] for number in a if number in place], wanted)[1])
        rows.append([name, f"{np.mean(same):.2f}", f"{np.mean(sets):.2f}", f"{np.mean(good):.3f}"])
        if name.startswith("recommend"):
            targets.at_least(f"{name}: share of answers that are the same", float(np.mean(same)), 1.0)
    table(("", "the same answer", "the same tracks", f"nDCG@{K}"), rows)
    return targets.finish(check)


if __name__ == "__main__":
    sys.exit(main())
