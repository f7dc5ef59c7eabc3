"""What a path, a step of a radio, a filter and a search for duplicates cost among 100,000 tracks; how smooth paths are.

    python benchmarks/bench_journeys.py [--real LIBRARY] [--tracks 100000] [--check]

The large library is made up: 128-d vectors in 300 overlapping styles, 8,000 artists, lengths like songs', a fingerprint
each, and a listener who likes 1,000 tracks and has played half of all. Times are CPU milliseconds of this process, of
which there is one thread, so that a busy machine does not matter; the embedded index is in it.

With ``--real``, a library of real music, paths between random pairs are compared with the direct step from end to end
and with as many tracks drawn by lot. ``--keep`` keeps the made-up library for the next run.
"""

import argparse
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

from soundkin.embed import Embedded, FileState, Space
from soundkin.encoders.descriptors import Analysis
from soundkin.fingerprint import BANDS
from soundkin.library import Library
from soundkin.recommend import Variety
from soundkin.recommend.variety import repeats
from soundkin.record import Record
from soundkin.tags import Tags

SPACE = Space("made", "0", "none", 3.07, 3.07, "12x3.07s", "mean", 128)
PATH_MS, RADIO_MS, FILTER_MS, DUPLICATES_S = 200.0, 50.0, 50.0, 600.0
KEYS = ("A minor", "C major", "E minor", "G major", "D major")


def make(folder: Path, n: int, seed: int = 0) -> None:
    """Write a library of n tracks that nobody made."""
    rng = np.random.default_rng(seed)
    styles = rng.normal(size=(300, SPACE.dims))
    artists = rng.integers(0, 8000, n)
    style = (artists * 7 + rng.integers(0, 3, n)) % len(styles)  # an artist has a few styles
    with Record.open(folder, write=True) as record:
        record.add_space(SPACE)
        with record.batch(every=5000, seconds=60):
            for i in range(n):
                row = styles[style[i]] + 0.9 * rng.normal(size=SPACE.dims)
                home = f"/music/artist {artists[i]}/album {artists[i] % 5}"
                tags = Tags(
                    f"title {i}", f"artist {artists[i]}", f"album {i % 5} of {artists[i]}",
                    genres=(f"genre {style[i] % 40}",), year=1960 + int(rng.integers(60)),
                )  # fmt: skip
                bpm, energy, loudness = rng.uniform((60, 0, -30), (180, 1, -6)).tolist()
                record.put(
                    Embedded(
                        FileState(f"{home}/{i}.mp3", i, i), f"{i:032x}", float(rng.gamma(9, 26)), 44100, 2, "mp3",
                        tags, Analysis(bpm, KEYS[i % 5], energy, loudness),
                        {SPACE.id: (row / np.linalg.norm(row)).astype(np.float32)}, fingerprint=made_print(rng),
                    )
                )  # fmt: skip
        ids = [track_id for track_id, _ in zip(record.paths(), range(n), strict=False)]
        record.add_feedback("default", ids[:1000], "like")
        record.add_feedback("default", ids[: n // 2], "play")


def made_print(rng: np.random.Generator) -> bytes:
    """Return a fingerprint of no music at all."""
    heads = b"".join(struct.pack("<fB", 12.0 * i, 32) for i in range(18))
    return struct.pack("<BB", 1, 18) + heads + rng.integers(-60, 60, 18 * 32 * BANDS, np.int8).tobytes()


def timed(work: Callable[[int], Any], times: int) -> list[float]:
    """Return CPU milliseconds of each of several runs; the first one, which fills caches, does not count."""
    work(0)
    out = []
    for i in range(1, times + 1):
        begin = time.process_time()
        work(i)
        out.append(1000 * (time.process_time() - begin))
    return out


def costs(library: Library, targets: common.Targets) -> None:
    """Time every question."""
    tracks = library.tracks()
    dice = np.random.default_rng(1)
    some = [tracks[i] for i in dice.integers(0, len(tracks), 200)]
    library.similar(some[0], 10)  # opens the index
    queue = library.radio(some[0])
    heard = iter(queue)

    def step(i: int) -> None:
        next(heard)
        if i % 10 == 4:
            queue.like()
        if i % 10 == 7:
            queue.skip()

    expression = "genre=genre 7 and (year>=1990 or not liked)"
    questions: dict[str, tuple[Callable[[int], Any], int, float]] = {
        "path of 12": (lambda i: library.path(some[i], some[-i - 1], 12), 30, PATH_MS),
        "path of 12, seeded, filtered": (
            lambda i: library.path(some[i], some[-i - 1], 12, "year>=1990", seed=i), 30, PATH_MS,
        ),
        "path of 50": (lambda i: library.path(some[i], some[-i - 1], 50), 10, 5 * PATH_MS),
        "radio, a step": (step, 100, RADIO_MS),
        "similar, no filter": (lambda i: library.similar(some[i], 10), 30, FILTER_MS),
        f"similar, {expression}": (lambda i: library.similar(some[i], 10, expression), 30, FILTER_MS),
        "similar, liked (1 %)": (lambda i: library.similar(some[i], 10, "liked"), 30, 10 * FILTER_MS),
        "similar, never-played (50 %)": (lambda i: library.similar(some[i], 10, "never-played"), 10, 20 * FILTER_MS),
        "similar, path=artist 77*": (lambda i: library.similar(some[i], 10, "path=artist 77*"), 10, 20 * FILTER_MS),
        "mix of an hour, mood calm": (lambda i: library.mix(moods=["calm"], length=3600, seed=i), 10, 20 * FILTER_MS),
    }  # fmt: skip
    rows = []
    for name, (work, times, limit) in questions.items():
        took = timed(work, times)
        rows.append([name, f"{statistics.median(took):.1f}", f"{np.quantile(took, 0.95):.1f}", f"{limit:g}"])
        targets.at_most(f"{name}: median CPU ms", statistics.median(took), limit, " ms")
    common.table(("question", "median CPU ms", "95 % below", "limit"), rows)
    seconds = common.cpu_of(library.duplicates)
    targets.at_most("duplicates: CPU seconds", seconds, DUPLICATES_S, " s")
    seconds = common.cpu_of(library.clusters)
    targets.at_most("clusters: CPU seconds", seconds, 60, " s")


def smoothness(library: Library, targets: common.Targets, pairs: int = 100, n: int = 12) -> None:
    """Compare paths with the direct step and with random tracks between the same ends."""
    ids, vectors = library.vectors()
    tracks = {track.id: track for track in library.tracks()}
    rows, dice = dict(zip(ids, vectors, strict=True)), np.random.default_rng(2)
    largest: dict[str, list[float]] = {
        "path": [], "path, seeded": [], "least possible, of any length": [], "random": [], "direct": []
    }  # fmt: skip
    least = widest_steps(vectors)
    place = {id_: i for i, id_ in enumerate(ids)}
    flooded = 0

    def worst(line: list[str]) -> float:
        sounds = np.stack([rows[id_] for id_ in line])
        return float(1 - (sounds[:-1] * sounds[1:]).sum(axis=1).min())

    for _ in range(pairs):
        a, b, *between = (ids[i] for i in dice.choice(len(ids), n, replace=False))
        for name, seed in (("path", None), ("path, seeded", 1)):
            hits = library.path(tracks[a], tracks[b], n, seed=seed).hits
            largest[name].append(worst([hit.id for hit in hits]))
            flooded += repeats([h.artist for h in hits[1:-1]], [h.album for h in hits[1:-1]], Variety())
        largest["least possible, of any length"].append(float(least[place[a], place[b]]))
        largest["random"].append(worst([a, *between, b]))
        largest["direct"].append(worst([a, b]))
    print(f"largest step (1 - cosine) of paths of {n} between {pairs} pairs of {len(ids)} tracks")
    common.table(
        ("way", "median", "95 % below"),
        [[name, f"{np.median(v):.3f}", f"{np.quantile(v, 0.95):.3f}"] for name, v in largest.items()],
    )
    share = float(np.median(largest["path"]) / np.median(largest["least possible, of any length"]))
    targets.at_most("largest step of a path, against the least possible", share, 1.5)
    targets.at_most("paths that an artist or album floods, %", 100 * flooded / (2 * pairs), 5, " %")


def widest_steps(vectors: common.Array) -> common.Array:
    """Return how large the largest step is on the best way between any two tracks, float32 (n, n).

    It is that of the minimum spanning tree, which Prim's algorithm builds.
    """
    n = len(vectors)
    steps = 1 - vectors @ vectors.T
    widest = np.zeros((n, n), np.float32)
    near, cost, inside = np.zeros(n, int), steps[0].copy(), [0]
    cost[0] = np.inf
    for _ in range(n - 1):
        new = int(cost.argmin())
        widest[new, inside] = widest[inside, new] = np.maximum(widest[near[new], inside], cost[new])
        inside.append(new)
        closer = steps[new] < cost
        near[closer], cost[closer] = new, steps[new][closer]
        cost[inside] = np.inf
    return widest


def main() -> int:
    """Make, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--real", type=Path, help="a library of real music")
    parser.add_argument("--keep", type=Path, help="where the made-up library is kept")
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    targets = common.Targets()
    with tempfile.TemporaryDirectory() as temporary:
        home = args.keep or Path(temporary)
        if not (home / "record.sqlite").exists():
            make(home, args.tracks)
        with Library.open(home) as library:
            costs(library, targets)
    if args.real:
        with Library.open(args.real) as library:
            smoothness(library, targets)
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
