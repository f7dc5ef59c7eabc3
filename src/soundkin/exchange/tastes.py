"""What a profile said, as `soundkin profile export` prints it, read again."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundkin.errors import InputError
from soundkin.record.feedback import KINDS
from soundkin.scan import printable

SUFFIX = ".json"
"""Of such a file."""
_LARGEST = 500_000_000  # bytes: about a million marks
_ABOUT = ("path", "artist", "title", "album", "content", "recording_mbid")


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that a profile said or did, in another library.

    Parameters
    ----------
    track : str
        Id of the track there.
    kind : str
        One of `record.feedback.KINDS`.
    at : float
        When, seconds since 1970.
    path, artist, title, album, content, recording_mbid : str
        What finds the track again; empty where nothing is known.
    """

    track: str
    kind: str
    at: float
    path: str = ""
    artist: str = ""
    title: str = ""
    album: str = ""
    content: str = ""
    recording_mbid: str = ""


def read_profile(path: str | os.PathLike[str]) -> tuple[str, list[Mark]]:
    """Read an exported profile.

    Parameters
    ----------
    path : path-like
        A JSON file.

    Returns
    -------
    name : str
        Of the profile.
    marks : list of Mark
        In their order.

    Raises
    ------
    InputError
        There is no such file, it cannot be read, or holds something else.
    """
    source, name = Path(path).expanduser(), printable(os.fspath(path))
    try:
        if source.stat().st_size > _LARGEST:
            raise InputError(f"{name} is larger than {_LARGEST // 10**6} MB: that is no profile")
        document = json.loads(source.read_bytes())
        return str(document["profile"]), [_mark(row) for row in document["history"]]
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name} is no exported profile: wanted what `soundkin profile export` prints"
        ) from error


def _mark(row: dict[str, Any]) -> Mark:
    if row["kind"] not in KINDS or not 0 <= float(row["at"]) < 1e11:
        raise ValueError(f"{row['kind']} at {row['at']}")
    return Mark(
        str(row["track"]), row["kind"], float(row["at"]), **{name: str(row.get(name, "")) for name in _ABOUT}
    )
