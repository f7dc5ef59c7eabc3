"""The web app as a person uses it: a real browser, a real server, a library of synthesised music."""

import json
import os
import re
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from browser import App, Songs, history, still, tab
from made import copied
from served import ROOT, running
from serving import PATIENCE, until

from soundkin import playlists
from soundkin.library import Library
from soundkin.recommend import Variety

pytestmark = pytest.mark.browser


def test_dropping_a_file_brings_what_sounds_like_it(app: App, songs: Songs) -> None:
    app.open()
    app.page.get_by_label("Audio file to compare with").set_input_files(songs.outside)
    app.page.locator("main [data-track]").first.wait_for()
    known = {track["id"] for track in app.ask("tracks?limit=100")["tracks"]}
    assert len(app.rows()) == 30
    assert set(app.rows()) == known
    assert app.page.get_by_role("heading", level=1).inner_text() == songs.title


def test_a_file_without_sound_is_turned_down_in_words(app: App, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"no music in here" * 100)
    app.open()
    app.page.get_by_label("Audio file to compare with").set_input_files(tmp_path / "song.mp3")
    app.page.get_by_role("heading", name="No answer").wait_for()
    app.complaints = [said for said in app.complaints if "422" not in said]


def test_a_row_plays_and_what_is_passed_over_is_a_skip(app: App) -> None:
    app.open("tracks")
    app.page.locator("[data-track] .play").first.click()
    until(lambda: app.audio()["time"] > 0.3)
    first = app.rows()[0]
    assert app.audio()["src"].endswith(f"/tracks/{first}/audio")

    moment = app.audio()["time"]
    until(lambda: app.audio()["time"] > moment + 0.3)
    app.page.keyboard.press("Escape")
    app.page.locator("main").focus()
    app.page.keyboard.press(" ")
    until(lambda: app.audio()["paused"])
    app.page.keyboard.press(" ")
    until(lambda: not app.audio()["paused"])

    app.page.keyboard.press("Shift+ArrowRight")
    until(lambda: app.audio()["src"].endswith(f"/tracks/{app.rows()[1]}/audio"))
    assert until(lambda: ("skip", first) in history(app))


def test_the_next_track_is_loaded_before_it_is_needed_and_follows_by_itself(app: App) -> None:
    app.open("tracks")
    app.page.locator("[data-track] .play").nth(3).click()
    following = app.rows()[4]
    until(lambda: app.audio()["time"] > 0.2)
    until(
        lambda: any(
            src.endswith(f"/tracks/{following}/audio")
            for src in app.page.evaluate("[...document.querySelectorAll('audio')].map(a => a.src)")
        )
    )
    until(lambda: app.audio()["src"].endswith(f"/tracks/{following}/audio") and app.audio()["time"] > 0.1)
    assert until(lambda: ("play", app.rows()[3]) in history(app))


def test_the_waveform_can_be_clicked_and_moved_by_keys(app: App) -> None:
    app.open("tracks")
    app.page.locator("[data-track] .play").first.click()
    until(lambda: app.audio()["time"] > 0.1)
    slider = app.page.get_by_role("contentinfo").get_by_role("slider", name="Position")
    box = slider.bounding_box()
    app.page.keyboard.press("Escape")
    app.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seconds = float(slider.get_attribute("aria-valuemax"))
    until(lambda: app.audio()["time"] >= seconds / 2 - 1)
    slider.press("Home")
    until(lambda: app.audio()["time"] < seconds / 2 - 1)


def test_likes_change_the_recommendations(chromium: Any, songs: Songs, site: str) -> None:
    with tab(chromium, site) as app:
        app.open()
        app.page.get_by_role("button", name="Listener").click()
        app.page.get_by_role("menuitem", name="New listener").click()
        app.page.get_by_role("textbox", name="Name").fill("ann")
        app.page.get_by_role("button", name="Create").click()
        until(lambda: any(each["name"] == "ann" for each in app.ask("profiles")))
        by_genre = {track["genres"][0]: track for track in app.ask("tracks?limit=100")["tracks"]}
        one, other = sorted(by_genre)[0], sorted(by_genre)[-1]

        def like(track: dict[str, Any]) -> None:
            app.open(f"like/{track['id']}")
            button = app.page.locator("header").get_by_role("button", name="Like", exact=False).first
            button.click()
            until(lambda: ("like", track["id"]) in history(app, "ann"))
            assert button.get_attribute("aria-pressed") == "true"

        def answer() -> list[str]:
            app.open("for-you")
            app.page.get_by_role("list", name="Recommended").locator("[data-track]").first.wait_for()
            return app.rows()

        like(by_genre[one])
        before = answer()
        why = app.page.get_by_role("list", name="Recommended").inner_text()
        assert f"because you like “{by_genre[one]['name']}”" in why
        like(by_genre[other])
        assert answer() != before
        assert by_genre[other]["id"] not in app.rows()  # what is liked already is no news

        row = app.page.locator("main [data-track]").first
        turned_down = row.get_attribute("data-track")
        row.get_by_role("button", name="Dislike").click()
        app.page.get_by_role("button", name="Your taste changed").click()
        until(lambda: app.rows() and turned_down not in app.rows())


def test_an_answer_is_that_of_the_command_and_can_be_varied(
    chromium: Any, songs: Songs, tmp_path: Path
) -> None:
    folder = copied(songs.library, tmp_path / "library")
    with Library.open(folder) as library:
        track = library.tracks()[0]
        wanted = [hit.id for hit in library.similar(track, 29)]
        varied = [hit.id for hit in library.similar(track, 29, variety=Variety())]
        library.feedback("dislike", [wanted[0]])
    assert varied != wanted
    with running(folder) as (address, _), tab(chromium, f"{address}/") as app:
        app.open(f"like/{track.id}")
        until(lambda: app.rows() == wanted)
        row = app.page.locator(f'main [data-track="{wanted[0]}"]')
        row.get_by_text("you disliked it").wait_for()
        shades = app.page.locator("main [data-track] .name").evaluate_all(
            "names => names.map(name => getComputedStyle(name).color)"
        )
        assert shades[0] not in shades[1:]
        button = app.page.get_by_role("button", name="Varied")
        assert button.get_attribute("aria-pressed") == "false"
        button.click()
        until(lambda: app.rows() == varied)
        assert button.get_attribute("aria-pressed") == "true"


def test_taste_is_offered_once_something_was_learned_from_plays(
    chromium: Any, songs: Songs, tmp_path: Path
) -> None:
    folder = copied(songs.library, tmp_path / "library")
    with Library.open(folder) as library:
        tracks = sorted(library.tracks(), key=lambda track: track.path)
        played, other = tracks[::2], tracks[1::2]  # nothing that can be heard tells the one from the other
        library.feedback("like", played[:2])
        for person in range(12):
            library.create_profile(f"p{person}")
            own = played if person % 2 else other
            library.feedback("play", [t for n, t in enumerate(own) if n % 6 != person // 2], f"p{person}")

    def shown(app: App) -> list[str]:
        app.page.get_by_role("list", name="Recommended").locator("[data-track]").first.wait_for()
        return app.rows()

    with running(folder) as (address, _), tab(chromium, f"{address}/") as app:
        app.open("for-you")
        by_sound = shown(app)
        switch = app.page.get_by_role("button", name="Also what others play")
        assert switch.count() == 0
        with Library.open(folder) as library:
            library.train_taste()
        app.page.reload()
        switch.click()
        until(lambda: "goes with" in app.page.get_by_role("list", name="Recommended").inner_text())
        assert switch.get_attribute("aria-pressed") == "true"
        mine = {track.id for track in played}
        assert sum(id_ in mine for id_ in shown(app)[:8]) > sum(id_ in mine for id_ in by_sound[:8])
        switch.click()
        until(lambda: app.rows() == by_sound)

        heard = {space["encoder"] for space in app.ask("status")["spaces"]} - {"taste"}
        app.open(f"encoders?track={by_sound[0]}")  # plays are no encoder, though they have a space
        app.page.get_by_role("list", name="Answer of cnn").wait_for()
        assert app.page.get_by_role("list", name="Answer of").count() == len(heard)


def test_filters_narrow_the_answer_and_show_counts(app: App) -> None:
    track = app.ask("tracks?limit=100")["tracks"][0]
    app.open(f"like/{track['id']}")
    app.page.locator("main [data-track]").first.wait_for()
    app.page.get_by_role("button", name="Genre").click()
    chip = app.page.get_by_role("dialog").get_by_role("button").first
    genre, n = re.fullmatch(r"(.+?)\s*(\d+)", chip.inner_text(), re.S).groups()  # type: ignore[union-attr]
    assert int(n) == sum(genre in each["genres"] for each in app.ask("tracks?limit=100")["tracks"])
    chip.click()
    genres = {each["id"]: each["genres"] for each in app.ask("tracks?limit=100")["tracks"]}
    until(lambda: app.rows() and all(genre in genres[each] for each in app.rows()))


def places(buffer: bytes) -> dict[str, tuple[float, float]]:
    """Read ids and places from the answer of /map, independently of the app."""
    (length,) = struct.unpack_from("<I", buffer)
    head = json.loads(buffer[4 : 4 + length])

    def column(name: str, code: str) -> tuple[Any, ...]:
        return struct.unpack_from(f"<{head['count']}{code}", buffer, 4 + length + head["columns"][name]["at"])

    at = zip(column("x", "f"), column("y", "f"), strict=True)
    return {f"{track:016x}": place for track, place in zip(column("id", "Q"), at, strict=True)}


def map_of(app: App) -> dict[str, tuple[float, float]]:
    """Return where each track lies in the window when the map is shown whole."""
    with urllib.request.urlopen(f"{app.url}api/v1/map", timeout=PATIENCE) as answer:
        found = places(answer.read())
    box = app.page.get_by_role("application").bounding_box()
    side = min(box["width"], box["height"]) - 128
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    return {track: (left + side * (x + 1) / 2, top + side * (1 - y) / 2) for track, (x, y) in found.items()}


def lone(app: App, spots: dict[str, tuple[float, float]], room: float = 14) -> list[str]:
    """Return tracks that no other point and no control lies upon."""

    def free(track: str) -> bool:
        x, y = spots[track]
        near = [o for o, (a, b) in spots.items() if o != track and (a - x) ** 2 + (b - y) ** 2 < room**2]
        on_top = app.page.evaluate("([x, y]) => document.elementFromPoint(x, y)?.tagName", [x, y])
        return not near and on_top == "CANVAS"

    return [track for track in spots if free(track)]


def shown_map(app: App) -> dict[str, tuple[float, float]]:
    app.open("map")
    app.page.get_by_role("application").wait_for()
    still(app.page.screenshot)
    return map_of(app)


def test_a_click_on_the_map_plays_that_track(app: App) -> None:
    spots = shown_map(app)
    assert len(spots) == 30
    track = lone(app, spots)[0]
    x, y = spots[track]
    app.page.mouse.move(x, y)
    name = app.ask(f"tracks/{track}")["name"]
    app.page.locator(".tip").get_by_text(name).wait_for()
    app.page.mouse.click(x, y)
    until(lambda: app.audio()["src"].endswith(f"/tracks/{track}/audio") and app.audio()["time"] > 0.1)


def test_the_points_are_drawn_where_they_can_be_clicked(app: App) -> None:
    spots = shown_map(app)
    app.page.get_by_label("Colour by").select_option("mine")  # all grey: what is not paper is a point
    track = lone(app, spots, 30)[0]
    x, y = spots[track]

    def drawn(left: float) -> bytes:
        return still(lambda: app.page.screenshot(clip={"x": left, "y": y - 2, "width": 4, "height": 4}))

    until(lambda: drawn(x - 2) != drawn(x + 16))


def test_a_loop_on_the_map_becomes_a_playlist(app: App) -> None:
    spots = shown_map(app)
    box = app.page.get_by_role("application").bounding_box()
    app.page.get_by_role("button", name="Lasso").click()
    inside = [track for track, (x, _) in spots.items() if x < box["x"] + box["width"] / 2]
    middle, top, bottom = box["x"] + box["width"] / 2, box["y"] + 6, box["y"] + box["height"] - 6
    app.page.mouse.move(middle, top)
    app.page.mouse.down()
    # Past the search field and the legend: the loop has the pointer, wherever it goes.
    for x, y in ((box["x"] + 3, top), (box["x"] + 3, bottom), (middle, bottom)):
        app.page.mouse.move(x, y, steps=8)
    app.page.mouse.up()
    app.page.get_by_role("status").get_by_text(f"{len(inside)} tracks").wait_for()
    app.page.get_by_role("button", name="Save as playlist").click()
    app.page.get_by_label("Name of a new playlist").fill("The left half")
    app.page.get_by_role("button", name="Create").click()
    app.page.get_by_role("button", name="Open").click()
    until(lambda: sorted(app.rows("main ol")) == sorted(inside))


def test_a_path_is_found_shown_on_the_map_and_saved(app: App) -> None:
    tracks = app.ask("tracks?limit=100")["tracks"]
    first, last = tracks[0], tracks[-1]
    app.open("path")
    app.choose("From: a track", first["name"])
    app.choose("To: a track", last["name"])
    app.page.get_by_role("list", name="The path").locator("[data-track]").first.wait_for()
    assert (app.rows()[0], app.rows()[-1], len(app.rows())) == (first["id"], last["id"], 12)
    app.page.get_by_role("link", name="On the map").click()
    app.page.get_by_text("Path of 12 tracks").wait_for()


def test_a_playlist_is_made_put_in_order_and_exported(app: App, tmp_path: Path) -> None:
    app.open("playlists")
    app.page.get_by_label("Name of a new playlist").fill("Evening, later")
    app.page.get_by_role("button", name="Create").click()
    tracks = app.ask("tracks?limit=100")["tracks"]
    for track in tracks[:3]:
        app.choose("Add a track", track["name"])
        app.page.locator(f'main ol [data-track="{track["id"]}"]').wait_for()
    app.page.locator(".grip").nth(0).focus()
    app.page.keyboard.press("ArrowDown")
    wanted = [tracks[1]["id"], tracks[0]["id"], tracks[2]["id"]]
    until(lambda: app.rows("main ol") == wanted)
    [kept] = [each for each in app.ask("playlists") if each["name"] == "Evening, later"]
    until(lambda: [each["id"] for each in app.ask(f"playlists/{kept['id']}")["tracks"]] == wanted)

    app.page.get_by_role("button", name="Export").click()
    with app.page.expect_download() as download:
        app.page.get_by_role("menuitem", name="m3u8").click()
    assert download.value.suggested_filename.endswith(".m3u8")
    download.value.save_as(tmp_path / "list.m3u8")
    paths = {track["id"]: track["path"] for track in tracks}
    entries = playlists.read(tmp_path / "list.m3u8")
    assert [Path(entry.paths[0]) for entry in entries] == [Path(paths[each]) for each in wanted]


def test_the_library_page_tells_of_a_scan(app: App) -> None:
    app.open("library")
    app.page.get_by_role("button", name="Scan", exact=True).click()
    app.page.get_by_text("nothing had changed").wait_for()
    app.page.get_by_role("heading", name="Every file").or_(
        app.page.get_by_text("Every file that was found")
    ).first.wait_for()


def test_it_works_under_a_path_of_a_proxy(chromium: Any, songs: Songs, tmp_path: Path) -> None:
    """A proxy that takes the path away is what `--root-path` is for; here the browser plays the proxy."""
    with running(songs.library, "--root-path", "/music") as (address, _):
        url = address.removesuffix("music")
        with tab(chromium, url) as app:
            app.page.route(
                "**/music/**",
                lambda route: route.fulfill(
                    response=route.fetch(url=route.request.url.replace("/music/", "/", 1))
                ),
            )
            app.page.goto(f"{url}music/#/tracks")
            app.page.locator("main [data-track]").first.wait_for()
            asked = app.page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
            app.page.unroute_all(behavior="ignoreErrors")  # pictures that nobody waits for any more
            assert all(each.startswith(f"{url}music/") for each in asked), asked


def test_nothing_jumps_while_a_page_loads(app: App) -> None:
    app.page.add_init_script(
        "window.jumps = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) "
        "if (!e.hadRecentInput) window.jumps += e.value; }).observe({type: 'layout-shift', buffered: true})"
    )
    like = f"like/{app.ask('tracks?limit=1')['tracks'][0]['id']}"
    last = {"": "main h1", "tracks": "main [data-track]", like: "main [data-track]", "library": "main h2"}
    for place, what in last.items():
        app.open(place)
        app.page.reload()
        app.page.locator(what).first.wait_for(state="attached")
        still(app.page.screenshot)
        assert app.page.evaluate("window.jumps") < 0.1, place  # what web.dev calls good


def test_the_benchmark_of_the_web_app_runs() -> None:
    script = ROOT / "benchmarks/bench_web.py"
    command = [sys.executable, os.fspath(script), "--points", "2000", "--loads", "1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    weight = re.search(r"(\d+) kB in all", said)
    assert weight is not None
    assert 50 < int(weight[1]) < 300  # what was promised
    assert "ms of script a frame" in said
