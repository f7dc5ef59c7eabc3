"""The pictures of a report, each with the data it shows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.explore import pages, projection
from soundkin.explore.projection import extra
from soundkin.record import Track
from soundkin.record.database import Place
from soundkin.report.findings import Findings

_KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")  # as `descriptors` names them
_INK = "#4477aa"
_CELLS = 600
_LINE = 0.029  # height of a line of the matrix' labels, as a share of it


@dataclass(frozen=True)
class Drawn:
    """A picture.

    Parameters
    ----------
    name : str
        Of its files.
    title : str
        For people.
    figure : matplotlib.figure.Figure
        What is drawn.
    columns : list of str
        Names of the data's columns.
    rows : list of list
        The data.
    small : bool
        Whether two fit side by side.
    """

    name: str
    title: str
    figure: Any
    columns: list[str]
    rows: list[list[Any]] = field(repr=False)
    small: bool = False

    def save(self, path: Path) -> None:
        """Write it as PNG, SVG or PDF, by the suffix of the path."""
        pages.save(self.figure, path)


def distributions(tracks: Sequence[Track]) -> list[Drawn]:
    """Draw how tempo, energy, length and year, and keys, are spread; what no track has is left out."""
    numbers: dict[str, tuple[str, Sequence[float | None]]] = {
        "tempo": ("Tempo, beats per minute", [t.bpm for t in tracks]),
        "energy": ("Energy, 0 to 1", [t.energy for t in tracks]),
        "length": ("Length, minutes", [t.duration / 60 for t in tracks]),
        "year": ("Year", [t.year for t in tracks]),
    }
    out = []
    for name, (title, values) in numbers.items():
        known = [float(value) for value in values if value is not None]
        if known:
            out.append(_histogram(name, title, known, len(tracks)))
    keys = Counter(track.key for track in tracks if track.key)
    if keys:
        out.append(_keys(keys))
    return out


def _histogram(name: str, title: str, values: list[float], tracks: int) -> Drawn:
    figure, axes = _axes(4.6, 2.8)
    # The few that are far out would squeeze the rest into one bar.
    low, high = (float(np.quantile(values, q)) for q in (0.0, 0.99))
    bins = 30
    if name == "year":
        high = max(values) + 1
        bins = int(high - low)
    heights, edges = np.histogram(np.minimum(values, high), bins=bins, range=(low, max(high, low + 1e-6)))
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=_INK)
    axes.set_xlabel(title)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("tracks")
    axes.xaxis.get_major_locator().set_params(integer=name == "year")
    rows = [[round(float(edge), 4), int(n)] for edge, n in zip(edges, heights, strict=False)]
    first, middle, last = np.quantile(values, [0.25, 0.5, 0.75])
    digits = {"energy": 2, "length": 1}.get(name, 0)
    words = (
        f"{title}: the median is {middle:.{digits}f}, half lie between {first:.{digits}f} and {last:.{digits}f}; "
        f"{len(values)} of {tracks} tracks have one"
    )
    return Drawn(name, words, figure, ["from", "tracks"], rows, small=True)


def _keys(keys: Counter[str]) -> Drawn:
    figure, axes = _axes(4.6, 2.8)
    for mode, colour, shift in (("major", "#ccbb44", -0.2), ("minor", _INK, 0.2)):
        heights = [keys[f"{key} {mode}"] for key in _KEYS]
        axes.bar(np.arange(len(_KEYS)) + shift, heights, 0.4, label=mode, color=colour)
    axes.set_xticks(range(len(_KEYS)), _KEYS)
    axes.set_ylabel("tracks")
    axes.legend(frameon=False)
    return Drawn(
        "key",
        f"Key: {', '.join(f'{key} {n}' for key, n in keys.most_common(3))} are the most frequent",
        figure,
        ["key", "tracks"],
        [[key, n] for key, n in keys.most_common()],
        small=True,
    )


def maps(place: Place, found: Findings, seed: int) -> list[Drawn]:
    """Draw the library by PCA and t-SNE, coloured by genre, artist and group."""
    of_track = {i: f"{c.number} {c.name}" for c in found.clusters for i in c.rows}
    names = [of_track[i] for i in range(len(found.tracks))]
    ids = [track.id for track in found.tracks]
    layouts = {}
    for method, title in (("pca", "PCA"), ("tsne", "t-SNE")):
        places = projection.keep_up(place, ids, found.vectors, found.space, method, seed).places
        trust = projection.trustworthiness(found.vectors, places)
        layouts[method] = places, f"{title}, trustworthiness {trust:.2f}"
    out = []
    for by in ("genre", "artist", "cluster"):
        colours = pages.colouring(found.tracks, by, names)
        for method, (places, title) in layouts.items():
            words = f"{title}, by {by}"
            rows = [
                [name, round(float(x), 4), round(float(y), 4), label]
                for name, (x, y), label in zip(ids, places, colours.labels, strict=True)
            ]
            figure = pages.plot(places, colours, "", narrow=True)  # its caption says it
            out.append(Drawn(f"map-{method}-{by}", words, figure, ["id", "x", "y", by], rows, small=True))
    return out


def matrix(found: Findings) -> Drawn:
    """Draw how alike all tracks are, group after group; of a large library a sample of each group."""
    share = min(1.0, _CELLS / len(found.tracks))
    chosen = [c.rows[: max(1, round(len(c.rows) * share))] for c in found.clusters]
    order = np.array([i for members in chosen for i in members], np.int64)
    similar = found.vectors[order] @ found.vectors[order].T
    figure, axes = _axes(8.4, 5.0)
    shown = axes.imshow(similar, vmin=-0.2, vmax=1, cmap="magma", interpolation="nearest")
    ends = np.cumsum([len(members) for members in chosen])
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color="white", linewidth=0.4)
        axes.axvline(end - 0.5, color="white", linewidth=0.4)
    middles = ends - np.array([len(members) for members in chosen]) / 2
    labels = [pages.shortened(f"{c.number} {c.name}", 30) for c in found.clusters]
    axes.set_yticks(_spread(middles, len(order) * _LINE, len(order)), labels, fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])
    figure.colorbar(shown, ax=axes, label="similarity")
    means = _between(found, [np.array(c.rows) for c in found.clusters])
    rows = [[c.number, c.name, *row] for c, row in zip(found.clusters, means, strict=True)]
    columns = ["group", "name", *(f"mean similarity to {c.number}" for c in found.clusters)]
    return Drawn("similarity", "How alike all tracks are, group by group", figure, columns, rows)


def _spread(middles: NDArray[np.float64], gap: float, end: float) -> NDArray[np.float64]:
    """Move ascending places apart until there is a gap between any two, as little as that takes, before `end`."""
    steps = np.arange(len(middles)) * gap
    down = np.maximum.accumulate(middles - steps) + steps
    return np.minimum.accumulate((np.minimum(down, end - gap / 2) + steps[::-1])[::-1])[::-1] - steps[::-1]


def _between(found: Findings, members: list[NDArray[np.int64]]) -> list[list[float]]:
    """Return the mean cosine between groups; the mean vectors give it at once."""
    centres = np.stack([found.vectors[rows].mean(axis=0) for rows in members])
    return np.round(centres @ centres.T, 4).tolist()


def hubs(found: Findings) -> Drawn:
    """Draw how often tracks are among the ten nearest of others."""
    figure, axes = _axes(4.6, 2.8)
    counts = np.bincount(found.counts)
    axes.bar(np.arange(len(counts)), counts, color=_INK)
    axes.set_xlabel("in so many lists of ten neighbours")
    axes.set_ylabel("tracks")
    rows = [[number, int(n)] for number, n in enumerate(counts)]
    return Drawn(
        "hubs",
        "How often a track is among the nearest of others",
        figure,
        ["lists", "tracks"],
        rows,
        small=True,
    )


def _axes(width: float, height: float) -> tuple[Any, Any]:
    figure = extra("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
