"""Which track of a library a history means: by MusicBrainz id, then by artist and title, then by file."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from soundkin.plays.rows import Played
from soundkin.recommend.pieces import split_title
from soundkin.record import Track
from soundkin.record.rows import fold

WAYS = ("id", "mbid", "isrc", "name", "path")
"""How a track can be found, in this order."""
_SECONDS = 3.0  # that the length of one recording may differ
_NEAREST, _ALIKE = 3, 0.6
_GUEST = re.compile(r"\s[(\[]?(?:feat\.?|ft\.?|featuring|with)\s.*", re.IGNORECASE)
# a title may have "with" in it, so there it names a guest only in brackets
_GUEST_OF_TITLE = re.compile(
    r"\s*[(\[](?:feat\.?|ft\.?|featuring|with)\s[^)\]]*[)\]]?|\s(?:feat\.?|ft\.?|featuring)\s[^(\[]*",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"\s*(?:[,;/&+]|\sx\s|\sund\s|\sand\s|\set\s|\svs\.?\s)\s*", re.IGNORECASE)


class _Known(NamedTuple):
    id: str
    album: str
    duration: float
    path: str


@lru_cache(65536)
def artists_of(name: str) -> tuple[str, ...]:
    """Return the ways to write an artist, folded: as it is, without guests, and the first of several.

    Parameters
    ----------
    name : str
        Like "The Band feat. Somebody".

    Returns
    -------
    tuple of str
        Without "the" before them; empty for no name.
    """
    alone = _GUEST.sub("", name)
    forms = (fold(name), fold(alone), fold(_SEVERAL.split(alone, maxsplit=1)[0]))
    return tuple(dict.fromkeys(form.removeprefix("the ") for form in forms if form))


class Matcher:
    """Finds tracks by what a history says of them.

    Parameters
    ----------
    tracks : iterable of Track
        All of the library.
    """

    def __init__(self, tracks: Iterable[Track]) -> None:
        self._by_id: dict[str, dict[str, list[_Known]]] = {way: defaultdict(list) for way in WAYS}
        self._files: dict[str, list[_Known]] = defaultdict(list)
        self._titles: dict[str, dict[str, str]] = defaultdict(dict)  # artist -> title -> for people
        self._near: dict[tuple[str, str], tuple[str, ...]] = {}
        for track in tracks:
            known = _Known(track.id, fold(track.album), track.duration, track.path)
            names = {form for name in (track.artist, track.album_artist) for form in artists_of(name)}
            for way, keys in (
                ("id", [track.id]), ("mbid", [track.recording_mbid]), ("isrc", [track.isrc.upper()]),
                ("name", [f"{name}|{piece}" for piece in _pieces(track.name) for name in names]),
                ("path", [track.path]),
            ):  # fmt: skip
                for key in filter(None, keys):
                    self._by_id[way][key].append(known)
            self._files[fold(Path(track.path).name)].append(known)
            for name in names:
                self._titles[name].setdefault(fold(track.name), f"{track.artist} - {track.name}")

    def find(self, row: Played) -> tuple[str, str]:
        """Find the track that a row means.

        Parameters
        ----------
        row : Played
            Of a history.

        Returns
        -------
        id, way : str
            Of the track, and one of `WAYS`; empty where the library does not have it.
        """
        # relative paths are to a folder of the other program, which need not be where this one was started
        absolute = [path for path in row.paths if os.path.isabs(path)]
        keys = {
            "id": [row.track], "mbid": [row.recording_mbid], "isrc": [row.isrc.upper()],
            "name": [f"{name}|{piece}" for piece in _pieces(row.title) for name in artists_of(row.artist)],
            "path": [path for p in absolute for path in dict.fromkeys((p, os.path.abspath(p)))],
        }  # fmt: skip
        for way in WAYS:
            for key in filter(None, keys[way]):
                if found := self._by_id[way].get(key):
                    return _best(found, row), way
        moved = self._moved(row.paths)
        return (moved, "path") if moved else ("", "")

    def nearest(self, artist: str, title: str) -> tuple[str, ...]:
        """Name the tracks that are called most like one that was not found.

        Parameters
        ----------
        artist, title : str
            As the history has them.

        Returns
        -------
        tuple of str
            Up to three, the nearest first.
        """
        name = (artists_of(artist) or ("",))[0]
        wanted = fold(title)
        if (name, wanted) not in self._near:
            near = [name] if name in self._titles else get_close_matches(name, self._titles, 3, _ALIKE)
            choices = {text: shown for one in near for text, shown in self._titles[one].items()}
            alike = sorted(choices, key=lambda text: (-SequenceMatcher(None, wanted, text).ratio(), text))
            self._near[name, wanted] = tuple(choices[text] for text in alike[:_NEAREST])
        return self._near[name, wanted]

    def _moved(self, paths: Iterable[str]) -> str:
        """Find a file whose folder of music was elsewhere: the one that most last parts of its path agree with."""
        for path in paths:
            parts = [fold(part) for part in Path(path.replace("\\", "/")).parts]
            counted = [
                (_common(parts, known.path), known.id)
                for known in self._files.get(parts[-1] if parts else "", ())
            ]
            most = max(counted, default=(0, ""))
            if most[0] > 1 and sum(n == most[0] for n, _ in counted) == 1:
                return most[1]
        return ""


def _pieces(title: str) -> tuple[str, ...]:
    """Return what piece a title names: as it is written, then without guests; nothing for no title."""
    alone = _GUEST_OF_TITLE.sub("", title).strip() or title
    return (f"as written {split_title(title)}", f"alone {split_title(alone)}") if title else ()


def _best(found: list[_Known], row: Played) -> str:
    """Choose one of several recordings of a name: of its album, of its length, then the first by path."""
    album, length = fold(row.album), row.duration

    def rank(known: _Known) -> tuple[bool, bool, str]:
        is_as_long = length is not None and abs(known.duration - length) <= _SECONDS
        return known.album != album, not is_as_long, known.path

    return found[0].id if len(found) == 1 else min(found, key=rank).id


def _common(parts: list[str], path: str) -> int:
    """Count the last parts that paths have in common."""
    n = 0
    for one, other in zip(reversed(parts), reversed(Path(path).parts), strict=False):
        if one != fold(other):
            break
        n += 1
    return n
