"""Who finds what people will play: popularity, sound, taste, or sound and taste together.

Plays are split; models learn from one side, with weights that they find on a part of it, and are asked for the other.
With the splits ``cold-track`` and ``cold-artist`` what is held out was played by nobody else, and only that is ranked:
then taste alone knows nothing, and what is found is what can be told from sound (and, for tracks, from others of the
artist, which is why the honest test of sound is cold artists).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError
from soundkin.evaluate import metrics
from soundkin.evaluate.confidence import intervals, paired
from soundkin.evaluate.protocols import Unmeasurable
from soundkin.evaluate.tables import Row, Table, figure, rounded
from soundkin.library import Library
from soundkin.record import Record
from soundkin.taste.fusing import fuse
from soundkin.taste.gathering import gather
from soundkin.taste.learning import Collection, Taste
from soundkin.taste.matrix import Plays
from soundkin.taste.training import by_sound, hears, hold_out, train

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Progress = Callable[[int, int], None]

SPLITS = ("time", "cold-track", "cold-artist")
"""Between what is learned from and what is asked for."""
K = 20
_LATER, _COLD = 0.2, 0.1  # of the plays, and of the tracks or artists
_LEAST, _MOST_ASKED = 10, 500
_FUSED = "sound and taste"
_SYSTEMS = (_FUSED, "sound", "taste", "taste, guessed", "popularity", "random")
_BASELINES = ("popularity", "random")


@dataclass(frozen=True)
class Divided:
    """Plays on two sides.

    Parameters
    ----------
    hidden : bool (m,)
        The entries that are asked for.
    left_out : bool (m,)
        Those that neither side has.
    candidates : bool (n,)
        The tracks that are ranked.
    """

    hidden: Bools
    left_out: Bools
    candidates: Bools


def divide(plays: Plays, latest: Floats, artists: Ints, split: str, seed: int = 0) -> Divided:
    """Split plays.

    Parameters
    ----------
    plays : Plays
        With m entries of n tracks.
    latest : float64 (m,)
        When each was, seconds since 1970.
    artists : int64 (n,)
        Numbers, below 0 where they are not known.
    split : str
        One of `SPLITS`, or "random": a fifth of each row.
    seed : int
        Of what is drawn.

    Returns
    -------
    Divided
        Of the latest fifth of all entries, of a tenth of the tracks, or of the tracks of a tenth of the artists.

    Raises
    ------
    InputError
        There is no such split.
    """
    nothing, every = np.zeros(len(plays.items), bool), np.ones(plays.width, bool)
    if split == "random":
        return Divided(hold_out(plays, seed), nothing, every)
    if split == "time":
        return Divided(latest > np.quantile(latest, 1 - _LATER), nothing, every)
    if split not in SPLITS:
        raise InputError(f"no split is called {split!r}; there are {', '.join(SPLITS)}")
    alone = artists.max(initial=0) + 1 + np.arange(plays.width)
    groups = np.where(artists >= 0, artists, alone) if split == "cold-artist" else np.arange(plays.width)
    played = np.unique(groups[plays.listeners > 0])
    drawn = np.random.default_rng(seed).permutation(played)[: max(1, round(_COLD * len(played)))]
    cold = np.isin(groups, drawn) & (plays.listeners > 0)
    return Divided(cold[plays.items], nothing, cold)


def judge(
    plays: Plays,
    parted: Divided,
    collection: Collection,
    name: str,
    seed: int = 0,
    method: str = "auto",
    asking: Ints | None = None,
    progress: Progress | None = None,
) -> Table:
    """Learn from one side of the plays and ask for the other.

    Parameters
    ----------
    plays : Plays
        With m entries of n tracks.
    parted : Divided
        Its two sides.
    collection : Collection
        The tracks.
    name : str
        Of the split.
    seed : int
        Of what is drawn.
    method : str
        As for `taste.training.train`.
    asking : int64 (r,), optional
        Rows that may ask; default all.
    progress : callable, optional
        Called with what is done, and of how much.

    Returns
    -------
    Table
        A row for each way to answer; the first is the one that the others are compared with.

    Raises
    ------
    Unmeasurable
        Too few rows have plays on both sides, or too few tracks are ranked.
    """
    known = plays.only(~parted.hidden & ~parted.left_out)
    wanted = plays.only(parted.hidden)
    met = np.bincount(known.rows[parted.candidates[known.items]], minlength=known.height)
    left = parted.candidates.sum() - met >= K  # for a list to have that many
    rows = np.flatnonzero((known.sizes > 0) & (wanted.sizes > 0) & left)
    rows = rows if asking is None else np.intersect1d(rows, asking)
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_ASKED])
    ranked = int(parted.candidates.sum())
    if len(rows) < _LEAST:
        raise Unmeasurable(
            f"{len(rows)} rows have plays on both sides of the split, and {K} of the {ranked} ranked tracks left to "
            f"find; a figure needs {_LEAST}"
        )
    halves = (lambda done, total: progress(done, 2 * total)) if progress else None
    learned, told = train(known, collection, method, seed, halves)
    answers = _answers(learned, known, wanted, collection, parted.candidates, rows, progress)
    notes = [
        f"learned by {told['method']}; weights found on plays held out once more: "
        + ", ".join(f"{name} {value:g}" for name, value in vars(learned.weights).items()),
        f"guesses from sound had {learned.guess.by_sound:.2f} in common with taste on artists held out once more",
        f"intervals: 95 %, bootstrap over {len(rows)} rows; p: paired permutation, against the first line",
        "taste knows only what was played; guessed, also what sound and artist tell of the rest",
    ]
    table = _table(answers, collection, known, parted.candidates, seed)
    counts = {"hidden_plays": int(wanted.sizes[rows].sum()), "known_plays": len(known.items)}
    question = "do they find what people played, and had not told?"
    return Table(f"taste-{name}", question, "", len(rows), ranked, counts, f"NDCG@{K}", table, notes)


def split_of(library: Library, split: str, seed: int = 0, progress: Progress | None = None) -> Table:
    """Judge the plays of a library; see `judge`.

    Parameters
    ----------
    library : Library
        With plays of many people, or of many sittings.
    split : str
        One of `SPLITS`.
    seed : int
        Of what is drawn.
    progress : callable, optional
        Called with what is done, and of how much.

    Raises
    ------
    Unmeasurable
        Too little is known of who plays what.
    """
    try:
        with Record.open(library.place) as record:
            gathered = gather(record, library.space())
        history = gathered.history
        parted = divide(history.plays, history.latest, gathered.collection.artists, split, seed)
        return judge(history.plays, parted, gathered.collection, split, seed, progress=progress)
    except InputError as error:  # there is too little to learn from
        raise Unmeasurable(str(error)) from error


@dataclass(frozen=True)
class _Answers:
    """Figures of each question, (q,), and lists, (q, K), of one system."""

    values: dict[str, Floats]
    lists: Ints


def _answers(
    learned: Taste,
    known: Plays,
    wanted: Plays,
    collection: Collection,
    candidates: Bools,
    rows: Ints,
    progress: Progress | None,
) -> dict[str, _Answers]:
    usual, is_known = hears(collection.sound), learned.listeners > 0
    popular = np.log1p(learned.listeners).astype(np.float32)
    found: dict[str, list[tuple[float, float, Ints]]] = {name: [] for name in _SYSTEMS}
    rng = np.random.default_rng(0)  # of the order of equals in lists; figures count all orders
    for number, row in enumerate(rows):
        items, weights = known.row(row)
        sound = by_sound(usual, collection.sound, items, weights)
        parts = learned.parts(sound, items, weights, collection.artists)
        scores = {
            _FUSED: fuse(parts, learned.weights), "sound": sound,
            "taste": np.where(is_known, learned.model.scores(items, weights), 0), "taste, guessed": parts.taste,
            "popularity": popular, "random": np.zeros(known.width, np.float32),
        }  # fmt: skip
        ranked = candidates.copy()
        ranked[items] = False
        gains = np.zeros(known.width)
        gains[wanted.row(row)[0]] = 1
        for name, score in scores.items():
            found[name].append(_figures(score[ranked], gains[ranked], np.flatnonzero(ranked), rng))
        if progress:
            progress(len(rows) + number, 2 * len(rows))
    return {
        name: _Answers(
            {
                f"NDCG@{K}": np.array([n for n, _, _ in each]),
                f"recall@{K}": np.array([r for _, r, _ in each]),
            },
            np.stack([best for _, _, best in each]),
        )
        for name, each in found.items()
    }


def _figures(
    scores: Array, gains: Floats, numbers: Ints, rng: np.random.Generator
) -> tuple[float, float, Ints]:
    ranks = metrics.rank(scores, gains)
    best = np.lexsort((rng.random(len(scores)), -scores))[:K]
    return float(metrics.ndcg(ranks, K)[0]), float(metrics.recall(ranks, K)[0]), numbers[best]


def _table(
    answers: dict[str, _Answers], collection: Collection, known: Plays, candidates: Bools, seed: int
) -> list[Row]:
    share = (known.listeners + 1) / (known.height + 1)
    alone = collection.artists.max(initial=0) + 1 + np.arange(known.width)
    artists = np.where(collection.artists >= 0, collection.artists, alone)
    values = {
        name: answer.values
        | {
            "novelty": metrics.novelty(answer.lists, share),
            "artists": metrics.distinct(answer.lists, artists),
        }
        for name, answer in answers.items()
    }
    reached = np.stack([each[f"NDCG@{K}"] for each in values.values()], axis=1)
    groups = np.arange(len(reached))
    columns = np.stack([column for each in values.values() for column in each.values()], axis=1)
    bounds = zip(*intervals(columns, groups, seed), strict=True)
    compared = paired(reached, answers[_FUSED].values[f"NDCG@{K}"], groups, seed)
    out = []
    for (name, each), difference, p in zip(values.items(), *compared, strict=True):
        figures = {column: figure(*next(bounds)) for column in each}
        figures["coverage"] = figure(len(np.unique(answers[name].lists)) / int(candidates.sum()))
        against = (None, None) if name == _FUSED else (rounded(difference), rounded(p))
        out.append(Row(name, name in _BASELINES, figures, *against))
    return out
