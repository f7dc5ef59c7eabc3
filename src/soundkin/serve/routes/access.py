"""Logging in and out."""

import math
from importlib import metadata

import anyio.to_thread
from fastapi import APIRouter, Request, Response

from soundkin.recommend.mixes import MOODS
from soundkin.record.feedback import OWNS
from soundkin.serve import models
from soundkin.serve.accounts import SESSION_SECONDS
from soundkin.serve.guard import COOKIE, Refused, cookie_of
from soundkin.serve.pool import Busy
from soundkin.serve.state import Shared, State, profile_of
from soundkin.serve.throttle import network_of

router = APIRouter(tags=["access"])

_MOST_WAITING = 5


def _session(shared: State, user: str | None, profile: str, is_in: bool) -> models.Session:
    return models.Session(
        user=user,
        login=not is_in,
        profile=profile,
        version=metadata.version("soundkin") if is_in else "",
        moods=sorted(MOODS),
        scan=is_in and bool(shared.scanning.folders),
    )


@router.get("/session")
async def session(shared: Shared, request: Request) -> models.Session:
    """Say who is asking, and whether they have to log in."""
    user = request.scope.get("soundkin.user")
    is_in = user is not None or await shared.open_now()
    return _session(shared, user, profile_of(request), is_in)


@router.post("/session")
async def log_in(asked: models.Login, shared: Shared, request: Request, response: Response) -> models.Session:
    """Log in; the answer sets a cookie."""
    if OWNS in asked.name:
        raise Refused(
            401, "login", f"no user has a name with {OWNS!r} in it any more: one without it is needed"
        )
    network = network_of(request.client.host if request.client else "")
    name = asked.name.strip().casefold()
    both = f"{network} {name}"
    watched = (shared.by_both, both), (shared.by_network, network), (shared.by_name, name)
    wait = await anyio.to_thread.run_sync(lambda: max(throttle.wait(who) for throttle, who in watched))
    if wait > 0 or shared.logins.statistics().tasks_waiting >= _MOST_WAITING:
        raise Busy("too many attempts to log in: wait a little", max(1, math.ceil(wait)))
    async with shared.logins:
        begun = await anyio.to_thread.run_sync(shared.accounts.log_in, asked.name, asked.password)
    if begun is None:
        for throttle, who in watched:
            await anyio.to_thread.run_sync(throttle.failed, who)
        raise Refused(401, "login", "the name or the password is wrong")
    # what the network failed at other names, and others at this name, stays: who guesses may have an account, too
    await anyio.to_thread.run_sync(shared.by_both.passed, both)
    user, secret = begun
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(SESSION_SECONDS),
        path=request.scope.get("root_path") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return _session(shared, user, user, True)


@router.delete("/session", status_code=204)
async def log_out(shared: Shared, request: Request, response: Response) -> None:
    """Log out."""
    secret = cookie_of(request.headers.get("cookie", ""))
    if secret:
        await anyio.to_thread.run_sync(shared.accounts.log_out, secret)
    response.delete_cookie(
        COOKIE, path=request.scope.get("root_path") or "/", httponly=True, samesite="strict"
    )
