"""Makes the README's pictures of the web app, from the demo library: `python docs/make_screenshots.py`.

Needs Chromium, and `pip install -e '.[browser,maps]' pillow`.
"""

import argparse
import io
import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "benchmarks"))

from served import chromium, made_up, running  # noqa: E402

SIZE = {"width": 1440, "height": 900}
MOST_BYTES = 300_000


def save(page: Any, name: str) -> None:
    """Keep what the page shows as a PNG of few colours, which is a third of the size and looks the same."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    target = DOCS / name
    picture.quantize(256, method=Image.Quantize.MEDIANCUT).save(target, optimize=True)
    if target.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{target} has {target.stat().st_size} bytes, more than {MOST_BYTES}")
    sys.stderr.write(f"{target}: {target.stat().st_size / 1000:.0f} kB\n")


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/api/v1/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def play(page: Any) -> None:
    """Start the second row, and let its waveform come."""
    page.locator("main [data-track] .play").nth(1).click()
    page.wait_for_timeout(6000)
    page.mouse.move(720, 10)
    page.wait_for_timeout(300)


def picture(browser: Any, url: str) -> None:
    """Make both pictures of the app at `url`."""
    tracks = ask(url, "tracks?limit=500")["tracks"]
    one = tracks[len(tracks) // 2]
    for track in tracks[::20]:
        ask(url, "feedback", {"kind": "like", "tracks": [track["id"]]})
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    page.goto(f"{url}/#/like/{one['id']}")
    page.locator("main [data-track]").first.wait_for()
    play(page)
    save(page, "app.png")
    page = browser.new_page(viewport=SIZE, color_scheme="dark")
    page.set_default_timeout(180_000)
    page.goto(f"{url}/#/tracks?f=genre%3D{one['genres'][0]}")
    page.locator("main [data-track]").first.wait_for()
    play(page)
    way = ask(url, "path", {"start": tracks[0]["id"], "end": tracks[-1]["id"], "n": 10})["hits"]
    place = "#/map?" + "&".join(f"path={hit['id']}" for hit in way)
    page.evaluate("place => { location.hash = place }", place)
    page.get_by_role("application").wait_for()
    page.wait_for_timeout(3000)
    save(page, "map.png")


def main() -> None:
    """Serve a demo library and look at it: an answer in the light, the map in the dark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made_up(Path(folder), arguments.tracks, 20.0)
        with running(Path(folder, "library")) as (url, _), chromium() as browser:
            picture(browser, url)


if __name__ == "__main__":
    main()
