"""The index on a Qdrant server, as a real client speaks with it over HTTP; see `qdrant_http` for the other end.

`SOUNDKIN_TEST_QDRANT` names a real server, with its key in `SOUNDKIN_TEST_QDRANT_API_KEY`, on which the contract is run
as well; its collections are removed afterwards.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from contract_index import SPACES, IndexContract, random_points
from qdrant_client import QdrantClient, models
from qdrant_http import FakeQdrant

from soundkin.cli import cli, main
from soundkin.errors import InputError, StoreError
from soundkin.filters import Match
from soundkin.index import Index, IndexLocked, Mark, Point, RebuildNeeded, open_index, rebuild
from soundkin.index.points import PAYLOAD
from soundkin.index.server import open_collection
from soundkin.index.settings import QUANTIZATIONS, QdrantLayout, QdrantSettings
from soundkin.library import Library

MARK = Mark("0b7c", 17)
SERVER = os.environ.get("SOUNDKIN_TEST_QDRANT")
ROW = np.ones(8, np.float32)

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


@pytest.mark.slow
class TestOverHttp(IndexContract):
    @pytest.fixture(autouse=True)
    def server(self, fake: FakeQdrant) -> None:
        self.url = fake.url

    def make(self, folder: Path, spaces: dict[str, int]) -> Index:
        rebuild(self.url, MARK, spaces, [])
        return open_index(self.url)


@pytest.mark.skipif(not SERVER, reason="SOUNDKIN_TEST_QDRANT names no server")
class TestRealServer(IndexContract):
    @pytest.fixture(autouse=True)
    def collection(self) -> Iterator[None]:
        self.name = f"soundkin-test-{uuid.uuid4().hex[:8]}"
        yield
        client = QdrantClient(url=SERVER, api_key=os.environ.get("SOUNDKIN_TEST_QDRANT_API_KEY"))
        for one in client.get_collections().collections:
            if one.name.startswith(self.name):
                client.delete_collection(one.name)
        client.close()

    def make(self, folder: Path, spaces: dict[str, int]) -> Index:
        assert SERVER
        settings = QdrantSettings(SERVER, os.environ.get("SOUNDKIN_TEST_QDRANT_API_KEY"))
        rebuild(settings, MARK, spaces, [], collection=self.name)
        return open_index(settings, collection=self.name)


def names(fake: FakeQdrant) -> list[str]:
    return sorted(one.name for one in fake.local.get_collections().collections)


# ---- what is sent


def test_a_collection_is_laid_out_as_the_settings_say(fake: FakeQdrant) -> None:
    layout = QdrantLayout(shards=6, replicas=3, write_consistency=2, quantization="int8", on_disk=True)
    rebuild(QdrantSettings(fake.url, "secret", layout=layout), MARK, SPACES, random_points(10))
    (made,) = fake.created.values()
    assert (made.shard_number, made.replication_factor, made.write_consistency_factor) == (6, 3, 2)
    assert isinstance(made.vectors, dict)
    assert {space: (one.size, one.on_disk) for space, one in made.vectors.items()} == {
        "sound": (8, True),
        "words": (5, True),
    }
    assert made.on_disk_payload
    assert isinstance(made.quantization_config, models.ScalarQuantization)
    assert made.quantization_config.scalar.always_ram
    assert {request.key for request in fake.requests} == {"secret"}


def test_fields_are_indexed_before_the_first_point(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, random_points(10))
    paths = [request.path for request in fake.requests if request.method == "PUT"]
    indexed, points = (
        [i for i, path in enumerate(paths) if path.endswith(ending)] for ending in ("/index", "/points")
    )
    assert points
    assert max(indexed) < min(points)
    fields = dict(fake.fields["soundkin-0001"])
    assert {fields[name].type.value for name in ("artist", "genre", "name")} == {"keyword"}
    assert {fields[name].type.value for name in ("year", "added")} == {"integer"}
    assert {fields[name].type.value for name in ("bpm", "duration", "energy")} == {"float"}


@pytest.mark.parametrize(("quantization", "oversampling"), [("none", 2.0), ("int8", 2.0), ("binary", 4.0)])
def test_what_quantized_vectors_find_is_scored_by_whole_ones(
    fake: FakeQdrant, quantization: str, oversampling: float
) -> None:
    settings = QdrantSettings(
        fake.url, read_consistency="majority", layout=QdrantLayout(quantization=quantization)
    )
    rebuild(settings, MARK, SPACES, random_points(10))
    with open_index(settings) as index:
        index.search("sound", ROW, k=3, where=Match("genre", ("samba",)))
    asked = fake.sent("POST", "/query")[0]
    params = models.QueryRequest.model_validate(asked).params
    assert params is not None
    assert params.quantization is not None
    assert params.acorn is not None
    assert params.quantization.rescore
    assert params.quantization.oversampling == oversampling
    assert params.acorn.enable
    assert {r.query for r in fake.requests if r.path.endswith("/query")} == {"consistency=majority"}


def test_a_space_that_comes_later_lies_like_the_others(fake: FakeQdrant) -> None:
    settings = QdrantSettings(fake.url, layout=QdrantLayout(on_disk=True))
    rebuild(settings, MARK, SPACES, [])
    with open_index(settings) as index:
        index.add_space("late", 3)
    patched = [body["vectors"] for body in fake.sent("PATCH", "-0001") if "vectors" in body]
    assert patched == [{"late": {"on_disk": True}}]


def test_a_space_that_another_server_has_added_is_there(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, random_points(2))
    with open_index(fake.url) as here, open_index(fake.url) as there:
        there.add_space("late", 3)
        here.add_space("late", 3)
        assert here.spaces == there.spaces == {**SPACES, "late": 3}
    assert len(fake.sent("PUT", "/vectors/late")) == 1


def test_a_space_comes_to_the_generation_that_answers(fake: FakeQdrant) -> None:
    rebuild(fake.url, Mark("0b7c", 20), SPACES, random_points(3))
    with open_index(fake.url) as writer:
        rebuild(fake.url, Mark("0b7c", 18), SPACES, random_points(2))
        writer.add_space("late", 3)
        writer.upsert([Point(9, {"late": np.ones(3, np.float32)}, {})])
        assert [id_ for id_, _ in writer.search("late", np.ones(3, np.float32), k=1)] == [9]
        writer.flush(Mark("0b7c", 21))
        assert writer.mark == Mark("0b7c", 18)  # 19 and 20 are still to come


# ---- loading


def thresholds(fake: FakeQdrant) -> list[Any]:
    return [
        body["optimizers_config"].get("indexing_threshold")
        for body in fake.sent("PATCH", "-0001")
        if "optimizers_config" in body
    ]


def test_graphs_are_built_after_a_load_and_waited_for(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, [])
    fake.indexing["soundkin-0001"] = 25_000
    fake.requests.clear()
    status = models.CollectionStatus
    with open_index(fake.url) as index, index.loading():
        index.upsert(random_points(10))
        assert thresholds(fake) == [0]
        # after a restart a server waits for a change before it goes on
        fake.statuses = [status.YELLOW, status.YELLOW, status.GREY, status.YELLOW, status.GREEN]
    assert thresholds(fake) == [0, 25_000, None]
    assert fake.statuses == []


def test_graphs_are_built_after_a_load_that_broke(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, [])
    fake.requests.clear()
    with open_index(fake.url) as index, pytest.raises(InputError), index.loading():
        index.upsert([Point(1, {"sound": np.zeros(8)})])
    assert thresholds(fake) == [0, 10_000]


def test_a_load_that_was_killed_is_noticed_and_one_under_way_left_alone(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, [])
    with open_index(fake.url) as index, index.loading():
        fake.requests.clear()
        open_index(fake.url).close()
        assert thresholds(fake) == []
    fake.indexing["soundkin-0001"] = 0
    fake.local.update_collection("soundkin-0001", metadata={"building": time.time() - 3600})
    open_index(fake.url).close()
    assert thresholds(fake) == [10_000, 10_000]
    assert fake.indexing["soundkin-0001"] == 10_000


def test_a_server_that_cannot_build_its_graphs_says_why(fake: FakeQdrant) -> None:
    fake.statuses = [models.CollectionStatus.GREEN] * 2 + [models.CollectionStatus.RED]
    with pytest.raises(StoreError, match="no space left on device"):
        rebuild(fake.url, MARK, SPACES, random_points(3))
    assert names(fake) == []


# ---- generations


def test_readers_keep_the_old_collection_until_the_new_one_is_whole(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, random_points(30))
    seen: list[tuple[int, int]] = []

    def points() -> Iterator[Point]:
        for point in random_points(1200):
            yield point
            if len(seen) < 2:
                seen.append((reader.count(), len(reader.search("sound", ROW, k=1000))))

    with open_index(fake.url) as reader:
        rebuild(fake.url, Mark("0b7c", 20), SPACES, points())
        assert seen == [(30, 30), (30, 30)]
        assert (reader.count(), len(reader.search("sound", ROW, k=2000))) == (1200, 1200)
    assert names(fake) == ["soundkin-0002"]
    # in one request, so that there is never none
    (first, second) = fake.sent("POST", "/collections/aliases")
    assert [list(step) for step in first["actions"]] == [["create_alias"]]
    assert [list(step) for step in second["actions"]] == [["delete_alias"], ["create_alias"]]


def test_a_new_generation_lies_like_the_one_before(fake: FakeQdrant) -> None:
    layout = QdrantLayout(6, 2, 2, "binary", True)
    rebuild(QdrantSettings(fake.url, layout=layout), MARK, SPACES, [])
    rebuild(fake.url, MARK, SPACES, random_points(5))
    rebuild(QdrantSettings(fake.url, layout=QdrantLayout(quantization="none", replicas=3)), MARK, SPACES, [])
    with open_collection(fake.url, "soundkin") as index:
        state = index.state()
    assert state.layout == QdrantLayout(6, 3, 2, "none", True)
    assert (state.alias, state.collection, state.status) == ("soundkin", "soundkin-0003", "green")
    assert (state.points, dict(state.spaces), state.loading) == (0, SPACES, False)


def test_a_collection_waits_with_its_layout_for_the_first_track(fake: FakeQdrant) -> None:
    open_rebuilt = QdrantSettings(fake.url, layout=QdrantLayout(shards=12))
    rebuild(open_rebuilt, Mark("0b7c", 0), {}, [])
    with open_index(fake.url) as index:
        assert (index.spaces, index.count(), index.mark) == ({}, 0, Mark("0b7c", 0))
        index.add_space("sound", 8)
        index.upsert([Point(1, {"sound": ROW})])
        assert index.search("sound", ROW, k=1)[0][0] == 1
    rebuild(fake.url, MARK, SPACES, [])
    assert fake.created["soundkin-0002"].shard_number == 12


def test_a_writer_that_missed_a_rebuild_finds_out_what_the_new_one_lacks(fake: FakeQdrant) -> None:
    rebuild(fake.url, Mark("0b7c", 20), SPACES, random_points(3))
    with open_index(fake.url) as writer:
        rebuild(fake.url, Mark("0b7c", 18), SPACES, random_points(2))  # began before 19 and 20 were made
        writer.flush(Mark("0b7c", 21))
        assert writer.mark == Mark("0b7c", 18)
        writer.flush(Mark("0b7c", 21))
        assert writer.mark == Mark("0b7c", 21)
    with open_index(fake.url) as index:
        assert index.mark == Mark("0b7c", 21)


def test_two_do_not_build_at_once_and_what_a_killed_build_left_is_dropped(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, random_points(3))
    building = {"payload": "x", "building": time.time() - 300}
    fake.local.create_collection("soundkin-0002", vectors_config={}, metadata=building)
    with pytest.raises(IndexLocked, match="another process is building"):
        rebuild(fake.url, MARK, SPACES, [])
    fake.local.update_collection("soundkin-0002", metadata={"building": time.time() - 3600})
    fake.local.create_collection("soundkin-of-others-0002", vectors_config={})
    rebuild(fake.url, MARK, SPACES, random_points(4))
    assert names(fake) == ["soundkin-0003", "soundkin-of-others-0002"]


def test_a_build_shows_signs_of_life(fake: FakeQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundkin.index.server.STALE_SECONDS", 0.0)
    before = time.time()
    rebuild(fake.url, MARK, SPACES, random_points(1200))
    noted = [body.get("metadata", {}) for body in fake.sent("PATCH", "-0001")]
    signs = [one["building"] for one in noted if "building" in one]
    assert len(signs) >= 3
    assert before <= min(signs)
    assert signs == sorted(signs)


def test_two_that_begin_at_the_same_moment_do_not_mix(
    fake: FakeQdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundkin.index.aliases.Generations._free_name", lambda *_: "soundkin-0001")
    fake.local.create_collection("soundkin-0001", vectors_config={}, metadata={"builder": "another"})
    with pytest.raises(IndexLocked, match="soundkin-0001"):
        rebuild(fake.url, MARK, SPACES, [])
    assert names(fake) == ["soundkin-0001"]


def test_a_collection_whose_making_was_not_heard_of_is_ours(fake: FakeQdrant) -> None:
    with open_index_when_built(fake, ["lost" if step == "create" else None for step in STEPS]) as index:
        assert index.count() == 3
    assert len([r for r in fake.requests if (r.method, r.path) == ("PUT", "/collections/soundkin-0001")]) == 2


STEPS = ("aliases", "exists", "collections", "create")


def open_index_when_built(fake: FakeQdrant, trouble: list[Any]) -> Index:
    fake.trouble = trouble
    rebuild(fake.url, MARK, SPACES, random_points(3))
    return open_index(fake.url)


def test_a_plain_collection_of_an_earlier_version_makes_room(fake: FakeQdrant) -> None:
    vectors = {"sound": models.VectorParams(size=8, distance=models.Distance.COSINE)}
    fake.local.create_collection(
        "soundkin", vectors, metadata={"record": "0b7c", "revision": 3, "payload": "older"}
    )
    with open_index(fake.url) as index:
        assert index.mark is None
    rebuild(fake.url, MARK, SPACES, random_points(3))
    assert names(fake) == ["soundkin-0001"]
    with open_index(fake.url) as index:
        assert (index.count(), index.mark) == (3, MARK)


# ---- trouble


@pytest.mark.parametrize("trouble", [503, 500, 502, 504, 429, (429, 0), 408, "reset"])
def test_trouble_that_passes_is_not_seen(fake: FakeQdrant, trouble: Any) -> None:
    with open_index_when_built(fake, []) as index:
        before = len(fake.requests)
        fake.trouble = [trouble, trouble]
        assert index.count() == 3
        assert len(fake.requests) == before + 3
        fake.trouble = [trouble, None, trouble]
        index.upsert(random_points(4))
        assert index.count() == 4


def test_a_write_whose_answer_was_lost_is_made_once(fake: FakeQdrant) -> None:
    with open_index_when_built(fake, []) as index:
        fake.trouble = ["lost"]
        index.upsert([Point(77, {"sound": ROW})])
        assert index.count() == 4


def test_a_request_is_given_up_after_its_retries(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, [])
    with open_index(QdrantSettings(fake.url, retries=2)) as index:
        fake.requests.clear()
        fake.trouble = [503] * 9
        with pytest.raises(
            StoreError, match=r"^Qdrant http://127\.0\.0\.1:\d+, collection 'soundkin': 503 .*made up$"
        ):
            index.count()
        assert len(fake.requests) == 3


def test_a_server_that_hangs_is_given_up_in_time(fake: FakeQdrant) -> None:
    rebuild(fake.url, MARK, SPACES, [])
    with open_index(QdrantSettings(fake.url, timeout=1, retries=50)) as index:
        fake.trouble = ["hang"] * 50
        with pytest.raises(StoreError, match="no answer within 1 s") as raised:
            index.count()
        assert "\n" not in str(raised.value)
        # 2 s in all: how many tries fit in does not depend on how often they are allowed
        assert 1 <= 50 - len(fake.trouble) <= 3


@pytest.mark.parametrize(
    ("settings", "trouble", "said"),
    [
        ({"key": "right"}, [], "401 Unauthorized: Invalid API key.*--api-key"),
        ({}, [None, 403], "403 .*--api-key"),
        ({"version": "1.15.2"}, [], "is version 1.15.2, wanted 1.16 or newer"),
        ({}, [404], "404 Not Found: made up"),
        ({}, [400], "400 Bad Request: made up"),
    ],
)
def test_what_does_not_pass_is_one_line(
    fake: FakeQdrant, settings: dict[str, Any], trouble: list[Any], said: str
) -> None:
    for name, value in settings.items():
        setattr(fake, name, value)
    fake.trouble = trouble
    with pytest.raises(StoreError, match=said) as raised:
        open_index(QdrantSettings(fake.url, "wrong"))
    assert "\n" not in str(raised.value)
    assert "wrong" not in str(raised.value).replace("Wrong", "")
    assert not isinstance(raised.value, RebuildNeeded)


def test_what_is_no_qdrant_is_said_to_be_none(fake: FakeQdrant) -> None:
    with pytest.raises(StoreError, match="no Qdrant"):
        open_index(f"{fake.url}/aliases")


def test_a_server_that_cannot_add_a_space_asks_for_a_rebuild(fake: FakeQdrant) -> None:
    with open_index_when_built(fake, []) as index:
        fake.trouble = [None, None, 404]  # after two looks, as servers before 1.18 answer
        with pytest.raises(RebuildNeeded, match=r"1\.18"):
            index.add_space("late", 3)
        assert index.spaces == SPACES


# ---- settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert QdrantSettings.of() is None
    assert QdrantSettings.of("http://a", "key") == QdrantSettings("http://a", "key")
    monkeypatch.setenv("SOUNDKIN_QDRANT", "http://b")
    monkeypatch.setenv("QDRANT_API_KEY", "old")
    assert QdrantSettings.of() == QdrantSettings("http://b", "old")
    monkeypatch.setenv("SOUNDKIN_QDRANT_API_KEY", "new")
    monkeypatch.setenv("SOUNDKIN_QDRANT_TIMEOUT", "7")
    monkeypatch.setenv("SOUNDKIN_QDRANT_CONSISTENCY", "quorum")
    assert QdrantSettings.of() == QdrantSettings("http://b", "new", timeout=7, read_consistency="quorum")
    assert QdrantSettings.of("http://a", "given") == QdrantSettings(
        "http://a", "given", timeout=7, read_consistency="quorum"
    )
    assert "new" not in repr(QdrantSettings.of())


@pytest.mark.parametrize(
    ("name", "bad"), [("TIMEOUT", "soon"), ("TIMEOUT", "0"), ("CONSISTENCY", "most"), ("CONSISTENCY", "0")]
)
def test_settings_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, bad: str) -> None:
    monkeypatch.setenv(f"SOUNDKIN_QDRANT_{name}", bad)
    with pytest.raises(InputError, match=bad):
        QdrantSettings.of("http://a")


@pytest.mark.parametrize(
    "bad",
    [
        {"shards": 0}, {"replicas": -1}, {"write_consistency": 0}, {"quantization": "int4"},
        {"replicas": 2, "write_consistency": 3},
    ],
)  # fmt: skip
def test_layouts_that_cannot_be_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        QdrantLayout(**bad)


def test_every_quantization_can_be_asked_for() -> None:
    group = cli.commands["qdrant"]
    assert isinstance(group, click.Group)
    (option,) = (one for one in group.commands["create"].params if one.name == "quantization")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == QUANTIZATIONS


def test_a_layout_is_filled_in_by_another() -> None:
    assert QdrantLayout(shards=3, on_disk=False).over(QdrantLayout(6, 2, 1, "int8", True)) == QdrantLayout(
        3, 2, 1, "int8", False
    )
    with pytest.raises(InputError, match="replicas"):
        QdrantLayout(replicas=1).over(QdrantLayout(replicas=2, write_consistency=2))


# ---- through the library and the command line


@pytest.fixture
def command(
    fake: FakeQdrant, library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("SOUNDKIN_QDRANT", fake.url)
    monkeypatch.setenv("SOUNDKIN_LIBRARY", str(library.folder))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_a_cluster_is_laid_out_asked_and_shown(
    command: Callable[..., tuple[int, str, str]], fake: FakeQdrant, library: Library
) -> None:
    status, out, _ = command("status")
    assert status == 0
    assert "soundkin qdrant create makes it" in out
    wanted = ["--shards", "6", "--replicas", "2", "--quantization", "int8", "--on-disk"]
    status, out, _ = command("qdrant", "create", *wanted)
    assert status == 0
    assert (
        "6 shards, 2 copies of each, a write waits for 1; vectors on disk, searched by int8 in memory" in out
    )
    fake.indexing[names(fake)[0]] = 0  # a load is under way: what made the collection has just been alive
    status, out, _ = command("status")
    assert "a load is under way" in out
    status, out, _ = command("status", "--json")
    told = json.loads(out)["qdrant"]
    assert told["layout"] == {
        "shards": 6, "replicas": 2, "write_consistency": 1, "quantization": "int8", "on_disk": True,
    }  # fmt: skip
    assert (told["points"], told["loading"]) == (len(library.tracks()), True)
    fake.requests.clear()
    track = library.tracks()[0]
    status, out, _ = command("similar", track.id, "--json")
    assert [hit["id"] for hit in json.loads(out)["hits"]] == [hit.id for hit in library.similar(track)]
    assert fake.sent("POST", "/query")
    status, out, err = command("qdrant", "create", "--replicas", "1", "--write-consistency", "2", "--json")
    assert (status, out) == (1, "")
    assert "replicas" in err


def test_trouble_with_the_server_does_not_keep_status_from_telling_the_rest(
    command: Callable[..., tuple[int, str, str]], fake: FakeQdrant
) -> None:
    fake.key = "right"
    status, out, _ = command("status")
    assert status == 0
    assert "tracks" in out
    assert "--api-key" in out
    assert "--api-key" in json.loads(command("status", "--json")[1])["qdrant"]["error"]


def test_a_folder_has_no_collection(library: Library) -> None:
    assert library.collection() is None
    with pytest.raises(InputError, match="--qdrant"):
        library.lay_out()


def test_a_collection_is_laid_out_before_the_first_scan(fake: FakeQdrant, tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", fake.url) as library:
        state = library.lay_out(QdrantLayout(shards=9))
        assert (state.points, state.spaces, state.layout.shards) == (0, {}, 9)


def test_two_libraries_share_a_server_and_two_profiles_a_collection(
    fake: FakeQdrant, library: Library, tmp_path: Path
) -> None:
    """Nothing of a person is in the index: what a profile likes narrows its own questions only."""
    first, second, *_ = library.tracks()
    with (
        Library.open(library.folder, fake.url) as served,
        Library.open(tmp_path / "other", fake.url) as other,
    ):
        other.lay_out()
        for name, track in (("ana", first), ("ben", second)):
            served.create_profile(name)
            served.feedback("like", [track], name)
        for name, track in (("ana", second), ("ben", first)):
            hits = served.similar(track, 50, "liked", profile=name)
            assert [hit.id for hit in hits] == [first.id if name == "ana" else second.id]
        own, others = served.collection(), other.collection()
    assert own is not None
    assert others is not None
    assert (own.points, others.points) == (len(library.tracks()), 0)
    assert names(fake) == sorted([own.collection, others.collection])
    stored = [
        point.payload for body in fake.sent("PUT", "/points") for point in models.PointsList(**body).points
    ]
    assert stored
    assert not [key for payload in stored for key in payload or {} if key not in PAYLOAD]


def test_the_example_in_the_docs_runs(fake: FakeQdrant, library: Library) -> None:
    page = (Path(__file__).parent.parent / "docs" / "qdrant.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("http://qdrant:6333", fake.url).replace('"library"', repr(str(library.folder))), names)
    with names["library"] as opened:
        assert opened.lay_out().layout == names["layout"]
