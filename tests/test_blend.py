"""Recommending from likes and dislikes, on libraries whose answers are known from how they were made."""

import numpy as np
import pytest
from contract_index import best
from exact_index import ExactIndex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient
from test_record import song

from soundkin.embed import Space
from soundkin.errors import InputError
from soundkin.filters import parse
from soundkin.index import Index, open_index
from soundkin.index.follow import catch_up, dims_of, rebuild_from
from soundkin.recommend import STRATEGIES, Closeness, Query, Seeds, Variety, recommend, similar
from soundkin.recommend.tastes import condense, speakers, taste_of, tastes_of
from soundkin.recommend.variety import FREE
from soundkin.record import Record
from soundkin.record.feedback import Opinion

D = 24
SPACE = Space("made", "0a1b", "none", 2.0, 1.0, "all", "mean", D)
STYLES, EACH = 12, 25


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def fill(record, vectors, styles, artists=None):
    """Put one track per vector; its genre is its style."""
    record.add_space(SPACE)
    ids = []
    with record.batch(every=10**6, seconds=1e6):
        for i, (row, style) in enumerate(zip(vectors, styles, strict=True)):
            made = song(
                f"/music/{i:04}.mp3", f"{i:032x}", spaces=(), title=f"t{i}", genres=(f"style{style}",),
                artist=artists[i] if artists else f"artist{i}", year=1980 + i % 40,
            )  # fmt: skip
            made.duration = 100.0 + 3 * i  # none is taken for a copy of another
            made.vectors = {SPACE.id: row}
            starts = np.arange(4, dtype=np.float32) * 10
            windows = unit(row + 0.3 * np.random.default_rng(i).normal(size=(4, D)) / np.sqrt(D))
            made.windows = {SPACE.id: (starts, windows)}
            ids.append(record.put(made))
    return ids


class World:
    """A library of styles: clusters of like sounds, with one engine."""

    def __init__(self, folder, engine="exact", seed=0):
        rng = np.random.default_rng(seed)
        centres = unit(rng.normal(size=(STYLES, D)))
        self.styles = np.repeat(np.arange(STYLES), EACH)
        self.rows = unit(centres[self.styles] + 0.8 * rng.normal(size=(STYLES * EACH, D)) / np.sqrt(D))
        self.record = Record.open(folder / "library", write=True)
        self.ids = fill(self.record, self.rows, self.styles)
        self.usual = Closeness.of(self.record.sample(SPACE.id, 4000))
        self.index = engine_of(engine, folder, self.record)
        self.place = {id_: i for i, id_ in enumerate(self.ids)}

    def query(self, i):
        starts, windows = self.record.windows(self.ids[i], SPACE.id)
        return Query(self.rows[i], self.record.track(self.ids[i]), windows, starts)

    def ask(self, likes, dislikes=(), k=20, rules=FREE, **more):
        seeds = Seeds(
            tuple(map(self.query, likes)), tuple(map(self.query, dislikes)), **more.pop("seeds", {})
        )
        return recommend(self.record, self.index, SPACE, seeds, k, self.usual, rules=rules, **more)

    def styles_of(self, hits):
        return [int(self.styles[self.place[hit.id]]) for hit in hits]


def engine_of(name, folder, record):
    index: Index
    if name == "exact":
        index = ExactIndex(dims_of(record))
    elif name == "edge":
        rebuild_from(record.place, folder / "index")
        index = open_index(folder / "index")
    else:
        client = QdrantClient(":memory:")
        rebuild_from(record.place, client)
        index = open_index(client)
    catch_up(index, record)
    return index


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.index.close()
    made.record.close()


class OtherRounding(ExactIndex):
    """An engine whose arithmetic is a little different, as that of every engine is."""

    def _search(self, space, target, k, where, exact):
        return [(i, score + (-1) ** i * 1e-6) for i, score in super()._search(space, target, k, where, exact)]


def test_of_tracks_that_sound_the_same_every_engine_takes_the_same_first(tmp_path):
    made = World(tmp_path)
    made.record.close()
    with Record.open(tmp_path / "twins", write=True) as record:
        rows = made.rows[np.repeat(np.arange(0, len(made.rows), 2), 2)]
        ids = fill(record, rows, made.styles)
        likes, dislikes = (
            tuple(Query(rows[i], record.track(ids[i])) for i in side) for side in ((0, 50), (100,))
        )
        indexes = [kind(dims_of(record)) for kind in (ExactIndex, OtherRounding)]
        for index in indexes:
            catch_up(index, record)
        for strategy in STRATEGIES:
            asked = Seeds(likes, dislikes), 20, made.usual, strategy
            here, there = (
                [hit.id for hit in recommend(record, index, SPACE, *asked, rules=FREE)] for index in indexes
            )
            assert len(here) == 20
            assert here == there


@pytest.fixture(scope="module")
def worlds(world, tmp_path_factory):
    """Return the same library behind each engine."""
    made = {"exact": world}
    for name in ("edge", "server"):
        made[name] = World.__new__(World)
        made[name].__dict__.update(world.__dict__)
        made[name].index = engine_of(name, tmp_path_factory.mktemp(name), world.record)
    yield made
    for name in ("edge", "server"):
        made[name].index.close()


# ---- what is recommended


def test_one_taste_brings_more_of_it(world):
    assert world.styles_of(world.ask([0, 1, 2], k=10)) == [0] * 10


def test_two_tastes_bring_both_and_not_what_lies_between(world):
    got = world.styles_of(world.ask([*range(4), *range(25, 29)], k=20))
    assert set(got) == {0, 1}
    assert 8 <= got.count(0) <= 12


def test_a_small_taste_is_heard_beside_a_large_one(world):
    got = world.styles_of(world.ask([*range(20), 50, 51, 52], k=20))
    assert got.count(2) >= 1


def test_the_average_of_two_tastes_is_neither(tmp_path):
    """Two likes far apart, and a style that lies just between them: the average falls for it, the default does not."""
    rng = np.random.default_rng(1)
    a, b = np.eye(D)[:2]
    centres = unit([a, b, a + b, *rng.normal(size=(9, D))])
    styles = np.repeat(np.arange(12), 25)
    rows = unit(centres[styles] + 0.5 * rng.normal(size=(300, D)) / np.sqrt(D))
    with Record.open(tmp_path, write=True) as record:
        ids = fill(record, rows, styles)
        usual = Closeness.of(record.sample(SPACE.id, 4000))
        index = engine_of("exact", tmp_path, record)
        place = {id_: i for i, id_ in enumerate(ids)}
        likes = tuple(Query(rows[i], record.track(ids[i])) for i in (0, 1, 2, 25, 26, 27))
        share = {}
        for strategy in STRATEGIES:
            hits = recommend(record, index, SPACE, Seeds(likes), 10, usual, strategy, rules=FREE)
            share[strategy] = np.mean([styles[place[hit.id]] == 2 for hit in hits])
    assert share["average"] == 1
    assert share["agreement"] == 0


def test_agreement_adds_up_evidence_like_by_like(world):
    likes = [0, 3, 30]
    hits = world.ask(likes, k=5, rules=FREE, strategy="agreement")
    evidence = world.usual.evidence(world.rows, world.rows[likes]).sum(axis=1)
    evidence[likes] = -1
    assert world.place[hits[0].id] == int(evidence.argmax())


@pytest.mark.parametrize("strategy", ["best", "sum", "average"])
def test_other_strategies_are_those_of_the_index(world, strategy):
    likes, dislikes = [0, 3, 30], [60]
    hits = world.ask(likes, dislikes, k=12, strategy=strategy)
    expected = world.index.recommend(
        SPACE.id, world.rows[likes], world.rows[dislikes], 12, strategy,
        exclude=[int(world.ids[i], 16) for i in (*likes, *dislikes)],
    )  # fmt: skip
    assert {int(hit.id, 16) for hit in hits} == {number for number, _ in expected}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_dislike_pushes_away_what_sounds_like_it(world, strategy):
    likes = [*range(3), *range(25, 28)]

    def ask(dislikes):
        got = world.styles_of(world.ask(likes, dislikes, k=10**4, strategy=strategy))
        return got[:20].count(1), np.mean([rank for rank, style in enumerate(got) if style == 1])

    (before, rank_before), (after, rank_after) = ask([]), ask([30, 31, 32, 33])
    assert before >= 1
    assert after < before
    assert rank_after > rank_before + 10
    if strategy == STRATEGIES[0]:
        assert after <= before / 2


def test_a_skip_pushes_less_than_a_dislike(world):
    likes = [*range(3), *range(25, 28)]

    def ranks(weight):
        hits = world.ask(likes, [30, 31], k=60, seeds={"weights": (weight, weight)})
        return np.mean([i for i, style in enumerate(world.styles_of(hits)) if style == 1])

    assert ranks(0.0) < ranks(0.5) < ranks(1.0)


def test_no_seed_comes_back_and_no_copy_of_one(world, tmp_path):
    rows, styles = world.rows[:30].copy(), world.styles[:30]
    with Record.open(tmp_path, write=True) as record:
        ids = fill(record, rows, styles)
        copy = song("/copies/0.mp3", f"{0:032x}", spaces=())
        copy.duration, copy.vectors = 100.0, {SPACE.id: rows[0]}
        again = song(
            "/copies/1.mp3", "f" * 32, spaces=()
        )  # a re-encode: nearly the same vector, the same moments
        again.duration, again.vectors = 103.0, {SPACE.id: unit(rows[1] + 0.01)}
        again.windows = {SPACE.id: record.windows(ids[1], SPACE.id)}
        copies = {record.put(copy), record.put(again)}
        index, usual = engine_of("exact", tmp_path, record), Closeness.of(rows)

        def query(i):
            return Query(rows[i], record.track(ids[i]), record.windows(ids[i], SPACE.id)[1])

        for likes, dislikes in (((0, 1), ()), ((0,), (1,)), ((5,), (0, 1))):
            seeds = Seeds(tuple(map(query, likes)), tuple(map(query, dislikes)))
            for strategy in STRATEGIES:
                got = {hit.id for hit in recommend(record, index, SPACE, seeds, 99, usual, strategy)}
                assert not got & {ids[i] for i in (*likes, *dislikes)}
                assert not got & copies
                assert len(got) == 30 - len(likes) - len(dislikes)
        # of a recording that is neither, one of its files comes
        seeds = Seeds((Query(rows[5], record.track(ids[5])),))
        got = {hit.id for hit in recommend(record, index, SPACE, seeds, 99, usual)}
        assert len(got & {ids[0], ids[1], *copies}) == 2


def test_what_others_speak_for_is_no_answer_nor_are_copies_of_it(world, tmp_path):
    rows, styles = world.rows[:60].copy(), world.styles[:60]
    with Record.open(tmp_path, write=True) as record:
        ids = fill(record, rows, styles)
        again = song("/copies/1.mp3", "f" * 32, spaces=())  # a re-encode of one that does not speak
        again.duration, again.vectors = 103.0, {SPACE.id: unit(rows[1] + 0.01)}
        again.windows = {SPACE.id: record.windows(ids[1], SPACE.id)}
        copy = record.put(again)
        index, usual = engine_of("exact", tmp_path, record), Closeness.of(rows)
        silent = frozenset(int(ids[i], 16) for i in (1, 2, 30))
        for k in (5, 99):
            seeds = Seeds((Query(rows[0], record.track(ids[0])),), unwanted=silent)
            got = [hit.id for hit in recommend(record, index, SPACE, seeds, k, usual)]
            assert not set(got) & {ids[0], ids[1], ids[2], ids[30], copy}
            assert len(got) == min(k, 60 - 4)


def test_dislikes_that_are_too_many_to_weigh_push_as_those_that_are_given(world):
    likes, dislikes = [*range(3), *range(25, 28)], [30, 31, 32, 33]
    far = {int(world.ids[i], 16): 1.0 for i in dislikes}
    assert world.ask(likes, k=40, seeds={"far": far}) == world.ask(likes, dislikes, k=40)
    half = dict.fromkeys(far, 0.5)
    weights = {"weights": (0.5,) * 4}
    assert world.ask(likes, k=40, seeds={"far": half}) == world.ask(likes, dislikes, k=40, seeds=weights)


def test_discover_prefers_what_was_never_or_long_not_played(world):
    plain = world.ask([0, 1, 2], k=10)
    now, day = 1.8e9, 86400.0
    played = {int(hit.id, 16): now - day for hit in plain[:5]}
    played[int(plain[5].id, 16)] = now - 2000 * day
    seeds = {"played": played}
    fresh = world.ask([0, 1, 2], k=10, discover=now, seeds=seeds)
    assert not {hit.id for hit in fresh} & {hit.id for hit in plain[:5]}
    assert plain[5].id in {hit.id for hit in fresh}
    assert world.ask([0, 1, 2], k=10, seeds=seeds) == plain
    everything = world.ask([0, 1, 2], k=10**4, discover=now, seeds=seeds)
    assert len(everything) == STYLES * EACH - 3


def test_filters_hold_and_k_come_whenever_there_are_k(world):
    where = parse(["genre=style5"], lambda _: {f"style{i}" for i in range(STYLES)})
    for strategy in STRATEGIES:
        hits = world.ask([0, 1], k=24, where=where, strategy=strategy)
        assert world.styles_of(hits) == [5] * 24
        assert len(world.ask([0, 1], k=10**4, where=where, strategy=strategy)) == EACH
    assert world.ask([0], where=parse(["year>=3000"], lambda _: ())) == []


def test_one_artist_does_not_flood_the_list(tmp_path):
    """All that is near is by one artist: the list goes farther to find others, though the index gave only those."""
    rng = np.random.default_rng(2)
    rows = unit(np.r_[np.eye(D)[:1] + 0.02 * rng.normal(size=(400, D)), rng.normal(size=(60, D))])
    artists = ["One"] * 400 + [f"artist{i}" for i in range(60)]
    with Record.open(tmp_path, write=True) as record:
        ids = fill(record, rows, [0] * 460, artists)
        index, usual = engine_of("exact", tmp_path, record), Closeness.of(rows)
        seeds = Seeds((Query(rows[0], record.track(ids[0])),))
        hits = recommend(record, index, SPACE, seeds, 10, usual)
        assert [hit.artist for hit in hits].count("One") == 2
        free = recommend(record, index, SPACE, seeds, 10, usual, rules=FREE)
        assert [hit.artist for hit in free].count("One") == 10


# ---- the same on every engine


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_engine_gives_the_same_answer(worlds, strategy):
    where = parse(["year>=1985"], lambda _: ())
    for likes, dislikes in (([0], []), ([0, 1, 30, 61, 120], [90, 91]), (list(range(0, 300, 4)), [1, 2])):
        for options in ({}, {"where": where, "rules": Variety()}):
            answers = [w.ask(likes, dislikes, k=15, strategy=strategy, **options) for w in worlds.values()]
            ids = [[hit.id for hit in answer] for answer in answers]
            assert ids[0] == ids[1] == ids[2]
            for answer in answers[1:]:
                assert [h.similarity for h in answer] == pytest.approx(
                    [h.similarity for h in answers[0]], abs=1e-4
                )


def test_every_engine_finds_the_same_neighbours(worlds):
    for i in range(0, 300, 29):
        answers = [similar(w.record, w.index, SPACE, w.query(i), 10, w.usual) for w in worlds.values()]
        assert (
            [hit.id for hit in answers[0]] == [hit.id for hit in answers[1]] == [hit.id for hit in answers[2]]
        )


# ---- reasons


def test_hits_say_which_like_they_follow_and_where_they_sound_alike(world):
    likes = [0, 100]
    for hit in world.ask(likes, k=10):
        place = world.place[hit.id]
        nearest = likes[
            int((world.usual.evidence(world.rows[place : place + 1], world.rows[likes])).argmax())
        ]
        assert hit.follows == world.ids[nearest]
        assert hit.cosine == pytest.approx(float(world.rows[place] @ world.rows[nearest]), abs=1e-4)
        assert hit.similarity == pytest.approx(world.usual.similarity(hit.cosine), abs=1e-4)
        ours, theirs = (world.record.windows(id_, SPACE.id)[1] for id_ in (hit.id, world.ids[nearest]))
        cosines = unit(ours) @ unit(theirs).T
        moment = hit.moments[0]
        assert moment.cosine == pytest.approx(float(cosines.max()), abs=1e-3)
        assert cosines[int(moment.here / 10), int(moment.there / 10)] == pytest.approx(
            moment.cosine, abs=1e-3
        )
        assert moment.seconds == SPACE.window_seconds
        assert f"follows artist{nearest} - t{nearest}" in hit.reasons
        clocks = [f"0:{int(t):02}" for t in (moment.here, moment.there)]
        assert f"{clocks[0]} is like {clocks[1]} there" in hit.reasons


def test_moments_order_by_the_nearest_moment(world):
    query = world.query(7)
    hits = similar(world.record, world.index, SPACE, query, 8, world.usual, moments=True)
    windows = [world.record.windows(id_, SPACE.id)[1] for id_ in world.ids]
    scores = {i: float((unit(w) @ unit(query.windows).T).max()) for i, w in enumerate(windows) if i != 7}
    near = {
        i
        for i, _ in sorted(scores.items(), key=lambda item: -float(world.rows[7] @ world.rows[item[0]]))[:200]
    }
    assert [world.place[hit.id] for hit in hits] == best({i: s for i, s in scores.items() if i in near}, 8)
    assert [hit.moments[0].cosine for hit in hits] == sorted(
        (h.moments[0].cosine for h in hits), reverse=True
    )


def test_similar_with_variety_keeps_to_it(world):
    query = world.query(7)
    hits = similar(world.record, world.index, SPACE, query, 10, world.usual, rules=Variety(diversity=0))
    assert {hit.id for hit in hits} == {
        hit.id for hit in similar(world.record, world.index, SPACE, query, 10, world.usual)
    }  # every artist is another one: nothing to change


# ---- bad input


def test_what_cannot_be_answered(world):
    with pytest.raises(InputError, match="nothing to go by"):
        world.ask([])
    with pytest.raises(InputError, match="nothing to go by"):
        world.ask([], [3])
    with pytest.raises(InputError, match="strategy 'worst'"):
        world.ask([0], strategy="worst")
    with pytest.raises(InputError, match="k=0"):
        world.ask([0], k=0)


def test_k_larger_than_the_library_gives_all_once(world):
    hits = world.ask([0], k=10**5)
    assert len({hit.id for hit in hits}) == len(hits) == STYLES * EACH - 1


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(0, 299), min_size=1, max_size=40, unique=True),
    st.integers(0, 10),
    st.integers(1, 40),
)
def test_answers_are_whole_for_any_taste(world, seeds, n_dislikes, k):
    dislikes = seeds[1 : 1 + n_dislikes]
    likes = [seed for seed in seeds if seed not in dislikes]
    hits = world.ask(likes, dislikes, k=k, rules=Variety())
    ids = [hit.id for hit in hits]
    assert len(ids) == len(set(ids)) == k
    assert not {world.ids[seed] for seed in seeds} & set(ids)
    assert all(0 <= hit.similarity <= 1 and np.isfinite(hit.cosine) for hit in hits)
    assert world.ask(likes, dislikes, k=k, rules=Variety()) == hits


# ---- tastes


def test_tastes_are_clusters():
    rows = unit(np.repeat(np.eye(8, dtype=np.float32)[:3], 3, axis=0) + 0.01)
    groups = tastes_of(rows)
    assert len(set(groups)) == 3
    assert all(len(set(groups[i : i + 3])) == 1 for i in (0, 3, 6))
    assert [len(set(tastes_of(rows[[0, 3][:n]]))) for n in (1, 2)] == [1, 2]
    assert tastes_of(np.repeat(rows[:1], 50, axis=0)).tolist() == [0] * 50


def test_many_likes_become_few_sounds_that_stand_for_all():
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(20, D)))
    rows = unit(centres[np.arange(2000) % 20] + 0.05 * rng.normal(size=(2000, D)))
    sounds = condense(rows, 64)
    assert len(sounds) <= 64
    assert (rows @ sounds.T).max(axis=1).min() > 0.9
    assert np.array_equal(condense(rows[:10], 64), rows[:10])


@given(
    st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), max_size=60, unique=True),
    st.integers(1, 40),
)
def test_speakers_are_the_latest_and_a_lot_of_the_others(likes, most):
    order = speakers(likes, most)
    assert sorted(order) == sorted(likes)
    assert order[: most // 2] == likes[: most // 2]
    early = set(likes[(most + 1) // 2 :])
    assert [like for like in order if like in early] == sorted(early)


def test_a_profile_speaks_by_likes_then_by_plays():
    now, day = 1.8e9, 86400.0
    opinions = {
        "liked": Opinion("like", now), "bad": Opinion("dislike", now), "played": Opinion(plays=9, played=now - 9 * day),
        "skipped": Opinion(skips=1, skipped=now - day), "long ago": Opinion(skips=1, skipped=now - 40 * day),
        "came round": Opinion(skips=1, plays=1, skipped=now - 2 * day, played=now - day),
        "liked anyway": Opinion("like", now - 3 * day, skips=4, skipped=now),
    }  # fmt: skip
    taste = taste_of(opinions, now)
    assert (taste.likes, taste.dislikes, taste.skips) == (["liked", "liked anyway"], ["bad"], ["skipped"])
    nothing_liked = {name: o for name, o in opinions.items() if o.verdict != "like"}
    assert taste_of(nothing_liked, now).likes == ["played"]
