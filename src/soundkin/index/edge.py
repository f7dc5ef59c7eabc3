"""The index in a folder, by Qdrant Edge: no server, opened in a fraction of a second.

Three habits of the engine shape this file. One process at a time may open a shard, even to read. `optimize`
holds the interpreter's lock until it is done. And a graph search under a filter misses neighbours when the
filter goes along with the sound, as a genre does; the engine's extra links for payloads help only in part and make a
build much longer. So a filtered search here sees which of the nearest points pass when the filter is broad; when it
is not, or too few of them do, it looks at every point that passes: in a large index at a copy of the vectors of a byte
a number, which is a quarter of the memory, and the best of those are scored again in full. What that takes is mostly
waiting for memory, so points of a genre lie side by side, see `_placed`. benchmarks/bench_index.py prints what each
kind of question costs, and its recall; docs/scale.md compares settings.
"""

import errno
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import qdrant_edge as engine

from soundkin.errors import StoreError
from soundkin.filters import FIELDS, And, Filter, HasId, Match, Not, Or, Range, payload_key
from soundkin.index import Examples, Index, IndexLocked, RebuildNeeded, Target
from soundkin.index.generations import (
    State,
    engine_version,
    next_generation,
    one_line,
    read_state,
    write_state,
)
from soundkin.index.points import BATCH, PAYLOAD, Mark, Point, batched, check_points, check_spaces

# A filter is broad when more points pass than are looked at faster than the graph is asked, and so few of the nearest
# have to be fetched. So many times more of them than should be enough, that where a filter has nothing to do with the
# sound one question in some thousands finds too few (of 25 expected, less than 10): then all that pass are looked at.
_QUICKLY, _FETCHED, _SPARE = 30_000, 500, 2.5
# Where a filter goes along with the sound, and the question does not, none of the nearest passes. Of 64 that have
# nothing to do with a filter that a tenth pass, none passes once in a thousand times.
_PROBED = 64
# The copies find twice as many as are wanted, which makes up for what rounding loses.
_COPIES = engine.QuantizationSearchParams(rescore=True, oversampling=2.0)
_ROUGHLY = engine.QuantizationSearchParams(rescore=False)
# Below 10 MB of vectors looking at each is as fast as a graph. In a larger index a filter may pass so many of all
# points before the engine follows its graph under it. When fewer than that are left of those it was built of, the
# engine looks at each of them without a filter, too: `outside_graph` tells in time.
_SMALL_KB, _LARGEST_SCAN = 10_000, 0.9
_CANDIDATES = 256  # of the graph, at least: with 128 recall@10 among a million is 0.9845
_BLOCKS, _PLACE = 128, "place"
_OS_ERROR = re.compile(r"os error (\d+)")
# what stands in the way from outside, so that building again would not help
_ENVIRONMENT = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
}


class EdgeIndex(Index):
    """The index in a folder, open for reading and writing.

    Parameters
    ----------
    folder : Path
        Folder of the index, filled by `rebuild`.

    Raises
    ------
    IndexLocked
        Another process has it open.
    RebuildNeeded
        There is none, it is damaged, or another version of the engine wrote it.
    StoreError
        The folder cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state, self._shard = _load(folder)

    @property
    def state(self) -> State:
        """What this generation says of itself; a newer one is there if `read_state(folder)` has another."""
        return self._state

    @property
    def spaces(self) -> dict[str, int]:
        """Space id -> number of dimensions."""
        return dict(self._state.spaces)

    @property
    def mark(self) -> Mark | None:
        """Up to where the index reflects its record."""
        return self._state.mark

    def count(self) -> int:
        """Count the points.

        Returns
        -------
        int
            Number of points, whatever spaces they have.
        """
        with one_line(self.folder):
            return self._shard.count(engine.CountRequest(exact=True))

    def flush(self, mark: Mark | None = None) -> None:
        """Put every change so far beyond a power cut.

        Parameters
        ----------
        mark : Mark, optional
            What the index reflects now; remembered after the changes are safe.
        """
        with one_line(self.folder):
            self._shard.flush()
        if mark:
            self._save(replace(self._state, mark=mark))

    def outside_graph(self) -> int:
        """Return by how many points this generation has grown, or shrunk, since it was built.

        Returns
        -------
        int
            What came is searched one by one, what went is passed by in the graph; `rebuild` makes one without either.
        """
        return abs(self.count() - self._state.optimized)

    def close(self) -> None:
        """Write what is pending and let other processes have the folder; a second call does nothing."""
        with one_line(self.folder):
            self._shard.close()

    def _add_space(self, space: str, dims: int) -> None:
        with one_line(self.folder):
            self._shard.update(
                engine.UpdateOperation.create_dense_vector(space, dims, engine.Distance.Cosine)
            )
            self._shard.flush()
        self._save(replace(self._state, spaces=self._state.spaces | {space: dims}))

    def _upsert(self, points: list[Point]) -> None:
        with one_line(self.folder):
            _write(self._shard, points)

    def _delete(self, ids: list[int]) -> None:
        with one_line(self.folder):
            self._shard.update(engine.UpdateOperation.delete_points(list(ids)))

    def _search(
        self, space: str, target: Target, k: int, where: Filter | None, exact: bool
    ) -> list[tuple[int, float]]:
        if where is None or exact:
            return self._query(space, target, k, where, exact)
        passing, total = self._about(_condition(where)), self._about()
        fetched = math.ceil(_SPARE * k * total / max(passing, 1))
        if passing > _QUICKLY and fetched <= _FETCHED:
            # Of the nearest of all points, those that pass are the nearest that pass.
            near = [i for i, _ in self._query(space, target, fetched, None, exact=False, copies=_ROUGHLY)]
            if self._passes_any(near[:_PROBED], where):
                among = And((HasId(frozenset(near)), where))
                found = self._query(space, target, k, among, exact=True)
                if len(found) == k:
                    return found
        # what is estimated may be somewhat more, and then the engine would follow the graph
        most = 0.8 * _LARGEST_SCAN * self._about(engine.HasVectorCondition(space))
        return self._query(space, target, k, where, exact=passing > most)

    def _passes_any(self, ids: list[int], where: Filter) -> bool:
        """Tell whether a filter lets any of these points pass."""
        conditions = [engine.HasIdCondition(set(ids)), _condition(where)]
        request = engine.CountRequest(filter=engine.Filter(must=conditions), exact=True)
        with one_line(self.folder):
            return self._shard.count(request) > 0

    def _about(self, *conditions: Any) -> int:
        """Estimate how many points pass, from the indexes of the payload alone."""
        passing = engine.Filter(must=list(conditions))
        with one_line(self.folder):
            return self._shard.count(engine.CountRequest(filter=passing, exact=False))

    def _query(
        self, space: str, target: Target, k: int, where: Filter | None, exact: bool, copies: Any = _COPIES
    ) -> list[tuple[int, float]]:
        request = engine.QueryRequest(
            limit=k,
            query=_query(space, target),
            filter=None if where is None else engine.Filter(must=[_condition(where)]),
            params=engine.SearchParams(max(_CANDIDATES, k), exact, copies),
            with_payload=False,
            with_vector=False,
        )
        with one_line(self.folder):
            return [(int(hit.id), hit.score) for hit in self._shard.query(request)]

    def _save(self, state: State) -> None:
        write_state(self.folder / state.generation, state)
        self._state = state


def _query(space: str, target: Target) -> Any:
    """Say what to look for in the engine's words."""
    if not isinstance(target, Examples):
        return engine.Query.Nearest(target.tolist(), using=space)
    examples = engine.RecommendQuery(target.likes.tolist(), target.dislikes.tolist())
    if target.strategy == "sum":
        return engine.Query.RecommendSumScores(examples, using=space)
    return engine.Query.RecommendBestScore(examples, using=space)


def rebuild(folder: Path, mark: Mark, spaces: Mapping[str, int], points: Iterable[Point]) -> None:
    """Build a new generation aside and swap it in.

    Parameters
    ----------
    folder : Path
        Folder of the index; made if it is not there.
    mark : Mark
        What the points reflect.
    spaces : mapping of str to int
        Space id -> dimensions; at least one.
    points : iterable of Point
        The points; read in batches.

    Raises
    ------
    IndexLocked
        Another process is rebuilding this folder.
    InputError
        No space, or a point is unusable; nothing has changed then.
    StoreError
        The engine failed or the disk is full; nothing has changed then.
    """
    check_spaces(spaces)
    with next_generation(folder, _in_use) as aside:
        count = _fill(aside / "shard", spaces, points)
        write_state(aside, State(engine_version(), aside.stem, mark, dict(spaces), count))


def _fill(path: Path, spaces: Mapping[str, int], points: Iterable[Point]) -> int:
    """Make a shard of these points; the number of them."""
    with one_line(path):
        shard = engine.EdgeShard.create(str(path), _config(spaces))
        order = engine.IntegerIndexParams(lookup=False, range=True, is_principal=True, enable_hnsw=False)
        shard.update(engine.UpdateOperation.create_field_index(_PLACE, order))
    have = Counter[str]()
    try:
        for batch in batched(points, BATCH):
            checked = check_points(batch, spaces)
            have.update(space for point in checked for space in point.vectors)
            with one_line(path):
                _write(shard, [_placed(point) for point in checked])
        with one_line(path):
            count = shard.count(engine.CountRequest(exact=True))
            shard.close()  # how many there are decides how they are searched
            # The engine knows vectors by their mean size, over points that have none, too.
            scanned = {space: int(_LARGEST_SCAN * have[space] ** 2 / max(1, count)) for space in spaces}
            shard = engine.EdgeShard.load(str(path), _config(spaces, scanned))
            shard.optimize()
            shard.update(engine.UpdateOperation.delete_field_index(_PLACE))  # the order is made
            # after the points, which would all be in memory otherwise: the graph has no links for them
            for key in sorted(map(payload_key, FIELDS)):
                shard.update(engine.UpdateOperation.create_field_index(key, _field_index(PAYLOAD[key])))
            shard.flush()
            return count
    finally:
        shard.close()


def _placed(point: Point) -> Point:
    """Say where a point is to lie among others: in one of many blocks by lot, within it beside its genre.

    Looking at all of a genre then reads runs of memory. In the order of genres alone the graph, which grows point by
    point, would lose its way: among a million its recall is 0.82 then.
    """
    genres = point.payload.get("genre") or ""
    first = genres if isinstance(genres, str) else genres[0]
    place = point.id % _BLOCKS << 32 | zlib.crc32(first.encode())
    return replace(point, payload={**point.payload, _PLACE: place})


def _config(spaces: Mapping[str, int], scanned: Mapping[str, int] | None = None) -> engine.EdgeConfig:
    """Say how vectors are kept, and of how many of each space a filter may leave all to be looked at."""
    vectors = {}
    for space, dims in spaces.items():
        kilobytes = max(_SMALL_KB, (scanned or {}).get(space, 0) * dims * 4 // 1024)  # of float32
        # m and ef_construct are Qdrant's own defaults, said aloud
        graph = engine.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=kilobytes)
        # in full they are needed only to score the best again: an index that is opened does not read them all
        vectors[space] = engine.EdgeVectorParams(
            dims, engine.Distance.Cosine, hnsw_config=graph, memory=engine.Memory.Cold
        )
    copies = engine.ScalarQuantizationConfig(engine.ScalarType.Int8, quantile=0.99)
    return engine.EdgeConfig(vectors=vectors, quantization_config=copies)


def _field_index(kind: str) -> Any:
    """Index of one payload field, without the extra graph links that exact filtered searches do not use."""
    # read from disk when asked: a large index opens sooner; benchmarks/bench_index.py prints how fast both are
    cold = engine.Memory.Cold
    if kind == "keyword":
        return engine.KeywordIndexParams(enable_hnsw=False, memory=cold)
    if kind == "integer":
        return engine.IntegerIndexParams(lookup=False, range=True, enable_hnsw=False, memory=cold)
    return engine.FloatIndexParams(enable_hnsw=False, memory=cold)


def _write(shard: engine.EdgeShard, points: list[Point]) -> None:
    """Upsert checked points."""
    shard.update(
        engine.UpdateOperation.upsert_points(
            [
                engine.Point(
                    point.id,
                    {space: vector.tolist() for space, vector in point.vectors.items()},
                    dict(point.payload),
                )
                for point in points
            ]
        )
    )


def _condition(where: Filter) -> Any:
    """Translate a filter into the engine's."""
    match where:
        case Match(field, (value,)):  # by itself it takes two thirds of the time
            return engine.FieldCondition(payload_key(field), match=engine.MatchValue(value))
        case Match(field, values):
            return engine.FieldCondition(payload_key(field), match=engine.MatchAny(list(values)))
        case Range(field, gt, gte, lt, lte):
            return engine.FieldCondition(
                payload_key(field), range=engine.RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte)
            )
        case HasId(ids):
            return engine.HasIdCondition(set(ids))
        case Not(part):
            return engine.Filter(must_not=[_condition(part)])
        case And(parts):
            return engine.Filter(must=[_condition(part) for part in parts])
        case Or(parts):
            return engine.Filter(should=[_condition(part) for part in parts])


def _load(folder: Path) -> tuple[State, engine.EdgeShard]:
    state = read_state(folder)
    if state is None:
        raise RebuildNeeded(
            f"index {folder}: nothing {engine_version()} can read is there; rebuild it from the record"
        )
    try:
        with one_line(folder):
            return state, engine.EdgeShard.load(str(folder / state.generation / "shard"))
    except StoreError as error:
        now = read_state(folder)
        if now and now.generation != state.generation:  # swapped in between
            return _load(folder)
        line = str(error)
        if "WouldBlock" in line:
            message = (
                f"index {folder}: another process has it open; wait for that, or read through the record"
            )
            raise IndexLocked(message) from error
        found = _OS_ERROR.search(line)
        if isinstance(error, RebuildNeeded) or (found and int(found[1]) in _ENVIRONMENT):
            raise
        raise RebuildNeeded(f"{line}; damaged, rebuild it from the record") from error


def _in_use(generation: Path) -> bool:
    try:
        with one_line(generation):
            engine.EdgeShard.load(str(generation / "shard")).close()
    except StoreError as error:
        return "WouldBlock" in str(error)
    return False
