"""Who answers: what listens, and what it is compared with.

Every system ranks all candidates of every question, exactly. Nothing is sampled and no index is used: sampled
candidates can turn an order of systems around (Krichene & Rendle, 2020), and an approximate index would be measured
along with the encoder. But only where the right answers stand is ever asked, so nothing is sorted that does not decide
that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import must_be_finite, unit
from soundkin.evaluate.labels import UNKNOWN, Labels, sizes
from soundkin.evaluate.metrics import NEVER
from soundkin.evaluate.pairs import Pairs

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Scores at a time: enough rows for a product of matrices to be fast, and memory that is used again.
_AT_ONCE = 1 << 22
# Less than any cosine, with room for rounding; exact in binary.
_LEAST = -1.125
# So many candidates to a bin, on average over all that a cosine can be.
_PER_BIN = 8
_FEWEST_BINS = 256


@dataclass(frozen=True)
class Block:
    """Some questions.

    Parameters
    ----------
    rows : int64 (b,)
        Who asks.
    right, barred : Pairs
        The right answers of each, and what may not be answered; no candidate is both.
    n : int
        How many candidates there are.
    """

    rows: Ints
    right: Pairs
    barred: Pairs
    n: int

    @property
    def free(self) -> Ints:
        """How many candidates each question has, int64 (b,)."""
        return self.n - self.barred.counts


@dataclass(frozen=True)
class Places:
    """Where the right answers of a block stand.

    Parameters
    ----------
    above, tied : int64 (m,)
        As in `metrics.Ranks`, in the order of `Block.right`.
    lists : int64 (b, k) or None
        The first answers, equal scores in the order of the candidates; None where they are mostly ties.
    """

    above: Ints
    tied: Ints
    lists: Ints | None = None


@dataclass(frozen=True)
class System:
    """Something that ranks candidates.

    Parameters
    ----------
    name : str
        For people.
    places : callable
        Questions, and the length of a list -> where their right answers stand.
    vectors : float32 (n, d) or None
        Of the candidates, unit length; None for one that does not listen.
    baseline : bool
        Whether it is there to compare with.
    """

    name: str
    places: Callable[[Block, int], Places]
    vectors: Array | None = None
    baseline: bool = False


# ---- what listens


def listener(name: str, vectors: Array, questions: Array | None = None, baseline: bool = False) -> System:
    """Make a system of vectors: its score is the cosine.

    Parameters
    ----------
    name : str
        For people.
    vectors : float32 (n, d)
        Of the candidates; any length.
    questions : float32 (q, d), optional
        What is asked with, by number of who asks, if not with the same.
    baseline : bool
        Whether it is there to compare with.

    Raises
    ------
    InputError
        A vector is not finite.
    """
    asked = vectors if questions is None else questions
    for given in (vectors, asked):
        must_be_finite(given, f"vectors of {name}")
    answers, asked = unit(vectors), unit(asked)
    columns = np.ascontiguousarray(answers.T)  # a third faster, for blocks of few questions

    def places(block: Block, k: int) -> Places:
        above, tied = (np.empty(len(block.right.item), np.int64) for _ in range(2))
        lists = np.empty((len(block.rows), k), np.int64)
        step = max(1, _AT_ONCE // block.n)
        memory = np.empty((min(step, len(block.rows)), block.n), np.float32)
        right, barred = block.right.bounds, block.barred.bounds
        for begin in range(0, len(block.rows), step):
            rows = block.rows[begin : begin + step]
            scores = np.matmul(asked[rows], columns, out=memory[: len(rows)])
            for row, score in enumerate(scores, begin):
                score[block.barred.item[barred[row] : barred[row + 1]]] = _LEAST
                own = slice(right[row], right[row + 1])
                above[own], tied[own], lists[row] = _standing(score, block.right.item[own], k)
        return Places(above, tied, lists)

    return System(name, places, answers, baseline)


def _standing(score: Array, right: Ints, k: int) -> tuple[Ints, Ints, Ints]:
    """Find where some candidates stand among all, and which k are first, without sorting all.

    Scores are counted in bins. What lies in the bin of a right answer, or in those of the first k, is sorted; of the
    others it is enough to know how many there are. A bin holds an interval, for rounding keeps the order of numbers.

    Parameters
    ----------
    score : float32 (n,)
        -1 to 1; `_LEAST` for what may not be answered.
    right : int64 (m,)
        Which candidates.
    k : int
        How many come first.

    Returns
    -------
    above, tied : int64 (m,)
        How many score higher, and how many the same.
    first : int64 (k,)
        Best first; of equal ones that with the lower number.
    """
    bins = max(_FEWEST_BINS, len(score) // _PER_BIN)
    scale = np.float32((bins - 1) / (-2 * _LEAST))
    number = (score * scale - scale * np.float32(_LEAST)).astype(np.intp)
    counts = np.bincount(number, minlength=bins)
    near = bins - 1 - int(np.searchsorted(counts[::-1].cumsum(), k))
    looked = np.zeros(bins, bool)
    looked[number[right]] = True
    looked[near:] = True
    counts[looked] = 0
    passed = counts[::-1].cumsum()  # in bins that are not looked into, from the highest down
    some = np.flatnonzero(looked[number])
    ordered, value = np.sort(score[some]), score[right]
    low, high = np.searchsorted(ordered, value, "left"), np.searchsorted(ordered, value, "right")
    above = len(ordered) - high + passed[bins - 1 - number[right]]
    best = some[number[some] >= near]
    return above, high - low, best[np.argsort(-score[best], kind="stable")[:k]]


def scored(name: str, score: Callable[[Ints], Array], baseline: bool = False) -> System:
    """Make a system of a table of scores, for few questions.

    Parameters
    ----------
    name : str
        For people.
    score : callable
        Who asks, int64 (b,) -> scores of all candidates, float32 (b, n); minus infinity for what is not given as an
        answer.
    baseline : bool
        Whether it is there to compare with.
    """

    def places(block: Block, k: int) -> Places:
        scores = score(block.rows)
        scores[block.barred.question, block.barred.item] = -np.inf
        value, ordered = scores[block.right.question, block.right.item], np.sort(scores, axis=1)
        above, tied = (np.empty(len(value), np.int64) for _ in range(2))
        for row in range(len(scores)):
            own = slice(block.right.bounds[row], block.right.bounds[row + 1])
            high = np.searchsorted(ordered[row], value[own], "right")
            above[own] = block.n - high
            tied[own] = high - np.searchsorted(ordered[row], value[own], "left")
        given = value > -np.inf
        return Places(np.where(given, above, NEVER), np.where(given, tied, 1))

    return System(name, places, baseline=baseline)


# ---- what does not listen, in closed form


def baselines(labels: Labels) -> list[System]:
    """Return the systems that do not listen.

    Parameters
    ----------
    labels : Labels
        Of the n candidates.

    Returns
    -------
    list of System
        random: all are equal, so that every metric is the mean over all orders. popularity: the same list for
        everyone, tracks of the artists with most tracks first. same artist: those first, nothing else. best possible:
        knows what is right; where labels have fewer tracks than a list is long, even that is less than 1.
    """
    random, best = bounds(len(labels))
    return [random, popular(labels), _same_artist(labels.artist), best]


def bounds(n: int) -> tuple[System, System]:
    """Return the systems between which all others are: one that knows nothing of n candidates, one that knows all."""
    return _for_everyone("random", np.zeros(n)), System("best possible", _knowing, baseline=True)


def popular(labels: Labels) -> System:
    """Return the system that gives everyone the tracks of the artists with most tracks."""
    return _for_everyone("popularity", popularity(labels))


def popularity(labels: Labels) -> Floats:
    """Return the share of all tracks that is by each track's artist, float64 (n,); an unknown one has one track."""
    return np.maximum(sizes(labels.artist), 1) / max(len(labels), 1)


def _for_everyone(name: str, score: Floats) -> System:
    """Score candidates, float64 (n,), without regard to who asks."""
    levels, level = np.unique(score, return_inverse=True)
    counts = np.bincount(level)
    higher = len(score) - np.cumsum(counts)

    def places(block: Block, k: int) -> Places:
        own, out = level[block.right.item], block.barred
        # What is barred does not stand above anything: a key per question and level finds how much of it did.
        barred = np.sort(out.question * len(levels) + level[out.item])
        key = block.right.question * len(levels) + own
        low, high = np.searchsorted(barred, key, "left"), np.searchsorted(barred, key, "right")
        end = out.bounds[block.right.question + 1]
        return Places(higher[own] - (end - high), counts[own] - (high - low))

    return System(name, places, baseline=True)


def _same_artist(artist: Ints) -> System:
    """Put what is by the artist of who asks, int64 (n,), before all else."""
    size = sizes(artist)

    def places(block: Block, k: int) -> Places:
        by, barred = artist[block.rows], block.barred
        out = barred.question[(artist[barred.item] == by[barred.question]) & (by[barred.question] != UNKNOWN)]
        group = size[block.rows] - np.bincount(out, minlength=len(by))
        question = block.right.question
        inside = (artist[block.right.item] == by[question]) & (by[question] != UNKNOWN)
        rest = (block.free - group)[question]
        return Places(np.where(inside, 0, group[question]), np.where(inside, group[question], rest))

    return System("same artist", places, baseline=True)


def _knowing(block: Block, k: int) -> Places:
    """Put right answers first, by their gains."""
    levels, level = np.unique(-block.right.gain, return_inverse=True)
    question = block.right.question
    key = question * len(levels) + level
    ordered = np.sort(key)
    low, high = np.searchsorted(ordered, key, "left"), np.searchsorted(ordered, key, "right")
    return Places(low - block.right.bounds[question], high - low)
