import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_record import SPACE, A, B, opened, song

from soundkin.embed import FileState
from soundkin.errors import InputError, NotFound, StoreError
from soundkin.record import Record, sqlite
from soundkin.record.feedback import Feedback, Opinion


@pytest.fixture
def record(new_place):
    with opened(new_place()) as one:
        yield one


@pytest.fixture
def in_a_file(tmp_path):
    with opened(tmp_path / "library") as one:
        yield one


@pytest.fixture
def two(record):
    return record, record.put(song("/a.mp3", A)), record.put(song("/b.mp3", B))


def test_the_last_word_counts_and_history_stays(two):
    record, a, b = two
    for at, kind in enumerate(("like", "dislike", "play", "skip", "play"), 10):
        record.add_feedback("default", [a], kind, at)
    record.add_feedback("default", [b], "like", 5)
    record.add_feedback("default", [b], "unlike", 6)
    assert record.opinions("default") == {
        a: Opinion("dislike", 11.0, plays=2, skips=1, played=14.0, skipped=13.0),
        b: Opinion("", 6.0),
    }
    assert record.feedback("default") == [
        Feedback(b, "like", 5.0), Feedback(b, "unlike", 6.0), Feedback(a, "like", 10.0),
        Feedback(a, "dislike", 11.0), Feedback(a, "play", 12.0), Feedback(a, "skip", 13.0), Feedback(a, "play", 14.0),
    ]  # fmt: skip
    (profile,) = record.profiles()
    assert (profile.name, profile.likes, profile.dislikes, profile.skips, profile.plays) == (
        "default", 0, 1, 1, 2,
    )  # fmt: skip


def test_of_one_moment_what_came_later_counts(two):
    record, a, _ = two
    for kind in ("like", "dislike"):
        record.add_feedback("default", [a], kind, 7)
    assert record.opinions("default")[a].verdict == "dislike"


WORDS = st.lists(st.tuples(st.sampled_from(("like", "dislike", "unlike", "play", "skip")), st.integers(0, 5)))


@settings(max_examples=40)
@given(WORDS)
def test_opinions_are_a_replay_of_the_history(new_place, words):
    with Record.open(new_place(), write=True) as record:
        a = record.put(song(spaces=()))
        for kind, at in words:
            record.add_feedback("default", [a], kind, at)
        verdict, plays, skips = "", 0, 0
        for kind, _ in sorted(words, key=lambda word: word[1]):
            verdict = {"like": kind, "dislike": kind, "unlike": ""}.get(kind, verdict)
            plays, skips = plays + (kind == "play"), skips + (kind == "skip")
        now = record.opinions("default").get(a, Opinion())
        assert (now.verdict, now.plays, now.skips) == (verdict, plays, skips)
        assert len(record.feedback("default")) == len(words)


def test_feedback_outlives_moves_new_tags_and_going_away(two):
    record, a, _ = two
    record.add_feedback("default", [a], "like", 1)
    record.move("/a.mp3", FileState("/moved/a.mp3", 1000, 6))
    assert record.put(song("/moved/a.mp3", A, title="Renamed")) == a
    assert record.put(song("/moved/a.mp3", "c" * 32)) == a  # edited in place: another sound, the same track
    assert record.opinions("default")[a].verdict == "like"
    record.put(song("/moved/a.mp3", A))
    record.remove(ids=[a])
    assert record.opinions("default")[a].verdict == "like"
    assert record.put(song("/back.mp3", A)) == a
    assert record.opinions("default")[a].verdict == "like"


def test_profiles_do_not_share_what_they_said(two):
    record, a, b = two
    assert (
        record.create_profile("  Zoë\u0308 & 'Bo'; DROP TABLE tracks --  ")
        == "Zoë\u0308 & 'Bo'; DROP TABLE tracks --"
    )
    name = record.profiles()[1].name
    record.add_feedback(name, [a, b], "like")
    record.add_feedback("default", [a], "dislike")
    assert {o.verdict for o in record.opinions(name).values()} == {"like"}
    assert record.delete_profile(name) == 2
    assert [profile.name for profile in record.profiles()] == ["default"]
    assert len(record.feedback("default")) == 1
    assert len(record.files()) == 2
    with pytest.raises(NotFound, match="no profile"):
        record.feedback(name)


def test_the_default_profile_is_always_there(record):
    assert [(p.name, p.created) for p in record.profiles()] == [("default", 0.0)]
    assert record.feedback("default") == []
    assert record.delete_profile("default") == 0
    assert [p.name for p in record.profiles()] == ["default"]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00", "a\udcffb", "x" * 101, "\u2028"])
def test_names_that_are_no_names(record, name):
    with pytest.raises(InputError, match="profile name"):
        record.create_profile(name)


@pytest.mark.parametrize(
    "name", ["me", "Ana María", "東京", "🎧", "../../etc/passwd", "a'b\"c", "x" * 100, "%_"]
)
def test_odd_names_that_are_names(record, name):
    record.create_profile(f" {name} ")
    assert name in [p.name for p in record.profiles()]
    with pytest.raises(InputError, match="already"):
        record.create_profile(name)


def test_an_unknown_profile_names_the_nearest(record):
    record.create_profile("maria")
    with pytest.raises(NotFound, match="nearest: maria"):
        record.opinions("mariah")


def test_bad_feedback_leaves_nothing(two):
    record, a, _ = two
    with pytest.raises(NotFound, match="no track has the id"):
        record.add_feedback("default", [a, "0" * 16], "like")
    with pytest.raises(InputError, match="wanted one of like"):
        record.add_feedback("default", [a], "love")
    for at in (float("nan"), -1, 1.7e12):
        with pytest.raises(InputError, match="seconds since 1970"):
            record.add_feedback("default", [a], "play", at)
    assert record.feedback("default") == []


def test_an_older_library_is_renewed_by_reading_it(tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        before = next(i for i, script in enumerate(sqlite.MIGRATIONS) if "CREATE TABLE feedback" in script)
        then.setattr(sqlite, "MIGRATIONS", sqlite.MIGRATIONS[:before])
        with Record.open(tmp_path, write=True) as record:
            record.add_space(SPACE)
            a = record.put(song())
    with Record.open(tmp_path) as record:
        assert record.opinions("default") == {}
        assert [track.id for track in record.tracks()] == [a]
        assert len(record.vectors(SPACE.id)[0]) == 1
    with sqlite3.connect(tmp_path / "record.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(sqlite.MIGRATIONS)
    db.close()


def test_feedback_is_taken_while_another_process_scans(in_a_file):
    record = in_a_file
    a = record.put(song("/a.mp3", A))
    code = (
        "import sys; from soundkin.record import Record\n"
        "with Record.open_to_note(sys.argv[1]) as r: r.add_feedback('default', [sys.argv[2]], 'like')"
    )
    with record.batch(every=1000, seconds=1000):
        record.put(song("/c.mp3", "c" * 32))  # the file is locked from here to the end of the batch
        done = subprocess.Popen([sys.executable, "-c", code, str(record.place), a], stderr=subprocess.PIPE)
        time.sleep(1.5)
        assert done.poll() is None
    assert done.stderr is not None
    assert done.wait(60) == 0, done.stderr.read()
    done.stderr.close()
    assert record.opinions("default")[a].verdict == "like"


def test_opened_to_note_nothing_else_can_be_changed(two):
    record, a, _ = two
    with Record.open_to_note(record.place) as notes:
        notes.add_feedback("default", [a], "like")
        with pytest.raises(StoreError, match="opened for reading"):
            notes.remove(ids=[a])
        with pytest.raises(NotFound):
            notes.add_feedback("default", [a, "0" * 16], "like")
        assert len(notes.feedback("default")) == 1
    assert len(record.files()) == 2


def test_many_writers_of_feedback(two):
    record, a, b = two

    def say(track):
        with Record.open_to_note(record.place) as notes:
            for _ in range(5):
                notes.add_feedback("default", [track], "play")

    threads = [threading.Thread(target=say, args=(track,)) for track in (a, b, a)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opinions = record.opinions("default")
    assert (opinions[a].plays, opinions[b].plays) == (10, 5)


def test_reading_cannot_say_anything(two):
    record, a, _ = two
    with Record.open(record.place) as reader, pytest.raises(StoreError, match="opened for reading"):
        reader.add_feedback("default", [a], "like")


def test_profiles_are_counted_in_a_few_queries_however_many_there_are(in_a_file):
    record = in_a_file
    a, b = record.put(song("/a.mp3", A)), record.put(song("/b.mp3", B))
    names = [f"p{number:02}" for number in range(40)]
    for name in names:
        record.create_profile(name)
    for at, kind in enumerate(("like", "dislike", "play", "play", "skip")):
        record.add_feedback("p07", [a], kind, at)
    record.add_feedback("p07", [b], "like", 9)
    record.add_feedback("p08", [a], "dislike", 3)
    record.add_feedback("p08", [a], "like", 3)  # what came later
    record.add_feedback("p08", [b], "like", 3)
    record.add_feedback("p08", [b], "unlike", 4)
    asked: list[str] = []
    record._db.set_trace_callback(asked.append)
    found = record.profiles()
    assert len(asked) < 6
    record._db.set_trace_callback(None)
    counts = {one.name: (one.likes, one.dislikes, one.skips, one.plays) for one in found}
    assert list(counts) == ["default", *names]
    assert counts.pop("p07") == (1, 1, 1, 2)
    assert counts.pop("p08") == (1, 0, 0, 0)
    assert set(counts.values()) == {(0, 0, 0, 0)}


def test_somebody_has_the_profiles_under_their_name(record):
    a = record.put(song("/a.mp3", A))
    for name in ("ana", "ana/", "ana/evening", "ana/é", "anabel", "ana.b/x", "ana0", "An", "ben/ana/x"):
        record.create_profile(name)
        record.add_feedback(name, [a], "play", 1)
    assert {(one.name, one.plays) for one in record.profiles("ana")} == {
        ("ana", 1), ("ana/evening", 1), ("ana/é", 1),
    }  # fmt: skip
    assert record.profiles("nobody") == []
    assert [one.name for one in record.profiles("default")] == ["default"]


def test_a_profile_is_found_without_reading_every_name(in_a_file):
    record = in_a_file
    record.create_profile("ana")
    asked: list[str] = []
    record._db.set_trace_callback(asked.append)
    assert record.profile("ana") == "ana"
    record._db.set_trace_callback(None)
    assert ["WHERE name" in sql for sql in asked] == [True]
