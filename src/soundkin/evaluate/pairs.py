"""Some candidates of each of some questions: what a table of all of them would say, in the space of those few."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from soundkin.evaluate.labels import UNKNOWN

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Questions, each with some candidates.

    Parameters
    ----------
    questions : int
        How many there are.
    question : int64 (m,)
        Of each pair, ascending, from 0.
    item : int64 (m,)
        The candidate.
    gain : float64 (m,)
        How right it is as an answer, where that is what is meant.
    """

    questions: int
    question: Ints
    item: Ints
    gain: Floats

    @classmethod
    def none(cls, questions: int) -> "Pairs":
        """Give no candidate to any of the questions."""
        empty = np.empty(0, np.int64)
        return cls(questions, empty, empty, np.empty(0))

    @classmethod
    def each(cls, items: Ints) -> "Pairs":
        """Give every question one candidate, int64 (questions,)."""
        return cls(len(items), np.arange(len(items)), items, np.ones(len(items)))

    @cached_property
    def counts(self) -> Ints:
        """How many candidates each question has, int64 (questions,)."""
        return np.bincount(self.question, minlength=self.questions).astype(np.int64)

    @cached_property
    def bounds(self) -> Ints:
        """Where the pairs of each question begin, and the last ends, int64 (questions + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def kept(self, which: NDArray[np.bool_]) -> "Pairs":
        """Keep some of the pairs, bool (m,)."""
        return Pairs(self.questions, self.question[which], self.item[which], self.gain[which])


class Members:
    """The members of every label.

    Parameters
    ----------
    labels : int64 (m,)
        Numbers, or `UNKNOWN`.
    items : int64 (m,), optional
        What has each label; without, the m-th has the m-th.
    """

    def __init__(self, labels: Ints, items: Ints | None = None) -> None:
        order = np.argsort(labels, kind="stable")
        self._items = order if items is None else items[order]
        # From that of UNKNOWN, which is -1, to one after the last.
        numbers = np.arange(UNKNOWN, labels.max(initial=UNKNOWN) + 2)
        self._bounds = np.searchsorted(labels[order], numbers)

    def of(self, wanted: Ints) -> Pairs:
        """Give each question the members of its label.

        Parameters
        ----------
        wanted : int64 (questions,)
            Labels; the unknown one has no members.
        """
        place = wanted - UNKNOWN
        begin = self._bounds[place]
        size = np.where(wanted == UNKNOWN, 0, self._bounds[place + 1] - begin)
        question = np.repeat(np.arange(len(wanted)), size)
        inside = np.arange(len(question)) - np.repeat(np.cumsum(size) - size, size)
        return Pairs(len(wanted), question, self._items[begin[question] + inside], np.ones(len(question)))
