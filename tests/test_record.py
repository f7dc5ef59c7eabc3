import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock  # noqa: F401  (read_as_nobody() cannot import it any more)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from serving import until

from soundkin import record as record_module
from soundkin.embed import Embedded, Failure, FileState, Space
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import InputError, NotFound, StoreError
from soundkin.record import Record, Track, sqlite, writer_now, writer_of
from soundkin.record.database import Place
from soundkin.record.rows import fold
from soundkin.tags import Tags

D = 8
SPACE = Space("cnn", "0a1b", "mel128", 2.0, 1.0, "5x9.2s", "mean", D)
OTHER = Space("descriptors", "", "pcm", 2.0, 1.0, "all", "mean", 3)
A, B = "0123456789abcdef" * 2, "fedcba9876543210" * 2  # two content hashes


def vector(seed: int, d: int = D) -> NDArray[np.float32]:
    v = np.random.default_rng(seed).standard_normal(d).astype(np.float32)
    return v / np.linalg.norm(v)


def song(path="/music/a.mp3", content=A, seed=0, size=1000, mtime_ns=5, spaces=(SPACE,), **tags) -> Embedded:
    return Embedded(
        FileState(path, size, mtime_ns), content, 200.0, 44100, 2, "mp3", Tags(**tags), Analysis(),
        {s.id: vector(seed, s.dims) for s in spaces},
        {s.id: (np.arange(4, dtype=np.float32), np.full((4, s.dims), 0.5, np.float32)) for s in spaces},
    )  # fmt: skip


@contextmanager
def opened(place: Place) -> Iterator[Record]:
    with Record.open(place, write=True) as r:
        r.add_space(SPACE)
        r.add_space(OTHER)
        yield r


@pytest.fixture
def record(new_place) -> Iterator[Record]:
    with opened(new_place()) as r:
        yield r


@pytest.fixture
def in_a_file(tmp_path) -> Iterator[Record]:
    with opened(tmp_path / "library") as r:
        yield r


# ---- what goes in comes out


def test_a_track_keeps_all_that_was_put(record):
    tags = Tags(
        title="Águas de Março", artist="Elis Regina", album="Elis & Tom", album_artist="Elis, Tom",
        genres=("Bossa Nova", "MPB"), year=1974, track=1, disc=2, bpm=70.5,
        recording_mbid="r", release_mbid="l", artist_mbid="a", isrc="BRX", track_gain=-3.5, album_gain=-4.5,
    )  # fmt: skip
    before = time.time()
    id_ = record.put(
        Embedded(FileState("/m/x.flac", 2**40, 2**62), B, 211.5, 48000, 6, "flac", tags,
                 Analysis(bpm=141.0, key="A minor", energy=0.25, loudness=-14.5))
    )  # fmt: skip
    track = record.track(id_)
    assert before <= track.added <= time.time()
    assert track == Track(
        id=id_, path="/m/x.flac", title="Águas de Março", artist="Elis Regina", album="Elis & Tom",
        album_artist="Elis, Tom", genres=("Bossa Nova", "MPB"), year=1974, track=1, disc=2, duration=211.5,
        bpm=141.0, key="A minor", energy=0.25, loudness=-14.5, size=2**40, mtime_ns=2**62, content=B,
        format="flac", sample_rate=48000, channels=6, added=track.added, tagged_bpm=70.5, recording_mbid="r",
        release_mbid="l", artist_mbid="a", isrc="BRX", track_gain=-3.5, album_gain=-4.5,
    )  # fmt: skip
    assert record.by_path("/m/x.flac") == track
    assert record.files() == {"/m/x.flac": (id_, 2**40, 2**62, B)}


def test_vectors_come_back_bit_for_bit_in_the_order_of_their_ids(record):
    put = {record.put(song(f"/m/{i}", f"{i:032x}", seed=i)): vector(i) for i in range(50)}
    record.put(song("/m/none", "f" * 32, spaces=()))
    ids, vectors = record.vectors(SPACE.id)
    assert ids == sorted(put)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert np.array_equal(vectors, np.stack([put[i] for i in ids]))
    assert all(np.array_equal(record.vector(i, SPACE.id), put[i]) for i in ids)
    assert record.vectors(OTHER.id)[1].shape == (0, OTHER.dims)
    assert record.missing(SPACE.id) == ["/m/none"]
    assert len(record.missing(OTHER.id)) == 51


def test_windows_come_back_with_half_precision(record):
    starts, windows = np.array([0, 9.25, 1e4], np.float32), np.stack([vector(i) for i in range(3)])
    embedded = song()
    embedded.windows = {SPACE.id: (starts, windows)}
    times, back = record.windows(record.put(embedded), SPACE.id)
    assert np.array_equal(times, starts)
    assert back.dtype == times.dtype == np.float32
    np.testing.assert_allclose(back, windows, rtol=2**-11, atol=2**-24)  # IEEE 754 binary16: 11 bits


NAMES = [
    b"caf\xe9.mp3",
    b"new\nline",
    "🎵 ♥".encode(),
    b"x" * 255,
    b"'; DROP TABLE tracks --",
    b"%?#*_",
    b"\xff\xfe",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_survives(record, name):
    path = os.fsdecode(b"/music/" + name)
    id_ = record.put(song(path))
    record.fail(Failure(FileState(path + "2", 1, 2), "decode", f"cannot read {path}"))
    assert record.track(id_).path == path
    assert list(record.files()) == [path]
    assert record.by_path(path) is not None
    assert list(record.failed_files()) == [path + "2"]
    assert [t.id for t in record.search("music")] == [id_]
    assert [t.path for t, _ in record.changes(0).changed] == [path]
    assert os.fsencode(record.move(path, FileState(path + "3", 1, 2)) and record.track(id_).path)[-1:] == b"3"


@given(st.text(st.characters()), st.text(st.characters(), max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_text_can_be_a_tag_and_a_query(new_place, text, query):
    with Record.open(new_place(), write=True) as record:
        if isinstance(record.place, str):
            text = text.replace("\0", "")  # PostgreSQL has no letter of number 0
        id_ = record.put(song(spaces=(), title=text, genres=(text,)))
        storable = all(not 0xD800 <= ord(c) < 0xE000 for c in text)
        assert not storable or (record.track(id_).title, record.track(id_).genres) == (text, (text,))
        record.search(query)
        assert record.by_path(query) is None
        with pytest.raises(NotFound):
            record.track(query)


# ---- ids


def test_ids_are_blake2b_of_content_and_number(record):
    # printf '0123456789abcdef0123456789abcdef:0' | b2sum -l 64, then :1, :2
    assert record.put(song("/a")) == "f91dad7f8983e7e5"
    assert record.put(song("/copy")) == "e752db16305d2d77"
    assert record.put(song("/a", mtime_ns=9)) == "f91dad7f8983e7e5"
    record.remove(paths=["/a"])
    assert record.put(song("/again")) == "f91dad7f8983e7e5"
    assert record.changes(0).removed == []
    assert record.put(song("/third")) == "ba6748af4a5d253f"
    assert [t.path for t in record.tracks()] == ["/third", "/copy", "/again"]  # ba, e7, f9


# ---- changing


def test_new_content_drops_vectors_of_other_spaces_and_new_tags_keep_them(record):
    id_ = record.put(song(spaces=(SPACE, OTHER)))
    added = record.track(id_).added
    record.put(song(seed=1, title="new tag"))
    assert record.vector(id_, OTHER.id).shape == (3,)
    assert np.array_equal(record.vector(id_, SPACE.id), vector(1))
    assert record.put(song(content=B, seed=2)) == id_
    assert np.array_equal(record.vector(id_, SPACE.id), vector(2))
    for what in (record.vector, record.windows):
        with pytest.raises(NotFound, match=OTHER.id):
            what(id_, OTHER.id)
    assert record.track(id_).content == B
    assert record.track(id_).added == added


def test_a_moved_file_keeps_its_track_and_a_touched_one_its_vectors(record):
    id_, over = record.put(song("/m/a", A)), record.put(song("/m/b", B, seed=1))
    record.touch(FileState("/m/a", 7, 8))
    assert record.files()["/m/a"] == (id_, 7, 8, A)
    assert record.move("/m/a", FileState("/m/b", 9, 10)) == id_
    assert record.files() == {"/m/b": (id_, 9, 10, A)}
    assert record.changes(0).removed == [over]
    assert np.array_equal(record.vector(id_, SPACE.id), vector(0))
    with pytest.raises(NotFound, match="/m/a"):
        record.touch(FileState("/m/a", 1, 1))
    with pytest.raises(NotFound, match="/m/a"):
        record.move("/m/a", FileState("/m/c", 1, 1))


def test_failures_are_kept_until_the_file_is_well_or_gone(record):
    bad = FileState("/m/bad", 3, 4)
    record.fail(Failure(bad, "decode", "first"))
    record.fail(Failure(bad, "timeout", "second"))
    (kept,) = record.failures()
    assert (kept.failure, record.failed_files()) == (Failure(bad, "timeout", "second"), {"/m/bad": (3, 4)})
    assert abs(kept.at - time.time()) < 60
    record.put(song("/m/bad"))
    assert record.failures() == []
    record.fail(Failure(bad, "unreadable", "a disk fell asleep"))
    assert len(record.files()) == len(record.failures()) == 1  # the music stays
    record.touch(bad)
    assert record.failures() == []
    record.fail(Failure(bad, "x", "y"))
    record.move("/m/bad", FileState("/m/good", 1, 1))
    assert record.failures() == []
    record.fail(Failure(bad, "x", "y"))
    assert record.remove(paths=["/m/bad", "/m/never"], ids=["0" * 16]) == 0
    assert record.failures() == []


def test_a_library_from_before_damage_was_kept_is_taken_over(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(sqlite, "MIGRATIONS", sqlite.MIGRATIONS[:1])
        with Record.open(tmp_path, write=True) as record:
            for path in ("/untitled", "/titled"):  # as its `put` did
                record._db.execute(
                    "INSERT INTO tracks (revision, id, path, size, mtime_ns, content, title, artist, album, "
                    "album_artist, genres, duration, key, format, sample_rate, channels, added, recording_mbid, "
                    "release_mbid, artist_mbid, isrc) "
                    "VALUES (3, ?, ?, 1, 1, '', ?, '', '', '', '[]', 1, '', '', 1, 1, 1, '', '', '', '')",
                    (path, path.encode(), "T" if path == "/titled" else ""),
                )
            record._db.execute("UPDATE meta SET value = 3 WHERE key = 'revision'")
    with Record.open(tmp_path, write=True) as record:
        assert record.failures() == []
        changes = record.changes(3)
        assert [track.name for track, _ in changes.changed] == ["untitled"]  # an index takes its name
        assert changes.revision == record.revision > 3
        assert record.distinct("title") == ["T", "untitled"]


@pytest.mark.parametrize(
    ("vectors", "windows", "said"),
    [
        ({"cnn-00000000": vector(0)}, {}, "unknown space 'cnn-00000000'"),
        ({SPACE.id: vector(0, 5)}, {}, r"shape \(5,\).*has \(8,\)"),
        ({SPACE.id: np.zeros((1, D))}, {}, "shape"),
        ({SPACE.id: np.full(D, np.nan)}, {}, "NaN"),
        ({SPACE.id: np.full(D, np.inf)}, {}, "infinity"),
        ({}, {SPACE.id: (np.zeros(2), np.zeros(2))}, "shape"),
        ({}, {SPACE.id: (np.zeros(3), np.zeros((2, D)))}, "starts"),
        ({}, {SPACE.id: (np.zeros(1), np.full((1, D), 1e5))}, "65504"),
    ],
)
def test_what_is_not_of_a_known_space_is_refused_whole(record, vectors, windows, said):
    id_, revision = record.put(song()), record.revision
    for path in ("/music/a.mp3", "/music/new"):
        embedded = song(path, title="changed")
        embedded.vectors, embedded.windows = {OTHER.id: vector(0, 3)} | vectors, windows
        with pytest.raises(StoreError, match=said):
            record.put(embedded)
    assert (record.revision, list(record.files())) == (revision, ["/music/a.mp3"])
    assert record.track(id_).title == ""
    assert np.array_equal(record.vector(id_, SPACE.id), vector(0))


def test_spaces_come_go_and_come_back(record):
    record.put(song())
    record.deactivate(SPACE.id)
    assert record.spaces() == [SPACE, OTHER]
    assert record.active_spaces() == [OTHER]
    assert len(record.vectors(SPACE.id)[0]) == 1
    record.add_space(SPACE)
    assert record.active_spaces() == [SPACE, OTHER]
    for call in (record.deactivate, record.vectors, record.missing):
        with pytest.raises(NotFound, match=f"'nope'.*{SPACE.id}"):
            call("nope")


def fail_in_a_transaction(record: Record) -> None:
    with record.transaction():
        record.put(song("/t", "e" * 32))
        record.touch(FileState("/not there", 0, 0))


def fail_in_a_batch(record: Record) -> None:
    with record.batch():
        record.put(song("/a"))
        with pytest.raises(StoreError):
            record.put(song("/b", spaces=(Space("cnn", "0a1b", "mel128", 2.0, 1.0, "5x9.2s", "mean", 9),)))
        with pytest.raises(NotFound):
            fail_in_a_transaction(record)
        record.put(song("/d"))
        record.touch(FileState("/not there", 0, 0))


def test_a_transaction_is_all_or_nothing_and_a_batch_keeps_what_is_whole(record):
    with pytest.raises(NotFound):
        fail_in_a_transaction(record)
    assert record.files() == {}
    with pytest.raises(NotFound):
        fail_in_a_batch(record)
    with Record.open(record.place) as reader:
        assert set(reader.files()) == {"/a", "/d"}


def test_a_batch_commits_every_so_many_changes_or_seconds(record):
    with Record.open(record.place) as reader, record.batch(every=3, seconds=1000):
        seen = []
        for i in range(7):
            record.put(song(f"/{i}"))
            seen.append(len(reader.files()))
        assert seen == [0, 0, 3, 3, 3, 6, 6]
    with Record.open(record.place) as reader, record.batch(every=1000, seconds=0.0):
        record.put(song("/x"))
        assert len(reader.files()) == 8
    with pytest.raises(StoreError, match="already open"), record.batch(), record.batch():
        pass


def test_vectors_made_elsewhere_fill_gaps_only(record):
    kept = record.put(song(seed=1))
    bare = record.put(song("/music/b.mp3", B, spaces=()))
    revision = record.revision
    assert record.add_vectors(SPACE.id, [kept, bare], [vector(2), vector(3)]) == 1
    assert np.array_equal(record.vector(kept, SPACE.id), vector(1))
    assert np.array_equal(record.vector(bare, SPACE.id), vector(3))
    assert [(t.id, set(v)) for t, v in record.changes(revision).changed] == [(bare, {SPACE.id})]
    revision = record.revision
    assert record.add_vectors(SPACE.id, [kept, bare], [vector(4), vector(5)]) == 0
    assert record.revision == revision


def test_vectors_made_elsewhere_come_all_or_none(record):
    bare = record.put(song(spaces=()))
    with pytest.raises(NotFound):
        record.add_vectors(SPACE.id, [bare, "0" * 16], [vector(1), vector(2)])
    with pytest.raises(NotFound):
        record.add_vectors("cnn-00000000", [bare], [vector(1)])
    with pytest.raises(StoreError):
        record.add_vectors(SPACE.id, [bare], [vector(1, D + 1)])
    assert record.missing(SPACE.id) == ["/music/a.mp3"]


def test_a_space_for_vectors_from_elsewhere_does_not_change_what_scans_fill(record):
    third = Space("imported", "", "", 0.0, 0.0, "all", "", 2)
    record.add_space(third, active=False)
    record.add_space(SPACE, active=False)
    assert record.active_spaces() == [SPACE, OTHER]
    record.add_space(third)
    assert record.active_spaces() == [SPACE, OTHER, third]


# ---- changes, against a model


@dataclass
class Model:
    """The record as dicts. An identity is (first content, number): the model's own stand-in for an id."""

    # path -> [identity, content, size, mtime_ns, vectors]
    tracks: dict[str, list[Any]] = field(default_factory=dict)
    failed: dict[str, tuple[int, int]] = field(default_factory=dict)
    ids: dict[tuple[str, int], str] = field(default_factory=dict)  # learnt from the record, must never change

    def put(self, e: Embedded) -> tuple[str, int]:
        vectors = {s: v.tolist() for s, v in e.vectors.items()}
        old = self.tracks.get(e.file.path)
        if old and old[1] == e.content:
            vectors = old[4] | vectors
        taken = {row[0] for row in self.tracks.values()}
        n = next(n for n in range(99) if (e.content, n) not in taken)
        identity = old[0] if old else (e.content, n)
        self.tracks[e.file.path] = [identity, e.content, e.file.size, e.file.mtime_ns, vectors]
        self.failed.pop(e.file.path, None)
        return identity

    def move(self, old: str, file: FileState) -> None:
        row = self.tracks.pop(old)
        self.tracks[file.path] = [row[0], row[1], file.size, file.mtime_ns, row[4]]
        self.failed.pop(old, None)
        self.failed.pop(file.path, None)

    def state(self) -> dict[str, tuple[Any, ...]]:
        return {self.ids[r[0]]: (path, *r[1:]) for path, r in self.tracks.items()}


PATHS = st.sampled_from(["/a", "/b", "/c", "/d", "/e\udcff"])
SPACES = st.sets(st.sampled_from([SPACE, OTHER])).map(tuple)
DIGIT = st.integers(0, 9)
FILES = st.builds(FileState, PATHS, DIGIT, DIGIT)
SONGS = st.builds(song, PATHS, st.sampled_from([A, B]), DIGIT, DIGIT, DIGIT, SPACES)
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), SONGS),
    st.tuples(st.just("abort")),
    st.tuples(st.just("move"), PATHS, FILES),
    st.tuples(st.just("fail"), FILES),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("sync")),
)  # fmt: skip


def seen(track: Track, vectors: dict[str, NDArray[np.float32]]) -> tuple[Any, ...]:
    return (
        track.path,
        track.content,
        track.size,
        track.mtime_ns,
        {s: v.tolist() for s, v in vectors.items()},
    )


def apply(model: Model, record: Record, name: str, *args) -> None:
    if name == "put":
        id_ = record.put(args[0])
        assert model.ids.setdefault(model.put(args[0]), id_) == id_
    elif name == "abort":
        with pytest.raises(NotFound):
            fail_in_a_transaction(record)
    elif name == "move":
        if args[0] in model.tracks:
            model.move(*args)
            record.move(*args)
        else:
            with pytest.raises(NotFound):
                record.move(*args)
    elif name == "fail":
        model.failed[args[0].path] = (args[0].size, args[0].mtime_ns)
        record.fail(Failure(args[0], "decode", "no"))
    elif name == "remove":
        assert record.remove(paths=[args[0]]) == (args[0] in model.tracks)
        model.tracks.pop(args[0], None)
        model.failed.pop(args[0], None)


@given(st.lists(OPERATIONS, max_size=25), st.booleans())
@settings(max_examples=60, deadline=None)
def test_record_agrees_with_dicts_and_a_mirror_that_applies_changes(new_place, operations, from_scratch):
    model, revision = Model(), 0
    mirror: dict[str, tuple[Any, ...]] = {}
    with opened(new_place()) as record:
        for name, *args in [*operations, ("sync",)]:
            apply(model, record, name, *args)
            if name == "sync":
                changes = record.changes(0 if from_scratch else revision)
                mirror = {} if from_scratch else {i: t for i, t in mirror.items() if i not in changes.removed}
                mirror |= {track.id: seen(track, vectors) for track, vectors in changes.changed}
                assert changes.revision >= revision
                assert not set(changes.removed) & set(model.state())
                revision = changes.revision
                assert mirror == model.state()
        assert record.failed_files() == model.failed
        tracks = list(record.tracks())
        assert [t.id for t in tracks] == sorted(model.state())
        for space in (SPACE, OTHER):
            ids, vectors = record.vectors(space.id)
            wanted = {i: t[4][space.id] for i, t in model.state().items() if space.id in t[4]}
            assert dict(zip(ids, vectors.tolist(), strict=True)) == wanted
            assert set(record.missing(space.id)) == {t.path for t in tracks if t.id not in wanted}
        db = record._db
        alive = {row[0] for row in db.execute("SELECT number FROM tracks")}
        for table in ("vectors", "windows", "words"):
            assert {row[0] for row in db.execute(f"SELECT track FROM {table}")} <= alive
        kept = [
            db.execute(f"SELECT space, track FROM {t} ORDER BY 1, 2").fetchall()
            for t in ("vectors", "windows")
        ]
        assert kept[0] == kept[1]
        assert (
            record.counts().tracks
            == len(tracks)
            == len(record.search("e")) + sum("\udcff" not in t.path for t in tracks)
        )


def test_changes_come_in_pages_and_only_when_committed(record):
    with record.transaction():
        for i in range(2500):  # more than two pages
            record.put(song(f"/{i}", f"{i:032x}", spaces=()))
    changes = record.changes(0)
    assert [t.path for t, _ in changes.changed] == [f"/{i}" for i in range(2500)]
    with record.batch():
        record.put(song("/uncommitted"))
        record.remove(paths=["/7"])
        assert (list(record.changes(changes.revision).changed), record.changes(0).removed) == ([], [])
    late = record.changes(changes.revision)
    assert [t.path for t, _ in late.changed] == ["/uncommitted"]
    assert len(late.removed) == 1
    with pytest.raises(StoreError, match="old copy"):
        record.changes(late.revision + 1)


def test_a_track_that_changes_while_changes_are_read_comes_with_the_next_call(record):
    for i in range(3):
        record.put(song(f"/{i}", f"{i:032x}"))
    changes = record.changes(0)
    record.put(song("/1", f"{1:032x}", title="later"))
    assert [t.path for t, _ in changes.changed] == ["/0", "/2"]
    assert [t.title for t, _ in record.changes(changes.revision).changed] == ["later"]


# ---- finding


def test_tracks_in_the_order_asked_for(record):
    with record.batch():
        ids = [record.put(song(f"/{i}", f"{i:032x}", spaces=())) for i in range(1200)]
    wanted = [*reversed(ids), "0" * 16, ids[5]]
    assert [t.id for t in record.tracks(wanted)] == [*reversed(ids), ids[5]]
    assert list(record.tracks([])) == []
    assert [t.id for t in record.tracks()] == sorted(ids)


LIBRARY = {
    "sun": song("/m/Beatles/Abbey Road/07.mp3", "0" * 32, title="Here Comes the Sun", artist="The Beatles"),
    "sunny": song("/m/x/y/1.mp3", "1" * 32, title="Sunny", artist="Boney M."),
    "sol": song("/m/x/y/2.mp3", "2" * 32, title="Canción del Sol", artist="Björk & Møller", album="SUN"),
    "tokyo": song("/m/x/y/3.mp3", "3" * 32, title="東京ブギウギ", artist="笠置シヅ子"),
    "untagged": song("/media/me/Various Artists/Salsa_Hits-2/04 Llorarás.mp3", "4" * 32),
}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sun", ["sol", "sun", "sunny"]),  # a whole field, a whole word, the beginning of a word
        ("SUNNY", ["sunny"]),
        ("here comes", ["sun"]),
        ("beatles sun", ["sun"]),  # any order, any field
        ("beatles sunny", []),
        ("un", []),  # not inside a word
        ("cancion bjork moller", ["sol"]),
        ("cancio\u0301n", ["sol"]),
        ("東京", ["tokyo"]),
        ("ブギ", ["tokyo"]),
        ("llora", ["untagged"]),
        ("salsa hits", ["untagged"]),
        ("various", ["untagged"]),
        ("me", []),  # only the two nearest folders
        ("boney m.", ["sunny"]),
        ("  ", []),
        ("%", []),
        ('"', []),
    ],
)
def test_search(record, words, found):
    ids = {record.put(e): name for name, e in LIBRARY.items()}
    assert [ids[t.id] for t in record.search(words)] == found


def test_search_follows_moves_and_removals_and_keeps_to_its_limit(record):
    for i in range(5):
        record.put(song(f"/m/one {i}", f"{i:032x}"))
    assert len(record.search("one", limit=3)) == 3
    record.move("/m/one 0", FileState("/m/two", 1, 1))
    record.remove(paths=["/m/one 1"])
    assert len(record.search("one")) == 3
    assert [t.path for t in record.search("two")] == ["/m/two"]


@given(st.text(st.characters()))
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)
    assert "|" not in fold(text)


def test_distinct_values(record):
    for i, (artist, genres) in enumerate(
        [("b", ("Rock", "Indie")), ("A", ("Indie",)), ("b", ()), ("", ("Zouk",))]
    ):
        record.put(song(f"/{i}", f"{i:032x}", artist=artist, genres=genres))
    assert record.distinct("artist") == ["A", "b"]
    assert record.distinct("genre") == ["Indie", "Rock", "Zouk"]
    assert record.distinct("format") == ["mp3"]
    with pytest.raises(InputError, match="'path'"):
        record.distinct("path")


def test_counts(record):
    for i in range(3):
        record.put(song(f"/{i}", f"{i:032x}", spaces=(SPACE, OTHER)[: i + 1 if i < 2 else 0]))
    record.fail(Failure(FileState("/bad", 1, 1), "decode", "r"))
    counts = record.counts()
    assert (counts.tracks, counts.seconds, counts.audio_bytes) == (3, 600.0, 3000)
    assert counts.formats == {"mp3": 3}
    assert counts.failures == {"decode": 1}
    assert counts.vectors == {SPACE.id: 2, OTHER.id: 1}
    assert counts.record_bytes > 0


def test_the_size_of_a_record_is_that_of_its_file(in_a_file):
    in_a_file.put(song())
    counts, file = in_a_file.counts(), in_a_file.place / "record.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint")
    assert counts.record_bytes == file.stat().st_size


# ---- opening


def test_reading_creates_nothing(tmp_path):
    with pytest.raises(NotFound, match="soundkin index"):
        Record.open(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "record.sqlite").touch()  # a writer that was stopped before its first commit
    with pytest.raises(NotFound, match="soundkin index"):
        Record.open(tmp_path)
    with Record.open(tmp_path, write=True) as record:
        assert record.files() == {}


def test_what_is_open_for_reading_or_closed_says_so(record):
    with Record.open(record.place) as reader:
        for change in (
            lambda: reader.put(song()),
            lambda: reader.batch().__enter__(),
            reader.transaction().__enter__,
        ):
            with pytest.raises(StoreError, match="opened for reading"):
                change()
    reader.close()
    with pytest.raises(StoreError, match="closed"):
        reader.files()


def test_uuid_stays_and_differs(new_place):
    place = new_place()
    with Record.open(place, write=True) as a, Record.open(new_place(), write=True) as b:
        first = a.uuid
        assert len({first, b.uuid}) == 2
    with Record.open(place) as again:
        assert (again.uuid, len(first)) == (first, 32)


def test_a_newer_or_older_version_is_told(tmp_path, monkeypatch):
    with Record.open(tmp_path, write=True) as record:
        record.put(song(spaces=()))
    monkeypatch.setattr(
        sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, "CREATE TABLE taste (x);", "SYNTAX ERROR;")
    )
    with pytest.raises(StoreError, match=r"older Soundkin and could not be renewed.*SYNTAX"):
        Record.open(tmp_path)
    with pytest.raises(StoreError, match="SYNTAX"):
        Record.open(tmp_path, write=True)
    monkeypatch.setattr(sqlite, "MIGRATIONS", sqlite.MIGRATIONS[:-1])
    with Record.open(tmp_path, write=True) as record:  # the failed script left nothing of the one before it
        assert record._rows("SELECT * FROM taste") == []
        assert len(record.files()) == 1
    monkeypatch.setattr(sqlite, "MIGRATIONS", sqlite.MIGRATIONS[:-1])
    for write in (False, True):
        with pytest.raises(
            StoreError, match=r"newer Soundkin.*upgrade this one, in the way it was installed"
        ):
            Record.open(tmp_path, write=write)


def read_everything(folder: Path) -> None:
    with Record.open(folder) as record:
        record.files()
        record.vectors(SPACE.id)
        list(record.changes(0).changed)


@pytest.mark.parametrize("damage", ["garbage", "zeros", "cut"])
def test_a_damaged_file_is_told(tmp_path, damage):
    with Record.open(tmp_path, write=True) as record:
        record.add_space(SPACE)
        with record.batch():
            for i in range(300):
                record.put(song(f"/{i}", f"{i:032x}"))
    file = tmp_path / "record.sqlite"
    data = file.read_bytes()
    half = len(data) // 2
    damaged = {
        "garbage": b"not a database" * 999,
        "zeros": data[:16384].ljust(len(data), b"\0"),
        "cut": data[:half],
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(StoreError, match="damaged"):
        read_everything(tmp_path)


def test_a_full_disk_loses_nothing_committed(in_a_file):
    record = in_a_file
    record.put(song("/first"))
    pages = record._rows("PRAGMA page_count")[0][0]
    record._db.execute(f"PRAGMA max_page_count = {pages + 20}")
    acknowledged = []

    def fill() -> None:
        with record.batch(every=10):
            for i in range(10_000):
                record.put(song(f"/{i}", f"{i:032x}"))
                acknowledged.append(i)

    with pytest.raises(StoreError, match=r"full.*make room"):
        fill()
    assert len(acknowledged) > 50
    record._db.execute("PRAGMA max_page_count = 1000000")
    ids, _ = record.vectors(SPACE.id)
    assert len(acknowledged) // 10 * 10 < len(ids) == len(record.files())
    assert record._rows("PRAGMA integrity_check") == [("ok",)]
    record.put(song("/after"))


# ---- several processes


def write_until_killed(folder: str) -> None:
    """Put tracks five at a time for ever, saying after each commit how many there are."""
    with Record.open(folder, write=True) as record:
        record.add_space(SPACE)
        record.add_space(OTHER)
        n = len(record.files())
        while True:
            with record.transaction():
                for i in range(n, n + 5):
                    record.put(song(f"/{i}", f"{i:032x}", seed=i, spaces=(SPACE, OTHER)))
            n += 5
            os.write(1, f"{n}\n".encode())


def read_as_nobody(folder: str) -> None:
    """Say what a user reads who may not write."""
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        with Record.open(folder) as record:
            said = f"{len(record.files())} tracks"
    except StoreError as error:
        said = str(error)
    try:
        Record.open(folder, write=True)
    except StoreError as error:
        os.write(1, f"{said}\n{error}\n".encode())


@contextmanager
def other_process(function, folder) -> Iterator[Any]:
    code = f"import sys, test_record; test_record.{function.__name__}(sys.argv[1])"
    path = os.pathsep.join(
        [str(Path(__file__).parent), str(Path(record_module.__file__).parents[2]), *sys.path]
    )
    process: Any = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_kill_9_loses_nothing_committed_and_leaves_nothing_half(new_place):
    place = new_place()
    rng = np.random.default_rng(0)
    before = 0
    for _ in range(5):
        until(lambda: not writer_of(place))  # a server may see a moment later that the one before has died
        with other_process(write_until_killed, place) as process:
            acknowledged = [int(process.stdout.readline())]
            with Record.open(place) as reader:  # readers work meanwhile
                assert len(reader.files()) >= acknowledged[0] > before
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout.read().split()]
        until(lambda: not writer_of(place))  # and what it was told last, it does first
        with Record.open(place) as record:
            ids, vectors = record.vectors(SPACE.id)
            tracks = {t.id: t for t in record.tracks()}
            assert acknowledged[-1] <= len(tracks) <= acknowledged[-1] + 5
            assert len(tracks) % 5 == 0
            assert set(ids) == set(record.vectors(OTHER.id)[0]) == set(tracks)
            for id_, v in zip(ids, vectors, strict=True):
                assert np.array_equal(v, vector(int(tracks[id_].path[1:])))
            assert all(len(record.windows(id_, OTHER.id)[0]) == 4 for id_ in ids[:20])
            assert len(list(record.changes(0).changed)) == len(tracks)
            if not isinstance(place, str):
                assert record._rows("PRAGMA integrity_check") == [("ok",)]
        before = len(tracks)


def say_until_killed(folder):
    with Record.open(folder, write=True) as record, record.batch():  # which is not committed meanwhile
        record.say({"done": 3, "total": 7})
        os.write(1, b"said\n")
        time.sleep(600)


def test_how_far_a_scan_is_can_be_seen_while_its_process_lives(new_place):
    place = new_place()
    assert writer_now(place) == {}
    with other_process(say_until_killed, place) as process:
        process.stdout.readline()
        said = writer_now(place)
        assert (said["pid"], said["scan"]) == (process.pid, {"done": 3, "total": 7})
        assert f"process {process.pid} on " in writer_of(place)
    until(lambda: not writer_now(place))  # it was killed


def test_a_second_writer_is_told_who_the_first_is(new_place):
    place = new_place()
    with other_process(write_until_killed, place) as process:
        process.stdout.readline()
        with pytest.raises(StoreError, match=rf"process {process.pid} on .* is writing to .*wait"):
            Record.open(place, write=True)
        with Record.open(place) as reader:
            assert reader.files()
    until(lambda: not writer_of(place))
    with Record.open(place, write=True), pytest.raises(StoreError, match=rf"process {os.getpid()} "):
        Record.open(place, write=True)
    assert writer_of(place) == ""


def test_what_a_killed_writer_left_names_nobody(tmp_path):
    with other_process(write_until_killed, tmp_path) as process:
        process.stdout.readline()
    with Record.open(tmp_path, write=True):
        pass
    assert not (tmp_path / "writer.json").exists()
    with Record.open(tmp_path, write=True):
        # what a killed writer left, seen before the new one has said who it is
        left = {
            "pid": process.pid,
            "host": os.uname().nodename,
            "since": "yesterday",
            "command": "soundkin index",
        }
        (tmp_path / "writer.json").write_text(json.dumps(left))
        with pytest.raises(StoreError, match="another process"):
            Record.open(tmp_path, write=True)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Return a folder that another user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def ask_nobody(folder: Path) -> list[str]:
    os.chmod(folder, 0o555)
    with other_process(read_as_nobody, folder) as process:
        lines: list[str] = process.communicate()[0].decode().splitlines()
    os.chmod(folder, 0o755)
    return lines


def test_a_folder_that_cannot_be_written_can_be_read(public_folder):
    with Record.open(public_folder, write=True) as record:
        record.put(song("/1", spaces=()))
    said = ask_nobody(public_folder)
    assert said[0] == "1 tracks"
    assert "cannot be written" in said[1]
    with Record.open(public_folder, write=True) as record:
        record.put(song("/2", spaces=()))  # stands in the write-ahead log only
        assert ask_nobody(public_folder)[0] == "2 tracks"
    with other_process(write_until_killed, public_folder) as process:
        process.stdout.readline()
    (public_folder / "record.sqlite-shm").unlink()
    # the log cannot be read and must not be passed over: that would answer with an old state
    assert "permissions" in ask_nobody(public_folder)[0]


def test_threads_may_read_and_write_one_record(record):
    errors: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for i in range(20):
                record.put(song(f"/{k}/{i}", f"{k:016x}{i:016x}"))
                assert len(record.vectors(SPACE.id)[0]) >= i
                assert record.by_path(f"/{k}/{i}") is not None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    with record.batch(every=7):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert (record.counts().tracks, record.revision) == (80, 80)
