"""What piece of music a track is, by its names, and which version of it."""

import re
from functools import lru_cache
from typing import NamedTuple

from soundkin.record import Track
from soundkin.record.rows import fold

# Two tracks of one artist and title: how similar they must be when a title says what it is, when none does, and when
# the artist is not known.
_SIMILAR_MARKED, _SIMILAR_UNMARKED, _SIMILAR_NAMED = 0.3, 0.6, 0.8
_MARKS = (
    "live", "unplugged", "acoustic", "remix", "mix", "rmx", "edit", "version", "demo", "instrumental", "karaoke",
    "cover", "extended", "radio", "dub", "rework", "bootleg", "session", "sessions", "take", "alternate", "orchestral",
    "reprise", "fast", "slow",
)  # fmt: skip
# A remaster is the same recording to the ear, and a guest does not make another piece.
_SILENT_MARKS = (
    "remaster", "remastered", "mono", "stereo", "deluxe", "bonus", "explicit", "clean", "feat", "ft", "featuring",
)  # fmt: skip
_BRACKETS = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")
_ENDS = re.compile(r"(.*[^\W_].*?)[_-]+([^\W_]+)")  # as files are called: blue_sky_live


class Piece(NamedTuple):
    """What names say.

    Parameters
    ----------
    artist : str
        Folded; "" when it is not known.
    name : str
        Of the piece, folded.
    marks : tuple of str
        What this version of it is, like ("live",).
    titled : bool
        False where the name is that of a file.
    """

    artist: str
    name: str
    marks: tuple[str, ...]
    titled: bool


def piece_of(track: Track) -> Piece:
    """Say what piece a track is.

    Parameters
    ----------
    track : Track
        Of any tags.

    Returns
    -------
    Piece
        By its title, or without one by what its file is called.
    """
    name, marks = split_title(track.name)
    return Piece(fold(track.artist or track.album_artist), name, marks, bool(track.title))


def are_versions(a: Piece, b: Piece, cosine: float) -> bool:
    """Tell whether two tracks are likely versions of one piece.

    Parameters
    ----------
    a, b : Piece
        What their names say.
    cosine : float
        Of their vectors.

    Returns
    -------
    bool
        True for one artist and piece that sounds alike: a little where a title says which version it is, more where
        none does, and most where the artist is not known.
    """
    if (a.artist, a.name) != (b.artist, b.name) or not a.name:
        return False
    if a.marks == b.marks and not (a.artist and a.titled and b.titled):
        return False  # files of one name, and nothing that says what they are
    if not a.artist:
        return cosine >= _SIMILAR_NAMED
    return cosine >= (_SIMILAR_MARKED if a.marks or b.marks else _SIMILAR_UNMARKED)


@lru_cache(4096)  # a list is chosen again and again from the same tracks
def split_title(title: str) -> tuple[str, tuple[str, ...]]:
    """Take a title apart into the piece and what this version of it is.

    Parameters
    ----------
    title : str
        Like "Blue Sky (Live at Home) [2011 Remaster]".

    Returns
    -------
    piece : str
        Folded, like "blue sky"; the whole title when nothing is left of it otherwise.
    marks : tuple of str
        Like ("live",), sorted; a remaster or a guest is none.
    """
    marks, rest = set[str](), title

    def take(words: str) -> bool:
        folded = fold(words).split()
        marks.update(word for word in folded if word in _MARKS)
        return any(word in _MARKS or word in _SILENT_MARKS for word in folded)

    if (ends := _ENDS.fullmatch(rest)) and take(ends[2]):
        rest = ends[1]
    for found in _BRACKETS.findall(title):
        if take(found):
            rest = rest.replace(found, "")
    head, dash, tail = rest.rpartition(" - ")
    if dash and fold(head) and take(tail):
        rest = head
    return fold(rest) or fold(title), tuple(sorted(marks))
