"""How much a cosine means in this library: calibrated from 0 to 1, and corrected for hubs.

A cosine of 0.4 is close in one space and far in another, and even within one: some tracks, the hubs, are fairly
similar to everything and turn up in every answer, others in none. Both are read from how similarities are
distributed in this library. Of each track two numbers are needed: the mean of its cosines with all others, which is
its cosine with the mean vector, and how far above that its nearest twenty-fifth begins, which a sample of the library
tells. So nothing is kept per track, nothing goes out of date, and a query from outside is treated like the rest.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

SAMPLE = 4000
"""So many tracks speak for a library: the two moments are then known to about 1/60 of a deviation."""
CLOSE = 0.5
"""Half-way from unrelated tracks to the same recording: that is close, whatever chance brings."""
_PAIRS = 1000
# Fewer tracks do not say what is usual (they may all be of one album): cosines then count as they are.
_FEW = 100
_NARROWEST = 1e-3
# The distributions are not quite normal: a track's own numbers deserve a little less than full trust.
_DRAWN = 0.25
_ANCHORS = 1000
"""So many tracks say where the nearest of a track begin: a deviation is then known to about a twentieth."""
# What is near is what answers are made of: a track is a hub when there is much near to it, whatever is far away. So its
# deviation is read from the value that this share of its cosines exceeds. `bench_hubness.py --others` prints what other
# corrections give.
_NEAR = 0.04


@dataclass(frozen=True)
class Closeness:
    """What similarities are usual in a space of a library.

    Parameters
    ----------
    tracks : int
        How many tracks the library has in the space,
    sampled : int
        and how many of them the rest was learned from.
    typical : float
        Median cosine of two tracks picked at random.
    mean : float64 (d,)
        Mean vector.
    anchors : float32 (a, d)
        Some of the tracks; all, where there are few.
    variance : float
        Of the cosines of a track with all others, the average of all tracks.
    scale : float
        Deviations of the cosines of a track, on average, in what its near ones are above the mean.
    elsewhere : (float, float), optional
        Mean and standard deviation of the cosines of two tracks picked at random from much other music, for a library
        that is too small to say what is usual.
    """

    tracks: int
    sampled: int
    typical: float
    mean: NDArray[np.float64]
    anchors: Array
    variance: float = 0.0
    scale: float = 1.0
    elsewhere: tuple[float, float] | None = None

    @classmethod
    def of(
        cls, vectors: Array, tracks: int | None = None, elsewhere: tuple[float, float] | None = None
    ) -> Self:
        """Learn what is usual from the vectors of a library, or of a sample of it.

        Parameters
        ----------
        vectors : float32 (n, d)
            Of unit length; any n, but below 2 nothing can be learned.
        tracks : int, optional
            How many tracks they stand for; default n.
        elsewhere : (float, float), optional
            See `Closeness`; only a library of few tracks goes by it.

        Returns
        -------
        Closeness
            The same for the same vectors in the same order.
        """
        n, dims = vectors.shape
        rows = vectors.astype(np.float64)
        typical = 0.0
        if n > 1:
            some = rows[:_PAIRS]
            typical = float(np.median((some @ some.T)[np.triu_indices(len(some), 1)]))
        mean = rows.mean(axis=0) if n else np.zeros(dims)
        anchors = np.asarray(vectors[:_ANCHORS], np.float32)
        known = cls(
            n if tracks is None else tracks,
            n,
            min(typical, 1 - _NARROWEST),
            mean,
            anchors,
            elsewhere=elsewhere,
        )
        if n < _FEW:
            return known
        means, near = known._own(anchors, True)
        square = known._others(np.square(rows.T @ rows / n).sum(), known.sampled == known.tracks)
        variance = max(float(square - np.square(means).mean()), _NARROWEST**2)
        scale = math.sqrt(variance / max(float(np.square(near).mean()), _NARROWEST**2))
        return replace(known, variance=variance, scale=scale)

    def similarity(self, cosine: float, text: Array | None = None) -> float:
        """Calibrate a cosine.

        Parameters
        ----------
        cosine : float
            -1 to 1.
        text : float32 (d,), optional
            The vector of the words that were compared with a track: what is usual for them is another thing than for
            two tracks.

        Returns
        -------
        float
            0 for what two unrelated tracks of this library usually have, or less; 1 for the same recording; straight
            in between.
        """
        typical = self.typical if text is None else min(float(text @ self.mean), 1 - _NARROWEST)
        return min(1.0, max(0.0, (cosine - typical) / (1 - typical)))

    def usual(
        self, vectors: Array, known: NDArray[np.bool_] | bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Say how similar tracks are to the rest of the library.

        Parameters
        ----------
        vectors : float32 (n, d)
            Of unit length.
        known : bool (n,) or bool
            Which of them are tracks of the library: they are not compared with themselves.

        Returns
        -------
        mean, deviation : float64 (n,)
            Of the cosines of each with all other tracks of the library; the deviation from where its nearest 4 % begin,
            in what that is for a track on average. Drawn a quarter of the way to what they are for all tracks.
        """
        mean, deviation = self._own(vectors, known)
        average = self._others(self.mean @ self.mean, 1 < self.sampled == self.tracks)
        variance = (1 - _DRAWN) * np.square(deviation) + _DRAWN * self.variance
        return (1 - _DRAWN) * mean + _DRAWN * average, np.sqrt(np.maximum(variance, _NARROWEST**2))

    def _own(
        self, vectors: Array, known: NDArray[np.bool_] | bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean of each track's own cosines, and a deviation from the near ones."""
        rows = np.atleast_2d(np.asarray(vectors, np.float32))
        mean = self._others(rows @ self.mean, np.logical_and(known, 1 < self.sampled == self.tracks))
        # of a part of a large library it is not known who is in it, nor does it matter much
        itself = np.broadcast_to(np.logical_and(known, len(self.anchors) == self.tracks), len(rows)).astype(
            int
        )
        place = np.maximum(0, _NEAR * (len(self.anchors) - itself) - 0.5)
        before = place.astype(int) + itself
        most = int(before.max(initial=0)) + 2
        cosines = rows @ self.anchors.T
        nearest = -np.sort(np.partition(-cosines, most - 1, axis=1)[:, :most], axis=1)
        each, share = np.arange(len(rows)), place % 1
        begins = (1 - share) * nearest[each, before] + share * nearest[each, before + 1]
        return mean, self.scale * np.maximum(begins - mean, 0)

    def _others(self, mean: Any, itself: Any) -> NDArray[np.float64]:
        """Leave the 1.0 that a track has with itself out of a mean over all tracks."""
        one = np.where(itself, 1.0, 0.0)
        return (self.sampled * mean - one) / (self.sampled - one)

    def evidence(
        self, vectors: Array, others: Array, known: NDArray[np.bool_] | bool = True
    ) -> NDArray[np.float64]:
        """Weigh how surprisingly similar tracks are, seen from both of each pair.

        This is mutual proximity, with normal distributions taken as independent (Schnitzer et al., "Local and
        Global Scaling Reduce Hubs in Space", JMLR 13, 2012), as a negative logarithm: -ln of the chance that an
        unrelated track is as close to the one or to the other. A hub is close to many, so that being close to
        it surprises little. Theirs have the deviation of all cosines; these that of the near ones, see `usual`.

        Parameters
        ----------
        vectors : float32 (n, d)
            Of tracks of the library, of unit length.
        others : float32 (m, d)
            Of unit length.
        known : bool (m,) or bool
            Which of the others are tracks of the library as well.

        Returns
        -------
        float64 (n, m)
            0 and more; rises with the cosine of a pair. In a library of a few tracks, which cannot say what is usual,
            the cosine itself, from 0 up.
        """
        cosines = np.asarray(vectors, np.float32) @ np.asarray(others, np.float32).T
        if not self.is_told:
            return np.maximum(cosines, 0).astype(np.float64)
        return surprise(cosines, self.usual(vectors), self.usual(others, known))

    @property
    def is_told(self) -> bool:
        """Whether there are enough tracks to say what is usual."""
        return self.tracks >= _FEW

    def is_close(self, evidence: float) -> bool:
        """Tell whether a best match is more than what chance brings.

        Parameters
        ----------
        evidence : float
            As from `evidence`, of the best of all tracks of the library.

        Returns
        -------
        bool
            False when among as many unrelated tracks one at least would be expected to be as close. A library that
            is too small to tell goes by what is usual elsewhere; where that is not known either, always True.
        """
        if not self.is_told:
            if self.elsewhere is None:
                return True
            mean, deviation = self.elsewhere
            # here evidence is the cosine, and the chance that of the one track or of the other twice that of one
            evidence = -math.log(2) - float(log_tail((evidence - mean) / deviation))
        return evidence > math.log(max(self.tracks, 1))


def surprise(cosines: Array, usual: tuple[Floats, Floats], usual_others: tuple[Floats, Floats]) -> Floats:
    """Weigh cosines of which it is known what is usual for their tracks; see `Closeness.evidence`.

    Parameters
    ----------
    cosines : float32 (n, m)
        Of pairs.
    usual, usual_others : (float64 (n,), float64 (n,)), (float64 (m,), float64 (m,))
        What `Closeness.usual` returned for either side.

    Returns
    -------
    float64 (n, m)
        0 and more.
    """
    mean, deviation = (values.astype(np.float32) for values in usual)
    mean_others, deviation_others = (values.astype(np.float32) for values in usual_others)
    one = log_tail((cosines - mean[:, None]) / deviation[:, None])
    two = log_tail((cosines - mean_others) / deviation_others)
    # ln(a + b - ab) from ln a and ln b, without leaving the logarithms where the chances are far below any float
    larger, smaller = np.maximum(one, two), np.minimum(one, two)
    log_chance = larger + np.log1p(np.exp(smaller - larger) - np.exp(smaller))
    return np.maximum(-log_chance, 0).astype(np.float64)


def log_tail(z: npt.ArrayLike) -> Array:
    """Return ln of the chance that a normal variable exceeds a value, right also where the chance itself underflows.

    Parameters
    ----------
    z : float (...)
        In deviations from the mean.

    Returns
    -------
    float32 (...)
        The complementary error function by the Chebyshev fit of Numerical Recipes in C (2nd ed., 6.2, `erfcc`), whose
        fractional error is below 1.2e-7.
    """
    z = np.asarray(z, np.float32)
    x = np.abs(z) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + 0.5 * x)
    series = np.full_like(t, _ERFC[0])
    for coefficient in _ERFC[1:]:
        series *= t
        series += np.float32(coefficient)
    upper = np.log(0.5 * t) - x * x + series
    return np.where(z >= 0, upper, np.log1p(-np.exp(np.minimum(upper, 0))))


_ERFC = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196,
    1.00002368, -1.26551223,
)  # fmt: skip
