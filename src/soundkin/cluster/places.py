"""Folders and buckets: where music is read from, and where results are kept. What is not here, fsspec opens."""

import hashlib
import logging
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from soundkin.audio import is_audio_name
from soundkin.embed import Failure, FileState, is_url
from soundkin.errors import InputError, MissingExtra, StoreError
from soundkin.scan import Found, absolute, printable, roots_of, walk

log = logging.getLogger(__name__)

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
_ASKED_AT_ONCE = 16
SECOND = 1_000_000_000
"""Nanoseconds. The dates of buckets and web servers are no more exact, so what is below one says which ETag it was."""


def opened(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and what it calls the URL.

    Parameters
    ----------
    url : str
        ``s3://bucket/music``, ``gs://``, ``https://`` or whatever else fsspec knows.

    Returns
    -------
    tuple of (fsspec.AbstractFileSystem, str)
        Both.

    Raises
    ------
    MissingExtra
        A package for URLs of this kind is not installed.
    InputError
        Nobody knows such URLs, or it has a password.
    """
    scheme = url.partition("://")[0].lower()
    if re.search(r"://[^/?#\s]*:[^/?#]*@", url):  # the URL of a track is its path, which anybody may see
        raise InputError(
            f"a URL of {scheme}:// has a password in it, which would be written into every result: leave it out, and "
            "give it in the environment, as fsspec reads it"
        )
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(
            f"{printable(url)} needs fsspec, which is not installed: pip install 'soundkin[ray]'"
        ) from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        told = (
            f"{package}, which is not installed: pip install {package}" if package else f"a package ({error})"
        )
        raise MissingExtra(f"{scheme}:// needs {told}") from error
    except ValueError as error:
        raise InputError(
            f"{printable(url)}: {error}; wanted a path, or a URL with s3://, gs://, http:// or https://"
        ) from error
    return system, path


def listed(paths: list[str]) -> Found:
    """List the audio files below folders and URLs.

    Parameters
    ----------
    paths : list of str
        Folders are walked as `scan.walk` does it. Of URLs, too, what is hidden is passed over, and one that is itself
        a file is taken whatever its name.

    Returns
    -------
    Found
        With absolute paths, or URLs.

    Raises
    ------
    InputError
        One of them is not there.
    MissingExtra
        A package for such URLs is not installed.
    """
    given = [path.removeprefix("file://") for path in paths]
    found = walk(roots_of([path for path in given if not is_url(path)]))
    for url in filter(is_url, given):
        for name, info in _behind(url):
            if isinstance(info, Exception):
                found.failures.append(Failure(FileState(name, 0, 0), "unreadable", _reason(info)))
            else:
                found.files[name] = FileState(name, int(info.get("size") or 0), version_of(info))
    if unknown := sum(not file.mtime_ns and is_url(file.path) for file in found.files.values()):
        log.warning(
            "of %d files the server tells neither a date nor an ETag: one that changes and keeps its size is taken "
            "for what it was",
            unknown,
        )
    return found


def _behind(url: str) -> Iterator[tuple[str, Mapping[str, Any] | Exception]]:
    """Yield URLs of files with what is known of them, or why nothing is."""
    system, path = opened(url)
    try:
        system.invalidate_cache()  # in a process that lives long, a bucket is not what it was
        below = system.find(path, detail=True)
        if not below:
            below = {path: system.info(path)}  # raises when there is nothing
            if below[path]["type"] != "file":
                return
    except Exception as error:  # each service has its own
        raise InputError(
            f"cannot list {printable(url)} ({_reason(error, path)}): is it there, and may you read it?"
        ) from error
    root = path.rstrip("/")
    names = [name for name in sorted(below) if name.rstrip("/") == root or _is_music(name[len(root) :])]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:  # a web server tells of one file at a time
        known = pool.map(lambda name: _asked(system, name, below[name]), names)
        yield from zip(map(system.unstrip_protocol, names), known, strict=True)


def _is_music(below: str) -> bool:
    parts = unquote(urlsplit(below).path if "?" in below else below).strip("/").split("/")
    return is_audio_name(parts[-1]) and not any(part.startswith(".") for part in parts)


def _asked(system: Any, name: str, info: Mapping[str, Any]) -> Mapping[str, Any] | Exception:
    if info.get("size") is not None:
        return info
    try:
        return dict(system.info(name))
    except Exception as error:  # each service has its own
        return error


def version_of(info: Mapping[str, Any]) -> int:
    """Return what tells a file behind a URL from its earlier self, next to its size.

    Parameters
    ----------
    info : mapping
        What fsspec says of it.

    Returns
    -------
    int
        When it was last changed, in ns since 1970; below a `SECOND`, by a hash of its ETag where there is one. 0 when
        nobody says anything.
    """
    at = _modified(info)
    tag = next((info[key] for key in ("ETag", "etag") if info.get(key)), None)
    if tag is None:
        return at
    hashed = int.from_bytes(hashlib.sha256(str(tag).encode()).digest()[:8])
    return at // SECOND * SECOND + 1 + hashed % (SECOND - 1)


def _modified(info: Mapping[str, Any]) -> int:
    for key in ("LastModified", "mtime", "updated", "last_modified", "Last-Modified"):
        value = info.get(key)
        try:
            if isinstance(value, str):
                value = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
            if isinstance(value, datetime):
                value = value.timestamp()
            if isinstance(value, int | float):
                return int(value * SECOND)
        except ValueError:  # a date that is none tells nothing
            continue
    return 0


def _reason(error: Exception, asked: str = "") -> str:
    """Return why a service, or this system, refused what it was asked for."""
    told = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
    return "nothing is there" if told.strip("/") == asked.strip("/") else told


class Place:
    """A folder here or in a bucket, in which files appear whole or not at all.

    Parameters
    ----------
    where : str
        Path or URL; it need not exist.
    """

    def __init__(self, where: str) -> None:
        self.where = where if is_url(where) else absolute(where)
        self._system: Any = None
        self._root = self.where
        if is_url(where):
            self._system, self._root = opened(where)

    def names(self, folder: str = "") -> list[str]:
        """List the Parquet files right below a folder.

        Parameters
        ----------
        folder : str
            Relative to the place; empty for the place itself.

        Returns
        -------
        list of str
            Relative to the place, sorted; empty when there is no such folder.
        """
        try:
            if self._system is None:
                found = os.listdir(os.path.join(self._root, folder))
            else:
                self._system.invalidate_cache()
                found = self._system.ls(self._path(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:  # each service has its own
            raise self._refused("read", error) from error
        names = sorted(name.rstrip("/").rpartition("/")[2] for name in found)
        return [
            f"{folder}/{name}".lstrip("/") for name in names if name.endswith(".parquet") and name[0] != "."
        ]

    def exists(self, name: str) -> bool:
        """Tell whether a file is there; raise StoreError when nobody says."""
        if self._system is None:
            return os.path.exists(os.path.join(self._root, name))
        try:
            return bool(self._system.exists(self._path(name)))
        except Exception as error:  # each service has its own
            raise self._refused("read", error) from error

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading.

        Parameters
        ----------
        name : str
            Relative to the place.

        Raises
        ------
        InputError
            It is not there, or cannot be read.
        """
        try:
            if self._system is None:
                return open(os.path.join(self._root, name), "rb")
            stream: IO[bytes] = self._system.open(self._path(name), "rb")
            return stream
        except Exception as error:  # each service has its own
            raise InputError(
                f"cannot read {printable(self.told(name))}: {_reason(error, self._path(name))}"
            ) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file: it appears when it is complete, and replaces one that is there.

        Parameters
        ----------
        name : str
            Relative to the place.
        content : bytes
            All of it.

        Raises
        ------
        StoreError
            It cannot be written.
        """
        try:
            if self._system is None:
                _write(Path(self._root, name), content)
            else:  # a bucket shows an object when it is complete
                self._system.pipe_file(self._path(name), content)
        except Exception as error:  # each service has its own
            raise self._refused("write", error) from error

    def told(self, name: str) -> str:
        """Return the path or URL of a file."""
        return f"{self.where.rstrip('/')}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")

    def _refused(self, what: str, error: Exception) -> StoreError:
        return StoreError(f"cannot {what} {printable(self.where)}: {_reason(error)}")


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")  # two workers may write the same
    try:
        partial.write_bytes(content)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def temporary(url: str, folder: str) -> str:
    """Return the name of a new, empty file for a copy of what is behind a URL; its suffix is the same."""
    suffix = os.path.splitext(unquote(urlsplit(url).path))[1]
    handle, name = tempfile.mkstemp(suffix if is_audio_name(suffix and f"x{suffix}") else "", dir=folder)
    os.close(handle)
    return name
