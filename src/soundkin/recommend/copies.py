"""When two tracks are one recording."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import NotFound
from soundkin.fingerprint import SKETCH_DIMS, compare, sketch
from soundkin.recommend.pieces import Piece, are_versions, piece_of
from soundkin.record import Record, Track

Array = NDArray[np.float32]

# When two files of like length are one recording: benchmarks/bench_copies.py prints what this finds and mistakes.
COPY_SECONDS = 2.5
COPY_SIMILARITY = 0.8
COPY_FINGERPRINT = 0.85
# What sounds so alike may also lack more, or have more silence: as much as an excerpt is long; these still meet.
CUT_SECONDS = 6.0
# Fingerprints decide by themselves; what does not sound alike at all need not be compared. An encoder takes a copy of a
# low bit rate for duller music than it is: what sounds only so much alike is compared where a glance finds it alike.
FINGERPRINT_SIMILARITY = 0.4
# Of copies 0.9 and more, also where 2 s are cut off; 0.43 and more where other moments were heard.
GLANCE = 0.4
# Where one of the two has no fingerprint, their windows are compared, which misses copies that were trimmed.
COPY_MOMENTS = 0.5
# Below this many windows, moments say little: then length (to a codec's padding), tempo and key must agree as well.
FEW_WINDOWS = 4
FEW_SIMILARITY = 0.9
FEW_SECONDS = 0.1
FEW_BPM = 1.0


def is_copy(
    a: Track,
    b: Track,
    similarity: float,
    windows_a: Array | None = None,
    windows_b: Array | None = None,
    fingerprint_a: bytes = b"",
    fingerprint_b: bytes = b"",
) -> bool:
    """Tell whether two tracks are one recording: the same file, a re-encode of it, trimmed, louder or remastered.

    Parameters
    ----------
    a, b : Track
        Two tracks.
    similarity : float
        Cosine of their vectors.
    windows_a, windows_b : float32 (w, d), optional
        Their window vectors.
    fingerprint_a, fingerprint_b : bytes
        Their fingerprints; empty where there is none.

    Returns
    -------
    bool
        True for equal contents; else when they are about as long, sound alike, and change alike from moment to
        moment. Music of one style, or of one album, shares its sound, but not what happens when.
    """
    if a.content and a.content == b.content:
        return True
    apart = abs(a.duration - b.duration)
    if apart > reach_of(similarity) or similarity < FINGERPRINT_SIMILARITY:
        return False
    if fingerprint_a and fingerprint_b:
        if similarity < COPY_SIMILARITY and float(sketch(fingerprint_a) @ sketch(fingerprint_b)) < GLANCE:
            return False
        return compare(fingerprint_a, fingerprint_b, reach_of(similarity)).score >= COPY_FINGERPRINT
    if similarity < COPY_SIMILARITY or apart > COPY_SECONDS:
        return False
    if windows_a is not None and windows_b is not None and min(len(windows_a), len(windows_b)) >= FEW_WINDOWS:
        return moments_alike(windows_a, windows_b) >= COPY_MOMENTS
    same_tempo = abs(a.bpm - b.bpm) <= FEW_BPM if a.bpm is not None and b.bpm is not None else a.bpm == b.bpm
    return similarity >= FEW_SIMILARITY and apart <= FEW_SECONDS and same_tempo and a.key == b.key


def reach_of(similarity: float) -> float:
    """Say how much two copies may be shifted, and differ in length.

    Parameters
    ----------
    similarity : float
        Cosine of their vectors.

    Returns
    -------
    float
        Seconds. Fingerprints that may be slid farther fit by chance more often; a copy that was only cut still sounds
        like the whole, so that of other pairs it need not be asked.
    """
    return CUT_SECONDS if similarity >= COPY_SIMILARITY else COPY_SECONDS


def may_be_copies(cosines: Array, apart: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell by numbers alone of which pairs of tracks of unlike contents `is_copy` could be true.

    Parameters
    ----------
    cosines : float32 (...)
        Of their vectors.
    apart : float (...)
        How much their lengths differ, seconds.

    Returns
    -------
    bool (...)
        Where it could.
    """
    alike = (cosines >= COPY_SIMILARITY) & (apart <= CUT_SECONDS)
    return alike | ((cosines >= FINGERPRINT_SIMILARITY) & (apart <= COPY_SECONDS))


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


def windows_of(record: Record, track_id: str, space: str) -> Array | None:
    """Return the window vectors of a track, float32 (w, d); None where the record has none (imported vectors)."""
    try:
        return record.windows(track_id, space)[1]
    except NotFound:
        return None


def same_recordings(
    record: Record, space: str, tracks: Sequence[Track], vectors: Array
) -> Callable[[int, Sequence[int]], list[int]]:
    """Return a function that tells which of some tracks are the same recording as one of them, or a version of it.

    Parameters
    ----------
    record : Record
        Where their windows are; read only of those that may be.
    space : str
        Space id.
    tracks : sequence of Track
        n of them.
    vectors : float32 (n, d)
        Theirs, of unit length.

    Returns
    -------
    callable
        From a place in the sequence, and others, to those of these; not to the place itself.
    """
    long = np.array([track.duration for track in tracks])

    @cache
    def piece(place: int) -> Piece:
        return piece_of(tracks[place])

    @cache  # as long as the list is made
    def windows(place: int) -> Array | None:
        return windows_of(record, tracks[place].id, space)

    @cache
    def fingerprint(place: int) -> bytes:
        return record.fingerprints([tracks[place].id]).get(tracks[place].id, b"")

    @cache
    def picture(place: int) -> Array:
        print_ = fingerprint(place)
        return sketch(print_) if print_ else np.zeros(SKETCH_DIMS, np.float32)

    @cache
    def is_same(a: int, b: int) -> bool:
        cosine = float(vectors[a] @ vectors[b])
        if cosine < COPY_SIMILARITY and float(picture(a) @ picture(b)) < GLANCE:
            return False  # as `is_copy` would say, only that each track is looked at once
        prints = fingerprint(a), fingerprint(b)
        if not all(prints) and (cosine < COPY_SIMILARITY or abs(long[a] - long[b]) > COPY_SECONDS):
            return False  # before any windows are read
        heard = (None, None) if all(prints) else (windows(a), windows(b))
        return is_copy(tracks[a], tracks[b], cosine, *heard, *prints)

    def same(place: int, among: Sequence[int]) -> list[int]:
        others = [other for other in among if other != place]
        cosines = vectors[others] @ vectors[place]
        likely, content = may_be_copies(cosines, np.abs(long[others] - long[place])), tracks[place].content
        return [
            other
            for other, cosine, may_be in zip(others, cosines.tolist(), likely.tolist(), strict=True)
            if (content and content == tracks[other].content)
            or are_versions(piece(place), piece(other), cosine)
            or (may_be and is_same(min(place, other), max(place, other)))
        ]

    return same


def likely_copies(
    tracks: Sequence[Track], others: Sequence[Track | None], cosines: Array
) -> NDArray[np.bool_]:
    """Tell, at little cost, of which pairs of tracks `is_copy` could be true.

    Parameters
    ----------
    tracks : sequence of Track
        n of them.
    others : sequence of Track or None
        m of them; None is nobody's copy.
    cosines : float32 (n, m)
        Of their vectors.

    Returns
    -------
    bool (n, m)
        Where it could.
    """
    long = np.array([track.duration for track in tracks])
    others_long = np.array([track.duration if track else -np.inf for track in others])
    likely = may_be_copies(cosines, np.abs(long[:, None] - others_long))
    places: dict[str, list[int]] = {}
    for j, other in enumerate(others):
        if other and other.content:
            places.setdefault(other.content, []).append(j)
    for i, track in enumerate(tracks):
        likely[i, places.get(track.content, [])] = True
    return likely
