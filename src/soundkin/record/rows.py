"""What the record holds, as Python sees it, and its way into the tables and back."""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Embedded, Failure

Array = NDArray[np.float32]

# Letters that Unicode does not decompose, as people type them on a plain keyboard.
_PLAIN_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}
)


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a library.

    Attributes
    ----------
    id : str
        16 hex digits; stays the same when the file moves or its tags or sound change.
    path : str
        Absolute, as `os.fsdecode` gives it: may contain surrogates.
    title, artist, album, album_artist : str
        Tags; empty where the file says nothing.
    genres : tuple of str
        The first is the genre, the rest are subgenres.
    year, track, disc : int or None
        Tags.
    duration : float
        Seconds.
    bpm : float or None
        Beats per minute, measured.
    key : str
        `"A minor"`, measured, or empty.
    energy : float or None
        0 to 1.
    loudness : float or None
        dBFS.
    size, mtime_ns : int
        Of the file: bytes, and ns since 1970.
    content : str
        32 hex digits: half the SHA-256 of all bytes of the file.
    format : str
        E.g. `"mp3"`.
    sample_rate, channels : int
        Of the file.
    added : float
        When the track came into the record, seconds since 1970.
    tagged_bpm : float or None
        Beats per minute as the tags say.
    recording_mbid, release_mbid, artist_mbid, isrc : str
        Identifiers from the tags.
    track_gain, album_gain : float or None
        ReplayGain, dB.
    """

    id: str
    path: str
    title: str
    artist: str
    album: str
    album_artist: str
    genres: tuple[str, ...]
    year: int | None
    track: int | None
    disc: int | None
    duration: float
    bpm: float | None
    key: str
    energy: float | None
    loudness: float | None
    size: int
    mtime_ns: int
    content: str
    format: str
    sample_rate: int
    channels: int
    added: float
    tagged_bpm: float | None
    recording_mbid: str
    release_mbid: str
    artist_mbid: str
    isrc: str
    track_gain: float | None
    album_gain: float | None

    @property
    def name(self) -> str:
        """What people see: the title or, without one, what the file is called."""
        return self.title or Path(self.path).stem


class FileRow(NamedTuple):
    """What a scan compares a file with: the track's id, and the file's size, mtime_ns and content hash."""

    track_id: str
    size: int
    mtime_ns: int
    content: str


@dataclass(frozen=True, slots=True)
class RecordedFailure:
    """A failure and when it happened (`at`, seconds since 1970)."""

    failure: Failure
    at: float


class Changes(NamedTuple):
    """What happened since a revision: apply `removed` first, then `changed`, then remember `revision`."""

    changed: Iterator[tuple[Track, dict[str, Array]]]
    removed: list[str]
    revision: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a library holds.

    Attributes
    ----------
    tracks : int
        Number of tracks.
    seconds : float
        Their total length.
    audio_bytes, record_bytes : int
        Size of the audio files, and of the record itself.
    formats, failures, vectors : dict of str to int
        Tracks of each format, failures of each kind ("damaged": tracks whose files are), vectors in each space; the
        largest first.
    """

    tracks: int
    seconds: float
    audio_bytes: int
    record_bytes: int
    formats: dict[str, int]
    failures: dict[str, int]
    vectors: dict[str, int]


_FIELDS = tuple(field.name for field in fields(Track))
COLUMNS = ", ".join(f"t.{name}" for name in _FIELDS)
_PATH, _GENRES = _FIELDS.index("path"), _FIELDS.index("genres")
PUT = (
    f"INSERT INTO tracks (revision, {', '.join(_FIELDS)}) VALUES (?{', ?' * len(_FIELDS)}) "
    f"ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, "
    + ", ".join(f"{name} = excluded.{name}" for name in _FIELDS if name not in ("id", "added"))
)


def fold(text: str) -> str:
    """Reduce a text to what people compare: words of small letters without accents, one space between them.

    Letters of scripts without upper and lower case become words of their own, because some of those scripts
    put no spaces between words; a part of such a text is then found like a phrase.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        E.g. `"AC/DC: Żółć"` -> `"ac dc zolc"`.
    """
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    out: list[str] = []
    for character in text.translate(_PLAIN_LETTERS):
        category = unicodedata.category(character)
        if category == "Lo":
            out.append(f" {character} ")
        elif category[0] != "M":
            out.append(character if character.isalnum() else " ")
    return " ".join("".join(out).split())


def words_of(track: Track) -> str:
    """Return what `Record.search` looks in: the folded texts of a track, each between bars."""
    texts = (track.title, track.artist, track.album, " ".join(Path(track.path).parts[1:][-3:]))
    return "| " + "".join(f"{fold(text)} | " for text in texts)


def track_id(content: str, salt: int = 0) -> str:
    """Return the id of the track that a file is, or with a salt that of a copy of it.

    Parameters
    ----------
    content : str
        32 hex digits of its bytes.
    salt : int
        0 for the first track of a library with these bytes.

    Returns
    -------
    str
        16 hex digits: the same in every library.
    """
    return hashlib.blake2b(f"{content}:{salt}".encode(), digest_size=8).hexdigest()


def storable(value: Any) -> Any:
    """Return a value as SQLite takes it: no numpy scalars, no surrogates (of a path inside a message)."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, tuple):
        return tuple(map(storable, value))
    return value.item() if isinstance(value, np.generic) else value


def to_track(embedded: Embedded, track_id: str, added: float) -> Track:
    """Return the track that an embedded file is; its bpm is the measured one."""
    tags, analysis = asdict(embedded.tags), asdict(embedded.analysis)
    described = {**tags, "tagged_bpm": tags["bpm"], **analysis}
    for name in ("content", "duration", "format", "sample_rate", "channels"):
        described[name] = getattr(embedded, name)
    return Track(
        id=track_id,
        added=added,
        **asdict(embedded.file),
        **{name: storable(value) for name, value in described.items()},
    )


def to_row(track: Track) -> list[object]:
    """Return the values of a track's columns, in their order."""
    row = [getattr(track, name) for name in _FIELDS]
    row[_PATH], row[_GENRES] = os.fsencode(track.path), json.dumps(track.genres, ensure_ascii=False)
    return row


def from_row(row: Sequence[Any]) -> Track:
    """Return the track with these values of its columns."""
    values = list(row)
    values[_PATH], values[_GENRES] = os.fsdecode(row[_PATH]), tuple(json.loads(row[_GENRES]))
    return Track(*values)


def floats(blob: bytes) -> Array:
    """Return the float32 numbers in a blob, as an array of its own."""
    return np.frombuffer(blob, "<f4").astype(np.float32)


def stem_of(path: bytes) -> str:
    """Return what the file at a path, as the tables have it, is called without its suffix."""
    return str(storable(Path(os.fsdecode(path)).stem))
