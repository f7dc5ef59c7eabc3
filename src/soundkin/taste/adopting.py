"""Training with a learned order, that is kept only where it is better than the transparent score on every split.

A ranker learns from candidates of one division of the plays, and is judged on another: on what was played after a time
(at random where no times are known), on tracks and on artists that nobody had played. Each division hides its side from
everything, the ranker's own training too, so that its features are those of before. It is adopted when its gain is
beyond noise on all three. On the real plays at hand it is not (docs/taste.md).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.taste.candidates import Hearing, Question
from soundkin.taste.dividing import SPLITS, Divided, divide, warm_split
from soundkin.taste.learning import Collection, Taste, learn
from soundkin.taste.matrix import Plays
from soundkin.taste.models import Progress
from soundkin.taste.ranker import FEATURES, Examples, Ranker, fit, has_lightgbm
from soundkin.taste.training import ndcg, steps, weighed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_PLAYS, LEAST_ROWS = 30_000, 500
"""Of fewer plays (tracks of a row) and rows no order is learned."""
_TEACHERS, _JUDGES = 800, 400  # rows that examples are of, and that the ranker is judged by
_LEAST = 10
_SURE = 1.96  # standard errors of a gain that are noise


@dataclass(frozen=True)
class Compared:
    """What the ranker gained on one split.

    Parameters
    ----------
    split : str
        Its name.
    score, ranker : float
        nDCG@20 of the transparent score, and of the ranker.
    gain, noise : float
        How much more the ranker has, and half the width of the 95 % interval of that.
    questions : int
        How many rows asked.
    """

    split: str
    score: float
    ranker: float
    gain: float
    noise: float
    questions: int

    @property
    def is_better(self) -> bool:
        """Whether the gain is beyond noise."""
        return self.gain > self.noise


def enough(plays: Plays) -> bool:
    """Tell whether there is so much history that an order can be learned."""
    return len(plays.items) >= LEAST_PLAYS and int((plays.sizes > 0).sum()) >= LEAST_ROWS


def train(
    plays: Plays,
    collection: Collection,
    method: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
    latest: Floats | None = None,
) -> tuple[Taste, dict[str, Any]]:
    """Learn from plays: models, what their parts are worth, and where that is better, an order of candidates.

    Parameters
    ----------
    plays : Plays
        Of the collection, m entries.
    collection : Collection
        Its tracks.
    method : str
        One of `models.METHODS`, or "auto" to choose by size.
    seed : int
        Of what is drawn.
    progress : callable, optional
        Called with what is done, and of how much.
    latest : float64 (m,), optional
        When each entry was; without it no order is learned from times.

    Returns
    -------
    taste : Taste
        With a ranker where it was adopted.
    told : dict
        As of `training.weighed`, and "ranker": whether it was "adopted", if not "why", and "splits", each a `Compared`.

    Raises
    ------
    InputError
        No row has three tracks, so that none can be held out.
    MissingExtra
        The method needs the extra ``cf``.
    """
    ranks = enough(plays) and has_lightgbm()
    step = steps(progress, len(SPLITS) + 2 if ranks else 1)
    taste, told = weighed(plays, collection, method, seed, step(0))
    if not ranks:
        why = (
            "it needs LightGBM and OpenMP: pip install 'soundkin[rank]', and libgomp of the system"
            if enough(plays)
            else f"it takes {LEAST_PLAYS} plays by {LEAST_ROWS} people or sessions to learn one"
        )
        return taste, told | {"ranker": {"adopted": False, "why": why, "splits": []}}
    compared = list[Compared]()
    for number, split in enumerate((*SPLITS[::-1][:2], warm_split(plays, latest, _LEAST)), 1):
        times = np.zeros(len(plays.items)) if latest is None else latest
        parted = divide(plays, times, collection.artists, split, seed)
        compared.append(compare(plays, parted, collection, split, told["method"], seed, latest, step(number)))
        if not compared[-1].is_better:  # the others would change nothing
            why = f"on the split {split} it is no better than the transparent score beyond noise"
            return taste, told | {"ranker": {"adopted": False, "why": why, "splits": _told(compared)}}
    ranker = learned(taste, plays, collection, told["method"], seed, latest, step(len(SPLITS) + 1))
    return replace(taste, ranker=ranker), told | {
        "ranker": {
            "adopted": ranker is not None,
            "why": "" if ranker else "of all plays together, too few candidates were right to learn from",
            "splits": _told(compared),
        }
    }


def _told(compared: list[Compared]) -> list[dict[str, Any]]:
    return [asdict(one) for one in compared]


def compare(
    plays: Plays,
    parted: Divided,
    collection: Collection,
    split: str,
    method: str,
    seed: int = 0,
    latest: Floats | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Learn all of it from one side of the plays, and ask for the other by the score and by the ranker.

    Parameters
    ----------
    plays : Plays
        With m entries.
    parted : Divided
        Its two sides.
    collection : Collection
        The tracks.
    split : str
        What the division is called.
    method : str
        One of `models.METHODS`.
    seed : int
        Of what is drawn.
    latest : float64 (m,), optional
        When each entry was.
    progress : callable, optional
        Called with what is done, and of how much.
    """
    kept = ~parted.hidden & ~parted.left_out
    known, wanted = plays.only(kept), plays.only(parted.hidden)
    step = steps(progress, 3)
    taste, _ = weighed(known, collection, method, seed, step(0))
    ranker = learned(
        taste, known, collection, method, seed, None if latest is None else latest[kept], step(1)
    )
    if ranker is None:
        return _compared(split, np.empty((0, 2)))
    taste, hearing = replace(taste, ranker=ranker), Hearing.of(collection.sound)
    rows = np.flatnonzero((known.sizes > 0) & (wanted.sizes > 0))
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_JUDGES])
    tell, reached = step(2), []
    for number, row in enumerate(rows.tolist()):
        question = Question.of(taste, hearing, collection.artists, *known.row(row))
        right, barred = wanted.row(row)[0], np.flatnonzero(~parted.candidates)
        none = np.union1d(question.items, barred)
        reached.append([ndcg(s, none, right) for s in (question.fused(), question.ranked(parted.candidates))])
        if tell:
            tell(number, len(rows))
    return _compared(split, np.array(reached).reshape(-1, 2))


def _compared(split: str, reached: Floats) -> Compared:
    if len(reached) < _LEAST or not reached.any():
        return Compared(split, 0.0, 0.0, 0.0, 0.0, len(reached))
    apart = reached[:, 1] - reached[:, 0]
    noise = _SURE * apart.std(ddof=1) / np.sqrt(len(apart))
    score, ranker = map(float, reached.mean(axis=0))
    return Compared(split, score, ranker, float(apart.mean()), float(noise), len(reached))


def learned(
    taste: Taste,
    plays: Plays,
    collection: Collection,
    method: str,
    seed: int = 0,
    latest: Floats | None = None,
    progress: Progress | None = None,
) -> Ranker | None:
    """Learn to order candidates, of some plays that are held out.

    Parameters
    ----------
    taste : Taste
        What was learned of all these plays; its weights are those of the score that is a feature.
    plays : Plays
        With m entries.
    collection : Collection
        The tracks.
    method : str
        One of `models.METHODS`.
    seed : int
        Of what is drawn.
    latest : float64 (m,), optional
        When each entry was.
    progress : callable, optional
        Called with what is done, and of how much.

    Returns
    -------
    Ranker or None
        None where hardly any candidate was right.

    Raises
    ------
    MissingExtra
        LightGBM is not installed.
    """
    step = steps(progress, 2)
    parts = divisions(plays, collection, seed, latest)
    hidden = np.logical_or.reduce([entries for entries, _ in parts])
    known = plays.only(~hidden)
    trial = replace(learn(known, collection, method, seed, step(0)), weights=taste.weights)
    sides = [(plays.only(entries), allowed) for entries, allowed in parts]
    made = examples(trial, known, sides, collection, seed, step(1))
    return fit(made, seed) if len(made.sizes) >= _LEAST else None


def divisions(
    plays: Plays, collection: Collection, seed: int, latest: Floats | None
) -> list[tuple[Bools, Bools]]:
    """Choose what examples are of: plays of a later time (or at random), of cold tracks, and of cold artists.

    Parameters
    ----------
    plays : Plays
        With m entries of n tracks.
    collection : Collection
        The tracks.
    seed : int
        Of what is drawn; other tracks and artists than `divide` draws with it.
    latest : float64 (m,) or None
        When each entry was.

    Returns
    -------
    list of (bool (m,), bool (n,))
        Entries, none of them twice, and the tracks that are candidates for them.
    """
    times = np.zeros(len(plays.items)) if latest is None else latest
    out, taken = list[tuple[Bools, Bools]](), np.zeros(plays.width, bool)
    for number, split in enumerate(SPLITS[::-1][:2], 1):
        cold = divide(plays, times, collection.artists, split, seed + 7919 * number).candidates & ~taken
        taken |= cold
        out.append((cold[plays.items], cold))
    warm = divide(plays, times, collection.artists, warm_split(plays, latest, _LEAST), seed + 7919)
    return [(warm.hidden & ~taken[plays.items], ~taken), *out]


def examples(
    trial: Taste,
    known: Plays,
    sides: list[tuple[Plays, Bools]],
    collection: Collection,
    seed: int = 0,
    progress: Progress | None = None,
) -> Examples:
    """Make examples for a ranker: candidates that serving would bring, and which of them were right.

    Parameters
    ----------
    trial : Taste
        Learned of `known`, and of nothing else.
    known : Plays
        What people had played by then.
    sides : list of (Plays, bool (n,))
        What they played of some tracks, and those tracks.
    collection : Collection
        The tracks.
    seed : int
        Of who is asked.
    progress : callable, optional
        Called with what is done, and of how much.
    """
    some = np.logical_or.reduce([wanted.sizes > 0 for wanted, _ in sides]) & (known.sizes > 0)
    rows = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(some))[:_TEACHERS])
    hearing, made = Hearing.of(collection.sound), list[tuple[Any, Bools]]()
    for number, row in enumerate(rows.tolist()):
        question = Question.of(trial, hearing, collection.artists, *known.row(row))
        made += _groups(question, [(wanted.row(row)[0], allowed) for wanted, allowed in sides])
        if progress:
            progress(number, len(rows))
    if not made:
        return Examples(np.empty((0, len(FEATURES)), np.float32), np.empty(0, bool), np.empty(0, np.int64))
    return Examples(
        np.concatenate([rows for rows, _ in made]), np.concatenate([right for _, right in made]),
        np.array([len(right) for _, right in made], np.int64),
    )  # fmt: skip


def _groups(question: Question, sides: list[tuple[Ints, Bools]]) -> Iterator[tuple[Any, Bools]]:
    for wanted, allowed in sides:
        at = question.retrieved(allowed)
        right = np.isin(at, wanted)
        if right.any() and not right.all():
            yield question.features(at), right
