"""A server for tests: the application in this process; a real one on loopback is `served.running`."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from soundkin.serve import accounts, create_app

PATIENCE = 120.0
"""Seconds that a test waits for an answer, on a machine that has much else to do."""
BASE = "http://localhost:8765"
API = "/api/v1"


@contextlib.contextmanager
def client_of(folder: Path, **options: Any) -> Iterator[TestClient]:
    """Ask the application directly, as somebody at its own machine does."""
    app = create_app(folder, **options)
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        yield client


@contextlib.contextmanager
def quick_passwords() -> Iterator[None]:
    """Let passwords cost next to nothing; those of other processes are not known meanwhile."""
    usual = accounts.SCRYPT["n"]
    accounts.SCRYPT["n"] = 2
    try:
        yield
    finally:
        accounts.SCRYPT["n"] = usual


def until(ask: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Ask until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"nothing came in {seconds} s")


def made(client: TestClient, path: str) -> Any:
    """Return the answer of a route that may have to make it first."""

    def ask() -> Any:
        answer = client.get(f"{API}{path}")
        return None if answer.status_code == 202 else answer

    return until(ask)
