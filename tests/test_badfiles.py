import os
import time
from pathlib import Path

import av
import pytest
import soundfile
from badfiles import BadFile, make_bad_files


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BadFile]:
    return make_bad_files(tmp_path_factory.mktemp("bad"))


def seconds_decoded(path: str) -> float:
    """Decode what libsndfile or FFmpeg can, whichever is more."""
    return max(by_libsndfile(path), by_ffmpeg(path))


def by_libsndfile(path: str) -> float:
    seconds = 0.0
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            while len(block := file.read(file.samplerate // 4 or 1)):
                seconds += len(block) / file.samplerate
    except (OSError, soundfile.SoundFileError, ZeroDivisionError):
        pass
    return seconds


def by_ffmpeg(path: str) -> float:
    seconds = 0.0
    try:
        with av.open(path) as container:
            for packet in container.demux(container.streams.audio[0]):
                try:
                    seconds += sum(frame.samples / frame.sample_rate for frame in packet.decode())
                except av.FFmpegError:
                    continue
    except (av.FFmpegError, OSError, IndexError, ZeroDivisionError):
        pass
    return seconds


def test_small_and_quick(tmp_path: Path) -> None:
    start = time.process_time()
    made = make_bad_files(tmp_path)
    assert time.process_time() - start < 8
    regular = [bad.path for bad in made.values() if bad.regular]
    assert sum(map(os.path.getsize, regular)) < 20e6
    assert all(os.path.lexists(bad.path) for bad in made.values())


def test_decoders_agree_with_what_is_expected(bad_files: dict[str, BadFile]) -> None:
    # A pipe without a writer blocks; opening is not tried.
    decoded = {key: seconds_decoded(bad.path) for key, bad in bad_files.items() if key != "pipe.mp3"}
    least = 0.9  # seconds; the shortest file that must work lasts 1 s
    assert [
        key for key, seconds in decoded.items() if bad_files[key].expect == "ok" and seconds < least
    ] == []
    assert [key for key, seconds in decoded.items() if bad_files[key].expect == "fail" and seconds > 0] == []
