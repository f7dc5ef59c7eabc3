"""The index that reads the record answers like the one that holds every point in memory; and who builds the other."""

import threading

import numpy as np
import pytest
from exact_index import ExactIndex
from serving import until

from soundkin.embed import Embedded, FileState, Space
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import StoreError
from soundkin.filters import And, HasId, Match, Not, Range, where_of
from soundkin.index import IndexLocked
from soundkin.index.building import Builder
from soundkin.index.follow import catch_up, dims_of
from soundkin.index.generations import being_built, next_generation, read_state
from soundkin.index.recorded import RecordIndex
from soundkin.record import Record
from soundkin.tags import Tags

SOUND = Space("sound", "0" * 64, "none", 3.0, 3.0, "all", "mean", 8)
TASTE = Space("taste", "0" * 64, "none", 3.0, 3.0, "all", "mean", 5)
FILTERS = (
    None,
    Match("genre", ("samba",)),
    And((Range("year", gte=1990, lt=1995), Not(Match("artist", ("artist 1",))))),
    HasId(frozenset()),
)


def put(record, i, seed, zero=False):
    """Put a track; every third one has no taste."""
    rng = np.random.default_rng(seed)
    vectors = {SOUND.id: rng.standard_normal(8).astype(np.float32) * (0 if zero else 3)}
    if i % 3:
        vectors[TASTE.id] = rng.standard_normal(5).astype(np.float32)
    tags = Tags(title=f"track {i}", artist=f"artist {i % 4}", genres=("samba",) * (i % 2), year=1985 + i % 15)
    file, content = FileState(f"/nowhere/{i}.mp3", 5, seed), f"{seed:032x}"
    return record.put(Embedded(file, content, 6.0, 44100, 2, "mp3", tags, Analysis(), vectors, {}))


@pytest.fixture
def record(tmp_path):
    with Record.open(tmp_path, write=True) as opened:
        for space in (SOUND, TASTE):
            opened.add_space(space)
        for i in range(60):
            put(opened, i, i, zero=i == 7)
        yield opened


def indexed(record):
    return RecordIndex(record, lambda where: record.ids(where_of(where)))


def same(index, record):
    """Compare every kind of search with the one over points in memory."""
    exact = ExactIndex(dims_of(record))
    catch_up(exact, record)
    catch_up(index, record)
    assert index.mark == exact.mark
    assert index.count() == exact.count()
    rng = np.random.default_rng(0)
    for space, dims in index.spaces.items():
        for where in FILTERS:
            for k in (1, 7, 100):
                query = rng.standard_normal(dims)
                found = index.search(space, query, k, where)
                assert found == [
                    (i, pytest.approx(score, abs=1e-5)) for i, score in exact.search(space, query, k, where)
                ]
            likes, dislikes = rng.standard_normal((3, dims)), rng.standard_normal((2, dims))
            one, other = (i.recommend(space, likes, dislikes, 9, "best", where) for i in (index, exact))
            assert [i for i, _ in one] == [i for i, _ in other]


def test_it_finds_what_every_point_in_memory_gives(record):
    index = indexed(record)
    same(index, record)
    assert len(index.search(SOUND.id, np.ones(8), 100)) == 59  # one vector points nowhere


def test_it_follows_what_changes_whether_it_has_read_a_space_or_not(record):
    index = indexed(record)
    index.search(SOUND.id, np.ones(8), 1)  # taste is not read yet
    ids = [put(record, i, 1000 + i) for i in range(50, 70)]  # ten are known and other music now
    record.remove(ids=[ids[3], ids[15]])
    same(index, record)
    put(record, 70, 2000)
    record.remove(ids=[ids[0]])
    same(index, record)
    same(index, record)
    more = Space("more", "0" * 64, "none", 3.0, 3.0, "all", "mean", 2)
    record.add_space(more)
    record.add_vectors(more.id, ids[5:8], np.eye(2, dtype=np.float32)[[0, 1, 0]])
    same(index, record)
    index.close()
    same(index, record)


def test_what_comes_while_another_thread_takes_in_what_came_is_not_lost(record):
    index = indexed(record)
    index.search(SOUND.id, np.ones(8), 1)
    put(record, 70, 70)
    other = threading.Thread(target=catch_up, args=(index, record))
    with index._guard:  # as a search holds it, which forgets at the end what it has taken in
        other.start()
        other.join(0.2)
        assert other.is_alive()
        assert not index._new
    other.join(60)
    same(index, record)


def test_one_process_builds_and_others_see_it(record, tmp_path, monkeypatch):
    index = tmp_path / "index"
    builder = Builder(tmp_path, index)
    started: list[int] = []
    monkeypatch.setattr(builder, "_start", started.append)
    assert not being_built(index)
    with next_generation(index, lambda _: False):
        assert being_built(index)
        builder.begin()
        assert not started
    assert not being_built(index)
    builder.begin()
    assert len(started) == 1


def test_who_begins_a_build_the_moment_after_another_process_says_nothing_of_failure(
    record, tmp_path, monkeypatch, caplog
):
    index = tmp_path / "index"
    monkeypatch.setattr(
        "soundkin.index.building.being_built", lambda _: False
    )  # as it was when this one looked
    builder = Builder(tmp_path, index)
    with next_generation(index, lambda _: False), caplog.at_level("INFO"):
        builder.begin()
        assert until(lambda: "another process is rebuilding it" in caplog.text)
        with pytest.raises(IndexLocked, match="another process is rebuilding it"):
            Builder(tmp_path, index).run()
    assert "could not be built" not in caplog.text
    assert [said.message for said in caplog.records if said.levelname == "WARNING"] == [
        "the index is being built; until it is there, answers take longer"
    ]


def test_who_waits_for_a_build_has_an_index_or_a_reason(record, tmp_path):
    index = tmp_path / "index"
    Builder(tmp_path, index).run()
    state = read_state(index)
    assert state is not None
    assert (state.optimized, state.mark.revision) == (60, record.revision)
    with pytest.raises(StoreError, match="there is no library in"):
        Builder(tmp_path / "nowhere", index).run()
