"""Two servers, each a process, and one PostgreSQL: what one is told, the other knows.

The index is one of their own, or one on a Qdrant that they share.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from qdrant_http import fake_qdrant
from served import running
from serving import API, PATIENCE, until

from soundkin.library import Library
from soundkin.record import Record, writer_of
from soundkin.record.copying import copy_record
from soundkin.serve.accounts import Accounts

pytestmark = pytest.mark.postgres
NAME, PASSWORD = "ana", "long enough"


@pytest.fixture
def url(postgres, made):
    place = postgres.new_place()
    copy_record(made.library, place)
    Accounts(place).add(NAME, PASSWORD)
    return place


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Server:
    """A server, and somebody who asks it; whose cookie may come from another one."""

    def __init__(self, stack, folder, url, *options):
        self.address, self.process = stack.enter_context(running(folder, "--record", url, *options))
        self.client = stack.enter_context(
            httpx.Client(base_url=self.address, headers={"origin": self.address}, timeout=PATIENCE)
        )

    def log_in(self):
        answer = self.client.post(f"{API}/session", json={"name": NAME, "password": PASSWORD})
        assert answer.status_code == 200
        return answer.cookies["soundkin"]

    def get(self, path):
        answer = self.client.get(f"{API}{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def say(self, kind, track):
        return self.client.post(f"{API}/feedback", json={"kind": kind, "tracks": [track]}).status_code

    def recommended(self):
        answer = self.client.post(f"{API}/recommend", json={"k": 5})
        return (
            [hit["id"] for hit in answer.json()["hits"]] if answer.status_code == 200 else answer.status_code
        )


def two_servers(stack, folder, url, *options):
    """Start two servers; who logged in at the first asks both."""
    one, two = (Server(stack, folder / name, url, *options) for name in ("one", "two"))
    two.client.cookies.set("soundkin", one.log_in())
    return one, two


@pytest.fixture
def both(stack, url, tmp_path):
    return two_servers(stack, tmp_path, url)


@pytest.fixture(params=["index of its own", "shared index"])
def servers(request, stack, url, tmp_path):
    """Two servers with nothing in their folders that the other lacks; the second kind has nothing there at all."""
    if request.param == "index of its own":
        return two_servers(stack, tmp_path, url)
    qdrant = stack.enter_context(fake_qdrant())
    with Library.open(tmp_path / "indexing", qdrant.url, record=url) as library:
        library.similar(library.tracks()[0], 1)  # who indexes fills it
    return two_servers(stack, tmp_path, url, "--qdrant", qdrant.url)


def test_what_one_server_is_told_the_other_knows(servers, tmp_path):
    one, two = servers
    assert two.get("/session")["user"] == NAME
    tracks = [track["id"] for track in one.get("/tracks?limit=100")["tracks"]]
    assert tracks == [track["id"] for track in two.get("/tracks?limit=100")["tracks"]]
    assert one.recommended() == two.recommended() == 400  # nothing to go by
    assert one.say("like", tracks[0]) == 200
    first = two.recommended()
    assert tracks[0] not in first
    assert first == one.recommended()
    assert two.say("dislike", first[0]) == 200
    second = one.recommended()
    assert first[0] not in second
    assert second == two.recommended()
    kept = one.client.post(f"{API}/playlists", json={"name": "Evening", "tracks": tracks[:2]})
    assert kept.status_code in (200, 201), kept.text
    assert [one["name"] for one in two.get("/playlists")] == ["Evening"]
    assert one.client.delete(f"{API}/session").status_code == 204
    assert two.client.get(f"{API}/tracks").status_code == 401
    assert not [path for path in tmp_path.rglob("*.sqlite*") if path.is_file()]


def test_nothing_is_lost_or_double_when_one_is_killed(both, url):
    one, two = both
    tracks = [track["id"] for track in two.get("/tracks?limit=100")["tracks"]][:20]

    def tell(numbered):
        number, track = numbered
        name, server = ("one", one) if number % 2 else ("two", two)
        if number == 30:
            one.process.kill()
        try:
            return name, server.say("play", track)
        except httpx.HTTPError:
            return name, "unknown"  # whether it was written down before it died, nobody has told

    with ThreadPoolExecutor(4) as pool:
        done = Counter(pool.map(tell, enumerate(tracks * 4)))
    assert done["two", 200] == 40
    assert done["one", "unknown"] > 0
    with Record.open(url) as record:
        plays = sum(said.kind == "play" for said in record.feedback(NAME))
    told = done["one", 200] + 40
    assert told <= plays <= told + done["one", "unknown"]
    assert two.say("like", tracks[0]) == 200
    assert len(two.recommended()) == 5


def test_a_scan_of_one_server_is_seen_by_the_other_and_while_it_runs_both_answer(stack, url, made, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    shutil.copy(made.outside, music / "new.mp3")
    one, two = two_servers(stack, tmp_path, url, str(music))
    before = two.get("/tracks")["total"]
    with Record.open(url, write=True) as writer:
        writer.say({"done": 3, "total": 7, "failed": 1})
        for server in (one, two):
            state = server.get("/scan")
            assert (state["state"], state["can_start"]) == ("elsewhere", False)
            assert (state["done"], state["total"], state["failed"]) == (3, 7, 1)
            assert "process" in state["message"]
            assert server.get("/tracks")["total"] == before
    until(lambda: not writer_of(url))
    assert one.client.post(f"{API}/scan").status_code == 202
    scanned = until(lambda: next((s for s in [one.get("/scan")] if s["state"] != "running"), None), PATIENCE)
    assert (scanned["state"], scanned["added"], scanned["failed"]) == ("done", 1, 0), scanned
    new = two.get("/search?q=new")["tracks"]
    assert [track["path"] for track in new] == [str(music / "new.mp3")]
    for server in (one, two):
        hits = server.client.post(f"{API}/similar", json={"query": new[0]["id"]}).json()["hits"]
        assert len(hits) == 10
    with Record.open(url) as record:
        assert len(record.files()) == before + 1


def test_servers_go_on_after_the_database_was_restarted(both, postgres):
    one, two = both
    track = one.get("/tracks")["tracks"][0]["id"]
    assert one.say("like", track) == 200
    first = two.recommended()
    postgres.stop()
    refused = two.client.post(f"{API}/recommend", json={"k": 5})
    assert refused.status_code == 503
    assert refused.json()["error"]["kind"] == "unavailable"
    postgres.start()
    assert [server.recommended() for server in both] == [first, first]


def test_an_index_on_one_server_follows_what_another_process_writes(url, tmp_path):
    with Library.open(tmp_path / "one", record=url) as one, Library.open(tmp_path / "two", record=url) as two:
        asked, gone = one.tracks()[0], one.similar(one.tracks()[0], 1)[0]
        assert gone.id in {hit.id for hit in two.similar(asked, 5)}
        one.remove([gone.id])
        assert gone.id not in {hit.id for hit in two.similar(asked, 30)}
