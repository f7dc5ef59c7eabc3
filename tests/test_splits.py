"""What the splits of plays hold out, and what is found on either side where it is known what can be."""

import numpy as np
import pytest

from soundkin.errors import InputError
from soundkin.evaluate import Options, evaluate
from soundkin.evaluate.splits import judge
from soundkin.record import Record
from soundkin.record.feedback import Feedback
from soundkin.taste.cold import NOBODY, unit
from soundkin.taste.dividing import SPLITS, divide
from soundkin.taste.learning import Collection
from soundkin.taste.matrix import Plays


def listeners(heard, people=150, artists=60, each=6, seed=0):
    """People who each play artists of one of six styles; sound tells the style, or nothing."""
    rng = np.random.default_rng(seed)
    style = rng.integers(0, 6, artists)
    artist = np.repeat(np.arange(artists), each)
    own = style[artist] == rng.integers(0, 6, people)[:, None]
    rows, items = np.nonzero(rng.random(own.shape) < np.where(own, 0.35, 0.01))
    plays = Plays.of(rows, items, np.ones(len(rows)), people, len(artist))
    of = np.eye(6, 24)[style[artist]] if heard else np.zeros((len(artist), 24))
    sound = unit(of + (0.25 if heard else 1) * rng.standard_normal(of.shape))
    return plays, Collection(sound, artist, np.full(len(artist), NOBODY))


def reached(table, figure="NDCG@20"):
    return {row.system: row.figures[figure].mean for row in table.rows}


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_held_out_is_nowhere_in_what_is_learned_from(split):
    plays, collection = listeners(True)
    latest = np.random.default_rng(0).random(len(plays.items))
    parted = divide(plays, latest, collection.artists, split)
    assert 0 < parted.hidden.mean() < 0.5
    if split == "time":
        assert latest[parted.hidden].min() > latest[~parted.hidden].max()
        return
    hidden, kept = (set(plays.items[side].tolist()) for side in (parted.hidden, ~parted.hidden))
    assert not hidden & kept
    assert hidden == set(np.flatnonzero(parted.candidates).tolist())
    if split == "cold-artist":
        assert not {*collection.artists[list(hidden)]} & {*collection.artists[list(kept)]}


def test_unknown_splits_are_told():
    plays, collection = listeners(True)
    with pytest.raises(InputError, match="there are time, cold-track, cold-artist"):
        divide(plays, np.zeros(1), collection.artists, "sideways")
    with pytest.raises(InputError, match="no split is called 'sideways'"):
        Options(("taste",), split="sideways")


@pytest.mark.parametrize(
    ("protocols", "given", "told"),
    [
        (("album",), {}, "of the protocol taste"),
        (("taste",), {"k": 5}, "k with the split"),
        (("taste", "robustness"), {"k": 5}, "k with the split"),
        (("taste", "text"), {"ask": 50}, "ask with the split"),
        (("taste", "album"), {"profiles": ("ana",)}, "profiles with the split"),
        (("taste", "album"), {"strategies": ("best",)}, "strategies with the split"),
        (("taste",), {"spaces": ("cnn",)}, "spaces with the split"),
    ],
)
def test_what_has_no_effect_on_a_split_is_refused(protocols, given, told):
    with pytest.raises(InputError, match=told):
        Options(protocols, split="time", **given)
    Options(("taste", "album"), split="time", k=5, ask=50, spaces=("cnn",))


@pytest.mark.parametrize("heard", [True, False])
def test_sound_finds_cold_artists_where_taste_can_be_heard_and_nowhere_else(heard):
    plays, collection = listeners(heard)
    parted = divide(plays, np.zeros(0), collection.artists, "cold-artist")
    table = judge(plays, parted, collection, "cold-artist", method="ease")
    found = reached(table)
    assert found["taste"] == pytest.approx(found["random"])  # what nobody played, plays say nothing of
    assert found["popularity"] == pytest.approx(found["random"])
    if heard:
        assert found["sound"] > 1.5 * found["random"]
        assert found["sound and taste"] > 1.5 * found["random"]
    else:
        assert abs(found["sound"] - found["random"]) < 0.05
        assert abs(found["sound and taste"] - found["random"]) < 0.05


def test_together_is_no_worse_than_the_better_part_on_warm_tracks():
    plays, collection = listeners(True)
    parted = divide(plays, np.zeros(0), collection.artists, "random")
    table = judge(plays, parted, collection, "warm", method="ease")
    found = reached(table)
    assert found["sound and taste"] > max(found["sound"], found["taste"]) - 0.02
    assert found["taste"] > found["popularity"] > found["random"]
    assert 0 < reached(table, "coverage")["popularity"] < reached(table, "coverage")["sound and taste"] <= 1


def test_shuffled_plays_are_found_by_nobody():
    plays, collection = listeners(True)
    rng = np.random.default_rng(1)
    mixed = Plays.of(
        plays.rows, rng.permutation(plays.items), np.ones(len(plays.items)), plays.height, plays.width
    )
    table = judge(
        mixed, divide(mixed, np.zeros(0), collection.artists, "random"), collection, "warm", method="ease"
    )
    found = reached(table)
    assert found["taste"] < 3 * found["random"]
    assert found["sound"] < 3 * found["random"]


def test_a_library_is_judged_by_its_plays(library):
    (nothing,) = evaluate(library, Options(("taste",), split="cold-track"))
    assert "too little is known" in nothing.reason
    tracks = sorted((t for t in library.tracks() if t.title), key=lambda t: t.path)
    rng = np.random.default_rng(0)
    events = [
        (f"p{p}", Feedback(track.id, "play", 1e9 + 1000 * i + 10 * p))
        for p in range(40)
        for i, track in enumerate(tracks)
        if rng.random() < 0.25
    ]
    with Record.open_to_note(library.folder) as record:
        record.add_events(events)
    (table,) = evaluate(library, Options(("taste",), split="time"))
    assert table.protocol == "taste-time"
    assert table.candidates == len(library.tracks())
    assert 10 <= table.questions <= 40
    assert [row.system for row in table.rows][:3] == ["sound and taste", "sound", "taste"]
