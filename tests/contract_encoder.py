"""What holds for every encoder, whatever its weights: inherit `EncoderContract` and give it an encoder."""

import pkgutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from soundkin.audio import Excerpt, Listening, excerpts_of, resample
from soundkin.encoders import Encoder
from soundkin.errors import DecodeError, InputError
from soundkin.synth import plan, render

Array = NDArray[np.float32]
RATE = 22050
LISTENING = Listening(2, 4.0)


@cache
def music(number: int = 0, seconds: float = 10.0, rate: int = 44100) -> Array:
    """Return a synthetic track, stereo, (frames, 2)."""
    return render(plan(number + 1, seconds=seconds)[number], rate)


def sounds() -> dict[str, Array]:
    """Return sounds at `RATE` that make numbers small, large, equal or few."""
    random = np.random.default_rng(0)
    time = np.arange(4 * RATE) / RATE
    return {
        "noise": random.uniform(-0.5, 0.5, 4 * RATE).astype(np.float32),
        "tone": (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32),
        "silence": np.zeros(4 * RATE, np.float32),
        "constant": np.full(4 * RATE, 0.5, np.float32),
        "half a second": random.uniform(-0.5, 0.5, RATE // 2).astype(np.float32),
        "loud": np.sign(random.uniform(-1, 1, 4 * RATE)).astype(np.float32),
        "faint": (1e-7 * random.uniform(-1, 1, 4 * RATE)).astype(np.float32),
        "one click": np.eye(1, 4 * RATE, 2 * RATE, dtype=np.float32)[0],
    }


class EncoderContract:
    """Tests of one encoder; a subclass says which, by a fixture `source`, and what makes it from that.

    `source` gives the name or the folder of the encoder.
    """

    loader = "soundkin.encoders:load_encoder"

    def load(self, source: str) -> Encoder:
        encoder: Encoder = pkgutil.resolve_name(self.loader)(source)
        return encoder

    @pytest.fixture
    def encoder(self, source: str) -> Encoder:
        return self.load(source)

    def test_it_says_what_made_its_vectors(self, encoder: Encoder) -> None:
        assert encoder.name
        assert encoder.weights
        assert encoder.front_end
        assert encoder.pooling
        assert encoder.dims > 0
        assert encoder.window_seconds >= encoder.hop_seconds >= 0

    @pytest.mark.parametrize("kind", sounds())
    def test_a_track_is_a_finite_unit_vector(self, encoder: Encoder, kind: str) -> None:
        vector = encoder.embed(sounds()[kind], RATE)
        assert vector.shape == (encoder.dims,)
        assert vector.dtype == np.float32
        assert vector.flags.c_contiguous
        assert np.isfinite(vector).all()
        # what has no sound may have no direction
        soundless = kind in ("silence", "faint") and not vector.any()
        assert soundless or np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)

    def test_several_excerpts_at_once_are_each_as_alone(self, encoder: Encoder) -> None:
        y = music().mean(axis=1)
        parts = [(0.0, 3.2), (0.5, 1.0), (1.0, 0.6)]
        excerpts = [
            Excerpt(begin, y[int(begin * 44100) :][: int(length * 44100)], 44100) for begin, length in parts
        ]
        for (starts, vectors), excerpt in zip(encoder.windows_of(excerpts), excerpts, strict=True):
            alone = encoder.windows(excerpt)
            assert np.array_equal(starts, alone[0])
            assert vectors == pytest.approx(alone[1], abs=1e-3 * float(np.abs(alone[1]).max()))

    @pytest.mark.parametrize("rate", [4000, 8000, 44100, 192_000])
    def test_any_rate(self, encoder: Encoder, rate: int) -> None:
        y = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * rate).astype(np.float32)
        assert np.isfinite(encoder.embed(y, rate)).all()

    def test_the_rate_of_a_file_does_not_matter(self, encoder: Encoder) -> None:
        y = music().mean(axis=1)
        vector = encoder.embed(y, 44100, LISTENING)
        assert vector @ encoder.embed(resample(y, 44100, 48000), 48000, LISTENING) > 0.999

    def test_half_as_loud_it_is_the_same_track(self, encoder: Encoder) -> None:
        vector, other = (encoder.embed(music(i), 44100, LISTENING) for i in (0, 1))
        quiet = encoder.embed(music() / 2, 44100, LISTENING)
        assert vector @ quiet > 0.95
        assert vector @ quiet > vector @ other

    def test_windows_begin_where_they_say(self, encoder: Encoder) -> None:
        y = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE).astype(np.float32)
        starts, vectors = encoder.windows(Excerpt(30.0, y, RATE))
        assert starts.dtype == vectors.dtype == np.float32
        assert starts.ndim == 1
        assert vectors.ndim == 2
        assert len(starts) == len(vectors) >= 1
        assert starts[0] == 30
        assert starts[-1] + encoder.window_seconds <= 40.01
        if len(starts) > 1:
            assert np.allclose(np.diff(starts), encoder.hop_seconds, atol=1e-4)
        if encoder.hop_seconds:
            assert len(starts) == int((10 - encoder.window_seconds) / encoder.hop_seconds) + 1

    def test_a_window_is_the_same_in_any_batch(self, encoder: Encoder) -> None:
        """The vector of a window depends on its own sound only, not on its neighbours."""
        if not encoder.hop_seconds:
            pytest.skip("its window is the excerpt")
        y = music(0, 10.0, RATE).mean(axis=1)
        starts, together = encoder.windows(Excerpt(0.0, y, RATE))
        n = int(np.ceil(encoder.window_seconds * RATE)) + 1
        for start, vector in zip(starts, together, strict=True):
            first = round(float(start) * RATE)
            (alone,) = encoder.windows(Excerpt(0.0, y[first : first + n], RATE))[1]
            assert alone @ vector / np.linalg.norm(alone) / np.linalg.norm(vector) > 0.99999

    def test_the_same_sound_gives_the_same_vector(self, encoder: Encoder, source: str) -> None:
        y = music()
        first = encoder.embed(y, 44100)
        assert np.array_equal(first, encoder.embed(y, 44100))
        assert np.array_equal(first, self.load(source).embed(y, 44100))

    def test_threads_share_an_encoder(self, encoder: Encoder) -> None:
        tracks = [music(i, 3.0, RATE) for i in range(3)]
        alone = [encoder.embed(y, RATE, LISTENING) for y in tracks]
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda y: encoder.embed(y, RATE, LISTENING), tracks * 3))
        assert all(np.array_equal(one, other) for one, other in zip(alone * 3, together, strict=True))

    @pytest.mark.parametrize("threads", ["1", "4"])
    def test_another_process_gives_the_same_vector(
        self, encoder: Encoder, source: str, tmp_path: Path, threads: str
    ) -> None:
        soundfile.write(tmp_path / "x.wav", music(), 44100)
        script = (
            "import sys, numpy, pkgutil\n"
            "numpy.save(sys.argv[3], pkgutil.resolve_name(sys.argv[4])(sys.argv[1]).embed(sys.argv[2]))"
        )
        environment = {
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
        }
        command = [sys.executable, "-c", script, source, str(tmp_path / "x.wav"), str(tmp_path / "v.npy")]
        command.append(self.loader)
        subprocess.run(command, env=environment, check=True, timeout=120)
        assert np.load(tmp_path / "v.npy") @ encoder.embed(tmp_path / "x.wav") >= 0.9999

    def test_a_file_is_its_samples(self, encoder: Encoder, tmp_path: Path) -> None:
        y = music()
        soundfile.write(tmp_path / "x.wav", y, 44100, subtype="FLOAT")
        for listening in (LISTENING, Listening(None, 5.0)):
            from_file = encoder.embed(tmp_path / "x.wav", listening=listening)
            assert np.abs(from_file - encoder.embed(y, 44100, listening)).max() < 1e-5
            assert np.array_equal(from_file, encoder.embed(str(tmp_path / "x.wav"), listening=listening))

    def test_more_of_a_track_is_pooled_not_the_beginning(self, encoder: Encoder) -> None:
        y = np.concatenate([music(0, 6.0), music(1, 6.0)])
        whole = encoder.embed(y, 44100, Listening(None, 6.0))
        assert whole @ encoder.embed(y[: 6 * 44100], 44100, Listening(None, 6.0)) < 0.99999
        windows = [encoder.windows(e)[1] for e in excerpts_of(y, 44100, Listening(None, 6.0))]
        assert np.allclose(encoder.pool(np.concatenate(windows)), whole, atol=1e-6)
        swapped = encoder.pool(np.concatenate(windows[::-1]))
        assert np.allclose(swapped, whole, atol=1e-5)

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda e: e.embed(np.zeros(RATE, np.float32)), "without its sample rate"),
            (lambda e: e.embed(np.zeros(RATE, np.int16), RATE), "int16"),
            (lambda e: e.embed([0, 1] * RATE, RATE), "int64"),
            (lambda e: e.embed(np.full(RATE, np.nan), RATE), "NaN"),
            (lambda e: e.embed(np.zeros((2, 2, RATE)), RATE), "shape"),
            (lambda e: e.embed(np.zeros(100), RATE), "0.00 s"),
            (lambda e: e.embed(np.zeros(RATE), 10), "10 Hz"),
        ],
    )
    def test_what_it_refuses(self, encoder: Encoder, call: Callable[[Encoder], Array], words: str) -> None:
        with pytest.raises(InputError, match=words):
            call(encoder)

    def test_files_that_are_no_audio(self, encoder: Encoder, tmp_path: Path) -> None:
        (tmp_path / "x.mp3").write_bytes(b"no music" * 1000)
        with pytest.raises(DecodeError):
            encoder.embed(tmp_path / "x.mp3")
        with pytest.raises(InputError, match="No such file"):
            encoder.embed(tmp_path / "y.mp3")
