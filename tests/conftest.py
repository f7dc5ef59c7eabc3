"""What holds for every test: no network, no settings of whoever runs it, the same dice."""

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

# Before numpy is imported, because its libraries read it once: the processes are the parallelism.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import cluster  # noqa: E402
import numpy as np  # noqa: E402
import served  # noqa: E402
from browser import App, Songs, tab  # noqa: E402
from hypothesis import settings  # noqa: E402
from made import Made, copied, make_library  # noqa: E402

from soundkin import synth  # noqa: E402
from soundkin.library import Library  # noqa: E402
from soundkin.record.database import Place  # noqa: E402

_HOME = pytest.StashKey[Path]()
_SETTINGS = ("SOUNDKIN_", "XDG_", "QDRANT_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# Cores may be shared, so no example has a deadline; where CI is set, every run tries the same examples.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


class NetworkClosed(RuntimeError):
    """A test reached for the network."""


def pytest_configure(config: pytest.Config) -> None:
    """Give this process, and those it starts, an empty home; close the network."""
    home = Path(tempfile.mkdtemp(prefix="soundkin-test-"))
    config.stash[_HOME] = home
    for name in list(os.environ):
        if (name.startswith(_SETTINGS) and not name.startswith("SOUNDKIN_TEST_")) or name.lower() in _PROXIES:
            del os.environ[name]
    os.environ["HOME"] = os.environ["USERPROFILE"] = os.fspath(home)
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        os.environ[f"XDG_{name}_HOME"] = os.fspath(home / name.lower())
    _close_network()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the home."""
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)


def _close_network() -> None:
    """Let sockets reach this machine only; a name is refused before it is looked up."""
    look_up = socket.getaddrinfo

    def look_up_local(host: Any, *rest: Any, **named: Any) -> Any:
        _refuse_remote(socket.AF_INET, (host,))
        return look_up(host, *rest, **named)

    # The methods are replaced, not the class: whoever was imported before holds the class.
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
    vars(socket)["getaddrinfo"] = look_up_local


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        _refuse_remote(self.family, arguments[-1])  # each of them has the address last
        return method(self, *arguments)

    return guarded


def _refuse_remote(family: int, address: object) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    if host in (None, "", "localhost"):
        return
    try:
        local = ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        local = False
    if not local:
        raise NetworkClosed(
            f"a test reached for {host}; tests use this machine only, at 127.0.0.1 or a Unix socket"
        )


@pytest.fixture(autouse=True)
def _same_dice() -> Iterator[None]:
    """Seed the global generators, which only tests and third parties use, and leave them as they were."""
    state, old = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    yield
    random.setstate(state)
    np.random.set_state(old)  # noqa: NPY002


# ---- records: every test that takes `new_place` holds for those in files and those in PostgreSQL


@pytest.fixture(scope="session")
def postgres() -> Iterator[cluster.Cluster]:
    """A PostgreSQL; where CI should have one, its lack is no reason to skip."""
    if reason := cluster.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with cluster.postgres() as running:
        yield running


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Place]:
    """Return what names a place for a record where there is none yet."""
    if request.param == "sqlite":
        return lambda: tmp_path_factory.mktemp("record") / "library"
    running: cluster.Cluster = request.getfixturevalue("postgres")
    return running.new_place


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The library that no test may change."""
    return make_library(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def shared(made: Made) -> Iterator[Library]:
    """The library itself, open, for tests that only ask."""
    with Library.open(made.library) as opened:
        yield opened


@pytest.fixture
def library(made: Made, tmp_path: Path) -> Iterator[Library]:
    """A copy of the library, open; its audio is the same."""
    copied(made.library, tmp_path / "library")
    with Library.open(tmp_path / "library") as opened:
        yield opened


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What answers in place of a Qdrant server, `qdrant_http.FakeQdrant`; clients try again without a pause."""
    from qdrant_http import fake_qdrant  # it takes half a second

    monkeypatch.setattr("soundkin.index.connection._PAUSE", 0.0)
    monkeypatch.setattr("soundkin.index.server._LOOK_AGAIN", 0.0)
    with fake_qdrant() as server:
        yield server


# ---- of the tests in a browser


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Songs:
    """A library of made-up music, and a file that is not in it."""
    folder = tmp_path_factory.mktemp("browser")
    served.made_up(folder, 30, 10.0, ("cnn", "descriptors"))
    [(outside, known)] = synth.write_library(folder / "outside", 1, 10.0, seed=7)
    return Songs(folder / "library", outside, known.title)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; where CI should have one, its lack is no reason to skip, for then the tests would pass for ever."""
    if reason := served.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with served.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(chromium: Any, songs: Songs) -> Iterator[str]:
    """The address of a server that may scan the music."""
    with served.running(songs.library, os.fspath(songs.library.parent / "music")) as (address, _):
        yield f"{address}/"


@pytest.fixture
def app(chromium: Any, site: str) -> Iterator[App]:
    """A tab with the app."""
    with tab(chromium, site) as opened:
        yield opened
