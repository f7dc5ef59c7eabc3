"""Decoders: an open audio file -> samples from any place in it.

Two, each the other's fallback: libsndfile (fast and forgiving for mp3, flac, wav, aiff) and PyAV, which is ffmpeg (m4a,
opus, vorbis, wma, wavpack, video). Nothing is allocated by what a header claims.
"""

import contextlib
import logging
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import DecodeError

Array = NDArray[np.float32]

log = logging.getLogger(__name__)

MIN_RATE, MAX_RATE = 4_000, 384_000
# libsndfile is the faster of the two for these; PyAV for everything else (measured per format).
SOUNDFILE_FIRST = frozenset({".mp3", ".flac", ".wav", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64"})
# What ffmpeg may open: containers of sound. Its playlist formats would read other files, or the network.
_CONTAINERS = (
    "aac,ac3,aiff,ape,asf,au,caf,dsf,dff,eac3,flac,flv,iff,m4a,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,ogg,"
    "tta,w64,wav,webm,wv"
)
SAFE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
"""With what ffmpeg opens files that come from anywhere."""
# Samples read at a time, all channels together: an excerpt of the default length in stereo is one block.
_BLOCK = 1 << 20
# Time between two frames that a container says nothing about; less is a lost packet, or times in round milliseconds.
_GAP_SECONDS = 0.1
# Writers of streams, which do not know the length, claim this much or more.
_UNKNOWN_SIZE = 0x7FFF0000
# Lossy formats need this much decoded before a seek's target for the samples after it to be exact: mp3's frames borrow
# from ten before them.
_PREROLL_SECONDS = 0.3


class Decoder(Protocol):
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


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[list[Decoder]]:
    """Open a file in every decoder that accepts it.

    Parameters
    ----------
    path : path-like
        Any file.

    Yields
    ------
    list of Decoder
        The preferred one first; the others open it when they are asked to read.

    Raises
    ------
    DecodeError
        Not a regular file, or no decoder takes it.
    OSError
        The file cannot be opened.
    """
    name = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(name).st_mode):  # a FIFO would hang at open
        raise DecodeError("not a regular file")
    if os.path.getsize(name) == 0:
        raise DecodeError("empty file (0 bytes)")
    kinds: list[type[_SoundFile] | type[_Av]] = [_SoundFile, _Av]
    if os.path.splitext(name)[1].lower() not in SOUNDFILE_FIRST:
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
            others: list[Decoder] = [_Later(k, name, decoder.rate, stack) for k in kinds if k is not kind]
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

# Files may hold NaN, infinities and 1e38; who reads makes them sound.
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
        elif self.format == "vorbis" and self._next is not None and begin - self._next < len(samples):
            # Where blocks change their size, ffmpeg stamps a frame late, by less than its length; pages that are lost
            # are longer.
            begin = min(begin, self._next)
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
        self._make: Callable[[], Decoder] = lambda: kind(path)
        self._stack = stack
        self._decoder: Decoder | None = None
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
