"""What `soundkin demo` does: a small synthesised library, and what sounds alike in it."""

import os
from collections.abc import Callable
from pathlib import Path

from soundkin import synth
from soundkin.library import Library
from soundkin.recommend import Hit
from soundkin.record import Track

_EXAMPLES = 3
_NEIGHBOURS = 5


def home(folder: str | os.PathLike[str] | None, n_tracks: int, seconds: float, seed: int) -> Path:
    """Return where a demo lives: the folder named, or one in the user's cache that its settings name."""
    if folder is not None:
        return Path(folder)
    import platformdirs

    return Path(
        platformdirs.user_cache_dir("soundkin", appauthor=False), f"demo-{n_tracks}x{seconds:g}s-{seed}"
    )


def make_music(
    folder: Path, n_tracks: int, seconds: float, seed: int, step: Callable[[], None] | None = None
) -> Path:
    """Write the demo's audio files.

    Parameters
    ----------
    folder : Path
        From `home`.
    n_tracks, seconds, seed
        As in `synth.write_library`.
    step : callable, optional
        Called after every track.

    Returns
    -------
    Path
        Folder of the music.
    """
    music = folder / "music"
    synth.write_library(music, n_tracks, seconds, seed, (lambda done, total: step()) if step else None)
    return music


def examples(library: Library) -> list[tuple[Track, list[Hit]]]:
    """Ask what sounds like the first track of each of the first few genres."""
    firsts: dict[str, Track] = {}
    for track in library.tracks():
        firsts.setdefault(track.genres[0] if track.genres else "", track)
    chosen = [firsts[genre] for genre in sorted(firsts)][:: max(1, len(firsts) // _EXAMPLES)][:_EXAMPLES]
    return [(track, library.similar(track, _NEIGHBOURS)) for track in chosen]
