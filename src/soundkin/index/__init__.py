"""The index: which points lie nearest to a vector, under a filter.

The index is derived: everything in it comes from the record, so it may be deleted or rebuilt at any time.
Three engines fulfil one interface: Qdrant Edge in a folder (`edge`), a Qdrant server (`server`), and plain
numpy over the vectors of the record (`recorded`), which answers while the others cannot.

    rebuild("library/index", Mark(record, 17), {"cnn-1f3a9c02": 128}, points)
    with open_index("library/index") as index:
        index.search("cnn-1f3a9c02", vector, k=10, where=Match("genre", ("samba",)))

No engine is imported before an index of its kind is opened.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from soundkin.errors import InputError, StoreError
from soundkin.filters import And, Filter, HasId, Not
from soundkin.index.points import (
    BATCH,
    Mark,
    Point,
    batched,
    check_id,
    check_ids,
    check_points,
    check_spaces,
    unit_rows,
)

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from soundkin.index.settings import QdrantLayout, QdrantSettings

__all__ = [
    "STRATEGIES",
    "Examples",
    "Index",
    "IndexLocked",
    "Mark",
    "Point",
    "RebuildNeeded",
    "open_index",
    "rebuild",
]

STRATEGIES = ("best", "sum", "average")
"""How `Index.recommend` brings examples together, as Qdrant calls them: best score, sum of scores, average vector."""

_FETCH_EXTRA = 100  # so many more than asked for twice are fetched in the hope that enough of them are wanted
_COUNT_FROM = (
    1000  # the engines reserve memory for as many as they are asked for: then never for more than there are
)
_EQUALS = 8


class IndexLocked(StoreError):
    """Another process holds the index; read the record through `recorded.RecordIndex` instead, or try later."""


class RebuildNeeded(StoreError):
    """No usable index is here: absent, damaged, or of another engine. `rebuild` it from the record."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What to be near to and far from, all at once.

    Parameters
    ----------
    likes, dislikes : float32 (n, d), float32 (m, d)
        Unit vectors; n >= 1.
    strategy : str
        "best": the greatest cosine with a like, as 0.5 + 0.5 c / (1 + |c|); where one with a dislike is as great, the
        same of that one, negated. "sum": the sum of the cosines with likes less those with dislikes.
    """

    likes: npt.NDArray[np.float32]
    dislikes: npt.NDArray[np.float32]
    strategy: str


Target: TypeAlias = npt.NDArray[np.float32] | Examples
"""What to look for: a unit vector (d,), or examples."""


def target_of(likes: npt.NDArray[np.float32], dislikes: npt.NDArray[np.float32], strategy: str) -> Target:
    """Say what to look for with examples.

    Parameters
    ----------
    likes, dislikes : float32 (n, d), float32 (m, d)
        Unit vectors; n >= 1.
    strategy : str
        One of `STRATEGIES`; see `Index.recommend`.

    Returns
    -------
    Target
        For `scores_of`, and for the engines.

    Raises
    ------
    InputError
        Likes and dislikes cancel each other out.
    """
    if strategy != "average":
        return Examples(likes, dislikes, strategy)
    target = likes.mean(axis=0) * (2 if len(dislikes) else 1)
    target -= dislikes.mean(axis=0) if len(dislikes) else 0
    length = float(np.linalg.norm(target))
    if length < 1e-6:
        raise InputError("recommend: likes and dislikes cancel each other out; leave one out")
    return np.asarray(target / length, np.float32)


def scores_of(rows: npt.NDArray[np.float32], target: Target) -> npt.NDArray[np.float32]:
    """Score vectors: the meaning of a `Target` that every engine is held to.

    Parameters
    ----------
    rows : float32 (n, d)
        Unit vectors.
    target : Target
        What to be near to.

    Returns
    -------
    float32 (n,)
        More is nearer.
    """
    if not isinstance(target, Examples):
        return rows @ target
    likes, dislikes = rows @ target.likes.T, rows @ target.dislikes.T
    if target.strategy == "sum":
        return np.asarray(likes.sum(axis=1) - dislikes.sum(axis=1))
    near = likes.max(axis=1)
    far = dislikes.max(axis=1, initial=-np.inf)
    score = np.where(near > far, near, far)
    score = 0.5 + 0.5 * score / (1 + np.abs(score))
    return np.where(near > far, score, -score)


class Index(ABC):
    """What every index can do. Use it as a context manager, or `close` it.

    Every method raises `StoreError` when the engine fails.
    """

    @property
    @abstractmethod
    def spaces(self) -> dict[str, int]:
        """Space id -> number of dimensions."""

    @property
    @abstractmethod
    def mark(self) -> Mark | None:
        """Up to where the index reflects its record; None if that is unknown."""

    @abstractmethod
    def count(self) -> int:
        """Count the points.

        Returns
        -------
        int
            Number of points, whatever spaces they have.
        """

    @abstractmethod
    def flush(self, mark: Mark | None = None) -> None:
        """Put every change so far beyond a power cut.

        Parameters
        ----------
        mark : Mark, optional
            What the index reflects now; remembered after the changes are safe.
        """

    def outside_graph(self) -> int:
        """Count the points that came or went after the graph was built, and make searches slower.

        Returns
        -------
        int
            0 for an engine without a graph, and for one that looks after its graph by itself.
        """
        return 0

    def is_loading(self) -> bool:
        """Tell whether some process loads very many points at this moment, see `loading`.

        Returns
        -------
        bool
            False for an engine that belongs to one process.
        """
        return False

    @contextlib.contextmanager
    def loading(self) -> Iterator[Self]:
        """Load very many points: what an engine does after each change, it does once, at the end.

        A Qdrant server builds no graph within, so that it does not build one again and again while points stream in;
        afterwards, also after an exception, it builds graphs as before, and the block ends when they are built. What
        was written can be searched at any time, only more slowly until then. Other engines make it safe at the end.

        Yields
        ------
        Index
            This one.
        """
        try:
            yield self
        finally:
            self.flush()

    @abstractmethod
    def close(self) -> None:
        """Let go of the index; a second call does nothing."""

    @abstractmethod
    def _add_space(self, space: str, dims: int) -> None: ...

    @abstractmethod
    def _upsert(self, points: list[Point]) -> None: ...

    @abstractmethod
    def _delete(self, ids: list[int]) -> None: ...

    @abstractmethod
    def _search(
        self, space: str, target: Target, k: int, where: Filter | None, exact: bool
    ) -> list[tuple[int, float]]: ...

    def add_space(self, space: str, dims: int) -> None:
        """Let points have vectors of one more space; a space the index has already is left as it is.

        Parameters
        ----------
        space : str
            Space id.
        dims : int
            Number of dimensions, at least 1.

        Raises
        ------
        InputError
            The space is there with other dimensions.
        RebuildNeeded
            This engine cannot add a space to what it has; `rebuild` with all spaces.
        """
        have = self.spaces.get(space)
        if have is None:
            check_spaces({space: dims})
            self._add_space(space, dims)
        elif have != dims:
            raise InputError(
                f"space {space}: got {dims} dimensions, the index has it with {have}; use another space id"
            )

    def upsert(self, points: Iterable[Point]) -> None:
        """Add points, or replace those whose ids are there: vectors and payload as a whole.

        Parameters
        ----------
        points : iterable of Point
            All are checked before the first is written; of two with one id the later counts.

        Raises
        ------
        InputError
            A vector is not finite, zero or of other dimensions, an id is no u64, a payload is of the wrong
            type.
        StoreError
            A vector is of a space the index does not have.
        """
        for batch in batched(check_points(points, self.spaces), BATCH):
            self._upsert(batch)

    def delete(self, ids: Iterable[int]) -> None:
        """Remove points.

        Parameters
        ----------
        ids : iterable of int
            Ids of the points; those that are not there are passed over.
        """
        for batch in batched(map(check_id, ids), BATCH):
            self._delete(batch)

    def search(
        self,
        space: str,
        vector: npt.ArrayLike,
        k: int,
        where: Filter | None = None,
        exclude: Collection[int] = (),
    ) -> list[tuple[int, float]]:
        """Find the points nearest to a vector.

        Parameters
        ----------
        space : str
            Space of the vector; points without a vector in it are not found.
        vector : float32 (d,)
            Where to look; its length does not count.
        k : int
            How many to find, at least 1.
        where : Filter, optional
            Only points that pass.
        exclude : collection of int
            Ids of points not wanted.

        Returns
        -------
        list of (int, float)
            Ids and cosine similarities (-1..1), best first, equals by id: k of them, or all there are.

        Raises
        ------
        InputError
            The vector is not finite, zero or of other dimensions, or k < 1.
        StoreError
            The index does not have the space.
        """
        return self._best(space, unit_rows(space, [vector], self.spaces, "query")[0], k, where, exclude)

    def recommend(
        self,
        space: str,
        likes: Sequence[npt.ArrayLike] | npt.NDArray[np.floating[Any]],
        dislikes: Sequence[npt.ArrayLike] | npt.NDArray[np.floating[Any]],
        k: int,
        strategy: str = "best",
        where: Filter | None = None,
        exclude: Collection[int] = (),
    ) -> list[tuple[int, float]]:
        """Find the points near to some examples and far from others.

        Parameters
        ----------
        space : str
            Space of the vectors; points without a vector in it are not found.
        likes, dislikes : float32 (n, d), float32 (m, d)
            Examples; their lengths do not count. At least one like.
        k : int
            How many to find, at least 1.
        strategy : str
            One of `STRATEGIES`; for the first two see `Examples`. "average" looks near twice the mean of the likes less
            the mean of the dislikes.
        where : Filter, optional
            Only points that pass.
        exclude : collection of int
            Ids of points not wanted; the examples themselves are not left out otherwise.

        Returns
        -------
        list of (int, float)
            Ids and scores, best first, equals by id: k of them, or all there are. The scores of "sum" are divided by
            the number of examples, so that they do not grow with it.

        Raises
        ------
        InputError
            A vector is not finite, zero or of other dimensions, there is no like, likes and dislikes cancel each other
            out, k < 1, or there is no such strategy.
        StoreError
            The index does not have the space.
        """
        if strategy not in STRATEGIES:
            raise InputError(f"recommend: strategy {strategy!r}, wanted one of {', '.join(STRATEGIES)}")
        if not len(likes):
            raise InputError("recommend: got no like, wanted one or more examples to be near to")
        near = unit_rows(space, list(likes), self.spaces, "likes")
        far = unit_rows(space, list(dislikes), self.spaces, "dislikes") if len(dislikes) else near[:0]
        found = self._best(space, target_of(near, far, strategy), k, where, exclude)
        share = len(near) + len(far) if strategy == "sum" else 1
        return [(point_id, score / share) for point_id, score in found]

    def _best(
        self, space: str, target: Target, k: int, where: Filter | None, exclude: Collection[int]
    ) -> list[tuple[int, float]]:
        if k < 1:
            raise InputError(f"search: got k={k}, wanted how many to find; give 1 or more")
        unwanted = check_ids(exclude)
        # A few more than asked for, so that of equals at the end (copies of a file) the same ones stay, on any engine.
        most = k + _EQUALS
        limit = most + min(len(unwanted), most + _FETCH_EXTRA)
        hits = self._at_most(space, target, limit, where)
        wanted = [hit for hit in hits if hit[0] not in unwanted]
        if (
            len(wanted) < most and len(hits) == limit
        ):  # what is near is unwanted: the engine has to look past it
            skip = Not(HasId(unwanted))
            wanted = self._at_most(space, target, most, skip if where is None else And((where, skip)))
        return sorted(wanted, key=lambda hit: (-round(hit[1], 6), hit[0]))[:k]

    def _at_most(
        self, space: str, target: Target, limit: int, where: Filter | None
    ) -> list[tuple[int, float]]:
        if limit > _COUNT_FROM:
            limit = min(limit, max(1, self.count()))
        hits = self._search(space, target, limit, where, exact=False)
        if len(hits) < limit:
            # a graph search can lose its way under a filter; only an exact one may say that there are no more
            hits = self._search(space, target, limit, where, exact=True)
        return hits

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_index(
    where: "str | Path | QdrantSettings | QdrantClient",
    *,
    collection: str = "soundkin",
    api_key: str | None = None,
) -> Index:
    """Open the index in a folder or on a Qdrant server.

    Parameters
    ----------
    where : str, Path, QdrantSettings or QdrantClient
        A folder, the http(s) URL of a server, or how to use it, or a client that is ready.
    collection : str
        Name of the collection on the server, or rather its alias.
    api_key : str, optional
        Key for the server, where a URL is given.

    Returns
    -------
    Index
        The index, ready for reading and writing.

    Raises
    ------
    IndexLocked
        Another process has the folder open.
    RebuildNeeded
        There is no index, it is damaged, or another version of the engine wrote it.
    StoreError
        The server cannot be reached, or the folder cannot be read.
    """
    if isinstance(where, (str, Path)) and not _is_url(where):
        from soundkin.index.edge import EdgeIndex

        return EdgeIndex(Path(where))
    from soundkin.index import server

    return server.open_collection(cast("server.Where", where), collection, api_key)


def rebuild(
    where: "str | Path | QdrantSettings | QdrantClient",
    mark: Mark,
    spaces: Mapping[str, int],
    points: Iterable[Point],
    *,
    collection: str = "soundkin",
    api_key: str | None = None,
    layout: "QdrantLayout | None" = None,
) -> None:
    """Make a new index from the record.

    In a folder the new index is built aside and swapped in at the end: whoever has the old one open keeps it,
    and a crash leaves it as it was. On a server a new collection is filled, and an alias moved to it. The embedded
    engine holds the interpreter's lock for the whole of the last step: call this in
    a process of its own.

    Parameters
    ----------
    where, collection, api_key
        As in `open_index`.
    mark : Mark
        What the points reflect.
    spaces : mapping of str to int
        Space id -> dimensions; at least one.
    points : iterable of Point
        The points; they are read in batches, so they may be many.
    layout : QdrantLayout, optional
        On a server: how the new collection lies on its nodes; what it does not say is as it was.

    Raises
    ------
    IndexLocked
        Another process is rebuilding this index.
    InputError
        No space in a folder, or a point is unusable; nothing has changed then.
    StoreError
        The engine failed, the disk is full, or the server cannot be reached.
    """
    if isinstance(where, (str, Path)) and not _is_url(where):
        from soundkin.index import edge

        edge.rebuild(Path(where), mark, spaces, points)
    else:
        from soundkin.index import server

        server.rebuild(cast("server.Where", where), collection, mark, spaces, points, api_key, layout)


def _is_url(where: str | Path) -> bool:
    return str(where).startswith(("http://", "https://"))
