"""The report: every part is there, its numbers are those of the library, and the page needs nothing else."""

import csv
import html
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from soundkin import cli, report, synth
from soundkin.encoders import unit
from soundkin.encoders.descriptors import _PITCHES
from soundkin.library import Library
from soundkin.record import Record
from soundkin.report import figures, findings
from soundkin.scan import ScanOptions


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
        cli.main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exited.value.code or 0), out, err


def test_neighbours_are_those_of_scikit_learn() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((1500, 8)).astype(np.float32))
    near, cosine = findings.neighbours(vectors, 5)
    distance, wanted = NearestNeighbors(n_neighbors=6, metric="cosine").fit(vectors).kneighbors(vectors)
    np.testing.assert_array_equal(near, wanted[:, 1:])
    np.testing.assert_allclose(cosine, 1 - distance[:, 1:], atol=1e-5)


def test_findings_of_made_music(shared: Library, made: Any) -> None:
    found = findings.look(shared)
    assert found.counts.sum() == 10 * len(found.tracks)
    assert set(found.orphans()) == set(np.flatnonzero(found.counts == 0))
    hubs = found.hubs()
    assert found.counts[hubs[0]] == found.counts.max()
    copies = {str(path) for group in made.copies.values() for path in group}
    for i, j, cosine in found.closest():
        assert cosine == pytest.approx(float(found.vectors[i] @ found.vectors[j]), abs=1e-5)
        assert found.album[i] != found.album[j]
        assert found.tracks[i].content != found.tracks[j].content
    assert copies
    lone = found.strangest()[0]
    assert lone[2] == pytest.approx(found.cosine[:, 0].min())


def test_every_key_has_its_bar(shared: Library) -> None:
    assert figures._KEYS == _PITCHES


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.floats(0.1, 2.0))
def test_labels_of_groups_stand_apart(sizes: list[int], gap: float) -> None:
    ends = np.cumsum(sizes)
    middles, end = ends - np.array(sizes) / 2, float(ends[-1])
    places = figures._spread(middles, gap, end)
    assert (np.diff(places) >= gap - 1e-9).all()
    assert places[-1] <= end - gap / 2 + 1e-9
    if (np.diff(middles) >= gap).all() and middles[-1] <= end - gap / 2:
        np.testing.assert_allclose(places, middles)


def test_numbers_stand_under_each_other_and_commands_are_code(tmp_path: Path) -> None:
    rows = [["a", "0.273 (0.160-0.366)", "<0.001", "7 up"], ["b", "-", "", "8 down"]]
    listing = report.Listing("", "see `soundkin clusters`", ["", "P@10", "p", "name"], rows)
    page = report._html(tmp_path, "t", "made", [("s", [listing])])
    assert page.count('<td class="number">') == 4
    assert page.count("<td>") == 4
    assert "<code>soundkin clusters</code>" in page


def test_the_report(library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, printed, _ = run(capsys, "report", out, "--library", library.folder, "--json")
    assert code == 0
    assert json.loads(printed)["files"] == [str(out / "report.html"), str(out / "report.md")]
    page, text = (out / "report.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")
    # nothing is fetched, every picture is inside
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    names = {file.stem for file in (out / "figures").iterdir()}
    assert {
        "tempo",
        "energy",
        "length",
        "key",
        "map-pca-cluster",
        "map-tsne-genre",
        "map-tsne-artist",
        "map-tsne-cluster",
        "map-pca-genre",
        "map-pca-artist",
        "similarity",
        "hubs",
    } <= names
    for name in names:
        assert {f"{name}{s}" for s in (".png", ".svg", ".csv")} <= {
            f.name for f in (out / "figures").iterdir()
        }
        assert f"figures/{name}.svg" in text
    assert page.count("data:image/png") == len(names)
    # what the scan cost is what was remembered of it
    with Record.open(library.folder) as record:
        run_ = record.last_run()
    assert run_ is not None
    assert f"<td>{run_.tracks} tracks, " in page
    assert f"{run_.memory / 1e6:.0f} MB at most" in page
    # its numbers are those of the library
    summary = library.status().summary
    assert f"<td>{summary.tracks}</td>" in page
    for heading in ("album", "artist", "genre", "same-track"):
        assert re.search(f"<h3>{heading}", page)
    found = findings.look(library)
    assert html.escape(found.name(found.hubs()[0])) in page
    rows = list(csv.DictReader((out / "figures" / "map-pca-cluster.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [track.id for track in found.tracks]
    tempi = list(csv.DictReader((out / "figures" / "tempo.csv").read_text().splitlines()))
    assert sum(int(row["tracks"]) for row in tempi) == sum(t.bpm is not None for t in found.tracks)


def test_titles_are_only_text(tmp_path: Path) -> None:
    listing = report.Listing("<b>", "a & b", ["x"], [["<script>|\udce9"]])
    page = report._html(tmp_path, "<t>", "made", [("<s>", [listing])])
    assert "<script>" not in page
    assert "<b>" not in page
    page.encode("utf-8")
    markdown = report._markdown("t", "made", [("s", [listing])])
    assert r"<script>\|" in markdown
    markdown.encode("utf-8")


def test_what_cannot_be_reported_is_said(
    made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "report", tmp_path / "out", "--library", tmp_path / "none")
    assert (code, "no library" in err) == (1, True)
    synth.write_library(tmp_path / "music", 3, 3.0)
    with Library.open(tmp_path / "library") as small:
        small.add(tmp_path / "music")
    code, _, err = run(capsys, "report", tmp_path / "out", "--library", tmp_path / "library")
    assert (code, "3 tracks; a report needs 10" in err) == (1, True)
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "report", tmp_path / "file" / "out", "--library", made.library)
    assert (code, "cannot write" in err) == (1, True)


def test_a_scan_is_remembered_until_the_next_that_embeds(tmp_path: Path) -> None:
    synth.write_library(tmp_path / "music", 3, 3.0)
    with Library.open(tmp_path / "library") as library:
        begin, cpu = time.time(), sum(os.times()[:4])
        first = library.add(tmp_path / "music", ScanOptions(jobs=1))
        spent = time.time() - begin, sum(os.times()[:4]) - cpu
        library.add(tmp_path / "music")  # opens nothing, and is no news
        with Record.open(tmp_path / "library") as record:
            run = record.last_run()
    assert run is not None
    assert (run.tracks, run.failed, run.workers) == (3, 0, 1)
    assert run.audio_seconds == pytest.approx(first.audio_seconds, abs=0.1)
    assert 0 < run.elapsed <= spent[0] + 0.1
    assert 0 < run.cpu_seconds <= spent[1] + 0.1
    assert 30e6 < run.memory < 4e9  # numpy alone is more, and a scan may not take as much
    assert begin <= run.at <= time.time()
