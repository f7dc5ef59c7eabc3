"""Places in a file that are reached by seeking, against the file read from its beginning by the other decoder."""

from pathlib import Path

import numpy as np
import pytest
from sounds import Sound, decode, rustle, write

from soundkin import decoding


def beats(seconds: float, rate: int) -> Sound:
    """Return noise in short strokes, (frames, 1): an encoder of Vorbis changes its block size at each."""
    sound = rustle(seconds, rate, 1)
    since = np.arange(len(sound)) / rate % 0.23
    return np.asarray(sound * np.exp(-60 * since)[:, None], np.float32)


def wrong(path: Path, whole: Sound, starts: range, n: int) -> list[int]:
    """Return where ffmpeg does not read what stands there."""
    decoder = decoding._Av(str(path))
    read = {start: decoder.read(start, n) for start in starts}
    decoder.close()
    return [
        start
        for start, samples in read.items()
        if len(samples) != n or np.abs(samples - whole[start : start + n]).max() > 1e-3
    ]


@pytest.mark.parametrize("rate", [22050, 44100])
def test_a_seek_in_vorbis_reaches_its_goal_where_blocks_change_their_size(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "x.ogg", beats(10, rate), rate, "vorbis")
    assert wrong(path, decode(path), range(1000, 9 * rate, rate // 7), rate // 10) == []


def pages(data: bytes) -> list[bytes]:
    """Cut an Ogg file into its pages (RFC 3533, section 6)."""
    found, at = [], 0
    while at < len(data):
        assert data[at : at + 4] == b"OggS"
        header = 27 + data[at + 26]
        end = at + header + sum(data[at + 27 : at + header])
        found.append(data[at:end])
        at = end
    return found


def test_a_seek_over_a_page_that_is_missing_still_reaches_its_goal(tmp_path: Path) -> None:
    rate = 44100
    path = write(tmp_path / "x.ogg", beats(10, rate), rate, "vorbis")
    whole, parts = decode(path), pages(path.read_bytes())
    lost = len(parts) // 2
    path.write_bytes(b"".join(parts[:lost] + parts[lost + 1 :]))
    end = int.from_bytes(parts[lost][6:14], "little")  # of the samples that are complete with this page
    starts = range(end + 4096, end + rate // 4, 1000)
    assert wrong(path, whole, starts, 2000) == []
