"""The cost of a record in PostgreSQL, next to that of the same one in SQLite's file.

    python benchmarks/bench_record.py

Both hold the same made-up tracks; every commit waits for the disk. Times are by the clock, for the server is another
process: take them on an idle machine, which the last line tells.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_scan
import cluster
import common

from soundkin.embed import FileState
from soundkin.filters import parse, where_of
from soundkin.library import Library
from soundkin.record import Record
from soundkin.record.copying import copy_record
from soundkin.record.database import Place

_LIKES = 500


def ms_of(work: Callable[[], Any], repeats: int) -> float:
    """Return the least milliseconds that some work takes."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best * 1000


def measured(place: Place, folder: Path, repeats: int) -> dict[str, float]:
    """Time what a server and its scans ask of a record; milliseconds by name."""
    url = place if isinstance(place, str) else None
    with Library.open(folder, record=url) as library, Record.open(place) as record:
        ids = sorted(record.paths())
        some = ids[:: max(1, len(ids) // _LIKES)][:_LIKES]
        library.feedback("like", list(record.tracks(some)))
        where = where_of(parse(["year>=1990 and bpm<100"], lambda _: [], lambda *_: []))
        space, k = record.spaces()[0].id, itertools.count()
        work: dict[str, Callable[[], Any]] = {
            "open and close": lambda: Record.open(place).close(),
            "has it changed? (before every question)": lambda: record.revision,
            "a page of 50 by artist": lambda: record.page(where_of(None)),
            "a page of a filter, by year": lambda: record.page(where, "year"),
            "count the genres": lambda: record.count_values("genre", where_of(None)),
            "find words": lambda: record.search("artist 12"),
            "paths of all": record.paths,
            "all vectors": lambda: record.vectors(space),
            f"tracks and vectors of {_LIKES} likes": lambda: record.tracks_with_vectors(some, space),
            f"opinions of a profile with {_LIKES} likes": lambda: record.opinions("default"),
            "a like": lambda: library.feedback("like", [library.find(ids[next(k) % len(ids)])]),
        }
        return {name: ms_of(what, repeats) for name, what in work.items()}


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    if reason := cluster.missing():
        sys.exit(reason)
    others = common.Bystanders()
    with tempfile.TemporaryDirectory() as temporary, cluster.postgres(safe=True) as server:
        file, url, copied = Path(temporary, "library"), server.new_place(), server.new_place()
        files = [FileState(f"/music/{i // 12}/{i}.mp3", 1, 1) for i in range(asked.tracks)]
        put = f"put {asked.tracks} tracks"
        rows: dict[str, list[float]] = {put: []}
        for place in (file, url):
            begin = time.perf_counter()
            bench_scan.filled(place, len(files), files)
            rows[put].append((time.perf_counter() - begin) * 1000)
        rows["copy all of it from the file to PostgreSQL"] = [
            0.0, ms_of(lambda: copy_record(file, copied), 1),
        ]  # fmt: skip
        for place, folder in ((file, file), (url, Path(temporary, "other"))):
            for name, took in measured(place, folder, asked.repeats).items():
                rows.setdefault(name, []).append(took)
        with Record.open(file) as one, Record.open(url) as two:
            space = one.spaces()[0].id
            (ids, vectors), (same_ids, same_vectors) = one.vectors(space), two.vectors(space)
            if ids != same_ids or (vectors != same_vectors).any():
                sys.exit("the two do not hold the same vectors")
            sizes = [record.counts().record_bytes / 1e6 for record in (one, two)]
    common.table(
        (f"{asked.tracks} tracks", "SQLite ms", "PostgreSQL ms", "ratio"),
        [
            (name, f"{a:.2f}", f"{b:.2f}", f"{b / a:.1f}") if a else (name, "", f"{b:.2f}", "")
            for name, (a, b) in rows.items()
        ],
    )
    print(f"MB: {sizes[0]:.0f} and {sizes[1]:.0f}; cores busy with others: {others.cores():.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
