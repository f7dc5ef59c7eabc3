"""Sounds with known content, written in every format that people keep music in."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile

Sound = npt.NDArray[np.float32]

# Name of a format -> suffix, and PyAV's container and codec, or None where libsndfile writes it.
FORMATS: dict[str, tuple[str, tuple[str, str] | None]] = {
    "mp3": (".mp3", None),
    "flac": (".flac", None),
    "vorbis": (".ogg", None),
    "wav": (".wav", None),
    "aiff": (".aiff", None),
    "opus": (".opus", ("ogg", "libopus")),
    "aac": (".m4a", ("ipod", "aac")),
    "adts": (".aac", ("adts", "aac")),
    "alac": (".m4a", ("ipod", "alac")),
    "wma": (".wma", ("asf", "wmav2")),
    "wavpack": (".wv", ("wv", "wavpack")),
}
# An mp3 through ffmpeg, which leaves the header out when told to.
_MORE = {"bare mp3": (".mp3", ("mp3", "libmp3lame"))}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def tone(seconds: float, rate: int, levels: tuple[float, ...], hz: float = 997.0) -> Sound:
    """Return one sine in several channels, (frames, channels), of these amplitudes."""
    time = np.arange(round(seconds * rate)) / rate
    return np.outer(np.sin(2 * np.pi * hz * time), levels).astype(np.float32)


def rustle(seconds: float, rate: int, channels: int = 2, seed: int = 1) -> Sound:
    """Return noise that is loud below 3 kHz, (frames, channels): no two stretches of it are alike."""
    from scipy.signal import butter, sosfilt

    noise = np.random.default_rng(seed).normal(0, 0.4, (round(seconds * rate), channels))
    low: Any = butter(4, 3000, fs=rate, output="sos")
    return np.clip(sosfilt(low, noise, axis=0), -0.95, 0.95).astype(np.float32)


def write(path: Path, sound: Sound, rate: int, name: str, options: dict[str, str] | None = None) -> Path:
    """Write (frames, channels) in one of `FORMATS`, or as "bare mp3", and return the path."""
    how = {**FORMATS, **_MORE}[name][1]
    if how is None:
        soundfile.write(path, sound, rate)
        return path
    with av.open(str(path), "w", format=how[0], options=options or {}) as container:
        codec_options = {**(options or {}), "strict": "experimental"}
        stream: Any = container.add_stream(
            how[1], rate=rate, layout=_LAYOUTS[sound.shape[1]], options=codec_options
        )
        able = {form.name for form in stream.codec_context.codec.audio_formats}
        stream.format = next(form for form in ("s16p", "s16", "fltp", "flt") if form in able)
        stream.bit_rate = 128_000
        stream.codec_context.open()
        form, size = stream.format.name, stream.codec_context.frame_size or 4096
        for start in range(0, len(sound), size):
            frame = av.AudioFrame.from_ndarray(
                _as(form, sound[start : start + size]), format=form, layout=_LAYOUTS[sound.shape[1]]
            )
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _as(form: str, block: Sound) -> npt.NDArray[Any]:
    """Lay samples out as a sample format of ffmpeg wants them: planar (channels, n) or packed (1, n * channels)."""
    scale, dtype = {"s16": (32767, np.int16), "s32": (2**31 - 256, np.int32), "flt": (1, np.float32)}[
        form.removesuffix("p")
    ]
    data = (block.astype(np.float64) * scale).astype(dtype)
    return np.ascontiguousarray(data.T if form.endswith("p") else data.reshape(1, -1))


def decode(path: Path) -> Sound:
    """Decode a whole file the plain way, mono: libsndfile where it can, else PyAV's own conversion."""
    try:
        return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1))
    except soundfile.LibsndfileError:
        return decode_av(path)


def decode_av(path: Path) -> Sound:
    """Decode a whole file with PyAV, mono."""
    with av.open(str(path)) as container:
        mono = av.AudioResampler(format="dblp")
        blocks = [f.to_ndarray() for frame in container.decode(audio=0) for f in mono.resample(frame)]
    return np.asarray(np.concatenate(blocks, axis=1).mean(axis=0), np.float32)
