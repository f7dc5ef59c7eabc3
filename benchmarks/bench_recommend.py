"""How long recommendations, paths and radios take among 100,000 tracks, in a process that stays: an app, a server.

    python benchmarks/bench_recommend.py [--real LIBRARY]

The library is made up: clustered vectors as in filling.py, twelve windows a track, 12 tracks an artist. Each track
has a fingerprint whose pieces are those of one track of the demo's music, or of LIBRARY, in an order of its own, so
that what sounds alike and is as long has to be compared; told is how many comparisons a question costs. A profile
likes tracks of some clusters; where it dislikes 1,000, they are of the clusters of a third of its likes, and told is
what part of the lists is from there. Every question is another one: other likes each time, the rules of variety
on, with reasons and moments. CPU time is that of this process, which is all there is to it.
"""

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from common import Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
from filling import fill

from soundkin.fingerprint import compare
from soundkin.library import Library
from soundkin.recommend.copies import CUT_SECONDS
from soundkin.record import Record, Track


class Cost(NamedTuple):
    """What a kind of question costs: CPU and wall-clock ms of the usual one and of one in a hundred; comparisons."""

    cpu: float
    slow: float
    wall: float
    wall_slow: float
    compared: float


def timed(ask: Callable[[int], object], repeats: int) -> Cost:
    """Ask so many times, after once that does not count."""
    ask(0)
    cpu, wall = [], []
    with mock.patch("soundkin.recommend.copies.compare", wraps=compare) as compared:
        for i in range(1, repeats + 1):
            begin = time.process_time(), time.perf_counter()
            ask(i)
            cpu.append(1e3 * (time.process_time() - begin[0]))
            wall.append(1e3 * (time.perf_counter() - begin[1]))
    p50, p99 = np.quantile([cpu, wall], [0.5, 0.99], axis=1)
    return Cost(p50[0], p99[0], p50[1], p99[1], compared.call_count / repeats)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=100_000, help="tracks")
    parser.add_argument("--repeats", type=int, default=100, help="questions per row of the table")
    parser.add_argument("--real", type=Path, help="a library of real music, for its fingerprints")
    parser.add_argument(
        "--folder", type=Path, help="library to make, or to use again (default: a temporary one)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if not (folder / "record.sqlite").exists():
            fill(folder, args.n, args.seed, real=args.real)
        return measure(folder, args.repeats, args.seed, args.check)


def radio(library: Library, start: Track) -> Callable[[int], object]:
    """Listen on and on, liking every tenth track and skipping another."""
    queue = library.radio(start)

    def step(i: int) -> None:
        next(queue)
        if i % 10 == 4:
            queue.like()
        if i % 10 == 7:
            queue.skip()

    return step


def measure(folder: Path, repeats: int, seed: int, check: bool) -> int:
    with Library.open(folder) as library:
        begin = time.process_time()
        tracks = library.tracks()
        print(f"{len(tracks):,} tracks, lists of 20, {repeats} of each kind\n")
        library.similar(tracks[0])
        genres = np.array([track.genres[0] for track in tracks])
        known = {profile.name for profile in library.profiles()}
        avoided: dict[int, str] = {}
        said: dict[str, list[str]] = {}
        for likes in (1, 10, 200, 1000, 5000):
            for i in range(repeats + 1):
                rng = np.random.default_rng([seed, likes, i])
                tastes = rng.choice(10, 3, replace=False)
                pool = np.flatnonzero(np.isin(genres, [f"genre {g}" for g in tastes]))
                picked = rng.choice(pool, min(likes, len(pool)), replace=False)
                names = [f"{likes} {i}"] + [f"{likes} and dislikes {i}"] * (likes == 5000)
                said[f"{likes} {i}"] = [tracks[p].id for p in picked]
                avoided[i] = f"genre {tastes[0]}"
                for name in set(names) - known:  # not of an earlier run in the same folder
                    library.create_profile(name)
                    library.feedback("like", [tracks[p] for p in picked], name)
                    if "dislikes" in name:
                        others = np.setdiff1d(np.flatnonzero(genres == avoided[i]), picked)
                        library.feedback("dislike", [tracks[p] for p in rng.permutation(others)[:1000]], name)
        print(f"(getting ready: {time.process_time() - begin:.1f} s CPU)\n")

        def recommend(likes: int, filters: list[str], **more: str) -> Callable[[int], object]:
            return lambda i: library.recommend(profile=f"{likes} {i}", filters=filters, **more)  # type: ignore[arg-type]

        def given(likes: int) -> Callable[[int], object]:
            return lambda i: library.recommend(said[f"{likes} {i}"])

        some, half, genre = ["year=1960..1967"], ["year<1990"], ["genre=genre 3"]
        kinds: dict[str, Callable[[int], object]] = {
            "similar, 10": lambda i: library.similar(tracks[i], 10),
            "1 like": recommend(1, []),
            "10 likes": recommend(10, []),
            "200 likes": recommend(200, []),
            "200 likes, a filter that 10 % pass": recommend(200, some),
            "200 likes, a filter that 50 % pass": recommend(200, half),
            "200 likes, a filter for a tenth of the clusters": recommend(200, genre),
            "1,000 likes": recommend(1000, []),
            "1,000 likes, a filter that 10 % pass": recommend(1000, some),
            "5,000 likes": recommend(5000, []),
            "5,000 likes, 1,000 dislikes": lambda i: library.recommend(profile=f"5000 and dislikes {i}"),
            "200 likes, best": recommend(200, [], strategy="best"),
            "200 likes, average": recommend(200, [], strategy="average"),
            "200 likes that come with the question": given(200),
            "1,000 likes that come with the question": given(1000),
            "path of 12": lambda i: library.path(tracks[i], tracks[-i - 1], 12),
            "path of 12, a filter that 10 % pass": lambda i: library.path(
                tracks[i], tracks[-i - 1], 12, some
            ),
            "radio, a step": radio(library, tracks[7]),
        }
        gc.collect()
        gc.freeze()  # the list of all tracks is the benchmark's: looking for garbage in it takes longer than an answer
        took = {name: timed(ask, repeats) for name, ask in kinds.items()}
        genre_of = {track.id: track.genres[0] for track in tracks}
        pushed = [
            np.mean([genre_of[h.id] == avoided[i] for h in library.recommend(profile=f"{who} {i}")])
            for who in ("5000", "5000 and dislikes")
            for i in range(repeats)
        ]
    titles = ("", "CPU ms, p50", "p99", "wall ms, p50", "p99", "fingerprints compared")
    table(titles, [[n, *map("{:.1f}".format, t)] for n, t in took.items()])
    with Record.open(folder) as record:
        prints = list(record.fingerprints([track.id for track in tracks[:100]]).values())
    begin = time.process_time()
    for one, other in zip(prints[:50], prints[50:], strict=True):
        compare(one, other, CUT_SECONDS)
    print(f"a comparison of fingerprints: {1e3 * (time.process_time() - begin) / 50:.2f} CPU ms")
    without, with_dislikes = np.mean(pushed[:repeats]), np.mean(pushed[repeats:])
    print(
        f"of the lists from clusters of a third of the likes: {100 * without:.0f} %; where 1,000 tracks of these are "
        f"disliked: {100 * with_dislikes:.0f} %\n"
    )
    targets = Targets()
    limits = {name: 200.0 if "path" in name else 50.0 for name in kinds if name.startswith(("path", "radio"))}
    limits |= {name: 50.0 for name in kinds if "200 likes, a filter" in name}
    for name, limit in limits.items():
        targets.at_most(f"{name}, CPU p50", took[name].cpu, limit, " ms")
        targets.at_most(f"{name}, CPU p99", took[name].slow, limit, " ms")
    for name, few, most in (
        ("1,000 likes", "200 likes", 1.5),
        ("5,000 likes", "200 likes", 2.5),
        ("200 likes that come with the question", "200 likes", 1.25),
        ("1,000 likes that come with the question", "1,000 likes", 1.25),
    ):
        targets.at_most(f"{name} / {few}, CPU p50", took[name].cpu / took[few].cpu, most)
    return targets.finish(check)


if __name__ == "__main__":
    sys.exit(main())
