"""Any audio file -> mono float32 PCM.

Two decoders, each the other's fallback: libsndfile (fast and forgiving for mp3, flac, wav, aiff) and PyAV, which is
ffmpeg (m4a, opus, vorbis, wma, wavpack, video). Nothing is allocated by what a header claims. Where a decoder stops
early, the other one takes over from there; what neither can read is skipped, and the rest of the file is still heard.

Hearing a track means reading *excerpts*: by default a few, spread over the whole length and reached by seeking, because
decoding is most of the cost of indexing; or, with ``Listening(excerpts=None)``, every second of it.
"""

import contextlib
import logging
import math
import os
import re
import stat
import struct
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundkin.errors import DecodeError, InputError

Array = NDArray[np.float32]

T = TypeVar("T")

log = logging.getLogger(__name__)

MIN_RATE, MAX_RATE = 4_000, 384_000
MIN_SECONDS = 0.5
# Hearing everything goes in blocks of ten windows of the built-in encoder: 9 hops and a window are 29.815 s.
_WHOLE_SECONDS = 29.82
# Excerpts that overlap are decoded together up to this length.
_LONGEST_STRETCH = 2 * _WHOLE_SECONDS
# A day of audio is decoded at most; headers that claim more are not believed.
MAX_SECONDS = 24 * 3600.0
# libsndfile is the faster of the two for these; PyAV for everything else (measured per format).
_SOUNDFILE_FIRST = frozenset({".mp3", ".flac", ".wav", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64"})
AUDIO_SUFFIXES = _SOUNDFILE_FIRST | {
    ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".mp4", ".aac", ".alac", ".wma", ".asf", ".wv", ".ape", ".mpc", ".tta",
    ".mp2", ".mka", ".webm", ".dsf", ".dff", ".ac3", ".spx",
}  # fmt: skip
# What ffmpeg may open: containers of sound. Its playlist formats would read other files, or the network.
_CONTAINERS = (
    "aac,ac3,aiff,ape,asf,au,caf,dsf,dff,eac3,flac,flv,iff,m4a,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,ogg,"
    "tta,w64,wav,webm,wv"
)
SAFE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
"""With what ffmpeg opens files that come from anywhere."""
# Samples read at a time, all channels together: an excerpt of the default length in stereo is one block.
_BLOCK = 1 << 20
# What a header announces and the file lacks is damage from here on: less is a codec's padding, or rounding.
_LACKING_SECONDS, _LACKING_SHARE = 1.0, 0.01
# Time between two frames that a container says nothing about; less is a lost packet, or times in round milliseconds.
_GAP_SECONDS = 0.1
# Writers of streams, which do not know the length, claim this much or more.
_UNKNOWN_SIZE = 0x7FFF0000
# Lossy formats need this much decoded before a seek's target for the samples after it to be exact: mp3's frames borrow
# from ten before them.
_PREROLL_SECONDS = 0.3


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
            raise InputError(f'listening {name!r}; wanted "all", or a form like "16x3.07s"') from error


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


# One window of the built-in encoder per excerpt. Of what costs as much, many short excerpts find more than a few of
# three windows each: benchmarks/bench_listening.py prints the table.
DEFAULT_LISTENING = Listening(16, 3.07)
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


class _Decoder(Protocol):
    """One open file in one decoder."""

    rate: int
    channels: int
    format: str
    frames: int | None  # what the header claims, or the decoder guesses; None when it says nothing
    announced: int | None  # what the header states; None for a guess
    torn: bool  # whether something was missing between two samples read; for the reader to reset

    def read(self, start: int, n: int) -> Array:
        """Return up to `n` mono samples from frame `start`; fewer at the end or at damage. Never raises."""

    def close(self) -> None:
        """Release the file."""


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
    with _open(path) as decoders:
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


def _reaches(decoders: list[_Decoder], frames: int) -> bool:
    """Tell whether the last half second that the header claims is really there."""
    probe = min(frames, decoders[0].rate // 2)
    return any(len(decoder.read(frames - probe, probe)) > 0 for decoder in decoders)


def _count(decoder: _Decoder) -> int:
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
    decoders: list[_Decoder],
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


def _read_stretch(decoders: list[_Decoder], stretch: list[_Wanted], end: int) -> list[tuple[Array, bool]]:
    """Read a stretch once, and cut its excerpts out of it; one by one when it is damaged, for some may not be."""
    rate = decoders[0].rate
    places = [(round(start * rate), round(seconds * rate)) for start, seconds, _ in stretch]
    first = places[0][0]
    if len(places) > 1:
        shared, whole = _read(decoders, first, max(map(sum, places)) - first, end)
        if whole and len(shared) >= places[-1][0] - first:
            return [(shared[at - first : at - first + n], True) for at, n in places]
    return [_read(decoders, at, n, end) for at, n in places]


def _read(decoders: list[_Decoder], start: int, n: int, end: int) -> tuple[Array, bool]:
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


@contextlib.contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[list[_Decoder]]:
    """Open a file in every decoder that accepts it, the preferred one first, the others only when asked to read."""
    name = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(name).st_mode):  # a FIFO would hang at open
        raise DecodeError("not a regular file")
    if os.path.getsize(name) == 0:
        raise DecodeError("empty file (0 bytes)")
    kinds: list[type[_SoundFile] | type[_Av]] = [_SoundFile, _Av]
    if os.path.splitext(name)[1].lower() not in _SOUNDFILE_FIRST:
        kinds.reverse()
    with contextlib.ExitStack() as stack:
        reasons = []
        for kind in kinds:
            try:
                decoder = kind(name)
            except DecodeError as error:
                reasons.append(str(error))
                continue
            stack.callback(decoder.close)
            others: list[_Decoder] = [_Later(k, name, decoder.rate, stack) for k in kinds if k is not kind]
            yield [decoder, *others] if kind is kinds[0] else [decoder]
            return
        refusal = DecodeError(_refusal(name, reasons))
        refusal.add_note("; ".join(reasons))
        raise refusal


def _refusal(path: str, reasons: list[str]) -> str:
    """Say for people why no decoder takes a file; `reasons` are what the decoders say."""
    for reason in reasons:  # what we found ourselves says it best
        if reason.startswith(_OURS):
            return reason
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "its index is missing: an MP4 file that was cut off, or never finished"
    if any(head.startswith(magic) for magic in _MAGIC):
        return "damaged: it begins like audio, but no decoder can read it"
    return "not audio, whatever its name says"


# How the reasons begin that are ours and not a decoder's, and files of the formats that say so.
_NO_SOUND, _NO_FRAME = "no sound in it", "damaged: nothing in it can be decoded"
_LYING, _RATE = "its header is wrong", "sample rate"
_OURS = (_NO_SOUND, _NO_FRAME, _LYING, _RATE)
_MAGIC = (
    b"fLaC", b"OggS", b"RIFF", b"RF64", b"FORM", b"wvpk", b"ID3", b"MAC ", b"TTA", b"\xff\xfb", b"\x1aE\xdf\xa3",
    b"0&\xb2u",
)  # fmt: skip

# Files may hold NaN, infinities and 1e38; `_read` makes them sound.
_any_numbers = np.errstate(invalid="ignore", over="ignore")


class _SoundFile:
    """libsndfile."""

    def __init__(self, path: str) -> None:
        import soundfile

        self._errors = (soundfile.LibsndfileError, RuntimeError, DecodeError)
        # A descriptor, because libsndfile cannot be handed every name a file system allows. It stays ours, because
        # whether libsndfile closes it when it refuses a file depends on the reason.
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            self._file = soundfile.SoundFile(self._descriptor, closefd=False)
            self.rate = _valid_rate(self._file.samplerate)
        except self._errors as error:
            os.close(self._descriptor)
            reason = str(error) if isinstance(error, DecodeError) else f"libsndfile: {_one_line(error)}"
            raise DecodeError(reason) from error
        self.channels = self._file.channels
        self.format = _SNDFILE_NAMES.get(self._file.subtype, self._file.format.lower())
        self.frames: int | None = self._file.frames
        self.announced = self._announced(path)
        self.torn = False
        # soundfile seeks after every read; that alone would put a hole of 40 ms into an mp3 between two blocks.
        self._preroll = 0 if self.format in _SEEKS_EXACTLY else round(_PREROLL_SECONDS * self.rate)
        self._position = 0

    def _announced(self, path: str) -> int | None:
        frames: int = self._file.frames
        if self.format == "mp3":
            return frames if _states_its_length(path) else None
        # Of pcm, the library counts what is there, and says in its log what the header claims.
        claim = _CLAIM.search(self._file.extra_info)
        if claim is None:
            return frames
        claimed, there = map(int, claim.groups())
        return round(frames * claimed / there) if there and claimed < _UNKNOWN_SIZE else None

    @_any_numbers
    def read(self, start: int, n: int) -> Array:
        """Return up to `n` mono samples from frame `start`."""
        parts: list[Array] = []
        try:
            while n > 0:
                lead = min(start, self._preroll)
                if start - lead != self._position:
                    self._file.seek(start - lead)
                # Blockwise into a buffer of our own: the library would allocate what the header claims.
                buffer = np.empty((lead + min(n, _BLOCK // self.channels), self.channels), np.float32)
                block = self._file.read(out=buffer)
                self._position = start - lead + len(block)
                ended = len(block) < len(buffer)
                # A matrix product, because numpy's mean over a short axis is far slower.
                parts.append(block[lead:] @ np.full(self.channels, 1 / self.channels, np.float32))
                start += len(parts[-1])
                n -= len(parts[-1])
                if ended:
                    break
        except self._errors as error:
            log.debug("libsndfile stopped after frame %d: %s", start, error)
            self._position = -1
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def close(self) -> None:
        """Release the file."""
        self._file.close()
        os.close(self._descriptor)


class _Av:
    """PyAV (ffmpeg)."""

    @_any_numbers
    def __init__(self, path: str) -> None:
        import av
        import av.logging

        av.logging.set_level(av.logging.PANIC)
        _refuse_lying_riff(path)
        self._errors = (av.FFmpegError, ValueError, EOFError, MemoryError)
        try:
            # With its protocol, because ffmpeg takes a name like "concat:x.mp3" for one.
            self._container = av.open(f"file:{path}", options=SAFE_OPTIONS, metadata_errors="replace")
        except self._errors as error:
            raise DecodeError(f"ffmpeg: {_one_line(error)}") from error
        try:
            self._stream, first = self._first_frames()
            self.rate = _valid_rate(first[0].sample_rate)
        except DecodeError:
            self._container.close()
            raise
        self.channels = first[0].layout.nb_channels
        self.format = self._stream.codec_context.name.removesuffix("float")
        self.frames = self._claimed_frames()
        # Other containers have no header with a length, and ffmpeg guesses it from the bit rate. A length that only
        # the container states may be that of its pictures.
        stated = self._stream.duration is not None or len(self._container.streams) == 1
        stated = stated and not _STATING.isdisjoint(self._container.format.name.split(","))
        self.announced = self.frames if stated else None
        self.torn = False
        self._position = 0
        self._goal: int | None = None  # of a seek that has not been reached yet
        self._next: int | None = None  # where the next frame is due
        # Not the stream's `start_time`: wma's first frame is two frames later than that.
        self._origin = first[0].pts or 0
        # A float, because arithmetic with the fraction that it comes as for every frame shows in the time of decoding.
        self._per_tick = float((first[0].time_base or self._stream.time_base) * self.rate)
        self._pending = [self._samples(frame) for frame in first]

    def _first_frames(self) -> tuple[Any, list[Any]]:
        """Return the audio stream and its first frames: they know the rate, where headers are often wrong."""
        streams = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        if not streams:
            raise DecodeError(f"{_NO_SOUND}, only pictures or other data")
        self._packets: Iterator[Any] = self._container.demux(streams[0])
        while (frames := self._next_frames()) is not None:
            if frames:
                return streams[0], frames
        raise DecodeError(_NO_FRAME)

    def _claimed_frames(self) -> int | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            return round(self._stream.duration * self._stream.time_base * self.rate)
        if self._container.duration is not None:
            return round(self._container.duration / 1e6 * self.rate)
        return None

    @_any_numbers
    def read(self, start: int, n: int) -> Array:
        """Return up to `n` mono samples from frame `start`."""
        if start != self._position:
            self._seek(start)
        parts, got = self._pending, sum(map(len, self._pending))
        while got < n:
            frames = self._next_frames()
            if frames is None:
                break
            for frame in frames:
                samples = self._samples(frame)
                got += len(samples)
                parts.append(samples)
        y = np.concatenate(parts) if parts else np.empty(0, np.float32)
        self._pending = [y[n:]] if len(y) > n else []
        self._position = start + min(n, len(y))
        return y[:n]

    def _seek(self, start: int) -> None:
        self._pending, self._position, self._goal, self._next = [], -1, start, None
        target = max(0, start - round(_PREROLL_SECONDS * self.rate))
        offset = int(target / self.rate / self._stream.time_base) + self._origin
        with contextlib.suppress(*self._errors):
            self._container.seek(offset, stream=self._stream, backward=True)
        self._packets = self._container.demux(self._stream)

    def _next_frames(self) -> list[Any] | None:
        """Return the frames of the next packet that decodes; None at the end."""
        while True:
            try:
                packet = next(self._packets, None)
            except self._errors as error:
                log.debug("ffmpeg stopped: %s", error)
                return None
            if packet is None:
                return None
            # A bad packet costs its own 20 ms; the next one usually decodes.
            with contextlib.suppress(*self._errors):
                return list(packet.decode())

    def _samples(self, frame: Any) -> Array:
        """Return a frame as mono, without what lies before the goal of a seek."""
        if frame.sample_rate != self.rate:  # a second piece of music joined on at another rate
            return np.empty(0, np.float32)
        samples = _mono(frame)
        if frame.pts is None:
            self._next = None
            return samples
        begin = round((frame.pts - self._origin) * self._per_tick)
        if self._goal is None:
            self.torn |= self._next is not None and begin - self._next > _GAP_SECONDS * self.rate
        self._next = begin + len(samples)
        if self._goal is None:
            return samples
        samples = samples[max(0, self._goal - begin) :]
        if len(samples):
            self._goal = None
        return samples

    def close(self) -> None:
        """Release the file."""
        self._container.close()


class _Later:
    """The second decoder: opened only when the first stops short."""

    def __init__(
        self, kind: type[_SoundFile] | type[_Av], path: str, rate: int, stack: contextlib.ExitStack
    ) -> None:
        self._make: Callable[[], _Decoder] = lambda: kind(path)
        self._stack = stack
        self._decoder: _Decoder | None = None
        self._failed = False
        self.rate, self.channels, self.format = rate, 0, ""
        self.frames: int | None = None
        self.announced: int | None = None
        self.torn = False

    def read(self, start: int, n: int) -> Array:
        """Return up to `n` mono samples from frame `start`."""
        if self._decoder is None and not self._failed:
            try:
                self._decoder = self._make()
                self._stack.callback(self._decoder.close)
            except (DecodeError, OSError):
                self._failed = True
        if self._decoder is None or self._decoder.rate != self.rate:
            return np.empty(0, np.float32)
        return self._decoder.read(start, n)

    def close(self) -> None:
        """Nothing to release: the stack closes what was opened."""


_STATING = frozenset({"mov", "mp4", "matroska", "webm", "asf", "wv", "tta", "ape", "flac"})
_CLAIM = re.compile(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_SEEKS_EXACTLY = frozenset({"wav", "flac", "aiff", "alac"})
_SNDFILE_NAMES = {
    "MPEG_LAYER_III": "mp3", "MPEG_LAYER_II": "mp2", "VORBIS": "vorbis", "OPUS": "opus", "ALAC_16": "alac",
}  # fmt: skip


def _valid_rate(rate: int) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise DecodeError(f"sample rate {rate} Hz; wanted {MIN_RATE} to {MAX_RATE} Hz")
    return int(rate)


def _mono(frame: Any) -> Array:
    """Average the channels of a PyAV frame, float32 (n,), full scale +-1.

    Straight from its buffers: a track has ten thousand frames, and `frame.to_ndarray()` took as long as decoding one.
    """
    dtype = _SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    planes, n = frame.planes, frame.samples
    if len(planes) > 1:
        channels = [np.frombuffer(plane, dtype, n) for plane in planes]
    else:
        width = frame.layout.nb_channels
        packed = np.frombuffer(planes[0], dtype, n * width)
        channels = [packed[k::width] for k in range(width)]
    y = channels[0].astype(np.float32)
    for channel in channels[1:]:
        y += channel
    if dtype is np.uint8:
        y -= 128 * len(channels)
    full_scale = 1.0 if np.issubdtype(dtype, np.floating) else 2.0 ** (np.dtype(dtype).itemsize * 8 - 1)
    y *= np.float32(1 / (full_scale * len(channels)))
    return y


_SAMPLE_TYPES: dict[str, Any] = {
    "u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64,
}  # fmt: skip


def _states_its_length(path: str) -> bool:
    """Tell whether an mp3 has a first frame that states their number (a Xing or VBRI header); others are guessed at."""
    with open(path, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            size = 0
            for byte in head[6:10]:
                size = size << 7 | byte & 0x7F
            file.seek(size, os.SEEK_CUR)
            head = b""
        head += file.read(4096)
    for name in (b"Xing", b"Info"):
        at = head.find(name)
        if at >= 0 and len(head) >= at + 8:
            return bool(head[at + 7] & 1)
    return b"VBRI" in head


def _refuse_lying_riff(path: str) -> None:
    """Keep from ffmpeg what makes it fill gigabytes: it believes the sizes that chunks of text in a RIFF file claim."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
            return
        size = os.fstat(file.fileno()).st_size
        order = ">I" if head[:4] == b"RIFX" else "<I"
        while len(head := file.read(8)) == 8:
            (claimed,) = struct.unpack(order, head[4:])
            if head[:4] != b"data" and file.tell() + claimed > size:
                raise DecodeError(f"{_LYING}: a chunk claims {claimed} bytes, more than the file has")
            file.seek(claimed + claimed % 2, os.SEEK_CUR)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
