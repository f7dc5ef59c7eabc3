"""What a map costs, how far it can be trusted, and whether tracks stay in place when others come.

A library of made vectors, as in bench_evaluate.py. First the command `soundkin map OUT.html OUT.png` as a whole, in a
process of its own; then again, when the layout is there; then with 1 % of new tracks, which must not move the rest.
"""

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Bystanders, Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
from bench_evaluate import make

from soundkin import cli
from soundkin.record import Record


def run(folder: Path, method: str, *out: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """Run the command in this process; return places by track id, and its trustworthiness."""
    said = io.StringIO()
    arguments = ["map", *map(str, out), "--library", str(folder), "--method", method, "--json"]
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.main(arguments)
    found = json.loads(said.getvalue())
    return {t["id"]: (t["x"], t["y"]) for t in found["tracks"]}, found["trustworthiness"]


def main() -> int:
    """Make, draw, add, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=int, default=10_000)
    parser.add_argument("--method", default="tsne", choices=("tsne", "umap", "pca"))
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    targets, rows = Targets(), []
    with tempfile.TemporaryDirectory() as name:
        folder, page, picture = Path(name) / "library", Path(name) / "map.html", Path(name) / "map.png"
        more = args.tracks + args.tracks // 100
        make(folder, more, 1)
        with Record.open(folder, write=True) as record:
            late = [t.id for t in record.tracks() if int(t.title) >= args.tracks]
            record.remove(ids=late)
        others, before = Bystanders(), resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "soundkin.cli",
            "map",
            str(page),
            str(picture),
            "--library",
            str(folder),
        ]
        subprocess.run([*command, "--method", args.method], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows.append(["the first map", f"{time.monotonic() - begin:.1f}", f"{cpu:.1f}"])
        memory, size = after.ru_maxrss / 1e6, page.stat().st_size / 1e6
        begin, used = time.monotonic(), time.process_time()
        first, trust = run(folder, args.method, page)
        rows.append(["again", f"{time.monotonic() - begin:.1f}", f"{time.process_time() - used:.1f}"])
        make(folder, more, 1)  # those that were taken out come back
        begin, used = time.monotonic(), time.process_time()
        second, _ = run(folder, args.method, page)
        rows.append(["with 1 % more", f"{time.monotonic() - begin:.1f}", f"{time.process_time() - used:.1f}"])
    moved = max(float(np.hypot(*np.subtract(second[name], first[name]))) for name in first)
    print(f"{args.tracks} tracks x 128, {args.method}; cores busy with others: {others.cores():.2f}\n")
    table(("", "wall s", "CPU s"), rows)
    print(f"page {size:.1f} MB, trustworthiness {trust:.3f}, of {len(second) - len(first)} new tracks\n")
    targets.at_most("CPU of the first map", cpu, 60 if args.tracks <= 10_000 else 600, " s")
    targets.at_most("memory", memory, 4, " GB")
    if args.method != "pca":
        targets.at_most("how far the farthest known track has moved", moved, 0)
    return targets.finish(args.check)


if __name__ == "__main__":
    raise SystemExit(main())
