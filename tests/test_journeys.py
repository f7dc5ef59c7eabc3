"""Paths, radios and mixes, on libraries whose answers are known from how they were made."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from exact_index import ExactIndex
from hypothesis import given
from hypothesis import strategies as st
from test_blend import SPACE, D, World, fill, unit
from test_record import song

from soundkin.errors import InputError
from soundkin.filters import HasId, Match, matches
from soundkin.index.follow import catch_up, dims_of
from soundkin.recommend import Closeness, Query, Seeds, Variety, recommend
from soundkin.recommend.clusters import group
from soundkin.recommend.journeys import LONGEST, travel
from soundkin.recommend.mixes import MOODS, cut, mood
from soundkin.recommend.pieces import Piece, are_versions, split_title
from soundkin.recommend.radio import Radio
from soundkin.recommend.variety import FREE
from soundkin.recommend.versions import RECORDING, VERSION, duplicates
from soundkin.record import Record

NOTHING = HasId(frozenset())


class Arc(World):
    """A library along a quarter of a circle: track i at i degrees, with a little of its own beside."""

    def __init__(self, folder, artists=None):
        angle = np.radians(np.arange(91))
        self.rows = 0.05 * unit(np.random.default_rng(0).normal(size=(91, D)))
        self.rows[:, 0] += np.cos(angle)
        self.rows[:, 1] += np.sin(angle)
        self.rows = unit(self.rows)
        self.record = Record.open(folder / "library", write=True)
        self.ids = fill(self.record, self.rows, [0] * 91, artists)
        self.usual = Closeness.of(self.rows)
        self.index = ExactIndex(dims_of(self.record))
        catch_up(self.index, self.record)
        self.place = {id_: i for i, id_ in enumerate(self.ids)}

    def travel(self, a, b, n, **more):
        return travel(self.record, self.index, SPACE, self.query(a), self.query(b), n, self.usual, **more)

    def places(self, hits):
        return [self.place[hit.id] for hit in hits]


@pytest.fixture(scope="module")
def arc(tmp_path_factory):
    made = Arc(tmp_path_factory.mktemp("arc"))
    yield made
    made.record.close()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """The same, where the middle third is by one artist."""
    names = [f"a{i}" if not 30 <= i < 60 else "everywhere" for i in range(91)]
    made = Arc(tmp_path_factory.mktemp("crowded"), names)
    yield made
    made.record.close()


def test_a_path_begins_and_ends_where_it_should_and_steps_evenly(arc):
    places = arc.places(arc.travel(5, 85, 9).hits)
    assert (places[0], places[-1], len(places)) == (5, 85, 9)
    steps = np.diff(places)
    assert (steps > 0).all()
    assert steps.max() <= 16  # an even step is 10 degrees


def test_the_similarity_of_a_step_is_that_of_its_two_tracks(arc):
    hits = arc.travel(5, 85, 9).hits
    for a, b in itertools.pairwise(hits):
        cosine = float(arc.rows[arc.place[a.id]] @ arc.rows[arc.place[b.id]])
        assert b.cosine == pytest.approx(cosine, abs=1e-3)


def test_a_seed_makes_another_path_and_the_same_one_again(arc):
    paths = [tuple(arc.places(arc.travel(5, 85, 9, seed=seed).hits)) for seed in (1, 1, 2, 3, 4)]
    assert paths[0] == paths[1]
    assert len(set(paths)) > 2
    for path in paths:
        assert path[0] == 5
        assert path[-1] == 85
        assert len(set(path)) == 9


def test_no_artist_floods_a_path(crowded):
    def most(rules):
        hits = crowded.travel(20, 70, 14, rules=rules).hits
        assert len(hits) == 14
        return sum(hit.artist == "everywhere" for hit in hits)

    assert most(Variety(per_artist=2, window=14)) <= 2
    assert most(Variety(per_artist=99, window=14)) > 5


def test_every_engine_goes_the_same_way(worlds_of_blend):
    ways = []
    for world in worlds_of_blend.values():
        hits = travel(world.record, world.index, SPACE, world.query(0), world.query(200), 8, world.usual).hits
        ways.append([hit.id for hit in hits])
    assert ways[0] == ways[1] == ways[2]


@pytest.fixture(scope="module")
def worlds_of_blend(tmp_path_factory):
    from test_blend import engine_of

    made = World(tmp_path_factory.mktemp("world"))
    all_ = {"exact": made}
    for name in ("edge", "server"):
        all_[name] = World.__new__(World)
        all_[name].__dict__.update(made.__dict__)
        all_[name].index = engine_of(name, tmp_path_factory.mktemp(name), made.record)
    yield all_
    for world in all_.values():
        world.index.close()
    made.record.close()


def test_two_tracks_are_a_path(arc):
    assert arc.places(arc.travel(5, 85, 2).hits) == [5, 85]


def test_a_path_to_where_it_begins_is_refused(arc):
    with pytest.raises(InputError, match="same recording"):
        arc.travel(5, 5, 9)
    again = replace(arc.query(6), like=replace(arc.query(6).like, content=arc.query(5).like.content))
    with pytest.raises(InputError, match="same recording"):
        travel(arc.record, arc.index, SPACE, arc.query(5), again, 9, arc.usual)


@pytest.mark.parametrize("n", [1, 0, LONGEST + 1])
def test_paths_without_a_length_are_refused(arc, n):
    with pytest.raises(InputError, match=f"n={n}"):
        arc.travel(5, 85, n)


def test_where_nothing_lies_between_there_is_a_jump(arc):
    journey = arc.travel(0, 90, 9, where=NOTHING)
    assert arc.places(journey.hits) == [0, 90]
    assert journey.jumps == [1]  # a right angle: less alike than tracks of this library usually are
    assert arc.travel(40, 45, 9, where=NOTHING).jumps == []


def test_a_path_longer_than_what_passes_takes_all_of_it(arc):
    few = HasId(frozenset(int(arc.ids[i], 16) for i in (20, 40, 60)))
    journey = arc.travel(5, 85, 12, where=few)
    assert arc.places(journey.hits) == [5, 20, 40, 60, 85]


# ---- radio


def radio(world, home, **more):
    return Radio(world.record, world.index, SPACE, [world.query(i) for i in home], world.usual, **more)


def test_a_radio_stays_near_and_repeats_nothing(world_of_styles):
    world = world_of_styles
    hits = list(itertools.islice(radio(world, [0]), 15))
    assert len({hit.id for hit in hits}) == 15
    assert world.ids[0] not in {hit.id for hit in hits}
    assert np.mean([world.styles[world.place[hit.id]] == world.styles[0] for hit in hits]) > 0.8


@pytest.fixture(scope="module")
def world_of_styles(worlds_of_blend):
    return worlds_of_blend["exact"]


def test_a_radio_follows_what_is_liked(world_of_styles):
    world, other = world_of_styles, 100
    queue = radio(world, [0])
    next(queue)
    hit = world.ask([other], k=1)[0]
    queue.like(hit)
    styles = world.styles_of(itertools.islice(queue, 20))
    assert styles.count(world.styles[other]) >= 6


def test_a_radio_leaves_what_is_disliked_or_skipped(world_of_styles):
    world = world_of_styles

    def share(react):
        queue = radio(world, [0, 100])
        counts = []
        for hit in itertools.islice(queue, 30):
            is_other = world.styles[world.place[hit.id]] == world.styles[100]
            counts.append(is_other)
            if is_other:
                react(queue)
        return np.mean(counts[10:])

    usual, skipped, disliked = (share(react) for react in (lambda q: None, Radio.skip, Radio.dislike))
    assert usual > 0.3
    assert skipped < usual
    assert disliked < 0.5 * usual


def test_skips_do_not_make_a_radio_forget_what_to_keep_away_from(world_of_styles):
    """Of two styles one is disliked from the start; then much else is skipped."""
    world = world_of_styles
    away = [(world.query(i), 1.0) for i in range(101, 106)]

    def share(avoided):
        queue = radio(world, [0, 100], avoided=avoided)
        for i in range(200, 215):
            queue.skip(world.ask([i], k=1)[0])
        return np.mean([style == world.styles[100] for style in world.styles_of(itertools.islice(queue, 20))])

    assert share(away) < 0.5 * share([])


def test_what_is_unwanted_never_comes(world_of_styles):
    world = world_of_styles
    few = HasId(frozenset(int(world.ids[i], 16) for i in range(8)))
    queue = radio(world, [0], where=few, unwanted=[int(world.ids[i], 16) for i in (1, 2)])
    assert {world.place[hit.id] for hit in itertools.islice(queue, 20)} == {3, 4, 5, 6, 7}


def test_a_disliked_track_never_comes_again(world_of_styles):
    world = world_of_styles
    few = HasId(frozenset(int(world.ids[i], 16) for i in range(8)))
    queue = radio(world, [0], where=few)
    gone = next(queue)
    queue.dislike()
    assert gone.id not in {hit.id for hit in itertools.islice(queue, 40)}


def test_in_a_small_library_a_radio_comes_round_again(world_of_styles):
    world = world_of_styles
    few = HasId(frozenset(int(world.ids[i], 16) for i in range(1, 6)))
    hits = list(itertools.islice(radio(world, [0], where=few), 50))
    assert len(hits) == 50
    assert {world.place[hit.id] for hit in hits} == {1, 2, 3, 4, 5}
    assert all(a.id != b.id for a, b in itertools.pairwise(hits))


def test_a_radio_ends_when_nothing_passes(world_of_styles):
    assert list(radio(world_of_styles, [0], where=NOTHING)) == []


def test_a_radio_tells_what_happens(world_of_styles):
    told = []
    queue = radio(world_of_styles, [0], note=lambda what, track: told.append((what, track.id)))
    a, b = next(queue), next(queue)
    queue.skip()
    queue.like(a)
    queue.dislike(b)
    assert told == [("play", a.id), ("play", b.id), ("skip", b.id), ("like", a.id), ("dislike", b.id)]


def test_nothing_can_be_said_before_anything_was_played(world_of_styles):
    with pytest.raises(InputError, match="nothing was played"):
        radio(world_of_styles, [0]).skip()
    with pytest.raises(InputError, match="begin with"):
        radio(world_of_styles, [])


def test_a_seed_makes_another_radio(world_of_styles):
    orders = [
        tuple(hit.id for hit in itertools.islice(radio(world_of_styles, [0], seed=seed), 12))
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_a_radio_keeps_the_rules(worlds_of_blend, tmp_path):
    made = Arc(tmp_path, [f"artist{i % 5}" for i in range(91)])
    rules = Variety(per_artist=1, window=4)
    artists = [hit.artist for hit in itertools.islice(radio(made, [0], rules=rules), 40)]
    assert all(len(set(artists[i : i + 4])) == 4 for i in range(len(artists) - 3))
    made.record.close()


# ---- mixes


def values_of(field):
    return {"energy": np.arange(101) / 100, "bpm": np.arange(60.0, 161), "loudness": -np.arange(101.0)}[field]


KEYS = ["A minor", "C major", "Eb major"]


@pytest.mark.parametrize(
    ("words", "payload", "fits"),
    [
        (["calm"], {"energy": 0.3}, True),
        (["calm"], {"energy": 0.31}, False),
        (["Energetic"], {"energy": 0.7}, True),
        (["energetic"], {"energy": 0.69}, False),
        (["fast"], {"bpm": 130.0}, True),
        (["happy"], {"energy": 0.6, "key": "C major"}, True),
        (["happy"], {"energy": 0.6, "key": "A minor"}, False),
        (["sad", "slow"], {"energy": 0.2, "key": "A minor", "bpm": 70.0}, True),
        (["sad", "slow"], {"energy": 0.2, "key": "A minor", "bpm": 120.0}, False),
        (["focus"], {"energy": 0.2, "duration": 100.0}, False),
        (["party"], {"energy": 0.8, "bpm": 141.0}, False),
        (["calm"], {}, False),
    ],
)
def test_moods_are_shares_of_the_library(words, payload, fits):
    where = mood(words, values_of, KEYS)
    assert where is not None
    assert matches(where, payload, 0) is fits


def test_every_mood_is_a_filter_also_where_nothing_is_known():
    for word in MOODS:
        assert mood([word], values_of, KEYS) is not None
        where = mood([word], lambda field: np.zeros(0), [])
        assert where is not None
        assert not matches(where, {"key": "C", "duration": 300.0}, 0)
    assert mood([], values_of, KEYS) is None


def test_an_unknown_mood_names_the_nearest():
    with pytest.raises(InputError, match="nearest: calm"):
        mood(["clam"], values_of, KEYS)


def test_clusters_are_the_styles_that_were_made(world_of_styles):
    found = group(world_of_styles.rows)
    sizes = np.bincount(found)
    assert sizes.tolist() == sorted(sizes, reverse=True)
    pure = sum(np.bincount(world_of_styles.styles[found == number]).max() for number in range(len(sizes)))
    assert pure / len(found) > 0.9


def test_equal_tracks_are_one_cluster():
    assert np.bincount(group(np.full((40, 4), 0.5, np.float32))).tolist() == [40]


@given(st.lists(st.floats(1, 900), max_size=60), st.floats(1, 7200))
def test_a_cut_comes_near_its_length(seconds, length):
    taken = cut(seconds, float, length)
    total = sum(taken)
    if sum(seconds) >= length and taken:
        assert total < 2 * length
    left = list(seconds)
    for one in taken:
        left.remove(one)  # each is taken once, in order
    if total < length:  # then what is left is all too long
        assert all(total + one - length >= length - total for one in left)


# ---- versions


@pytest.mark.parametrize(
    ("title", "piece", "marks"),
    [
        ("Blue Sky", "blue sky", ()),
        ("Blue Sky (Live at Home) [2011 Remaster]", "blue sky", ("live",)),
        ("Blue Sky - Radio Edit", "blue sky", ("edit", "radio")),
        ("BLUE SKY (DJ X Remix)", "blue sky", ("remix",)),
        ("Blue Sky (feat. Somebody)", "blue sky", ()),
        ("Blue Sky - 2009 Remastered Version", "blue sky", ("version",)),
        ("Live and Let Die", "live and let die", ()),
        ("(Live)", "live", ("live",)),
        ("Blue (Is a Sky)", "blue is a sky", ()),
        ("Alive (Part 2)", "alive part 2", ()),
        ("", "", ()),
    ],
)
def test_titles_are_a_piece_and_a_version(title, piece, marks):
    assert split_title(title) == (piece, marks)


def test_versions_are_of_one_artist_and_sound_alike(tmp_path):
    rng = np.random.default_rng(0)
    base = unit(rng.normal(size=D))
    with Record.open(tmp_path, write=True) as record:
        record.add_space(SPACE)
        rows = [
            ("A", "Song", base, 200.0), ("A", "Song (Live)", unit(base + 0.4 * unit(rng.normal(size=D))), 260.0),
            ("A", "Song (Remix)", -base, 300.0), ("B", "Song", base, 400.0), ("A", "Other", base, 500.0),
        ]  # fmt: skip
        ids = []
        for i, (artist, title, row, seconds) in enumerate(rows):
            made = song(f"/m/{i}.mp3", f"{i:032x}", spaces=(), title=title, artist=artist)
            made.duration, made.vectors = seconds, {SPACE.id: row}
            ids.append(record.put(made))
        (group,) = duplicates(record, SPACE.id)
        assert group.kind == VERSION
        assert {track.id for track in group.tracks} == set(ids[:2])
        assert "titles say live" in group.pairs[0].evidence


@pytest.mark.parametrize(
    ("a", "b", "artist", "cosine", "is_one"),
    [
        ("celtic", "celtic_fast", "A", 0.9, True), ("celtic", "celtic_fast", "A", 0.2, False),
        ("celtic", "celtic_fast", "", 0.9, True), ("celtic", "celtic_fast", "", 0.7, False),
        ("celtic", "celtic", "A", 0.7, True), ("celtic", "celtic", "", 0.95, False),
        ("celtic", "breakfast", "A", 1.0, False), ("fast", "_fast", "A", 0.1, False),
        ("Blue Sky", "Blue Sky-live", "A", 0.5, True), ("celtic_fast", "celtic_slow", "", 0.9, True),
    ],
)  # fmt: skip
def test_versions_by_name_and_sound(a, b, artist, cosine, is_one):
    one, other = Piece(artist, *split_title(a), True), Piece(artist, *split_title(b), True)
    assert are_versions(one, other, cosine) is is_one
    assert are_versions(other, one, cosine) is is_one


def test_files_of_one_name_are_no_versions():
    track = Piece("a", *split_title("track01"), False)
    assert not are_versions(track, track, 0.9)
    assert are_versions(track, Piece("a", *split_title("track01_live"), False), 0.9)


def test_a_list_has_one_version_of_a_piece(world_of_styles, tmp_path):
    rows, styles = world_of_styles.rows[:30], world_of_styles.styles[:30]
    with Record.open(tmp_path, write=True) as record:
        ids = fill(record, rows, styles, ["A"] * 30)
        for i, id_ in enumerate(ids[10:16]):
            made = song(f"/music/v{i}.mp3", f"{i + 900:032x}", spaces=(), title=f"t{i + 10}_fast", artist="A")
            made.duration, made.vectors = 500.0 + 20 * i, {SPACE.id: record.vector(id_, SPACE.id)}
            ids.append(record.put(made))
        index = ExactIndex(dims_of(record))
        catch_up(index, record)
        about = record, index, SPACE
        usual = Closeness.of(record.sample(SPACE.id, 4000))

        def query(i):
            return Query(record.vector(ids[i], SPACE.id), record.track(ids[i]))

        lists = [
            travel(*about, query(12), query(3), 10, usual, rules=FREE).hits,
            recommend(*about, Seeds((query(0),)), 30, usual, rules=FREE),
            list(itertools.islice(Radio(*about, [query(0)], usual, rules=FREE), 25)),
        ]
        for hits in lists:
            names = [hit.title.removesuffix("_fast") for hit in hits]
            assert len(names) >= 10
            assert len(set(names)) == len(names)


def test_equal_bytes_are_one_recording_whatever_else(tmp_path):
    with Record.open(tmp_path, write=True) as record:
        record.add_space(SPACE)
        for i in range(3):
            made = song(f"/m/{i}.mp3", "c" * 32 if i < 2 else "d" * 32, spaces=())
            made.vectors = {SPACE.id: unit(np.random.default_rng(i).normal(size=D))}
            record.put(made)
        (group,) = duplicates(record, SPACE.id)
        assert (group.kind, len(group.tracks)) == (RECORDING, 2)
        assert group.pairs[0].evidence == ("the same bytes",)


def test_a_long_path_is_as_long_as_was_asked_for(world_of_styles):
    """Its stops are near each other, so that the same few tracks are near to many of them."""
    world = world_of_styles
    ends = world.query(0), world.query(160)
    hits = travel(world.record, world.index, SPACE, *ends, 30, world.usual).hits
    assert len({hit.id for hit in hits}) == len(hits) == 30


def test_filters_hold_on_the_way(arc):
    where = Match("title", tuple(f"t{i}" for i in range(0, 91, 2)))
    places = arc.places(arc.travel(5, 85, 9, where=where).hits)
    assert all(place % 2 == 0 for place in places[1:-1])


def test_a_query_that_is_no_track_is_no_end(arc):
    with pytest.raises(InputError, match="two tracks"):
        travel(arc.record, arc.index, SPACE, Query(arc.rows[0]), arc.query(5), 5, arc.usual)
