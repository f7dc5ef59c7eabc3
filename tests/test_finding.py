"""Which tracks of a library a playlist from elsewhere means, on real files."""

import json
from pathlib import Path

import pytest
from test_cli import run  # noqa: F401  (a fixture)

from soundkin import playlists


@pytest.mark.parametrize("suffix", playlists.SUFFIXES)
@pytest.mark.parametrize("relative", [False, True])
def test_a_list_is_found_again_by_path(shared, tmp_path, suffix, relative):
    tracks = shared.tracks()[:7]
    playlists.write(tmp_path / f"l{suffix}", tracks, "T", relative)
    found = shared.find_list(tmp_path / f"l{suffix}")
    assert [(one.track.id, one.by) for one in found] == [(track.id, "path") for track in tracks]


def test_a_list_of_a_moved_folder_is_found_by_the_end_of_its_paths(shared, made, tmp_path):
    path = Path(made.tracks[3][0])
    moved = "/elsewhere/" + "/".join(path.parts[-3:])
    (tmp_path / "l.m3u").write_text(f"{moved}\nD:\\Music\\{path.parts[-2]}\\{path.name}\n")
    assert [(one.track.path, one.by) for one in shared.find_list(tmp_path / "l.m3u")] == [
        (str(path), "path")
    ] * 2


def test_a_list_is_found_by_tags(shared, tmp_path):
    track = next(t for t in shared.tracks() if t.title and t.artist)
    lines = [
        f"#EXTINF:{round(track.duration)},{track.artist.upper()} - {track.title} (Remastered 2011)", "/gone/x.mp3",
        f"#EXTINF:{round(track.duration) + 90},{track.artist} - {track.title}", "/gone/y.mp3",
        f"#EXTINF:-1,Nobody - {track.title}", "/gone/z.mp3",
    ]  # fmt: skip
    (tmp_path / "l.m3u8").write_text("\n".join(["#EXTM3U", *lines]))
    right, too_long, other = shared.find_list(tmp_path / "l.m3u8")
    assert right.by == "tags"
    assert (right.track.title, right.track.artist) == (track.title, track.artist)
    assert (too_long.track, other.track) == (None, None)


def test_a_list_is_found_by_sound(shared, made, tmp_path):
    (tmp_path / "l.m3u8").write_text(f"{made.outside}\n{tmp_path / 'no.mp3'}\nhttps://radio.example/1.mp3\n")
    first, gone, net = shared.find_list(tmp_path / "l.m3u8")
    own = {str(made.tracks[0][0]), *map(str, made.copies[made.tracks[0][0]])}
    assert first.by == "sound"
    assert first.track.path in own
    assert (gone.track, net.track) == (None, None)


def test_a_file_without_sound_is_not_found(shared, tmp_path):
    (tmp_path / "x.mp3").write_text("no music")
    (tmp_path / "l.m3u8").write_text("x.mp3\n")
    assert shared.find_list(tmp_path / "l.m3u8")[0].track is None


def test_import_of_a_playlist_command(run, made, shared, tmp_path):  # noqa: F811
    tracks = shared.tracks()[:3]
    playlists.write(tmp_path / "in.m3u8", tracks)
    with open(tmp_path / "in.m3u8", "a") as file:
        file.write("/gone/x.mp3\n")
    status, out, _ = run(
        "import", tmp_path / "in.m3u8", "-o", tmp_path / "out.jspf", "--library", made.library
    )
    assert status == 0
    assert "3 of 4 are in the library" in out
    assert [entry.paths[0] for entry in playlists.read(tmp_path / "out.jspf")] == [
        track.path for track in tracks
    ]
    document = json.loads(run("import", tmp_path / "in.m3u8", "--json", "--library", made.library)[1])
    assert [row["by"] for row in document["tracks"]] == ["path", "path", "path", ""]
