"""The encoders that others have published: what their weights are, where they lie, and under which licence.

None of this is imported, fetched or loaded before an encoder is asked for by name. Checksums are the publishers' own:
of OpenL3 the names that Git gives to the files, of PANNs what Zenodo states, of the Hub's what its listing says at the
pinned revision.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from itertools import product

from soundkin.encoders import Choice, Encoder, EncoderInfo
from soundkin.encoders.hub import Hub
from soundkin.encoders.weights import WeightFile, path_of

_OPENL3 = "https://github.com/marl/openl3/raw/c2321e8c1e68213357431f1868380a0ef224ce03"
_OPENL3_BLOBS = {
    ("linear", "env"): "7837407f033f3564c7e8d53fc4a4241fe160478b",
    ("linear", "music"): "4e2e61beb17865481c8b8791c72eac8307e2753a",
    ("mel128", "env"): "8c3dfee140f7776373841e5938a3e76c54f28942",
    ("mel128", "music"): "73ff29de441865318c4b3a3f98c40763c4773e7c",
    ("mel256", "env"): "34dbd7a91cdd2de6a3d6d036ac0a24d27d78e3cc",
    ("mel256", "music"): "15e483646fa3d4091a463f0affbb706e6bbbb098",
}

_WHEEL = "musicnn-0.1.0-py3-none-any.whl"
_MUSICNN = WeightFile(
    "musicnn",
    f"pip:musicnn==0.1.0/{_WHEEL}",
    29_292_476,
    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    members=tuple(
        f"musicnn/{model}/{part}"
        for model in ("MTT_musicnn", "MSD_musicnn")
        for part in (".index", ".data-00000-of-00001")
    ),
)

_CNN14 = WeightFile(
    "panns/Cnn14_mAP=0.431.pth",
    "https://zenodo.org/records/3987831/files/Cnn14_mAP%3D0.431.pth?download=1",
    327_428_481,
    md5="541141fa2ee191a88f24a3219fff024e",
)
_AUDIOSET = WeightFile(
    "panns/class_labels_indices.csv",
    "https://raw.githubusercontent.com/qiuqiangkong/audioset_tagging_cnn/master/metadata/class_labels_indices.csv",
    14_675,
    sha256="cdd1049833c4b86127c2773ac0d14a2754b6a6d0d1798002ed5c66e699708429",
)

_WAV2VEC2 = Hub(
    "facebook/wav2vec2-base",
    "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
    pickled=True,
    sha256=(("pytorch_model.bin", "3249fe98bfc62fcbc26067f724716a6ec49d12c4728a2af1df659013905dff21"),),
)
_CLAP = Hub("laion/larger_clap_general", "ada0c23a36c4e8582805bb38fec3905903f18b41", pickled=True)
_MERT = Hub("m-a-p/MERT-v1-95M", pickled=True)

_LAYER = {"layer": "which hidden layer, 0 to the number of layers; by default what the model card advises"}
_CC_BY, _CC_BY_NC, _APACHE, _ISC = "CC-BY-4.0", "CC-BY-NC-4.0", "Apache-2.0", "ISC"


def _made(module: str, kind: str, weights: object, choice: Choice, **fixed: object) -> Encoder:
    """Import the file of an encoder and make it."""
    make = getattr(import_module(f"soundkin.encoders.{module}"), kind)
    encoder: Encoder = make(weights, name=choice.name, device=choice.device, **{**fixed, **choice.options})
    return encoder


def _known(name: str) -> Callable[[Encoder], str]:
    """Return a known answer, imported when it is asked for."""

    def verify(encoder: Encoder) -> str:
        found: str = getattr(import_module("soundkin.encoders.known"), name)(encoder)
        return found

    return verify


def _cnn14(choice: Choice) -> Encoder:
    labels = path_of(choice.name, _AUDIOSET)
    return _made("panns", "Cnn14", path_of(choice.name, _CNN14), choice, labels=labels, engine="auto")


def _musicnn(model: str) -> Callable[[Choice], Encoder]:
    return lambda choice: _made(
        "musicnn", "MusiCNN", path_of(choice.name, _MUSICNN) / model, choice, engine="auto"
    )


def _openl3_file(front: str, content: str) -> WeightFile:
    name = f"openl3_audio_{front}_{content}-v0_4_0.h5"
    # Nobody has published the sizes; the name that Git gives to a file depends on its length.
    return WeightFile(f"openl3/{name}", f"{_OPENL3}/{name}.gz", None, git_blob=_OPENL3_BLOBS[front, content])


def _openl3(content: str, front: str, dims: int) -> EncoderInfo:
    file = _openl3_file(front, content)

    def load(choice: Choice) -> Encoder:
        return _made(
            "openl3",
            "OpenL3",
            path_of(choice.name, file),
            choice,
            content=content,
            input=front,
            dims=dims,
            engine="auto",
        )

    return EncoderInfo(
        load=load,
        dims=dims,
        rate=48000,
        window="1.0 s",
        licence=_CC_BY,
        size="19 MB",
        about=f"OpenL3, {'music' if content == 'music' else 'environmental sounds'}, {front}",
        files=(file,),
        extra="torch",
        modules=("torch", "h5py"),
        options={
            "front_end": "kapre (0.4's, the default), librosa (0.4's other), htk (0.3's, on which it was trained)",
            "hop": "seconds from window to window, 1.0 by default; the authors' own default is 0.1",
        },
        verify=_known("openl3"),
    )


VARIANTS: dict[str, EncoderInfo] = {
    f"openl3-{content}-{front}-{dims}": _openl3(content, front, dims)
    for content, front, dims in product(("music", "env"), ("linear", "mel128", "mel256"), (512, 6144))
}
ALIASES = {
    "openl3": "openl3-music-mel256-512",
    "panns": "panns-cnn14",
    "wav2vec2": "wav2vec2-base",
    "mert": "mert-v1-95m",
}


def _hub(module: str, kind: str, hub: Hub, **fixed: object) -> Callable[[Choice], Encoder]:
    return lambda choice: _made(module, kind, hub.path_of(choice.name), choice, **fixed)


PUBLIC: dict[str, EncoderInfo] = {
    "musicnn": EncoderInfo(
        load=_musicnn("MTT_musicnn"),
        dims=200,
        rate=16000,
        window="3.0 s",
        licence=_ISC,
        size="19 MB",
        about="MusiCNN, trained on the tags of MagnaTagATune; small and good",
        files=(_MUSICNN,),
        extra="torch",
        modules=("torch",),
        options={"layer": "penultimate (200 numbers, the default) or mid-end (753)"},
        variants=("musicnn-msd",),
        usual=(0.36, 0.21),
        verify=_known("musicnn"),
    ),
    "openl3": replace(
        VARIANTS[ALIASES["openl3"]],
        about="OpenL3, self-supervised on videos of music; 512 or 6144 numbers",
        variants=tuple(VARIANTS),
    ),
    "panns-cnn14": EncoderInfo(
        load=_cnn14,
        dims=2048,
        rate=32000,
        window="10.0 s",
        licence=_CC_BY,
        size="327 MB",
        about="PANNs Cnn14, trained on AudioSet; tells 527 tags",
        files=(_CNN14, _AUDIOSET),
        extra="torch",
        modules=("torch",),
        verify=_known("cnn14"),
    ),
    "wav2vec2-base": EncoderInfo(
        load=_hub("hf", "Wav2Vec2", _WAV2VEC2, engine="auto", precision="auto"),
        dims=768,
        rate=16000,
        window="10.0 s",
        licence=_APACHE,
        size="380 MB",
        about="wav2vec 2.0, trained on speech: for comparison, weak on music",
        hub=_WAV2VEC2,
        extra="hf",
        modules=("torch", "transformers"),
        options=_LAYER,
    ),
    "clap": EncoderInfo(
        load=_hub("clap", "Clap", _CLAP, engine="auto", precision="auto"),
        dims=512,
        rate=48000,
        window="10.0 s",
        licence=_APACHE,
        size="776 MB",
        about="LAION CLAP (larger, general): understands words, for --text",
        hub=_CLAP,
        extra="hf",
        modules=("torch", "transformers"),
        reads=True,
    ),
    "mert-v1-95m": EncoderInfo(
        load=_hub("hf", "Mert", _MERT, engine="auto", precision="auto"),
        dims=768,
        rate=24000,
        window="5.0 s",
        licence=_CC_BY_NC,
        size="378 MB",
        about="MERT v1, self-supervised on music; not for commercial use",
        hub=_MERT,
        extra="hf",
        modules=("torch", "transformers"),
        options=_LAYER,
    ),
}
VARIANTS["musicnn-msd"] = replace(
    PUBLIC["musicnn"],
    load=_musicnn("MSD_musicnn"),
    about="MusiCNN, trained on the tags of the Million Song Dataset",
    variants=(),
    usual=None,
    verify=None,  # its authors publish no figures of it
)

_HUB_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


def of_hub(name: str) -> EncoderInfo | None:
    """Make an entry for any audio encoder on the Hugging Face Hub.

    Parameters
    ----------
    name : str
        ``hf:organisation/model``, with ``@revision`` if not the newest.

    Returns
    -------
    EncoderInfo or None
        None when the name is not of that form.
    """
    matched = _HUB_NAME.fullmatch(name)
    if matched is None:
        return None
    hub = Hub(matched[1], matched[2] or "main")
    return EncoderInfo(
        load=_hub("hf", "HuggingFace", hub),
        dims=0,
        rate=0,
        window="10.0 s",
        licence=f"see {hub.url}",
        size="",
        about=f"{matched[1]} from the Hugging Face Hub",
        hub=hub,
        extra="hf",
        modules=("torch", "transformers", "safetensors"),
        options=_LAYER,
    )
