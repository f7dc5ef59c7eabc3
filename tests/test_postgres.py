"""What is PostgreSQL's alone in a record; what holds for every record is in test_record.py and test_feedback.py."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import copied
from serving import quick_passwords, until
from test_benchmarks import run
from test_record import LIBRARY, SPACE, A, B, opened, song, vector

from soundkin import cli
from soundkin.errors import InputError, NotFound, StoreError
from soundkin.library import Library
from soundkin.record import Record, database, writer_of
from soundkin.record.copying import copy_record
from soundkin.record.feedback import Feedback
from soundkin.record.listing import ORDERS, Where
from soundkin.record.rows import stem_of
from soundkin.serve.accounts import Accounts

NOWHERE = "postgresql://me:secret@127.0.0.1:1/music"


@pytest.fixture
def url(postgres):
    return postgres.new_place()


@pytest.fixture
def record(url):
    with opened(url) as one:
        yield one


# ---- places


@pytest.mark.parametrize(
    ("place", "seen"),
    [
        (NOWHERE, "postgresql://me:***@127.0.0.1:1/music"),
        ("postgresql://me@host/music", "postgresql://me@host/music"),
        (
            "postgresql:///music?host=/run&password=secret&x=1",
            "postgresql:///music?host=/run&password=***&x=1",
        ),
        ("postgresql://me:se@cr/et@host/music?x=1", "postgresql://me:***@host/music?x=1"),
        ("postgresql://me:sec?ret@host/music", "postgresql://me:***@host/music"),
        (Path("/a:b@c/d"), "/a:b@c/d"),
    ],
)
def test_passwords_are_not_shown(place, seen):
    assert database.shown(place) == seen


def test_nor_are_they_told_to_the_next_writer(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/soundkin", "index", "--record", NOWHERE, "/music"])
    assert "secret" not in database.about_me()
    assert "soundkin index --record postgresql://me:***@127.0.0.1:1/music /music" in database.about_me()


@pytest.mark.parametrize("option", [["--api-key", "secret"], ["--api-key=secret"]])
def test_nor_are_keys(monkeypatch, option):
    monkeypatch.setattr(sys, "argv", ["soundkin", "index", *option, "/music"])
    assert "secret" not in database.about_me()
    assert "*** /music" in database.about_me()


@pytest.mark.parametrize("password", ["se/cret", "se@cret", "sec%ret", "sec ret"])
def test_a_password_that_is_no_part_of_a_url_is_refused_without_showing_it(tmp_path, password):
    with pytest.raises(InputError, match="%40") as refused:
        Library.open(tmp_path, record=f"postgresql://me:{password}@host/music")
    assert "cret" not in str(refused.value).replace("secret", "")
    assert "ret@" not in str(refused.value)
    written = f"postgresql://me:{quote(password, safe='')}@host/music?user=a@b"
    assert database.place_of(written) == written


def test_what_is_taken_for_a_folder_is_not_shown_either(tmp_path):
    with pytest.raises(InputError) as refused:
        Library.open(tmp_path, record="host=db password=secret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["mysql://me@host/music", "s3://bucket/music"])
def test_urls_of_something_else_are_refused(url):
    with pytest.raises(InputError, match="wanted postgresql://"):
        Record.open(url)


def test_a_folder_is_no_url(tmp_path):
    with pytest.raises(InputError, match="wanted postgresql://"):
        Library.open(tmp_path, record=os.fspath(tmp_path))


@pytest.mark.postgres
def test_a_server_that_is_not_there_is_one_line_without_the_password(postgres, tmp_path, capsys):
    with pytest.raises(StoreError, match="cannot be reached") as refused:
        Record.open(NOWHERE)
    assert "\n" not in str(refused.value)
    assert writer_of(NOWHERE) == ""
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "--library", str(tmp_path), "--record", NOWHERE])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "secret" not in said


@pytest.mark.postgres
def test_a_place_with_no_library_or_no_schema_says_so(postgres, url):
    with pytest.raises(NotFound, match="soundkin index"):
        Record.open(url)
    with pytest.raises(StoreError, match="no schema"):
        Record.open(f"{postgres.url}&options=-csearch_path%3Dnone", write=True)


# ---- tables


@pytest.mark.postgres
def test_tables_of_another_version(url, monkeypatch):
    from soundkin.record import postgres as engine

    with Record.open(url, write=True) as record:
        record.put(song(spaces=()))
    known = engine.MIGRATIONS
    monkeypatch.setattr(engine, "MIGRATIONS", (*known, "CREATE TABLE more (x INT);", "SYNTAX ERROR;"))
    with pytest.raises(StoreError, match=r"older Soundkin and could not be renewed.*SYNTAX"):
        Record.open(url)
    monkeypatch.setattr(engine, "MIGRATIONS", (*known, "CREATE TABLE more (x INT);"))
    with Record.open(url) as record:  # the failed script left nothing of the one before it
        assert record._rows("SELECT * FROM more") == []
        assert len(record.files()) == 1
    monkeypatch.setattr(engine, "MIGRATIONS", known)
    for write in (False, True):
        with pytest.raises(StoreError, match="newer Soundkin"):
            Record.open(url, write=write)
    until(lambda: not writer_of(url))


@pytest.mark.postgres
def test_servers_that_begin_at_once_make_the_tables_once(url):
    errors: list[BaseException] = []

    def begin():
        try:
            assert Accounts(url).any() is False
        except BaseException as error:
            errors.append(error)

    in_threads(6, begin)
    assert errors == []
    with Record.open(url) as record:
        assert record.files() == {}


@pytest.mark.postgres
@given(st.binary(max_size=12))
@settings(max_examples=200)
def test_files_are_called_as_in_python(postgres, name):
    name = name.replace(b"\0", b"")
    session = database.engine_of(postgres.url).session
    with session(STEMS.setdefault("url", postgres.new_place())) as db:
        for path in (b"/m/" + name, b"/m/x" + name + b".mp3"):
            if path.strip(b"./ ") and not path.endswith((b"/", b"/.", b"/..")):
                assert db.execute("SELECT stem_of(?)", (path,)).fetchone()[0] == stem_of(path)


STEMS: dict[str, str] = {}


# ---- several at once


def in_threads(n, what):
    threads = [threading.Thread(target=what) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.postgres
def test_feedback_does_not_wait_for_a_scan(record, url):
    a = record.put(song("/a.mp3", A))
    with record.batch(every=1000, seconds=1000):
        record.put(song("/c.mp3", "c" * 32))  # not committed before the end of the batch
        code = (
            "import sys; from soundkin.record import Record\n"
            "with Record.open_to_note(sys.argv[1]) as r: r.add_feedback('default', [sys.argv[2]], 'like')"
        )
        subprocess.run([sys.executable, "-c", code, url, a], check=True, timeout=120)
        with Record.open(url) as reader:
            assert reader.opinions("default")[a].verdict == "like"
            assert len(reader.files()) == 1
    assert len(record.files()) == 2


@pytest.mark.postgres
def test_what_several_import_at_once_is_there_once(record, url):
    a, b = record.put(song("/a.mp3", A)), record.put(song("/b.mp3", B))
    events = [(f"p{i % 3}", Feedback(track, "play", 1e9 + 10 * i)) for i in range(30) for track in (a, b)]
    new: list[int] = []

    def say():
        with Record.open_to_note(url) as notes:
            new.append(notes.add_events(events))
            notes.add_counts([("p0", Feedback(a, "skip", 1e9), 5)])
            notes.add_feedback("p0", [a], "like")

    in_threads(4, say)
    assert sum(new) == len(events)
    assert sum(profile.plays for profile in record.profiles()) == len(events)
    (first,) = (profile for profile in record.profiles() if profile.name == "p0")
    assert first.skips == 5
    assert [one.kind for one in record.feedback("p0")].count("like") == 4


@pytest.mark.postgres
def test_a_profile_or_a_user_is_made_by_one_of_many(record, url):
    made: list[str] = []
    refused: list[str] = []

    def make():
        with Record.open_to_note(url) as notes:
            for door in (
                lambda: notes.create_profile("ana"),
                lambda: Accounts(url).add("ana", "long enough"),
            ):
                try:
                    made.append(door())
                except InputError as error:
                    refused.append(str(error))

    with quick_passwords():
        in_threads(4, make)
    assert made == ["ana", "ana"]
    assert ["already" in why for why in refused] == [True] * 6


@pytest.mark.postgres
def test_a_server_that_was_restarted_is_found_again(postgres, record, url):
    a = record.put(song("/a.mp3", A))
    accounts = Accounts(url)
    with quick_passwords():
        accounts.add("ana", "long enough")
        begun = accounts.log_in("ana", "long enough")
    assert begun
    with Record.open(url) as reader, Record.open_to_note(url) as notes:
        assert len(reader.files()) == 1
        postgres.stop()
        with pytest.raises(StoreError, match="cannot be reached"):
            reader.files()
        postgres.start()
        assert len(reader.files()) == 1
        notes.add_feedback("default", [a], "like")
        assert reader.opinions("default")[a].verdict == "like"
        assert len(reader.vectors(SPACE.id)[0]) == 1
        assert accounts.of_session(begun[1]) == "ana"
        with pytest.raises(StoreError, match="cannot be reached"):  # another may have become the writer
            record.put(song("/b.mp3", B))
        with Record.open(url, write=True) as next_one:
            next_one.put(song("/b.mp3", B))


@pytest.mark.postgres
def test_who_begins_to_write_needs_no_session_from_before_a_restart(postgres, url):
    with Record.open(url, write=True) as record:
        record.put(song("/a.mp3", A, spaces=()))
    Record.open(url).close()  # leaves a session to whoever comes next
    postgres.stop()
    postgres.start()
    with Record.open(url, write=True) as record:
        record.put(song("/b.mp3", B, spaces=()))
        assert len(record.files()) == 2


# ---- accounts


@pytest.mark.postgres
def test_accounts_are_known_wherever_the_record_is(url):
    here, there = Accounts(url), Accounts(url)
    with quick_passwords():
        assert not there.any()
        kept = here.keep_playlist("Evening", ["a", "b"])
        here.add("ana", "long enough")
        assert there.log_in("ana", "something else") is None
        begun = here.log_in("ana", "long enough")
    assert begun
    name, secret = begun
    token = here.token(name, "player")
    assert (there.of_session(secret), there.of_token(token)) == ("ana", "ana")
    assert [user.tokens for user in there.users()] == [("player",)]
    assert there.playlists("ana") == [kept]  # the first user takes over what was nobody's
    assert there.playlists("ben") == []
    there.keep_playlist("Late", ["c"], kept.id, "ana")
    assert here.playlist(kept.id, "ana").tracks == ("c",)
    with pytest.raises(NotFound):
        there.drop_playlist(kept.id, "ben")
    there.drop_playlist(kept.id, "ana")
    there.log_out(secret)
    assert here.of_session(secret) is None
    there.remove("ana")
    assert here.of_token(token) is None


@pytest.mark.postgres
def test_guessing_at_two_servers_is_no_faster_than_at_one(url):
    here, there = (Accounts(url).throttle("name", free=3) for _ in range(2))
    for server in (here, there, here):
        assert server.wait("ana") == 0
        server.failed("ana")
    for _ in range(9):
        here.failed("ana")
    assert 0 < there.wait("ana") <= 2**9  # the third costs a second, each further one twice as much
    assert there.wait("ben") == 0
    assert Accounts(url).throttle("address").wait("ana") == 0
    there.passed("ana")
    assert here.wait("ana") == 0


# ---- from a file to a server and back


def contents(place):
    """Return all that a record says."""
    with Record.open(place) as record:
        return {
            "uuid": record.uuid, "revision": record.revision, "tracks": list(record.tracks()),
            "counts": record.counts().vectors,
            "spaces": record.spaces(), "active": record.active_spaces(), "failures": record.failures(),
            "profiles": record.profiles(), "said": [record.feedback(p.name) for p in record.profiles()],
            "vectors": [record.vectors(s.id)[1].tobytes() for s in record.spaces()],
            "changes": [(t.id, sorted(v)) for t, v in record.changes(0).changed], "removed": record.changes(0).removed,
            "prints": record.fingerprints([t.id for t in record.tracks()]), "run": record.last_run(),
        }  # fmt: skip


@pytest.mark.postgres
def test_a_library_moves_to_a_server_and_back(made, url, tmp_path, capsys):
    home, back = copied(made.library, tmp_path / "library"), tmp_path / "back"
    with Library.open(home) as library:
        library.create_profile("ana")
        tracks = library.tracks()
        library.feedback("like", tracks[:2], "ana")
        library.remove([tracks[5].id])
    with quick_passwords():
        Accounts(home).add("ana", "long enough")
    Accounts(home).keep_playlist("Evening", ["a"], user="ana")
    for arguments in ([url, "--library", str(home)], [str(back), "--record", url, "--library", str(home)]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["copy", *arguments])
        assert ended.value.code == 0, capsys.readouterr().err
    assert contents(home) == contents(url) == contents(back)
    assert Accounts(home).users() == Accounts(url).users() == Accounts(back).users() != []
    assert Accounts(home).playlists() == Accounts(url).playlists() == Accounts(back).playlists() != []
    with pytest.raises(StoreError, match="already"):
        copy_record(home, url)
    Accounts(taken := tmp_path / "taken").keep_playlist("Mine", ["a"])
    with pytest.raises(SystemExit) as ended:  # at once, not when the record is there
        cli.main(["copy", str(taken), "--library", str(home)])
    assert ended.value.code == 1
    with pytest.raises(NotFound):
        Record.open(taken)
    for place in (url, back):  # numbers go on where they stood
        with Record.open(place, write=True) as record:
            id_ = record.put(song("/new.mp3", "e" * 32, spaces=()))
            assert len(record.tracks_with_vectors([id_], record.spaces()[0].id)) == 0
            record.add_feedback("ana", [id_], "like")
            assert record.opinions("ana")[id_].verdict == "like"


@pytest.mark.postgres
def test_both_give_the_same_answers(made, url, tmp_path):
    copy_record(made.library, url)
    with Library.open(made.library) as file, Library.open(tmp_path, record=url) as server:
        (first, second, *_) = (track.id for track in file.tracks())
        for ask in (
            lambda one: [(hit.id, hit.reasons) for hit in one.similar(first, 10, versions=True)],
            lambda one: [hit.id for hit in one.similar(first, 10, filters="year>=1980 and duration<7")],
            lambda one: [hit.id for hit in one.recommend([first], [second], k=10)],
            lambda one: [one.page(order=by, descending=way)[1] for by in ORDERS for way in (False, True)],
            lambda one: one.facets(("genre", "decade", "tempo", "energy", "key", "format", "artist", "album")),
            lambda one: one.page(filters="added>=2001 and genre=jazz or bpm>100"),
            lambda one: one.names_like("artist", one.tracks()[0].artist[:3]),
            lambda one: [group.tracks for group in one.duplicates()],
            lambda one: (one.status().spaces, one.status().summary.formats),
        ):  # fmt: skip
            assert ask(file) == ask(server)
        assert server.status().folder == url


@pytest.mark.postgres
def test_names_are_in_the_order_of_code_points_but_for_the_case_of_ascii(record, tmp_path):
    with opened(tmp_path / "file") as file:
        for one in (file, record):
            for i, name in enumerate(
                ("ábel", "Zoë", "abel", "Abel", "zebra", "Éva", "", "a b", "a-b", "東京")
            ):
                one.put(
                    song(
                        f"/{i}/{name}.x.mp3", f"{i:032x}", title=name if i % 2 else "", artist=name, spaces=()
                    )
                )
        for order in ("artist", "title"):
            listed = [[track.artist for track in one.page(Where(), order)[1]] for one in (file, record)]
            assert listed[0] == listed[1]
        assert file.distinct("title") == record.distinct("title")


@pytest.mark.postgres
def test_large_reads_stream(record):
    with record.transaction():
        for i in range(300):
            record.put(song(f"/{i}", f"{i:032x}", seed=i))
    import soundkin.record.postgres as engine

    ids, vectors = record.vectors(SPACE.id)
    with record._snapshot():
        sizes = [len(rows) for rows in record._db.batches("SELECT number FROM tracks", ())]
    assert sum(sizes) == len(ids) == 300
    assert max(sizes) <= engine._BATCH
    paths = {track.id: track.path for track in record.tracks()}
    assert all((v == vector(int(paths[i][1:]))).all() for i, v in zip(ids, vectors, strict=True))
    assert len(LIBRARY) == 5


@pytest.mark.postgres
def test_the_benchmark_of_both(postgres):
    out = run("bench_record", "--tracks", 60, "--repeats", 1)
    for name in ("put 60 tracks", "all vectors", "a like", "find words"):
        (row,) = [line.split("|") for line in out.splitlines() if line.startswith(f"| {name} ")]
        assert float(row[2]) > 0
        assert float(row[3]) > 0
