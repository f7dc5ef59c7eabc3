"""The answers: every system is asked every question, a block of questions at a time. Memory is that of a block."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import cores
from soundkin.evaluate import metrics
from soundkin.evaluate.protocols import Task, Unmeasurable
from soundkin.evaluate.systems import Block, System

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Right answers held at a time, by all threads together, when every candidate is one.
_AT_ONCE = 1 << 24
_MOST = 1024


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
    rows = max(1, min(_MOST, _AT_ONCE // cores() // n))
    for begin in range(0, questions, rows):
        yield slice(begin, min(begin + rows, questions))


def _block(task: Task, systems: Sequence[System], rows: Ints, k: int) -> list[Measured]:
    block = Block(rows, task.right(rows), task.barred(rows), len(task.candidates))
    least = int(block.free.min())
    if least < k:
        raise Unmeasurable(f"a track has only {least} others to choose from; at least k={k} are needed")
    return [_answer(system, block, k) for system in systems]


def _answer(system: System, block: Block, k: int) -> Measured:
    found, right = system.places(block, k), block.right
    ranks = metrics.ranked(right.questions, right.question, found.above, found.tied, right.gain)
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
    return Measured(values, found.lists)


def _joined(parts: Sequence[Measured]) -> Measured:
    values = {name: np.concatenate([p.values[name] for p in parts]) for name in parts[0].values}
    lists = [p.lists for p in parts if p.lists is not None]
    return Measured(values, np.concatenate(lists) if lists else None)
