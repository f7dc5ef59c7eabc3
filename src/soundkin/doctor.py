"""What `soundkin doctor` checks: the installation, what it runs on, and ten seconds of real work."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from soundkin import synth
from soundkin.embed import cores
from soundkin.encoders import ENCODERS, catalogue, load_encoder
from soundkin.errors import NotFound, SoundkinError
from soundkin.library import Library

_PARTS = ("numpy", "soundfile", "av", "soxr", "onnxruntime", "qdrant-edge-py", "qdrant-client")


@dataclass(frozen=True)
class Check:
    """One finding.

    Parameters
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether it is as it should be.
    found : str
        What was found, in one line.
    """

    name: str
    ok: bool
    found: str


def examine(folder: str | os.PathLike[str] | None = None, record: str | None = None) -> Iterator[Check]:
    """Check everything, one thing after the other; a check that fails does not stop the next.

    Parameters
    ----------
    folder : path-like, optional
        The library to look at; default the default one.
    record : str, optional
        URL of its record, where that is not in the folder.

    Yields
    ------
    Check
        As each is done.
    """
    for name, look in (
        ("soundkin", _versions),
        ("machine", _machine),
        ("decoders", _decoders),
        ("published encoders", _published),
        *((f"encoder {name}", _encoder_check(name)) for name in ENCODERS if _is_ready(name)),
        ("library", lambda: _library(folder, record)),
        ("self-test", _self_test),
    ):
        try:
            yield Check(name, True, look())
        except Exception as error:  # whatever is broken is a finding here
            yield Check(name, False, " ".join(f"{type(error).__name__}: {error}".split()))


def _versions() -> str:
    parts = ", ".join(f"{name} {metadata.version(name)}" for name in _PARTS)
    return f"{metadata.version('soundkin')} on Python {platform.python_version()}; {parts}"


def _machine() -> str:
    import onnxruntime

    return (
        f"{platform.system()} {platform.machine()}, {cores()} of {os.cpu_count()} cores; ours run on the CPU "
        f"({', '.join(p.removesuffix('ExecutionProvider') for p in onnxruntime.get_available_providers()[-1:])}), "
        "one thread in each worker process"
    )


def _decoders() -> str:
    import av
    import soundfile

    missing = {"mp3", "flac", "vorbis", "opus", "aac", "alac", "wmav2", "wavpack"} - av.codecs_available
    if missing:
        raise SoundkinError(f"ffmpeg lacks {', '.join(sorted(missing))}; reinstall av from its wheel")
    return f"libsndfile {soundfile.__libsndfile_version__}, ffmpeg with {len(av.codecs_available)} codecs"


def _is_ready(name: str) -> bool:
    return catalogue.is_here(ENCODERS[name]) and not catalogue.missing(ENCODERS[name])


def _published() -> str:
    """Say what published encoders would run on; importing PyTorch takes a second, so not for nothing."""
    others = [name for name, info in ENCODERS.items() if not info.is_built_in]
    ready = [name for name in others if _is_ready(name)]
    here = [name for name in others if catalogue.is_here(ENCODERS[name])]
    absent = (
        f"; {len(others) - len(here)} are not fetched (soundkin encoders)" if len(here) < len(others) else ""
    )
    lacking = {catalogue.missing(ENCODERS[name]) for name in here} - {""}
    what = f"; to run the rest: {', '.join(sorted(lacking))}" if lacking else ""
    if not ready:
        return f"none is ready{what}{absent}"
    from soundkin.encoders.torch_tools import device_in_use

    return f"{', '.join(ready)} on {device_in_use('auto')}{what}{absent}"


def _encoder_check(name: str) -> Callable[[], str]:
    def look() -> str:
        encoder = load_encoder(name)
        y, rate = synth.render(synth.plan(1, seconds=20.0)[0]).mean(axis=1), 44100
        begin = time.perf_counter()
        vector = encoder.embed(y, rate)
        seconds = time.perf_counter() - begin
        if not (vector.shape == (encoder.dims,) and abs(float(np.linalg.norm(vector)) - 1) < 1e-4):
            raise SoundkinError(
                f"gave a vector of shape {vector.shape}, wanted a unit vector of {encoder.dims}"
            )
        return (
            f"{encoder.dims} dims, weights {encoder.weights[:12]}, on {encoder.device} by {encoder.engine}, "
            f"{len(y) / rate / seconds:.0f} x real time"
        )

    return look


def _library(folder: str | os.PathLike[str] | None, record: str | None) -> str:
    with Library.open(folder, record=record) as library:
        place = library.folder
        try:
            state = library.status()
        except NotFound:
            parent = next(p for p in (place, *place.parents) if p.exists())
            if not os.access(parent, os.W_OK):
                raise SoundkinError(
                    f"none yet, and {parent} cannot be written; name one with --library"
                ) from None
            return f"none yet in {place}"
        return f"{state.summary.tracks} tracks in {state.folder}"


def _self_test() -> str:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library") as library:
        made = synth.write_library(Path(folder) / "music", n_tracks=16, seconds=8.0)
        report = library.add([Path(folder) / "music"])
        if report.added != len(made):
            raise SoundkinError(f"indexed {report.added} of {len(made)} made tracks")
        tracks = library.tracks()
        genre = {track.id: track.genres[:1] for track in tracks}
        hits = [genre[library.similar(track, 1)[0].id] == genre[track.id] for track in tracks]
    seconds = time.perf_counter() - begin
    return f"made, indexed and searched {len(made)} tracks in {seconds:.1f} s; nearest of the same style: {sum(hits)}"
