from typing import Any

import numpy as np
import pytest
from made import Made

from soundkin import fusion, recommend
from soundkin.errors import InputError, NotFound
from soundkin.library import Library
from soundkin.recommend import Query


def ids(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


@pytest.fixture
def others(shared: Library, made: Made) -> frozenset[str]:
    """Ids of the copies of the first track, and of itself."""
    first = made.tracks[0][0]
    return frozenset(shared.find(path).id for path in (first, *made.copies[first]))


def test_two_spaces_are_one_ranking(shared: Library, made: Made, others: frozenset[str]) -> None:
    query = made.tracks[0][0]
    hits = shared.similar(query, 5, space="cnn+descriptors")
    ranks = {}
    for name in ("cnn", "descriptors"):
        alone = [id_ for id_ in ids(shared.similar(query, 30, space=name)) if id_ not in others]
        ranks[name] = {id_: rank for rank, id_ in enumerate(alone, 1)}
    # The definition, written out: Cormack et al., 2009.
    score = {id_: sum(1 / (60 + ranks[name][id_]) for name in ranks) for id_ in ranks["cnn"]}
    assert ids(hits) == sorted(score, key=lambda id_: (-score[id_], id_))[:5]
    assert [hit.similarity for hit in hits] == [round(score[hit.id] * 61 / 2, 4) for hit in hits]
    assert f"cnn #{ranks['cnn'][hits[0].id]}" in hits[0].reasons
    assert f"descriptors #{ranks['descriptors'][hits[0].id]}" in hits[0].reasons


def test_neither_the_query_nor_its_copies_are_found(
    shared: Library, made: Made, others: frozenset[str]
) -> None:
    for query in (made.tracks[0][0], made.outside):
        assert others.isdisjoint(ids(shared.similar(query, 30, space="cnn+descriptors")))


def test_all_there_are_come_under_a_filter(shared: Library, made: Made) -> None:
    query = shared.find(made.tracks[3][0])
    passing = {t.id for t in shared.tracks() if t.genres[:1] == query.genres[:1]} - {query.id}
    assert passing
    hits = shared.similar(query, 30, f"genre={query.genres[0]}", space="cnn+descriptors")
    assert set(ids(hits)) == passing


def test_one_space_twice_is_one_space(shared: Library, made: Made) -> None:
    query = made.tracks[3][0]
    assert shared.similar(query, 5, space="cnn+cnn") == shared.similar(query, 5, space="cnn")


def test_a_space_is_called_by_the_beginning_of_its_name(shared: Library) -> None:
    assert shared.space("desc") == shared.space("descriptors")
    assert [space.encoder for space in shared.asked("cn+desc")] == ["cnn", "descriptors"]
    for name in ("cnn+nothing", "cnn+", "x"):
        with pytest.raises(NotFound, match="no space"):
            shared.asked(name)


def test_a_vector_is_of_one_space(shared: Library) -> None:
    with pytest.raises(InputError, match="a vector, moments, versions and variety are of one space"):
        shared.similar(np.ones(128, np.float32), space="cnn+descriptors")


def test_deeper_where_the_first_of_one_space_are_copies_in_the_other(
    shared: Library, monkeypatch: pytest.MonkeyPatch, made: Made
) -> None:
    query = shared.find(made.tracks[5][0])
    monkeypatch.setattr(fusion, "_LEAST_DEPTH", 2)
    monkeypatch.setattr(fusion, "_DEPTH", 1)
    record, index = shared._reader(), shared._current_index()
    queries = {s: Query(record.vector(query.id, s.id), query) for s in shared.asked("cnn+descriptors")}
    closeness = {s.id: shared.closeness(s) for s in queries}
    asked = []
    real = recommend.nearest

    def nearest(record, index, space, query, k, usual, unwanted, where):
        found = real(record, index, space, query, k, usual, unwanted, where)
        asked.append(k)
        if space.encoder == "descriptors" and k < 8:  # takes what the other space found for copies
            first = next(iter(queries))
            before = real(record, index, first, queries[first], k, closeness[first.id], set(unwanted), where)
            unwanted |= {number for number, _ in (*before.found[:k], *found.found[:k])}
            return recommend.Near([], {}, found.vectors, found.evidence, {})
        return found

    monkeypatch.setattr(fusion, "nearest", nearest)
    assert len(fusion.similar(record, index, queries, 2, closeness)) == 2
    assert max(asked) > 2


def test_words_need_a_space_that_understands_them(shared: Library) -> None:
    with pytest.raises(NotFound, match="--encoder clap"):
        shared.similar(text="slow melancholic piano")
    for query, text in ((None, None), ("x", "y")):
        with pytest.raises(InputError, match="one of them"):
            shared.similar(query, text=text)
