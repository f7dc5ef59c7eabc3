"""Who likes what, and the playlists that are kept."""

from dataclasses import asdict
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response

from soundkin import playlists
from soundkin.record import Track
from soundkin.record.feedback import Profile
from soundkin.serve import models
from soundkin.serve.accounts import Kept
from soundkin.serve.answers import tracks_of
from soundkin.serve.state import (
    ProfileParameter,
    Shared,
    State,
    User,
    asked_of,
    kept_name,
    profile_of,
    shown_name,
)

router = APIRouter(tags=["taste"])

Format = Literal["m3u8", "xspf", "jspf"]
Name = Annotated[str, Path(min_length=1, max_length=100)]
ListId = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
_KINDS = {"m3u8": "audio/x-mpegurl", "xspf": "application/xspf+xml", "jspf": "application/jspf+json"}


@router.post("/feedback")
async def feedback(asked: models.FeedbackRequest, shared: Shared, user: User) -> models.FeedbackAnswer:
    """Remember what somebody said about tracks, or played."""
    profile = kept_name(user, asked.profile)

    def answer() -> models.FeedbackAnswer:
        library = shared.browser
        found = library.feedback(asked.kind, asked_of(library, asked.tracks), profile, asked.at)
        shown = shown_name(user, profile) or profile
        return models.FeedbackAnswer(profile=shown, kind=asked.kind, tracks=[track.id for track in found])

    return await shared.browse(answer)


@router.get("/taste")
async def taste_status(
    shared: Shared, request: Request, profile: ProfileParameter = None
) -> models.TasteStatus:
    """Say what was learned from plays, and whether it speaks to a profile."""
    # of the library that answers, so that what was learned is held in memory once
    told = await shared.ask(shared.library.taste_status, profile_of(request, profile))
    shown = {name: told[name] for name in models.TasteStatus.model_fields if name in told}
    return models.TasteStatus(**shown | {"ranker": told["ranker"]["used"]})


@router.get("/profiles")
async def profiles(shared: Shared, user: User) -> list[models.Profile]:
    """List who listens: for a user, the profiles of their own."""
    found = await shared.browse(shared.profiles, user)
    return [_profile(one, shown) for one in found if (shown := shown_name(user, one.name)) is not None]


def _profile(one: Profile, shown: str) -> models.Profile:
    return models.Profile.model_validate({**asdict(one), "name": shown})


@router.post("/profiles", status_code=201)
async def create_profile(asked: models.ProfileRequest, shared: Shared, user: User) -> models.Profile:
    """Make a profile."""

    def answer() -> models.Profile:
        name = shared.browser.create_profile(kept_name(user, asked.name))
        made = next(one for one in shared.profiles(user) if one.name == name)
        return _profile(made, shown_name(user, name) or name)

    return await shared.browse(answer)


# Before the bare name, which would take its end for a part of the name.
@router.get("/profiles/{name:path}/history")
async def history(
    name: Name, shared: Shared, user: User, limit: Annotated[int, Query(ge=1, le=10_000)] = 500
) -> list[models.HistoryEntry]:
    """Return what a profile said and did, the latest first."""
    said = await shared.browse(shared.browser.history, kept_name(user, name))
    return [models.HistoryEntry(track=one.track, kind=one.kind, at=one.at) for one in reversed(said[-limit:])]


@router.delete("/profiles/{name:path}", status_code=204)
async def delete_profile(name: Name, shared: Shared, user: User) -> Response:
    """Forget a profile and all it said."""
    await shared.browse(shared.delete_profile, user, kept_name(user, name))
    return Response(status_code=204)


@router.get("/playlists", tags=["playlists"])
async def lists(shared: Shared, user: User) -> list[models.PlaylistHead]:
    """List the playlists that are kept."""
    return [
        models.PlaylistHead(id=one.id, name=one.name, count=len(one.tracks), changed=one.changed)
        for one in await shared.browse(shared.accounts.playlists, user)
    ]


def _playlist(shared: State, kept: Kept, profile: str) -> models.Playlist:
    found = tracks_of(shared.browser, shared.browser.tracks_of(kept.tracks), profile)
    return models.Playlist(
        id=kept.id,
        name=kept.name,
        count=len(kept.tracks),
        changed=kept.changed,
        tracks=found,
        gone=len(kept.tracks) - len(found),
    )


@router.post("/playlists", status_code=201, tags=["playlists"])
async def keep(asked: models.PlaylistRequest, shared: Shared, user: User) -> models.Playlist:
    """Keep a playlist."""

    def answer() -> models.Playlist:
        kept = shared.accounts.keep_playlist(asked.name, asked.tracks, user=user)
        return _playlist(shared, kept, kept_name(user, None))

    return await shared.browse(answer)


@router.get("/playlists/{list_id}", tags=["playlists"])
async def playlist(list_id: ListId, shared: Shared, user: User) -> models.Playlist:
    """Return a playlist with its tracks."""

    def answer() -> models.Playlist:
        return _playlist(shared, shared.accounts.playlist(list_id, user), kept_name(user, None))

    return await shared.browse(answer)


@router.put("/playlists/{list_id}", tags=["playlists"])
async def change(
    list_id: ListId, asked: models.PlaylistRequest, shared: Shared, user: User
) -> models.Playlist:
    """Change the name and the tracks of a playlist."""

    def answer() -> models.Playlist:
        kept = shared.accounts.keep_playlist(asked.name, asked.tracks, list_id, user)
        return _playlist(shared, kept, kept_name(user, None))

    return await shared.browse(answer)


@router.delete("/playlists/{list_id}", status_code=204, tags=["playlists"])
async def drop(list_id: ListId, shared: Shared, user: User) -> Response:
    """Forget a playlist."""
    await shared.browse(shared.accounts.drop_playlist, list_id, user)
    return Response(status_code=204)


@router.get("/playlists/{list_id}/export", response_class=Response, tags=["playlists"])
async def export(list_id: ListId, shared: Shared, user: User, format: Format = "m3u8") -> Response:
    """Download a playlist as a file."""
    kept = await shared.browse(shared.accounts.playlist, list_id, user)
    return _file(kept.name, await shared.browse(shared.browser.tracks_of, kept.tracks), format)


@router.post("/export", response_class=Response, tags=["playlists"])
async def export_any(asked: models.ExportRequest, shared: Shared) -> Response:
    """Download tracks as a playlist file, without keeping the list."""
    return _file(asked.name, await shared.browse(shared.browser.tracks_of, asked.tracks), asked.format)


def _file(name: str, tracks: list[Track], format: Format) -> Response:
    text = playlists.text(tracks, name, format)
    shown = quote(f"{name}.{format}", safe="")
    return Response(
        text.encode("utf-8", "surrogateescape"),
        media_type=_KINDS[format],
        headers={
            "content-disposition": f"attachment; filename=\"playlist.{format}\"; filename*=UTF-8''{shown}"
        },
    )
