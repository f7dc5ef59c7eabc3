"""Vectors in a collection of a Qdrant server, or in the folder of one that runs in a process: out and in.

A collection is written as Qdrant's tutorial on audio makes its ``music_collection``: one unnamed vector a point,
compared by cosine; ids 0, 1, 2, ...; payload ``artist``, ``genre``, ``name``, ``subgenres`` (a list) and ``urls`` (the
path of the file). So what was written for such a collection can go on with one of ours. What only we know stands beside
it: the fields of `Track` under ``track``, and the space in the metadata of the collection (servers from 1.16 on).

A collection that names no space was made by others. Its songs are found by ``urls``, then by ``artist`` and ``name``.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from soundkin.errors import InputError, StoreError
from soundkin.exchange.formats import KINDS, Exported, Foreign, Rows, exported, foreign_space, units
from soundkin.index.connection import attempt, connect, place_of
from soundkin.record.rows import storable

Array = NDArray[np.float32]
Where = str | os.PathLike[str] | QdrantClient

COLLECTION = "music_collection"
_AT_ONCE = 256
_SPACE, _SPACE_ID = "soundkin.space", "soundkin.space_id"


def write(where: Where, content: Exported, collection: str = COLLECTION, api_key: str | None = None) -> None:
    """Write a collection that `read` understands.

    Parameters
    ----------
    where : str, path-like or QdrantClient
        URL of a server, or a folder, or a client that is ready.
    content : Exported
        What to write.
    collection : str
        Its name; there must be none of that name, for nothing of anybody's is deleted.
    api_key : str, optional
        Key for the server.

    Raises
    ------
    InputError
        There is such a collection already, or the URL or folder is unusable.
    StoreError
        The server cannot be reached or refuses.
    """
    with _client(where, api_key) as client:
        name = place_of(client, collection)
        if attempt(name, lambda: client.collection_exists(collection)):
            raise InputError(f"{name}: is there already; delete it, or name another one with --collection")
        config = models.VectorParams(size=content.space.dims, distance=models.Distance.COSINE)
        told = {_SPACE: content.space.to_json(), _SPACE_ID: content.space.id}
        attempt(name, lambda: client.create_collection(collection, vectors_config=config, metadata=told))
        for begin in range(0, len(content.tracks), _AT_ONCE):
            points = [
                models.PointStruct(
                    id=i, vector=content.vectors[i].tolist(), payload=_payload(content.tracks[i])
                )
                for i in range(begin, min(begin + _AT_ONCE, len(content.tracks)))
            ]
            attempt(name, lambda points=points: client.upsert(collection, points, wait=True))  # type: ignore[misc]


def _payload(track: Any) -> dict[str, Any]:
    """Say what the tutorial says of a song, and beside it all we know."""
    fields = {name: storable(getattr(track, name)) for name in KINDS}
    genre, subgenres = fields["genres"][:1], list(fields["genres"][1:])
    fields["genres"] = list(fields["genres"])
    return {
        "artist": fields["artist"], "genre": genre[0] if genre else "", "name": fields["title"], "subgenres": subgenres,
        "urls": fields["path"], "track": {**fields, "path_bytes": os.fsencode(track.path).hex()},
    }  # fmt: skip


def read(
    where: Where, encoder_name: str, collection: str = COLLECTION, api_key: str | None = None
) -> Exported | Foreign:
    """Read a collection, of ours or by others.

    Parameters
    ----------
    where : str, path-like or QdrantClient
        URL of a server, or a folder, or a client that is ready.
    encoder_name : str
        What to call whatever made vectors that do not say it.
    collection : str
        Its name.
    api_key : str, optional
        Key for the server.

    Returns
    -------
    Exported or Foreign
        Checked, as by `exchange.read`.

    Raises
    ------
    InputError
        There is no such collection, it holds no vectors to import, or the URL or folder is unusable.
    StoreError
        The server cannot be reached or refuses.
    """
    with _client(where, api_key) as client:
        name = place_of(client, collection)
        if not attempt(name, lambda: client.collection_exists(collection)):
            there = sorted(c.name for c in attempt(name, client.get_collections).collections)
            raise InputError(f"{name}: not there; there is {', '.join(there) or 'none'}: use --collection")
        told = attempt(name, lambda: client.get_collection(collection)).config.metadata or {}
        points = list(_points(client, collection, name))
    if not points:
        raise InputError(f"{name}: holds no points, so there is nothing to import")
    vectors = np.array([_vector(name, point) for point in points], np.float64)
    payloads = [point.payload or {} for point in points]
    if _SPACE in told and all("track" in payload for payload in payloads):
        return _ours(name, told, [payload["track"] for payload in payloads], vectors)
    songs = [_Song.of(point.id, payload) for point, payload in zip(points, payloads, strict=True)]
    names = [song.path or str(song.number) for song in songs]
    made_by = hashlib.sha256(
        "\n".join(names).encode("utf-8", "surrogatepass") + vectors.tobytes()
    ).hexdigest()
    space = foreign_space(encoder_name, made_by[:32], vectors.shape[1])
    return Foreign(space, names, units(names, vectors), [(song.artist, song.name) for song in songs])


@dataclass(frozen=True)
class _Song:
    """What a payload by others says of a song; empty where it says nothing."""

    number: object
    path: str
    artist: str
    name: str

    @classmethod
    def of(cls, number: object, payload: dict[str, Any]) -> "_Song":
        path, artist, name = (
            value if isinstance(value := payload.get(key), str) and value != "Unknown" else ""
            for key in ("urls", "artist", "name")
        )
        return cls(number, path, artist, name)


def _ours(name: str, told: dict[str, Any], rows: list[Any], vectors: NDArray[np.float64]) -> Exported:
    try:
        columns = {
            field: [row[field] for row in rows] for field in KINDS if all(field in row for row in rows)
        }
        columns["path"] = [os.fsdecode(bytes.fromhex(row["path_bytes"])) for row in rows]
        return exported(Rows(told[_SPACE], told[_SPACE_ID], columns, vectors))
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name}: cannot be imported, it was changed since it was exported ({reason})"
        ) from error


def _points(client: QdrantClient, collection: str, name: str) -> Iterator[models.Record]:
    """Give all points, a page at a time, in the order of their ids."""
    offset = None
    while True:
        page, offset = attempt(
            name,
            lambda offset=offset: client.scroll(  # type: ignore[misc]
                collection, limit=_AT_ONCE, offset=offset, with_payload=True, with_vectors=True
            ),
        )
        yield from page
        if offset is None:
            return


def _vector(name: str, point: models.Record) -> list[float]:
    vector: Any = point.vector
    if isinstance(vector, dict):
        if len(vector) != 1:
            named = ", ".join(sorted(vector)) or "none"
            raise InputError(f"{name}: point {point.id} has {len(vector)} vectors ({named}); wanted one")
        (vector,) = vector.values()
    if not isinstance(vector, list) or not vector or isinstance(vector[0], list):
        raise InputError(f"{name}: point {point.id} has no dense vector; wanted one of floats")
    return [float(number) for number in vector]


@contextmanager
def _client(where: Where, api_key: str | None) -> Iterator[QdrantClient]:
    if isinstance(where, QdrantClient):
        yield where
        return
    text = os.fspath(where)
    if text.lower().startswith(("http://", "https://")):
        client = connect(text, api_key)
    else:
        try:
            client = QdrantClient(path=os.fspath(Path(text).expanduser()))
        except Exception as error:  # a lock held by others, a file in the way, a folder that cannot be made
            raise StoreError(f"Qdrant in {text}: {' '.join(str(error).split())}") from error
    try:
        yield client
    finally:
        client.close()
