"""Makes the README's pictures of the web app, from the demo library: `python docs/make_screenshots.py`.

Needs Chromium, and `pip install -e '.[browser,maps]' pillow`.
"""

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from soundkin import synth
from soundkin.library import Library

DOCS = Path(__file__).parent
SIZE = {"width": 1440, "height": 900}
MOST_BYTES = 300_000
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


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
    request = urllib.request.Request(f"{url}api/v1/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def play(page: Any) -> None:
    """Start the second row, and let its waveform come."""
    page.locator("main [data-track] .play").nth(1).click()
    page.wait_for_timeout(6000)
    page.mouse.move(720, 10)
    page.wait_for_timeout(300)


def main() -> None:
    """Serve a demo library and look at it: an answer in the light, the map in the dark."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        synth.write_library(Path(folder, "music"), arguments.tracks, 20.0)
        with Library.open(Path(folder, "library")) as library:
            library.add([Path(folder, "music")])
        command = [
            sys.executable,
            "-m",
            "soundkin.cli",
            "serve",
            "--port",
            "0",
            "--library",
            f"{folder}/library",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
            try:
                assert server.stdout is not None
                url = next(m[0] for line in server.stdout if (m := re.search(r"http://[^\s/]+/", line)))
                tracks = ask(url, "tracks?limit=500")["tracks"]
                one = tracks[len(tracks) // 2]
                for track in tracks[::20]:
                    ask(url, "feedback", {"kind": "like", "tracks": [track["id"]]})
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(
                        executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=FLAGS
                    )
                    page = browser.new_page(viewport=SIZE, color_scheme="light")
                    page.goto(f"{url}#/like/{one['id']}")
                    page.locator("main [data-track]").first.wait_for()
                    play(page)
                    save(page, "app.png")
                    page = browser.new_page(viewport=SIZE, color_scheme="dark")
                    page.set_default_timeout(180_000)
                    page.goto(f"{url}#/tracks?f=genre%3D{one['genres'][0]}")
                    page.locator("main [data-track]").first.wait_for()
                    play(page)
                    ends = {"start": tracks[0]["id"], "end": tracks[-1]["id"], "n": 10}
                    way = [hit["id"] for hit in ask(url, "path", ends)["hits"]]
                    page.evaluate(
                        "place => { location.hash = place }", "#/map?" + "&".join(f"path={i}" for i in way)
                    )
                    page.get_by_role("application").wait_for()
                    page.wait_for_timeout(3000)
                    save(page, "map.png")
                    browser.close()
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
