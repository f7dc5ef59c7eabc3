"""What is known of tracks besides their sound, as numbers: album, artist, genres."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from soundkin.filters import common_spelling
from soundkin.record import Track
from soundkin.record.rows import fold
from soundkin.tags import album_name

Ints = NDArray[np.int64]

UNKNOWN = -1
# What follows in an artist's name is a guest. Checked on folded names, so without dots and brackets.
_GUEST = re.compile(r" (feat|ft|featuring) .*")
_VARIOUS = frozenset({"various artists", "various", "va"})


@dataclass(frozen=True)
class Labels:
    """The labels of n tracks.

    Parameters
    ----------
    album : int64 (n,)
        Number of the album: of the tags, or else of the folder. Every track has one.
    artist : int64 (n,)
        Number of the artist, or `UNKNOWN`.
    genres : bool (n, g)
        Which genres the tags of each name; g may be 0.
    names : dict of str to list of str
        What the numbers of "album", "artist" and "genre" stand for.
    """

    album: Ints
    artist: Ints
    genres: NDArray[np.bool_]
    names: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.album)

    def take(self, which: Ints) -> "Labels":
        """Keep some tracks, by number."""
        return Labels(self.album[which], self.artist[which], self.genres[which], self.names)


def labels_of(tracks: Sequence[Track], albums: str = "tags") -> Labels:
    """Give the labels of tracks numbers.

    Parameters
    ----------
    tracks : sequence of Track
        n of them.
    albums : str
        "tags": an album is what the tags say, or else the folder. "folders": it is the folder, whatever tags say.
        "labels": it is what the tags say; a track without is an album of its own.

    Returns
    -------
    Labels
        Names are compared without regard to case, accents and punctuation; an artist's without the guests
        ("feat. ..."). Various Artists is nobody.
    """
    tagged = [albums != "folders" and bool(t.album) for t in tracks]
    alone, key = albums == "labels", cache(fold)  # names come again and again
    releases = [
        t.path if alone and not own else album_name(t.album_artist, t.album if own else "", t.path)
        for t, own in zip(tracks, tagged, strict=True)
    ]
    # A folder is told apart as it is written.
    album, album_names = _numbered(
        releases, [key(name) if own else name for name, own in zip(releases, tagged, strict=True)]
    )
    artists = [_artist(t, key) for t in tracks]
    artist, artist_names = _numbered(artists, [_GUEST.sub("", key(name)) for name in artists])
    genres = [{key(genre): genre for genre in t.genres if key(genre)} for t in tracks]
    spelled = common_spelling((genre for t in tracks for genre in t.genres), key)
    named = {word: spelled[name] for each in genres for word, name in each.items()}
    places = {word: place for place, word in enumerate(sorted(named))}
    table = np.zeros((len(tracks), len(places)), bool)
    for row, each in enumerate(genres):
        table[row, [places[word] for word in each]] = True
    names = {"album": album_names, "artist": artist_names, "genre": [named[word] for word in sorted(named)]}
    return Labels(album, artist, table, names)


def _artist(track: Track, key: Callable[[str], str]) -> str:
    for name in (track.artist, track.album_artist):
        if name and key(name) not in _VARIOUS:
            return name
    return ""


def _numbered(names: Sequence[str], keys: Sequence[str]) -> tuple[Ints, list[str]]:
    """Give names numbers by their keys, in the order of their first appearance; an empty name is unknown."""
    numbers: dict[str, int] = {}
    shown: list[str] = []
    out = np.full(len(names), UNKNOWN, np.int64)
    for place, (name, key) in enumerate(zip(names, keys, strict=True)):
        if not name:
            continue
        if (key or name) not in numbers:  # a name without a letter or digit is its own key
            numbers[key or name] = len(shown)
            shown.append(name)
        out[place] = numbers[key or name]
    return out, shown


def sizes(labels: Ints) -> Ints:
    """Return how many tracks share each track's label, itself among them, int64 (n,); 0 where it is unknown."""
    counts = Counter(labels.tolist())
    return np.array([0 if label == UNKNOWN else counts[label] for label in labels.tolist()], np.int64)
