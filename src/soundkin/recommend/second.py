"""A second opinion on who would like what, beside how things sound: what `recommend` asks of it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from soundkin.filters import And, Filter, HasId
from soundkin.index import Index
from soundkin.recommend.hits import Hit


class Second(Protocol):
    """Somebody else who knows what a person would like."""

    def candidates(self, n: int) -> frozenset[int]:
        """Name up to n tracks that sound might not find, by the numbers that an index has for them."""

    def fuse(
        self, numbers: Sequence[int], scores: NDArray[np.float64], nearest: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return scores of tracks that weigh those of sound and its own.

        Parameters
        ----------
        numbers : sequence of int
            The tracks, by the numbers that an index has for them.
        scores : float64 (m,)
            All that sound says of each.
        nearest : float64 (m,)
            What the one like says that speaks most for each.

        Returns
        -------
        float64 (m,)
            Below 0 only what sound forbids.
        """

    def explained(self, hit: Hit) -> Hit:
        """Return a hit that says which part spoke for it."""


def passing(
    index: Index,
    space: str,
    sounds: NDArray[np.float32],
    second: Second,
    n: int,
    where: Filter | None,
    unwanted: set[int],
) -> set[int]:
    """Ask for candidates, and return those that pass the filter.

    Parameters
    ----------
    index : Index
        Up to date with the record.
    space : str
        Id of the space of `sounds`.
    sounds : float32 (m, d)
        Of what is liked.
    second : Second
        Who is asked.
    n : int
        How many.
    where : Filter or None
        Only tracks that pass.
    unwanted : set of int
        Numbers of tracks that are no answer.

    Returns
    -------
    set of int
        Their numbers; all are in the index.
    """
    named = second.candidates(n) - unwanted
    if not named:
        return set()
    among = HasId(frozenset(named))
    found = index.recommend(
        space, sounds, [], len(named), "best", among if where is None else And((among, where))
    )
    return {number for number, _ in found}
