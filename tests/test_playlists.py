import contextlib
import io
import json
import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soundkin.errors import InputError
from soundkin.playlists import SUFFIXES, read, write, write_m3u8


@dataclass
class Song:
    path: str
    artist: str = ""
    title: str = ""
    duration: float | None = None


def written(*songs: Song, relative_to: str | None = None) -> str:
    stream = io.StringIO()
    write_m3u8(stream, songs, relative_to)
    return stream.getvalue()


def test_layout() -> None:
    songs = [Song("/m/a.mp3", "Ána", "Sóng", 61.5), Song("/m/b c.ogg", "", "Only title", 0.4)]
    assert written(*songs) == ("#EXTM3U\n#EXTINF:62,Ána - Sóng\n/m/a.mp3\n#EXTINF:0,Only title\n/m/b c.ogg\n")


def test_an_empty_playlist_is_a_header() -> None:
    assert written() == "#EXTM3U\n"


@pytest.mark.parametrize("duration", [None, float("nan"), float("inf"), 0.0, -3.0])
def test_unknown_durations(duration: float | None) -> None:
    assert "#EXTINF:-1," in written(Song("/m/a.mp3", "A", "B", duration))


def test_the_file_name_stands_in_for_a_title() -> None:
    assert "#EXTINF:-1,A - 01 intro\n" in written(Song("/m/01 intro.flac", "A"))


def test_names_stay_on_their_line() -> None:
    lines = written(Song("/m/a.mp3", "A\nB", "C\r\n#EXTINF:1,evil")).split("\n")
    assert lines == ["#EXTM3U", "#EXTINF:-1,A B - C #EXTINF:1,evil", "/m/a.mp3", ""]


def test_relative_paths() -> None:
    assert written(Song("/m/x/a.mp3"), relative_to="/m").splitlines()[-1] == "x/a.mp3"
    assert written(Song("/n/a.mp3"), relative_to="/m").splitlines()[-1] == "../n/a.mp3"


@pytest.mark.parametrize("name", ["#1 hit.mp3", " space.mp3", "http:x.mp3"])
def test_relative_names_that_mean_something_else_in_m3u(name: str) -> None:
    assert written(Song(f"/m/{name}"), relative_to="/m").split("\n")[-2] == f"./{name}"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        (b"/m/new\nline.mp3", "file:///m/new%0Aline.mp3"),
        (b"/m/100% \r.mp3", "file:///m/100%25%20%0D.mp3"),
        (b"/m/latin-\xe9.mp3", "file:///m/latin-%E9.mp3"),
        ("/m/é\u2028.mp3".encode(), "file:///m/%C3%A9%E2%80%A8.mp3"),
        (b"/m/no suffix ", "file:///m/no%20suffix%20"),
        (b"/m/100% #1?.mp3", "/m/100% #1?.mp3"),
    ],
)
def test_what_is_no_line_becomes_an_address(path: bytes, location: str) -> None:
    assert written(Song(os.fsdecode(path))).split("\n")[2] == location
    relative = written(Song(os.fsdecode(path)), relative_to="/m").split("\n")[2]
    assert relative == location.removeprefix("/m/")


@given(
    st.binary(min_size=1, max_size=50).filter(
        lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
    )
)
def test_every_file_name_leads_back_to_its_file(name: bytes) -> None:
    path = b"/m/" + name
    text = written(Song(os.fsdecode(path)))
    text.encode("utf-8")
    # What a player does: lines, stripped; comments dropped; addresses decoded.
    lines = [line.strip() for line in text.splitlines()]
    locations = [line for line in lines if line and not line.startswith("#")]
    assert len(locations) == 1
    address = locations[0].startswith("file://")
    found = urllib.parse.unquote_to_bytes(locations[0][7:]) if address else locations[0].encode()
    assert found == path


def test_writes_a_file_in_utf8(tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("old " * 100)
    write_m3u8(playlist, [Song("/m/♫.mp3", "Ä", "Ö", 1)])
    assert playlist.read_bytes() == "#EXTM3U\n#EXTINF:1,Ä - Ö\n/m/♫.mp3\n".encode()


def test_a_failing_source_leaves_the_old_playlist(tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_m3u8(playlist, (Song(f"/m/{1 // n}.mp3") for n in (1, 0)))
    assert playlist.read_text() == "old"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing.*No such file.*choose another place"):
        write_m3u8(tmp_path / "missing" / "list.m3u8", [])


# ---- the three formats, there and back


@dataclass
class Full(Song):
    album: str = ""
    recording_mbid: str = ""


names = st.text(min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and not set(name) & set("/\0")
)
texts = st.text(max_size=20)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("relative", [False, True])
@given(
    rows=st.lists(
        st.tuples(names, st.binary(min_size=1, max_size=4), texts, texts, st.floats(1, 1e5)), max_size=5
    ),
    title=texts,
)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_what_is_written_is_read_back(
    tmp_path: Path, suffix: str, relative: bool, rows: list[tuple[str, bytes, str, str, float]], title: str
) -> None:
    songs = []
    for name, raw, artist, album, seconds in rows:
        odd = os.fsdecode(b"x" + raw.replace(b"/", b"_").replace(b"\0", b"_"))
        songs.append(
            Full(
                f"/music/{name}/{odd}".encode("utf-8", "replace").decode()
                if not _encodes(name)
                else f"/music/{name}/{odd}",
                artist,
                "",
                seconds,
                album,
            )
        )
    file = tmp_path / "lists" / f"list{suffix}"
    file.parent.mkdir(exist_ok=True)
    write(file, songs, title, relative)
    entries = read(file)
    assert [entry.paths[0] for entry in entries] == [song.path for song in songs]
    for entry, song in zip(entries, songs, strict=True):
        assert entry.duration == pytest.approx(
            song.duration, abs=0.51 if suffix.startswith(".m3u") else 0.001
        )


def _encodes(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_come_back(tmp_path: Path, suffix: str) -> None:
    song = Full(
        "/m/a & b <c>.mp3", "Simon & <G>", 'Say "hi"', 61.0, "Bücher", "0c7a2a5e-7f3b-4f6e-8a4e-3b1f7d2c9e10"
    )
    write(tmp_path / f"l{suffix}", [song], "My & list")
    (entry,) = read(tmp_path / f"l{suffix}")
    assert (entry.artist, entry.title, entry.duration, entry.paths) == (
        song.artist,
        song.title,
        61.0,
        (song.path,),
    )
    if not suffix.startswith(".m3u"):
        assert (entry.album, entry.recording_mbid) == (song.album, song.recording_mbid)


def test_xspf_is_what_its_schema_says(tmp_path: Path) -> None:
    write(tmp_path / "l.xspf", [Full("/m/a b\u00e9.mp3", "A", "B", 1.5)], "T")
    root = ElementTree.parse(tmp_path / "l.xspf").getroot()
    inside = "{http://xspf.org/ns/0/}"
    assert (root.tag, root.get("version")) == (f"{inside}playlist", "1")
    assert [child.tag for child in root] == [f"{inside}title", f"{inside}trackList"]
    track = root.find(f"{inside}trackList/{inside}track")
    assert track is not None
    assert {child.tag.removeprefix(inside): child.text for child in track} == {
        "location": "file:///m/a%20b%C3%A9.mp3", "title": "B", "creator": "A", "duration": "1500"
    }  # fmt: skip


def test_jspf_is_xspf_in_json(tmp_path: Path) -> None:
    write(tmp_path / "l.jspf", [Song("/m/a.mp3", "A", "B", 1.5)], relative=True)
    (track,) = json.loads((tmp_path / "l.jspf").read_text())["playlist"]["track"]
    location = urllib.parse.quote(os.path.relpath("/m/a.mp3", tmp_path))
    assert track == {"location": [location], "title": "B", "creator": "A", "duration": 1500}


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a.mp3\r\nb.mp3\r\n", ["a.mp3", "b.mp3"]),
        (b'\xef\xbb\xbf#EXTM3U\n#EXTINF:-1 tvg-id="x, y",A\nsub\\b.mp3', ["sub\\b.mp3"]),
        ("#EXTM3U\nö.mp3\n".encode("utf-16"), ["ö.mp3"]),
        (b"caf\xe9.mp3\n", ["caf\udce9.mp3", "café.mp3"]),
        (b"#EXTM3U\n\n   \n# words\n", []),
        (b"file:///m/a%20b.mp3", ["/m/a b.mp3"]),
    ],
)
def test_lists_as_others_write_them(tmp_path: Path, data: bytes, paths: list[str]) -> None:
    (tmp_path / "l.m3u").write_bytes(data)
    found = {path for entry in read(tmp_path / "l.m3u") for path in entry.paths}
    wanted = {os.path.join(tmp_path, path) for path in paths}
    assert wanted <= found
    assert bool(wanted) == bool(found)


def test_windows_folders_mean_folders_here(tmp_path: Path) -> None:
    (tmp_path / "l.m3u").write_text("Album\\1.mp3\n")
    (entry,) = read(tmp_path / "l.m3u")
    assert str(tmp_path / "Album" / "1.mp3") in entry.paths


def test_a_station_on_the_net_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "l.m3u").write_text("https://radio.example/1.mp3\n")
    (entry,) = read(tmp_path / "l.m3u")
    assert (entry.location, entry.paths) == ("https://radio.example/1.mp3", ())


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.xspf", b"<playlist", "no XSPF"),
        ("a.xspf", b'<!DOCTYPE x [<!ENTITY a "b">]><playlist/>', "DOCTYPE"),
        ("a.xspf", '<!DOCTYPE x [<!ENTITY a "b">]><playlist/>'.encode("utf-16"), "DOCTYPE"),
        ("a.xspf", b"<html/>", "another kind"),
        ("a.jspf", b"{}", "no JSPF"),
        ("a.jspf", b'{"playlist": {"track": [7]}}', "no JSPF"),
        ("a.jspf", b"[" * 100_000, "no JSPF"),
        ("a.txt", b"", "no format"),
    ],
)
def test_what_is_no_playlist_is_told_in_one_line(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=said) as raised:
        read(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_missing_playlist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "none.m3u8")


@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
def test_any_bytes_are_a_playlist_or_the_users_mistake(tmp_path: Path, suffix: str, data: bytes) -> None:
    (tmp_path / f"l{suffix}").write_bytes(data)
    with contextlib.suppress(InputError):
        read(tmp_path / f"l{suffix}")


def test_a_file_on_another_drive_of_windows_keeps_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import ntpath

    with pytest.raises(ValueError, match="mount"):  # what the module does there
        ntpath.relpath(r"D:\\a.mp3", r"C:\\lists")

    def other_drive(*paths: str) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    assert written(Song("/m/a.mp3", "A", "T", 1), relative_to="/lists").splitlines()[-1] == "/m/a.mp3"
