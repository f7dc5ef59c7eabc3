"""Every benchmark runs, on next to nothing: what nobody runs rots."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
RATE = 44_100


def run(name: str, *arguments: object) -> str:
    """Run a benchmark as a person would; return what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def figure(output: str, target: str) -> float:
    """Return what a benchmark measured of a target."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"| {target}")]
    return float(line.split("|")[2].split()[0])


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two soundtracks of six tracks of 4 s: chords in one, noise that comes in bursts in the other."""
    import soundfile

    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    t = np.arange(4 * RATE) / RATE
    for i in range(6):
        chord = sum(np.sin(2 * np.pi * f * (1 + i / 20) * t) for f in (220, 277, 330)) / 6
        bursts = rng.standard_normal(len(t)) * np.exp(-((t * (2 + i / 5)) % 1) * 12) / 4
        for name, y in (("chords", chord), ("bursts", bursts)):
            (folder / name).mkdir(exist_ok=True)
            stereo = np.stack([y, 0.8 * y], axis=1)
            soundfile.write(folder / name / f"{i}.flac", stereo, RATE)
    return folder


def test_indexing(music: Path) -> None:
    out = run("bench_indexing", music / "chords", "--tracks", 1, "--repeats", 1, "--seconds", 1, 10)
    assert all(f"| {name} " in out for name in ("mp3", "ogg", "flac", "m4a", "opus"))
    assert figure(out, "indexing / decoding, all, mean of formats") > 1  # it decodes, and then does more
    assert figure(out, "least cosine, 2 workers") == pytest.approx(1)


def test_listening_finds_soundtracks_that_differ_completely(music: Path) -> None:
    out = run("bench_listening", music, "--encoder", "descriptors", "--timed", 1, "--repeats", 1)
    rows = {line.split("|")[1].strip(): line.split("|") for line in out.splitlines() if " % |" in line}
    # of 11 others 5 are right: among ten at best 5, in the order of a perfect answer
    assert float(rows["all"][3]) == pytest.approx(0.5)
    assert float(rows["all"][5]) == pytest.approx(1)
    assert float(rows["20x3.07s"][5]) == pytest.approx(1)


def test_encoders_side_by_side(music: Path) -> None:
    out = run(
        "bench_encoders", music, "--encoder", "descriptors", "--seconds", 2, "--repeats", 1, "--jobs", 1
    )
    speed, quality = [line.split("|") for line in out.splitlines() if line.startswith("| descriptors")]
    assert float(speed[6]) > 1  # times real time
    assert "12 tracks, 2 soundtracks" in out
    # A fold has one of the two soundtracks, so nothing else can be found.
    assert quality[2].split()[0] == "1.000"


@pytest.mark.torch
def test_the_released_weights_have_a_script(music: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    arguments = ["--cache", tmp_path, "--folds", 2, "--fold", 0, "--steps", 1, "--out", tmp_path / "out"]
    run("train_cnn", music, *arguments)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"encoder.json", "encoder.onnx"}
    # 12 tracks as they are, and windows of the 6 that are not left out, changed
    assert len(list(tmp_path.glob("*.npy"))) == 12 + 6


@pytest.mark.torch
def test_variants_of_the_recipe(music: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    variants = ("base", "random", "albums", "hard", "queue", "byol", "self")
    out = run("bench_recipes", music, *variants, "--cache", tmp_path, "--folds", 2, "--steps", 1)
    # A fold has one of the two soundtracks, so nothing else can be found.
    assert out.count("| 1.000 ± 0.000 | 1.000 ± 0.000 | 1.000 ± 0.000 |") == len(variants)


@pytest.mark.torch
def test_features_for_the_last_layer(music: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = run("bench_features", music, "--cache", tmp_path, "--folds", 2)
    assert "| random + texture + ripples | 1.000 | 1.000 | 1.000 | " in out  # again one soundtrack


def test_copies_are_found(music: Path, tmp_path: Path) -> None:
    out = run(
        "bench_copies", music, "--tracks", 1, "--jobs", 1, "--encoder", "descriptors", "--copies", tmp_path
    )
    # 13 copies that are not the harder ones, and their original: 91 pairs; 12 tracks: 66 pairs
    assert "recall over 91 pairs of copies, false of 66 other pairs" in out
    assert len(list(tmp_path.glob("*/*"))) == 17
    row = next(line for line in out.splitlines() if line.startswith("| 2 s off the start"))
    assert float(row.split("|")[7]) == pytest.approx(2, abs=0.05)


def test_journeys(tmp_path: Path) -> None:
    out = run("bench_journeys", "--tracks", 200, "--keep", tmp_path, "--real", tmp_path)
    assert figure(out, "radio, a step: median") > 0
    assert "paths of 12 between 100 pairs of 200 tracks" in out


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_scan() -> None:
    out = run("bench_scan", "--files", 20, "--memory", 1, "--seconds", 1, "--tracks", 30, "--repeats", 1)
    assert 20 < figure(out, "memory of a scan of 1") < 2000  # numpy alone takes more, nothing takes this
    assert "soundkin similar ID" in out


def test_the_index_of_a_large_library(tmp_path: Path) -> None:
    for _ in range(2):  # the second time it measures what it finds
        out = run(
            "bench_index", "--tracks", 300, "--dims", 16, "--queries", 20, "--folder", tmp_path / "library"
        )
        assert figure(out, "genre, 10 %, recall@10") == pytest.approx(1)  # so few are compared one by one
        assert figure(out, "resident") > 20  # numpy alone takes more


def test_growth(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    where = ("--folder", tmp_path, "--out", tmp_path / "scale.json", "--plot", tmp_path / "scale.svg")
    run("scale", "--sizes", 12, "--questions", 5, *where)
    out = run("scale", "--sizes", 24, "--questions", 5, *where)
    assert [row["tracks"] for row in json.loads((tmp_path / "scale.json").read_text())] == [12, 24]
    (head, recall) = [
        line.split("|") for line in out.splitlines() if line.startswith(("| tracks", "| recall"))
    ]
    assert [float(cell) for cell in head[2:4]] == [12, 24]
    assert [float(cell) for cell in recall[2:4]] == [1, 1]
    assert (tmp_path / "scale.svg").read_text().count("<path") > 20


def test_recommending_hubs_and_tastes(tmp_path: Path) -> None:
    library = tmp_path / "library"
    out = run("bench_recommend", "-n", 480, "--repeats", 1, "--folder", library)
    assert "480 tracks, lists of 20" in out
    assert figure(out, "200 likes, a filter that 10 % pass, CPU p50") > 0
    out = run("bench_hubness", library, "--pools", 20)
    rows = {line.split("|")[1].strip(): line.split("|") for line in out.splitlines() if line.startswith("| ")}
    assert 10 <= int(rows["cosine"][3]) < 480
    assert figure(out, "skewness of N10, after / before") >= 0
    out = run("bench_closeness", library)
    assert 0.3 < figure(out, "small libraries tell what the large one does") <= 1
    assert "0 of 480 tracks are shorter than 15 s; 0.0% of the answers hold one, by lot 0.0% would" in out
    out = run("bench_taste", library, "--listeners", 3, "--tastes", 1, 2)
    assert "40 folders of 6 or more" in out
    assert math.isfinite(figure(out, "nDCG, agreement - average, 2 tastes"))


def test_tempo(music: Path) -> None:
    out = run("bench_tempo", music, "-n", 4)  # techno, ambient, rock and folk
    assert 0.7 <= figure(out, "accuracy 1, its own") <= figure(out, "accuracy 2, its own") <= 1
    assert figure(out, "accuracy 1, any") <= figure(out, "accuracy 2, any") <= 1
    assert "of all pairs of tracks have the same energy within 0.05" in out


def test_startup(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.12" / "site-packages"
    for name, size in {"numpy": 3_000_000, "numpy.libs": 2_000_000, "click": 1_000_000}.items():
        (site / name).mkdir(parents=True)
        (site / name / "file").write_bytes(bytes(size))
    out = run("bench_startup", "--repeats", 1, "--venv", tmp_path)
    assert figure(out, "site-packages") == pytest.approx(6)
    assert "| numpy   | 5.0 |" in out
    assert math.isfinite(figure(out, "soundkin --help,"))


def test_check_fails_on_a_missed_target() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from common import Targets
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    targets = Targets()
    targets.at_most("fine", 1.0, 1.0)
    assert targets.finish(check=True) == 0
    targets.at_least("missed", 0.9, 1.0)
    assert targets.finish(check=False) == 0
    assert targets.finish(check=True) == 1


def test_evaluating_agrees_with_the_references() -> None:
    out = run("bench_evaluate", "--tracks", 400, "--questions", 40)
    for protocol in ("album", "artist", "genre", "same-track"):
        assert f"| {protocol} " in out
    assert figure(out, "largest difference from trec_eval") < 1e-9
    assert figure(out, "largest difference from scikit-learn") < 1e-9


def test_hybrid(tmp_path: Path) -> None:
    pytest.importorskip("implicit")
    pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    rows = ["TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"]
    for i in range(600):
        tags = "\t".join(f"genre---{tag}" for tag in rng.choice(8, 2, replace=False) + 8 * (i // 6 % 3))
        rows.append(f"track_{i:05}\tartist_{i // 6:03}\talbum_1\t{i}.mp3\t200\t{tags}")
    (tmp_path / "autotagging_genre.tsv").write_text("\n".join(rows))
    out = run("bench_hybrid", "--jamendo", tmp_path, "--artists", 100, "--people", 150, "--seeds", 1)
    assert figure(out, "sound less chance on cold artists, where all of it can") > 0.05
    out = run("bench_hybrid", "--size", 200, 300, 4000)
    assert figure(out, "ALS, memory") < 2


def test_a_history_of_any_size_is_read_in_the_same_memory() -> None:
    out = run("bench_plays", "--gigabytes", 0.02, "--tracks", 300)
    assert figure(out, "rows found of those that are there") == 1
    assert figure(out, "memory gained after a tenth of the file") < 60
