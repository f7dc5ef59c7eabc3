"""Histories of other programs: who played, skipped and liked what, and when.

`read` knows the format by what is in the file, and yields what it says row by row, whatever its size; `matching` finds
the tracks of a library that are meant, `taking` writes them down.
"""

import json
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from soundkin.errors import InputError
from soundkin.playlists import is_playlist
from soundkin.plays import players, services
from soundkin.plays.matching import Matcher
from soundkin.plays.rows import Played, Refused, Rows
from soundkin.plays.streams import lines, values
from soundkin.plays.taking import PlaysReport, Unmatched, take

__all__ = ["FORMATS", "Matcher", "Played", "PlaysReport", "Refused", "Unmatched", "read", "take"]

FORMATS = (
    "ListenBrainz (.zip, .jsonl, .json)", "Last.fm (.csv)", "Spotify (.zip, .json)", "Navidrome (.db)",
    "Subsonic (.json)", "Rhythmbox, iTunes (.xml)", "playlists (.m3u8, .m3u, .xspf, .jspf)", "tables (.csv, .tsv)",
)  # fmt: skip
"""What can be read, for people."""

_JSON = (".json", ".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv", ".txt", ".dat")
_DATABASES = (".db", ".sqlite", ".sqlite3")
_HEAD = 4096
_LOCKED = 1  # the bit of the flags in a zip
_FIRST = 5  # of the objects of a JSON file: what they have says what it is
_LISTENS = re.compile(r"(^|/)listens/.*\.jsonl$|(^|/)feedback\.jsonl$")
_STREAMS = re.compile(r"(^|/)(Streaming_?History_?(Audio|music)?[^/]*|endsong_\d+)\.json$", re.IGNORECASE)


def read(path: str | os.PathLike[str]) -> Rows:
    """Read a history.

    Parameters
    ----------
    path : path-like
        A file in one of `FORMATS`.

    Yields
    ------
    Played or Refused
        In the order of the file; a refusal is a row that cannot be used.

    Raises
    ------
    InputError
        The file is not there, cannot be read, or is of no such format.
    """
    source = Path(path).expanduser()
    shown = ascii(os.fspath(source))
    try:
        yield from _rows(source)
    except OSError as error:
        raise InputError(f"cannot read the history {shown}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise InputError(f"cannot read the history {shown}: {error}; fetch it again") from error
    except InputError as error:
        raise InputError(f"{shown}: {error}") from error


def _rows(source: Path) -> Rows:
    suffix = source.suffix.lower()
    if is_playlist(source):
        yield from players.playlist(source)
    elif suffix in _DATABASES:
        with source.open("rb"):  # whether it is there: the database would be made
            pass
        yield from players.navidrome(source)
    elif suffix == ".zip":
        yield from _zipped(source)
    elif suffix in (*_JSON, *_TABLES, ".xml"):
        with source.open("rb") as file:
            yield from _document(file, suffix, os.path.dirname(os.path.abspath(source)))
    else:
        raise InputError(f"no format {suffix!r}; wanted one of {', '.join(FORMATS)}")


def _document(file: IO[bytes], suffix: str, folder: str) -> Rows:
    if suffix in _JSON:
        return _json(file)
    if suffix in _TABLES:
        return services.table(lines(file), folder)
    head = file.read(_HEAD)
    file.seek(0)
    if b"<rhythmdb" in head:
        return players.rhythmbox(file)
    if b"<plist" in head:
        return players.itunes(file)
    raise InputError("XML of another kind: wanted rhythmdb.xml of Rhythmbox, or the library of iTunes")


def _json(file: IO[bytes]) -> Rows:
    found = values(file)
    first = list(islice(found, _FIRST))
    names = set[str]().union(*(one for one in first if isinstance(one, dict)))
    every: Iterator[dict[str, Any] | Refused] = chain(first, found)
    if names & {"ts", "msPlayed"}:
        return services.spotify(every)
    if names & {"track_metadata", "payload", "score"}:
        return services.listenbrainz(every)
    if names & {"subsonic-response", "playCount", "song"}:
        return players.subsonic(every)
    if {"profile", "history"} <= names:
        raise InputError("this is an exported profile: `soundkin import` takes it")
    told = json.dumps(sorted(names))[:80] if names else "nothing"
    raise InputError(f"JSON with {told}: wanted a history of ListenBrainz, Spotify or Subsonic")


def _zipped(source: Path) -> Rows:
    with zipfile.ZipFile(source) as archive:
        names = sorted(archive.namelist())
        wanted = [name for name in names if _LISTENS.search(name)]
        spoken = services.listenbrainz if wanted else services.spotify
        wanted = wanted or [name for name in names if _STREAMS.search(name)]
        if not wanted:
            raise InputError("an archive without listens: wanted the export of ListenBrainz or Spotify")
        if any(archive.getinfo(name).flag_bits & _LOCKED for name in wanted):
            raise InputError("an archive with a password: unpack it, and give what is in it")
        for name in wanted:
            with archive.open(name) as file:
                yield from spoken(values(file))
