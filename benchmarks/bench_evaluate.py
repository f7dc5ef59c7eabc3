"""What an evaluation costs, and whether its metrics are those of trec_eval and scikit-learn.

A library of made vectors: albums of 10 tracks, artists of 3 albums, genres of some artists; a vector is a little like
its genre's, artist's and album's. All protocols that need no audio are run as the command runs them: every track asks,
with all baselines.

Then random questions, a third of them with ties, some with no answer given: the largest difference of any metric from
trec_eval (from its mean over orders where there are ties) and from scikit-learn.
"""

import argparse
import itertools
import resource
import tempfile
import time
from pathlib import Path

from common import Bystanders, Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Embedded, FileState, Space
from soundkin.encoders import unit
from soundkin.encoders.descriptors import Analysis
from soundkin.evaluate import Options, evaluate, metrics
from soundkin.library import Library
from soundkin.record import Record
from soundkin.tags import Tags

DIMS = 128
MADE = Space("made", "w", "f", 3.0, 3.0, "8x3.0s", "mean", DIMS)
K = 5


def make(folder: Path, n: int, windows: int, per_genre: int = 360, seed: int = 0) -> None:
    """Write a library of n tracks."""
    rng = np.random.default_rng(seed)
    albums, artists, genres = n // 10 + 1, n // 30 + 1, n // per_genre + 1
    parts = [rng.standard_normal((count, DIMS)).astype(np.float32) for count in (albums, artists, genres)]
    with Record.open(folder, write=True) as record, record.batch(5000, 60):
        record.add_space(MADE)
        for i in range(n):
            album, artist, genre = i // 10, i // 30, i // per_genre
            centre = 0.5 * parts[0][album] + 0.5 * parts[1][artist] + 0.5 * parts[2][genre]
            heard = centre + rng.standard_normal((windows, DIMS)).astype(np.float32)
            tags = Tags(f"{i}", f"Artist {artist}", f"Album {album}", genres=(f"Genre {genre}",))
            file = FileState(f"/music/{album}/{i}.flac", 1, 1)
            done = Embedded(file, f"{i:032x}", 100.0, 44100, 2, "flac", tags, Analysis())
            done.vectors[MADE.id] = unit(heard.mean(axis=0))
            done.windows[MADE.id] = np.arange(windows, dtype=np.float32) * 10, heard
            record.put(done)


def differences(count: int, seed: int = 0) -> tuple[float, float, int]:
    """Return the largest difference from trec_eval and from scikit-learn, and on how many questions."""
    import pytrec_eval
    from sklearn.metrics import ndcg_score

    names = {
        f"P.{K}",
        f"recall.{K}",
        "map",
        f"map_cut.{K}",
        f"ndcg_cut.{K}",
        "Rprec",
        "recip_rank",
        f"success.{K}",
    }
    judge = pytrec_eval.RelevanceEvaluator
    rng, trec, scikit = np.random.default_rng(seed), 0.0, 0.0
    for number in range(count):
        tied = number % 3 == 0
        n = int(rng.integers(1, 6 if tied else 40))
        gain = rng.integers(0, 4, n) * (rng.random(n) < 0.5)
        gain[rng.integers(n)] = 1
        score = rng.integers(0, 3, n).astype(float) if tied else rng.permutation(n).astype(float)
        score[rng.random(n) < rng.choice([0.0, 0.2, 0.9])] = -np.inf
        orders = np.array(list(itertools.permutations(range(n)))) / 100 if tied else np.zeros((1, n))
        runs = {
            f"{i}": {f"d{j}": float(s) for j, s in enumerate(score + order) if s > -np.inf}
            for i, order in enumerate(orders)
        }
        qrels = {name: {f"d{j}": int(g) for j, g in enumerate(gain)} for name in runs}
        found = judge(qrels, names).evaluate(runs)
        for name, value in ours(score, gain).items():
            wanted = np.mean([found[run][name] if run in found else 0.0 for run in runs])
            trec = max(trec, abs(float(wanted) - value))
        if n > 1 and np.isfinite(score).all():
            scikit = max(scikit, abs(ndcg_score([gain], [score], k=K) - ours(score, gain)[f"ndcg_cut_{K}"]))
    return trec, scikit, count


def ours(score: NDArray[np.float64], gain: NDArray[np.int64]) -> dict[str, float]:
    """Return our metrics of one question under the names of trec_eval."""
    ranks = metrics.rank(score, gain)
    found = {
        f"P_{K}": metrics.precision(ranks, K),
        f"recall_{K}": metrics.recall(ranks, K),
        "map": metrics.average_precision(ranks),
        f"map_cut_{K}": metrics.average_precision(ranks, K),
        f"ndcg_cut_{K}": metrics.ndcg(ranks, K),
        "Rprec": metrics.r_precision(ranks),
        "recip_rank": metrics.reciprocal_rank(ranks),
        f"success_{K}": metrics.hit_rate(ranks, K),
    }
    return {name: float(value[0]) for name, value in found.items()}


def main() -> int:
    """Make, evaluate, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=int, default=10_000)
    parser.add_argument("--windows", type=int, default=8, help="of each track")
    parser.add_argument("--genre", type=int, default=360, help="tracks of each genre")
    parser.add_argument("--protocol", action="append", help="only these (default: all)")
    parser.add_argument("--questions", type=int, default=10_000, help="to compare with the references")
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    targets = Targets()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), args.tracks, args.windows, args.genre)
        rows, wall, cpu, others = [], 0.0, 0.0, Bystanders()
        for name in args.protocol or Options().protocols:
            begin, used = time.monotonic(), time.process_time()
            with Library.open(folder) as library:
                poolings = ("mean",) if name == "same-track" else ()
                (found,) = evaluate(library, Options((name,), poolings=poolings))
            seconds = time.monotonic() - begin, time.process_time() - used
            wall, cpu = wall + seconds[0], cpu + seconds[1]
            figure = found.rows[0].figures[found.headline].mean if found.rows else None
            rows.append([name, found.questions, f"{found.headline} {figure}", *(f"{s:.1f}" for s in seconds)])
    print(f"{args.tracks} tracks x {DIMS}, each protocol with all baselines\n")
    table(("protocol", "questions", "made", "wall s", "CPU s"), rows)
    print(f"cores busy with others: {others.cores():.2f}\n")
    most = 20 if args.tracks <= 10_000 else 600  # one core would do
    targets.at_most(f"all protocols, CPU seconds ({wall:.0f} s wall)", cpu, most, " s")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    targets.at_most("memory", memory, 4, " GB")
    trec, scikit, count = differences(args.questions)
    targets.at_most(f"largest difference from trec_eval, {count} questions", trec, 1e-9)
    targets.at_most("largest difference from scikit-learn", scikit, 1e-9)
    return targets.finish(args.check)


if __name__ == "__main__":
    raise SystemExit(main())
