"""Copies that an encoder takes for duller music, as at low bit rates: their fingerprints tell, whoever asks."""

import itertools
from typing import Any

import numpy as np
import pytest
from exact_index import ExactIndex
from test_blend import SPACE, unit
from test_fingerprint import taken, tune
from test_record import song

from soundkin.embed import FileState
from soundkin.index.follow import catch_up, dims_of
from soundkin.recommend import Closeness, Query, Seeds, Variety, recommend, similar
from soundkin.recommend.copies import is_copy
from soundkin.recommend.journeys import travel
from soundkin.recommend.radio import Radio
from soundkin.recommend.variety import FREE
from soundkin.recommend.versions import duplicates
from soundkin.record import Record

ALIKE = 0.7  # cosine of a dull copy with its original, and 0.49 with another one: too little to tell by sound alone
SONGS, OTHERS = 3, 30
PRINTS = [taken(tune(seed)) for seed in range(SONGS)]
STRANGER = taken(tune(99))


class Copied:
    """Three songs that sound much alike, two dull copies of each, and other music around them, as long as they are."""

    def __init__(self, folder):
        rng = np.random.default_rng(5)
        axes = np.linalg.qr(rng.normal(size=(SPACE.dims, SPACE.dims)))[0].astype(np.float32)
        songs = unit(axes[0] + 0.6 * axes[1 : 1 + SONGS])
        self.record = Record.open(folder, write=True)
        self.record.add_space(SPACE)
        self.recording = {}
        rows: list[Any] = [(song_, row, PRINTS[song_]) for song_, row in enumerate(songs)]
        for song_, copy in itertools.product(range(SONGS), range(2)):
            away = axes[8 + 2 * song_ + copy]  # at right angles to all songs: the cosine is as it is said
            row = ALIKE * songs[song_] + np.sqrt(1 - ALIKE**2, dtype=np.float32) * away
            rows.append((song_, row, PRINTS[song_]))
        rows += [(None, unit(axes[0] + 1.5 * rng.normal(size=SPACE.dims)), STRANGER) for _ in range(OTHERS)]
        for i, (song_, row, print_) in enumerate(rows):
            made = song(f"/music/{i:02}.mp3", f"{i:032x}", spaces=(), title=f"t{i}", artist=f"a{i}")
            made.duration, made.fingerprint = 200.0 + (song_ is None) * (10 * i), print_
            made.vectors, made.windows = {SPACE.id: unit(row)}, {}
            self.recording[self.record.put(made)] = song_
        self.ids = list(self.recording)
        self.usual = Closeness.of(self.record.sample(SPACE.id, 4000))
        self.index = ExactIndex(dims_of(self.record))
        catch_up(self.index, self.record)

    def query(self, i):
        return Query(self.record.vector(self.ids[i], SPACE.id), self.record.track(self.ids[i]))

    def of(self, hits):
        return [self.recording[hit.id] for hit in hits if self.recording[hit.id] is not None]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    world = Copied(tmp_path_factory.mktemp("copied"))
    yield world
    world.record.close()


def asked(copied, how, seed):
    about = copied.record, copied.index, SPACE
    if how == "similar":
        return similar(*about, copied.query(seed), 20, copied.usual, rules=Variety())
    if how == "radio":
        radio = Radio(*about, [copied.query(seed)], copied.usual, rules=FREE)
        return list(itertools.islice(radio, 20))
    if how == "path":
        return travel(*about, copied.query(seed), copied.query(20), 14, copied.usual, rules=FREE).hits
    seeds = Seeds((copied.query(seed),))
    return recommend(*about, seeds, 20, copied.usual, strategy=how, rules=FREE)


@pytest.mark.parametrize("how", ["similar", "agreement", "best", "radio", "path"])
@pytest.mark.parametrize("seed", [0, SONGS])  # a song, and a dull copy of it
def test_no_recording_comes_twice_nor_the_seed_back(copied, how, seed):
    found = copied.of(asked(copied, how, seed))
    if how == "path":
        assert found[0] == 0  # where it begins
        found = found[1:]
    assert 0 not in found
    assert found
    assert len(set(found)) == len(found)


def test_a_disliked_recording_is_kept_away_with_its_copies(copied):
    seeds = Seeds((copied.query(0),), (copied.query(1),))
    found = recommend(copied.record, copied.index, SPACE, seeds, 40, copied.usual, rules=FREE)
    assert set(copied.of(found)) == {2}
    radio = Radio(copied.record, copied.index, SPACE, [copied.query(0)], copied.usual, rules=FREE)
    first = next(hit for hit in radio if copied.recording[hit.id] is not None)
    radio.dislike(first)
    assert copied.recording[first.id] not in copied.of(itertools.islice(radio, 15))


def test_likes_that_others_speak_for_have_no_dull_copies_in_the_answer(copied):
    unwanted = frozenset({int(copied.ids[1], 16)})
    seeds = Seeds((copied.query(0),), unwanted=unwanted)
    found = recommend(copied.record, copied.index, SPACE, seeds, 40, copied.usual, rules=FREE)
    assert set(copied.of(found)) == {2}


def test_groups_are_the_recordings(copied):
    groups = [group for group in duplicates(copied.record, SPACE.id) if group.kind == "recording"]
    assert sorted(copied.recording[group.tracks[0].id] for group in groups) == [0, 1, 2]
    assert all(len(group.tracks) == 3 for group in groups)


def test_the_best_file_of_a_recording_is_a_whole_one(tmp_path):
    """Then a lossless one, then that of the higher bit rate: seconds, codec, bytes, what is wrong with it."""
    files = {
        "whole.mp3": (200.0, "mp3", 5_000_000, ""),
        "padded.flac": (199.9, "flac", 20_000_000, ""),  # by what a codec adds
        "small.mp3": (200.05, "mp3", 2_000_000, ""),
        "cut.flac": (197.0, "flac", 19_000_000, ""),
        "torn.flac": (200.0, "flac", 21_000_000, "ends before the length in its header"),
    }
    with Record.open(tmp_path, write=True) as record:
        record.add_space(SPACE)
        for i, (name, (seconds, codec, size, damage)) in enumerate(files.items()):
            made = song(f"/music/{name}", f"{i:032x}", spaces=())
            made.duration, made.format, made.damage, made.fingerprint = seconds, codec, damage, PRINTS[0]
            made.file = FileState(made.file.path, size, 1)
            made.vectors = {SPACE.id: unit(np.eye(SPACE.dims)[0])}
            record.put(made)
        (group,) = duplicates(record, SPACE.id)
    names = [track.path.removeprefix("/music/") for track in group.tracks]
    assert names == ["padded.flac", "whole.mp3", "small.mp3", "cut.flac", "torn.flac"]


def test_below_a_likeness_of_sound_a_glance_at_the_fingerprints_comes_first(copied):
    a, b = (copied.record.track(copied.ids[i]) for i in (0, SONGS))
    assert is_copy(a, b, ALIKE, fingerprint_a=PRINTS[0], fingerprint_b=PRINTS[0])
    assert not is_copy(a, b, ALIKE, fingerprint_a=PRINTS[0], fingerprint_b=STRANGER)
    assert not is_copy(a, b, 0.3, fingerprint_a=PRINTS[0], fingerprint_b=PRINTS[0])
    assert not is_copy(a, b, ALIKE)


def test_the_same_recording_has_a_similarity_of_one_and_comes_first(copied):
    for seed in (0, SONGS):  # with a cosine of 0.7, and of 0.49 between its copies
        hits = similar(copied.record, copied.index, SPACE, copied.query(seed), 5, copied.usual, versions=True)
        assert [copied.recording[hit.id] == 0 for hit in hits] == [True, True, False, False, False]
        assert [hit.similarity == 1 for hit in hits] == [True, True, False, False, False]
        assert {hit.reasons[0] for hit in hits[:2]} == {"the same recording"}
