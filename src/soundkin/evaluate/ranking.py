"""Who answers, and the answers: every system ranks all candidates, exactly, a block of questions at a time.

Nothing is sampled and no index is used: sampled candidates can turn an order of systems around (Krichene & Rendle,
2020), and an approximate index would be measured along with the encoder. Memory is that of a block.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import cores
from soundkin.encoders import unit
from soundkin.errors import InputError
from soundkin.evaluate import metrics
from soundkin.evaluate.labels import UNKNOWN, Labels, sizes
from soundkin.evaluate.protocols import Task, Unmeasurable

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Score = Callable[[Ints], Array]

# Scores held at a time, by all threads together: 64 MB in each of the few arrays that are of this size.
_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class System:
    """Something that scores candidates.

    Parameters
    ----------
    name : str
        For people.
    score : callable
        Some of the candidates, int64 (b,) -> their scores of all candidates, float32 (b, n), new memory.
    vectors : float32 (n, d) or None
        Of the candidates, unit length; None for one that does not listen.
    baseline : bool
        Whether it is there to compare with.
    """

    name: str
    score: Score
    vectors: Array | None = None
    baseline: bool = False


@dataclass(frozen=True)
class Measured:
    """What a system reached.

    Parameters
    ----------
    values : dict of str to float64 (q,)
        Metric -> figure of every question.
    lists : int64 (q, k) or None
        Its answers, best first, equal scores in the order of the candidates; None for a system that does not listen,
        because its lists are mostly ties.
    """

    values: dict[str, Floats]
    lists: Ints | None


def listener(name: str, vectors: Array, questions: Array | None = None, baseline: bool = False) -> System:
    """Make a system of vectors: its score is the cosine.

    Parameters
    ----------
    name : str
        For people.
    vectors : float32 (n, d)
        Of the candidates; any length.
    questions : float32 (n, d), optional
        What the candidates ask with, if not with the same.
    baseline : bool
        Whether it is there to compare with.

    Raises
    ------
    InputError
        A vector is not finite.
    """
    asked = vectors if questions is None else questions
    for given in (vectors, asked):
        bad = int((~np.isfinite(given).all(axis=1)).sum())
        if bad:
            raise InputError(
                f"{bad} of {len(given)} vectors of {name} hold NaN or infinity; wanted finite numbers"
            )
    answers, asked = unit(vectors), unit(asked)
    return System(name, lambda rows: asked[rows] @ answers.T, answers, baseline)


def baselines(task: Task, labels: Labels) -> list[System]:
    """Return the systems that do not listen.

    Parameters
    ----------
    task : Task
        What is asked.
    labels : Labels
        Of the n candidates.

    Returns
    -------
    list of System
        random: all are equal, so that every metric is the mean over all orders. popularity: the same list for
        everyone, tracks of the artists with most tracks first. same artist: those first, nothing else. best possible:
        knows what is right; where labels have fewer tracks than a list is long, even that is less than 1.
    """
    n, artist = len(labels), labels.artist.astype(np.int32)
    popular = popularity(labels).astype(np.float32)
    known = artist != UNKNOWN
    scores: dict[str, Score] = {
        "popularity": lambda rows: np.tile(popular, (len(rows), 1)),
        "same artist": lambda rows: ((artist[rows, None] == artist) & known).astype(np.float32),
    }
    random, best = bounds(task, n)
    return [random, *(System(name, score, baseline=True) for name, score in scores.items()), best]


def bounds(task: Task, n: int) -> tuple[System, System]:
    """Return the systems between which all others are: one that knows nothing of n candidates, one that knows all."""
    return (
        System("random", lambda rows: np.zeros((len(rows), n), np.float32), baseline=True),
        System("best possible", lambda rows: task.gains(rows).astype(np.float32), baseline=True),
    )


def popularity(labels: Labels) -> Floats:
    """Return the share of all tracks that is by each track's artist, float64 (n,); an unknown one has one track."""
    return np.maximum(sizes(labels.artist), 1) / max(len(labels), 1)


def measure(
    task: Task, systems: Sequence[System], k: int, progress: Callable[[int, int], None] | None = None
) -> list[Measured]:
    """Let every system answer every question.

    Parameters
    ----------
    task : Task
        Of n candidates.
    systems : sequence of System
        Of the same candidates.
    k : int
        Length of a list.
    progress : callable, optional
        Called with questions done and in all.

    Returns
    -------
    list of Measured
        In the order of the systems.

    Raises
    ------
    Unmeasurable
        A track has fewer than k candidates.
    """
    blocks = list(_blocks(len(task.asking), len(task.candidates)))
    out: list[list[Measured]] = []
    with ThreadPoolExecutor(cores()) as pool:
        for number, found in enumerate(
            pool.map(lambda at: _block(task, systems, task.asking[at], k), blocks)
        ):
            out.append(found)
            if progress:
                progress(blocks[number].stop, len(task.asking))
    return [_joined(parts) for parts in zip(*out, strict=True)]


def _blocks(questions: int, n: int) -> Iterator[slice]:
    rows = max(1, min(1024, _AT_ONCE // cores() // n))
    for begin in range(0, questions, rows):
        yield slice(begin, min(begin + rows, questions))


def _block(task: Task, systems: Sequence[System], rows: Ints, k: int) -> list[Measured]:
    barred = task.barred(rows)
    least = int((~barred).sum(axis=1).min())
    if least < k:
        raise Unmeasurable(f"a track has only {least} others to choose from; at least k={k} are needed")
    gains = task.gains(rows)
    gains[barred] = 0
    return [_answer(system, rows, gains, barred, k) for system in systems]


def _answer(
    system: System, rows: Ints, gains: NDArray[np.generic], barred: NDArray[np.bool_], k: int
) -> Measured:
    scores = system.score(rows)
    scores[barred] = -np.inf
    ordered = np.sort(scores, axis=1)
    ranks = metrics.rank_sorted(ordered, scores, gains)
    values = {
        "P@1": metrics.precision(ranks, 1),
        f"P@{k}": metrics.precision(ranks, k),
        "R-prec": metrics.r_precision(ranks),
        "mAP": metrics.average_precision(ranks),
        "MRR": metrics.reciprocal_rank(ranks),
        f"NDCG@{k}": metrics.ndcg(ranks, k),
        f"recall@{k}": metrics.recall(ranks, k),
        "hit@1": metrics.hit_rate(ranks, 1),
        f"hit@{k}": metrics.hit_rate(ranks, k),
    }
    return Measured(values, None if system.vectors is None else _nearest(scores, ordered, k))


def _nearest(scores: Array, ordered: Array, k: int) -> Ints:
    """Return the k best of each row, best first."""
    out = np.empty((len(scores), k), np.int64)
    for row, (score, least) in enumerate(zip(scores, ordered[:, -k], strict=True)):
        near = np.flatnonzero(score >= least)
        out[row] = near[np.argsort(-score[near], kind="stable")][:k]
    return out


def _joined(parts: Sequence[Measured]) -> Measured:
    values = {name: np.concatenate([p.values[name] for p in parts]) for name in parts[0].values}
    lists = [p.lists for p in parts if p.lists is not None]
    return Measured(values, np.concatenate(lists) if lists else None)
