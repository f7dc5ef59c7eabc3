"""How much of what somebody likes is found again: a simulation of tastes on real music.

    soundkin index MUSIC --library LIBRARY
    python benchmarks/bench_taste.py LIBRARY

A made-up listener likes one, two or four albums or soundtracks (the folders of the library, those with 6 tracks or
more), each as likely as the other. Half of the tracks of each, drawn by lot, are known as likes; a fifth of all likes
are noise: tracks from anywhere else. What is to be found is the other half. Answers come from `Library.recommend`,
the whole of it, over all tracks that are not likes; without the rules of variety, which forbid what is counted here,
and once with them.

Popular is how many other listeners of the same kind like a track, where folders are liked as unequally as artists are
(Zipf). Recall is of all that was to be found, nDCG has binary gains. ± is the 95 % interval over listeners.

This says how well tastes that can be heard are kept apart and served. It says nothing about how people's tastes really
are, nor how satisfied anybody would be.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from common import Targets, table  # isort: skip - it pins threads before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin.library import Library
from soundkin.recommend import STRATEGIES, Variety
from soundkin.recommend.variety import FREE

K = 20
Places = NDArray[np.intp]


@dataclass
class Music:
    """Tracks: ids, and the folder of each by its number."""

    ids: list[str]
    folder: Places

    def large(self) -> Places:
        """Folders that can be divided."""
        return np.flatnonzero(np.bincount(self.folder) >= 6)


def listener(music: Music, tastes: int, rng: np.random.Generator) -> tuple[Places, Places]:
    """Make up likes and what is to be found."""
    liked = rng.choice(music.large(), tastes, replace=False)
    likes: list[int] = []
    wanted: list[int] = []
    for folder in liked:
        tracks = rng.permutation(np.flatnonzero(music.folder == folder))
        likes.extend(tracks[: len(tracks) // 2])
        wanted.extend(tracks[len(tracks) // 2 :])
    elsewhere = np.flatnonzero(~np.isin(music.folder, liked))
    noise = rng.choice(elsewhere, round(len(likes) / 4), replace=False)  # a fifth of them all
    return np.r_[likes, noise].astype(np.intp), np.array(wanted, np.intp)


def popularity(music: Music, rng: np.random.Generator, listeners: int = 500) -> NDArray[np.float64]:
    """Count the likes of other listeners."""
    folders = rng.permutation(music.large())
    chance = 1 / np.arange(1, len(folders) + 1)
    counts = np.zeros(len(music.ids))
    for _ in range(listeners):
        for folder in rng.choice(folders, 2, replace=False, p=chance / chance.sum()):
            tracks = rng.permutation(np.flatnonzero(music.folder == folder))
            counts[tracks[: len(tracks) // 2]] += 1
    return counts + rng.random(len(counts)) * 1e-3


def judge(answer: list[int], wanted: Places) -> tuple[float, float]:
    """Recall and nDCG of the first K."""
    right = np.isin(answer[:K], wanted)
    discount = 1 / np.log2(np.arange(K) + 2)
    return right.sum() / len(wanted), (right * discount[: len(right)]).sum() / discount[: len(wanted)].sum()


def rankers(
    library: Library, music: Music, rng: np.random.Generator
) -> dict[str, Callable[[Places], list[int]]]:
    """Name everything that answers: from likes to places, best first."""
    place = {id_: i for i, id_ in enumerate(music.ids)}
    tracks = {track.id: track for track in library.tracks()}
    popular = popularity(music, rng)

    def ask(strategy: str, rules: Variety) -> Callable[[Places], list[int]]:
        def answer(likes: Places) -> list[int]:
            seeds = [tracks[music.ids[i]] for i in likes]
            return [place[hit.id] for hit in library.recommend(seeds, k=K, strategy=strategy, variety=rules)]

        return answer

    def scored(scores: Callable[[], NDArray[np.float64]]) -> Callable[[Places], list[int]]:
        def answer(likes: Places) -> list[int]:
            values = scores().copy()
            values[likes] = -np.inf
            return np.argsort(-values).tolist()

        return answer

    named = {strategy: ask(strategy, FREE) for strategy in STRATEGIES}
    named["agreement, with variety"] = ask("agreement", Variety())
    named["popular"] = scored(lambda: popular)
    named["random"] = scored(lambda: rng.random(len(music.ids)))
    return named


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", help="folder of a library")
    parser.add_argument("--listeners", type=int, default=200, help="of each kind")
    parser.add_argument("--tastes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()

    targets = Targets()
    with Library.open(args.library) as library:
        ids, _ = library.vectors()
        paths = {track.id: os.path.dirname(track.path) for track in library.tracks()}
        music = Music(ids, np.unique([paths[i] for i in ids], return_inverse=True)[1])
        print(
            f"{len(ids)} tracks, {len(music.large())} folders of 6 or more, {args.listeners} listeners each\n"
        )
        rows: dict[str, list[object]] = {}
        for tastes in args.tastes:
            rng = np.random.default_rng((args.seed, tastes))
            named = rankers(library, music, rng)
            got: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
            for _ in range(args.listeners):
                likes, wanted = listener(music, tastes, rng)
                for name, answer in named.items():
                    got[name].append(judge(answer(likes), wanted))
            values = {name: np.array(pairs) for name, pairs in got.items()}
            for name, value in values.items():
                mean, error = value.mean(axis=0), 1.96 * value.std(axis=0) / np.sqrt(len(value))
                cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
                rows.setdefault(name, [name]).extend(cells)
            gain = values["agreement"][:, 1] - values["average"][:, 1]  # the same listeners: paired
            error = 1.96 * float(gain.std()) / np.sqrt(len(gain))
            word = "taste" if tastes == 1 else "tastes"
            name = f"nDCG, agreement - average, {tastes} {word}, least of the 95 % interval"
            targets.at_least(name, float(gain.mean()) - error, 0.0 if tastes == 1 else 0.02)
    heads = [
        f"{what}, {n} taste{'s' * (n > 1)}" for n in args.tastes for what in (f"recall@{K}", f"nDCG@{K}")
    ]
    table(("", *heads), list(rows.values()))
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
