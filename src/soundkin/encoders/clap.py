"""CLAP: sound and words in one space of 512 numbers, so that text finds music.

Wu et al., "Large-scale contrastive language-audio pretraining with feature fusion and keyword-to-caption
augmentation",
2023. Weights Apache-2.0, `laion/larger_clap_general` on Hugging Face. (`laion/larger_clap_music` is broken:
its text vectors are all alike.) The tower that reads text is loaded when the first text comes.
"""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from soundkin.audio import Listening
from soundkin.encoders import Array, unit
from soundkin.encoders.hf import CONFIG, failing_as_model_error, load_model, read_json, weights_in
from soundkin.encoders.torch_tools import TorchEncoder, device_in_use, hash_of, needs, precision_in_use
from soundkin.errors import InputError, ModelError
from soundkin.features import FrontEnd, log_mel

FRONT = FrontEnd(rate=48000, n_fft=1024, hop=480, n_mels=64, fmin=50.0, fmax=14000.0)
# LAION's tokens per text; it is what the text tower was trained with.
_TOKENS = 77


class Clap(TorchEncoder):
    """LAION's CLAP without fusion.

    Parameters
    ----------
    weights : path-like
        Folder with `config.json`, the weights, and for text the tokenizer's files.
    device : str
        "auto", "cpu", "cuda", ...
    precision, engine : str
        Of the tower of sound, as for `hf.Wav2Vec2`. Words are read in float32 by PyTorch.
    name : str
        In spaces.

    Raises
    ------
    ModelError
        The folder is damaged or holds another network, or there is no such device.
    MissingExtra
        PyTorch or transformers is not installed.
    """

    rate = FRONT.rate
    front_end = f"{FRONT.name}-centred"
    window_seconds = hop_seconds = 10.0
    listening = Listening(5, 10.0)

    def __init__(
        self,
        weights: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "float32",
        engine: str = "torch",
        name: str = "clap",
    ) -> None:
        self.name, self._folder = name, Path(weights)
        self._torch = needs("torch", "torch")
        transformers = needs("transformers", "hf")
        self.device = device_in_use(device)
        self.precision = precision_in_use(precision, self.device)
        card = read_json(self._folder / CONFIG)
        if card.get("model_type") != "clap":
            raise ModelError(f"config.json is of {card.get('model_type')!r}; wanted 'clap'")
        with failing_as_model_error(self._folder):
            self._config = transformers.ClapConfig.from_dict(card)
        if self._config.audio_config.enable_fusion:
            raise ModelError(
                "this CLAP fuses several views of a clip; wanted one without fusion, like larger_clap_general"
            )
        self.weights = hash_of(weights_in(self._folder))
        self.dims = int(self._config.projection_dim)
        example = front(np.zeros((1, round(self.window_seconds * self.rate)), np.float32)).shape
        self.hasten(engine, self._hearing, example, hash_of(self._folder / CONFIG))
        self._reading = threading.Lock()
        self._reader: tuple[Any, Any] | None = None

    def _tower(self, kind: str, config: Any) -> Any:
        config.projection_dim = self.dims
        return load_model(getattr(needs("transformers", "hf"), kind), self._folder, config)

    def _hearing(self) -> Any:
        from soundkin.encoders import networks

        return networks.ClapSound(self._tower("ClapAudioModelWithProjection", self._config.audio_config))

    def short(self, y: Array, size: int) -> Array:
        """Repeat a short excerpt as often as it fits, zeros after it, as CLAP was trained; see `TorchEncoder.short`."""
        return np.pad(np.tile(y, size // len(y)), (0, size % len(y)))

    def encode(self, pieces: Array) -> Array:
        """Encode PCM windows into unit vectors; see `TorchEncoder.encode`."""
        return unit(self.run(front(pieces))[0])

    def text(self, words: str) -> Array:
        """Place words among sounds.

        Parameters
        ----------
        words : str
            "slow melancholic piano"; beyond 77 tokens it is cut.

        Returns
        -------
        float32 (dims,)
            Unit length, comparable with track vectors.

        Raises
        ------
        InputError
            No words.
        ModelError
            The folder has no tokenizer.
        """
        if not words.strip():
            raise InputError("an empty text came; wanted words that describe a sound")
        tokenizer, tower = self._text_tower()
        with failing_as_model_error(self._folder):
            tokens = tokenizer(words.strip(), truncation=True, max_length=_TOKENS, return_tensors="pt")
        with self._torch.inference_mode():
            output = tower(**{key: tokens[key].to(self.device) for key in ("input_ids", "attention_mask")})
        return unit(output.text_embeds[0].float().cpu().numpy())

    def _text_tower(self) -> tuple[Any, Any]:
        with self._reading:
            if self._reader is None:
                transformers = needs("transformers", "hf")
                with failing_as_model_error(self._folder):
                    tokenizer = transformers.AutoTokenizer.from_pretrained(
                        self._folder, local_files_only=True, trust_remote_code=False
                    )
                tower = self._tower("ClapTextModelWithProjection", self._config.text_config)
                self._reader = tokenizer, tower.to(self.device)
            return self._reader


def front(pieces: Array) -> Array:
    """Return the log-mel spectrograms of PCM windows, float32 (b, n) at 48 kHz -> (b, 1, frames, 64), decibels."""
    half = FRONT.n_fft // 2
    centred = np.pad(pieces, ((0, 0), (half, half)), mode="reflect")
    return np.ascontiguousarray(np.stack([log_mel(y, FRONT).T for y in centred])[:, None])
