"""M3U, the list of lines that every player opens.

One line is one path, so a path with a line break has no form of its own; nor has one whose name is not valid UTF-8, or
has a space at an end, which players strip. Such a track is written as a percent-encoded `file://` address (RFC 8089),
which VLC and mpv, for two, open. Everything else stays a plain path, which all open.
"""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

from soundkin.playlists.entries import Entry, Playable, name_of, one_line, paths_of

_INFO = re.compile(r"#EXTINF:\s*(-?\d+(?:\.\d+)?)?[^,]*,(.*)", re.IGNORECASE)
_TAGS = {"#EXTART:": "artist", "#EXTALB:": "album"}


def dump(tracks: Iterable[Playable], title: str, relative_to: str | os.PathLike[str] | None) -> str:
    """Return tracks as extended M3U; see `playlists.write`."""
    head = ["#EXTM3U\n", *([f"#PLAYLIST:{one_line(title)}\n"] if title else [])]
    return "".join([*head, *(_lines(track, relative_to) for track in tracks)])


def load(data: bytes, folder: str) -> list[Entry]:
    """Read M3U, extended or not; see `playlists.read`."""
    entries, known = list[Entry](), dict[str, str]()
    for line in _text(data).split("\n"):
        line = line.strip("\r\0").strip()
        info = _INFO.match(line)
        if info:
            artist, dash, title = info[2].strip().partition(" - ")
            named = {"artist": artist, "title": title} if dash else {"title": artist}
            known = {**known, **named, "seconds": info[1] or ""}
        elif line.startswith("#"):
            for tag, name in _TAGS.items():
                if line.upper().startswith(tag):
                    known = {**known, name: line[len(tag) :].strip()}
        elif line:
            seconds = float(known.get("seconds") or 0)
            entries.append(
                Entry(
                    line, paths_of(line, folder, is_address=False), known.get("title", ""),
                    known.get("artist", ""), known.get("album", ""), seconds if seconds > 0 else None,
                )
            )  # fmt: skip
            known = {}
    return entries


def _text(data: bytes) -> str:
    """Decode lines; what is no UTF-8 stays as file names keep it, for the file may be called just that."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return (
        data.removeprefix(b"\xef\xbb\xbf")
        .decode("utf-8", "surrogateescape")
        .replace("\r\n", "\n")
        .replace("\r", "\n")
    )


def _lines(track: Playable, relative_to: str | os.PathLike[str] | None) -> str:
    """Return the two lines of one track."""
    duration = track.duration
    known = duration is not None and math.isfinite(duration) and duration > 0
    seconds = math.floor(duration + 0.5) if duration is not None and known else -1
    name = " - ".join(filter(None, (one_line(track.artist), name_of(track))))
    return f"#EXTINF:{seconds},{name}\n{_location(track.path, relative_to)}\n"


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
    return path == path.strip() and len(path.splitlines()) == 1 and "\0" not in path
