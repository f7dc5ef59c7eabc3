"""Histories that services give: ListenBrainz, Last.fm, Spotify, and tables of anybody."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from soundkin.errors import InputError
from soundkin.plays.rows import (
    BROKEN,
    Played,
    Refused,
    Row,
    Rows,
    checked,
    mbid_of,
    moment,
    number_of,
    text_of,
)

LEAST_SECONDS = 30.0
"""Who leaves a track before, skipped it (the rule of Last.fm and Spotify)."""
_ID = re.compile(r"[0-9a-f]{16}")

_FIELDS = {
    "user": "user", "user_id": "user", "userid": "user", "profile": "user",
    "track": "track", "track_id": "track", "item": "track", "id": "track",
    "title": "title", "track_name": "title", "artist": "artist", "artist_name": "artist",
    "album": "album", "release": "album", "mbid": "mbid", "recording_mbid": "mbid", "isrc": "isrc",
    "path": "path", "file": "path", "time": "time", "timestamp": "time", "at": "time", "played": "time",
    "weight": "weight", "plays": "weight", "count": "weight", "kind": "kind",
}  # fmt: skip


def listenbrainz(values: Iterable[dict[str, Any] | Refused]) -> Rows:
    """Read listens and feedback of ListenBrainz: its export, an older one, or an answer of its API.

    Parameters
    ----------
    values : iterable of dict
        As `streams.values` gives them.

    Yields
    ------
    Played or Refused
        A love is a like, a hate a dislike.
    """
    for value in values:
        if isinstance(value, Refused):
            yield value
        elif isinstance(listens := value.get("payload", {}), dict) and "listens" in listens:
            yield from (_listen(one) for one in listens["listens"] if isinstance(one, dict))
        else:
            yield _loved(value) if "score" in value else _listen(value)


def _listen(value: dict[str, Any]) -> Row:
    about = value.get("track_metadata")
    if not isinstance(about, dict):
        return BROKEN
    more, mapped = about.get("additional_info") or {}, about.get("mbid_mapping") or {}
    if not isinstance(more, dict) or not isinstance(mapped, dict):
        return BROKEN
    length = number_of(more.get("duration_ms"))
    return checked(
        Played(
            "play", moment(value.get("listened_at")), text_of(about.get("track_name")),
            text_of(about.get("artist_name")), text_of(about.get("release_name")),
            recording_mbid=mbid_of(more.get("recording_mbid")) or mbid_of(mapped.get("recording_mbid")),
            isrc=text_of(more.get("isrc")),
            duration=length / 1000 if length else number_of(more.get("duration")),
        )
    )  # fmt: skip


def _loved(value: dict[str, Any]) -> Row:
    kind = {1: "like", -1: "dislike"}.get(value["score"] if isinstance(value["score"], int) else 0)
    about = value.get("track_metadata") or {}
    if kind is None or not isinstance(about, dict):
        return Refused("neither loved nor hated")
    return checked(
        Played(
            kind, moment(value.get("created")), text_of(about.get("track_name")),
            text_of(about.get("artist_name")), recording_mbid=mbid_of(value.get("recording_mbid")),
        )
    )  # fmt: skip


def spotify(values: Iterable[dict[str, Any] | Refused]) -> Rows:
    """Read the streaming history of Spotify, extended or not; addresses and devices in it are not looked at.

    Parameters
    ----------
    values : iterable of dict
        As `streams.values` gives them.

    Yields
    ------
    Played or Refused
        At the time the play began. What was left before 30 s is a skip where somebody pressed the button, else
        nothing.
    """
    for value in values:
        if isinstance(value, Refused):
            yield value
            continue
        if "msPlayed" in value:
            value = {
                "ts": value.get("endTime"), "ms_played": value["msPlayed"], "spotify_track_uri": "?",
                "master_metadata_track_name": value.get("trackName"),
                "master_metadata_album_artist_name": value.get("artistName"),
            }  # fmt: skip
        yield _stream(value)


def _stream(value: dict[str, Any]) -> Row:
    if not value.get("spotify_track_uri"):
        return Refused("no music: an episode or a book")
    heard = (number_of(value.get("ms_played")) or 0.0) / 1000
    end = moment(value.get("ts"))
    kind = "play"
    if heard < LEAST_SECONDS:
        if not (value.get("skipped") or value.get("reason_end") == "fwdbtn"):
            return Refused(f"heard for less than {LEAST_SECONDS:.0f} s")
        kind = "skip"
    return checked(
        Played(
            kind, None if end is None else max(0.0, round(end - heard)),
            text_of(value.get("master_metadata_track_name")),
            text_of(value.get("master_metadata_album_artist_name")),
            text_of(value.get("master_metadata_album_album_name")),
        )
    )  # fmt: skip


def table(lines: Iterator[str], folder: str) -> Rows:
    """Read a table: that of Last.fm, or any whose first row names its columns.

    Parameters
    ----------
    lines : iterator of str
        Of a file with commas, semicolons or tabs.
    folder : str
        That its paths are relative to.

    Yields
    ------
    Played or Refused
        Columns: user; track (an id, a MusicBrainz id, a path, or "artist - title"), or artist, title, album, mbid,
        isrc, path; time; weight (how often, below 0 for a dislike); kind.

    Raises
    ------
    InputError
        The first row names no column that is known, or a cell is too long to be one.
    """
    first = next(lines, "")
    cut = max(",;\t", key=first.count)
    head = [name.strip().strip('"').lower() for name in first.split(cut)]
    rows: Iterator[list[str]]
    if "uts" in head:
        read: Callable[[dict[str, str]], Row] = _scrobble
    elif (names := [_FIELDS.get(name.replace(" ", "_"), "") for name in head]) and any(
        name in names for name in ("track", "title", "path", "mbid")
    ):
        head, read = names, lambda cells: _cells(cells, folder)
    elif len(head) == 4 and moment(first.rstrip().rpartition(cut)[2].strip('"')) is not None:
        head, read = ["artist", "album", "track", "uts"], _scrobble
        lines = _after(first, lines)
    else:
        raise InputError(
            f"a table whose first row is {first.strip()[:60]!r}: wanted the names of its columns, like "
            "user,track,time,weight or artist,title,time"
        )
    rows = csv.reader(lines, delimiter=cut)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield BROKEN
            continue
        if any(row):
            yield read(dict(zip(head, row, strict=False)))


def _after(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _scrobble(cells: dict[str, str]) -> Row:
    return checked(
        Played(
            "play", moment(cells.get("uts", "")), cells.get("track", "").strip(),
            cells.get("artist", "").strip(), cells.get("album", "").strip(),
            recording_mbid=mbid_of(cells.get("track_mbid", "")),
        )
    )  # fmt: skip


def _cells(cells: dict[str, str], folder: str) -> Row:
    known = {name: value.strip() for name, value in cells.items() if name and value}
    weight = number_of(known.get("weight", "1"))
    kind = known.get("kind", "") or ("play" if weight is None or weight > 0 else "dislike")
    if weight is None or weight == 0 or kind not in ("play", "like", "dislike", "skip"):
        return Refused("of no weight, or of no kind that is known")
    at = moment(known.get("time", ""))
    if "time" in known and at is None:
        return Refused("without a time")
    count = max(1, round(weight)) if kind == "play" else 1
    is_one = at is not None and count == 1
    named = _named(known.get("track", ""), folder)
    named |= {name: known[name] for name in ("title", "artist", "album", "isrc") if name in known}
    if "path" in known:
        named["paths"] = _paths(known["path"], folder)
    if "mbid" in known:
        named["recording_mbid"] = mbid_of(known["mbid"])
    return checked(Played(kind, at, count=None if is_one else count, user=known.get("user", ""), **named))


def _named(track: str, folder: str) -> dict[str, Any]:
    """Say what a cell that stands for a track is: an id, a path, or names."""
    if not track:
        return {}
    if _ID.fullmatch(track.lower()):
        return {"track": track.lower()}
    if mbid := mbid_of(track):
        return {"recording_mbid": mbid}
    artist, dash, title = track.partition(" - ")
    named: dict[str, Any] = {"artist": artist, "title": title} if dash else {"title": track}
    return named | ({"paths": _paths(track, folder)} if re.search(r"[\\/]|\.\w{2,4}$", track) else {})


def _paths(path: str, folder: str) -> tuple[str, ...]:
    meant: Sequence[str] = (path, path.replace("\\", "/"))
    return tuple(dict.fromkeys(os.path.abspath(os.path.join(folder, os.path.expanduser(p))) for p in meant))
