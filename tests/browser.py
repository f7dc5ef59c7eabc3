"""The web app in a real browser, for tests: a tab of it, what it shows, what it complains about.

Chromium does not let scripts of tests be evaluated where a page's policy forbids `eval`, so nothing waits for an
expression inside the page: `serving.until` asks again from outside.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import PATIENCE, until

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PAGES = ("", "for-you", "map", "path", "playlists", "library", "tracks", "duplicates", "encoders")


@dataclass(frozen=True)
class Songs:
    """A library, and a file from outside with its title; the library's music lies beside it in `music`."""

    library: Path
    outside: Path
    title: str


@dataclass
class App:
    """The app in a tab of its own."""

    page: Any
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, place: str = "") -> "App":
        self.page.goto(f"{self.url}#/{place}")
        return self

    def place(self) -> str:
        """Where in the app it is; asked of the page, for the driver hears of it only when it asks something."""
        return self.page.evaluate("location.hash").removeprefix("#/")

    def ask(self, path: str) -> Any:
        """Ask the API as another client would."""
        with urllib.request.urlopen(f"{self.url}api/v1/{path}", timeout=PATIENCE) as answer:
            return json.load(answer)

    def audio(self) -> dict[str, Any]:
        """What the element that plays says of itself."""
        elements = self.page.evaluate(
            "[...document.querySelectorAll('audio')].map(a => ({time: a.currentTime, paused: a.paused, src: a.src}))"
        )
        return next((each for each in elements if not each["paused"]), elements[0])

    def rows(self, within: str = "main") -> list[str]:
        """Ids of the tracks shown, in their order."""
        # In one step: a row may go while others are looked at.
        return self.page.evaluate(
            "where => [...document.querySelectorAll(`${where} [data-track]`)].map(row => row.dataset.track)",
            within,
        )

    def choose(self, label: str, words: str) -> None:
        """Type words into a search field, and take the first track it offers."""
        box = self.page.get_by_role("combobox", name=label)
        box.fill(words)
        self.page.get_by_role("option", name=words).first.wait_for()
        box.press("ArrowDown")
        box.press("Enter")


def still(look: Callable[[], Any]) -> Any:
    """Return what is seen once it is the same three times in a row, a little apart."""
    seen = [look(), look()]

    def same() -> bool:
        time.sleep(0.3)
        seen.append(look())
        return bool(seen[-1] == seen[-2] == seen[-3])

    until(same, PATIENCE)
    return seen[-1]


@contextmanager
def tab(chromium: Any, url: str, **options: Any) -> Iterator[App]:
    """Open a tab; when the block ends, what the browser complained about must be nothing."""
    context = chromium.new_context(viewport=DESKTOP, accept_downloads=True, **options)
    context.set_default_timeout(PATIENCE * 1000)
    opened = App(context.new_page(), url)
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on("console", lambda said: note(opened, said))
    try:
        yield opened
        assert not opened.complaints, "\n".join(opened.complaints)
    finally:
        context.close()


def note(opened: App, said: Any) -> None:
    """Remember what the browser complains about; that drawing in software is slow is no defect."""
    if said.type in ("error", "warning") and "GPU stall" not in said.text:
        opened.complaints.append(f"{said.text} ({opened.page.url.partition('#')[2]})")


def history(app: App, profile: str = "default") -> list[tuple[str, str]]:
    return [(entry["kind"], entry["track"]) for entry in app.ask(f"profiles/{profile}/history?limit=50")]
