"""The same recording several times, and other versions of a piece: found and shown with evidence, never merged."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.fingerprint import SKETCH_DIMS, compare, sketch
from soundkin.recommend.copies import (
    COPY_FINGERPRINT,
    COPY_SIMILARITY,
    CUT_SECONDS,
    GLANCE,
    is_copy,
    may_be_copies,
    reach_of,
    windows_of,
)
from soundkin.recommend.pieces import Piece, are_versions, piece_of
from soundkin.record import Record, Track

Array = NDArray[np.float32]

RECORDING, VERSION = "recording", "version"
_ROWS = 512  # tracks that are compared at once: a block of 512 x a few thousand cosines
_WHOLE_SECONDS = 0.5  # shorter than the longest by more, and something is missing: encoders add and cut less
_LOSSLESS = ("flac", "alac", "wavpack", "ape", "tta", "pcm")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tracks, and why they belong together.

    Parameters
    ----------
    a, b : str
        Track ids.
    kind : str
        "recording": the same one. "version": likely another version of the piece.
    similarity : float or None
        Cosine of their vectors; None when one has none.
    seconds_apart : float
        Difference of their lengths.
    fingerprint : float or None
        Correlation of their fingerprints where they fit best, -1 to 1; None when it was not needed or one has none.
    lag : float or None
        Seconds that a moment comes later in b than in a.
    evidence : tuple of str
        In words.
    """

    a: str
    b: str
    kind: str
    similarity: float | None
    seconds_apart: float
    fingerprint: float | None
    lag: float | None
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Tracks that belong together.

    Parameters
    ----------
    kind : str
        Of its pairs.
    tracks : tuple of Track
        Two or more; of one recording the best first: whole files before damaged and then before cut ones, lossless
        before lossy, then by bit rate. Of versions first those whose titles do not say that they are one.
    pairs : tuple of Pair
        Every track is in one at least.
    """

    kind: str
    tracks: tuple[Track, ...]
    pairs: tuple[Pair, ...]


def duplicates(record: Record, space: str) -> list[Group]:
    """Find what the library has more than once.

    Only tracks of like length are compared as recordings, and only tracks of one artist and title as versions: the
    work does not grow with the square of the library.

    Parameters
    ----------
    record : Record
        Of the library.
    space : str
        Space id, in whose vectors likeness is looked for.

    Returns
    -------
    list of Group
        First recordings, then versions; the largest first. A track may be in one of each.
    """
    ids, vectors = record.vectors(space)
    rows = {id_: row for row, id_ in enumerate(ids)}
    tracks = {track.id: track for track in record.tracks()}
    same = list(_same_bytes(tracks.values()))
    known = {frozenset((pair.a, pair.b)) for pair in same}
    here = [id_ for id_ in ids if id_ in tracks]
    ordered = sorted(here, key=lambda id_: (tracks[id_].duration, id_))
    lengths = np.array([tracks[id_].duration for id_ in ordered])
    sounds = vectors[[rows[id_] for id_ in ordered]]
    for block in _like_lengths(ordered, lengths, sounds, _sketches(record, ordered)):
        prints = record.fingerprints(sorted({id_ for a, b, _ in block for id_ in (a, b)}))
        for a, b, cosine in block:
            if frozenset((a, b)) not in known:
                pair = _as_recording(record, space, tracks[a], tracks[b], cosine, prints)
                same += [pair] if pair else []
    known = {frozenset((pair.a, pair.b)) for pair in same}
    damaged = record.damaged_files()
    groups = _groups(RECORDING, same, tracks, damaged)
    copies = {track.id: number for number, group in enumerate(groups) for track in group.tracks}
    other = [
        pair
        for pair in _as_versions(tracks.values(), rows, vectors)
        if copies.get(pair.a, pair.a) != copies.get(pair.b, pair.b)
    ]
    return groups + _groups(VERSION, other, tracks, damaged)


def _same_bytes(tracks: Iterable[Track]) -> Iterator[Pair]:
    by_content = defaultdict(list)
    for track in tracks:
        if track.content:
            by_content[track.content].append(track)
    for first, *others in by_content.values():
        for other in others:
            apart = abs(first.duration - other.duration)
            yield Pair(first.id, other.id, RECORDING, None, apart, None, None, ("the same bytes",))


def _sketches(record: Record, ids: Sequence[str]) -> Array:
    """Return the sketches of fingerprints, float32 (n, d): zeros for a track that has none."""
    rows = np.zeros((len(ids), SKETCH_DIMS), np.float32)
    for first in range(0, len(ids), 5000):
        part = ids[first : first + 5000]
        prints = record.fingerprints(part)
        for row, id_ in enumerate(part, first):
            if id_ in prints:
                rows[row] = sketch(prints[id_])
    return rows


def _like_lengths(
    ids: Sequence[str], seconds: NDArray[np.float64], vectors: Array, sketches: Array
) -> Iterator[list[tuple[str, str, float]]]:
    """Yield pairs of tracks, sorted by length, that are about as long and may be one recording, with their cosines."""
    ends = np.searchsorted(seconds, seconds + CUT_SECONDS, side="right")
    for first in range(0, len(ids), _ROWS):
        last = min(first + _ROWS, len(ids))
        there = slice(first, ends[last - 1])
        cosines = vectors[first:last] @ vectors[there].T
        glances = sketches[first:last] @ sketches[there].T
        apart = np.abs(seconds[there] - seconds[first:last, None])
        likely = may_be_copies(cosines, apart) & ((cosines >= COPY_SIMILARITY) | (glances >= GLANCE))
        yield [
            (ids[first + i], ids[first + j], float(cosines[i, j]))
            for i, j in np.argwhere(likely).tolist()
            if i < j and first + j < ends[first + i]
        ]


def _as_recording(
    record: Record, space: str, a: Track, b: Track, cosine: float, prints: dict[str, bytes]
) -> Pair | None:
    """Look whether two tracks that sound alike are one recording."""
    apart = abs(a.duration - b.duration)
    evidence = [f"sounds alike {cosine:.2f}", f"lengths {apart:.1f} s apart"]
    if a.id in prints and b.id in prints:
        fits = compare(prints[a.id], prints[b.id], reach_of(cosine))
        if fits.score < COPY_FINGERPRINT:
            return None
        shifted = (
            f", {abs(fits.lag):.1f} s {'later' if fits.lag > 0 else 'earlier'}" if abs(fits.lag) > 0.1 else ""
        )
        evidence.insert(0, f"fingerprints fit {fits.score:.2f}{shifted}")
        score, lag = round(fits.score, 4), round(fits.lag, 2)
        return Pair(a.id, b.id, RECORDING, round(cosine, 4), round(apart, 2), score, lag, tuple(evidence))
    if not is_copy(a, b, cosine, windows_of(record, a.id, space), windows_of(record, b.id, space)):
        return None
    evidence.insert(0, "changes alike from moment to moment")
    return Pair(a.id, b.id, RECORDING, round(cosine, 4), round(apart, 2), None, None, tuple(evidence))


def _as_versions(tracks: Iterable[Track], rows: dict[str, int], vectors: Array) -> Iterator[Pair]:
    """Yield pairs of one artist and piece that sound alike enough to be versions of it."""
    pieces: dict[tuple[str, str], list[tuple[Track, Piece]]] = defaultdict(list)
    for track in tracks:
        if track.id in rows:
            piece = piece_of(track)
            pieces[piece.artist, piece.name].append((track, piece))
    for (_, name), members in pieces.items():
        for place, (a, one) in enumerate(members):
            for b, other in members[place + 1 : place + 50]:
                cosine = float(vectors[rows[a.id]] @ vectors[rows[b.id]])
                if not are_versions(one, other, cosine):
                    continue
                said, apart = sorted({*one.marks, *other.marks}), abs(a.duration - b.duration)
                told = [f"titles say {', '.join(said)}"] if said else []
                same = (
                    f"artist and title {name!r} are the same" if one.artist else f"names begin with {name!r}"
                )
                why = (same, *told, f"sounds alike {cosine:.2f}", f"lengths {apart:.1f} s apart")
                yield Pair(a.id, b.id, VERSION, round(cosine, 4), round(apart, 2), None, None, why)


def _groups(kind: str, pairs: Sequence[Pair], tracks: dict[str, Track], damaged: set[str]) -> list[Group]:
    """Put together what pairs connect."""
    leader: dict[str, str] = {}

    def lead(id_: str) -> str:
        while leader.setdefault(id_, id_) != id_:
            leader[id_] = leader[leader[id_]]
            id_ = leader[id_]
        return id_

    for pair in pairs:
        leader[lead(pair.a)] = lead(pair.b)
    members: dict[str, list[Track]] = defaultdict(list)
    links: dict[str, list[Pair]] = defaultdict(list)
    for id_ in list(leader):
        members[lead(id_)].append(tracks[id_])
    for pair in pairs:
        links[lead(pair.a)].append(pair)
    found = list[Group]()
    for head, group in members.items():
        longest = max(track.duration for track in group)

        def best_first(track: Track, longest: float = longest) -> tuple[bool, bool, bool, float, str]:
            is_damaged, is_cut = track.path in damaged, longest - track.duration > _WHOLE_SECONDS
            if kind == VERSION:  # these are of different lengths; the piece itself comes first
                return bool(piece_of(track).marks), is_damaged, *_quality(track)
            return is_damaged, is_cut, *_quality(track)

        found.append(Group(kind, tuple(sorted(group, key=best_first)), tuple(links[head])))
    return sorted(found, key=lambda group: (-len(group.tracks), group.tracks[0].path))


def _quality(track: Track) -> tuple[bool, float, str]:
    lossy = not track.format.lower().startswith(_LOSSLESS)
    return lossy, -track.size / max(track.duration, 1.0), os.fspath(track.path)
