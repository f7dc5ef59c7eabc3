"""The index on a Qdrant server: for libraries larger than one machine, and for many readers and writers.

The same engine as `edge`, so the same care with filters: the server is asked to widen its graph search under
a filter (ACORN), and to look at every point wherever that is less than 100 MB of vectors. What is found by quantized
vectors is scored again by the whole ones. Points are read and written by an alias (`aliases`).
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Self, TypeAlias, TypeVar

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from soundkin.errors import StoreError
from soundkin.filters import And, Filter, HasId, Match, Not, Or, Range, payload_key
from soundkin.index import Examples, Index, RebuildNeeded, Target
from soundkin.index.aliases import (
    BUILDING_KEY,
    PAYLOAD_KEY,
    STALE_SECONDS,
    Generations,
    index_fields,
    layout_of,
)
from soundkin.index.connection import attempt, connect, place_of
from soundkin.index.points import BATCH, LAYOUT, Mark, Point, batched, check_spaces
from soundkin.index.settings import QdrantCollection, QdrantLayout, QdrantSettings

_OLDEST = (1, 16)  # keeps metadata with a collection, and knows ACORN
_INDEX_FROM = 10_000  # kB of vectors in a segment from which it gets a graph: Qdrant's own default
_LOOK_AGAIN = 2.0  # seconds between looks at a server that builds graphs, at most
# Of quantized vectors so many times more are fetched than asked for, and scored again by the whole ones.
_OVERSAMPLING = {"int8": 2.0, "binary": 4.0}
_T = TypeVar("_T")

log = logging.getLogger(__name__)

Where: TypeAlias = str | QdrantSettings | QdrantClient


class ServerIndex(Index):
    """A collection on a Qdrant server, filled by `rebuild`.

    Parameters
    ----------
    client : QdrantClient
        A client that is ready.
    collection : str
        Its alias.
    settings : QdrantSettings
        How to speak with the server.
    owned : bool
        Whether to close the client with the index.

    Raises
    ------
    RebuildNeeded
        The collection is not there.
    StoreError
        The collection is not one of ours, or the server cannot be reached or refuses.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        settings: QdrantSettings,
        *,
        owned: bool = False,
    ) -> None:
        self._client = client
        self._collection = collection
        self._settings = settings
        self._owned = owned
        self._sign_at = float("inf")  # when a load last showed that it lives, on the monotonic clock
        self._local = client.init_options["location"] == ":memory:" or client.init_options["path"] is not None
        self._name = place_of(client, collection)
        self._generations = Generations(client, collection, settings)
        self._mark: Mark | None = None
        self._read()

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
        return self._call(lambda: self._client.count(self._collection)).count

    def flush(self, mark: Mark | None = None) -> None:
        """Remember the mark; the server has made every change safe before it answered.

        Parameters
        ----------
        mark : Mark, optional
            What the index reflects now.
        """
        if mark is None:
            return
        if not self._has_moved():
            try:
                self._note({"record": mark.record, "revision": mark.revision, PAYLOAD_KEY: LAYOUT})
            except StoreError:
                if not self._has_moved():
                    raise
            else:
                self._mark = mark
                return
        self._read()  # it was built anew meanwhile, from an earlier state perhaps: what it lacks is to be found out

    def is_loading(self) -> bool:
        """Tell whether some process loads very many points at this moment, see `loading`.

        Returns
        -------
        bool
            False as well when it has shown no sign of life for ten minutes: then it was killed.
        """
        # Another process may have made the collection anew, and then the one that was read is gone.
        info = self._info(self._generations.current())
        alive = (info.config.metadata or {}).get(BUILDING_KEY, 0.0)
        return info.config.optimizer_config.indexing_threshold == 0 and time.time() - alive <= STALE_SECONDS

    @contextlib.contextmanager
    def loading(self) -> Iterator[Self]:
        """Load very many points while the server builds no graph; see `Index.loading`.

        Yields
        ------
        ServerIndex
            This one.

        Raises
        ------
        StoreError
            The server cannot be reached, or cannot build the graphs.
        """
        usual = self._info().config.optimizer_config.indexing_threshold
        self._sign_at = float("-inf")
        self._show_life()
        self._graphs_from(0)
        try:
            yield self
        except BaseException:
            self._sign_at = float("inf")
            raise
        finally:
            # 0: another load is under way, or was killed
            self._graphs_from(usual or _INDEX_FROM)
        self._wait_for_graphs()
        self._sign_at = float("inf")

    def state(self) -> QdrantCollection:
        """Ask the server how the collection is.

        Returns
        -------
        QdrantCollection
            As it is now.

        Raises
        ------
        StoreError
            The server cannot be reached or refuses.
        """
        info = self._info()
        return QdrantCollection(
            place=place_of(self._client).removeprefix("Qdrant "),
            alias=self._collection,
            collection=self._generation,
            status=info.status.value,
            points=info.points_count or 0,
            indexed=info.indexed_vectors_count or 0,
            layout=layout_of(info),
            spaces=self.spaces,
            loading=info.config.optimizer_config.indexing_threshold == 0,
        )

    def close(self) -> None:
        """Close the connection, if this index opened it."""
        if self._owned:
            self._client.close()

    def _add_space(self, space: str, dims: int) -> None:
        # Another server may have added it, or moved the alias. If so `flush` finds out, and what the new one lacks.
        generation = self._generations.current() or self._generation
        there = self._info(generation).config.params.vectors
        if not (isinstance(there, dict) and space in there):
            self._make_space(generation, space, dims)
        self._spaces[space] = dims

    def _make_space(self, generation: str, space: str, dims: int) -> None:
        config = models.DenseVectorConfig(size=dims, distance=models.Distance.COSINE)
        try:
            self._call(
                lambda: self._client.create_vector_name(
                    generation, space, models.DenseVectorNameConfig(dense=config)
                )
            )
            if self._layout.on_disk:
                placed = {space: models.VectorParamsDiff(on_disk=True)}
                self._call(lambda: self._client.update_collection(generation, vectors_config=placed))
        except StoreError as error:
            refused = error.__cause__
            if isinstance(refused, UnexpectedResponse) and refused.status_code in (404, 405):
                message = (
                    f"{self._name}: servers before 1.18 cannot add space {space}; rebuild it with all spaces"
                )
                raise RebuildNeeded(message) from refused
            raise

    def _upsert(self, points: list[Point]) -> None:
        structs = [
            models.PointStruct(
                id=point.id,
                vector={space: vector.tolist() for space, vector in point.vectors.items()},
                payload=dict(point.payload),
            )
            for point in points
        ]
        self._call(lambda: self._client.upsert(self._collection, structs, wait=True))
        self._show_life()

    def _delete(self, ids: list[int]) -> None:
        selector = models.PointIdsList(points=list(ids))
        self._call(lambda: self._client.delete(self._collection, selector, wait=True))

    def _search(
        self, space: str, target: Target, k: int, where: Filter | None, exact: bool
    ) -> list[tuple[int, float]]:
        params = None
        if not self._local:  # the client's in-memory mode is always exact, and says so when asked to be
            acorn = models.AcornSearchParams(enable=where is not None, max_selectivity=1.0)
            # Without a quantization this says nothing.
            more = _OVERSAMPLING.get(self._layout.quantization or "", 2.0)
            scoring = models.QuantizationSearchParams(rescore=True, oversampling=more)
            params = models.SearchParams(exact=exact, acorn=acorn, quantization=scoring)
        found = self._call(
            lambda: self._client.query_points(
                self._collection,
                query=_query(target),
                using=space,
                limit=k,
                query_filter=None if where is None else models.Filter(must=[_condition(where)]),
                search_params=params,
                with_payload=False,
                consistency=_consistency(self._settings),
            )
        )
        return [(int(hit.id), hit.score) for hit in found.points]

    def _read(self) -> None:
        """Find the collection behind the alias; learn its spaces, its layout, and what it reflects."""
        self._check_version()
        current = self._generations.current()
        if current is None:
            raise RebuildNeeded(f"{self._name}: not there; soundkin qdrant create makes it from the record")
        self._generation = current
        try:
            info = self._info()
        except StoreError:
            if not self._has_moved():
                raise
            return self._read()
        vectors, saved = info.config.params.vectors, info.config.metadata or {}
        if not isinstance(vectors, dict) and PAYLOAD_KEY not in saved:
            # no `RebuildNeeded`: rebuilding would delete what is somebody else's
            raise StoreError(
                f"{self._name}: has no named vectors, so it is not ours; use another one, or another server"
            )
        self._layout = layout_of(info)
        if saved.get(PAYLOAD_KEY) != LAYOUT:
            # Filled by an older version, or never: what follows the record fills it again, and it answers meanwhile.
            index_fields(self._client, self._generation, self._settings, bool(self._layout.on_disk))
            saved = {}
        alive = saved.get(BUILDING_KEY, 0.0)
        if info.config.optimizer_config.indexing_threshold == 0 and time.time() - alive > STALE_SECONDS:
            log.warning("%s: a load was killed; graphs are built again", self._name)
            self._graphs_from(_INDEX_FROM)
        self._mark = Mark(saved["record"], saved["revision"]) if "record" in saved else None
        named = (
            vectors if isinstance(vectors, dict) else {}
        )  # none in one that was made before there was a track
        self._spaces = {space: params.size for space, params in named.items()}

    def _has_moved(self) -> bool:
        """Tell whether the alias stands for another collection than the one that was read; that may be gone."""
        return self._generations.current() != self._generation

    def _check_version(self) -> None:
        told = self._call(self._client.info).version
        found = re.match(r"(\d+)\.(\d+)", told)
        if not found or tuple(map(int, found.groups())) < _OLDEST:
            wanted = ".".join(map(str, _OLDEST))
            raise StoreError(
                f"{place_of(self._client)}: is version {told}, wanted {wanted} or newer; upgrade the server"
            )

    def _note(self, what: dict[str, str | int | float]) -> None:
        """Keep something with the collection."""
        self._call(lambda: self._client.update_collection(self._generation, metadata=what))

    def _show_life(self) -> None:
        if time.monotonic() - self._sign_at > STALE_SECONDS / 10:
            self._note({BUILDING_KEY: time.time()})
            self._sign_at = time.monotonic()

    def _info(self, generation: str | None = None) -> models.CollectionInfo:
        return self._call(lambda: self._client.get_collection(generation or self._generation))

    def _graphs_from(self, kilobytes: int | None) -> None:
        """Let segments with so many vectors get a graph, 0: none; None leaves it, but wakes a server that waits."""
        config = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        self._call(lambda: self._client.update_collection(self._generation, optimizers_config=config))

    def _wait_for_graphs(self) -> None:
        pause = 0.05
        while (info := self._info()).status != models.CollectionStatus.GREEN:
            if info.status == models.CollectionStatus.RED:
                reason = getattr(info.optimizer_status, "error", info.optimizer_status)
                raise StoreError(f"{self._name}: the server cannot build its graphs ({reason}); see its log")
            if info.status == models.CollectionStatus.GREY:  # after a restart it waits for a change
                self._graphs_from(None)
            self._show_life()
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_AGAIN)

    def _call(self, request: Callable[[], _T]) -> _T:
        return attempt(self._name, request, self._settings)


def _query(target: Target) -> list[float] | models.RecommendQuery:
    """Say what to look for in the server's words."""
    if not isinstance(target, Examples):
        return target.tolist()
    strategies = models.RecommendStrategy
    return models.RecommendQuery(
        recommend=models.RecommendInput(
            positive=target.likes.tolist(),
            negative=target.dislikes.tolist(),
            strategy=strategies.SUM_SCORES if target.strategy == "sum" else strategies.BEST_SCORE,
        )
    )


def _consistency(settings: QdrantSettings) -> int | models.ReadConsistencyType | None:
    copies = settings.read_consistency
    if copies is None or copies.isdecimal():
        return int(copies) if copies else None
    return models.ReadConsistencyType(copies)


def open_collection(where: Where, collection: str, api_key: str | None = None) -> ServerIndex:
    """Open a collection.

    Parameters
    ----------
    where : str, QdrantSettings or QdrantClient
        URL of a server, or how to use it, or a client that is ready (it stays open when the index is closed).
    collection : str
        Its alias.
    api_key : str, optional
        Key for the server, where a URL is given.

    Returns
    -------
    ServerIndex
        The index.

    Raises
    ------
    InputError
        The URL names no host.
    RebuildNeeded
        The collection is not there.
    StoreError
        The collection is not one of ours, or the server is too old, cannot be reached, or refuses.
    """
    with _closing_own(where, api_key, on_success=False) as client:
        return ServerIndex(client, collection, _settings_of(where), owned=client is not where)


def rebuild(
    where: Where,
    collection: str,
    mark: Mark,
    spaces: Mapping[str, int],
    points: Iterable[Point],
    api_key: str | None = None,
    layout: QdrantLayout | None = None,
) -> None:
    """Fill a new collection beside the one that answers, and let the alias stand for it when it is whole.

    Parameters
    ----------
    where, collection, api_key
        As in `open_collection`.
    mark : Mark
        What the points reflect; remembered when all are there.
    spaces : mapping of str to int
        Space id -> dimensions. None makes a collection that waits, with its layout, for the first space.
    points : iterable of Point
        The points; read in batches.
    layout : QdrantLayout, optional
        How the new collection lies on the nodes; what it does not say, the settings say, or else the one before.

    Raises
    ------
    IndexLocked
        Another process is building it.
    InputError
        A point is unusable, or the URL names no host; nothing has changed then.
    StoreError
        The server cannot be reached or refuses; nothing has changed then.
    """
    if spaces:
        check_spaces(spaces)
    settings = _settings_of(where)
    wanted = (layout or QdrantLayout()).over(settings.layout)
    with (
        _closing_own(where, api_key, on_success=True) as client,
        Generations(client, collection, settings).next(spaces, wanted) as name,
    ):
        index = ServerIndex(client, name, settings)
        with index.loading():
            for batch in batched(points, BATCH):
                index.upsert(batch)
        index.flush(mark)


def _settings_of(where: Where) -> QdrantSettings:
    return where if isinstance(where, QdrantSettings) else QdrantSettings("")


@contextlib.contextmanager
def _closing_own(where: Where, api_key: str | None, on_success: bool) -> Iterator[QdrantClient]:
    """Give a client, and close it at the end (or only after an error) unless it was given ready."""
    client = connect(where, api_key)
    with contextlib.ExitStack() as stack:
        if client is not where:
            stack.callback(client.close)
        yield client
        if not on_success:
            stack.pop_all()


def _condition(where: Filter) -> models.Condition:
    """Translate a filter into the server's."""
    match where:
        case Match(field, values):
            return models.FieldCondition(key=payload_key(field), match=models.MatchAny(any=list(values)))
        case Range(field, gt, gte, lt, lte):
            return models.FieldCondition(
                key=payload_key(field), range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte)
            )
        case HasId(ids):
            return models.HasIdCondition(has_id=list(ids))
        case Not(part):
            return models.Filter(must_not=[_condition(part)])
        case And(parts):
            return models.Filter(must=[_condition(part) for part in parts])
        case Or(parts):
            return models.Filter(should=[_condition(part) for part in parts])
