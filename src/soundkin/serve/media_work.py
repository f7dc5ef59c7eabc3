"""What is done to audio files for a listener, in a worker: covers, peaks, and sound that browsers play.

Files come from anywhere and decoders are C, so nothing here runs in the server itself; see `media.Media`.
"""

import io
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin import workers
from soundkin.decoding import SAFE_OPTIONS

PEAKS = 800
_PEAK_RATE = 8000
_MOST_PICTURE_BYTES, _MOST_PIXELS = 30_000_000, 60_000_000
_PICTURE_STEMS = ("cover", "folder", "front", "album", "albumart", "artwork")
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
_PICTURES = {"protocol_whitelist": "", "format_whitelist": "jpeg_pipe,png_pipe,webp_pipe,gif,bmp_pipe"}
_TASK_BYTES = 2 << 30
_MOST_RATE = 48_000


def work() -> Callable[[tuple[str, ...]], Any]:
    """Make the function of one task: (what, path, ...) -> what came of it; None when the file has no such thing."""
    import av

    workers.limit_memory(_TASK_BYTES)
    kinds: dict[str, Callable[..., Any]] = {"cover": cover, "peaks": peaks, "flac": flac}

    def one(task: tuple[str, ...]) -> Any:
        try:
            return kinds[task[0]](*task[1:])
        except (av.error.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError):
            return None  # damaged, gone, or in a format that this machine cannot write

    return one


def peaks(path: str) -> bytes:
    """Return the loudest sample of each of `PEAKS` parts of a file, 0 to 255, the loudest of all 255."""
    import av

    loudest = list[float]()
    with _opened(path) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=_PEAK_RATE)
        block = _PEAK_RATE // 20
        rest: NDArray[np.float32] = np.empty(0, np.float32)
        for frame in _frames(container):
            for out in resampler.resample(frame):
                rest = np.concatenate([rest, np.abs(out.to_ndarray().reshape(-1))])
            whole = len(rest) // block * block
            loudest += rest[:whole].reshape(-1, block).max(axis=1).tolist() if whole else []
            rest = rest[whole:]
    if len(rest):
        loudest.append(float(rest.max()))
    return shape_of(np.nan_to_num(np.array(loudest, np.float32)))


def shape_of(loudest: NDArray[np.float32]) -> bytes:
    """Return `PEAKS` values from the peaks of short blocks, float32 (n,): the greatest of each part, scaled to 255."""
    if not len(loudest):
        return bytes(PEAKS)
    edges = np.linspace(0, len(loudest), PEAKS + 1)
    begin = np.minimum(edges[:-1].astype(int), len(loudest) - 1)
    end = np.maximum(np.ceil(edges[1:]).astype(int), begin + 1)
    parts = np.array([loudest[a:b].max() for a, b in zip(begin, end, strict=True)])
    return bytes(np.round(parts / max(float(parts.max()), 1e-9) * 255).astype(np.uint8))


def flac(path: str, out: str) -> bool:
    """Write a file anew as FLAC, 16 bit, one or two channels, at most 48 kHz; return whether there was any sound."""
    import av

    with _opened(path) as source, av.open(f"file:{out}", "w", format="flac") as target:
        if not source.streams.audio:
            return False
        context = source.streams.audio[0].codec_context
        layout = "mono" if context.channels == 1 else "stereo"
        rate = min(int(context.sample_rate or 0) or _MOST_RATE, _MOST_RATE)
        stream: Any = target.add_stream("flac", rate=rate, layout=layout, options={"compression_level": "1"})
        stream.format = "s16"
        resampler = av.AudioResampler(format="s16", layout=layout, rate=rate)
        written = 0
        for frame in (*_frames(source), None):
            for part in resampler.resample(frame):
                part.pts = written
                written += part.samples
                target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return written > 0


def cover(path: str, size: str) -> bytes | None:
    """Return the picture of a track as JPEG, its longest side `size` at most; embedded, or from its folder."""
    for data in (_embedded(path), _beside(path)):
        if data and (small := _scaled(data, int(size))):
            return small
    return None


def _opened(path: str) -> Any:
    import av

    return av.open(f"file:{path}", options=SAFE_OPTIONS, metadata_errors="replace")


def _frames(container: Any) -> Iterator[Any]:
    """Yield decoded frames; what is damaged is passed over, and after the last good one it ends."""
    import av

    if not container.streams.audio:
        return
    container.streams.audio[0].thread_type = "AUTO"
    for packet in container.demux(container.streams.audio[0]):
        try:
            for frame in packet.decode():
                frame.pts = None
                yield frame
        except av.error.InvalidDataError:
            continue


def _embedded(path: str) -> bytes | None:
    from tinytag import TinyTag, TinyTagException

    try:
        images = TinyTag.get(path, tags=True, duration=False, image=True).images
        found = images.front_cover or images.any
        return bytes(found.data) if found and found.data else None
    except (TinyTagException, OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _beside(path: str) -> bytes | None:
    """Return the picture that lies beside a track: cover.jpg, folder.png, ...; else the only one there is."""
    folder = Path(path).parent
    try:
        pictures = sorted(
            entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in _PICTURE_SUFFIXES and entry.is_file()
        )
    except OSError:
        return None
    named = [p for stem in _PICTURE_STEMS for p in pictures if p.stem.lower() == stem]
    chosen = named[:1] or (pictures if len(pictures) == 1 else [])
    for picture in chosen:
        if os.path.getsize(picture) <= _MOST_PICTURE_BYTES:
            return picture.read_bytes()
    return None


def _scaled(data: bytes, size: int) -> bytes | None:
    import av

    if len(data) > _MOST_PICTURE_BYTES:
        return None
    try:
        with av.open(io.BytesIO(data), "r", options=_PICTURES) as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > _MOST_PIXELS:
                return None
            frame = next(container.decode(stream))
        share = min(1.0, size / max(frame.width, frame.height))
        wide, high = (max(2, round(side * share / 2) * 2) for side in (frame.width, frame.height))
        small = frame.reformat(wide, high, "yuvj420p")
        encoder: Any = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height, encoder.pix_fmt = wide, high, "yuvj420p"
        encoder.time_base = Fraction(1)
        encoder.qmin = encoder.qmax = 4
        small.pts = 0
        return b"".join(bytes(packet) for packet in (*encoder.encode(small), *encoder.encode(None)))
    except (av.error.FFmpegError, IndexError, StopIteration, ValueError):
        return None
