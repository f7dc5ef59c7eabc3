"""The training loop: batches in, an encoder out; stops by steps or by time, survives a kill.

Chance is drawn anew for every step from (seed, step), so a run that was resumed is the run that was never
interrupted.
"""

import contextlib
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soundkin.errors import InputError, ModelError
from soundkin.features import FLOOR_DB
from soundkin.training.augment import augmented
from soundkin.training.data import STEP_DB, Codes, Mels, batch_of, crops, spread_windows
from soundkin.training.head import discriminants, second_moments
from soundkin.training.losses import info_nce, nt_xent
from soundkin.training.network import Encoder, Projector
from soundkin.training.recipes import Recipe
from soundkin.training.teacher import Teacher

WARM_UP_STEPS = 50
# Windows that set the bands' statistics before training.
_SAMPLE = 2048
# Windows of each track that set the last layer after it.
_HEAD_WINDOWS = 16
# Training tracks among which validation tracks are to be found: a handful of tracks alone are too easily told apart.
_IN_THE_WAY = 200
# Windows of a validation track: the beginning and the end have to find the middle. With eight, which lie side by side,
# random weights find 92 % of 61 tracks, and there is nothing left to see.
_VALIDATION_WINDOWS = 3


@dataclass(frozen=True)
class Limits:
    """When training ends: at whichever comes first.

    Parameters
    ----------
    steps : int, optional
        Batches. Only a run limited by steps alone can be repeated exactly.
    seconds : float, optional
        Wall-clock time, over all runs of one checkpoint.
    """

    steps: int | None = None
    seconds: float | None = None

    def progress(self, step: int, elapsed: float) -> float:
        """Return how much of the run is over, 0 to 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = elapsed / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_time))


@dataclass(frozen=True)
class Metrics:
    """What is known while training goes on.

    Parameters
    ----------
    step : int
        Batches seen.
    progress : float
        How much of the run is over, 0 to 1.
    seconds : float
        Elapsed.
    loss : float
        Of the last batch, nats.
    learning_rate : float
        Of the last step.
    found : float or None
        Share of validation tracks whose beginning and end find the middle; None without validation or between
        validations.
    """

    step: int
    progress: float
    seconds: float
    loss: float
    learning_rate: float
    found: float | None = None


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Parameters
    ----------
    first, second : float tensor (n, n_mels, frames)
        Two augmented views of n tracks, decibels.
    kin : bool tensor (n, n) or None
        Where two tracks share an album; None when the recipe does not spare albums.
    taught : float tensor (2n, d) or None
        What the teacher says of each view; None without one.
    """

    first: Tensor
    second: Tensor
    kin: Tensor | None
    taught: Tensor | None


class Trainer:
    """A network being trained.

    Parameters
    ----------
    mels : Mels
        The training set; at least two tracks.
    recipe : Recipe
        What to train and how.
    seed : int
        Of everything random.
    device : str
        A PyTorch device.
    teacher : Teacher, optional
        Of the same tracks.
    changed : sequence of (uint8 (1 + changes, windows, n_mels, frames) or None), optional
        Some windows of each track, as they are and after changes that the last layer is to overlook; None for a
        track of which that is not known.

    Raises
    ------
    InputError
        Fewer than two tracks.
    """

    def __init__(
        self,
        mels: Mels,
        recipe: Recipe,
        seed: int = 0,
        device: str = "cpu",
        teacher: Teacher | None = None,
        changed: Sequence[Codes | None] = (),
    ) -> None:
        if len(mels) < 2:
            raise InputError(f"{len(mels)} track(s) to train on; at least 2 wanted, and better some hundreds")
        self.mels, self.recipe, self.seed, self.device = mels, recipe, seed, device
        self.step, self.elapsed = 0, 0.0
        torch.manual_seed(seed)
        self.encoder = Encoder(recipe, mels.front.n_mels)
        self.encoder.standardise.fit(self._sample())
        self.encoder.to(device)
        self.projector = Projector(recipe.dims).to(device) if recipe.projector else None
        self.teacher, self.changed = teacher, changed
        pooled = self.encoder.dense.in_features
        self.pupil = torch.nn.Linear(pooled, teacher.dims).to(device) if teacher is not None else None
        self.optimiser = torch.optim.AdamW(
            [p for module in self._modules() for p in module.parameters()],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            betas=(0.9, 0.98),
        )

    def _modules(self) -> list[torch.nn.Module]:
        return [m for m in (self.encoder, self.projector, self.pupil) if m is not None]

    def _sample(self) -> Tensor:
        """Return windows spread over all tracks, each album with the weight it has in batches."""
        random = np.random.default_rng([self.seed, 0])
        drawn = [
            crops(
                self.mels.tracks,
                batch_of(self.mels.albums, self.recipe.batch, random),
                self.recipe.frames,
                random,
            )
            for _ in range(math.ceil(_SAMPLE / min(self.recipe.batch, len(self.mels))))
        ]
        return decibels(np.concatenate(drawn))

    def train_step(self, learning_rate: float) -> float:
        """Learn from one batch and return its loss, nats."""
        for module in self._modules():
            module.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        batch = self.batch()
        both = torch.cat([batch.first, batch.second]).to(self.device)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=has_fast_bf16(self.device)):
            features = self.encoder.features(both)
        loss = self.loss(features.float(), batch)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1
        return loss.item()

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Return what a step makes smaller, nats, from the features (2n, pooled) of both views."""
        n = len(batch.first)
        z = self.encoder.dense(features)
        if self.projector is not None:
            z = self.projector(z)
        if self.recipe.loss == "info_nce":
            loss = info_nce(z[:n], z[n:], self.recipe.temperature)
        else:
            loss = nt_xent(z[:n], z[n:], self.recipe.temperature, batch.kin)
        if self.pupil is not None and batch.taught is not None:
            error = functional.mse_loss(self.pupil(features), batch.taught.to(self.device))
            loss = loss + self.recipe.teaching * error
        return loss

    def batch(self) -> Batch:
        """Return the batch of the current step."""
        recipe, tracks = self.recipe, self.mels.tracks
        random = np.random.default_rng([self.seed, 1, self.step])
        chance = torch.Generator().manual_seed(int(random.integers(1 << 62)))
        which = batch_of(self.mels.albums, recipe.batch, random)
        cut, taught = [], []
        for _ in range(1 + recipe.two_crops):
            near = None
            if self.teacher is not None:
                near, said = self.teacher.pick(which, random)
                taught.append(torch.from_numpy(said))
            cut.append(crops(tracks, which, recipe.frames, random, near))
        first, second = (augmented(decibels(codes), recipe.augment, chance) for codes in (cut[0], cut[-1]))
        kin = None
        if recipe.spare_albums:
            albums = np.asarray(self.mels.albums)[which]
            kin = torch.from_numpy(albums[:, None] == albums[None]).to(self.device)
        return Batch(first, second, kin, torch.cat([taught[0], taught[-1]]) if taught else None)

    def finish(self, on_track: Callable[[int, int], None] | None = None) -> Encoder:
        """Set the last layer if the recipe wants it, and return the encoder ready for use, on the CPU.

        Parameters
        ----------
        on_track : callable, optional
            Called with (done, total) after every track that is heard for the last layer.

        Returns
        -------
        Encoder
            In evaluation mode.
        """
        self.encoder.to("cpu").eval()
        if self.recipe.discriminants:
            counts = Counter(self.mels.albums)
            weights = [counts[album] ** -0.5 for album in self.mels.albums]
            weight, bias = discriminants(
                self._features(on_track or _silent),
                weights,
                self.recipe.dims,
                self.recipe.shrinkage,
                self.recipe.flatten,
                self._nuisance(weights),
            )
            self.encoder.dense.load_state_dict({"weight": weight, "bias": bias})
        return self.encoder

    @torch.no_grad()
    def _features(self, on_track: Callable[[int, int], None]) -> Iterator[Tensor]:
        """Yield the features of each track's windows, as they are and augmented."""
        chance = torch.Generator().manual_seed(self.seed)
        for done, track in enumerate(self.mels.tracks, 1):
            windows = decibels(spread_windows(track, self.recipe.frames, _HEAD_WINDOWS))
            views = torch.cat([windows, augmented(windows, self.recipe.augment, chance)])
            yield self._heard(views)
            on_track(done, len(self.mels))

    @torch.no_grad()
    def _nuisance(self, weights: Sequence[float]) -> Tensor | None:
        """Return how changes move the mean of a track's features: their second moments, summed over the changes."""
        known = [(codes, w) for codes, w in zip(self.changed, weights, strict=False) if codes is not None]
        if not known:
            return None

        def moved(codes: Codes) -> Tensor:
            versions = torch.stack([self._heard(decibels(np.array(part))).mean(0) for part in codes])
            return versions[1:] - versions[0]

        moments = second_moments((moved(codes) for codes, _ in known), [weight for _, weight in known])
        return self.recipe.endurance * (len(known[0][0]) - 1) * moments

    def _heard(self, logmel: Tensor) -> Tensor:
        """Return the features of windows in decibels, computed as in training."""
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16("cpu")):
            return self.encoder.features(logmel).float()

    def save(self, path: Path) -> None:
        """Write everything needed to go on to `path`, atomically."""
        state: dict[str, Any] = {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "tracks": len(self.mels),
            "step": self.step,
            "elapsed": self.elapsed,
            "modules": [module.state_dict() for module in self._modules()],
            "optimiser": self.optimiser.state_dict(),
        }
        partial = path.with_suffix(path.suffix + ".part")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, the file at `path`.

        Parameters
        ----------
        path : Path
            What `save` wrote.

        Raises
        ------
        ModelError
            The checkpoint is of another recipe, seed or training set.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)  # it may come from another device
        for key, mine in (
            ("recipe", asdict(self.recipe)),
            ("seed", self.seed),
            ("tracks", len(self.mels)),
        ):
            if state[key] != mine:
                raise ModelError(
                    f"checkpoint {path} has {key} {state[key]}, this run {mine}: remove it to start anew"
                )
        for module, saved in zip(self._modules(), state["modules"], strict=True):
            module.load_state_dict(saved)
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed = state["step"], state["elapsed"]


def train(
    mels: Mels,
    recipe: Recipe,
    limits: Limits,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    validation: Mels | None = None,
    report_every: int = 50,
    on_metrics: Callable[[Metrics], None] | None = None,
    on_step: Callable[[Metrics], None] | None = None,
    on_track: Callable[[int, int], None] | None = None,
    teacher: Teacher | None = None,
    changed: Sequence[Codes | None] = (),
) -> Encoder:
    """Train an encoder.

    Parameters
    ----------
    mels : Mels
        The training set.
    recipe : Recipe
        What to train and how.
    limits : Limits
        When to stop; at least one.
    seed : int
        Same seed, same data, same machine and a limit in steps: same weights.
    device : str
        A PyTorch device.
    checkpoint : Path, optional
        Written at every report; when it exists, training goes on from there.
    validation : Mels, optional
        Other tracks, heard at every report; see `middles_found`.
    report_every : int
        Steps between reports.
    on_metrics : callable, optional
        Called at every report, and at the end.
    on_step : callable, optional
        Called after every step, with nothing found.
    on_track : callable, optional
        Called with (done, total) after every track that is heard for the last layer, in the end.
    teacher : Teacher, optional
        Of the same tracks.
    changed : sequence of (uint8 (1 + changes, windows, n_mels, frames) or None), optional
        See `Trainer`.

    Returns
    -------
    Encoder
        In evaluation mode, on the CPU.

    Raises
    ------
    InputError
        No limit, or fewer than two tracks.
    ModelError
        The checkpoint belongs to another run.
    KeyboardInterrupt
        Ctrl-C was pressed; the step under way was finished and the checkpoint written.
    """
    if limits.steps is None and limits.seconds is None:
        raise InputError("training would never end: give a number of steps or of seconds")
    trainer = Trainer(mels, recipe, seed, device, teacher, changed)
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    began = time.monotonic() - trainer.elapsed
    with _interrupt_held() as interrupted:
        while (progress := limits.progress(trainer.step, trainer.elapsed)) < 1 and not interrupted():
            rate = learning_rate(recipe, trainer.step, progress)
            loss = trainer.train_step(rate)
            trainer.elapsed = time.monotonic() - began
            progress = limits.progress(trainer.step, trainer.elapsed)
            metrics = Metrics(trainer.step, progress, trainer.elapsed, loss, rate)
            if on_step is not None:
                on_step(metrics)
            if trainer.step % report_every and progress < 1 and not interrupted():
                continue
            if checkpoint is not None:
                trainer.save(checkpoint)
            if on_metrics is not None and not interrupted():
                found = None
                if validation is not None:
                    found = middles_found(trainer.encoder, validation, mels)
                on_metrics(replace(metrics, found=found))
    return trainer.finish(on_track)


def middles_found(encoder: Encoder, validation: Mels, training: Mels) -> float:
    """Measure how often the beginning and the end of a track find its middle: the share of tracks, 0 to 1.

    Parameters
    ----------
    encoder : Encoder
        Left in the mode it came in.
    validation : Mels
        Tracks to identify.
    training : Mels
        They are to be found among themselves and those of these that are `in_the_way`.
    """
    return halves_found(encoder, validation, _VALIDATION_WINDOWS, in_the_way(training))


def in_the_way(mels: Mels) -> Mels:
    """Return up to 200 tracks of a training set, spread over it."""
    return mels.subset(np.unique(np.linspace(0, len(mels) - 1, _IN_THE_WAY).astype(int)).tolist())


@contextlib.contextmanager
def _interrupt_held() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until the block ends, so that no step is cut in half; a second one is not held."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield lambda: False
        return
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


def learning_rate(recipe: Recipe, step: int, progress: float) -> float:
    """Return the rate at a step: linear warm-up, then half a cosine down to 1 % at the end."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return recipe.learning_rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def has_fast_bf16(device: str) -> bool:
    """Tell whether the hardware multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capability = torch.cpu.get_capabilities()
    return bool(capability.get("avx512_bf16") or capability.get("amx_bf16"))


def decibels(codes: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """Turn cached codes into a float tensor of decibels, same shape."""
    return torch.from_numpy(codes).float() * STEP_DB + FLOOR_DB


@torch.no_grad()
def halves_found(encoder: Encoder, mels: Mels, windows: int = 8, others: Mels | None = None) -> float:
    """Measure how often one half of a track finds the other: the share of tracks, 0 to 1.

    Parameters
    ----------
    encoder : Encoder
        Left in the mode it came in.
    mels : Mels
        Tracks to identify. Even windows of each are the query, odd windows the record.
    windows : int
        Per track.
    others : Mels, optional
        More tracks among which they have to be found, which makes it harder.
    """
    was_training = encoder.training
    encoder.eval()
    halves = [_halves(encoder, track, windows) for track in mels.tracks]
    in_the_way = [_halves(encoder, track, windows)[1] for track in (others.tracks if others else ())]
    records = torch.stack([odd for _, odd in halves] + in_the_way)
    nearest = (torch.stack([even for even, _ in halves]) @ records.T).argmax(1).cpu()
    encoder.train(was_training)
    return (nearest == torch.arange(len(nearest))).float().mean().item()


def _halves(encoder: Encoder, track: Codes, windows: int) -> list[Tensor]:
    device = next(encoder.parameters()).device
    vectors = encoder(decibels(spread_windows(track, encoder.recipe.frames, windows)).to(device))
    parts = (vectors[::2], vectors[1::2] if len(vectors) > 1 else vectors)
    return [functional.normalize(rows.mean(0), dim=0) for rows in parts]
