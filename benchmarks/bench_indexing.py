"""What indexing a track costs, end to end, against decoding the whole of it.

    python benchmarks/bench_indexing.py FOLDER [--tracks 3] [--repeats 3] [--check]

Takes a few tracks of 3 to 5 minutes from FOLDER, writes each as mp3, ogg, flac, m4a and opus into a temporary folder,
and measures on every file, in turn and in one process with one thread, the CPU time of

    decode   reading all of it to mono at its own rate, with the decoders that indexing uses
    default  all that indexing does with it, at the default listening
    all      the same, hearing every second of it

Ratios are of medians over the repeats. Then: where the time goes; two workers against one; and whether the vectors
stay the same with other numbers of workers, batches, CPU features and graph optimisations.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np

import soundkin.encoders.onnx as onnx
from soundkin.audio import DEFAULT_LISTENING, WHOLE, Listening, hear
from soundkin.embed import Embedded, Embedder, FileState, Task, content_hash, embed_files
from soundkin.encoders import load_encoder
from soundkin.encoders.descriptors import FRONT, describe
from soundkin.errors import DecodeError
from soundkin.features import spectra_of
from soundkin.tags import read

# Usual bit rates. "vorbis" is at libsndfile's default quality, about 110 kbit/s.
FORMATS = {
    "mp3": ("libmp3lame", 192_000),
    "ogg": ("vorbis", 0),
    "flac": ("flac", 0),
    "m4a": ("aac", 192_000),
    "opus": ("libopus", 128_000),
}
STAGES = ("hash", "tags", "decode", "resample", "spectra", "describe", "network")
DEFAULT_RATIO, ALL_RATIO, SPEED_UP, COSINE = 0.6, 1.9, 1.8, 0.9999
# Lower instruction sets for the two libraries whose choice can be forced: OpenBLAS and numpy.
OLD_CPU = {
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
}


def make_files(folder: Path, into: Path, tracks: int, shortest: float, longest: float) -> list[Path]:
    """Write a few tracks in every format; return the files."""
    chosen = []
    for path in common.audio_files(folder):
        with contextlib.suppress(DecodeError), hear(path, DEFAULT_LISTENING) as hearing:
            if shortest <= hearing.duration <= longest and hearing.channels == 2:
                chosen.append(path)
    if not chosen:
        raise SystemExit(f"no stereo track of {shortest:g} to {longest:g} s below {folder}")
    files = []
    for i in np.linspace(0, len(chosen) - 1, min(tracks, len(chosen))).astype(int):
        samples, rate = common.read_all(chosen[i])
        for suffix, (codec, bit_rate) in FORMATS.items():
            files.append(into / f"{i}-{chosen[i].stem}.{suffix}")
            common.write_audio(files[-1], samples, rate, codec, bit_rate)
    return files


def task_of(path: Path) -> Task:
    """Make the task that a scan would make."""
    status = path.stat()
    return Task(FileState(str(path), status.st_size, status.st_mtime_ns))


def decode(path: Path, listening: Listening = WHOLE) -> float:
    """Decode to mono at the native rate and drop it; the length in seconds."""
    with hear(path, listening) as hearing:
        for _ in hearing.excerpts:
            pass
        return hearing.duration


def costs(files: Sequence[Path], encoder: str, repeats: int) -> dict[Path, dict[str, float]]:
    """Median CPU seconds of each file: decode, default, all."""
    default, whole = Embedder([encoder], DEFAULT_LISTENING), Embedder([encoder], WHOLE)
    samples: dict[Path, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in files[:5]:  # what is loaded or computed once is no cost of a track
        default.file(task_of(path))
    for _ in range(repeats):
        for path in files:
            task = task_of(path)
            samples[path]["decode"].append(common.cpu_of(decode, path))
            samples[path]["default"].append(common.cpu_of(default.file, task))
            samples[path]["all"].append(common.cpu_of(whole.file, task))
    return {p: {k: statistics.median(v) for k, v in of.items()} for p, of in samples.items()}


def stages(path: Path, encoder: Any, listening: Listening) -> dict[str, float]:
    """CPU seconds of each stage of one file."""
    spent = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def stage(name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        spent[name] += time.process_time() - begin

    with stage("hash"):
        content_hash(path)
    with stage("tags"):
        read(path)
    with contextlib.ExitStack() as stack:
        with stage("decode"):
            excerpts = stack.enter_context(hear(path, listening)).excerpts
        while True:
            with stage("decode"):
                excerpt = next(excerpts, None)
            if excerpt is None:
                return spent
            with stage("resample"):
                excerpt.at(FRONT.rate)
            with stage("spectra"):
                spectra_of(excerpt, FRONT)
            with stage("describe"):
                describe(excerpt)
            with stage("network"):
                encoder.windows(excerpt)


def show_costs(files: Sequence[Path], encoder: str, repeats: int, targets: common.Targets) -> None:
    """Print cost by format and by stage."""
    measured = costs(files, encoder, repeats)
    ratios: dict[str, list[float]] = {"default": [], "all": []}
    rows = []
    for suffix in FORMATS:
        own = [cost for path, cost in measured.items() if path.suffix == f".{suffix}"]
        total = {k: sum(cost[k] for cost in own) for k in ("decode", "default", "all")}
        for k, values in ratios.items():
            values.append(total[k] / total["decode"])
        rows.append(
            [
                suffix,
                *[f"{v / len(own):.3f}" for v in total.values()],
                ratios["default"][-1],
                ratios["all"][-1],
            ]
        )
    length = statistics.mean(decode(path) for path in files)
    print(f"CPU seconds per track of {length:.0f} s on average, and ratios to a full decode")
    table_titles = ("format", "decode", "default", "all", "default / decode", "all / decode")
    means = {k: statistics.mean(v) for k, v in ratios.items()}
    totals = {k: sum(cost[k] for cost in measured.values()) for k in ("decode", *ratios)}
    whole = [f"{v / len(files):.3f}" for v in totals.values()]
    together = ["all files", *whole, *[totals[k] / totals["decode"] for k in ratios]]
    common.table(table_titles, [*rows, ["mean of formats", "", "", "", *means.values()], together])
    for name, limit in (("default", DEFAULT_RATIO), ("all", ALL_RATIO)):
        targets.at_most(f"indexing / decoding, {name}, mean of formats", means[name], limit)
        for suffix, ratio in zip(FORMATS, ratios[name], strict=True):
            targets.at_most(f"indexing / decoding, {name}, {suffix}", ratio, limit)


def show_stages(files: Sequence[Path], encoder: str, repeats: int) -> None:
    """Print where the time goes."""
    loaded = load_encoder(encoder)
    for listening in (DEFAULT_LISTENING, WHOLE):
        rows = []
        for suffix in FORMATS:
            own = [path for path in files if path.suffix == f".{suffix}"]
            runs = [[stages(path, loaded, listening) for path in own] for _ in range(repeats)]
            spent = [statistics.median(sum(f[s] for f in run) / len(own) for run in runs) for s in STAGES]
            rows.append([suffix, *[f"{1000 * v:.1f}" for v in spent], f"{1000 * sum(spent):.0f}"])
        print(f"CPU milliseconds per track by stage, listening {listening.name}")
        common.table(("format", *STAGES, "sum"), rows)


def scan(files: Sequence[Path], encoder: str, jobs: int) -> tuple[float, float, dict[str, Any]]:
    """Embed with workers: wall-clock seconds, CPU seconds, path -> vector."""
    before, begin = time.process_time() + common.children_seconds(), time.monotonic()
    vectors = {}
    for task, outcome in embed_files(map(task_of, files), [encoder], jobs=jobs):
        assert isinstance(outcome, Embedded), outcome
        (vectors[task.file.path],) = outcome.vectors.values()
    wall = time.monotonic() - begin
    return wall, time.process_time() + common.children_seconds() - before, vectors


def show_workers(
    files: Sequence[Path], encoder: str, repeats: int, targets: common.Targets
) -> dict[str, dict[str, Any]]:
    """Compare two workers with one; return the vectors of both."""
    many = [path for _ in range(3) for path in files]
    walls: dict[int, list[float]] = {1: [], 2: []}
    cpus: dict[int, list[float]] = {1: [], 2: []}
    vectors = {}
    others = common.Bystanders()
    for _ in range(repeats):
        for jobs in walls:
            one_wall, one_cpu, vectors[f"{jobs} workers"] = scan(many, encoder, jobs)
            walls[jobs].append(one_wall)
            cpus[jobs].append(one_cpu)
    busy = others.cores()
    wall = {jobs: statistics.median(of) for jobs, of in walls.items()}
    cpu = {jobs: statistics.median(of) for jobs, of in cpus.items()}
    print(f"{len(many)} files; other programs kept {busy:.2f} of {os.cpu_count()} cores busy meanwhile")
    rows = [[j, f"{wall[j]:.2f}", f"{cpu[j]:.2f}", f"{cpu[j] / wall[j]:.2f}"] for j in walls]
    common.table(("workers", "wall s", "CPU s", "cores used"), rows)
    # Two workers that spend together what one spends, and never wait, are twice as fast on two idle cores.
    ideal = 2 * cpu[1] / cpu[2]
    if busy < common.IDLE:
        targets.at_least("two workers / one, wall clock", wall[1] / wall[2], SPEED_UP)
    else:
        print(
            f"cores were not idle: wall-clock speed-up {wall[1] / wall[2]:.2f} is no measure; CPU seconds are\n"
        )
        targets.at_least("two workers / one, by CPU seconds", ideal, SPEED_UP)
    return vectors


def vectors_of(files: Sequence[Path], encoder: str) -> dict[str, Any]:
    """Embed in this process: path -> vector."""
    embedder = Embedder([encoder])
    outcomes = {str(path): embedder.file(task_of(path)) for path in files}
    return {path: next(iter(o.vectors.values())) for path, o in outcomes.items() if isinstance(o, Embedded)}


def show_equality(
    files: Sequence[Path], encoder: str, others: dict[str, dict[str, Any]], targets: common.Targets
) -> None:
    """Compare the vectors of every way to compute them with those of one worker."""
    variants = {"2 workers": others["2 workers"]}
    usual = onnx._BATCH
    for size in (1, 3, 16):
        onnx._BATCH = size
        variants[f"batches of {size}"] = vectors_of(files, encoder)
    onnx._BATCH = usual
    variants["numpy and BLAS of an old CPU"] = _in_child(files, encoder, OLD_CPU)
    variants["graph as written, not optimised"] = _unoptimised(files, encoder)
    reference = others["1 workers"]
    rows = []
    for name, vectors in variants.items():
        cosines = [float(np.dot(reference[path], vector)) for path, vector in vectors.items()]
        rows.append([name, len(cosines), f"{min(cosines):.7f}"])
        targets.at_least(f"least cosine, {name}", min(cosines), COSINE)
    print("least cosine with the vectors of one worker")
    common.table(("how", "files", "cosine"), rows)


def _in_child(files: Sequence[Path], encoder: str, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--encoder", encoder, "--vectors", *map(str, files)],
        env={**common.environment(), **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return {path: np.array(v, np.float32) for path, v in json.loads(done.stdout).items()}


def _unoptimised(files: Sequence[Path], encoder: str) -> dict[str, Any]:
    """Embed with other kernels: without optimisation the engine neither fuses nor changes layouts."""
    import onnxruntime

    def session(graph: bytes) -> Any:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    usual, onnx._session = onnx._session, session
    try:
        return vectors_of(files, encoder)
    finally:
        onnx._session = usual


def main() -> int:
    """Make files, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", type=Path, nargs="+", metavar="FOLDER", help="music to take tracks from")
    parser.add_argument("--encoder", default="cnn")
    parser.add_argument("--tracks", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, nargs=2, default=(180, 300), help="shortest and longest track"
    )
    parser.add_argument("--vectors", action="store_true", help="only print the vectors of files, as JSON")
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    if args.vectors:
        print(json.dumps({path: v.tolist() for path, v in vectors_of(args.paths, args.encoder).items()}))
        return 0
    targets = common.Targets()
    with tempfile.TemporaryDirectory() as temporary:
        files = make_files(args.paths[0], Path(temporary), args.tracks, *args.seconds)
        show_costs(files, args.encoder, args.repeats, targets)
        show_stages(files, args.encoder, args.repeats)
        vectors = show_workers(files, args.encoder, args.repeats, targets)
        show_equality(files, args.encoder, vectors, targets)
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
