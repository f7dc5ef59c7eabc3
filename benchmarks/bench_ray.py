"""Throughput of embedding with Ray against the local pool: same files, same workers, in turn, in one run.

    python benchmarks/bench_ray.py MUSIC

Each rate is taken from the moment the first results of a run are there to its end, so that starting does not count;
what starting costs stands beside it. On a busy machine the rates of a run say little, but their ratio, which alternates
between both ways, does.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np

from soundkin.cluster import ClusterOptions, embed_with_ray, sources_of
from soundkin.cluster.parts import PartFile
from soundkin.embed import Embedded, FileState, Task, embed_files

RATIO, COSINE = 0.85, 0.9999999


@dataclass(frozen=True)
class Timed:
    """One run: tracks a second once it goes, and seconds until then."""

    rate: float
    starting: float


def steady(begin: float, events: Sequence[tuple[float, int]]) -> Timed:
    """Take the rate between the first event and the last: (when, files done so far)."""
    (first, before), (last, after) = events[0], events[-1]
    return Timed((after - before) / max(last - first, 1e-9), first - begin)


def local(files: Sequence[Path], encoder: str, jobs: int) -> tuple[Timed, dict[str, common.Array]]:
    """Embed with the pool of one machine."""
    tasks = [Task(FileState(str(path), path.stat().st_size, path.stat().st_mtime_ns)) for path in files]
    begin, events, vectors = time.monotonic(), list[tuple[float, int]](), {}
    for task, outcome in embed_files(tasks, [encoder], None, jobs):
        events.append((time.monotonic(), len(events) + 1))
        if isinstance(outcome, Embedded):
            vectors[task.file.path] = next(iter(outcome.vectors.values()))
    return steady(begin, events), vectors


def with_ray(
    files: Sequence[Path], encoder: str, jobs: int, apart: bool
) -> tuple[Timed, dict[str, common.Array]]:
    """Embed with Ray; its actors either do all, or decode and encode apart."""
    with tempfile.TemporaryDirectory() as out:
        begin, events = time.monotonic(), list[tuple[float, int]]()
        options = ClusterOptions((encoder,), jobs=jobs, apart=apart, device="cpu" if apart else "auto")
        embed_with_ray(files, out, options, lambda at: events.append((time.monotonic(), at.done)))
        vectors = {}
        for place, name in sources_of([out]):
            with PartFile(place, name) as part:
                for one in part.outcomes():
                    if isinstance(one, Embedded):
                        vectors[one.file.path] = next(iter(one.vectors.values()))
    return steady(begin, events), vectors


def _cosine(a: common.Array, b: common.Array) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", type=Path, metavar="MUSIC", help="folder of music")
    parser.add_argument("--encoder", default="cnn")
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    found = common.audio_files(args.music)
    files = found[:: max(1, len(found) // args.tracks)][: args.tracks]
    ways = {"local pool": None, "Ray": False, "Ray, decoding and encoding apart": True}
    runs: dict[str, list[Timed]] = {name: [] for name in ways}
    least = 1.0
    for _ in range(args.repeats):
        for name, apart in ways.items():
            if apart is None:
                timed, reference = local(files, args.encoder, args.jobs)
            else:
                timed, vectors = with_ray(files, args.encoder, args.jobs, apart)
                least = min(least, *(_cosine(vectors[path], reference[path]) for path in vectors))
            runs[name].append(timed)
    print(f"{len(files)} tracks, {args.jobs} workers, {args.repeats} runs of each in turn")
    rows = []
    for name, some in runs.items():
        ratios = [a.rate / b.rate for a, b in zip(some, runs["local pool"], strict=True)]
        rows.append(
            [name, statistics.median(t.rate for t in some) * 60, statistics.median(ratios),
             statistics.median(t.starting for t in some)]
        )  # fmt: skip
    common.table(("", "tracks a minute", "of the local pool", "s until the first results"), rows)
    targets = common.Targets()
    targets.at_least("throughput of Ray / of the local pool", float(str(rows[1][2])), RATIO)
    targets.at_least("least cosine with the vectors of the local pool", least, COSINE)
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
