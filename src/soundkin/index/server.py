"""The index on a Qdrant server: for libraries larger than one machine, and for many readers and writers.

The same engine as `edge`, so the same care with filters: the server is asked to widen its graph search under
a filter (ACORN, servers from 1.16 on), and to look at every point wherever that is less than 100 MB of
vectors.
"""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Self, TypeVar
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from soundkin.errors import InputError, StoreError
from soundkin.filters import FIELDS, And, Filter, HasId, Match, Not, Or, Range, payload_key
from soundkin.index import Examples, Index, RebuildNeeded, Target
from soundkin.index.points import BATCH, LAYOUT, PAYLOAD, Mark, Point, batched, check_spaces

_TIMEOUT = 30  # seconds for one call
_PAUSES = (0.5, 1.5)  # seconds before another try; every call here may be repeated without harm
_PASSING = {429, 502, 503, 504}  # HTTP: too many requests, or the server behind a proxy is not up yet
_INDEX_FROM = 10_000  # kB of vectors in a segment from which it gets a graph: Qdrant's own default
_LOOK_AGAIN = 2.0  # seconds between looks at a server that builds graphs, at most
_T = TypeVar("_T")


class ServerIndex(Index):
    """A collection on a Qdrant server, filled by `rebuild`.

    What it reflects is kept with the collection by servers from 1.16 on; with older ones `mark` is None after
    opening.

    Parameters
    ----------
    client : QdrantClient
        A client that is ready.
    collection : str
        Name of the collection.
    owned : bool
        Whether to close the client with the index.

    Raises
    ------
    RebuildNeeded
        The collection is not there.
    StoreError
        The collection is not one of ours, or the server cannot be reached or refuses.
    """

    def __init__(self, client: QdrantClient, collection: str, *, owned: bool = False) -> None:
        self._client = client
        self._collection = collection
        self._owned = owned
        self._local = client.init_options["location"] == ":memory:" or client.init_options["path"] is not None
        self._name = place_of(client, collection)
        self._spaces, self._mark = self._read()

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
        if mark:
            saved = {"record": mark.record, "revision": mark.revision, "payload": LAYOUT}
            self._call(lambda: self._client.update_collection(self._collection, metadata=saved))
            self._mark = mark

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
        self._graphs_from(0)
        try:
            yield self
        finally:
            # 0: a process that was loading was killed
            self._graphs_from(usual or _INDEX_FROM)
        self._wait_for_graphs()

    def close(self) -> None:
        """Close the connection, if this index opened it."""
        if self._owned:
            self._client.close()

    def _add_space(self, space: str, dims: int) -> None:
        config = models.DenseVectorConfig(size=dims, distance=models.Distance.COSINE)
        try:
            self._call(
                lambda: self._client.create_vector_name(
                    self._collection, space, models.DenseVectorNameConfig(dense=config)
                )
            )
        except StoreError as error:
            refused = error.__cause__
            if isinstance(refused, UnexpectedResponse) and refused.status_code in (404, 405):
                message = (
                    f"{self._name}: servers before 1.18 cannot add space {space}; rebuild it with all spaces"
                )
                raise RebuildNeeded(message) from refused
            raise
        self._spaces[space] = dims

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

    def _delete(self, ids: list[int]) -> None:
        selector = models.PointIdsList(points=list(ids))
        self._call(lambda: self._client.delete(self._collection, selector, wait=True))

    def _search(
        self, space: str, target: Target, k: int, where: Filter | None, exact: bool
    ) -> list[tuple[int, float]]:
        params = None
        if not self._local:  # the client's in-memory mode is always exact, and says so when asked to be
            acorn = models.AcornSearchParams(enable=where is not None, max_selectivity=1.0)
            params = models.SearchParams(exact=exact, acorn=acorn)
        found = self._call(
            lambda: self._client.query_points(
                self._collection,
                query=_query(target),
                using=space,
                limit=k,
                query_filter=None if where is None else models.Filter(must=[_condition(where)]),
                search_params=params,
                with_payload=False,
            )
        )
        return [(int(hit.id), hit.score) for hit in found.points]

    def _read(self) -> tuple[dict[str, int], Mark | None]:
        """Spaces and mark of the collection."""
        if not self._call(lambda: self._client.collection_exists(self._collection)):
            raise RebuildNeeded(f"{self._name}: not there; rebuild it from the record")
        config = self._info().config
        vectors = config.params.vectors
        if not isinstance(vectors, dict):
            # no `RebuildNeeded`: rebuilding would delete what is somebody else's
            raise StoreError(
                f"{self._name}: has no named vectors, so it is not ours; use another one, or another server"
            )
        saved = config.metadata or {}
        if saved.get("payload") != LAYOUT:
            # Filled by an older version, or never: what follows the record fills it again, and it answers meanwhile.
            _index_fields(self._client, self._collection, self._name)
            saved = {}
        mark = Mark(saved["record"], saved["revision"]) if saved else None
        return {space: params.size for space, params in vectors.items()}, mark

    def _info(self) -> models.CollectionInfo:
        return self._call(lambda: self._client.get_collection(self._collection))

    def _graphs_from(self, kilobytes: int | None) -> None:
        """Let segments with so many vectors get a graph, 0: none; None leaves it, but wakes a server that waits."""
        config = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        self._call(lambda: self._client.update_collection(self._collection, optimizers_config=config))

    def _wait_for_graphs(self) -> None:
        pause = 0.05
        while (info := self._info()).status != models.CollectionStatus.GREEN:
            if info.status == models.CollectionStatus.RED:
                reason = getattr(info.optimizer_status, "error", info.optimizer_status)
                raise StoreError(f"{self._name}: the server cannot build its graphs ({reason}); see its log")
            if info.status == models.CollectionStatus.GREY:  # after a restart it waits for a change
                self._graphs_from(None)
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_AGAIN)

    def _call(self, request: Callable[[], _T]) -> _T:
        return attempt(self._name, request)


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


def connect(where: str | QdrantClient, api_key: str | None = None) -> QdrantClient:
    """Make a client; no request is sent.

    Parameters
    ----------
    where : str or QdrantClient
        URL of a server, or a client that is ready, which comes back as it is.
    api_key : str, optional
        Key for the server.

    Returns
    -------
    QdrantClient
        The client.

    Raises
    ------
    InputError
        The URL names no host.
    """
    if isinstance(where, QdrantClient):
        return where
    try:
        if not urlsplit(where).hostname:
            raise ValueError("no host")
        return QdrantClient(url=where, api_key=api_key, timeout=_TIMEOUT, check_compatibility=False)
    except ValueError as error:
        raise InputError(f"Qdrant URL {where!r}: {error}; give it like http://localhost:6333") from error


def open_collection(where: str | QdrantClient, collection: str, api_key: str | None = None) -> ServerIndex:
    """Open a collection.

    Parameters
    ----------
    where : str or QdrantClient
        URL of a server, or a client that is ready (it stays open when the index is closed).
    collection : str
        Name of the collection.
    api_key : str, optional
        Key for the server.

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
        The collection is not one of ours, or the server cannot be reached or refuses.
    """
    with _closing_own(where, api_key, on_success=False) as client:
        return ServerIndex(client, collection, owned=client is not where)


def rebuild(
    where: str | QdrantClient,
    collection: str,
    mark: Mark,
    spaces: Mapping[str, int],
    points: Iterable[Point],
    api_key: str | None = None,
) -> None:
    """Delete the collection and fill it again; it can be searched meanwhile, and results grow.

    Parameters
    ----------
    where, collection, api_key
        As in `open_collection`.
    mark : Mark
        What the points reflect; remembered when all are there.
    spaces : mapping of str to int
        Space id -> dimensions; at least one.
    points : iterable of Point
        The points; read in batches.

    Raises
    ------
    InputError
        No space, a point is unusable, or the URL names no host.
    StoreError
        The server cannot be reached or refuses.
    """
    check_spaces(spaces)
    with _closing_own(where, api_key, on_success=True) as client:
        _create(client, collection, spaces)
        index = ServerIndex(client, collection)
        with index.loading():
            for batch in batched(points, BATCH):
                index.upsert(batch)
        index.flush(mark)


@contextlib.contextmanager
def _closing_own(where: str | QdrantClient, api_key: str | None, on_success: bool) -> Iterator[QdrantClient]:
    """Give a client, and close it at the end (or only after an error) unless it was given ready."""
    client = connect(where, api_key)
    with contextlib.ExitStack() as stack:
        if client is not where:
            stack.callback(client.close)
        yield client
        if not on_success:
            stack.pop_all()


def _create(client: QdrantClient, collection: str, spaces: Mapping[str, int]) -> None:
    """Replace the collection by an empty one."""
    name = place_of(client, collection)
    vectors = {
        space: models.VectorParams(size=d, distance=models.Distance.COSINE) for space, d in spaces.items()
    }
    graph = models.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=100_000)
    attempt(name, lambda: client.delete_collection(collection))
    attempt(name, lambda: client.create_collection(collection, vectors_config=vectors, hnsw_config=graph))
    # before the points: the graph gets links for the fields that are indexed when it is built
    _index_fields(client, collection, name)


def _index_fields(client: QdrantClient, collection: str, name: str) -> None:
    """Index the fields of the payload that filters ask for; those that are indexed stay so."""
    with warnings.catch_warnings():
        # the client's in-memory mode says so for each field; it filters without them
        warnings.filterwarnings("ignore", "Payload indexes have no effect in the local Qdrant", UserWarning)
        for key in sorted(map(payload_key, FIELDS)):
            schema = models.PayloadSchemaType(PAYLOAD[key])
            attempt(name, partial(client.create_payload_index, collection, key, schema))


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


def place_of(client: QdrantClient, collection: str) -> str:
    """Give the name of a collection in errors."""
    options = client.init_options
    place = next((options[key] for key in ("url", "host", "location", "path") if options[key]), "localhost")
    return f"Qdrant {place}, collection {collection!r}"


def attempt(name: str, request: Callable[[], _T]) -> _T:
    """Send a request, again if the trouble may pass, and turn what the client raises into one line."""
    for pause in (*_PAUSES, None):
        try:
            return request()
        except ResponseHandlingException as error:
            if pause is None:
                message = f"{name}: cannot reach the server ({error.source}); start it, or check the URL"
                raise StoreError(message) from error
        except UnexpectedResponse as error:
            if pause is None or error.status_code not in _PASSING:
                raise StoreError(f"{name}: {' '.join(str(error).split())}") from error
        except Exception as error:
            raise StoreError(f"{name}: {' '.join(str(error).split())}") from error
        time.sleep(pause)
    raise AssertionError("unreachable: the last try returns or raises")
