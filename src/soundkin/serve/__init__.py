"""The HTTP API and the web app: doors to one library, and no decisions behind them that the library does not make.

    app = create_app("~/my-library")

What a request may do is settled in `guard`, who somebody is in `accounts`; `routes` read requests and send answers;
what takes long or may hang is done in workers (`pool`, `jobs`, `media`, `scanning`).
"""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from soundkin.asking import Ambiguous
from soundkin.errors import (
    DecodeError,
    InputError,
    MissingExtra,
    ModelError,
    NotFound,
    SoundkinError,
    StoreError,
)
from soundkin.library import default_folder
from soundkin.record.feedback import OWNS, NoProfile
from soundkin.scan import printable
from soundkin.serve import models
from soundkin.serve.answers import track_of
from soundkin.serve.guard import Guard, Refused
from soundkin.serve.metrics import Metrics
from soundkin.serve.pool import Busy
from soundkin.serve.routes import access, asking, exploring, running, taste, tracks
from soundkin.serve.scanning import Conflict
from soundkin.serve.state import State, user_of
from soundkin.serve.web import api_page, file_of

__all__ = ["create_app"]

PREFIX = "/api/v1"
_MOST_CHOICES = 20
# The first that fits: subclasses stand before their parents.
_STATUS: tuple[tuple[type[SoundkinError], int, str], ...] = (
    (Ambiguous, 409, "ambiguous"),
    (NotFound, 404, "not_found"),
    (InputError, 400, "bad_request"),
    (DecodeError, 422, "undecodable"),
    (Conflict, 409, "conflict"),
    (MissingExtra, 409, "missing_extra"),
    (ModelError, 409, "conflict"),
    (Busy, 429, "busy"),
    (StoreError, 503, "unavailable"),
)
_KINDS = {400: "bad_request", 401: "login", 403: "forbidden", 404: "not_found", 413: "too_large", 429: "busy"}
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": models.ErrorAnswer, "description": about}
    for code, about in (
        (400, "An argument is unusable"),
        (401, "Log in first"),
        (403, "Another site is asking"),
        (404, "There is no such thing"),
        (409, "It does not fit what is: ambiguous words, a scan that runs"),
        (413, "Too large"),
        (422, "The wrong shape, or no audio"),
        (429, "Too much at once: wait Retry-After seconds"),
        (503, "The record cannot be read now"),
    )
}


def create_app(
    library: str | os.PathLike[str] | None = None,
    music: Sequence[str] = (),
    hosts: Iterable[str] = (),
    root_path: str = "",
    needs_login: bool = False,
    record: str | None = None,
    qdrant: str | None = None,
    api_key: str | None = None,
) -> FastAPI:
    """Make the application that serves one library.

    Parameters
    ----------
    library : path-like, optional
        Its folder; default `library.default_folder()`. It need not hold anything yet.
    music : sequence of str
        Folders that a scan from the web app looks into.
    hosts : iterable of str
        Names that the server is called by, besides localhost and addresses.
    root_path : str
        Path under which a reverse proxy shows it, such as ``/music``.
    needs_login : bool
        Whether to want a login though there is no user: for a server that others can reach.
    record, qdrant, api_key : str, optional
        URLs of a PostgreSQL database and of a Qdrant server that many servers share, and the key of the latter; see
        `Library.open`.

    Returns
    -------
    FastAPI
        An ASGI application.
    """
    root = root_path.rstrip("/")
    folder = Path(library or default_folder()).expanduser()
    shared = State(folder, music, needs_login, record=record, qdrant=qdrant, api_key=api_key)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        shared.close()

    app = FastAPI(
        title="Soundkin", description="Recommends music by how it sounds.", version="1", docs_url=None,
        redoc_url=None, openapi_url=f"{PREFIX}/openapi.json", lifespan=lifespan, responses=_ERRORS,
        generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    app.state.shared = shared
    app.add_middleware(Guard, state=shared, metrics=metrics, hosts=hosts, root=root)
    app.add_exception_handler(SoundkinError, _known)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misshaped)
    app.add_exception_handler(ClientDisconnect, _left)
    for part in (access, running, tracks, asking, taste, exploring):
        app.include_router(part.router, prefix=PREFIX)
    _add_pages(app, shared, metrics)
    return app


def _add_pages(app: FastAPI, shared: State, metrics: Metrics) -> None:
    """Add what stands beside the API."""

    @app.get("/healthz", tags=["running"])
    async def health() -> models.Health:
        """Say that the server answers."""
        return models.Health(status="ok")

    @app.get("/metrics", include_in_schema=False)
    async def numbers() -> Response:
        """Return numbers for Prometheus."""
        try:
            tracks, _ = await shared.browse(shared.browser.page, limit=0)
        except NotFound:
            tracks = 0
        text = metrics.text(
            tracks=tracks, uploads_waiting=shared.uploads, media_waiting=shared.media.pool.load
        )
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/api/docs", include_in_schema=False)
    async def documentation(request: Request) -> Response:
        """Show the API to people."""
        return api_page(app.openapi(), request.scope.get("root_path", ""))

    @app.get("/{path:path}", include_in_schema=False)
    async def files(request: Request, path: str) -> Response:
        """Return a file of the web app."""
        if path.startswith("api/") or path == "api":
            raise HTTPException(404, "the API has no such route")
        return await file_of(request, path)


def _problem(status: int, kind: str, message: str, **more: Any) -> JSONResponse:
    headers = more.pop("headers", None)
    problem = models.ErrorAnswer(error=models.Problem(kind=kind, message=printable(message), **more))
    return JSONResponse(problem.model_dump(), status, headers)


async def _known(request: Request, error: Exception) -> JSONResponse:
    """Answer with an error of Soundkin's own."""
    status, kind = next(((s, k) for what, s, k in _STATUS if isinstance(error, what)), (500, "internal"))
    user, message = user_of(request), str(error)
    if user is not None:  # what others are called, and how the record calls what is theirs, is not for users
        message = "there is no profile of that name" if isinstance(error, NoProfile) else message
        message = message.replace(f"'{user}{OWNS}", "'")
    choices = getattr(error, "choices", None)
    if choices is not None:
        choices = [track_of(track, {}) for track in choices[:_MOST_CHOICES]]
    wait = {429: getattr(error, "wait", 5), 503: 5}.get(status)
    headers = None if wait is None else {"retry-after": str(wait)}
    return _problem(status, kind, message, choices=choices, headers=headers)


async def _left(request: Request, error: Exception) -> Response:
    """Answer nobody: who was asking has gone. That is no fault of ours, and is counted as nginx counts it."""
    return Response(status_code=499)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answer with a refusal of ours or of the framework's."""
    assert isinstance(error, HTTPException)
    kind = error.kind if isinstance(error, Refused) else _KINDS.get(error.status_code, "invalid")
    return _problem(error.status_code, kind, str(error.detail), headers=error.headers)


async def _misshaped(request: Request, error: Exception) -> JSONResponse:
    """Say in one line which part of a request has the wrong shape."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return _problem(422, "invalid", f"{where or 'the request'}: {first['msg']}")
