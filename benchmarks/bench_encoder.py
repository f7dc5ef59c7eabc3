"""How well an encoder hears that two tracks come from the same soundtrack, on soundtracks it has not heard.

Protocol: a folder of soundtracks, one folder each. Soundtracks (never tracks) are dealt into folds. Each fold
is a retrieval task over its soundtracks of at least 6 tracks: every track is a query, the others are ranked
by cosine, and those of the same soundtrack are right. A track is the mean of the unit vectors of up to 10
windows spread over its middle 4 minutes; for `descriptors`, what the default listening hears of it.

P@10     share of the same soundtrack among the 10 nearest (chance: what a random order gives)
mAP      mean average precision
5-NN     how often a vote of the 5 nearest names the soundtrack
halves   how often the even windows of a track find its odd windows among those of all tracks
skew     skewness of how often a track is among the 10 nearest of others: hubness, lower is better

``--recipe`` trains on the other folds and is the honest figure. ``--encoder`` takes a finished encoder folder
as it is: fair only on music it has not heard. ``--musicnn`` takes the unpacked PyPI package of that name as a
peer.
"""

import argparse
import collections
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import load_encoder
from soundkin.features import FrontEnd
from soundkin.training.data import Mels, cache_mels, decode_db, sources_in, spread_starts, spread_windows

Array = NDArray[np.float32]
Embed = Callable[[Array], Array]
Scores = dict[str, float]

SMALLEST = 6
WINDOWS = 10
FRAMES = 129
SECONDS = 240.0
COLUMNS = ("P@10", "mAP", "5-NN", "halves", "skew")


def deal(albums: Sequence[str], folds: int) -> list[list[int]]:
    """Deal albums into folds of like size, large ones first, back and forth; return their track numbers."""
    counts = collections.Counter(albums)
    large = sorted((a for a in counts if counts[a] >= SMALLEST), key=lambda a: (-counts[a], a))
    small = sorted(a for a in counts if counts[a] < SMALLEST)
    fold_of = {a: i % folds for i, a in enumerate(small)}
    for i, a in enumerate(large):
        turn, place = divmod(i, folds)
        fold_of[a] = place if turn % 2 == 0 else folds - 1 - place
    return [[i for i, a in enumerate(albums) if fold_of[a] == fold] for fold in range(folds)]


def unit(x: Array) -> Array:
    """Scale the last axis to norm 1."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def mean(windows: Array) -> Array:
    """Pool the windows of a track by their mean."""
    return windows.mean(0)


def scores(windows: Sequence[Array], albums: Sequence[str], pool: Callable[[Array], Array] = mean) -> Scores:
    """Return the figures of one retrieval task from the window vectors (w, d) of each track."""
    label, n = np.asarray(albums), len(albums)
    tracks = unit(np.stack([pool(w) for w in windows]))
    even = unit(np.stack([pool(w[::2]) for w in windows]))
    odd = unit(np.stack([pool(w[1::2] if len(w) > 1 else w) for w in windows]))
    return {
        **ranking_scores(tracks @ tracks.T, albums),
        "halves": float(np.mean((even @ odd.T).argmax(1) == np.arange(n))),
        "chance": float(np.mean([(np.sum(label == own) - 1) / (n - 1) for own in label])),
    }


def ranking_scores(similarity: Array, albums: Sequence[str]) -> Scores:
    """Return the figures of one retrieval task from how near each track is to each, (n, n)."""
    label, n = np.asarray(albums), len(albums)
    order = np.argsort(-np.where(np.eye(n, dtype=bool), -np.inf, similarity), axis=1)[:, :-1]
    right = label[order] == label[:, None]
    precision = np.cumsum(right, axis=1) / np.arange(1, n)
    vote = [collections.Counter(row).most_common(1)[0][0] for row in label[order[:, :5]].tolist()]
    seen = np.bincount(order[:, :10].ravel(), minlength=n).astype(float)
    return {
        "P@10": float(right[:, :10].mean()),
        "mAP": float(((precision * right).sum(1) / right.sum(1)).mean()),
        "5-NN": float(np.mean(np.asarray(vote) == label)),
        "skew": float(((seen - seen.mean()) ** 3).mean() / seen.std() ** 3),
    }


def task(mels: Mels, fold: Iterable[int]) -> Mels:
    """Keep the tracks of a fold that have at least 5 companions, in order."""
    counts = collections.Counter(mels.albums)
    return mels.subset(i for i in sorted(fold) if counts[mels.albums[i]] >= SMALLEST)


def windows_of(mels: Mels, embed: Embed) -> list[Array]:
    """Embed the windows of each track."""
    return [embed(decode_db(spread_windows(track, FRAMES, WINDOWS))) for track in mels.tracks]


def with_network(model: bytes | str, mels: Mels) -> Scores:
    """Score an ONNX encoder on one task."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return scores(windows_of(mels, lambda x: session.run(None, {"logmel": x})[0]), mels.albums)


def with_mfcc(mels: Mels) -> Scores:
    """Score the classical baseline: mean and deviation of 20 MFCC, and of their change; standard scores."""
    n = mels.front.n_mels
    cosines = np.cos(np.pi / n * (np.arange(n) + 0.5) * np.arange(20)[:, None]).astype(np.float32)

    def embed(logmel: Array) -> Array:
        mfcc = cosines @ logmel
        return np.concatenate([mfcc.mean(2), mfcc.std(2), np.diff(mfcc, axis=2).std(2)], axis=1)

    return scores(standard(windows_of(mels, embed)), mels.albums)


def with_descriptors(mels: Mels) -> Scores:
    """Score the hand-made encoder as it ships, at the default listening: whole tracks, so there are no halves."""
    encoder = load_encoder("descriptors")
    result = scores([encoder.embed(source.path)[None] for source in mels.sources], mels.albums)
    return {**result, "halves": float("nan")}


def standard(windows: Sequence[Array]) -> list[Array]:
    """Turn features into standard scores over the tracks of the task."""
    tracks = np.stack([w.mean(0) for w in windows])
    mean, deviation = tracks.mean(0), tracks.std(0) + 1e-9
    return [(w - mean) / deviation for w in windows]


def with_random_weights(recipe: str, train: Mels, test: Mels, seed: int) -> Scores:
    """Score a network of the recipe's shape with random weights; only its statistics are fitted."""
    import torch

    from soundkin.training.export import to_onnx
    from soundkin.training.loop import Trainer
    from soundkin.training.recipes import RECIPES

    trainer = Trainer(train, RECIPES[recipe], seed)
    trainer.encoder.train()
    with torch.no_grad():
        for trainer.step in range(20):
            trainer.encoder.raw(trainer.batch().first)
    return with_network(to_onnx(trainer.finish()), test)


def with_recipe(recipe: str, train: Mels, test: Mels, steps: int, seed: int) -> Scores:
    """Train on the other folds and score."""
    from soundkin.training import loop
    from soundkin.training.export import to_onnx
    from soundkin.training.recipes import RECIPES

    return with_network(to_onnx(loop.train(train, RECIPES[recipe], loop.Limits(steps), seed)), test)


def musicnn_of(package: Path) -> Callable[[str, NDArray[np.float64]], Array]:
    """Return what gives the 200 numbers of MusiCNN for 3 s windows of a file, from their starts in its middle."""
    from soundkin.audio import Listening, hear
    from soundkin.encoders.musicnn import MusiCNN

    peer = MusiCNN(package / "musicnn" / "MTT_musicnn", device="cpu")
    n = round(peer.window_seconds * peer.rate)

    def ask(path: str, starts: NDArray[np.float64]) -> Array:
        with hear(path, Listening(1, SECONDS)) as hearing:
            y = next(iter(hearing.excerpts)).at(peer.rate)
        return peer.encode(np.stack([np.resize(y[round(s * peer.rate) :][:n], n) for s in starts]))

    return ask


def with_musicnn(package: Path, mels: Mels) -> Scores:
    """Score the peer: the 200 activations before its tags, of 3 s windows at the same places."""
    starts = [
        spread_starts(len(track), FRAMES, WINDOWS) * mels.front.hop / mels.front.rate for track in mels.tracks
    ]
    ask = musicnn_of(package)
    each = [ask(source.path, at) for source, at in zip(mels.sources, starts, strict=True)]
    return scores(standard(each), mels.albums)


def show(name: str, rows: list[Scores]) -> None:
    """Print one line of the table: mean and standard deviation over folds."""
    cells = [f"{np.mean([r[c] for r in rows]):.3f} ± {np.std([r[c] for r in rows]):.3f}" for c in COLUMNS]
    print(f"| {name} | " + " | ".join(c if "nan" not in c else "" for c in cells) + " |", flush=True)


def show_all(args: argparse.Namespace, splits: list[tuple[Mels, Mels]]) -> None:
    """Print the table."""
    mfcc = [with_mfcc(test) for _, test in splits]
    sizes = ", ".join(f"{len(test)} of {len(set(test.albums))}" for _, test in splits)
    print(
        f"tracks of soundtracks per fold: {sizes}; chance P@10 {np.mean([r['chance'] for r in mfcc]):.3f}\n"
    )
    print("| | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    show("MFCC statistics", mfcc)
    show("descriptors", [with_descriptors(test) for _, test in splits])
    if args.musicnn:
        show("MusiCNN", [with_musicnn(args.musicnn, test) for _, test in splits])
    for name in args.recipe:
        show(f"{name}, random weights", [with_random_weights(name, *split, args.seed) for split in splits])
        rows = [with_recipe(name, *split, args.steps, args.seed) for split in splits]
        show(f"{name}, {args.steps} steps", rows)
    for folder in args.encoder:
        show(folder.name, [with_network(str(folder / "encoder.onnx"), test) for _, test in splits])


def main() -> None:
    """Parse, split, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", type=Path, help="a folder with one folder per soundtrack")
    parser.add_argument("--cache", type=Path, help="where log-mels are kept (default: a temporary folder)")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--recipe", action="append", default=[], help="train this recipe for each fold")
    parser.add_argument("--steps", type=int, default=1000, help="of that training")
    parser.add_argument(
        "--encoder", type=Path, action="append", default=[], help="an encoder folder, as it is"
    )
    parser.add_argument("--musicnn", type=Path, help="the unpacked wheel of that name")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        mels = cache_mels(sources_in(args.music), args.cache or temporary, FrontEnd(), SECONDS)
        splits = []
        for fold in deal(mels.albums, args.folds):
            train = [i for i in range(len(mels)) if i not in set(fold)]
            splits.append((mels.subset(train), task(mels, fold)))
        show_all(args, splits)


if __name__ == "__main__":
    main()
