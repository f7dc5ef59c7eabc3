"""Encoders in the format of Hugging Face: wav2vec 2.0, MERT, and any other that needs no code of its own.

A folder holds `config.json`, the weights (`model.safetensors`, or `pytorch_model.bin` where the known encoders have no
other) and `preprocessor_config.json`. The networks are those of the `transformers` library; code that comes with a
checkpoint is never run, and nothing is fetched.

wav2vec 2.0: Baevski et al., 2020. MERT: Li et al., "MERT: acoustic music understanding model with large-scale
self-supervised training", 2023; its network is HuBERT's (Hsu et al., 2021).
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from soundkin.audio import Listening
from soundkin.encoders import Array
from soundkin.encoders.torch_tools import (
    TorchEncoder,
    device_in_use,
    first_line,
    hash_of,
    needs,
    precision_in_use,
    read_safetensors,
    read_torch,
)  # fmt: skip
from soundkin.errors import InputError, ModelError

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_MOST_CONFIG_BYTES = 1 << 20
_MOST_LAYERS, _MOST_OF_ANYTHING = 256, 10**7
# Learned for masking in training; a checkpoint may come without it.
_SPARE = frozenset({"masked_spec_embed"})


class Wav2Vec2(TorchEncoder):
    """wav2vec 2.0 base: 768 numbers per ten seconds, of whole tracks.

    Parameters
    ----------
    weights : path-like
        Folder with `config.json` and the weights.
    layer : int
        0 (before the transformer) to 12; the last is what most people take, middle ones often serve music better.
    device : str
        "auto", "cpu", "cuda", ...
    precision : str
        "float32", "bfloat16", "float16"; "auto" takes bfloat16 on CPUs that compute in it.
    engine : str
        What runs it on a CPU: "torch", "openvino", "onnxruntime", or "auto" for the fastest.
    name : str
        In spaces.

    Raises
    ------
    InputError
        No such layer.
    ModelError
        The folder is damaged or holds another network, or there is no such device.
    MissingExtra
        PyTorch or transformers is not installed.
    """

    rate = 16000
    window_seconds = hop_seconds = 10.0
    listening = Listening(None, 10.0)
    _kind, _config = "Wav2Vec2Model", "Wav2Vec2Config"
    _default_layer = 12

    def __init__(
        self,
        weights: str | os.PathLike[str],
        *,
        layer: int | None = None,
        device: str = "auto",
        precision: str = "float32",
        engine: str = "torch",
        name: str = "wav2vec2-base",
    ) -> None:
        folder = Path(weights)
        self.name = name
        transformers = needs("transformers", "hf")
        self.device = device_in_use(device)
        self.precision = precision_in_use(precision, self.device)
        card = self._understood(read_json(folder / CONFIG))
        with failing_as_model_error(folder):
            config = getattr(transformers, self._config).from_dict(card)
        depth = int(config.num_hidden_layers)
        self._layer = min(self._default_layer, depth) if layer is None else layer
        if not 0 <= self._layer <= depth:
            raise InputError(f"{name} has no layer {layer}; wanted 0 to {depth}")
        self.front_end = f"pcm-{self.rate}-standardised"
        self.pooling = f"layer{self._layer}-mean"
        self.dims = int(config.hidden_size)
        self.weights = hash_of(weights_in(folder))
        key = f"{self._layer} {hash_of(folder / CONFIG)}"
        self.hasten(engine, lambda: self._made(folder, config), (1, self.rate), key, varies=2)

    def _made(self, folder: Path, config: Any) -> Any:
        """Load the network, as far as it is needed."""
        from soundkin.encoders import networks

        model = load_model(getattr(needs("transformers", "hf"), self._kind), folder, config)
        if not getattr(config, "do_stable_layer_norm", False):  # where no norm follows the last layer
            del model.encoder.layers[max(self._layer, 1) :]
        return networks.Hidden(model, self._layer)

    def _understood(self, card: dict[str, Any]) -> dict[str, Any]:
        """Return what the network's configuration needs of `config.json`."""
        if card.get("model_type") != "wav2vec2":
            raise ModelError(f"config.json is of {card.get('model_type')!r}; wanted 'wav2vec2'")
        return card

    def short(self, y: Array, size: int) -> Array:
        """Hear a short excerpt as it is: padding would enter the mean; see `TorchEncoder.short`."""
        return y

    def encode(self, pieces: Array) -> Array:
        """Encode PCM windows; see `TorchEncoder.encode`."""
        return self.run(standardised(pieces))[0]


class Mert(Wav2Vec2):
    """MERT-v1-95M: 768 numbers per five seconds; weights CC BY-NC 4.0. Parameters as for `Wav2Vec2`.

    Parameters
    ----------
    weights : path-like
        Folder with `config.json` and the weights.
    layer : int
        0 to 12; default 7.
    device : str
        "auto", "cpu", "cuda", ...
    precision : str
        "float32", "bfloat16", "float16"; "auto" takes bfloat16 on CPUs that compute in it.
    engine : str
        What runs it on a CPU: "torch", "openvino", "onnxruntime", or "auto" for the fastest.
    name : str
        In spaces.
    """

    rate = 24000
    window_seconds = hop_seconds = 5.0
    listening = Listening(10, 5.0)
    _kind, _config = "HubertModel", "HubertConfig"
    _default_layer = 7

    def __init__(
        self,
        weights: str | os.PathLike[str],
        *,
        layer: int | None = None,
        device: str = "auto",
        precision: str = "float32",
        engine: str = "torch",
        name: str = "mert-v1-95m",
    ) -> None:
        super().__init__(weights, layer=layer, device=device, precision=precision, engine=engine, name=name)

    def _understood(self, card: dict[str, Any]) -> dict[str, Any]:
        """Return HuBERT's share of MERT's configuration: its own code does no more when these are off."""
        if card.get("model_type") not in ("mert_model", "hubert"):
            raise ModelError(f"config.json is of {card.get('model_type')!r}; wanted 'mert_model'")
        for extra in ("feature_extractor_cqt", "deepnorm"):
            if card.get(extra):
                raise ModelError(f"config.json sets {extra!r}, which only MERT's own code understands")
        return {
            key: value
            for key, value in card.items()
            if key not in ("model_type", "auto_map", "architectures")
        }


class HuggingFace(TorchEncoder):
    """Any audio encoder that `transformers` itself has a network and a feature extractor for.

    Parameters
    ----------
    weights : path-like
        Folder with `config.json`, `model.safetensors` and `preprocessor_config.json`.
    layer : int, optional
        Of its hidden states; default its own output.
    device : str
        "auto", "cpu", "cuda", ...
    name : str, optional
        In spaces; default the folder's.

    Raises
    ------
    InputError
        No such layer.
    ModelError
        The folder is damaged, needs code of its own, or is no audio encoder; or there is no such device.
    MissingExtra
        PyTorch or transformers is not installed.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str],
        *,
        layer: int | None = None,
        device: str = "auto",
        name: str | None = None,
    ) -> None:
        folder = Path(weights)
        self.name = name or folder.resolve().name
        self._torch = needs("torch", "torch")
        transformers = needs("transformers", "hf")
        self.device = device_in_use(device)
        read_json(folder / CONFIG)
        read_json(folder / PREPROCESSOR)
        if not (folder / SAFE).is_file():
            raise ModelError(f"{os.fspath(folder)!r} has no {SAFE}: only that format is read")
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with failing_as_model_error(folder):
            config = transformers.AutoConfig.from_pretrained(folder, **local)
            self._extract = transformers.AutoFeatureExtractor.from_pretrained(folder, **local)
            self.rate = int(self._extract.sampling_rate)
            kind = transformers.MODEL_MAPPING[type(config)]
        if not 4000 <= self.rate <= 384_000:
            raise ModelError(f"{PREPROCESSOR} says {self.rate} Hz; wanted 4000 to 384000")
        self._layer = layer
        self.weights = hash_of(folder / SAFE)
        model = load_model(kind, folder, config, lenient=True)
        self._model = (model.get_encoder() if config.is_encoder_decoder else model).to(self.device)
        seconds = getattr(self._extract, "chunk_length", None) or getattr(self._extract, "max_length_s", None)
        self.window_seconds = self.hop_seconds = float(seconds or 10.0)
        self.listening = Listening(5, self.window_seconds)
        self.front_end = f"{type(self._extract).__name__}-{self.rate}"
        self.pooling = "mean" if layer is None else f"layer{layer}-mean"
        with failing_as_model_error(folder):
            self.dims = self.encode(np.zeros((1, self.rate), np.float32)).shape[1]

    def short(self, y: Array, size: int) -> Array:
        """Leave a short excerpt to the feature extractor, which knows what its network wants."""
        return y

    def encode(self, pieces: Array) -> Array:
        """Encode PCM windows; see `TorchEncoder.encode`."""
        features = self._extract(list(pieces), sampling_rate=self.rate, return_tensors="pt")
        # All windows of a batch are of one length: nothing is masked.
        inputs = {key: x.to(self.device) for key, x in features.items() if key != "attention_mask"}
        with self._torch.inference_mode():
            output = self._output(inputs)
        return np.ascontiguousarray(output.flatten(1, -2).mean(dim=1).float().cpu().numpy())

    def _output(self, inputs: dict[str, Any]) -> Any:
        """Return the chosen hidden states, (b, ..., d)."""
        if self._layer is None:
            if hasattr(self._model, "get_audio_features"):
                return self._model.get_audio_features(**inputs).pooler_output[:, None]
            return self._model(**inputs).last_hidden_state
        states = self._model(**inputs, output_hidden_states=True).hidden_states
        if not 0 <= self._layer < len(states):
            raise InputError(f"{self.name} has no layer {self._layer}; wanted 0 to {len(states) - 1}")
        return states[self._layer]


def standardised(pieces: Array) -> Array:
    """Scale each window, float32 (b, n), to mean 0 and variance 1."""
    centred = pieces - pieces.mean(axis=1, keepdims=True)
    return np.ascontiguousarray(centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-7), np.float32)


def weights_in(folder: Path) -> Path:
    """Return the file of weights of a folder, safetensors if there is one; raise ModelError when there is none."""
    for name in (SAFE, PICKLED):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{os.fspath(folder)!r} has neither {SAFE} nor {PICKLED}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        What it says.

    Raises
    ------
    ModelError
        Not there, no JSON object, or of sizes that no encoder has.
    """
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise ValueError("larger than any configuration")
        card = json.loads(path.read_text("utf-8"))
        if not isinstance(card, dict):
            raise ValueError(f"a {type(card).__name__}, not an object")
        if "quantization_config" in card:
            raise ValueError("its weights are quantised")
        _refuse_giants(card)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{os.fspath(path)!r} is no usable configuration: {first_line(error)}") from error
    return card


def _refuse_giants(value: Any, key: str = "") -> None:
    """Keep numbers out that would build a network larger than any file of weights."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_giants(inner, str(name))
    elif isinstance(value, list):
        if len(value) > _MOST_LAYERS and "layer" in key:
            raise ValueError(f"{key!r} lists {len(value)} layers")
        for inner in value:
            _refuse_giants(inner, key)
    elif isinstance(value, int):
        most = _MOST_LAYERS if "layers" in key or key in ("depths", "conv_depth") else _MOST_OF_ANYTHING
        if value > most:
            raise ValueError(f"{key!r} is {value}")


def load_model(kind: Any, folder: Path, config: Any, lenient: bool = False) -> Any:
    """Load a network of `transformers` from a folder, for inference.

    Parameters
    ----------
    kind : class
        Of the network.
    folder : Path
        Holds the weights.
    config : object
        Its configuration.
    lenient : bool
        Let parameters be missing that the network has beside its encoder.

    Returns
    -------
    torch.nn.Module
        On the CPU, in float32.

    Raises
    ------
    ModelError
        The weights are damaged, not finite, or of another network.
    """
    torch = needs("torch", "torch")
    path = weights_in(folder)
    state = read_safetensors(path) if path.name == SAFE else read_torch(path)
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise ModelError(f"{path.name}: {name!r} is no tensor")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{path.name}: {name!r} holds NaN or infinite values")
    with failing_as_model_error(folder), quiet():
        model, report = kind.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, dtype=torch.float32,
            attn_implementation="eager",
        )  # fmt: skip
    missing = sorted(set(report["missing_keys"]) - _SPARE)
    if lenient:
        missing = [name for name in missing if "encoder" in name or "layers" in name]
    if missing or report["mismatched_keys"]:
        raise ModelError(
            f"{path.name} lacks {len(missing)} tensors, first {missing[:1]}: it is of another network"
        )
    return model.eval()


@contextlib.contextmanager
def failing_as_model_error(folder: Path) -> Iterator[None]:
    """Turn whatever `transformers` raises about a folder into one line."""
    try:
        yield
    except (InputError, ModelError):
        raise
    except Exception as error:  # it has no root of its errors
        raise ModelError(
            f"{os.fspath(folder)!r} is no encoder that transformers can load: {first_line(error)}"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep `transformers` from drawing bars and tables on standard error."""
    log = needs("transformers.utils.logging", "hf")
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
