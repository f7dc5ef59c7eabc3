"""What a playlist says about a track, and how a location becomes a path and back."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote_to_bytes, urlsplit

RECORDING = "https://musicbrainz.org/recording/"
_MBID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class Playable(Protocol):
    """What is written of a track; any object with these attributes will do."""

    @property
    def path(self) -> str:
        """Absolute path, as `os.fsdecode` gives it."""

    @property
    def artist(self) -> str:
        """Artist; may be empty."""

    @property
    def title(self) -> str:
        """Title; the file name without its suffix stands in when it is empty."""

    @property
    def duration(self) -> float | None:
        """Length in seconds; None when unknown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One track as a playlist names it.

    Parameters
    ----------
    location : str
        As it is written: a path or an address; "" when there is none.
    paths : tuple of str
        Absolute paths it may mean here, the likeliest first; none for an address on the net.
    title, artist, album : str
        Empty where the playlist says nothing.
    duration : float or None
        Seconds.
    recording_mbid : str
        MusicBrainz id of the recording, or "".
    """

    location: str
    paths: tuple[str, ...] = ()
    title: str = ""
    artist: str = ""
    album: str = ""
    duration: float | None = None
    recording_mbid: str = ""


def address_of(path: str, relative_to: str | os.PathLike[str] | None) -> str:
    """Return a path as a URI: whole (RFC 8089), or relative to a folder (RFC 3986).

    Parameters
    ----------
    path : str
        Absolute, as `os.fsdecode` gives it.
    relative_to : path-like, optional
        A folder; a path on another drive stays whole.

    Returns
    -------
    str
        ASCII; every byte of the path that needs it is percent-encoded.
    """
    absolute = os.path.abspath(path)
    if relative_to is None:
        return Path(absolute).as_uri()
    try:
        relative = os.path.relpath(absolute, relative_to).replace(os.sep, "/")
    except ValueError:  # on another drive of Windows: there is no way from here to there
        return Path(absolute).as_uri()
    # "a:b.mp3" would be an address of its own kind
    return quote(os.fsencode(relative if ":" not in relative.split("/")[0] else f"./{relative}"))


def paths_of(location: str, folder: str, is_address: bool) -> tuple[str, ...]:
    """Return what a location may mean on this machine.

    Parameters
    ----------
    location : str
        A path or an address.
    folder : str
        Absolute folder of the playlist, which relative locations are relative to.
    is_address : bool
        The format holds addresses, so that a relative location is percent-encoded.

    Returns
    -------
    tuple of str
        Absolute paths, the likeliest first; none for an address on the net, or for nothing.
    """
    plain = location
    if not _DRIVE.match(location) and _ADDRESS.match(location):
        if not location.lower().startswith("file:"):
            return () if is_address else _absolute([location], folder) if "://" not in location else ()
        split = urlsplit(location)
        plain = os.fsdecode(unquote_to_bytes(split.path))
        if re.match(r"/[A-Za-z]:[\\/]", plain):  # file:///C:/Music
            plain = plain[1:]
    elif is_address:
        plain = os.fsdecode(unquote_to_bytes(location))
    if not plain or "\0" in plain:
        return ()
    meant = [plain]
    if os.sep == "/" and "\\" in plain:  # written on Windows
        meant.append(plain.replace("\\", "/"))
    with_bytes = os.fsencode(plain)
    if not _is_text(plain):  # written in the letters of the nineties
        meant.append(with_bytes.decode("cp1252", "replace"))
    return _absolute(meant, folder)


def recording_of(texts: Iterable[str]) -> str:
    """Return the MusicBrainz id of a recording that one of some identifiers names, or ""."""
    for text in texts:
        found = _MBID.search(text) if "recording" in text.lower() else _MBID.fullmatch(text.strip())
        if found:
            return found[0].lower()
    return ""


def name_of(track: Playable) -> str:
    """Return the title of a track, or what its file is called, as one line of text."""
    return one_line(track.title or Path(track.path).stem)


def one_line(text: str) -> str:
    """Return a text as UTF-8 can hold it, in one line, without control characters."""
    clean = "".join(
        c if c.isprintable() or c.isspace() else "?" for c in text.encode("utf-8", "replace").decode()
    )
    return " ".join(clean.split())


def _absolute(paths: list[str], folder: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(os.path.abspath(os.path.join(folder, os.path.expanduser(path))) for path in paths)
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
