"""Music in a bucket of S3's, results into another, and from there into a library: against moto on this machine.

The commands are those of docs/ray.md, each a process; Ray is a real one.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import PATIENCE, until

from soundkin import synth
from soundkin.cluster.places import Place, listed
from soundkin.errors import InputError, StoreError
from soundkin.library import Library

MISSING = [name for name in ("ray", "s3fs", "moto") if find_spec(name) is None]
pytestmark = [
    pytest.mark.ray,
    # where CI is set, they have to be there
    pytest.mark.skipif(bool(MISSING) and not os.environ.get("CI"), reason=f"not installed: {MISSING}"),
    pytest.mark.filterwarnings("ignore"),  # of the server's and Ray's packages: not ours to mend
]
KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "of no importance"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server with the buckets `music` and `results`, named in the environment; what speaks to it."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",  # it would be asked for credentials
            **KEYS,
        }.items():
            monkeypatch.setenv(name, value)
        httpx.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()  # of the test before
        system = fsspec.filesystem("s3", use_listings_cache=False)
        for name in ("music", "results"):
            system.mkdir(name)
        yield system
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # the next one is elsewhere
        server.stop()


def begun(*command: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "soundkin.cli", *command],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )


def soundkin(*command: str) -> str:
    told, _ = (process := begun(*command)).communicate()
    assert process.returncode == 0
    return told


def with_mark(mark: str) -> list[int]:
    """Return the processes with this word in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is not ours
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def end_all(mark: str) -> None:
    """End a command and all of its Ray at once, as it is when a machine loses its power."""

    def none_is_left() -> bool:
        pids = with_mark(mark)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    until(none_is_left, PATIENCE)


INDEX = (
    "index",
    "s3://music/",
    "--engine",
    "ray",
    "--jobs",
    "2",
    "-e",
    "descriptors",
    "--out",
    "s3://results/run/",
)


def parts(bucket: Any) -> dict[str, Any]:
    """Return when each of the results was written."""
    found = bucket.find("results/run/parts", detail=True)
    return {name: (info["ETag"], info["LastModified"]) for name, info in found.items()}


def test_from_one_bucket_to_another_and_into_a_library(bucket: Any, tmp_path: Path) -> None:
    for number, (path, _) in enumerate(synth.write_library(tmp_path / "made", 16, 3.0)):
        bucket.pipe(f"music/ä {number % 2}/{number} 100%{path.suffix}", path.read_bytes())
    flac = next(name for name in bucket.find("music") if name.endswith(".flac"))
    content = bucket.cat(flac)
    bucket.pipe(flac, content + b"a")

    mark = uuid.uuid4().hex
    killed = begun(*INDEX, SOUNDKIN_TEST_MARK=mark)
    try:
        until(lambda: parts(bucket) or killed.poll() is not None, PATIENCE)
    finally:
        end_all(mark)
        killed.communicate()
    before = parts(bucket)
    assert before

    told = soundkin(*INDEX)
    assert told.startswith("16 files: ")
    assert "done before" in told
    assert before.items() <= parts(bucket).items()  # nothing was made again
    assert soundkin(*INDEX).startswith("16 files: 16 done before\n")

    library = tmp_path / "library"
    load = "load", "s3://results/run/", "--library", str(library)
    assert soundkin(*load) == "16 rows of 16 files: 16 new\n"
    bucket.pipe(flac, content + b"b")
    assert soundkin(*INDEX).startswith("16 files: 1 embedded, ")
    assert soundkin(*load) == "17 rows of 17 files: 1 changed, 15 known before, 1 left out\n"
    with Library.open(library) as opened:
        tracks = {track.path: track for track in opened.tracks()}
        assert sorted(tracks) == [f"s3://{name}" for name in bucket.find("music")]
        assert all(track.title and track.artist for track in tracks.values())
        digest = hashlib.sha256(content + b"b").hexdigest()
        assert digest.startswith(tracks[f"s3://{flac}"].content)
    assert flac not in soundkin("similar", f"s3://{flac}", "-k", "20", "--library", str(library), "--json")


def test_a_process_that_lives_long_sees_what_others_write(bucket: Any) -> None:
    place = Place("s3://results/run")
    bucket.pipe("music/a.mp3", b"one")
    (first,) = listed(["s3://music"]).files.values()
    assert place.names("parts") == []
    other = type(bucket)(use_listings_cache=False, skip_instance_cache=True)
    other.pipe("music/a.mp3", b"two")
    other.pipe("music/b.mp3", b"two")
    other.pipe("results/run/parts/x.parquet", b"")
    now = listed(["s3://music"]).files
    assert list(now) == ["s3://music/a.mp3", "s3://music/b.mp3"]
    assert now["s3://music/a.mp3"] != first
    assert place.names("parts") == ["parts/x.parquet"]


def test_what_is_not_there_is_one_line(bucket: Any) -> None:
    with pytest.raises(
        InputError, match=r"^cannot list s3://nowhere/ \(The specified bucket does not exist\): is "
    ):
        listed(["s3://nowhere/"])
    with pytest.raises(
        InputError, match=r"^cannot list s3://music/none/ \(nothing is there\): is it there, and "
    ):
        listed(["s3://music/none/"])
    with pytest.raises(InputError, match=r"^cannot read s3://music/a.parquet: nothing is there$"):
        Place("s3://music").open("a.parquet")
    with pytest.raises(
        StoreError, match=r"^cannot write s3://nowhere/x: The specified bucket does not exist$"
    ):
        Place("s3://nowhere/x").write("a", b"")


def test_credentials_that_are_missing_are_one_line(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    type(bucket).clear_instance_cache()
    place = Place("s3://music")
    with pytest.raises(InputError, match=r"^cannot list s3://music \(Unable to locate credentials\): "):
        listed(["s3://music"])
    for ask in (place.names, lambda: place.exists("a")):
        with pytest.raises(StoreError, match=r"^cannot read s3://music: Unable to locate credentials$"):
            ask()
