"""Recipes by name: everything that decides what an encoder becomes, apart from the music and the seed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Augment:
    """What is done to a crop's log-mel so that the network learns to ignore it.

    Parameters
    ----------
    noise : float
        Standard deviation of white noise, on the scale where 80 dB are 1; the result is clipped to that
        range.
    mix : float
        Chance that another crop of the batch sounds in the background, 6 to 20 dB lower.
    pitch_bands : int
        Shift up or down by at most so many mel bands.
    equalise_db : float
        Standard deviation of a random smooth equaliser's gain at six knots, dB.
    lowpass : float
        Chance that the bands above a random cut-off (band 80 or higher) fade away, as old recordings and
        codecs do.
    mask_bands, mask_frames : int
        A stretch of at most so many bands, and one of so many frames, is replaced by the mean.
    """

    noise: float = 0.0
    mix: float = 0.0
    pitch_bands: int = 0
    equalise_db: float = 0.0
    lowpass: float = 0.0
    mask_bands: int = 0
    mask_frames: int = 0


@dataclass(frozen=True)
class Recipe:
    """How an encoder is built and trained.

    Parameters
    ----------
    name : str
        The name people type.
    about : str
        One line for people.
    frames : int
        Length of a crop and of a window at inference, frames.
    channels : tuple of int
        Channels of the three convolution blocks.
    kernels, strides, pools : tuple of int
        Of the three convolutions (square), and the max-pooling after each; 1 leaves it out.
    bands : int
        Frequency bands kept apart until the dense layer; 1 pools over frequency too.
    pooling : "mean" or "mean+max"
        How time goes.
    dims : int
        Length of the embedding.
    loss : "info_nce" or "nt_xent"
        See `soundkin.training.losses`.
    temperature : float
        Of the loss.
    projector : bool
        Train through one more hidden layer, thrown away afterwards.
    two_crops : bool
        The two views are different crops of a track; else the same crop, augmented twice.
    spare_albums : bool
        Tracks of one album are not pushed apart.
    batch : int
        Tracks in a batch.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up over 50 steps and falls as a half cosine.
    discriminants : bool
        After training, replace the dense layer by linear discriminants of the tracks, found in closed form.
    range_db : float
        What is softer than the loudest cell of a window by more than this is silence: a codec fills and empties such
        cells at will.
    shrinkage, flatten : float
        See `soundkin.training.head.discriminants`.
    endurance : float
        Weight, beside the scatter of windows, of what mp3 and clipping do to tracks in the last layer.
    teaching : float
        Weight of the squared error in foretelling a teacher, when there is one.
    augment : Augment
        What the two views differ in.
    """

    name: str
    about: str = ""
    frames: int = 129
    channels: tuple[int, int, int] = (32, 64, 128)
    kernels: tuple[int, int, int] = (3, 3, 3)
    strides: tuple[int, int, int] = (1, 1, 1)
    pools: tuple[int, int, int] = (2, 2, 2)
    bands: int = 1
    pooling: Literal["mean", "mean+max"] = "mean"
    dims: int = 128
    loss: Literal["info_nce", "nt_xent"] = "info_nce"
    temperature: float = 0.1
    projector: bool = False
    two_crops: bool = False
    spare_albums: bool = False
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    discriminants: bool = False
    range_db: float = 80.0
    shrinkage: float = 0.3
    flatten: float = 0.0
    endurance: float = 5.0
    teaching: float = 5.0
    augment: Augment = Augment()


RECIPES = {
    # The method of the article this project began with.
    "article": Recipe(
        "article",
        about="the same chunk twice, with noise; eight chunks a batch",
        augment=Augment(noise=0.05),
    ),
    # What the experiments in docs/encoder.md left standing.
    "soundkin": Recipe(
        "soundkin",
        about="two crops of a track, as another file would sound; 128 tracks a batch; last layer in closed form",
        kernels=(5, 3, 3),
        strides=(2, 1, 1),
        pools=(2, 2, 1),
        bands=8,
        pooling="mean+max",
        loss="nt_xent",
        projector=True,
        two_crops=True,
        spare_albums=True,
        batch=128,
        discriminants=True,
        range_db=55.0,
        shrinkage=3.0,
        augment=Augment(equalise_db=1.0, lowpass=0.1, mask_bands=8, mask_frames=12),
    ),
}
