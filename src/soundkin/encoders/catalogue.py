"""What there is of every encoder on this machine: its weights, and what runs it; and how to get what is missing."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from soundkin.audio import hear
from soundkin.encoders import DEFAULT, ENCODERS, Choice, EncoderInfo, find, load_encoder, weights
from soundkin.encoders.weights import Progress
from soundkin.errors import ModelError


@dataclass(frozen=True)
class Entry:
    """An encoder, as people are shown it.

    Parameters
    ----------
    name : str
        In the registry.
    dims, rate : int
        Length of a track vector; sample rate it hears, Hz.
    window : str
        What one window is.
    licence : str
        Of the weights.
    size : str
        Of the weights.
    here : bool
        Whether its weights are on this machine.
    missing : str
        What would install what runs it; "" when that is here.
    device : str
        Where it would run now; "" when something is missing.
    reads : bool
        Whether it understands words.
    names : tuple of str
        Its name, and those of the same network with other weights or sizes.
    options : str
        What can be set behind a name, and what it means; "" for nothing.
    about : str
        One line.
    default : bool
        Whether it is the one that is used when none is named.
    """

    name: str
    dims: int
    rate: int
    window: str
    licence: str
    size: str
    here: bool
    missing: str
    device: str
    reads: bool
    about: str
    default: bool
    names: tuple[str, ...]
    options: str


def entries() -> list[Entry]:
    """List the encoders of the registry; what runs them is imported only where weights are here."""
    return [_entry(name, info) for name, info in ENCODERS.items()]


def named(name: str) -> tuple[EncoderInfo, Choice]:
    """Look up an encoder of the registry that others have published.

    Parameters
    ----------
    name : str
        As for `load_encoder`, but no folder.

    Returns
    -------
    (EncoderInfo, Choice)
        The entry, and what to load of it.

    Raises
    ------
    ModelError
        No such encoder.
    """
    found = find(name)
    if found is None:
        raise ModelError(
            f"no encoder is called {name!r}; there are {', '.join(ENCODERS)}, and hf:ORGANISATION/MODEL"
        )
    return found


def is_here(info: EncoderInfo) -> bool:
    """Tell whether the weights of an encoder are on this machine."""
    return info.hub.is_here() if info.hub else all(map(weights.is_here, info.files))


def missing(info: EncoderInfo) -> str:
    """Return the command that installs what runs an encoder; "" when it is here."""
    absent = any(find_spec(module) is None for module in info.modules)
    return f"pip install 'soundkin[{info.extra}]'" if absent else ""


def get(name: str, progress: Progress | None = None) -> list[Path]:
    """Fetch the weights of an encoder, unless they are here.

    Parameters
    ----------
    name : str
        As for `named`.
    progress : callable, optional
        As for `weights.get`.

    Returns
    -------
    list of Path
        Where they lie; empty for one that is in the wheel.

    Raises
    ------
    ModelError
        As for `weights.get`.
    """
    info, choice = named(name)
    if info.hub:
        return [info.hub.get(choice.name, progress)]
    return [weights.get(choice.name, file, progress) for file in info.files]


def add(name: str, source: str | os.PathLike[str]) -> list[Path]:
    """Put weights in place that somebody downloaded by hand.

    Parameters
    ----------
    name : str
        As for `named`.
    source : path-like
        A file as it is published, of the weights or of their known answer; for encoders of the Hub, a folder of files.

    Returns
    -------
    list of Path
        Where they lie.

    Raises
    ------
    ModelError
        They are not what was published, or belong to another encoder.
    """
    info, choice = named(name)
    if info.hub:
        return [info.hub.add(choice.name, source)]
    from soundkin.encoders import known

    clips = known.FILES if info.verify else ()
    return [weights.path_of(choice.name, weights.add(choice.name, (*info.files, *clips), source))]


def verify(name: str, device: str = "auto") -> Iterator[str]:
    """Check the weights of an encoder again, load it, and compare it with what its authors published.

    Parameters
    ----------
    name : str
        As for `load_encoder`.
    device : str
        Where it should run.

    Yields
    ------
    str
        What was found, a line each, as soon as it is.

    Raises
    ------
    ModelError
        Something is not as it should be.
    """
    info, choice = named(name)
    if info.hub:
        info.hub.path_of(choice.name)  # it is here, or this says how to get it
        yield _checked(info.hub.repository, info.hub.check())
    for file in info.files:
        weights.path_of(choice.name, file)
        yield _checked(file.published, weights.check(file))
    encoder = load_encoder(name, device)
    yield f"loaded: {encoder.dims} dims on {encoder.device}, {encoder.engine}"
    yield info.verify(encoder) if info.verify else "no known answer of it is published"


def tags(name: str, path: str | os.PathLike[str], device: str = "auto") -> list[tuple[str, float]]:
    """Tell the tags that an encoder gives to a track.

    Parameters
    ----------
    name : str
        Of an encoder that was trained to tag.
    path : path-like
        An audio file.
    device : str
        Where it should run.

    Returns
    -------
    list of (str, float)
        Tags and their probabilities, likeliest first.

    Raises
    ------
    ModelError
        The encoder knows no tags, or cannot be loaded.
    DecodeError
        The file is no audio.
    """
    encoder = load_encoder(name, device)
    tell = getattr(encoder, "tags", None)
    if tell is None:
        raise ModelError(f"{name} knows no tags; panns-cnn14 and musicnn do")
    with hear(path, encoder.listening) as hearing:
        told: list[tuple[str, float]] = tell(list(hearing.excerpts))
    return told


def _checked(what: str, how: str) -> str:
    return f"{what}: unchanged since it came, {how or 'without a published hash'}"


def _entry(name: str, info: EncoderInfo) -> Entry:
    here, lacks = is_here(info), missing(info)
    return Entry(
        name, info.dims, info.rate, info.window, info.licence, info.size, here, lacks,
        _device(info) if here and not lacks else "", info.reads, info.about, name == DEFAULT, (name, *info.variants),
        "; ".join(f"{option}: {what}" for option, what in info.options.items()),
    )  # fmt: skip


def _device(info: EncoderInfo) -> str:
    if not info.modules:  # no framework runs it, so nothing but the CPU does
        return "cpu"
    from soundkin.encoders.torch_tools import device_in_use

    return device_in_use("auto")
