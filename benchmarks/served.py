"""Runs the server, and a browser before it: what benchmarks, tests and the pictures of the docs share."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soundkin import synth
from soundkin.library import Library
from soundkin.scan import ScanOptions

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "src/soundkin/serve/static"
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Drawn in software, which every machine can; in a container there is no sandbox to be had.
_FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_STOP_SECONDS = 60


def missing() -> str:
    """Return what this machine lacks to show the web app in a browser, and how to get it; "" when nothing."""
    if CHROMIUM is None:
        return "no Chromium on this machine: apt-get install chromium"
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: pip install -e '.[browser]'"
    if not (STATIC / "index.html").is_file():
        return "the web app is not built: cd web && npm ci && npm run build"
    return ""


def made_up(folder: Path, tracks: int, seconds: float, encoders: tuple[str, ...] = ()) -> None:
    """Compose music in `folder`/music and index it in `folder`/library."""
    synth.write_library(folder / "music", tracks, seconds)
    with Library.open(folder / "library") as library:
        library.add([folder / "music"], ScanOptions(encoders=encoders))


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run `soundkin serve` on a free port until the block ends; yield its address, without a slash, and the process."""
    path = os.pathsep.join(filter(None, (os.fspath(ROOT / "src"), *sys.path)))
    code = [sys.executable, "-m", "soundkin.cli", "serve", "--library", os.fspath(folder), "--port", "0"]
    process = subprocess.Popen(
        [*code, *arguments], env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        found = re.search(r"http://\S+(?=/ )", line := process.stdout.readline())
        if found is None:
            raise RuntimeError(f"soundkin serve did not start: {line}{process.stderr.read()}")
        yield found[0], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(_STOP_SECONDS)
        process.stdout.close()
        process.stderr.close()


@contextmanager
def chromium() -> Iterator[Any]:
    """Run Chromium, driven by Playwright, until the block ends."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS])
        yield browser
        browser.close()
