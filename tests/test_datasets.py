"""Miniature copies of each data set, with the quirks of the real ones, built by code."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from soundkin import cli, datasets
from soundkin.datasets import DATASETS, Item, Read, read
from soundkin.errors import InputError, MissingExtra
from soundkin.evaluate import Options, evaluate
from soundkin.library import Library


def sound(path: Path, content: bytes = b"sound") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def by_name(found: Read) -> dict[str, Item]:
    return {Path(item.path).name: item for item in found.items}


def problems(found: Read) -> set[tuple[str, str]]:
    return {(p.kind, Path(p.what).name) for p in found.problems}


# ---- Ludwig


def make_ludwig(folder: Path) -> Path:
    """Labels as DynamoDB exports them: typed values, missing keys, NULL, empty lists, Unknown, stray spaces."""

    def s(text: str) -> dict[str, str]:
        return {"S": text}

    def several(*names: str) -> dict[str, Any]:
        return {"L": [s(name) for name in names]}

    tracks: dict[str, Any] = {
        "000QWvZp": {"artist": s("047"), "genre": s("electronic"), "name": s("General  Error"),
                     "subgenres": several("electronic---synth-pop"), "otherSubgenres": several("electronic---house")},
        "0010Bnyf": {"artist": s("Jimmy"), "genre": s("latin"), "name": s("La Vie"),
                     "subgenres": several("latin---cubano", "rock---punk"),
                     "otherSubgenres": several(" world", "Cubano")},
        "0055LRFB": {"artist": s("Unknown"), "genre": s("rock"), "otherSubgenres": {"L": []}},
        "005Dlt8X": {"artist": {"NULL": True}, "genre": s("Unknown"), "name": s("Historia"), "subgenres": {"L": []}},
        "006RpKEK": {},
        "nofile00": {"artist": s("A"), "genre": s("jazz"), "name": s("B"), "subgenres": several("jazz")},
        "empty000": {"artist": s("A"), "genre": s("jazz"), "name": s("C")},
    }  # fmt: skip
    for genre, name in (("electronic", "000QWvZp"), ("latin", "0010Bnyf"), ("rock", "0055LRFB"), ("pop", "005Dlt8X"),
                        ("funk / soul".replace(" / ", "_"), "006RpKEK"), ("jazz", "unlabelled")):  # fmt: skip
        sound(folder / "mp3" / genre / f"{name}.mp3")
    sound(folder / "mp3" / "jazz" / "empty000.mp3", b"")
    sound(folder / "mp3" / "jazz" / "._0010Bnyf.mp3")  # what macOS leaves
    (folder / "labels.json").write_text(json.dumps({"tracks": tracks}), "utf-8")
    return folder


def test_ludwig(tmp_path: Path) -> None:
    found = read("ludwig", make_ludwig(tmp_path))
    items = by_name(found)
    first = items["000QWvZp.mp3"]
    assert (first.title, first.artist, first.genres) == (
        "General Error",
        "047",
        ("electronic", "synth-pop", "house"),
    )
    assert items["0010Bnyf.mp3"].genres == ("latin", "cubano", "punk", "world")
    assert (items["0055LRFB.mp3"].artist, items["0055LRFB.mp3"].genres) == ("", ("rock",))
    assert (items["005Dlt8X.mp3"].artist, items["005Dlt8X.mp3"].genres) == ("", ("pop",))  # by its folder
    assert found.listed == 7
    assert problems(found) == {
        ("labels are empty", "006RpKEK"), ("file is missing", "nofile00.mp3"), ("file is empty", "empty000.mp3"),
        ("file has no labels", "unlabelled.mp3"),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["{}", "[]", '{"tracks": 1}', "nonsense"])
def test_labels_of_another_kind_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(InputError, match="labels of Ludwig"):
        read("ludwig", tmp_path)


# ---- FMA

FMA_COLUMNS = [
    ("", ""), ("album", "comments"), ("album", "title"), ("artist", "bio"), ("artist", "name"), ("set", "split"),
    ("set", "subset"), ("track", "genre_top"), ("track", "genres"), ("track", "genres_all"), ("track", "title"),
]  # fmt: skip


def make_fma(folder: Path) -> Path:
    """Three header rows, a web page of 200 kB in a cell, quotes, new lines, tracks of other subsets."""
    page = "<p>" + 'x "y"\n' * 40_000
    rows = [
        [2, 0, "AWOL, A Way", page, "AWOL", "training", "small", "Hip-Hop", "[21]", "[21]", "Food"],
        [3, 0, "", "", "AWOL", "validation", "small", "", "[21, 15]", "[21, 15]", "Electric Ave"],
        [140, 0, "Ábum", "", "Żółć", "test", "medium", "Rock", "[]", "[]", "  spaces  "],
        [12345, 0, "", "", "Gone", "training", "small", "Rock", "[12]", "[12]", "Gone"],
        [155000, 0, "", "", "Big", "training", "large", "Rock", "[12]", "[12]", "Not in small"],
    ]
    meta = folder / "fma_metadata"
    meta.mkdir(parents=True)
    with open(meta / "tracks.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([group for group, _ in FMA_COLUMNS])
        writer.writerow([name for _, name in FMA_COLUMNS])
        writer.writerow(["track_id", *[""] * (len(FMA_COLUMNS) - 1)])
        writer.writerows(rows)
    (meta / "genres.csv").write_text(
        "genre_id,#tracks,parent,title,top_level\n21,1,0,Hip-Hop,21\n15,1,0,Electronic,15\n12,1,0,Rock,12\n"
    )
    sound(folder / "fma_small" / "000" / "000002.mp3")
    sound(folder / "fma_small" / "000" / "000003.mp3")
    sound(folder / "fma_small" / "999" / "999999.mp3")
    return folder


def test_fma(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    found = read("fma", make_fma(tmp_path))
    assert csv.field_size_limit() == limit  # it is everybody's
    items = by_name(found)
    assert set(items) == {"000002.mp3", "000003.mp3"}
    first, second = items["000002.mp3"], items["000003.mp3"]
    assert (first.title, first.artist, first.album, first.split) == ("Food", "AWOL", "AWOL, A Way", "train")
    assert (first.genres, second.genres, second.split) == (
        ("Hip-Hop",),
        ("Hip-Hop", "Electronic"),
        "validation",
    )
    # what belongs to larger subsets is not missed
    assert problems(found) == {("file is missing", "012345.mp3"), ("file has no labels", "999999.mp3")}
    sound(tmp_path / "fma_medium" / "000" / "000140.mp3")
    items = by_name(read("fma", tmp_path))
    assert (items["000140.mp3"].artist, items["000140.mp3"].title) == ("Żółć", "spaces")


def test_fma_without_its_headers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tracks.csv").write_text("track_id,title\n2,Food\n")
    sound(tmp_path / "000" / "000002.mp3")
    with pytest.raises(InputError, match="three header rows"):
        read("fma", tmp_path)


# ---- GTZAN


@pytest.mark.parametrize("below", ["", "genres", "genres_original", "Data/genres_original"])
def test_gtzan(below: str, tmp_path: Path) -> None:
    for genre in ("blues", "jazz"):
        for number in range(100):
            sound(tmp_path / below / genre / f"{genre}.{number:05}.wav")
    sound(tmp_path / below / "jazz" / "jazz.00054.wav", b"")
    (tmp_path / below / "blues" / "blues.00007.wav").unlink()
    sound(tmp_path / below / "jazz" / "mine.wav")
    found = read("gtzan", tmp_path)
    assert found.names("genre") == {"blues": 99, "jazz": 99}
    missing = {p.what for p in found.problems if p.kind == "file is missing"}
    assert "blues.00007" in missing
    assert len(missing) == 801  # and eight genres
    assert {("file is empty", "jazz.00054.wav"), ("file has no labels", "mine.wav")} <= problems(found)


# ---- MTG-Jamendo

JAMENDO_HEAD = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"


@pytest.mark.parametrize(("below", "suffix"), [("", ".mp3"), ("audio", ".mp3"), ("audio-low", ".low.mp3")])
def test_mtg_jamendo(below: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / "autotagging_genre-split0-test.tsv").write_text(
        JAMENDO_HEAD
        + "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\tgenre---rock\n"
        "track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tgenre---metal\nbroken line\n"
    )
    (tmp_path / "autotagging_instrument.tsv").write_text(
        JAMENDO_HEAD + "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tinstrument---voice\n"
        "track_0000382\tartist_000020\talbum_000046\t82/382.mp3\t211.1\tinstrument---violin\n"
    )
    for number in (214, 382):
        sound(tmp_path / below / f"{number % 100:02}" / f"{number}{suffix}")
    found = read("mtg-jamendo", tmp_path)
    items = {item.artist: item for item in found.items}
    assert items["artist_000014"].genres == ("punkrock", "rock")
    assert (items["artist_000014"].album, items["artist_000014"].split) == ("album_000031", "test")
    assert items["artist_000020"].genres == ("violin",)
    assert (found.listed, len(found.items)) == (3, 2)
    assert problems(found) == {
        ("file is missing", "215.mp3"), ("line is no track", "autotagging_genre-split0-test.tsv:4")
    }  # fmt: skip


# ---- tables

ROWS = [
    {
        "path": "a/one.mp3",
        "title": "One",
        "artist": "A, B",
        "album": "X",
        "genres": "Rock; Pop",
        "split": "train",
    },
    {"path": "a/two.mp3", "title": "", "artist": "", "album": "", "genres": "", "split": ""},
]


def write_table(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> Path:
    file = folder / f"table{suffix}"
    if suffix in (".csv", ".tsv"):
        with open(file, "w", newline="", encoding="utf-8-sig") as text:  # as spreadsheets write it
            writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == ".jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    elif suffix == ".json":
        file.write_text(json.dumps(rows))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_a_manifest_in_every_format(suffix: str, tmp_path: Path) -> None:
    for row in ROWS:
        sound(tmp_path / row["path"])
    found = read("manifest", write_table(tmp_path, suffix, ROWS))
    one, two = found.items
    assert one == Item(os.fspath(tmp_path / "a/one.mp3"), "One", "A, B", "X", ("Rock", "Pop"), "train")
    assert two == Item(os.fspath(tmp_path / "a/two.mp3"))
    assert problems(found) == {("neither genre nor artist", "two.mp3")}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_lists_in_cells_and_other_names(suffix: str, tmp_path: Path) -> None:
    sound(tmp_path / "one.mp3")
    rows = [
        {"file_name": "one.mp3", "Name": "One", "label": "Jazz", "tags": ["cool", "jazz"], "artist": None}
    ]
    (item,) = read("manifest", write_table(tmp_path, suffix, rows)).items
    assert (item.title, item.artist, item.genres) == ("One", "", ("Jazz", "cool"))


def test_what_is_wrong_with_rows_is_said(tmp_path: Path) -> None:
    sound(tmp_path / "one.mp3")
    sound(tmp_path / "notes.txt")
    rows = [
        {"path": "one.mp3", "genre": "a"}, {"path": "one.mp3", "genre": "b"}, {"path": "", "genre": "a"},
        {"path": "gone.mp3", "genre": "a"}, {"path": "notes.txt", "genre": "a"},
    ]  # fmt: skip
    found = read("manifest", write_table(tmp_path, ".csv", rows))
    assert len(found.items) == 1
    assert problems(found) == {
        ("listed twice", "one.mp3"), ("row without a path", "table.csv: row 3"), ("file is missing", "gone.mp3"),
        ("no audio by its name", "notes.txt"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{]", "damaged"),
        ("a.json", b'"text"', "list of objects"),
        ("a.json", b"[1]", "no object"),
        ("a.json", b'{"path": ["a", "b"], "genre": ["x"]}', "different lengths"),
        ("a.jsonl", b'{"path": "a"}\nnonsense\n', "damaged"),
        ("a.parquet", b"nonsense", "no Parquet"),
        ("a.xlsx", b"nonsense", "no table that is known"),
        ("a.csv", b"", "no track"),
        ("a.csv", b"title\nx\n", "no track"),
    ],
)
def test_tables_that_are_none_are_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read("manifest", tmp_path / name)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_table(tmp_path, ".parquet", ROWS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"soundkin\[parquet\]"):
        read("manifest", file)


def test_audiofolder_with_metadata_per_split(tmp_path: Path) -> None:
    for split, row in (("train", "one"), ("test", "two")):
        sound(tmp_path / split / "deep" / f"{row}.flac")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,genre\ndeep/{row}.flac,Rock\n")
    sound(tmp_path / "train" / "extra.flac")
    found = read("audiofolder", tmp_path)
    assert {(Path(i.path).name, i.split, i.genres) for i in found.items} == {
        ("one.flac", "train", ("Rock",)), ("two.flac", "test", ("Rock",)),
    }  # fmt: skip
    assert problems(found) == {("file has no labels", "extra.flac")}


def test_audiofolder_with_labels_as_folders(tmp_path: Path) -> None:
    sound(tmp_path / "train" / "rock" / "1.mp3")
    sound(tmp_path / "validation" / "jazz" / "2.mp3")
    sound(tmp_path / "loose.mp3")
    items = by_name(read("audiofolder", tmp_path))
    assert (items["1.mp3"].split, items["1.mp3"].genres) == ("train", ("rock",))
    assert (items["2.mp3"].split, items["2.mp3"].genres) == ("validation", ("jazz",))
    assert items["loose.mp3"].genres == ()


# ---- all of them


@pytest.mark.parametrize("name", DATASETS)
def test_nothing_there_says_what_was_wanted(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read(name, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="wanted"):
        read(name, tmp_path / "empty")


def test_every_data_set_says_what_it_is() -> None:
    for name, about in DATASETS.items():
        assert about.about, name
        assert about.layout, name
        assert about.licence, name
        assert about.citation or name in ("manifest", "audiofolder"), name
    with pytest.raises(InputError, match="no data set is called"):
        read("nonsense", ".")


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    found = read("ludwig", make_ludwig(tmp_path / "ludwig"))
    assert datasets.write_manifest(tmp_path / "m.csv", found) == len(found.items)
    assert read("manifest", tmp_path / "m.csv").items == found.items
    with pytest.raises(InputError, match="cannot write"):
        datasets.write_manifest(tmp_path / "none" / "m.csv", found)


# ---- the command, and labels in an evaluation


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
        cli.main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exited.value.code or 0), out, err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_ludwig(tmp_path / "ludwig")
    code, out, _ = run(capsys, "dataset", "ludwig", folder)
    assert code == 0
    assert "5 of 7 that the labels tell of" in out
    assert "Kaggle" in out
    assert "file is missing: 1" in out
    code, out, err = run(capsys, "dataset", "ludwig", folder, "--json", "--manifest", tmp_path / "m.csv")
    document = json.loads(out)
    assert (code, document["tracks"], document["listed"]) == (0, 5, 7)
    assert {p["kind"] for p in document["problems"]} == {
        "labels are empty", "file is missing", "file is empty", "file has no labels"
    }  # fmt: skip
    assert "5 tracks" in err
    code, _, err = run(capsys, "dataset", "gtzan", folder)
    assert (code, "wanted genres/GENRE" in err) == (1, True)
    assert run(capsys, "dataset", "nonsense", folder)[0] == 2


def test_labels_stand_in_place_of_tags(made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Library.open(made.library) as library:
        tracks = [track for track in library.tracks() if "copies" not in track.path]
    genres = {genre for track in tracks for genre in track.genres[:1]}
    rows = [
        {"path": t.path, "genres": "even" if i % 2 else "odd", "artist": f"{i % 3}", "album": "Live"}
        for i, t in enumerate(tracks[:20])
    ]
    file = write_table(tmp_path, ".csv", rows)
    with Library.open(made.library) as library:
        album, genre = evaluate(library, Options(("album", "genre"), labels=file))
    assert (album.candidates, album.told["albums"]) == (20, 3)  # three artists, an album each
    assert album.told["tracks_not_in_the_labels"] == 10
    assert (genre.candidates, genre.told["genres"]) == (20, 2)
    assert len(genres) > 2
    code, _, err = run(capsys, "evaluate", "--library", made.library, "--labels", tmp_path / "none.csv")
    assert (code, "does not exist" in err) == (1, True)


def test_sounds_of_a_data_set_can_be_indexed_and_judged(tmp_path: Path) -> None:
    """From a folder to a table: what a person does with a data set."""
    rng = np.random.default_rng(0)
    for genre, hz in (("blues", 220), ("metal", 880)):
        for number in range(6):
            (tmp_path / "set" / genre).mkdir(parents=True, exist_ok=True)
            t = np.arange(5 * 22050) / 22050
            y = np.sin(2 * np.pi * hz * (1 + number / 50) * t) * 0.3 + rng.standard_normal(len(t)) * 0.01
            soundfile.write(tmp_path / "set" / genre / f"{genre}.{number:05}.wav", y, 22050)
    datasets.write_manifest(tmp_path / "m.csv", read("gtzan", tmp_path / "set"))
    with Library.open(tmp_path / "library") as library:
        library.add(tmp_path / "set")
        (table,) = evaluate(library, Options(("genre",), labels=tmp_path / "m.csv"))
    figures = {row.system: row.figures["R-prec"].mean for row in table.rows}
    assert figures["random"] == pytest.approx(5 / 11, abs=1e-6)
    assert (figures["cnn"] or 0) > 0.9
