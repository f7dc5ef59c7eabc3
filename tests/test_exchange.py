import contextlib
import hashlib
import json
import math
import os
import sqlite3
import struct
import sys
import warnings
import zipfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundkin import synth
from soundkin.cli import main
from soundkin.embed import Embedded, FileState, Space
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import InputError, MissingExtra, SoundkinError
from soundkin.exchange import Exported, Foreign, merge, read, take, write
from soundkin.fingerprint import BANDS, fingerprint
from soundkin.library import Library
from soundkin.record import Record, Track
from soundkin.scan import ScanOptions
from soundkin.tags import Tags

D = 3
SPACE = Space("cnn", "0a1b", "mel128", 2.0, 1.0, "5x9.02s", "mean", D)
SUFFIXES = [".npz", ".parquet", ".sqlite", ".db"]
every_format = pytest.mark.parametrize("suffix", SUFFIXES)


def unit(*numbers: float) -> NDArray[np.float32]:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def make_file(path: Path, data: bytes) -> FileState:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return FileState(os.fspath(path), len(data), path.stat().st_mtime_ns)


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def song(path: Path, data: bytes, vector: NDArray[np.float32] | None = None, **tags: Any) -> Embedded:
    """What embedding a file with these bytes gives; the file is made."""
    vectors = {} if vector is None else {SPACE.id: vector}
    analysis = Analysis(120.0, "A minor", 0.5, -20.0)
    return Embedded(
        make_file(path, data), hashed(data), 200.0, 44100, 2, "mp3", Tags(**tags), analysis, vectors
    )


def library_of(folder: Path, *songs: Embedded) -> Path:
    with Record.open(folder, write=True) as record:
        record.add_space(SPACE)
        for one in songs:
            record.put(one)
    return folder


def export_of(folder: Path, target: Path) -> Path:
    with Record.open(folder) as record:
        write(target, take(record, SPACE))
    return target


def import_into(folder: Path, source: Path) -> Any:
    with Record.open(folder, write=True) as record:
        return merge(record, read(source))


def described(folder: Path) -> list[dict[str, Any]]:
    """Everything a library says of its tracks but when they came, with their vectors."""
    with Record.open(folder) as record:
        return [
            {**asdict(track), "added": 0.0, "vector": record.vector(track.id, SPACE.id).tolist()}
            for track in record.tracks()
        ]


# ---- what goes into a file comes out


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)
paths = st.binary(max_size=20).map(lambda tail: os.fsdecode(b"/" + tail.replace(b"\0", b"")))
whole = st.integers(-(2**53), 2**53)
TRACKS = st.builds(
    Track,
    id=st.integers(0, 2**64 - 1).map("{:016x}".format),
    path=paths, title=texts, artist=texts, album=texts, album_artist=texts,
    genres=st.lists(texts, max_size=3).map(tuple), year=st.none() | whole, track=st.none() | whole,
    disc=st.none() | whole, duration=st.floats(0, 1e9), bpm=st.none() | st.floats(0, 1e3), key=texts,
    energy=st.none() | st.floats(0, 1), loudness=st.none() | st.floats(-200, 0),
    size=st.integers(0, 2**62), mtime_ns=st.integers(-(2**62), 2**62), content=texts, format=texts,
    sample_rate=st.integers(0, 2**31), channels=st.integers(0, 255), added=st.floats(0, 1e10),
    tagged_bpm=st.none() | st.floats(0, 1e3), recording_mbid=texts, release_mbid=texts, artist_mbid=texts,
    isrc=texts, track_gain=st.none() | st.floats(-60, 60), album_gain=st.none() | st.floats(-60, 60),
)  # fmt: skip


@every_format
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks=st.lists(TRACKS, max_size=4, unique_by=lambda track: track.id), seed=st.integers(0, 9))
def test_every_track_comes_back(tmp_path, suffix, tracks, seed):
    tracks = sorted(tracks, key=lambda track: track.id)
    vectors = np.random.default_rng(seed).standard_normal((len(tracks), D)).astype(np.float32)
    prints = {place: a_print(place) for place in range(0, len(tracks), 2)}
    write(tmp_path / f"a{suffix}", Exported(SPACE, tracks, vectors, prints))
    back = read(tmp_path / f"a{suffix}")
    assert isinstance(back, Exported)
    assert back.space == SPACE
    assert back.tracks == tracks
    assert back.vectors.dtype == np.float32
    assert np.array_equal(back.vectors, vectors)
    assert back.fingerprints == prints


@every_format
def test_fingerprints_move_along_and_those_that_are_there_stay(tmp_path, suffix):
    files = [(tmp_path / name, name.encode()) for name in ("a.mp3", "b.mp3", "c.mp3")]
    songs = [song(*file, unit(1, 2, 3)) for file in files]
    songs[0].fingerprint, songs[1].fingerprint = a_print(1), a_print(2)
    source = export_of(library_of(tmp_path / "old", *songs), tmp_path / f"x{suffix}")
    there = [song(*file, unit(1, 2, 3)) for file in files[:2]]  # the third comes as a new track
    there[1].fingerprint = a_print(3)
    report = import_into(library_of(tmp_path / "new", *there), source)
    assert (report.matched, report.added, report.fingerprints) == (2, 1, 1)
    with Record.open(tmp_path / "new") as record:
        found = record.fingerprints([track.id for track in record.tracks()])
        assert sorted(found.values()) == sorted([a_print(1), a_print(3)])
        assert record.without_fingerprint() == [str(files[2][0])]


@every_format
def test_what_is_no_fingerprint_is_refused(tmp_path, suffix):
    source, tracks = an_export(tmp_path, suffix)
    write(source, Exported(SPACE, tracks, np.stack([unit(1, 2, 3)] * 2), {1: b"\x07nonsense"}))
    with pytest.raises(InputError, match="damaged"):
        read(source)


def a_print(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return fingerprint([(t, rng.random((33, BANDS)).astype(np.float32)) for t in (1.0, 20.0)])


def an_export(folder: Path, suffix: str) -> tuple[Path, list[Track]]:
    """Export two tracks, one with an odd path and no tags."""
    first = song(
        folder / "a.mp3", b"a", unit(1, 2, 3), title="Été", artist="A", album="L", genres=("rock", "punk"), year=1977
    )  # fmt: skip
    second = song(Path(os.fsdecode(os.fsencode(folder) + b"/\xff.mp3")), b"b", unit(-1, 0, 0))
    library = library_of(folder / "library", first, second)
    with Record.open(library) as record:
        return export_of(library, folder / f"out{suffix}"), list(record.tracks())


def test_npz_is_plain_arrays(tmp_path):
    file, tracks = an_export(tmp_path, ".npz")
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == [t.id for t in tracks]
        assert arrays["path"].tolist() == [t.path for t in tracks]
        assert arrays["content"].tolist() == [t.content for t in tracks]
        assert arrays["duration"].tolist() == [200.0, 200.0]
        assert arrays["vectors"].dtype == np.float32
        years = dict(zip(arrays["title"].tolist(), arrays["year"].tolist(), strict=True))
        assert years["Été"] == 1977
        assert math.isnan(years[""])
        assert sorted(map(json.loads, arrays["genres"])) == [[], ["rock", "punk"]]
        assert json.loads(str(arrays["space"])) == asdict(SPACE)


def test_parquet_has_a_column_per_field_and_the_space_beside(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file, tracks = an_export(tmp_path, ".parquet")
    table = parquet.read_table(file)
    assert {f.name for f in fields(Track)} < set(table.column_names)
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[3]"
    assert str(table.schema.field("genres").type) == "list<element: string>"
    assert json.loads(table.schema.metadata[b"soundkin.space"]) == asdict(SPACE)
    rows = {row["id"]: row for row in table.to_pylist()}
    for track in tracks:
        assert rows[track.id]["path_bytes"] == os.fsencode(track.path)
        assert rows[track.id]["year"] == track.year
        assert rows[track.id]["genres"] == list(track.genres)


def test_sqlite_has_the_tables_others_look_for(tmp_path):
    file, tracks = an_export(tmp_path, ".db")
    db = sqlite3.connect(file)
    vectors = {row[0]: struct.unpack("<3d", row[1]) for row in db.execute("SELECT * FROM songs_vectors")}
    songs = db.execute("SELECT song_id, artist, name, album, genre, path FROM songs").fetchall()
    ((space,),) = db.execute("SELECT json FROM space")
    db.close()
    assert sorted(songs) == sorted(
        (t.id, t.artist, t.title, t.album, t.genres[0] if t.genres else "", os.fsencode(t.path))
        for t in tracks
    )
    assert Space.from_json(space) == SPACE
    by_title = {track.title: vectors[track.id] for track in tracks}
    assert by_title["Été"] == tuple(map(float, unit(1, 2, 3)))
    assert by_title[""] == (-1, 0, 0)


# ---- into a record


@every_format
def test_a_new_library_on_a_machine_with_the_files_is_as_the_old_one(tmp_path, suffix):
    file, tracks = an_export(tmp_path, suffix)
    for track in tracks:
        os.utime(track.path, ns=(5, 5))  # a copy of the music has other times
    report = import_into(tmp_path / "new", file)
    assert (report.rows, report.added, report.matched, report.vectors) == (2, 2, 0, 0)
    expected = [{**row, "mtime_ns": 5} for row in described(tmp_path / "library")]
    assert described(tmp_path / "new") == expected
    with Record.open(tmp_path / "new") as record:
        revision = record.revision
    again = import_into(tmp_path / "new", file)
    assert (again.rows, again.added, again.matched, again.vectors) == (2, 0, 2, 0)
    with Record.open(tmp_path / "new") as record:
        assert record.revision == revision


def test_the_bytes_of_a_file_count_not_its_path(tmp_path):
    old = library_of(tmp_path / "old", song(tmp_path / "a.mp3", b"a", unit(1, 2, 3)))
    new = library_of(tmp_path / "new", song(tmp_path / "b.mp3", b"a", title="kept"))
    report = import_into(new, export_of(old, tmp_path / "x.npz"))
    assert (report.matched, report.vectors, report.added) == (1, 1, 0)
    (row,) = described(new)
    assert (row["path"], row["title"]) == (os.fspath(tmp_path / "b.mp3"), "kept")
    assert row["vector"] == unit(1, 2, 3).tolist()


def test_a_vector_that_is_there_stays(tmp_path):
    old = library_of(tmp_path / "old", song(tmp_path / "a.mp3", b"a", unit(1, 2, 3)))
    new = library_of(tmp_path / "new", song(tmp_path / "a.mp3", b"a", unit(3, 2, 1)))
    report = import_into(new, export_of(old, tmp_path / "x.npz"))
    assert (report.matched, report.vectors) == (1, 0)
    assert described(new)[0]["vector"] == unit(3, 2, 1).tolist()


def test_copies_of_a_file_become_tracks_of_their_own(tmp_path):
    copies = [song(tmp_path / name, b"a", unit(1, 2, 3)) for name in ("a.mp3", "b.mp3")]
    file = export_of(library_of(tmp_path / "old", *copies), tmp_path / "x.npz")
    assert import_into(tmp_path / "new", file).added == 2
    again = import_into(tmp_path / "new", file)
    assert (again.matched, again.added, again.vectors) == (2, 0, 0)


def test_a_row_that_is_nowhere_is_named(tmp_path):
    songs = [song(tmp_path / f"{i}.mp3", str(i).encode(), unit(1, 2, 3)) for i in range(9)]
    file = export_of(library_of(tmp_path / "old", *songs), tmp_path / "x.npz")
    for i in range(9):
        (tmp_path / f"{i}.mp3").unlink()
    report = import_into(tmp_path / "new", file)
    assert (report.rows, report.unmatched, report.added) == (9, 9, 0)
    assert len(report.left_out) == 5
    assert all("No such file" in line and str(tmp_path) in line for line in report.left_out)


@pytest.mark.parametrize("now", [b"b", b"longer"])
def test_a_file_with_other_bytes_is_refused(tmp_path, now):
    file = export_of(
        library_of(tmp_path / "old", song(tmp_path / "a.mp3", b"a", unit(1, 2, 3))), tmp_path / "x.npz"
    )
    (tmp_path / "a.mp3").write_bytes(now)
    assert import_into(tmp_path / "new", file).refused == 1
    library = library_of(tmp_path / "has", song(tmp_path / "a.mp3", now, unit(0, 0, 1)))
    report = import_into(library, file)
    assert (report.refused, report.vectors) == (1, 0)
    assert described(library)[0]["vector"] == [0, 0, 1]


@pytest.mark.parametrize("bad", [(0, 0, 0), (math.nan, 0, 1), (2, 0, 0), (math.inf, 0, 0)])
def test_an_unusable_vector_is_refused_and_the_rest_comes(tmp_path, bad):
    songs = [song(tmp_path / name, name.encode(), unit(1, 2, 3)) for name in ("a.mp3", "b.mp3")]
    with Record.open(library_of(tmp_path / "old", *songs)) as record:
        exported = take(record, SPACE)
    exported.vectors[0] = bad
    write(tmp_path / "x.npz", exported)
    report = import_into(tmp_path / "new", tmp_path / "x.npz")
    assert (report.refused, report.added) == (1, 1)


def test_a_row_of_another_program_that_knows_no_bytes_goes_by_its_path(tmp_path):
    library = library_of(tmp_path / "library", song(tmp_path / "a.mp3", b"a"))
    np.savez(
        tmp_path / "x.npz", ids=["", ""], path=[os.fspath(tmp_path / "a.mp3"), "/none.mp3"], content=["", ""],
        vectors=np.stack([unit(1, 2, 3)] * 2), space=SPACE.to_json(), space_id=SPACE.id,
    )  # fmt: skip
    report = import_into(library, tmp_path / "x.npz")
    assert (report.matched, report.vectors, report.unmatched) == (1, 1, 1)


# ---- vectors by others


def foreign(file: Path, rows: list[tuple[Any, bytes]]) -> Path:
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE songs_vectors (song_id, embedding BLOB)")
        db.executemany("INSERT INTO songs_vectors VALUES (?, ?)", rows)
    db.close()
    return file


def doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


def test_songs_of_others_are_found_by_id_content_path_and_file_stem(tmp_path):
    songs = [song(tmp_path / f"{n}.mp3", n.encode()) for n in ("a", "b", "c", "77", "e/x", "f/x", "g/y", "h")]
    songs.append(song(tmp_path / "copy" / "y.mp3", b"g/y"))
    library = library_of(tmp_path / "library", *songs)
    with Record.open(library) as record:
        ids = {os.path.relpath(track.path, tmp_path): track.id for track in record.tracks()}
    names = [ids["a.mp3"], hashed(b"b"), os.fspath(tmp_path / "c.mp3"), 77, "x", "y", "nothing"]
    vectors = [(float(i + 1), 4.0) for i in range(len(names))]
    rows = [(name, doubles(*v)) for name, v in zip(names, vectors, strict=True)]
    file = foreign(tmp_path / "other.db", rows)
    report = import_into(library, file)
    # "x" is two songs, "y" two copies of one
    assert (report.rows, report.matched, report.vectors, report.unmatched) == (7, 5, 6, 2)
    assert [line.split(":")[0] for line in report.left_out] == ["x", "nothing"]
    expected = {"a.mp3": 0, "b.mp3": 1, "c.mp3": 2, "77.mp3": 3, "g/y.mp3": 5, "copy/y.mp3": 5}
    with Record.open(library) as record:
        assert record.active_spaces() == [SPACE]
        assert report.space.startswith("imported-")
        got = dict(zip(*record.vectors(report.space), strict=True))
        revision = record.revision
    assert got.keys() == {ids[name] for name in expected}
    for name, i in expected.items():
        length = math.hypot(*vectors[i])
        assert got[ids[name]] == pytest.approx([x / length for x in vectors[i]])
    assert import_into(library, file).vectors == 0
    with Record.open(library) as record:
        assert record.revision == revision


def test_other_files_and_names_are_other_spaces(tmp_path):
    one = foreign(tmp_path / "1.db", [("a", doubles(1, 2))])
    two = foreign(tmp_path / "2.db", [("a", doubles(1, 3))])
    ids = {read(one).space.id, read(two).space.id, read(one, "openl3").space.id}
    assert len(ids) == 3
    content = read(one)
    assert isinstance(content, Foreign)
    assert content.names == ["a"]
    assert content.vectors == pytest.approx(np.array([[0.4472136, 0.8944272]]))  # 1 and 2 by the root of 5
    with pytest.raises(InputError, match="cannot name an encoder"):
        read(one, "../../etc")


def test_nothing_of_others_matches_then_nothing_changes(tmp_path):
    library = library_of(tmp_path / "library", song(tmp_path / "a.mp3", b"a"))
    assert import_into(library, foreign(tmp_path / "x.db", [("b", doubles(1))])).unmatched == 1
    with Record.open(library) as record:
        assert record.spaces() == [SPACE]


@pytest.mark.parametrize("huge", [1e-320, 1e-200, 1e200, 1e308])
def test_the_length_of_a_vector_by_others_may_be_anything(tmp_path, huge):
    content = read(foreign(tmp_path / "x.db", [("a", doubles(huge, -huge))]))
    assert content.vectors.tolist() == [pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("a", doubles(1, 2)), ("b", doubles(1, 2, 3))], "16 bytes, 24 bytes"),
        ([("a", doubles(1, 2)), ("b", doubles(math.nan, 2))], "1 of 2 vectors .* 'b'"),
        ([("a", doubles(math.inf, 2))], "not finite"),
        ([("a", doubles(1, 2)), ("b", doubles(0, 0))], "zero"),
        ([("a", b"1234567")], "7 bytes"),
        ([("a", b"")], "0 bytes"),
        ([("a", None)], "cannot be imported"),
        ([("a", 5.0)], "cannot be imported"),
        ([("a", "no blob!")], "cannot be imported"),
        ([], "empty"),
    ],
)  # fmt: skip
def test_unusable_vectors_of_others_are_refused_in_one_line(tmp_path, rows, told):
    with pytest.raises(InputError, match=told) as caught:
        read(foreign(tmp_path / "x.db", rows))
    assert "\n" not in str(caught.value)


# ---- files that are not what they claim


def tampered(file: Path, **changes: Any) -> None:
    """Describe another space in an export, under the id of the old one."""
    text = replace(SPACE, **changes).to_json()
    if file.suffix == ".npz":
        with np.load(file) as archive:
            arrays = dict(archive)
        np.savez(file, **{**arrays, "space": np.array(text)})
    elif file.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(file)
        told = {**table.schema.metadata, b"soundkin.space": text.encode()}
        parquet.write_table(table.replace_schema_metadata(told), file)
    else:
        with sqlite3.connect(file) as db:
            db.execute("UPDATE space SET json = ?", (text,))
        db.close()


@every_format
@pytest.mark.parametrize(
    "changes", [{"weights": "ffff"}, {"pooling": "max"}, {"dims": 4}, {"dims": "3"}, {"encoder": "/tmp/x"}]
)
def test_a_space_that_is_not_what_it_claims_is_refused(tmp_path, suffix, changes):
    file, _ = an_export(tmp_path, suffix)
    tampered(file, **changes)
    with pytest.raises(InputError):
        read(file)


@pytest.mark.parametrize("listening", ["", "much", "5xs"])
def test_a_listening_that_cannot_be_named_is_refused(tmp_path, listening):
    write(tmp_path / "x.npz", Exported(replace(SPACE, listening=listening), [], np.empty((0, D), np.float32)))
    with pytest.raises(InputError):
        read(tmp_path / "x.npz")


def test_a_space_of_other_dimensions_is_refused_even_with_its_own_id(tmp_path):
    write(tmp_path / "x.npz", Exported(replace(SPACE, dims=4), [], np.empty((0, D), np.float32)))
    with pytest.raises(InputError, match="4 dimensions"):
        read(tmp_path / "x.npz")


@every_format
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_still_holds_together(tmp_path, suffix, data):
    whole_file = tmp_path / f"out{suffix}"
    if not whole_file.exists():
        an_export(tmp_path, suffix)
    content = bytearray(whole_file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / f"damaged{suffix}"
    damaged.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    with contextlib.suppress(InputError):  # anything else is our own bug
        back = read(damaged)
        assert back.vectors.shape[1] == back.space.dims


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_array_behind_a_right_checksum_is_refused_or_holds_together(tmp_path, data):
    if not (tmp_path / "out.npz").exists():
        an_export(tmp_path, ".npz")
    with zipfile.ZipFile(tmp_path / "out.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(members)))
    content = bytearray(members[name])
    for place in data.draw(st.lists(st.integers(0, min(len(content), 128) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.sampled_from(b"()[]{}'\\,: 019<U\0\xff"))
    with zipfile.ZipFile(tmp_path / "damaged.npz", "w") as archive:
        for member, old in members.items():
            archive.writestr(member, bytes(content) if member == name else old)
    with contextlib.suppress(InputError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 wrote
        back = read(tmp_path / "damaged.npz")
        assert back.vectors.shape[1] == back.space.dims


@pytest.mark.parametrize("suffix", [".sqlite", ".npz"])
def test_a_vector_beyond_float32_is_refused(tmp_path, suffix):
    library = library_of(tmp_path / "library", song(tmp_path / "a.mp3", b"a", unit(1, 2, 3)))
    with Record.open(library) as record:
        exported = take(record, SPACE)
    wide = np.array([[1e300, 0, 0]])
    write(tmp_path / f"x{suffix}", Exported(SPACE, exported.tracks, wide))
    assert import_into(tmp_path / "new", tmp_path / f"x{suffix}").refused == 1


def test_parquet_with_lists_of_several_lengths_is_refused(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file, _ = an_export(tmp_path, ".parquet")
    table = parquet.read_table(file)
    ragged = pa.array([[1.0, 0.0], [0.0, 1.0, 0.0, 0.0]], pa.list_(pa.float32()))  # six numbers, as 2 x 3 has
    place = table.column_names.index("vector")
    parquet.write_table(table.set_column(place, "vector", ragged), file)
    with pytest.raises(InputError, match="cannot be imported"):
        read(file)
    even = pa.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], pa.list_(pa.float64()))  # as pandas writes them
    parquet.write_table(table.set_column(place, "vector", even), file)
    assert read(file).vectors.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (os.fspath(tmp_path / "boom"),)

    np.savez(tmp_path / "x.npz", ids=np.array([Bomb()], object), space="", space_id="")
    with pytest.raises(InputError):
        read(tmp_path / "x.npz")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [("x.csv", "suffix"), ("x", "suffix"), ("gone.npz", "no such file"), ("gone.db", "no such file")],
)
def test_a_file_that_is_not_there_or_of_no_format(tmp_path, name, told):
    with pytest.raises(InputError, match=told):
        read(tmp_path / name)


def test_one_array_is_not_an_export(tmp_path):
    with open(tmp_path / "x.npz", "wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(InputError, match="one array"):
        read(tmp_path / "x.npz")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    empty = Exported(SPACE, [], np.empty((0, D), np.float32))
    with pytest.raises(MissingExtra, match=r"pip install 'soundkin\[parquet\]'"):
        write(tmp_path / "x.parquet", empty)
    (tmp_path / "x.parquet").touch()
    with pytest.raises(MissingExtra):
        read(tmp_path / "x.parquet")


@every_format
def test_a_file_is_replaced_when_the_new_one_is_complete(tmp_path, suffix, monkeypatch):
    file, _ = an_export(tmp_path, suffix)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(InputError, match="No space left"):
            export_of(tmp_path / "library", file)
    assert file.read_bytes() == before
    export_of(tmp_path / "library", file)
    assert isinstance(read(file), Exported)
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(InputError, match="cannot write"):
        export_of(tmp_path / "library", tmp_path / "no-folder" / f"x{suffix}")


# ---- libraries


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("exchange")
    synth.write_library(home / "music", 8, 5.0)
    with Library.open(home / "library") as library:
        library.add(home / "music", ScanOptions(encoders=("descriptors",), jobs=1))
    return home


@every_format
def test_nothing_is_embedded_twice(indexed, tmp_path, suffix):
    with Library.open(indexed / "library") as old, Library.open(tmp_path / "new") as new:
        assert old.export(tmp_path / f"x{suffix}") == 8
        assert new.import_(tmp_path / f"x{suffix}").added == 8
        assert any((tmp_path / "new" / "index").iterdir())  # the next question need not wait for it
        report = new.add(indexed / "music", ScanOptions(jobs=1))
        assert (report.found, report.unchanged) == (8, 8)
        for track in old.tracks():
            answers = [
                [(hit.id, hit.cosine, hit.similarity) for hit in library.similar(track.id, 5)]
                for library in (old, new)  # moments are not exported, so there are none to give as reasons
            ]
            assert answers[0] == answers[1]
    with Library.open(tmp_path / "new") as new:
        again = new.import_(tmp_path / f"x{suffix}")
    assert (again.matched, again.vectors, again.added) == (8, 0, 0)


def test_a_library_goes_on_in_its_own_space(tmp_path):
    with Record.open(library_of(tmp_path / "old", song(tmp_path / "a.mp3", b"a", unit(1, 2, 3)))) as record:
        track = next(record.tracks())
    other = replace(SPACE, encoder="not-here")
    write(tmp_path / "x.npz", Exported(other, [track], unit(1, 2, 3)[None]))
    for name in ("old", "fresh"):  # one has its own space, the other none, but not the encoder
        with Library.open(tmp_path / name) as library:
            library.import_(tmp_path / "x.npz")
            assert library.space("not-here") == other
            active = {space.id for space, _, is_active in library.status().spaces if is_active}
            assert active == ({SPACE.id} if name == "old" else set())


def test_a_library_with_a_space_of_its_own_does_not_take_over_another_encoder(indexed, tmp_path):
    library_of(tmp_path / "own", song(tmp_path / "a.mp3", b"a", unit(1, 2, 3)))
    with Library.open(indexed / "library") as old, Library.open(tmp_path / "own") as library:
        old.export(tmp_path / "x.npz")
        assert library.import_(tmp_path / "x.npz").added == 8
        assert [space for space, _, active in library.status().spaces if active] == [SPACE]


def test_vectors_of_nothing_make_no_library_fail(tmp_path):
    with Library.open(tmp_path / "fresh") as library:
        assert library.import_(foreign(tmp_path / "x.db", [("b", doubles(1))])).unmatched == 1
        assert library.tracks() == []


def test_an_export_never_replaces_a_part_of_the_library(indexed):
    with Library.open(indexed / "library") as library, pytest.raises(InputError, match="inside the library"):
        library.export(indexed / "library" / "index.db")


def command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([os.fspath(argument) for argument in arguments])
    return end.value.code  # type: ignore[return-value]


def test_the_commands(indexed, tmp_path, capsys):
    old, new, file = indexed / "library", tmp_path / "new", tmp_path / "x.npz"
    assert command("export", file, "--library", old, "--space", "descriptors", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["tracks"]) == (os.fspath(file), 8)
    assert command("import", file, "--library", new, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["space"], report["rows"], report["added"]) == (told["space"], 8, 8)
    assert command("import", file, "--library", new) == 0
    assert "8 in the library" in capsys.readouterr().out
    assert command("export", tmp_path / "y.db", "--library", new) == 0
    assert "8 tracks" in capsys.readouterr().out
    other = foreign(tmp_path / "other.db", [("nothing", doubles(1))])
    assert command("import", other, "--library", new, "--encoder-name", "openl3") == 0
    out, err = capsys.readouterr()
    assert "openl3-" in out
    assert "1 unmatched" in out
    assert "nothing" in err
    assert command("import", tmp_path / "gone.npz", "--library", new) == SoundkinError.exit_status
    assert capsys.readouterr().err.startswith("error: no such file")
