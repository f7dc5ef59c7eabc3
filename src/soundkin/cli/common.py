"""What the commands share: the group they belong to, options, and printing."""

import contextlib
import itertools
import json
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from soundkin.library import Library
    from soundkin.recommend import Hit
    from soundkin.record import Track
    from soundkin.scan import Progress

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = frozenset({"duration", "seconds", "audio_seconds", "elapsed", "added", "at"})  # keys of --json
_NOTICED = 0.02  # when a later track is more similar by so much, the order is explained
_WIDE = 100  # columns of a terminal that has room for reasons


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


def grouped(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Make one decorator of several options."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_RECORD = "soundkin.record"  # where a context keeps the URL, which every command passes on and none looks at


def _remember(context: click.Context, parameter: click.Parameter, url: str | None) -> None:
    context.meta[_RECORD] = url or None


library_option = grouped(
    click.option(
        "--library", "folder", type=click.Path(file_okay=False), envvar="SOUNDKIN_LIBRARY",
        help="Folder of the library.  [env: SOUNDKIN_LIBRARY; default: the platform's data folder]",
    ),
    click.option(
        "--record", metavar="URL", envvar="SOUNDKIN_RECORD", expose_value=False, callback=_remember,
        help="Keep the record in this PostgreSQL database: postgresql://user@host/database.  [env: SOUNDKIN_RECORD]",
    ),
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
qdrant_options = grouped(
    click.option(
        "--qdrant", metavar="URL", envvar="SOUNDKIN_QDRANT",
        help="Keep the index on this Qdrant server.  [env: SOUNDKIN_QDRANT]",
    ),
    click.option(
        "--api-key", envvar=["SOUNDKIN_QDRANT_API_KEY", "QDRANT_API_KEY"],
        help="Key of that server.  [env: SOUNDKIN_QDRANT_API_KEY, QDRANT_API_KEY]",
    ),
)  # fmt: skip


def record_url() -> str | None:
    """Return what --record says."""
    url: str | None = click.get_current_context().meta.get(_RECORD)
    return url


def open_library(folder: str | None, qdrant: str | None = None, api_key: str | None = None) -> "Library":
    """Open the library that the options of a command name."""
    from soundkin.library import Library

    return Library.open(folder, qdrant, api_key, record=record_url())


space_option = click.option(
    "--space",
    help="A space, or the encoder that made it; several to ask together: cnn+musicnn.  [default: the fullest]",
)

filter_option = click.option(
    "--filter",
    "filters",
    multiple=True,
    help="genre=samba, year>=1990, duration<10:00, added<7d; repeatable.",
)
why_option = click.option("--why", is_flag=True, help="Say below each track why it is there.")


def say(text: str) -> None:
    """Print a line on stderr."""
    click.echo(text, err=True)


def take(library: "Library", queries: Iterable[str]) -> "list[Track | str]":
    """Return the tracks that questions are taken for; a file of elsewhere stays what it is."""
    return [library.named(query) or query for query in queries]


def say_taken(asked: "Iterable[Track | str | None]", word: str = "like") -> None:
    """Say which tracks questions were taken for: words may mean another one than was thought of."""
    for one in asked:
        if one is not None and not isinstance(one, str):
            say(f"{word} {name_of(one)}")


def taken_for(asked: "Track | str | None") -> dict[str, str] | None:
    """Return what --json tells of the track that a question is taken for; None for a file of elsewhere."""
    if asked is None or isinstance(asked, str):
        return None
    return {name: getattr(asked, name) for name in ("id", "path", "title", "artist", "album")}


def write_list(file: str | None, tracks: Sequence[Any], title: str = "", relative: bool = False) -> None:
    """Write a playlist, if one is asked for; one of no tracks is none."""
    if not file:
        return
    from soundkin import playlists
    from soundkin.scan import printable

    if not tracks:
        say(f"no track, so {printable(file)} is not written")
        return
    playlists.write(file, tracks, title, relative)
    say(f"wrote {printable(file)}")


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    # ASCII only: names that are no text (lone surrogates) survive, and any terminal shows it.
    click.echo(json.dumps(_rounded(document), indent=2))


def _rounded(document: Any) -> Any:
    """Round what is measured in seconds: nobody is served by the digits of a division."""
    if isinstance(document, dict):
        return {
            key: round(value, 3) if key in _SECONDS and isinstance(value, float) else _rounded(value)
            for key, value in document.items()
        }
    return [_rounded(item) for item in document] if isinstance(document, list) else document


def print_table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = (), one_line: bool = False
) -> None:
    """Print a table on stdout; where it is too wide, only the columns that are not `right` shrink."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from soundkin.scan import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        # A column that may wrap is the first to shrink: those of `one_line` may, though their cells then do not.
        table.add_column(
            title,
            justify="right" if title in right else "left",
            no_wrap=title in right,
            overflow="ellipsis" if one_line else "fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell), no_wrap=one_line or None) for cell in row))
    wide = None if sys.stdout.isatty() else 160
    Console(width=wide, highlight=False).print(table)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    from soundkin.scan import printable

    for name, value in pairs:
        click.echo(f"{name:>8}  {printable(value)}")


def print_answer(
    library: "Library",
    hits: list["Hit"],
    document: Any,
    asked: dict[str, Any],  # with what, as `Library.why_nothing` takes it
    output: str | None,
    why: bool,
    as_json: bool,
    order: str = "",
    by_moment: bool = False,
) -> None:
    """Print an answer, write it as a playlist if asked to, and say so when there is nothing, or nothing close."""
    write_list(output, [hit for hit in hits if hit.there])
    if as_json:
        print_json(document)
    else:
        print_hits(hits, why, library.scanning() if not hits else "", by_moment)
        if not by_moment and any(
            later.similarity > hit.similarity + _NOTICED for hit, later in itertools.pairwise(hits)
        ):
            say(order)
    if not hits and asked["filters"]:
        say(library.why_nothing(**asked))


def print_hits(hits: list["Hit"], why: bool = False, scanning: str = "", by_moment: bool = False) -> None:
    """Print an answer as a table, or with reasons; `scanning` says that a scan is filling the library."""
    from soundkin.scan import printable

    if not hits:
        click.echo(f"no other track in the library passes{scanning}")
        return
    if not any(hit.close for hit in hits):
        say("nothing in the library is clearly close to it; this is what comes nearest:")
    if why:
        for i, hit in enumerate(hits, 1):
            click.echo(f"{i:>3}  {hit.similarity:.3f}  {name_of(hit)} ({clock(hit.duration)})")
            for reason in hit.reasons:
                click.echo(f"            {printable(reason)}")
        return
    if by_moment:
        _print_moments(hits)
        return
    rows = [
        [
            str(i),
            f"{hit.similarity:.3f}",
            hit.name if hit.there else f"[gone] {hit.name}",
            hit.artist,
            hit.album,
            clock(hit.duration),
            # moments and the like it follows take the room of the title; --why shows them
            ", ".join(hit.reasons[: len(hit.reasons) - bool(hit.moments) - bool(hit.follows)]),
        ]
        for i, hit in enumerate(hits, 1)
    ]
    titles = ["#", "similarity", "title", "artist", "album", "length", "also"]
    if sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDE:
        titles, rows = titles[:-1], [row[:-1] for row in rows]
    print_table(
        titles,
        rows,
        right=("#", "similarity", "length"),
        one_line=True,
    )
    if gone := sum(not hit.there for hit in hits):
        say(
            f"[gone]: {count_of(gone, 'file')} not there; `soundkin index FOLDER --prune` forgets such tracks"
        )


def _print_moments(hits: list["Hit"]) -> None:
    rows = []
    for i, hit in enumerate(hits, 1):
        best = hit.moments[0] if hit.moments else None  # imported vectors have none
        places = [f"{best.cosine:.3f}", clock(best.here), clock(best.there)] if best else ["", "", ""]
        rows.append([str(i), *places, hit.name, hit.artist, f"{hit.similarity:.3f}", clock(hit.duration)])
    titles = ("#", "moment", "here", "there", "title", "artist", "similarity", "length")
    print_table(
        titles, rows, right=[title for title in titles if title not in ("title", "artist")], one_line=True
    )
    say(
        "ordered by the nearest moment: `moment` is the cosine of that which begins `here` in the track "
        "with that which begins `there` in what was asked for"
    )


def ranked(hits: list["Hit"]) -> list[dict[str, Any]]:
    """Turn an answer into what --json prints."""
    return [{"rank": i, **asdict(hit)} for i, hit in enumerate(hits, 1)]


@contextlib.contextmanager
def scan_progress() -> Iterator["Callable[[Progress], None] | None"]:
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
def rounds_progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show what is done of how much on stderr, with the time left; only on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def steps_progress(what: str, total: int) -> Iterator[Callable[[], None] | None]:
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
def rows_progress(what: str) -> Iterator[Callable[[int], None] | None]:
    """Show on stderr, on a terminal, how much is read of what nobody knows the end of."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda done: status.update(f"{done} {what}")


def name_of(track: "Hit | Track") -> str:
    """Return artist and title for people."""
    from soundkin.scan import printable

    return printable(f"{track.artist} - {track.name}" if track.artist else track.name)


def count_of(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def hours(seconds: float) -> str:
    """Return seconds as minutes or hours for people."""
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def size_of(n: float) -> str:
    """Return bytes for people."""
    if n < 1000:
        return f"{n:.0f} bytes"
    power = min(4, int(math.log10(n) / 3))
    return f"{n / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"
