"""What the authors of published encoders say their weights give: sounds, and the answers to them.

MusiCNN: the ten tags in its README, in their order. PANNs: the tags in its README, with their probabilities. OpenL3: the
vectors that its own tests compare with. Each sound is fetched like weights are, from the repository at a fixed commit.
"""

from pathlib import Path
from typing import Any

import numpy as np

from soundkin.audio import Excerpt, Listening, hear, load
from soundkin.encoders import Encoder
from soundkin.encoders.weights import WeightFile
from soundkin.errors import ModelError

_RAW = "https://raw.githubusercontent.com"
_MUSICNN = f"{_RAW}/jordipons/musicnn/516acb2a0ff5ef73f64547898e018e793152c506/audio"
_PANNS = f"{_RAW}/qiuqiangkong/audioset_tagging_cnn/d2f4b8c18eab44737fcc0de1248ae21eb43f6aa4/resources"
_OPENL3 = f"{_RAW}/marl/openl3/b0bf9b627ed943414324af2ba350917d764207c3/tests/data"

TECHNO: WeightFile = WeightFile(
    "answers/musicnn.mp3",
    f"{_MUSICNN}/joram-moments_of_clarity-08-solipsism-59-88.mp3",
    117_213,
    git_blob="0463f3cfa3cbe9d37f5751a5e360b867eedc6e9d",
)
TELEPHONE: WeightFile = WeightFile(
    "answers/panns.wav",
    f"{_PANNS}/R9_ZSCveAHg_7s.wav",
    448_078,
    git_blob="f4ccd3400638d3773950a220adc046972d87ce20",
)
CHIRP: WeightFile = WeightFile(
    "answers/openl3.wav",
    f"{_OPENL3}/audio/chirp_44k.wav",
    176_444,
    git_blob="1994040f5da5a0c361f78670fbfb686e421f5aa8",
)
# Front end -> the vectors of the music model with 256 mels and 6144 numbers, of frames every 0.1 s around their times.
CHIRP_VECTORS: dict[str, WeightFile] = {
    "kapre": WeightFile(
        "answers/openl3-kapre.npz",
        f"{_OPENL3}/regression/chirp_44k_kapre.npz",
        393_868,
        git_blob="c8862bac920ede7d8351965c776d01c58d36d678",
    ),
    "librosa": WeightFile(
        "answers/openl3-librosa.npz",
        f"{_OPENL3}/regression/chirp_44k_librosa.npz",
        393_868,
        git_blob="d23885c836a1f10fbd2fe585a11d9e9cc0326544",
    ),
    "htk": WeightFile(
        "answers/openl3-htk.npz",
        f"{_OPENL3}/regression/chirp_44k.npz",
        393_828,
        git_blob="a2cf70bf536578c3cb80a94a1ca114c7cd7847f2",
    ),
}
TECHNO_TAGS = (
    "techno", "electronic", "synth", "fast", "beat", "drums", "no vocals", "no vocal", "dance", "ambient",
)  # fmt: skip
TELEPHONE_TAGS = {
    "Speech": 0.893, "Telephone bell ringing": 0.754, "Inside, small room": 0.235, "Telephone": 0.183, "Music": 0.092,
}  # fmt: skip
# Another decoder and another resampler than the authors'.
_TAG_TOLERANCE = 0.02
_LEAST_COSINE = 0.999
# Of the likeliest tags the order is compared, too: further down they lie too near to each other.
_IN_ORDER = 3


def tags_match(encoder: Encoder, sound: Path, wanted: dict[str, float] | tuple[str, ...]) -> str:
    """Compare the tags of a sound with those that are published.

    Parameters
    ----------
    encoder : Encoder
        One that knows tags.
    sound : Path
        What it hears.
    wanted : dict of str to float, or tuple of str
        The likeliest tags, with their probabilities or only in their order.

    Returns
    -------
    str
        A line that says what was compared.

    Raises
    ------
    ModelError
        They are further apart than decoders and resamplers explain.
    """
    tell: Any = encoder
    with hear(sound, Listening(None, 60.0)) as hearing:
        ranked = tell.tags(list(hearing.excerpts))
    found, first = dict(ranked), [tag for tag, _ in ranked[: len(wanted)]]
    told = ", ".join(f"{tag} {found[tag]:.2f}" for tag in wanted)
    if isinstance(wanted, dict):
        right = all(abs(found[tag] - probability) <= _TAG_TOLERANCE for tag, probability in wanted.items())
    else:
        right = set(first) == set(wanted) and first[:_IN_ORDER] == list(wanted[:_IN_ORDER])
    if not right:
        raise ModelError(
            f"{encoder.name} gives other tags than the published ones: {told}; its first are {first}"
        )
    return f"known answer: the published tags, {told}"


def vectors_match(encoder: Encoder, sound: Path, vectors: Path) -> str:
    """Compare the vectors of frames around every 0.1 s of a sound with those that are published.

    Parameters
    ----------
    encoder : Encoder
        Of 48 kHz sound, with windows of a second every 0.1 s.
    sound, vectors : Path
        What it hears, and an npz file whose ``embedding`` is float (frames, dims).

    Returns
    -------
    str
        A line that says how near they are.

    Raises
    ------
    ModelError
        A cosine is below 0.999, or there are others than the published frames.
    """
    try:
        with np.load(vectors, allow_pickle=False) as held:
            wanted = held["embedding"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{vectors} holds no vectors: {error}") from error
    y = load(sound, 48_000)
    centred = np.concatenate([np.zeros(24_000, np.float32), y])  # so that the first frame is around 0 s
    found = encoder.windows(Excerpt(0.0, centred, 48_000))[1]
    if found.shape != wanted.shape:
        raise ModelError(f"{encoder.name} gives vectors of shape {found.shape}, published are {wanted.shape}")
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    least = float(((found * wanted).sum(axis=1) / np.maximum(lengths, 1e-12)).min())
    if not least >= _LEAST_COSINE:
        raise ModelError(
            f"{encoder.name} gives other vectors than the published ones: least cosine {least:.4f}"
        )
    return f"known answer: {len(wanted)} published vectors, least cosine {least:.6f}"
