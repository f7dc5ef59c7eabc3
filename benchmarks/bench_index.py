"""Build, open and search the embedded index; answers and speed next to exact search by numpy.

    python benchmarks/bench_index.py                    # 100,000 x 128, what a large private library has
    python benchmarks/bench_index.py -n 10000 -d 512

The vectors are clustered like music: 300 clusters in 32 dimensions, bent into d. The filters are a genre that
goes along with the clusters, as genres do with sound (the hard case for a graph), and a year that does not.
Memory is read from /proc, so on Linux only.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from soundkin.filters import Filter, Match, Range
from soundkin.index import Mark, Point, open_index, rebuild

SERVE = """
import sys, time
import numpy as np
import soundkin.index

start = time.perf_counter()
import qdrant_edge
imported = time.perf_counter()
index = soundkin.index.open_index(sys.argv[1])
opened = time.perf_counter()
for query in np.random.default_rng(0).normal(size=(100, int(sys.argv[2]))):
    index.search("space", query, 10)
memory = {line.split()[0]: int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if " kB" in line}
print(f"import  {1e3 * (imported - start):8.0f} ms, the engine")
print(f"open    {1e3 * (opened - imported):8.0f} ms")
print(f"RSS     {memory['VmRSS:']:8.0f} MB after 100 searches, {memory['RssAnon:']:.0f} of it not disk cache")
"""

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def clustered(n: int, dims: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Make unit vectors (n, d), and the cluster of each (n,)."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(300, size=n)
    latent = rng.normal(size=(300, 32))[cluster] + 0.35 * rng.normal(size=(n, 32))
    rows = np.tanh(latent @ rng.normal(size=(32, dims)) / np.sqrt(32)) + 0.05 * rng.normal(size=(n, dims))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), cluster


def points(rows: Floats, genre: npt.NDArray[np.int64], year: npt.NDArray[np.int64]) -> Iterator[Point]:
    for i, row in enumerate(rows):
        payload = {
            "artist": f"artist {i // 12}",
            "album": f"album {i // 12}",
            "name": f"track {i}",
            "file": f"/music/artist {i // 12}/track {i}.mp3",
            "format": "mp3",
            "genre": [f"genre {genre[i]}", f"style {genre[i]}"],
            "subgenres": [f"style {genre[i]}"],
            "key": f"key {i % 24}",
            "year": int(year[i]),
            "added": 1_700_000_000 + i,
            "duration": 120.0 + i % 300,
            "bpm": 60.0 + i % 120,
            "energy": (i % 100) / 100,
        }
        yield Point(i, {"space": row}, payload)


def measure(
    search: Callable[[Floats, Filter | None], list[int]],
    rows: Floats,
    queries: npt.NDArray[np.int64],
    where: Filter | None,
    passing: Bools,
) -> tuple[float, float, float]:
    """p50 and p99 in ms, and recall@10 against numpy."""
    times, answers = [], []
    for query in queries:
        start = time.perf_counter()
        answers.append(search(rows[query], where))
        times.append(time.perf_counter() - start)
    # judged afterwards: reading every row between two searches would empty the processor's caches
    found = 0
    for query, hits in zip(queries, answers, strict=True):
        scores = np.where(passing, rows @ rows[query], -2)
        found += len(set(hits) & set(np.argpartition(-scores, 10)[:10].tolist()))
    return *(1000 * np.percentile(times, [50, 99])), found / (10 * len(queries))


def numpy_search(rows: Floats, passing: Bools) -> Callable[[Floats, Filter | None], list[int]]:
    """Exact search over a matrix, the filter already resolved: the least it can cost in Python."""
    ids = np.flatnonzero(passing)
    matrix = rows[ids]

    def search(vector: Floats, _: Filter | None) -> list[int]:
        scores = matrix @ vector
        best = np.argpartition(-scores, 10)[:10]
        return ids[best[np.argsort(-scores[best])]].tolist()

    return search


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=100_000, help="points")
    parser.add_argument("-d", "--dims", type=int, default=128, help="dimensions")
    parser.add_argument("-q", "--queries", type=int, default=500, help="queries per row of the table")
    parser.add_argument("--folder", type=Path, help="where to build it (default: a temporary folder)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rows, cluster = clustered(args.n, args.dims, args.seed)
    rng = np.random.default_rng(args.seed + 1)
    genre, year = cluster % 10, rng.integers(1950, 2030, size=args.n)
    queries = rng.integers(args.n, size=args.queries)
    cases: dict[str, tuple[Filter | None, Bools]] = {
        "no filter": (None, np.ones(args.n, bool)),
        "genre, 10 %": (Match("genre", ("genre 3",)), genre == 3),
        "year, 10 %": (Range("year", gte=1960, lt=1968), (year >= 1960) & (year < 1968)),
        "year, 50 %": (Range("year", lt=1990), year < 1990),
    }
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        wall, cpu = time.perf_counter(), time.process_time()
        rebuild(folder, Mark("bench", 1), {"space": args.dims}, points(rows, genre, year))
        print(f"{args.n:,} points x {args.dims}, top 10, {args.queries} queries, seed {args.seed}")
        print(f"build   {time.perf_counter() - wall:8.1f} s wall, {time.process_time() - cpu:.1f} s CPU")
        print(f"disk    {sum(p.stat().st_blocks for p in folder.rglob('*')) * 512 / 1e6:8.0f} MB")
        # in a process of its own, so that nothing is loaded yet and memory is that of serving alone
        print(subprocess.check_output([sys.executable, "-c", SERVE, name, str(args.dims)], text=True))
        print(f"{'':13}{'edge p50':>10}{'p99':>8}{'recall':>9}{'numpy p50':>12}{'p99':>8}   ms")
        with open_index(folder) as index:
            for case, (where, passing) in cases.items():

                def search(vector: Floats, where: Filter | None) -> list[int]:
                    return [i for i, _ in index.search("space", vector, 10, where)]

                measure(search, rows, queries[:50], where, passing)  # the first touch reads from disk
                p50, p99, recall = measure(search, rows, queries, where, passing)
                base = measure(numpy_search(rows, passing), rows, queries, where, passing)
                print(f"{case:13}{p50:10.2f}{p99:8.2f}{recall:9.4f}{base[0]:12.2f}{base[1]:8.2f}")


if __name__ == "__main__":
    main()
