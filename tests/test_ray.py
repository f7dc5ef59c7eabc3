"""Embedding on a real Ray cluster: several raylets on this machine, whose workers are killed on purpose."""

import contextlib
import functools
import http.server
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import Made
from serving import PATIENCE, until

from soundkin import synth
from soundkin.cluster import ClusterOptions, ClusterReport, embed_with_ray, running, sources_of
from soundkin.cluster.child import Child, Look, embedding
from soundkin.cluster.parts import PartFile
from soundkin.embed import Embedded, Failure, Listenings, Same, Task, is_gone
from soundkin.errors import InputError, ModelError, StoreError
from soundkin.library import Library

# Not `importorskip`: where Ray listens is settled by the environment in which it is imported.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra ray is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own are not ours to mend
]
ENCODERS = ("cnn", "descriptors")


class Nodes:
    """A cluster: a head without CPUs, on which the driver lives, and nodes with one each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        common = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **common})
        self._common = common
        self.nodes = [self.add(), self.add()]

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, **self._common)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def workers(self) -> list[int]:
        """Return the processes of the actors that embed: those of this cluster, and of no other."""
        own = {
            process.process.pid
            for node in self.nodes
            for all_ in node.all_processes.values()
            for process in all_
        }
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name = (folder / "cmdline").read_bytes()
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if b"MapWorker" in name and parent in own:
                    found.append(int(folder.name))
        return found

    def replace(self) -> None:
        """Take a node away without warning, but not that of the driver, and put another in its place."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        goes = next(node for node in self.nodes if node.node_id != here)
        self.nodes.remove(goes)
        self.cluster.remove_node(goes, allow_graceful=False)
        self.nodes.append(self.add())


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    given = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback only
        "RAY_AUTH_MODE": "disabled",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        # the factories below run in the children of actors
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        nodes = Nodes()
        yield nodes
        nodes.cluster.shutdown()


def embed(
    nodes: Nodes, paths: Any, out: Path, after: Callable[[int], None] = lambda part: None, **more: Any
) -> ClusterReport:
    """Embed, and do something after each part."""
    counted = iter(range(1, 10_000))
    options = ClusterOptions(**{"encoders": ENCODERS, "address": nodes.address, **more})
    return embed_with_ray([paths], out, options, lambda at: after(next(counted)))


def results(out: Path) -> list[Embedded | Same | Failure]:
    found: list[Embedded | Same | Failure] = []
    for place, name in sources_of([out]):
        with PartFile(place, name) as part:
            found += part.outcomes()
    return found


def cosine(a: Any, b: Any) -> float:
    """Return it in float64: the vectors are of unit length, but only as float32 can be."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def check_all_is_there_once(out: Path, made: Made, root: str | None = None) -> None:
    """Compare with what the local scan made of the same files."""
    found = results(out)
    with Library.open(made.library) as library:
        tracks = {track.path: track for track in library.tracks()}
        prefix = root or str(made.music)
        there = [one.file.path.replace(prefix, str(made.music)) for one in found]
        assert sorted(there) == sorted(tracks)
        embedded = [one for one in found if isinstance(one, Embedded)]
        assert len(embedded) == len({track.content for track in tracks.values()})  # each content once
        assert len({one.content for one in embedded}) == len(embedded)
        for space, _, _ in library.status().spaces:
            ids, vectors = library.vectors(space.id)
            local = dict(zip(ids, vectors, strict=True))
            by_content = {track.content: local[track.id] for track in tracks.values()}
            for one in embedded:
                assert cosine(one.vectors[space.id], by_content[one.content]) >= 0.9999999
    copies = {one.file.path for one in found if isinstance(one, Same)}
    assert len(copies) == len(found) - len(embedded)


def test_killed_workers_lose_nothing_and_double_nothing(nodes: Nodes, made: Made, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(part: int) -> None:
        if part in (2, 5):  # every worker is then in the middle of a part
            for pid in nodes.workers():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    report = embed(nodes, made.music, tmp_path / "out", kill)
    assert len(killed) >= 2
    assert (report.found, report.embedded, report.copies, report.failed) == (30, 28, 2, 0)
    check_all_is_there_once(tmp_path / "out", made)
    again = embed(nodes, made.music, tmp_path / "out", lambda part: pytest.fail("there was nothing to do"))
    assert (again.embedded, again.settled) == (0, 30)

    with Library.open(tmp_path / "library") as library, Library.open(made.library) as local:
        loaded = library.load(tmp_path / "out")
        assert (loaded.added, loaded.copies, loaded.left_out) == (30, 2, 0)
        twice = library.load(tmp_path / "out")
        assert (twice.added, twice.updated, twice.known) == (0, 0, 30)
        rescanned = library.add(made.music)
        assert (rescanned.unchanged, rescanned.added, rescanned.updated) == (30, 0, 0)
        first = made.tracks[0][0]
        ours, theirs = (
            [(h.path, round(h.similarity, 5)) for h in lib.similar(first)] for lib in (library, local)
        )
        assert {path for path, _ in ours} == {path for path, _ in theirs}
        told = [(t.path, t.content, t.title, t.genres, t.bpm, t.key, t.duration) for t in library.tracks()]
        assert sorted(told, key=str) == sorted(
            [(t.path, t.content, t.title, t.genres, t.bpm, t.key, t.duration) for t in local.tracks()],
            key=str,
        )


def test_a_node_that_goes_loses_nothing(nodes: Nodes, made: Made, tmp_path: Path) -> None:
    report = embed(nodes, made.music, tmp_path, lambda part: nodes.replace() if part == 2 else None)
    assert (report.embedded, report.copies, report.failed) == (28, 2, 0)
    check_all_is_there_once(tmp_path, made)


def test_a_run_whose_driver_was_killed_goes_on(nodes: Nodes, made: Made, tmp_path: Path) -> None:
    command: list[Any] = [
        sys.executable,
        "-m",
        "soundkin.cli",
        "index",
        made.music,
        "--engine",
        "ray",
        "-e",
        "cnn",
        "-e",
        "descriptors",
    ]
    driver = subprocess.Popen([*command, "--address", nodes.address, "--out", tmp_path / "out"])
    parts = tmp_path / "out" / "parts"
    try:
        until(lambda: len(list(parts.glob("*.parquet"))) >= 2, PATIENCE)
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not nodes.workers(), PATIENCE)  # they outlive it by a moment, and may finish a part in it
    before = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    report = embed(nodes, made.music, tmp_path / "out")
    assert report.found == 30
    assert report.settled > 0
    assert {name: (parts / name).stat().st_mtime_ns for name in before} == before  # not one was made again
    found = results(tmp_path / "out")
    vectors = Counter(
        (one.content, space) for one in found if isinstance(one, Embedded) for space in one.vectors
    )
    assert set(vectors.values()) == {1}
    assert len(vectors) == 2 * 28
    assert len({one.file.path for one in found}) == 30


# ---- files that do harm


def misbehaving(
    names: tuple[str, ...], listening: Listenings, device: str, folder: str
) -> Callable[[Any], Any]:
    """What runs in the child of an actor: embeds, and at marked files does what a decoder might, or worse."""
    real: Child = embedding(names, listening, device, folder)

    def work(asked: Look | Task) -> Any:
        name = os.path.basename(asked.file.path)
        if isinstance(asked, Task) and name == "crash.flac":
            os.kill(os.getpid(), signal.SIGSEGV)
        if isinstance(asked, Task) and name == "hang.flac":
            time.sleep(600)
        if isinstance(asked, Task) and "killer" in name:
            os.kill(os.getppid(), signal.SIGKILL)  # takes the actor along, and with it the part
            time.sleep(600)
        return real(asked)

    return work


def test_files_that_crash_hang_or_kill_cost_themselves_only(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(running.factories, "embedding", f"{__name__}:misbehaving")
    music = tmp_path / "music"
    good = [path for path, _ in synth.write_library(music, 5, 3.0)]
    for i, name in enumerate(("crash.flac", "hang.flac", "killer.flac")):
        (music / name).write_bytes(good[i].read_bytes() + bytes(i + 1))  # contents of their own
    shutil.copy(music / "killer.flac", music / "copy of killer.flac")
    (music / "text.mp3").write_text("no music at all " * 100)
    report = embed(nodes, music, tmp_path / "out", encoders=("descriptors",), time_limit=20.0)
    assert (report.embedded, report.copies, report.failed) == (5, 0, 5)
    failures = {os.path.basename(f.file.path): f for f in results(tmp_path / "out") if isinstance(f, Failure)}
    assert {name: f.kind for name, f in failures.items()} == {
        "crash.flac": "crash", "hang.flac": "timeout", "killer.flac": "crash", "copy of killer.flac": "crash",
        "text.mp3": "decode",
    }  # fmt: skip
    for name in (
        "killer.flac",
        "copy of killer.flac",
    ):  # whichever came first was given up, and with it the other
        assert failures[name].reason == "3 workers died while they were at it"
    assert "20 s" in failures["hang.flac"].reason
    again = embed(nodes, music, tmp_path / "out", encoders=("descriptors",))
    assert (again.embedded, again.settled, again.known_bad) == (0, 5, 5)

    monkeypatch.undo()  # the decoder has been mended
    mended = embed(nodes, music, tmp_path / "out", encoders=("descriptors",), retry=True)
    assert (mended.embedded, mended.copies, mended.failed) == (3, 1, 1)
    with Library.open(tmp_path / "library") as library:
        loaded = library.load(tmp_path / "out")
        assert loaded.added == 9
        assert [os.path.basename(failure.file.path) for failure, _ in library.failures()] == ["text.mp3"]
        assert library.load(tmp_path / "out").failed == 0


def test_a_device_that_no_worker_has_ends_the_run_in_one_line(nodes: Nodes, tmp_path: Path) -> None:
    synth.write_library(tmp_path / "music", 1, 2.0)
    with pytest.raises(ModelError, match=r"^device 'cuda' was asked for, but cnn runs on the CPU only"):
        embed(nodes, tmp_path / "music", tmp_path / "out", encoders=("cnn",), apart=True, device="cuda")


# ---- other places


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder as a web server shows it; of one file that is listed it knows nothing."""

    def send_head(self) -> Any:
        if self.path.endswith("vanished.flac"):
            return self.send_error(404)
        return super().send_head()

    def log_message(self, *_: Any) -> None: ...


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_music_behind_a_web_server(nodes: Nodes, made: Made, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    chosen = [path for path, _ in made.tracks[:4]]
    for i, path in enumerate(chosen):
        shutil.copy(path, music / f"odd näme {i}{path.suffix}")
    (music / "vanished.flac").write_bytes(b"x")
    (music / "cover.jpg").write_bytes(b"x")
    with web_server(music) as url:
        report = embed(nodes, f"{url}/", tmp_path / "out")
        assert (report.found, report.embedded, report.failed) == (5, 4, 1)
        again = embed(nodes, f"{url}/", tmp_path / "out")
        assert (again.settled, again.embedded) == (4, 0)
        with pytest.raises(InputError, match="cannot list"):
            embed(nodes, f"{url}/nothing/", tmp_path / "out")
    with Library.open(tmp_path / "library") as library, Library.open(made.library) as local:
        assert library.load(tmp_path / "out").added == 4
        tracks = library.tracks()
        assert all(track.path.startswith(url) and not is_gone(track.path) for track in tracks)
        by_content = {track.content: track for track in local.tracks()}
        for space, _, _ in library.status().spaces:
            ids, vectors = library.vectors(space.id)
            there = dict(zip(*local.vectors(space.id), strict=True))
            for track in tracks:
                ours = vectors[ids.index(track.id)]
                assert cosine(ours, there[by_content[track.content].id]) >= 0.9999999
        assert len(library.similar(tracks[0].path, k=3)) == 3


def test_encoders_apart_from_those_that_decode_make_the_same(
    nodes: Nodes, made: Made, tmp_path: Path
) -> None:
    def kill(part: int) -> None:
        if part == 1:
            for pid in nodes.workers():
                os.kill(pid, signal.SIGKILL)

    report = embed(nodes, made.music, tmp_path, kill, apart=True, device="cpu")
    assert (report.embedded, report.copies, report.failed) == (28, 2, 0)
    check_all_is_there_once(tmp_path, made)


# ---- doors


def test_without_an_address_ray_starts_here_and_the_library_is_filled(tmp_path: Path) -> None:
    music, library = tmp_path / "music", tmp_path / "library"
    synth.write_library(music, 3, 3.0)
    script = (
        "import sys, ray, soundkin.cli\n"
        "began = ray.init\n"
        "def init(*a, **k):\n"
        "    out = began(*a, **k); print(ray.util.get_node_ip_address(), file=sys.stderr); return out\n"
        "ray.init = init\n"
        "soundkin.cli.main(sys.argv[1:])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the script imports Ray before we can say so
    command = ["index", str(music), "--engine", "ray", "-j", "2", "--library", str(library), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["embedded"], told["loaded"]["added"]) == (3, 3)
    assert "127.0.0.1" in done.stderr.splitlines()
    with Library.open(library) as opened:
        assert opened.add(music).unchanged == 3


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    synth.write_library(tmp_path / "music", 1, 2.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(
            StoreError, match=f"cannot reach the Ray cluster at {address}: Connection refused"
        ):
            embed_with_ray([tmp_path / "music"], tmp_path / "out", ClusterOptions(address=address))


def test_the_page_about_it_shows_what_is_printed(tmp_path: Path) -> None:
    docs = Path(__file__).parents[1] / "docs"
    pages = runpy.run_path(str(docs / "make_tutorial.py"))
    for output in pages["run"]((docs / "ray.md").read_text("utf-8"), tmp_path):
        if output.mark == "checked":
            assert output.printed == output.shown
        else:
            assert len(output.printed.splitlines()) == len(output.shown.splitlines())
