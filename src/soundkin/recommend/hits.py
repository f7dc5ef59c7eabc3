"""What a question and an answer look like."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundkin.record import Track

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of one track that sounds like a moment of another.

    Parameters
    ----------
    here, there : float
        Where it begins, seconds: in the track of the answer, and in what was asked for.
    seconds : float
        How long what was compared is.
    cosine : float
        Of the two, -1 to 1.
    """

    here: float
    there: float
    seconds: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A track in an answer.

    Parameters
    ----------
    id, path, title, artist, album : str
        Of the track.
    duration : float
        Seconds.
    similarity : float
        0 to 1: 0 is what two unrelated tracks of this library usually have, 1 is the same recording.
    reasons : tuple of str
        Why it is here, for people: "like 1:20 of it at 0:45", "genre samba", "tempo 128", "key A minor".
    cosine : float
        What `similarity` is made of: the cosine in the space that was asked, -1 to 1.
    moments : tuple of Moment
        Where the two sound most alike, best first; empty where it is not known.
    follows : str
        Id of the liked track that speaks for this one; "" where the question was one track.
    close : bool
        False when it is no closer than unrelated tracks get by chance in a library of this size.
    there : bool
        False when the file is gone, or the disk that it is on.
    """

    id: str
    path: str
    title: str
    artist: str
    album: str
    duration: float
    similarity: float
    reasons: tuple[str, ...]
    cosine: float = 0.0
    moments: tuple[Moment, ...] = ()
    follows: str = ""
    close: bool = True
    there: bool = True

    @property
    def name(self) -> str:
        """What people see: the title or, without one, what the file is called."""
        return self.title or Path(self.path).stem


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    Parameters
    ----------
    vector : float32 (d,)
        Unit length.
    like : Track or None
        What is known of the track behind the vector; its id is "" when it is not in the library.
    windows : float32 (w, d) or None
        Its window vectors, by which copies of it are told.
    starts : float32 (w,) or None
        Where they begin, seconds.
    whole : bool
        False when only a moment of the track is asked for.
    fingerprint : bytes
        Of the track; empty when there is none.
    is_text : bool
        Whether the vector is that of words, not of sound.
    """

    vector: Array
    like: Track | None = None
    windows: Array | None = None
    starts: Array | None = None
    whole: bool = True
    fingerprint: bytes = b""
    is_text: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the vector is that of a track in the library."""
        return self.whole and self.like is not None and bool(self.like.id)
