"""A few tracks side by side: how alike they are in every space, and which of their moments are."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import unit
from soundkin.errors import InputError, SoundkinError
from soundkin.explore.pages import save
from soundkin.explore.projection import extra
from soundkin.library import Library
from soundkin.recommend import Query
from soundkin.record import Record, Track

Array = NDArray[np.float32]

MOST = 12
_MOMENTS = 3


@dataclass(frozen=True)
class Moment:
    """A moment of one track that is like a moment of another.

    Parameters
    ----------
    first, second : int
        Numbers of the tracks.
    at, there : float
        Where the windows begin, seconds.
    similarity : float
        Cosine of the windows.
    """

    first: int
    second: int
    at: float
    there: float
    similarity: float


@dataclass(frozen=True)
class Comparison:
    """Some tracks, compared.

    Parameters
    ----------
    tracks : list of Track
        n of them.
    similar : dict of str to float32 (n, n)
        Space id -> cosines of the tracks; NaN where one has no vector in it.
    space : str
        The space whose windows are compared.
    starts : list of float32 (w,)
        Where each track's windows begin, seconds.
    windows : list of float32 (w, d)
        Unit length.
    """

    tracks: list[Track]
    similar: dict[str, Array]
    space: str
    starts: list[Array]
    windows: list[Array]

    def cross(self, first: int, second: int) -> Array:
        """Return the cosines of all windows of one track with all of another, float32 (w, v)."""
        return self.windows[first] @ self.windows[second].T

    def moments(self, count: int = _MOMENTS) -> list[Moment]:
        """Find the moments of each two tracks that are most alike, each moment once.

        Parameters
        ----------
        count : int
            How many of each two tracks, at most.

        Returns
        -------
        list of Moment
            Two tracks after the other, the most alike first.
        """
        out = []
        for first, second in itertools.combinations(range(len(self.tracks)), 2):
            left = self.cross(first, second).copy()
            for _ in range(min(count, *left.shape)):
                a, b = np.unravel_index(left.argmax(), left.shape)
                at, there = float(self.starts[first][a]), float(self.starts[second][b])
                out.append(Moment(first, second, at, there, float(left[a, b])))
                left[a, :] = left[:, b] = -np.inf
        return out


def compare(
    library: Library, queries: Sequence[str | os.PathLike[str]], space: str | None = None
) -> Comparison:
    """Compare tracks of a library, and files outside of it.

    Parameters
    ----------
    library : Library
        Where they are, or whose encoders hear them.
    queries : sequence of str or path-like
        Ids, files or words, two to twelve, each of another track.
    space : str, optional
        The space whose windows are compared; default the one that answers queries.

    Raises
    ------
    NotFound
        A query names nothing, or several tracks.
    InputError
        Too few or too many, or one track twice.
    DecodeError
        A file is not audio.
    """
    if not 2 <= len(queries) <= MOST:
        raise InputError(f"{len(queries)} to compare; wanted 2 to {MOST} tracks")
    chosen = library.space(space).id
    asked = [library.hear(query, chosen) for query in queries]
    tracks = [query.like for query in asked if query.like is not None]
    if len({track.id or track.content for track in tracks}) < len(tracks):
        raise InputError("one track is named twice; wanted different ones")
    with Record.open(library.place) as record:
        spaces = [known.id for known in record.spaces()]
    heard = {
        name: asked if name == chosen else [_heard(library, track, name) for track in tracks]
        for name in spaces
    }
    similar = {name: _similar([query.vector for query in found]) for name, found in heard.items()}
    moments = [_windows(query) for query in asked]
    return Comparison(
        tracks, similar, chosen, [starts for starts, _ in moments], [rows for _, rows in moments]
    )


def _heard(library: Library, track: Track, space: str) -> Query:
    """Return what a track is in a space; NaN where it has no vector there, and none can be made."""
    try:
        return library.hear(track if track.id else track.path, space)
    except SoundkinError:  # its encoder, or its file, is no longer here
        return Query(np.full(1, np.nan, np.float32), track)


def _similar(vectors: Sequence[Array]) -> Array:
    n = len(vectors)
    out = np.full((n, n), np.nan, np.float32)
    known = [i for i, vector in enumerate(vectors) if np.isfinite(vector).all()]
    for i, j in itertools.product(known, repeat=2):
        out[i, j] = vectors[i] @ vectors[j]
    return out


def _windows(query: Query) -> tuple[Array, Array]:
    if query.windows is None or query.starts is None:  # an imported vector
        return np.empty(0, np.float32), np.empty((0, 1), np.float32)
    return query.starts, unit(query.windows)


def draw(path: str | os.PathLike[str], found: Comparison, names: Sequence[str]) -> None:
    """Draw how alike all moments of all tracks are: each track with itself, and with each other.

    Parameters
    ----------
    path : path-like
        ``.png``, ``.svg`` or ``.pdf``.
    found : Comparison
        What to draw; rings mark its `moments`.
    names : sequence of str
        Of the tracks.

    Raises
    ------
    InputError
        A track has no windows, another suffix, or the file cannot be written.
    MissingExtra
        matplotlib is not installed.
    """
    n = len(found.tracks)
    if not all(map(len, found.windows)):
        raise InputError(f"a track has no windows in {found.space}: index it again to compare its moments")
    alike = [(m.first, m.second, m.at, m.there) for m in found.moments()]
    alike += [(second, first, there, at) for first, second, at, there in alike]
    figure = extra("matplotlib.figure").Figure(figsize=(2 + 2.4 * n, 1.5 + 2.4 * n), layout="constrained")
    axes = figure.subplots(n, n)
    picture = None
    for first, second in itertools.product(range(n), repeat=2):
        axis = axes[first][second]
        picture = axis.imshow(
            found.cross(first, second), vmin=-0.2, vmax=1, cmap="magma", origin="lower", aspect="auto"
        )
        for at, there in [(at, there) for a, b, at, there in alike if (a, b) == (first, second)]:
            row, column = (
                np.searchsorted(found.starts[i], t - 1e-3) for i, t in ((first, at), (second, there))
            )
            axis.plot(column, row, "o", markersize=8, markerfacecolor="none", markeredgecolor="white")
        for other, place in ((second, axis.xaxis), (first, axis.yaxis)):
            starts = found.starts[other]
            ticks = sorted({0, len(starts) // 2, len(starts) - 1})
            place.set_ticks(
                ticks, [f"{starts[t] // 60:.0f}:{starts[t] % 60:02.0f}" for t in ticks], fontsize=7
            )
        if first == n - 1:
            axis.set_xlabel(names[second], fontsize=8, wrap=True)
        if second == 0:
            axis.set_ylabel(names[first], fontsize=8, wrap=True)
    figure.colorbar(picture, ax=axes, shrink=0.6, label=f"similarity of moments ({found.space})")
    save(figure, path)
