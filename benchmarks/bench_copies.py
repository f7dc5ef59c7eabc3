"""When two files are one recording: recall by kind of copy, and what is mistaken for one.

    python benchmarks/bench_copies.py FOLDER [--tracks 40] [--copies DIR] [--check]

A sample of the tracks in FOLDER is written again the ways people's copies differ: eight formats and bit rates, 2 s off
the start or the end, quieter, louder, and as a remaster would sound; and, harder, 5 s off or other silence. Recall is
the share of (track, copy) and (copy, copy) pairs that a rule calls one recording, the harder ones only against their
original: of two that lack different ends, nothing that was heard may meet. False are the pairs of different tracks in
FOLDER, all of them, that it does. From these tables come the constants of `soundkin.recommend.copies`.

Then `duplicates` itself groups everything. A group of tracks of FOLDER is false unless the samples agree: of the two
files, the waveforms of most stretches correlate at the same lag, which is another kind of evidence than any used here.
``--copies`` keeps the copies for the next run.
"""

import argparse
import contextlib
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
from numpy.typing import NDArray

from soundkin import recommend
from soundkin.audio import DEFAULT_LISTENING, hear, load, resample
from soundkin.embed import Embedded, Embedder, FileState, Task, embed_files
from soundkin.errors import DecodeError
from soundkin.fingerprint import compare
from soundkin.recommend.copies import reach_of
from soundkin.recommend.versions import RECORDING, duplicates
from soundkin.record import Record
from soundkin.record.rows import to_track

Pairs = NDArray[np.bool_]

SWEEP = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RECALL = 0.99
HARDEST_RECALL = 0.97
FALSE_IN_THOUSAND = 0.1
FALSE_PERCENT = 0.1


@dataclass(frozen=True)
class Kind:
    """A way to copy: the codec, its bit rate, and what is done to the samples before."""

    suffix: str
    codec: str
    bit_rate: int = 0
    change: Callable[[common.Array, int], tuple[common.Array, int]] = lambda y, rate: (y, rate)


def _mono_22k(y: common.Array, rate: int) -> tuple[common.Array, int]:
    return resample(np.ascontiguousarray(y.mean(axis=1)), rate, 22_050)[:, None], 22_050


def _remaster(y: common.Array, rate: int) -> tuple[common.Array, int]:
    """Treble up by 4 dB, bass down by as much, then pressed to be louder, as reissues are."""
    tilted = y + 0.6 * np.diff(y, axis=0, prepend=y[:1]) - 0.2 * y
    loud = tilted * (2.5 / max(float(np.abs(tilted).max()), 1e-6))
    return np.tanh(loud, dtype=np.float32) * np.float32(0.95), rate


def _gain(decibels: float) -> Callable[[common.Array, int], tuple[common.Array, int]]:
    factor = np.float32(10 ** (decibels / 20))
    return lambda y, rate: (np.clip(y * factor, -1, 1), rate)


def _silence(before: float, after: float = 0.0) -> Callable[[common.Array, int], tuple[common.Array, int]]:
    """Add so many seconds of silence; where negative, cut as many off."""

    def change(y: common.Array, rate: int) -> tuple[common.Array, int]:
        cut = y[max(0, int(-before * rate)) : len(y) - max(0, int(-after * rate))]
        room = [max(0, int(seconds * rate)) for seconds in (before, after)]
        return np.pad(cut, (room, (0, 0))), rate

    return change


# Eight formats and bit rates, then what is done to the sound itself.
KINDS = {
    "mp3 96k": Kind("mp3", "libmp3lame", 96_000),
    "mp3 192k": Kind("mp3", "libmp3lame", 192_000),
    "mp3 320k": Kind("mp3", "libmp3lame", 320_000),
    "ogg": Kind("ogg", "vorbis"),
    "opus 64k": Kind("opus", "libopus", 64_000),
    "m4a 64k": Kind("m4a", "aac", 64_000),
    "m4a 128k": Kind("m4a", "aac", 128_000),
    "22k mono": Kind("flac", "flac", change=_mono_22k),
    "2 s off the start": Kind("flac", "flac", change=_silence(-2)),
    "2 s off the end": Kind("mp3", "libmp3lame", 128_000, _silence(0, -2)),
    "5 s off the start": Kind("flac", "flac", change=_silence(-5)),
    "5 s off the end": Kind("mp3", "libmp3lame", 192_000, _silence(0, -5)),
    "3 s of silence first": Kind("mp3", "libmp3lame", 192_000, _silence(3)),
    "2 s off, then silence": Kind("flac", "flac", change=_silence(-2, 2)),
    "-6 dB": Kind("flac", "flac", change=_gain(-6)),
    "+6 dB": Kind("mp3", "libmp3lame", 192_000, _gain(6)),
    "remaster": Kind("mp3", "libmp3lame", 192_000, _remaster),
}

HARDER = {"5 s off the start", "5 s off the end", "3 s of silence first", "2 s off, then silence"}


def make_copies(path: Path, into: Path) -> dict[str, Path]:
    """Write every copy of a track that is not there yet; kind -> file."""
    copies = {name: into / f"{name}.{kind.suffix}" for name, kind in KINDS.items()}
    if not all(copy.exists() for copy in copies.values()):
        into.mkdir(parents=True, exist_ok=True)
        samples, rate = common.read_all(path)
        for name, kind in KINDS.items():
            aside = copies[name].with_name(f"new.{kind.suffix}")
            common.write_audio(aside, *kind.change(samples[:, :2], rate), kind.codec, kind.bit_rate)
            aside.replace(copies[name])
    return copies


@dataclass
class Sounds:
    """What is known of n files.

    Parameters
    ----------
    paths, contents : list of str
        Where they are, hash of their bytes.
    vectors : float32 (n, d)
        Unit length.
    seconds : float64 (n,)
        Length.
    outcomes : list of Embedded
        All of it.
    """

    paths: list[str]
    contents: list[str]
    vectors: common.Array
    seconds: NDArray[np.float64]
    outcomes: list[Embedded]


def sounds_of(outcomes: Sequence[Embedded]) -> Sounds:
    """Gather outcomes of one encoder."""
    return Sounds(
        [o.file.path for o in outcomes],
        [o.content for o in outcomes],
        np.stack([next(iter(o.vectors.values())) for o in outcomes]),
        np.array([o.duration for o in outcomes]),
        list(outcomes),
    )


def embed(paths: Iterable[Path], encoder: str, jobs: int | None) -> dict[Path, Embedded]:
    """Embed files; those that fail are left out, with a word."""
    tasks = [Task(FileState(str(p), p.stat().st_size, p.stat().st_mtime_ns)) for p in paths]
    found = {}
    for task, outcome in embed_files(tasks, [encoder], jobs=jobs):
        if isinstance(outcome, Embedded):
            found[Path(task.file.path)] = outcome
        else:
            print(f"passed over {Path(task.file.path).name}: {outcome}", file=sys.stderr)
    return found


class Compared:
    """Pairs of sounds.

    Parameters
    ----------
    sounds : Sounds
        All of them.
    a, b : sequence of int
        Numbers of the one and the other of each pair.
    """

    def __init__(self, sounds: Sounds, a: Sequence[int], b: Sequence[int]) -> None:
        self.a, self.b = np.asarray(a), np.asarray(b)
        self.similarity = np.einsum("ij,ij->i", sounds.vectors[self.a], sounds.vectors[self.b])
        self.seconds = np.abs(sounds.seconds[self.a] - sounds.seconds[self.b])
        self.moments = np.full(len(self.a), np.nan)
        self.fingerprints = np.full(len(self.a), np.nan)
        for i in np.flatnonzero(self.same_length).tolist():
            one, other = (sounds.outcomes[j] for j in (self.a[i], self.b[i]))
            self.moments[i] = recommend.moments_alike(windows_of(one), windows_of(other))
            reach = reach_of(float(self.similarity[i]))
            self.fingerprints[i] = compare(one.fingerprint, other.fingerprint, reach).score

    @property
    def same_length(self) -> Pairs:
        """Lengths agree as the constants in use want it."""
        return self.seconds <= np.vectorize(reach_of)(self.similarity)

    def same_moments(self, least: float) -> Pairs:
        """Lengths agree, and the tracks change alike."""
        return np.nan_to_num(self.moments, nan=-1.0) >= least

    def same_prints(self, least: float) -> Pairs:
        """Lengths agree, and the fingerprints fit."""
        return np.nan_to_num(self.fingerprints, nan=-1.0) >= least


RULES: dict[str, Callable[[Compared], Pairs]] = {
    "sound": lambda c: np.ones(len(c.similarity), bool),
    "+ length": lambda c: c.same_length,
    "+ moments 0.5": lambda c: c.same_moments(0.5),
    "+ fingerprint 0.8": lambda c: c.same_prints(0.8),
    "+ fingerprint 0.85": lambda c: c.same_prints(0.85),
    "+ fingerprint 0.9": lambda c: c.same_prints(0.9),
}


def windows_of(outcome: Embedded) -> common.Array:
    """Return the window vectors of the one space of an outcome."""
    return next(iter(outcome.windows.values()))[1]


def show_sweep(true: Compared, false: Compared) -> None:
    """Print recall and false pairs by threshold and rule."""
    rows = []
    for threshold in SWEEP:
        cells: list[object] = [str(threshold)]
        for rule in RULES.values():
            hits = rule(true) & (true.similarity >= threshold)
            wrong = rule(false) & (false.similarity >= threshold)
            cells += [f"{100 * hits.mean():.1f} %", int(wrong.sum())]
        rows.append(cells)
    print(f"recall over {len(true.similarity)} pairs of copies, false of {len(false.similarity)} other pairs")
    common.table(("similarity >=", *itertools.chain(*((f"{r}: recall", "false") for r in RULES))), rows)


def show_kinds(names: Sequence[str], true: Compared, told: Pairs, without: Pairs) -> float:
    """Print by kind of copy how much a copy differs from its original, and whether it is told; the least recall."""
    rows, least = [], 1.0
    for kind in KINDS:
        own = np.array([name == kind for name in names])
        if not own.any():
            continue
        recall = float(told[own].mean())
        least = min(least, recall)
        low, middle = np.quantile(true.similarity[own], [0, 0.5])
        worst, few, usual = np.quantile(np.nan_to_num(true.fingerprints[own], nan=-1.0), [0, 0.05, 0.5])
        rows.append(
            [kind, int(own.sum()), f"{100 * recall:.1f} %", f"{100 * without[own].mean():.1f} %", f"{low:.3f}",
             f"{middle:.3f}", f"{true.seconds[own].max():.2f}", f"{worst:.3f}", f"{few:.3f}", f"{usual:.3f}"]
        )  # fmt: skip
    print("a copy against its original")
    titles = (
        "copy", "pairs", "recall", "without fingerprints", "least cos", "median", "most s apart", "fingerprint: least",
        "5 % below", "median",
    )  # fmt: skip
    common.table(titles, rows)
    return least


def show_alike(sounds: Sounds, false: Compared, folder: Path) -> None:
    """List the pairs of different tracks that are nearest to being copies."""
    order = np.flatnonzero(false.same_length)
    order = order[np.argsort(-false.fingerprints[order])][:20]
    rows = []
    for i in order.tolist():
        pair = int(false.a[i]), int(false.b[i])
        names = [str(Path(sounds.paths[j]).relative_to(folder)) for j in pair]
        rows.append(
            [f"{false.similarity[i]:.4f}", f"{false.seconds[i]:.2f}", f"{false.fingerprints[i]:.3f}", *names]
        )
    print("different files of the same length (within the constant in use) whose fingerprints fit best")
    common.table(("cosine", "s apart", "fingerprint", "one", "other"), rows)


def is_copy(sounds: Sounds, pairs: Compared, with_prints: bool = True) -> Pairs:
    """Ask `recommend.is_copy` itself."""
    tracks = [to_track(outcome, "", 0.0) for outcome in sounds.outcomes]
    triples = zip(pairs.a.tolist(), pairs.b.tolist(), pairs.similarity.tolist(), strict=True)
    windows = [windows_of(outcome) for outcome in sounds.outcomes]
    prints = [outcome.fingerprint if with_prints else b"" for outcome in sounds.outcomes]
    return np.array(
        [
            recommend.is_copy(tracks[i], tracks[j], score, windows[i], windows[j], prints[i], prints[j])
            for i, j, score in triples
        ],
        bool,
    )


def grouped(outcomes: Iterable[Embedded], encoder: str) -> list[list[str]]:
    """Let `duplicates` find the recordings that are there several times; their paths."""
    with tempfile.TemporaryDirectory() as folder, Record.open(folder, write=True) as record:
        (space,) = Embedder([encoder]).spaces
        record.add_space(space)
        with record.batch():
            for outcome in outcomes:
                record.put(outcome)
        return [
            [t.path for t in group.tracks]
            for group in duplicates(record, space.id)
            if group.kind == RECORDING
        ]


def same_samples(a: str, b: str) -> bool:
    """Tell whether the waveforms of two files agree: most stretches of 5 s correlate, and at one lag."""
    one, other = (load(path, 8000) for path in (a, b))
    n, lags = 40_000, []
    for start in np.linspace(0, max(0, min(len(one), len(other)) - 2 * n), 9).astype(int):
        x, y = one[start : start + n], other[max(0, start - n) : start + 2 * n]
        size = 1 << 18
        both = np.fft.irfft(np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size)), size)
        lag = int(both[: 2 * n].argmax())
        part = y[lag : lag + len(x)]
        x = x[: len(part)]
        if float(x @ part) >= 0.5 * float(np.sqrt((x @ x) * (part @ part))):
            lags.append(lag - min(start, n))
    return len(lags) >= 5 and float(np.median(np.abs(np.array(lags) - np.median(lags)))) < 80


def sample(files: Sequence[Path], n: int, longest: float, seed: int) -> list[Path]:
    """Choose n of the files, none of them longer than so many seconds."""
    chosen: list[Path] = []
    for i in np.random.default_rng(seed).permutation(len(files)):
        with contextlib.suppress(DecodeError), hear(files[i], DEFAULT_LISTENING) as hearing:
            if hearing.duration <= longest:
                chosen.append(files[i])
        if len(chosen) == n:
            break
    return sorted(chosen)


def main() -> int:
    """Copy, embed, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="cnn")
    parser.add_argument("--tracks", type=int, default=40, help="that are copied")
    parser.add_argument(
        "--longest", type=float, default=75.0, help="of these, seconds; encoding takes longest here"
    )
    parser.add_argument("--copies", type=Path, help="where copies are kept (default: a temporary folder)")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    files = common.audio_files(args.folder)
    with tempfile.TemporaryDirectory() as temporary:
        home = args.copies or Path(temporary)
        chosen = sample(files, args.tracks, args.longest, args.seed)
        with ThreadPoolExecutor(args.jobs) as pool:
            folders = [home / "-".join(p.relative_to(args.folder).parts) for p in chosen]
            made = dict(zip(chosen, pool.map(make_copies, chosen, folders), strict=True))
        copies = [copy for of in made.values() for copy in of.values()]
        found = embed([*files, *copies], args.encoder, args.jobs)
    return show(args.folder, files, made, found, args.encoder).finish(args.check)


def show(
    folder: Path,
    files: Sequence[Path],
    made: dict[Path, dict[str, Path]],
    found: dict[Path, Embedded],
    encoder: str,
) -> common.Targets:
    """Print all tables."""
    place = {path: i for i, path in enumerate(found)}
    sounds = sounds_of(list(found.values()))
    groups = [
        {"": place[path], **{kind: place[copy] for kind, copy in of.items() if copy in place}}
        for path, of in made.items()
        if path in place
    ]
    first = [(group[""], number, kind) for group in groups for kind, number in group.items() if kind]
    originals, copies, kinds = zip(*first, strict=True)
    pairs = Compared(sounds, originals, copies)
    least = show_kinds(kinds, pairs, is_copy(sounds, pairs), is_copy(sounds, pairs, with_prints=False))
    every = [pair for group in groups for pair in itertools.combinations(group.values(), 2)]
    easier = [{kind: i for kind, i in group.items() if kind not in HARDER} for group in groups]
    alike = [pair for group in easier for pair in itertools.combinations(group.values(), 2)]
    distinct = [place[path] for path in files if path in place]
    others = [
        (i, j) for i, j in itertools.combinations(distinct, 2) if sounds.contents[i] != sounds.contents[j]
    ]
    true, false = (Compared(sounds, *zip(*pairs, strict=True)) for pairs in (alike, others))
    show_sweep(true, false)
    show_alike(sounds, false, folder)
    targets = common.Targets()
    told = is_copy(sounds, true)
    targets.at_least("is_copy: recall over pairs of copies", float(told.mean()), RECALL)
    targets.at_least("is_copy: recall of the hardest kind of copy of an original", least, HARDEST_RECALL)
    wrong = float(is_copy(sounds, false).sum())
    targets.at_most("is_copy: other pairs in a thousand", 1000 * wrong / len(others), FALSE_IN_THOUSAND)
    group_of = {path: i for i, members in enumerate(grouped(sounds.outcomes, encoder)) for path in members}
    joined = [group_of.get(sounds.paths[i], -1) == group_of.get(sounds.paths[j], -2) for i, j in every]
    targets.at_least("duplicates: recall over pairs of copies", float(np.mean(joined)), RECALL)
    own = grouped([found[path] for path in files if path in found], encoder)
    false_groups = [
        members for members in own if not all(same_samples(members[0], path) for path in members[1:])
    ]
    for members in own:
        print(
            "false:" if members in false_groups else "true:",
            *(Path(path).relative_to(folder) for path in members),
        )
    print()
    share = 100 * len(false_groups) / len(distinct)
    targets.at_most(f"duplicates: false groups among {len(distinct)} tracks", share, FALSE_PERCENT, " %")
    return targets


if __name__ == "__main__":
    sys.exit(main())
