"""Tell whether a library of a few tracks says that nothing is close, as the large one that it is a part of would.

    soundkin index MUSIC --library LIBRARY
    python benchmarks/bench_closeness.py LIBRARY

Small libraries are drawn from LIBRARY, half of them from all of it, half from one folder, which for soundtracks is one
soundtrack. Every track asks for its nearest. Whether that is more than chance brings is told by the whole library (is
the evidence above ln n?), and by the small one alone: as it does, which goes by the cosines that two tracks of much
other music have; if it said "close" always; and if it went by the cosines of its own few. The first line is those
cosines of a space, which stand in `encoders.ENCODERS`. The last one tells how often a short track is among the first
ten, and how often it would be if lots were drawn.
"""

import argparse
import math
import os
import sys

from common import Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import ENCODERS
from soundkin.library import Library
from soundkin.recommend.closeness import Closeness

Rows = NDArray[np.float32]
SIZES = (5, 10, 20, 40, 99)
TIMES = 60
K = 10
SHORT = 15.0


def usual_of(rows: Rows) -> tuple[float, float]:
    """Mean and standard deviation of the cosines of all pairs."""
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return float(cosines.mean()), float(cosines.std())


def verdicts(rows: Rows, evidence: NDArray[np.float64], known: tuple[float, float]) -> NDArray[np.bool_]:
    """Whether the nearest of each track is close: as the whole says, as the small library says, by its own: (3, n)."""
    cosines, evidence = rows @ rows.T, evidence.copy()
    np.fill_diagonal(cosines, -1)
    np.fill_diagonal(evidence, -1)
    best = np.maximum(cosines.max(axis=1), 0)
    ways = [Closeness.of(rows, elsewhere=by) for by in (known, usual_of(rows))]
    truth = evidence.max(axis=1) > math.log(len(rows))
    return np.array([truth, *([way.is_close(float(b)) for b in best] for way in ways)])


def drawn(folder: NDArray[np.intp], size: int, one: bool, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of a small library, of one folder or of all."""
    large = [f for f in np.unique(folder) if (folder == f).sum() >= size]
    among = np.flatnonzero(folder == rng.choice(large)) if one else np.arange(len(folder))
    return rng.choice(among, size, replace=False)


def judge(rows: Rows, folder: NDArray[np.intp], known: tuple[float, float]) -> float:
    """Print how often each way says what the whole library says; return the average of the one that is used."""
    evidence = Closeness.of(rows).evidence(rows, rows)
    largest = int(np.bincount(folder).max())
    used, lines = [], []
    for size in SIZES:
        for one in (False, True):
            if size > (largest if one else len(rows)):
                continue
            rng = np.random.default_rng(size)
            parts = [drawn(folder, size, one, rng) for _ in range(TIMES)]
            truth, told, own = np.concatenate(
                [verdicts(rows[p], evidence[np.ix_(p, p)], known) for p in parts], axis=1
            )
            used.append(float((told == truth).mean()))
            shares = truth.mean(), used[-1], truth.mean(), (own == truth).mean()
            lines.append((size, "one folder" if one else "all", *(f"{share:.2f}" for share in shares)))
    table(
        ("tracks", "drawn from", "close", "told alike", "if always close", "by its own cosines"),
        lines,
    )
    return float(np.mean(used))


def short(rows: Rows, seconds: NDArray[np.float64]) -> None:
    """Print how many of the answers to longer tracks hold a short one, and how many would by lot."""
    evidence = Closeness.of(rows).evidence(rows, rows)
    np.fill_diagonal(evidence, -1)
    brief, n = seconds < SHORT, len(rows)
    top = np.argsort(-evidence, axis=1, kind="stable")[~brief, :K]
    by_lot = 1 - math.comb(n - 1 - int(brief.sum()), K) / math.comb(n - 1, K)
    print(
        f"{brief.sum()} of {n} tracks are shorter than {SHORT:.0f} s; "
        f"{brief[top].any(axis=1).mean():.1%} of the answers hold one, by lot {by_lot:.1%} would"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", help="folder of a library")
    parser.add_argument("--spaces", nargs="*", help="spaces, or the encoders that made them")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    args = parser.parse_args()
    targets = Targets()
    with Library.open(args.library) as library:
        tracks = {track.id: track for track in library.tracks()}
        for name in args.spaces or [library.space().encoder]:
            ids, rows = library.vectors(name)
            folders = [os.path.dirname(tracks[id_].path) for id_ in ids]
            folder = np.unique(folders, return_inverse=True)[1]
            measured, info = usual_of(rows), ENCODERS.get(name)
            known = info.usual if info and info.usual else measured
            print(f"{name}: cosines of two tracks {measured[0]:.3f} +- {measured[1]:.3f}, known as {known}\n")
            agrees = judge(rows, folder, known)
            targets.at_least(f"small libraries tell what the large one does, {name}", agrees, 0.8)
            short(rows, np.array([tracks[id_].duration for id_ in ids]))
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
