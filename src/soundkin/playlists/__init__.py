"""Playlists that other players open, written and read back: M3U8, XSPF, JSPF.

The suffix of the file decides the format.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from soundkin.errors import InputError
from soundkin.playlists import jspf, m3u, xspf
from soundkin.playlists.entries import Entry, Playable

__all__ = ["SUFFIXES", "Entry", "Playable", "is_playlist", "read", "text", "write", "write_m3u8"]

_Dump = Callable[[Iterable[Playable], str, str | os.PathLike[str] | None], str]
_Load = Callable[[bytes, str], list[Entry]]
_FORMATS: dict[str, tuple[_Dump, _Load]] = {
    ".m3u8": (m3u.dump, m3u.load),
    ".m3u": (m3u.dump, m3u.load),
    ".xspf": (xspf.dump, xspf.load),
    ".jspf": (jspf.dump, jspf.load),
}
SUFFIXES = tuple(_FORMATS)
"""Of the files this can write and read."""
_LARGEST = 100_000_000  # bytes: half a million tracks


def is_playlist(path: str | os.PathLike[str]) -> bool:
    """Tell by its suffix whether a file is a playlist."""
    return Path(path).suffix.lower() in _FORMATS


def write(
    path: str | os.PathLike[str], tracks: Iterable[Playable], title: str = "", relative: bool = False
) -> None:
    """Write a playlist.

    Parameters
    ----------
    path : path-like
        To create or replace; its suffix is one of `SUFFIXES`.
    tracks : iterable of Playable
        In playing order.
    title : str
        Of the playlist.
    relative : bool
        Write paths relative to the playlist, so that its folder can be moved with the music; else absolute.

    Raises
    ------
    InputError
        The suffix is another one, or the file cannot be written.
    """
    dump, _ = _format(path)
    folder = os.path.dirname(os.path.abspath(path)) if relative else None
    _put(path, dump(tracks, title, folder))


def text(tracks: Iterable[Playable], title: str, kind: str) -> str:
    """Return a playlist as the text of a file.

    Parameters
    ----------
    tracks : iterable of Playable
        In playing order; their paths are written absolute.
    title : str
        Of the playlist.
    kind : str
        "m3u8", "xspf" or "jspf".

    Returns
    -------
    str
        What `write` would write.

    Raises
    ------
    InputError
        There is no such format.
    """
    dump, _ = _format(f"playlist.{kind}")
    return dump(tracks, title, None)


def read(path: str | os.PathLike[str]) -> list[Entry]:
    """Read a playlist.

    Parameters
    ----------
    path : path-like
        Its suffix is one of `SUFFIXES`.

    Returns
    -------
    list of Entry
        In playing order. Nothing is looked up: the files may not exist.

    Raises
    ------
    InputError
        The suffix is another one, the file cannot be read, or holds something else.
    """
    _, load = _format(path)
    shown = ascii(os.fspath(path))
    try:
        if os.path.getsize(path) > _LARGEST:
            raise InputError(f"the playlist {shown} is larger than {_LARGEST // 10**6} MB; split it")
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the playlist {shown}: {error.strerror}") from error
    try:
        return load(data, os.path.dirname(os.path.abspath(path)))
    except InputError as error:
        raise InputError(f"{shown}: {error}") from error


def write_m3u8(
    target: str | os.PathLike[str] | TextIO,
    tracks: Iterable[Playable],
    relative_to: str | os.PathLike[str] | None = None,
) -> None:
    r"""Write an extended M3U playlist in UTF-8, whatever the file is called.

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
    text = m3u.dump(tracks, "", relative_to)
    if isinstance(target, str | os.PathLike):
        _put(target, text)
    else:
        target.write(text)


def _format(path: str | os.PathLike[str]) -> tuple[_Dump, _Load]:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(
            f"the playlist {os.fspath(path)!r}: no format {suffix!r}; use one of {', '.join(SUFFIXES)}"
        )
    return _FORMATS[suffix]


def _put(path: str | os.PathLike[str], text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        message = f"cannot write the playlist {os.fspath(path)!r}: {error.strerror}; choose another place"
        raise InputError(message) from error
