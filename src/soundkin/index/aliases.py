"""Generations of a collection on a Qdrant server: each is built beside the one before, and an alias moves to it.

Readers ask the alias. It moves in one step, when the new generation is whole and its graphs are built; so nobody sees
half of one, and nobody waits. What a killed build left behind is dropped by the next one, after it has shown no sign of
life for ten minutes.
"""

import contextlib
import re
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from soundkin.errors import StoreError
from soundkin.filters import FIELDS, payload_key
from soundkin.index import IndexLocked
from soundkin.index.connection import attempt, place_of
from soundkin.index.points import LAYOUT, PAYLOAD
from soundkin.index.settings import QdrantLayout, QdrantSettings

STALE_SECONDS = 600.0
"""A build that has shown no sign of life for so long was killed; clocks of machines differ by much less."""

PAYLOAD_KEY, BUILDING_KEY, _BUILDER_KEY = "payload", "building", "builder"
_DISK = "cold"  # newer servers' word for what is read from disk when asked


class Generations:
    """The collections behind one alias.

    Parameters
    ----------
    client : QdrantClient
        A client that is ready.
    alias : str
        What readers ask; a plain collection of that name, as earlier versions made it, is the first generation.
    settings : QdrantSettings
        How to speak with the server.
    """

    def __init__(self, client: QdrantClient, alias: str, settings: QdrantSettings) -> None:
        self._client, self._alias, self._settings = client, alias, settings
        self._name = place_of(client, alias)

    def current(self) -> str | None:
        """Return the name of the collection that answers now, None where there is none."""
        for one in self._call(self._client.get_aliases).aliases:
            if one.alias_name == self._alias:
                return one.collection_name
        there = self._call(lambda: self._client.collection_exists(self._alias))
        return self._alias if there else None

    @contextlib.contextmanager
    def next(self, spaces: Mapping[str, int], layout: QdrantLayout) -> Iterator[str]:
        """Make a new generation, and move the alias to it when the block ends; an exception drops it.

        Parameters
        ----------
        spaces : mapping of str to int
            Space id -> dimensions.
        layout : QdrantLayout
            How it lies on the nodes; what this does not say is as in the one before.

        Yields
        ------
        str
            The name of an empty collection.

        Raises
        ------
        IndexLocked
            Another process is building one.
        StoreError
            The server cannot be reached or refuses.
        """
        current = self.current()
        before = QdrantLayout() if current is None else layout_of(self._info(current))
        name = self._free_name(current)
        self._create(name, spaces, layout.over(before))
        try:
            yield name
        except BaseException:
            with contextlib.suppress(StoreError):
                self._drop(name)
            raise
        self._switch(current, name)

    def _free_name(self, current: str | None) -> str:
        """Choose a name, drop what killed builds have left, and refuse where one is at work."""
        ours = re.compile(re.escape(self._alias) + r"-(\d{4,})")
        there = [one.name for one in self._call(self._client.get_collections).collections]
        numbers = {name: int(found[1]) for name in there if (found := ours.fullmatch(name))}
        for name in sorted(set(numbers) - {current}):
            alive = (self._info(name).config.metadata or {}).get(BUILDING_KEY, 0.0)
            if time.time() - alive < STALE_SECONDS:
                raise self._locked(name)
            self._drop(name)
        return f"{self._alias}-{max(numbers.values(), default=0) + 1:04}"

    def _create(self, name: str, spaces: Mapping[str, int], layout: QdrantLayout) -> None:
        token = uuid.uuid4().hex
        on_disk, quantized = bool(layout.on_disk), quantization(layout)
        vectors = {
            space: models.VectorParams(size=dims, distance=models.Distance.COSINE, on_disk=on_disk)
            for space, dims in spaces.items()
        }
        request = partial(
            self._client.create_collection,
            name,
            vectors_config=vectors,
            hnsw_config=models.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=100_000),
            shard_number=layout.shards,
            replication_factor=layout.replicas,
            write_consistency_factor=layout.write_consistency,
            quantization_config=quantized,
            on_disk_payload=on_disk,
            metadata={PAYLOAD_KEY: LAYOUT, BUILDING_KEY: time.time(), _BUILDER_KEY: token},
        )
        try:
            self._call(request)
        except StoreError as error:
            # It may be ours: of two tries the first got through, and only its answer was lost.
            if not _is_conflict(error) or self._metadata(name).get(_BUILDER_KEY) != token:
                raise (self._locked(name) if _is_conflict(error) else error) from error
        # before the points: the graph gets links for the fields that are indexed when it is built
        index_fields(self._client, name, self._settings, on_disk)

    def _switch(self, current: str | None, name: str) -> None:
        """Let the alias stand for a collection, in one step, and drop the one before."""
        steps: list[Any] = []
        if current == self._alias:  # of an earlier version; it has to make room for an alias of its name
            self._drop(current)
        elif current is not None:
            steps.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._alias)))
        made = models.CreateAlias(collection_name=name, alias_name=self._alias)
        steps.append(models.CreateAliasOperation(create_alias=made))
        self._call(lambda: self._client.update_collection_aliases(steps))
        if current not in (None, self._alias):
            self._drop(str(current))

    def _drop(self, name: str) -> None:
        self._call(lambda: self._client.delete_collection(name))

    def _info(self, name: str) -> models.CollectionInfo:
        return self._call(lambda: self._client.get_collection(name))

    def _metadata(self, name: str) -> dict[str, Any]:
        return self._info(name).config.metadata or {}

    def _locked(self, name: str) -> IndexLocked:
        return IndexLocked(
            f"{self._name}: another process is building it as {name}; ask again when that is done, or in "
            f"{STALE_SECONDS / 60:.0f} minutes if it was killed"
        )

    def _call(self, request: Any) -> Any:
        return attempt(self._name, request, self._settings)


def _is_conflict(error: StoreError) -> bool:
    refused = error.__cause__
    return isinstance(refused, UnexpectedResponse) and refused.status_code == 409


def quantization(layout: QdrantLayout) -> models.ScalarQuantization | models.BinaryQuantization | None:
    """Say in the server's words what is kept of each vector to search by.

    Parameters
    ----------
    layout : QdrantLayout
        How a collection lies on its nodes.

    Returns
    -------
    ScalarQuantization, BinaryQuantization or None
        Always in memory: that is what it is for.
    """
    if layout.quantization == "int8":
        # no quantile: vectors of length 1 have no outliers to cut off
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if layout.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None


def layout_of(info: models.CollectionInfo) -> QdrantLayout:
    """Read how a collection lies on its nodes.

    Parameters
    ----------
    info : CollectionInfo
        What the server says of it.

    Returns
    -------
    QdrantLayout
        None only where the server says nothing.
    """
    params = info.config.params
    kinds = {models.ScalarQuantization: "int8", models.BinaryQuantization: "binary", type(None): "none"}
    vectors = params.vectors.values() if isinstance(params.vectors, dict) else ()
    on_disk = all(_is_on_disk(one) for one in vectors) if vectors else bool(params.on_disk_payload)
    return QdrantLayout(
        params.shard_number,
        params.replication_factor,
        params.write_consistency_factor,
        kinds.get(type(info.config.quantization_config)),
        on_disk,
    )


def _is_on_disk(vector: models.VectorParams) -> bool:
    return bool(vector.on_disk) or getattr(vector, "memory", None) == _DISK


def index_fields(
    client: QdrantClient, collection: str, settings: QdrantSettings, on_disk: bool = False
) -> None:
    """Index the fields of the payload that filters ask for; those that are indexed stay so.

    Parameters
    ----------
    client : QdrantClient
        A client that is ready.
    collection : str
        Name of the collection.
    settings : QdrantSettings
        How to speak with the server.
    on_disk : bool
        Whether to read these indexes from disk.

    Raises
    ------
    StoreError
        The server cannot be reached or refuses.
    """
    kinds: dict[str, models.PayloadSchemaParams] = {
        "keyword": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=on_disk),
        "integer": models.IntegerIndexParams(
            type=models.IntegerIndexType.INTEGER, lookup=False, range=True, on_disk=on_disk
        ),
        "float": models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=on_disk),
    }
    with warnings.catch_warnings():
        # the client's in-memory mode says so for each field; it filters without them
        warnings.filterwarnings("ignore", "Payload indexes have no effect in the local Qdrant", UserWarning)
        for key in sorted(map(payload_key, FIELDS)):
            request = partial(client.create_payload_index, collection, key, kinds[PAYLOAD[key]])
            attempt(place_of(client, collection), request, settings)
