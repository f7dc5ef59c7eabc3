"""Answers that take long: maps, clusters, duplicates. Made in a worker, kept until the library has changed.

What is kept is handed out at once, also while a newer one is being made: a picture of the library as it was a minute
ago is worth more than none.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin import workers
from soundkin.errors import SoundkinError, StoreError
from soundkin.explore import projection
from soundkin.filters import common_spelling
from soundkin.library import Library
from soundkin.recommend.clusters import describe, group
from soundkin.record.database import Place
from soundkin.serve.pool import Busy, Pool

log = logging.getLogger(__name__)

_WAITING, _PATIENCE_SECONDS, _AGAIN_SECONDS = 4, 3600.0, 30.0
_MOST_KEPT = 12
# t-SNE of more takes minutes, and UMAP half of that; of more than the second number, longer than anybody waits.
_MANY, _TOO_MANY = 20_000, 200_000
_TYPICAL = 12
NONE_16, NONE_32 = (1 << 16) - 1, (1 << 32) - 1


class Jobs:
    """What takes long, of one library.

    Parameters
    ----------
    library : dict
        What `Library.open` takes to open it.
    """

    def __init__(self, library: dict[str, Any]) -> None:
        arguments = ("soundkin.serve.jobs", "work", (library,))
        self._pool = Pool(
            "soundkin.serve.pool:numbered", arguments, 1, _WAITING, lambda task: _PATIENCE_SECONDS
        )
        self._guard = threading.Lock()
        self._kept: dict[tuple[Any, ...], tuple[int, float, Any]] = {}  # revision, when, result
        self._making: set[tuple[Any, ...]] = set()

    def get(self, revision: int, *task: Any) -> Any:
        """Return what a task gives, as new as there is.

        Parameters
        ----------
        revision : int
            Of the library now.
        *task
            The name of one of the functions of `work`, and its arguments.

        Returns
        -------
        object
            The result; None while the first one is being made.

        Raises
        ------
        SoundkinError
            What the task raised.
        """
        with self._guard:
            known = self._kept.get(task)
            old = known is None or (known[0] != revision and time.monotonic() - known[1] > _AGAIN_SECONDS)
            if old and task not in self._making:
                self._start(task, revision, known is not None)
        if known is None:
            return None
        if isinstance(known[2], SoundkinError):
            raise known[2]
        return known[2]

    def close(self) -> None:
        """End the worker."""
        self._pool.close()

    def _start(self, task: tuple[Any, ...], revision: int, is_renewal: bool) -> None:
        try:
            future = self._pool.submit(task)
        except Busy:
            if not is_renewal:
                raise
            return
        self._making.add(task)
        future.add_done_callback(lambda done: self._keep(task, revision, done))

    def _keep(self, task: tuple[Any, ...], revision: int, done: "Future[Any]") -> None:
        result = done.exception() or done.result()
        if isinstance(result, workers.Lost):
            result = StoreError(f"{task[0]} could not be made: {result.reason}")
        with self._guard:
            self._making.discard(task)
            self._kept.pop(task, None)
            self._kept[task] = revision, time.monotonic(), result
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]


def work(opens: dict[str, Any]) -> Callable[[tuple[Any, ...]], Any]:
    """Make the function of one task, in a worker: (what, ...) -> what came of it, or the error that did.

    Parameters
    ----------
    opens : dict
        What `Library.open` takes.

    Returns
    -------
    callable
        It opens the library for each task.
    """
    kinds: dict[str, Callable[..., Any]] = {
        "map": map_of,
        "clusters": clusters_of,
        "duplicates": duplicates_of,
    }

    def one(task: tuple[Any, ...]) -> Any:
        try:
            with Library.open(**opens) as library:
                return kinds[task[0]](library, *task[1:])
        except SoundkinError as error:
            return error  # its class and its line; those that hold more are not raised here

    return one


def best_method(record_at: Place, space: str, count: int) -> str:
    """Choose how to lay a library out.

    Parameters
    ----------
    record_at : Path or str
        Where the record of the library is.
    space : str
        Id of the space.
    count : int
        How many tracks.

    Returns
    -------
    str
        A method whose layout is kept, else the best that this machine makes in a few minutes.
    """
    kept = projection.kept(record_at, space)
    if "tsne" in kept and find_spec("openTSNE"):
        return "tsne"
    if find_spec("umap") and (count > _MANY or "umap" in kept):
        return "umap"
    return "tsne" if find_spec("openTSNE") and count <= _TOO_MANY else "pca"


def map_of(library: Library, space: str, method: str) -> dict[str, Any]:
    """Lay the library out.

    Parameters
    ----------
    library : Library
        Which.
    space : str
        Id of a space.
    method : str
        Of `projection.METHODS`.

    Returns
    -------
    dict
        "columns": the columns of docs/api.md but for those of a profile, as arrays; the rest as its JSON has them.
    """
    ids, vectors = library.vectors(space)
    known = {track.id: track for track in library.tracks()}
    if not all(map(known.__contains__, ids)):  # a track went while we looked
        there = [place for place, id_ in enumerate(ids) if id_ in known]
        ids, vectors = [ids[place] for place in there], vectors[there]
    layout = projection.keep_up(library.place, ids, vectors, space, method)
    tracks = [known[id_] for id_ in ids]
    groups = describe(tracks, vectors, group(vectors))  # as `Library.clusters` does, of what was read
    number = {row: place for place, cluster in enumerate(groups) for row in cluster.rows}
    genres, genre = _table([track.genres[0] if track.genres else "" for track in tracks], np.uint16, NONE_16)
    artists, artist = _table([track.artist for track in tracks], np.uint32, NONE_32)
    middle = (layout.places.max(axis=0) + layout.places.min(axis=0)) / 2
    reach = max(float(np.abs(layout.places - middle).max()), 1e-9)
    places = ((layout.places - middle) / reach).astype(np.float32)
    columns: dict[str, NDArray[Any]] = {
        "id": np.array([int(id_, 16) for id_ in ids], np.uint64),
        "x": np.ascontiguousarray(places[:, 0]),
        "y": np.ascontiguousarray(places[:, 1]),
        "genre": genre,
        "cluster": np.array([number[row] for row in range(len(ids))], np.uint16),
        "artist": artist,
        "tempo": np.array([track.bpm or 0.0 for track in tracks], np.float32),
        "energy": np.array([-1.0 if t.energy is None else t.energy for t in tracks], np.float32),
        "year": np.array([min(max(track.year or 0, 0), NONE_16) for track in tracks], np.uint16),
    }
    return {
        "method": method, "space": space, "count": len(ids), "columns": columns, "genres": genres, "artists": artists,
        "clusters": [cluster.name for cluster in groups],
    }  # fmt: skip


def clusters_of(library: Library, space: str) -> list[tuple[str, int, list[str]]]:
    """Return the name, the size and the most typical tracks of each cluster of a space."""
    return [
        (cluster.name, len(cluster.tracks), [track.id for track in cluster.tracks[:_TYPICAL]])
        for cluster in library.clusters(space)
    ]


def duplicates_of(library: Library, space: str) -> list[Any]:
    """Return what `Library.duplicates` finds."""
    return list(library.duplicates(space))


def _table(values: list[str], kind: type, none: int) -> tuple[list[str], NDArray[Any]]:
    """Replace names by their places in a list of them, the most frequent first; the empty one by `none`."""
    spelled = common_spelling(value for value in values if value)
    counts = Counter(spelled[value] for value in values if value)
    listed = sorted(counts, key=lambda name: (-counts[name], name))[:none]
    place = {name: i for i, name in enumerate(listed)}
    return listed, np.array([place.get(spelled.get(value, ""), none) for value in values], kind)
