"""With logins, whose profiles and playlists are whose: on every route that names one."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass

import pytest
from made import copied
from serving import API, BASE, client_of, quick_passwords
from starlette.testclient import TestClient

from soundkin.errors import InputError, NotFound, StoreError
from soundkin.library import Library
from soundkin.record import Record
from soundkin.serve.accounts import FILE_NAME, Accounts

PASSWORD = "correct horse battery"
NOBODY = "0123456789abcdef"
EVENING, OLD = "evening", "before there were users"


@dataclass
class House:
    """A server with two users, of whom Ana has everything."""

    client: TestClient
    tokens: dict[str, str]
    list_id: str
    liked: str
    disliked: str

    def ask(self, user, method, path, **more):
        headers = {"authorization": f"Bearer {self.tokens[user]}"}
        return self.client.request(method, f"{API}{path}", headers=headers, **more)

    def send(self, user, path, body):
        answer = self.ask(user, "POST", path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def house(made, tmp_path_factory):
    folder = copied(made.library, tmp_path_factory.mktemp("house") / "library")
    with Library.open(folder) as library:
        liked, disliked = sorted(track.id for track in library.tracks() if "copies" not in track.path)[:2]
        library.create_profile(OLD)
        library.feedback("like", [disliked], OLD)
        library.feedback("like", [disliked])
    with quick_passwords(), client_of(folder) as client:
        accounts = Accounts(folder)
        for user in ("ana", "ben"):
            accounts.add(user, PASSWORD)
        tokens = {user: accounts.token(user, "test") for user in ("ana", "ben")}
        made_house = House(client, tokens, "", liked, disliked)
        kept = made_house.send("ana", "/playlists", {"name": "Mornings", "tracks": [liked]})
        made_house.list_id = kept["id"]
        made_house.send("ana", "/profiles", {"name": EVENING})
        for profile in (None, EVENING):
            said = made_house.send(
                "ana", "/feedback", {"kind": "like", "tracks": [liked], "profile": profile}
            )
            assert said["profile"] == (profile or "ana")
        made_house.send("ana", "/feedback", {"kind": "dislike", "tracks": [disliked], "profile": "ana"})
        yield made_house


def operations(house):
    """Every documented operation: method, path without the prefix, and what it says of itself."""
    document = house.client.app.openapi()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            names = {parameter["name"] for parameter in about.get("parameters", ())}
            for kind in about.get("requestBody", {}).get("content", {}).values():
                schema = kind["schema"]
                shape = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
                names |= set(shape.get("properties", ()))
            yield method.upper(), path.removeprefix(API), names


def naming_a_profile(house):
    """What to send to each route that takes the name of a profile."""
    track, other = house.liked, house.disliked
    return {
        ("GET", "/tracks"): {},
        ("GET", "/tracks/{track_id}"): {},
        ("GET", "/facets"): {},
        ("GET", "/map"): {},
        ("GET", "/taste"): {},
        ("GET", "/profiles/{name}/history"): {},
        ("DELETE", "/profiles/{name}"): {},
        ("POST", "/similar"): {"query": track},
        ("POST", "/similar/upload"): {},
        ("POST", "/recommend"): {"likes": [track]},
        ("POST", "/path"): {"start": track, "end": other},
        ("POST", "/radio"): {"queries": [track]},
        ("POST", "/mix"): {"likes": [track]},
        ("POST", "/feedback"): {"kind": "like", "tracks": [track]},
    }


def test_no_route_knows_a_profile_of_somebody_else(house, made):
    asked = naming_a_profile(house)
    found = {
        (method, path)
        for method, path, names in operations(house)
        if "profile" in names or (path.startswith("/profiles/") and "name" in names)
    }
    assert found == set(asked)  # one that is added has to be tried here, too
    for (method, path), body in asked.items():
        for name in ("ana", EVENING, "default", OLD, f"ana/{EVENING}"):
            where = path.replace("{track_id}", house.liked).replace("{name}", name)
            if path == "/similar/upload":
                sent = {"files": {"file": made.outside.read_bytes()}, "data": {"profile": name}}
            elif method == "POST":
                sent = {"json": body | {"profile": name}}
            else:
                sent = {"params": {"profile": name}}
            answer = house.ask("ben", method, where, **sent)
            assert answer.status_code == 404, (method, where, name, answer.text)
            assert answer.json()["error"]["message"] == "there is no profile of that name"


def test_no_route_knows_a_playlist_of_somebody_else(house):
    found = [(method, path) for method, path, names in operations(house) if "list_id" in names]
    assert len(found) == 4
    body = {"name": "Mine now", "tracks": []}
    for method, path in found:
        more = {"json": body} if method == "PUT" else {}
        theirs = house.ask("ben", method, path.replace("{list_id}", house.list_id), **more)
        none = house.ask("ben", method, path.replace("{list_id}", NOBODY), **more)
        assert theirs.status_code == none.status_code == 404
        assert theirs.text.replace(house.list_id, NOBODY) == none.text
    assert house.ask("ben", "GET", "/playlists").json() == []
    [mine] = house.ask("ana", "GET", "/playlists").json()
    assert (mine["id"], mine["name"], mine["count"]) == (house.list_id, "Mornings", 1)
    assert house.ask("ana", "GET", f"/playlists/{house.list_id}/export").status_code == 200


def test_users_see_the_profiles_of_their_own(house):
    assert sorted(one["name"] for one in house.ask("ana", "GET", "/profiles").json()) == ["ana", EVENING]
    assert [one["name"] for one in house.ask("ben", "GET", "/profiles").json()] == ["ben"]
    assert house.ask("ana", "GET", "/session").json()["profile"] == "ana"
    history = house.ask("ana", "GET", f"/profiles/{EVENING}/history").json()
    assert [(entry["kind"], entry["track"]) for entry in history] == [("like", house.liked)]


def test_two_users_may_call_a_profile_the_same(house):
    assert house.send("ben", "/profiles", {"name": EVENING})["name"] == EVENING
    again = house.ask("ben", "POST", "/profiles", json={"name": EVENING})
    assert again.status_code == 400
    assert "ben/" not in again.text
    assert house.ask("ben", "GET", f"/profiles/{EVENING}/history").json() == []
    assert house.ask("ben", "DELETE", f"/profiles/{EVENING}").status_code == 204
    assert house.ask("ana", "GET", f"/profiles/{EVENING}/history").json() != []


def test_what_is_said_by_one_is_not_heard_by_another(house):
    """Not in rows, nor by filters, which look at a profile also where no taste is asked for."""
    assert house.ask("ana", "GET", f"/tracks/{house.liked}").json()["verdict"] == "like"
    assert house.ask("ben", "GET", f"/tracks/{house.liked}").json()["verdict"] == ""
    assert house.ask("ana", "GET", "/tracks", params={"filter": "liked"}).json()["total"] == 1
    assert house.ask("ben", "GET", "/tracks", params={"filter": "liked"}).json()["total"] == 0
    questions = {
        "/similar": {"query": house.disliked, "filters": ["liked"]},
        "/recommend": {"likes": [house.disliked], "filters": ["liked"]},
        "/radio": {"queries": [house.disliked], "filters": ["liked"], "n": 1},
        "/mix": {"filters": ["liked"]},
    }
    for path, body in questions.items():
        assert [hit["id"] for hit in house.send("ana", path, body)["hits"]] == [house.liked], path
        assert house.send("ben", path, body)["hits"] == [], path


def test_a_user_always_has_a_profile(house):
    house.send("ben", "/feedback", {"kind": "play", "tracks": [house.liked]})
    assert house.ask("ben", "DELETE", "/profiles/ben").status_code == 204
    assert house.ask("ben", "GET", "/profiles/ben/history").json() == []
    assert house.ask("ben", "GET", "/tracks").status_code == 200


def test_a_scan_is_not_waited_for_where_a_profile_is_there(made, tmp_path, monkeypatch):
    """Nor is anything written: what opens the record to write is not even asked."""
    folder = copied(made.library, tmp_path / "library")
    with Library.open(folder) as library:
        library.create_profile("ana")
    with quick_passwords(), client_of(folder) as client:
        token = Accounts(folder).add("ana", PASSWORD) and Accounts(folder).token("ana", "test")
        monkeypatch.setattr(
            Record, "open_to_note", None
        )  # it would be no profile, which answers 404, or a bug, 500
        for _ in range(2):
            answer = client.get(f"{API}/profiles", headers={"authorization": f"Bearer {token}"})
            assert [one["name"] for one in answer.json()] == ["ana"]


def test_a_library_that_cannot_be_written_is_not_tried_again_and_again(made, tmp_path, monkeypatch):
    folder, tried = copied(made.library, tmp_path / "library"), []

    def refuse(folder):
        tried.append(folder)
        raise StoreError("read-only")

    with quick_passwords(), client_of(folder) as client:
        token = Accounts(folder).add("ana", PASSWORD) and Accounts(folder).token("ana", "test")
        monkeypatch.setattr(Record, "open_to_note", refuse)
        for _ in range(3):
            answer = client.get(f"{API}/profiles", headers={"authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()) == (200, [])
        assert len(tried) == 1


def test_without_a_login_names_may_hold_what_stands_before_those_of_users(made, tmp_path):
    folder = copied(made.library, tmp_path / "library")
    names = ("ana", "ana/evening", "ana/evening/history", "a/history")
    with Library.open(folder) as library:
        track = library.tracks()[0].id
        for name in names:
            library.create_profile(name)
            library.feedback("like", [track], name)
    with client_of(folder) as client:
        for name in names:
            history = client.get(f"{API}/profiles/{name}/history")
            assert [entry["track"] for entry in history.json()] == [track], name
            assert client.delete(f"{API}/profiles/{name}", headers={"origin": BASE}).status_code == 204
        assert [one["name"] for one in client.get(f"{API}/profiles").json()] == ["default"]


def test_a_user_who_is_called_like_a_profile_of_another_is_nobody(made, tmp_path):
    """Such names were taken before profiles had owners."""
    folder = copied(made.library, tmp_path / "library")
    with quick_passwords(), client_of(folder) as client:
        accounts = Accounts(folder)
        accounts.add("ana", PASSWORD)
        accounts.add("zoe", PASSWORD)
        token, begun = accounts.token("zoe", "test"), accounts.log_in("zoe", PASSWORD)
        assert begun
        with closing(sqlite3.connect(folder / FILE_NAME)) as db, db:
            db.execute("UPDATE users SET name = 'ana/evening' WHERE name = 'zoe'")
            for table in ("tokens", "sessions"):
                db.execute(f"UPDATE {table} SET user = 'ana/evening' WHERE user = 'zoe'")
        assert accounts.log_in("ana/evening", PASSWORD) is None
        for headers in ({"authorization": f"Bearer {token}"}, {"cookie": f"soundkin={begun[1]}"}):
            assert client.get(f"{API}/profiles", headers=headers).status_code == 401
        body = {"name": "ana/evening", "password": PASSWORD}
        refused = client.post(f"{API}/session", json=body, headers={"origin": BASE})
        assert refused.status_code == 401
        assert "no user has a name with '/'" in refused.json()["error"]["message"]
        with pytest.raises(InputError, match="without '/'"):
            accounts.token("ana/evening", "another")
        accounts.remove("ana/evening")
        assert [user.name for user in accounts.users()] == ["ana"]


def test_the_first_user_takes_over_what_was_kept_without_one(tmp_path):
    accounts = Accounts(tmp_path)
    kept = accounts.keep_playlist("Mornings", ["0" * 16])
    assert accounts.playlists() == [kept]
    with quick_passwords():
        accounts.add("ana", PASSWORD)
        accounts.add("ben", PASSWORD)
    assert accounts.playlist(kept.id, "ana") == kept
    with pytest.raises(NotFound):
        accounts.playlist(kept.id, "ben")
    assert accounts.playlists() == [kept]  # whoever sits at the machine


def test_playlists_from_before_they_had_owners_are_kept(tmp_path):
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.execute("CREATE TABLE users (name TEXT PRIMARY KEY, salt BLOB, key BLOB, created REAL NOT NULL)")
        db.execute("CREATE TABLE playlists (id TEXT PRIMARY KEY, name TEXT, tracks TEXT, changed REAL)")
        db.execute("INSERT INTO playlists VALUES ('0123456789abcdef', 'Mornings', '[\"ab\"]', 5.0)")
        db.executemany("INSERT INTO users VALUES (?, x'', x'', ?)", [("ben", 2.0), ("ana", 1.0)])
    accounts = Accounts(tmp_path)
    assert accounts.playlists("ben") == []
    [kept] = accounts.playlists("ana")
    assert (kept.id, kept.name, kept.tracks, kept.changed) == (NOBODY, "Mornings", ("ab",), 5.0)
