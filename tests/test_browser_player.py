"""Playing in the web app: what rows offer, the radio, the keys of a keyboard or headset, a file that is dropped."""

import base64
from typing import Any

import pytest
from browser import App, Songs, history, tab
from serving import until

pytestmark = pytest.mark.browser

# Nobody but the system can press these keys, so the app's handlers are kept where a test finds them.
_KEEP_KEYS = """window.keys = {}; const real = navigator.mediaSession.setActionHandler.bind(navigator.mediaSession);
navigator.mediaSession.setActionHandler = (name, call) => { window.keys[name] = call; real(name, call); };"""
_DROP = """([name, data]) => {
  const file = new File([Uint8Array.from(atob(data), each => each.charCodeAt(0))], name, {type: 'audio/flac'});
  const carried = new DataTransfer(); carried.items.add(file);
  const at = kind => document.querySelector('main').dispatchEvent(
    new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
  at('dragenter'); at('dragover');
  const shown = document.body.innerText.includes('Drop it');
  at('drop');
  return shown;
}"""


def queued(app: App) -> int:
    return app.page.get_by_role("list", name="Next in the queue").get_by_role("button", name="Play ").count()


def go_on(app: App) -> None:
    before = app.audio()["src"]
    app.page.keyboard.press("Shift+ArrowRight")
    until(lambda: app.audio()["src"] != before)


def test_a_radio_goes_on_and_hears_what_is_skipped(app: App) -> None:
    app.open("tracks")
    row = app.page.locator("[data-track]").nth(2)
    row.wait_for()
    track = app.rows()[2]
    asked: list[dict[str, Any]] = []

    def note(sent: Any) -> None:
        if sent.url.endswith("/radio"):
            asked.append(sent.post_data_json)

    app.page.on("request", note)
    row.get_by_role("button", name="Start a radio from").click()
    # what nobody has heard is not skipped, and the page learns four times a second how much that is
    until(lambda: app.audio()["src"].endswith(f"/tracks/{track}/audio") and app.audio()["time"] > 1)
    go_on(app)
    until(lambda: ("skip", track) in history(app))
    assert asked[0]["queries"] == [track]
    app.page.keyboard.press("q")
    app.page.get_by_role("heading", name="Radio: ").wait_for()
    until(lambda: queued(app) >= 3)
    for _ in range(4):
        go_on(app)
    until(lambda: queued(app) >= 3 and len(asked) > 1)  # more was asked for before it ran out
    assert track in asked[-1]["skipped"]


def test_a_row_offers_all_that_can_be_done_with_its_track(app: App) -> None:
    app.open("tracks")
    row = app.page.locator("[data-track]").nth(6)
    row.wait_for()
    track = app.rows()[6]
    for name in ("Like", "Dislike", "Skip", "Add", "Start a radio from", "More for"):
        assert row.get_by_role("button", name=name, exact=False).first.is_visible(), name
    row.get_by_role("button", name="Skip").press("Enter")
    assert until(lambda: ("skip", track) in history(app))
    row.get_by_role("button", name="Add").press("Enter")
    app.page.keyboard.press("q")
    until(lambda: queued(app) == 1 or app.audio()["src"].endswith(f"/tracks/{track}/audio"))
    row.get_by_role("link", name="More like").press("Enter")
    until(lambda: app.place() == f"like/{track}")


def test_the_keys_of_a_headset_work(chromium: Any, site: str) -> None:
    with tab(chromium, site) as app:
        app.page.add_init_script(_KEEP_KEYS)
        app.open("tracks")
        app.page.locator("[data-track] .play").first.click()
        until(lambda: app.audio()["time"] > 0)
        first, second = app.rows()[:2]
        told = app.page.evaluate("navigator.mediaSession.metadata.title")
        assert told == app.ask(f"tracks/{first}")["name"]

        def press(key: str, **details: float) -> None:
            app.page.evaluate("([key, details]) => { keys[key](details); }", [key, details])

        press("pause")
        until(lambda: app.audio()["paused"])
        press("pause")  # it means what it says, whatever goes on
        assert app.audio()["paused"]
        press("play")
        until(lambda: not app.audio()["paused"])
        press("seekto", seekTime=6.0)
        until(lambda: app.audio()["time"] >= 5.9)
        press("seekbackward", seekOffset=4.0)
        until(lambda: app.audio()["time"] < 5.9)
        press("nexttrack")
        until(lambda: app.audio()["src"].endswith(f"/tracks/{second}/audio"))
        until(lambda: app.page.evaluate("navigator.mediaSession.metadata.title") != told)


def test_a_file_can_be_dropped_anywhere(app: App, songs: Songs) -> None:
    app.open("library")
    app.page.locator("main h1").wait_for()
    sent = base64.b64encode(songs.outside.read_bytes()).decode()
    app.page.evaluate(_DROP, [songs.outside.name, sent])
    app.page.get_by_role("heading", level=1, name=songs.title).wait_for()
    app.page.get_by_role("list", name="What is like it").locator("[data-track]").first.wait_for()


def test_encoders_are_put_side_by_side(app: App) -> None:
    [track] = app.ask("tracks?limit=1")["tracks"]
    app.open(f"encoders?track={track['id']}")
    table = app.page.get_by_role("table")
    table.wait_for()
    assert table.get_by_role("columnheader").all_inner_texts() == ["Track", "cnn", "descriptors"]
    rows = table.get_by_role("row")
    assert rows.count() == 12  # and the twelfth of the compared is the one that was asked with
    for column in (1, 2):
        cosines = [float(rows.nth(i).get_by_role("cell").nth(column - 1).inner_text()) for i in range(1, 12)]
        assert all(-1 <= each <= 1 for each in cosines)
        assert (
            table.locator(f"td:nth-child({column + 1}).nearest").first.inner_text() == f"{max(cosines):.2f}"
        )
    app.page.get_by_role("button", name=f"Play {track['name']} from").first.click()
    until(lambda: app.audio()["src"].endswith(f"/tracks/{track['id']}/audio"))


def test_an_encoder_that_fails_leaves_the_others_their_answers(app: App) -> None:
    [track] = app.ask("tracks?limit=1")["tracks"]
    [broken] = [space["id"] for space in app.ask("status")["spaces"] if space["encoder"] == "descriptors"]
    said = {"error": {"kind": "store", "message": "this space is damaged", "choices": None}}

    def answer(route: Any) -> None:
        if route.request.post_data_json["space"] == broken:
            route.fulfill(status=500, json=said)
        else:
            route.continue_()

    app.page.route("**/api/v1/similar", answer)
    app.open(f"encoders?track={track['id']}")
    app.page.get_by_text("No answer: this space is damaged").wait_for()
    assert app.page.get_by_role("list", name="Answer of cnn").get_by_role("listitem").count() == 10
    app.complaints = [each for each in app.complaints if "500" not in each]
