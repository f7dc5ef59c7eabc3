"""Histories that players and servers keep: Navidrome, Subsonic, Rhythmbox, iTunes, and playlists."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from soundkin.errors import InputError
from soundkin.playlists import read
from soundkin.playlists.entries import paths_of
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

_LIKED, _DISLIKED = 4, 2  # stars of five: from, and up to


def playlist(path: Path) -> Rows:
    """Read a playlist: each entry was played at least once, when the list was written last."""
    at = path.stat().st_mtime
    for entry in read(path):
        yield checked(
            Played(
                "play", at, entry.title, entry.artist, entry.album, entry.paths, entry.recording_mbid,
                duration=entry.duration, count=1,
            )
        )  # fmt: skip


def navidrome(path: Path) -> Rows:
    """Read the database of Navidrome: its scrobbles, how often each track was played, stars and ratings.

    Parameters
    ----------
    path : Path
        ``navidrome.db``; it is opened to read only.

    Yields
    ------
    Played or Refused
        Of every user.

    Raises
    ------
    InputError
        It is no such database.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            yield from _navidrome(db)
    except sqlite3.Error as error:
        raise InputError(f"no database of Navidrome ({error}): wanted its navidrome.db") from error


def _navidrome(db: sqlite3.Connection) -> Rows:
    known = {
        table: {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        for table in ("media_file", "annotation", "scrobbles", "user")
    }
    if not known["media_file"] or not known["annotation"]:
        raise InputError("no database of Navidrome: its tables media_file and annotation are not there")
    mbid = next((name for name in ("mbz_recording_id", "mbz_track_id") if name in known["media_file"]), "''")
    names = dict(db.execute("SELECT id, user_name FROM user")) if known["user"] else {}
    about = (
        f"m.title, m.artist, m.album, m.path, m.{mbid}"
        if mbid != "''"
        else "m.title, m.artist, m.album, m.path, ''"
    )
    if known["scrobbles"]:
        sql = (
            f"SELECT s.user_id, s.submission_time, {about} FROM scrobbles s "
            "JOIN media_file m ON m.id = s.media_file_id"
        )
        for user, at, *track in db.execute(sql):
            yield _of_file("play", moment(at), names.get(user, ""), track)
    columns = [
        c if c in known["annotation"] else "NULL"
        for c in ("play_count", "play_date", "rating", "starred", "starred_at")
    ]
    sql = (
        f"SELECT a.user_id, {', '.join(f'a.{c}' if c != 'NULL' else c for c in columns)}, {about} "
        "FROM annotation a JOIN media_file m ON m.id = a.item_id WHERE a.item_type = 'media_file'"
    )
    for user, count, at, rating, starred, starred_at, *track in db.execute(sql):
        who = names.get(user, "")
        if count := _times(count):
            yield _of_file("play", moment(at), who, track, count)
        if verdict := _verdict(starred, rating):
            yield _of_file(verdict, moment(starred_at), who, track, 1)


def _of_file(kind: str, at: float | None, user: str, track: list[Any], count: int | None = None) -> Row:
    title, artist, album, path, mbid = (text_of(value) for value in track)
    return checked(
        Played(kind, at, title, artist, album, (path,) if path else (), mbid_of(mbid), count=count, user=user)
    )


def _times(count: Any) -> int:
    """Return how often something was; 0 for what is no such number."""
    return max(0, int(number_of(count) or 0))


def _verdict(starred: Any, rating: Any) -> str:
    stars = number_of(rating) or 0
    return "like" if starred or stars >= _LIKED else "dislike" if 0 < stars <= _DISLIKED else ""


def subsonic(values: Iterable[dict[str, Any] | Refused]) -> Rows:
    """Read answers of a Subsonic server: whatever songs are in them, with plays, stars and ratings."""
    for value in values:
        if isinstance(value, Refused):
            yield value
            continue
        for song in _songs(value):
            path = text_of(song.get("path"))
            about = Played(
                "play", moment(song.get("played")), text_of(song.get("title")), text_of(song.get("artist")),
                text_of(song.get("album")), (path,) if path else (), mbid_of(song.get("musicBrainzId")),
                duration=number_of(song.get("duration")), count=_times(song.get("playCount")),
            )  # fmt: skip
            yield from _said(
                about, _verdict(song.get("starred"), song.get("userRating")), moment(song.get("starred"))
            )


def _songs(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "title" in value and not value.get("isDir") and ("playCount" in value or "starred" in value):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _songs(one)


def _said(
    about: Played, verdict: str, said: float | None, skips: int = 0, skipped: float | None = None
) -> Rows:
    """Yield what a player tells of a track by counts: plays, skips, a verdict."""
    if about.count:
        yield checked(about)
    if skips:
        yield checked(replace(about, kind="skip", at=skipped, count=skips))
    if verdict:
        yield checked(replace(about, kind=verdict, at=said, count=1))


def rhythmbox(file: IO[bytes]) -> Rows:
    """Read ``rhythmdb.xml`` of Rhythmbox: play counts and ratings.

    Parameters
    ----------
    file : binary file
        Its entries are read one after the other.

    Yields
    ------
    Played or Refused
        A refusal at the end of a file that breaks off.
    """
    try:
        for _, node in ElementTree.iterparse(file):
            if node.tag != "entry":
                continue
            if node.get("type") == "song":
                known = {child.tag: (child.text or "").strip() for child in node}
                yield from _said(
                    Played(
                        "play", moment(known.get("last-played", "")), known.get("title", ""),
                        known.get("artist", ""), known.get("album", ""),
                        paths_of(known.get("location", ""), os.sep, is_address=True),
                        mbid_of(known.get("mb-trackid", "")), duration=number_of(known.get("duration", "")),
                        count=_times(known.get("play-count")),
                    ),
                    _verdict(None, known.get("rating", "")), None,
                )  # fmt: skip
            node.clear()
    except ElementTree.ParseError:
        yield BROKEN


def itunes(file: IO[bytes]) -> Rows:
    """Read the library of iTunes, or of Music by Apple, exported as XML: counts of plays and skips, and loves.

    Parameters
    ----------
    file : binary file
        Its tracks are read one after the other.

    Yields
    ------
    Played or Refused
        A refusal at the end of a file that breaks off.
    """
    above: list[ElementTree.Element] = []
    try:
        for event, node in ElementTree.iterparse(file, ("start", "end")):
            if event == "start":
                above.append(node)
                continue
            above.pop()
            # plist, the library, its tracks, a track; playlists are below a list
            if len(above) == 3 and [n.tag for n in above] == ["plist", "dict", "dict"] and node.tag == "dict":
                yield from _track(node)
                above[-1].clear()
    except ElementTree.ParseError:
        yield BROKEN


def _track(node: ElementTree.Element) -> Rows:
    children = list(node)
    known: dict[str, str] = {}
    for key, value in zip(children[::2], children[1::2], strict=False):
        known[key.text or ""] = value.tag if value.tag in ("true", "false") else (value.text or "").strip()
    if "Podcast" in known or "Movie" in known:
        yield Refused("no music: an episode or a book")
        return
    length = number_of(known.get("Total Time", ""))
    stars = (number_of(known.get("Rating", "")) or 0) / 20 if known.get("Rating Computed") != "true" else 0
    loved = "true" in (known.get("Loved"), known.get("Favorited"))
    verdict = "dislike" if known.get("Disliked") == "true" else _verdict(loved, stars)
    about = Played(
        "play", moment(known.get("Play Date UTC", "")), known.get("Name", ""), known.get("Artist", ""),
        known.get("Album", ""), paths_of(known.get("Location", ""), os.sep, is_address=True),
        duration=length / 1000 if length else None, count=_times(known.get("Play Count")),
    )  # fmt: skip
    skips = _times(known.get("Skip Count"))
    yield from _said(about, verdict, None, skips, moment(known.get("Skip Date", "")))
