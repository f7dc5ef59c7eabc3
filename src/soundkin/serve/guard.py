"""What stands before every route: who asks, from where, how much they send; and what browsers are told.

Access is refused unless a path is listed here as open, so that a route that somebody adds is closed by itself.
"""

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import Iterable, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soundkin.errors import StoreError
from soundkin.serve.metrics import Metrics
from soundkin.serve.state import State
from soundkin.serve.web import STYLE_HASH

log = logging.getLogger("soundkin.serve.access")

COOKIE = "soundkin"
API = "/api/"
OPEN = frozenset({"/healthz", "/api/v1/session"})
"""What answers without a login, besides the files of the web app."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _SAFE | {"POST", "PUT", "PATCH", "DELETE"}
_SAYS_WHO = {"authorization", "cookie"}
_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' '{STYLE_HASH}'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_BODY_BYTES, _BODY_SECONDS, _UPLOAD_SECONDS = 2_000_000, 30.0, 600.0
UPLOAD_BYTES = 300_000_000
UPLOAD = "/api/v1/similar/upload"


class Refused(HTTPException):
    """A request that goes no further.

    Parameters
    ----------
    status : int
        HTTP status.
    kind, message : str
        As in `models.Problem`.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(status, message)
        self.kind = kind


class Guard:
    """An ASGI application around another one.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    state : State
        Who may ask.
    metrics : Metrics
        What counts requests.
    hosts : iterable of str
        Names that the server is called by, besides localhost; addresses always are, for no other site can claim one.
    root : str
        Path under which a proxy shows the server, without a slash at its end; "" for none.
    """

    def __init__(
        self, app: ASGIApp, state: State, metrics: Metrics, hosts: Iterable[str] = (), root: str = ""
    ) -> None:
        self._app, self._state, self._metrics, self._root = app, state, metrics, root
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        begin, told = time.perf_counter(), {"status": 500}
        answer = _Answer(send, told, scope)
        path = self._rooted(scope)
        try:
            await self._check(scope, path)
            body = _Body(
                receive,
                *((UPLOAD_BYTES, _UPLOAD_SECONDS) if path == UPLOAD else (_BODY_BYTES, _BODY_SECONDS)),
            )
            await self._app(scope, _limited(scope, body), answer)
        except Refused as refused:
            if not answer.begun:
                await _refuse(answer, refused)
        except Exception:  # ours: whoever asks learns nothing of it, the log all
            log.exception("a bug of Soundkin's, please report it")
            if not answer.begun:
                await _refuse(
                    answer, Refused(500, "internal", "an error in Soundkin itself; its log says more")
                )
        finally:
            seconds = time.perf_counter() - begin
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.request(method, route, told["status"], seconds)
            # The route, not the path: what somebody asked for is nobody's business.
            if log.isEnabledFor(logging.INFO):
                noted: dict[str, Any] = {
                    "method": method,
                    "route": route,
                    "status": told["status"],
                    "ms": round(seconds * 1000, 1),
                }
                log.info(json.dumps(noted))

    def _rooted(self, scope: Scope) -> str:
        """Settle what is the path below the root, whether or not the proxy has cut the root off."""
        path: str = scope["path"]
        if self._root:
            scope["root_path"] = self._root
            if path == self._root or path.startswith(f"{self._root}/"):
                path = path[len(self._root) :] or "/"
            scope["path"] = self._root + path
        return path

    async def _check(self, scope: Scope, path: str) -> None:
        headers = _plain(scope["headers"])
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Refused(
                421, "forbidden", "this server goes by another name: start it with --allow-host NAME"
            )
        safe = scope["method"] in _SAFE
        origin = headers.get("origin")
        if path.startswith(API) and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Refused(403, "forbidden", "another site is asking")
        if not safe and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, "forbidden", "another site is asking")
        try:
            user, by_cookie = (
                await run_sync(self._known, headers) if headers.keys() & _SAYS_WHO else (None, False)
            )
            is_in = user is not None or await self._state.open_now()
        except StoreError as error:  # where it is, only the log tells: nobody knows yet who is asking
            log.warning("%s", error)
            raise Refused(
                503, "unavailable", "who may ask cannot be read now: try again in a moment"
            ) from error
        if by_cookie and not safe and origin is None and headers.get("sec-fetch-site") != "same-origin":
            raise Refused(
                403, "forbidden", "a request with a cookie has to say where it comes from: send Origin"
            )
        scope["soundkin.user"] = user
        if not is_in and not self._is_open_path(path, scope["method"]):
            raise Refused(401, "login", "log in first")

    def _is_open_path(self, path: str, method: str) -> bool:
        if path in OPEN:
            return True
        return (
            method in ("GET", "HEAD") and not path.startswith(API) and path != "/api" and path != "/metrics"
        )

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        return True

    def _user(self, headers: dict[str, str]) -> tuple[str | None, bool]:
        """Return who is asking, and whether a cookie says so."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token.strip():
            return self._state.accounts.of_token(token.strip()), False
        secret = cookie_of(headers.get("cookie", ""))
        user = self._state.accounts.of_session(secret) if secret else None
        return user, user is not None

    def _known(self, headers: dict[str, str]) -> tuple[str | None, bool]:
        """Return what `_user` does; whoever that is has a profile then."""
        user, by_cookie = self._user(headers)
        if user is not None:
            self._state.welcome(user)
        return user, by_cookie


class _Answer:
    """Sends an answer on, with our headers, and notes its status."""

    def __init__(self, send: Send, told: dict[str, int], scope: Scope) -> None:
        self._send, self._told, self._scope = send, told, scope
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self._told["status"] = message["status"]
            headers = [*message.get("headers", ()), *_HEADERS]
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await self._send(message)


class _Body:
    """Receives a request's body, of which there may be so many bytes, and which may take so long."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._left, self.most = receive, most, most
        self._until = time.monotonic() + seconds
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:  # what is waited for now is that the asker goes away
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.1, self._until - time.monotonic()))
        except TimeoutError:
            raise Refused(408, "invalid", "the request took too long to arrive") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self.most)
        self._complete = not message.get("more_body", False)
        return message


def _limited(scope: Scope, body: _Body) -> Receive:
    """Refuse what says itself that it is too large, before any of it is read."""
    length = _plain(scope["headers"]).get("content-length", "")
    if length.isdecimal() and int(length) > body.most:
        raise _too_large(body.most)
    return body


def _too_large(most: int) -> Refused:
    return Refused(413, "too_large", f"the request is larger than {most / 1e6:g} MB")


async def _refuse(send: Send, refused: Refused) -> None:
    body = json.dumps({"error": {"kind": refused.kind, "message": refused.detail, "choices": None}}).encode()
    headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
    if refused.status_code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refused.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _plain(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def cookie_of(header: str) -> str | None:
    """Return the secret of the session in a Cookie header, or None."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None
