"""The web app: what it weighs, how soon it shows something, and what a map of 100 000 tracks costs a frame.

    python benchmarks/bench_web.py --check

Needs Chromium, the extra `browser` and the app as built. The machine that the figures come from has no graphics card:
Chromium draws in software there, on the processor, so frames a second are that drawing's and not the app's. What the
app itself does in a frame carries over to every machine, so that is what is promised: its script (a frame at 60 a
second lasts 16.7 ms, most of which is the browser's), one call to draw all points, and nothing sent to the graphics
memory.
"""

import argparse
import gzip
import json
import statistics
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import Bystanders, Targets
from served import STATIC, chromium, made_up, running

SIZE = {"width": 1440, "height": 900}
# When the first row was there, as the page itself sees it: whoever looks from outside comes late.
_FIRST_ROW = """new MutationObserver((_, self) => { if (document.querySelector('main [data-track]')) {
  window.firstRow = performance.now(); self.disconnect(); } }).observe(document, {childList: true, subtree: true});"""
# What the page asks of the graphics card.
_COUNT = """window.drawn = {calls: 0, bytes: 0};
for (const name of ['drawArrays', 'drawElements']) {
  const real = WebGL2RenderingContext.prototype[name];
  WebGL2RenderingContext.prototype[name] = function (...all) { drawn.calls++; return real.apply(this, all); };
}
for (const name of ['bufferData', 'bufferSubData']) {
  const real = WebGL2RenderingContext.prototype[name];
  WebGL2RenderingContext.prototype[name] = function (...all) {
    drawn.bytes += all.find(each => each?.byteLength)?.byteLength ?? 0; return real.apply(this, all); };
}"""
# Between two frames, where browsers tell of such things, a key moves the map, or a pointer goes over it: every frame is
# a new picture, or another point is pointed at.
_TURN = {
    "moved": """map.dispatchEvent(new KeyboardEvent('keydown',
      {key: i % 60 < 30 ? 'ArrowLeft' : 'ArrowRight', bubbles: true}))""",
    "pointed at": """map.dispatchEvent(new PointerEvent('pointermove',
      {clientX: 500 + 3 * (i % 100), clientY: 300 + i % 200, bubbles: true}))""",
    "left alone": "0",
}
_FRAMES = """count => new Promise(done => {
  const map = document.querySelector('[role="application"]'); const times = []; let i = 0;
  const step = at => {
    times.push(at);
    if (times.length > count) return done(times);
    setTimeout(() => { %s; i++; });
    requestAnimationFrame(step);
  };
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
    page = browser.new_context(viewport=SIZE).new_page()
    page.add_init_script(_FIRST_ROW)
    page.goto(f"{url}/#/tracks", wait_until="commit")
    page.locator("main [data-track]").first.wait_for()
    row = page.evaluate("window.firstRow")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
    page.context.close()
    return {"paint": paint, "row": row}


def opened(browser: Any, url: str, n: int) -> Any:
    """Open a page with the map of `n` made-up tracks."""
    page = browser.new_context(viewport=SIZE).new_page()
    page.add_init_script(_COUNT)
    answer = made_map(n)
    kind = "application/octet-stream"
    page.route("**/api/v1/map?*", lambda route: route.fulfill(body=answer, content_type=kind))
    page.goto(f"{url}/#/map")
    page.get_by_role("application").wait_for()
    page.wait_for_timeout(2000)
    return page


def frames(page: Any, how: str, count: int) -> dict[str, float]:
    """Do something with a map for so many frames; return what a frame costs, and how many there were a second."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def state() -> dict[str, float]:
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        return metrics | page.evaluate("window.drawn")

    before = state()
    times = page.evaluate(_FRAMES % _TURN[how], count)
    after = state()
    n = len(times) - 1
    return {
        "fps": 1000 * n / (times[-1] - times[0]),
        "script": 1000 * (after["ScriptDuration"] - before["ScriptDuration"]) / n,
        "calls": (after["calls"] - before["calls"]) / n,
        "bytes": after["bytes"] - before["bytes"],
    }


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    arguments = parser.parse_args()
    weight, targets, others = weights(), Targets(), Bystanders()
    print(
        f"weight, gzip   {weight['all'] / 1000:.0f} kB in all, {weight['map'] / 1000:.0f} kB of it with the map"
    )
    targets.at_most("weight of the app, gzip", weight["all"] / 1000, 300, " kB")
    with tempfile.TemporaryDirectory() as folder:
        made_up(Path(folder), 60, 10.0)
        with running(Path(folder, "library")) as (url, _), chromium() as browser:
            first_rows(browser, url)
            loads = [first_rows(browser, url) for _ in range(arguments.loads)]
            paint, row = (statistics.median(load[name] for load in loads) for name in ("paint", "row"))
            print(f"first load     {paint:.0f} ms to the first paint, {row:.0f} ms to the first row (median)")
            targets.at_most("first row of the first load", row / 1000, 1, " s")
            page = opened(browser, url, arguments.points)
            for how in _TURN:
                cost = frames(page, how, arguments.frames)
                print(
                    f"map {how:11}{arguments.points} points: {cost['script']:.2f} ms of script a frame, "
                    f"{cost['calls']:.2f} calls to draw, {cost['bytes'] / 1000:.0f} kB sent; "
                    f"{cost['fps']:.0f} frames/s drawn in software"
                )
                if how != "left alone":
                    targets.at_most(f"script of a frame, map {how}", cost["script"], 4, " ms")
                targets.at_most(f"sent to be drawn, map {how}", cost["bytes"], 0, " bytes")
                targets.at_most(f"calls to draw a frame, map {how}", round(cost["calls"], 1), 1)
    print(f"cores busy with others, and with Chromium's drawing: {others.cores():.2f}\n")
    return targets.finish(arguments.check)


if __name__ == "__main__":
    sys.exit(main())
