"""What a library costs at size: scanning again, memory while scanning, asking.

    python benchmarks/bench_scan.py [rescan] [memory] [similar] [--check]

rescan   `soundkin index` over 10,000 files that have not changed, as a whole process
memory   the most that `soundkin index` and its workers hold together while they index made music: the sum of their
         proportional set sizes, sampled (Linux only); ``--memory 1 1000 10000`` for the slow figure too
similar  `soundkin similar` for an indexed track of 100,000, as a whole process, and where its time goes

All three when none is named. The libraries of the first and the last are made: tracks with tags and random vectors.
Nothing here wants real music: time and memory do not depend on what it sounds like.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import common
import numpy as np
from filling import fill, tiny_files

from soundkin.audio import DEFAULT_LISTENING
from soundkin.embed import FileState, space_of
from soundkin.encoders import load_encoder
from soundkin.library import Library

RESCAN_SECONDS, MEMORY_MB, SIMILAR_SECONDS = 5.0, 600.0, 1.0
FLAT = 1.15
COMMAND = (sys.executable, "-m", "soundkin.cli")
# Processes that do a part of what a question does before it touches the library.
PARTS = {
    "python alone": "pass",
    "python, numpy": "import numpy",
    "python, all imports": "import soundkin.cli, soundkin.library, soundkin.index.edge",
}


def filled(folder: Path | str, n: int, files: Iterable[FileState] | None = None) -> list[str]:
    """Make the record of a library in the space of the built-in encoder; return the ids of its tracks."""
    return fill(folder, n, 0, space_of(load_encoder(), DEFAULT_LISTENING), whole=False, files=files)[0]


def index_command(library: Path, music: Path, *options: str) -> list[str]:
    """Return the command that indexes a folder."""
    return [*COMMAND, "index", str(music), "--library", str(library), "--json", *options]


def rescan(n: int, repeats: int, targets: common.Targets) -> None:
    """Time a scan that finds everything as it was."""
    first, again = common.Runs(), common.Runs()
    with tempfile.TemporaryDirectory() as temporary:
        music, library = Path(temporary, "music"), Path(temporary, "library")
        filled(library, n, files=tiny_files(music, n))
        for runs in [first] + [again] * repeats:
            done = json.loads(runs.run(index_command(library, music)))
            assert done["unchanged"] == n, done
    print(f"scanning {n} unchanged files again, whole process")
    rows = [first.row("first, which builds the index"), again.row("again")]
    common.table(common.Runs.TITLES, rows)
    again.judge(targets, f"scanning {n} unchanged files again", RESCAN_SECONDS)


def memory(counts: Sequence[int], jobs: int, seconds: float, targets: common.Targets) -> None:
    """Measure the peak of memory while indexing so many tracks."""
    peaks, rows = {}, []
    for n in counts:
        with tempfile.TemporaryDirectory() as temporary:
            music = Path(temporary, "music")
            make_music(music, n, seconds)
            command = index_command(Path(temporary, "library"), music, "--jobs", str(jobs))
            process = subprocess.Popen(command, env=common.environment(), stdout=subprocess.PIPE)
            peak = Peak(process.pid)
            done = json.loads(process.communicate()[0])
            peaks[n] = peak.stop()
        assert done["added"] == n, done
        rows.append([n, *[f"{v:.0f}" for v in peaks[n]], f"{done['elapsed']:.0f}"])
    print(
        f"most memory while indexing tracks of {seconds:g} s with {jobs} workers, MB (proportional set size)"
    )
    common.table(("tracks", "all", "the parent's", "largest child's", "scan s"), rows)
    for n, (total, _, _) in peaks.items():
        targets.at_most(f"memory of a scan of {n}", total, MEMORY_MB, " MB")
        if n > 1000 and 1000 in peaks:
            targets.at_most(f"memory of a scan of {n} / of 1000", total / peaks[1000][0], FLAT)


def make_music(folder: Path, n: int, seconds: float) -> None:
    """Write one mp3 of noise under n names, each with a title of its own at the end, so that no two are the same."""
    folder.mkdir()
    samples = np.random.default_rng(0).standard_normal((round(seconds * 44_100), 2), np.float32)
    first = folder / "first.mp3"
    common.write_audio(first, samples * np.float32(0.1), 44_100, "libmp3lame", 64_000)
    audio = first.read_bytes()
    first.unlink()
    for i in range(n):
        tag = b"TAG" + f"title {i}".encode().ljust(125, b"\0")  # ID3v1
        (folder / f"{i:05}.mp3").write_bytes(audio + tag)


class Peak(threading.Thread):
    """Watches how much memory a process and its descendants hold: MB of all, of itself, of the largest other."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._done = pid, threading.Event()
        self._peaks = (0.0, 0.0, 0.0)
        self.start()

    def run(self) -> None:
        """Sample ten times a second."""
        while not self._done.wait(0.1):
            own, *others = [_proportional_mb(pid) for pid in _family(self._pid)]
            now = own + sum(others), own, max(others, default=0.0)
            self._peaks = tuple(map(max, self._peaks, now))  # type: ignore[assignment]

    def stop(self) -> tuple[float, float, float]:
        """Stop watching, and return the peaks."""
        self._done.set()
        self.join()
        return self._peaks


def _family(pid: int) -> list[int]:
    children = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                children += [int(child) for child in (task / "children").read_text().split()]
    return [pid, *[p for child in children for p in _family(child)]]


def _proportional_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def similar(n: int, repeats: int, targets: common.Targets) -> None:
    """Time a question to a large library."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        begin = time.monotonic()
        ids = filled(folder, n)
        full = time.monotonic()
        with Library.open(folder) as library:
            library.similar(ids[0])
        built = time.monotonic()
        print(
            f"{n} tracks: the record filled in {full - begin:.0f} s, the index built in {built - full:.0f} s\n"
        )
        runs, steps, parts = common.Runs(), [], {name: common.Runs() for name in PARTS}
        for i in range(repeats):
            asked = ids[(i + 1) * n // (repeats + 1)]
            answer = json.loads(runs.run([*COMMAND, "similar", asked, "--library", temporary, "--json"]))
            assert len(answer["hits"]) == 10, answer
            steps.append(
                json.loads(common.Runs().run([sys.executable, __file__, "--steps", temporary, asked]))
            )
            for name, code in PARTS.items():
                parts[name].run([sys.executable, "-c", code])
    _show_steps(steps)
    rows = [runs.row("soundkin similar ID"), *[part.row(name) for name, part in parts.items()]]
    common.table(common.Runs.TITLES, rows)
    runs.judge(targets, f"similar among {n} tracks, whole process", SIMILAR_SECONDS)


def _show_steps(steps: Sequence[dict[str, list[float]]]) -> None:
    rows = []
    for step in steps[0]:
        wall, cpu = (statistics.median(run[step][i] for run in steps) for i in (0, 1))
        rows.append([step, f"{1000 * wall:.0f}", f"{1000 * cpu:.0f}"])
    print("where it goes, milliseconds, medians")
    common.table(("step", "wall", "CPU"), rows)


def steps_of(folder: str, track_id: str) -> dict[str, list[float]]:
    """Do in this process, step by step, what `soundkin similar` does: step -> wall and CPU seconds."""
    spent = {}
    last = time.monotonic(), time.process_time()

    def step(name: str) -> None:
        nonlocal last
        now = time.monotonic(), time.process_time()
        spent[name] = [now[0] - last[0], now[1] - last[1]]
        last = now

    library = Library.open(folder)
    space = library.space()
    step("open the record, choose the space")
    track = library.find(track_id)
    step("find the track")
    library._current_index()
    step("open the index, catch up")
    library.similar(track, 10, space=space.id)
    step("search, read the tracks")
    library.similar(track, 10, space=space.id)
    step("once more, all open")
    library.close()
    step("close")
    return spent


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("rescan", "memory", "similar")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--files", type=int, default=10_000, help="of rescan")
    parser.add_argument("--memory", type=int, nargs="+", default=[1, 1000], metavar="TRACKS")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the tracks of memory")
    parser.add_argument("--jobs", type=int, default=2, help="of memory")
    parser.add_argument("--tracks", type=int, default=100_000, help="of similar")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    if args.steps:
        print(json.dumps(steps_of(*args.steps)))
        return 0
    if unknown := set(args.parts) - set(parts):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there is {', '.join(parts)}")
    targets, chosen, others = common.Targets(), args.parts or parts, common.Bystanders()
    if "rescan" in chosen:
        rescan(args.files, args.repeats, targets)
    if "memory" in chosen:
        memory(args.memory, args.jobs, args.seconds, targets)
    if "similar" in chosen:
        similar(args.tracks, args.repeats, targets)
    print(f"other programs kept {others.cores():.2f} of {os.cpu_count()} cores busy meanwhile\n")
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
