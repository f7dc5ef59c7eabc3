"""Taste from plays: models against other implementations, guesses on known constructions, the library from its door."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import API, client_of

from soundkin import cli
from soundkin.cli.tasting import _print_learned
from soundkin.errors import InputError, MissingExtra, NotFound
from soundkin.explore.comparison import compare
from soundkin.record import Track
from soundkin.record.feedback import Feedback, Heard
from soundkin.taste import models
from soundkin.taste.adopting import train
from soundkin.taste.cold import NOBODY, directions, guess, unit
from soundkin.taste.dividing import hold_out
from soundkin.taste.fusing import Parts, Weights, fuse, share, standard
from soundkin.taste.history import weight_of
from soundkin.taste.learning import Collection, learn
from soundkin.taste.matrix import Plays
from soundkin.taste.training import FILE, load, ndcg

DAY = 86_400


def table(dense):
    dense = np.asarray(dense, np.float32)
    rows, items = np.nonzero(dense)
    return Plays.of(rows, items, dense[rows, items], *dense.shape)


def drawn(rows=120, items=30, seed=0, p=0.2):
    return (np.random.default_rng(seed).random((rows, items)) < p).astype(np.float32)


def crowd(rows=150, groups=5, each=12, seed=0):
    """People who each play tracks of one of some groups, and now and then another."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, groups, rows)
    own = np.arange(groups * each) // each == taste[:, None]
    return (rng.random(own.shape) < np.where(own, 0.5, 0.02)).astype(np.float32), taste


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.floats(-2, 9, width=32)), max_size=30),
    st.lists(st.integers(0, 4), max_size=6),
)
def test_a_table_is_what_was_put_into_it(entries, rows):
    rows_, items, weights = ([e[i] for e in entries] for i in range(3))
    plays = Plays.of(rows_, items, weights, 5, 7)
    dense = np.zeros((5, 7))
    for row, item, weight in entries:
        dense[row, item] += weight
    dense = np.maximum(dense.astype(np.float32), 0)

    def back(made):
        out = np.zeros((made.height, 7), np.float32)
        out[made.rows, made.items] = made.weights
        return out

    np.testing.assert_array_equal(back(plays), dense)
    np.testing.assert_array_equal(back(plays.some(rows)), dense[rows])
    assert plays.listeners.tolist() == (dense > 0).sum(axis=0).tolist()
    keep = np.arange(len(plays.items)) % 2 == 0
    assert back(plays.only(keep)).sum() == pytest.approx(plays.weights[keep].sum())


def test_cosine_is_that_of_scikit_learn():
    from sklearn.metrics.pairwise import cosine_similarity

    dense = drawn()
    wanted = cosine_similarity(dense.T)
    np.fill_diagonal(wanted, 0)
    model = models.fit(table(dense), "cosine")
    for item in range(30):
        one = model.scores(np.array([item]), np.ones(1, np.float32))
        np.testing.assert_allclose(one, wanted[item], atol=1e-6)


def test_ease_solves_the_regression_of_each_track_on_the_others():
    dense = drawn()
    model = models.fit(table(dense), "ease")
    found = np.stack([model.scores(np.array([i]), np.ones(1, np.float32)) for i in range(30)])
    for item in range(30):
        rest = np.delete(np.arange(30), item)
        x = dense[:, rest].astype(np.float64)
        wanted = np.linalg.solve(x.T @ x + 100 * np.eye(29), x.T @ dense[:, item])
        np.testing.assert_allclose(found[rest, item], wanted, atol=1e-5)
    assert not np.diag(found).any()


def test_somebody_new_is_folded_in_as_implicit_does_it():
    als = pytest.importorskip("implicit.als")
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    factors = rng.standard_normal((30, 64)).astype(np.float32)
    items, weights = np.array([3, 7, 20]), np.array([1, 2, 9], np.float32)
    made = als.AlternatingLeastSquares(64, regularization=0.05, alpha=1.0)
    made.item_factors, made.user_factors = factors, np.zeros((1, 64), np.float32)
    # implicit takes the confidence itself, of which 1 is what an unheard track has
    confidence = 1 + models._ALPHA * np.log2(1 + weights)
    row = csr_matrix((confidence.astype(np.float32), (np.zeros(3, int), items)), (1, 30))
    wanted = made.recalculate_user(0, row)
    np.testing.assert_allclose(
        models.fold_in(factors, items, weights), wanted, atol=1e-3
    )  # it solves approximately


@pytest.mark.parametrize("method", models.METHODS)
def test_every_model_finds_what_goes_together(method):
    if method in ("als", "bpr"):
        pytest.importorskip("implicit")
    dense, taste = crowd()
    plays = table(dense)
    model = models.fit(plays, method, seed=1)
    of = np.arange(60) // 12
    right = []
    for row in range(40):
        items, weights = plays.row(row)
        scores = model.scores(items, weights)
        scores[items] = -np.inf
        right.append(of[np.argsort(-scores)[:4]] == taste[row])
        place = model.why(items, weights, int(scores.argmax()))
        assert place == -1 or 0 <= place < len(items)
    assert np.mean(right) > (0.6 if method == "bpr" else 0.9)  # by chance 0.2; bpr wants more to learn from


def test_the_method_follows_the_size():
    assert models.method_for(table(drawn(20)), True) == "cosine"
    assert models.method_for(table(drawn(100)), True) == "ease"
    many = Plays.of(np.repeat(np.arange(60), 9000), np.tile(np.arange(9000), 60), np.ones(540_000), 60, 9000)
    assert models.method_for(many, True) == "als"
    assert models.method_for(many, False) == "ease"


def test_without_the_extra_the_command_to_get_it_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "implicit.als", None)
    with pytest.raises(MissingExtra, match=r"pip install 'soundkin\[cf\]'"):
        models.fit(table(drawn()), "als")
    with pytest.raises(InputError, match="wanted one of"):
        models.fit(table(drawn()), "magic")


# ---- guesses


def songs(heard, n=600, artists=120, seed=0):
    """Taste vectors of tracks whose artists share a taste, and sound that tells them, or does not."""
    rng = np.random.default_rng(seed)
    artist = rng.integers(0, artists, n)
    of = rng.standard_normal((artists, 64))
    known = unit(of[artist] + 0.3 * rng.standard_normal((n, 64)))
    mixing = rng.standard_normal((64, 40))
    sound = known @ mixing if heard else rng.standard_normal((n, 40))
    return known, unit(sound + 0.1 * rng.standard_normal((n, 40))), artist


def test_sound_tells_taste_where_it_can_be_heard():
    known, sound, artist = songs(heard=True)
    cold = artist < 20
    listeners = np.where(cold, 0, 50)
    found = guess(np.where(cold[:, None], 0, known), listeners, sound, artist, np.full(600, NOBODY))
    cosine = (found.vectors * known).sum(axis=1)
    assert cosine[cold].mean() > 0.5
    assert abs(found.by_sound - cosine[cold].mean()) < 0.15  # as sure as it says
    np.testing.assert_allclose(found.trust[cold], found.by_sound, rtol=1e-5)


def test_where_taste_cannot_be_heard_guesses_from_sound_count_for_nothing():
    known, sound, artist = songs(heard=False)
    cold = artist < 20
    found = guess(
        np.where(cold[:, None], 0, known), np.where(cold, 0, 50), sound, artist, np.full(600, NOBODY)
    )
    assert found.by_sound == 0
    assert not found.trust[cold].any()
    some = np.flatnonzero(artist >= 20)[::7]  # others of a known artist are told by it all the same
    listeners = np.full(600, 50)
    listeners[some] = 0
    hidden = known.copy()
    hidden[some] = 0
    again = guess(hidden, listeners, sound, artist, np.full(600, NOBODY))
    assert (again.vectors[some] * known[some]).sum(axis=1).mean() > 0.8
    assert again.by_artist > 0.8


def test_what_an_artist_tells_is_measured_on_tracks_that_were_held_out():
    rng = np.random.default_rng(0)
    artist = rng.integers(0, 200, 400)
    known = unit(0.4 * rng.standard_normal((200, 64))[artist] + rng.standard_normal((400, 64)))
    sound = unit(known @ rng.standard_normal((64, 200)) + rng.standard_normal((400, 200)))
    cold = rng.random(400) < 0.25
    hidden = np.where(cold[:, None], 0, known)
    found = guess(hidden, np.where(cold, 0, 50), sound, artist, np.full(400, NOBODY))
    asked = cold & np.isin(artist, artist[~cold])
    truth = (found.vectors[asked] * known[asked]).sum(axis=1).mean()
    assert abs(found.by_artist - truth) < 0.05  # on tracks that the regression has seen it is 0.1 more


def test_directions_are_the_same_for_tracks_that_are_played_together():
    plays = table(crowd()[0])
    found = directions(plays, models.fit(plays, "cosine"))
    of = np.arange(60) // 12
    cosines = found @ found.T
    same = of[:, None] == of
    assert cosines[same & ~np.eye(60, dtype=bool)].mean() > 0.5 > 0.1 > cosines[~same].mean()


# ---- fusing


def parts(**given_):
    rng = np.random.default_rng(0)
    made = {name: standard(rng.random(50)) for name in ("sound", "taste", "artist", "popularity")}
    return Parts(**{**made, "trust": np.ones(50, np.float32), "person": 1.0, **given_})


def test_without_evidence_sound_decides_alone():
    weights = Weights(0.8, 0.3, 0.3)
    nobody = parts(person=0.0)
    np.testing.assert_allclose(fuse(nobody, weights), nobody.sound, rtol=1e-6)
    unknown = parts(trust=np.zeros(50, np.float32))
    np.testing.assert_allclose(fuse(unknown, Weights(0.8)), unknown.sound, rtol=1e-6)
    half = parts(trust=np.full(50, 0.5, np.float32), person=0.5)
    np.testing.assert_allclose(share(half, Weights(0.8)), 0.2)
    np.testing.assert_allclose(fuse(half, Weights(0.8)), 0.8 * half.sound + 0.2 * half.taste, rtol=1e-5)


@given(st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_standard_scores_are_finite(values):
    found = standard(np.array(values))
    assert np.isfinite(found).all()
    assert abs(found.mean() if len(found) else 0) < 1e-3


def test_training_measures_the_parts_and_weighs_them():
    dense, _ = crowd(200)
    rng = np.random.default_rng(0)
    deaf = Collection(unit(rng.standard_normal((60, 16))), np.full(60, NOBODY), np.full(60, NOBODY))
    learned, told = train(table(dense), deaf, "ease")
    assert told["taste"] > 3 * told["sound"]
    assert told["together"] >= max(told["sound"], told["taste"]) - 1e-9
    assert learned.weights.taste >= 0.8
    # and where plays say nothing, but sound tells the groups
    noise = (rng.random(dense.shape) < dense.mean()).astype(np.float32)
    told = train(table(noise), deaf, "cosine")[1]
    assert abs(told["taste"] - told["sound"]) < 0.1


def test_what_is_hidden_is_a_fifth_of_each_row():
    plays = table(drawn(80, 40))
    hidden = hold_out(plays, 0)
    sizes, gone = plays.sizes, plays.only(hidden).sizes
    assert (gone == np.where(sizes >= 3, np.maximum(1, sizes // 5), 0)).all()


def test_rows_of_two_tracks_leave_nothing_to_measure_and_that_is_told():
    plays = table(np.eye(40)[:20] + np.eye(40)[20:])
    nobody = np.full(40, NOBODY)
    with pytest.raises(InputError, match="none of 20 rows of plays has three tracks"):
        train(plays, Collection(np.zeros((40, 4), np.float32), nobody, nobody), "cosine")


def test_ndcg_is_that_of_scikit_learn():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, right = rng.random(50), rng.choice(50, 7, replace=False)
        gains = np.isin(np.arange(50), right).astype(float)
        wanted = ndcg_score(gains[None], scores[None], k=20)
        assert ndcg(scores, np.empty(0, np.int64), right) == pytest.approx(wanted)


def test_somebody_of_whom_nothing_is_known_gets_a_defined_answer():
    plays = table(crowd()[0])
    rng = np.random.default_rng(0)
    collection = Collection(unit(rng.standard_normal((60, 8))), np.full(60, NOBODY), np.full(60, NOBODY))
    learned = learn(plays, collection, "cosine")
    nothing = np.empty(0, np.int64)
    made = learned.parts(np.zeros(60, np.float32), nothing, np.empty(0, np.float32), collection.artists)
    assert made.person == 0
    assert np.isfinite(fuse(made, Weights(1.0, 1.0, 1.0))).all()


# ---- history


def test_what_is_disliked_weighs_nothing():
    assert weight_of(Heard("", "dislike", 9, 0, 0.0)) == 0
    assert weight_of(Heard("", "", 2, 5, 0.0)) == 0
    assert weight_of(Heard("", "like", 2, 1, 0.0)) == 4


def in_order(library):
    """One track of each title, in an order that does not depend on ids."""
    found = dict[str, Track]()
    for track in sorted(library.tracks(), key=lambda t: ("copies" in t.path, t.path)):
        found.setdefault(track.title, track)
    return [track for title, track in found.items() if title]


def tell(library, events):
    from soundkin.record import Record

    with Record.open_to_note(library.folder) as record:
        record.add_events(events)


def people(library, n=30, seed=0):
    """Let people play: the even ones tracks of one half, the odd ones of the other; nobody plays the last two."""
    tracks = in_order(library)[:-2]
    rng = np.random.default_rng(seed)
    half = len(tracks) // 2
    events = []
    for person in range(n):
        own = tracks[:half] if person % 2 == 0 else tracks[half:]
        for place, track in enumerate(own):
            if rng.random() < 0.8:
                events.append((f"p{person}", Feedback(track.id, "play", 1e9 + DAY * person + 300 * place)))
    tell(library, events)
    return tracks, half


@pytest.fixture
def told(library):
    return people(library)


def test_taste_is_learned_kept_and_asked(library, told):
    tracks, half = told
    figures = library.train_taste()
    assert (figures["rows"], figures["height"], figures["method"]) == ("people", 30, "cosine")
    assert figures["taste"] > figures["popularity"]
    ids, vectors = library.vectors("taste")
    assert {t.id for t in tracks} <= set(ids)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert library.space().encoder == "cnn"  # taste answers only when it is asked for
    near = library.similar(tracks[0], 5, space="taste")
    same = {t.id for t in tracks[:half]}
    assert sum(hit.id in same for hit in near) >= 4
    revision = library._reader().revision
    library.train_taste()
    assert library._reader().revision > revision
    assert library.vectors("taste")[0] == ids
    assert len(library._reader().spaces()) == 3


def test_hybrid_brings_what_such_people_play_and_says_so(library, told):
    tracks, half = told
    library.train_taste()
    library.create_profile("me")
    library.feedback("like", tracks[:3], "me")
    hits = library.recommend(profile="me", k=6, hybrid=True)
    share = Counter(hit.id in {t.id for t in tracks[:half]} for hit in hits)
    alone = Counter(hit.id in {t.id for t in tracks[:half]} for hit in library.recommend(profile="me", k=6))
    assert share[True] >= max(4, alone[True])
    assert not {t.id for t in tracks[:3]} & {hit.id for hit in hits}
    spoke = [hit for hit in hits if any(reason.startswith("goes with ") for reason in hit.reasons)]
    assert spoke
    assert all("taste" in hit.reasons[0] for hit in spoke)
    filtered = library.recommend(profile="me", k=6, hybrid=True, filters=f"artist={hits[0].artist}")
    assert {hit.artist for hit in filtered} == {hits[0].artist}


def test_the_api_says_what_was_learned_and_to_whom_it_speaks(library, told):
    tracks, _ = told
    assert library.taste_status()["learned"] is False
    trained = library.train_taste()
    library.create_profile("me")
    with client_of(library.folder) as client:
        status = client.get(f"{API}/taste", params={"profile": "me"}).json()
        assert (status["learned"], status["height"], status["rows"]) == (True, 30, "people")
        assert status["vectors"] == trained["vectors"]
        assert status["ranker"] is False
        assert "played by anybody" in status["why_not"]
        library.feedback("like", tracks[:3], "me")
        assert client.get(f"{API}/taste", params={"profile": "me"}).json()["why_not"] == ""
        answer = client.post(f"{API}/recommend", json={"profile": "me", "k": 6, "hybrid": True}).json()
        assert "by sound alone" not in answer["note"]
        assert [hit["id"] for hit in answer["hits"]] == [
            hit.id for hit in library.recommend(profile="me", k=6, hybrid=True)
        ]


def test_tracks_that_came_after_the_training_are_known_by_sound(library, told):
    tracks, _ = told
    library.train_taste()
    kept = library._kept_taste()
    gone = kept.numbers != int(tracks[1].id, 16)
    assert gone.sum() == len(gone) - 1
    library.remove([tracks[1].id])  # and one that is gone is no answer
    hits = library.recommend([tracks[0]], k=10, hybrid=True)
    assert hits
    assert tracks[1].id not in {hit.id for hit in hits}


def test_taste_is_not_heard_in_files(library, told, made):
    tracks, _ = told
    library.train_taste()
    for ask in (
        lambda: library.hear(made.outside, "taste"),
        lambda: library.similar(made.outside, 3, space="taste"),
    ):
        with pytest.raises(NotFound, match="another space"):
            ask()
    found = compare(library, [tracks[0].id, made.outside])
    np.testing.assert_array_equal(
        np.isnan(found.similar[library.space("taste").id]), [[False, True], [True, True]]
    )


def test_hybrid_without_taste_is_sound_alone_and_says_so(library, capsys):
    track = in_order(library)[0]
    with pytest.raises(InputError, match="hybrid goes with the strategy agreement"):
        library.recommend([track], strategy="best", hybrid=True)
    assert library.recommend([track], hybrid=True) == library.recommend([track])
    with pytest.raises(SystemExit, match="0"):
        cli.main(["recommend", "--like", track.id, "--hybrid", "--library", str(library.folder)])
    assert "by sound alone: nothing was learned from plays yet" in capsys.readouterr()[1]
    with pytest.raises(InputError, match="too little is known of who plays what"):
        library.train_taste()
    library.feedback("play", [track])  # one person, one play
    with pytest.raises(InputError, match="too little is known of who plays what"):
        library.train_taste()


def test_hybrid_without_a_like_is_told_as_without_hybrid(library, told):
    tracks, _ = told
    library.train_taste()
    for dislikes in (tracks[:0], tracks[:1]):
        with pytest.raises(InputError, match="nothing to go by"):
            library.recommend(dislikes=dislikes, hybrid=True)


def test_a_file_from_outside_was_played_by_nobody(library, told, made, tmp_path, monkeypatch):
    tracks, _ = told
    library.train_taste()
    assert library.why_no_taste(likes=[tracks[0].id]) == ""
    assert "played by anybody" in library.why_no_taste(likes=[made.outside])
    assert library.recommend([made.outside], hybrid=True) == library.recommend([made.outside])
    monkeypatch.chdir(tmp_path)
    (tmp_path / tracks[0].title).touch()  # called like a track that is here
    assert "played by anybody" in library.why_no_taste(likes=[tracks[0].title])


def test_what_was_learned_and_is_damaged_is_as_if_nothing_was(library, told):
    library.train_taste()
    file = library.folder / "taste" / FILE
    whole = file.read_bytes()
    for n in (0, 3, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:n])
        assert load(file.parent) is None, n
    library._trained = None
    assert "soundkin taste train" in library.why_no_taste()
    file.write_bytes(whole)
    assert load(file.parent) is not None


def test_one_person_is_learned_from_by_sittings(library):
    tracks = in_order(library)
    events = [
        ("default", Feedback(track.id, "play", 1e9 + DAY * sitting + 200 * place))
        for sitting in range(12)
        for place, track in enumerate(tracks[sitting % 2 :: 2])
    ]
    tell(library, events)
    figures = library.train_taste()
    assert (figures["rows"], figures["height"]) == ("sessions", 12)
    near = library.similar(tracks[0], 5, space="taste")
    assert {hit.id for hit in near} <= {t.id for t in tracks[::2]}


def test_bots_are_left_out(library, told):
    tracks, _ = told
    events = [("bot", Feedback(tracks[n % len(tracks)].id, "play", 1e9 + 8 * n)) for n in range(10_000)]
    tell(library, events)
    figures = library.train_taste()
    assert (figures["bots"], figures["height"]) == (1, 30)


def test_who_has_played_everything_says_nothing_of_what_goes_together(library, told, monkeypatch):
    tracks = in_order(library)
    tell(library, [("all", Feedback(track.id, "play", 1e9 + 300 * i)) for i, track in enumerate(tracks)])
    figures = library.train_taste()
    assert (figures["omnivores"], figures["height"]) == (0, 31)  # of a small library anybody may know half
    monkeypatch.setattr("soundkin.taste.history._LARGE", 5)
    figures = library.train_taste()
    assert (figures["omnivores"], figures["height"]) == (1, 30)


def test_people_who_all_have_played_everything_once_are_learned_from_without_harm(library):
    tracks = in_order(library)
    tell(
        library,
        [
            (f"p{person}", Feedback(track.id, "play", 1e9 + DAY * person + 300 * i))
            for person in range(12)
            for i, track in enumerate(tracks)
        ],
    )
    figures = library.train_taste()
    assert (figures["rows"], figures["height"], figures["tracks"]) == ("people", 12, len(tracks))
    hits = library.recommend([tracks[0]], k=5, hybrid=True)
    assert len(hits) == 5
    assert np.isfinite([hit.similarity for hit in hits]).all()


def test_one_person_with_one_track_again_and_again_is_too_little(library):
    track = in_order(library)[0]
    tell(library, [("default", Feedback(track.id, "play", 1e9 + DAY * i)) for i in range(100)])
    with pytest.raises(InputError, match="0 people and 0 sessions"):
        library.train_taste()


def test_the_commands_train_and_recommend(library, told, capsys):
    tracks, _ = told
    home = ["--library", str(library.folder)]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["taste", "train", *home])
    out, _ = capsys.readouterr()
    assert "by cosine" in out
    assert "nDCG@20" in out
    with pytest.raises(SystemExit, match="0"):
        cli.main(["taste", "train", "--json", *home])
    assert json.loads(capsys.readouterr()[0])["height"] == 30
    with pytest.raises(SystemExit, match="0"):
        cli.main(["taste", "status", "--json", *home])
    status = json.loads(capsys.readouterr()[0])
    assert (status["learned"], status["height"], status["ranker"]["used"]) == (True, 30, False)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["taste", "status", "--profile", "p0", *home])
    shown = capsys.readouterr()[0]
    assert "by cosine" in shown
    assert "not by a learned order: it takes 30000 plays" in shown
    assert "to p0: by sound and taste" in shown
    with pytest.raises(SystemExit, match="0"):
        cli.main(["recommend", "--like", tracks[0].id, "--hybrid", "--json", *home])
    out, err = capsys.readouterr()
    assert err == ""
    assert [hit["id"] for hit in json.loads(out)["hits"]] == [
        hit.id for hit in library.recommend([tracks[0]], hybrid=True)
    ]


@pytest.mark.parametrize(
    ("many", "rows", "said"),
    [
        (1, "people", "from 1 play of 1 track by 1 person; 1 taste vector"),
        (1, "sessions", "from 1 play of 1 track by 1 session; 1 taste vector"),
        (2, "people", "from 2 plays of 2 tracks by 2 people; 2 taste vectors"),
    ],
)
def test_one_is_not_told_as_many(many, rows, said, capsys):
    told = dict.fromkeys(("entries", "tracks", "height", "vectors"), many)
    _print_learned({**told, "method": "cosine", "rows": rows})
    assert capsys.readouterr().out == f"learned by cosine {said}\n"
