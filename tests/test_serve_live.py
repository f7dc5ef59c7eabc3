"""The server as a process, asked over loopback: ranges, events, many at once, a scan, how it stops."""

import errno
import json
import select
import signal
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection

import httpx
import pytest
from made import copied
from served import running
from serving import API, PATIENCE, until

from soundkin.library import Library
from soundkin.record import Record
from soundkin.serve.accounts import Accounts

get, post = partial(httpx.get, timeout=PATIENCE), partial(httpx.post, timeout=PATIENCE)


@pytest.fixture(scope="module")
def server(made, tmp_path_factory):
    folder = copied(made.library, tmp_path_factory.mktemp("live") / "library")
    with running(folder) as (address, _):
        yield address


@pytest.fixture(scope="module")
def tracks(server):
    return get(f"{server}{API}/tracks?limit=500").json()["tracks"]


@pytest.fixture(scope="module")
def flac(tracks):
    """The address of a file, and its bytes."""
    track = next(t for t in tracks if t["format"] == "flac")
    with open(track["path"], "rb") as file:
        return f"{API}/tracks/{track['id']}/audio", file.read()


@pytest.mark.parametrize(
    ("asked", "cut"),
    [
        ("bytes=0-99", slice(0, 100)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None)),
        ("bytes=5-5", slice(5, 6)),
    ],
)  # fmt: skip
def test_a_part_of_a_file(server, flac, asked, cut):
    address, data = flac
    answer = get(server + address, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == data[cut]
    begin = len(data) + cut.start if cut.start < 0 else cut.start
    assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(data[cut]) - 1}/{len(data)}"


def test_ranges_that_cannot_be(server, flac):
    address, data = flac
    behind = get(server + address, headers={"range": f"bytes={len(data)}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(data)}")
    assert behind.json()["error"]["kind"] == "invalid"
    assert get(server + address, headers={"range": "lines=1-2"}).json()["error"]["kind"] == "bad_request"
    whole = get(server + address)
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["accept-ranges"] == "bytes"
    stale = get(server + address, headers={"range": "bytes=0-9", "if-range": '"another"'})
    assert stale.content == data


def test_a_listener_who_leaves_in_the_middle_harms_nobody(server, flac):
    address, data = flac
    for _ in range(5):
        with httpx.stream("GET", server + address, timeout=PATIENCE) as answer:
            next(answer.iter_raw(100))
    assert get(server + address).content == data


@pytest.mark.slow
def test_cheap_requests_do_not_wait_for_files_that_are_listened_to(server, made):
    """If they stood in one line with the files, they would be as few as these."""
    data, answered = made.outside.read_bytes(), 0
    with httpx.Client(timeout=PATIENCE) as client, ThreadPoolExecutor(4) as pool:

        def upload(_):
            sent = client.post(f"{server}{API}/similar/upload", files={"file": ("a.ogg", data)})
            return sent.status_code

        assert upload(0) == 200  # the first starts the worker
        uploads = [pool.submit(upload, number) for number in range(8)]
        while not all(one.done() for one in uploads):
            assert client.get(f"{server}/healthz").status_code == 200
            answered += 1
        assert {one.result() for one in uploads} == {200}
    assert answered > 8


@pytest.mark.slow
def test_more_uploads_than_it_takes_are_sent_away(server, made):
    """Those that it takes are held in their middle until the rest are refused, so nobody's place gets free before."""
    whole = httpx.Request("POST", f"{server}{API}/similar/upload", files={"file": made.outside.read_bytes()})
    body, target = whole.read(), httpx.URL(server)
    with ExitStack() as stack:
        waiting = {}
        for _ in range(12):
            asker = stack.enter_context(closing(HTTPConnection(target.host, target.port, timeout=PATIENCE)))
            asker.putrequest("POST", whole.url.path)
            for name in ("content-type", "content-length"):
                asker.putheader(name, whole.headers[name])
            asker.endheaders(body[:1000])
            waiting[asker.sock] = asker
        for _ in range(4):
            [refused, *_], _, _ = select.select(list(waiting), [], [], PATIENCE)
            answer = waiting.pop(refused).getresponse()
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) >= 1
        for asker in waiting.values():
            asker.send(body[1000:])
        assert [asker.getresponse().status for asker in waiting.values()] == [200] * 8
    assert post(str(whole.url), files={"file": made.outside.read_bytes()}).status_code == 200


def read(pipe):
    """Return what a process wrote."""
    assert pipe is not None
    return pipe.read()


def events(address):
    """Yield the states that a server sends."""
    with httpx.stream("GET", f"{address}{API}/scan/events", timeout=PATIENCE) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


@pytest.mark.slow
def test_a_scan_is_told_of_and_its_tracks_are_found(made, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for path, _ in made.tracks[:3]:
        (music / path.name).write_bytes(path.read_bytes())
    (music / "broken.mp3").write_bytes(b"no music")
    with running(tmp_path / "library", str(music)) as (address, _):
        assert get(f"{address}{API}/tracks").json()["total"] == 0
        assert get(f"{address}{API}/status").json()["tracks"] == 0
        states = events(address)
        first = next(states)
        assert (first["state"], first["can_start"], first["folders"]) == ("idle", True, [str(music)])
        assert post(f"{address}{API}/scan").status_code == 202
        assert post(f"{address}{API}/scan").status_code == 409
        seen = []
        for state in states:
            seen.append(state)
            if state["state"] not in ("idle", "running"):
                break
        assert seen[-1]["state"] == "done"
        assert (seen[-1]["added"], seen[-1]["failed"]) == (3, 1)
        assert get(f"{address}{API}/tracks").json()["total"] == 3
        failures = get(f"{address}{API}/failures").json()
        assert [one["path"] for one in failures["failures"]] == [str(music / "broken.mp3")]
        assert failures["failures"][0]["reason"]
        ids = [track["id"] for track in get(f"{address}{API}/tracks").json()["tracks"]]
        assert len(post(f"{address}{API}/similar", json={"query": ids[0]}).json()["hits"]) == 2


@pytest.mark.slow
def test_answers_come_while_another_process_writes(server, tracks, made, tmp_path):
    folder = copied(made.library, tmp_path / "library")
    with (
        running(folder) as (address, _),
        Record.open(folder, write=True) as record,
        record.batch(every=10**9, seconds=1e9),
    ):
        record.remove([tracks[0]["id"]])  # not committed yet
        state = get(f"{address}{API}/scan").json()
        assert (state["state"], state["can_start"]) == ("elsewhere", False)
        assert get(f"{address}{API}/tracks").json()["total"] == len(tracks)
        answer = post(f"{address}{API}/similar", json={"query": tracks[1]["id"]})
        assert answer.status_code == 200
        assert get(f"{address}{API}/status").json()["writer"]


@pytest.mark.slow
def test_what_changes_outside_is_seen(made, tmp_path):
    folder = copied(made.library, tmp_path / "library")
    with running(folder) as (address, _):
        before = get(f"{address}{API}/tracks").json()
        asked = {"query": before["tracks"][0]["id"], "k": 100}
        gone = post(f"{address}{API}/similar", json=asked).json()["hits"][0]["id"]
        with Library.open(folder) as library:
            library.remove([gone])
        until(lambda: get(f"{address}{API}/tracks").json()["total"] == before["total"] - 1)
        hits = post(f"{address}{API}/similar", json=asked).json()["hits"]
        assert gone not in {hit["id"] for hit in hits}


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_it_stops_in_order_also_with_listeners(made, tmp_path, how):
    folder = copied(made.library, tmp_path / "library")
    with running(folder) as (address, process):
        states = events(address)
        next(states)
        process.send_signal(how)
        assert list(states) == []  # the line is closed, not cut
        assert process.wait(PATIENCE) == 0
        assert "stopped" in read(process.stderr)
    with sqlite3.connect(folder / "record.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def ended(capsys, *words):
    """Return what `soundkin serve` says when it ends at once because of a mistake of whoever starts it."""
    from soundkin import cli

    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", *map(str, words)])
    assert ended.value.code == 1
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    return error


def test_a_port_that_is_taken_is_one_line(server, tmp_path, capsys, caplog):
    port = server.rpartition(":")[2]
    said = ended(capsys, tmp_path, "--library", tmp_path / "library", "--port", port)
    assert f"cannot listen at 127.0.0.1, port {port} (address already in use)" in said
    assert caplog.records == []  # where nobody has set up a log, these would be lines, too


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            socket.gaierror(8, "nodename nor servname provided, or not known"),
            "nodename nor servname provided, or not known",
        ),
        (
            OSError(errno.EACCES, "error while attempting to bind on address ('127.0.0.1', 80)"),
            "permission denied",
        ),
        (OSError("getaddrinfo('') returned empty list"), "getaddrinfo('') returned empty list"),
    ],
)
def test_why_it_cannot_listen(error, said):
    """The numbers of names that lead nowhere are others than the system's: 8 is a program that cannot run."""
    from soundkin.cli.serving import _reason

    assert _reason(error) == said


def test_without_a_library_it_wants_music(tmp_path, capsys):
    said = ended(capsys, "--library", tmp_path / "library")
    assert f"there is no library in {tmp_path / 'library'}" in said
    assert "soundkin serve FOLDER" in said
    assert list(tmp_path.iterdir()) == []


def test_a_library_of_a_newer_soundkin_is_not_served(tmp_path, capsys):
    Record.open(tmp_path, write=True).close()
    with closing(sqlite3.connect(tmp_path / "record.sqlite")) as db:
        db.execute("PRAGMA user_version = 999")
    assert "newer Soundkin (version 999" in ended(capsys, tmp_path, "--library", tmp_path)


@pytest.mark.parametrize(
    "options", [("--host", "0.0.0.0"), ("--host", "::"), ("--allow-host", "music.example")]
)
def test_others_get_in_only_when_somebody_may_log_in(tmp_path, capsys, options):
    assert "soundkin user add" in ended(capsys, "--library", tmp_path, "--port", "0", *options)


def test_users_are_made_listed_and_removed(tmp_path, capsys, monkeypatch):
    import io

    from soundkin import cli

    def command(*words, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            cli.main(["user", *words, "--library", str(tmp_path)])
        return ended.value.code or 0, *capsys.readouterr()

    assert command("list")[1].startswith("nobody")
    assert command("add", "ana")[0] == 1  # no terminal to ask at
    assert command("add", "ana", "--password-stdin", typed="long enough\n")[0] == 0
    assert command("add", "ben", "--password-stdin", typed="short\n")[0] == 1
    token = command("token", "ana", "--label", "player")[1].strip()
    assert token.startswith("sk_")
    assert json.loads(command("list", "--json")[1])[0]["tokens"] == ["player"]
    assert command("remove", "ana")[0] == 0
    assert command("remove", "ana")[0] == 1


@pytest.mark.slow
def test_users_get_in_under_the_name_that_is_allowed(tmp_path):
    Record.open(tmp_path, write=True).close()
    Accounts(tmp_path).add("ana", "long enough")
    token = Accounts(tmp_path).token("ana", "player")
    with running(tmp_path, "--allow-host", "music.example") as (address, _):
        headers = {"authorization": f"Bearer {token}", "host": "music.example"}
        assert get(f"{address}{API}/session", headers=headers).json()["user"] == "ana"
        assert get(f"{address}{API}/tracks").status_code == 401


@pytest.mark.slow
def test_the_log_names_nobody(made, tmp_path):
    folder = copied(made.library, tmp_path / "library")
    with running(folder, "--log") as (address, process):
        get(f"{address}{API}/search?q=secret")
        get(f"{address}{API}/nothing/secret")
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        lines = [json.loads(line) for line in read(process.stderr).splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [200, 404]
    assert "secret" not in json.dumps(lines)
    assert "127.0.0.1" not in json.dumps(lines)
