import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from badfiles import BadFile, make_bad_files
from hypothesis import given
from hypothesis import strategies as st
from sounds import rustle, tone

from soundkin import embed, workers
from soundkin.audio import DEFAULT_LISTENING, WHOLE, Listening
from soundkin.embed import (
    Embedded,
    Embedder,
    Failure,
    FileState,
    Outcome,
    Same,
    Space,
    Task,
    content_hash,
    cores,
    embed_files,
    space_of,
)
from soundkin.encoders import ENCODERS, EncoderInfo, load_encoder
from soundkin.encoders.descriptors import Descriptors
from soundkin.encoders.weights import WeightFile
from soundkin.errors import DecodeError, ModelError

LISTENING = Listening(2, 1.0)

# Spaces

words = st.text(max_size=20)
seconds = st.floats(0, 1e4, allow_nan=False)
spaces = st.builds(Space, words, words, words, seconds, seconds, words, words, st.integers(1, 4096))


@given(spaces)
def test_a_space_survives_json(space: Space) -> None:
    again = Space.from_json(space.to_json())
    assert again == space
    assert again.id == space.id
    assert json.loads(space.to_json())["dims"] == space.dims


@given(spaces, st.sampled_from(fields(Space)), st.data())
def test_any_difference_makes_another_space(space: Space, field: Any, data: st.DataObject) -> None:
    kinds: dict[str, st.SearchStrategy[Any]] = {"str": words, "float": seconds, "int": st.integers(1, 4096)}
    kind = field.type if isinstance(field.type, str) else field.type.__name__
    changed = replace(space, **{field.name: data.draw(kinds[kind])})
    assert (changed.id == space.id) == (changed == space)


def test_the_id_of_a_space_is_the_same_for_ever() -> None:
    """Records hold these ids; the digits were computed with sha256sum."""
    space = Space("cnn", "ab", "logmel", 3.1, 2.9, "5x9.02s", "mean", 128)
    text = (
        '{"dims":128,"encoder":"cnn","front_end":"logmel","hop_seconds":2.9,"listening":"5x9.02s",'
        '"pooling":"mean","weights":"ab","window_seconds":3.1}'
    )
    assert space.to_json() == text
    assert space.id == "cnn-" + hashlib.sha256(text.encode()).hexdigest()[:8] == "cnn-0b20d77f"


def test_a_space_tells_how_it_listens() -> None:
    encoder = load_encoder("descriptors")
    ids = {
        space_of(encoder, way).id
        for way in (DEFAULT_LISTENING, WHOLE, Listening(5, 9.03), Listening(4, 9.02))
    }
    assert len(ids) == 4


# One file


def state(path: str | os.PathLike[str]) -> FileState:
    found = os.lstat(path)
    return FileState(os.fsdecode(path), found.st_size, found.st_mtime_ns)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(["descriptors", "cnn"], LISTENING)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("good")
    for i in range(6):
        soundfile.write(folder / f"{i}.flac", rustle(3, 22050, seed=i), 22050)
    return sorted(folder.iterdir())


def test_a_file_is_told_in_full(embedder: Embedder, good: list[Path]) -> None:
    outcome = embedder.file(Task(state(good[0])))
    assert isinstance(outcome, Embedded)
    assert outcome.file == state(good[0])
    assert outcome.content == hashlib.sha256(good[0].read_bytes()).hexdigest()[:32]
    assert (outcome.duration, outcome.sample_rate, outcome.channels) == (3.0, 22050, 2)
    assert outcome.format == "flac"
    sound = soundfile.read(good[0], dtype="float32")[0]
    expected = {s.id: load_encoder(s.encoder).embed(sound, 22050, LISTENING) for s in embedder.spaces}
    assert set(outcome.vectors) == set(outcome.windows) == {space.id for space in embedder.spaces}
    for space in embedder.spaces:
        vector = outcome.vectors[space.id]
        assert vector.shape == (space.dims,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        assert np.abs(vector - expected[space.id]).max() < 1e-5
        starts, rows = outcome.windows[space.id]
        assert len(starts) == len(rows) >= 2
        assert np.all(np.diff(starts) > 0)
        assert starts[0] == pytest.approx(0.25)  # the middle of the first half of 3 s, less half a second
    mono = sound.mean(axis=1)
    heard = np.concatenate([mono[5512:27562], mono[38588:60638]])
    level = 10 * np.log10(np.mean(np.square(heard)))
    assert outcome.analysis.loudness == pytest.approx(level, abs=0.2)


@pytest.mark.parametrize(
    ("seconds", "excerpts", "windows"),
    # an excerpt of 6.05 s has two windows; what is shorter has one, and excerpts do not overlap
    [(0.5, 1, 1), (2, 1, 1), (4, 1, 1), (6, 1, 1), (6.1, 1, 2), (12, 1, 2), (13, 2, 4), (30, 4, 8)],
)
def test_tracks_of_every_length_are_told_in_full(
    tmp_path: Path, seconds: float, excerpts: int, windows: int
) -> None:
    usual = Embedder(["cnn", "descriptors"])
    soundfile.write(tmp_path / "x.wav", rustle(seconds, 22050), 22050)
    outcome = usual.file(Task(state(tmp_path / "x.wav")))
    assert isinstance(outcome, Embedded)
    cnn, descriptors = (outcome.windows[space.id][0] for space in usual.spaces)
    assert (len(cnn), len(descriptors)) == (windows, excerpts)
    assert cnn[0] >= 0
    assert seconds < 3.1 or cnn[-1] + 3.07 <= seconds  # what is shorter than a window is heard in a loop
    assert all(np.linalg.norm(v) == pytest.approx(1, abs=1e-5) for v in outcome.vectors.values())
    level = 20 * np.log10(
        0.4 * np.sqrt(3 / 11.025 / 2)
    )  # of noise below 3 of 11.025 kHz, the mean of two channels
    assert outcome.analysis.loudness == pytest.approx(level, abs=1)
    assert outcome.analysis.energy is not None
    pictured = list(outcome.fingerprint[1:2])
    assert pictured == ([excerpts] if seconds >= 1 else [])


def test_bytes_that_are_known_are_not_decoded(
    embedder: Embedder, good: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = hashlib.sha256(good[0].read_bytes()).hexdigest()[:32]
    monkeypatch.setattr("soundkin.embed.embedder.hear", None)  # to call it would raise
    assert embedder.file(Task(state(good[0]), ("f" * 32, content))) == Same(state(good[0]), content)


def test_one_changed_byte_is_another_content(embedder: Embedder, good: list[Path], tmp_path: Path) -> None:
    data = good[0].read_bytes()
    (tmp_path / "x.flac").write_bytes(data + b"\0")
    outcome = embedder.file(Task(state(tmp_path / "x.flac"), (hashlib.sha256(data).hexdigest()[:32],)))
    assert isinstance(outcome, Embedded)


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BadFile]:
    return make_bad_files(tmp_path_factory.mktemp("bad"))


KINDS = {
    "silent.flac": "silent",
    "all nan.wav": "silent",
    "empty.mp3": "decode",
    "text.mp3": "decode",
    "picture.flac": "decode",
    "mute.mp4": "decode",
    "0 Hz.wav": "decode",
    "0.05 s.wav": "decode",
    "no samples.wav": "decode",
    "dangling.mp3": "vanished",
    "loop.mp3": "unreadable",
    "folder.mp3": "decode",
    "pipe.mp3": "decode",
}


@pytest.mark.parametrize("key", KINDS)
def test_kinds_of_failure(embedder: Embedder, bad_files: dict[str, BadFile], key: str) -> None:
    begin = time.monotonic()
    outcome = embedder.file(Task(state(bad_files[key].path)))
    assert isinstance(outcome, Failure)
    assert outcome.kind == KINDS[key]
    assert outcome.file.path == bad_files[key].path
    assert outcome.reason
    assert "\n" not in outcome.reason
    assert time.monotonic() - begin < 60  # a pipe would block for ever


@pytest.mark.slow
def test_every_bad_file_has_an_outcome(embedder: Embedder, bad_files: dict[str, BadFile]) -> None:
    wrong = {}
    for key, bad in bad_files.items():
        outcome = embedder.file(Task(state(bad.path)))
        if isinstance(outcome, Embedded):
            assert all(np.isfinite(vector).all() for vector in outcome.vectors.values()), key
        expected: tuple[type, ...] = {"ok": (Embedded,), "fail": (Failure,)}.get(
            bad.expect, (Embedded, Failure)
        )
        if not isinstance(outcome, expected) or (isinstance(outcome, Failure) and outcome.kind == "crash"):
            wrong[key] = outcome
    assert wrong == {}


ERRORS: list[tuple[Exception, str, str]] = [
    (FileNotFoundError(2, "No such file"), "vanished", "gone"),
    (PermissionError(13, "Permission denied"), "unreadable", "Permission denied"),
    (OSError(5, "Input/output error"), "unreadable", "Input/output error"),
    (DecodeError("no music in it"), "decode", "no music in it"),
    (MemoryError(), "decode", "memory"),
    (ZeroDivisionError("division\nby zero"), "crash", "ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("error", "kind", "words"), ERRORS)
@pytest.mark.parametrize("station", ["content_hash", "hear", "read", "describe"])
def test_errors_are_values(
    embedder: Embedder, good: list[Path], monkeypatch: pytest.MonkeyPatch, station: str, error: Exception, kind: str,
    words: str,
) -> None:  # fmt: skip
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(f"soundkin.embed.embedder.{station}", fail)
    outcome = embedder.file(Task(state(good[0])))
    assert isinstance(outcome, Failure)
    assert outcome.kind == kind
    assert words in outcome.reason


def test_a_file_that_vanishes_after_it_was_found(embedder: Embedder, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(2, 44100, (0.5,)), 44100)
    task = Task(state(tmp_path / "x.wav"))
    os.remove(tmp_path / "x.wav")
    outcome = embedder.file(task)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "vanished"


def test_unknown_encoders_are_refused_at_once() -> None:
    with pytest.raises(ModelError):
        Embedder(["descriptors", "nothing"])


# Content


@given(data=st.binary(max_size=200_000))
def test_content_is_half_the_sha256(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(data)
    assert content_hash(path) == hashlib.sha256(data).digest()[:16].hex()


def test_content_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(DecodeError, match="not a regular file"):
            content_hash(path)
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "nothing")


# Many files


def test_jobs_do_not_change_vectors(good: list[Path], embedder: Embedder) -> None:
    tasks = [Task(state(path)) for path in good]
    names = ["descriptors", "cnn"]
    one = dict(embed_files(tasks, names, LISTENING, jobs=1))
    two = dict(embed_files(tasks[::-1], names, LISTENING, jobs=2, nice=True))
    assert set(one) == set(two) == set(tasks)
    for task in tasks:
        here = embedder.file(task)
        a, b = one[task], two[task]
        assert isinstance(here, Embedded)
        assert isinstance(a, Embedded)
        assert isinstance(b, Embedded)
        for space in embedder.spaces:
            assert np.array_equal(a.vectors[space.id], b.vectors[space.id])
            assert a.vectors[space.id] @ here.vectors[space.id] >= 0.9999
        assert a.analysis == b.analysis
        assert a.tags == b.tags


def test_failures_travel(good: list[Path], bad_files: dict[str, BadFile]) -> None:
    tasks = [Task(state(path)) for path in (good[0], bad_files["text.mp3"].path, good[1])]
    tasks.append(Task(state(good[2]), (content_hash(good[2]),)))
    kinds = {task: type(outcome) for task, outcome in embed_files(tasks, ["descriptors"], LISTENING, jobs=1)}
    assert [kinds[task] for task in tasks] == [Embedded, Failure, Embedded, Same]


def test_encoders_that_cannot_be_loaded_stop_the_run(good: list[Path]) -> None:
    from soundkin.errors import SoundkinError

    with pytest.raises(SoundkinError, match="nothing"):
        list(embed_files([Task(state(good[0]))], ["nothing"], jobs=1))


def four_gigabytes(path: Any) -> str:
    """Ask for what a lying header may make a decoder ask for."""
    return str(np.ones(1 << 29).sum())


def misbehaving(names: tuple[str, ...], listening: Listening) -> Callable[[Task], Outcome]:
    """What runs in a worker: embeds, and at marked files does what a decoder might."""
    from soundkin.embed import embedder

    real = embed.worker(names, listening, "cpu")

    def file(task: Task) -> Outcome:
        name = os.path.basename(task.file.path)
        if name == "crash.flac":
            os.kill(os.getpid(), signal.SIGSEGV)
        if name == "hang.flac":
            time.sleep(600)
        setattr(embedder, "content_hash", four_gigabytes if name == "greed.flac" else content_hash)  # noqa: B010
        return real(task)

    return file


@pytest.mark.slow
def test_a_decoder_that_crashes_hangs_or_is_greedy_costs_one_file(
    good: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    marked = []
    for name in ("crash.flac", "hang.flac", "greed.flac"):
        (tmp_path / name).write_bytes(good[0].read_bytes())
        marked.append(tmp_path / name)
    tasks = [Task(state(path)) for path in (good[0], marked[0], good[1], marked[1], good[2], marked[2])]
    factory = f"{__name__}:misbehaving"
    results = dict(workers.run(factory, (("descriptors",), LISTENING), tasks, 1, lambda task: 5.0))
    assert [type(results[task]) for task in tasks] == [
        Embedded, workers.Lost, Embedded, workers.Lost, Embedded, Failure,
    ]  # fmt: skip
    assert [results[tasks[i]].kind for i in (1, 3, 5)] == ["crash", "timeout", "decode"]


def test_lost_files_are_failures_of_a_scan(good: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*arguments: Any) -> Any:
        yield from ((task, workers.Lost("timeout", "no result after 60 s")) for task in arguments[2])

    monkeypatch.setattr(workers, "run", lose)
    task = Task(state(good[0]))
    assert list(embed_files([task], ["descriptors"])) == [
        (task, Failure(task.file, "timeout", "no result after 60 s"))
    ]


def test_patience_grows_with_the_file() -> None:
    small, large = (embed.patience(Task(FileState("x", size, 0))) for size in (0, 100_000_000))
    assert small >= 60
    assert large >= small + 100


def test_cores_are_those_this_process_may_use() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from soundkin.embed import cores; print(cores())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert int(done.stdout) == 1
    assert cores() == len(os.sched_getaffinity(0))


# One copy of a network for what all workers decode


class Fragile(Descriptors):
    """Ours under another name, as if it ran on a GPU: does not bear a loud moment; says what it was given at once."""

    listening = Listening(3, 0.5)
    name = "fragile"
    given: ClassVar[list[int]] = []
    fails = 2.0  # more than full scale

    def windows_of(self, excerpts: Any) -> Any:
        self.given.append(len(excerpts))
        if any(np.abs(e.samples).max() > self.fails for e in excerpts):
            raise RuntimeError("out of memory")
        return super().windows_of(excerpts)


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> type[Fragile]:
    file = WeightFile("fragile", "https://example.org/fragile", 1)
    info = EncoderInfo(lambda choice: Fragile(), 184, 22050, "", "", "", "", files=(file,))
    monkeypatch.setitem(ENCODERS, "fragile", info)
    monkeypatch.setattr(embed, "_device", lambda device: "cuda")
    monkeypatch.setattr(Fragile, "given", [])
    return Fragile


NAMES = ["descriptors", "fragile"]


def test_batches_across_tracks_change_no_vector(
    good: list[Path], bad_files: dict[str, BadFile], fragile: type[Fragile]
) -> None:
    alone = Embedder(NAMES, None)
    tasks = [Task(state(path)) for path in good]
    tasks.append(Task(state(bad_files["text.mp3"].path)))
    tasks.append(Task(state(good[0]), (content_hash(good[0]),)))
    light, heavy = (space.id for space in alone.spaces)
    tasks.append(Task(state(good[1]), lacking=(light,)))
    expected = {task: alone.file(task) for task in tasks}
    fragile.given.clear()
    outcomes = dict(embed_files(tasks, NAMES, None, jobs=2))
    assert fragile.given == [18]  # three excerpts of each of six tracks, at once, in this process
    assert outcomes.keys() == expected.keys()
    for task, outcome in outcomes.items():
        wanted = expected[task]
        assert type(outcome) is type(wanted)
        if isinstance(wanted, Embedded):
            assert isinstance(outcome, Embedded)
            assert outcome.vectors.keys() == wanted.vectors.keys()
            assert all(
                np.allclose(outcome.vectors[id_], wanted.vectors[id_], atol=1e-5) for id_ in wanted.vectors
            )
            assert all(np.array_equal(outcome.windows[i][0], wanted.windows[i][0]) for i in wanted.windows)
            told = ("analysis", "tags", "content", "fingerprint", "duration", "ran")
            assert all(getattr(outcome, name) == getattr(wanted, name) for name in told)
    last = outcomes[tasks[-1]]
    assert isinstance(last, Embedded)
    assert heavy not in last.vectors


def test_what_fails_together_is_tried_alone(
    fragile: type[Fragile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    for path in paths:
        soundfile.write(path, tone(3.0, 22050, (0.9 if path is paths[2] else 0.1,)), 22050)
    monkeypatch.setattr(fragile, "fails", 0.5)
    outcomes = [outcome for _, outcome in embed_files([Task(state(path)) for path in paths], NAMES, None, 2)]
    assert len(outcomes) == 4
    (failed,) = [outcome for outcome in outcomes if not isinstance(outcome, Embedded)]
    assert isinstance(failed, Failure)
    assert failed.file.path == str(paths[2])
    assert "out of memory" in failed.reason


def test_what_is_too_long_to_hand_over_goes_the_ordinary_way(
    good: list[Path], fragile: type[Fragile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "long.flac", np.tile(tone(10.0, 8000, (0.5,)), (95, 1)), 8000)
    monkeypatch.setattr(fragile, "listening", WHOLE)
    asked = []

    def ordinary(tasks: Any, names: Any, listening: Any, jobs: int, nice: bool, device: str) -> Any:
        asked.append((list(tasks), names, jobs))
        yield from ()

    monkeypatch.setattr(embed, "_in_workers", ordinary)
    tasks = [Task(state(path)) for path in (good[0], tmp_path / "long.flac")]
    assert [task for task, _ in embed_files(tasks, NAMES, None, jobs=2)] == tasks[:1]
    assert asked == [([tasks[1]], NAMES, 1)]


def test_on_a_cpu_every_worker_has_its_own_encoders(
    good: list[Path], fragile: type[Fragile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "_device", lambda device: "cpu")
    monkeypatch.setattr(embed, "_through_one", lambda *a, **k: pytest.fail("there is no GPU"))
    with pytest.raises(ModelError, match="fragile"):  # which the workers do not know
        list(embed_files([Task(state(good[0]))], NAMES, None, jobs=2))
