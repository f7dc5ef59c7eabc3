"""What a player gets: sound of every format, covers, shapes; and what is kept of it."""

import asyncio
import io
import os
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from serving import API, client_of
from sounds import FORMATS, decode, decode_av, tone, write

from soundkin.library import Library
from soundkin.serve import media, media_work

RATE = 48_000
# Browsers play these as they are (MDN, "Media container formats", 2025); the rest comes as FLAC.
PLAYED = {"mp3", "flac", "vorbis", "wav", "opus", "aac", "adts"}


def picture(wide, high, codec="png", form="rgb24"):
    """Encode a picture whose left half is red and whose right half is blue."""
    pixels = np.zeros((high, wide, 3), np.uint8)
    pixels[:, : wide // 2, 0] = pixels[:, wide // 2 :, 2] = 255
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = wide, high, form, Fraction(1)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(wide, high, form)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def seen(data):
    """Return the size of a JPEG and the colours of its left and right, red green blue."""
    assert data[:3] == b"\xff\xd8\xff"
    with av.open(io.BytesIO(data), "r") as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
    high, wide, _ = pixels.shape
    return (wide, high), pixels[high // 2, wide // 4].tolist(), pixels[high // 2, 3 * wide // 4].tolist()


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    for name, (suffix, _) in FORMATS.items():
        loud = np.repeat(np.linspace(0.1, 0.8, 4), RATE)[:, None]
        (folder / name).mkdir()
        write(
            folder / name / f"{name}{suffix}",
            (tone(4, RATE, (1.0, 1.0)) * loud).astype(np.float32),
            RATE,
            name,
        )
    (folder / "mp3" / "Cover.PNG").write_bytes(picture(900, 600))
    return folder


@pytest.fixture(scope="module")
def client(music, tmp_path_factory):
    home = tmp_path_factory.mktemp("library")
    with Library.open(home) as library:
        report = library.add([music])
        assert report.added == len(FORMATS)
    with client_of(home) as opened:
        yield opened


@pytest.fixture(scope="module")
def ids(client):
    tracks = client.get(f"{API}/tracks?limit=500").json()["tracks"]
    return {track["path"].split("/")[-2]: track["id"] for track in tracks}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_comes_as_something_browsers_play(client, ids, music, name, tmp_path):
    answer = client.get(f"{API}/tracks/{ids[name]}/audio")
    assert answer.status_code == 200
    file = next((music / name).glob(f"{name}.*"))
    if name in PLAYED:
        assert answer.content == file.read_bytes()
        assert answer.headers["content-type"].startswith("audio/")
        return
    assert answer.headers["content-type"] == "audio/flac"
    (tmp_path / "got.flac").write_bytes(answer.content)
    sound, expected = decode(tmp_path / "got.flac"), decode_av(file)
    assert soundfile.info(tmp_path / "got.flac").samplerate == RATE
    assert len(sound) == pytest.approx(len(expected), abs=RATE // 20)
    n = min(len(sound), len(expected))
    assert np.abs(sound[:n] - expected[:n]).max() < 2e-4  # 16 bit
    again = client.get(f"{API}/tracks/{ids[name]}/audio", headers={"range": "bytes=4-9"})
    assert (again.status_code, again.content) == (206, answer.content[4:10])


@pytest.mark.parametrize("name", ["mp3", "flac", "wma"])
def test_the_shape_of_a_sound_follows_its_loudness(client, ids, name):
    answer = client.get(f"{API}/tracks/{ids[name]}/peaks").json()
    peaks = np.array(answer["peaks"], float)
    assert len(peaks) == 800
    assert peaks.max() == 255
    quarters = peaks[np.arange(100, 800, 200)] / 255 * 0.8  # in the middle of each second
    np.testing.assert_allclose(quarters, np.linspace(0.1, 0.8, 4), atol=0.03)


def test_a_cover_beside_the_music_is_scaled_down(client, ids):
    for size, wanted in ((96, (96, 64)), (320, (320, 214)), (960, (900, 600))):
        answer = client.get(f"{API}/tracks/{ids['mp3']}/cover", params={"size": size})
        assert answer.headers["content-type"] == "image/jpeg"
        shape, left, right = seen(answer.content)
        assert shape == wanted
        assert left == pytest.approx([255, 0, 0], abs=25)
        assert right == pytest.approx([0, 0, 255], abs=25)
    tag = answer.headers["etag"]
    again = client.get(
        f"{API}/tracks/{ids['mp3']}/cover", params={"size": 960}, headers={"if-none-match": tag}
    )
    assert again.status_code == 304
    none = client.get(f"{API}/tracks/{ids['flac']}/cover")
    assert (none.status_code, none.content) == (204, b"")
    assert client.get(f"{API}/tracks/{'0' * 16}/cover").status_code == 404
    assert client.get(f"{API}/tracks/{ids['mp3']}/cover?size=5000").status_code == 422


def test_a_cover_inside_the_file_goes_first(tmp_path):
    sound = write(tmp_path / "a.mp3", tone(2, RATE, (0.5,)), RATE, "mp3")
    frame = b"\0image/png\0\x03\0" + picture(40, 40)
    size = bytes((len(frame) >> shift) & 127 for shift in (21, 14, 7, 0))
    apic = b"APIC" + size + b"\0\0" + frame
    whole = bytes((len(apic) >> shift) & 127 for shift in (21, 14, 7, 0))
    sound.write_bytes(b"ID3\x04\0\0" + whole + apic + sound.read_bytes())
    (tmp_path / "cover.jpg").write_bytes(picture(900, 600))
    assert seen(media_work.cover(str(sound), "320"))[0] == (40, 40)


@pytest.mark.parametrize(("codec", "form"), [("mjpeg", "yuvj420p"), ("gif", "rgb8"), ("libwebp", "yuv420p")])
def test_covers_of_every_kind(tmp_path, codec, form):
    (tmp_path / "folder.jpg").write_bytes(picture(200, 100, codec, form))
    assert seen(media_work.cover(str(tmp_path / "a.mp3"), "96"))[0] == (96, 48)


@pytest.mark.parametrize("data", [b"", b"no picture", b"#EXTM3U\n/etc/passwd\n", picture(300, 200)[:200]])
def test_a_picture_that_is_none(tmp_path, data):
    (tmp_path / "cover.jpg").write_bytes(data)
    assert media_work.cover(str(tmp_path / "a.mp3"), "96") is None


def test_a_playlist_with_the_name_of_music_reads_no_other_file(tmp_path):
    """Else whoever can put a file into the library could listen to any other one on the disk."""
    secret = write(tmp_path / "secret.wav", tone(1, RATE, (0.5,)), RATE, "wav")
    for text in (f"#EXTM3U\n#EXTINF:1,\n{secret}\n", f"ffconcat version 1.0\nfile '{secret}'\n"):
        fake = tmp_path / "fake.mp3"
        fake.write_text(text)
        with pytest.raises((av.FFmpegError, ValueError)):
            media_work.peaks(str(fake))
        with pytest.raises((av.FFmpegError, ValueError)):
            media_work.flac(str(fake), str(tmp_path / "out.flac"))


@pytest.mark.parametrize("n", [0, 1, 799, 800, 801, 100_000])
def test_a_shape_keeps_the_loudest_of_each_part(n):
    loudest = np.random.default_rng(n).random(n).astype(np.float32)
    shape = media_work.shape_of(loudest)
    assert len(shape) == 800
    assert max(shape) == (255 if n else 0)
    for part in range(0, 800, 37):
        own = loudest[int(part * n / 800) : max(int(np.ceil((part + 1) * n / 800)), int(part * n / 800) + 1)]
        if len(own):
            assert shape[part] == pytest.approx(own.max() / loudest.max() * 255, abs=1)


def test_what_is_gone_has_no_sound(client, ids, music):
    file = next((music / "wavpack").glob("wavpack.*"))
    hidden = file.rename(music / "hidden")
    try:
        assert client.get(f"{API}/tracks/{ids['wavpack']}/audio").status_code == 404
    finally:
        hidden.rename(file)


def test_what_is_kept_is_bounded(tmp_path):
    for i in range(10):
        (tmp_path / f"{i}.flac").write_bytes(bytes(100))
        os.utime(tmp_path / f"{i}.flac", (i, i))
    (tmp_path / "part-x").write_bytes(bytes(1000))  # somebody is writing it
    media._touched(tmp_path / "0.flac")
    media._trim(tmp_path, 350)
    assert {p.name for p in tmp_path.iterdir()} == {"0.flac", "8.flac", "9.flac", "part-x"}


def test_who_asks_for_the_same_waits_for_the_same(tmp_path, monkeypatch):
    begun = []

    async def ask(self, *task):
        begun.append(task)
        await asyncio.sleep(0.05)
        return b"x"

    monkeypatch.setattr(media.Media, "_ask", ask)
    store = media.Media(tmp_path / "cache")

    track: Any = SimpleNamespace(path=str(tmp_path / "a.mp3"), content="c" * 32, id="0" * 16)

    async def both():
        return await asyncio.gather(*(store.peaks(track) for _ in range(5)))

    assert asyncio.run(both()) == [b"x"] * 5
    assert len(begun) == 1
