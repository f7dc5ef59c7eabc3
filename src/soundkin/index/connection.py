"""Speaking with a Qdrant server: a client, requests that are sent again when trouble may pass, errors of one line."""

import contextlib
import json
import random
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from soundkin.errors import InputError, StoreError
from soundkin.index.settings import QdrantSettings

_PAUSE = 0.25  # seconds before the second try; each pause is twice the one before, and varied
_LONGEST = 8.0
_PASSING = {408, 429}  # HTTP, besides all from 500 on; every request of ours may be repeated without harm
_DEFAULTS = QdrantSettings("")
_T = TypeVar("_T")


def connect(where: str | QdrantSettings | QdrantClient, api_key: str | None = None) -> QdrantClient:
    """Make a client; nothing is sent yet.

    Parameters
    ----------
    where : str, QdrantSettings or QdrantClient
        URL of a server, or how to use it, or a client that is ready, which comes back as it is.
    api_key : str, optional
        Key for the server, where a URL is given.

    Returns
    -------
    QdrantClient
        The client.

    Raises
    ------
    InputError
        The URL names no host.
    """
    if isinstance(where, QdrantClient):
        return where
    settings = QdrantSettings(where, api_key) if isinstance(where, str) else where
    try:
        if not urlsplit(settings.url).hostname:
            raise ValueError("no host")
        return QdrantClient(
            url=settings.url, api_key=settings.api_key, timeout=settings.timeout, check_compatibility=False
        )
    except ValueError as error:
        raise InputError(
            f"Qdrant URL {settings.url!r}: {error}; give it like http://localhost:6333"
        ) from error


def place_of(client: QdrantClient, collection: str = "") -> str:
    """Give the name of a server, or of a collection on it, in errors."""
    options = client.init_options
    place = next((options[key] for key in ("url", "host", "location", "path") if options[key]), "localhost")
    return f"Qdrant {place}" + (f", collection {collection!r}" if collection else "")


def attempt(name: str, request: Callable[[], _T], settings: QdrantSettings = _DEFAULTS) -> _T:
    """Send a request, again if the trouble may pass, and turn what the client raises into one line.

    Parameters
    ----------
    name : str
        What the request is about, for errors.
    request : callable
        Sends it.
    settings : QdrantSettings
        How often, and for how long.

    Returns
    -------
    object
        What the request returns.

    Raises
    ------
    StoreError
        The server cannot be reached, does not answer in time, or refuses; what the client raised is its cause.
    """
    begin, tries = time.monotonic(), 0
    while True:
        try:
            return request()
        except Exception as error:
            passes, wait, line = _judged(error, settings)
            late = time.monotonic() - begin + wait > 2 * settings.timeout
            if not passes or tries >= settings.retries or late:
                raise StoreError(f"{name}: {line}") from error
        # varied, so that all who were refused together do not come back together
        time.sleep(wait + min(_LONGEST, _PAUSE * 2**tries) * random.uniform(0.5, 1))
        tries += 1


def _judged(error: Exception, settings: QdrantSettings) -> tuple[bool, float, str]:
    """Say of what a client raised whether it may pass, how long the server asks to wait, and what to tell people."""
    if isinstance(error, ResourceExhaustedResponse):
        return True, float(error.retry_after_s), "it has too many requests; try again later, or add nodes"
    if isinstance(error, ResponseHandlingException):
        if isinstance(error.source, httpx.TimeoutException):
            line = f"no answer within {settings.timeout} s; is it overloaded? SOUNDKIN_QDRANT_TIMEOUT gives it longer"
            return True, 0.0, line
        if isinstance(error.source, httpx.TransportError):
            return True, 0.0, f"cannot reach the server ({error.source}); start it, or check the URL"
        return False, 0.0, "what answers there is no Qdrant, or one of another time; check the URL"
    if isinstance(error, UnexpectedResponse):
        code = error.status_code or 0
        if code in (401, 403):
            return False, 0.0, f"the key is refused ({_reason(error)}); give its key with --api-key"
        return code >= 500 or code in _PASSING, 0.0, _reason(error)
    return False, 0.0, " ".join(str(error).split())


def _reason(error: UnexpectedResponse) -> str:
    """Return what the server says is wrong, or how it answered."""
    text = error.content.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["status"]["error"]
    return f"{error.status_code} {error.reason_phrase}: {' '.join(str(text).split())[:300]}"
