import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundkin.browsing import FACETS, filter_for
from soundkin.errors import InputError
from soundkin.filters import FIELDS, And, HasId, Match, Not, Or, Range, matches, parse, where_of
from soundkin.index.follow import point_of


@pytest.fixture(scope="module")
def points(shared):
    return {track.id: point_of(track, {}) for track in shared.tracks()}


def leaves(shared):
    """Filters of values that tracks have, and some that none has."""
    tracks = shared.tracks()
    texts = {
        "genre": [g for t in tracks for g in t.genres], "subgenre": [g for t in tracks for g in t.genres[1:]] or ["x"],
        "artist": [t.artist for t in tracks], "album": [t.album for t in tracks], "title": [t.name for t in tracks],
        "key": [t.key for t in tracks], "format": [t.format for t in tracks],
    }  # fmt: skip
    assert set(texts) == {field for field, kind in FIELDS.items() if kind == "text"}
    numbers = [field for field, kind in FIELDS.items() if kind == "number"]
    values = st.sampled_from(
        [0.0, 0.4, 5.9, 90.0, 118.0, 1990.0, 2001.0, tracks[0].duration, tracks[0].added]
    )
    match = st.sampled_from(sorted(texts)).flatmap(
        lambda f: st.lists(
            st.sampled_from(["nobody's", *filter(None, texts[f])]), min_size=1, max_size=3
        ).map(lambda v: Match(f, tuple(v)))
    )
    span = st.builds(Range, st.sampled_from(numbers), gte=values, lt=values)
    few = st.lists(st.sampled_from(tracks)).map(lambda some: HasId(frozenset(int(t.id, 16) for t in some)))
    return match | span | few


@given(data=st.data())
def test_sqlite_lets_pass_what_filters_mean(shared, points, data):
    tree = st.recursive(
        leaves(shared),
        lambda inner: (
            inner.map(Not)
            | st.lists(inner, min_size=1, max_size=3).map(lambda parts: And(tuple(parts)))
            | st.lists(inner, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts)))
        ),
        max_leaves=5,
    )
    where = data.draw(tree)
    total, tracks = shared.page(where, limit=1000)
    expected = {id_ for id_, point in points.items() if matches(where, point.payload, point.id)}
    assert {track.id for track in tracks} == expected
    assert total == len(expected) == shared._reader().count(where_of(where))


@pytest.mark.parametrize("order", ["artist", "title", "album", "year", "added", "duration", "bpm", "energy"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_put_together_are_the_whole_list_in_order(shared, order, descending):
    pages = [shared.page(order=order, descending=descending, offset=at, limit=7)[1] for at in range(0, 40, 7)]
    whole = [track for page in pages for track in page]
    assert [t.id for t in whole] == [
        t.id for t in shared.page(order=order, descending=descending, limit=500)[1]
    ]
    assert sorted(t.id for t in whole) == sorted(t.id for t in shared.tracks())
    values = [(t.name if order == "title" else getattr(t, order)) for t in whole]
    known = [v.lower() if isinstance(v, str) else v for v in values if v not in (None, "")]
    assert known == sorted(known, reverse=descending)
    assert all(v in (None, "") for v in values[len(known) :])  # what has no such value comes last


def test_an_unknown_order_or_field_is_refused(shared):
    with pytest.raises(InputError, match="no order 'colour'"):
        shared.page(order="colour")
    with pytest.raises(InputError, match="no values are counted of 'colour'"):
        shared.facets(["colour"])


def test_every_chip_finds_as_many_tracks_as_it_says(library):
    some = library.tracks()[:5]
    library.feedback("like", some[:2])
    library.feedback("play", some[2:])
    for where in (None, ["format=flac"], ["bpm>=100"]):
        total, _ = library.page(where)
        for field, chips in library.facets(FACETS, where, limit=500).items():
            for chip in chips:
                assert library.page([*(where or []), chip.filter])[0] == chip.count, (field, chip)
            if field in ("format", "feedback", "energy"):
                assert chips
            assert all(1 <= chip.count <= total for chip in chips)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_chip_asks_for_its_value_and_no_other(value):
    text = filter_for("artist", value)
    if text:
        assert parse([text], lambda _: [value, "somebody else"]) == Match("artist", (value,))
    else:
        assert '"' in value or not value.strip()


@pytest.mark.parametrize(
    "value", ["AC/DC", "Simon and Garfunkel", "not I", "Earth, Wind & Fire", "a=b", ")", "and"]
)
def test_names_that_the_language_of_filters_could_misread(value):
    assert parse([filter_for("artist", value)], lambda _: [value, "x"]) == Match("artist", (value,))


def test_names_are_found_by_the_beginnings_of_words(shared):
    artist = next(track.artist for track in shared.tracks() if " " in track.artist)
    begins = " ".join(word[:3] for word in artist.split())
    found = shared.names_like("artist", begins.upper())
    assert artist in [one.value for one in found]
    count = next(one.count for one in found if one.value == artist)
    assert count == sum(track.artist == artist for track in shared.tracks())
    assert shared.names_like("artist", "") == []


def test_verdicts_and_plays_are_what_was_said_last(library):
    a, b, c = library.tracks()[:3]
    library.feedback("like", [a, b, c])
    library.feedback("dislike", [b])
    library.feedback("unlike", [c])
    library.feedback("play", [c])
    assert library.verdicts() == {a.id: "like", b.id: "dislike"}
    assert library.played() == {c.id}
