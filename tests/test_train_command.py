import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from soundkin import cli, synth
from soundkin.cli import encoding
from soundkin.encoders import load_encoder
from soundkin.errors import InputError, StoreError
from soundkin.features import FrontEnd
from soundkin.library import Library
from soundkin.training.run import TrainOptions, TrainReport, album_of, held_out, train

STEPS = 12
FEW = 64
OPTIONS = TrainOptions(steps=STEPS, threads=1, report_every=2, device="cpu")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def python(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


def weights(folder):
    return hashlib.sha256((Path(folder) / "encoder.onnx").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    synth.write_library(folder, 12, 8.0, seed=0)
    (folder / "broken.mp3").write_bytes(b"no audio at all")
    return folder


@pytest.fixture(scope="module")
def few_windows():
    """Let a dozen short tracks be sampled as such, not like a library."""
    pytest.importorskip("torch")
    from soundkin.training import loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_SAMPLE", FEW)
        yield


@pytest.fixture(scope="module")
def trained(music, tmp_path_factory, few_windows):
    """An encoder folder made by one uninterrupted run, and its report."""
    out = tmp_path_factory.mktemp("trained") / "my encoder"
    return out, train([music], out, OPTIONS)


# --- what needs no PyTorch


def test_without_torch_one_line_says_what_to_install(music, tmp_path):
    script = """
        import sys
        sys.modules["torch"] = None
        from soundkin.cli import main
        main(["train", sys.argv[1], "--out", sys.argv[2]])
    """
    result = python(script, music, tmp_path / "out")
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "pip install 'soundkin[train]'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_loads_no_library_and_names_the_recipes():
    script = """
        import sys
        from soundkin.cli import _run
        _run(["train", "--help"])
        print("loaded:", sorted({"torch", "numpy", "onnx"} & set(sys.modules)))
    """
    text = python(script).stdout
    assert "loaded: []" in text
    assert "article: the same chunk twice" in " ".join(text.split())


def test_an_album_is_its_tag_or_else_its_folder(tmp_path):
    def write(name, **tags):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with soundfile.SoundFile(path, "w", 8000, 1) as file:
            for tag, value in tags.items():
                setattr(file, tag, value)
            file.write(np.zeros(8000))
        return album_of(os.fspath(path))

    assert write("CD1/a.flac", album="Double") == write("CD2/b.flac", album="Double") == "Double"
    assert write("CD1/c.flac", title="no album") == os.fspath(tmp_path / "CD1")
    assert album_of(os.fspath(tmp_path / "gone" / "d.flac")) == os.fspath(tmp_path / "gone")


@given(st.lists(st.integers(0, 30), max_size=300), st.integers(0, 1000))
def test_whole_albums_are_held_out_and_never_more_than_a_third(numbers, seed):
    albums = [f"album {number}" for number in numbers]
    held = held_out(albums, seed)
    assert held == held_out(albums, seed)
    heard = set(range(len(albums))).difference(held)
    assert not {albums[i] for i in held} & {albums[i] for i in heard}
    assert len(held) != 1  # one track always finds itself
    assert len(held) <= len(albums) / 3


def test_a_tenth_is_held_out_of_many_small_albums():
    assert 90 <= len(held_out([f"album {i // 10}" for i in range(1000)], 0)) <= 100
    assert len(held_out([f"album {i // 10}" for i in range(9000)], 0)) == 200
    assert held_out(["the only album"] * 50, 0) == []


def test_more_tracks_than_files_a_process_may_open(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((10, 128), np.uint8))
    tracks = [{"path": f"{i}.mp3", "album": "", "file": "one.npy"} for i in range(400)]
    (tmp_path / "manifest.json").write_text(json.dumps({"front_end": asdict(FrontEnd()), "tracks": tracks}))
    script = """
        import resource, sys
        from soundkin.errors import InputError
        from soundkin.training.data import open_mels
        hard = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        try:
            print(sum(len(track) for track in open_mels(sys.argv[1]).tracks))
        except InputError as error:
            print(error)
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert python(script, tmp_path, hard).stdout == "4000\n"
    assert (
        "400 tracks to train on, but this system lets a process open 300"
        in python(script, tmp_path, 300).stdout
    )


def test_a_full_disk_is_an_error_and_not_a_bad_file(music, tmp_path):
    script = """
        import resource, sys
        from soundkin.errors import StoreError
        from soundkin.features import FrontEnd
        from soundkin.training.data import cache_mels, sources_in
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # the system refuses to write more
        try:
            cache_mels(sources_in(sys.argv[1]), sys.argv[2], FrontEnd(), jobs=1)
        except StoreError as error:
            print(error)
    """
    assert python(script, music, tmp_path / "cache").stdout.startswith(
        f"cannot write to {tmp_path / 'cache'}: "
    )


# --- what does


@pytest.mark.torch
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "soup"}, "no recipe is called 'soup'; there are article, soundkin"),
        ({"steps": 0}, "steps is 0"),
        ({"minutes": float("nan")}, "minutes is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "abacus"}, "no device is called 'abacus'"),
    ],
)
def test_bad_options_are_named(music, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        train([music], tmp_path / "out", TrainOptions(**options))
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
def test_what_cannot_be_trained_on_or_into(music, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        train([tmp_path / "nothing"], tmp_path / "out", OPTIONS)
    with pytest.raises(InputError, match=r"1 audio file\(s\)"):
        train([music / "broken.mp3"], tmp_path / "out", OPTIONS)
    with pytest.raises(InputError, match="name of a built-in encoder"):
        train([music], tmp_path / "cnn", OPTIONS)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        train([music], tmp_path / "file", OPTIONS)


@pytest.mark.torch
def test_no_gpu_is_said(music, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="no CUDA device"):
        train([music], tmp_path / "out", TrainOptions(device="cuda"))


@pytest.mark.torch
def test_one_process_trains_into_a_folder(music, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with FileLock(tmp_path / "checkpoint" / "lock"), pytest.raises(StoreError, match="another process"):
        train([music], tmp_path, OPTIONS)


@pytest.mark.torch
def test_the_folder_is_an_encoder_and_says_what_it_is(trained, music):
    out, report = trained
    encoder = load_encoder(os.fspath(out))
    track = next(music.rglob("*.flac"))
    vector = encoder.embed(track)
    assert vector.shape == (encoder.dims,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert encoder.name == "my-encoder"  # no space in the name of a space
    # 12 synthesised tracks of 8 s, each the only one of its album; 4 of them held out.
    assert (report.tracks, report.albums, report.validation_tracks, report.left_out) == (8, 8, 4, 1)
    assert report.hours == pytest.approx(8 * 8 / 3600, rel=0.15)
    assert report.among == 12
    assert (report.steps, report.resumed_at, report.device) == (STEPS, 0, "cpu")
    card = json.loads((out / "encoder.json").read_text("utf-8"))
    assert card["recipe"]["name"] == "soundkin"
    assert "8 tracks of 8 albums" in card["data"]
    assert "seed 0, 12 steps" in card["data"]
    assert card["metrics"]["found"] == report.found


@pytest.mark.torch
def test_the_command_trains_and_index_takes_the_encoder(music, few_windows, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoding, "_LOG_SECONDS", 0.0)
    arguments = [
        "train",
        str(music),
        "--out",
        "mine",
        "--epochs",
        str(STEPS),
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    assert cli._run([*arguments, "--json"]) == 0
    answer = capsys.readouterr()
    report = json.loads(answer.out)
    # 8 tracks fit into one batch, so an epoch is a step.
    assert (report["steps"], report["folder"]) == (STEPS, str(tmp_path / "mine"))
    assert "caching: 13 of 13 files" in answer.err
    assert "fitting the last layer: 8 of 8 files" in answer.err
    assert "changing: 8 of 8 files" in answer.err
    lines = [line for line in answer.err.splitlines() if line.startswith("training: ")]
    assert len(lines) == STEPS + 1  # every step, and the validation after the last
    assert lines[-1].startswith(f"training: 100%, step {STEPS}, loss ")
    assert "validation" in lines[-1]

    assert cli._run(arguments) == 0  # again: it is finished, nothing to do
    answer = capsys.readouterr()
    assert "training:" not in answer.err
    assert f"soundkin index {music} --encoder mine" in answer.out

    assert cli._run(["index", str(music), "--encoder", "mine", "--library", "library", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 12
    with Library.open(tmp_path / "library") as library:
        assert library.space("mine").weights == weights(tmp_path / "mine")
        assert len(library.similar(next(music.rglob("*.flac")), 3)) == 3
    kept = tmp_path / "library" / "encoders" / "mine"
    assert {path.name for path in kept.iterdir()} == {"encoder.json", "encoder.onnx"}


@pytest.mark.parametrize(("found", "advised"), [(0.25, True), (0.5, True), (0.75, False)])
def test_training_that_did_not_help_is_called_that(capsys, found, advised):
    report = TrainReport("mine", "soundkin", "cpu", 0, 39, 11, 1.6, 0, 0, 25, 1.0, 4, 43, found, 0.5)
    encoding._print_training(report, ["music"], "mine")
    answer = capsys.readouterr().out
    assert f"{found:.0%} found (untrained 50%" in answer
    assert ("stay with the built-in encoder" in answer) == advised


@pytest.mark.torch
def test_same_seed_same_encoder(trained, music, tmp_path):
    same = tmp_path / "same"
    train([music], same, OPTIONS)
    assert weights(same) == weights(trained[0])
    other = tmp_path / "other"
    train([music], other, TrainOptions(steps=STEPS, threads=1, device="cpu", seed=1))
    assert weights(other) != weights(trained[0])


@pytest.mark.torch
def test_interrupted_and_killed_it_goes_on_and_ends_as_if_it_never_had_been(trained, music, tmp_path):
    reported = []

    def press_ctrl_c(metrics):
        reported.append((metrics.step, metrics.found))
        if metrics.step == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background of a shell
    with pytest.raises(KeyboardInterrupt):
        train([music], tmp_path / "out", OPTIONS, on_step=press_ctrl_c)
    assert signal.getsignal(signal.SIGINT) is before
    assert reported[-1] == (3, None)  # nobody waits for a validation after that

    script = """
        import sys, time
        from soundkin.training import loop
        from soundkin.training.run import TrainOptions, train
        loop._SAMPLE = int(sys.argv[4])
        def show(metrics):
            print(metrics.step, flush=True)
            if metrics.step == 7:
                time.sleep(600)
        options = TrainOptions(steps=int(sys.argv[3]), threads=1, report_every=2, device="cpu")
        train([sys.argv[1]], sys.argv[2], options, on_step=show)
    """
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(script),
        str(music),
        str(tmp_path / "out"),
        str(STEPS),
        str(FEW),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as child:
        assert child.stdout is not None
        steps = []
        for line in child.stdout:
            steps.append(int(line))
            if steps[-1] == 7:
                break
        child.kill()
    assert steps[0] == 4  # the third was finished and kept before Ctrl-C took effect
    assert not (tmp_path / "out" / "encoder.onnx").exists()

    report = train([music], tmp_path / "out", OPTIONS)
    assert (report.resumed_at, report.steps) == (6, STEPS)
    assert weights(tmp_path / "out") == weights(trained[0])


@pytest.mark.torch
def test_a_folder_with_another_run_is_refused(trained, music, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained[0], out)
    with pytest.raises(InputError, match=r"another seed \(0, now 1\): give another --out"):
        train([music], out, TrainOptions(steps=STEPS, seed=1))
    with pytest.raises(InputError, match=r"another recipe \(soundkin, now article\)"):
        train([music], out, TrainOptions(steps=STEPS, recipe="article"))
    extra = tmp_path / "extra.flac"
    shutil.copy(next(music.rglob("*.flac")), extra)
    with pytest.raises(InputError, match=r"another set of audio \(13 files, now 14\)"):
        train([music, extra], out, OPTIONS)
    more = tmp_path / "more"
    shutil.copytree(music, more)
    with pytest.raises(InputError, match=r"another set of audio \(13 files, of which some changed\)"):
        train([more], out, OPTIONS)
    assert weights(out) == weights(trained[0])


@pytest.mark.torch
def test_tracks_in_the_way_make_validation_harder():
    pytest.importorskip("torch")
    from soundkin.training.data import Mels, Source
    from soundkin.training.loop import Trainer, halves_found, in_the_way
    from soundkin.training.recipes import RECIPES

    random = np.random.default_rng(0)
    noise = [random.integers(50, 150, (129, 128)).astype(np.uint8) for _ in range(300)]
    mels = Mels(FrontEnd(), [Source(f"{i}", f"{i}") for i in range(300)], noise)
    encoder = Trainer(mels, RECIPES["soundkin"]).encoder
    assert len(in_the_way(mels)) == 200
    assert len(in_the_way(mels.subset(range(7)))) == 7
    # One window is both query and record, so a track finds itself unless its very double comes first.
    assert halves_found(encoder, mels.subset(range(5))) == 1
    unequal = Mels(
        FrontEnd(), mels.sources[:5], [np.concatenate([noise[i], noise[i + 5][1:]]) for i in range(5)]
    )
    doubles = mels.subset(range(5))  # the first halves, exactly: nothing is nearer to them
    assert halves_found(encoder, unequal, others=doubles) == 0
