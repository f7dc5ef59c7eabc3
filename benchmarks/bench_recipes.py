"""What each part of the `soundkin` recipe is worth: variants of it, equally long trained, on music they have not heard.

    python benchmarks/bench_recipes.py MUSIC --cache CACHE [VARIANT ...] [--folds 3] [--only 0 1] [--steps 100]

So that many can be tried, all see half as many tracks a batch and crops half as long as the recipe; the last layer
is set by the recipe's discriminants, without what mp3 does, from 5 windows a track. So lines are to be compared with
each other only. The columns are those of `bench_encoder.py`.
"""

import argparse
import copy
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bench_encoder
import numpy as np
import torch
from bench_encoder import Scores, deal, show, task
from bench_pooling import features_of, vectors_of
from torch import Tensor, nn
from torch.nn import functional

from soundkin.features import FrontEnd
from soundkin.training.augment import augmented
from soundkin.training.data import Codes, Mels, cache_mels, sources_in, spread_starts, spread_windows
from soundkin.training.head import discriminants
from soundkin.training.loop import Batch, Trainer, decibels, learning_rate
from soundkin.training.network import Encoder
from soundkin.training.recipes import RECIPES, Augment, Recipe
from soundkin.training.teacher import Teacher

BASE = replace(RECIPES["soundkin"], batch=64, frames=65)
WINDOWS, HEAD_WINDOWS = 10, 5
FRAMES = 129
_FAR_BELOW = -1e9
_KEPT = 0.99
_BETA = 0.25


class AlbumsAttract(Trainer):
    """Tracks of one album are positives too, with a weight (Khosla et al., 2020)."""

    weight = 0.3

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Add what the albums ask of the batch to what its pairs of crops ask."""
        z, kin = self._projected(features), batch.kin
        assert kin is not None
        same = (kin & ~torch.eye(len(kin), dtype=torch.bool)).repeat(2, 2)
        logits = z @ z.T / self.recipe.temperature
        logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool), _FAR_BELOW)
        chance = (functional.log_softmax(logits, 1) * same).sum(1) / same.sum(1).clamp(min=1)
        return super().loss(features, batch) - self.weight * chance.sum() / same.any(1).sum().clamp(min=1)

    def _projected(self, features: Tensor) -> Tensor:
        assert self.projector is not None
        return functional.normalize(self.projector(self.encoder.dense(features)), dim=1)


class AlbumsAttractMore(AlbumsAttract):
    """The same, as strongly as the other crop of the track."""

    weight = 1.0


class HardStrangers(AlbumsAttract):
    """Strangers weigh the more, the nearer they are (Robinson et al., 2021, with beta 1/4)."""

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Return NT-Xent with weighted strangers."""
        z = self._projected(features)
        n, cosines = len(z) // 2, z @ z.T
        logits = cosines / self.recipe.temperature
        partner = torch.arange(2 * n).roll(n)
        hidden = torch.eye(2 * n, dtype=torch.bool)
        if batch.kin is not None:
            hidden = hidden | (batch.kin & ~torch.eye(n, dtype=torch.bool)).repeat(2, 2)
        strangers = ~hidden
        strangers[torch.arange(2 * n), partner] = False
        tilt = (logits.detach() * _BETA).masked_fill(~strangers, _FAR_BELOW)
        weight = torch.log_softmax(tilt, 1) + strangers.sum(1, keepdim=True).log()
        logits = torch.where(strangers, logits + weight, logits).masked_fill(hidden, _FAR_BELOW)
        return functional.cross_entropy(logits, partner)


class MovingAverage(Trainer):
    """A moving average of the network says what the other crop should become."""

    def __init__(self, mels: Mels, recipe: Recipe, seed: int = 0, **how: Any) -> None:
        super().__init__(mels, recipe, seed, **how)
        assert self.projector is not None
        self.fast = (self.encoder, self.projector)
        self.slow = copy.deepcopy(self.fast)
        self.seen: list[Tensor] = []
        self.predictor = nn.Sequential(
            nn.Linear(recipe.dims, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, recipe.dims)
        )
        self.optimiser.add_param_group({"params": list(self.predictor.parameters())})

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """Return what the average says of both views, unit vectors (2n, dims); move it a little first."""
        for slow, fast in zip(self.slow, self.fast, strict=True):
            for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                a.lerp_(b, 1 - _KEPT)
        encoder, projector = self.slow
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder.features(torch.cat([batch.first, batch.second])).float()
        target: Tensor = projector(encoder.dense(features))
        return functional.normalize(target, dim=1)

    def projected(self, features: Tensor) -> Tensor:
        """Return what the network itself says, any norm."""
        assert self.projector is not None
        z: Tensor = self.projector(self.encoder.dense(features))
        return z


class Byol(MovingAverage):
    """Nobody is pushed away: each view foretells the average's other view (Grill et al., 2020)."""

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Return twice the mean of one minus the cosine."""
        n, target = len(batch.first), self.targets(batch)
        foretold = functional.normalize(self.predictor(self.projected(features)), dim=1)
        return 2 - 2 * (foretold * target.roll(n, 0)).sum(1).mean()


class Queue(MovingAverage):
    """Strangers are the average's views of the last 1,024 tracks as well (He et al., 2020)."""

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Return InfoNCE against the average's views of this batch and of earlier ones."""
        n, target = len(batch.first), self.targets(batch)
        z = functional.normalize(self.projected(features), dim=1)
        logits = z @ torch.cat([target.roll(n, 0), *self.seen]).T / self.recipe.temperature
        if batch.kin is not None:
            kin = (batch.kin & ~torch.eye(n, dtype=torch.bool)).repeat(2, 2)
            kin = functional.pad(kin, (0, logits.shape[1] - 2 * n))
            logits = logits.masked_fill(kin, _FAR_BELOW)
        # A track's own first view stands in the list too, as the partner of its second.
        own = torch.arange(2 * n)
        logits = logits.index_put((own, own.roll(n)), torch.tensor(_FAR_BELOW))
        self.seen = [target, *self.seen][: 1024 // n]
        return functional.cross_entropy(logits, own)


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Parameters
    ----------
    about : str
        For the table.
    recipe : Recipe
        What is trained.
    trainer : type of Trainer
        How.
    twice : bool
        Then once more, with a new network that foretells the vectors of the first as well.
    length : float
        Times as many steps.
    """

    about: str
    recipe: Recipe = BASE
    trainer: type[Trainer] = Trainer
    twice: bool = False
    length: float = 1.0


def augmented_by(**what: float) -> Recipe:
    """Return the recipe with one augmentation only."""
    return replace(BASE, augment=Augment(**what))  # type: ignore[arg-type]


VARIANTS = {
    "base": Variant("the recipe"),
    "random": Variant("random weights", length=0),
    "none": Variant("no augmentation", augmented_by()),
    "equaliser": Variant("equaliser only", augmented_by(equalise_db=1.0)),
    "equaliser-3": Variant("equaliser only, 3 dB", augmented_by(equalise_db=3.0)),
    "lowpass": Variant("low-pass only, as codecs do", augmented_by(lowpass=0.5)),
    "masks": Variant("masks only", augmented_by(mask_bands=8, mask_frames=12)),
    "masks-wide": Variant("masks only, three times as wide", augmented_by(mask_bands=24, mask_frames=36)),
    "mixing": Variant("background mixing only", augmented_by(mix=0.5)),
    "pitch": Variant("pitch only", augmented_by(pitch_bands=2)),
    "noise": Variant("noise only", augmented_by(noise=0.05)),
    "cold": Variant("temperature 0.05", replace(BASE, temperature=0.05)),
    "warm": Variant("temperature 0.2", replace(BASE, temperature=0.2)),
    "hot": Variant("temperature 0.5", replace(BASE, temperature=0.5)),
    "strangers": Variant("tracks of an album pushed apart too", replace(BASE, spare_albums=False)),
    "albums": Variant("tracks of an album attract, weight 0.3", trainer=AlbumsAttract),
    "albums-1": Variant("the same, weight 1", trainer=AlbumsAttractMore),
    "hard": Variant("hard strangers weigh more", trainer=HardStrangers),
    "queue": Variant("moving average and a queue of 1,024", trainer=Queue),
    "byol": Variant("moving average, nobody pushed away", trainer=Byol),
    "self": Variant("taught by its first generation", twice=True),
    "same-crop": Variant("the same crop twice", replace(BASE, two_crops=False)),
    "batch": Variant("batches of 128, half as many", replace(BASE, batch=128), length=0.5),
    "crops": Variant("crops of 3 s", replace(BASE, frames=129)),
    "long": Variant("three times as long", length=3),
    "albums-1-long": Variant("album weight 1, three times as long", trainer=AlbumsAttractMore, length=3),
}


def trained(mels: Mels, variant: Variant, steps: int, seed: int) -> Encoder:
    """Train a variant on a set and return its encoder in evaluation mode."""
    steps = round(steps * variant.length)
    encoder = finished(variant.trainer(mels, variant.recipe, seed), steps)
    if variant.twice:
        set_last_layer(encoder, mels, FRAMES, HEAD_WINDOWS)
        frames = variant.recipe.frames
        starts = [spread_starts(len(track), frames, HEAD_WINDOWS) for track in mels.tracks]
        teacher = Teacher.of(starts, vectors_of(encoder, mels, frames, HEAD_WINDOWS))
        encoder = finished(variant.trainer(mels, variant.recipe, seed, teacher=teacher), steps)
    return encoder


@torch.no_grad()
def set_last_layer(encoder: Encoder, train: Mels, length: int, count: int) -> None:
    """Fit the dense layer to `count` windows of so many frames of each track, as they are and augmented."""
    chance = torch.Generator().manual_seed(0)

    def features(track: Codes) -> Tensor:
        windows = decibels(spread_windows(track, length, count))
        return features_of(encoder, torch.cat([windows, augmented(windows, BASE.augment, chance)]))

    counts = Counter(train.albums)
    weights = [counts[album] ** -0.5 for album in train.albums]
    weight, bias = discriminants(
        (features(track) for track in train.tracks),
        weights, BASE.dims, BASE.shrinkage, BASE.flatten,
    )  # fmt: skip
    encoder.dense.load_state_dict({"weight": weight, "bias": bias})


def finished(trainer: Trainer, steps: int) -> Encoder:
    """Take so many steps; without any, let the statistics of the random weights settle."""
    if not steps:
        settled(trainer)
    while trainer.step < steps:
        trainer.train_step(learning_rate(trainer.recipe, trainer.step, trainer.step / steps))
    return trainer.encoder.eval()


@torch.no_grad()
def settled(trainer: Trainer) -> None:
    """Let the statistics of random weights settle."""
    trainer.encoder.train()
    for trainer.step in range(10):
        trainer.encoder.features(trainer.batch().first)


def scored(train: Mels, test: Mels, variant: Variant, steps: int, seed: int) -> Scores:
    """Train on one set and score on the other."""
    encoder = trained(train, variant, steps, seed)
    set_last_layer(encoder, train, FRAMES, HEAD_WINDOWS)
    return bench_encoder.scores(vectors_of(encoder, test, FRAMES, WINDOWS), test.albums)


def main() -> None:
    """Train, rank, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", type=Path, help="a folder with one folder per soundtrack")
    parser.add_argument("variant", nargs="*", default=list(VARIANTS), help=", ".join(VARIANTS))
    parser.add_argument("--cache", type=Path, required=True, help="where log-mels are kept")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only", type=int, nargs="+", help="these folds; default all")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    mels = cache_mels(sources_in(args.music), args.cache, FrontEnd(), bench_encoder.SECONDS)
    dealt = deal(mels.albums, args.folds)
    held = [dealt[k] for k in args.only or range(args.folds)]
    splits = [(mels.subset(np.setdiff1d(range(len(mels)), fold).tolist()), task(mels, fold)) for fold in held]
    columns = bench_encoder.COLUMNS
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|", flush=True)
    for name in args.variant:
        variant = VARIANTS[name]
        show(variant.about, [scored(*split, variant, args.steps, args.seed) for split in splits])


if __name__ == "__main__":
    main()
