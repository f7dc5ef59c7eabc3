"""Who finds what people will play: popularity, sound, taste, or sound and taste together.

Plays are split; models learn from one side, with weights that they find on a part of it, and are asked for the other.
With the splits ``cold-track`` and ``cold-artist`` what is held out was played by nobody else, and only that is ranked:
then taste alone knows nothing, and what is found is what can be told from sound (and, for tracks, from others of the
artist, which is why the honest test of sound is cold artists).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError
from soundkin.evaluate import metrics
from soundkin.evaluate.confidence import intervals, paired
from soundkin.evaluate.protocols import Unmeasurable
from soundkin.evaluate.tables import Row, Table, figure, rounded
from soundkin.library import Library
from soundkin.record import Record
from soundkin.taste.adopting import LEAST_PLAYS, LEAST_ROWS, enough, learned
from soundkin.taste.candidates import Hearing, Question
from soundkin.taste.dividing import Divided, divide
from soundkin.taste.gathering import gather
from soundkin.taste.learning import Collection, Taste
from soundkin.taste.matrix import Plays
from soundkin.taste.ranker import has_lightgbm
from soundkin.taste.training import steps, weighed

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Progress = Callable[[int, int], None]

K = 20
_LEAST, _MOST_ASKED = 10, 500
_FUSED, _RANKED = "sound and taste", "ranker"
_BASELINES = ("popularity", "random")


def learn_from(
    known: Plays,
    collection: Collection,
    method: str = "auto",
    seed: int = 0,
    latest: Floats | None = None,
    progress: Progress | None = None,
) -> tuple[Taste, dict[str, Any]]:
    """Learn from plays as training does, with a ranker wherever there is enough to learn one from.

    Parameters
    ----------
    known : Plays
        With m entries.
    collection : Collection
        The tracks.
    method : str
        As for `taste.training.weighed`.
    seed : int
        Of what is drawn.
    latest : float64 (m,), optional
        When each entry was.
    progress : callable, optional
        Called with what is done, and of how much.

    Returns
    -------
    taste, told : Taste, dict
        As of `taste.training.weighed`; whether the ranker would be adopted is not asked.
    """
    step = steps(progress, 2)
    taste, told = weighed(known, collection, method, seed, step(0))
    if enough(known) and has_lightgbm():
        ranker = learned(taste, known, collection, told["method"], seed, latest, step(1))
        taste = replace(taste, ranker=ranker)
    return taste, told


def judge(
    plays: Plays,
    parted: Divided,
    collection: Collection,
    name: str,
    seed: int = 0,
    method: str = "auto",
    asking: Ints | None = None,
    latest: Floats | None = None,
    before: tuple[Taste, dict[str, Any]] | None = None,
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
    latest : float64 (m,), optional
        When each entry was.
    before : (Taste, dict), optional
        What `learn_from` returned for the known side; default it is asked.
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
    kept = ~parted.hidden & ~parted.left_out
    known = plays.only(kept)
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
    step = steps(progress, 2)
    times = None if latest is None else latest[kept]
    taste, told = before or learn_from(known, collection, method, seed, times, step(0))
    answers = _answers(taste, known, wanted, collection, parted.candidates, rows, step(1))
    notes = [
        f"learned by {told['method']}; weights found on plays held out once more: "
        + ", ".join(f"{name} {value:g}" for name, value in vars(taste.weights).items()),
        f"guesses from sound had {taste.guess.by_sound:.2f} in common with taste on artists held out once more",
        f"intervals: 95 %, bootstrap over {len(rows)} rows; p: paired permutation, against the first line",
        "taste knows only what was played; guessed, also what sound and artist tell of the rest",
    ]
    if taste.ranker is None:
        notes.append(
            f"no learned order: it takes {LEAST_PLAYS} plays by {LEAST_ROWS} rows to learn from, and the extra rank"
        )
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
        return judge(
            history.plays, parted, gathered.collection, split, seed, latest=history.latest, progress=progress
        )
    except InputError as error:  # there is too little to learn from
        raise Unmeasurable(str(error)) from error


@dataclass(frozen=True)
class _Answers:
    """Figures of each question, (q,), and lists, (q, K), of one system."""

    values: dict[str, Floats]
    lists: Ints


def _answers(
    taste: Taste,
    known: Plays,
    wanted: Plays,
    collection: Collection,
    candidates: Bools,
    rows: Ints,
    progress: Progress | None,
) -> dict[str, _Answers]:
    hearing = Hearing.of(collection.sound)
    found: dict[str, list[tuple[float, float, Ints]]] = {}
    rng = np.random.default_rng(0)  # of the order of equals in lists; figures count all orders
    for number, row in enumerate(rows.tolist()):
        items, weights = known.row(row)
        ranked = candidates.copy()
        ranked[items] = False
        gains = np.zeros(known.width)
        gains[wanted.row(row)[0]] = 1
        for name, score in _scores(
            Question.of(taste, hearing, collection.artists, items, weights), weights, ranked
        ):
            found.setdefault(name, []).append(
                _figures(score[ranked], gains[ranked], np.flatnonzero(ranked), rng)
            )
        if progress:
            progress(number, len(rows))
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


def _scores(question: Question, weights: Array, ranked: Bools) -> Iterator[tuple[str, Array]]:
    """Score all tracks in every way, the one that others are compared with first."""
    taste, nothing = question.taste, np.zeros(len(ranked), np.float32)
    yield _FUSED, question.fused()
    if taste.ranker is not None:
        yield _RANKED, question.ranked(ranked)
    yield "sound", question.parts.sound
    yield "taste", np.where(taste.listeners > 0, taste.model.scores(question.items, weights), nothing)
    yield "taste, guessed", question.parts.taste
    yield "popularity", np.log1p(taste.listeners).astype(np.float32)
    yield "random", nothing


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
