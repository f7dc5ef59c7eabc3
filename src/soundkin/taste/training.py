"""Training on the history of a library: what its parts are worth is measured on plays that were held out."""

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError, StoreError
from soundkin.taste.candidates import Hearing, Question
from soundkin.taste.cold import Guess
from soundkin.taste.dividing import hold_out
from soundkin.taste.fusing import Parts, Weights, fuse
from soundkin.taste.learning import Collection, Taste, learn
from soundkin.taste.matrix import Plays
from soundkin.taste.models import Model, Progress, method_for
from soundkin.taste.ranker import Ranker

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

K = 20
_MOST_ASKED = 300
_SHARES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.5, 3.0)
_MORE = (0.0, 0.1, 0.3)
FILE = "model.npz"


@dataclass(frozen=True)
class Trained:
    """What a library has learned, as it is kept.

    Parameters
    ----------
    numbers : uint64 (n,)
        The tracks, by the numbers that an index has for them.
    artists : int64 (n,)
        Number of the artist of each, -1 where it is not known.
    taste : Taste
        What was learned.
    told : dict
        For people: the method, rows and plays that were learned from, what was left out, and held-out figures.
    """

    numbers: NDArray[np.uint64]
    artists: Ints
    taste: Taste
    told: dict[str, Any]


def has_extra() -> bool:
    """Tell whether the extra ``cf`` is installed."""
    return find_spec("implicit") is not None


def weighed(
    plays: Plays,
    collection: Collection,
    method: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Taste, dict[str, Any]]:
    """Learn from plays, and measure on a part of them that is held out what each part of the score is worth.

    Parameters
    ----------
    plays : Plays
        Of the collection.
    collection : Collection
        Its tracks.
    method : str
        One of `models.METHODS`, or "auto" to choose by size.
    seed : int
        Of what is drawn.
    progress : callable, optional
        Called with what is done, and of how much.

    Returns
    -------
    taste : Taste
        Learned from all plays, with the weights that were best on those held out.
    told : dict
        The method, and nDCG@20 on held-out plays of each part and of all together.

    Raises
    ------
    InputError
        No row has three tracks, so that none can be held out.
    MissingExtra
        The method needs the extra ``cf``.
    """
    chosen = method_for(plays, has_extra()) if method == "auto" else method
    step = steps(progress, 3)
    hidden = hold_out(plays, seed)
    questions = _questions(plays, hidden, seed)
    if not len(questions):
        raise InputError(
            f"none of {plays.height} rows of plays has three tracks, so that nothing can be held out to measure what "
            "taste is worth: import more plays, see `soundkin taste import`"
        )
    trial = learn(plays.only(~hidden), collection, chosen, seed, step(0))
    weights, figures = _weigh(trial, plays, hidden, collection, questions, step(1))
    taste = learn(plays, collection, chosen, seed, step(2))
    return replace(taste, weights=weights), {"method": chosen, "questions": len(questions), **figures}


def _questions(plays: Plays, hidden: NDArray[np.bool_], seed: int) -> Ints:
    rows = np.unique(plays.rows[hidden])
    return np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_ASKED])


def _weigh(
    trial: Taste,
    plays: Plays,
    hidden: NDArray[np.bool_],
    collection: Collection,
    questions: Ints,
    progress: Progress | None,
) -> tuple[Weights, dict[str, float]]:
    """Choose weights one after the other, and say what each part reaches alone."""
    hearing = Hearing.of(collection.sound)
    known, wanted = plays.only(~hidden), plays.only(hidden)
    asked: list[tuple[Parts, Ints, Ints]] = []
    for number, row in enumerate(questions):
        question = Question.of(trial, hearing, collection.artists, *known.row(row))
        asked.append((question.parts, question.items, wanted.row(row)[0]))
        if progress:
            progress(number, len(questions))

    def reached(score: Callable[[Parts], Array]) -> float:
        return float(np.mean([ndcg(score(parts), items, right) for parts, items, right in asked]))

    best = Weights(0.0)
    top = reached(lambda parts: fuse(parts, best))
    figures = {"sound": top}
    for name, values in (("taste", _SHARES), ("artist", _MORE), ("popularity", _MORE)):
        for value in values:
            tried = replace(best, **{name: value})
            if (found := reached(lambda parts, w=tried: fuse(parts, w))) > top:  # type: ignore[misc]
                best, top = tried, found
    figures |= {
        "taste": reached(lambda parts: parts.taste),
        "popularity": reached(lambda parts: parts.popularity),
    }
    return best, figures | {"together": top}


def ndcg(scores: NDArray[np.floating], known: Ints, right: Ints, k: int = K) -> float:
    """Return the discounted gain of the k best, without what is known, as a share of the best there could be."""
    scores = scores.astype(np.float64)
    scores[known] = -np.inf
    best = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
    best = best[np.argsort(-scores[best], kind="stable")]
    discount = 1 / np.log2(np.arange(k) + 2)
    return float(discount[: len(best)][np.isin(best, right)].sum() / discount[: min(k, len(right))].sum())


def steps(progress: Progress | None, n: int) -> Callable[[int], Progress | None]:
    """Divide progress into n equal steps; return a function from their numbers to the progress of each."""

    def of(step: int) -> Progress | None:
        if progress is None:
            return None
        tell = progress
        return lambda done, total: tell(step * 1000 + 1000 * done // max(total, 1), n * 1000)

    return of


def save(trained: Trained, folder: Path) -> None:
    """Keep what was learned in a folder, in place of what was kept there.

    Parameters
    ----------
    trained : Trained
        To keep.
    folder : Path
        Made when missing.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    taste, guess = trained.taste, trained.taste.guess
    about = {
        "method": taste.model.method, "width": taste.model.width, "weights": asdict(taste.weights),
        "by_sound": guess.by_sound, "by_artist": guess.by_artist, "told": trained.told,
    }  # fmt: skip
    arrays: dict[str, Any] = {f"model_{name}": values for name, values in taste.model.arrays.items()}
    if taste.ranker is not None:
        arrays |= {f"ranker_{name}": values for name, values in taste.ranker.arrays().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f"{FILE}.new"
        with new.open("wb") as file:
            np.savez(
                file, about=np.array(json.dumps(about)), numbers=trained.numbers, artists=trained.artists,
                listeners=taste.listeners, vectors=guess.vectors, trust=guess.trust, **arrays,
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the contents
        os.replace(new, folder / FILE)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error


def load(folder: Path) -> Trained | None:
    """Return what is kept in a folder; None where nothing is, or nothing that can be read."""
    try:
        with (folder / FILE).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            found = {name: kept[name] for name in kept.files}
        about = json.loads(str(found["about"]))
        guess = Guess(found["vectors"], found["trust"], about["by_sound"], about["by_artist"])
        model = Model(about["method"], about["width"], _below("model_", found))
        trees = _below("ranker_", found)
        ranker = Ranker.of_arrays(trees) if trees else None
        taste = Taste(model, guess, found["listeners"], Weights(**about["weights"]), ranker)
        return Trained(found["numbers"], found["artists"], taste, about["told"])
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError):
        return None


def _below(begin: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(begin): values for name, values in arrays.items() if name.startswith(begin)}
