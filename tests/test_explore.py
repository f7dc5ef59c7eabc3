"""Maps and clusters of vectors whose groups are known."""

import json
import math
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier
from test_record import SPACE, song

from soundkin import cli
from soundkin.cli import exploring
from soundkin.encoders import unit
from soundkin.errors import InputError, MissingExtra, StoreError
from soundkin.explore import pages
from soundkin.explore.clusters import natural
from soundkin.explore.projection import METHODS, aligned, keep_up, place, project, trustworthiness
from soundkin.library import Library
from soundkin.recommend.clusters import UNASSIGNED, describe, group, names, words_of
from soundkin.record import Record, Track
from soundkin.report.findings import look


def blobs(n: int, groups: int, seed: int = 0, noise: float = 0.25) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    centres, label = rng.standard_normal((groups, 24)), np.arange(n) % groups
    return unit((centres[label] + noise * rng.standard_normal((n, 24))).astype(np.float32)), label


def apart(places: Any, label: Any) -> float:
    """How often the ten nearest on the map are of the right group."""
    return float(KNeighborsClassifier(10).fit(places, label).score(places, label))


# ---- layouts


def test_pca_is_that_of_scikit_learn() -> None:
    vectors, _ = blobs(200, 5)
    ours, theirs = project(vectors, "pca"), PCA(2).fit_transform(vectors)
    for axis in range(2):
        assert abs(np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1]) == pytest.approx(1, abs=1e-4)
        assert ours[:, axis].std() == pytest.approx(theirs[:, axis].std(), rel=1e-3)


def test_tsne_keeps_groups_together_and_is_repeatable() -> None:
    vectors, label = blobs(150, 5)
    places = project(vectors, "tsne", seed=3)
    assert places.shape == (150, 2)
    assert apart(places, label) > 0.97
    np.testing.assert_array_equal(places, project(vectors, "tsne", seed=3))
    rng = np.random.default_rng(0)
    assert trustworthiness(vectors, places) > 0.9
    assert trustworthiness(vectors, rng.standard_normal((150, 2)).astype(np.float32)) < 0.7


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_umap_keeps_groups_together() -> None:
    pytest.importorskip("umap")
    vectors, label = blobs(150, 5)
    told: list[tuple[int, int]] = []
    places = project(vectors, "umap", progress=lambda done, total: told.append((done, total)))
    assert apart(places, label) > 0.97
    assert told == sorted(told)
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] > 0


def test_a_turned_layout_is_turned_back() -> None:
    rng = np.random.default_rng(0)
    places = rng.standard_normal((40, 2)).astype(np.float32)
    angle = 2.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    other = (places * [1, -1]) @ turn * 7 + [100, -3]  # mirrored, turned, larger, elsewhere
    np.testing.assert_allclose(aligned(other.astype(np.float32), places), places, atol=1e-3)
    which = np.arange(5, 20)
    np.testing.assert_allclose(aligned(other.astype(np.float32), places[which], which), places, atol=1e-3)


def test_a_copy_gets_the_place_of_its_original() -> None:
    vectors, label = blobs(120, 4)
    places = project(vectors, "tsne")
    found = place(vectors[:10], vectors, places)
    size = float(np.ptp(places, axis=0).max())
    assert np.abs(found - places[:10]).max() < 0.01 * size
    fresh, kind = blobs(40, 4, seed=0)  # other tracks of the same groups
    assert (
        KNeighborsClassifier(5).fit(places, label).predict(place(fresh, vectors, places)) == kind
    ).mean() > 0.9


@pytest.mark.parametrize(
    ("n", "method", "said"),
    [(3, "tsne", "3 tracks came; a map needs 4 or more"), (20, "nonsense", "no layout")],
)
def test_what_cannot_be_laid_out_is_said(n: int, method: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        project(blobs(n, 2)[0], method)
    broken = blobs(20, 2)[0].copy()
    broken[3, 3] = np.nan
    for ask in (lambda: project(broken, "pca"), lambda: group(broken), lambda: natural(broken)):
        with pytest.raises(InputError, match="1 of 20 vectors hold NaN or infinity"):
            ask()


@pytest.mark.parametrize("n", [4, 5, 12])
def test_small_collections_have_maps(n: int) -> None:
    places = project(blobs(n, 2)[0], "tsne")
    assert np.isfinite(places).all()


def kept(folder: Path) -> list[Any]:
    with closing(sqlite3.connect(folder / "record.sqlite")) as db:
        return db.execute("SELECT space, method, seed FROM layouts ORDER BY 1").fetchall()


def test_a_layout_stays_while_tracks_come_and_go(tmp_path: Path) -> None:
    Record.open(tmp_path, write=True).close()
    vectors, _ = blobs(230, 5)
    ids = [f"{i:016x}" for i in range(230)]
    first = keep_up(tmp_path, ids[:200], vectors[:200], "s", "tsne")
    again = keep_up(tmp_path, ids[:200], vectors[:200], "s", "tsne")
    np.testing.assert_array_equal(first.places, again.places)
    # a few more, and some gone, in another order: nobody else moves
    some = [*range(210, 199, -1), *range(0, 190)]
    more = keep_up(tmp_path, [ids[i] for i in some], vectors[some], "s", "tsne")
    old = dict(zip(first.ids, first.places, strict=True))
    for name, where in zip(more.ids, more.places, strict=True):
        if name in old:
            np.testing.assert_array_equal(where, old[name])
    assert more.anchors == 200
    # other seeds and spaces are other maps; all are in the record, and none is a change of a track
    assert kept(tmp_path) == [("s", "tsne", 0)]
    keep_up(tmp_path, ids[:50], vectors[:50], "other", "tsne", 1)
    assert kept(tmp_path) == [("other", "tsne", 1), ("s", "tsne", 0)]
    with Record.open(tmp_path) as record:
        assert record.revision == 0


def test_a_layout_computed_anew_lies_over_the_old_one(tmp_path: Path) -> None:
    Record.open(tmp_path, write=True).close()
    vectors, label = blobs(260, 5)
    ids = [f"{i:016x}" for i in range(260)]
    first = keep_up(tmp_path, ids[:200], vectors[:200], "s", "tsne")
    second = keep_up(tmp_path, ids, vectors, "s", "tsne")
    assert second.anchors == 260
    assert apart(second.places, label) > 0.97
    radius = float(np.linalg.norm(first.places - first.places.mean(axis=0), axis=1).max())
    moved = np.linalg.norm(second.places[:200] - first.places, axis=1)
    assert np.median(moved) < 0.1 * radius


def full(*_: Any) -> None:
    raise StoreError("disk full")


def test_a_damaged_map_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Record.open(tmp_path, write=True).close()
    vectors, _ = blobs(60, 3)
    ids = [f"{i:016x}" for i in range(60)]
    first = keep_up(tmp_path, ids, vectors, "s", "tsne")
    for sql in (
        "UPDATE layouts SET places = x'00'",
        "UPDATE layouts SET places = zeroblob(480), ids = x'0011'",
    ):
        with closing(sqlite3.connect(tmp_path / "record.sqlite")) as db, db:
            db.execute(sql)
        np.testing.assert_array_equal(keep_up(tmp_path, ids, vectors, "s", "tsne").places, first.places)
    monkeypatch.setattr("soundkin.record.Record.keep_layout", full)
    keep_up(
        tmp_path, ids[:40], vectors[:40], "s", "tsne"
    )  # a picture is drawn also where nothing can be kept
    assert "not kept" in caplog.text
    np.testing.assert_array_equal(keep_up(tmp_path, ids, vectors, "s", "tsne").places, first.places)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openTSNE", None)
    with pytest.raises(MissingExtra, match=r"soundkin\[maps\]"):
        project(blobs(20, 2)[0], "tsne")


# ---- clusters


@pytest.mark.parametrize("ask", [lambda vectors: group(vectors, 5), natural], ids=["kmeans", "hdbscan"])
def test_clusters_are_the_groups(ask: Callable[[Any], Any]) -> None:
    vectors, label = blobs(200, 5)
    found = ask(vectors)
    assert adjusted_rand_score(label, found) > 0.97
    sizes = np.bincount(found[found != UNASSIGNED])
    assert sizes.tolist() == sorted(sizes, reverse=True)
    np.testing.assert_array_equal(found, ask(vectors))


def test_k_means_is_as_good_as_that_of_scikit_learn() -> None:
    # of unit vectors, the squared distances that k-means makes small are those that spherical k-means does
    vectors = unit(np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32))
    theirs = KMeans(12, n_init=10, random_state=0).fit_predict(vectors)

    def fit(labels: Any) -> float:
        return sum(float(np.linalg.norm(vectors[labels == c].sum(axis=0))) for c in range(12))

    assert fit(group(vectors, 12)) > 0.98 * fit(theirs)


@given(st.integers(1, 150), st.integers(1, 30), st.integers(0, 3))
def test_no_cluster_is_of_a_few_tracks(n: int, odd: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 6)).astype(np.float32)
    vectors[:odd] += 20 * rng.standard_normal(6)  # a few that are like nothing else, or more than a few
    sizes = np.bincount(group(vectors, seed=seed))
    assert sizes.sum() == n
    assert sizes.min() >= min(6, n)
    assert len(sizes) <= max(1, n // 12)


@pytest.mark.parametrize(("n", "count"), [(20, 11), (20, 1), (3, 2)])
def test_clusters_that_cannot_be_are_said(n: int, count: int) -> None:
    with pytest.raises(InputError, match=f"{count} clusters of {n} tracks"):
        group(blobs(n, 2)[0], count)
    with pytest.raises(InputError, match="5 tracks came; 10 or more"):
        natural(blobs(5, 2)[0])
    assert group(np.empty((0, 24), np.float32)).tolist() == []


@pytest.mark.parametrize(("n", "count", "least"), [(3, 5, 10), (3, 2, 4), (0, 1, 4)])
def test_too_few_tracks_for_so_many_clusters_are_told_how_many_it_takes(
    n: int, count: int, least: int
) -> None:
    vectors = blobs(least, 2)[0]
    with pytest.raises(InputError, match=f"{least} tracks or more are needed"):
        group(vectors[:n], count)
    assert group(vectors, max(count, 2)).max() + 1 == max(count, 2)


def test_names_are_what_sets_a_cluster_apart() -> None:
    rock = [["rock", "loud"]] * 8 + [["rock", "odd", "loud"]]
    jazz = [["jazz", "loud"]] * 6 + [["jazz", "calm", "loud"]] * 3
    assert names([rock, jazz]) == ["rock", "jazz, calm"]  # "loud" is everywhere, "odd" once
    assert names([[[]], [["a"]]]) == ["", ""]
    # of 21 tracks 2 are somebody's, which says nothing of the others; of 6 a third would be 2, too few as well
    few = [["somebody"]] * 2 + [["calm"]] * 7 + [[]] * 12
    assert names([few, [["somebody"]] * 2 + [[]] * 4, [["loud"]] * 30]) == ["calm", "", "loud"]
    # W = tf / words here * ln(1 + A / f), with 19 words in rock, 21 in jazz, A = 20
    jazz_weight, calm_weight = 9 / 21 * math.log(1 + 20 / 9), 3 / 21 * math.log(1 + 20 / 3)
    assert jazz_weight > calm_weight


def test_clusters_of_made_music(made: Any) -> None:
    with Library.open(made.library) as library:
        ids, vectors = library.vectors("cnn")
        by_id = {track.id: track for track in library.tracks()}
    tracks = [by_id[name] for name in ids]
    found = describe(tracks, vectors, group(vectors, count=4))
    assert sorted(i for cluster in found for i in cluster.rows) == list(range(len(tracks)))
    assert [cluster.number for cluster in found] == [1, 2, 3, 4]
    assert all(cluster.name for cluster in found)
    for cluster in found:
        assert cluster.tracks == tuple(tracks[i] for i in cluster.rows)
        centre = vectors[list(cluster.rows)].mean(axis=0)
        scores = vectors[list(cluster.rows)] @ centre
        assert scores[0] == pytest.approx(scores.max())
        known = {word.casefold() for i in cluster.rows for word in words_of(tracks[i])}
        if not cluster.name.startswith("like "):
            assert {word.casefold() for word in cluster.name.split(", ")} <= known


def test_clusters_of_one_name_are_told_apart(tmp_path: Path) -> None:
    vectors = unit(np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]])
    with Record.open(tmp_path, write=True) as record:
        record.add_space(SPACE)
        for i in range(12):
            record.put(song(f"/{i:02}.mp3", f"{i:032x}", title=f"t{i}", genres=("jazz",) * (i < 6)))
        tracks = sorted(record.tracks(), key=lambda track: track.path)
    found = describe(tracks, vectors, np.repeat([1, 2, 0, 0], 3))
    assert [cluster.name for cluster in found] == ["like t6", "jazz, like t0", "jazz, like t3"]


def thirty(folder: Path) -> Path:
    """Fill a library with what sounds like nothing in particular."""
    with Record.open(folder, write=True) as record:
        record.add_space(SPACE)
        for i in range(30):
            record.put(song(f"/{i:02}.mp3", f"{i:032x}", seed=i))
    return folder


def after_reading(monkeypatch: pytest.MonkeyPatch, folder: Path, change: Callable[[Record], Any]) -> None:
    """Let a scan change a library right after its tracks were read."""
    read = Library.tracks

    def tracks(library: Library) -> list[Track]:
        found = read(library)
        with Record.open(folder, write=True) as record:
            change(record)
        return found

    monkeypatch.setattr(Library, "tracks", tracks)


def test_groups_in_a_report_are_of_the_tracks_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(thirty(tmp_path)) as library:
        before = {track.id: cluster.number for cluster in library.clusters() for track in cluster.tracks}
        after_reading(
            monkeypatch, tmp_path, lambda record: record.put(song("/new.mp3", f"{30:032x}", seed=30))
        )
        found = look(library)
    assert {found.tracks[row].id: c.number for c in found.clusters for row in c.rows} == before


def test_a_report_is_made_though_a_track_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Library.vectors

    def vectors(library: Library, space: str | None = None) -> Any:
        found = read(library, space)
        with Record.open(tmp_path, write=True) as record:
            record.remove([found[0][3]])
        return found

    monkeypatch.setattr(Library, "vectors", vectors)
    with Library.open(thirty(tmp_path)) as library:
        found = look(library)
    assert len(found.tracks) == len(found.vectors) == 29
    assert sorted(row for c in found.clusters for row in c.rows) == list(range(29))


def test_a_map_by_group_is_drawn_though_a_track_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    thirty(tmp_path)
    after_reading(monkeypatch, tmp_path, lambda record: record.remove(paths=["/03.mp3"]))
    command = ["map", tmp_path / "m.svg", "--color", "cluster", "--method", "pca", "--library", tmp_path]
    code, _, err = run(capsys, *command)
    assert code == 0, err


# ---- pictures


def test_colours(made: Any) -> None:
    with Library.open(made.library) as library:
        tracks = library.tracks()
    for by in pages.COLOURS:
        told = [["liked", "disliked", "played", "nothing yet"][i % 4] for i in range(len(tracks))]
        found = pages.colouring(tracks, by, told)
        assert len(found.colours) == len(found.labels) == len(tracks)
        assert all(
            re.fullmatch("#[0-9a-f]{6}", colour) for colour in [*found.colours, *found.legend.values()]
        )
    tempo = pages.colouring(tracks, "tempo")
    order = sorted((t.bpm, c) for t, c in zip(tracks, tempo.colours, strict=True) if t.bpm is not None)
    assert order[0][1] == "#440154"  # the lowest is darkest, the highest brightest
    assert order[-1][1] == "#fde725"
    with pytest.raises(InputError, match="no colour"):
        pages.colouring(tracks, "nonsense")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
        cli.main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exited.value.code or 0), out, err


def test_the_map_command(library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"map{suffix}" for suffix in (".html", ".png", ".svg", ".pdf")]
    code, out, _ = run(capsys, "map", *files, "--library", library.folder, "--color", "cluster", "--json")
    document = json.loads(out)
    assert code == 0
    assert {track["id"] for track in document["tracks"]} == {track.id for track in library.tracks()}
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in files[2].read_bytes()
    assert files[3].read_bytes().startswith(b"%PDF")
    html = files[0].read_text("utf-8")
    (data,) = re.findall(r"const data = (.*);\n", html)
    assert [track[7] for track in json.loads(data)["tracks"]] == [track["id"] for track in document["tracks"]]
    # only a server of this machine is asked, and only for the sound of a track that is clicked
    assert re.findall(r"https?://[^\"/]*", html) == ["http://127.0.0.1:8765"]
    # a second time nothing moves, and the picture is the same file
    before = files[2].read_bytes()
    code, again, _ = run(capsys, "map", files[2], "--library", library.folder, "--color", "cluster", "--json")
    assert json.loads(again) == document
    assert files[2].read_bytes() == before
    code, out, _ = run(capsys, "map", files[1], "--library", library.folder, "--method", "pca")
    assert (code, "trustworthiness" in out) == (0, True)


def test_a_track_that_goes_while_a_command_looks_is_no_bug(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, read = library.space().id, Library.vectors

    def slowly(asked: Library, space: str | None = None) -> Any:
        found = read(asked, space)
        asked.remove(found[0][:1])
        return found

    monkeypatch.setattr(Library, "vectors", slowly)
    tracks, vectors, _ = exploring._loaded(library, space)
    assert [track.id for track in tracks] == library._reader().vectors(space)[0]
    assert len(vectors) == len(tracks)
    named = {track.id: f"{c.number} {c.name}" for c in library.clusters() for track in c.tracks}
    library.remove([tracks[0].id])
    told = exploring._told(library, tracks, vectors, "cluster", "default")
    assert told == [named[track.id] for track in tracks]


def test_likes_have_colours(library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracks = library.tracks()
    library.create_profile("ann")
    library.feedback("like", tracks[:3], "ann")
    library.feedback("dislike", tracks[3:4], "ann")
    library.feedback("play", tracks[4:6], "ann")
    command = ["map", tmp_path / "m.html", "--library", library.folder, "--color", "liked", "--json"]
    code, out, _ = run(capsys, *command, "--profile", "ann", "--server", "http://box:9/")
    labels = {track["id"]: track["label"] for track in json.loads(out)["tracks"]}
    assert code == 0
    assert [labels[track.id] for track in tracks[:7]] == [
        *["liked"] * 3,
        "disliked",
        *["played"] * 2,
        "nothing yet",
    ]
    assert '"server":"http://box:9"' in (tmp_path / "m.html").read_text("utf-8")
    code, _, err = run(capsys, *command, "--profile", "nobody")
    assert (code, "no profile" in err) == (1, True)


def test_a_layout_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    project(blobs(60, 3)[0], "tsne", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (750, 750)


def test_a_title_cannot_end_the_script(made: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    with Library.open(made.library) as library:
        track = library.tracks()[0]
    hostile = replace(track, title="</script><b>", artist="\udce9", album="\u2028")
    places = np.array([[0, 0]], np.float32)
    pages.page(tmp_path / "m.html", [hostile], places, pages.colouring([hostile], "artist"), "t")
    html = (tmp_path / "m.html").read_text("utf-8")
    assert html.count("</script>") == 1
    assert json.loads(re.findall(r"const data = (.*);\n", html)[0])["tracks"][0][3] == "</script><b>"


def test_files_that_cannot_be_written_are_said(
    library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, said in (
        ("map.doc", "no picture"),
        ("none/map.png", "cannot write"),
        ("none/map.html", "cannot write"),
    ):
        code, _, err = run(capsys, "map", tmp_path / name, "--library", library.folder)
        assert (code, said in err) == (1, True), err


def test_the_clusters_command(library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = tmp_path / "lists"
    code, out, _ = run(
        capsys, "clusters", "--library", library.folder, "--count", 4, "--playlists", lists, "--json"
    )
    document = json.loads(out)
    assert (code, len(document["clusters"]), document["unassigned"]) == (0, 4, 0)
    ids = [name for cluster in document["clusters"] for name in cluster["tracks"]]
    assert sorted(ids) == sorted(track.id for track in library.tracks())
    assert len(list(lists.iterdir())) == 4
    for cluster, file in zip(document["clusters"], sorted(lists.iterdir()), strict=True):
        paths = [line for line in file.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        assert paths == [library.find(name).path for name in cluster["tracks"]]
    code, out, _ = run(capsys, "clusters", "--library", library.folder, "--method", "hdbscan")
    assert code == 0


def test_a_library_too_small_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from soundkin import synth

    synth.write_library(tmp_path / "music", 3, 3.0)
    with Library.open(tmp_path / "library") as small:
        small.add(tmp_path / "music")
    for command in (["map", tmp_path / "m.png"], ["clusters", "--method", "hdbscan"]):
        code, _, err = run(capsys, *command, "--library", tmp_path / "library")
        assert (code, "3 tracks" in err) == (1, True), err
    code, out, _ = run(capsys, "clusters", "--library", tmp_path / "library", "--json")
    assert [len(one["tracks"]) for one in json.loads(out)["clusters"]] == [3]  # a few are one
    shutil.rmtree(tmp_path / "library")
    assert os.listdir(tmp_path) == ["music"]


def test_every_method_is_offered() -> None:
    parameter = next(p for p in cli.cli.commands["map"].params if p.name == "method")
    assert set(parameter.type.choices) == set(METHODS)  # type: ignore[attr-defined]
    parameter = next(p for p in cli.cli.commands["map"].params if p.name == "color")
    assert parameter.type.choices == pages.COLOURS  # type: ignore[attr-defined]
