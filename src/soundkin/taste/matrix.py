"""Who played what, and how much: a sparse table, its rows people (or sessions), its columns tracks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Plays:
    """What each row has played.

    Parameters
    ----------
    starts : int64 (rows + 1,)
        Where each row begins in the other two.
    items : int64 (m,)
        Numbers of tracks, ascending in each row.
    weights : float32 (m,)
        How much, more than 0.
    width : int
        How many tracks there are.
    """

    starts: Ints
    items: Ints
    weights: Array
    width: int

    @classmethod
    def of(
        cls, rows: npt.ArrayLike, items: npt.ArrayLike, weights: npt.ArrayLike, height: int, width: int
    ) -> Self:
        """Make a table of single entries; what stands in it twice is added up, and what is not above 0 left out.

        Parameters
        ----------
        rows, items : int (m,)
            Where each entry stands.
        weights : float (m,)
            Of the entries.
        height, width : int
            Rows and columns of the table.

        Returns
        -------
        Plays
            Of `height` rows, some of which may be empty.
        """
        place = np.asarray(rows, np.int64) * width + np.asarray(items, np.int64)
        places, which = np.unique(place, return_inverse=True)
        total = np.bincount(which.ravel(), np.asarray(weights, np.float64), len(places)).astype(np.float32)
        places, total = places[total > 0], total[total > 0]
        starts = np.searchsorted(places, np.arange(height + 1) * width)
        return cls(starts.astype(np.int64), places % width if width else places, total, width)

    @property
    def height(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1

    @property
    def rows(self) -> Ints:
        """The row of each entry, int64 (m,)."""
        return np.repeat(np.arange(self.height), np.diff(self.starts))

    @property
    def sizes(self) -> Ints:
        """How many tracks each row has, int64 (rows,)."""
        return np.diff(self.starts)

    @property
    def listeners(self) -> Ints:
        """How many rows have each track, int64 (width,)."""
        return np.bincount(self.items, minlength=self.width).astype(np.int64)

    def row(self, number: int) -> tuple[Ints, Array]:
        """Return the tracks of a row, int64 (k,), and their weights, float32 (k,)."""
        here = slice(self.starts[number], self.starts[number + 1])
        return self.items[here], self.weights[here]

    def only(self, keep: Bools) -> "Plays":
        """Return a table of the same shape with only some of the entries, bool (m,)."""
        starts = np.concatenate([[0], np.cumsum(keep)])[self.starts]
        return Plays(starts.astype(np.int64), self.items[keep], self.weights[keep], self.width)

    def some(self, numbers: Sequence[int] | Ints) -> "Plays":
        """Return a table of some rows, int (r,), in that order."""
        wanted = np.asarray(numbers, np.int64)
        sizes = self.sizes[wanted]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        places = np.repeat(self.starts[wanted] - starts[:-1], sizes) + np.arange(starts[-1])
        return Plays(starts, self.items[places], self.weights[places], self.width)
