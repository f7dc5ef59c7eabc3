"""From the answers to the rows of a table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from soundkin.evaluate import metrics
from soundkin.evaluate.confidence import intervals, paired
from soundkin.evaluate.labels import Labels
from soundkin.evaluate.protocols import Task
from soundkin.evaluate.ranking import Measured
from soundkin.evaluate.systems import System, popularity
from soundkin.evaluate.tables import Figure, Row, figure, rounded

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VOTERS = 5


def headline(task: Task, k: int) -> str:
    """Name the figure that systems are compared by."""
    return (task.figures or ("P@{k}",))[0].format(k=k)


def rows(
    task: Task,
    systems: Sequence[System],
    found: Sequence[Measured],
    labels: Labels,
    yardstick: System | None,
    k: int,
    seed: int = 0,
) -> list[Row]:
    """Sum up what systems reached.

    Parameters
    ----------
    task : Task
        What was asked.
    systems, found : sequence of System, of Measured
        Who answered, and what; the others are compared with the first.
    labels : Labels
        Of the n candidates.
    yardstick : System or None
        Something that listens, by whose vectors the diversity of the lists of others is judged.
    k : int
        Length of a list.
    seed : int
        Of intervals and tests.

    Returns
    -------
    list of Row
        One per system.
    """
    groups, main = task.groups[task.asking], headline(task, k)
    values = [
        _values(task, system, answers, labels, yardstick, k)
        for system, answers in zip(systems, found, strict=True)
    ]
    # All columns of all systems at once: drawing groups is most of the work, and the same for all.
    columns = np.stack([column for each in values for column in each.values()], axis=1)
    bounds = zip(*intervals(columns, groups, seed), strict=True)
    figures = [{name: figure(*next(bounds)) for name in each} for each in values]
    mains = np.stack([answers.values[main] for answers in found], axis=1)
    compared = paired(mains[:, 1:], mains[:, 0], groups, seed)
    differences, chances = ([None, *map(rounded, each)] for each in compared)
    for own, value, answers in zip(figures, values, found, strict=True):
        own |= _of_all(task, answers)
        if len(task.label):
            own[f"{main} by label"] = figure(_by_label(value[main], task.label[task.asking]))
    return [
        Row(system.name, system.baseline, own, difference, p)
        for system, own, difference, p in zip(systems, figures, differences, chances, strict=True)
    ]


def _values(
    task: Task, system: System, answers: Measured, labels: Labels, yardstick: System | None, k: int
) -> dict[str, Floats]:
    """Return the figures of every question, in the order of the columns."""
    if task.figures:
        return {name: answers.values[name] for name in (figure.format(k=k) for figure in task.figures)}
    values = dict(answers.values)
    values.pop("hit@1")  # the same as precision at 1
    lists = answers.lists
    if lists is not None:
        chosen = metrics.vote(lists, task.label, VOTERS)
        values[f"{VOTERS}-NN"] = (chosen == task.label[task.asking]).astype(np.float64)
        values["novelty"] = metrics.novelty(lists, popularity(labels))
        if yardstick is not None and yardstick.vectors is not None and yardstick.name != system.name:
            values["diversity"] = metrics.intra_list_diversity(lists, yardstick.vectors)
    return values


def _of_all(task: Task, answers: Measured) -> dict[str, Figure]:
    """Return the figures that lists have together."""
    if answers.lists is None or not len(task.label) or task.sampled:
        return {}
    n = len(task.candidates)
    counts = metrics.occurrences(answers.lists, n)
    return {
        "skew": figure(metrics.hubness(counts)),
        "orphans": figure(metrics.orphans(counts)),
        "coverage": figure(metrics.coverage(answers.lists, n)),
    }


def _by_label(values: Floats, labels: Ints) -> float:
    """Average inside labels first, so that large ones count no more than small ones."""
    _, which = np.unique(labels, return_inverse=True)
    return float((np.bincount(which, values) / np.bincount(which)).mean())
