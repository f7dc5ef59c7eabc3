"""What it costs to start: the command, the import, the installation.

    python benchmarks/bench_startup.py [--venv VENV] [--check]

Times `soundkin --help` and, inside a fresh process, ``import soundkin``. With ``--venv`` (an environment into which
nothing but Soundkin was installed, without extras) it also says how large the installation is and what takes the room.
"""

import argparse
import statistics
import sys
from collections import Counter
from pathlib import Path

import common

HELP_SECONDS, IMPORT_SECONDS, INSTALLED_MB = 0.3, 0.1, 400.0
_IMPORT = """
import sys, time
wall, cpu = time.perf_counter(), time.process_time()
import soundkin
print(time.perf_counter() - wall, time.process_time() - cpu, len(sys.modules))
"""
_HEAVY = ("torch", "tensorflow", "jax", "sklearn", "scipy", "numba", "librosa", "pandas", "transformers")


def start(repeats: int, targets: common.Targets) -> None:
    """Time the command's help, next to the bare interpreter."""
    runs = {name: common.Runs() for name in ("python -c pass", "soundkin --help")}
    for _ in range(repeats):
        runs["python -c pass"].run([sys.executable, "-c", "pass"])
        runs["soundkin --help"].run([sys.executable, "-m", "soundkin.cli", "--help"])
    common.table(common.Runs.TITLES, [run.row(name) for name, run in runs.items()])
    runs["soundkin --help"].judge(targets, "soundkin --help", HELP_SECONDS)


def imported(repeats: int, targets: common.Targets) -> None:
    """Time the import alone."""
    runs = common.Runs()
    inside = [runs.run([sys.executable, "-c", _IMPORT]).split() for _ in range(repeats)]
    wall, cpu, modules = (statistics.median(map(float, column)) for column in zip(*inside, strict=True))
    print(
        f"import soundkin: {1000 * wall:.1f} ms wall, {1000 * cpu:.1f} ms CPU, {modules:.0f} modules loaded after it\n"
    )
    idle = statistics.median(runs.busy) <= common.IDLE
    what = "wall" if idle else "CPU"
    targets.at_most(f"import soundkin, {what} seconds", wall if idle else cpu, IMPORT_SECONDS, " s")


def installed(venv: Path, targets: common.Targets) -> None:
    """Measure site-packages."""
    site = next((p for p in venv.rglob("site-packages") if p.is_dir()), None)
    if site is None:
        raise SystemExit(f"{venv} is no environment: there is no site-packages below it")
    sizes: Counter[str] = Counter()
    for path in site.rglob("*"):
        if path.is_file() and not path.is_symlink():
            # "numpy.libs" belongs to numpy
            sizes[path.relative_to(site).parts[0].split(".")[0].split("-")[0]] += path.stat().st_size
    total = sum(sizes.values())
    rows = [[name, f"{size / 1e6:.1f}", f"{100 * size / total:.0f} %"] for name, size in sizes.most_common(5)]
    common.table(("package", "MB", "share"), [*rows, ["all", f"{total / 1e6:.1f}", "100 %"]])
    targets.at_most("site-packages", total / 1e6, INSTALLED_MB, " MB")
    targets.at_most("ML frameworks in it", sum(name in sizes for name in _HEAVY), 0)


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, help="environment of a base installation")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    targets = common.Targets()
    start(args.repeats, targets)
    imported(args.repeats, targets)
    if args.venv:
        installed(args.venv, targets)
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
