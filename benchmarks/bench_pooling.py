"""How windows become a track: pooling, length and number of windows, on soundtracks the network has not heard.

    for k in 0 1 2; do python benchmarks/train_cnn.py MUSIC --cache CACHE --musicnn UNPACKED_WHEEL --fold $k; done
    python benchmarks/bench_pooling.py MUSIC --cache CACHE

Takes the convolutions that the first line trained and sets the last layer anew for each length of window (see
`soundkin.training.head`), as training does in the end. The columns are those of `bench_encoder.py`.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import bench_encoder
import numpy as np
import torch
from bench_encoder import Array, Scores, deal, mean, show, task, unit
from torch import Tensor
from torch.nn.functional import normalize
from train_cnn import checkpoint_of

from soundkin.features import FrontEnd
from soundkin.training.changes import cache_changed
from soundkin.training.data import Codes, Mels, cache_mels, sources_in, spread_windows
from soundkin.training.loop import Trainer, decibels, has_fast_bf16
from soundkin.training.network import Encoder
from soundkin.training.recipes import RECIPES

RECIPE = RECIPES["soundkin"]
LENGTHS = (65, 129, 257, 513)
COUNTS = (1, 3, 5, 10, 18, 24)
LENGTH, COUNT = 129, 10


def inner_half(parts: Array) -> Array:
    """Average the half of the windows nearest the mean."""
    near = np.argsort(-(parts @ parts.mean(0)), kind="stable")
    return parts[near[: max(1, len(parts) // 2)]].mean(0)


POOLINGS: dict[str, Callable[[Array], Array]] = {
    "mean": mean,
    "median": lambda w: np.median(w, axis=0),
    "maximum": lambda w: w.max(0),
    "mean of the 3 largest, each number for itself": lambda w: np.sort(w, axis=0)[-3:].mean(0),
    "the half of the windows nearest the mean": inner_half,
    "mean and maximum, 256 numbers": lambda w: np.concatenate([unit(w.mean(0)), unit(w.max(0))]),
    "mean and deviation, 256 numbers": lambda w: np.concatenate([unit(w.mean(0)), unit(w.std(0))]),
}


def features_of(encoder: Encoder, logmel: Tensor) -> Tensor:
    """Return what the last layer sees, as fast as the machine has it."""
    with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16("cpu")):
        return encoder.features(logmel).float()


@torch.no_grad()
def vectors_of(encoder: Encoder, mels: Mels, length: int, count: int) -> list[Array]:
    """Embed `count` windows of so many frames of each track."""
    each = (features_of(encoder, decibels(spread_windows(track, length, count))) for track in mels.tracks)
    return [normalize(encoder.dense(features)).numpy() for features in each]


class Fold:
    """A trained network, and the tracks it has and has not heard.

    Parameters
    ----------
    mels : Mels
        All tracks.
    unheard : sequence of int
        Tracks of the fold.
    checkpoint : Path
        Of the training without them.
    changed : sequence of (uint8 (3, windows, n_mels, frames) or None)
        Windows of all tracks as they are and changed, see `soundkin.training.changes`.
    """

    def __init__(
        self, mels: Mels, unheard: Sequence[int], checkpoint: Path, changed: Sequence[Codes | None]
    ) -> None:
        heard = sorted(set(range(len(mels))) - set(unheard))
        self._train, self._changed = mels.subset(heard), [changed[i] for i in heard]
        self.test = task(mels, unheard)
        self._state = torch.load(checkpoint, map_location="cpu", weights_only=True)["modules"][0]

    def set_last_layer(self, length: int) -> None:
        """Fit the dense layer to windows of so many frames."""
        trainer = Trainer(self._train, replace(RECIPE, frames=length), changed=self._changed)
        trainer.encoder.load_state_dict(self._state)
        self._encoder = trainer.finish()

    def windows(self, length: int, count: int) -> list[Array]:
        """Embed so many windows of so many frames of each test track."""
        return vectors_of(self._encoder, self.test, length, count)

    def scores(self, windows: Sequence[Array], pool: Callable[[Array], Array]) -> Scores:
        """Score track vectors; the halves are pooled in the same way."""
        return bench_encoder.scores(windows, self.test.albums, pool)


def main() -> None:
    """Pool, rank, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", type=Path, help="a folder with one folder per soundtrack")
    parser.add_argument("--cache", type=Path, required=True, help="of train_cnn.py")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of the training")
    parser.add_argument("--frames", type=int, nargs="*", default=LENGTHS, help="lengths of windows to try")
    args = parser.parse_args()
    mels = cache_mels(sources_in(args.music), args.cache, FrontEnd(), bench_encoder.SECONDS)
    changed = cache_changed(mels, args.cache, LENGTH)
    folds = [
        Fold(mels, unheard, checkpoint_of(args.cache, k, args.folds, 0, args.steps), changed)
        for k, unheard in enumerate(deal(mels.albums, args.folds))
    ]
    print(
        "| | " + " | ".join(bench_encoder.COLUMNS) + " |\n" + "|---" * (len(bench_encoder.COLUMNS) + 1) + "|"
    )
    for length in args.frames:
        for fold in folds:
            fold.set_last_layer(length)
        seconds = length * mels.front.hop / mels.front.rate
        rows = [fold.scores(fold.windows(length, COUNT), mean) for fold in folds]
        show(f"{COUNT} windows of {seconds:.1f} s, mean", rows)
    for fold in folds:
        fold.set_last_layer(LENGTH)
    for count in COUNTS:
        show(f"{count} windows, mean", [fold.scores(fold.windows(LENGTH, count), mean) for fold in folds])
    each = [fold.windows(LENGTH, COUNT) for fold in folds]
    for name, pool in POOLINGS.items():
        show(f"{COUNT} windows, {name}", [f.scores(w, pool) for f, w in zip(folds, each, strict=True)])


if __name__ == "__main__":
    main()
