"""The index that needs no index: every search looks at the vectors of the record.

It answers while the real one is being built, or while another process holds it: exactly, from one matrix a space, which
is read when the space is first asked for. Filters are left to the record. benchmarks/bench_index.py prints what it
costs.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from soundkin.filters import Filter
from soundkin.index import Index, Target, scores_of
from soundkin.index.follow import dims_of
from soundkin.index.points import Mark, Point
from soundkin.record import Record
from soundkin.record.listing import Where

_Numbers = npt.NDArray[np.uint64]
_Rows = npt.NDArray[np.float32]


class RecordIndex(Index):
    """An index that is never wrong and never on disk.

    Parameters
    ----------
    record : Record
        Open for as long as this is.
    passing : callable
        The ids of the tracks of the record that pass a filter.

    Raises
    ------
    InputError
        The record has no space.
    """

    def __init__(self, record: Record, passing: Callable[[Filter], Sequence[str]]) -> None:
        self._record, self._passing = record, passing
        self._spaces = dims_of(record)
        self._mark = Mark(record.uuid, record.revision)
        # space -> numbers (n,) and unit vectors (n, d); read after the mark, so never older than it
        self._read: dict[str, tuple[_Numbers, _Rows]] = {}
        self._new: dict[
            int, Point
        ] = {}  # what came since, and goes in with the next search: each time copies all
        self._gone: set[int] = set()
        self._guard = threading.Lock()  # several threads ask at once, or bring what came since; one reads

    @property
    def spaces(self) -> dict[str, int]:
        """Space id -> number of dimensions."""
        return dict(self._spaces)

    @property
    def mark(self) -> Mark | None:
        """Up to where the index reflects its record."""
        return self._mark

    def count(self) -> int:
        """Count the points.

        Returns
        -------
        int
            Number of tracks, whatever spaces they have.
        """
        return self._record.count(Where())

    def flush(self, mark: Mark | None = None) -> None:
        """Remember the mark; there is nothing else to make safe.

        Parameters
        ----------
        mark : Mark, optional
            What the index reflects now.
        """
        self._mark = mark or self._mark

    def close(self) -> None:
        """Let go of the vectors."""
        with self._guard:
            self._read.clear()
            self._new.clear()
            self._gone.clear()

    def _add_space(self, space: str, dims: int) -> None:
        self._spaces[space] = dims

    def _upsert(self, points: list[Point]) -> None:
        with self._guard:
            self._new.update((point.id, point) for point in points)

    def _delete(self, ids: list[int]) -> None:
        with self._guard:
            self._gone.update(ids)
            for point_id in ids:
                self._new.pop(point_id, None)

    def _search(
        self, space: str, target: Target, k: int, where: Filter | None, exact: bool
    ) -> list[tuple[int, float]]:
        with self._guard:
            self._take_in()
            numbers, rows = self._read.get(space) or self._first(space)
        if where is not None:
            passing = _numbers(int(id_, 16) for id_ in self._passing(where))
            places = np.flatnonzero(np.isin(numbers, passing))
            numbers, rows = numbers[places], rows[places]
        scores = scores_of(rows, target)
        best = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        return list(zip(numbers[best].tolist(), scores[best].tolist(), strict=True))

    def _take_in(self) -> None:
        """Bring what came since into what has been read; other spaces are read with it in them."""
        touched = _numbers(self._gone.union(self._new))
        for space, (numbers, rows) in self._read.items() if len(touched) else ():
            kept = ~np.isin(numbers, touched)
            new = [point for point in self._new.values() if space in point.vectors]
            vectors = [np.asarray(point.vectors[space], np.float32)[None] for point in new]
            self._read[space] = (
                np.concatenate([numbers[kept], _numbers(point.id for point in new)]),
                np.concatenate([rows[kept], *vectors]),
            )
        self._new.clear()
        self._gone.clear()

    def _first(self, space: str) -> tuple[_Numbers, _Rows]:
        """Read the vectors of a space; those that point nowhere are left out, as in every index."""
        ids, rows = self._record.vectors(space)
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
        numbers = _numbers(int(id_, 16) for id_ in ids)
        if not lengths.all():
            numbers, rows, lengths = numbers[lengths > 0], rows[lengths > 0], lengths[lengths > 0]
        rows /= lengths[:, None].astype(np.float32)
        self._read[space] = numbers, rows
        return numbers, rows


def _numbers(ids: Iterable[int]) -> _Numbers:
    return np.fromiter(ids, np.uint64)
