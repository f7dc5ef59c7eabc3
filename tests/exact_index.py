"""The index in memory, by numpy: every search looks at every point.

It is what the tests hold the other indexes to.
"""

import numpy as np
import numpy.typing as npt

from soundkin.filters import Filter, matches
from soundkin.index import Index, Target, scores_of
from soundkin.index.points import Mark, Point, check_spaces


class ExactIndex(Index):
    """An index that is never wrong, filters included, and never on disk.

    Parameters
    ----------
    spaces : dict of str to int
        Space id -> dimensions; at least one.
    mark : Mark, optional
        What the points to come reflect.

    Raises
    ------
    InputError
        No space, or one without dimensions.
    """

    def __init__(self, spaces: dict[str, int], mark: Mark | None = None) -> None:
        check_spaces(spaces)
        self._spaces = dict(spaces)
        self._mark = mark
        self._points: dict[int, Point] = {}
        # space -> ids (n,) and unit vectors (n, d), made by the first search after a change
        self._stacked: dict[str, tuple[list[int], npt.NDArray[np.float32]]] = {}

    @property
    def spaces(self) -> dict[str, int]:
        """Space id -> number of dimensions."""
        return dict(self._spaces)

    @property
    def mark(self) -> Mark | None:
        """Up to where the index reflects its record; None if that is unknown."""
        return self._mark

    def count(self) -> int:
        """Count the points.

        Returns
        -------
        int
            Number of points, whatever spaces they have.
        """
        return len(self._points)

    def flush(self, mark: Mark | None = None) -> None:
        """Remember the mark; there is nothing else to make safe.

        Parameters
        ----------
        mark : Mark, optional
            What the index reflects now.
        """
        self._mark = mark or self._mark

    def close(self) -> None:
        """Let go of the points."""
        self._points.clear()
        self._stacked.clear()

    def _add_space(self, space: str, dims: int) -> None:
        self._spaces[space] = dims

    def _upsert(self, points: list[Point]) -> None:
        self._stacked.clear()
        self._points.update((point.id, point) for point in points)

    def _delete(self, ids: list[int]) -> None:
        self._stacked.clear()
        for point_id in ids:
            self._points.pop(point_id, None)

    def _search(
        self, space: str, target: Target, k: int, where: Filter | None, exact: bool
    ) -> list[tuple[int, float]]:
        ids, rows = self._stacked.get(space) or self._stack(space)
        if where is None:
            passing = np.arange(len(ids))
        else:
            passing = np.array(
                [row for row, i in enumerate(ids) if matches(where, self._points[i].payload, i)],
                dtype=np.intp,
            )
        scores = scores_of(rows if where is None else rows[passing], target)
        best = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        return [(ids[passing[i]], float(scores[i])) for i in best]

    def _stack(self, space: str) -> tuple[list[int], npt.NDArray[np.float32]]:
        ids = [point.id for point in self._points.values() if space in point.vectors]
        rows = np.empty((len(ids), self._spaces[space]), dtype=np.float32)
        for row, point_id in zip(rows, ids, strict=True):
            row[:] = self._points[point_id].vectors[space]
        self._stacked[space] = ids, rows
        return ids, rows
