"""What should the last layer see, and what should come after it? On soundtracks that nothing was fitted to.

    python benchmarks/bench_features.py MUSIC --cache CACHE [--folds 3] [--trained]

Discriminants (see `soundkin.training.head`) of random convolutions, of hand-made statistics of the log-mel, and of
both side by side; with ``--trained`` also of the convolutions that `train_cnn.py --fold K` left in CACHE, and these
once more with other things done to the 128 numbers. 8 windows of each training track, as they are and augmented. The
columns are those of `bench_encoder.py`; "corrected" is the skew after what `soundkin similar` does against hubs.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import bench_encoder
import numpy as np
import torch
from bench_encoder import Array, Scores, deal, ranking_scores, task, unit
from bench_pooling import features_of
from torch import Tensor
from torch.nn.functional import normalize
from train_cnn import checkpoint_of

from soundkin.features import FrontEnd
from soundkin.recommend.closeness import Closeness
from soundkin.training.augment import augmented
from soundkin.training.data import Mels, cache_mels, sources_in, spread_windows
from soundkin.training.head import discriminants
from soundkin.training.loop import Trainer, decibels
from soundkin.training.network import Encoder, Standardise
from soundkin.training.recipes import RECIPES

RECIPE = RECIPES["soundkin"]
HEAD_WINDOWS, WINDOWS = 8, 10
STEPS = 300
COLUMNS = (*bench_encoder.COLUMNS, "corrected")
_MODULATION = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 64)
_RATES = (0, 1, 2, 4, 7, 12, 20, 34, 64)
_SCALES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24)
_PLACES = (0, 21, 42, 64)

Features = Callable[[Tensor], Tensor]
Table = Sequence[Tensor]


def groups(x: Tensor) -> Tensor:
    """Average bands by fours: (n, 128, frames) -> (n, 32, frames)."""
    return x.unflatten(1, (32, 4)).mean(2)


def texture(x: Tensor) -> Tensor:
    """Per band mean, deviation, and that of its change; how 32 groups of bands correlate. After McDermott, 2011."""
    z = groups(x)
    z = z - z.mean(2, keepdim=True)
    covariance = z @ z.transpose(1, 2) / z.shape[2]
    deviation = (covariance.diagonal(dim1=1, dim2=2) + 0.01).sqrt()
    correlation = covariance / (deviation[:, :, None] * deviation[:, None])
    i, j = torch.triu_indices(32, 32, 1)
    changes = x.diff(dim=2).var(2)
    return torch.cat(
        [x.mean(2), (x.var(2) + 1e-3).log(), (changes + 1e-3).log(), correlation[:, i, j]], dim=1
    )


def modulation(x: Tensor) -> Tensor:
    """Log power of 32 groups of bands at 14 rates, 0.3 to 21 Hz."""
    z = groups(x)
    z = (z - z.mean(2, keepdim=True)) * torch.hann_window(z.shape[2])
    power = torch.fft.rfft(z, dim=2).abs() ** 2
    rates = [power[:, :, a:b].mean(2) for a, b in pairwise(_MODULATION)]
    return (torch.stack(rates, 2) + 0.1).log().flatten(1)


def ripples(x: Tensor) -> Tensor:
    """Log power of ripples across bands that change in time: 14 scales, 8 rates, 4 places. After Chi, 2005."""
    x = x - x.mean((1, 2), keepdim=True)
    result = []
    for place in _PLACES:
        piece = x[:, place : place + 64] * torch.hann_window(64)[:, None]
        power = torch.fft.fft(torch.fft.rfft(piece, dim=1)[:, : _SCALES[-1]], dim=2).abs() ** 2
        rates = torch.stack([power[:, :, a:b].mean(2) for a, b in pairwise(_RATES)], 2)
        result.append(torch.stack([rates[:, a:b].mean(1) for a, b in pairwise(_SCALES)], 1).flatten(1))
    return (torch.cat(result, 1) + 0.1).log()


HAND_MADE: dict[str, Features] = {"texture": texture, "modulation": modulation, "ripples": ripples}


class Data:
    """One split, and features of it.

    Parameters
    ----------
    train, test : Mels
        Tracks that may be learned from, and others.
    trained : Path or None
        Checkpoint of convolutions trained on the first.
    """

    def __init__(self, train: Mels, test: Mels, trained: Path | None) -> None:
        self.train, self.test = train, test
        counts = Counter(train.albums)
        self.weights = [counts[album] ** -0.5 for album in train.albums]
        networks = {"random": random_network(train)}
        if trained is not None:
            networks["trained"] = Encoder(RECIPE, train.front.n_mels).eval()
            state = torch.load(trained, map_location="cpu", weights_only=True)
            networks["trained"].load_state_dict(state["modules"][0])
        standardise = networks["random"].standardise
        makers: dict[str, Features] = {name: partial(features_of, net) for name, net in networks.items()}
        makers |= {name: partial(after, standardise, make) for name, make in HAND_MADE.items()}
        self.features = {name: (self._heard(make), self._unheard(make)) for name, make in makers.items()}

    @torch.no_grad()
    def _heard(self, make: Features) -> Table:
        chance = torch.Generator().manual_seed(0)
        result = []
        for track in self.train.tracks:
            windows = decibels(spread_windows(track, RECIPE.frames, HEAD_WINDOWS))
            result.append(make(torch.cat([windows, augmented(windows, RECIPE.augment, chance)])))
        return result

    @torch.no_grad()
    def _unheard(self, make: Features) -> Table:
        return [make(decibels(spread_windows(t, RECIPE.frames, WINDOWS))) for t in self.test.tracks]

    def vectors(self, names: Sequence[str], dims: int = 128) -> list[Tensor]:
        """Fit discriminants of some features side by side; return them, any norm, for each unheard window."""
        heard, unheard = (
            [torch.cat(parts, 1) for parts in zip(*(self.features[n][i] for n in names), strict=True)]
            for i in range(2)
        )
        every = torch.cat([x.mean(0, keepdim=True) for x in heard])
        spread = torch.stack([x.var(0) for x in heard]).mean(0) + every.var(0)
        scale = spread.clamp(min=1e-8).rsqrt()
        weight, bias = discriminants(
            (x * scale for x in heard), self.weights, dims, RECIPE.shrinkage, RECIPE.flatten
        )
        return [x * scale @ weight.T + bias for x in unheard]


@torch.no_grad()
def random_network(mels: Mels) -> Encoder:
    """Return a network whose statistics alone are fitted."""
    trainer = Trainer(mels, RECIPE)
    trainer.encoder.train()
    for trainer.step in range(8):
        trainer.encoder.features(trainer.batch().first)
    return trainer.encoder.eval()


def after(standardise: Standardise, make: Features, x: Tensor) -> Tensor:
    """Make features of standard scores per band."""
    return make(standardise(x))


def scored(vectors: Sequence[Tensor], albums: Sequence[str]) -> Scores:
    """Score the window vectors of each track, and say what skew the library's correction leaves."""
    windows = [v.numpy() for v in vectors]
    tracks: Array = unit(np.stack([w.mean(0) for w in windows]))
    evidence = Closeness.of(tracks).evidence(tracks, tracks)
    corrected = ranking_scores(np.asarray(evidence, np.float32), albums)["skew"]
    return {**bench_encoder.scores(windows, albums), "corrected": corrected}


AFTER: dict[str, Callable[[list[Tensor]], list[Tensor]]] = {
    "windows not scaled to norm 1": lambda z: z,
    "signed square root of each number": lambda z: [normalize(v.sign() * v.abs().sqrt()) for v in z],
    "tanh of each number, half a deviation": lambda z: [normalize(torch.tanh(5.7 * normalize(v))) for v in z],
    "tanh of each number, one deviation": lambda z: [normalize(torch.tanh(11.3 * normalize(v))) for v in z],
    "centred on the unheard tracks": lambda z: centred([normalize(v) for v in z]),
}


def centred(vectors: list[Tensor]) -> list[Tensor]:
    """Subtract the mean of the tracks' means."""
    mean = torch.stack([v.mean(0) for v in vectors]).mean(0)
    return [v - mean for v in vectors]


def show(name: str, rows: list[Scores]) -> None:
    """Print one line: means over folds, and P@10 of each."""
    cells = [f"{np.mean([r[c] for r in rows]):.3f}" for c in COLUMNS]
    each = ", ".join(f"{r['P@10']:.3f}" for r in rows)
    print(f"| {name} | " + " | ".join(cells) + f" | {each} |", flush=True)


def show_all(splits: list[Data]) -> None:
    """Print the table."""
    print("| | " + " | ".join((*COLUMNS, "P@10 of each fold")) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|")
    networks = [name for name in ("random", "trained") if name in splits[0].features]
    sets = [[name] for name in (*networks, *HAND_MADE)] + [["texture", "ripples"]]
    sets += [
        [name, *more] for name in networks for more in (["texture"], ["ripples"], ["texture", "ripples"])
    ]
    for names in sets:
        show(" + ".join(names), [scored([*map(normalize, s.vectors(names))], s.test.albums) for s in splits])
    if "trained" not in networks:
        return
    vectors = [s.vectors(["trained"], 256) for s in splits]
    for dims in (16, 32, 48, 64, 96, 128, 192, 256):
        cut = [[normalize(v[:, :dims]) for v in z] for z in vectors]
        show(f"trained, {dims} numbers", [scored(z, s.test.albums) for z, s in zip(cut, splits, strict=True)])
    for name, change in AFTER.items():
        changed = [change([v[:, :128] for v in z]) for z in vectors]
        show(f"trained, {name}", [scored(z, s.test.albums) for z, s in zip(changed, splits, strict=True)])


def main() -> None:
    """Fit, rank, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", type=Path, help="a folder with one folder per soundtrack")
    parser.add_argument("--cache", type=Path, required=True, help="where log-mels are kept")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--trained", action="store_true", help="take the convolutions of train_cnn.py --fold")
    args = parser.parse_args()
    mels = cache_mels(sources_in(args.music), args.cache, FrontEnd(), bench_encoder.SECONDS)
    splits = []
    for k, fold in enumerate(deal(mels.albums, args.folds)):
        heard = mels.subset(np.setdiff1d(range(len(mels)), fold).tolist())
        trained = checkpoint_of(args.cache, k, args.folds, 0, STEPS) if args.trained else None
        splits.append(Data(heard, task(mels, fold), trained))
    show_all(splits)


if __name__ == "__main__":
    main()
