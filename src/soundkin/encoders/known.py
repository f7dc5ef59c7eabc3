"""Known answers: what the authors of an encoder say that it gives for a clip of theirs.

Clips and answers are fetched from their repositories at a pinned commit and checked like weights. This is the test on
the published weights themselves; what the networks compute is compared with their authors' code in the tests.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from soundkin.audio import Excerpt, load
from soundkin.encoders import Array, Encoder
from soundkin.encoders.musicnn import MusiCNN
from soundkin.encoders.openl3 import OpenL3
from soundkin.encoders.panns import Cnn14
from soundkin.encoders.torch_tools import first_line
from soundkin.encoders.weights import WeightFile, get
from soundkin.errors import ModelError

_OPENL3 = "https://raw.githubusercontent.com/marl/openl3/b0bf9b627ed943414324af2ba350917d764207c3/tests/data"
_PANNS = "https://raw.githubusercontent.com/qiuqiangkong/audioset_tagging_cnn/d2f4b8c18eab44737fcc0de1248ae21eb43f6aa4"
_MUSICNN = "https://raw.githubusercontent.com/jordipons/musicnn/516acb2a0ff5ef73f64547898e018e793152c506"

CHIRP = WeightFile(
    "known/chirp_44k.wav", f"{_OPENL3}/audio/chirp_44k.wav", 176_444,
    git_blob="1994040f5da5a0c361f78670fbfb686e421f5aa8",
)  # fmt: skip
# What an OpenL3 is compared with. The library's own for linear input with "kapre" is off by 0.004 from
# its other two, which agree to 1e-5; so those are taken.
_VECTORS = {
    "music-mel256-kapre": ("chirp_44k_kapre.npz", 393_868, "c8862bac920ede7d8351965c776d01c58d36d678"),
    "music-mel256-librosa": ("chirp_44k_librosa.npz", 393_868, "d23885c836a1f10fbd2fe585a11d9e9cc0326544"),
    "music-mel256-htk": ("chirp_44k.npz", 393_828, "a2cf70bf536578c3cb80a94a1ca114c7cd7847f2"),
    **dict.fromkeys(
        ("env-linear-kapre", "env-linear-librosa", "env-linear-htk"),
        ("chirp_44k_linear.npz", 6_652, "0528215412bd2c6a4789a9e373201511d4d43dcf"),
    ),
}
# The library resamples with another filter; vectors of its three front ends differ by 0.003 and more.
LEAST_COSINE = 0.999
_OPENL3_RATE = 48000

RING = WeightFile(
    "known/R9_ZSCveAHg_7s.wav", f"{_PANNS}/resources/R9_ZSCveAHg_7s.wav", 448_078,
    git_blob="f4ccd3400638d3773950a220adc046972d87ce20",
)  # fmt: skip
RING_TAGS = {
    "Speech": 0.893, "Telephone bell ringing": 0.754, "Inside, small room": 0.235, "Telephone": 0.183, "Music": 0.092,
}  # fmt: skip

SOLIPSISM = WeightFile(
    "known/joram-moments_of_clarity-08-solipsism-59-88.mp3",
    f"{_MUSICNN}/audio/joram-moments_of_clarity-08-solipsism-59-88.mp3", 117_213,
    git_blob="0463f3cfa3cbe9d37f5751a5e360b867eedc6e9d",
)  # fmt: skip
SOLIPSISM_TAGS = {"techno": 0.59, "electronic": 0.54, "synth": 0.42}
# Published with two or three digits; in bfloat16 the third may differ.
_TAG_TOLERANCE = 0.015


def _vectors_file(name: str, size: int, blob: str) -> WeightFile:
    return WeightFile(f"known/{name}", f"{_OPENL3}/regression/{name}", size, git_blob=blob)


# All of them, for whom they can be put in place by hand.
FILES = (CHIRP, RING, SOLIPSISM, *(_vectors_file(*facts) for facts in dict.fromkeys(_VECTORS.values())))


def openl3(encoder: Encoder) -> str:
    """Compare an OpenL3 with the vectors in its library's tests.

    Parameters
    ----------
    encoder : Encoder
        An `OpenL3` with published weights.

    Returns
    -------
    str
        What was found, one line.

    Raises
    ------
    ModelError
        They differ, or the clip cannot be had.
    """
    assert isinstance(encoder, OpenL3)
    variant = encoder.front_end.removeprefix("openl3-")
    if variant not in _VECTORS:
        return f"no known answer of OpenL3 {variant} is published"
    name = _VECTORS[variant][0]
    expected = _vectors(get(encoder.name, _vectors_file(*_VECTORS[variant])), encoder.dims)
    centred, hop = (False, 0.5) if "linear" in variant else (True, 0.1)
    y = load(get(encoder.name, CHIRP), _OPENL3_RATE)
    vectors = encoder.encode(openl3_frames(y, hop, centred))
    if vectors.shape != expected.shape:
        raise ModelError(f"{name} holds vectors {expected.shape}; this encoder gives {vectors.shape}")
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((vectors * expected).sum(axis=1) / norms).min())
    if not cosine >= LEAST_COSINE:
        raise ModelError(f"{name}: cosine {cosine:.5f} to the library's own vectors; wanted {LEAST_COSINE}")
    return f"{name}: cosine {cosine:.6f} to the library's own vectors (wanted {LEAST_COSINE})"


def openl3_frames(y: Array, hop: float, centred: bool) -> Array:
    """Cut PCM at 48 kHz into windows of a second as OpenL3's library does, float32 (n,) -> (w, 48000).

    Parameters
    ----------
    y : float32 (n,)
        At least a second.
    hop : float
        Seconds from window to window.
    centred : bool
        Put half a second of zeros before it. Zeros after it always let every sample be heard.
    """
    step = int(hop * _OPENL3_RATE)
    y = np.pad(y, (_OPENL3_RATE // 2 if centred else 0, 0))
    n = 1 + int(np.ceil((len(y) - _OPENL3_RATE) / step))
    y = np.pad(y, (0, (n - 1) * step + _OPENL3_RATE - len(y)))
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(y, _OPENL3_RATE)[::step])


def _vectors(path: Path, dims: int) -> Array:
    try:
        with np.load(path, allow_pickle=False) as held:
            vectors = np.asarray(held["embedding"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path.name} holds no vectors: {first_line(error)}") from error
    if vectors.shape[1:] == (6144,) and dims == 512:
        # 512 are the largest of what 6144 say of 4 bands and 3 stretches of time.
        vectors = vectors.reshape(-1, 12, 512).max(axis=1)
    return vectors


def cnn14(encoder: Encoder) -> str:
    """Compare PANNs' Cnn14 with the tags that its authors publish of a clip. As `openl3`."""
    assert isinstance(encoder, Cnn14)
    y = load(get(encoder.name, RING), encoder.rate)
    return _compared(encoder.tags([Excerpt(0.0, y, encoder.rate)]), RING_TAGS)


def musicnn(encoder: Encoder) -> str:
    """Compare MusiCNN, of MagnaTagATune, with the tags that its authors publish of a clip. As `openl3`."""
    assert isinstance(encoder, MusiCNN)
    y = load(get(encoder.name, SOLIPSISM), encoder.rate)
    return _compared(encoder.tags([Excerpt(0.0, y, encoder.rate)]), SOLIPSISM_TAGS)


def _compared(told: Sequence[tuple[str, float]], published: dict[str, float]) -> str:
    chances = dict(told)
    line = ", ".join(f"{tag} {chances.get(tag, 0):.3f} ({chance})" for tag, chance in published.items())
    order = [tag for tag, _ in told[: len(published)]]
    if order != list(published) or any(abs(chances[t] - p) > _TAG_TOLERANCE for t, p in published.items()):
        raise ModelError(f"its tags of a known clip are not those published (in brackets): {line}")
    return f"tags of a known clip, published ones in brackets: {line}"
