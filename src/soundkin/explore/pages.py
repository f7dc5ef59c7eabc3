"""Pictures of maps: PNG, SVG or PDF for print, HTML to look around in."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError
from soundkin.explore.projection import extra
from soundkin.filters import common_spelling
from soundkin.record import Track
from soundkin.record.feedback import Opinion

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

COLOURS = ("genre", "artist", "album", "cluster", "tempo", "energy", "year", "liked")
SERVER = "http://127.0.0.1:8765"
PICTURES = (".png", ".svg", ".pdf")
_NUMBERS = {"tempo": "bpm", "energy": "energy", "year": "year"}
# Told apart by most people who do not see all colours (after P. Tol, "Colour schemes", 2021).
_PALETTE = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee8866",
    "#44bb99",
    "#997700",
    "#332288",
)
# What a profile thinks of a track, in the order in which it counts.
_OPINIONS = {"liked": "#228833", "disliked": "#ee6677", "played": "#4477aa"}
_REST, _NONE, _NOTHING = "other", "unknown", "nothing yet"
_GREY = "#b0b0b0"
_FEW = 0.2
_LOW, _HIGH = np.array([68, 1, 84]), np.array([253, 231, 37])


@dataclass(frozen=True)
class Colouring:
    """What colour each track has, and why.

    Parameters
    ----------
    by : str
        Of `COLOURS`.
    labels : list of str
        What each track is, in words.
    colours : list of str
        "#rrggbb" of each track.
    legend : dict of str to str
        Words to colours, in the order they should be read.
    """

    by: str
    labels: list[str]
    colours: list[str]
    legend: dict[str, str]


def colouring(tracks: Sequence[Track], by: str, told: Sequence[str] | None = None) -> Colouring:
    """Choose colours for tracks.

    Parameters
    ----------
    tracks : sequence of Track
        n of them.
    by : str
        Of `COLOURS`. The ten most frequent names have a colour each; a number goes from dark (low) to bright (high).
    told : sequence of str, optional
        For "cluster" the name of each track's cluster, for "liked" what `opinions` says of it.

    Raises
    ------
    InputError
        There is no such colouring.
    """
    if by not in COLOURS or (by in ("cluster", "liked") and told is None):
        raise InputError(f"no colour is called {by!r}; there are {', '.join(COLOURS)}")
    if by in _NUMBERS:
        return _by_number(tracks, by)
    if by == "liked" and told is not None:
        every = {**_OPINIONS, _NOTHING: _GREY}
        legend = {name: colour for name, colour in every.items() if name in set(told)}
        return Colouring(by, list(told), [legend[name] for name in told], legend)
    if by == "cluster" and told is not None:
        labels = list(told)
    elif by == "genre":
        labels = [track.genres[0] if track.genres else _NONE for track in tracks]
    elif by == "album":
        labels = [track.album or Path(track.path).parent.name or _NONE for track in tracks]
    else:
        labels = [track.artist or _NONE for track in tracks]
    if by != "cluster":
        spelled = common_spelling(name for name in labels if name != _NONE)
        labels = [spelled.get(name, name) for name in labels]
    common = [
        name for name, _ in Counter(name for name in labels if name != _NONE).most_common(len(_PALETTE))
    ]
    legend = dict(zip(common, _PALETTE, strict=False))
    if set(labels) - set(common) - {_NONE}:
        legend[_REST] = "#707070"
    if _NONE in labels:
        legend[_NONE] = _GREY
    return Colouring(by, labels, [legend.get(name, legend.get(_REST, _GREY)) for name in labels], legend)


def opinions(tracks: Sequence[Track], profile: Mapping[str, Opinion]) -> list[str]:
    """Say what a profile thinks of each track: "liked", "disliked", "played" or "nothing yet".

    Parameters
    ----------
    tracks : sequence of Track
        n of them.
    profile : mapping of str to Opinion
        By track id, as `Record.opinions` gives it.

    Returns
    -------
    list of str
        n words for `colouring`.
    """
    out = []
    for track in tracks:
        opinion = profile.get(track.id, Opinion())
        played = "played" if opinion.plays else _NOTHING
        out.append({"like": "liked", "dislike": "disliked"}.get(opinion.verdict, played))
    return out


def _by_number(tracks: Sequence[Track], by: str) -> Colouring:
    given = [getattr(track, _NUMBERS[by]) for track in tracks]
    values = np.array([np.nan if value is None else float(value) for value in given])
    known = values[~np.isnan(values)]
    low, high = (float(np.quantile(known, q)) for q in (0.02, 0.98)) if len(known) else (0.0, 1.0)
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    labels = [_NONE if np.isnan(v) else f"{v:.3g}" if by == "energy" else f"{v:.0f}" for v in values]
    legend = {f"{low + at * (high - low):.3g}": _shade(at) for at in (0.0, 0.5, 1.0)} if len(known) else {}
    if len(known) < len(values):
        legend[_NONE] = _GREY
    return Colouring(by, labels, [_GREY if np.isnan(at) else _shade(at) for at in share], legend)


def _shade(share: float) -> str:
    red, green, blue = np.round(_LOW + share * (_HIGH - _LOW)).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def draw(path: str | os.PathLike[str], places: Array, colours: Colouring, title: str) -> None:
    """Draw a map to a file.

    Parameters
    ----------
    path : path-like
        ``.png``, ``.svg`` or ``.pdf``.
    places : float32 (n, 2)
        Where tracks are.
    colours : Colouring
        Theirs.
    title : str
        Above it.

    Raises
    ------
    InputError
        Another suffix, or the file cannot be written.
    MissingExtra
        matplotlib is not installed.
    """
    save(plot(places, colours, title), path)


def plot(places: Array, colours: Colouring, title: str, narrow: bool = False) -> Any:
    """Make a figure of matplotlib of a map.

    Parameters
    ----------
    places : float32 (n, 2)
        Where tracks are.
    colours : Colouring
        Theirs.
    title : str
        Above it.
    narrow : bool
        Whether the legend is below, and not at the side: for a phone, or two maps side by side.

    Raises
    ------
    MissingExtra
        matplotlib is not installed.
    """
    figsize = (5.2, 6.0) if narrow else (9.0, 6.5)
    figure = extra("matplotlib.figure").Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots()
    size = float(np.clip(4000 / max(len(places), 1), 2, 40))
    told = np.array([colour != _GREY for colour in colours.colours], bool)
    # What is known lies above what is not, and where little is known it is larger.
    for which, wide in ((~told, 1.0), (told, 3.0 if told.mean() < _FEW else 1.0)):
        axes.scatter(
            places[which, 0], places[which, 1], s=size * wide,
            c=[colour for colour, chosen in zip(colours.colours, which, strict=True) if chosen],
            linewidths=0, rasterized=len(places) > 20_000,
        )  # fmt: skip
    axes.set_title(title, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    for name, colour in colours.legend.items():
        axes.scatter([], [], s=30, c=colour, label=shortened(name, 32 if narrow else 40))
    if narrow:
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8, columnspacing=1.0)
    else:
        axes.legend(title=colours.by, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def shortened(name: str, most: int) -> str:
    """Return a name of at most so many characters, with an ellipsis where something was cut off."""
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure of matplotlib; raise InputError when the file cannot be written or has another suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise InputError(f"{os.fspath(path)} is no picture; wanted {', '.join(PICTURES)} or .html")
    # Text stays text, and the same map gives the same file.
    with extra("matplotlib").rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "soundkin", "font.family": "DejaVu Sans"}
    ):
        dated = {".svg": "Date", ".pdf": "CreationDate"}.get(suffix)
        try:
            figure.savefig(path, dpi=150, metadata={dated: None} if dated else None)
        except OSError as error:
            raise InputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


def page(
    path: str | os.PathLike[str],
    tracks: Sequence[Track],
    places: Array,
    colours: Colouring,
    title: str,
    server: str = SERVER,
) -> None:
    """Write a map as one HTML file that needs nothing else: point at a track, search, zoom; click to hear it.

    Parameters
    ----------
    path : path-like
        To create or replace.
    tracks : sequence of Track
        n of them.
    places : float32 (n, 2)
        Theirs.
    colours : Colouring
        Theirs.
    title : str
        Of the page.
    server : str
        Address of `soundkin serve`, which is asked for the sound of a track that is clicked, and for nothing else.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    middle, spread = (
        (places.min(axis=0) + places.max(axis=0)) / 2,
        max(float(np.ptp(places, axis=0).max()), 1e-9),
    )
    at = np.round((places - middle) / spread + 0.5, 5)
    data = {
        "title": title,
        "by": colours.by,
        "server": server.rstrip("/"),
        "legend": colours.legend,
        "tracks": [
            [
                float(x),
                float(y),
                colour,
                track.title or Path(track.path).stem,
                track.artist,
                track.album,
                label,
                track.id,
            ]
            for (x, y), colour, track, label in zip(at, colours.colours, tracks, colours.labels, strict=True)
        ],
    }
    # In a script, "</" could end it, and a lone surrogate is no UTF-8: JSON can write both in other ways.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    html = (Path(__file__).parent / "map.html").read_text("utf-8").replace("/*DATA*/null", text)
    try:
        Path(path).write_text(html, "utf-8")
    except OSError as error:
        raise InputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
