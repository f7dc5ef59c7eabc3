import errno
import itertools
import json
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from contract_index import SPACES, IndexContract, cosines, random_points
from exact_index import ExactIndex
from qdrant_client import QdrantClient, models

from soundkin.errors import InputError, StoreError
from soundkin.filters import Match
from soundkin.index import Index, IndexLocked, Mark, Point, RebuildNeeded, edge, open_index, rebuild
from soundkin.index.generations import read_state
from soundkin.index.points import LAYOUT

MARK = Mark("0b7c", 17)


class TestExact(IndexContract):
    def make(self, folder: Path, spaces: dict[str, int]) -> Index:
        return ExactIndex(spaces)


class TestServer(IndexContract):
    def make(self, folder: Path, spaces: dict[str, int]) -> Index:
        client = QdrantClient(":memory:")
        rebuild(client, MARK, spaces, [])
        return open_index(client)


class TestEdge(IndexContract):
    def make(self, folder: Path, spaces: dict[str, int]) -> Index:
        rebuild(folder, MARK, spaces, [])
        return open_index(folder)


def run(code: str, *args: object) -> str:
    """Run Python in another process and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


OPEN = """
import sys
from soundkin.index import open_index
try:
    with open_index(sys.argv[1]) as index:
        print("open", index.count())
except Exception as error:
    print(type(error).__name__, error)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rebuild(tmp_path / "index", MARK, SPACES, random_points(30))
    return tmp_path / "index"


def test_importing_the_interface_imports_no_engine() -> None:
    code = (
        "import sys, soundkin.index, soundkin.index.recorded, soundkin.index.generations; print(*sys.modules)"
    )
    loaded = set(run(code).split())
    assert "soundkin.index" in loaded
    assert not {"qdrant_client", "qdrant_edge"} & loaded


def test_opening_a_folder_does_not_import_the_client(folder: Path) -> None:
    code = "import sys, soundkin.index as i; i.open_index(sys.argv[1]).close(); print(*sys.modules)"
    loaded = set(run(code, folder).split())
    assert "qdrant_edge" in loaded
    assert "qdrant_client" not in loaded


def test_reopened_folder_has_everything(folder: Path) -> None:
    points = random_points(30)
    with open_index(folder) as index:
        assert (index.mark, index.spaces, index.count()) == (MARK, SPACES, 30)
        index.add_space("late", 3)
        index.upsert([Point(5, {"late": np.ones(3)}, {"artist": "new"})])
        index.delete([points[0].id])
        index.flush(Mark("0b7c", 18))
        before = index.search("sound", np.ones(8), k=50)
        assert len(before) == 29
    index.close()
    with pytest.raises(StoreError):
        index.count()
    with open_index(str(folder)) as index:
        assert (index.mark, index.spaces, index.count()) == (Mark("0b7c", 18), {**SPACES, "late": 3}, 30)
        assert index.search("sound", np.ones(8), k=50) == before
        assert index.search("late", np.ones(3), k=5, where=Match("artist", ("new",)))[0][0] == 5


def test_state_says_what_is_there(folder: Path) -> None:
    saved = json.loads((folder / "edge-0001" / "state.json").read_text())
    assert saved == {
        "engine": f"qdrant-edge 0.9.0, payload {LAYOUT}, graph 3",
        "generation": "edge-0001",
        "record": "0b7c",
        "revision": 17,
        "spaces": SPACES,
        "optimized": 30,
    }
    with open_index(folder) as index:
        index.upsert(random_points(40))
        assert read_state(folder).optimized == 30  # type: ignore[union-attr]
        assert index.outside_graph() == 10
        index.delete([point.id for point in random_points(40)[5:]])
        assert index.outside_graph() == 25  # of the graph's 30 points 5 are left


def test_second_process_learns_that_the_folder_is_taken(folder: Path) -> None:
    with open_index(folder):
        assert run(OPEN, folder).startswith("IndexLocked index ")
        with pytest.raises(IndexLocked, match="another process"):
            open_index(folder)
    assert run(OPEN, folder) == "open 30"


def test_killed_process_loses_nothing_it_wrote_and_frees_the_folder(folder: Path) -> None:
    code = """
import os, sys
import numpy as np
from soundkin.index import Point, open_index
index = open_index(sys.argv[1])
index.upsert([Point(i, {"sound": np.arange(8) + i}) for i in range(5000, 5010)])
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(folder)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with open_index(folder) as index:
        assert index.count() == 40
        assert index.mark == MARK


def test_rebuild_swaps_while_the_old_one_is_open(folder: Path) -> None:
    with open_index(folder) as old:
        rebuild(folder, Mark("0b7c", 20), SPACES, random_points(50))
        assert names(folder) == {"edge-0001", "edge-0002", "build.lock"}
        assert read_state(folder).generation == "edge-0002"  # type: ignore[union-attr]
        with open_index(folder) as new:
            assert (new.count(), new.mark) == (50, Mark("0b7c", 20))
            # the old one goes on, and what it saves does not touch the new one
            old.upsert([Point(99, {"sound": np.ones(8)})])
            old.flush(Mark("0b7c", 19))
            assert old.search("sound", np.ones(8), k=1)[0][0] == 99
            assert new.mark == read_state(folder).mark == Mark("0b7c", 20)  # type: ignore[union-attr]
    rebuild(folder, Mark("0b7c", 21), SPACES, random_points(10))
    assert names(folder) == {"edge-0003", "build.lock"}


def test_rebuild_runs_in_another_process(folder: Path) -> None:
    with open_index(folder) as old:
        child = mp.get_context("spawn").Process(target=rebuild, args=(folder, MARK, SPACES, random_points(7)))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert old.count() == 30
    with open_index(folder) as index:
        assert index.count() == 7


def build_and_hang(folder: Path, started: Path) -> None:
    def points() -> Iterator[Point]:
        yield from random_points(700)
        started.touch()
        time.sleep(600)

    rebuild(folder, Mark("0b7c", 99), SPACES, points())


def test_a_build_that_is_killed_leaves_the_old_index_and_its_rest_is_removed(
    folder: Path, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    child = mp.get_context("spawn").Process(target=build_and_hang, args=(folder, started))
    child.start()
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started.exists()
    with pytest.raises(IndexLocked, match="rebuilding"):
        rebuild(folder, MARK, SPACES, [])
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    assert names(folder) == {"edge-0001", "edge-0002.building", "build.lock"}
    with open_index(folder) as index:
        assert (index.count(), index.mark) == (30, MARK)
    rebuild(folder, MARK, SPACES, random_points(5))
    assert names(folder) == {"edge-0002", "build.lock"}
    with open_index(folder) as index:
        assert index.count() == 5


def test_a_build_that_fails_changes_nothing(folder: Path) -> None:
    for bad in (Point(1, {"sound": np.zeros(8)}), Point(1, {"other": np.ones(8)})):
        with pytest.raises((InputError, StoreError)):
            rebuild(folder, MARK, SPACES, [*random_points(10), bad])
    with pytest.raises(InputError, match="space"):
        rebuild(folder, MARK, {}, [])
    assert names(folder) == {"edge-0001", "build.lock"}
    with open_index(folder) as index:
        assert index.count() == 30


def test_no_index_asks_for_a_rebuild(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert read_state(folder) is None
        with pytest.raises(RebuildNeeded, match="rebuild"):
            open_index(folder)


def test_another_version_of_the_engine_is_as_good_as_nothing(folder: Path) -> None:
    path = folder / "edge-0001" / "state.json"
    path.write_text(path.read_text().replace("0.9.0", "0.8.0"))
    assert read_state(folder) is None
    with pytest.raises(RebuildNeeded):
        open_index(folder)
    rebuild(folder, MARK, SPACES, [])
    assert names(folder) == {"edge-0002", "build.lock"}


def test_unreadable_state_asks_for_a_rebuild(folder: Path) -> None:
    path = folder / "edge-0001" / "state.json"
    for content in (b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"engine": "qdrant-edge 0.9.0"}'):
        path.write_bytes(content)
        with pytest.raises(RebuildNeeded):
            open_index(folder)
    path.unlink()
    with pytest.raises(RebuildNeeded):
        open_index(folder)


def test_damaged_files_ask_for_a_rebuild_which_works(folder: Path) -> None:
    shard = folder / "edge-0001" / "shard"
    damaged = [
        shard / "edge_config.json",
        *shard.glob("segments/*/segment.json"),
        shard / "wal" / "first-index",
    ]
    for path in damaged:
        whole = path.read_bytes()
        path.write_bytes(b"\x00garbage" * 9)
        with pytest.raises(RebuildNeeded, match="damaged"):
            open_index(folder)
        if path != damaged[-1]:
            path.write_bytes(whole)
    rebuild(folder, MARK, SPACES, random_points(3))
    assert names(folder) == {"edge-0002", "build.lock"}
    with open_index(folder) as index:
        assert index.count() == 3


def test_a_panic_of_the_engine_asks_for_a_rebuild(folder: Path) -> None:
    damaged = list(folder.glob("edge-0001/shard/segments/*/payload_index/**/status.dat"))
    assert damaged
    for path in damaged:
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(RebuildNeeded, match="damaged"):
        open_index(folder)


def test_trouble_from_outside_does_not_ask_for_a_rebuild(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in (errno.EACCES, errno.EMFILE, errno.ENOSPC, errno.EROFS):

        class Shard:
            @staticmethod
            def load(path: str, text: str = f"{os.strerror(code)} (os error {code})") -> None:
                raise Exception(f"Service runtime error: {text}")

        monkeypatch.setattr("qdrant_edge.EdgeShard", Shard)
        with pytest.raises(StoreError, match=os.strerror(code)) as raised:
            open_index(folder)
        assert not isinstance(raised.value, (RebuildNeeded, IndexLocked))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file") as raised:
        rebuild(tmp_path / "file" / "index", MARK, SPACES, [])
    assert "\n" not in str(raised.value)


def test_points_of_a_genre_are_to_lie_side_by_side_in_every_block() -> None:
    """Whether the engine keeps to it shows in time alone: benchmarks/bench_index.py."""
    genres = [("rock",), ("jazz", "live"), ("folk",), ()]
    points = [Point(i, {}, {"genre": list(genres[i // 1000])}) for i in range(4000)]
    placed = sorted(map(edge._placed, points), key=lambda point: point.payload["place"])
    runs = [key for key, _ in itertools.groupby((p.id % edge._BLOCKS, p.id // 1000) for p in placed)]
    assert len(runs) == len(set(runs)) == 4 * edge._BLOCKS  # each genre once in each block, whole


@pytest.mark.slow
def test_large_index_has_a_graph_and_finds_what_exact_search_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Big enough (29 MB) for the engine to build a graph, also of the seven tenths that another space has.

    The genre goes along with the sound, as genres do.
    """
    rng = np.random.default_rng(3)
    n, dims = 7_000, 1024
    group = rng.integers(40, size=n)
    rows = (rng.normal(size=(40, dims))[group] + 0.5 * rng.normal(size=(n, dims))).astype(np.float32)
    few = np.arange(n) % 10 < 7
    rebuild(
        tmp_path,
        MARK,
        {"s": dims, "few": dims},
        (
            Point(
                i,
                {"s": row, "few": row} if few[i] else {"s": row},
                {"genre": [f"g{group[i] % 2}"], "album": f"a{group[i] % 10}"},
            )
            for i, row in enumerate(rows)
        ),
    )
    for file in tmp_path.rglob("hnsw_config.json"):
        told = json.loads(
            file.read_text()
        )  # with fewer than the first, a search without a filter looks at each
        assert told["full_scan_threshold"] < 0.95 * told["indexed_vector_count"]
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    with open_index(tmp_path) as index:
        assert index._shard.info().indexed_vectors_count == n + few.sum()  # type: ignore[attr-defined]
        cases = (
            ("s", None, np.ones(n, bool)),
            ("s", Match("genre", ("g1",)), group % 2 == 1),
            ("s", Match("album", ("a3",)), group % 10 == 3),
            ("few", None, few),
            ("few", Match("genre", ("g0",)), few & (group % 2 == 0)),
        )
        for quickly, (space, where, passing) in itertools.product((edge._QUICKLY, 0), cases):
            monkeypatch.setattr(edge, "_QUICKLY", quickly)  # 0: as in an index of a million
            found = total = 0
            for query in range(0, n, 150):
                scores = np.where(passing, units @ units[query], -2)
                wanted = set(np.argsort(-scores)[:10].tolist())
                found += len(wanted & {i for i, _ in index.search(space, rows[query], k=10, where=where)})
                total += 10
            assert found / total >= 0.99


def test_exact_index_agrees_with_the_cosine_when_points_change() -> None:
    points = random_points(30)
    index = ExactIndex(SPACES, MARK)
    assert index.mark == MARK
    index.upsert(points[:20])
    index.search("sound", np.ones(8), k=1)
    index.upsert(points[20:])
    assert len(index.search("sound", np.ones(8), k=99)) == 30
    index.delete([points[3].id])
    expected = cosines(points[:3] + points[4:], "sound", np.ones(8))
    assert dict(index.search("sound", np.ones(8), k=99)) == pytest.approx(expected, abs=1e-5)


class Lost(ExactIndex):
    """An index whose quick search loses its way."""

    def _search(self, space, vector, k, where, exact):
        return super()._search(space, vector, k, where, exact)[: None if exact else 1]


def test_a_search_that_finds_too_few_is_repeated_exactly() -> None:
    index = Lost(SPACES)
    index.upsert(random_points(30))
    whole = ExactIndex(SPACES)
    whole.upsert(random_points(30))
    nearest = whole.search("sound", np.ones(8), k=5)
    assert index.search("sound", np.ones(8), k=5) == nearest
    assert index.search("sound", np.ones(8), k=3, exclude=[i for i, _ in nearest[:2]]) == nearest[2:]


def test_server_without_the_collection_asks_for_a_rebuild() -> None:
    client = QdrantClient(":memory:")
    with pytest.raises(RebuildNeeded, match="'mine'"):
        open_index(client, collection="mine")
    rebuild(client, MARK, SPACES, random_points(10), collection="mine")
    rebuild(client, Mark("0b7c", 18), {"sound": 8}, [Point(1, {"sound": np.ones(8)})], collection="mine")
    with open_index(client, collection="mine") as index:
        assert (index.count(), index.mark, index.spaces) == (1, Mark("0b7c", 18), {"sound": 8})
    assert client.collection_exists("mine")  # the client was given ready, so it stays open


def test_a_collection_of_an_older_version_is_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = QdrantClient(":memory:")
    for part in ("server", "aliases"):
        monkeypatch.setattr(f"soundkin.index.{part}.LAYOUT", "older")
    rebuild(client, MARK, SPACES, random_points(10))
    with open_index(client) as index:
        assert index.mark == MARK
    monkeypatch.undo()
    with open_index(client) as index:
        assert index.count() == 10  # searched meanwhile
        assert index.mark is None


def test_a_collection_of_somebody_else_is_left_alone() -> None:
    client = QdrantClient(":memory:")
    client.create_collection("soundkin", models.VectorParams(size=8, distance=models.Distance.COSINE))
    with pytest.raises(StoreError, match="not ours") as raised:
        open_index(client)
    assert not isinstance(raised.value, RebuildNeeded)


def test_a_build_on_a_server_that_fails_changes_nothing() -> None:
    client = QdrantClient(":memory:")
    bad = Point(1, {"sound": np.zeros(8)})
    with pytest.raises(InputError):
        rebuild(client, MARK, SPACES, [bad])
    assert client.get_collections().collections == []
    rebuild(client, MARK, SPACES, random_points(10))
    with pytest.raises(InputError):
        rebuild(client, Mark("0b7c", 18), SPACES, [*random_points(3), bad])
    with open_index(client) as index:
        assert (index.count(), index.mark) == (10, MARK)
    assert len(client.get_collections().collections) == 1


def test_unreachable_server_is_one_line_with_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundkin.index.connection._PAUSE", 0.0)
    for call in (
        lambda: open_index("http://127.0.0.1:1"),
        lambda: rebuild("http://127.0.0.1:1", MARK, SPACES, []),
    ):
        with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1.*refused") as raised:
            call()
        assert "\n" not in str(raised.value)
        assert not isinstance(raised.value, RebuildNeeded)


@pytest.mark.parametrize("url", ["http://", "http://host:port"])
def test_bad_urls_are_the_users_mistake(url: str) -> None:
    with pytest.raises(InputError, match="http"):
        open_index(url)
