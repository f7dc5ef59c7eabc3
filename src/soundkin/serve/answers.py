"""From what the library says to what the API sends."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from soundkin.browsing import Facet
from soundkin.library import Library
from soundkin.recommend import Hit, Query
from soundkin.record import Track
from soundkin.scan import printable
from soundkin.serve import models

_AS_IT_IS = (
    "id", "title", "artist", "album", "album_artist", "year", "track", "disc", "duration", "bpm", "key", "energy",
    "loudness", "format", "sample_rate", "channels", "size", "added",
)  # fmt: skip


def track_of(track: Track, verdicts: dict[str, str]) -> models.Track:
    """Return a track as the API sends it; file names that are no text are escaped."""
    return models.Track(
        name=printable(track.name),
        path=printable(track.path),
        genres=list(track.genres),
        verdict=verdicts.get(track.id, ""),  # type: ignore[arg-type]
        **{name: getattr(track, name) for name in _AS_IT_IS},
    )


def tracks_of(library: Library, tracks: Iterable[Track], profile: str) -> list[models.Track]:
    """Return tracks as the API sends them, with what a profile thinks of them."""
    verdicts = library.verdicts(profile)
    return [track_of(track, verdicts) for track in tracks]


def hits_of(library: Library, hits: Sequence[Hit], profile: str) -> list[models.Hit]:
    """Return hits as the API sends them, with what else is shown of their tracks."""
    verdicts = library.verdicts(profile)
    known = {track.id: track for track in library.tracks_of([hit.id for hit in hits])}
    return [_hit(rank, hit, known.get(hit.id), verdicts.get(hit.id, "")) for rank, hit in enumerate(hits, 1)]


def _hit(rank: int, hit: Hit, track: Track | None, verdict: str) -> models.Hit:
    return models.Hit(
        rank=rank,
        id=hit.id,
        name=printable(hit.name),
        title=hit.title,
        artist=hit.artist,
        album=hit.album,
        path=printable(hit.path),
        duration=hit.duration,
        similarity=hit.similarity,
        reasons=[printable(reason) for reason in hit.reasons],
        cosine=hit.cosine,
        moments=[
            models.Moment(here=m.here, there=m.there, seconds=m.seconds, cosine=m.cosine) for m in hit.moments
        ],
        follows=hit.follows,
        close=hit.close,
        there=hit.there,
        genres=list(track.genres) if track else [],
        year=track.year if track else None,
        bpm=track.bpm if track else None,
        key=track.key if track else "",
        energy=track.energy if track else None,
        verdict=verdict,  # type: ignore[arg-type]
    )


def answer_of(
    library: Library, hits: Sequence[Hit], space: str, profile: str, filters: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the fields of `models.Answer`; the note is what the command says."""
    note = ""
    if not hits:
        note = (
            library.why_nothing(list(filters), profile) if filters else "no other track in the library passes"
        )
    elif not hits[0].close:
        note = "nothing in the library sounds close to it; this is what comes nearest"
    return {"space": space, "hits": hits_of(library, hits, profile), "note": note}


def heard_of(query: Query, name: str) -> models.Heard:
    """Return what an uploaded file is; `name` is what the sender calls it."""
    track = query.like
    assert track is not None
    return models.Heard(
        name=track.title or printable(Path(name).name)[:200],
        title=track.title,
        artist=track.artist,
        album=track.album,
        genres=list(track.genres),
        year=track.year,
        duration=track.duration,
        bpm=track.bpm,
        key=track.key,
        energy=track.energy,
    )


def facet_of(facet: Facet) -> models.FacetValue:
    """Return a chip as the API sends it."""
    return models.FacetValue(value=facet.value, count=facet.count, filter=facet.filter)
