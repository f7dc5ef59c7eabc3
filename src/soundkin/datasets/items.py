"""What every data set comes down to."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from soundkin.audio import is_audio_name

UNKNOWN = frozenset({"", "unknown", "none", "null", "nan", "n/a"})


@dataclass(frozen=True, slots=True)
class Item:
    """A track of a data set.

    Parameters
    ----------
    path : str
        Absolute; the file need not be there.
    title, artist, album, split : str
        Empty where they are unknown. The split is "train", "validation", "test" or whatever it is called.
    genres : tuple of str
        The first is the genre, the rest are subgenres or tags.
    """

    path: str
    title: str = ""
    artist: str = ""
    album: str = ""
    genres: tuple[str, ...] = ()
    split: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is missing or wrong: its `kind`, and `what` it is about."""

    kind: str
    what: str


@dataclass(frozen=True)
class Content:
    """What a reader found.

    Parameters
    ----------
    items : list of Item
        Tracks that labels tell of.
    problems : list of Problem
        What is wrong with the labels.
    audio : list of str
        Audio files that lie where those of the data set lie.
    """

    items: list[Item]
    problems: list[Problem] = field(default_factory=list)
    audio: list[str] = field(default_factory=list)


def known(value: object) -> str:
    """Return a value as text; the empty text for what stands for nothing."""
    text = "" if value is None else " ".join(str(value).split())
    return "" if text.casefold() in UNKNOWN else text


def distinct(values: "list[str]") -> tuple[str, ...]:
    """Drop unknown and repeated names, without regard to case."""
    out: dict[str, str] = {}
    for name in map(known, values):
        if name:
            out.setdefault(name.casefold(), name)
    return tuple(out.values())


def audio_below(folder: Path) -> list[str]:
    """List the audio files below a folder, sorted; nothing when there is no such folder."""
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if is_audio_name(name) and not name.startswith("._")  # what macOS leaves beside files on other disks
    )
