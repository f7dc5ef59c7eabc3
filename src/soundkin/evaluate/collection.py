"""The tracks that are compared, and what listens to them."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from soundkin import datasets
from soundkin.audio import Listening
from soundkin.datasets import Item
from soundkin.embed import Space
from soundkin.errors import InputError, ModelError, NotFound
from soundkin.evaluate.labels import Labels, labels_of
from soundkin.evaluate.pooling import POOLINGS, halves
from soundkin.evaluate.protocols import Unmeasurable
from soundkin.evaluate.systems import System, listener
from soundkin.library import Library
from soundkin.record import Record, Track

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
Pool = Callable[[Array], Array]

log = logging.getLogger(__name__)

# The classical way to describe music: what a learned encoder has to beat.
CLASSICAL = "descriptors"


@dataclass(frozen=True)
class Collection:
    """The tracks that all compared spaces have, each recording once.

    Parameters
    ----------
    library : Library
        Where they are.
    record : Record
        Of the library, open.
    tracks : list of Track
        n of them.
    labels : Labels
        Of the tracks.
    spaces : list of Space
        The compared ones; the first is what the others are compared with.
    classical : Space or None
        That of the hand-made descriptors, if the library has one.
    left_out : dict of str to int
        How many tracks are not here, by reason.
    """

    library: Library
    record: Record
    tracks: list[Track]
    labels: Labels
    spaces: list[Space]
    classical: Space | None
    left_out: dict[str, int]

    @classmethod
    def of(
        cls,
        library: Library,
        record: Record,
        names: Sequence[str] = (),
        albums: str = "tags",
        labels: str | os.PathLike[str] | None = None,
    ) -> "Collection":
        """Choose the tracks of a library that can be compared.

        Parameters
        ----------
        library, record : Library, Record
            The library, and its record, open.
        names : sequence of str
            Space ids or encoders; none for the space that answers queries.
        albums : str
            As for `labels_of`.
        labels : path-like, optional
            A manifest that stands in place of tags and folders; tracks it does not tell of are left out.

        Raises
        ------
        NotFound
            There is no such space, or no track.
        InputError
            No track has a vector in each of the spaces, or the manifest cannot be read or tells of none of them.
        """
        every = list(record.tracks())
        if not every:
            raise NotFound(f"there is no track in {record.name}: index some with `soundkin index PATH...`")
        spaces = list({s.id: s for s in [library.space(name) for name in names or (None,)]}.values())
        known = {s.encoder for s in record.spaces()}
        classical = library.space(CLASSICAL) if CLASSICAL in known else None
        shared = set.intersection(*(set(record.vectors(space.id)[0]) for space in spaces))
        if classical and not shared.isdisjoint(described := set(record.vectors(classical.id)[0])):
            shared &= described
        else:
            classical = None
        there = [track for track in every if track.id in shared]
        if not there:
            named = ", ".join(s.id for s in spaces)
            raise InputError(
                f"no track has a vector in each of {named}: index the same music with all of them"
            )
        left_out = {"tracks_without_a_vector": len(every) - len(there)}
        if labels is not None:
            told = datasets.labels(labels)
            labelled = [_relabelled(track, told[track.path]) for track in there if track.path in told]
            left_out["tracks_not_in_the_labels"] = len(there) - len(labelled)
            if not labelled:
                raise InputError(
                    f"none of the {len(there)} tracks is in {os.fspath(labels)}: do its paths lead here?"
                )
            there, albums = labelled, "labels"
        first = {track.content: track for track in reversed(there)}
        tracks = [track for track in there if first[track.content] is track]
        left_out["copies"] = len(there) - len(tracks)
        return cls(library, record, tracks, labels_of(tracks, albums), spaces, classical, left_out)

    def name(self, space: Space) -> str:
        """Name a space by its encoder where that is enough."""
        alike = [s for s in self.spaces if s.encoder == space.encoder]
        return space.encoder if len(alike) < 2 else space.id

    def vectors(self, space: Space) -> Array:
        """Return the track vectors of a space, float32 (n, d)."""
        ids, vectors = self.record.vectors(space.id)
        place = {name: i for i, name in enumerate(ids)}
        return vectors[[place[track.id] for track in self.tracks]]

    def compared(self) -> list[Space]:
        """Return the spaces, and that of the descriptors after them where it is not among them."""
        extra = [self.classical] if self.classical and self.classical not in self.spaces else []
        return [*self.spaces, *extra]

    def listeners(self, which: Ints, poolings: Sequence[str], notes: list[str]) -> list[System]:
        """Make the systems of the compared spaces, as they are and pooled in other ways.

        Parameters
        ----------
        which : int64
            Numbers of the tracks wanted.
        poolings : sequence of str
            Of `POOLINGS`.
        notes : list of str
            Gets a line for what cannot be pooled.
        """
        out = []
        for space in self.compared():
            is_extra = space not in self.spaces
            out.append(listener(self.name(space), self.vectors(space)[which], baseline=is_extra))
            if is_extra or not poolings:
                continue
            windows = [self._windows(self.tracks[i], space)[1] for i in which]
            if not all(map(len, windows)):
                notes.append(f"{space.id} has no windows for some tracks, so they cannot be pooled anew")
                continue
            for name in poolings:
                vectors = np.stack([POOLINGS[name](w) for w in windows])
                out.append(listener(f"{self.name(space)} {name}", vectors))
        return out

    def halves(self, poolings: Sequence[str], notes: list[str]) -> tuple[list[System], Ints]:
        """Make systems that ask with one half of a track and answer with the other.

        Parameters
        ----------
        poolings : sequence of str
            Of `POOLINGS`.
        notes : list of str
            Gets a line for a space that has no such halves.

        Returns
        -------
        systems : list of System
            Of the tracks that have two halves in all spaces.
        which : int64
            Numbers of those tracks.
        """
        pooled: dict[str, tuple[bool, list[Array], list[Array]]] = {}
        has = np.ones(len(self.tracks), bool)
        for space in self.compared():
            named: dict[str, Pool] = {}
            try:
                named[self.name(space)] = self.library.embedder(space).encoders[space.id].pool
            except ModelError as error:
                notes.append(f"{space.id} cannot pool its windows: {error}")
            if space in self.spaces:
                named |= {f"{self.name(space)} {name}": POOLINGS[name] for name in poolings}
            found: dict[str, tuple[bool, list[Array], list[Array]]] = {
                name: (space not in self.spaces, [], []) for name in named
            }
            for number, track in enumerate(self.tracks if named else ()):
                parts = _halved(*self._windows(track, space), _length(space))
                has[number] &= len(parts[1]) > 0
                for name, pool in named.items():
                    for part, out in zip(parts, found[name][1:], strict=True):
                        out.append(pool(part) if len(part) else np.empty(0, np.float32))
            pooled |= found
        if not pooled:
            raise Unmeasurable.because(notes)
        which = np.flatnonzero(has)
        if not len(which):
            raise Unmeasurable("no track has two windows in the record that share no sound")
        systems = []
        for name, (is_extra, *each) in pooled.items():
            asked, answers = (np.stack([vectors[i] for i in which]) for vectors in each)
            systems.append(listener(name, answers, asked, is_extra))
        return systems, which

    def _windows(self, track: Track, space: Space) -> tuple[Array, Array]:
        try:
            return self.record.windows(track.id, space.id)
        except NotFound:  # an imported vector
            return np.empty(0, np.float32), np.empty((0, space.dims), np.float32)


def _relabelled(track: Track, item: Item) -> Track:
    return replace(track, artist=item.artist, album=item.album, album_artist=item.artist, genres=item.genres)


def _length(space: Space) -> float:
    """Return how long a window is; where it is the whole excerpt, how long that is."""
    try:
        return space.window_seconds or Listening.named(space.listening).seconds
    except InputError:  # a space from elsewhere
        return space.window_seconds


def _halved(starts: Array, windows: Array, length: float) -> tuple[Array, Array]:
    even, odd = halves(starts, length)
    return windows[even], windows[odd]
