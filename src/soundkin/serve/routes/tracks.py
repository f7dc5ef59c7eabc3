"""Tracks: lists of them, one of them, its sound, its cover, its shape."""

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from soundkin.browsing import FACETS
from soundkin.record import Track
from soundkin.serve import models
from soundkin.serve.answers import facet_of, track_of, tracks_of
from soundkin.serve.state import ProfileParameter, Shared, State, profile_of

router = APIRouter(tags=["tracks"])

TrackId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="A track id, 16 hex digits")]
FilterParameter = Annotated[
    list[Annotated[str, Query(max_length=2000)]],
    Query(alias="filter", max_length=20, description="Repeatable"),
]
Order = Literal["artist", "title", "album", "year", "added", "duration", "bpm", "energy"]
Field = Literal["genre", "decade", "tempo", "energy", "key", "format", "feedback", "artist", "album"]
_DAY, _HOUR = "private, max-age=86400", "private, max-age=3600"


class Sound(FileResponse):
    """A file in parts; a Range that it does not have is refused in the shape of every other error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what was asked for; raise HTTPException when that cannot be."""

        async def passed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                ranges = {k.decode(): v.decode() for k, v in message["headers"] if k == b"content-range"}
                raise HTTPException(message["status"], "the file has no such Range", ranges)
            await send(message)

        await super().__call__(scope, receive, passed)


@router.get("/tracks")
async def tracks(
    shared: Shared,
    request: Request,
    filters: FilterParameter = [],  # noqa: B006 - FastAPI copies it
    sort: Order = "artist",
    descending: bool = False,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    profile: ProfileParameter = None,
) -> models.TracksPage:
    """List the tracks that pass filters, some at a time."""
    who = profile_of(request, profile)

    def answer() -> models.TracksPage:
        total, found = shared.browser.page(filters, sort, descending, offset, limit, who)
        return models.TracksPage(total=total, offset=offset, tracks=tracks_of(shared.browser, found, who))

    return await shared.browse(answer)


@router.get("/facets")
async def facets(
    shared: Shared,
    request: Request,
    field: Annotated[list[Field], Query(max_length=9)] = [],  # noqa: B006
    filters: FilterParameter = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=500)] = 30,
    profile: ProfileParameter = None,
) -> models.Facets:
    """Count what values the tracks that pass filters have."""
    who = profile_of(request, profile)
    wanted: list[str] = list(dict.fromkeys(field)) or [
        name for name in FACETS if name not in ("artist", "album")
    ]

    def answer() -> models.Facets:
        total, _ = shared.browser.page(filters, limit=0, profile=who)
        found = shared.browser.facets(wanted, filters, limit, who)
        return models.Facets(
            total=total, facets={name: [facet_of(one) for one in values] for name, values in found.items()}
        )

    return await shared.browse(answer)


async def _track(shared: State, track_id: str) -> Track:
    return await shared.browse(shared.browser.find, track_id, files=False)


@router.get("/tracks/{track_id}")
async def track(
    track_id: TrackId, shared: Shared, request: Request, profile: ProfileParameter = None
) -> models.Track:
    """Return one track."""
    who = profile_of(request, profile)

    def answer() -> models.Track:
        found = shared.browser.find(track_id, files=False)
        return track_of(found, shared.browser.verdicts(who))

    return await shared.browse(answer)


@router.head("/tracks/{track_id}/audio", response_class=Sound, include_in_schema=False)
@router.get("/tracks/{track_id}/audio", response_class=Sound)
async def audio(track_id: TrackId, shared: Shared) -> Sound:
    """Stream a track, with Range; what browsers do not play comes as FLAC."""
    path, kind = await shared.media.audio(await _track(shared, track_id))
    return Sound(path, media_type=kind, headers={"cache-control": "private, no-cache"})


@router.get(
    "/tracks/{track_id}/cover", response_class=Response, responses={204: {"description": "It has no cover"}}
)
async def cover(
    track_id: TrackId, shared: Shared, request: Request, size: Literal["96", "320", "960"] = "320"
) -> Response:
    """Return the cover of a track: the one in the file, or in its folder."""
    data = await shared.media.cover(await _track(shared, track_id), int(size))
    if not data:  # no error: a page of tracks asks for all of theirs, and a browser would complain of each
        return Response(status_code=204, headers={"cache-control": _HOUR})
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": _DAY}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)


@router.get("/tracks/{track_id}/peaks")
async def peaks(track_id: TrackId, shared: Shared, response: Response) -> models.Peaks:
    """Return the shape of a track's sound, for a waveform."""
    found = await _track(shared, track_id)
    data = await shared.media.peaks(found)
    response.headers["cache-control"] = _DAY
    response.headers["etag"] = f'"{found.content}"'
    return models.Peaks(duration=found.duration, peaks=list(data))
