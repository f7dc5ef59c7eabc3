"""Writes playlists that other players open."""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TextIO

from soundkin.errors import InputError


class Playable(Protocol):
    """What a playlist says about a track; any object with these attributes will do."""

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


def write_m3u8(
    target: str | os.PathLike[str] | TextIO,
    tracks: Iterable[Playable],
    relative_to: str | os.PathLike[str] | None = None,
) -> None:
    r"""Write an extended M3U playlist in UTF-8.

    One line is one path, so a path with a line break has no form of its own; nor has one whose name is not
    valid UTF-8, or ends in a space, which players strip. Such a track is written as a percent-encoded `file://`
    address (RFC 8089), which VLC and mpv, for two, open. Everything else stays a plain path, which all open.

    Parameters
    ----------
    target : str, os.PathLike or TextIO
        A file to create or replace, or an open text stream, which is left open.
    tracks : iterable of Playable
        In playing order.
    relative_to : str or os.PathLike, optional
        The folder that paths are written relative to, usually the one the playlist is in: the folder can then
        be moved with its music. Addresses, and files on another drive, have no relative form and stay absolute. By
        default, all paths do.

    Raises
    ------
    InputError
        The file cannot be written.

    Examples
    --------
    >>> import io
    >>> from types import SimpleNamespace
    >>> playlist = io.StringIO()
    >>> write_m3u8(playlist, [SimpleNamespace(path="/music/a.mp3", artist="A", title="T", duration=61.2)])
    >>> playlist.getvalue()
    '#EXTM3U\n#EXTINF:61,A - T\n/music/a.mp3\n'
    """
    # Complete before the first byte goes out: a failing source leaves an old playlist as it was.
    text = "".join(["#EXTM3U\n", *(_entry(track, relative_to) for track in tracks)])
    if not isinstance(target, str | os.PathLike):
        target.write(text)
        return
    try:
        with open(target, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        message = f"cannot write the playlist {os.fspath(target)!r}: {error.strerror}; choose another place"
        raise InputError(message) from error


def _entry(track: Playable, relative_to: str | os.PathLike[str] | None) -> str:
    """Return the two lines of one track."""
    duration = track.duration
    known = duration is not None and math.isfinite(duration) and duration > 0
    seconds = math.floor(duration + 0.5) if duration is not None and known else -1
    name = " - ".join(filter(None, (track.artist, track.title or Path(track.path).stem)))
    shown = " ".join(name.encode("utf-8", "replace").decode().split())
    return f"#EXTINF:{seconds},{shown}\n{_location(track.path, relative_to)}\n"


def _location(path: str, relative_to: str | os.PathLike[str] | None) -> str:
    """Return the line that leads a player to the file."""
    absolute = os.path.abspath(path)
    if not _fits_a_line(absolute):
        return Path(absolute).as_uri()
    if relative_to is None:
        return absolute
    try:
        relative = os.path.relpath(absolute, relative_to)
    except ValueError:  # on another drive of Windows: there is no way from here to there
        return absolute
    # "#1.mp3" would be a comment, " 1.mp3" lose its space, "a:b.mp3" be an address.
    plain = not relative.startswith(("#", " ")) and ":" not in relative
    return relative if plain else os.path.join(os.curdir, relative)


def _fits_a_line(path: str) -> bool:
    """Tell whether a path survives being a line of UTF-8 text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path == path.rstrip() and len(path.splitlines()) == 1
