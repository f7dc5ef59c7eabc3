"""Is sound and taste together better than either? On real plays, and on simulated listeners of real tracks.

    python benchmarks/bench_hybrid.py --hetrec DIR     real plays (HetRec 2011 Last.fm-2k), tags in place of sound
    python benchmarks/bench_hybrid.py --jamendo DIR    simulated listeners of MTG-Jamendo's tracks, with a control
    python benchmarks/bench_hybrid.py --size           time and memory of ALS, of one fused answer, and of a ranker

Neither data set is part of Soundkin. A simulation shows whether the pipeline is right, does not leak, and answers to
the signal that was put in; how good real recommendations are it cannot show.
"""

import argparse
import csv
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import Bystanders, Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin.evaluate import metrics
from soundkin.evaluate.splits import K, judge, learn_from
from soundkin.evaluate.tables import Table
from soundkin.taste import models
from soundkin.taste.cold import NOBODY, Guess, unit
from soundkin.taste.dividing import SPLITS, Divided, divide, hold_out
from soundkin.taste.fusing import Weights, fuse
from soundkin.taste.learning import Collection, Taste
from soundkin.taste.matrix import Plays
from soundkin.taste.ranker import FEATURES, Examples, fit
from soundkin.taste.serving import TasteOfOne
from soundkin.taste.training import Trained

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

_DIMS, _ASKING = 160, 250
BANDS = {"popularity": (0.10, 0.12), "cosine": (0.25, 0.27), "ease": (0.27, 0.29), "als": (0.26, 0.29)}
_TOGETHER = "sound and taste"
_FIGURES = (f"NDCG@{K}", f"recall@{K}", "novelty", "artists", "coverage")


def reduced(rows: Array, dims: int, seed: int = 0) -> Array:
    """Return rows, (n, d), along their leading directions, of unit length."""
    basis = (
        np.random.default_rng(seed)
        .standard_normal((rows.shape[1], min(dims, *rows.shape)))
        .astype(np.float32)
    )
    for _ in range(4):
        basis, _ = np.linalg.qr(rows.T @ (rows @ basis))
    return unit(rows @ basis)


def weighted_tags(items: Ints, tags: Ints, n: int) -> Array:
    """Return what tags say of n items, log count times inverse frequency."""
    counts = np.zeros((n, int(tags.max()) + 1), np.float32)
    np.add.at(counts, (items, tags), 1)
    frequency = (counts > 0).sum(axis=0)
    kept = frequency >= 3
    return np.asarray(np.log1p(counts[:, kept]) * np.log(n / frequency[kept]), np.float32)


# ---- real plays


@dataclass(frozen=True)
class Real:
    """HetRec, divided: a fifth of the plays hidden, and a tenth of the tagged artists held cold.

    Who asks tells no tags: those of the others stand for sound.
    """

    whole: Plays
    warm: NDArray[np.bool_]
    is_cold: NDArray[np.bool_]
    cold: NDArray[np.bool_]
    collection: Collection
    asking: Ints

    @property
    def known(self) -> Plays:
        """What is learned from."""
        return self.whole.only(~self.warm & ~self.is_cold)


def divided(folder: Path, seed: int) -> Real:
    """Read HetRec, and divide it."""
    plays = np.loadtxt(folder / "user_artists.dat", np.int64, skiprows=1)
    tagged = np.loadtxt(folder / "user_taggedartists.dat", np.int64, skiprows=1, usecols=(0, 1, 2))
    users, user = np.unique(plays[:, 0], return_inverse=True)
    artists, artist = np.unique(plays[:, 1], return_inverse=True)
    whole = Plays.of(user, artist, np.ones(len(user)), len(users), len(artists))
    tagged = tagged[np.isin(tagged[:, 1], artists)]
    rng = np.random.default_rng(seed)
    asking = np.sort(rng.permutation(len(users))[:_ASKING])
    others = tagged[~np.isin(tagged[:, 0], users[asking])]
    place = np.searchsorted(artists, others[:, 1])
    tags = np.unique(others[:, 2], return_inverse=True)[1]
    sound = reduced(weighted_tags(place, tags, len(artists)), _DIMS, seed)
    heard = np.flatnonzero(sound.any(axis=1))
    cold = np.zeros(len(artists), bool)
    cold[rng.permutation(heard)[: len(heard) // 10]] = True
    is_cold = cold[whole.items]
    nobody = np.full(len(artists), NOBODY)
    return Real(
        whole, hold_out(whole, seed) & ~is_cold, is_cold, cold, Collection(sound, nobody, nobody), asking
    )


def joint(real: Real, before: tuple[Taste, dict[str, Any]], seed: int) -> list[Table]:
    """Judge all ways to answer, on artists that others play and on cold ones."""
    cold, warm = real.cold, real.warm
    sides = {"warm": Divided(warm, real.is_cold, ~cold), "cold artists": Divided(real.is_cold, warm, cold)}
    return [
        judge(real.whole, side, real.collection, name, seed, "", real.asking, before=before)
        for name, side in sides.items()
    ]


def hetrec(folder: Path, seeds: Sequence[int], targets: Targets) -> None:
    """Judge on HetRec."""
    alone, both = [], []
    for seed in seeds:
        real = divided(folder, seed)
        alone.append(by_model(real.known, real.whole.only(real.warm), ~real.cold))
        both.append(joint(real, learn_from(real.known, real.collection, "ease", seed), seed))
    show_real(alone, both, targets)


def show_real(alone: list[dict[str, tuple[float, float]]], both: list[list[Table]], targets: Targets) -> None:
    """Print what was found for several seeds."""
    print(
        f"HetRec Last.fm-2k, all people, artists that are not cold; mean and deviation of {len(alone)} seeds"
    )
    rows = []
    for name, (low, high) in BANDS.items():
        recall, ndcg = np.array([one[name] for one in alone]).T
        rows.append([name, *(f"{each.mean():.3f} ± {each.std():.3f}" for each in (recall, ndcg))])
        targets.at_least(f"recall@20 by {name}", float(recall.mean()), low)
        targets.at_most(f"recall@20 by {name}", float(recall.mean()), high)
    table(("by", "recall@20", "nDCG@20"), rows)
    print(f"with tags of those who do not ask in place of sound, {_ASKING} people ask\n")
    _print(["warm", "cold artists"], list(zip(*both, strict=True)), targets)


def by_model(known: Plays, wanted: Plays, ranked: NDArray[np.bool_]) -> dict[str, tuple[float, float]]:
    """Return recall and nDCG of the models, without sound."""
    out = {}
    popular = known.listeners.astype(np.float32)
    for name in BANDS:
        model = None if name == "popularity" else models.fit(known, name)
        found = []
        for row in np.flatnonzero((known.sizes > 0) & (wanted.sizes > 0)).tolist():
            items, weights = known.row(row)
            open_ = ranked.copy()
            open_[items] = False
            gains = np.isin(np.arange(known.width), wanted.row(row)[0])
            scores = popular if model is None else model.scores(items, weights)
            ranks = metrics.rank(scores[open_], gains[open_])
            found.append((metrics.recall(ranks, K)[0], metrics.ndcg(ranks, K)[0]))
        recall, ndcg = np.mean(found, axis=0)
        out[name] = float(recall), float(ndcg)
    return out


def _print(titles: Sequence[str], columns: Sequence[Sequence[Table]], targets: Targets) -> None:
    """Print what each way to answer reaches, and the targets: together never worse than the better part.

    Intervals are of 95 %: those over people, of which the tables of several seeds are independent draws.
    """
    for title, tables in zip(titles, columns, strict=True):
        found = {row.system: _over_seeds(tables, row.system) for row in tables[0].rows}
        print(f"{title}: {sum(one.questions for one in tables)} questions of {len(tables)} seeds")
        rows = [
            [
                name,
                *(f"{one[figure][0]:.3f} ± {one[figure][1]:.3f}" for figure in _FIGURES[:2]),
                *(one[figure][0] for figure in _FIGURES[2:]),
            ]
            for name, one in found.items()
        ]
        table(("by", *_FIGURES), rows)
        ndcg = {name: one[_FIGURES[0]] for name, one in found.items()}
        together, width = ndcg[_TOGETHER]
        best = max(ndcg[name][0] for name in ("sound", "taste", "taste, guessed"))
        targets.at_least(f"together less the better part, {title}", together - best, -width)
        if "cold" in title and "rho 0 cold artist" not in title:
            worse = max(ndcg[name][0] for name in ("taste", "popularity"))
            targets.at_least(f"together less popularity and taste alone, {title}", together - worse, width)
        if "ranker" in ndcg:
            gains = [
                next(row.difference or 0 for row in one.rows if row.system == "ranker") for one in tables
            ]
            wins = sum(
                (row.difference or 0) > 0 and (row.p or 1) < 0.05
                for one in tables
                for row in one.rows
                if row.system == "ranker"
            )
            print(
                f"ranker less the score, {title}: {np.mean(gains):+.3f} nDCG, better beyond noise in {wins} of "
                f"{len(tables)} seeds\n"
            )


def _over_seeds(tables: Sequence[Table], system: str) -> dict[str, tuple[float, float]]:
    """Return the mean of each figure over seeds, and half the width of its interval."""
    out = {}
    rows = [next(row for row in one.rows if row.system == system) for one in tables]
    for figure in _FIGURES:
        each = [row.figures[figure] for row in rows]
        mean = float(np.mean([one.mean or 0 for one in each]))
        width = float(np.mean([(one.high or 0) - (one.low or 0) for one in each]))
        out[figure] = mean, width / 2 / float(np.sqrt(len(rows)))
    return out


# ---- simulated listeners


def tracks_of(folder: Path, artists: int, seed: int) -> tuple[Array, Ints]:
    """Return tag vectors, of unit length, and artists of some of Jamendo's tracks."""
    rows: dict[str, tuple[str, set[str]]] = {}
    for file in sorted(folder.glob("autotagging_*.tsv")):
        with file.open(encoding="utf-8") as lines:
            for row in csv.reader(lines, delimiter="\t"):
                if row[0] != "TRACK_ID":
                    rows.setdefault(row[0], (row[1], set()))[1].update(row[5:])
    names = sorted({artist for artist, _ in rows.values()})
    chosen = set(np.random.default_rng(seed).permutation(names)[:artists].tolist())
    kept = [row for _, row in sorted(rows.items()) if row[0] in chosen]
    tags = {tag: i for i, tag in enumerate(sorted({tag for _, own in kept for tag in own}))}
    pairs = np.array([(i, tags[tag]) for i, (_, own) in enumerate(kept) for tag in sorted(own)])
    number = {name: i for i, name in enumerate(sorted(chosen))}
    vectors = reduced(weighted_tags(pairs[:, 0], pairs[:, 1], len(kept)), 32, seed)
    return vectors, np.array([number[artist] for artist, _ in kept])


def listened(audible: Array, artists: Ints, rho: float, people: int, seed: int) -> Plays:
    """Let people listen: each has one to four tastes, of which rho can be heard and the rest is of scenes.

    This imports nothing of what recommends: it only knows the tracks.
    """
    rng = np.random.default_rng(seed)
    scene = unit(rng.standard_normal((artists.max() + 1, 16)))[artists]  # cannot be heard
    known = rng.lognormal(0, 1, artists.max() + 1)[artists] * rng.lognormal(0, 1, len(artists))
    known /= known.sum()
    rows, items = [], []
    for person in range(people):
        modes = rng.choice(len(artists), rng.integers(1, 5), p=known)
        met = np.unique(rng.choice(len(artists), 1500, p=known))
        alike = rho * audible[met] @ audible[modes].T + (1 - rho) * scene[met] @ scene[modes].T
        chance = np.exp(8 * alike.max(axis=1))
        chance = 0.9 * chance / chance.sum() + 0.1 / len(met)
        n = min(len(met), max(5, int(rng.lognormal(3, 0.6))))
        chosen = rng.choice(met, n, replace=False, p=chance)
        rows.append(np.full(n, person))
        items.append(chosen)
    every = np.concatenate(items)
    return Plays.of(np.concatenate(rows), every, np.ones(len(every)), people, len(artists))


def simulated(
    folder: Path, rho: float, artists: int, people: int, seed: int
) -> tuple[dict[str, int], list[Table]]:
    """Judge simulated listeners; say of how many tracks and plays, and what was found on each split."""
    audible, artist = tracks_of(folder, artists, seed)
    rng = np.random.default_rng(seed + 1000)
    # what the recommender hears is another view of the tags, with noise of its own for each track
    heard = audible @ rng.standard_normal((audible.shape[1], 48)).astype(np.float32)
    heard = unit(unit(heard) + 0.6 * unit(rng.standard_normal(heard.shape)))
    plays = listened(audible, artist, rho, people, seed)
    collection = Collection(heard, artist, np.full(len(artist), NOBODY))
    # people come one after the other, and listen from then on
    began = rng.random(people)[plays.rows]
    latest = began + (1 - began) * rng.random(len(plays.items))
    tables = []
    for split in SPLITS:
        parted = divide(plays, latest, artist, split, seed)
        tables.append(judge(plays, parted, collection, split, seed, "als", latest=latest))
    return {"tracks": len(artist), "plays": len(plays.items)}, tables


def jamendo(
    folder: Path, rhos: Sequence[float], artists: int, people: int, seeds: Sequence[int], targets: Targets
) -> None:
    """Judge simulated listeners, for what share of their taste can be heard: none is the negative control."""
    for rho in rhos:
        found = [simulated(folder, rho, artists, people, seed) for seed in seeds]
        show_simulated(rho, artists, people, found, targets)


def show_simulated(
    rho: float, artists: int, people: int, found: list[tuple[dict[str, int], list[Table]]], targets: Targets
) -> None:
    """Print what was found for several seeds."""
    told = ", ".join(f"{counts['tracks']} real tracks and {counts['plays']} plays" for counts, _ in found)
    print(f"simulation, rho = {rho:g}: {people} made-up people, {artists} artists; by seed {told}\n")
    columns = list(zip(*(tables for _, tables in found), strict=True))
    _print([f"rho {rho:g} {name}" for name in ("later", "cold track", "cold artist")], columns, targets)
    sound, chance = (
        [next(row.figures[f"NDCG@{K}"] for row in one.rows if row.system == name) for one in columns[2]]
        for name in ("sound", "random")
    )
    gain = float(np.mean([(a.mean or 0) - (b.mean or 0) for a, b in zip(sound, chance, strict=True)]))
    if rho == 0:
        targets.at_most("sound less chance on cold artists, where taste cannot be heard", gain, 0.03)
    if rho == 1:
        targets.at_least("sound less chance on cold artists, where all of it can", gain, 0.05)


# ---- size


def size(people: int, tracks: int, entries: int, targets: Targets) -> None:
    """Fit ALS, and weigh 500 candidates for one person, without and with a ranker."""
    rng = np.random.default_rng(0)
    popular = 1 / np.arange(1, tracks + 1) ** 0.8
    items = rng.choice(tracks, entries, p=popular / popular.sum())
    plays = Plays.of(rng.integers(0, people, entries), items, np.ones(entries), people, tracks)
    others, before, began = Bystanders(), time.process_time(), time.perf_counter()
    model = models.fit(plays, "als")
    wall, used, busy = time.perf_counter() - began, time.process_time() - before, others.cores()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"ALS of {people} x {tracks}, {len(plays.items)} pairs, one thread: {wall:.1f} s, {used:.1f} CPU s, "
        f"{memory:.2f} GB; others kept {busy:.1f} cores busy\n"
    )
    targets.at_most("ALS, seconds", wall, 120, " s")
    targets.at_most("ALS, memory", memory, 2, " GB")
    guess = Guess(unit(model.arrays["factors"]), np.ones(tracks, np.float32), 0.5, 0.5)
    taste = Taste(model, guess, plays.listeners, Weights(0.7, 0.1, 0.1))
    own, weights = plays.row(0)
    artists = rng.integers(0, 2000, tracks)
    silent = np.zeros(tracks, np.float32)
    every = _milliseconds(lambda: fuse(taste.parts(silent, own, weights, artists), taste.weights))
    targets.at_most(f"parts and score of all {tracks} tracks for one person, median", every, 10, " ms")
    ranker = fit(_invented(rng))
    print(f"a ranker of {len(ranker.roots)} trees, {len(ranker.feature)} nodes\n")
    numbers = rng.permutation(tracks)[:500].tolist()
    scores = rng.random(len(numbers))
    played = dict(zip(own.tolist(), weights.tolist(), strict=True))
    spent = {}
    for name, one in (("without", taste), ("with", replace(taste, ranker=ranker))):
        trained = Trained(np.arange(tracks, dtype=np.uint64), artists, one, {})
        asks = TasteOfOne(trained, played, (0.0, 1.0), (0.0, 1.0), str)
        spent[name] = _milliseconds(lambda asks=asks: asks.fuse(numbers, scores, scores))  # type: ignore[misc]
    print(f"500 candidates of one person: {spent['without']:.2f} ms, with a ranker {spent['with']:.2f} ms\n")
    targets.at_most("what a ranker adds", spent["with"] - spent["without"], 10, " ms")


def _milliseconds(work: Callable[[], object]) -> float:
    """Return the median CPU time."""
    spent = []
    for _ in range(20):
        before = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - before))
    return float(np.median(spent))


def _invented(rng: np.random.Generator) -> Examples:
    """Return candidates of 300 people that are right where two features are on different sides."""
    rows = rng.standard_normal((30_000, len(FEATURES))).astype(np.float32)
    return Examples(rows, (rows[:, 0] > 0) ^ (rows[:, 1] > 0.5), np.full(300, 100))


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hetrec", type=Path)
    parser.add_argument("--jamendo", type=Path)
    parser.add_argument("--size", type=int, nargs="*", help="people, tracks, plays")
    parser.add_argument("--artists", type=int, default=300, help="of the simulation")
    parser.add_argument("--people", type=int, default=2000, help="of the simulation")
    parser.add_argument("--rho", type=float, nargs="*", default=[0.0, 0.5, 1.0], help="of the simulation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    asked = parser.parse_args()
    targets = Targets()
    if asked.size is not None:
        people, tracks, entries = asked.size or (50_000, 20_000, 5_800_000)
        size(people, tracks, entries, targets)
    if asked.hetrec:
        hetrec(asked.hetrec, range(asked.seeds), targets)
    if asked.jamendo:
        jamendo(asked.jamendo, asked.rho, asked.artists, asked.people, range(asked.seeds), targets)
    return targets.finish(asked.check)


if __name__ == "__main__":
    raise SystemExit(main())
