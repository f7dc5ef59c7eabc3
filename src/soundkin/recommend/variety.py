"""Choosing a list from what fits: not one artist after the other, and no recording twice.

`pick` is a pure function on numbers and names, so that a recommendation, a radio and a playlist share it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from soundkin.errors import InputError

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Variety:
    """How a list may not repeat itself.

    Parameters
    ----------
    per_artist, per_album : int
        At most so many tracks of one artist, or of one album, 1 or more,
    window : int
        in any so many tracks that follow each other, 1 or more.
    diversity : float
        0 to 1: how much what sounds like the tracks just before it is put off. 0 looks at the scores alone, 1
        at nothing but difference.

    Raises
    ------
    InputError
        A number is out of its range.
    """

    per_artist: int = 2
    per_album: int = 2
    window: int = 10
    diversity: float = 0.1

    def __post_init__(self) -> None:
        for name in ("per_artist", "per_album", "window"):
            if getattr(self, name) < 1:
                raise InputError(f"variety: {name}={getattr(self, name)}, wanted 1 or more")
        if not 0 <= self.diversity <= 1:
            raise InputError(f"variety: diversity={self.diversity}, wanted 0 to 1")


FREE = Variety(per_artist=10**9, per_album=10**9, diversity=0.0)
"""No rule at all but that no recording comes twice."""


def pick(
    scores: npt.ArrayLike,
    vectors: Array,
    artists: Sequence[str],
    albums: Sequence[str],
    k: int,
    rules: Variety = FREE,
    same: Callable[[int, Sequence[int]], Sequence[int]] | None = None,
    before: Sequence[int] = (),
    shares: Array | None = None,
    due: Array | None = None,
    never: Sequence[int] = (),
    refused: Callable[[int], bool] | None = None,
) -> list[int]:
    """Choose k candidates one after the other, each the best that the rules allow after those before it.

    The trade of score and difference is maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998):
    each next track has the largest (1 - diversity) * score - diversity * (greatest cosine with the tracks of
    the window before it), with the greatest score taken as 1 and the least, if negative, as 0.

    Parameters
    ----------
    scores : float (n,)
        How well each candidate fits; more is better, any scale.
    vectors : float32 (n, d)
        Of unit length.
    artists, albums : sequence of str
        n names each; spelling in upper or lower case does not matter, and an empty name is nobody's.
    k : int
        How many.
    rules : Variety
        What is allowed.
    same : callable, optional
        Given the place of a candidate and those of others, which of these are the same recording.
    before : sequence of int
        Places of candidates that have been heard already, in their order: they count for the rules, and do
        not come again.
    shares : float32 (n, t), optional
        What part of each candidate's score comes from each of t tastes; rows sum to 1.
    due : float32 (t,), optional
        What part of the list each taste should have; sums to 1. Candidates of a taste that has had less so far are
        preferred, so that the strongest one does not take the whole list (as xQuAD does for the meanings of a
        question: Santos et al., WWW 2010).
    never : sequence of int
        Places of candidates that do not come.
    refused : callable, optional
        Asked of each candidate that would come next, whether it may not come after all.

    Returns
    -------
    list of int
        Places of min(k, all that there are) candidates. Where the rules allow none of those left, the best one
        comes all the same: a list may be as monotonous as the library, but not shorter. A recording never
        comes twice.
    """
    scores = np.asarray(scores, np.float64)
    if not len(scores):
        return []
    fit = scores - min(0.0, float(scores.min()))
    fit /= max(float(fit.max()), 1e-12)
    groups = [
        (_numbered(names), limit) for names, limit in ((artists, rules.per_artist), (albums, rules.per_album))
    ]
    free = np.ones(len(scores), bool)
    free[[*never, *before]] = False
    heard, chosen = list(before), list[int]()
    tastes = None if shares is None or due is None or len(due) < 2 else _Tastes(shares, due)
    alike = {place: vectors @ vectors[place] for place in heard[-rules.window :]} if rules.diversity else {}
    while len(chosen) < k and free.any():
        recent = heard[max(0, len(heard) - rules.window + 1) :]
        allowed = free.copy()
        for numbers, limit in groups:
            full = [
                number for number, n in Counter(numbers[recent].tolist()).items() if number and n >= limit
            ]
            allowed &= ~np.isin(numbers, full)
        gain = fit if tastes is None else fit * tastes.factor()
        if rules.diversity and recent:
            nearest = np.max([alike[place] for place in recent], axis=0)
            gain = (1 - rules.diversity) * gain - rules.diversity * nearest
        # of equals the first, so that the answer does not depend on how they were sorted
        best = int(np.where(allowed if allowed.any() else free, gain, -np.inf).argmax())
        free[best] = False
        # telling copies costs most of all, so only who would come is asked
        if (refused is not None and refused(best)) or (same is not None and same(best, heard)):
            continue
        if tastes is not None:
            tastes.give(best)
        if rules.diversity:
            alike[best] = vectors @ vectors[best]
        chosen.append(best)
        heard.append(best)
    return chosen


def repeats(artists: Sequence[str], albums: Sequence[str], rules: Variety) -> bool:
    """Tell whether a list breaks the rules for artists and albums.

    Parameters
    ----------
    artists, albums : sequence of str
        Of the list, in its order.
    rules : Variety
        What is allowed.

    Returns
    -------
    bool
        True when some window has more of one name than it may.
    """
    for names, limit in ((artists, rules.per_artist), (albums, rules.per_album)):
        folded = [name.casefold() for name in names]
        for i, name in enumerate(folded):
            if name and folded[max(0, i - rules.window + 1) : i + 1].count(name) > limit:
                return True
    return False


class _Tastes:
    """What part of a list each taste should have, and has."""

    def __init__(self, shares: Array, due: Array) -> None:
        self._shares, self._due = shares, due
        self._given = np.zeros(len(due))

    def factor(self) -> NDArray[np.float64]:
        need = np.maximum(self._due * (self._given.sum() + 1) - self._given, 0)
        served = self._shares @ (need / max(float(need.sum()), 1e-12))
        return (1 - _FAIRNESS) + _FAIRNESS * served

    def give(self, place: int) -> None:
        self._given += self._shares[place]


_FAIRNESS = 0.6


def _numbered(names: Sequence[str]) -> NDArray[np.intp]:
    """Give the same number to names that differ in upper and lower case only, and 0 to empty ones."""
    numbers: dict[str, int] = {"": 0}
    return np.array([numbers.setdefault(name.casefold(), len(numbers)) for name in names], np.intp)
