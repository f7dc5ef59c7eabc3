"""Build, open and search the embedded index of a library; answers and speed next to exact search by numpy.

    python benchmarks/bench_index.py                        # 100,000 x 128, what a large private library has
    python benchmarks/bench_index.py --tracks 1000000 --folder DIR --check
    python benchmarks/bench_index.py --tracks 10000 --dims 512

The library is made up, see filling.py, without windows and fingerprints. Its index is built in a process of its own, as
the library does it, and meanwhile it is asked questions, which the record answers. Then a new process opens it, and
another one asks: without a filter; by genres that go along with the clusters, as genres do with sound (the hard case
for a graph), from 1 to 60 % of all tracks; by a year that does not. Memory is read from /proc, so on Linux only. With
--folder the library stays there, and a second run measures what it finds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
import numpy.typing as npt
from filling import SPACE, fill

from soundkin import workers
from soundkin.filters import And, Filter, Match, Range, where_of
from soundkin.index import open_index
from soundkin.index.recorded import RecordIndex
from soundkin.record import Record

P99_MS, RECALL, RESIDENT_MB, RESTART_SECONDS = 5.0, 0.99, 1500.0, 3.0
BUILD = """
import sys
from soundkin.index.follow import rebuild_from
rebuild_from(sys.argv[1], sys.argv[2])
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
SERVE = """
import sys, time
begin = time.process_time()
from soundkin.library import Library
from soundkin.record.listing import Where
imported = time.process_time()
library = Library.open(sys.argv[1])
hits = library.similar(sys.argv[2])
print(time.time() - float(sys.argv[3]), time.process_time(), imported, flush=True)
ids = library._reader().ids(Where("t.number % 1000 = 0"))[:200]
for id_ in ids:
    library.similar(id_)
    library.similar(id_, filters="year=1960..1967")
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith(("VmRSS", "RssAnon", "RssFile"))))
"""

Floats = npt.NDArray[np.float32]
Cases = dict[str, Filter | None]
CASES: Cases = {
    "no filter": None,
    "genre, 1 %": Match("genre", ("style 17",)),
    "genre, 3 %": Match("genre", ("style 17", "style 29", "style 84")),
    "genre, 10 %": Match("genre", ("genre 3",)),
    "genre, 30 %": Match("genre", ("genre 1", "genre 3", "genre 8")),
    "genre, 60 %": Match("genre", tuple(f"genre {i}" for i in range(6))),
    "genre and year, 1 %": And((Match("genre", ("genre 3",)), Range("year", gte=1960, lt=1968))),
    "year, 10 %": Range("year", gte=1960, lt=1968),
    "year, 50 %": Range("year", lt=1990),
}
# What was promised holds for these. Genres go along with the sound, which is the worst that a filter can do.
PROMISED = ("no filter", "genre, 1 %", "genre, 3 %", "genre, 10 %", "year, 10 %")


def build(folder: Path, space: str, vectors: Floats) -> dict[str, float]:
    """Build the index of a library in another process, and ask its record meanwhile; what both cost."""
    others, begin = common.Bystanders(), time.monotonic()
    start = workers.python(BUILD, os.fspath(folder), os.fspath(folder / "index"))
    process = subprocess.Popen(**start, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    waits = list[float]()
    with Record.open(folder) as record:
        meanwhile = RecordIndex(record, lambda where: record.ids(where_of(where)))
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            asked = time.process_time()
            meanwhile.search(space, vectors[len(waits) % len(vectors)], 10)
            waits.append(time.process_time() - asked)
            time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(status)
    with process.stdout:
        peak = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the build ended with {process.returncode}")
    return {
        "wall s": time.monotonic() - begin,
        "CPU s": used.ru_utime + used.ru_stime,
        # its own word: what the system counts for a child begins with the memory of its parent
        "peak MB": int(peak) * 1.024 / 1e3,
        "cores busy with others": others.cores(),
        "questions meanwhile": len(waits),
        "first of them, CPU ms": 1e3 * waits[0] if waits else 0.0,
        "p50 of them, CPU ms": 1e3 * float(np.median(waits)) if waits else 0.0,
    }


def disk_mb(*paths: Path) -> float:
    """Return what files, and folders with all in them, take on the disk."""
    files = [file for path in paths for file in ([path, *path.rglob("*")] if path.is_dir() else [path])]
    return sum(file.stat().st_blocks for file in files) * 512 / 1e6


def serve(folder: Path, asked: str) -> dict[str, float]:
    """Start a process that opens a library and answers; how soon, and in how much memory."""
    others = common.Bystanders()
    command = [sys.executable, "-c", SERVE, os.fspath(folder), asked, str(time.time())]
    done = subprocess.run(command, env=common.environment(), capture_output=True, text=True, check=True)
    first, memory = done.stdout.splitlines()
    wall, cpu, imported = map(float, first.split())
    resident, anonymous, file = (int(kb) * 1.024 / 1e3 for kb in memory.split())
    return {
        "first answer, wall s": wall,
        "first answer, CPU s": cpu,
        "of it imports, CPU s": imported,
        "resident MB": resident,
        "of it anonymous": anonymous,
        "of it files": file,
        "cores busy with others": others.cores(),
    }


def timed(search: Callable[[int], Any], n: int) -> tuple[list[Any], dict[str, float]]:
    """Ask n questions; the answers, and p50 and p99 in ms by the clock and in CPU time."""
    answers, clock, cpu = [], [], []
    for i in range(n):
        begin = time.perf_counter(), time.process_time()
        answers.append(search(i))
        clock.append(time.perf_counter() - begin[0])
        cpu.append(time.process_time() - begin[1])
    spent: dict[str, float] = {}
    for name, seconds in (("wall", clock), ("CPU", cpu)):
        p50, p99 = 1e3 * np.percentile(seconds, [50, 99])
        spent |= {f"{name} p50": float(p50), f"{name} p99": float(p99)}
    return answers, spent


def nearest(
    rows: Floats, queries: Sequence[int], passing: npt.NDArray[np.intp], k: int = 10
) -> list[set[int]]:
    """Find the nearest exactly: places among all rows."""
    among, found = rows[passing], []
    for first in range(0, len(queries), 50):
        scores = rows[queries[first : first + 50]] @ among.T
        found += [set(passing[_best(line, k)].tolist()) for line in scores]
    return found


def _best(scores: Floats, k: int) -> npt.NDArray[np.intp]:
    return np.argpartition(-scores, min(k, len(scores)) - 1)[:k]


def _exactly(rows: Floats, queries: Floats, i: int) -> object:
    return _best(rows @ queries[i], 10)


def search_all(folder: Path, n: int, seed: int) -> dict[str, dict[str, float]]:
    """Ask an index n questions of each kind: time and recall@10, and the least that numpy takes."""
    passing_of = {}
    with Record.open(folder) as record:
        space = record.spaces()[0].id
        ids, rows = record.vectors(space)
        numbers = np.array([int(id_, 16) for id_ in ids], np.uint64)
        for name, where in CASES.items():
            passing = ids if where is None else record.ids(where_of(where))
            passing_of[name] = np.flatnonzero(
                np.isin(numbers, np.array([int(id_, 16) for id_ in passing], np.uint64))
            )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = np.random.default_rng(seed + 2).integers(len(rows), size=n).tolist()
    place = {number: i for i, number in enumerate(numbers.tolist())}
    shown = {}
    with open_index(folder / "index") as index:
        for name, where in CASES.items():

            def ask(i: int, where: Filter | None = where) -> list[tuple[int, float]]:
                return index.search(space, rows[queries[i]], 10, where)

            timed(ask, n)  # the first touch reads from disk
            answers, spent = timed(ask, n)
            right = nearest(rows, queries, passing_of[name])
            found = sum(
                len({place[i] for i, _ in hits} & best) for hits, best in zip(answers, right, strict=True)
            )
            among = rows[passing_of[name]]
            _, plain = timed(partial(_exactly, among, rows[queries]), min(n, 50))
            shown[name] = {
                **spent,
                "recall@10": found / sum(map(len, right)) if len(among) else 1.0,
                "numpy p50": plain["CPU p50"],
            }
    return shown


def measure(folder: Path, questions: int, seed: int) -> dict[str, Any]:
    """Build the index of a library unless it is there, and measure it; what was measured."""
    with Record.open(folder) as record:
        space = record.spaces()[0].id
        sample = record.sample(space, 100)
        asked = record.ids(where_of(None))[0]
    known = folder / "build.json"
    if not (folder / "index").exists():
        known.write_text(json.dumps(build(folder, space, sample)))
    return {
        "build": json.loads(known.read_text()) if known.exists() else {},
        "disk": {"record MB": disk_mb(folder / "record.sqlite"), "index MB": disk_mb(folder / "index")},
        "serving": serve(folder, asked),
        "search": search_all(folder, questions, seed),
    }


def show(found: dict[str, Any], busy: float) -> common.Targets:
    """Print what was measured, and return what was promised of it."""
    for name in ("build", "disk", "serving"):
        print(f"{name:8}" + ", ".join(f"{key} {value:.4g}" for key, value in found[name].items()))
    print()
    titles = list(next(iter(found["search"].values())))
    common.table(("top 10, ms", *titles), [[case, *row.values()] for case, row in found["search"].items()])
    clock = "CPU" if busy > common.IDLE else "wall"
    targets = common.Targets()
    for case in PROMISED:
        targets.at_most(f"{case}, {clock} p99", found["search"][case][f"{clock} p99"], P99_MS, " ms")
    for case, row in found["search"].items():
        targets.at_least(f"{case}, recall@10", row["recall@10"], RECALL)
    targets.at_most("resident", found["serving"]["resident MB"], RESIDENT_MB, " MB")
    targets.at_most(
        f"restart to first answer, {clock}",
        found["serving"][f"first answer, {clock} s"],
        RESTART_SECONDS,
        " s",
    )
    return targets


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", "--tracks", type=int, default=100_000)
    parser.add_argument("-d", "--dims", type=int, default=128)
    parser.add_argument("-q", "--queries", type=int, default=500, help="queries per row of the table")
    parser.add_argument(
        "--folder", type=Path, help="library to make, or to use again (default: a temporary one)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if not (folder / "record.sqlite").exists():
            fill(folder, args.tracks, args.seed, replace(SPACE, dims=args.dims), whole=False)
        others = common.Bystanders()
        print(f"{args.tracks:,} tracks x {args.dims}, {args.queries} questions of a kind, seed {args.seed}")
        found = measure(folder, args.queries, args.seed)
        busy = others.cores()
        print(f"other programs kept {busy:.2f} of {os.cpu_count()} cores busy meanwhile\n")
        return show(found, busy).finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
