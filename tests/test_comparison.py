"""Tracks side by side: vectors and windows with known cosines."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundkin import cli
from soundkin.encoders import unit
from soundkin.errors import InputError, NotFound
from soundkin.explore.comparison import Comparison, Moment, compare
from soundkin.library import Library


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
