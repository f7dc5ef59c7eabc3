"""What needs no cluster: the files of results, loading them, the ledger. Those of a real cluster are in test_ray."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import Made
from server import serving

from soundkin.cli import cli
from soundkin.cluster import ClusterOptions, ClusterReport, embed_with_ray, sources_of
from soundkin.cluster.actors import MOST_DEATHS, Ledger
from soundkin.cluster.child import Child, Look
from soundkin.cluster.parts import Done, PartFile, Settled, settled_in, write_manifest, write_part
from soundkin.cluster.places import SECOND, Place, listed, version_of
from soundkin.cluster.running import _Run
from soundkin.embed import Embedded, Failure, FileState, Same, Space, Task, content_hash, is_gone, is_url
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import InputError, MissingExtra, StoreError
from soundkin.library import Library
from soundkin.tags import Tags

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SPACE = Space("made-up", "0", "none", 1.0, 1.0, "all", "mean", 4)
OTHER = Space("another", "0", "none", 1.0, 1.0, "all", "mean", 2)
AT = 1_700_000_000.0


def embedded(
    path: str, content: str = "0" * 32, mtime_ns: int = 5, spaces: Any = (SPACE,), **more: Any
) -> Embedded:
    rng = np.random.default_rng([*os.fsencode(path)])

    def unit(dims: int) -> Any:
        vector = rng.standard_normal(dims).astype(np.float32)
        return vector / np.linalg.norm(vector)

    windows = np.array([[0.5, -0.25], [1.0, 2.0]], np.float32)
    return Embedded(
        FileState(path, 100, mtime_ns), content, 12.5, 44_100, 2, "flac",
        Tags(title="Straße", artist="Ñandú", genres=("Tango", "Milonga"), year=1956, bpm=120.0),
        Analysis(bpm=61.5, key="A minor", energy=0.5, loudness=-14.0),
        {space.id: unit(space.dims) for space in spaces},
        {space.id: (np.array([0.0, 1.5], np.float32), np.tile(windows, space.dims // 2)) for space in spaces},
        **more,
    )  # fmt: skip


def put(place: Place, name: str, *outcomes: Any, spaces: Any = (SPACE,)) -> str:
    ids = tuple(space.id for space in spaces)
    rows = [Done(one, getattr(one, "content", ""), ids) for one in outcomes]
    write_part(place, f"parts/{name}.parquet", rows, spaces, AT)
    return f"parts/{name}.parquet"


def outcomes_in(folder: Path) -> list[Any]:
    found: list[Any] = []
    for place, name in sources_of([folder]):
        with PartFile(place, name) as part:
            found += part.outcomes()
    return found


# ---- parts


@given(path=st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_a_part_gives_back_what_was_put_in(tmp_path_factory: pytest.TempPathFactory, path: bytes) -> None:
    folder = tmp_path_factory.mktemp("out")
    name = "/" + os.fsdecode(path)
    one = embedded(name, damage="cut off", spaces=(SPACE, OTHER))
    failure = Failure(FileState(name + ".bad", 7, 8), "decode", "no audio")
    copy = Same(FileState(name + ".again", 100, 6), one.content)
    put(Place(str(folder)), "one", one, failure, copy, spaces=(SPACE, OTHER))
    found, failed, same = outcomes_in(folder)
    assert (failed, same) == (failure, copy)
    for field in (
        "file",
        "content",
        "duration",
        "sample_rate",
        "channels",
        "format",
        "tags",
        "analysis",
        "damage",
    ):
        assert getattr(found, field) == getattr(one, field)
    for space in (SPACE.id, OTHER.id):
        assert np.array_equal(found.vectors[space], one.vectors[space])
        assert all(
            np.array_equal(a, b) for a, b in zip(found.windows[space], one.windows[space], strict=True)
        )


def test_others_can_read_a_part(tmp_path: Path) -> None:
    one = embedded("/a.flac")
    put(Place(str(tmp_path)), "one", one, Failure(FileState("/b.flac", 1, 2), "silent", "no sound"))
    table = parquet.read_table(tmp_path / "parts" / "one.parquet")
    assert table["title"].to_pylist() == ["Straße", None]
    assert table["outcome"].to_pylist() == ["embedded", "failed"]
    assert table["reason"].to_pylist() == [None, "no sound"]
    assert np.array_equal(table[f"vector.{SPACE.id}"].to_pylist()[0], one.vectors[SPACE.id])
    (told,) = json.loads(table.schema.metadata[b"soundkin.spaces"])
    assert Space.from_json(told["space"]) == SPACE


def test_what_is_settled_is_read_from_the_manifest_and_from_parts_it_does_not_name(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    assert list(settled_in(place)) == []
    first = put(place, "first", embedded("/a"), embedded("/b", "1" * 32))
    known = list(settled_in(place))
    assert [(one.file.path, one.outcome, one.spaces) for one in known] == [
        ("/a", "embedded", (SPACE.id,)), ("/b", "embedded", (SPACE.id,)),
    ]  # fmt: skip
    write_manifest(place, "manifest/one.parquet", known, [first])
    (tmp_path / first).write_bytes(b"not opened any more")
    put(place, "second", Failure(FileState("/c", 1, 2), "decode", "no"))
    assert [one.file.path for one in settled_in(place)] == ["/a", "/b", "/c"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    place = Place(str(tmp_path))
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreError, match="No space left"):
        place.write("parts/one.parquet", b"x")
    assert place.names("parts") == []
    assert list((tmp_path / "parts").iterdir()) == []


# ---- places


def test_urls_are_told_from_paths() -> None:
    assert all(map(is_url, ("s3://bucket/a", "https://example.org/a.mp3", "gs://b")))
    assert not any(map(is_url, ("/music/a", "a/b", "C:\\music", "://", "/odd s3://name")))
    assert not is_gone("s3://bucket/a.mp3")


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")

    def lacking(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacking)
    with pytest.raises(MissingExtra, match=r"s3:// needs s3fs, which is not installed: pip install s3fs"):
        listed(["s3://bucket/music"])
    monkeypatch.undo()
    with pytest.raises(InputError, match="wanted a path, or a URL with s3://"):
        listed(["gopher://bucket/music"])
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"pip install 'soundkin\[ray\]'"):
        listed(["s3://bucket/music"])


@pytest.mark.parametrize("url", ["https://me:secret@example.org/", "s3://key:secret@bucket/x"])
def test_a_url_with_a_password_is_refused_without_telling_it(url: str) -> None:
    pytest.importorskip("fsspec")
    for door in (Place, lambda given: listed([given])):
        with pytest.raises(InputError, match="has a password in it") as caught:
            door(url)
        assert "secret" not in str(caught.value)


def test_buckets_are_listed_like_folders(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for name in ("a.mp3", "b/c.flac", "b/.hidden/d.mp3", "._e.mp3", "cover.jpg", "odd"):
        system.pipe_file(f"/bucket/{name}", b"x" * 10)
    try:
        found = listed(["memory://bucket", "memory://bucket/odd"])
        assert list(found.files) == [
            "memory:///bucket/a.mp3",
            "memory:///bucket/b/c.flac",
            "memory:///bucket/odd",
        ]
        assert {file.size for file in found.files.values()} == {10}
        with pytest.raises(InputError, match="cannot list memory://nothing"):
            listed(["memory://nothing"])
        place = Place("memory://bucket/out")
        put(place, "one", embedded("/a"))
        assert place.names("parts") == ["parts/one.parquet"]
        assert place.exists("parts/one.parquet")
        assert [one.file.path for one in settled_in(place)] == ["/a"]
    finally:
        system.rm("/bucket", recursive=True)


def test_a_file_that_is_not_here_is_fetched_for_the_one_who_asks(made: Made, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    path = made.tracks[0][0]
    fsspec.filesystem("memory").pipe_file("/song.flac", path.read_bytes())
    state = FileState("memory:///song.flac", path.stat().st_size, 0)
    seen: list[FileState] = []

    def work(task: Task) -> Failure:
        seen.append(task.file)
        assert Path(task.file.path).read_bytes() == path.read_bytes()
        return Failure(task.file, "decode", "no")

    child = Child(work, str(tmp_path))
    assert child(Look(state)) == content_hash(path)
    assert child(Task(state)).file == state
    assert seen[0].path.startswith(str(tmp_path))
    lost = child(Look(FileState("memory:///nothing.flac", 1, 0)))
    assert lost.kind == "vanished"


def test_what_is_behind_a_url_is_told_by_its_date_and_its_etag() -> None:
    def at(**info: Any) -> int:
        return version_of(info)

    date = "Wed, 01 Nov 2023 00:00:00 GMT"
    second = 1_698_796_800  # of that date, as `date -d` has it
    assert at(size=1) == 0
    assert {at(**{"Last-Modified": date}), at(updated="2023-11-01T00:00:00Z")} == {second * SECOND}
    first, other = (at(**{"Last-Modified": date, "ETag": tag}) for tag in ('"a"', '"b"'))
    assert first != other
    assert first // SECOND == other // SECOND == second
    assert 0 < at(ETag='"a"') < SECOND
    assert at(ETag='"a"') == at(etag='"a"') != at(ETag='"b"')


def test_a_web_server_without_dates_is_asked_for_etags_and_one_without_either_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for package in ("fsspec", "aiohttp"):
        pytest.importorskip(package)
    with serving() as server:
        server.files["/song.mp3"], url = b"song", f"{server.url}/song.mp3"
        server.headers["ETag"] = '"one"'
        (first,) = listed([url]).files.values()
        assert listed([url]).files == {url: first}
        server.headers["ETag"] = '"two"'
        (changed,) = listed([url]).files.values()
        assert changed.size == first.size == 4
        assert changed.mtime_ns != first.mtime_ns
        assert not caplog.messages
        server.headers.clear()
        assert listed([url]).files[url].mtime_ns == 0
    assert caplog.messages == [
        "of 1 files the server tells neither a date nor an ETag: one that changes and keeps its size is taken for "
        "what it was"
    ]


@pytest.mark.parametrize("date", [0, 1_698_796_800])
def test_of_two_files_behind_a_url_with_one_date_the_library_has_that_of_the_later_run(
    date: int, empty: Library, tmp_path: Path
) -> None:
    url, place = "https://example.org/a.mp3", Place(str(tmp_path))

    def run(name: str, content: str, etag: int) -> None:
        put(place, name, embedded(url, content, mtime_ns=date * SECOND + etag))

    run("20261101T000000-b", "1" * 32, 700)
    assert empty.load(tmp_path).added == 1
    run("20261101T000500-a", "2" * 32, 500)  # as chance wants it, a smaller number
    assert empty.load(tmp_path).updated == 1
    run("20261101T001000-c", "3" * 32, 600)
    for updated in (1, 0):
        assert empty.load(tmp_path).updated == updated
        assert [track.content for track in empty.tracks()] == ["3" * 32]
    copy = Same(FileState(url, 100, date * SECOND + 650), "3" * 32)  # another ETag, and the bytes that it had
    put(place, "20261101T001500-d", copy)
    empty.load(tmp_path)
    assert [track.mtime_ns for track in empty.tracks()] == [copy.file.mtime_ns]


# ---- the ledger


def test_a_content_belongs_to_the_first_who_claims_it(tmp_path: Path) -> None:
    put(Place(str(tmp_path)), "one", embedded("/a", "0" * 32))
    ledger = Ledger(str(tmp_path))
    assert ledger.claim("0" * 32, "/b", [SPACE.id]) == ()  # an earlier run has it
    assert ledger.claim("0" * 32, "/b", [SPACE.id, OTHER.id]) == (OTHER.id,)
    assert ledger.claim("1" * 32, "/c", [SPACE.id]) == (SPACE.id,)
    assert ledger.claim("1" * 32, "/d", [SPACE.id]) == ()
    assert ledger.claim("1" * 32, "/c", [SPACE.id]) == (SPACE.id,)  # its worker died, and another tries again


def test_a_file_is_given_up_when_its_workers_keep_dying(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    for deaths in range(MOST_DEATHS):
        assert ledger.begin("part", ["/a", "/b"]) == (deaths > 0, {})
        ledger.at("part", "/a")
        ledger.at("part", "/b")
    assert ledger.begin("part", ["/a", "/b"]) == (True, {"/b": ""})
    assert ledger.claim("1" * 32, "/b", [SPACE.id])
    assert ledger.begin("part", ["/a", "/b"]) == (True, {"/b": "1" * 32})
    ledger.end("part")
    assert ledger.begin("part", ["/a"]) == (False, {})


# ---- loading


@pytest.fixture
def empty(tmp_path: Path) -> Any:
    with Library.open(tmp_path / "library") as library:
        yield library


def test_a_library_that_is_loaded_equals_one_that_was_scanned(
    made: Made, empty: Library, tmp_path: Path
) -> None:
    """Parts are made of what the local scan recorded; what comes back is the same, and a scan finds nothing to do."""
    with Library.open(made.library) as local:
        spaces = [space for space, _, _ in local.status().spaces]
        reader = local._reader()
        seen, rows = set(), list[Any]()
        for track in local.tracks():
            file = FileState(track.path, track.size, track.mtime_ns)
            if track.content in seen:
                rows.append(Same(file, track.content))
                continue
            seen.add(track.content)
            from soundkin import exchange

            vectors = {space.id: reader.vector(track.id, space.id) for space in spaces}
            rows.append(exchange.embedded(track, file, vectors, reader.fingerprints([track.id])[track.id]))
            rows[-1].windows.update({space.id: reader.windows(track.id, space.id) for space in spaces})
        for start in range(0, len(rows), 7):
            put(Place(str(tmp_path)), f"part {start}", *rows[start : start + 7], spaces=spaces)
        report = empty.load(tmp_path)
        assert (report.rows, report.added, report.copies, report.left_out) == (30, 30, 2, 0)
        assert empty.load(tmp_path).known == 30
        assert empty.add(made.music).unchanged == 30
        ours, theirs = empty._reader(), reader
        for track in local.tracks():
            twin = ours.by_path(track.path)
            assert twin is not None
            assert twin.bpm == track.bpm
            assert ours.fingerprints([twin.id])[twin.id] == theirs.fingerprints([track.id])[track.id]
            for space in spaces:
                assert np.array_equal(ours.vector(twin.id, space.id), theirs.vector(track.id, space.id))
                pairs = zip(ours.windows(twin.id, space.id), theirs.windows(track.id, space.id), strict=True)
                assert all(np.array_equal(a, b) for a, b in pairs)
        first = made.tracks[0][0]
        assert {hit.path for hit in empty.similar(first)} == {hit.path for hit in local.similar(first)}


def test_failures_come_along_and_later_knowledge_wins(empty: Library, tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    bad = Failure(FileState("/bad.mp3", 3, 4), "crash", "the decoder crashed")
    put(place, "b", bad, embedded("/changed", "1" * 32, mtime_ns=9), embedded("/mended", "2" * 32))
    put(
        place,
        "a",
        embedded("/changed", "3" * 32, mtime_ns=8),
        Failure(FileState("/mended", 100, 5), "decode", "no"),
    )
    put(place, "c", Same(FileState("/lost", 1, 1), "9" * 32))
    for added in (2, 0):
        report = empty.load(tmp_path)
        assert report.added == added
        assert report.left_out == 2
    assert [failure for failure, _ in empty.failures()] == [bad]
    assert {track.path: track.content for track in empty.tracks()} == {
        "/changed": "1" * 32,
        "/mended": "2" * 32,
    }
    put(place, "d", embedded("/changed", "4" * 32, mtime_ns=10))
    assert empty.load(tmp_path / "parts" / "d.parquet").updated == 1


def test_a_second_space_comes_to_tracks_that_are_there(empty: Library, tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    put(place, "a", embedded("/a"))
    empty.load(tmp_path)
    put(place, "b", embedded("/a", spaces=(OTHER,)), spaces=(OTHER,))
    report = empty.load(tmp_path)
    assert (report.updated, report.known) == (1, 1)
    assert [n for _, n, _ in empty.status().spaces] == [1, 1]


def test_a_second_space_comes_to_copies_that_are_there(empty: Library, tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    one = embedded("/a")
    copy = Same(FileState("/b", 100, 6), one.content)
    put(place, "a", one, copy)
    assert empty.load(tmp_path).copies == 1
    put(place, "b", embedded("/a", spaces=(OTHER,)), copy, spaces=(OTHER,))
    report = empty.load(tmp_path)
    assert (report.updated, report.copies, report.left_out) == (2, 0, 0)
    assert [n for _, n, _ in empty.status().spaces] == [2, 2]
    for space in (SPACE.id, OTHER.id):
        _, vectors = empty.vectors(space)
        assert np.array_equal(*vectors)
    assert empty.load(tmp_path).updated == 0


@pytest.mark.parametrize("names", ["ab", "ba"])  # parts come in any order
def test_a_copy_of_what_was_replaced_since_is_not_lost(names: str, empty: Library, tmp_path: Path) -> None:
    """A file was moved, and another one took its place: the only row with vectors is that of the old place."""
    place = Place(str(tmp_path))
    old = embedded("/a", "1" * 32, mtime_ns=5, spaces=(SPACE, OTHER))
    put(place, names[0], old, spaces=(SPACE, OTHER))
    moved = Same(FileState("/moved", 100, 5), old.content)
    put(place, names[1], embedded("/a", "2" * 32, mtime_ns=9), moved)
    report = empty.load(tmp_path)
    assert (report.copies, [line for line in report.reasons if "/moved" in line]) == (1, [])
    assert {track.path: track.content for track in empty.tracks()} == {"/a": "2" * 32, "/moved": "1" * 32}
    ids, vectors = empty.vectors(OTHER.id)
    (track,) = (track for track in empty.tracks() if track.path == "/moved")
    assert np.array_equal(vectors[ids.index(track.id)], old.vectors[OTHER.id])
    again = empty.load(tmp_path)
    assert (again.added, again.updated, again.copies) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [("text", b"no Parquet at all"), ("empty", b""), ("foreign", None)],
)  # fmt: skip
def test_what_is_damaged_or_foreign_is_refused_in_one_line(
    name: str, content: bytes | None, empty: Library, tmp_path: Path
) -> None:
    file = tmp_path / f"{name}.parquet"
    if content is None:
        parquet.write_table(pa.table({"a": [1]}), file)
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.parquet is damaged or no result of") as caught:
        empty.load(file)
    assert "\n" not in str(caught.value)


def rewritten(folder: Path, change: Any) -> Path:
    """Change the table of a part, as a program that knows no better might."""
    file = folder / put(Place(str(folder)), "one", embedded("/a"))
    parquet.write_table(change(parquet.read_table(file)), file)
    return file


def with_column(name: str, values: Any) -> Any:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values)


@pytest.mark.parametrize(
    "change",
    [
        with_column(f"vector.{SPACE.id}", pa.array([[3.0, 0.0, 0.0, 0.0]], pa.list_(pa.float32(), 4))),
        with_column(f"vector.{SPACE.id}", pa.array([[1.0, 0.0]], pa.list_(pa.float32()))),
        with_column("path_bytes", pa.array([b"/a\0b"], pa.binary())),
        with_column("outcome", pa.array(["unheard of"])),
        with_column("fingerprint", pa.array([b"nonsense"], pa.binary())),
        lambda table: table.drop_columns(["content"]),
        lambda table: table.replace_schema_metadata({"soundkin.spaces": '[{"id": "cnn-0", "space": "{}"}]'}),
        lambda table: table.replace_schema_metadata(
            {"soundkin.spaces": json.dumps([{"id": "other-12345678", "space": SPACE.to_json()}])}
        ),
    ],
)  # fmt: skip
def test_rows_that_are_not_what_they_should_be_are_refused(
    change: Any, empty: Library, tmp_path: Path
) -> None:
    file = rewritten(tmp_path, change)
    with pytest.raises(InputError) as caught:
        empty.load(file)
    assert "\n" not in str(caught.value)
    assert not empty.tracks()


def test_a_folder_without_results_is_refused(empty: Library, tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    with pytest.raises(InputError, match=r"no Parquet files in .*music: wanted"):
        empty.load(tmp_path / "music")
    with pytest.raises(InputError, match="no Parquet files"):
        empty.load(tmp_path / "nothing.parquet")


@pytest.mark.parametrize("remote", [False, True])
def test_a_load_in_bulk_ends_with_an_index_of_all(
    remote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdrant_client import QdrantClient

    monkeypatch.setattr("soundkin.holding._SMALL", 3)
    put(Place(str(tmp_path)), "one", *[embedded(f"/{i}", f"{i:032x}") for i in range(8)])
    with Library.open(tmp_path / "library", QdrantClient(":memory:") if remote else None) as library:
        for added in (8, 0):
            assert library.load(tmp_path).added == added
            assert library._current_index().count() == 8
        assert len(library.similar("/3", k=7)) == 7


def test_a_load_into_a_server_that_has_tracks_writes_each_new_one_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdrant_client import QdrantClient

    from soundkin.index.server import ServerIndex

    monkeypatch.setattr("soundkin.holding._SMALL", 3)
    written: list[int] = []
    write = ServerIndex._upsert

    def noted(index: ServerIndex, points: list[Any]) -> None:
        written.extend(point.id for point in points)
        write(index, points)

    monkeypatch.setattr(ServerIndex, "_upsert", noted)
    with Library.open(tmp_path / "library", QdrantClient(":memory:")) as library:
        for part in range(2):
            tracks = [embedded(f"/{part}/{i}", f"{8 * part + i:032x}") for i in range(8)]
            put(Place(str(tmp_path / str(part))), "one", *tracks)
            library.load(tmp_path / str(part))
    assert len(written) == len(set(written)) == 16


def test_what_was_removed_does_not_come_back_with_the_next_run(
    empty: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(given: list[str], out: Path, *_: Any) -> ClusterReport:
        put(Place(str(out)), given[0].strip("/"), embedded(given[0]))
        return ClusterReport(str(out))

    monkeypatch.setattr("soundkin.filling.embed_with_ray", run)
    for path in ("/a", "/b"):
        assert empty.add_with_ray(path)[1].added == 1
        empty.remove(["/a"] if path == "/a" else [])
    assert [track.path for track in empty.tracks()] == ["/b"]


# ---- before Ray starts


def test_files_that_cannot_be_opened_are_results_and_nothing_is_done_twice(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    os.mkfifo(tmp_path / "music" / "pipe.mp3")
    options = ClusterOptions(encoders=("descriptors",))
    report = embed_with_ray([tmp_path / "music"], tmp_path / "out", options)
    assert (report.found, report.failed, report.known_bad) == (1, 1, 0)
    again = embed_with_ray([tmp_path / "music"], tmp_path / "out", options)
    assert (again.found, again.failed, again.known_bad) == (1, 0, 1)
    assert [one.kind for one in outcomes_in(tmp_path / "out")] == ["decode"]


def test_the_address_of_a_ray_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wanted HOST:PORT, or auto"):
        embed_with_ray([tmp_path], tmp_path / "out", ClusterOptions(address="ray://127.0.0.1:10001"))


def test_encoders_apart_need_a_cpu_of_their_own(tmp_path: Path) -> None:
    options = ClusterOptions(apart=True, device="cpu")
    run = _Run(Place(str(tmp_path)), ("descriptors",), (SPACE,), options, None)
    with pytest.raises(InputError, match=r"^apart=True on 1 CPU; wanted two"):
        run._job(1, 0)
    assert [run._job(cpus, 0)[1] for cpus in (2, 4)] == [1, 3]  # the others decode


def test_results_that_cannot_be_written_are_noticed_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a.mp3").write_bytes(b"x")
    (tmp_path / "file").write_text("not a folder")
    options = ClusterOptions(encoders=("descriptors",), address="127.0.0.1:1")  # nobody is there, nor asked
    with pytest.raises(StoreError, match=r"cannot write .*/file/out: Not a directory"):
        embed_with_ray([tmp_path / "music"], tmp_path / "file" / "out", options)


@pytest.mark.parametrize(("kind", "failed"), [("decode", ["/b"]), ("vanished", []), ("unreadable", [])])
def test_copies_of_what_failed_fail_too_unless_the_file_was_to_blame(
    kind: str, failed: list[str], tmp_path: Path
) -> None:
    ids, content = (SPACE.id,), "1" * 32
    run = _Run(Place(str(tmp_path)), ("descriptors",), (SPACE,), ClusterOptions(), None)
    one, copy = FileState("/a", 1, 2), FileState("/b", 1, 2)
    run._take("parts/a", [Settled(one, "failed", content, ids, Failure(one, kind, "no"))])
    run._take("parts/b", [Settled(copy, "copy", content, ids)])
    run._settle_copies()
    assert [one.file.path for one in settled_in(Place(str(tmp_path)))] == failed
    assert (run.report.copies, run.report.failed) == (1 - len(failed), 1 + len(failed))


def test_options_of_the_other_engine_are_refused(tmp_path: Path) -> None:
    from click.testing import CliRunner

    for options in (
        ["--engine", "ray", "--watch"],
        ["--out", "x"],
        ["--address", "auto"],
        ["--time-limit", "5"],
    ):
        done = CliRunner().invoke(cli, ["index", str(tmp_path), *options])
        assert done.exit_code == 2
        assert "engine" in done.output


def test_load_prints_what_it_did(tmp_path: Path) -> None:
    from click.testing import CliRunner

    put(Place(str(tmp_path)), "one", embedded("/a"), Failure(FileState("/b", 1, 2), "decode", "no"))
    library = ["--library", str(tmp_path / "library")]
    assert (
        CliRunner().invoke(cli, ["load", str(tmp_path), *library]).output
        == "2 rows of 1 file: 1 new, 1 new failures\n"
    )
    done = CliRunner().invoke(cli, ["load", str(tmp_path), "--json", *library])
    assert json.loads(done.stdout)["known"] == 2
    shutil.rmtree(tmp_path / "parts")
