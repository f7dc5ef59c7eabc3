"""What is damaged and still has music in it: heard, and told with its reason; and no good file is called damaged."""

import logging
import os
import re
import shutil
from pathlib import Path

import av
import pytest
from badfiles import BadFile, make_bad_files
from sounds import FORMATS, rustle, write

from soundkin.audio import DEFAULT_LISTENING, WHOLE, Listening, hear
from soundkin.embed import Embedder, Failure, FileState, Task
from soundkin.errors import DecodeError, InputError
from soundkin.library import Library
from soundkin.scan import ScanOptions

HALF = r"^ends at 0:04 of 0:09 that its header announces$"
GOOD = (
    "8 channels.wav", "8 channels.flac", "8 kHz.wav", "192 kHz.flac", "1 s.mp3", "4 GB.wav", "no total.flac",
    "video.mp4", "video.mkv", "vorbis.mp3", "constant.wav", "nan.wav", "name: capitals",
)  # fmt: skip


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BadFile]:
    return make_bad_files(tmp_path_factory.mktemp("bad"))


def flaws(path: str | Path, listening: Listening = DEFAULT_LISTENING) -> list[str]:
    with hear(path, listening) as hearing:
        assert sum(len(excerpt.samples) for excerpt in hearing.excerpts) > 0
    return hearing.flaws


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("cut.mp3", HALF),  # each was 9 s long and lost its second half
        ("cut.flac", HALF),
        ("cut.wav", r"^ends at 0:0[45] of 0:09 that its header announces$"),
        ("cut front.m4a", r"^ends at 0:0[45] of 0:09 that its header announces$"),
        ("cut.ogg", r"^its end is missing"),
        ("flips.flac", r"^\d of \d excerpts could not be decoded in full, the first at 0:0\d$"),
        ("hole.ogg", r"^\d of \d excerpts could not be decoded in full, the first at 0:0\d$"),
    ],
)
def test_damage_is_told(bad: dict[str, BadFile], key: str, reason: str) -> None:
    (told,) = flaws(bad[key].path)
    assert re.search(reason, told), told


@pytest.mark.parametrize("key", GOOD)
def test_what_is_odd_but_whole_is_not_damaged(bad: dict[str, BadFile], key: str) -> None:
    assert flaws(bad[key].path) == []


@pytest.mark.parametrize("name", [*FORMATS, "bare mp3"])
@pytest.mark.parametrize("listening", [Listening(4, 2.0), WHOLE], ids=["spread", "all"])
def test_no_format_is_damaged_by_nature(tmp_path: Path, name: str, listening: Listening) -> None:
    suffix = {**FORMATS, "bare mp3": (".mp3", None)}[name][0]
    assert flaws(write(tmp_path / f"a{suffix}", rustle(13.3, 44100 if name != "opus" else 48000),
                       44100 if name != "opus" else 48000, name), listening) == []  # fmt: skip


def test_a_guessed_length_announces_nothing(tmp_path: Path) -> None:
    """ffmpeg and libsndfile guess the length of an mp3 without a header from its first frames."""
    sound = rustle(16.0, 44100)
    sound[: 8 * 44100] = 0
    path = tmp_path / "vbr.mp3"
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=44100, layout="stereo")
        stream.codec_context.flags |= 0x2  # quality instead of a bit rate
        stream.codec_context.global_quality = 4 * 118
        to_stream = av.AudioResampler(format="s16p", layout="stereo", rate=44100, frame_size=1152)
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="flt", layout="stereo")
        frame.sample_rate = 44100
        for piece in [*to_stream.resample(frame), *to_stream.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    import soundfile

    with soundfile.SoundFile(path) as file:
        assert file.frames > 20 * 44100  # the guess, of 16 s
    assert flaws(path) == []


def test_reasons_are_for_people(bad: dict[str, BadFile]) -> None:
    embedder = Embedder(["descriptors"])
    said = {}
    for key, file in bad.items():
        if file.expect == "fail" and file.regular:
            outcome = embedder.file(Task(FileState(file.path, 1, 1)))
            if isinstance(outcome, Failure):
                said[key] = outcome.reason
                assert not re.search(r"libsndfile|ffmpeg|Errno|file:|0x|\n", outcome.reason), outcome.reason
    assert len(said) >= 11
    assert said["text.mp3"] == "not audio, whatever its name says"
    assert said["empty.mp3"] == "empty file (0 bytes)"
    assert "index is missing" in said["cut.m4a"]
    assert "no sound in it" in said["mute.mp4"]
    assert "begins like audio" in said["tags only.mp3"]
    with pytest.raises(DecodeError) as caught, hear(bad["text.mp3"].path, DEFAULT_LISTENING):
        pass
    assert "libsndfile" in "".join(caught.value.__notes__)  # for whoever looks for more


def test_damage_goes_with_its_track(bad: dict[str, BadFile], tmp_path: Path) -> None:
    music, path = tmp_path / "music", tmp_path / "music" / "a.flac"
    music.mkdir()
    shutil.copy(bad["cut.flac"].path, path)
    with Library.open(tmp_path / "library") as library:

        def scan(retry: bool = False) -> tuple[int, int, int]:
            report = library.add(music, ScanOptions(("descriptors",), jobs=1, retry=retry))
            return report.damaged, report.added + report.updated, report.unchanged

        def told() -> list[tuple[str, str, str]]:
            return [(f.kind, f.reason, f.file.path) for f, _ in library.failures()]

        assert scan() == (1, 1, 0)
        ((kind, reason, at),) = told()
        assert (kind, at) == ("damaged", str(path))
        assert re.search(HALF, reason)
        assert library.status().summary.failures == {"damaged": 1}
        assert len(library.vectors()[0]) == 1  # it is searchable all the same
        assert scan() == (0, 0, 1)  # and not embedded again
        os.utime(path, ns=(1, 1))
        scan()
        assert len(told()) == 1  # touched
        moved = path.rename(music / "b.flac")
        scan()
        assert told() == [("damaged", reason, str(moved))]
        assert scan(retry=True) == (1, 1, 0)
        shutil.copy(bad["8 channels.flac"].path, moved)
        assert scan() == (0, 1, 0)
        assert told() == []
        shutil.copy(bad["cut.flac"].path, moved)
        assert scan()[0] == 1
        library.remove([moved])
        assert told() == []


def test_a_failure_hides_damage_and_gives_it_back(bad: dict[str, BadFile], tmp_path: Path) -> None:
    from soundkin.record import Record

    with Library.open(tmp_path / "library") as library:
        library.add(bad["cut.flac"].path, ScanOptions(("descriptors",), jobs=1))
        file = library.failures()[0][0].file
        with Record.open(library.folder, write=True) as record:
            record.fail(Failure(FileState(file.path, 0, 0), "unreadable", "Input/output error"))
            assert [row.failure.kind for row in record.failures()] == ["unreadable"]
            assert record.counts().failures == {"unreadable": 1}
            record.touch(file)
            assert [row.failure.kind for row in record.failures()] == ["damaged"]


def test_a_bug_in_a_worker_is_logged_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soundkin import embed, workers

    def lose(*arguments: object) -> object:
        task = Task(FileState("/a.mp3", 1, 1))
        yield task, Failure(task.file, "crash", "a bug", "Traceback: line 7")

    monkeypatch.setattr(workers, "run", lose)
    with caplog.at_level(logging.DEBUG, "soundkin.embed"):
        assert len(list(embed.embed_files([], ["descriptors"]))) == 1
    assert "Traceback: line 7" in caplog.text
    monkeypatch.setattr("soundkin.embed.embedder.read", None)  # what reads tags: calling it is a bug
    path = write(tmp_path / "a.wav", rustle(1.0, 44100), 44100, "wav")
    outcome = Embedder(["descriptors"]).file(Task(FileState(str(path), 1, 1)))
    assert isinstance(outcome, Failure)
    assert "embedder.py" in outcome.detail
    assert "Traceback" in outcome.detail


def test_a_file_that_is_not_there_cannot_be_embedded(tmp_path: Path) -> None:
    from soundkin.encoders import load_encoder

    with pytest.raises(InputError, match=r"nothing\.mp3' cannot be read: No such file"):
        load_encoder("descriptors").embed(tmp_path / "nothing.mp3")
