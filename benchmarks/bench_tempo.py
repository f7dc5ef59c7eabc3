"""Tell how often the tempo of made-up music, which is known, is found; how tempo and energy spread on real music.

    python benchmarks/bench_tempo.py [MUSIC]

Accuracy 1 is the share of tracks within 4 % of the truth; accuracy 2 counts a half, a third, twice and three times of
it as well (MIREX). A track of which no tempo is told is wrong in both. "its own" are tracks at the tempi of their
styles; "any" the same at tempi of 50 to 200 beats a minute, where it is often a matter of taste which octave is the
beat. For MUSIC, a folder of audio files, there is no truth: how many have a tempo, and the values below which so many
tracks are; and how many pairs of tracks have an energy within 0.05, which `similar` then gives as a reason.
"""

import argparse
import sys
from dataclasses import replace

from common import Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin.audio import DEFAULT_LISTENING, excerpts_of, hear
from soundkin.encoders.descriptors import Analysis, analyse, describe
from soundkin.scan import walk
from soundkin.synth import SynthTrack, plan, render

RATE = 22050
BANDS = ((50, 70), (70, 90), (90, 112), (112, 135), (135, 160), (160, 200))
LENGTHS = (12.0, 30.0, 75.0)
OCTAVES = (1, 2, 1 / 2, 3, 1 / 3)
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def made_up(count: int, seed: int) -> dict[str, list[SynthTrack]]:
    """Tracks at the tempi of their styles, and at any; `count` of each of the `LENGTHS`."""
    rng = np.random.default_rng(seed)
    tracks = [track for i, seconds in enumerate(LENGTHS) for track in plan(count, seconds, seed + i)]
    return {"its own": tracks, "any": [replace(t, bpm=round(50 * 4 ** rng.random(), 1)) for t in tracks]}


def told(track: SynthTrack) -> float:
    """Return the tempo told of a track; 0 for none."""
    excerpts = excerpts_of(render(track, RATE), RATE, DEFAULT_LISTENING)
    return analyse([describe(excerpt) for excerpt in excerpts]).bpm or 0.0


def accuracies(tempi: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, float]:
    """Accuracy 1 and 2."""
    ratio = tempi / truth
    right = [np.abs(ratio / octave - 1) < 0.04 for octave in OCTAVES]
    return float(right[0].mean()), float(np.any(right, axis=0).mean())


def judge(name: str, tracks: list[SynthTrack]) -> tuple[float, float, float]:
    """Print the accuracies by tempo; return those of all tracks, and accuracy 2 of those that were told one."""
    truth, tempi = np.array([t.bpm for t in tracks]), np.array([told(t) for t in tracks])
    rows = []
    for low, high in (*BANDS, (0, 1000)):
        among = (low <= truth) & (truth < high)
        if among.any():
            which = "all" if low == 0 else f"{low} to {high}"
            shares = *accuracies(tempi[among], truth[among]), float((tempi[among] == 0).mean())
            rows.append((which, int(among.sum()), *(f"{share:.2f}" for share in shares)))
    table((f"tempo, {name}", "tracks", "accuracy 1", "accuracy 2", "none told"), rows)
    return *accuracies(tempi, truth), accuracies(tempi[tempi > 0], truth[tempi > 0])[1]


def real(folder: str) -> list[Analysis]:
    """Hear the files of a folder."""
    out = []
    for path in walk([folder]).files:
        with hear(path, DEFAULT_LISTENING) as hearing:
            out.append(analyse([describe(excerpt) for excerpt in hearing.excerpts]))
    return out


def spread(found: list[Analysis]) -> None:
    """Print how tempo and energy are spread."""
    columns = {"tempo": [a.bpm for a in found], "energy": [a.energy for a in found]}
    rows = []
    for name, values in columns.items():
        known: NDArray[np.float64] = np.array([value for value in values if value is not None])
        rows.append(
            (name, f"{len(known)} of {len(found)}", *(f"{v:.2f}" for v in np.quantile(known, SHARES)))
        )
    table(("real music", "told", *(f"{share:.0%}" for share in SHARES)), rows)
    energies = np.array([a.energy for a in found if a.energy is not None])
    apart = np.abs(energies[:, None] - energies)[np.triu_indices(len(energies), 1)]
    print(f"{(apart <= 0.05).mean():.1%} of all pairs of tracks have the same energy within 0.05")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", nargs="?", help="folder of real music")
    parser.add_argument("-n", type=int, default=100, help="made-up tracks of each of three lengths")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    args = parser.parse_args()
    targets = Targets()
    least = {"its own": (0.7, 0.8), "any": (0.45, 0.8)}
    for name, tracks in made_up(args.n, args.seed).items():
        one, two, of_told = judge(name, tracks)
        targets.at_least(f"accuracy 1, {name}", one, least[name][0])
        targets.at_least(f"accuracy 2, {name}", two, least[name][1])
        targets.at_least(f"accuracy 2 of those told, {name}", of_told, 0.9)
    if args.music:
        spread(real(args.music))
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
