import errno
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from server import Server, serving

from soundkin.encoders import fetching, weights
from soundkin.encoders.weights import WeightFile, add, cache_folder, check, get, is_here, path_of
from soundkin.errors import ModelError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        served.files["/net.bin"] = CONTENT
        yield served


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOUNDKIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(fetching, "pause", made.append)
    return made


def wanted(server: Server, **changes: Any) -> WeightFile:
    facts = {"name": "net/net.bin", "url": f"{server.url}/net.bin", "size": len(CONTENT), "sha256": SHA256}
    return WeightFile(**{**facts, **changes})


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.name.endswith((".part", ".new"))]


def test_a_file_is_fetched_once_and_told_of(server: Server, cache: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []
    file = wanted(server)
    assert not is_here(file)
    path = get("net", file, lambda *step: steps.append(step))
    assert path == path_of("net", file) == cache / "weights" / "net" / "net.bin"
    assert path.read_bytes() == CONTENT
    assert steps[-1] == ("net.bin", len(CONTENT), len(CONTENT))
    assert is_here(file)
    assert check(file) == "sha256"
    assert get("net", file) == path
    assert len(server.asked) == 1
    assert server.asked[0][1]["User-Agent"].startswith("soundkin/")
    assert leftovers(cache) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("md5", hashlib.md5(CONTENT).hexdigest()),
        ("sha256", SHA256),
        # as `git hash-object` says of this content
        ("git_blob", subprocess.run(
            ["git", "hash-object", "--stdin"], input=CONTENT, capture_output=True, check=True
        ).stdout.decode().strip()),
    ],
)  # fmt: skip
def test_each_hash_is_checked(server: Server, kind: str, value: str) -> None:
    known = {"sha256": "", "size": None, kind: value}
    get("net", wanted(server, **known))
    wrong = value[:-1] + ("0" if value[-1] != "0" else "1")
    with pytest.raises(ModelError, match=rf"{value}, wanted {wrong}") as caught:
        get("net", wanted(server, name="other", **{**known, kind: wrong}))
    assert "encoders add net FILE" in str(caught.value)
    assert len(server.asked) == 3  # what is wrong is fetched a second time, in case a proxy spoilt it


def test_a_wrong_size_is_told(server: Server, cache: Path) -> None:
    with pytest.raises(ModelError, match=f"{len(CONTENT)} bytes, wanted {len(CONTENT) + 1}"):
        get("net", wanted(server, size=len(CONTENT) + 1))
    with pytest.raises(ModelError, match="more than the 1000 bytes"):
        get("net", wanted(server, size=1000))
    assert not is_here(wanted(server))


def test_what_broke_off_goes_on(server: Server, pauses: list[float]) -> None:
    server.plan = [-100_000, -150_000]  # bytes, then the connection breaks
    assert get("net", wanted(server)).read_bytes() == CONTENT
    assert [headers.get("Range") for _, headers in server.asked] == [None, "bytes=100000-", "bytes=250000-"]
    assert len(pauses) == 2


def test_another_run_goes_on_where_the_last_one_gave_up(server: Server) -> None:
    server.plan = [-100_000, *[503] * 20]
    with pytest.raises(ModelError, match="HTTP 503, 5 times"):
        get("net", wanted(server))
    server.plan, server.asked = [], []
    assert get("net", wanted(server)).read_bytes() == CONTENT
    assert server.asked[0][1]["Range"] == "bytes=100000-"


def test_a_server_without_ranges_begins_again(server: Server) -> None:
    server.ranges, server.plan = False, [-100_000]
    assert get("net", wanted(server)).read_bytes() == CONTENT


def test_a_part_of_an_older_version_is_not_gone_on_with(server: Server, cache: Path) -> None:
    server.plan = [-100_000, *[404] * 3]
    with pytest.raises(ModelError, match="404"):
        get("net", wanted(server))
    server.plan = []
    server.files["/net.bin"] = newer = bytes(reversed(CONTENT))
    assert get("net", wanted(server, sha256=hashlib.sha256(newer).hexdigest())).read_bytes() == newer


def test_a_spoilt_part_is_thrown_away(server: Server, cache: Path) -> None:
    part = weights._part(wanted(server))
    part.parent.mkdir(parents=True)
    for spoilt in (b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)):
        part.write_bytes(spoilt)
        path = get("net", wanted(server))
        assert path.read_bytes() == CONTENT
        path.unlink()


@pytest.mark.parametrize("after", ["7", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", ""])
def test_a_busy_server_is_left_alone(server: Server, pauses: list[float], after: str) -> None:
    server.plan = [{"code": 429, "Retry-After": after}, {"code": 503, "Retry-After": "100000"}]
    assert get("net", wanted(server)).read_bytes() == CONTENT
    assert pauses[0] >= (7 if after == "7" else 0.5)
    assert pauses[1] == 120  # whatever it asks for


def test_without_an_answer_waits_grow(server: Server, pauses: list[float]) -> None:
    server.plan = [500] * 20
    with pytest.raises(ModelError, match="HTTP 500, 5 times"):
        get("net", wanted(server))
    assert len(pauses) == 4
    assert all(later > sooner for sooner, later in pairwise(pauses))


def test_a_missing_file_is_asked_for_once_and_mirrors_help(server: Server) -> None:
    gone = f"{server.url}/gone.bin"
    with pytest.raises(ModelError, match=r"HTTP 404.*encoders add net FILE"):
        get("net", wanted(server, url=gone))
    assert len(server.asked) == 1
    assert get("net", wanted(server, url=gone, mirrors=(f"{server.url}/net.bin",))).read_bytes() == CONTENT


def test_no_network() -> None:
    file = WeightFile("net.bin", "http://127.0.0.1:9/net.bin", 5)
    with pytest.raises(ModelError, match=r"127.0.0.1:9: .*, 5 times.*encoders add net FILE"):
        get("net", file)


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_offline_nothing_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOUNDKIN_OFFLINE", value)
    with pytest.raises(ModelError, match="SOUNDKIN_OFFLINE"):
        get("net", wanted(server))
    assert server.asked == []
    monkeypatch.setenv("SOUNDKIN_OFFLINE", "0")
    get("net", wanted(server))
    monkeypatch.setenv("SOUNDKIN_OFFLINE", value)
    assert get("net", wanted(server)).read_bytes() == CONTENT


def test_a_redirect_is_followed_with_the_range(server: Server) -> None:
    server.plan = [{"code": 302, "Location": "/net.bin"}, -100_000, {"code": 302, "Location": "/net.bin"}]
    assert get("net", wanted(server, url=f"{server.url}/elsewhere")).read_bytes() == CONTENT
    assert server.asked[-1] == ("/net.bin", server.asked[-1][1])
    assert server.asked[-1][1]["Range"] == "bytes=100000-"


def test_what_is_not_here_says_how_to_get_it(server: Server) -> None:
    with pytest.raises(ModelError, match=r"`soundkin encoders get net`.*`soundkin encoders add net FILE`"):
        path_of("net", wanted(server))


def test_a_file_that_changed_in_the_cache_is_found(server: Server) -> None:
    path = get("net", wanted(server))
    path.write_bytes(b"?" + CONTENT[1:])
    with pytest.raises(ModelError, match=rf"damaged: sha256 \w+, wanted {SHA256}"):
        check(wanted(server))
    path.write_bytes(CONTENT[:-1])
    assert not is_here(wanted(server))


def test_a_manifest_that_is_no_manifest(server: Server) -> None:
    path = get("net", wanted(server))
    for text in ("", "[]", "{", '{"net.bin": 5}'):
        (path.parent / "files.json").write_text(text)
        assert not is_here(wanted(server))
    assert get("net", wanted(server)) == path


# ---- packed files


def test_a_gz_file_is_unpacked(server: Server) -> None:
    server.files["/net.h5.gz"] = packed = gzip.compress(CONTENT)
    file = wanted(
        server,
        name="net/net.h5",
        url=f"{server.url}/net.h5.gz",
        size=len(packed),
        sha256=hashlib.sha256(packed).hexdigest(),
    )
    assert get("net", file).read_bytes() == CONTENT
    assert check(file) == "sha256"


@pytest.mark.parametrize("cut", [5, 500])
def test_a_gz_file_cut_short_is_no_crash(server: Server, cut: int, cache: Path) -> None:
    server.files["/net.h5.gz"] = gzip.compress(CONTENT)[:-cut]
    file = wanted(server, name="net/net.h5", url=f"{server.url}/net.h5.gz", size=None, sha256="")
    with pytest.raises(ModelError, match="cannot be unpacked"):
        get("net", file)
    assert not is_here(file)
    assert [name for name in leftovers(cache) if name.endswith(".new")] == []


def wheel(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"package/model/{name}", content)
        archive.writestr("package/__init__.py", "raise SystemExit")
    return out.getvalue()


def test_of_a_wheel_only_the_members_are_kept(server: Server, cache: Path) -> None:
    server.files["/package-1.whl"] = packed = wheel(index=b"index", data=CONTENT)
    file = wanted(
        server, name="net", url=f"{server.url}/package-1.whl", size=len(packed),
        sha256=hashlib.sha256(packed).hexdigest(), members=("package/model/index", "package/model/data"),
    )  # fmt: skip
    folder = get("net", file)
    assert (folder / "model" / "data").read_bytes() == CONTENT
    kept = sorted(p.name for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    assert kept == ["data", "files.json", "index"]
    (folder / "model" / "index").unlink()
    assert not is_here(file)


def test_a_wheel_without_the_members(server: Server) -> None:
    for number, content in enumerate((wheel(index=b"index"), b"no zip at all")):
        server.files[f"/{number}.whl"] = content
        file = wanted(
            server, name="net", url=f"{server.url}/{number}.whl", size=None, sha256="",
            members=("package/model/index", "package/model/data"),
        )  # fmt: skip
        with pytest.raises(ModelError, match=r"\.whl cannot be unpacked"):
            get("net", file)
        assert not is_here(file)


# ---- by hand


def test_a_wheel_comes_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    name = "tones-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheels / name, "w") as archive:
        archive.writestr("tones/net.bin", CONTENT)
        archive.writestr("tones-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tones\nVersion: 1.0\n")
        archive.writestr("tones-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tones-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    file = WeightFile("net", f"pip:tones==1.0/{name}", None, members=("tones/net.bin",))
    with pytest.raises(ModelError, match=r"run `pip download --no-deps tones==1\.0`"):
        path_of("net", file)
    assert (get("net", file) / "net.bin").read_bytes() == CONTENT
    with pytest.raises(ModelError, match=r"pip: .*tones==2\.0"):
        get("net", WeightFile("other", f"pip:tones==2.0/{name}", None, members=("tones/net.bin",)))


def test_a_file_added_by_hand_is_checked(server: Server, tmp_path: Path) -> None:
    other = wanted(server, name="net/other.bin", url=f"{server.url}/other.bin", sha256="0" * 64)
    (tmp_path / "downloaded (1).bin").write_bytes(CONTENT)
    assert add("net", [other, wanted(server)], tmp_path / "downloaded (1).bin") == wanted(server)
    assert path_of("net", wanted(server)).read_bytes() == CONTENT
    assert (tmp_path / "downloaded (1).bin").exists()
    assert server.asked == []


def test_a_damaged_file_added_by_hand_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"?" + CONTENT[1:])
    other = wanted(server, name="net/other.bin", url=f"{server.url}/other.bin")
    with pytest.raises(ModelError, match=rf"net.bin as published: sha256 \w+, wanted {SHA256}$"):
        add("net", [other, wanted(server)], tmp_path / "net.bin")
    (tmp_path / "else.bin").write_bytes(b"?")
    with pytest.raises(
        ModelError, match=r"none of the files that net needs: other.bin: 1 bytes.*; net.bin: 1"
    ):
        add("net", [other, wanted(server)], tmp_path / "else.bin")
    for missing in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ModelError, match=r"is not a file; wanted one of net\.bin"):
            add("net", [wanted(server)], missing)
    assert not is_here(wanted(server))


def test_a_file_nobody_knows_a_hash_of_is_taken_with_a_warning(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "net.bin").write_bytes(CONTENT)
    file = wanted(server, sha256="", size=None)
    add("net", [file], tmp_path / "net.bin")
    assert "no hash of net.bin is known" in caplog.text
    assert check(file) == ""


# ---- the disk, and other processes


def test_a_full_disk_is_told_before_and_after(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    words = rf"no room for net\.bin in .*it needs {len(CONTENT)} bytes.*SOUNDKIN_CACHE"
    with pytest.raises(ModelError, match=words):
        get("net", wanted(server))
    usage.free = len(CONTENT)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(ModelError, match=words):
            get("net", wanted(server))
    assert not is_here(wanted(server))
    server.asked.clear()
    get("net", wanted(server))
    assert server.asked == []  # it had come whole, and was not fetched again


def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOUNDKIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written"):
        get("net", wanted(server))


def test_two_at_a_time_fetch_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(get("net", wanted(server)).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(server.asked) == 1


def test_two_processes_fetch_once(server: Server, cache: Path) -> None:
    script = (
        "import sys; from soundkin.encoders.weights import *\n"
        "f = WeightFile('net/net.bin', sys.argv[1], None, sys.argv[2]); print(get('net', f).stat().st_size)"
    )
    command = [sys.executable, "-c", script, f"{server.url}/net.bin", SHA256]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    assert [int(process.communicate(timeout=60)[0]) for process in started] == [len(CONTENT)] * 2
    assert len(server.asked) == 1


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SOUNDKIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "soundkin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().is_relative_to(Path.home())
