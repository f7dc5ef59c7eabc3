"""The command line: parse, call, print. Decisions are made in the library.

What answers a question goes to stdout; progress, notes and errors go to stderr. With ``--json`` stdout is exactly one
JSON document.
"""

import contextlib
import io
import json
import logging
import math
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from soundkin.errors import SoundkinError
from soundkin.training.recipes import RECIPES

if TYPE_CHECKING:
    from soundkin.audio import Listening
    from soundkin.library import Library
    from soundkin.recommend import Hit
    from soundkin.record import Track
    from soundkin.scan import Progress, ScanReport
    from soundkin.training.loop import Metrics
    from soundkin.training.run import TrainReport

F = TypeVar("F", bound=Callable[..., Any])

_INTERRUPTED, _OUR_BUG = 130, 70
_LOG_SECONDS = 30.0
_CHOICES = 10
_WIDE = 100  # columns of a terminal that has room for reasons


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 the user's mistake, 2 usage, 70 our bug, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a title in letters that a terminal lacks is no error
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    # Where it stands does not matter: who sees an error adds it at the end of the line.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if debug := "--debug" in options:
        arguments = ["--debug", *(a for a in options if a != "--debug"), *arguments[len(options) :]]
    try:
        status = cli.main(arguments, prog_name="soundkin", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        goes_on = (
            "; what was done is kept, run the command again to go on"
            if {"index", "train"} & set(arguments)
            else ""
        )
        _say(f"interrupted{goes_on}")
        return _INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click and rich exit by themselves, but only when a pipe breaks
        # Whoever read us has enough (`| head`): no more to say, and no second complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SoundkinError as error:
        if debug:
            raise
        _say(f"error: {error}")
        choices = getattr(error, "choices", [])
        for track in choices[:_CHOICES]:
            _say(f"  {track.id}  {_name(track)}")
        if len(choices) > _CHOICES:
            _say(f"  ... and {len(choices) - _CHOICES} more: add words")
        return error.exit_status
    except Exception as error:
        if debug:
            raise
        _say(f"internal error: {type(error).__name__}: {error}; run again with --debug and report it")
        return _OUR_BUG


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="soundkin", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Log in detail and show tracebacks.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Recommend music by how it sounds.

    Start with `soundkin index ~/Music`, then ask `soundkin similar "words of a title"`.
    """
    context.ensure_object(dict)
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


library_option = click.option(
    "--library", "folder", type=click.Path(file_okay=False), envvar="SOUNDKIN_LIBRARY",
    help="Folder of the library.  [env: SOUNDKIN_LIBRARY; default: the platform's data folder]",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
qdrant_options = _options(
    click.option("--qdrant", metavar="URL", help="Keep the index on this Qdrant server."),
    click.option("--api-key", envvar="QDRANT_API_KEY", help="Key of that server.  [env: QDRANT_API_KEY]"),
)
space_option = click.option("--space", help="A space, or the encoder that made it.  [default: the fullest]")


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@library_option
@click.option(
    "-e", "--encoder", "encoders", multiple=True, help="An encoder, or a folder of one; repeatable."
)
@click.option(
    "--windows", type=click.Choice(["spread", "all"]), default=None,
    help="Hear excerpts spread over each track (default), or all of it.",
)  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Worker processes.  [default: one per core]")
@click.option("--nice/--no-nice", default=True, help="Give way to other programs.  [default: nice]")
@click.option("--prune", is_flag=True, help="Forget tracks whose files are gone.")
@click.option("--retry", is_flag=True, help="Try again what failed before.")
@click.option("--watch", is_flag=True, help="Then keep the library up to date until interrupted.")
@qdrant_options
@json_option
def index(
    paths: tuple[str, ...],
    folder: str | None,
    encoders: tuple[str, ...],
    windows: str | None,
    jobs: int | None,
    nice: bool,
    prune: bool,
    retry: bool,
    watch: bool,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Index audio files and folders: only what is new or changed is embedded."""
    from soundkin.library import Library
    from soundkin.scan import ScanOptions

    if watch and as_json:
        raise click.UsageError("--watch reports again and again, --json prints one document: use one of them")
    options = ScanOptions(encoders, _listening(windows), jobs, nice, retry, prune)
    with Library.open(folder, qdrant, api_key) as library:
        with _progress() as progress:
            report = library.add(paths, options, progress)
        _print_report(library, report, as_json)
        if watch:
            _say("watching; Ctrl-C ends")
            library.watch(paths, options, lambda done: _print_report(library, done, as_json))


@cli.command()
@click.argument("query")
@library_option
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many tracks.")
@click.option(
    "--filter", "filters", multiple=True, help="genre=samba, year>=1990, duration<10:00; repeatable."
)
@space_option
@click.option("--m3u", type=click.Path(dir_okay=False), help="Also write the answer as a playlist.")
@qdrant_options
@json_option
def similar(
    query: str,
    folder: str | None,
    k: int,
    filters: tuple[str, ...],
    space: str | None,
    m3u: str | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Find what sounds like QUERY: a file (in the library or not), a track id, or words."""
    from soundkin.library import Library

    with Library.open(folder, qdrant, api_key) as library:
        hits = library.similar(query, k, list(filters), space)
        if m3u:
            from soundkin.playlists import write_m3u8
            from soundkin.scan import printable

            write_m3u8(m3u, hits)
            _say(f"wrote {printable(m3u)}")
        if as_json:
            _print_json({"query": query, "space": library.space(space).id, "hits": _ranked(hits)})
        else:
            _print_hits(hits)


@cli.command()
@library_option
@click.option("--failed", is_flag=True, help="List the files that could not be embedded, with reasons.")
@json_option
def status(folder: str | None, failed: bool, as_json: bool) -> None:
    """Show what the library holds."""
    from soundkin.library import Library

    with Library.open(folder) as library:
        if failed:
            _print_failures(library, as_json)
            return
        state = library.status()
    spaces = [
        {"id": space.id, "encoder": space.encoder, "dims": space.dims, "tracks": n, "active": active}
        for space, n, active in state.spaces
    ]
    if as_json:
        _print_json({"folder": state.folder, **asdict(state.summary), "spaces": spaces})
        return
    summary = state.summary
    formats = ", ".join(f"{n} {name}" for name, n in summary.formats.items())
    failures = ", ".join(f"{n} {kind}" for kind, n in summary.failures.items())
    _print_pairs(
        [
            ("library", state.folder),
            ("tracks", f"{summary.tracks} ({formats})" if formats else "0"),
            ("audio", f"{_hours(summary.seconds)}, {_size(summary.audio_bytes)}"),
            ("record", _size(summary.record_bytes)),
            *(
                (
                    "space",
                    f"{s['id']}: {s['tracks']} tracks, {s['dims']} dims" + ("" if s["active"] else " (old)"),
                )
                for s in spaces
            ),
            ("failed", f"{failures} (soundkin status --failed)" if failures else "none"),
        ]
    )


@cli.command()
@json_option
def encoders(as_json: bool) -> None:
    """List the encoders."""
    from soundkin.encoders import DEFAULT, ENCODERS

    rows = [
        {
            "name": name, "dims": info.dims, "rate": info.rate, "window": info.window,
            "licence": info.licence, "size": info.size, "about": info.about, "default": name == DEFAULT,
        }
        for name, info in ENCODERS.items()
    ]  # fmt: skip
    if as_json:
        _print_json(rows)
        return
    titles = ("name", "dims", "rate", "window", "licence", "size", "about")
    _print_table(titles, [[str(row[title]) for title in titles] for row in rows], right=("dims", "rate"))


@cli.command()
@click.argument("queries", nargs=-1, required=True)
@library_option
@json_option
def remove(queries: tuple[str, ...], folder: str | None, as_json: bool) -> None:
    """Forget tracks: ids, files, folders or words. Files are not touched."""
    from soundkin.library import Library

    with Library.open(folder) as library:
        removed = library.remove(queries)
    if as_json:
        _print_json({"removed": removed})
    else:
        click.echo(
            f"removed {_count(removed, 'track')}; files still on disk come back when their folder is indexed"
        )


@cli.command()
@click.argument("file", type=click.Path(dir_okay=False))
@library_option
@space_option
@json_option
def export(file: str, folder: str | None, space: str | None, as_json: bool) -> None:
    """Write tracks with their vectors to FILE: .npz, .parquet, or .sqlite (.db)."""
    from soundkin.library import Library
    from soundkin.scan import printable

    with Library.open(folder) as library:
        chosen = library.space(space).id
        tracks = library.export(file, chosen)
    if as_json:
        _print_json({"file": file, "space": chosen, "tracks": tracks})
    else:
        click.echo(f"wrote {_count(tracks, 'track')} of the space {chosen} to {printable(file)}")


@cli.command("import")
@click.argument("file", type=click.Path(dir_okay=False))
@library_option
@click.option(
    "--encoder-name", default="imported", show_default=True,
    help="What to call whatever made vectors that do not say it.",
)  # fmt: skip
@json_option
def import_(file: str, folder: str | None, encoder_name: str, as_json: bool) -> None:
    """Take in vectors from FILE, so that they need not be made again.

    FILE is what `soundkin export` wrote, or an SQLite file with a table songs_vectors(song_id, embedding), whose
    song_id is a track id, a content hash, a path, or a file name without its suffix.
    """
    from soundkin.library import Library

    with Library.open(folder) as library:
        report = library.import_(file, encoder_name)
    if as_json:
        _print_json({"file": file, **asdict(report)})
        return
    parts = [
        (report.matched, "in the library"), (report.added, "new"), (report.unmatched, "unmatched"),
        (report.refused, "refused"),
    ]  # fmt: skip
    told = ", ".join(f"{n} {what}" for n, what in parts if n)
    click.echo(f"{_count(report.rows, 'row')} of the space {report.space}: {told or 'nothing to do'}")
    click.echo(f"{_count(report.vectors + report.added, 'new vector')}")
    for line in report.left_out:
        _say(f"  {line}")
    if (more := report.unmatched + report.refused - len(report.left_out)) > 0:
        _say(f"  and {more} more")


@cli.command()
@click.option(
    "--folder", type=click.Path(file_okay=False), help="Where to make it.  [default: a cache folder]"
)
@click.option("--tracks", type=click.IntRange(min=8), default=60, show_default=True, help="How many.")
@click.option("--seconds", type=click.FloatRange(min=5), default=20.0, show_default=True, help="Of each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another library.")
@json_option
def demo(folder: str | None, tracks: int, seconds: float, seed: int, as_json: bool) -> None:
    """Make a small library of synthesised music, index it, and show what sounds alike."""
    from soundkin import demo as show
    from soundkin.library import Library

    home = show.home(folder, tracks, seconds, seed)
    with _steps("making music", tracks) as step:
        music = show.make_music(home, tracks, seconds, seed, step)
    with Library.open(home / "library") as library:
        with _progress() as progress:
            report = library.add(music, progress=progress)
        examples = show.examples(library)
        if as_json:
            _print_json(
                {
                    "folder": os.fspath(home),
                    "report": asdict(report),
                    "examples": [{"query": asdict(track), "hits": _ranked(hits)} for track, hits in examples],
                }
            )
            return
        _print_report(library, report, as_json)
    for track, hits in examples:
        click.echo(f"\nWhat sounds like {_name(track)} ({', '.join(track.genres)})?")
        _print_hits(hits)
    query, place = examples[0][0].title, shlex.quote(os.fspath(home / "library"))
    click.echo(
        f"\nAsk this library yourself:\n  soundkin similar {json.dumps(query)} --library {place}\n"
        'Then your own music:\n  soundkin index ~/Music\n  soundkin similar "words of a title, or a file"'
    )


@cli.command()
@click.argument("audio", nargs=-1, required=True, type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Folder of the new encoder; names it, too.")
@click.option(
    "--recipe", type=click.Choice(list(RECIPES)), default="soundkin", show_default=True,
    help="; ".join(f"{name}: {recipe.about}" for name, recipe in RECIPES.items()) + ".",
)  # fmt: skip
@click.option("--minutes", type=float, help="Stop after so long.  [default: 120, if nothing else stops it]")
@click.option("--steps", type=click.IntRange(min=1), help="Stop after so many batches.")
@click.option("--epochs", type=click.IntRange(min=1), help="Stop when each track was drawn so often.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Auto takes the GPU where there is one.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch, on the CPU.  [default: its choice]")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Processes for decoding.  [default: one per core]"
)
@json_option
def train(audio: tuple[str, ...], out: str, as_json: bool, **options: Any) -> None:
    """Train an encoder on your own music. Interrupted, the same command goes on.

    Needs PyTorch: pip install 'soundkin[train]'.
    """
    from soundkin.training import run

    with _training() as (on_file, on_step):
        report = run.train(audio, out, run.TrainOptions(**options), on_file, on_step)
    if as_json:
        _print_json(asdict(report))
    else:
        _print_training(report, audio, out)


@cli.command()
@library_option
@json_option
def doctor(folder: str | None, as_json: bool) -> None:
    """Check the installation and run a short self-test."""
    from soundkin.doctor import examine

    checks = list(examine(folder))
    if as_json:
        _print_json([asdict(check) for check in checks])
    else:
        _print_table(("", "check", "found"), [["ok" if c.ok else "FAIL", c.name, c.found] for c in checks])
    if not all(check.ok for check in checks):
        raise SoundkinError("the installation has a problem, see FAIL above")


# ---- printing


def _say(text: str) -> None:
    click.echo(text, err=True)


def _print_json(document: Any) -> None:
    # ASCII only: names that are no text (lone surrogates) survive, and any terminal shows it.
    click.echo(json.dumps(document, indent=2))


def _print_table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = (), one_line: bool = False
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from soundkin.scan import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        side = "right" if title in right else "left"
        table.add_column(
            title, justify=side, no_wrap=one_line or title in right,  # type: ignore[arg-type]
            overflow="ellipsis" if one_line else "fold",
        )  # fmt: skip
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    wide = None if sys.stdout.isatty() else 160
    Console(width=wide, highlight=False).print(table)


def _print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    from soundkin.scan import printable

    for name, value in pairs:
        click.echo(f"{name:>8}  {printable(value)}")


def _print_hits(hits: list["Hit"]) -> None:
    if not hits:
        click.echo("no other track in the library passes")
        return
    rows = [
        [
            str(i),
            f"{hit.similarity:.3f}",
            _title(hit),
            hit.artist,
            hit.album,
            _clock(hit.duration),
            ", ".join(hit.reasons),
        ]
        for i, hit in enumerate(hits, 1)
    ]
    titles = ["#", "similarity", "title", "artist", "album", "length", "also"]
    if sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDE:
        titles, rows = titles[:-1], [row[:-1] for row in rows]
    _print_table(
        titles,
        rows,
        right=("#", "similarity", "length"),
        one_line=True,
    )


def _ranked(hits: list["Hit"]) -> list[dict[str, Any]]:
    return [{"rank": i, **asdict(hit)} for i, hit in enumerate(hits, 1)]


def _print_report(library: "Library", report: "ScanReport", as_json: bool) -> None:
    if as_json:
        _print_json({"folder": os.fspath(library.folder), **asdict(report)})
        return
    parts = [
        (report.added, "new"), (report.updated, "embedded again"), (report.moved, "moved"),
        (report.touched, "touched"), (report.unchanged, "unchanged"), (report.failed, "failed"),
        (report.known_bad, "failed before"), (report.removed, "removed"),
        (report.gone - report.removed, "gone (--prune forgets them)"),
    ]  # fmt: skip
    told = ", ".join(f"{n} {what}" for n, what in parts if n)
    click.echo(f"{_count(report.found, 'file')}: {told or 'nothing to do'}")
    if report.audio_seconds:
        speed = report.audio_seconds / max(report.elapsed, 1e-3)
        rate = (report.added + report.updated) / max(report.elapsed, 1e-3) * 60
        click.echo(
            f"{_hours(report.audio_seconds)} of audio in {report.elapsed:.1f} s: "
            f"{rate:.0f} tracks a minute, {speed:.0f} x real time"
        )
    if report.failed or report.known_bad:
        click.echo("see what failed, and why: soundkin status --failed")


def _print_training(report: "TrainReport", audio: Sequence[str], out: str) -> None:
    click.echo(
        f"{report.recipe} on {_count(report.tracks, 'track')} of {_count(report.albums, 'album')}, "
        f"{_hours(report.hours * 3600)}: {_count(report.steps, 'step')} in {report.minutes:.1f} minutes"
    )
    if report.left_out:
        click.echo(f"left out {_count(report.left_out, 'file')} that cannot be decoded")
    if report.found is None or report.found_untrained is None:
        click.echo("no album was held out, there are too few: how good it is was not measured")
    else:
        click.echo(
            f"{report.validation_tracks} held-out tracks, looked for among {report.among} by beginning and end: "
            f"{report.found:.0%} found (untrained {report.found_untrained:.0%}, by chance {1 / report.among:.0%})"
        )
    command = shlex.join(["soundkin", "index", *audio, "--encoder", out])
    click.echo(f"wrote {out}; now index your music with it:\n  {command}")


def _print_failures(library: "Library", as_json: bool) -> None:
    failures = library.failures()
    if as_json:
        _print_json(
            [
                {"path": f.file.path, "size": f.file.size, "kind": f.kind, "reason": f.reason, "at": at}
                for f, at in failures
            ]
        )
    elif failures:
        _print_table(("kind", "reason", "file"), [[f.kind, f.reason, f.file.path] for f, _ in failures])
    else:
        click.echo("nothing failed")


@contextlib.contextmanager
def _progress() -> Iterator["Callable[[Progress], None] | None"]:
    """Show a scan on stderr: done of total, rate, time left, failures; only on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("indexing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, told="looking at files")

        def show(at: "Progress") -> None:
            seconds = max(at.elapsed, 1e-3)
            told = f"{at.done / seconds * 60:.0f}/min, {at.audio_seconds / seconds:.0f} x real time"
            if at.failed:
                told += f", {at.failed} failed"
            bar.update(task, total=at.total, completed=at.done, told=told)

        yield show


@contextlib.contextmanager
def _steps(what: str, total: int) -> Iterator[Callable[[], None] | None]:
    """Show a plain count of steps on stderr, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


@contextlib.contextmanager
def _training() -> Iterator[tuple[Callable[[str, int, int], None], Callable[["Metrics"], None]]]:
    """Show training on stderr: bars on a terminal, else a line now and then."""
    show = _TrainingLines()
    if not sys.stderr.isatty():
        yield show.file, show.step
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking at files", total=None, told="")

        def file(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total, told=f"{done}/{total}")

        def step(at: "Metrics") -> None:
            bar.update(task, description="training", completed=at.progress, total=1.0, told=show.told(at))

        yield file, step


class _TrainingLines:
    """Training in words: a line when something begins or ends, and every half minute."""

    def __init__(self) -> None:
        self._found = ""
        self._what, self._next = "", 0.0

    def file(self, what: str, done: int, total: int) -> None:
        """Tell how many files are done."""
        self._line(what, f"{what}: {done} of {total} files", done == total)

    def step(self, at: "Metrics") -> None:
        """Tell where training is."""
        self._line(
            "training",
            f"training: {at.progress:.0%}, {self.told(at)}",
            at.progress >= 1 and at.found is not None,
        )

    def told(self, at: "Metrics") -> str:
        """Put a step into words; what validation found stays until the next one."""
        if at.found is not None:
            self._found = f", validation {at.found:.0%}"
        return f"step {at.step}, loss {at.loss:.3f}, learning rate {at.learning_rate:.1e}{self._found}"

    def _line(self, what: str, text: str, last: bool) -> None:
        now = time.monotonic()
        if what != self._what or now >= self._next or last:
            self._what, self._next = what, now + _LOG_SECONDS
            _say(text)


def _listening(windows: str | None) -> "Listening | None":
    if windows is None:
        return None
    from soundkin.audio import DEFAULT_LISTENING, WHOLE

    return WHOLE if windows == "all" else DEFAULT_LISTENING


def _title(track: "Hit | Track") -> str:
    return track.title or os.path.splitext(os.path.basename(track.path))[0]


def _name(track: "Hit | Track") -> str:
    from soundkin.scan import printable

    return printable(f"{track.artist} - {_title(track)}" if track.artist else _title(track))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _size(n: float) -> str:
    if n < 1000:
        return f"{n:.0f} bytes"
    power = min(4, int(math.log10(n) / 3))
    return f"{n / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


if __name__ == "__main__":
    main()
