"""One small library of real files, made once for all tests that only look at it."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from soundkin import synth
from soundkin.library import Library
from soundkin.scan import ScanOptions


@dataclass(frozen=True)
class Made:
    """A library on disk.

    Parameters
    ----------
    music, library : Path
        Its audio, 24 tracks of about 6 s, and the library that has indexed them with both encoders.
    tracks : list of (Path, SynthTrack)
        The originals.
    copies : dict
        Path of an original -> paths of its copies: one with the same bytes, and re-encodes.
    outside : Path
        Re-encode of the first original that the library does not know.
    """

    music: Path
    library: Path
    tracks: list[tuple[Path, synth.SynthTrack]]
    copies: dict[Path, list[Path]]
    outside: Path


def reencode(source: Path, target: Path, codec: str, rate: int = 44100) -> Path:
    """Write the sound of a file with another codec, without tags."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream: Any = new.add_stream(codec, rate=rate, layout="stereo")
        stream.bit_rate = 128_000
        to_stream = av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=rate)
        for frame in old.decode(audio=0):
            for resampled in to_stream.resample(frame):
                resampled.pts = None
                new.mux(stream.encode(resampled))
        new.mux(stream.encode(None))
    return target


def copied(source: Path, target: Path) -> Path:
    """Copy a library that a test may change, without the holes of its files: an index is 200 MB of them."""
    shutil.copytree(source, target, copy_function=_copy)
    return target


def _copy(source: str, target: str) -> str:
    with open(source, "rb") as old, open(target, "wb") as new:
        size = new.truncate(os.path.getsize(source))
        end = 0
        while end < size:
            try:
                begin = os.lseek(old.fileno(), end, os.SEEK_DATA)
            except OSError:  # only a hole is left
                break
            end = os.lseek(old.fileno(), begin, os.SEEK_HOLE)
            old.seek(begin)
            new.seek(begin)
            new.write(old.read(end - begin))
    return target


def make_library(folder: Path) -> Made:
    """Make music and copies of some of it, and index it."""
    music = folder / "music"
    tracks = synth.write_library(music, 24, 6.0)
    copies = {}
    for number, codecs in ((0, ("mp3", "m4a")), (7, ("opus", "mp3"))):
        path = tracks[number][0]
        copies[path] = [music / "copies" / f"{number} same{path.suffix}"]
        copies[path][0].parent.mkdir(exist_ok=True)
        shutil.copy(path, copies[path][0])
        for codec in codecs:
            name, rate = {"mp3": ("libmp3lame", 44100), "m4a": ("aac", 44100), "opus": ("libopus", 48000)}[
                codec
            ]
            copies[path].append(reencode(path, music / "copies" / f"{number} again.{codec}", name, rate))
    outside = reencode(tracks[0][0], folder / "elsewhere" / "outside.mp3", "libmp3lame")
    with Library.open(folder / "library") as library:
        report = library.add(music, ScanOptions(encoders=("cnn", "descriptors"), jobs=2))
    assert (report.added, report.failed) == (30, 0)
    return Made(music, folder / "library", tracks, copies, outside)
