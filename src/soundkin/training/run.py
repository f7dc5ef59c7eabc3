"""Audio files -> an encoder folder: everything that `soundkin train` does.

The folder ends up with ``encoder.onnx`` and ``encoder.json``, which are the encoder, and ``cache`` and ``checkpoint``,
which are there to go on and may be deleted. PyTorch is imported when training begins, not with this module.
"""

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from soundkin import workers
from soundkin.embed import cores
from soundkin.encoders import ENCODERS
from soundkin.errors import InputError, MissingExtra, StoreError
from soundkin.features import FrontEnd
from soundkin.scan import printable, roots_of, walk
from soundkin.tags import Tags, album_name, read
from soundkin.training.data import Codes, Mels, Source, cache_mels
from soundkin.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from soundkin.training.loop import Metrics
    from soundkin.training.network import Encoder

DEFAULT_MINUTES = 120.0
DEVICES = ("auto", "cpu", "cuda")
# Tags are read in milliseconds; a minute is for disks that have to wake up.
_TAG_SECONDS = 60.0
# Held out for validation: a tenth of the tracks, but enough to tell a difference and no more than is quick to hear.
_HELD_SHARE, _HELD_LEAST, _HELD_MOST = 0.1, 4, 200


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Parameters
    ----------
    recipe : str
        A name of `RECIPES`.
    minutes : float, optional
        Wall-clock limit, over all runs that continue one another; 120 when no limit is given.
    steps : int, optional
        Limit in batches. Only a run limited by steps or epochs can be repeated exactly.
    epochs : int, optional
        Limit in batches too: as many as it takes to draw every track so often, on average.
    seed : int
        Of everything random, >= 0.
    device : "auto", "cpu" or "cuda"
        Auto takes the GPU where PyTorch finds one.
    threads : int, optional
        Threads of PyTorch on the CPU; default its own choice. The last bits of a result depend on it.
    jobs : int, optional
        Worker processes for decoding; default one per core.
    report_every : int
        Steps from one checkpoint and validation to the next.
    """

    recipe: str = "soundkin"
    minutes: float | None = None
    steps: int | None = None
    epochs: int | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    jobs: int | None = None
    report_every: int = 50


@dataclass(frozen=True)
class TrainReport:
    """What training did.

    Parameters
    ----------
    folder : str
        The encoder folder.
    recipe, device, seed
        As they were used.
    tracks, albums : int
        Trained on.
    hours : float
        Of audio, in those tracks; at most the middle four minutes of each are used.
    left_out : int
        Files that could not be used; the log says why.
    resumed_at : int
        Step of the checkpoint this run went on from; 0 when it began anew.
    steps : int
        Batches in all.
    minutes : float
        Of training in all.
    validation_tracks : int
        Tracks of albums that were held out; 0 when there are too few albums.
    among : int
        Tracks among which those were to be found: themselves and up to 200 others.
    found, found_untrained : float or None
        Share of the validation tracks whose beginning and end find the middle, three seconds each, 0 to 1: by the
        encoder, and by the same network with random weights. By chance it is ``1 / among``. None without validation.
    """

    folder: str
    recipe: str
    device: str
    seed: int
    tracks: int
    albums: int
    hours: float
    left_out: int
    resumed_at: int
    steps: int
    minutes: float
    validation_tracks: int
    among: int
    found: float | None
    found_untrained: float | None


def train(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: TrainOptions = TrainOptions(),
    on_file: Callable[[str, int, int], None] | None = None,
    on_step: Callable[["Metrics"], None] | None = None,
) -> TrainReport:
    """Train an encoder on audio files and write it as a folder that `load_encoder` takes.

    Called again with the same audio, recipe and seed, it goes on from the last checkpoint.

    Parameters
    ----------
    paths : sequence of path-like
        Files and folders.
    out : path-like
        The encoder folder; made when missing. Its name becomes the encoder's.
    options : TrainOptions
        How.
    on_file : callable, optional
        Called with ("reading tags", "caching", "changing" or "fitting the last layer", done, total) after every file.
    on_step : callable, optional
        Called with `Metrics` after every step, and once more, with `found`, after every validation.

    Returns
    -------
    TrainReport
        What was done.

    Raises
    ------
    MissingExtra
        PyTorch or onnx is not installed.
    InputError
        A bad option or path; too little audio; or the folder holds a run of other audio, recipe or seed.
    StoreError
        The folder cannot be written, or another process is training into it.
    KeyboardInterrupt
        Ctrl-C was pressed; everything is kept.
    """
    _require_torch()
    recipe, device = _checked(options), _device(options.device)
    roots = roots_of(paths)
    folder, name = _prepared(out)
    with _locked(folder):
        sources = _sources(roots, options.jobs, on_file)
        checkpoint = _claimed(folder, recipe, options.seed, sources)
        front = FrontEnd()
        shown = (lambda done, total, path: on_file("caching", done, total)) if on_file else None
        mels = cache_mels(sources, folder / "cache", front, progress=shown, jobs=options.jobs)
        training, held = _split(mels, options.seed)
        changed = _changed(training, recipe, folder / "cache", options.jobs, on_file)
        fitted = (lambda done, total: on_file("fitting the last layer", done, total)) if on_file else None
        encoder, at = _trained(training, held, recipe, options, device, checkpoint, changed, on_step, fitted)
        report = TrainReport(
            os.fspath(folder), recipe.name, device, options.seed, len(training), len(set(training.albums)),
            round(_hours(training), 3), len(sources) - len(mels), at.resumed, at.step, round(at.seconds / 60, 2),
            len(held), *_found(encoder, training, held, options.seed, fitted),
        )  # fmt: skip
        _export(encoder, folder, name, front, report)
    return report


@dataclass
class _Position:
    """Where training began and how far it is."""

    resumed: int = 0
    step: int = 0
    seconds: float = 0.0


def _require_torch() -> None:
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"training needs PyTorch and onnx ({error}); install them: pip install 'soundkin[train]'"
        ) from error


def _checked(options: TrainOptions) -> Recipe:
    if options.recipe not in RECIPES:
        raise InputError(f"no recipe is called {options.recipe!r}; there are {', '.join(RECIPES)}")
    for what in ("minutes", "steps", "epochs", "threads", "jobs", "report_every"):
        value = getattr(options, what)
        if value is not None and not value > 0:
            raise InputError(f"{what} is {value}; more than 0 wanted")
    if options.seed < 0:
        raise InputError(f"seed is {options.seed}; 0 or more wanted")
    return RECIPES[options.recipe]


def _device(name: str) -> str:
    import torch

    if name not in DEVICES:
        raise InputError(f"no device is called {name!r}; there are {', '.join(DEVICES)}")
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise InputError("PyTorch finds no CUDA device here; train with --device cpu")
    return "cuda" if has_gpu and name != "cpu" else "cpu"


def _prepared(out: str | os.PathLike[str]) -> tuple[Path, str]:
    """Make the encoder folder; return it and the encoder's name."""
    folder = Path(os.path.abspath(out))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-.") or "encoder"
    if name in ENCODERS:
        raise InputError(f"{name!r} is the name of a built-in encoder; give --out a folder of another name")
    try:
        (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder, name


def _unwritable(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot write to {printable(str(folder))}: {error.strerror or error}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "checkpoint" / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            f"another process is training into {printable(str(folder))}; wait for it, or give another --out"
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _sources(
    roots: Sequence[str], jobs: int | None, on_file: Callable[[str, int, int], None] | None
) -> list[Source]:
    paths = sorted(walk(roots).files)
    if len(paths) < 2:
        where = ", ".join(map(printable, roots))
        raise InputError(
            f"{len(paths)} audio file(s) in {where}; at least 2 wanted, and better some hundreds"
        )
    albums = {}
    answers = workers.run(
        "soundkin.training.run:_album_reader",
        (),
        paths,
        min(jobs or cores(), len(paths)),
        lambda path: _TAG_SECONDS,
    )
    with contextlib.closing(answers):
        for done, (path, album) in enumerate(answers, 1):
            albums[path] = os.path.dirname(path) if isinstance(album, workers.Lost) else album
            if on_file:
                on_file("reading tags", done, len(paths))
    return [Source(path, albums[path]) for path in paths]


def _album_reader() -> Callable[[str], str]:
    return album_of


def album_of(path: str) -> str:
    """Tell what a file was released with: album artist and album of its tags, or else its folder.

    Parameters
    ----------
    path : str
        Absolute.

    Returns
    -------
    str
        The same for all files of one album.
    """
    try:
        tags = read(path)
    except OSError:
        tags = Tags()
    return album_name(tags.album_artist, tags.album, path)


def _claimed(folder: Path, recipe: Recipe, seed: int, sources: Sequence[Source]) -> Path:
    """Return where the checkpoint goes; refuse when there is one of another run."""
    checkpoint, card = folder / "checkpoint" / "state.pt", folder / "checkpoint" / "run.json"
    run = {"recipe": asdict(recipe), "seed": seed, "files": len(sources), "audio": _fingerprint(sources)}
    run = json.loads(json.dumps(run))  # as it will be read again: tuples are lists
    if checkpoint.exists() and card.exists():
        different = _differences(json.loads(card.read_text("utf-8")), run)
        if different:
            raise InputError(
                f"{printable(str(folder))} holds a run of another {', another '.join(different)}: "
                f"give another --out, or delete {printable(str(checkpoint.parent))} to begin anew"
            )
    partial = card.with_suffix(".part")
    partial.write_text(json.dumps(run, indent=1) + "\n", "utf-8")
    partial.replace(card)
    return checkpoint


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    different = []
    if old["recipe"]["name"] != new["recipe"]["name"]:
        different.append(f"recipe ({old['recipe']['name']}, now {new['recipe']['name']})")
    elif old["recipe"] != new["recipe"]:
        different.append("version of the recipe")
    if old["seed"] != new["seed"]:
        different.append(f"seed ({old['seed']}, now {new['seed']})")
    if old["audio"] != new["audio"]:
        changed = "of which some changed" if old["files"] == new["files"] else f"now {new['files']}"
        different.append(f"set of audio ({old['files']} files, {changed})")
    return different


def _fingerprint(sources: Sequence[Source]) -> str:
    """Hash what tells files from their earlier selves: path, size, date; and the albums, which shape the batches."""
    digest = hashlib.sha256()
    for source in sources:
        try:
            state = os.stat(source.path)
        except OSError:  # vanished since the walk: caching will say so
            continue
        line = f"{source.path}\0{source.album}\0{state.st_size}\0{state.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def held_out(albums: Sequence[str], seed: int) -> list[int]:
    """Choose whole albums to validate on.

    Parameters
    ----------
    albums : sequence of str
        The album of each track.
    seed : int
        Same seed, same choice.

    Returns
    -------
    list of int
        Track numbers, ascending: about a tenth of the tracks, at most a third and at most 200; none when the albums
        are too few or too large for that, or would leave fewer than two tracks to find.
    """
    _, album, sizes = np.unique(np.asarray(albums), return_inverse=True, return_counts=True)
    most = min(len(albums) // 3, _HELD_MOST)
    wanted = min(most, max(_HELD_LEAST, round(len(albums) * _HELD_SHARE)))
    chosen: list[int] = []
    total = 0
    for number in np.random.default_rng([seed, 2]).permutation(len(sizes)).tolist():
        if total + sizes[number] <= (wanted if chosen else most):
            chosen.append(number)
            total += int(sizes[number])
    return np.flatnonzero(np.isin(album, chosen)).tolist() if total > 1 else []


def _split(mels: Mels, seed: int) -> tuple[Mels, Mels]:
    held = held_out(mels.albums, seed) if len(mels) else []
    return mels.subset(sorted(set(range(len(mels))).difference(held))), mels.subset(held)


def _changed(
    training: Mels,
    recipe: Recipe,
    cache: Path,
    jobs: int | None,
    on_file: Callable[[str, int, int], None] | None,
) -> list[Codes | None]:
    """Let some of the music be changed as other files of it would be, where the last layer learns from that."""
    from soundkin.training.changes import cache_changed

    if not recipe.discriminants:
        return []
    shown = (lambda done, total, path: on_file("changing", done, total)) if on_file else None
    return cache_changed(training, cache, recipe.frames, shown, jobs)


def _trained(
    training: Mels,
    held: Mels,
    recipe: Recipe,
    options: TrainOptions,
    device: str,
    checkpoint: Path,
    changed: list[Codes | None],
    on_step: Callable[["Metrics"], None] | None,
    on_track: Callable[[int, int], None] | None,
) -> tuple["Encoder", _Position]:
    import torch

    from soundkin.training import loop

    if options.threads:
        torch.set_num_threads(options.threads)
    at = _Position()
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        at = _Position(state["step"], state["step"], state["elapsed"])

    def note(metrics: "Metrics") -> None:
        at.step, at.seconds = metrics.step, metrics.seconds
        if on_step:
            on_step(metrics)

    encoder = loop.train(
        training, recipe, _limits(options, recipe, len(training)), options.seed, device, checkpoint,
        held if len(held) else None, options.report_every, note if len(held) else None, note, on_track,
        changed=changed,
    )  # fmt: skip
    return encoder, at


def _limits(options: TrainOptions, recipe: Recipe, tracks: int) -> Any:
    from soundkin.training.loop import Limits

    minutes, steps = options.minutes, [options.steps] if options.steps else []
    if options.epochs:
        steps.append(options.epochs * math.ceil(tracks / recipe.batch))
    if minutes is None and not steps:
        minutes = DEFAULT_MINUTES
    return Limits(min(steps, default=None), None if minutes is None else minutes * 60)


def _found(
    encoder: "Encoder",
    training: Mels,
    held: Mels,
    seed: int,
    on_track: Callable[[int, int], None] | None,
) -> tuple[int, float | None, float | None]:
    """Measure on held-out albums what the encoder finds, among how many, and what it would have found untrained."""
    from soundkin.training.loop import Trainer, in_the_way, middles_found

    if not len(held):
        return 0, None, None
    untrained = Trainer(training, encoder.recipe, seed).finish(on_track)
    shares = [round(middles_found(network, held, training), 4) for network in (encoder, untrained)]
    return len(held) + len(in_the_way(training)), shares[0], shares[1]


def _hours(mels: Mels) -> float:
    return sum(map(len, mels.tracks)) * mels.front.hop / mels.front.rate / 3600


def _export(encoder: "Encoder", folder: Path, name: str, front: FrontEnd, report: TrainReport) -> None:
    from soundkin.training.export import export

    data = (
        f"{report.tracks} tracks of {report.albums} albums, {report.hours:.3g} hours; soundkin {version('soundkin')}, "
        f"recipe {report.recipe}, seed {report.seed}, {report.steps} steps"
    )
    metrics = {key: value for key, value in asdict(report).items() if key not in ("folder", "resumed_at")}
    # Whose music it was decides what may be done with the weights; we cannot know.
    export(encoder, folder, front, name=name, data=data, licence="NOASSERTION", metrics=metrics)
