"""Which tracks the demo library holds, and their files."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soundkin.errors import InputError
from soundkin.synth.performance import NOTES, SynthTrack, render
from soundkin.synth.signals import check_count
from soundkin.synth.styles import STYLES

# halves of invented names; chosen, because free syllables sooner or later swear
# fmt: off
_HEADS = (
    "Al", "Bel", "Bran", "Cal", "Cor", "Dal", "Del", "Dor", "El", "Fen", "Gal", "Hal", "Il", "Jor",
    "Kel", "Lan", "Lor", "Mal", "Mar", "Mel", "Mor", "Nal", "Nor", "Ol", "Or", "Pel", "Quin", "Ral",
    "Ren", "Sel", "Sol", "Tal", "Tor", "Ul", "Val", "Ver", "Vor", "Wen", "Yar", "Zel",
)
_TAILS = (
    "a", "ade", "ana", "andra", "ane", "aro", "ast", "avel", "ea", "eda", "elin", "en", "enna",
    "era", "esk", "eth", "ia", "iel", "in", "ina", "ion", "ira", "is", "ista", "ith", "o", "ode",
    "olen", "ona", "ora", "oren", "os", "ovan", "una", "ur", "wen", "wick", "wyn", "mere", "dale",
)
# fmt: on

log = logging.getLogger(__name__)


def plan(n_tracks: int = 60, seconds: float = 20.0, seed: int = 0) -> list[SynthTrack]:
    """Decide what a demo library holds.

    Styles take turns; inside a style two artists take turns until each has four tracks on one or two albums,
    then two new ones follow. A shorter plan is the beginning of a longer one with the same seed.

    Parameters
    ----------
    n_tracks : int
        How many, 0 or more.
    seconds : float
        Mean length of a track, 1 to 3000; tracks vary by up to 15 % of it.
    seed : int
        Same seed, same library.

    Returns
    -------
    list of SynthTrack
        `n_tracks` tracks with distinct file names.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    check_count("n_tracks", n_tracks)
    check_count("seed", seed)
    if not 1 <= seconds <= 3000:
        raise InputError(f"seconds is {seconds}, wanted 1 to 3000")
    artists: dict[tuple[int, int], _Artist] = {}
    taken: set[str] = set()
    tracks = []
    for i in range(n_tracks):
        turn, style_index = divmod(i, len(STYLES))
        pair, place = divmod(turn, 8)
        who = (style_index, 2 * pair + place % 2)
        if who not in artists:
            artists[who] = _new_artist(
                list(STYLES)[style_index], np.random.default_rng((seed, 1, *who)), taken
            )
        tracks.append(
            _new_track(artists[who], place // 2, seconds, np.random.default_rng((seed, 2, i)), taken)
        )
    return tracks


def write_library(
    folder: str | os.PathLike[str],
    n_tracks: int = 60,
    seconds: float = 20.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[Path, SynthTrack]]:
    """Write a demo library: tagged flac and ogg files in ``folder/artist/album``.

    Files that are already there are left alone; a file appears under its name only when it is complete.

    Parameters
    ----------
    folder : path
        Where; made if missing.
    n_tracks : int
        How many, as in `plan`.
    seconds : float
        Mean length of a track, as in `plan`.
    seed : int
        Same seed, same library, as in `plan`.
    progress : callable, optional
        Called with (files done, files in all) after every file.

    Returns
    -------
    list of (Path, SynthTrack)
        Every file of the library and what is in it.

    Raises
    ------
    InputError
        If an argument is out of range or the folder cannot be written.
    """
    written = []
    for done, track in enumerate(tracks := plan(n_tracks, seconds, seed), start=1):
        path = Path(folder, track.filename)
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, track)
        except OSError as error:
            raise InputError(
                f"cannot write {path} ({error.strerror}); name a folder that can be written"
            ) from error
        written.append((path, track))
        if progress is not None:
            progress(done, len(tracks))
    log.info("demo library of %d tracks in %s", len(written), folder)
    return written


def _write(path: Path, track: SynthTrack, rate: int = 44100) -> None:
    import soundfile

    audio, partial = render(track, rate), path.with_name(path.name + ".part")
    tags = {
        "title": track.title,
        "artist": track.artist,
        "album": track.album,
        "genre": ";".join(track.genres),  # libsndfile keeps one value of each tag
        "date": str(track.year),
        "tracknumber": str(track.number),
    }
    try:
        with soundfile.SoundFile(partial, "w", rate, 2, format=path.suffix[1:].upper()) as file:
            for name, value in tags.items():
                setattr(file, name, value)
            # libsndfile crashes when Vorbis gets very many frames in one call
            for start in range(0, len(audio), 65536):
                file.write(audio[start : start + 65536])
        os.replace(partial, path)
    except soundfile.LibsndfileError as error:
        raise InputError(f"cannot write {path} ({error}); name a folder that can be written") from error
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Artist:
    style: str
    name: str
    albums: tuple[str, ...]
    years: tuple[int, ...]
    genres: tuple[str, ...]
    bpm: float
    minor: bool
    formats: tuple[str, ...]


def _new_artist(style_name: str, rng: np.random.Generator, taken: set[str]) -> _Artist:
    style = STYLES[style_name]
    name = _unused(
        lambda: ("The " if rng.random() < 0.2 else "") + _words(rng, int(rng.integers(1, 3))), taken
    )
    count = int(rng.integers(1, 3))
    low, high = style.bpm
    years = np.sort(rng.integers(style.years[0], style.years[1] + 1, count))
    return _Artist(
        style=style_name,
        name=name,
        albums=tuple(_unused(lambda: _words(rng, int(rng.integers(1, 4))), taken) for _ in range(count)),
        years=tuple(int(year) for year in years),
        genres=(style.genre, style.subgenres[rng.integers(len(style.subgenres))]),
        bpm=float(rng.uniform(low + 0.2 * (high - low), high - 0.2 * (high - low))),
        minor=bool(rng.random() < style.minor),
        formats=tuple("flac" if rng.random() < 0.5 else "ogg" for _ in range(count)),
    )


def _new_track(
    artist: _Artist, place: int, seconds: float, rng: np.random.Generator, taken: set[str]
) -> SynthTrack:
    """Track number `place` (0 to 3) of an artist; two to an album when there are two albums."""
    low, high = STYLES[artist.style].bpm
    album, number = (place // 2, place % 2) if len(artist.albums) == 2 else (0, place)
    # an artist keeps to a mode, with an exception now and then
    minor = artist.minor != (rng.random() < 0.2)
    title = _unused(lambda: _words(rng, int(rng.integers(1, 4))), taken)
    return SynthTrack(
        style=artist.style,
        title=title,
        artist=artist.name,
        album=artist.albums[album],
        genres=artist.genres,
        year=artist.years[album],
        number=number + 1,
        bpm=round(artist.bpm + float(rng.uniform(-0.2, 0.2)) * (high - low), 1),
        key=f"{NOTES[rng.integers(12)]} {'minor' if minor else 'major'}",
        seconds=round(seconds * float(rng.uniform(0.85, 1.15)), 2),
        seed=int(rng.integers(2**31)),
        filename=f"{artist.name}/{artist.albums[album]}/{number + 1:02d} {title}.{artist.formats[album]}",
    )


def _words(rng: np.random.Generator, count: int) -> str:
    """Invent words that can be said aloud."""
    head, tail = rng.choice(_HEADS, count), rng.choice(_TAILS, count)
    return " ".join(a + b for a, b in zip(head, tail, strict=True))


def _unused(draw: Callable[[], str], taken: set[str]) -> str:
    """Draw until the name is new: no two artists, albums or titles share one."""
    while (name := draw()) in taken:
        pass
    taken.add(name)
    return name
