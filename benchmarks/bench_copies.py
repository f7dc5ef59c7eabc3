"""When two files are one recording: how alike in sound, length, and from moment to moment.

    python benchmarks/bench_copies.py FOLDER [--tracks 60] [--copies DIR] [--check]

A sample of the tracks in FOLDER is written again the ways people's copies differ (other codecs and bit rates, 2 s cut
off the start, quieter, 22 kHz mono). Recall is the share of (track, copy) and (copy, copy) pairs that a rule calls
copies; false are the pairs of different tracks in FOLDER, all of them, that it calls copies. Pairs of equal bytes are
neither. From this table come the constants of `soundkin.recommend`.

The pairs of different tracks that the rule in use passes are listed by name: look whether they are copies in truth.
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
from soundkin.audio import DEFAULT_LISTENING, hear, resample
from soundkin.embed import Embedded, FileState, Task, embed_files
from soundkin.errors import DecodeError
from soundkin.recommend.copies import COPY_SECONDS
from soundkin.record.rows import to_track

Pairs = NDArray[np.bool_]

SWEEP = (0.7, 0.75, 0.8, 0.825, 0.85, 0.875, 0.9, 0.925, 0.95, 0.97, 0.985, 0.99, 0.995)
RECALL = 0.99
TRIMMED_RECALL = 0.8
# Apart by no more than a codec's padding.
WHOLE_SECONDS = 0.1
FALSE_IN_THOUSAND = 0.1


@dataclass(frozen=True)
class Kind:
    """A way to copy: the codec, its bit rate, and what is done to the samples before."""

    suffix: str
    codec: str
    bit_rate: int = 0
    change: Callable[[common.Array, int], tuple[common.Array, int]] = lambda y, rate: (y, rate)


def _mono_22k(y: common.Array, rate: int) -> tuple[common.Array, int]:
    return resample(np.ascontiguousarray(y.mean(axis=1)), rate, 22_050)[:, None], 22_050


KINDS = {
    "mp3 96k": Kind("mp3", "libmp3lame", 96_000),
    "mp3 320k": Kind("mp3", "libmp3lame", 320_000),
    "ogg": Kind("ogg", "vorbis"),
    "opus 64k": Kind("opus", "libopus", 64_000),
    "m4a 128k": Kind("m4a", "aac", 128_000),
    "2 s cut": Kind("flac", "flac", change=lambda y, rate: (y[2 * rate :], rate)),
    "-6 dB": Kind("flac", "flac", change=lambda y, rate: (y * np.float32(0.5012), rate)),
    "22k mono": Kind("flac", "flac", change=_mono_22k),
}


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
        for i in np.flatnonzero(self.same_length).tolist():
            one, other = (windows_of(sounds.outcomes[j]) for j in (self.a[i], self.b[i]))
            self.moments[i] = recommend.moments_alike(one, other)

    @property
    def same_length(self) -> Pairs:
        """Lengths agree as the constants in use want it."""
        return self.seconds <= COPY_SECONDS

    def same_moments(self, least: float) -> Pairs:
        """Lengths agree, and the tracks change alike."""
        return np.nan_to_num(self.moments, nan=-1.0) >= least


RULES: dict[str, Callable[[Compared], Pairs]] = {
    "sound": lambda c: np.ones(len(c.similarity), bool),
    "+ length": lambda c: c.same_length,
    "+ moments 0.3": lambda c: c.same_moments(0.3),
    "+ moments 0.5": lambda c: c.same_moments(0.5),
    "+ moments 0.7": lambda c: c.same_moments(0.7),
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


def show_kinds(names: Sequence[str], true: Compared) -> None:
    """Print by kind of copy how much a copy differs from its original."""
    rows = []
    for kind in KINDS:
        own = np.array([name == kind for name in names])
        if not own.any():
            continue
        low, few, middle = np.quantile(true.similarity[own], [0, 0.05, 0.5])
        least, fewer, common_one = np.quantile(np.nan_to_num(true.moments[own], nan=-1.0), [0, 0.05, 0.5])
        rows.append(
            [kind, f"{low:.4f}", f"{few:.4f}", f"{middle:.4f}", f"{true.seconds[own].max():.2f}",
             f"{least:.3f}", f"{fewer:.3f}", f"{common_one:.3f}"]
        )  # fmt: skip
    print("a copy against its original")
    titles = (
        "copy",
        "least cos",
        "5 % below",
        "median",
        "most s apart",
        "moments: least",
        "5 % below",
        "median",
    )
    common.table(titles, rows)


def show_alike(sounds: Sounds, false: Compared, folder: Path) -> None:
    """List the pairs of different tracks that are nearest to being copies."""
    order = np.flatnonzero(false.same_length & (false.similarity >= SWEEP[0]))
    order = order[np.argsort(-false.similarity[order])][:30]
    rows = []
    for i in order.tolist():
        pair = int(false.a[i]), int(false.b[i])
        names = [str(Path(sounds.paths[j]).relative_to(folder)) for j in pair]
        rows.append(
            [f"{false.similarity[i]:.4f}", f"{false.seconds[i]:.2f}", f"{false.moments[i]:.3f}", *names]
        )
    print("different files of the same length (within the constant in use) that sound most alike")
    common.table(("cosine", "s apart", "moments", "one", "other"), rows)


def is_copy(sounds: Sounds, pairs: Compared) -> Pairs:
    """Ask `recommend.is_copy` itself."""
    tracks = [to_track(outcome, "", 0.0) for outcome in sounds.outcomes]
    triples = zip(pairs.a.tolist(), pairs.b.tolist(), pairs.similarity.tolist(), strict=True)
    windows = [windows_of(outcome) for outcome in sounds.outcomes]
    return np.array(
        [recommend.is_copy(tracks[i], tracks[j], score, windows[i], windows[j]) for i, j, score in triples],
        bool,
    )


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
    parser.add_argument("--tracks", type=int, default=60, help="that are copied")
    parser.add_argument(
        "--longest", type=float, default=300.0, help="of these, seconds; encoding takes longest here"
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
    return show(args.folder, files, made, found).finish(args.check)


def show(
    folder: Path, files: Sequence[Path], made: dict[Path, dict[str, Path]], found: dict[Path, Embedded]
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
    show_kinds(kinds, Compared(sounds, originals, copies))
    alike = [pair for group in groups for pair in itertools.combinations(group.values(), 2)]
    distinct = [place[path] for path in files if path in place]
    others = [
        (i, j) for i, j in itertools.combinations(distinct, 2) if sounds.contents[i] != sounds.contents[j]
    ]
    true, false = (Compared(sounds, *zip(*pairs, strict=True)) for pairs in (alike, others))
    show_sweep(true, false)
    show_alike(sounds, false, folder)
    targets = common.Targets()
    told, whole = is_copy(sounds, true), true.seconds <= WHOLE_SECONDS
    targets.at_least("is_copy: recall over pairs of copies, as long", float(told[whole].mean()), RECALL)
    # Windows of a trimmed copy begin elsewhere in the music, so moments say less; this waits for fingerprints.
    targets.at_least(
        "is_copy: recall over pairs of copies, one trimmed", float(told[~whole].mean()), TRIMMED_RECALL
    )
    wrong = float(is_copy(sounds, false).sum())
    targets.at_most("is_copy: false pairs in a thousand", 1000 * wrong / len(others), FALSE_IN_THOUSAND)
    return targets


if __name__ == "__main__":
    sys.exit(main())
