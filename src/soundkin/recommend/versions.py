"""The same recording several times, and other versions of a piece: found and shown with evidence, never merged."""

import os
import re
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
from soundkin.record import Record, Track
from soundkin.record.rows import fold

Array = NDArray[np.float32]

RECORDING, VERSION = "recording", "version"
# Two tracks of one artist and title: how similar they must be, when a title says what it is, and when none does.
_SIMILAR_MARKED, _SIMILAR_UNMARKED = 0.3, 0.6
_ROWS = 512  # tracks that are compared at once: a block of 512 x a few thousand cosines
_LOSSLESS = ("flac", "alac", "wavpack", "ape", "tta", "pcm")
_MARKS = (
    "live", "unplugged", "acoustic", "remix", "mix", "rmx", "edit", "version", "demo", "instrumental", "karaoke",
    "cover", "extended", "radio", "dub", "rework", "bootleg", "session", "sessions", "take", "alternate", "orchestral",
    "reprise",
)  # fmt: skip
# A remaster is the same recording to the ear, and a guest does not make another piece.
_SILENT_MARKS = (
    "remaster", "remastered", "mono", "stereo", "deluxe", "bonus", "explicit", "clean", "feat", "ft", "featuring",
)  # fmt: skip
_BRACKETS = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")


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
        Two or more; of one recording the best first: lossless before lossy, then by bit rate.
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
    groups = _groups(RECORDING, same, tracks)
    copies = {track.id: number for number, group in enumerate(groups) for track in group.tracks}
    other = [
        pair
        for pair in _as_versions(tracks.values(), rows, vectors)
        if copies.get(pair.a, pair.a) != copies.get(pair.b, pair.b)
    ]
    return groups + _groups(VERSION, other, tracks)


def split_title(title: str) -> tuple[str, tuple[str, ...]]:
    """Take a title apart into the piece and what this version of it is.

    Parameters
    ----------
    title : str
        Like "Blue Sky (Live at Home) [2011 Remaster]".

    Returns
    -------
    piece : str
        Folded, like "blue sky"; the whole title when nothing is left of it otherwise.
    marks : tuple of str
        Like ("live",), sorted; a remaster or a guest is none.
    """
    marks, rest = set[str](), title

    def take(words: str) -> bool:
        folded = fold(words).split()
        marks.update(word for word in folded if word in _MARKS)
        return any(word in _MARKS or word in _SILENT_MARKS for word in folded)

    for found in _BRACKETS.findall(title):
        if take(found):
            rest = rest.replace(found, "")
    head, dash, tail = rest.rpartition(" - ")
    if dash and fold(head) and take(tail):
        rest = head
    return fold(rest) or fold(title), tuple(sorted(marks))


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
    pieces: dict[tuple[str, str], list[tuple[Track, tuple[str, ...]]]] = defaultdict(list)
    for track in tracks:
        artist = fold(track.artist or track.album_artist)
        if track.id in rows and track.title and artist:
            piece, marks = split_title(track.title)
            pieces[artist, piece].append((track, marks))
    for (_, piece), members in pieces.items():
        for place, (a, marks_a) in enumerate(members):
            for b, marks_b in members[place + 1 : place + 50]:
                cosine = float(vectors[rows[a.id]] @ vectors[rows[b.id]])
                said = sorted({*marks_a, *marks_b})
                if cosine < (_SIMILAR_MARKED if said else _SIMILAR_UNMARKED):
                    continue
                apart = abs(a.duration - b.duration)
                told = [f"titles say {', '.join(said)}"] if said else []
                same = f"artist and title {piece!r} are the same"
                why = (same, *told, f"sounds alike {cosine:.2f}", f"lengths {apart:.1f} s apart")
                yield Pair(a.id, b.id, VERSION, round(cosine, 4), round(apart, 2), None, None, why)


def _groups(kind: str, pairs: Sequence[Pair], tracks: dict[str, Track]) -> list[Group]:
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
    found = [Group(kind, tuple(sorted(members[head], key=_quality)), tuple(links[head])) for head in members]
    return sorted(found, key=lambda group: (-len(group.tracks), group.tracks[0].path))


def _quality(track: Track) -> tuple[bool, float, str]:
    lossy = not track.format.lower().startswith(_LOSSLESS)
    return lossy, -track.size / max(track.duration, 1.0), os.fspath(track.path)
