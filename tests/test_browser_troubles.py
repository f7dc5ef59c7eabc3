"""The web app when something is missing: music, the server, a part of the app, a page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import App, still, tab
from served import running
from serving import until

from soundkin import synth

pytestmark = pytest.mark.browser

# What Chromium writes of a request that got no answer, or 404.
EXPECTED = ("net::ERR_FAILED", "404 (Not Found)")


def excuse(app: App) -> None:
    app.complaints = [said for said in app.complaints if not any(each in said for each in EXPECTED)]


def cut_off(app: App) -> Callable[[], None]:
    """Let the browser reach nobody until what is returned is called."""
    app.page.route("**/*", lambda route: route.abort())
    return lambda: app.page.unroute("**/*")


def go(app: App, place: str) -> None:
    """Go to another page, as a link does: nothing of the app that is there is loaded again."""
    app.page.evaluate("place => { location.hash = place }", f"#/{place}")


def test_the_first_start_offers_the_scan(chromium: Any, tmp_path: Path) -> None:
    synth.write_library(tmp_path / "music", 3, 4.0)
    with (
        running(tmp_path / "library", str(tmp_path / "music")) as (address, _),
        tab(chromium, f"{address}/") as app,
    ):
        for place in ("tracks", "for-you", "map", "duplicates", ""):
            app.page.goto("about:blank")
            app.open(place)
            app.page.get_by_role("heading", name="No music yet").wait_for()
        assert app.page.get_by_text("Like a few of these").count() == 0
        app.page.get_by_role("button", name="Scan", exact=True).click()
        app.page.get_by_role("list", name="Never played here").locator("[data-track]").first.wait_for()
        assert len(app.rows()) == 3


def test_a_listener_who_is_gone_is_not_taken_for_an_empty_library(app: App) -> None:
    app.open()
    app.page.get_by_role("button", name="Listener: default").click()
    app.page.get_by_role("menuitem", name="New listener").click()
    app.page.get_by_role("textbox", name="Name", exact=True).fill("Gone")
    app.page.get_by_role("button", name="Create").click()
    app.page.get_by_role("button", name="Listener: Gone").wait_for()
    removed = app.page.request.delete(f"{app.url}api/v1/profiles/Gone")
    assert removed.status == 204
    go(app, "map")
    alert = app.page.get_by_role("alert").filter(has_text="There is no listener of that name any more")
    alert.get_by_role("heading", name="No map for “Gone”").wait_for()
    assert app.page.get_by_text("No music yet").count() == 0
    excuse(app)


def test_what_a_proxy_gives_up_on_is_asked_a_few_times_and_then_left_to_the_listener(app: App) -> None:
    app.open("path")
    app.page.get_by_role("heading", name="Choose two tracks").wait_for()
    asked: list[str] = []

    def give_up(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(status=504, content_type="text/html", body="<h1>504 Gateway Time-out</h1>")

    app.page.route("**/api/v1/map?*", give_up)
    go(app, "map")
    alert = app.page.get_by_role("alert").filter(has_text="gave up waiting for it (504)")
    alert.get_by_role("button", name="Try again").wait_for()
    assert len(asked) == 4
    app.page.unroute("**/api/v1/map?*")
    alert.get_by_role("button", name="Try again").click()
    app.page.get_by_role("application").wait_for()
    assert len(asked) == 4
    app.complaints = [said for said in app.complaints if "504" not in said]


@pytest.mark.parametrize("place", ["", "like/{}", "tracks", "playlists", "library"])
def test_a_page_says_that_the_server_is_away_and_goes_on_when_it_is_back(app: App, place: str) -> None:
    place = place.format(app.ask("tracks?limit=1")["tracks"][0]["id"])
    app.open(place)  # so that the parts of the app are there
    app.page.locator("main h1").first.wait_for()
    go(app, "path")
    app.page.get_by_role("heading", name="Choose two tracks").wait_for()
    reconnect = cut_off(app)
    go(app, place)
    alert = app.page.get_by_role("alert").filter(has_text="The server does not answer")
    alert.first.wait_for()
    assert alert.first.get_by_role("heading", name="No answer").count() == 1
    assert alert.first.get_by_role("button", name="Try again").is_visible()
    reconnect()
    alert.first.wait_for(state="detached")
    still(lambda: app.page.locator("main").inner_text())
    assert alert.count() == 0
    assert app.page.locator("main h1").first.is_visible()
    excuse(app)


def test_a_page_that_was_never_loaded_comes_when_the_server_is_back(app: App) -> None:
    app.open("path")
    app.page.get_by_role("heading", name="Choose two tracks").wait_for()
    reconnect = cut_off(app)
    go(app, "map")
    app.page.get_by_role("heading", name="This page could not be loaded").wait_for()
    assert app.page.get_by_role("link", name="Map", exact=True).get_attribute("aria-current") == "page"
    assert app.page.get_by_text("preload").count() == 0
    reconnect()
    app.page.get_by_role("application").wait_for()
    excuse(app)


def test_after_an_upgrade_the_app_starts_anew_and_not_for_ever(app: App) -> None:
    app.open("path")
    app.page.get_by_role("heading", name="Choose two tracks").wait_for()
    starts: list[str] = []
    app.page.on("load", lambda page: starts.append(page.url))
    app.page.route("**/assets/Tracks-*.js", lambda route: route.fulfill(status=404))
    go(app, "tracks")
    app.page.get_by_text("A part of the app is missing on the server").wait_for()
    until(lambda: starts)
    assert len(starts) == 1
    app.page.unroute("**/assets/Tracks-*.js")
    app.page.get_by_role("button", name="Try again").click()
    app.page.locator("main [data-track]").first.wait_for()
    excuse(app)


def start_anew(app: App) -> None:
    """Go to a page whose part is no longer on the server, as after an upgrade of it."""
    anew: list[Any] = []
    app.page.on("request", lambda asked: anew.extend([asked] * asked.is_navigation_request()))
    app.page.route(
        "**/assets/Duplicates-*.js", lambda route: route.continue_() if anew else route.fulfill(status=404)
    )
    go(app, "duplicates")
    app.page.get_by_role("link", name="Same recording").wait_for()
    assert anew
    excuse(app)


def coming(app: App) -> list[str]:
    """Open the queue; what it says comes next."""
    app.page.keyboard.press("q")
    queue = app.page.get_by_role("list", name="Next in the queue")
    queue.wait_for()
    return queue.get_by_role("button", name="Play ").evaluate_all("all => all.map(each => each.ariaLabel)")


def test_the_music_goes_on_when_the_app_starts_anew(app: App) -> None:
    app.open("tracks")
    app.page.locator("[data-track] .play").nth(1).click()
    until(lambda: app.audio()["time"] > 1)
    before = coming(app)
    start_anew(app)
    app.page.get_by_role("button", name="Pause", exact=True).wait_for()
    until(lambda: app.audio()["time"] > 1)
    after = coming(app)
    assert len(after) > 1
    assert after == before[-len(after) :]


def test_what_was_paused_waits_where_it_was_when_the_app_starts_anew(app: App) -> None:
    app.open("tracks")
    app.page.locator("[data-track] .play").first.click()
    until(lambda: app.audio()["time"] > 1)
    app.page.get_by_role("button", name="Pause", exact=True).click()
    player = app.page.get_by_role("contentinfo", name="Player")
    before = still(player.inner_text)
    assert "0:00" not in before.splitlines()
    start_anew(app)
    until(lambda: player.inner_text() == before)
    assert app.audio()["paused"]
    app.page.get_by_role("button", name="Play", exact=True).first.click()
    app.page.get_by_role("button", name="Pause", exact=True).wait_for()


def test_an_address_that_leads_nowhere_says_so(app: App) -> None:
    app.open("nope")
    app.page.get_by_role("heading", name="There is no such page").wait_for()
    assert app.page.locator('nav [aria-current="page"]').count() == 0
    app.page.get_by_role("link", name="Begin at Home").click()
    app.page.get_by_role("heading", name="What does it sound like?").wait_for()


def test_an_empty_playlist_says_nothing_of_its_length(app: App) -> None:
    app.open("playlists")
    app.page.get_by_label("Name of a new playlist").fill("Nothing yet")
    app.page.get_by_role("button", name="Create").click()
    app.page.get_by_role("heading", name="Empty").wait_for()
    assert app.page.get_by_text("0 tracks", exact=True).is_visible()
    assert app.page.get_by_text("under a minute").count() == 0
