"""How it goes: what the library holds, what failed, scans and their progress, encoders."""

import asyncio
from collections.abc import AsyncIterator
from importlib import metadata
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from soundkin.encoders import catalogue, find
from soundkin.errors import NotFound
from soundkin.scan import printable
from soundkin.serve import models
from soundkin.serve.state import Shared, State

router = APIRouter(tags=["running"])

_LOOK_SECONDS, _BEAT_SECONDS = 0.5, 15.0


@router.get("/status")
async def status(shared: Shared) -> models.Status:
    """Say what the library holds."""

    def answer() -> models.Status:
        library = shared.browser
        held = shared.status()
        try:
            answers = library.space().id
        except NotFound:
            answers = ""
        return models.Status(
            version=metadata.version("soundkin"),
            folder=printable(held.folder),
            tracks=held.summary.tracks,
            seconds=held.summary.seconds,
            audio_bytes=held.summary.audio_bytes,
            formats=held.summary.formats,
            failures=held.summary.failures,
            spaces=[
                models.SpaceInfo(
                    id=space.id,
                    encoder=space.encoder,
                    dims=space.dims,
                    tracks=count,
                    active=active,
                    reads=bool((found := find(space.encoder)) and found[0].reads),
                    answers=space.id == answers,
                )
                for space, count, active in held.spaces
            ],
            gone=held.gone,
            writer=held.writer,
            revision=library.revision,
        )

    return await shared.browse(answer)


@router.get("/failures")
async def failures(
    shared: Shared,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> models.FailedPage:
    """List the files that could not be taken in, with the reasons."""
    found = await shared.browse(shared.browser.failures)
    page = [
        models.Failed(path=printable(f.file.path), kind=f.kind, reason=printable(f.reason), at=at)
        for f, at in found[offset : offset + limit]
    ]
    return models.FailedPage(total=len(found), offset=offset, failures=page)


@router.get("/encoders")
async def encoders(shared: Shared) -> list[models.EncoderInfo]:
    """List the encoders that a library can be indexed with."""

    def answer() -> list[models.EncoderInfo]:
        try:
            spaces = [space for space, _, _ in shared.status().spaces]
        except NotFound:
            spaces = []
        return [
            models.EncoderInfo(
                name=entry.name,
                about=entry.about,
                licence=entry.licence,
                dims=entry.dims,
                here=entry.here,
                missing=entry.missing,
                reads=entry.reads,
                spaces=[space.id for space in spaces if space.encoder in entry.names],
            )
            for entry in catalogue.entries()
        ]

    return await shared.browse(answer)


@router.get("/scan")
async def scan(shared: Shared) -> models.ScanState:
    """Say where a scan stands."""
    return await shared.browse(shared.scanning.state)


@router.post("/scan", status_code=202)
async def start_scan(shared: Shared) -> models.ScanState:
    """Look for new, changed and moved files in the folders that the server was started with."""
    return await shared.browse(shared.scanning.start)


@router.delete("/scan")
async def stop_scan(shared: Shared) -> models.ScanState:
    """End the scan soon; what is done is kept."""
    return await shared.browse(shared.scanning.stop)


@router.get("/scan/events", response_class=StreamingResponse)
async def scan_events(shared: Shared) -> StreamingResponse:
    """Send where the scan stands whenever that changes, as server-sent events."""
    return StreamingResponse(
        _events(shared), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _events(shared: State) -> AsyncIterator[str]:
    last, silent = "", 0.0
    while not shared.closing.is_set():
        now = (await shared.browse(shared.scanning.state)).model_dump_json()
        if now != last:
            last, silent = now, 0.0
            yield f"event: scan\ndata: {now}\n\n"
        elif silent >= _BEAT_SECONDS:
            silent = 0.0
            yield ": still here\n\n"
        silent += _LOOK_SECONDS
        try:
            await asyncio.wait_for(shared.closing.wait(), _LOOK_SECONDS)
        except TimeoutError:
            continue
