import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from server import Server, serving

from soundkin.encoders import fetching
from soundkin.encoders.hub import Hub
from soundkin.errors import ModelError

FILES = {
    "config.json": b"{}",
    "model.safetensors": bytes(5000),
    "vocab.json": b'{"a": 1}',
    "code.py": b"evil()",
}


def blob(content: bytes) -> str:
    """What Git calls a file: the SHA-1 of a header and its content."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()


def listing(files: dict[str, bytes]) -> bytes:
    """What the Hub answers: large files are in LFS, and have another hash."""
    entries = []
    for path, content in files.items():
        entry = {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
        if path.endswith((".safetensors", ".bin")):
            entry["oid"] = blob(b"version https://git-lfs.github.com/spec/v1")
            entry["lfs"] = {
                "oid": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "pointerSize": 134,
            }
        entries.append(entry)
    return json.dumps([{"type": "directory", "path": "onnx", "size": 0, "oid": "0" * 40}, *entries]).encode()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url + "/")
        monkeypatch.setenv("SOUNDKIN_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(fetching, "pause", lambda seconds: None)
        publish(served, FILES)
        yield served


def publish(server: Server, files: dict[str, bytes], revision: str = "main") -> None:
    server.files[f"/api/models/org/model/tree/{revision}"] = listing(files)
    server.files |= {f"/org/model/resolve/{revision}/{name}": content for name, content in files.items()}


def test_a_folder_is_fetched_without_its_code(server: Server) -> None:
    hub = Hub("org/model")
    assert not hub.is_here()
    with pytest.raises(ModelError, match=r"encoders get hf:org/model.*encoders add hf:org/model FOLDER"):
        hub.path_of("hf:org/model")
    folder = hub.get("hf:org/model")
    assert {p.name for p in folder.iterdir() if not p.name.startswith(".")} == {
        "config.json", "model.safetensors", "vocab.json", "files.json",
    }  # fmt: skip
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert set(hub.check().split(", ")) == {"sha256", "git blob"}
    asked = len(server.asked)
    assert hub.get("hf:org/model") == hub.path_of("hf:org/model") == folder
    assert len(server.asked) == asked


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_is_not_what_the_listing_says_is_refused(server: Server, name: str) -> None:
    content = FILES[name]
    server.files[f"/org/model/resolve/main/{name}"] = b"?" + content[1:]
    kind = "git blob" if name == "config.json" else "sha256"
    wanted = blob(content) if name == "config.json" else hashlib.sha256(content).hexdigest()
    with pytest.raises(ModelError, match=rf"{name} cannot be fetched .*{kind} \w+, wanted {wanted}"):
        Hub("org/model").get("hf:org/model")
    assert not Hub("org/model").is_here()


def test_a_hash_known_here_counts_more_than_the_listing(server: Server) -> None:
    hub = Hub("org/model", sha256=(("model.safetensors", "0" * 64),))
    with pytest.raises(ModelError, match=f"wanted {'0' * 64}"):
        hub.get("hf:org/model")


def test_a_pickle_is_taken_only_where_it_is_known(server: Server) -> None:
    publish(server, {"config.json": b"{}", "pytorch_model.bin": bytes(100)})
    with pytest.raises(ModelError, match=r"no model\.safetensors .*pytorch_model\.bin, which may hold code"):
        Hub("org/model").get("hf:org/model")
    assert (Hub("org/model", pickled=True).get("net") / "pytorch_model.bin").is_file()


def test_safetensors_are_taken_where_there_are_both(server: Server) -> None:
    publish(server, {**FILES, "pytorch_model.bin": bytes(100)})
    folder = Hub("org/model", pickled=True).get("net")
    assert not (folder / "pytorch_model.bin").exists()


def test_revisions_lie_side_by_side(server: Server) -> None:
    publish(server, {"config.json": b"[]", "model.safetensors": b"1"}, "refs/pr/2")
    first, second = Hub("org/model").get("a"), Hub("org/model", "refs/pr/2").get("b")
    assert first != second
    assert (first / "config.json").read_bytes() != (second / "config.json").read_bytes()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"<html>"])
def test_a_listing_that_is_none(server: Server, content: bytes) -> None:
    server.files["/api/models/org/model/tree/main"] = content
    with pytest.raises(ModelError, match="cannot be listed"):
        Hub("org/model").get("hf:org/model")


def test_no_such_repository(server: Server) -> None:
    with pytest.raises(
        ModelError, match=r"nobody/none cannot be listed .*HTTP 404.*is there such a repository"
    ):
        Hub("nobody/none").get("hf:nobody/none")
    assert len(server.asked) == 1


def test_no_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"cannot be listed .*encoders add hf:org/model FOLDER") as told:
        Hub("org/model").get("hf:org/model")
    assert "is there such a repository" not in str(told.value)  # nobody was there to be asked


def test_a_file_cut_short_in_the_cache_is_fetched_again(server: Server) -> None:
    weights = Hub("org/model").get("hf:org/model") / "model.safetensors"
    weights.write_bytes(bytes(100))
    assert not Hub("org/model").is_here()
    Hub("org/model").get("hf:org/model")
    assert weights.read_bytes() == FILES["model.safetensors"]


def test_the_file_that_did_not_come_is_added_alone(server: Server, tmp_path: Path) -> None:
    weights = server.files.pop("/org/model/resolve/main/model.safetensors")
    with pytest.raises(ModelError, match=r"HTTP 404.*encoders add hf:org/model FILE"):
        Hub("org/model").get("hf:org/model")
    (tmp_path / "model.safetensors").write_bytes(weights)
    Hub("org/model").add("hf:org/model", tmp_path / "model.safetensors")
    assert (Hub("org/model").path_of("hf:org/model") / "model.safetensors").read_bytes() == weights
    (tmp_path / "code.py").write_bytes(b"evil()")
    with pytest.raises(ModelError, match="is no folder with"):
        Hub("org/model").add("hf:org/model", tmp_path / "code.py")


def test_a_busy_hub_is_asked_again(server: Server) -> None:
    server.plan = [{"code": 429, "Retry-After": "1"}, 503]
    assert Hub("org/model").get("hf:org/model").is_dir()


def test_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDKIN_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"SOUNDKIN_OFFLINE.*encoders add hf:org/model FOLDER"):
        Hub("org/model").get("hf:org/model")
    assert server.asked == []


def test_a_folder_by_hand(server: Server, tmp_path: Path) -> None:
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    with pytest.raises(ModelError, match=r"no folder with config.json and model.safetensors"):
        Hub("org/model").add("hf:org/model", by_hand)
    for name, content in FILES.items():
        (by_hand / name).write_bytes(content)
    known = (("model.safetensors", hashlib.sha256(FILES["model.safetensors"]).hexdigest()),)
    folder = Hub("org/model", sha256=known).add("hf:org/model", by_hand)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not (folder / "code.py").exists()
    assert server.asked == []
    with pytest.raises(ModelError, match=f"wanted {'0' * 64}"):
        Hub("org/model", sha256=(("model.safetensors", "0" * 64),)).add("hf:org/model", by_hand)
