import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from soundkin import encoders
from soundkin.audio import DEFAULT_LISTENING, WHOLE, Listening
from soundkin.embed import Space
from soundkin.encoders import ENCODERS, Choice, EncoderInfo, catalogue, find, load_encoder, public, weights
from soundkin.encoders.descriptors import Descriptors
from soundkin.errors import InputError, ModelError
from soundkin.library import Library
from soundkin.scan import ScanOptions

PUBLISHED = {**public.PUBLIC, **public.VARIANTS}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOUNDKIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SOUNDKIN_OFFLINE", "1")
    return tmp_path / "cache"


# ---- the registry


def test_the_names_people_expect_are_there() -> None:
    for content in ("music", "env"):
        for front in ("linear", "mel128", "mel256"):
            for dims in (512, 6144):
                found = find(f"openl3-{content}-{front}-{dims}")
                assert found is not None
                assert found[0].dims == dims
                assert f"{front}_{content}" in found[0].files[0].url
    names = {
        "panns": "panns-cnn14",
        "openl3": "openl3-music-mel256-512",
        "mert": "mert-v1-95m",
        "wav2vec2": "wav2vec2-base",
    }
    for alias, name in names.items():
        assert (found := find(alias))
        assert found[1].name == name
    assert find("nothing") is None
    assert find("hf:one-part") is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_entry_can_be_checked_and_is_licensed(name: str) -> None:
    info = PUBLISHED[name]
    assert re.fullmatch(r"[A-Z][\w.-]+", info.licence)  # as SPDX writes them
    assert info.extra in ("torch", "hf")
    assert bool(info.files) != bool(info.hub)
    for file in info.files:
        assert file.sha256 or file.md5 or file.git_blob
        assert urlsplit(file.url).scheme == "https" or (
            re.match(r"pip:\w+==[\d.]+/", file.url) and file.sha256
        )
        for known, length in ((file.sha256, 64), (file.md5, 32), (file.git_blob, 40)):
            assert re.fullmatch(f"([0-9a-f]{{{length}}})?", known)


def test_no_two_files_go_to_one_place() -> None:
    files = {file for info in PUBLISHED.values() for file in info.files}
    assert len({part for file in files for part in file.parts}) == sum(len(file.parts) for file in files)


def test_options_follow_a_name_in_any_order() -> None:
    for name in ("openl3:hop=0.5,front_end=htk", "openl3-music-mel256-512:front_end=htk,hop=0.5"):
        found = find(name)
        assert found is not None
        assert found[1] == Choice(
            "openl3-music-mel256-512:front_end=htk,hop=0.5", options={"front_end": "htk", "hop": 0.5}
        )
    for name in ("cnn:layer=7", "mert:layers=7"):
        with pytest.raises(ModelError, match="has no option"):
            find(name)


def test_a_model_of_the_hub_has_its_name_in_its_space() -> None:
    found = find("hf:facebook/hubert-base-ls960@abc:layer=7")
    assert found is not None
    info, choice = found
    assert info.hub is not None
    assert (info.hub.repository, info.hub.revision) == ("facebook/hubert-base-ls960", "abc")
    space = Space(choice.name, "w", "f", 1.0, 1.0, "all", "mean", 5)
    assert re.fullmatch(r"hf-facebook-hubert-base-ls960-abc-layer-7-[0-9a-f]{8}", space.id)
    assert Space.from_json(space.to_json()) == space


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_not_here_says_how_to_get_it(name: str) -> None:
    with pytest.raises(ModelError, match=rf"`soundkin encoders get {name}.*`soundkin encoders add {name}"):
        load_encoder(name)


# ---- a published encoder, made up


class Made(Descriptors):
    """Ours under another name: hears four excerpts of 2 s, and knows two words."""

    listening = Listening(4, 2.0)

    def __init__(self, folder: Path, name: str, device: str) -> None:
        super().__init__()
        if device not in ("auto", "cpu"):
            raise ModelError(f"device {device!r} is not here")
        self.name, self.weights = name, hashlib.sha256(folder.read_bytes()).hexdigest()

    def text(self, text: str) -> Any:
        vector = np.zeros(self.dims, np.float32)
        vector[["low", "high"].index(text)] = 1
        return vector

    def tags(self, excerpts: Any) -> list[tuple[str, float]]:
        return [(f"{len(excerpts)} excerpts", 0.75), ("else", 0.25)]


CONTENT = b"weights"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> EncoderInfo:
    file = weights.WeightFile(
        "made/made.bin", "https://example.org/made.bin", 7, hashlib.sha256(CONTENT).hexdigest()
    )

    def load(choice: Choice) -> encoders.Encoder:
        return Made(weights.path_of(choice.name, file), choice.name, choice.device)

    info = EncoderInfo(load, 184, 22050, "excerpt", "MIT", "7 bytes", "made up", files=(file,), reads=True)
    monkeypatch.setitem(ENCODERS, "made-up", info)
    return info


@pytest.fixture
def here(published: EncoderInfo, tmp_path: Path) -> EncoderInfo:
    (tmp_path / "made.bin").write_bytes(CONTENT)
    catalogue.add("made-up", tmp_path / "made.bin")
    return published


def entry() -> catalogue.Entry:
    (found,) = [entry for entry in catalogue.entries() if entry.name == "made-up"]
    return found


def test_the_catalogue_says_what_is_here(published: EncoderInfo, tmp_path: Path) -> None:
    assert not entry().here
    with pytest.raises(ModelError, match="not here"):
        list(catalogue.verify("made-up"))
    (tmp_path / "made.bin").write_bytes(CONTENT)
    (path,) = catalogue.add("made-up", tmp_path / "made.bin")
    assert path.read_bytes() == CONTENT
    assert entry().here
    assert catalogue.get("made-up") == [path]  # though offline
    checked, loaded, known = catalogue.verify("made-up")
    assert checked == "made.bin: unchanged since it came, sha256"
    assert loaded.startswith("loaded: 184 dims on cpu")
    assert "no known answer" in known
    path.write_bytes(b"weighty")
    with pytest.raises(ModelError, match="damaged"):
        list(catalogue.verify("made-up"))


def test_what_runs_it_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    info = EncoderInfo(
        lambda choice: Descriptors(), 1, 1, "", "", "", "", extra="hf", modules=("no_such_module",)
    )
    assert catalogue.missing(info) == "pip install 'soundkin[hf]'"


def test_tags_are_of_what_it_hears(here: EncoderInfo, made: Any) -> None:
    told = catalogue.tags("made-up", made.tracks[0][0])
    assert told[0][0].endswith(" excerpts")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What embeds runs here, where encoders can be replaced."""

    def inside(
        tasks: Any, names: Any, listening: Any, jobs: Any, nice: Any = False, device: str = "auto"
    ) -> Any:
        from soundkin.embed import Embedder

        embedder = Embedder(names, listening, device)
        return ((task, embedder.file(task)) for task in tasks)

    def generated(*arguments: Any, **named: Any) -> Any:
        yield from inside(*arguments, **named)

    monkeypatch.setattr("soundkin.scan.embed_files", generated)
    monkeypatch.setattr("soundkin.asking.embed_files", generated)


@pytest.fixture
def both(library: Library, here: EncoderInfo, in_this_process: None, made: Any) -> Library:
    """A library with a space of the made-up encoder beside its own."""
    before = dict(zip(*library.vectors("cnn"), strict=True))
    report = library.add(made.music, ScanOptions(encoders=("made-up",), jobs=1))
    assert report.updated == 30
    assert report.devices["made-up"] == "cpu, numpy"
    after = dict(zip(*library.vectors("cnn"), strict=True))
    assert all(np.array_equal(after[id_], vector) for id_, vector in before.items())  # not embedded again
    return library


def test_an_encoder_hears_as_it_does_best_beside_others(both: Library, made: Any) -> None:
    heard = {space.encoder: space.listening for space, _, _ in both.status().spaces}
    assert heard == {"cnn": "9x6.05s", "descriptors": "9x6.05s", "made-up": "4x2s"}
    assert {n for _, n, _ in both.status().spaces} == {30}
    assert both.add(made.music).unchanged == 30
    track = both.tracks()[0]
    starts, rows = both._reader().windows(track.id, both.space("made").id)
    assert len(starts) == len(rows) == len(Listening(4, 2.0).starts(track.duration))


def test_three_spaces_and_words(both: Library, made: Any) -> None:
    query = made.tracks[3][0]
    assert len(both.similar(query, 5, space="cnn+desc+made")) == 5
    ids, vectors = both.vectors("made-up")
    best = ids[int(vectors[:, 1].argmax())]
    hits = both.similar(text="high", k=3)
    assert hits[0].id == best
    assert hits[0].cosine == pytest.approx(float(vectors[:, 1].max()), abs=1e-3)
    assert 0 < hits[0].similarity <= 1
    genre = both.find(made.tracks[0][0]).genres[0]
    assert both.similar(text="high", k=30, filters=f"genre={genre}")
    with pytest.raises(ModelError, match=r"cnn understands no words; .*clap"):
        both.similar(text="high", space="cnn")
    with pytest.raises(InputError, match="empty"):
        both.similar(text="  ")


def test_a_space_whose_weights_are_gone_can_still_be_asked(both: Library, made: Any, cache: Path) -> None:
    hits = both.similar(made.tracks[3][0], 5, space="made-up")
    (cache / "weights" / "made" / "made.bin").unlink()
    assert both.similar(made.tracks[3][0], 5, space="made-up") == hits
    with pytest.raises(ModelError, match="encoders get made-up"):
        both.add(made.music)
    with pytest.raises(ModelError, match="encoders get made-up"):
        both.similar(made.outside, 5, space="made-up")


def test_weights_of_another_version_make_another_space(
    both: Library, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = both.space("made-up")
    hits = both.similar(made.tracks[3][0], 5, space=old.id)
    monkeypatch.setattr(Made, "front_end", "newer")
    assert both.similar(made.tracks[3][0], 5, space=old.id) == hits  # what it holds can be asked
    with pytest.raises(ModelError, match=rf"vectors of {old.id} were made by another version of 'made-up'"):
        both.similar(made.outside, 5, space=old.id)


@pytest.mark.parametrize(
    ("began", "later"), [("16x3.07s", DEFAULT_LISTENING.name), ("4x2s", "4x2s"), ("all", "all")]
)
def test_what_was_the_default_is_heard_until_the_encoder_is_another(
    tmp_path: Path, made: Any, in_this_process: None, monkeypatch: pytest.MonkeyPatch, began: str, later: str
) -> None:
    def heard() -> set[tuple[str, int]]:
        return {(space.listening, n) for space, n, active in library.status().spaces if active}

    (first, _), (second, _) = made.tracks[:2]
    with Library.open(tmp_path / "library") as library:
        library.add(first, ScanOptions(("descriptors",), Listening.named(began)))
        library.add(second)
        assert heard() == {(began, 2)}
        assert library.similar(first, 1)[0].path == str(second)
        monkeypatch.setattr(Descriptors, "weights", "newer")
        assert library.add([first, second]).updated == 2
        assert heard() == {(later, 2)}
        assert library.similar(first, 1)[0].path == str(second)


def test_hearing_all_is_for_every_encoder(both: Library, made: Any) -> None:
    both.add(made.music, ScanOptions(listening=WHOLE, jobs=1))
    active = [space for space, _, active in both.status().spaces if active]
    assert {space.listening for space in active} == {"all"}
    both.add(made.music, ScanOptions(listening=DEFAULT_LISTENING, jobs=1))
    active = [space for space, _, active in both.status().spaces if active]
    assert {space.encoder: space.listening for space in active}["made-up"] == "4x2s"


def test_a_device_that_is_not_here_is_an_error(both: Library, made: Any) -> None:
    with pytest.raises(ModelError, match="'cuda'"):
        both.add(made.music, ScanOptions(device="cuda"))


# ---- the wheel of MusiCNN


def test_of_the_wheel_of_musicnn_the_checkpoints_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (*public._MUSICNN.members, "musicnn/extractor.py"):
            archive.writestr(name, name)
    with pytest.raises(ModelError, match=f"{path.stat().st_size} bytes, wanted 29292476"):
        catalogue.add("musicnn", path)
    ours = weights.WeightFile("musicnn", public._MUSICNN.url, None, members=public._MUSICNN.members)
    folder = tmp_path / "cache" / "weights" / weights.add("musicnn", [ours], path).name
    kept = {p.relative_to(folder).as_posix() for p in folder.rglob(".[id]*") if not p.name.endswith(".lock")}
    assert kept == {
        f"{m}_musicnn/{part}" for m in ("MTT", "MSD") for part in (".index", ".data-00000-of-00001")
    }


# ---- the whole way, with a CLAP of random weights


@pytest.mark.slow
@pytest.mark.torch
def test_words_find_tracks(tmp_path: Path, made: Any) -> None:
    pytest.importorskip("transformers")
    from published import clap_folder

    catalogue.add("clap", clap_folder(tmp_path))
    with Library.open(tmp_path / "library") as library:
        report = library.add([path for path, _ in made.tracks[:3]], ScanOptions(encoders=("clap",), jobs=1))
        assert (report.added, report.failed) == (3, 0)
        ids, vectors = library.vectors("clap")
        words = load_encoder("clap").text("slow piano")
        hits = library.similar(text="slow piano", k=3)
        assert [hit.id for hit in hits] == [ids[i] for i in np.argsort(-(vectors @ words))]
