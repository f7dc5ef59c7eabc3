"""Tracks side by side: vectors and windows with known cosines."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundkin import cli
from soundkin.embed import Space
from soundkin.encoders import unit
from soundkin.errors import DecodeError, InputError, NotFound
from soundkin.explore.comparison import Comparison, Moment, compare
from soundkin.library import Library
from soundkin.record import Record


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
        cli.main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exited.value.code or 0), out, err


def test_similarities_are_the_cosines_of_the_vectors(shared: Library) -> None:
    tracks = shared.tracks()[:3]
    found = compare(shared, [track.id for track in tracks])
    assert len(found.similar) == 2
    for space, matrix in found.similar.items():
        ids, vectors = shared.vectors(space)
        rows = vectors[[ids.index(track.id) for track in tracks]].astype(np.float64)
        np.testing.assert_allclose(matrix, rows @ rows.T, atol=1e-5)
    # what the library says is similar is what is said here
    hit = shared.similar(tracks[0], 1)[0]
    assert compare(shared, [tracks[0].id, hit.id]).similar[found.space][0, 1] == pytest.approx(
        hit.cosine, abs=1e-3
    )


def test_moments_are_the_best_pairs_each_once() -> None:
    rng = np.random.default_rng(0)
    a, b = (unit(rng.standard_normal((5, 16)).astype(np.float32)) for _ in range(2))
    b[3], b[0] = a[1], unit(a[4] + 0.3 * a[0])  # the same moment, and a like one
    starts = np.arange(5, dtype=np.float32) * 10
    tracks: list[Any] = [None, None]
    first, second = Comparison(tracks, {}, "s", [starts, starts + 1], [a, b]).moments(2)
    assert first == Moment(0, 1, 10.0, 31.0, pytest.approx(1, abs=1e-6))  # type: ignore[arg-type]
    assert (second.at, second.there) == (40.0, 1.0)
    assert 0.8 < second.similarity < 1


def test_files_outside_are_heard_in_every_space(made: Any, library: Library, tmp_path: Path) -> None:
    path, plan = made.tracks[0]
    outside, before = tmp_path / f"outside{path.suffix}", library.status().summary.tracks
    shutil.copy(path, outside)
    first, other = library.find(path), library.find(made.tracks[1][0])
    foreign = Space("theirs", "0" * 8, "", 0.0, 0.0, "all", "", 2)  # whose encoder nobody has
    with Record.open(library.folder, write=True) as record:
        record.add_space(foreign, active=False)
        record.add_vectors(foreign.id, [first.id, other.id], np.eye(2, dtype=np.float32))
    found = compare(library, [outside, path, other.id])
    assert [track.id for track in found.tracks] == ["", first.id, other.id]
    assert found.tracks[0].title == plan.title
    inside = compare(library, [path, other.id])
    assert set(found.similar) == set(inside.similar)
    for space, matrix in found.similar.items():
        if space == foreign.id:
            np.testing.assert_array_equal(matrix, [[np.nan] * 3, [np.nan, 1, 0], [np.nan, 0, 1]])
            continue
        # the very same bytes, elsewhere
        assert matrix[0, 1] == pytest.approx(1, abs=1e-5)
        assert matrix[0, 2] == pytest.approx(inside.similar[space][0, 1], abs=1e-5)
    moment = found.moments(1)[0]
    assert moment.at == pytest.approx(moment.there)
    assert library.status().summary.tracks == before  # nothing of it is kept
    with pytest.raises(InputError, match="twice"):
        compare(library, [outside, outside])
    (tmp_path / "noise.mp3").write_bytes(b"no audio")
    with pytest.raises(DecodeError):
        compare(library, [path, tmp_path / "noise.mp3"])


def test_what_cannot_be_compared_is_said(shared: Library) -> None:
    one, two = (track.id for track in shared.tracks()[:2])
    with pytest.raises(InputError, match="2 to 12"):
        compare(shared, [one])
    with pytest.raises(InputError, match="twice"):
        compare(shared, [one, two, one])
    with pytest.raises(NotFound):
        compare(shared, [one, "nothing of this name"])


def test_the_command(made: Any, shared: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [path for path, _ in made.tracks[1:4]]
    picture = tmp_path / "c.svg"
    code, out, err = run(capsys, "compare", *paths, "--library", made.library, "--json", "--out", picture)
    document = json.loads(out)
    assert (code, "wrote" in err) == (0, True)
    assert picture.read_text().count("<svg") == 1
    assert [track["path"] for track in document["tracks"]] == [str(path) for path in paths]
    found = compare(shared, paths)
    for space, matrix in document["similarity"].items():
        np.testing.assert_allclose(matrix, found.similar[space], atol=1e-4)
    assert len(document["moments"]) == len(found.moments())
    code, out, _ = run(capsys, "compare", *paths, "--library", made.library)
    assert code == 0
    assert all(plan.title in out for _, plan in made.tracks[1:4])
    assert "moments most alike" in out
    code, _, err = run(capsys, "compare", paths[0], "--library", made.library)
    assert (code, "2 to 12" in err) == (1, True)
