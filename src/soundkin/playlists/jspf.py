"""JSPF, XSPF as JSON, which ListenBrainz and web players speak: https://www.xspf.org/jspf."""

import json
import os
from collections.abc import Iterable
from typing import Any

from soundkin.errors import InputError
from soundkin.playlists.entries import (
    RECORDING,
    Entry,
    Playable,
    address_of,
    name_of,
    one_line,
    paths_of,
    recording_of,
)


def dump(tracks: Iterable[Playable], title: str, relative_to: str | os.PathLike[str] | None) -> str:
    """Return tracks as JSPF; see `playlists.write`."""
    rows = []
    for track in tracks:
        row: dict[str, Any] = {"location": [address_of(track.path, relative_to)], "title": name_of(track)}
        row |= {"creator": one_line(track.artist), "album": one_line(getattr(track, "album", ""))}
        if track.duration:
            row["duration"] = round(1000 * track.duration)
        if mbid := getattr(track, "recording_mbid", ""):
            row["identifier"] = [RECORDING + mbid]
        rows.append({name: value for name, value in row.items() if value})
    playlist = {"title": one_line(title), "track": rows} if title else {"track": rows}
    return json.dumps({"playlist": playlist}, indent=2) + "\n"


def load(data: bytes, folder: str) -> list[Entry]:
    """Read JSPF; see `playlists.read`."""
    try:
        rows = json.loads(data)["playlist"].get("track", [])
        return [_entry(row, folder) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:80]
        raise InputError(f"no JSPF ({reason}); save it again") from error


def _entry(row: dict[str, Any], folder: str) -> Entry:
    location = _text(row, "location")
    milliseconds = row.get("duration")
    known = isinstance(milliseconds, int | float) and 0 < milliseconds < 1e12
    return Entry(
        location,
        paths_of(location, folder, is_address=True),
        _text(row, "title"),
        _text(row, "creator"),
        _text(row, "album"),
        float(row["duration"]) / 1000 if known else None,
        recording_of(_texts(row.get("identifier"))),
    )


def _text(row: dict[str, Any], name: str) -> str:
    return next(iter(_texts(row.get(name))), "")


def _texts(value: object) -> list[str]:
    """Return the strings of a value that is one or a list of them."""
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
