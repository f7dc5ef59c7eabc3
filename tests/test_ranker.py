"""A learned order: its trees against LightGBM, worlds where it must be adopted and where it must not, and no leaks."""

from dataclasses import replace

import numpy as np
import pytest
from test_tasting import in_order, people

from soundkin.evaluate.splits import judge
from soundkin.taste import adopting
from soundkin.taste.adopting import Compared, divisions, train
from soundkin.taste.candidates import Hearing, Listener, Question
from soundkin.taste.cold import NOBODY, unit
from soundkin.taste.dividing import divide, warm_split
from soundkin.taste.learning import Collection, learn
from soundkin.taste.matrix import Plays
from soundkin.taste.ranker import FEATURES, Examples, Ranker, fit, has_lightgbm
from soundkin.taste.serving import TasteOfOne
from soundkin.taste.training import save

if not has_lightgbm():
    pytest.skip("needs LightGBM and OpenMP", allow_module_level=True)
WIDTH = len(FEATURES)


def exclusive(groups, noise=False, seed=0, each=40):
    """Candidates of which those are right that are high in one of two features, but not in both: no sum tells them."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((groups * each, WIDTH)).astype(np.float32)
    a, b = rows[:, FEATURES.index("sound")] > 0, rows[:, FEATURES.index("taste")] > 0
    right = rng.random(len(rows)) < 0.25 if noise else (a ^ b) & (rng.random(len(rows)) < 0.5)
    return Examples(rows, right, np.full(groups, each))


def precision(scores, right, each=40, k=10):
    best = np.argsort(-scores.reshape(-1, each), axis=1)[:, :k]
    return np.take_along_axis(right.reshape(-1, each), best, axis=1).mean()


def test_trees_are_walked_as_lightgbm_does():
    import lightgbm

    from soundkin.taste import ranker

    made = exclusive(60)
    data = lightgbm.Dataset(made.rows, made.right.astype(int), group=made.sizes)
    booster = lightgbm.train({**ranker._SETTINGS, "seed": 0}, data, ranker._TREES)
    asked = np.random.default_rng(1).standard_normal((300, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(fit(made).scores(asked), booster.predict(asked), rtol=1e-5, atol=1e-5)


def test_trees_of_a_constant_and_of_no_candidates():
    flat = Examples(np.zeros((80, WIDTH), np.float32), np.arange(80) % 2 == 0, np.array([40, 40]))
    assert np.ptp(fit(flat).scores(np.ones((5, WIDTH), np.float32))) == 0
    assert fit(exclusive(20)).scores(np.empty((0, WIDTH), np.float32)).shape == (0,)


def test_what_no_sum_tells_is_learned_and_noise_is_not():
    found, other = fit(exclusive(100)), exclusive(100, seed=1)
    sound, taste = (other.rows[:, FEATURES.index(name)] for name in ("sound", "taste"))
    sums = [a * sound + b * taste for a in (-1, 0, 1) for b in (-1, 0, 1)]
    linear = max(precision(score, other.right) for score in sums)
    # a half of what is high in one alone is right, and nothing else
    assert linear < 0.4
    assert precision(found.scores(other.rows), other.right) > 0.45
    blind = fit(exclusive(100, noise=True))
    assert precision(blind.scores(other.rows), other.right) < 0.3


def test_a_ranker_is_kept_as_it_is(tmp_path):
    made = fit(exclusive(40))
    np.savez(tmp_path / "kept.npz", **made.arrays())
    with np.load(tmp_path / "kept.npz", allow_pickle=False) as kept:
        back = Ranker.of_arrays(dict(kept))
    rows = exclusive(3, seed=2).rows
    np.testing.assert_array_equal(back.scores(rows), made.scores(rows))
    assert not back.is_stale
    for changed in ({"features": FEATURES[::-1]}, {"version": 0}):
        assert replace(made, **changed).is_stale
    whole = made.arrays()
    n = len(whole["child"])
    for broken in (
        {"child": np.full(n, n, np.int32)}, {"child": whole["child"][1:]}, {"roots": np.array([-1], np.int32)},
        {"feature": np.full(n, WIDTH, np.int32)}, {"value": np.full(n, np.nan)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="no trees"):
            Ranker.of_arrays(whole | broken)


# ---- worlds


def world(people=240, kinds=True, seed=0):
    """The faithful play two styles, artists again and again; explorers play no style twice: no weights serve both.

    There are 20 styles of five artists of two tracks, and sound tells the style. Without `kinds` plays are drawn.
    """
    rng = np.random.default_rng(seed)
    style, artist = np.repeat(np.arange(20), 10), np.repeat(np.arange(100), 2)
    sound = unit(np.eye(20, 24)[style] + 0.15 * rng.standard_normal((200, 24)))
    rows, items = list[int](), list[int]()
    for person in range(people):
        if not kinds:
            chosen = rng.choice(200, 12, replace=False)
        elif person % 2:
            chosen = np.array([rng.choice(np.flatnonzero(style == one)) for one in rng.permutation(20)[:14]])
        else:
            own = rng.permutation(20)[:2]
            chosen = rng.choice(np.flatnonzero(np.isin(style, own)), 12, replace=False)
        rows += [person] * len(chosen)
        items += chosen.tolist()
    plays = Plays.of(rows, items, np.ones(len(rows)), people, 200)
    return plays, Collection(sound, artist, np.full(200, NOBODY))


def short(monkeypatch):
    """Let little history be enough."""
    monkeypatch.setattr(adopting, "LEAST_PLAYS", 1000)
    monkeypatch.setattr(adopting, "LEAST_ROWS", 100)


@pytest.mark.slow
def test_a_ranker_that_is_better_on_every_split_is_adopted(monkeypatch):
    short(monkeypatch)
    plays, collection = world()
    taste, told = train(plays, collection, "ease")
    assert told["ranker"]["adopted"], told["ranker"]
    assert [one["split"] for one in told["ranker"]["splits"]] == ["cold-artist", "cold-track", "random"]
    for one in told["ranker"]["splits"]:
        assert one["gain"] > one["noise"] > 0
        assert one["ranker"] == pytest.approx(one["score"] + one["gain"])
    assert taste.ranker is not None


@pytest.mark.slow
def test_where_plays_are_noise_the_score_stays(monkeypatch):
    short(monkeypatch)
    plays, collection = world(kinds=False)
    taste, told = train(plays, collection, "ease")
    assert taste.ranker is None
    assert not told["ranker"]["adopted"]
    assert "on the split cold-artist it is no better than the transparent score" in told["ranker"]["why"]


@pytest.mark.slow
def test_an_evaluation_shows_what_a_ranker_would_reach(monkeypatch):
    plays, collection = world()
    parted = divide(plays, np.zeros(0), collection.artists, "cold-artist")
    assert "ranker" not in [row.system for row in judge(plays, parted, collection, "x", method="ease").rows]
    short(monkeypatch)
    table = judge(plays, parted, collection, "x", method="ease")
    assert [row.system for row in table.rows][:3] == ["sound and taste", "ranker", "sound"]
    ranker = table.rows[1]
    assert ranker.difference is not None
    assert ranker.difference > 0.05
    assert (ranker.p or 0) < 0.01


def test_without_history_or_lightgbm_it_says_what_it_takes(monkeypatch):
    plays, collection = world(40)
    taste, told = train(plays, collection, "cosine")
    assert taste.ranker is None
    assert "it takes 30000 plays" in told["ranker"]["why"]
    monkeypatch.setattr(adopting, "enough", lambda _: True)
    monkeypatch.setattr(adopting, "has_lightgbm", lambda: False)
    assert "pip install 'soundkin[rank]'" in train(plays, collection, "cosine")[1]["ranker"]["why"]


def test_better_is_better_than_noise():
    assert Compared("x", 0.1, 0.2, 0.1, 0.05, 100).is_better
    for gain, noise in ((0.04, 0.05), (-0.1, 0.05), (0.0, 0.0)):
        assert not Compared("x", 0.1, 0.1 + gain, gain, noise, 100).is_better
    rng = np.random.default_rng(0)
    score = rng.random(400)
    pair = np.stack([score, score + 0.1 * rng.standard_normal(400)], axis=1)
    told = adopting._compared("x", pair)
    assert told.noise == pytest.approx(1.96 * 0.1 / 20, rel=0.1)  # of a mean of 400
    assert adopting._compared("x", pair[:9]).is_better is False


# ---- leaks


def test_examples_know_nothing_of_what_was_played_later(monkeypatch):
    """What came later is changed, and all that a ranker is told of candidates stays the same, bit for bit."""
    plays, collection = world(200)
    rng = np.random.default_rng(0)
    latest = rng.random(len(plays.items))
    (later, _), *cold = divisions(plays, collection, 0, latest)
    is_cold = np.logical_or.reduce([allowed for _, allowed in cold])
    entries = {(row, item): at for row, item, at in zip(plays.rows, plays.items, latest, strict=True)}
    for row, item in zip(plays.rows[later], plays.items[later], strict=True):
        at = entries.pop((row, item))
        free = [i for i in np.flatnonzero(~is_cold) if (row, i) not in entries]
        entries[row, rng.choice(free)] = at
    order = sorted(entries)
    rows, items = np.array(order).T
    changed = Plays.of(rows, items, np.ones(len(order)), plays.height, plays.width)
    assert (plays.listeners > 0).all()  # so that the same tracks and artists are drawn from both
    assert (changed.listeners > 0).all()
    told = list[Examples]()
    monkeypatch.setattr(adopting, "fit", lambda made, _seed: told.append(made))
    taste = learn(plays, collection, "ease")
    for one, times in ((plays, latest), (changed, np.array([entries[key] for key in order]))):
        adopting.learned(taste, one, collection, "ease", 0, times)
    np.testing.assert_array_equal(told[0].rows, told[1].rows)
    np.testing.assert_array_equal(told[0].sizes, told[1].sizes)
    assert (told[0].right != told[1].right).any()


def test_divisions_are_of_later_times_and_of_other_artists():
    plays, collection = world(80)
    latest = np.random.default_rng(0).random(len(plays.items))
    warm, *cold = divisions(plays, collection, 0, latest)
    assert warm_split(plays, latest, 10) == "time"
    assert latest[warm[0]].min() >= np.quantile(latest, 0.8)
    together = np.sum([entries for entries, _ in (warm, *cold)], axis=0)
    assert together.max() == 1
    for entries, allowed in cold:
        tracks = np.flatnonzero(allowed)
        assert set(plays.items[entries].tolist()) <= set(tracks.tolist())
        left = plays.items[together == 0]
        assert not set(tracks.tolist()) & set(left.tolist())
    artists = set(collection.artists[cold[0][1]].tolist())
    rest = plays.only(together == 0)
    assert not artists & set(collection.artists[rest.items].tolist())  # whole artists
    # and other ones than the ranker is judged by
    for split in ("cold-artist", "cold-track"):
        judged = divide(plays, latest, collection.artists, split, 0).candidates
        assert (judged & cold[0][1]).sum() < judged.sum()


def test_sittings_have_no_later_half():
    plays, _ = world(60)
    assert warm_split(plays, plays.rows.astype(float), 10) == "random"
    assert warm_split(plays, None, 10) == "random"


def test_candidates_that_are_not_brought_come_after_those_that_are(monkeypatch):
    monkeypatch.setattr("soundkin.taste.candidates._BY_SCORE", 20)
    monkeypatch.setattr("soundkin.taste.candidates._BY_SOUND", 10)
    plays, collection = world(60)
    taste = replace(learn(plays, collection, "ease"), ranker=fit(exclusive(40)))
    question = Question.of(taste, Hearing.of(collection.sound), collection.artists, *plays.row(0))
    every = np.ones(200, bool)
    at = question.retrieved(every)
    assert 20 <= len(at) <= 30
    scores = question.ranked(every)
    rest = np.setdiff1d(np.arange(200), at)
    assert scores[at].min() > scores[rest].max()
    order = taste.ranker.scores(question.features(at)) if taste.ranker else scores
    np.testing.assert_array_equal(np.argsort(order, kind="stable"), np.argsort(scores[at], kind="stable"))
    np.testing.assert_array_equal(
        np.argsort(question.fused()[rest], kind="stable"), np.argsort(scores[rest], kind="stable")
    )


# ---- in a library


class Listening(Ranker):
    """Trees that remember what they were told."""

    def scores(self, rows):
        told.append(rows)
        return super().scores(rows)


told = list[np.ndarray]()


@pytest.fixture
def ranked(library):
    """A library that has learned from plays, with any ranker, whose order is by the number of the track."""
    people(library)
    library.train_taste()
    return library


def keep(library, ranker):
    trained = library._kept_taste()
    taste = replace(trained.taste, ranker=ranker)
    save(replace(trained, taste=taste), library.folder / "taste")
    library._trained = None


def test_a_ranker_orders_what_is_recommended_and_reasons_stay(ranked):
    tracks = in_order(ranked)
    likes = tracks[:3]
    before = ranked.recommend(likes, k=8, hybrid=True)
    assert ranked.taste_status()["ranker"]["adopted"] is False
    # one tree of two leaves: what is near to a liked track in taste comes last
    contrary = Ranker(
        np.array([FEATURES.index("near"), 0, 0], np.int32), np.array([0.0, np.inf, np.inf]),
        np.array([1, 1, 2], np.int32), np.array([0.0, 1.0, -1.0]), np.array([0], np.int32),
    )  # fmt: skip
    keep(ranked, contrary)
    after = ranked.recommend(likes, k=8, hybrid=True)
    assert [hit.id for hit in after] != [hit.id for hit in before]
    assert any(word in hit.reasons[0] for hit in after for word in ("sound", "taste", "tags"))
    vectors = dict(zip(*ranked.vectors("taste"), strict=True))
    mine = np.sum([vectors[track.id] for track in likes], axis=0)
    known = [float(vectors[hit.id] @ mine) > 0 for hit in after if hit.id in vectors]
    assert known == sorted(known)
    assert ranked.taste_status()["ranker"]["used"] is True
    keep(ranked, replace(contrary, version=-1))
    assert ranked.recommend(likes, k=8, hybrid=True) == before
    assert ranked.taste_status()["ranker"]["used"] is False
    assert "soundkin taste train" in ranked.taste_status()["ranker"]["why"]


def test_what_was_learned_before_there_was_an_order_says_so(ranked):
    trained = ranked._kept_taste()
    save(
        replace(trained, told={k: v for k, v in trained.told.items() if k != "ranker"}),
        ranked.folder / "taste",
    )
    ranked._trained = None
    told = ranked.taste_status()["ranker"]
    assert told["used"] is False
    assert "soundkin taste train" in told["why"]


def test_serving_tells_a_ranker_what_training_told_it(ranked):
    trained = ranked._kept_taste()
    tracks = in_order(ranked)
    asks = {int(track.id, 16): 2.0 + number for number, track in enumerate(tracks[:4])}
    listening = Listening(*vars(fit(exclusive(20))).values())
    made = replace(trained, taste=replace(trained.taste, ranker=listening))
    one = TasteOfOne(made, asks, (0.0, 1.0), (0.0, 1.0), str)
    sound, nearest = np.random.default_rng(0).random((2, len(trained.numbers)))
    told.clear()
    one.fuse(trained.numbers.tolist(), sound, nearest)
    places = one._places(list(asks))
    weights = np.array(list(asks.values()), np.float32)
    taste = trained.taste
    parts = taste.parts(sound.astype(np.float32), places, weights, trained.artists)
    listener = Listener.of(taste, parts.popularity, places, weights, trained.artists)
    question = Question(taste, parts, nearest.astype(np.float32), places, listener)
    np.testing.assert_allclose(told[0], question.features(np.arange(len(sound))), rtol=1e-5, atol=1e-6)
