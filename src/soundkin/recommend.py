"""What sounds alike: nearest neighbours, made useful.

Functions on a record and an index; `Library` gives them their arguments.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.filters import Filter
from soundkin.index import Index
from soundkin.record import Record, Track

Array = NDArray[np.float32]

# Two files are copies of one recording when all three agree. Measured on re-encoded soundtracks by
# benchmarks/bench_copies.py: every copy is found, and of the pairs of different tracks none passes.
COPY_SIMILARITY = 0.985
COPY_SECONDS = 2.5
COPY_BPM = 1.0
# Noise and drums come out of a lossy codec less alike; but then length to a codec's padding and key must agree too.
LOOSE_SIMILARITY = 0.9
PADDING_SECONDS = 0.1


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
    """

    id: str
    path: str
    title: str
    artist: str
    album: str
    duration: float
    similarity: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    Parameters
    ----------
    vector : float32 (d,)
        Unit length.
    like : Track or None
        What is known of the track behind the vector; its id is "" when it is not in the library.
    """

    vector: Array
    like: Track | None = None


def similar(
    record: Record,
    index: Index,
    space: str,
    query: Query,
    k: int,
    where: Filter | None = None,
    exclude: Collection[str] = (),
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
    exclude : collection of str
        Ids not wanted.

    Returns
    -------
    list of Hit
        Best first; k of them whenever there are k.
    """
    like = query.like
    unwanted = {int(id_, 16) for id_ in exclude}
    if like is not None and like.id:
        unwanted.add(int(like.id, 16))
    while True:
        found = index.search(space, query.vector, k, where, unwanted)
        tracks = {int(t.id, 16): t for t in record.tracks([f"{number:016x}" for number, _ in found])}
        copies = {
            number
            for number, score in found
            if number not in tracks or (like is not None and is_copy(like, tracks[number], score))
        }
        if not copies:
            return [_hit(tracks[number], score, like) for number, score in found]
        unwanted |= copies  # and the question is put again, so that k are left


def is_copy(a: Track, b: Track, similarity: float) -> bool:
    """Tell whether two tracks are one recording: the same file, or a re-encode of it.

    Parameters
    ----------
    a, b : Track
        Two tracks.
    similarity : float
        Cosine of their vectors.

    Returns
    -------
    bool
        True for equal contents; else when sound, length and tempo all agree: the closer the length, and the same
        the key, the less alike need the sound be.
    """
    if a.content and a.content == b.content:
        return True
    same_tempo = abs(a.bpm - b.bpm) <= COPY_BPM if a.bpm is not None and b.bpm is not None else a.bpm == b.bpm
    apart = abs(a.duration - b.duration)
    alike = similarity >= COPY_SIMILARITY and apart <= COPY_SECONDS
    close = similarity >= LOOSE_SIMILARITY and apart <= PADDING_SECONDS and a.key == b.key
    return same_tempo and (alike or close)


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
        reasons(like, track) if like is not None else (),
    )  # fmt: skip
