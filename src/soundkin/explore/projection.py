"""Vectors laid out in two dimensions, and kept in place as tracks come and go.

A layout is kept in the record and, like the index, can be deleted at any time. What is new finds its place among its
neighbours without moving the rest. Only when much is new is the layout computed again, beginning from the old one and
turned to lie over it.
"""

import importlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import must_be_finite, unit
from soundkin.errors import InputError, MissingExtra, StoreError
from soundkin.record import Record
from soundkin.record.database import Place
from soundkin.record.layouts import Layout

Array = NDArray[np.float32]
Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)

METHODS = ("pca", "tsne", "umap")
LEAST = 4
# With more new tracks than this, as a share of those known, their places among old neighbours say too little.
_MOST_NEW = 0.15
_NEIGHBOURS = 10
_PERPLEXITY = 30.0
# More dimensions than this only cost time: t-SNE and UMAP look at near neighbours.
_REDUCED = 50
# Begin this small, so that early exaggeration can still move everything (Kobak & Berens, 2019).
_BEGIN_SPREAD = 1e-4
_ROUNDS, _TOLD_EVERY = 750, 25  # of openTSNE: 250 exaggerated, 500 plain
_BLOCK = 2048
_SAMPLE = 2000


def extra(module: str) -> Any:
    """Import a module of the extra `maps`, or say what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = "umap" if module == "umap" else "maps"
        raise MissingExtra(
            f"this needs {module} ({error}); install it: pip install 'soundkin[{name}]'"
        ) from error


def project(
    vectors: Array,
    method: str = "tsne",
    seed: int = 0,
    begin: Array | None = None,
    progress: Progress | None = None,
) -> Array:
    """Lay vectors out in two dimensions.

    Parameters
    ----------
    vectors : float32 (n, d)
        At least four.
    method : str
        "pca" keeps the two widest directions: distances mean something, crowding is real. "tsne" (van der Maaten, 2008)
        and "umap" (McInnes, 2018) keep neighbours together; distances between groups mean nothing.
    seed : int
        The same seed gives the same layout.
    begin : float32 (n, 2), optional
        Where to begin.
    progress : callable, optional
        Called with rounds done and in all; first the neighbours of all are looked for, of which nothing is told.

    Returns
    -------
    float32 (n, 2)
        The places.

    Raises
    ------
    InputError
        An unknown method, too few vectors, or one that is not finite.
    MissingExtra
        The method's library is not installed.
    """
    if method not in METHODS:
        raise InputError(f"no layout is called {method!r}; there are {', '.join(METHODS)}")
    n = len(vectors)
    if n < LEAST:
        raise InputError(f"{n} tracks came; a map needs {LEAST} or more")
    must_be_finite(vectors)
    centred = unit(vectors) - unit(vectors).mean(axis=0)
    reduced = principal(centred, min(_REDUCED, *centred.shape))
    if method == "pca":
        return np.ascontiguousarray(reduced[:, :2])
    start = reduced[:, :2] if begin is None else begin - begin.mean(axis=0)
    if method == "tsne":
        return _tsne(reduced, start, seed, progress)
    return _umap(reduced, start, seed, progress)


class _Rounds:
    """Reads the progress bar of a library that tells of its rounds in no other way."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def write(self, text: str) -> None:
        """Take what the bar would look like."""
        done, _, total = text.strip().partition("/")
        if done.isdigit() and total.isdigit():
            self._progress(int(done), int(total))

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


def _umap(reduced: Array, start: Array, seed: int, progress: Progress | None) -> Array:
    """Let umap-learn do it, in one thread, so that it is repeatable."""
    module = extra("umap")
    bar = {"disable": True} if progress is None else {"disable": False, "file": _Rounds(progress)}
    umap = module.UMAP(
        n_neighbors=min(15, len(reduced) - 1), random_state=seed, n_jobs=1,
        init=np.asarray(start / max(float(np.abs(start).max()), 1e-12) * 10, np.float32),  # as its own beginnings
        tqdm_kwds=bar | {"bar_format": "{n_fmt}/{total_fmt}"},
    )  # fmt: skip
    return np.asarray(umap.fit_transform(reduced), np.float32)


def _tsne(reduced: Array, start: Array, seed: int, progress: Progress | None) -> Array:
    """Let openTSNE do it, whose time grows with n; in one thread, so that it is repeatable."""
    module = extra("openTSNE")
    done = 0

    def told(iteration: int, error: float, places: Any) -> None:
        nonlocal done
        done += _TOLD_EVERY
        if progress:
            progress(min(done, _ROUNDS), _ROUNDS)

    tsne = module.TSNE(
        perplexity=min(_PERPLEXITY, (len(reduced) - 1) / 3),
        initialization=np.asarray(start / max(float(start[:, 0].std()), 1e-12) * _BEGIN_SPREAD, np.float64),
        random_state=seed, n_jobs=1, callbacks=told, callbacks_every_iters=_TOLD_EVERY,
    )  # fmt: skip
    return np.ascontiguousarray(tsne.fit(reduced), np.float32)


def principal(centred: Array, dims: int) -> Array:
    """Project vectors whose mean is zero, float32 (n, d), on their `dims` widest directions; signs are settled."""
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    widest = directions[:, ::-1][:, :dims]
    largest = np.abs(widest).argmax(axis=0)
    widest = widest * np.sign(widest[largest, np.arange(widest.shape[1])])
    return np.ascontiguousarray(centred @ widest, np.float32)


def place(vectors: Array, known: Array, places: Array, neighbours: int = _NEIGHBOURS) -> Array:
    """Find places for new vectors: the mean of those of their nearest neighbours, the nearer the heavier.

    Parameters
    ----------
    vectors : float32 (m, d)
        The new ones.
    known : float32 (n, d)
        Those that have places.
    places : float32 (n, 2)
        Which.
    neighbours : int
        How many are asked.

    Returns
    -------
    float32 (m, 2)
        A copy of a known vector gets its place.
    """
    asked, answers = unit(vectors), unit(known)
    k = min(neighbours, len(known))
    out = np.empty((len(asked), 2), np.float32)
    for begin in range(0, len(asked), _BLOCK):
        similar = asked[begin : begin + _BLOCK] @ answers.T
        near = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        distance = np.maximum(1 - np.take_along_axis(similar, near, axis=1), 1e-6)
        weight = distance**-2 / (distance**-2).sum(axis=1, keepdims=True)
        out[begin : begin + _BLOCK] = (weight[:, :, None] * places[near]).sum(axis=1)
    return out


def aligned(places: Array, onto: Array, which: NDArray[np.int64] | slice = slice(None)) -> Array:
    """Turn, mirror, scale and shift a layout so that some of it lies over an older one (Procrustes; Schönemann, 1966).

    Parameters
    ----------
    places : float32 (n, 2)
        The layout.
    onto : float32 (m, 2)
        The older places of some of it.
    which : int64 (m,) or slice
        Which.

    Returns
    -------
    float32 (n, 2)
        The same layout, elsewhere.
    """
    moved, fixed = places[which].astype(np.float64), onto.astype(np.float64)
    a, b = moved - moved.mean(axis=0), fixed - fixed.mean(axis=0)
    left, strength, right = np.linalg.svd(a.T @ b)
    scale = strength.sum() / max(float((a**2).sum()), 1e-12)
    turned = (places - moved.mean(axis=0)) @ (left @ right) * scale + fixed.mean(axis=0)
    return np.ascontiguousarray(turned, np.float32)


def kept(record_at: Place, space: str, seed: int = 0) -> set[str]:
    """Return the methods of which the record keeps a layout.

    Parameters
    ----------
    record_at : Path or str
        Of the library.
    space : str
        Id of a space.
    seed : int
        Of the layouts.

    Returns
    -------
    set of str
        Of `METHODS`.
    """
    with Record.open(record_at) as record:
        return {method for method in METHODS if record.layout(space, method, seed) is not None}


def keep_up(
    record_at: Place,
    ids: list[str],
    vectors: Array,
    space: str,
    method: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> Layout:
    """Return the layout of a library as it is now, from the one that is kept if there is one.

    Parameters
    ----------
    record_at : Path or str
        Where the record of the library is; the layout is kept in it where that can be written.
    ids : list of str
        n track ids.
    vectors : float32 (n, d)
        Theirs.
    space : str
        Id of their space.
    method : str
        Of `METHODS`.
    seed : int
        Of a layout that is computed.
    progress : callable, optional
        As for `project`.

    Returns
    -------
    Layout
        In the order of `ids`.

    Raises
    ------
    InputError, MissingExtra
        As `project`.
    NotFound, StoreError
        There is no library, or its record cannot be read.
    """
    if method == "pca":  # exact, and instant
        return Layout(ids, project(vectors, method, seed), method, space, len(ids))
    with Record.open(record_at) as record:
        old = record.layout(space, method, seed)
    number = {name: i for i, name in enumerate(old.ids)} if old else {}
    there = np.array([name in number for name in ids], bool)
    if old is None or there.sum() < LEAST:
        made = Layout(ids, project(vectors, method, seed, None, progress), method, space, len(ids))
    else:
        before = old.places[[number[name] for name in ids if name in number]]
        places = np.empty((len(ids), 2), np.float32)
        places[there] = before
        if not there.all():
            places[~there] = place(vectors[~there], vectors[there], before)
        if len(ids) - old.anchors > _MOST_NEW * old.anchors:
            fresh = project(vectors, method, seed, places, progress)
            places, anchors = aligned(fresh, before, np.flatnonzero(there)), len(ids)
        else:
            anchors = old.anchors
        made = Layout(ids, places, method, space, anchors)
    if old is None or made.ids != old.ids:
        _keep(record_at, made, seed)
    return made


def _keep(record_at: Place, layout: Layout, seed: int) -> None:
    try:
        with Record.open_to_note(record_at) as record:
            record.keep_layout(layout, seed)
    except StoreError as error:  # a library that cannot be written has maps as well
        log.warning("the map is not kept, the next one may look different: %s", error)


def trustworthiness(vectors: Array, places: Array, neighbours: int = _NEIGHBOURS) -> float:
    """Return how far neighbours in the plane are neighbours in truth, 0 to 1 (Venna & Kaski, 2001), on a sample."""
    which = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE]
    k = max(1, min(neighbours, (len(which) - 1) // 2 - 1))
    module = extra("sklearn.manifold")
    return float(module.trustworthiness(unit(vectors[which]), places[which], n_neighbors=k))
