import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundkin.errors import InputError
from soundkin.recommend.variety import FREE, Variety, pick, repeats


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def spread(n):
    """Vectors that have nothing in common."""
    return np.eye(max(n, 1), dtype=np.float32)[:n]


def test_without_rules_it_is_the_order_of_the_scores():
    scores = np.array([0.1, 0.9, 0.5, 0.9])
    assert pick(scores, spread(4), "aaaa", "bbbb", 9, FREE) == [1, 3, 2, 0]
    assert pick(scores, spread(4), "aaaa", "bbbb", 2, FREE) == [1, 3]
    assert pick(np.zeros(0), spread(0), "", "", 3, FREE) == []


def test_an_artist_comes_twice_in_a_window_and_then_waits():
    # a a a a b c d e: by hand, with 2 of an artist in any 4 that follow each other
    artists = list("aaaabcde")
    rules = Variety(per_artist=2, window=4, diversity=0)
    assert pick(-np.arange(8), spread(8), artists, [""] * 8, 8, rules) == [0, 1, 4, 5, 2, 3, 6, 7]


def test_albums_count_like_artists_and_spelling_does_not():
    rules = Variety(per_album=1, window=2, diversity=0)
    albums = ["Rain", "RAIN", "raiN", "Sun"]
    assert pick(-np.arange(4), spread(4), [""] * 4, albums, 4, rules) == [0, 3, 1, 2]


def test_nobody_is_no_artist():
    rules = Variety(per_artist=1, window=10, diversity=0)
    assert pick(-np.arange(5), spread(5), [""] * 5, [""] * 5, 5, rules) == [0, 1, 2, 3, 4]


def test_what_was_heard_before_counts_and_does_not_come_again():
    rules = Variety(per_artist=1, window=3, diversity=0)
    assert pick(-np.arange(5), spread(5), list("aabca"), [""] * 5, 3, rules, before=[0]) == [2, 3, 1]


def test_diversity_trades_score_for_difference():
    # by hand: scores 1, .9, 0; the second sounds like the first (cosine .995), the third does not (0)
    vectors = unit([[1, 0], [1, 0.1], [0, 1]])
    scores = np.array([1.0, 0.9, 0.0])
    for diversity, order in ((0.0, [0, 1, 2]), (0.4, [0, 1, 2]), (0.5, [0, 2, 1]), (1.0, [0, 2, 1])):
        # .4: .6 * .9 - .4 * .995 = .142 > 0;  .5: .45 - .4975 < 0
        assert pick(scores, vectors, "abc", "abc", 3, Variety(diversity=diversity)) == order


def test_a_recording_comes_once():
    vectors = unit([[1, 0], [1, 0.01], [0.9, 0.1], [0, 1]])

    asked = []

    def same(place, among):
        asked.append(place)
        return [other for other in among if {place, other} == {0, 1}]

    assert pick(-np.arange(4), vectors, "abcd", "abcd", 4, FREE, same) == [0, 2, 3]
    assert pick(-np.arange(4), vectors, "abcd", "abcd", 4, FREE, same, before=[1]) == [2, 3]
    asked.clear()
    assert pick(-np.arange(4), vectors, "abcd", "abcd", 2, FREE, same) == [0, 2]
    assert asked == [0, 1, 2]  # telling copies is what costs: nobody asks of what does not come


def test_who_is_refused_when_his_turn_comes_does_not_come():
    vectors = spread(4)
    assert pick(-np.arange(4), vectors, "abcd", "abcd", 2, FREE, refused=lambda place: place in (0, 2)) == [
        1,
        3,
    ]
    assert pick(-np.arange(4), vectors, "abcd", "abcd", 2, FREE, refused=lambda place: True) == []


def test_tastes_get_what_is_due():
    # one taste has all the best scores; half of the list is due to the other
    scores = np.r_[np.linspace(10, 9, 10), np.linspace(6, 5, 10)]
    shares = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    alone = pick(scores, spread(20), [""] * 20, [""] * 20, 10, FREE)
    both = pick(scores, spread(20), [""] * 20, [""] * 20, 10, FREE, shares=shares, due=np.array([0.5, 0.5]))
    assert all(place < 10 for place in alone)
    assert sum(place < 10 for place in both) == 5


NAMES = st.sampled_from(["", "a", "b", "c"])


@settings(max_examples=150)
@given(st.data())
def test_rules_hold_unless_nothing_else_is_left(data):
    n = data.draw(st.integers(0, 14))
    artists = data.draw(st.lists(NAMES, min_size=n, max_size=n))
    albums = data.draw(st.lists(NAMES, min_size=n, max_size=n))
    scores = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=n, max_size=n)))
    rules = Variety(
        per_artist=data.draw(st.integers(1, 3)), per_album=data.draw(st.integers(1, 3)),
        window=data.draw(st.integers(1, 6)), diversity=data.draw(st.floats(0, 1)),
    )  # fmt: skip
    k = data.draw(st.integers(0, 16))
    vectors = unit(np.random.default_rng(n).normal(size=(n, 3))) if n else np.zeros((0, 3), np.float32)
    got = pick(scores, vectors, artists, albums, k, rules)
    assert len(got) == min(k, n)
    assert len(set(got)) == len(got)

    def fits(before, place):
        recent = before[-(rules.window - 1) :] if rules.window > 1 else []
        return all(
            not names[place] or sum(names[p] == names[place] for p in recent) < limit
            for names, limit in ((artists, rules.per_artist), (albums, rules.per_album))
        )

    forced = False
    for i, place in enumerate(got):
        left = [p for p in range(n) if p not in got[:i]]
        if not fits(got[:i], place):
            forced = True
            assert not any(fits(got[:i], p) for p in left)
    assert repeats([artists[p] for p in got], [albums[p] for p in got], rules) == forced


@pytest.mark.parametrize(
    "bad",
    [{"per_artist": 0}, {"per_album": -1}, {"window": 0}, {"diversity": 1.1}, {"diversity": float("nan")}],
)
def test_rules_that_make_no_sense(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Variety(**bad)
