"""Any audio file -> mono float32 PCM.

Where a decoder stops early, the other one takes over from there; what neither can read is skipped, and the rest of the
file is still heard.

Hearing a track means reading *excerpts*: by default a few, spread over the whole length and reached by seeking, because
decoding is most of the cost of indexing; or, with ``Listening(excerpts=None)``, every second of it.
"""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundkin.decoding import MAX_RATE, MIN_RATE, SOUNDFILE_FIRST, Decoder, opened
from soundkin.errors import DecodeError, InputError

Array = NDArray[np.float32]

T = TypeVar("T")

log = logging.getLogger(__name__)

MIN_SECONDS = 0.5
# Hearing everything goes in blocks of ten windows of the built-in encoder: 9 hops and a window are 29.815 s.
_WHOLE_SECONDS = 29.82
# Excerpts that overlap are decoded together up to this length.
_LONGEST_STRETCH = 2 * _WHOLE_SECONDS
# A day of audio is decoded at most; headers that claim more are not believed.
MAX_SECONDS = 24 * 3600.0
AUDIO_SUFFIXES = SOUNDFILE_FIRST | {
    ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".mp4", ".aac", ".alac", ".wma", ".asf", ".wv", ".ape", ".mpc", ".tta",
    ".mp2", ".mka", ".webm", ".dsf", ".dff", ".ac3", ".spx",
}  # fmt: skip
# What a header announces and the file lacks is damage from here on: less is a codec's padding, or rounding.
_LACKING_SECONDS, _LACKING_SHARE = 1.0, 0.01


@dataclass(frozen=True)
class Listening:
    """How much of a track is heard.

    Parameters
    ----------
    excerpts : int or None
        Number of excerpts, spread evenly; None hears the whole track, in consecutive excerpts.
    seconds : float
        Length of one excerpt.
    """

    excerpts: int | None
    seconds: float

    def __post_init__(self) -> None:
        if (
            self.excerpts is not None and self.excerpts < 1
        ) or not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            raise InputError(
                f"listening to {self.excerpts} excerpts of {self.seconds} s; "
                f"wanted at least one (or None for all), of {MIN_SECONDS} s or more"
            )

    @property
    def name(self) -> str:
        """The listening in one word, as it stands in the name of a space."""
        seconds = repr(float(self.seconds)).removesuffix(
            ".0"
        )  # every digit: other excerpts make another space
        if self.excerpts is None:
            return "all" if self.seconds == _WHOLE_SECONDS else f"all in {seconds}s"
        return f"{self.excerpts}x{seconds}s"

    def starts(self, duration: float) -> list[float]:
        """Return where the excerpts of a track begin.

        Parameters
        ----------
        duration : float
            Length of the track, seconds.

        Returns
        -------
        list of float
            Seconds, ascending; excerpts never overlap, and a track shorter than one excerpt has one, at 0.
        """
        whole = int(duration / self.seconds)
        if self.excerpts is None:
            rest = duration - whole * self.seconds
            return [i * self.seconds for i in range(whole + (whole == 0 or rest >= MIN_SECONDS))]
        n = max(1, min(self.excerpts, whole))
        return [max(0.0, (i + 0.5) * duration / n - self.seconds / 2) for i in range(n)]

    @classmethod
    def named(cls, name: str) -> "Listening":
        """Return the listening that has this name; raise InputError when none can have it."""
        if name == WHOLE.name:
            return WHOLE
        whole = name.startswith("all in ")
        excerpts, _, seconds = name.partition(" in " if whole else "x")
        try:
            return cls(None if whole else int(excerpts), float(seconds.removesuffix("s")))
        except ValueError as error:
            raise InputError(f'listening {name!r}; wanted "all", or a form like "9x6.05s"') from error


@dataclass(frozen=True)
class Passage(Listening):
    """One stretch of a track, heard whole.

    Parameters
    ----------
    excerpts : None
        All of it,
    seconds : float
        in excerpts of so many seconds, which overlap where that does not divide its length.
    begin : float
        Where it begins, seconds.
    length : float
        How long it is, seconds.
    """

    begin: float = 0.0
    length: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.begin >= 0 and MIN_SECONDS <= self.length <= MAX_SECONDS):
            raise InputError(
                f"a moment of {self.length:g} s at {self.begin:g} s; wanted {MIN_SECONDS} s or more, from 0 s on"
            )

    @property
    def name(self) -> str:
        """The passage in words; no space is named like it."""
        return f"{self.length!r}s from {self.begin!r}s"

    def starts(self, duration: float) -> list[float]:
        """Return where the excerpts begin; none where the track has ended before.

        Parameters
        ----------
        duration : float
            Length of the track, seconds.

        Returns
        -------
        list of float
            Seconds, ascending: the first at the beginning, the last one ends with the passage, or with the track.
        """
        end = min(duration, self.begin + self.length)
        if end - self.begin < MIN_SECONDS:
            return []
        n = max(1, math.ceil((end - self.begin) / self.seconds - 0.25))
        last = max(self.begin, end - self.seconds)
        return [self.begin + i * (last - self.begin) / max(1, n - 1) for i in range(n)]


# Two windows of the built-in encoder in a row in each excerpt: of a track of a minute or longer more is heard than in
# sixteen excerpts of one window, at fewer places that have to be reached. benchmarks/bench_listening.py prints what
# each plan finds and costs.
DEFAULT_LISTENING = Listening(9, 6.05)
WHOLE = Listening(None, _WHOLE_SECONDS)


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a track.

    Parameters
    ----------
    start : float
        Seconds from the beginning of the track.
    samples : float32 (n,)
        Mono PCM, full scale +-1.
    rate : int
        Hz.
    """

    start: float
    samples: Array
    rate: int
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` gives, computed once per `key`: encoders of one run share what they derive."""
        if key not in self._cache:
            self._cache[key] = make()
        value: T = self._cache[key]
        return value

    def at(self, rate: int) -> Array:
        """Return the samples at another rate, float32 (m,)."""
        return self.cached(rate, lambda: resample(self.samples, self.rate, rate))


@dataclass(frozen=True)
class Hearing:
    """A track being heard.

    Parameters
    ----------
    duration : float
        Seconds that can be decoded.
    rate, channels : int
        As stored in the file.
    format : str
        Short name of the codec: "mp3", "flac", "vorbis", "aac", ...
    excerpts : iterator of Excerpt
        Of the first way of listening, decoded as they are consumed, so memory stays flat.
    together : iterator of (Listening, Excerpt)
        Of all ways of listening, in order of time. What several of them hear is decoded once.
    flaws : list of str
        What shows that the file is damaged; known when the excerpts have been consumed, and only of them.
    """

    duration: float
    rate: int
    channels: int
    format: str
    excerpts: Iterator[Excerpt]
    together: Iterator[tuple[Listening, Excerpt]]
    flaws: list[str]


def is_audio_name(name: str) -> bool:
    """Tell whether a file name ends like one of an audio file."""
    return os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES


@contextlib.contextmanager
def hear(path: str | os.PathLike[str], listening: Listening, *others: Listening) -> Iterator[Hearing]:
    """Open an audio file and hear excerpts of it.

    Parameters
    ----------
    path : path-like
        Any audio file.
    listening, *others : Listening
        How much of it: in one way, or in several at once.

    Yields
    ------
    Hearing
        Its excerpts must be consumed inside the ``with`` block, by one of its two iterators.

    Raises
    ------
    DecodeError
        Not a regular file, not audio, an unusable rate, or shorter than half a second.
    OSError
        The file cannot be opened.
    """
    with opened(path) as decoders:
        first = decoders[0]
        judged = _believable(first.frames, first.rate) is not None
        announced, frames = (_believable(n, first.rate) for n in (first.announced, first.frames))
        if frames is None or not _reaches(decoders, frames):
            frames = max(_count(decoder) for decoder in decoders)
        duration = frames / first.rate
        if duration < MIN_SECONDS:
            raise DecodeError(f"too short: {duration:.2f} s of audio, at least {MIN_SECONDS} s wanted")
        flaws = []
        if announced and announced - frames > max(_LACKING_SECONDS * first.rate, _LACKING_SHARE * announced):
            whole = announced / first.rate
            flaws.append(f"ends at {_clock(duration)} of {_clock(whole)} that its header announces")
        elif _ends_inside_a_page(os.fsdecode(path)):
            flaws.append("its end is missing: the file stops inside a block of data")
        yield Hearing(
            duration, first.rate, first.channels, first.format,
            (excerpt for _, excerpt in _together(decoders, (listening,), duration, judged, flaws)),
            _together(decoders, (listening, *others), duration, judged, flaws), flaws,
        )  # fmt: skip


def load(path: str | os.PathLike[str], rate: int, seconds: float | None = None) -> Array:
    """Decode a whole file.

    Parameters
    ----------
    path : path-like
        Any audio file.
    rate : int
        Wanted sample rate, Hz.
    seconds : float, optional
        Stop after this much.

    Returns
    -------
    float32 (n,)
        Mono PCM.

    Raises
    ------
    DecodeError
        As for `hear`.
    """
    with hear(path, Listening(None, 60.0)) as hearing:
        limit = hearing.duration if seconds is None else min(seconds, hearing.duration)
        parts = [e.samples for e in hearing.excerpts if e.start < limit]
        y = np.concatenate(parts) if parts else np.empty(0, np.float32)
        return resample(y[: round(limit * hearing.rate)], hearing.rate, rate)


def resample(y: Array, rate: int, new_rate: int) -> Array:
    """Resample with soxr HQ: flat to 0.45 of the new rate, aliases below -130 dB.

    Parameters
    ----------
    y : float32 (n,)
        Mono PCM.
    rate, new_rate : int
        Hz.

    Returns
    -------
    float32 (m,)
        `y` itself when the rates are equal.
    """
    if rate == new_rate:
        return y
    import soxr

    return np.ascontiguousarray(soxr.resample(y, rate, new_rate, quality="HQ"), np.float32)


def excerpts_of(y: ArrayLike, rate: int, listening: Listening) -> Iterator[Excerpt]:
    """Hear PCM that is in memory already.

    Parameters
    ----------
    y : float (n,) or (n, channels)
        Full scale +-1, at least half a second.
    rate : int
        Hz, 4 000 to 384 000.
    listening : Listening
        How much of it.

    Yields
    ------
    Excerpt
        As `hear` gives them.

    Raises
    ------
    InputError
        Wrong shape or type, not finite, too short, or an unusable rate.
    """
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.floating):
        raise InputError(
            f"audio came as {y.dtype}; wanted floating point in -1..1: divide integers by full scale"
        )
    if y.ndim not in (1, 2) or len(y) == 0:
        raise InputError(f"audio came with shape {y.shape}; wanted (n,) or (n, channels), not empty")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(f"sample rate {rate} Hz; wanted {MIN_RATE} to {MAX_RATE} Hz")
    if len(y) < MIN_SECONDS * rate:
        raise InputError(f"audio came with {len(y) / rate:.2f} s; wanted at least {MIN_SECONDS} s")
    mono = np.ascontiguousarray(y if y.ndim == 1 else y.mean(axis=1), np.float32)
    if not np.isfinite(mono).all():
        raise InputError("audio holds NaN or infinite samples; wanted finite values in -1..1")
    n = round(listening.seconds * rate)
    for start in listening.starts(len(mono) / rate):
        first = round(start * rate)
        yield Excerpt(start, mono[first : first + n], rate)


def _believable(frames: int | None, rate: int) -> int | None:
    return frames if frames is not None and 0 < frames <= MAX_SECONDS * rate else None


def _reaches(decoders: list[Decoder], frames: int) -> bool:
    """Tell whether the last half second that the header claims is really there."""
    probe = min(frames, decoders[0].rate // 2)
    return any(len(decoder.read(frames - probe, probe)) > 0 for decoder in decoders)


def _count(decoder: Decoder) -> int:
    """Decode to the end and return the number of frames: for headers that lie or say nothing."""
    block = 10 * decoder.rate
    position = 0
    while position < MAX_SECONDS * decoder.rate:
        got = len(decoder.read(position, block))
        position += got
        if got < block:
            break
    return position


def _together(
    decoders: list[Decoder],
    listenings: tuple[Listening, ...],
    duration: float,
    judged: bool,
    flaws: list[str],
) -> Iterator[tuple[Listening, Excerpt]]:
    rate = decoders[0].rate
    # Where exactly a file ends, decoders disagree, and `_reaches` has not looked. Without a length in the header
    # libsndfile does not decode flac, which is no damage.
    end = round((duration - MIN_SECONDS) * rate) if judged else 0
    count, damaged = 0, []
    for stretch in _stretches(listenings, duration):
        for (start, seconds, listening), (samples, whole) in zip(
            stretch, _read_stretch(decoders, stretch, end), strict=True
        ):
            count += 1
            if not whole:
                damaged.append(start)
            n = round(seconds * rate)
            if len(samples) >= min(n, MIN_SECONDS * rate):
                yield listening, Excerpt(start, samples, rate)
            else:
                log.debug("nothing decodable at %.1f s", start)
    if damaged and not flaws:  # a file that was cut is also damaged where it ends: one reason is enough
        share = f"{len(damaged)} of {count} excerpts"
        flaws.append(f"{share} could not be decoded in full, the first at {_clock(damaged[0])}")


_Wanted = tuple[float, float, Listening]  # start and length in seconds, and who wants it


def _stretches(listenings: tuple[Listening, ...], duration: float) -> Iterator[list[_Wanted]]:
    """Put excerpts that overlap into one stretch, up to a length at which memory stays flat."""
    wanted = [
        (start, min(listening.seconds, duration - start), listening)
        for listening in dict.fromkeys(listenings)
        for start in listening.starts(duration)
    ]
    stretch: list[_Wanted] = []
    for one in sorted(wanted, key=lambda w: w[:2]):
        ends = [start + seconds for start, seconds, _ in stretch]
        overlaps = bool(stretch) and one[0] < max(ends) - 1e-6  # those of one listening touch, at most
        if not overlaps or one[0] + one[1] - stretch[0][0] > _LONGEST_STRETCH:
            if stretch:
                yield stretch
            stretch = []
        stretch.append(one)
    if stretch:
        yield stretch


def _read_stretch(decoders: list[Decoder], stretch: list[_Wanted], end: int) -> list[tuple[Array, bool]]:
    """Read a stretch once, and cut its excerpts out of it; one by one when it is damaged, for some may not be."""
    rate = decoders[0].rate
    places = [(round(start * rate), round(seconds * rate)) for start, seconds, _ in stretch]
    first = places[0][0]
    if len(places) > 1:
        shared, whole = _read(decoders, first, max(map(sum, places)) - first, end)
        if whole and len(shared) >= places[-1][0] - first:
            return [(shared[at - first : at - first + n], True) for at, n in places]
    return [_read(decoders, at, n, end) for at, n in places]


def _read(decoders: list[Decoder], start: int, n: int, end: int) -> tuple[Array, bool]:
    """Read with the first decoder; where it stops short, let the next one go on from there.

    Also tell whether all that lies before `end` was there, in one piece.
    """
    parts: list[Array] = []
    whole = True
    for decoder in decoders:
        got = sum(map(len, parts))
        if got >= n - decoder.rate // 20:  # the two may disagree by a codec's padding about where the end is
            break
        decoder.torn = False
        parts.append(decoder.read(start + got, n - got))
        missing = min(n, end - start) - got - len(parts[-1])
        whole = whole and not decoder.torn and missing <= decoder.rate // 20
    y = parts[0] if len(parts) == 1 else np.concatenate(parts)
    np.nan_to_num(y, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(y, -1.0, 1.0, out=y), whole


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _ends_inside_a_page(path: str) -> bool:
    """Tell whether an Ogg file (RFC 3533) stops before the end of its last page, as one does that was cut."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(-min(os.fstat(file.fileno()).st_size, 1 << 17), os.SEEK_END)  # two pages at least
        tail = file.read()
    page = tail[tail.rfind(b"OggS\0") :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return len(page) < 27 or len(page) < 27 + page[26] + sum(lengths)
