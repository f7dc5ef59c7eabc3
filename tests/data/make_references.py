"""Makes the frozen references of this folder: what the official code computes from random weights and made-up sound.

    python -m venv tf
    tf/bin/pip install tensorflow-cpu==2.20.0 tf_keras==2.20.1 kapre==0.4.1 librosa==0.11.0 h5py scikit-learn
    git clone https://github.com/marl/openl3
    pip download --no-deps musicnn==0.1.0 && unzip musicnn-*.whl -d musicnn
    PYTHONPATH=tests tf/bin/python tests/data/make_references.py openl3 openl3
    PYTHONPATH=tests tf/bin/python tests/data/make_references.py musicnn musicnn

Made on 2026-11-21 with those versions on Python 3.11, openl3 0.4.2 (commit b0bf9b6). The weights and the sound come
from `tests/published.py`: numpy makes them again from their seed. Of OpenL3 the model is built and loaded by its own
`openl3/models.py`, and its spectrograms come from its own `openl3/core.py`; of MusiCNN the network is
`musicnn/models.py`.
"""

import importlib
import os
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
from published import musicnn_weights, openl3_weights, sound, write_openl3

HERE = Path(__file__).parent
RATE = 48000


def official_openl3(folder: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """Import openl3's models and core without what they import and these references do not use."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    for name in (
        "resampy",
        "moviepy",
        "moviepy.video.io.VideoFileClip",
        "skimage",
        "skimage.transform",
        "moviepy.editor",
    ):
        stand_in = types.ModuleType(name)
        stand_in.__getattr__ = lambda _: None  # type: ignore[method-assign]
        sys.modules.setdefault(name, stand_in)
    package = types.ModuleType("openl3")
    package.__path__ = [str(folder / "openl3")]
    sys.modules["openl3"] = package
    return importlib.import_module("openl3.models"), importlib.import_module("openl3.core")


def openl3(folder: Path) -> None:
    """Write openl3.npz."""
    models, core = official_openl3(folder)
    y = sound(RATE, 1.5)
    arrays = {}
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "random.h5")
        for kind in ("linear", "mel128", "mel256"):
            write_openl3(Path(path), openl3_weights())
            for front in ("kapre", "librosa"):
                model = models.load_audio_embedding_model_from_path(path, kind, 512, frontend=front)
                x = core.preprocess_audio(
                    y, RATE, hop_size=0.5, center=False, input_repr=kind if front == "librosa" else None
                )
                arrays[f"{kind}-{front}"] = model.predict(x, verbose=0)[1:]
            bins, frames = model.input_shape[1:3]
            image = np.random.default_rng(1).uniform(-80, 0, (1, bins, frames, 1)).astype(np.float32)
            arrays[f"{kind}-network-512"] = model.predict(image, verbose=0)[:, ::2]
            large = models.load_audio_embedding_model_from_path(path, kind, 6144, frontend="librosa")
            arrays[f"{kind}-network-6144"] = large.predict(image, verbose=0)[:, ::24]
    np.savez_compressed(HERE / "openl3.npz", **arrays)


def musicnn(folder: Path) -> None:
    """Write musicnn.npz."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # its layers are gone from Keras 3
    sys.path.insert(0, str(folder))
    import tensorflow as tf

    tf.compat.v1.disable_eager_execution()
    models = importlib.import_module("musicnn.models")
    image = np.random.default_rng(1).uniform(0, 5, (2, 187, 96)).astype(np.float32)
    x = tf.compat.v1.placeholder(tf.float32, [None, 187, 96])
    training = tf.compat.v1.placeholder(tf.bool)
    outputs = models.define_model(x, training, "MTT_musicnn", 50)
    wanted = {"tags": tf.nn.sigmoid(outputs[0]), "mid-end": outputs[-3], "penultimate": outputs[-1]}
    weights = musicnn_weights()
    with tf.compat.v1.Session() as session:
        for variable in tf.compat.v1.global_variables():
            variable.load(weights[variable.op.name], session)
        arrays = session.run(wanted, {x: image, training: False})
    np.savez_compressed(HERE / "musicnn.npz", **arrays)


if __name__ == "__main__":
    {"openl3": openl3, "musicnn": musicnn}[sys.argv[1]](Path(sys.argv[2]))
