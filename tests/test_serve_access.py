"""Who may ask what: every route without a login, other sites, other names, guesses."""

import os
import re
import stat

import pytest
from made import copied
from serving import API, BASE, client_of, quick_passwords
from starlette.routing import Route
from starlette.testclient import TestClient

from soundkin.errors import InputError, NotFound
from soundkin.serve.accounts import SCRYPT, Accounts
from soundkin.serve.guard import OPEN
from soundkin.serve.state import State
from soundkin.serve.throttle import Throttle, network_of

PASSWORD = "correct horse battery"
USUAL = dict(SCRYPT)  # as it is before tests log in by the dozen
SAME = {"origin": BASE}


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with quick_passwords():
        yield


@pytest.fixture
def folder(made, tmp_path):
    return copied(made.library, tmp_path / "library")


@pytest.fixture(scope="module")
def unlocked(made, tmp_path_factory):
    """A server that wants no login, for tests that change nothing."""
    folder = copied(made.library, tmp_path_factory.mktemp("unlocked") / "library")
    with client_of(folder, hosts=["music.example"]) as client:
        yield client


@pytest.fixture
def locked(folder):
    """A server that wants a login, and its one user."""
    Accounts(folder).add("ana", PASSWORD)
    with client_of(folder) as client:
        yield client


def log_in(client, password=PASSWORD, name="ana"):
    return client.post(f"{API}/session", json={"name": name, "password": password}, headers=SAME)


def routes_of(client):
    """Every method and path that the application answers, with something in the place of parameters."""

    def walk(routes, prefix=""):
        for route in routes:
            if isinstance(route, Route):
                yield from ((method, prefix + route.path) for method in route.methods or ())
            elif inner := getattr(getattr(route, "original_router", route), "routes", None):
                more = getattr(getattr(route, "include_context", route), "prefix", "")
                yield from walk(inner, prefix + (more or ""))

    return sorted(
        (method, re.sub(r"\{\w+(:path)?\}", "0123456789abcdef", re.sub(r"\{path:path\}", "index.html", path)))
        for method, path in walk(client.app.routes)
    )


def test_no_route_answers_a_stranger(locked):
    routes = routes_of(locked)
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "0123456789abcdef", path))
        for path, methods in locked.app.openapi()["paths"].items()
        for method in methods
    }
    assert documented <= set(routes)  # the walk has found them all
    assert len(routes) > 40
    for method, path in routes:
        if path in OPEN or not path.startswith(("/api", "/metrics")):
            continue
        answer = locked.request(method, path, headers=SAME)
        assert answer.status_code == 401, (method, path)
        if method != "HEAD":
            assert answer.json()["error"]["kind"] == "login"


def test_what_is_open_says_nothing_of_the_library(locked, folder):
    for path in (*OPEN, "/", "/index.html", "/map"):
        answer = locked.get(path)
        assert answer.status_code in (200, 404)
        assert str(folder) not in answer.text
    assert locked.get(f"{API}/session").json() | {"moods": []} == {
        "user": None, "login": True, "profile": "default", "version": "", "moods": [], "scan": False,
    }  # fmt: skip


def test_a_login_opens_and_a_logout_closes(locked):
    answer = log_in(locked)
    assert answer.json()["user"] == answer.json()["profile"] == "ana"
    cookie = answer.headers["set-cookie"].lower()
    for word in ("httponly", "samesite=strict", "path=/", "max-age=2592000"):
        assert word in cookie
    assert locked.get(f"{API}/tracks").status_code == 200
    assert "ana" in {one["name"] for one in locked.get(f"{API}/profiles").json()}
    track = locked.get(f"{API}/tracks?limit=1").json()["tracks"][0]
    said = locked.post(f"{API}/feedback", json={"kind": "like", "tracks": [track["id"]]}, headers=SAME)
    assert said.json()["profile"] == "ana"
    secret = locked.cookies["soundkin"]
    assert locked.delete(f"{API}/session", headers=SAME).status_code == 204
    locked.cookies.set("soundkin", secret)
    assert locked.get(f"{API}/tracks").status_code == 401  # the session itself has ended


def test_a_cookie_alone_changes_nothing(locked):
    log_in(locked)
    asked = {"name": "x"}
    for headers in (
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ):
        assert locked.post(f"{API}/profiles", json=asked, headers=headers).status_code == 403
    for headers in ({"sec-fetch-site": "same-origin"}, SAME):
        assert locked.post(f"{API}/profiles", json=asked, headers=headers).status_code in (201, 400)


def test_another_site_cannot_use_an_open_server(unlocked):
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert unlocked.post(f"{API}/profiles", json={"name": "x"}, headers=headers).status_code == 403
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert unlocked.get(f"{API}/tracks", headers=elsewhere).status_code == 403
    assert unlocked.get("/", headers=elsewhere).status_code == 200  # a link that leads here


def test_a_token_asks_in_the_name_of_its_user(locked, folder):
    token = Accounts(folder).token("ana", "player")
    headers = {"authorization": f"Bearer {token}"}
    assert locked.get(f"{API}/session", headers=headers).json()["user"] == "ana"
    assert (
        locked.post(f"{API}/profiles", json={"name": "x"}, headers=headers).status_code == 201
    )  # no Origin needed
    assert locked.get("/metrics", headers=headers).status_code == 200
    for wrong in ("Bearer nonsense", f"Basic {token}", "Bearer", f"Bearer {token}x"):
        assert locked.get(f"{API}/tracks", headers={"authorization": wrong}).status_code == 401
    Accounts(folder).remove("ana")


def test_who_is_removed_is_out_at_once(locked, folder):
    log_in(locked)
    headers = {"authorization": f"Bearer {Accounts(folder).token('ana', 'x')}"}
    Accounts(folder).add("ben", PASSWORD)
    Accounts(folder).remove("ana")
    assert locked.get(f"{API}/tracks").status_code == 401
    assert locked.get(f"{API}/tracks", headers=headers).status_code == 401
    assert log_in(locked).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "local host", "[", "music.example.evil:80"]
)
def test_a_name_that_is_not_ours_is_refused(unlocked, host):
    assert unlocked.get(f"{API}/tracks", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:8765", "[::1]:8765", "Music.example", "10.0.0.7"]
)
def test_names_that_are_ours(unlocked, host):
    assert unlocked.get("/healthz", headers={"host": host}).status_code == 200


def test_guessing_takes_time(locked):
    answers = [log_in(locked, "wrong password").status_code for _ in range(7)]
    assert answers[:5] == [401] * 5
    assert 429 in answers[5:]
    late = log_in(locked)
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1


def guess(locked, host):
    """Guess from elsewhere; return the status of the answer."""
    elsewhere = TestClient(locked.app, base_url=BASE, client=(host, 50_000))
    return log_in(elsewhere, "wrong password").status_code


def test_a_stranger_who_guesses_does_not_keep_the_owner_out(locked):
    answers = [guess(locked, f"2001:db8::{number}") for number in range(7)]  # all of one network
    assert answers[:5] == [401] * 5
    assert 429 in answers[5:]
    assert log_in(locked).status_code == 200


def test_guessing_from_many_networks_takes_time_too(locked):
    answers = [guess(locked, f"10.{number}.0.1") for number in range(103)]
    assert answers[:100] == [401] * 100
    assert 429 in answers[100:]


def test_an_account_of_their_own_gives_a_guesser_no_new_guesses(locked, folder):
    Accounts(folder).add("eve", PASSWORD)
    answers = [log_in(locked, "wrong password", f"name {number}").status_code for number in range(49)]
    assert answers == [401] * 49
    assert log_in(locked, PASSWORD, "eve").status_code == 200
    assert 429 in [log_in(locked, "wrong password", f"other {number}").status_code for number in range(7)]


def test_who_logs_in_is_forgiven_what_they_mistyped(locked):
    for _ in range(3):
        assert [log_in(locked, "wrong password").status_code for _ in range(4)] == [401] * 4
        assert log_in(locked).status_code == 200


def test_a_stranger_learns_nothing_of_names(locked):
    wrong, nobody = log_in(locked, "wrong password"), log_in(locked, "wrong password", "nobody")
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.json() == nobody.json()


def test_a_shared_server_wants_a_login_even_without_users(folder):
    with client_of(folder, needs_login=True) as client:
        assert client.get(f"{API}/tracks").status_code == 401


def test_every_answer_tells_browsers_what_not_to_do(locked):
    for path in ("/", f"{API}/tracks", "/nothing.js", "/healthz"):
        headers = locked.get(path).headers
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe-" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_a_bug_is_told_without_its_traceback(unlocked, monkeypatch):
    monkeypatch.setattr(State, "profiles", lambda self, user: 1 / 0)
    answer = unlocked.get(f"{API}/profiles")
    assert answer.status_code == 500
    assert answer.json()["error"]["kind"] == "internal"
    assert "ZeroDivision" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


# ---- accounts


def test_accounts_are_readable_by_their_owner_alone(tmp_path):
    accounts = Accounts(tmp_path)
    assert not accounts.any()
    assert accounts.add(" ana ", PASSWORD) == "ana"
    token, begun = accounts.token("ana", "player"), accounts.log_in(" ana", PASSWORD)
    assert begun
    name, secret = begun
    assert name == "ana"
    file = tmp_path / "server.sqlite"
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_bytes()
    for word in (PASSWORD, token, secret):
        assert word.encode() not in kept
    assert accounts.any()
    for name, password in (("ana", "wrong password"), ("ben", PASSWORD), ("", PASSWORD), ("ana", "")):
        assert accounts.log_in(name, password) is None
    assert accounts.of_token(token) == accounts.of_session(secret) == "ana"
    assert [(user.name, user.tokens) for user in accounts.users()] == [("ana", ("player",))]
    accounts.log_out(secret)
    assert accounts.of_session(secret) is None


def test_a_password_costs_what_owasp_asks_for():
    """Password Storage Cheat Sheet, 2024: scrypt with N = 2^15, r = 8 and p = 3 is one of five that count as equal."""
    assert (USUAL["n"], USUAL["r"], USUAL["p"]) == (32768, 8, 3)


def test_accounts_refuse_what_is_unusable(tmp_path):
    accounts = Accounts(tmp_path)
    accounts.add("ana", PASSWORD)
    for name, password, words in (
        ("ana", PASSWORD, "already"),
        ("b", "short", "8 or more"),
        (" ", PASSWORD, "1 to"),
        ("ana/x", PASSWORD, "without '/'"),
    ):
        with pytest.raises(InputError, match=words):
            accounts.add(name, password)
    for ask in (lambda: accounts.remove("ben"), lambda: accounts.token("ben", "x")):
        with pytest.raises(NotFound, match="no user 'ben'"):
            ask()


def test_waiting_doubles_with_every_failure_and_ends(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("soundkin.serve.throttle.time.monotonic", lambda: now[0])
    throttle, waits = Throttle(free=2, longest=8.0), []
    for _ in range(7):
        throttle.failed("a")
        waits.append(throttle.wait("a"))
    assert waits == [0, 1, 2, 4, 8, 8, 8]
    assert throttle.wait("b") == 0
    now[0] += 9
    assert throttle.wait("a") == 0
    throttle.passed("a")
    throttle.failed("a")
    assert throttle.wait("a") == 0
    for _ in range(2000):  # a day of tries, more than a power of two may count
        throttle.failed("a")
    assert throttle.wait("a") == 8
    now[0] += 3600  # an hour in which nobody failed
    throttle.failed("a")
    assert throttle.wait("a") == 0


def test_neighbours_share_a_network():
    """RFC 6177: a site gets a /64 at the least, so one host may have as many addresses as it likes."""
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:203.0.113.5") == network_of("203.0.113.5") != network_of("203.0.113.6")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("testclient") == "testclient"
