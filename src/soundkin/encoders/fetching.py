"""One file over HTTP: what breaks off goes on where it stopped, and a server that is busy is left alone for a while."""

import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import httpx

_TRIES = 5
_MOST_SECONDS_OF_WAITING = 120.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Refused(Exception):
    """A place does not give the file; another one may."""


def fetch_wheel(requirement: str, part: Path) -> None:
    """Let pip bring a wheel, without installing it or what it depends on.

    Parameters
    ----------
    requirement : str
        "name==version".
    part : Path
        The file, afterwards.

    Raises
    ------
    Refused
        There is no pip, or it does not find one.
    OSError
        The disk is full or cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "download",
            "--quiet",
            "--no-deps",
        ]
        command += ["--only-binary", ":all:", "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise Refused((done.stderr.strip().splitlines() or ["pip brought nothing"])[-1])
        os.replace(wheels[0], part)


def fetch(url: str, part: Path, size: int | None, progress: Callable[[int, int | None], None]) -> None:
    """Bring a partial download to its end, however often the connection breaks.

    Parameters
    ----------
    url : str
        Where the file is.
    part : Path
        What has come of it so far, if it exists; the file, afterwards.
    size : int or None
        Bytes of the whole file, if known.
    progress : callable
        Called with the bytes so far, and all bytes if that is known.

    Raises
    ------
    Refused
        It is not there, or does not come after several tries.
    OSError
        The disk is full or cannot be written.
    """
    import httpx

    failures = 0
    with client() as http:
        while True:
            before = part.stat().st_size if part.exists() else 0
            wait = 0.0
            try:
                answer = _receive(http, url, part, size, before, progress)
                if answer is None:
                    return
                wait, reason = answer
            except httpx.TransportError as error:
                reason = " ".join(str(error).split()) or type(error).__name__
            grown = part.exists() and part.stat().st_size > before
            failures = 1 if grown else failures + 1
            if failures >= _TRIES:
                raise Refused(f"{reason}, {_TRIES} times")
            pause(max(wait, 2.0 ** (failures - 1) * random.uniform(0.75, 1.25)))


def client() -> "httpx.Client":
    """Return an HTTP client that says who it is and follows redirects."""
    import httpx

    agent = f"soundkin/{metadata.version('soundkin')} (+https://github.com/soundkin/soundkin)"
    return httpx.Client(
        headers={"User-Agent": agent, "Accept-Encoding": "identity"}, follow_redirects=True, timeout=30.0
    )


def busy_seconds(response: "httpx.Response") -> float | None:
    """Return how long a server asks to be left alone; None when its answer is no request to wait.

    Parameters
    ----------
    response : httpx.Response
        Its answer.

    Returns
    -------
    float or None
        Seconds, at most two minutes; 0 when it does not say how long.
    """
    if response.status_code not in _TRY_AGAIN:
        return None
    stated = response.headers.get("Retry-After", "")
    if stated.isdigit():
        seconds = float(stated)
    else:
        try:
            seconds = parsedate_to_datetime(stated).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            seconds = 0.0
    return min(max(seconds, 0.0), _MOST_SECONDS_OF_WAITING)


def pause(seconds: float) -> None:
    """Wait before another try."""
    time.sleep(seconds)


def _receive(
    http: "httpx.Client",
    url: str,
    part: Path,
    size: int | None,
    have: int,
    progress: Callable[[int, int | None], None],
) -> tuple[float, str] | None:
    """Receive what is missing of a file; return None, or how many seconds to wait before another try, and why."""
    if size is not None and have == size:
        return None
    if size is not None and have > size:
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with http.stream("GET", url, headers=headers) as response:
        wait = busy_seconds(response)
        if wait is not None:
            return wait, f"HTTP {response.status_code}"
        if response.status_code == 416:  # nothing is behind what we have: the check will tell if that is all
            if size is None:
                return None
            part.unlink(missing_ok=True)
            return 0.0, "HTTP 416"
        if response.status_code not in (200, 206):
            raise Refused(f"HTTP {response.status_code}")
        if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # it sends the file from its beginning
        length = response.headers.get("Content-Length", "")
        total = size or (have + int(length) if length.isdigit() else None)
        with part.open("ab" if have else "wb") as out:
            _room_for(out, total, have)
            for chunk in (
                response.iter_raw()
            ):  # as it comes: what is gathered first is lost when the connection breaks
                have += len(chunk)
                if size is not None and have > size:
                    out.truncate(0)
                    raise Refused(f"it sends more than the {size} bytes that were published")
                out.write(chunk)
                progress(have, total)
        return None


def _room_for(out: BinaryIO, total: int | None, have: int) -> None:
    """Say before a download, not at its end, that the disk is too small."""
    if total is not None and shutil.disk_usage(os.path.dirname(out.name)).free < total - have:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
