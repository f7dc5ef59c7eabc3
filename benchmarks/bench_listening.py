"""What hearing less of a track costs in quality, and what it saves.

    python benchmarks/bench_listening.py FOLDER [--encoder cnn] [--check]

FOLDER holds one folder per soundtrack. Every track of a soundtrack of at least 6 tracks is a query, the others are
ranked by cosine, and those of the same soundtrack are right: precision among the 10 nearest, and mean average
precision. A track is decoded and transformed once; each plan then takes the windows that it would have heard (their
starts rounded to a frame of the spectrogram, 23 ms), in eight placements whose mean counts. What a plan costs is the
CPU time of indexing a sample of the tracks for real, one thread, plans in turn, median of repeats. The cheapest plan
within 1 % of hearing all is marked.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import common
import numpy as np

from soundkin.audio import DEFAULT_LISTENING, WHOLE, Excerpt, Listening, load
from soundkin.embed import Embedder, FileState, Task
from soundkin.encoders import Encoder, load_encoder
from soundkin.errors import DecodeError
from soundkin.features import FrontEnd, Spectra, spectra

# One window of the built-in encoder is 3.07 s, two in a row are 6.05 s, three 9.02 s.
_PLANS = (
    Listening(7, 9.02),
    *(Listening(n, 6.05) for n in (9, 10, 11, 12)),
    *(Listening(n, 3.07) for n in (16, 20)),
    DEFAULT_LISTENING,
    WHOLE,
)
PLANS = tuple(dict.fromkeys(_PLANS))
SMALLEST = 6
NEAR = 0.99
# Where the windows happen to lie moves a plan's quality by as much as two windows more do. So each plan is tried with
# its windows earlier and later by these shares of the way from one to the next, and the mean is what it is worth.
SHIFTS = (0.0, 0.125, -0.125, 0.25, -0.25, 0.375, -0.375, 0.5)


class Heard:
    """A track heard in full, of which plans take excerpts.

    Parameters
    ----------
    path : Path
        The file.
    front : FrontEnd
        Of the encoder.
    """

    def __init__(self, path: Path, front: FrontEnd) -> None:
        self._front, self._y = front, load(path, front.rate)
        self._spectra = spectra(self._y, front)
        self._windows: dict[tuple[str, int, int], common.Array] = {}

    def vector(self, encoder: Encoder, plan: Listening, shift: float) -> common.Array:
        """Return the track vector that a plan would give with its windows later by so many gaps."""
        return encoder.pool(np.concatenate(list(self._heard(encoder, plan, shift))))

    def _heard(self, encoder: Encoder, plan: Listening, shift: float) -> Iterator[common.Array]:
        hop, rate = self._front.hop, self._front.rate
        duration = len(self._y) / rate
        starts = plan.starts(duration)
        later = 0.0 if plan == WHOLE else shift * max(0.0, duration / len(starts) - plan.seconds)
        for start in starts:
            first = round((start + later) * rate / hop)
            # Windows are cached one by one, because plans share many of them.
            length = min(round(plan.seconds * rate), len(self._y) - first * hop)
            for begin, n in self._cut(encoder, first, self._front.n_frames(length)):
                key = encoder.weights, begin, n
                if key not in self._windows:
                    self._windows[key] = encoder.windows(self._excerpt(begin, n))[1]
                yield self._windows[key]

    def _cut(self, encoder: Encoder, first: int, n: int) -> Iterator[tuple[int, int]]:
        """Cut an excerpt of n frames into the windows of an encoder: (first frame, frames)."""
        if not encoder.window_seconds:  # its window is the excerpt
            yield first, n
            return
        rate, hop = self._front.rate, self._front.hop
        frames = self._front.n_frames(round(encoder.window_seconds * rate))
        step = round(encoder.hop_seconds * rate / hop)
        for begin in range(first, first + max(1, n - frames + 1), step):
            yield begin, min(n, frames)

    def _excerpt(self, begin: int, n: int) -> Excerpt:
        hop, rate = self._front.hop, self._front.rate
        samples = self._y[begin * hop : begin * hop + self._front.n_samples(n)]
        excerpt = Excerpt(begin * hop / rate, samples, rate)
        part = slice(begin, begin + n)
        excerpt.cached(self._front, lambda: Spectra(self._spectra.mel[part], self._spectra.chroma[part]))
        return excerpt


def quality(vectors: common.Array, labels: Sequence[str]) -> tuple[float, float]:
    """Return precision at 10 and mean average precision of one retrieval task.

    Parameters
    ----------
    vectors : float32 (n, d)
        Unit length; every label at least twice.
    labels : sequence of str
        What is the same for tracks that belong together.

    Returns
    -------
    tuple of float
        Both 0..1, the query excluded.
    """
    names = np.asarray(labels)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    right = names[order] == names[:, None]
    precision = np.cumsum(right, axis=1) / np.arange(1, len(names))
    average = (precision * right).sum(axis=1) / right.sum(axis=1)
    return float(right[:, :10].mean()), float(average.mean())


def mean_quality(vectors: Sequence[common.Array], labels: Sequence[str]) -> tuple[float, float]:
    """Return the mean quality of several placements of one plan."""
    precision, average = np.mean([quality(each, labels) for each in vectors], axis=0)
    return float(precision), float(average)


def tracks_in(folder: Path, each: int) -> tuple[list[Path], list[str]]:
    """List the tracks of the soundtracks that are large enough, and the soundtrack of each; at most so many of each."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in common.audio_files(folder):
        found[path.relative_to(folder).parts[0]].append(path)
    kept = [(path, name) for name, files in found.items() if len(files) >= SMALLEST for path in files[:each]]
    return [path for path, _ in kept], [name for _, name in kept]


def hear_all(
    files: Sequence[Path], labels: Sequence[str], encoders: Sequence[Encoder], front: FrontEnd
) -> tuple[dict[tuple[int, Listening, float], common.Array], list[Path], list[str]]:
    """Embed every track by every encoder, plan and shift: vectors, and the files and labels that could be read."""
    vectors: dict[tuple[int, Listening, float], list[common.Array]] = {
        (i, plan, shift): [] for i in range(len(encoders)) for plan in PLANS for shift in SHIFTS
    }
    kept_files, kept_labels = [], []
    for path, label in zip(files, labels, strict=True):
        try:
            heard = Heard(path, front)
        except DecodeError as error:
            print(f"passed over {path.name}: {error}", file=sys.stderr)
            continue
        for (i, plan, shift), rows in vectors.items():
            rows.append(heard.vector(encoders[i], plan, shift))
        kept_files.append(path)
        kept_labels.append(label)
    return {key: np.stack(rows) for key, rows in vectors.items()}, kept_files, kept_labels


def costs(files: Sequence[Path], encoder: str, repeats: int) -> dict[Listening, float]:
    """Mean CPU seconds per track of indexing with each plan."""
    embedders = {plan: Embedder([encoder], plan) for plan in PLANS}
    tasks = [Task(FileState(str(p), p.stat().st_size, p.stat().st_mtime_ns)) for p in files]
    embedders[PLANS[0]].file(tasks[0])  # what is computed once is no cost of a track
    spent: dict[Listening, list[float]] = {plan: [] for plan in PLANS}
    for task in tasks:
        for plan, embedder in embedders.items():
            runs = [common.cpu_of(embedder.file, task) for _ in range(repeats)]
            spent[plan].append(statistics.median(runs))
    return {plan: statistics.mean(seconds) for plan, seconds in spent.items()}


def report(
    name: str,
    found: dict[Listening, tuple[float, float]],
    cost: dict[Listening, float],
    targets: common.Targets,
) -> None:
    """Print the table of one encoder."""
    best = found[WHOLE]
    near = [p for p in PLANS if all(v >= NEAR * b for v, b in zip(found[p], best, strict=True))]
    cheapest = min(near, key=cost.__getitem__)
    rows = []
    for plan in PLANS:
        precision, average = found[plan]
        mark = " ".join(
            m
            for m, is_it in (("default", plan == DEFAULT_LISTENING), ("cheapest", plan == cheapest))
            if is_it
        )
        share = f"{100 * precision / best[0]:.1f} %", f"{100 * average / best[1]:.1f} %"
        rows.append(
            [plan.name, f"{cost[plan]:.3f}", f"{precision:.4f}", share[0], f"{average:.4f}", share[1], mark]
        )
    print(f"encoder {name}; % of hearing all; cheapest: of those with both at least {100 * NEAR:.0f} %")
    common.table(("listening", "CPU s / track", "P@10", "%", "mAP", "%", ""), rows)
    for what, value, whole in zip(("P@10", "mAP"), found[DEFAULT_LISTENING], best, strict=True):
        targets.at_least(f"{name}: {what} at the default / hearing all", value / whole, NEAR)


def main() -> int:
    """Hear, rank, time, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a folder with one folder per soundtrack")
    parser.add_argument("--encoder", action="append", help="name or folder; may be repeated (default: cnn)")
    parser.add_argument("--each", type=int, default=10**6, help="at most so many tracks of a soundtrack")
    parser.add_argument("--timed", type=int, default=12, help="tracks whose cost is measured")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    names = args.encoder or ["cnn"]
    encoders = [load_encoder(name) for name in names]
    front = FrontEnd()
    if any(encoder.front_end != front.name for encoder in encoders):
        raise SystemExit(f"only encoders that hear {front.name} can be compared here")
    files, labels = tracks_in(args.folder, args.each)
    if not files:
        raise SystemExit(f"no soundtrack of {SMALLEST} or more tracks in {args.folder}")
    vectors, files, labels = hear_all(files, labels, encoders, front)
    print(f"{len(files)} tracks of {len(set(labels))} soundtracks\n")
    timed = [files[i] for i in np.linspace(0, len(files) - 1, min(args.timed, len(files))).astype(int)]
    targets = common.Targets()
    for i, name in enumerate(names):
        found = {plan: mean_quality([vectors[i, plan, shift] for shift in SHIFTS], labels) for plan in PLANS}
        report(encoders[i].name, found, costs(timed, name, args.repeats), targets)
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
