"""Train the encoder that ships with Soundkin, from the soundtracks and the teacher named in its model card.

    python benchmarks/train_cnn.py MUSIC --cache CACHE --musicnn UNPACKED_WHEEL --out FOLDER

``--fold K`` leaves out the soundtracks of fold K of three (or of ``--folds``), as `bench_encoder.py` deals them, and
prints the figures on them: this is where the model card's figures come from. ``--robustness N`` also asks whether N of
those tracks keep their place when their files change, as `soundkin evaluate --protocol robustness` does. Killed, it
goes on from the checkpoint in CACHE.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
from bench_encoder import FRAMES, SECONDS, deal, musicnn_of, task, with_network
from numpy.typing import NDArray

from soundkin.evaluate import Options, evaluate
from soundkin.evaluate.tables import to_markdown
from soundkin.features import FrontEnd
from soundkin.library import Library
from soundkin.scan import ScanOptions
from soundkin.training.changes import cache_changed
from soundkin.training.data import Mels, cache_mels, sources_in, spread_starts
from soundkin.training.export import export, to_onnx
from soundkin.training.loop import Limits, Metrics, train
from soundkin.training.network import Encoder
from soundkin.training.recipes import RECIPES
from soundkin.training.teacher import Teacher

log = logging.getLogger("train_cnn")

TAUGHT_WINDOWS = 8


def teacher_vectors(mels: Mels, package: Path, cache: Path) -> list[NDArray[np.float32]]:
    """Ask MusiCNN about 8 windows of each track; its answers are kept in the cache."""
    ask = musicnn_of(package)
    vectors = []
    for source, starts in zip(mels.sources, taught_starts(mels), strict=True):
        kept = cache / f"musicnn-{Path(source.album).name}-{Path(source.path).name}.npy"
        if not kept.exists():
            np.save(kept, ask(source.path, starts * mels.front.hop / mels.front.rate))
        vectors.append(np.load(kept))
    return vectors


def taught_starts(mels: Mels) -> list[NDArray[np.int64]]:
    """Return where the taught windows of each track begin, frames."""
    return [spread_starts(len(track), FRAMES, TAUGHT_WINDOWS) for track in mels.tracks]


def checkpoint_of(cache: Path, fold: int | None, folds: int, seed: int, steps: int) -> Path:
    """Name the checkpoint of a run."""
    part = "all" if fold is None else f"{fold}of{folds}"
    return cache / f"checkpoint-{part}-{seed}-{steps}.pt"


def robustness(encoder: Encoder, unheard: Mels, tracks: int, seed: int) -> str:
    """Change files of some tracks, hear them again, and return a table of what that did."""
    drawn = np.random.default_rng(seed).permutation(len(unheard))[:tracks]
    with tempfile.TemporaryDirectory() as folder:
        ours = Path(folder) / "encoder"
        export(encoder, ours, unheard.front, name="fold", data="", licence="Apache-2.0", metrics={})
        with Library.open(Path(folder) / "library") as library:
            library.add([unheard.sources[i].path for i in drawn], ScanOptions((str(ours),)))
            return to_markdown(evaluate(library, Options(("robustness",), albums="folders", tracks=tracks)))


def report(metrics: Metrics) -> None:
    log.info("step %d, %.0f s, loss %.3f", metrics.step, metrics.seconds, metrics.loss)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("music", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--musicnn", type=Path, help="the unpacked wheel; without it there is no teacher")
    parser.add_argument("--out", type=Path, help="write the encoder here")
    parser.add_argument("--fold", type=int, help="leave out and score this fold")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument(
        "--robustness",
        type=int,
        metavar="N",
        help="also change the files of N tracks of the fold, 10 or more",
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--metrics", type=Path, help="JSON that goes into the encoder's card")
    return parser.parse_args()


def main() -> None:
    """Train and write, or train and score."""
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    mels = cache_mels(sources_in(args.music), args.cache, FrontEnd(), SECONDS)
    unheard = [] if args.fold is None else deal(mels.albums, args.folds)[args.fold]
    heard = mels.subset(sorted(set(range(len(mels))) - set(unheard)))
    teacher = None
    if args.musicnn:
        teacher = Teacher.of(taught_starts(heard), teacher_vectors(heard, args.musicnn, args.cache))
    encoder = train(
        heard,
        RECIPES["soundkin"],
        Limits(args.steps),
        args.seed,
        teacher=teacher,
        checkpoint=checkpoint_of(args.cache, args.fold, args.folds, args.seed, args.steps),
        on_metrics=report,
        changed=cache_changed(heard, args.cache, FRAMES),
    )
    if unheard:
        log.info("fold %d: %s", args.fold, json.dumps(with_network(to_onnx(encoder), task(mels, unheard))))
        if args.robustness:
            print(robustness(encoder, mels.subset(unheard), args.robustness, args.seed))
    if args.out:
        export(
            encoder,
            args.out,
            mels.front,
            name="cnn",
            data=f"{len(heard)} tracks of {len(set(heard.albums))} freely licensed game soundtracks; "
            "each one's licence and author: docs/model-card.md",
            licence="Apache-2.0",
            metrics=json.loads(args.metrics.read_text()) if args.metrics else {},
        )


if __name__ == "__main__":
    main()
