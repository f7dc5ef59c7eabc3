"""What sounds alike: nearest neighbours, made useful.

Functions on a record and an index; `Library` gives them their arguments.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import is_gone
from soundkin.errors import NotFound
from soundkin.filters import Filter
from soundkin.index import Index
from soundkin.record import Record, Track

Array = NDArray[np.float32]

# When two files of like length are one recording: benchmarks/bench_copies.py prints what this finds and mistakes.
COPY_SECONDS = 2.5
COPY_SIMILARITY = 0.8
COPY_MOMENTS = 0.5
# Below this many windows, moments say little: then length (to a codec's padding), tempo and key must agree as well.
FEW_WINDOWS = 4
FEW_SIMILARITY = 0.9
FEW_SECONDS = 0.1
FEW_BPM = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A track in an answer.

    Parameters
    ----------
    id, path, title, artist, album : str
        Of the track.
    duration : float
        Seconds.
    similarity : float
        Cosine in the space that was asked, -1..1.
    reasons : tuple of str
        What else the two have in common, for people: "genre samba", "tempo 128", "key A minor".
    there : bool
        False when the file is gone, or the disk that it is on.
    """

    id: str
    path: str
    title: str
    artist: str
    album: str
    duration: float
    similarity: float
    reasons: tuple[str, ...]
    there: bool = True

    @property
    def name(self) -> str:
        """What people see: the title or, without one, what the file is called."""
        return self.title or Path(self.path).stem


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    Parameters
    ----------
    vector : float32 (d,)
        Unit length.
    like : Track or None
        What is known of the track behind the vector; its id is "" when it is not in the library.
    windows : float32 (w, d) or None
        Its window vectors, by which copies of it are told.
    """

    vector: Array
    like: Track | None = None
    windows: Array | None = None


def similar(
    record: Record,
    index: Index,
    space: str,
    query: Query,
    k: int,
    where: Filter | None = None,
) -> list[Hit]:
    """Find the k tracks nearest to a query, without the query and its copies.

    Parameters
    ----------
    record, index : Record, Index
        Of the library; the index up to date with the record.
    space : str
        Space id.
    query : Query
        What to look for.
    k : int
        How many.
    where : Filter, optional
        Only tracks that pass.

    Returns
    -------
    list of Hit
        Best first; k of them whenever there are k.
    """
    found = nearest(record, index, space, query, k, where, unwanted_of(query))
    return [_hit(track, score, query.like) for track, score in found]


def unwanted_of(query: Query) -> set[int]:
    """Return the numbers of the tracks that are no answer before any search: that of the query itself."""
    return {int(query.like.id, 16)} if query.like is not None and query.like.id else set()


def nearest(
    record: Record, index: Index, space: str, query: Query, k: int, where: Filter | None, unwanted: set[int]
) -> list[tuple[Track, float]]:
    """Find the k tracks nearest to a query, without copies of it.

    Parameters
    ----------
    record, index, space, query, k, where
        As for `similar`.
    unwanted : set of int
        Numbers of tracks that are no answer; the copies that are met join them.

    Returns
    -------
    list of (Track, float)
        With cosines, best first; k of them whenever there are k.
    """
    while True:
        found = index.search(space, query.vector, k, where, unwanted)
        tracks = {int(t.id, 16): t for t in record.tracks([f"{number:016x}" for number, _ in found])}
        copies = {
            number
            for number, score in found
            if number not in tracks or _is_copy_of_query(record, space, query, tracks[number], score)
        }
        if not copies:
            return [(tracks[number], score) for number, score in found]
        unwanted |= copies  # and the question is put again, so that k are left


def is_copy(
    a: Track, b: Track, similarity: float, windows_a: Array | None = None, windows_b: Array | None = None
) -> bool:
    """Tell whether two tracks are one recording: the same file, or a re-encode of it.

    Parameters
    ----------
    a, b : Track
        Two tracks.
    similarity : float
        Cosine of their vectors.
    windows_a, windows_b : float32 (w, d), optional
        Their window vectors.

    Returns
    -------
    bool
        True for equal contents; else when they are about as long, sound alike, and change alike from moment to
        moment. Music of one style, or of one album, shares its sound, but not what happens when.
    """
    if a.content and a.content == b.content:
        return True
    apart = abs(a.duration - b.duration)
    if apart > COPY_SECONDS or similarity < COPY_SIMILARITY:
        return False
    if windows_a is not None and windows_b is not None and min(len(windows_a), len(windows_b)) >= FEW_WINDOWS:
        return moments_alike(windows_a, windows_b) >= COPY_MOMENTS
    same_tempo = abs(a.bpm - b.bpm) <= FEW_BPM if a.bpm is not None and b.bpm is not None else a.bpm == b.bpm
    return similarity >= FEW_SIMILARITY and apart <= FEW_SECONDS and same_tempo and a.key == b.key


def moments_alike(a: Array, b: Array) -> float:
    """Correlate how two tracks change over time.

    Parameters
    ----------
    a, b : float32 (w, d)
        Window vectors in order of time; of the longer track, the first as many as the shorter has.

    Returns
    -------
    float
        -1 to 1: the correlation of what is left of the windows without their track's mean. About 0 for tracks that
        only share their sound.
    """
    n = min(len(a), len(b))
    a, b = a[:n] - a[:n].mean(axis=0), b[:n] - b[:n].mean(axis=0)
    return float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-12))


def _is_copy_of_query(record: Record, space: str, query: Query, track: Track, score: float) -> bool:
    if query.like is None:
        return False
    likely = score >= COPY_SIMILARITY and abs(query.like.duration - track.duration) <= COPY_SECONDS
    windows = windows_of(record, track.id, space) if likely else None
    return is_copy(query.like, track, score, query.windows, windows)


def windows_of(record: Record, track_id: str, space: str) -> Array | None:
    """Return the window vectors of a track, float32 (w, d); None where the record has none (imported vectors)."""
    try:
        return record.windows(track_id, space)[1]
    except NotFound:
        return None


def reasons(a: Track, b: Track) -> tuple[str, ...]:
    """Say what two tracks have in common besides their sound.

    Parameters
    ----------
    a, b : Track
        The query, and a track of its answer.

    Returns
    -------
    tuple of str
        "same artist", "genre samba", "tempo 128", "key A minor"; empty when nothing is known to agree.
    """
    shared = []
    if a.artist and a.artist == b.artist:
        shared.append("same artist")
    genres = [genre for genre in b.genres if genre in a.genres]
    if genres:
        shared.append(f"genre {genres[0]}")
    if a.bpm and b.bpm and abs(math.log2(a.bpm / b.bpm)) < 0.04:
        shared.append(f"tempo {b.bpm:.0f}")
    if a.key and a.key == b.key:
        shared.append(f"key {b.key}")
    return tuple(shared)


def _hit(track: Track, score: float, like: Track | None) -> Hit:
    return Hit(
        track.id, track.path, track.title, track.artist, track.album, track.duration, round(score, 4),
        reasons(like, track) if like is not None else (), not is_gone(track.path),
    )  # fmt: skip
