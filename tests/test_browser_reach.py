"""The web app for everybody: who sees nothing, who uses no pointer, who needs strong letters; who may log in."""

import re
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PAGES, PHONE, App, Songs, history, still, tab
from made import copied
from served import running
from serving import until

from soundkin.serve.accounts import Accounts

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery staple"
LOOKS = pytest.mark.parametrize(
    ("size", "scheme"),
    [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")],
    ids=["desktop-light", "desktop-dark", "phone-light", "phone-dark"],
)
# What a person can do something with, by the roles of WAI-ARIA.
CONTROLS = {
    "button", "link", "textbox", "searchbox", "combobox", "slider", "checkbox", "radio", "menuitem", "option", "switch",
    "tab", "spinbutton", "application", "listbox", "menu", "dialog", "progressbar",
}  # fmt: skip
# Contrast by the formulas of WCAG 2.2 (relative luminance, 1.4.3): 4.5 : 1, large letters 3 : 1. What is switched off,
# hidden from those who read or drawn over a picture does not count. A canvas turns any colour into numbers.
_FAINT = """() => {
  const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data].map(each => each / 255); };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const light = rgb => { const [r, g, b] = rgb.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = node => { const layers = []; for (let e = node; e; e = e.parentElement) {
      const layer = rgba(getComputedStyle(e).backgroundColor); layers.push(layer); if (layer[3] === 1) break; }
    return layers.reduceRight((below, layer) => over(layer, below), [1, 1, 1]); };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, box = node.parentElement;
    if (!node.data.trim() || !box.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (box.closest('[aria-hidden="true"], :disabled, .old, .map > p, noscript')) continue;
    const style = getComputedStyle(box), paper = behind(box);
    const [a, b] = [light(over(rgba(style.color), paper)), light(paper)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) faint.push(
      `${node.data.trim().slice(0, 40)}: ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return faint;
}"""
# Everything that Tab leads to, in the order of the page; groups that one of the arrow keys walks through count once.
_STOPS = """() => [...document.querySelectorAll('a[href], button, input, select, textarea, [tabindex]')]
  .filter(e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({visibilityProperty: true}))"""


def places(app: App) -> list[str]:
    return [*PAGES, f"like/{app.ask('tracks?limit=1')['tracks'][0]['id']}"]


def show(app: App, place: str) -> None:
    """Open a page, and wait until it says what it has to say."""
    app.open(place)
    app.page.locator("main h1").first.wait_for(state="attached")
    if place == "map":
        app.page.get_by_role("application").wait_for()
    still(lambda: app.page.locator("main").inner_text())


def nameless(app: App) -> list[str]:
    """Return the controls that a screen reader has no name for, from the browser's own tree of the page."""
    session = app.page.context.new_cdp_session(app.page)
    tree = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    found = [node for node in tree if not node["ignored"] and node["role"]["value"] in CONTROLS]
    assert found
    return [
        f"{node['role']['value']} {node.get('backendDOMNodeId')}"
        for node in found
        if not node.get("name", {}).get("value", "").strip()
    ]


@LOOKS
def test_every_control_has_a_name_and_every_page_fits(
    chromium: Any, site: str, size: dict[str, int], scheme: str
) -> None:
    with tab(chromium, site, color_scheme=scheme) as app:
        app.page.set_viewport_size(size)
        for place in places(app):
            show(app, place)
            assert nameless(app) == [], place
            wide = app.page.evaluate(
                "document.querySelector('main').scrollWidth - document.querySelector('main').clientWidth"
            )
            assert wide <= 0, f"{place or 'home'} is {wide} pixels too wide"
            assert app.page.locator("h1").count() == 1, place


@LOOKS
def test_letters_stand_out_from_what_is_behind_them(
    chromium: Any, site: str, size: dict[str, int], scheme: str
) -> None:
    with tab(chromium, site, color_scheme=scheme) as app:
        app.page.set_viewport_size(size)
        for place in places(app):
            show(app, place)
            assert app.page.evaluate(_FAINT) == [], place


def test_menus_and_the_queue_have_names_too(app: App) -> None:
    show(app, "tracks")
    app.page.locator("[data-track] .play").first.click()
    until(lambda: app.audio()["time"] > 0)
    app.page.keyboard.press("q")
    app.page.get_by_role("complementary", name="What plays").wait_for()
    app.page.get_by_role("button", name="More for").first.click()
    app.page.get_by_role("menu").wait_for()
    assert nameless(app) == []
    app.page.keyboard.press("Escape")
    app.page.keyboard.press("?")
    app.page.get_by_role("dialog").wait_for()
    assert nameless(app) == []


def test_tab_leads_through_everything_in_the_order_of_the_page(app: App) -> None:
    for place in ("", places(app)[-1]):
        app.page.goto("about:blank")  # where somebody was before is where Tab would go on
        show(app, place)
        stops = app.page.evaluate(f"({_STOPS})().length")
        visited = []
        for _ in range(stops):
            app.page.keyboard.press("Tab")
            at, ring = app.page.evaluate(
                f"""() => {{ const style = getComputedStyle(document.activeElement);
                return [({_STOPS})().indexOf(document.activeElement), style.outlineStyle + style.boxShadow]; }}"""
            )
            visited.append(at)
            assert ring != "nonenone", f"stop {at} of {place or 'home'} does not show that it has the focus"
        assert visited == list(range(stops)), place


def test_keys_alone_are_enough(app: App) -> None:
    app.open()
    app.page.locator("main h1").wait_for()
    app.page.keyboard.press("Tab")
    assert app.page.evaluate("document.activeElement.innerText") == "To the content"
    outline = app.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    app.page.keyboard.press("Enter")
    app.page.keyboard.press("/")
    assert app.page.evaluate("document.activeElement.getAttribute('role')") == "combobox"
    name = app.ask("tracks?limit=1")["tracks"][0]["name"]
    app.page.keyboard.type(name)
    app.page.get_by_role("option", name=name).first.wait_for()
    app.page.keyboard.press("ArrowDown")
    app.page.keyboard.press("Enter")
    app.page.get_by_role("heading", level=1, name=name).wait_for()
    app.page.get_by_role("button", name="Play", exact=True).first.press("Enter")
    until(lambda: app.audio()["time"] > 0.1)
    app.page.keyboard.press("l")
    track = app.audio()["src"].split("/")[-2]
    assert until(lambda: ("like", track) in history(app))
    app.page.keyboard.press("l")
    assert until(lambda: ("unlike", track) in history(app))


def log_in(app: App, name: str, password: str = PASSWORD) -> None:
    app.page.get_by_label("Name").fill(name)
    app.page.get_by_label("Password").fill(password)
    app.page.get_by_label("Password").press("Enter")


def test_people_log_in_and_each_has_their_own(chromium: Any, songs: Songs, tmp_path: Path) -> None:
    copied(songs.library, tmp_path / "library")
    for name in ("ann", "ben"):
        Accounts(tmp_path / "library").add(name, PASSWORD)
    with running(tmp_path / "library") as (address, _), tab(chromium, f"{address}/") as app:
        app.open("playlists")
        log_in(app, "ann", "wrong")
        until(lambda: app.page.get_by_role("alert").inner_text())
        log_in(app, "ann")
        app.page.get_by_label("Name of a new playlist").fill("Of Ann alone")
        app.page.get_by_role("button", name="Create").click()
        until(lambda: re.fullmatch(r"playlists/[0-9a-f]{16}", app.place()))
        place = app.place()
        app.open("tracks")
        app.page.get_by_role("button", name="Like", exact=False).first.click()
        app.page.locator('[data-track] [aria-pressed="true"]').first.wait_for()

        app.page.get_by_role("button", name="Listener: ann").click()
        app.page.get_by_role("menuitem", name="Log out").click()
        log_in(app, "ben")
        app.page.get_by_role("button", name="Listener: ben").wait_for()
        app.page.locator("[data-track]").first.wait_for()
        assert app.page.locator('[data-track] [aria-pressed="true"]').count() == 0
        app.open("playlists")
        app.page.get_by_role("heading", name="None yet").wait_for()
        app.open(place)
        app.page.get_by_text("there is no playlist").wait_for()
        app.complaints = [said for said in app.complaints if not re.search("status of 40[14]", said)]
