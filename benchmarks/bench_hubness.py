"""Hubs and orphans among the answers of a library, before and after their correction, and what it does to the answers.

    soundkin index MUSIC --library LIBRARY
    python benchmarks/bench_hubness.py LIBRARY

Every track asks for its 10 nearest. N10 is how often each track is an answer; its skewness is what hubness is
measured by (Radovanovic et al., JMLR 11, 2010), an orphan is in nobody's answer. Precision is the share of answers
from the same folder as the question, which for soundtracks is the same soundtrack. "pool" is how many nearest tracks
by cosine are re-ordered: what `similar` does. The correction is the one it applies.

The skewness of a few hundred numbers is uncertain to a tenth and more. So it is also told as a mean over libraries of
two thirds of the tracks, drawn by lot, as orphans are; and of precision the 95 % interval over tracks. ``--others``
adds the corrections that were not taken, at several strengths.
"""

import argparse
import os
import sys
from collections.abc import Callable

from common import Targets  # isort: skip - it pins threads before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin.library import Library
from soundkin.recommend.closeness import Closeness, log_tail

Floats = NDArray[np.floating]
K = 10


def figures(scores: Floats, folder: NDArray[np.intp]) -> tuple[float, int, float, float, float]:
    """Skewness of N10, its largest value, share of orphans, precision at 10 and at 1; scores are (n, n)."""
    scores = scores.copy()
    np.fill_diagonal(scores, -np.inf)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    times = np.bincount(top.ravel(), minlength=len(scores))
    skewness = float((((times - times.mean()) / times.std()) ** 3).mean())
    right = folder[top] == folder[:, None]
    return (
        skewness,
        int(times.max()),
        float((times == 0).mean()),
        float(right.mean()),
        float(right[:, 0].mean()),
    )


def pooled(evidence: Floats, cosines: Floats, size: int) -> Floats:
    """Keep the evidence of the nearest tracks by cosine alone."""
    out = np.full_like(evidence, -np.inf)
    order = np.argsort(-cosines, axis=1)[:, : size + 1]  # the track itself is among them
    np.put_along_axis(out, order, np.take_along_axis(evidence, order, axis=1), axis=1)
    return out


def drawn(rows: NDArray[np.float32], folder: NDArray[np.intp], times: int, seed: int) -> Floats:
    """Figures of libraries of two thirds of the tracks: (before and after, times, 5)."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(times):
        some = np.sort(rng.choice(len(rows), 2 * len(rows) // 3, replace=False))
        evidence = Closeness.of(rows[some]).evidence(rows[some], rows[some])
        both = rows[some] @ rows[some].T, evidence
        out.append([figures(scores, folder[some]) for scores in both])
    return np.array(out).transpose(1, 0, 2)


def others(rows: NDArray[np.float32]) -> dict[str, Callable[[Floats], Floats]]:
    """Corrections of the cosines of tracks with each other, (n, n), that are not used.

    NICDM and LS are of Schnitzer et al. (JMLR 13, 2012), CSLS of Conneau et al. (ICLR 2018).
    """

    def nearest(cosines: Floats, k: int) -> Floats:
        alone = cosines - 2 * np.eye(len(cosines))
        return -np.sort(-alone, axis=1)[:, :k]

    def csls(k: int) -> Callable[[Floats], Floats]:
        return lambda s: 2 * s - nearest(s, k).mean(axis=1) - nearest(s, k).mean(axis=1)[:, None]

    def nicdm(k: int) -> Callable[[Floats], Floats]:
        return lambda s: (s - 1) / np.sqrt(np.multiply.outer(*2 * [1 - nearest(s, k).mean(axis=1)]))

    def local(k: int) -> Callable[[Floats], Floats]:
        return lambda s: -np.square(1 - s) / np.multiply.outer(*2 * [1 - nearest(s, k)[:, -1]])

    def normal(drawn: float) -> Callable[[Floats], Floats]:
        def apply(s: Floats) -> Floats:
            own = np.where(np.eye(len(s), dtype=bool), np.nan, s)
            mean, variance = np.nanmean(own, axis=1), np.nanvar(own, axis=1)
            mean = (1 - drawn) * mean + drawn * mean.mean()
            deviation = np.sqrt((1 - drawn) * variance + drawn * np.nanvar(own))
            tail = log_tail((s - mean[:, None]) / deviation[:, None]).astype(np.float64)
            return np.asarray(-np.log(np.exp(tail) + np.exp(tail.T) - np.exp(tail + tail.T)))

        return apply

    def ranks(s: Floats) -> Floats:
        share = np.argsort(np.argsort(s, axis=1), axis=1) / (len(s) - 1)
        return np.asarray(share * share.T)

    def centred(s: Floats) -> Floats:
        away = rows - rows.mean(axis=0)
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        return np.asarray(away @ away.T)

    tried = {f"CSLS, k = {k}": csls(k) for k in (5, 10, 20, 50, 100)}
    tried |= {f"NICDM, k = {k}": nicdm(k) for k in (5, 10, 20, 50)}
    tried |= {f"local scaling, k = {k}": local(k) for k in (5, 10, 20, 50)}
    tried |= {f"mutual proximity, all cosines, {drawn:.0%} drawn": normal(drawn) for drawn in (0, 0.25)}
    return {**tried, "mutual proximity, by ranks": ranks, "the mean vector taken out": centred}


def precisions(scores: Floats, folder: NDArray[np.intp]) -> Floats:
    """Precision at 10 of each track."""
    scores = scores.copy()
    np.fill_diagonal(scores, -np.inf)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return np.asarray((folder[top] == folder[:, None]).mean(axis=1))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", help="folder of a library")
    parser.add_argument("--space", help="a space, or the encoder that made it")
    parser.add_argument("--pools", type=int, nargs="*", default=[20, 50, 100])
    parser.add_argument("--others", action="store_true", help="also try the corrections that are not used")
    parser.add_argument("--draws", type=int, default=40, help="libraries of two thirds of the tracks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()

    with Library.open(args.library) as library:
        space = library.space(args.space)
        ids, rows = library.vectors(space.id)
        paths = {track.id: track.path for track in library.tracks()}
        usual = library.closeness(space)
    folders = [os.path.dirname(paths[i]) for i in ids]
    folder = np.unique(folders, return_inverse=True)[1]
    cosines = rows @ rows.T
    evidence = usual.evidence(rows, rows)
    sampled = Closeness.of(rows[: len(rows) // 2], len(rows)).evidence(rows, rows)
    table = {"cosine": figures(cosines, folder), "corrected": figures(evidence, folder)}
    for size in args.pools:
        table[f"corrected, pool of {size}"] = figures(pooled(evidence, cosines, size), folder)
    table["corrected, learned from half"] = figures(sampled, folder)
    if args.others:
        table |= {name: figures(correct(cosines), folder) for name, correct in others(rows).items()}
    print(f"{len(rows)} tracks in {folder.max() + 1} folders, space {space.id}\n")
    print("|  | skewness of N10 | largest N10 | orphans | P@10 | P@1 |\n|---|---|---|---|---|---|")
    for name, (skew, most, orphans, p10, p1) in table.items():
        print(f"| {name} | {skew:.2f} | {most} | {100 * orphans:.1f} % | {p10:.4f} | {p1:.4f} |")
    before, after = drawn(rows, folder, args.draws, args.seed)
    for name, many in (("cosine", before), ("corrected", after)):
        skew, most, orphans, p10, p1 = many.mean(axis=0)
        print(
            f"| two thirds, {name} | {skew:.2f} ± {many[:, 0].std():.2f} | {most:.0f} | {100 * orphans:.1f} % "
            f"| {p10:.4f} | {p1:.4f} |"
        )
    gain = precisions(evidence, folder) - precisions(cosines, folder)
    error = 1.96 * float(gain.std()) / np.sqrt(len(gain))
    targets = Targets()
    targets.at_most("skewness of N10, after / before", table["corrected"][0] / table["cosine"][0], 0.5)
    skews = after[:, 0].mean() / before[:, 0].mean()
    targets.at_most("skewness of N10, two thirds, after / before", float(skews), 0.5)
    targets.at_least("P@10, after - before", float(gain.mean()), 0.0)
    targets.at_least("P@10, after - before, most of the 95 % interval", float(gain.mean()) + error, 0.0)
    orphans = after[:, 2].mean() - before[:, 2].mean() / 2
    targets.at_most("orphans, after - half of before, two thirds", float(orphans), 0.0)
    print()
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
