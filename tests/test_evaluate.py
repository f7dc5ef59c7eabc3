"""Protocols on made libraries, whose answers are known or found by another implementation."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from soundkin import cli
from soundkin.audio import Listening
from soundkin.embed import Embedded, FileState, Space
from soundkin.encoders import unit
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import InputError, NotFound
from soundkin.evaluate import Options, Table, evaluate
from soundkin.evaluate.labels import UNKNOWN, labels_of
from soundkin.evaluate.pooling import POOLINGS, halves
from soundkin.evaluate.systems import listener
from soundkin.library import Library
from soundkin.record import Record
from soundkin.scan import ScanOptions
from soundkin.tags import Tags

D = 16


def space(encoder: str = "made", dims: int = D) -> Space:
    return Space(encoder, "w", "f", 3.0, 3.0, "8x3.0s", "mean", dims)


def write(
    folder: Path,
    tags: list[Tags],
    vectors: dict[str, Any],
    windows: Any = None,
    contents: list[str] | None = None,
    apart: float = 0.0,
) -> Library:
    """Make a library of tracks that have no audio, each some seconds longer than the one before.

    Vectors by encoder, NaN in the first place for none.
    """
    with Record.open(folder, write=True) as record, record.batch():
        for name, rows in vectors.items():
            record.add_space(space(name, rows.shape[1]))
        for i, tag in enumerate(tags):
            path = f"/music/{tag.album or 'loose'}/{i:04}.flac"
            content = contents[i] if contents else f"{i:032x}"
            embedded = Embedded(
                FileState(path, 1, 1), content, 100.0 + apart * i, 44100, 2, "flac", tag, Analysis()
            )  # fmt: skip
            for name, rows in vectors.items():
                if not np.isnan(rows[i, 0]):
                    embedded.vectors[space(name, rows.shape[1]).id] = rows[i]
            if windows is not None:
                name = next(iter(vectors))
                starts = np.arange(len(windows[i]), dtype=np.float32) * 10
                embedded.windows[space(name, vectors[name].shape[1]).id] = starts, windows[i]
            record.put(embedded)
    return Library.open(folder)


@pytest.fixture(scope="module")
def catalogue() -> tuple[list[Tags], Any]:
    """120 tracks: 12 albums of 10, 6 artists of 2 albums, 3 genres; vectors a little like all three."""
    rng = np.random.default_rng(0)
    albums, artists, genres = (rng.standard_normal((n, D)) for n in (12, 6, 3))
    tags, rows = [], []
    for i in range(120):
        album, artist, genre = i // 10, i // 20, i // 20 % 3
        extra = ("shared",) if i % 7 == 0 else ()
        tags.append(
            Tags(
                artist=f"Artist {artist}",
                album=f"Album {album}",
                genres=(f"Genre {genre}", *extra),
                title=f"{i}",
            )
        )
        rows.append(
            0.5 * albums[album] + 0.5 * artists[artist] + 0.7 * genres[genre] + rng.standard_normal(D)
        )
    return tags, unit(np.array(rows, np.float32))


def only(library: Library, protocol: str, **options: Any) -> Table:
    (table,) = evaluate(library, Options((protocol,), **options))
    return table


def value(table: Table, system: str, column: str) -> float:
    (row,) = [row for row in table.rows if row.system == system]
    found = row.figures[column].mean
    assert found is not None
    return found


# ---- protocols


def test_album_agrees_with_scikit_learn(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    table = only(write(tmp_path, tags, {"made": vectors}), "album")
    assert (table.questions, table.candidates, table.reason) == (120, 120, "")
    album = np.array([i // 10 for i in range(120)])
    _, near = NearestNeighbors(n_neighbors=11, metric="cosine").fit(vectors).kneighbors(vectors)
    near = np.array([[j for j in row if j != i] for i, row in enumerate(near)])
    assert value(table, "made", "P@10") == pytest.approx((album[near] == album[:, None]).mean(), abs=1e-6)
    votes = [
        KNeighborsClassifier(5, metric="cosine")
        .fit(np.delete(vectors, i, 0), np.delete(album, i))
        .predict(vectors[i : i + 1])[0]
        for i in range(120)
    ]
    # of several winners scikit-learn takes the smallest label, here the nearest
    assert value(table, "made", "5-NN") == pytest.approx(np.mean(votes == album), abs=0.05)
    counts = np.bincount(near.ravel(), minlength=120)
    spread = ((counts - 10) ** 3).mean() / counts.std() ** 3
    assert value(table, "made", "skew") == pytest.approx(spread, abs=1e-6)


def test_baselines_are_arithmetic(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    table = only(write(tmp_path, tags, {"made": vectors}), "album")
    assert value(table, "random", "P@10") == pytest.approx(9 / 119, abs=1e-6)
    assert value(table, "random", "R-prec") == pytest.approx(9 / 119, abs=1e-6)
    # 19 others are by the artist, 9 of them of the album
    assert value(table, "same artist", "P@10") == pytest.approx(9 / 19, abs=1e-6)
    assert value(table, "popularity", "P@10") == pytest.approx(
        9 / 119, abs=1e-6
    )  # all artists have 20 tracks
    assert value(table, "best possible", "P@10") == pytest.approx(0.9)
    for column in ("R-prec", "mAP", "MRR", "NDCG@10", "hit@10"):
        assert value(table, "best possible", column) == pytest.approx(1), column
    assert "skew" not in table.rows[1].figures  # a list of nothing but ties has no hubs
    assert [row.baseline for row in table.rows] == [False, True, True, True, True]


def test_artist_bars_the_own_album(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    table = only(write(tmp_path, tags, {"made": vectors}), "artist")
    scores = vectors @ vectors.T
    right = []
    for i in range(120):
        others = [j for j in range(120) if j // 10 != i // 10]
        best = sorted(others, key=lambda j: -scores[i, j])[:10]
        right.append(np.mean([j // 20 == i // 20 for j in best]))
    assert value(table, "made", "P@10") == pytest.approx(np.mean(right), abs=1e-6)
    assert value(table, "random", "P@10") == pytest.approx(10 / 110, abs=1e-6)


def test_genre_bars_the_own_artist_and_grades(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    table = only(write(tmp_path, tags, {"made": vectors}), "genre")
    scores = vectors @ vectors.T
    sets = [set(tag.genres) for tag in tags]
    shares, gains = [], []
    for i in range(120):
        others = [j for j in range(120) if j // 20 != i // 20]
        best = sorted(others, key=lambda j: -scores[i, j])[:10]
        gain = {j: len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for j in others}
        shares.append(np.mean([gain[j] > 0 for j in best]))
        discount = 1 / np.log2(np.arange(2, 12))
        ideal = np.sort(list(gain.values()))[::-1][:10] @ discount
        gains.append(np.array([gain[j] for j in best]) @ discount / ideal)
    assert value(table, "made", "P@10") == pytest.approx(np.mean(shares), abs=1e-6)
    assert value(table, "made", "NDCG@10") == pytest.approx(np.mean(gains), abs=1e-6)
    # with the own artist barred, knowing artists is knowing nothing
    assert value(table, "same artist", "P@10") == pytest.approx(value(table, "random", "P@10"))


def test_a_twin_of_the_same_artist_is_never_the_answer(
    catalogue: tuple[list[Tags], Any], tmp_path: Path
) -> None:
    tags, vectors = catalogue
    twins = vectors.copy()
    twins[1::2] = twins[::2]  # every second track sounds exactly like the one before, of its artist
    plain = only(write(tmp_path / "a", tags, {"made": twins}), "album")
    barred = only(write(tmp_path / "b", tags, {"made": twins}), "genre")
    assert value(plain, "made", "P@1") == 1
    assert value(barred, "made", "P@1") < 1


@pytest.mark.parametrize(("noise", "least", "most"), [(0.01, 1.0, 1.0), (1000.0, 0.0, 0.2)])
def test_halves_find_each_other_when_they_are_alike(
    noise: float, least: float, most: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    tracks = unit(rng.standard_normal((30, D)).astype(np.float32))
    windows = [unit(t + noise * rng.standard_normal((6, D)).astype(np.float32)) for t in tracks]
    windows[4] = windows[4][:1]  # a track of one window has no halves
    library = write(tmp_path, [Tags(album=f"{i % 3}") for i in range(30)], {"made": tracks}, windows)
    table = only(library, "same-track", poolings=("mean",))
    assert table.candidates == 29
    assert least <= value(table, "made mean", "hit@1") <= most
    assert value(table, "random", "hit@1") == pytest.approx(1 / 29, abs=1e-6)
    # what pools as the encoder does is missing, and said to be: there is no encoder "made"
    assert [row.system for row in table.rows][:2] == ["made mean", "random"]
    assert any("made" in note for note in table.notes)


def test_poolings_are_arithmetic() -> None:
    windows = np.array([[3, 4, 0], [0, 4, 3]], np.float32)
    np.testing.assert_allclose(POOLINGS["mean"](windows), np.array([1.5, 4, 1.5]) / np.sqrt(20.5), rtol=1e-6)
    np.testing.assert_allclose(POOLINGS["max"](windows), np.array([3, 4, 3]) / np.sqrt(34), rtol=1e-6)
    both = POOLINGS["mean+std"](windows)
    np.testing.assert_allclose(both[3:], np.array([1, 0, 1]) / 2, atol=1e-6)  # two parts of equal length
    assert np.linalg.norm(POOLINGS["mean+max"](windows)) == pytest.approx(1, abs=1e-6)


def test_halves_share_no_sound() -> None:
    even, odd = halves(np.arange(8, dtype=np.float32) * 1.5, 3.0)  # windows of 3 s that overlap by half
    assert (even.tolist(), odd.tolist()) == ([0, 4], [2, 6])
    even, odd = halves(np.array([0], np.float32), 3.0)
    assert (even.tolist(), odd.tolist()) == ([0], [])
    even, odd = halves(np.array([9, 0, 3, 6], np.float32), 3.0)
    assert (even.tolist(), odd.tolist()) == ([1, 3], [2, 0])


# ---- comparing


def test_systems_are_compared_on_the_same_tracks(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    rng = np.random.default_rng(0)
    worse = unit(vectors + 0.4 * rng.standard_normal(vectors.shape).astype(np.float32))
    worse[:5] = np.nan  # five tracks have no vector in the second space
    library = write(tmp_path, tags, {"made": vectors, "worse": worse})
    table = only(library, "album", spaces=("made", "worse"))
    assert table.candidates == 115
    assert table.told["tracks_without_a_vector"] == 5
    made, second = table.rows[:2]
    assert (made.system, made.p, second.system) == ("made", None, "worse")
    assert second.p is not None
    assert second.p < 0.01
    assert second.difference == pytest.approx(
        value(table, "worse", "P@10") - value(table, "made", "P@10"), abs=1e-5
    )


def test_some_may_ask_for_all(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    library = write(tmp_path, tags, {"made": vectors})
    every, some = only(library, "album"), only(library, "album", ask=40)
    assert (every.questions, some.questions, some.candidates) == (120, 40, 120)
    assert "skew" in every.rows[0].figures
    assert "skew" not in some.rows[0].figures  # a third of the lists would make orphans of most
    first = some.rows[0].figures["P@10"]
    assert first.low is not None
    assert first.high is not None
    assert first.low <= value(every, "made", "P@10") <= first.high
    assert any("40 of 120" in note for note in some.notes)
    with pytest.raises(InputError, match="ask"):
        Options(("album",), ask=3)


def test_spaces_of_different_tracks_are_not_compared(
    catalogue: tuple[list[Tags], Any], tmp_path: Path
) -> None:
    tags, vectors = catalogue
    first, second, few = vectors.copy(), vectors.copy(), vectors.copy()
    first[60:] = second[:60] = few[1:] = np.nan
    library = write(tmp_path, tags, {"made": first, "worse": second, "descriptors": few})
    with pytest.raises(InputError, match=r"no track has a vector in each of made-\w+, worse-"):
        only(library, "album", spaces=("made", "worse"))
    # a baseline that heard none of the tracks is left out, and nothing else
    table = only(library, "album", spaces=("worse",))
    assert (table.candidates, "descriptors" in [row.system for row in table.rows]) == (60, False)
    manifest = tmp_path / "labels.csv"
    manifest.write_text("path,artist\nelsewhere.mp3,x\n")
    with pytest.raises(InputError, match="none of the 60 tracks"):
        only(library, "album", spaces=("worse",), labels=manifest)


def test_copies_are_left_out(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    contents = [f"{i // 2:032x}" for i in range(120)]
    table = only(write(tmp_path, tags, {"made": vectors}, contents=contents), "album")
    assert (table.candidates, table.told["copies"]) == (60, 60)


def test_the_same_seed_gives_the_same_table(catalogue: tuple[list[Tags], Any], tmp_path: Path) -> None:
    tags, vectors = catalogue
    library = write(tmp_path, tags, {"made": vectors})
    first, again, other = (evaluate(library, Options(("album",), seed=s)) for s in (0, 0, 1))
    assert first == again
    assert first != other  # the intervals, nothing else
    assert value(first[0], "made", "P@10") == value(other[0], "made", "P@10")


# ---- labels


def track(path: str = "/m/a/1.mp3", **tags: Any) -> Any:
    from soundkin.record.rows import to_track

    embedded = Embedded(FileState(path, 1, 1), "0" * 32, 9.0, 44100, 2, "mp3", Tags(**tags), Analysis())
    return to_track(embedded, "0" * 16, 0.0)


def test_names_are_compared_as_people_do() -> None:
    found = labels_of([
        track(artist="Beyoncé feat. Jay-Z"), track(artist="BEYONCE"), track(artist="Various Artists"),
        track(artist="", album_artist="beyonce ft. nobody"), track(), track(artist="!!!"), track(artist="???"),
    ])  # fmt: skip
    assert found.artist.tolist() == [0, 0, UNKNOWN, 0, UNKNOWN, 1, 2]
    found = labels_of([track(genres=("Hip-Hop", "Rap")), track(genres=("hip hop",)), track()])
    assert found.genres.tolist() == [[True, True], [True, False], [False, False]]


def test_albums_come_from_tags_or_folders() -> None:
    tracks = [
        track("/m/x/1.mp3", album="Live", album_artist="A"), track("/m/y/2.mp3", album="Live", album_artist="B"),
        track("/m/y/3.mp3", album="live", album_artist="a"), track("/m/x/4.mp3"), track("/m/y/5.mp3"),
    ]  # fmt: skip
    assert labels_of(tracks).album.tolist() == [0, 1, 0, 2, 3]
    assert labels_of(tracks, "folders").album.tolist() == [0, 1, 1, 0, 1]


# ---- collections that say nothing


def made_of(folder: Path, tags: list[Tags], seed: int = 0) -> Library:
    rng = np.random.default_rng(seed)
    return write(folder, tags, {"made": unit(rng.standard_normal((len(tags), D)).astype(np.float32))})


@pytest.mark.parametrize(
    ("protocol", "tags", "said"),
    [
        ("album", [Tags(album="x")] * 40, "there are 1 of those"),
        ("album", [Tags(album=f"{i}") for i in range(40)], "0 of 40 tracks"),
        ("album", [Tags(album=f"{i // 2}") for i in range(3)], "2 of 3 tracks belong"),
        ("artist", [Tags()] * 40, "no track has an artist"),
        ("artist", [Tags(artist=f"{i // 4}", album=f"{i // 4}") for i in range(40)], "0 of 40 tracks"),
        ("genre", [Tags(artist=f"{i}") for i in range(40)], "no track has a genre"),
        ("genre", [Tags(artist="one", genres=(f"{i % 2}",)) for i in range(40)], "0 of 40 tracks"),
        ("genre", [Tags(artist=f"{i}", genres=("all",)) for i in range(40)], "there are 1 of those"),
        ("genre", [Tags(artist=f"{i % 2}", genres=(f"{i // 2 % 2}",)) for i in range(14)], "7 others to choose from"),
        ("same-track", [Tags(album="x")] * 3, "cannot pool its windows"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said(protocol: str, tags: list[Tags], said: str, tmp_path: Path) -> None:
    table = only(made_of(tmp_path, tags), protocol)
    assert table.rows == []
    assert said in table.reason
    assert not any(said in note for note in table.notes)  # once


def test_an_empty_library_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no library"):
        evaluate(Library.open(tmp_path / "none"))
    Record.open(tmp_path / "empty", write=True).close()
    with pytest.raises(NotFound, match="no track"):
        evaluate(Library.open(tmp_path / "empty"))


def test_vectors_that_are_not_numbers_are_refused() -> None:
    vectors = np.ones((4, 3), np.float32)
    vectors[1, 2] = np.nan
    with pytest.raises(InputError, match="1 of 4 vectors of made"):
        listener("made", vectors)


@pytest.mark.parametrize(
    "options",
    [{"protocols": ("nonsense",)}, {"poolings": ("nonsense",)}, {"albums": "x"}, {"k": 1}, {"least": 1}],
)
def test_options_that_are_none_are_refused(options: Any) -> None:
    with pytest.raises(InputError):
        Options(**options)


# ---- the command


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
        cli.main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exited.value.code or 0), out, err


@pytest.fixture(scope="module")
def in_short_excerpts(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of short tracks that has several excerpts of each, and so halves."""
    folder = tmp_path_factory.mktemp("short") / "library"
    with Library.open(folder) as library:
        library.add(made.music, ScanOptions(("cnn", "descriptors"), Listening(16, 3.07)))
    return folder


def test_the_command_prints_what_python_gives(
    in_short_excerpts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "--library", in_short_excerpts, "--json", "--pooling", "max,mean+max")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [table["protocol"] for table in found] == ["album", "artist", "genre", "same-track"]
    with Library.open(in_short_excerpts) as library:
        tables = evaluate(library, Options(poolings=("max", "mean+max")))
    for table, document in zip(tables, found, strict=True):
        assert [row.system for row in table.rows] == [row["system"] for row in document["rows"]]
        for row, shown in zip(table.rows, document["rows"], strict=True):
            assert {name: f.mean for name, f in row.figures.items()} == {
                name: f["mean"] for name, f in shown["figures"].items()
            }
    assert [row["system"] for row in found[3]["rows"]][:4] == [
        "cnn",
        "cnn max",
        "cnn mean+max",
        "descriptors",
    ]
    # halves of the made tracks are found again, far above chance
    assert (
        found[3]["rows"][0]["figures"]["hit@1"]["mean"] > 5 * found[3]["rows"][4]["figures"]["hit@1"]["mean"]
    )


def test_the_command_writes_a_folder(made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--library", made.library, "--protocol", "genre", "--out", tmp_path / "out")
    assert (code, "wrote" in err) == (0, True)
    assert "does a track find its genres by other artists?" in out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"evaluation.md", "evaluation.json", "genre.csv"}
    (table,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out" / "genre.csv").read_text().splitlines()))
    shown = {(row["system"], row["figure"]): row["mean"] for row in rows}
    for row in table["rows"]:
        for name, found in row["figures"].items():
            text = shown[row["system"], name]
            assert (float(text) if text else None) == found["mean"]
    page = (tmp_path / "out" / "evaluation.md").read_text()
    assert all(f"| {row['system']} |" in page for row in table["rows"])


def test_a_folder_that_cannot_be_written_is_said(
    made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "out"
    code, _, err = run(capsys, "--library", made.library, "--protocol", "album", "--out", where)
    assert code == 1
    assert "cannot write" in err


def test_a_name_that_is_none_is_a_usage_error(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--protocol", "--pooling"):
        code, _, err = run(capsys, "--library", os.fspath(made.library), option, "album,nonsense")
        assert code == 2
        assert "is none of" in err
