"""What a library costs as it grows, from 100 to 1,000,000 tracks: a table, JSON and a plot.

    python benchmarks/scale.py --out docs/scale.json --plot docs/scale.svg
    python benchmarks/scale.py --sizes 1000000 --folder DIR --out docs/scale.json --plot docs/scale.svg

Scanning is measured twice. With audio (up to 1,000 tracks, a mp3 of noise of some seconds under so many names) as
`soundkin index` does it; and at every size what the scan adds to decoding and hearing: the record is filled the way a
scan fills it, with made-up tracks (filling.py), whose files exist but hold no music, so that scanning them again is
real. Then the index is built, opened and asked as bench_index.py does it, and the library is asked all else.

Sizes that are not measured in a run keep the figures that --out has of them, so that the large ones can be run by
themselves, also at the same time. With --folder the libraries stay there, in a folder for each size, and the next run
goes on with them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_index
import common
from bench_scan import filled, index_command, make_music
from filling import tiny_files

from soundkin.library import Library
from soundkin.record.listing import Where

SIZES = (100, 1000, 10_000, 100_000, 1_000_000)
WITH_AUDIO = 1000
ASK = (sys.executable, "-m", "soundkin.cli", "similar")

Row = dict[str, Any]
# what of a row is shown -> how, and how it is called
SHOWN = {
    "scan": ("{:.0f}", "scan of files of 10 s with audio, CPU ms a track"),
    "put": ("{:.2f}", "what a scan adds to hearing, CPU ms a track"),
    "rescan": ("{:.2f}", "scan again, nothing changed, CPU s"),
    "build": ("{:.1f}", "building the index, CPU s"),
    "build peak": ("{:.0f}", "its process at most, MB"),
    "restart": ("{:.2f}", "a new process to its first answer, CPU s"),
    "resident": ("{:.0f}", "resident while answering, MB"),
    "anonymous": ("{:.0f}", "of it not files, which the system may drop, MB"),
    "p50": ("{:.2f}", "search, p50, CPU ms"),
    "p99": ("{:.2f}", "search, p99, CPU ms"),
    "genre p99": ("{:.2f}", "search by genre, 10 % pass, p99, CPU ms"),
    "year p99": ("{:.2f}", "search by year, 10 % pass, p99, CPU ms"),
    "recall": ("{:.4f}", "recall@10, the least of them"),
    "exact p50": ("{:.1f}", "search while the index is built, p50, CPU ms"),
    "similar": ("{:.1f}", "an answer with reasons, p50, CPU ms"),
    "command": ("{:.2f}", "`soundkin similar`, whole process, CPU s"),
    "page": ("{:.0f}", "a page of the list of tracks, CPU ms"),
    "facets": ("{:.0f}", "counts of genres, decades, tempi, CPU ms"),
    "words": ("{:.0f}", "search by words, CPU ms"),
    "status": ("{:.0f}", "`status`, CPU ms"),
    "record": ("{:.1f}", "record without windows and fingerprints, MB"),
    "index": ("{:.0f}", "index, MB"),
}


def measure(n: int, folder: Path, questions: int) -> Row:
    """Measure a library of n tracks in a folder; made if it is not there."""
    row: Row = {"tracks": n}
    music, library, notes = folder / "music", folder / "library", folder / "filled.json"
    if n <= WITH_AUDIO:
        row["scan"] = scan(folder, n)
    if not (library / "record.sqlite").exists():
        files = list(tiny_files(music, n))
        spent = common.cpu_of(lambda: filled(library, n, files=files))
        notes.write_text(json.dumps(1e3 * spent / n))
    row["put"] = json.loads(notes.read_text())
    found = bench_index.measure(library, questions, 0)
    row |= figures(found)
    row["rescan"] = rescan(library, music, n)
    row["command"], row["idle"] = command(library)
    return row | asked(library, min(questions, 100))


def figures(found: dict[str, Any]) -> Row:
    """Take from what bench_index.py measures."""
    search, serving, built = found["search"], found["serving"], found["build"]
    return {
        "build": built["CPU s"],
        "build peak": built["peak MB"],
        "exact p50": built["p50 of them, CPU ms"],
        "restart": serving["first answer, CPU s"],
        "resident": serving["resident MB"],
        "anonymous": serving["of it anonymous"],
        "p50": search["no filter"]["CPU p50"],
        "p99": search["no filter"]["CPU p99"],
        "genre p99": search["genre, 10 %"]["CPU p99"],
        "year p99": search["year, 10 %"]["CPU p99"],
        "recall": min(row["recall@10"] for row in search.values()),
        "record": found["disk"]["record MB"],
        "index": found["disk"]["index MB"],
    }


def scan(folder: Path, n: int) -> float:
    """Index n files that can be listened to; CPU ms a track."""
    music = folder / "sound"
    make_music(music, n, 10.0)
    before = common.children_seconds()
    command = index_command(folder / "heard", music, "--jobs", "1")
    done = json.loads(subprocess.check_output(command, env=common.environment()))
    assert done["added"] == n, done
    return 1e3 * (common.children_seconds() - before) / n


def rescan(library: Path, music: Path, n: int) -> float:
    """Scan files that have not changed; CPU seconds of the whole process."""
    runs = common.Runs()
    done = json.loads(runs.run(index_command(library, music)))
    assert done["unchanged"] == n, done
    return runs.cpus[0]


def command(library: Path) -> tuple[float, bool]:
    """Ask by the command line; the least CPU seconds of three, and whether the machine was idle."""
    runs = common.Runs()
    with Library.open(library) as opened:
        ids = opened._reader().ids(Where())[:3]
    for id_ in ids:
        runs.run([*ASK, id_, "--library", os.fspath(library), "--json"])
    return min(runs.cpus), max(runs.busy) <= common.IDLE


def asked(folder: Path, questions: int) -> Row:
    """Ask a library, in a process that stays, what a server is asked; CPU ms, medians."""
    with Library.open(folder) as library:
        ids = library._reader().ids(Where())
        kinds: dict[str, Callable[[int], object]] = {
            "similar": lambda i: library.similar(ids[i * len(ids) // questions]),
            "page": lambda i: library.page(order="title", offset=10 * i),
            "facets": lambda i: library.facets(("genre", "decade", "tempo"), "year>=1980"),
            "words": lambda i: library.search(f"track {i}"),
            "status": lambda i: library.status(),
        }
        row = {}
        for name, ask in kinds.items():
            ask(0)
            times = questions if name == "similar" else 3
            row[name] = bench_index.timed(ask, times)[1]["CPU p50"]
    return row


def table(rows: list[Row]) -> None:
    """Print a row for each figure, and a column for each size."""
    lines = [
        [called, *[form.format(row[key]) if key in row else "" for row in rows]]
        for key, (form, called) in SHOWN.items()
    ]
    common.table(("tracks", *[f"{row['tracks']:,}" for row in rows]), lines)


def plot(rows: list[Row], path: Path) -> None:
    """Draw how the figures grow: four panels, all axes logarithmic."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    panels = {
        "CPU seconds": {
            "scan again": "rescan",
            "build the index": "build",
            "restart to an answer": "restart",
        },
        "CPU ms of a search": {
            "p50": "p50",
            "p99": "p99",
            "p99, genre": "genre p99",
            "p99, year": "year p99",
        },
        "Memory, MB": {"building": "build peak", "answering": "resident", "of it anonymous": "anonymous"},
        "Disk, MB": {"index": "index", "record, without windows": "record"},
    }
    figure = Figure(figsize=(9, 6), layout="constrained")
    inks = ("#4477aa", "#cc6677", "#999933", "#882255")
    for axes, (title, lines) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for (name, key), ink in zip(lines.items(), inks, strict=False):
            there = [row for row in rows if key in row]
            axes.plot(
                [r["tracks"] for r in there], [r[key] for r in there], "o-", color=ink, label=name, ms=4
            )
        axes.set(xscale="log", yscale="log", xlabel="tracks")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title, loc="left", fontsize=11)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scale"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def known(path: Path | None) -> dict[int, Row]:
    """Read what a file has of earlier runs."""
    return {row["tracks"]: row for row in json.loads(path.read_text())} if path and path.exists() else {}


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, metavar="TRACKS")
    parser.add_argument("--questions", type=int, default=500, help="searches of each kind")
    parser.add_argument("--folder", type=Path, help="where the libraries stay (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="JSON to write, which may have other sizes already")
    parser.add_argument("--plot", type=Path, help="picture to draw, .svg or .png")
    args = parser.parse_args()
    rows = known(args.out)
    with tempfile.TemporaryDirectory() as temporary:
        for n in args.sizes:
            folder = (args.folder or Path(temporary)) / str(n)
            folder.mkdir(parents=True, exist_ok=True)
            begin = time.monotonic()
            row = measure(n, folder, args.questions)
            rows |= known(args.out) | {n: row}
            print(f"{n:,} tracks: measured in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
            if args.out:
                args.out.write_text(json.dumps([rows[size] for size in sorted(rows)], indent=1) + "\n")
    ordered = [rows[size] for size in sorted(rows)]
    table(ordered)
    if args.plot:
        plot(ordered, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
