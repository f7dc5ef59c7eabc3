"""What the routes say, asked of the application in this process."""

import io
import json
import logging
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from made import copied
from serving import API, client_of, made

from soundkin import playlists
from soundkin.library import Library


@pytest.fixture(scope="module")
def folder(made_library, tmp_path_factory):
    return copied(made_library.library, tmp_path_factory.mktemp("served") / "library")


@pytest.fixture(scope="module")
def made_library(made):  # the name `made` is taken by a helper here
    return made


@pytest.fixture(scope="module")
def client(folder):
    with client_of(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def tracks(shared):
    """In one order on every run, which ids are not; copies last."""
    return sorted(shared.tracks(), key=lambda track: ("copies" in track.path, track.path))


def problem(answer, status, kind):
    """Return the message of an error, which has the one shape."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"kind", "message", "choices"}
    assert error["kind"] == kind
    assert error["message"]
    assert "\n" not in error["message"]
    assert "Traceback" not in answer.text
    return error["message"]


# ---- tracks


def test_tracks_come_in_pages(client, tracks):
    first = client.get(f"{API}/tracks", params={"limit": 5, "sort": "title"}).json()
    rest = client.get(f"{API}/tracks", params={"limit": 500, "offset": 5, "sort": "title"}).json()
    assert first["total"] == rest["total"] == len(tracks)
    together = [track["id"] for track in first["tracks"] + rest["tracks"]]
    assert sorted(together) == sorted(track.id for track in tracks)


def test_a_track_says_what_the_library_knows(client, tracks):
    answer = client.get(f"{API}/tracks/{tracks[3].id}").json()
    for name in ("id", "title", "artist", "album", "year", "duration", "bpm", "key", "format", "size"):
        assert answer[name] == getattr(tracks[3], name)
    assert answer["genres"] == list(tracks[3].genres)
    assert answer["name"] == tracks[3].name


def test_what_is_not_there_or_no_id(client):
    problem(client.get(f"{API}/tracks/0123456789abcdef"), 404, "not_found")
    problem(client.get(f"{API}/tracks/..%2f..%2fetc%2fpasswd"), 404, "not_found")
    problem(client.get(f"{API}/tracks/xyz"), 422, "invalid")
    problem(client.get(f"{API}/nothing"), 404, "not_found")
    problem(client.get("/api"), 404, "not_found")


def test_chips_have_counts_under_the_filters_given(client, tracks):
    answer = client.get(f"{API}/facets", params={"field": ["format", "genre"], "filter": "duration>0"}).json()
    assert answer["total"] == len(tracks)
    counts = {chip["value"]: chip["count"] for chip in answer["facets"]["format"]}
    assert counts == {name: sum(t.format == name for t in tracks) for name in {t.format for t in tracks}}
    for chip in answer["facets"]["genre"]:
        narrowed = client.get(f"{API}/tracks", params={"filter": chip["filter"]}).json()
        assert narrowed["total"] == chip["count"]


def test_search_answers_unfinished_words(client, tracks):
    track = next(t for t in tracks if " " in t.artist)
    answer = client.get(f"{API}/search", params={"q": track.artist[:4]}).json()
    assert track.artist in [one["value"] for one in answer["artists"]]
    assert answer["tracks"]
    assert client.get(f"{API}/search").json() == {"tracks": [], "artists": [], "albums": []}


# ---- questions


def test_similar_has_what_a_row_shows(client, tracks):
    answer = client.post(f"{API}/similar", json={"query": tracks[0].id, "k": 4}).json()
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3, 4]
    known = {track.id: track for track in tracks}
    for hit in answer["hits"]:
        assert hit["year"] == known[hit["id"]].year
        assert hit["genres"] == list(known[hit["id"]].genres)
        assert hit["path"] == known[hit["id"]].path


def test_what_was_learned_from_plays_is_told(client, tracks):
    """Here nothing was: a question for both is answered by sound, and says so; test_tasting has the rest."""
    status = client.get(f"{API}/taste").json()
    assert not status["learned"]
    assert "soundkin taste train" in status["why_not"]
    asked = {"likes": [tracks[0].id], "k": 3}
    alone = client.post(f"{API}/recommend", json=asked).json()
    both = client.post(f"{API}/recommend", json={**asked, "hybrid": True}).json()
    assert both["hits"] == alone["hits"]
    assert both["note"].endswith(f"by sound alone: {status['why_not']}")
    assert "by sound alone" not in alone["note"]


def test_an_upload_is_heard_and_not_kept(client, folder, made_library, shared):
    before = {p for p in folder.rglob("*") if "cache" not in p.parts}
    with made_library.outside.open("rb") as file:
        answer = client.post(
            f"{API}/similar/upload", files={"file": (made_library.outside.name, file)}, data={"k": "3"}
        )
    assert answer.status_code == 200, answer.text
    wanted = shared.similar(made_library.outside, k=3)
    assert [hit["id"] for hit in answer.json()["hits"]] == [hit.id for hit in wanted]
    heard = answer.json()["heard"]
    assert heard["duration"] == pytest.approx(6, abs=1)
    assert {p for p in folder.rglob("*") if "cache" not in p.parts} - before <= {
        folder / "record.sqlite-shm", folder / "record.sqlite-wal"
    }  # fmt: skip
    assert client.get(f"{API}/tracks").json()["total"] == len(shared.tracks())


def test_an_upload_that_is_no_audio(client):
    message = problem(
        client.post(f"{API}/similar/upload", files={"file": ("song.mp3", b"no song" * 1000)}),
        422,
        "undecodable",
    )
    assert "soundkin-upload" not in message  # where it lay


def test_an_upload_that_is_broken_off_is_nobodys_bug(client, caplog):
    part = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nthe beginn'
    said = iter([{"type": "http.request", "body": part, "more_body": True}, {"type": "http.disconnect"}])
    headers = {"host": "localhost", "content-type": "multipart/form-data; boundary=x"}
    path = f"{API}/similar/upload"
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    sent = []

    async def receive():
        return next(said)

    async def send(message):
        sent.append(message)

    client.portal.call(client.app, scope, receive, send)
    assert sent[0]["status"] == 499  # as nginx counts those who have gone
    assert not [line for line in caplog.records if line.levelno >= logging.WARNING]
    assert 'status="499"} 1.0' in client.get("/metrics").text


def test_a_form_without_a_file_or_with_odd_fields(client):
    problem(client.post(f"{API}/similar/upload", data={"k": "3"}), 400, "bad_request")
    for fields in ({"k": "many"}, {"k": "0"}, {"query": "x"}, {"nonsense": "1"}):
        answer = client.post(f"{API}/similar/upload", files={"file": ("a.wav", b"x")}, data=fields)
        problem(answer, 400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": "x", "k": 0},
        {"query": "x", "nonsense": 1},
        {"query": ""},
        {"query": 3},
        {"query": "x", "at": "NaN"},
    ],
)
def test_a_request_of_the_wrong_shape_is_refused_in_one_line(client, body):
    answer = client.post(f"{API}/similar", json=body)
    problem(answer, 400 if not body else 422, "bad_request" if not body else "invalid")


def test_broken_json_is_refused(client):
    headers = {"content-type": "application/json"}
    problem(client.post(f"{API}/similar", content=b'{"query": ', headers=headers), 422, "invalid")
    problem(client.post(f"{API}/similar", content=b'{"query": "\\ud800"}', headers=headers), 422, "invalid")


def test_a_path_on_this_disk_is_only_words(client, tracks, made_library):
    for path in (tracks[0].path, str(made_library.outside), "/etc/passwd"):
        answer = client.post(f"{API}/similar", json={"query": path})
        assert answer.status_code in (404, 409)  # words match nothing, or several; never the file itself


def test_ambiguous_words_list_their_choices(client, tracks):
    artist = next(t.artist for t in tracks if t.artist and sum(o.artist == t.artist for o in tracks) > 1)
    answer = client.post(f"{API}/similar", json={"query": artist})
    problem(answer, 409, "ambiguous")
    choices = answer.json()["error"]["choices"]
    assert {choice["artist"] for choice in choices} == {artist}


def test_a_radio_goes_on_where_its_listener_is(client, tracks):
    asked = {"queries": [tracks[0].id], "n": 3, "seed": 4}
    first = [hit["id"] for hit in client.post(f"{API}/radio", json=asked).json()["hits"]]
    more = client.post(f"{API}/radio", json={**asked, "heard": first, "disliked": [first[1]]}).json()["hits"]
    assert len(more) == 3
    assert not {hit["id"] for hit in more} & {*first, tracks[0].id}
    assert (
        more
        == client.post(f"{API}/radio", json={**asked, "heard": first, "disliked": [first[1]]}).json()["hits"]
    )


def test_a_mix_of_a_mood(client):
    answer = client.post(f"{API}/mix", json={"moods": ["calm"], "n": 3}).json()
    assert 1 <= len(answer["hits"]) <= 3
    problem(client.post(f"{API}/mix", json={"moods": ["mauve"]}), 400, "bad_request")
    problem(client.post(f"{API}/mix", json={}), 400, "bad_request")


# ---- taste and lists


def test_feedback_changes_the_answer(client, tracks):
    problem(client.post(f"{API}/recommend", json={"profile": "nobody"}), 404, "not_found")
    assert client.post(f"{API}/profiles", json={"name": "Ana"}).status_code == 201
    problem(client.post(f"{API}/profiles", json={"name": "Ana"}), 400, "bad_request")
    for kind, track in (("like", tracks[0]), ("dislike", tracks[5]), ("play", tracks[0])):
        said = client.post(f"{API}/feedback", json={"kind": kind, "tracks": [track.id], "profile": "Ana"})
        assert said.json() == {"profile": "Ana", "kind": kind, "tracks": [track.id]}
    answer = client.post(f"{API}/recommend", json={"profile": "Ana", "k": 5}).json()["hits"]
    assert answer
    assert not {tracks[0].id, tracks[5].id} & {hit["id"] for hit in answer}
    page = client.get(f"{API}/tracks", params={"filter": "liked", "profile": "Ana"}).json()["tracks"]
    assert [(track["id"], track["verdict"]) for track in page] == [(tracks[0].id, "like")]
    kinds = [one["kind"] for one in client.get(f"{API}/profiles/Ana/history").json()]
    assert kinds == ["play", "dislike", "like"]
    assert {p["name"]: p["likes"] for p in client.get(f"{API}/profiles").json()}["Ana"] == 1
    assert client.delete(f"{API}/profiles/Ana").status_code == 204
    problem(client.delete(f"{API}/profiles/Ana"), 404, "not_found")


def test_playlists_are_kept_changed_and_written(client, tracks, tmp_path):
    ids = [tracks[2].id, tracks[0].id, "0" * 16]
    kept = client.post(f"{API}/playlists", json={"name": "Süße Töne/..", "tracks": ids}).json()
    assert [track["id"] for track in kept["tracks"]] == ids[:2]
    assert kept["gone"] == 1
    address = f"{API}/playlists/{kept['id']}"
    for format_ in ("m3u8", "xspf", "jspf"):
        answer = client.get(f"{address}/export", params={"format": format_})
        assert "filename*=UTF-8''S%C3%BC%C3%9Fe%20T%C3%B6ne%2F" in answer.headers["content-disposition"]
        file = tmp_path / f"list.{format_}"
        file.write_bytes(answer.content)
        assert [entry.paths[0] for entry in playlists.read(file)] == [tracks[2].path, tracks[0].path]
    changed = client.put(address, json={"name": "B", "tracks": [tracks[1].id]}).json()
    assert (changed["id"], changed["name"], changed["count"]) == (kept["id"], "B", 1)
    assert [one["name"] for one in client.get(f"{API}/playlists").json()] == ["B"]
    assert client.get(address).json()["tracks"][0]["id"] == tracks[1].id
    assert client.delete(address).status_code == 204
    for answer in (client.get(address), client.delete(address), client.get(f"{address}/export")):
        problem(answer, 404, "not_found")
    problem(client.put(address, json={"name": "B", "tracks": []}), 404, "not_found")


def test_a_list_that_is_not_kept_is_written_too(client, tracks):
    answer = client.post(f"{API}/export", json={"name": "x", "tracks": [tracks[0].id], "format": "jspf"})
    assert json.loads(answer.text)["playlist"]["track"][0]["title"] == tracks[0].name


# ---- the library as a whole


def unpacked(data):
    """Read a map the way docs/api.md says."""
    (length,) = struct.unpack("<I", data[:4])
    head = json.loads(data[4 : 4 + length])
    kinds = {"u64": "<u8", "f32": "<f4", "u16": "<u2", "u32": "<u4", "u8": "u1"}
    columns = {
        name: np.frombuffer(data, kinds[about["type"]], head["count"], 4 + length + about["at"])
        for name, about in head["columns"].items()
    }
    assert (4 + length) % 8 == 0
    assert all(about["at"] % 8 == 0 for about in head["columns"].values())
    return head, columns


def test_the_map_has_every_track_with_what_colours_it(client, tracks):
    client.post(f"{API}/feedback", json={"kind": "like", "tracks": [tracks[1].id]})
    head, columns = unpacked(made(client, "/map?method=pca").content)
    known = {track.id: track for track in tracks}
    ids = [f"{number:016x}" for number in columns["id"].tolist()]
    assert sorted(ids) == sorted(known)
    assert head["method"] == "pca"
    for axis in ("x", "y"):
        assert np.abs(columns[axis]).max() <= 1 + 1e-6
    assert max(np.ptp(columns["x"]), np.ptp(columns["y"])) == pytest.approx(2, abs=1e-4)
    for row, id_ in enumerate(ids):
        track = known[id_]
        genre = columns["genre"][row]
        assert (head["genres"][genre] if genre != 65535 else "") == (track.genres[0] if track.genres else "")
        artist = columns["artist"][row]
        assert (head["artists"][artist] if artist != 2**32 - 1 else "") == track.artist
        assert columns["tempo"][row] == pytest.approx(track.bpm or 0)
        assert columns["year"][row] == (track.year or 0)
        assert columns["verdict"][row] == (id_ == tracks[1].id)
        assert columns["cluster"][row] < len(head["clusters"])
    client.post(f"{API}/feedback", json={"kind": "unlike", "tracks": [tracks[1].id]})


def test_clusters_are_those_of_the_library(client, shared):
    found = made(client, "/clusters").json()
    wanted = shared.clusters()
    assert [one["count"] for one in found] == [len(cluster.tracks) for cluster in wanted]
    for one, cluster in zip(found, wanted, strict=True):
        assert (one["number"], one["name"]) == (cluster.number, cluster.name)
        assert [t["id"] for t in one["tracks"]] == [t.id for t in cluster.tracks[:12]]


def test_duplicates_are_those_of_the_library(client, shared):
    found = made(client, "/duplicates").json()
    wanted = shared.duplicates()
    assert wanted
    assert found["total"] == len(wanted)
    told = [(g["kind"], [t["id"] for t in g["tracks"]], g["pairs"][0]["evidence"]) for g in found["groups"]]
    assert told == [(g.kind, [t.id for t in g.tracks], list(g.pairs[0].evidence)) for g in wanted]
    recordings = made(client, "/duplicates?kind=recording&limit=1").json()
    assert recordings["total"] == sum(group.kind == "recording" for group in wanted)
    assert len(recordings["groups"]) == 1


def test_a_comparison_has_every_space(client, tracks, shared):
    answer = client.post(f"{API}/compare", json={"tracks": [tracks[0].id, tracks[1].id]}).json()
    assert set(answer["similarity"]) == {space.id for space, _, _ in shared.status().spaces}
    for matrix in answer["similarity"].values():
        assert matrix[0][0] == pytest.approx(1, abs=1e-3)
        assert matrix[0][1] == matrix[1][0]
    assert answer["moments"]
    problem(client.post(f"{API}/compare", json={"tracks": [tracks[0].id, tracks[0].id]}), 400, "bad_request")


# ---- how it goes


def test_status_failures_and_encoders(client, shared, made_library):
    status = client.get(f"{API}/status").json()
    assert status["tracks"] == len(shared.tracks())
    assert [space["answers"] for space in status["spaces"]].count(True) == 1
    assert client.get(f"{API}/failures").json()["total"] == len(shared.failures())
    encoders = {one["name"]: one for one in client.get(f"{API}/encoders").json()}
    assert encoders["cnn"]["here"]
    assert encoders["cnn"]["spaces"] == [shared.space("cnn").id]


def test_a_scan_needs_folders(client):
    assert client.get(f"{API}/scan").json()["can_start"] is False
    assert "soundkin serve FOLDER" in problem(client.post(f"{API}/scan"), 409, "conflict")


def test_before_anything_is_indexed_the_server_says_so(tmp_path):
    with client_of(tmp_path / "nothing") as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get(f"{API}/session").json()["login"] is False
        assert client.get("/metrics").status_code == 200
        for path in (
            "/tracks",
            "/status",
            "/facets",
            "/search?q=x",
            "/profiles",
            "/map",
            "/clusters",
            "/duplicates",
        ):
            problem(client.get(API + path), 404, "not_found")
        problem(client.post(f"{API}/similar", json={"query": "x"}), 404, "not_found")


def test_numbers_for_prometheus_name_routes_and_nobody(client, tracks):
    client.get(f"{API}/tracks/{tracks[0].id}")
    client.get(f"{API}/search", params={"q": "a secret"})
    text = client.get("/metrics").text
    assert f"soundkin_tracks {len(tracks)}.0" in text
    assert "soundkin_request_seconds_bucket" in text
    assert "secret" not in text
    assert tracks[0].id not in text


# ---- pages


def test_without_the_web_app_a_page_says_how_to_build_it(client, monkeypatch, tmp_path):
    monkeypatch.setattr("soundkin.serve.web.FOLDER", tmp_path)
    answer = client.get("/")
    assert answer.status_code == 200
    assert "npm run build" in answer.text
    assert client.get("/assets/x.js").status_code == 404


def test_the_web_app_is_served_with_what_caches_need(folder, monkeypatch, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(
        '<html><base href="/"><script src="./assets/app-Ab12Cd34.js"></script>'
    )
    (tmp_path / "assets" / "app-Ab12Cd34.js").write_text("1")
    (tmp_path.parent / "outside.txt").write_text("secret")
    monkeypatch.setattr("soundkin.serve.web.FOLDER", tmp_path)
    monkeypatch.setattr("soundkin.serve.web._known", {})
    with client_of(folder, root_path="/music") as client:
        for path in ("/music/", "/music/map", "/", "/map"):  # whether or not the proxy cuts the prefix off
            answer = client.get(path)
            assert '<base href="/music/">' in answer.text
            assert answer.headers["cache-control"] == "no-cache"
        script = client.get("/music/assets/app-Ab12Cd34.js")
        assert script.text == "1"
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        assert client.get(f"/music{API}/tracks").status_code == 200
        for path in (
            "/music/../outside.txt",
            "/music/%2e%2e/outside.txt",
            "/music/..%2foutside.txt",
            "/no.js",
        ):
            assert client.get(path).status_code == 404
            assert "secret" not in client.get(path).text


def test_the_page_of_the_api_names_every_route(client):
    document = client.get(f"{API}/openapi.json").json()
    text = client.get("/api/docs").text
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in text
    assert "<script" not in text
    assert "&lt;a" not in text
    for name in ("SimilarRequest", "Answer", "Track"):  # a request, an answer, a part of one
        assert f"<a href='#{name}'>{name}</a>" in text
        assert f"<h3 id='{name}'>{name}</h3>" in text
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text("utf-8")
    for path in document["paths"]:
        assert path.removeprefix(API).replace("{track_id}", "{id}").replace("{list_id}", "{id}") in page


def test_names_that_are_no_text_do_not_break_an_answer(made_library, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    source = made_library.tracks[0][0]
    odd = os.fsdecode(os.fsencode(music) + b"/caf\xe9 \xff" + os.fsencode(source.suffix))
    try:
        Path(odd).write_bytes(source.read_bytes())
    except OSError:
        pytest.skip("this file system takes text only")
    with Library.open(tmp_path / "library") as library:
        library.add([music])
    with client_of(tmp_path / "library") as client:
        (track,) = client.get(f"{API}/tracks").json()["tracks"]
        assert client.get(f"{API}/tracks/{track['id']}/audio").content == source.read_bytes()
        asked = client.head(f"{API}/tracks/{track['id']}/audio")
        assert (asked.status_code, asked.content) == (200, b"")
        assert int(asked.headers["content-length"]) == source.stat().st_size
        for format_ in ("m3u8", "xspf", "jspf"):
            body = {"name": "x", "tracks": [track["id"]], "format": format_}
            assert client.post(f"{API}/export", json=body).status_code == 200


def test_uploads_are_limited(client, monkeypatch):
    monkeypatch.setattr("soundkin.serve.guard.UPLOAD_BYTES", 1000)
    problem(client.post(f"{API}/similar/upload", files={"file": ("a.wav", bytes(5000))}), 413, "too_large")

    def slowly():  # without saying how much will come
        boundary = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        yield from (boundary, *[bytes(100)] * 30, b"\r\n--x--\r\n")

    headers = {"content-type": "multipart/form-data; boundary=x"}
    problem(client.post(f"{API}/similar/upload", content=slowly(), headers=headers), 413, "too_large")
    problem(client.post(f"{API}/similar", content=io.BytesIO(bytes(3_000_000))), 413, "too_large")


def test_uploads_in_excess_are_told_when_to_come_again(client, monkeypatch):
    shared = client.app.state.shared
    monkeypatch.setattr(shared, "uploads", 8)
    answer = client.post(f"{API}/similar/upload", files={"file": ("a.wav", b"x")})
    problem(answer, 429, "busy")
    assert int(answer.headers["retry-after"]) >= 1
