"""Collections of Qdrant: as its audio tutorial makes them, and as ours, out and in."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from test_exchange import SPACE, D, described, library_of, song, unit

from soundkin import cli
from soundkin.errors import InputError, StoreError
from soundkin.exchange import Exported, Foreign, merge, qdrant, take
from soundkin.library import Library
from soundkin.record import Record

DIMS = 2048  # of PANNs, which the tutorial goes on with


def tutorial(client: QdrantClient, urls: list[str | None], names: list[tuple[str, str]]) -> Any:
    """Fill a collection as the tutorial does: from PANNs, whose numbers are never negative, and labels of Ludwig."""
    client.create_collection(
        "music_collection",
        vectors_config=models.VectorParams(size=DIMS, distance=models.Distance.COSINE),
    )
    vectors = np.maximum(np.random.default_rng(0).standard_normal((len(urls), DIMS)), 0) * 3
    payloads = [
        {"artist": artist, "genre": "latin", "name": name, "subgenres": ["latin---salsa"], "urls": url}
        for url, (artist, name) in zip(urls, names, strict=True)
    ]
    client.upsert(
        "music_collection",
        points=models.Batch(ids=list(range(len(urls))), vectors=vectors.tolist(), payloads=payloads),
    )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def salsa(folder: Path) -> Path:
    """Make a library of three songs in the layout of Ludwig."""
    music = folder / "mp3" / "latin"
    return library_of(
        folder / "library",
        song(music / "0010BnyFuw94XFautS2uJp.mp3", b"a", unit(1, 2, 3)),
        song(music / "00RhgYVH6DrHl0SuZWDp8W.mp3", b"b", unit(3, 2, 1)),
        song(music / "renamed.mp3", b"c", unit(2, 2, 1), artist="Celia Cruz", title="Cuando Salí De Cuba"),
    )


def test_the_tutorials_collection_comes_in(tmp_path: Path) -> None:
    library = salsa(tmp_path)
    client = QdrantClient(":memory:")
    urls = [
        os.fspath(tmp_path / "mp3" / "latin" / "0010BnyFuw94XFautS2uJp.mp3"),
        "../data/ludwig_music_data/mp3/latin/00RhgYVH6DrHl0SuZWDp8W.mp3",  # where its author had it
        "../data/ludwig_music_data/mp3/latin/19zWrDlXew0Fzouu7a4qhx.mp3",
        "../data/ludwig_music_data/mp3/latin/7yX4WgUfoPpMKZHgqpaZ0x.mp3",
        None,
    ]
    names = [
        ("Jimmy Buffett", "La Vie Dansante"), ("Unknown", "Unknown"), ("celia cruz", "Cuando Sali De Cuba"),
        ("Cartola", "Fita meus olhos"), ("Unknown", "Unknown"),
    ]  # fmt: skip
    wanted = tutorial(client, urls, names)
    content = qdrant.read(client, "panns")
    assert isinstance(content, Foreign)
    with Record.open(library, write=True) as record:
        report = merge(record, content)
        again = merge(record, content)
        found = dict(zip(*record.vectors(content.space.id), strict=True))
        by_name = {Path(track.path).stem: track.id for track in record.tracks()}
    assert (report.rows, report.matched, report.vectors, report.unmatched) == (5, 3, 3, 2)
    assert again.vectors == 0
    assert (content.space.encoder, content.space.dims) == ("panns", DIMS)
    for row, stem in enumerate(("0010BnyFuw94XFautS2uJp", "00RhgYVH6DrHl0SuZWDp8W", "renamed")):
        np.testing.assert_allclose(found[by_name[stem]], wanted[row], atol=1e-6)
    # the same collection is the same space, another one is not
    assert qdrant.read(client, "panns").space == content.space
    client.delete("music_collection", models.PointIdsList(points=[4]))
    assert qdrant.read(client, "panns").space != content.space


def test_one_of_ours_looks_like_the_tutorials_and_comes_back_whole(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp3"))
    library = library_of(
        tmp_path / "library",
        song(tmp_path / "a.mp3", b"a", unit(1, 2, 3), title="Été", artist="A", genres=("latin", "salsa"), year=1977),
        song(odd, b"b", unit(-1, 0, 0)),
    )  # fmt: skip
    client = QdrantClient(":memory:")
    with Record.open(library) as record:
        exported = take(record, SPACE)
    qdrant.write(client, exported)
    shape: Any = client.get_collection("music_collection").config.params.vectors
    assert (shape.size, shape.distance) == (D, models.Distance.COSINE)
    points, _ = client.scroll("music_collection", with_payload=True)
    assert [point.id for point in points] == [0, 1]
    shown = {str(p["name"]): p for p in (point.payload or {} for point in points)}
    assert {key: shown["Été"][key] for key in ("artist", "genre", "name", "subgenres", "urls")} == {
        "artist": "A", "genre": "latin", "name": "Été", "subgenres": ["salsa"], "urls": str(tmp_path / "a.mp3"),
    }  # fmt: skip
    back = qdrant.read(client, "whatever")
    assert isinstance(back, Exported)
    assert (back.space, back.tracks) == (exported.space, exported.tracks)
    np.testing.assert_allclose(back.vectors, exported.vectors, atol=1e-6)
    with Record.open(tmp_path / "other", write=True) as record:
        assert merge(record, back).added == 2
    assert rounded(tmp_path / "other") == rounded(library)


def rounded(folder: Path) -> list[Any]:
    return [{**row, "vector": np.round(row["vector"], 5).tolist()} for row in described(folder)]


def test_what_cannot_be_taken_in_is_said(tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    with pytest.raises(InputError, match="there is none"):
        qdrant.read(client, "x")
    tutorial(client, ["a"], [("A", "B")])
    with pytest.raises(InputError, match="there is music_collection"):
        qdrant.read(client, "x", "music")
    with pytest.raises(InputError, match="is there already"):
        qdrant.write(client, Exported(SPACE, [], np.empty((0, D), np.float32)))
    with pytest.raises(InputError, match="name an encoder"):
        qdrant.read(client, "../x")
    size = models.VectorParams(size=2, distance=models.Distance.COSINE)
    client.create_collection("two", vectors_config={"a": size, "b": size})
    with pytest.raises(InputError, match="no points"):
        qdrant.read(client, "x", "two")
    client.upsert("two", [models.PointStruct(id=1, vector={"a": [1.0, 0.0], "b": [0.0, 1.0]})])
    with pytest.raises(InputError, match=r"has 2 vectors \(a, b\)"):
        qdrant.read(client, "x", "two")
    client.create_collection("one", vectors_config=size)
    client.upsert("one", [models.PointStruct(id=1, vector=[0.0, 0.0])])
    with pytest.raises(InputError, match="zero or not finite"):
        qdrant.read(client, "x", "one")


def test_a_changed_export_is_refused(tmp_path: Path) -> None:
    library = library_of(tmp_path / "library", song(tmp_path / "a.mp3", b"a", unit(1, 2, 3)))
    client = QdrantClient(":memory:")
    with Record.open(library) as record:
        qdrant.write(client, take(record, SPACE))
    client.set_payload("music_collection", {"track": {"path": "x"}}, points=[0])
    with pytest.raises(InputError, match="was changed"):
        qdrant.read(client, "x")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
        cli.main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exited.value.code or 0), out, err


@pytest.mark.filterwarnings("ignore:Exception ignored in")  # a client that is refused a lock forgets its file
def test_the_commands_take_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = salsa(tmp_path)
    store = tmp_path / "store"
    code, out, _ = run(
        capsys, "export", store, "--library", library, "--space", "cnn", "--collection", "songs"
    )
    assert (code, "wrote 3 tracks" in out) == (0, True)
    code, _, err = run(
        capsys, "import", store, "--library", library
    )  # recognised, and the default is not there
    assert (code, "there is songs" in err) == (1, True)
    code, out, _ = run(
        capsys, "import", store, "--collection", "songs", "--library", tmp_path / "other", "--json"
    )
    assert (code, json.loads(out)["added"]) == (0, 3)
    client = QdrantClient(path=os.fspath(store))
    tutorial(client, ["mp3/latin/renamed.mp3"], [("Celia Cruz", "x")])
    code, _, err = run(capsys, "import", store, "--library", library)
    assert (code, "already accessed" in err) == (1, True)  # by this very client
    client.close()
    code, out, _ = run(capsys, "import", store, "--library", library, "--encoder-name", "panns")
    assert (code, "1 in the library" in out) == (0, True)
    with Library.open(library) as opened:
        assert opened.space("panns").dims == DIMS


def test_a_server_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundkin.index.connection._PAUSE", 0.0)
    code, _, err = run(capsys, "import", "http://127.0.0.1:9", "--library", tmp_path / "library")
    assert (code, "cannot reach the server" in err) == (1, True)
    with pytest.raises(StoreError, match="cannot reach"):
        qdrant.write("http://127.0.0.1:9", Exported(SPACE, [], np.empty((0, D), np.float32)))
