"""Figures of a ranking, as pure functions; definitions are those of trec_eval.

A question is asked of a set of candidates; each has a score, and a gain: how right it is as an answer, 0 for wrong.
`rank` turns scores and gains into `Ranks`: where the right answers stand. Each metric is a function of those, and gives
one value per question.

**Ties.** Candidates with equal scores stand in no order. Every metric is the mean over all orders they could stand in,
exactly (McSherry & Najork, 2008, and the same argument for average precision and reciprocal rank): no metric depends
on the order of the input, and a system that says nothing gets what a random order would.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundkin.errors import InputError

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The place of an answer that was never given.
NEVER = np.iinfo(np.int64).max // 2
# Of a geometric series with this much of its exponent summed, nothing is left that a float64 would show.
_ENOUGH = 40


@dataclass(frozen=True)
class Ranks:
    """Where the right answers stand, question after question, best first.

    Parameters
    ----------
    questions : int
        How many were asked.
    question : int64 (m,)
        Of each right answer: whose it is, ascending.
    above : int64 (m,)
        How many candidates are scored higher; `NEVER` when it was not given at all.
    tied : int64 (m,)
        How many candidates have its score, itself among them.
    gain : float64 (m,)
        How right it is, more than 0.
    """

    questions: int
    question: Ints
    above: Ints
    tied: Ints
    gain: Floats

    @cached_property
    def right(self) -> Ints:
        """How many right answers each question has, int64 (questions,)."""
        return np.bincount(self.question, minlength=self.questions).astype(np.int64)

    @cached_property
    def starts(self) -> Ints:
        """Where the answers of each question begin, int64 (questions,)."""
        return np.cumsum(self.right) - self.right

    @cached_property
    def groups(self) -> tuple[Ints, Ints]:
        """Where the tie group of each right answer begins, and how large it is, int64 (m,) each."""
        changed = (np.diff(self.question, prepend=-1) != 0) | (np.diff(self.above, prepend=-1) != 0)
        begins = np.flatnonzero(changed)
        number = np.cumsum(changed) - 1
        return begins[number], np.diff(begins, append=len(changed))[number]

    def sums(self, values: ArrayLike, which: Ints | slice = slice(None)) -> Floats:
        """Add up a value per right answer, or of some of them, over those of each question, float64 (questions,)."""
        own = self.question[which]
        return np.bincount(own, np.asarray(values, np.float64), self.questions).astype(np.float64)

    def first(self, k: int) -> Ints:
        """Return the numbers of the right answers that can be among the first k."""
        return np.flatnonzero(self.above < k)


def rank(scores: ArrayLike, gains: ArrayLike) -> Ranks:
    """Find where the right answers stand.

    Parameters
    ----------
    scores : float (n,) or (questions, n)
        Of the candidates, higher is better; minus infinity for one that is not given as an answer.
    gains : float (n,) or (questions, n)
        How right each would be; 0 is wrong.

    Returns
    -------
    Ranks
        A right answer that is not given counts as missed.

    Raises
    ------
    InputError
        The shapes differ, a score is NaN, or a gain is negative or not finite.
    """
    score, gain = np.atleast_2d(np.asarray(scores)), np.atleast_2d(np.asarray(gains))
    if score.shape != gain.shape or score.ndim != 2:
        raise InputError(
            f"scores {score.shape} came with gains {gain.shape}; wanted the same, (questions, n)"
        )
    if np.isnan(score).any():
        raise InputError(f"{int(np.isnan(score).sum())} of {score.size} scores are NaN; wanted numbers")
    if not (np.isfinite(gain).all() and (gain >= 0).all()):
        raise InputError("a gain is negative, infinite or NaN; wanted 0 for wrong and more for right")
    question, item = np.nonzero(gain)
    low, high = np.empty(len(item), np.int64), np.empty(len(item), np.int64)
    value, ordered = score[question, item], np.sort(score, axis=1)
    bounds = np.searchsorted(question, np.arange(len(score) + 1))
    for row, (begin, end) in enumerate(itertools.pairwise(bounds)):
        low[begin:end] = np.searchsorted(ordered[row], value[begin:end], "left")
        high[begin:end] = np.searchsorted(ordered[row], value[begin:end], "right")
    given = value > -np.inf
    above = np.where(given, ordered.shape[1] - high, NEVER)
    tied = np.where(given, high - low, 1)
    return ranked(len(score), question, above, tied, gain[question, item].astype(np.float64))


def ranked(questions: int, question: Ints, above: Ints, tied: Ints, gain: Floats) -> Ranks:
    """Put right answers in order; the parameters are those of `Ranks`, in any order inside a question."""
    # Places that were never given stand after all others; one key sorts faster than two.
    last = int(above.max(initial=0, where=above < NEVER)) + 1
    order = np.argsort(question * (last + 1) + np.minimum(above, last), kind="stable")
    return Ranks(questions, question[order], above[order], tied[order], gain[order])


# ---- per question, float64 (questions,); NaN for a question without a right answer


def precision(ranks: Ranks, k: int) -> Floats:
    """Return the share of right answers among the first k, even when fewer than k are given (trec_eval ``P_k``)."""
    return _asked(ranks, _found(ranks, k) / k)


def recall(ranks: Ranks, k: int) -> Floats:
    """Return the share of the right answers that is among the first k (trec_eval ``recall_k``)."""
    return _over(_found(ranks, k), ranks.right)


def r_precision(ranks: Ranks) -> Floats:
    """Return precision among the first R, R being how many are right (trec_eval ``Rprec``)."""
    within = np.clip((ranks.right[ranks.question] - ranks.above) / ranks.tied, 0.0, 1.0)
    return _over(ranks.sums(within), ranks.right)


def hit_rate(ranks: Ranks, k: int) -> Floats:
    """Return whether any of the first k is right (trec_eval ``success_k``)."""
    question, above, tied, right = _first_groups(ranks)
    missed = np.ones(len(above))
    for place in range(k):  # the chance that none of those drawn so far from the first group was right
        drawn = place - above
        left = np.maximum(tied - right - drawn, 0) / np.maximum(tied - drawn, 1)
        missed *= np.where((drawn >= 0) & (drawn < tied), left, 1.0)
    out = np.full(ranks.questions, np.nan)
    out[question] = 1.0 - missed
    return out


def reciprocal_rank(ranks: Ranks) -> Floats:
    """Return one over the place of the first right answer (trec_eval ``recip_rank``); its mean is the MRR."""
    question, above, tied, right = _first_groups(ranks)
    groups, which = np.unique(np.stack([above, tied, right]), axis=1, return_inverse=True)
    out = np.full(ranks.questions, np.nan)
    values = np.array([_first_of_group(*group) for group in groups.T.tolist()])
    out[question] = values[which] if len(values) else 0.0
    return out


def average_precision(ranks: Ranks, k: int | None = None) -> Floats:
    """Return the mean, over all right answers, of precision where each stands; 0 for those after the k-th.

    Its mean over questions is the mAP (trec_eval ``map``, ``map_cut_k``).

    Parameters
    ----------
    ranks : Ranks
        Where the right answers stand.
    k : int, optional
        Where the list ends.
    """
    start, size = ranks.groups
    before = start - ranks.starts[ranks.question]  # right answers in higher groups
    given = ranks.above < NEVER
    above, tied = np.where(given, ranks.above, 0), ranks.tied
    end = tied if k is None else np.clip(k - above, 0, tied)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int((above + end).max(initial=0)) + 1))])
    reciprocals = harmonic[above + end] - harmonic[above]  # sum of 1 / place, over the places of the group
    # At its j-th place of t, (j - 1) (r - 1) / (t - 1) of the group's other right answers are expected before it.
    others = (size - 1) / np.maximum(tied - 1, 1) * (end - (above + 1) * reciprocals)
    values = np.where(given, ((before + 1) * reciprocals + others) / tied, 0.0)
    return _over(ranks.sums(values), ranks.right)


def ndcg(ranks: Ranks, k: int) -> Floats:
    """Return discounted cumulative gain of the first `k` of `ranks`, as a share of the best there could be.

    Linear gain over log2(1 + place): trec_eval ``ndcg_cut_k``, scikit-learn ``ndcg_score``.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    cumulative = np.concatenate([[0.0], np.cumsum(discount)])
    near = ranks.first(k)
    begin, tied = ranks.above[near], ranks.tied[near]
    share = (cumulative[np.minimum(begin + tied, k)] - cumulative[begin]) / tied
    found = ranks.sums(ranks.gain[near] * share, near)
    if (ranks.gain == 1).all():
        return _over(found, cumulative[np.minimum(ranks.right, k)])
    order = np.lexsort((-ranks.gain, ranks.question))
    place = np.arange(len(order)) - ranks.starts[ranks.question]
    weight = np.where(place < k, discount[np.minimum(place, k - 1)], 0.0)
    return _over(found, ranks.sums(ranks.gain[order] * weight))


def vote(lists: Ints, labels: Ints, k: int) -> Ints:
    """Let the k nearest vote for a label.

    Parameters
    ----------
    lists : int64 (questions, >= k)
        Answers, best first.
    labels : int64 (n,)
        Of the candidates.
    k : int
        How many vote.

    Returns
    -------
    int64 (questions,)
        The label with most votes; of several, the one whose first voter is nearest.
    """
    voters = labels[lists[:, :k]]
    votes = (voters[:, :, None] == voters[:, None, :]).sum(axis=2)
    return voters[np.arange(len(voters)), votes.argmax(axis=1)]


# ---- of lists: what is beyond being right


def occurrences(lists: Ints, n: int) -> Ints:
    """Count how often each of n candidates is in a list, int64 (n,): its k-occurrence."""
    return np.bincount(lists.ravel(), minlength=n)


def hubness(counts: ArrayLike) -> float:
    """Return the skewness of k-occurrences `counts`, NaN when all are equal.

    0 is even; above 1 a few tracks are everywhere (Radovanović et al., 2010).
    """
    count = np.asarray(counts, np.float64)
    spread = count.std()
    return float(((count - count.mean()) ** 3).mean() / spread**3) if spread > 0 else float("nan")


def orphans(counts: ArrayLike) -> float:
    """Return the share of candidates that are in no list."""
    return float((np.asarray(counts) == 0).mean())


def coverage(lists: Ints, n: int) -> float:
    """Return the share of n candidates that is in some list."""
    return len(np.unique(lists)) / n


def intra_list_diversity(lists: Ints, vectors: Array) -> Floats:
    """Return the mean of 1 - cosine over the pairs of each list.

    Parameters
    ----------
    lists : int64 (questions, k)
        Of at least two answers.
    vectors : float32 (n, d)
        Of the candidates, unit length, in a space that did not make the lists: in its own, a list is always close.

    Returns
    -------
    float64 (questions,)
        0, all the same, to 1, unrelated, and beyond, opposed.
    """
    k = lists.shape[1]
    if k < 2:
        raise InputError(f"lists of {k}; wanted at least 2 answers to compare with each other")
    # The sum over pairs from the length of the sum: |sum v|^2 = k + 2 sum over pairs.
    total = np.zeros((len(lists), vectors.shape[1]))
    for place in range(k):
        total += vectors[lists[:, place]]
    return 1.0 - ((total**2).sum(axis=1) - k) / (k * (k - 1))


def distinct(lists: Ints, labels: Ints) -> Floats:
    """Return how many different labels, int64 (n,), are in each list, as a share of its length."""
    found = np.sort(labels[lists], axis=1)
    return (1 + (np.diff(found, axis=1) != 0).sum(axis=1)) / lists.shape[1]


def novelty(lists: Ints, popularity: ArrayLike) -> Floats:
    """Return how little known the answers are, in bits: the mean of -log2 popularity.

    Parameters
    ----------
    lists : int64 (questions, k)
        Answers.
    popularity : float (n,)
        Share of the plays (or of whatever stands for them), more than 0.
    """
    return -np.log2(np.asarray(popularity, np.float64))[lists].mean(axis=1)


# ---- inside


def _asked(ranks: Ranks, values: Floats) -> Floats:
    return np.where(ranks.right > 0, values, np.nan)


def _over(values: Floats, whole: Floats | Ints) -> Floats:
    return np.divide(values, whole, out=np.full(len(values), np.nan), where=whole > 0)


def _found(ranks: Ranks, k: int) -> Floats:
    """Return how many right answers of each question are among the first k."""
    near = ranks.first(k)
    return ranks.sums(np.minimum((k - ranks.above[near]) / ranks.tied[near], 1.0), near)


def _first_groups(ranks: Ranks) -> tuple[Ints, Ints, Ints, Ints]:
    """Return, of each question with a right answer, the group of the first: above, tied, and how many are right."""
    question = np.flatnonzero(ranks.right)
    at = ranks.starts[question]
    return question, ranks.above[at], ranks.tied[at], ranks.groups[1][at]


def _first_of_group(above: int, tied: int, right: int) -> float:
    """Return the expected 1 / place of the first of `right` among `tied` in random order, after `above` others."""
    if above >= NEVER:
        return 0.0
    length = min(tied - right + 1, -(-_ENOUGH * tied // right))
    before = np.arange(length - 1)
    missed = np.concatenate([[1.0], np.cumprod((tied - right - before) / (tied - before))])
    places = np.arange(length)
    return float((missed * right / (tied - places) / (above + 1 + places)).sum())
