import io
import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundkin.errors import InputError
from soundkin.playlists import write_m3u8


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


def test_a_file_on_another_drive_of_windows_keeps_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import ntpath

    with pytest.raises(ValueError, match="mount"):  # what the module does there
        ntpath.relpath(r"D:\\a.mp3", r"C:\\lists")

    def other_drive(*paths: str) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    assert written(Song("/m/a.mp3", "A", "T", 1), relative_to="/lists").splitlines()[-1] == "/m/a.mp3"
