"""The web app: what it weighs, how soon it shows something, and what a map of 100 000 tracks costs a frame.

Needs Chromium, the extra `browser` and the app as built. Frames per second are those of this machine: without a
graphics card Chromium draws in software, so the figure that carries over is the time of the script in each frame.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from soundkin import synth
from soundkin.library import Library

STATIC = Path(__file__).parents[1] / "src/soundkin/serve/static"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_FRAMES = """frames => new Promise(done => {
  const times = [];
  const step = at => { times.push(at); times.length > frames ? done(times) : requestAnimationFrame(step); };
  requestAnimationFrame(step);
})"""


def weights() -> dict[str, int]:
    """Return the bytes of the app after gzip: all of it, and what the map adds when it is opened."""
    sizes = {p: len(gzip.compress(p.read_bytes(), 9)) for p in STATIC.rglob("*") if p.is_file()}
    opened = sum(size for p, size in sizes.items() if p.name.startswith("Map"))
    return {"all": sum(sizes.values()), "map": opened}


def made_map(n: int, seed: int = 0) -> bytes:
    """Return what `/map` would answer for `n` tracks in twenty clouds."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 20, n)
    places = rng.uniform(-0.8, 0.8, (20, 2))[group] + rng.normal(0, 0.07, (n, 2))
    columns: list[tuple[str, str, Any]] = [
        ("id", "u64", np.arange(n, dtype="<u8")),
        ("x", "f32", places[:, 0].clip(-1, 1).astype("<f4")),
        ("y", "f32", places[:, 1].clip(-1, 1).astype("<f4")),
        ("genre", "u16", group.astype("<u2")),
        ("cluster", "u16", group.astype("<u2")),
        ("artist", "u32", np.zeros(n, "<u4")),
        ("tempo", "f32", rng.uniform(60, 180, n).astype("<f4")),
        ("energy", "f32", rng.uniform(0, 1, n).astype("<f4")),
        ("year", "u16", rng.integers(1960, 2026, n).astype("<u2")),
        ("verdict", "u8", np.zeros(n, "u1")),
        ("played", "u8", np.zeros(n, "u1")),
    ]
    body, places_of = b"", {}
    for name, kind, values in columns:
        places_of[name] = {"type": kind, "at": len(body)}
        body += values.tobytes() + b"\0" * (-values.nbytes % 8)
    names = [f"style {i}" for i in range(20)]
    head = {"method": "tsne", "space": "", "count": n, "revision": 1, "columns": places_of}
    text = json.dumps({**head, "genres": names, "clusters": names, "artists": ["somebody"]}).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return struct.pack("<I", len(text)) + text + body


def first_rows(browser: Any, url: str) -> dict[str, float]:
    """Load the list of all tracks with an empty cache; return ms to the first paint and to the first row."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{url}#/tracks", wait_until="commit")
    page.locator("main [data-track]").first.wait_for()
    row = page.evaluate("performance.now()")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
    page.context.close()
    return {"paint": paint, "row": row}


def frames(browser: Any, url: str, n: int, count: int = 120) -> dict[str, float]:
    """Turn a map of `n` tracks about while it is drawn; return frames a second and ms of script in a frame."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    answer = made_map(n)
    page.route(
        "**/api/v1/map?*", lambda route: route.fulfill(body=answer, content_type="application/octet-stream")
    )
    page.goto(f"{url}#/map")
    chart = page.get_by_role("application")
    chart.wait_for()
    page.wait_for_timeout(2000)
    # One key a frame moves the map: every frame is a new picture.
    page.evaluate(
        """() => { const map = document.querySelector('[role="application"]'); let i = 0;
        const press = () => { map.dispatchEvent(new KeyboardEvent('keydown',
          {key: i++ % 60 < 30 ? 'ArrowLeft' : 'ArrowRight', bubbles: true})); requestAnimationFrame(press); };
        requestAnimationFrame(press); }"""
    )
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def script() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "ScriptDuration")

    before = script()
    times = page.evaluate(_FRAMES, count)
    used = script() - before
    page.context.close()
    return {"fps": 1000 * (len(times) - 1) / (times[-1] - times[0]), "script": 1000 * used / (len(times) - 1)}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--loads", type=int, default=5)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    weight = weights()
    print(
        f"weight, gzip   {weight['all'] / 1000:.0f} kB in all, {weight['map'] / 1000:.0f} kB of it with the map"
    )
    with tempfile.TemporaryDirectory() as folder:
        synth.write_library(Path(folder, "music"), 60, 10.0)
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
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(
                        executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=FLAGS
                    )
                    first_rows(browser, url)
                    loads = [first_rows(browser, url) for _ in range(arguments.loads)]
                    paint, row = (
                        statistics.median(load[name] for load in loads) for name in ("paint", "row")
                    )
                    print(
                        f"first load     {paint:.0f} ms to the first paint, {row:.0f} ms to the first row (median)"
                    )
                    drawn = frames(browser, url, arguments.points)
                    print(
                        f"map            {arguments.points} points, moving: {drawn['fps']:.0f} frames/s on this "
                        f"machine, {drawn['script']:.2f} ms of script a frame"
                    )
                    browser.close()
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
