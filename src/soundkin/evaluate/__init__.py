"""How well vectors answer, measured on a library: protocols, baselines, intervals.

    for table in evaluate(Library.open(), Options(("album",))): ...

`metrics` has the definitions, `protocols` what is asked, `ranking` who answers, `confidence` how sure a difference is.
Nothing that serves answers imports any of it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from soundkin.errors import InputError
from soundkin.evaluate.collection import CLASSICAL, Collection
from soundkin.evaluate.labels import UNKNOWN, Labels
from soundkin.evaluate.pooling import POOLINGS
from soundkin.evaluate.protocols import (
    LEAST_QUESTIONS,
    Task,
    Unmeasurable,
    album_task,
    artist_task,
    genre_task,
    same_track_task,
)
from soundkin.evaluate.ranking import measure
from soundkin.evaluate.robustness import heard_again
from soundkin.evaluate.splits import split_of
from soundkin.evaluate.summary import VOTERS, headline, rows
from soundkin.evaluate.systems import baselines
from soundkin.evaluate.tables import Figure, Row, Table
from soundkin.evaluate.taste import held_out
from soundkin.evaluate.words import described
from soundkin.library import Library
from soundkin.recommend import STRATEGIES
from soundkin.record import Record
from soundkin.taste.dividing import SPLITS

__all__ = [
    "ALBUMS",
    "FROM_VECTORS",
    "MOST_ASK",
    "PROTOCOLS",
    "SPLITS",
    "Figure",
    "Options",
    "Row",
    "Table",
    "evaluate",
]

Report = Callable[[str, int, int], None]  # what is being done, done, of how much

_BY_LABEL = {"album": album_task, "artist": artist_task, "genre": genre_task}
# Those that every library has something for, and all.
FROM_VECTORS = (*_BY_LABEL, "same-track")
PROTOCOLS = (*FROM_VECTORS, "taste", "text", "robustness")
ALBUMS = ("tags", "folders")
# All of so many take minutes; of more, more questions would make no figure surer: the interval is that of albums.
MOST_ASK = 100_000


@dataclass(frozen=True)
class Options:
    """What to evaluate, and how.

    Parameters
    ----------
    protocols : tuple of str
        Of `PROTOCOLS`.
    spaces : tuple of str
        Space ids or names of encoders; none for the space that answers queries.
    poolings : tuple of str
        Of `POOLINGS`: the windows of each space pooled so, beside its own track vectors.
    albums : str
        "tags" or "folders": where albums come from.
    least : int
        Tracks that a label must have for its tracks to ask.
    k : int
        Length of a list.
    seed : int
        Of intervals, tests and draws.
    labels : path-like or None
        A manifest (see `soundkin.datasets`) whose rows stand in place of tags and folders.
    tracks : int
        How many tracks are re-encoded for robustness, drawn at random.
    profiles : tuple of str
        Whose likes are hidden and looked for; none for those of every profile.
    strategies : tuple of str
        Of `recommend.STRATEGIES`, to compare by likes; none for all.
    ask : int or None
        At most so many tracks ask, drawn at random, and all are answers all the same; None lets all ask.
    split : str or None
        One of `SPLITS`: taste is learned from plays on one side of it, and asked about the other.
    """

    protocols: tuple[str, ...] = FROM_VECTORS
    spaces: tuple[str, ...] = ()
    poolings: tuple[str, ...] = ()
    albums: str = "tags"
    least: int = 2
    k: int = 10
    seed: int = 0
    labels: str | os.PathLike[str] | None = None
    tracks: int = 100
    profiles: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    ask: int | None = MOST_ASK
    split: str | None = None

    def __post_init__(self) -> None:
        for what, given, known in (
            ("protocol", self.protocols, PROTOCOLS),
            ("pooling", self.poolings, tuple(POOLINGS)),
            ("source of albums", (self.albums,), ALBUMS),
            ("strategy", self.strategies, STRATEGIES),
            ("split", (self.split,) if self.split else (), SPLITS),
        ):
            for name in given:
                if name not in known:
                    raise InputError(f"no {what} is called {name!r}; there are {', '.join(known)}")
        if self.k < VOTERS or self.least < 2 or (self.ask or LEAST_QUESTIONS) < LEAST_QUESTIONS:
            raise InputError(
                f"k={self.k}, least={self.least}, ask={self.ask}; wanted k of {VOTERS} or more, least of 2 or more, "
                f"ask of {LEAST_QUESTIONS} or more"
            )
        if self.split:
            self._check_split()

    def _check_split(self) -> None:
        """Refuse a split that would not be made, and what has no effect on it."""
        if "taste" not in self.protocols:
            raise InputError(
                f"the split {self.split!r} is of the protocol taste: ask for it, or leave the split out"
            )
        others = set(self.protocols) - {"taste", "robustness"}
        for name, has_effect in (
            ("profiles", False), ("strategies", False), ("k", others), ("spaces", len(self.protocols) > 1),
            ("ask", others & set(FROM_VECTORS)),
        ):  # fmt: skip
            if not has_effect and getattr(self, name) != getattr(Options, name):
                raise InputError(
                    f"{name} with the split {self.split!r} has no effect: every profile asks, in the space that "
                    "answers, for lists of 20; leave one of the two out"
                )


def evaluate(library: Library, options: Options | None = None, report: Report | None = None) -> list[Table]:
    """Measure how well the vectors of a library answer.

    Parameters
    ----------
    library : Library
        Only its record is read; for robustness, audio as well.
    options : Options, optional
        What and how.
    report : callable, optional
        Called with what is being done, how much of it is done, and of how much.

    Returns
    -------
    list of Table
        One per protocol; one that says nothing about this library has a reason in place of rows.

    Raises
    ------
    NotFound
        The library has no track, or no such space or profile.
    InputError
        A vector is not finite, or the labels cannot be read.
    """
    options = options or Options()
    with Record.open(library.place) as record:
        collection = Collection.of(library, record, options.spaces, options.albums, options.labels)
        return [_protocol(collection, name, options, report) for name in options.protocols]


def _protocol(collection: Collection, name: str, options: Options, report: Report | None) -> Table:
    progress = (lambda done, total: report(name, done, total)) if report else None
    notes: list[str] = []
    try:
        if name == "taste" and options.split:
            return split_of(collection.library, options.split, options.seed, progress)
        if name == "robustness":
            return heard_again(collection, options.tracks, options.seed, progress)
        if name == "taste":
            task, systems = held_out(
                collection, options.profiles, options.strategies, options.k, options.seed, notes, progress
            )
            which = task.candidates
        elif name == "text":
            task, systems, which = described(collection, bool(options.spaces), options.least, notes)
        elif name == "same-track":
            systems, which = collection.halves(options.poolings, notes)
            task = same_track_task(collection.labels.take(which))
        else:
            task = _BY_LABEL[name](collection.labels, options.least)
            which = task.candidates
            systems = collection.listeners(which, options.poolings, notes)
        labels = collection.labels.take(which)
        yardstick = next((s for s in systems if s.name == CLASSICAL), None)
        if name not in ("taste", "text"):  # which have their own: who asks is no track
            systems += baselines(labels)
            task = _fewer(task, options, notes)
        found = measure(task, systems, options.k, progress)
    except Unmeasurable as reason:
        return Table(name, reason=str(reason), notes=notes)
    return Table(
        name, task.question, "", len(task.asking), len(which), task.told | collection.left_out,
        headline(task, options.k), rows(task, systems, found, labels, yardstick, options.k, options.seed),
        [*_explained(task, collection, labels), *notes],
    )  # fmt: skip


def _fewer(task: Task, options: Options, notes: list[str]) -> Task:
    """Let only some of the tracks ask."""
    if options.ask is None or options.ask >= len(task.asking):
        return task
    some = np.random.default_rng(options.seed).choice(task.asking, options.ask, replace=False)
    notes.append(
        f"{options.ask} of {len(task.asking)} tracks that could ask were drawn; skew, orphans and coverage need all"
    )
    return replace(task, asking=np.sort(some), sampled=True)


def _explained(task: Task, collection: Collection, labels: Labels) -> list[str]:
    """Say what must be known to read the figures."""
    clusters = len(np.unique(task.groups[task.asking]))
    notes = [
        f"intervals: 95 %, bootstrap over {clusters} groups that succeed and fail together; "
        "p: paired permutation of the same groups, against the first row"
    ]
    if collection.classical is None and task.protocol != "text":
        notes.append("the baseline `descriptors` is not in this library: index it with `-e descriptors`")
    if (labels.artist == UNKNOWN).all() and task.protocol != "text":
        notes.append("no track has an artist in its tags: popularity and same artist are random here")
    if task.protocol == "artist":
        notes.append("same artist reads the label that is looked for")
    if len(task.label):
        notes.append(
            "popularity is the number of tracks by an artist; lists with equal scores count as every order of them"
        )
    return notes
