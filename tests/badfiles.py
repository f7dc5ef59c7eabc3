"""Makes a folder of files that break music programs, each with what a decoder should make of it."""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
import soundfile

Expect = Literal["ok", "fail", "either"]
Samples = npt.NDArray[np.float32]

SECONDS = 9.0  # of the sound that damage is done to: long enough for a hole of 200 kB in wav and flac
RATE = 44100


@dataclass(frozen=True, slots=True)
class BadFile:
    """One hostile file.

    Attributes
    ----------
    path : str
        Absolute, as `os.fsdecode` gives it: may contain surrogates.
    expect : {"ok", "fail", "either"}
        "ok": there is audio in it that must be found. "fail": there is none, and a reason must be given.
        "either": decoders differ, or it is a matter of policy; it must end quickly and without a crash.
    why : str
        What is wrong with it.
    regular : bool
        False for what is not a regular file, so that a scan may pass over it in silence.
    """

    path: str
    expect: Expect
    why: str
    regular: bool = True


def make_bad_files(folder: str | os.PathLike[str]) -> dict[str, BadFile]:
    """Fill a folder with hostile files: about 15 MB in two seconds, the same bytes every time.

    Parameters
    ----------
    folder : str or os.PathLike
        Created if missing; should be empty.

    Returns
    -------
    dict of str to BadFile
        By a printable key, which is the file's name except for the odd names.
    """
    root = Path(folder).absolute()
    root.mkdir(parents=True, exist_ok=True)
    makers = (_damaged, _not_audio, _videos, _odd_sounds, _lying_headers, _odd_names, _not_files)
    return {key: bad for make in makers for key, bad in make(root)}


def _sound(seconds: float, rate: int = RATE, channels: int = 2) -> Samples:
    """Return a chord in noise, (frames, channels), peak below 0.9; noise keeps lossless files large."""
    frames = round(seconds * rate)
    time = np.arange(frames) / rate
    chord = np.sin(2 * np.pi * np.outer(time, (220.0, 277.2, 329.6))).mean(axis=1) * 0.6
    noise = np.random.default_rng(7).uniform(-0.2, 0.2, (frames, channels))
    sound: Samples = (chord[:, None] + noise).astype(np.float32)
    return sound


def _mux_aac(container: Any, stream: Any, sound: Samples) -> None:
    """Encode stereo sound in AAC's blocks of 1024 samples."""
    for start in range(0, len(sound) - 1023, 1024):
        block = np.ascontiguousarray(sound[start : start + 1024].T)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_m4a(path: Path, sound: Samples, index_first: bool = False) -> Path:
    """Encode AAC; `index_first` puts the index, without which nothing can be decoded, at the front."""
    options = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", format="ipod", options=options) as container:
        stream: Any = container.add_stream("aac", rate=RATE, layout="stereo")
        _mux_aac(container, stream, sound)
    return path


def _damaged(root: Path) -> Iterator[tuple[str, BadFile]]:
    """Yield files that were whole: cut in half, with flipped bits, with a hole of zeros."""
    sound = _sound(SECONDS)
    whole: dict[str, bytes] = {}
    for suffix in ("mp3", "ogg", "flac", "wav"):
        soundfile.write(root / f"whole.{suffix}", sound, RATE)
        whole[suffix] = (root / f"whole.{suffix}").read_bytes()
    whole["m4a"] = _write_m4a(root / "whole.m4a", sound).read_bytes()
    for suffix in whole:
        os.remove(root / f"whole.{suffix}")

    def put(name: str, data: bytes, expect: Expect, why: str) -> tuple[str, BadFile]:
        (root / name).write_bytes(data)
        return name, BadFile(str(root / name), expect, why)

    for suffix, data in whole.items():
        cut: Expect = "fail" if suffix == "m4a" else "ok"
        why = (
            "cut in half; the index was at the end"
            if suffix == "m4a"
            else "cut in half; the first half is fine"
        )
        yield put(f"cut.{suffix}", data[: len(data) // 2], cut, why)
        flipped = np.frombuffer(data, np.uint8).copy()
        places = np.random.default_rng(3).integers(len(data) // 4, len(data) * 3 // 4, 200)
        flipped[places] ^= 1 << (places % 8).astype(np.uint8)
        yield put(f"flips.{suffix}", flipped.tobytes(), "ok", "200 flipped bits in its middle half")
        hole = min(200_000, len(data) // 3)
        start = (len(data) - hole) // 2
        holed = data[:start] + bytes(hole) + data[start + hole :]
        yield put(f"hole.{suffix}", holed, "ok", f"{hole} zero bytes in the middle; fine before and after")
    front = _write_m4a(root / "cut front.m4a", sound, index_first=True)
    yield put(
        front.name, front.read_bytes()[: front.stat().st_size // 2], "ok", "cut in half; index in front"
    )


def _png() -> bytes:
    """Return a grey picture of 16 x 16 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(16 * 17))) + chunk(b"IEND", b"")


def _not_audio(root: Path) -> Iterator[tuple[str, BadFile]]:
    """Yield files whose content is not what their name says."""
    contents: dict[str, tuple[bytes, str]] = {
        "empty.mp3": (b"", "zero bytes"),
        "one byte.flac": (b"f", "one byte"),
        "random.mp3": (np.random.default_rng(5).bytes(100_000), "random bytes"),
        "zeros.wav": (bytes(100_000), "zero bytes only, as after a crash of the file system"),
        "text.mp3": (b"This is not music.\n" * 500, "text"),
        "playlist.mp3": (
            b"#EXTM3U\n#EXTINF:10,x\nhttp://localhost:9/x.mp3\n",
            "a playlist that names an address",
        ),
        "picture.flac": (_png(), "a PNG picture"),
        "tags only.mp3": (b"ID3\4\0\0\0\0\0\x0fTIT2\0\0\0\5\0\0\3Song", "an ID3 tag and nothing else"),
    }
    for name, (data, why) in contents.items():
        (root / name).write_bytes(data)
        yield name, BadFile(str(root / name), "fail", why)
    soundfile.write(root / "vorbis.mp3", _sound(2), RATE, format="OGG", subtype="VORBIS")
    yield "vorbis.mp3", BadFile(str(root / "vorbis.mp3"), "ok", "Ogg Vorbis with the wrong suffix")


def _videos(root: Path) -> Iterator[tuple[str, BadFile]]:
    """Yield videos with sound, which are music too, and one without."""
    cases: tuple[tuple[str, Expect, str], ...] = (
        ("video.mp4", "ok", "a video with sound"),
        ("video.mkv", "ok", "a video with sound"),
        ("mute.mp4", "fail", "a video without sound"),
    )
    for name, expect, why in cases:
        with av.open(str(root / name), "w") as container:
            video: Any = container.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            audio: Any = container.add_stream("aac", rate=RATE, layout="stereo") if expect == "ok" else None
            for number in range(20):
                picture = np.full((64, 64, 3), number * 10, np.uint8)
                image = av.VideoFrame.from_ndarray(picture, format="rgb24")
                image.pts = number
                container.mux(video.encode(image))
            container.mux(video.encode(None))
            if audio:
                _mux_aac(container, audio, _sound(2))
        yield name, BadFile(str(root / name), expect, why)


def _odd_sounds(root: Path) -> Iterator[tuple[str, BadFile]]:
    """Yield well-formed files whose sound is unusual."""
    broken = _sound(2)
    broken[1000:2000] = np.nan
    broken[3000], broken[3001] = np.inf, -np.inf
    huge = _sound(2) * np.float32(1e30)
    cases: tuple[tuple[str, Samples, int, str | None, Expect, str], ...] = (
        ("8 channels.wav", _sound(2, channels=8), RATE, None, "ok", "8 channels"),
        ("8 channels.flac", _sound(1, channels=8), RATE, None, "ok", "8 channels"),
        ("8 kHz.wav", _sound(5, 8000, 1), 8000, None, "ok", "8 kHz, mono"),
        ("192 kHz.flac", _sound(2, 192_000), 192_000, None, "ok", "192 kHz"),
        ("1 s.mp3", _sound(1), RATE, None, "ok", "1 s long"),
        ("0.05 s.wav", _sound(0.05), RATE, None, "either", "0.05 s long: too short to judge"),
        ("no samples.wav", _sound(0), RATE, None, "fail", "a header and no samples"),
        ("silent.flac", np.zeros_like(_sound(5)), RATE, None, "either", "digital silence has no sound"),
        ("constant.wav", np.full_like(_sound(2), 0.5), RATE, None, "either", "one constant value"),
        ("nan.wav", broken, RATE, "FLOAT", "either", "some samples are NaN or infinite"),
        ("all nan.wav", np.full_like(_sound(1), np.nan), RATE, "FLOAT", "either", "all samples are NaN"),
        ("huge.wav", huge, RATE, "FLOAT", "either", "samples of 1e30: squares overflow float32"),
    )
    for name, sound, rate, subtype, expect, why in cases:
        soundfile.write(root / name, sound, rate, subtype=subtype)
        yield name, BadFile(str(root / name), expect, why)


def _lying_headers(root: Path) -> Iterator[tuple[str, BadFile]]:
    """Yield 2 s of sound under headers that say something else about its length or rate."""
    soundfile.write(root / "tmp.wav", _sound(2), RATE)
    soundfile.write(root / "tmp.flac", _sound(2), RATE)
    wav, flac = (root / "tmp.wav").read_bytes(), (root / "tmp.flac").read_bytes()
    os.remove(root / "tmp.wav")
    os.remove(root / "tmp.flac")
    size = wav.index(b"data") + 4
    # STREAMINFO starts at byte 8; its bytes 10 to 17 end in 36 bits, the number of samples (RFC 9639, 8.2).
    info = int.from_bytes(flac[18:26], "big")

    def flac_with(samples: int) -> bytes:
        return flac[:18] + (info >> 36 << 36 | samples).to_bytes(8, "big") + flac[26:]

    cases: dict[str, tuple[bytes, Expect, str]] = {
        "4 GB.wav": (
            wav[:size] + b"\xff" * 4 + wav[size + 4 :],
            "ok",
            "a header that promises 4 GB, as streams do",
        ),
        "0 bytes.wav": (wav[:size] + bytes(4) + wav[size + 4 :], "either", "a header that promises no data"),
        "0 Hz.wav": (wav[:24] + bytes(4) + wav[28:], "fail", "a sampling rate of 0 Hz"),
        "huge total.flac": (flac_with((1 << 36) - 1), "ok", "a header that promises 18 days"),
        "no total.flac": (flac_with(0), "ok", "a header that leaves the length open, which is allowed"),
        "4 GHz.wav": (wav[:24] + struct.pack("<I", 4_000_000_000) + wav[28:], "either", "4 GHz"),
    }
    for name, (data, expect, why) in cases.items():
        (root / name).write_bytes(data)
        yield name, BadFile(str(root / name), expect, why)


def _odd_names(root: Path) -> Iterator[tuple[str, BadFile]]:
    """Yield good mp3s whose names are hard to print, encode or write in a list."""
    soundfile.write(root / "tmp.mp3", _sound(2), RATE)
    music = (root / "tmp.mp3").read_bytes()
    os.remove(root / "tmp.mp3")
    names = {
        "a line break": b"line\nbreak.mp3",
        "an escape sequence": b"\x1b[31mred.mp3",
        "an emoji": "🎵 música.mp3".encode(),
        "invalid UTF-8": b"latin-\xe9-\xff.mp3",
        "255 bytes": b"n" * 251 + b".mp3",
        "a leading dash": b"-rf.mp3",
        "a percent sign and quotes": b"100% 'a' \"b\" #1?.mp3",
        "capitals": b"LOUD.MP3",
    }
    for kind, name in names.items():
        path = os.path.join(os.fsencode(root), name)
        with open(path, "wb") as file:
            file.write(music)
        yield f"name: {kind}", BadFile(os.fsdecode(path), "ok", f"a good file whose name has {kind}")


def _not_files(root: Path) -> Iterator[tuple[str, BadFile]]:
    """Yield directory entries that are not readable regular files."""
    os.symlink("loop.mp3", root / "loop.mp3")
    yield "loop.mp3", BadFile(str(root / "loop.mp3"), "fail", "a link to itself", regular=False)
    os.symlink(".", root / "loop")
    yield "loop", BadFile(str(root / "loop"), "fail", "a link to its own folder", regular=False)
    os.symlink("nowhere.mp3", root / "dangling.mp3")
    yield "dangling.mp3", BadFile(str(root / "dangling.mp3"), "fail", "a link to nothing", regular=False)
    os.mkfifo(root / "pipe.mp3")
    yield (
        "pipe.mp3",
        BadFile(str(root / "pipe.mp3"), "fail", "a named pipe: opening it blocks", regular=False),
    )
    (root / "folder.mp3").mkdir()
    yield "folder.mp3", BadFile(str(root / "folder.mp3"), "fail", "a folder", regular=False)
    soundfile.write(root / "locked.mp3", _sound(2), RATE)
    os.chmod(root / "locked.mp3", 0)
    # The superuser reads every file.
    expect: Expect = "fail" if os.geteuid() else "ok"
    yield "locked.mp3", BadFile(str(root / "locked.mp3"), expect, "no permission to read it")
