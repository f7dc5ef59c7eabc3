"""What a history says of one play, in whatever format it came."""

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_MILLISECONDS = 1e11  # a larger number of seconds is in the year 5138
_CLOCKS_APART = 300.0  # seconds that the clock of another machine may be ahead
_MBID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_LASTFM_TIME = "%d %b %Y %H:%M"


@dataclass(frozen=True, slots=True)
class Played:
    """Something that somebody played, skipped, liked or disliked.

    Parameters
    ----------
    kind : str
        One of `record.feedback.KINDS`.
    at : float or None
        When, seconds since 1970; when last, for a count; None when it is not known.
    title, artist, album : str
        Names; empty where the history says nothing.
    paths : tuple of str
        Absolute paths that the file may have here.
    recording_mbid, isrc, track : str
        Identifiers; the last one is the id of a track of this library.
    duration : float or None
        Seconds.
    count : int or None
        How often in all, where single plays are not told; None for one play.
    user : str
        Who; empty where the history is of one person.
    """

    kind: str
    at: float | None
    title: str = ""
    artist: str = ""
    album: str = ""
    paths: tuple[str, ...] = ()
    recording_mbid: str = ""
    isrc: str = ""
    track: str = ""
    duration: float | None = None
    count: int | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that says nothing about music: `reason` is why, in few words, the same for all of its kind."""

    reason: str


Row = Played | Refused
Rows = Iterator[Row]

STILL_TO_COME = Refused("in the future")
NO_TIME = Refused("without a time")
NO_NAME = Refused("without a name")
BROKEN = Refused("cannot be read")


def moment(value: object) -> float | None:
    """Read a time.

    Parameters
    ----------
    value : object
        A number of seconds or milliseconds since 1970, also as text; or ISO 8601 (without a zone: UTC); or like
        "31 May 2026 20:15".

    Returns
    -------
    float or None
        Seconds since 1970; None for what is no time since then.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            value = _written(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    seconds = value / 1000 if value >= _MILLISECONDS else float(value)
    return seconds if 0 <= seconds < _MILLISECONDS else None


def is_to_come(at: float | None) -> bool:
    """Tell whether a time has not been yet."""
    return at is not None and at > time.time() + _CLOCKS_APART


def checked(row: Played) -> Row:
    """Return a row, or why it cannot be used: it names nothing, or its time is still to come."""
    if not (row.title or row.paths or row.recording_mbid or row.isrc or row.track):
        return NO_NAME
    if row.at is None and row.count is None:
        return NO_TIME
    return STILL_TO_COME if is_to_come(row.at) else row


def text_of(value: object) -> str:
    """Return a text of a document; "" for whatever else stands there."""
    return value.strip() if isinstance(value, str) else ""


def mbid_of(value: object) -> str:
    """Return a MusicBrainz id in small letters; "" for what is none."""
    text = text_of(value).lower()
    return text if _MBID.fullmatch(text) else ""


def number_of(value: object) -> float | None:
    """Return a finite number of a document, or None."""
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _written(text: str) -> float | None:
    for read in (datetime.fromisoformat, lambda t: datetime.strptime(t, _LASTFM_TIME)):
        try:
            found = read(text.replace(" UTC", "+00:00"))
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None
