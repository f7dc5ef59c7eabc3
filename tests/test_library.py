import ctypes
import json
import os
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

import soundkin
from soundkin.asking import Ambiguous
from soundkin.embed import Embedded, Failure, FileState
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import DecodeError, InputError, ModelError, NotFound, StoreError
from soundkin.index import RebuildNeeded
from soundkin.index.follow import catch_up, point_of
from soundkin.index.generations import read_state
from soundkin.index.points import check_points
from soundkin.index.recorded import RecordIndex
from soundkin.index.settings import QdrantLayout, QdrantSettings
from soundkin.library import Library
from soundkin.record import Record
from soundkin.record.rows import to_track
from soundkin.scan import PruneRefused, ScanOptions, ScanReport
from soundkin.tags import Tags

SPACES = ("cnn", "descriptors")


def by_path(library):
    return {Path(track.path): track for track in library.tracks()}


def ids(hits):
    return [hit.id for hit in hits]


def no_audio(*arguments, **keywords):
    raise AssertionError("audio was opened")


@pytest.fixture
def silent(monkeypatch):
    """Opening audio is an error."""
    monkeypatch.setattr("soundkin.embed.embedder.hear", no_audio)
    monkeypatch.setattr("soundkin.scan.embed_files", no_audio)


# ---- what sounds alike


@pytest.mark.parametrize("space", SPACES)
def test_the_answer_is_what_comparing_every_vector_gives(shared, made, space):
    tracks = by_path(shared)
    family = {tracks[p].id: original for original, paths in made.copies.items() for p in (original, *paths)}
    order, vectors = shared.vectors(space)
    for track in list(tracks.values())[::3]:
        scores = dict(zip(order, vectors @ vectors[order.index(track.id)], strict=True))
        hits = shared.similar(track, k=len(tracks), space=space)
        assert [hit.cosine for hit in hits] == pytest.approx([scores[hit.id] for hit in hits], abs=1e-3)
        assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
        left_out = set(order) - set(ids(hits)) - {track.id}
        assert track.id not in ids(hits)
        assert left_out >= {i for i in family if family.get(track.id) == family[i]} - {track.id}
        if space == "descriptors":  # an encoder without training would take other tracks for copies
            assert left_out <= family.keys()


@pytest.mark.parametrize("k", [1, 5, 10])
def test_k_tracks_come_whenever_there_are_k(shared, k):
    for track in shared.tracks()[::5]:
        assert len(set(ids(shared.similar(track, k, space="descriptors")))) == k


def test_copies_are_in_no_answer_of_each_other(shared, made):
    tracks = by_path(shared)
    for original, copies in made.copies.items():
        family = {tracks[path].id for path in (original, *copies)}
        for path in (original, *copies):
            assert not family & set(ids(shared.similar(path, 24, space="descriptors"))), path


def test_a_file_outside_the_library_finds_what_its_copy_inside_finds(shared, made):
    inside = shared.similar(made.tracks[0][0], 8, space="descriptors")
    outside = shared.similar(made.outside, 8, space="descriptors")
    assert len(set(ids(inside)) & set(ids(outside))) >= 6
    assert len(shared.tracks()) == 30


def test_a_vector_is_a_query_too(shared):
    order, vectors = shared.vectors("descriptors")
    assert shared.similar(vectors[3], 1, space="descriptors")[0].id == order[3]


def test_k_must_be_positive(shared):
    with pytest.raises(InputError, match="k=0"):
        shared.similar(shared.tracks()[0], 0)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("format=flac", lambda t: t.format == "flac"),
        ("format!=flac", lambda t: t.format != "flac"),
        ("year>=1990", lambda t: t.year is not None and t.year >= 1990),
        ("duration<6", lambda t: t.duration < 6),
        ("key=G minor", lambda t: t.key == "G minor"),
    ],
)
def test_a_filter_lets_through_what_it_says_and_k_of_them(shared, made, text, passes):
    tracks = by_path(shared)
    copies = {tracks[path].id for paths in made.copies.values() for path in paths}
    query = tracks[made.tracks[3][0]]  # has no copies
    wanted = {track.id for track in tracks.values() if passes(track)} - {query.id}
    assert set(ids(shared.similar(query, 100, text, space="descriptors"))) == wanted
    for k in (1, 3):
        assert len(shared.similar(query, k, text, space="descriptors")) == min(k, len(wanted))
    assert copies  # so that some of what was wanted has a twin


def test_filters_hold_together(shared, made):
    genre = made.tracks[2][1].genres[0]
    hits = shared.similar(
        made.tracks[2][0], 50, [f"genre={genre}", "year>=1900", "format=vorbis"], space="descriptors"
    )
    tracks = {track.id: track for track in shared.tracks()}
    assert all(genre in tracks[i].genres and tracks[i].format == "vorbis" for i in ids(hits)) or not hits


def test_a_filter_that_cannot_be_read_is_refused_in_one_line(shared):
    with pytest.raises(InputError) as raised:
        shared.similar(shared.tracks()[0], 3, "yeer>=1990")
    assert "\n" not in str(raised.value)


# ---- what a query names


def test_a_track_is_found_by_id_path_and_words(shared, made, monkeypatch):
    path, plan = made.tracks[4]
    track = shared.find(path)
    assert (track.title, track.artist) == (plan.title, plan.artist)
    assert shared.find(track.id) == track
    assert shared.find(str(path)) == track
    assert shared.find(f"{plan.title} {plan.artist}") == track
    assert shared.find(plan.title.upper()) == track
    monkeypatch.chdir(path.parent)
    assert shared.find(path.name) == track


def put(library, name, vector=None, **tags):
    """Put a made-up track into the record of a library."""
    rng = np.random.default_rng(list(name.encode()))
    with Record.open(library.folder, write=True) as record:
        vectors = {}
        for space in record.active_spaces():
            v = (
                rng.standard_normal(space.dims).astype(np.float32)
                if vector is None
                else vector[space.encoder]
            )
            vectors[space.id] = v / np.linalg.norm(v)
        file, content = FileState(f"/nowhere/{name}", 5, 1), rng.bytes(16).hex()
        return record.put(
            Embedded(file, content, 6.0, 44100, 2, "mp3", Tags(**tags), Analysis(), vectors, {})
        )


def test_words_match_without_accents_and_case(library):
    put(library, "a.mp3", title="Águas de Março", artist="Elis Regina")
    assert library.find("aguas marco ELIS").title == "Águas de Março"


def test_ambiguous_words_list_the_choices(library):
    first, second = put(library, "a.mp3", title="Uno Zzyzx"), put(library, "b.mp3", title="Due Zzyzx")
    with pytest.raises(Ambiguous) as raised:
        library.find("zzyzx")
    assert {track.id for track in raised.value.choices} == {first, second}


@pytest.mark.parametrize(
    "query", ["", "no such words", "/no/such/file.mp3", "0" * 16, "a\0b", "x" * 5000, "\udcff"]
)
def test_a_query_that_names_nothing_is_not_found_in_one_line(shared, query):
    with pytest.raises(NotFound) as raised:
        shared.similar(query)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_audio_is_refused_with_its_reason(shared, tmp_path):
    path = tmp_path / "text.mp3"
    path.write_text("not music\n" * 100)
    with pytest.raises(DecodeError, match=r"text\.mp3"):
        shared.similar(path)


def test_a_track_without_a_vector_and_without_a_file_is_not_found(library):
    with Record.open(library.folder, write=True) as record:
        record.put(
            Embedded(
                FileState("/nowhere/z.mp3", 5, 1),
                "f" * 32,
                6.0,
                44100,
                2,
                "mp3",
                Tags(title="Zzyzx"),
                Analysis(),
            )
        )
    with pytest.raises(NotFound, match="no vector"):
        library.similar("zzyzx")


# ---- arrays


def test_tracks_and_vectors_agree(shared, made):
    tracks = shared.tracks()
    assert len(tracks) == 30
    assert {Path(t.path) for t in tracks} == {
        *(p for p, _ in made.tracks),
        *(c for cs in made.copies.values() for c in cs),
    }
    for path, plan in made.tracks:
        track = by_path(shared)[path]
        assert (track.title, track.artist, track.album, track.year) == (
            plan.title,
            plan.artist,
            plan.album,
            plan.year,
        )
        assert track.duration == pytest.approx(plan.seconds, abs=0.05)
    for name, dims in (("cnn", 128), ("descriptors", 184)):
        order, vectors = shared.vectors(name)
        assert order == [track.id for track in tracks]
        assert (vectors.shape, vectors.dtype, vectors.flags.c_contiguous) == ((30, dims), np.float32, True)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_copies_with_the_same_bytes_have_the_same_vector(shared, made):
    tracks = by_path(shared)
    original, (same, *_) = next(iter(made.copies.items()))
    assert tracks[original].content == tracks[same].content
    assert tracks[original].id != tracks[same].id
    order, vectors = shared.vectors("cnn")
    a, b = (vectors[order.index(tracks[path].id)] for path in (original, same))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_absent_library_is_not_found(tmp_path):
    with Library.open(tmp_path / "none") as library:
        for ask in (library.tracks, library.status, library.vectors, lambda: library.similar("x")):
            with pytest.raises(NotFound, match="there is no library in"):
                ask()
    assert not (tmp_path / "none").exists()


# ---- the index is derived


def answers(library):
    """What is near some tracks; by id, for two that are equally near come in any order."""
    tracks = [track for track in library.tracks() if os.path.exists(track.path)]
    return [sorted(ids(library.similar(track, 5, space="descriptors"))) for track in tracks[::6]]


@pytest.fixture
def expected(library):
    right = answers(library)
    library.close()
    return right


def test_a_deleted_index_comes_back_without_audio(library, expected, silent):
    shutil.rmtree(library.folder / "index")
    assert answers(library) == expected
    assert (library.folder / "index").is_dir()


@pytest.mark.parametrize("pattern", ["edge-*/state.json", "edge-*/shard/**/*", "edge-*/shard/*.json"])
@pytest.mark.parametrize("damage", [b"", b"\0garbage\xff" * 7])
def test_a_damaged_index_is_built_again(library, expected, silent, pattern, damage):
    files = [path for path in (library.folder / "index").glob(pattern) if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(damage)
    assert answers(library) == expected


def test_the_index_of_another_library_is_built_again(library, expected, silent, tmp_path):
    with Library.open(tmp_path / "other") as other:
        with Record.open(other.folder, write=True) as record:
            for space in library.status().spaces:
                record.add_space(space[0])
        for i in range(5):
            put(other, f"{i}.mp3")
        other.similar(other.tracks()[0])
    shutil.rmtree(library.folder / "index")
    shutil.copytree(tmp_path / "other" / "index", library.folder / "index")
    assert answers(library) == expected


def put_back_an_old_record(library, tmp_path):
    """Add tracks, bring the index up to date with them, and put the record of before in place."""
    old = tmp_path / "old.sqlite"
    shutil.copy(library.folder / "record.sqlite", old)
    for i in range(5):
        put(library, f"later {i}.mp3")
    library.similar(library.tracks()[0])
    library.close()
    for path in library.folder.glob("record.sqlite*"):
        path.unlink()
    shutil.copy(old, library.folder / "record.sqlite")


def test_an_old_copy_of_the_record_gets_its_own_index(library, expected, silent, tmp_path):
    put_back_an_old_record(library, tmp_path)
    assert answers(library) == expected


def test_an_old_copy_of_the_record_may_overtake_the_index_by_one_removal(library, silent, tmp_path):
    put_back_an_old_record(library, tmp_path)
    assert library.remove([track.id for track in library.tracks()[:9]]) == 9
    assert library._current_index().count() == 21


def test_an_old_copy_of_the_record_may_overtake_the_index_unseen(library, expected, silent, tmp_path, made):
    put_back_an_old_record(library, tmp_path)
    library.add(tmp_path)  # finds no audio, but is a scan
    lost = put(library, "lost.mp3", title="Lost")
    for i in range(9):  # past the revision the index had come to
        put(library, f"new {i}.mp3")
    order, vectors = library.vectors("cnn")
    assert library.similar(vectors[order.index(lost)], 1, space="cnn")[0].id == lost


def test_nothing_is_removed_by_an_empty_query(library, monkeypatch):
    monkeypatch.chdir("/")
    with pytest.raises(NotFound, match="empty query"):
        library.remove([""])
    assert len(library.tracks()) == 30


def test_the_index_follows_what_another_process_changes(library):
    query = library.tracks()[0]
    library.similar(query)
    vector = {s.encoder: library.vectors(s.id)[1][0] for s, _, _ in library.status().spaces}
    new = put(library, "new.mp3", vector, title="New")
    assert (
        ids(library.similar(query, 1))[0] == new
        or ids(library.similar(vector["cnn"], 2, space="cnn"))[1] == new
    )
    with Record.open(library.folder, write=True) as record:
        record.remove(ids=[new])
    assert new not in ids(library.similar(query, 50))


def python(code, *arguments, **keywords):
    """Run Python code in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment, **keywords,
    )  # fmt: skip


def test_while_another_process_holds_the_index_the_answers_are_the_same(library, expected):
    code = (
        "import sys; from pathlib import Path; from soundkin.index import open_index\n"
        "with open_index(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    with python(code, library.folder / "index") as holder:
        assert holder.stdout.readline() == "open\n"
        assert answers(library) == expected
        assert isinstance(library._current_index(), RecordIndex)
        holder.communicate("")
    assert holder.returncode == 0
    assert isinstance(library._current_index(), RecordIndex)  # not tried again at once
    library._held._try_again = time.monotonic()
    assert answers(library) == expected
    assert not isinstance(library._current_index(), RecordIndex)


def test_while_a_large_index_is_built_the_record_answers_the_same(library, expected, monkeypatch, caplog):
    library.close()
    shutil.rmtree(library.folder / "index")
    monkeypatch.setattr("soundkin.holding._SMALL", 1)
    assert answers(library) == expected
    assert isinstance(library._current_index(), RecordIndex)
    assert caplog.text.count("the index is being built") == 1
    until = time.monotonic() + 60
    while isinstance(library._current_index(), RecordIndex) and time.monotonic() < until:
        library._held._try_again = time.monotonic()
        time.sleep(0.05)
    assert not isinstance(library._current_index(), RecordIndex)
    assert answers(library) == expected
    assert "could not be built" not in caplog.text


def test_an_index_that_cannot_be_built_is_said_once_and_the_record_answers(
    library, expected, monkeypatch, caplog
):
    library.close()
    shutil.rmtree(library.folder / "index")
    (library.folder / "index").write_text("in the way")
    monkeypatch.setattr("soundkin.holding._SMALL", 1)
    until = time.monotonic() + 60
    while "could not be built" not in caplog.text and time.monotonic() < until:
        library._held._try_again = time.monotonic()
        assert answers(library) == expected
    for _ in range(3):
        library._held._try_again = time.monotonic()
        assert answers(library) == expected
    assert caplog.text.count("could not be built") == 1


def test_a_change_builds_a_large_index_before_it_is_done(library, made, monkeypatch):
    shutil.rmtree(library.folder / "index")
    monkeypatch.setattr("soundkin.holding._SMALL", 1)
    put(library, "new.mp3")
    assert library.remove([made.tracks[0][0]]) == 1
    state = read_state(library.folder / "index")
    assert state is not None
    assert state.optimized == 30
    assert not isinstance(library._current_index(), RecordIndex)


def test_the_values_of_a_field_are_read_once_for_all_filters_until_a_track_changes(library, monkeypatch):
    read, values = list[str](), Record._values

    def counted(record, field):
        read.append(field)
        return values(record, field)

    monkeypatch.setattr(Record, "_values", counted)
    track = next(track for track in library.tracks() if track.artist)
    for _ in range(3):
        assert library.page(f'artist="{track.artist.upper()}"')[0] >= 1
    assert read == ["artist"]
    put(library, "new.mp3", artist="Somebody Else")
    assert library.page("artist=somebody else")[0] == 1
    assert read == ["artist", "artist"]


def test_in_a_large_library_only_artists_are_suggested(library, monkeypatch):
    put(library, "new.mp3", artist="Zzyzx Quartet", title="Wwvwvw Qqjqjq")
    with pytest.raises(NotFound, match="nearest: Wwvwvw Qqjqjq"):
        library.find("Wwvwvw Qqjqjx")
    monkeypatch.setattr("soundkin.asking._MANY_TITLES", 1)
    with pytest.raises(NotFound, match="nearest: Zzyzx Quartet"):
        library.find("Zzyzx Quartex")
    with pytest.raises(NotFound, match=r"no words$"):
        library.find("Wwvwvw Qqjqjx")


def test_during_a_scan_of_another_process_it_is_named(library, tmp_path):
    words = f"process {os.getpid()} on .* is filling this library"
    with pytest.raises(NotFound, match=r"no words$"):
        library.find("nothing like it")
    with Record.open(library.folder, write=True):
        with pytest.raises(NotFound, match=words):
            library.find("nothing like it")
        assert f"process {os.getpid()} " in library.status().writer
    assert library.status().writer == ""
    first = Library.open(tmp_path / "first")
    with (
        Record.open(first.folder, write=True),
        pytest.raises(NotFound, match=f"nothing is indexed in .* yet; {words}"),
    ):
        first.similar("anything")
    first.close()


def test_a_track_whose_file_is_gone_is_marked_and_counted(library):
    assert library.status().gone == 0
    vector = {s.encoder: library.vectors(s.id)[1][0] for s, _, _ in library.status().spaces}
    gone = put(library, "gone.mp3", vector)
    assert library.status().gone == 1
    hits = library.similar(vector["cnn"], 40, space="cnn")
    assert [hit.id for hit in hits if not hit.there] == [gone]


def test_a_folder_is_no_query(shared, made, tmp_path, monkeypatch):
    for query in (made.music, os.fspath(made.music), "."):
        with pytest.raises(InputError, match="is a folder: ask with one file"):
            shared.similar(query)
    track = max(shared.tracks(), key=lambda t: len(t.title))  # of words that no other title has
    (tmp_path / track.title).mkdir()
    monkeypatch.chdir(tmp_path)
    assert shared.similar(track.title) == shared.similar(track)  # words, though a folder has that name


def test_an_untitled_track_is_filtered_by_what_people_see(library):
    new = put(library, "Some Song.mp3")
    assert ids(library.similar(library.tracks()[0], 3, "title=some song")) in ([new], [])
    assert ids(library.similar(np.ones(128, np.float32), 3, "title=some song", "cnn")) == [new]
    assert library.find("some song").id == new


def test_a_refused_prune_still_reports_what_was_done(library, made, tmp_path):
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    shutil.copy(made.tracks[0][0], empty / "a.flac")
    options = ScanOptions(jobs=1, prune=True)
    library.add([empty], options)
    (empty / "a.flac").unlink()
    shutil.copy(made.tracks[1][0], full / "b.flac")
    with pytest.raises(PruneRefused, match="no audio below") as caught:
        library.add([empty, full], options)
    report = caught.value.report
    assert (report.gone, report.removed, report.added) == (1, 0, 1)
    assert report.elapsed > 0


def test_a_full_disk_does_not_stop_a_reader(library, expected, monkeypatch):
    vector = {s.encoder: library.vectors(s.id)[1][0] for s, _, _ in library.status().spaces}
    new = put(library, "new.mp3", vector)

    def full(*arguments):
        raise StoreError("no space left on device")

    monkeypatch.setattr("soundkin.index.edge._write", full)
    assert new in ids(library.similar(library.tracks()[0], 2)) + ids(
        library.similar(vector["cnn"], 2, space="cnn")
    )
    with Record.open(library.folder, write=True) as record:
        record.remove(ids=[new])
    assert answers(library) == expected


@settings(max_examples=50, deadline=None)
@given(
    tags=st.builds(
        Tags,
        title=st.text(),
        artist=st.text(),
        genres=st.lists(st.text(), max_size=3).map(tuple),
        year=st.none() | st.integers(0, 9999),
    ),
    bpm=st.none() | st.floats(20, 400),
    seed=st.none() | st.integers(0, 9),
    name=st.binary(min_size=1, max_size=9),
)
def test_every_track_the_record_can_hold_is_a_point_the_index_takes(tags, bpm, seed, name):
    vector = np.zeros(4, np.float32) if seed is None else np.random.default_rng(seed).standard_normal(4)
    file = FileState("/m/" + os.fsdecode(name), 5, 1)
    embedded = Embedded(file, "0" * 32, 5.0, 8000, 1, "mp3", tags, Analysis(bpm=bpm))
    point = point_of(to_track(embedded, "f" * 16, 1.5e9), {"s": vector.astype(np.float32)})
    (checked,) = check_points([point], {"s": 4})
    assert checked.id == 2**64 - 1
    assert checked.vectors.keys() == ({"s"} if vector.any() else set())


def test_an_index_of_another_record_asks_to_be_rebuilt(library, tmp_path):
    index = RecordIndex(library._reader(), lambda where: [])
    with Record.open(library.folder) as record:
        catch_up(index, record)
        assert index.count() == 30
        with Record.open(tmp_path / "other", write=True) as other, pytest.raises(RebuildNeeded):
            catch_up(index, other)


# ---- a Qdrant server


@pytest.mark.filterwarnings("ignore:Local mode performs exact")
def test_a_qdrant_client_holds_the_index_as_well(library, expected, made):
    client = QdrantClient(":memory:")
    with Library.open(library.folder, qdrant=client) as served:
        assert answers(served) == expected
        new = put(served, "new.mp3")
        assert new in ids(served.similar(served.tracks()[0], 50))
        assert served.remove([new]) == 1
    (collection,) = (c.name for c in client.get_collections().collections)
    assert re.fullmatch("soundkin-[0-9a-f]{8}-0001", collection)
    assert client.count(collection).count == 30


def test_a_server_that_does_not_answer_is_one_line(library, monkeypatch):
    monkeypatch.setattr("soundkin.index.connection._PAUSE", 0.0)
    with (
        Library.open(library.folder, qdrant="http://127.0.0.1:9") as served,
        pytest.raises(StoreError, match="cannot reach the server") as raised,
    ):
        served.similar(library.tracks()[0])
    assert "\n" not in str(raised.value)


# ---- several spaces


def drop_vectors(library, encoder, keep):
    """Leave the vectors of one encoder to the first few tracks only."""
    db = sqlite3.connect(library.folder / "record.sqlite")
    with db:
        db.execute(
            "DELETE FROM vectors WHERE space = (SELECT number FROM spaces WHERE id LIKE ?) AND track > "
            "(SELECT number FROM tracks ORDER BY number LIMIT 1 OFFSET ?)",
            (encoder + "-%", keep - 1),
        )
        db.execute(
            "UPDATE meta SET value = value + 1 WHERE key = 'revision'"
        )  # as every change of a track does
    db.close()


def test_the_fullest_space_answers_and_the_default_encoder_among_equals(library):
    assert library.space().encoder == "cnn"
    drop_vectors(library, "cnn", 10)
    assert library.space().encoder == "descriptors"
    assert library.space("cnn").encoder == "cnn"
    with pytest.raises(NotFound, match="no space 'clap' in this library; there is: cnn-"):
        library.space("clap")


def upgraded(library):
    """Say that the cnn of the library is an old one, and that a new one has begun."""
    old = library.space("cnn")
    new = replace(old, weights="f" * 64)
    with Record.open(library.folder, write=True) as record:
        record.deactivate(old.id)
        record.add_space(new)
        tracks = [record.by_path(path) for path in record.missing(new.id)]
    return old, new, tracks


def give(library, tracks, space):
    """Give tracks a vector in one more space, as a scan does."""
    with Record.open(library.folder, write=True) as record, record.batch():
        for track in tracks:
            vector = record.vector(track.id, space.id.replace(space.id, library.space("descriptors").id))[
                : space.dims
            ]
            record.put(
                Embedded(
                    FileState(track.path, track.size, track.mtime_ns), track.content, track.duration,
                    track.sample_rate, track.channels, track.format, Tags(title=track.title), Analysis(),
                    {space.id: vector / np.linalg.norm(vector)},
                )
            )  # fmt: skip


def test_old_vectors_answer_until_the_new_space_is_full(library):
    old, new, tracks = upgraded(library)
    give(library, tracks[:-1], new)
    assert library.space("cnn") == old
    give(library, tracks[-1:], new)
    assert library.space("cnn") == new


def test_a_new_space_is_full_when_what_it_lacks_cannot_come(library):
    old, new, tracks = upgraded(library)
    *most, gone, failing = tracks
    give(library, most, new)
    assert library.space("cnn") == old
    with Record.open(library.folder, write=True) as record:
        record.move(gone.path, FileState("/nowhere/gone.mp3", gone.size, gone.mtime_ns))
        record.fail(Failure(FileState(failing.path, 1, 1), "crash", "x"))
    assert library.space("cnn") == new


def test_a_file_cannot_be_asked_for_in_the_space_of_an_encoder_that_is_no_more(library, made):
    _, new, tracks = upgraded(library)
    give(library, tracks, new)
    with pytest.raises(ModelError, match="another version of 'cnn'; index the library again"):
        library.similar(made.outside, space=new.id)


# ---- remove


def test_remove_takes_ids_files_folders_and_words(library, made):
    tracks = by_path(library)
    paths = [path for path, _ in made.tracks]
    assert library.remove([tracks[paths[1]].id]) == 1
    assert library.remove([paths[2]]) == 1
    assert library.remove([made.tracks[3][1].title]) == 1
    assert library.remove([made.music / "copies"]) == 6
    left = {Path(track.path) for track in library.tracks()}
    assert left == set(paths) - set(paths[1:4])
    assert {Path(hit.path) for hit in library.similar(paths[0], 50, space="descriptors")} == left - {paths[0]}
    with pytest.raises(NotFound):
        library.remove(["no such words"])
    assert all(path.exists() for path in paths)


# ---- several processes


def test_a_reader_sees_what_a_writer_has_committed(library):
    before = len(library.tracks())
    with Record.open(library.folder, write=True) as record, record.batch(every=10, seconds=3600):
        spaces = record.active_spaces()
        for i in range(25):
            vectors = {s.id: np.eye(s.dims, dtype=np.float32)[i] for s in spaces}
            file = FileState(f"/nowhere/{i}.mp3", 1, 1)
            record.put(Embedded(file, f"{i:032x}", 6.0 + 3 * i, 8000, 1, "mp3", Tags(), Analysis(), vectors))
            seen = len(library.tracks()) - before
            assert seen == (i + 1) // 10 * 10
            assert len(library.similar(library.tracks()[0], 100, space="descriptors")) >= seen
    assert len(library.tracks()) == before + 25


def test_a_second_writer_is_told_who_the_first_is(library, made):
    code = (
        "import sys; from soundkin.record import Record\n"
        "with Record.open(sys.argv[1], write=True): print('open', flush=True); sys.stdin.read()"
    )
    with python(code, library.folder) as holder:
        assert holder.stdout.readline() == "open\n"
        for write in (lambda: library.add(made.music), lambda: library.remove([made.tracks[0][0]])):
            with pytest.raises(StoreError, match=rf"process {holder.pid} on .* is writing to") as raised:
                write()
            assert "\n" not in str(raised.value)
        assert len(library.similar(made.tracks[0][0], 3)) == 3
        holder.communicate("")


def without_privileges():
    """Take from a child what lets root write where the permissions forbid it."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: gone after the next exec


@pytest.fixture
def read_only(library):
    """A library that may not be changed."""
    library.similar(library.tracks()[0])
    library.close()
    everything = [library.folder, *library.folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield library.folder
    for path in everything:
        path.chmod(0o755)


def unprivileged(code, *arguments):
    start = "import sys; from soundkin import Library, StoreError\n"
    with python(start + code, *arguments, preexec_fn=without_privileges) as process:
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out


def test_a_library_that_cannot_be_written_still_answers(read_only, expected):
    code = (
        "with Library.open(sys.argv[1]) as library:\n"
        "    tracks = library.tracks()[::6]\n"
        "    print(repr([sorted(h.id for h in library.similar(t, 5, space='descriptors')) for t in tracks]))"
    )
    assert unprivileged(code, read_only) == f"{expected!r}\n"


def test_a_library_that_cannot_be_written_is_served_all_the_same(read_only):
    code = (
        "from serving import API, client_of\n"
        "with client_of(sys.argv[1]) as client:\n"
        "    [one] = client.get(f'{API}/tracks?limit=1').json()['tracks']\n"
        "    client.cookies.set('soundkin_session', 'of a server before')\n"
        "    for path in ('session', 'profiles', 'playlists', 'tracks/' + one['id'] + '/peaks'):\n"
        "        print(client.get(f'{API}/{path}').status_code)\n"
        "    print(client.post(f'{API}/similar', json={'query': one['id']}).status_code)\n"
        "    for path, what in ('feedback', {'kind': 'like'}), ('playlists', {'name': 'a'}):\n"
        "        answer = client.post(f'{API}/{path}', json={**what, 'tracks': [one['id']]})\n"
        "        print(answer.status_code, answer.json()['error']['message'])"
    )
    *read, liked, kept = unprivileged(code, read_only).splitlines()
    assert read == ["200"] * 5
    for said in (liked, kept):
        assert said.startswith(f"503 {read_only}")
        assert "check its permissions" in said


def test_indexing_into_a_folder_that_cannot_be_written_says_so(read_only):
    code = "try: Library.open(sys.argv[1]).add('.')\nexcept StoreError as error: print(error)"
    said = unprivileged(code, read_only)
    assert said.count("\n") == 1
    assert "cannot be written (Permission denied): check its permissions" in said


# ---- the disk is full

FULL = """
import resource, sys
from pathlib import Path
import test_scan
from soundkin import scan
from soundkin.audio import DEFAULT_LISTENING
from soundkin.errors import StoreError
from soundkin.record import Record
fake = test_scan.FakeEmbedder()
scan.spaces_of, scan.embed_files = fake.spaces_of, fake.embed_files
library, music, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
try:
    with Record.open(library, write=True) as record:
        report = scan.Scan(record, ["fake"], DEFAULT_LISTENING, scan.ScanOptions()).run([music])
    print(report.added, report.unchanged)
except StoreError as error:
    print(error)
"""


def test_a_full_disk_costs_nothing_that_was_committed(tmp_path):
    music, library = tmp_path / "music", tmp_path / "library"
    music.mkdir()
    for i in range(600):
        (music / f"{i}.wav").write_bytes(b"%d" % i)

    def index(limit):
        with python(FULL, library, music, limit) as process:
            out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        return out

    said = index(1_000_000)
    assert said.count("\n") == 1, said
    assert str(library) in said
    assert "disk" in said
    with Record.open(library) as record:
        kept, vectors = record.vectors(record.spaces()[0].id)
        assert 0 < len(kept) == len(vectors) == len(list(record.tracks())) < 600
    assert index(0) == f"{600 - len(kept)} {len(kept)}\n"


# ---- encoders of one's own


def make_encoder(folder, variant):
    """Write an encoder folder: the built-in network, marked so that its hash is its own."""
    import hashlib

    built_in = Path(soundkin.__file__).parent / "encoders" / "cnn"
    folder.mkdir(parents=True)
    # field 6 of an ONNX model, a string that documents it, may be said again at the end
    graph = (built_in / "encoder.onnx").read_bytes() + b"\x32" + bytes([len(variant)]) + variant
    (folder / "encoder.onnx").write_bytes(graph)
    card = json.loads((built_in / "encoder.json").read_text())
    card |= {"name": "mine", "sha256": hashlib.sha256(graph).hexdigest()}
    (folder / "encoder.json").write_text(json.dumps(card))
    return str(folder)


@pytest.mark.slow
def test_a_new_version_of_an_encoder_takes_over_and_the_first_answers_till_then(tmp_path, made):
    music = tmp_path / "music"
    for path, _ in made.tracks[:5]:
        music.mkdir(exist_ok=True)
        shutil.copy(path, music)
    with Library.open(tmp_path / "library") as library:
        library.add(music, ScanOptions(encoders=(make_encoder(tmp_path / "1" / "mine", b"one"),), jobs=1))
        shutil.rmtree(tmp_path / "1")  # the library has a copy
        first = library.space()
        assert first.encoder == "mine"
        assert len(library.similar(made.tracks[8][0], 5)) == 5
        second = make_encoder(tmp_path / "2" / "mine", b"two")
        report = library.add(music, ScanOptions(encoders=(second,), jobs=1))
        assert (report.updated, report.unchanged) == (5, 0)
        assert library.space() != first
        assert [(s.encoder, n, active) for s, n, active in library.status().spaces] == [
            ("mine", 5, False), ("mine", 5, True),
        ]  # fmt: skip
        track = library.tracks()[0]
        with Record.open(library.folder) as record:
            one, two = (record.windows(track.id, space.id)[1] for space, _, _ in library.status().spaces)
        assert one.shape == two.shape
        assert len(library.similar(track, 4, space=first.id)) == 4
        assert library.add(music).unchanged == 5


def test_an_encoder_with_the_name_of_a_built_in_one_is_refused(library, tmp_path, made):
    folder = Path(make_encoder(tmp_path / "cnn", b"x"))
    card = json.loads((folder / "encoder.json").read_text()) | {"name": "cnn"}
    (folder / "encoder.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="called 'cnn' like a built-in one"):
        library.add(made.music, ScanOptions(encoders=(str(folder),)))


# ---- watch


class Watched:
    """A library that a thread keeps up to date with a folder."""

    def __init__(self, folder, music, **options):
        self.music, self.stop = music, threading.Event()
        self.reports: list[Any] = []
        self.library = Library.open(folder)
        self.thread = threading.Thread(
            target=self.library.watch,
            args=([music], ScanOptions(jobs=1, **options), self.reports.append, self.stop),
        )
        self.thread.start()

    def wait(self, done):
        deadline = time.monotonic() + 60
        while not done() and time.monotonic() < deadline:
            assert self.thread.is_alive()
            time.sleep(0.2)
        assert done()

    def paths(self):
        try:
            with Library.open(self.library.folder) as library:
                return {os.path.relpath(track.path, self.music) for track in library.tracks()}
        except NotFound:
            return set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(60)
        self.library.close()
        assert not self.thread.is_alive()


def another_writer(folder):
    """Become the writer of a library as soon as the one that follows its folder is between two rounds."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return Record.open(folder, write=True)
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.slow
def test_watch_follows_a_folder_and_outlives_trouble(tmp_path, made):
    music = tmp_path / "music"
    sources = [path for path, _ in made.tracks]
    (music / "a").mkdir(parents=True)
    shutil.copy(sources[0], music / "a" / "0.wav")
    # the library lies inside the music: its own files must not wake it
    with Watched(music / "library", music, prune=True) as watched:
        watched.wait(lambda: watched.paths() == {"a/0.wav"})  # what was there before
        ids_before = {track.id for track in watched.library.tracks()}
        shutil.copy(sources[1], music / "1.wav")
        watched.wait(lambda: watched.paths() == {"a/0.wav", "1.wav"})
        os.rename(music / "a" / "0.wav", music / "0.wav")
        watched.wait(lambda: watched.paths() == {"0.wav", "1.wav"})
        assert ids_before <= {track.id for track in watched.library.tracks()}
        os.remove(music / "1.wav")
        watched.wait(lambda: watched.paths() == {"0.wav"})
        with another_writer(music / "library"):
            shutil.copy(sources[2], music / "a" / "2.wav")
            time.sleep(5)
        watched.wait(lambda: watched.paths() == {"0.wav", "a/2.wav"})
        shutil.rmtree(music / "a")
        watched.wait(lambda: watched.paths() == {"0.wav"})

        def quiet():  # a library that woke itself would never be
            rounds = len(watched.reports)
            time.sleep(3)
            return len(watched.reports) == rounds

        watched.wait(quiet)


def test_watch_tells_once_of_a_file_that_went(tmp_path, made, monkeypatch):
    music = tmp_path / "music"
    music.mkdir()
    files = [shutil.copy(path, music) for path, _ in made.tracks[:2]]

    def rounds(roots, stop):
        yield set()  # what was there before
        os.remove(files[0])
        yield {files[0]}
        os.utime(files[1])
        yield {files[1]}  # nothing else went

    monkeypatch.setattr("soundkin.filling._changes", rounds)
    reports: list[ScanReport] = []
    with Library.open(tmp_path / "library") as library:
        library.add([music], ScanOptions(jobs=1))
        library.watch([music], ScanOptions(jobs=1), reports.append)
    assert [(report.gone, report.removed) for report in reports] == [(1, 0)]


def test_a_system_that_cannot_watch_says_why(tmp_path, monkeypatch):
    def refuse(*roots, **how):
        raise PermissionError("Permission denied (os error 13) about ['/music/locked']")
        yield

    monkeypatch.setattr("watchfiles.watch", refuse)
    with Library.open(tmp_path / "library") as library, pytest.raises(InputError, match="music/locked"):
        library.watch([tmp_path])


# ---- kill -9


def children(pid):
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listing.stdout.split()]


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def check_record(folder):
    """Return the paths in a record that must be whole: every track with its vectors in every space."""
    db = sqlite3.connect(folder / "record.sqlite")
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    with Record.open(folder) as record:
        tracks = list(record.tracks())
        for space in record.spaces():
            assert record.missing(space.id) == []
            assert record.vectors(space.id)[0] == [track.id for track in tracks]
            assert all(len(record.windows(track.id, space.id)[0]) for track in tracks)
        return {track.path: track for track in tracks}


SCAN = """
import sys
from soundkin.library import Library
from soundkin.scan import ScanOptions
with Library.open(sys.argv[1]) as library:
    report = library.add(sys.argv[2], ScanOptions(jobs=2))
print(report.added, report.failed, report.unchanged, report.known_bad)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_kill_9_of_a_scan_loses_nothing_that_was_committed(tmp_path, made):
    music = tmp_path / "music"
    music.mkdir()
    for i in range(30):
        shutil.copy(made.tracks[i % 24][0], music / f"{i:02}.wav")
    kept: dict[str, Any] = {}
    workers_seen: set[int] = set()
    rng = np.random.default_rng(1)
    for _ in range(4):
        with python(SCAN, tmp_path / "library", music) as process:
            begin = time.monotonic()
            while not (found := children(process.pid)) and time.monotonic() < begin + 60:
                if process.poll() is not None:  # nothing was left to hear
                    break
                time.sleep(0.05)
            time.sleep(rng.uniform(0.5, 6))
            workers_seen.update(found, children(process.pid))
            process.kill()
        if (tmp_path / "library" / "record.sqlite").exists():
            now = check_record(tmp_path / "library")
            assert {path: track.added for path, track in kept.items()} == {
                path: now[path].added for path in kept
            }
            kept = now
    with python(SCAN, tmp_path / "library", music) as process:
        out, error = process.communicate(timeout=120)
    assert out == f"{30 - len(kept)} 0 {len(kept)} 0\n", error
    now = check_record(tmp_path / "library")
    assert len(now) == 30
    assert all(now[path].added == track.added for path, track in kept.items())
    deadline = time.monotonic() + 60
    while any(map(lives, workers_seen)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert workers_seen
    assert not any(map(lives, workers_seen))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_a_killed_worker_costs_one_file_and_is_replaced(tmp_path, made):
    music = tmp_path / "music"
    music.mkdir()
    for i in range(24):
        shutil.copy(made.tracks[i][0], music / f"{i:02}.wav")
    killed = []

    def kill_one(at):
        if at.done in (1, 8):
            killed.append(children(os.getpid())[0])
            os.kill(killed[-1], signal.SIGKILL)

    with Library.open(tmp_path / "library") as library:
        report = library.add(music, ScanOptions(jobs=2), kill_one)
        assert len(killed) == 2
        assert (report.added + report.failed, report.failed <= 2) == (24, True)
        assert [failure.kind for failure, _ in library.failures()] == ["crash"] * report.failed
        assert library.add(music, ScanOptions(retry=True, jobs=1)).added == report.failed
    assert len(check_record(tmp_path / "library")) == 24


def test_another_process_opens_the_library_the_same_way(tmp_path: Path) -> None:
    server = QdrantSettings("http://localhost:1", "key", timeout=7, retries=1, layout=QdrantLayout(shards=3))
    with Library.open(tmp_path, qdrant=server) as library:
        told = pickle.loads(pickle.dumps(library.opened_with))
    with Library.open(**told) as again:
        assert again.opened_with == told
        assert told["qdrant"] == server
        assert (again.folder, again.place) == (tmp_path, tmp_path)
