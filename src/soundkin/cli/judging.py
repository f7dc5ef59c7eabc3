"""Commands that judge a library's vectors, and show them."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import (
    cli,
    count_of,
    json_option,
    library_option,
    open_library,
    print_json,
    print_pairs,
    print_table,
    say,
)

if TYPE_CHECKING:
    from soundkin.datasets import Read
    from soundkin.evaluate import Table

_FROM_VECTORS = ("album", "artist", "genre", "same-track")
_PROTOCOLS = (*_FROM_VECTORS, "taste", "text", "robustness")
_SPLITS = ("time", "cold-track", "cold-artist")
_STRATEGIES = ("agreement", "best", "sum", "average")
_POOLINGS = ("mean", "max", "mean+max", "mean+std")
_DATASETS = ("ludwig", "fma", "gtzan", "mtg-jamendo", "manifest", "audiofolder")
_SHOWN, _SHOWN_PROBLEMS = 12, 5


def _names(
    known: tuple[str, ...],
) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[str, ...]]:
    """Let an option be repeated, and each hold several names with commas between them."""

    def split(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",")))
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of {', '.join(known)}")
        return names

    return split


@cli.command()
@library_option
@click.option(
    "--protocol", "protocols", multiple=True, callback=_names(_PROTOCOLS), metavar="NAME,...",
    help=f"What to ask: {', '.join(_PROTOCOLS)}; repeatable.  [default: the first {len(_FROM_VECTORS)}]",
)  # fmt: skip
@click.option(
    "--space", "spaces", multiple=True, help="A space, or the encoder that made it; repeatable, to compare."
)
@click.option(
    "--pooling", "poolings", multiple=True, callback=_names(_POOLINGS), metavar="NAME,...",
    help=f"Also pool the windows of each track anew: {', '.join(_POOLINGS)}; repeatable.",
)  # fmt: skip
@click.option(
    "--albums", type=click.Choice(["tags", "folders"]), default="tags", show_default=True,
    help="Take albums from tags (where there are none, from folders), or from folders alone.",
)  # fmt: skip
@click.option(
    "--labels", type=click.Path(dir_okay=False), metavar="FILE",
    help="A manifest that stands in place of tags, as `soundkin dataset --manifest` writes it.",
)  # fmt: skip
@click.option(
    "--least", type=click.IntRange(min=2), default=2, show_default=True,
    help="Only tracks of albums (artists, genres) with so many tracks ask.",
)  # fmt: skip
@click.option(
    "--ask", type=click.IntRange(min=10), default=100_000, show_default=True, metavar="N",
    help="Let at most so many tracks ask, drawn at random.",
)  # fmt: skip
@click.option("-k", type=click.IntRange(min=5), default=10, show_default=True, help="Length of a list.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of intervals and tests."
)
@click.option(
    "--tracks", type=click.IntRange(min=10), default=100, show_default=True,
    help="How many to re-encode for robustness, drawn at random.",
)  # fmt: skip
@click.option(
    "--profile", "profiles", multiple=True, metavar="NAME",
    help="For taste: hide likes of this profile; repeatable.  [default: every profile]",
)  # fmt: skip
@click.option(
    "--strategy", "strategies", multiple=True, callback=_names(_STRATEGIES), metavar="NAME,...",
    help=f"For taste: recommend by {', '.join(_STRATEGIES)}; repeatable.  [default: all]",
)  # fmt: skip
@click.option(
    "--split", type=click.Choice(_SPLITS),
    help="With --protocol taste: learn from plays before a time, or of other tracks or artists; lists of 20.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False), help="Also write Markdown, JSON and CSV to this folder."
)
@json_option
def evaluate(
    folder: str | None,
    protocols: tuple[str, ...],
    spaces: tuple[str, ...],
    poolings: tuple[str, ...],
    albums: str,
    labels: str | None,
    least: int,
    ask: int,
    k: int,
    seed: int,
    tracks: int,
    profiles: tuple[str, ...],
    strategies: tuple[str, ...],
    split: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Measure how well vectors find album, artist, genre and the other half of a track.

    Also how well recommendations find likes that are hidden (taste), words the tracks of a genre (text), and what
    re-encoding does (robustness).
    """
    from pathlib import Path

    from soundkin.evaluate import Options, tables
    from soundkin.evaluate import evaluate as measured
    from soundkin.scan import printable

    options = Options(
        protocols or _FROM_VECTORS, spaces, poolings, albums, least, k, seed, labels, tracks, profiles,
        strategies, ask, split,
    )  # fmt: skip
    with open_library(folder) as library, _measuring() as report:
        found = measured(library, options, report)
    if out:
        tables.write(found, Path(out))
        say(f"wrote {printable(out)}")
    if as_json:
        print_json(tables.to_json(found))
        return
    for table in found:
        _print_evaluation(table)


@cli.command()
@click.argument("name", type=click.Choice(_DATASETS))
@click.argument("path", type=click.Path())
@click.option(
    "--manifest",
    type=click.Path(dir_okay=False),
    help="Also write the tracks with their labels to this CSV file.",
)
@json_option
def dataset(name: str, path: str, manifest: str | None, as_json: bool) -> None:
    """Check a data set at PATH: what is there, what is missing, its licence and whom to cite."""
    from soundkin import datasets
    from soundkin.scan import printable

    found = datasets.read(name, path)
    if manifest:
        count = datasets.write_manifest(manifest, found)
        say(f"wrote {count_of(count, 'track')} to {printable(manifest)}")
    if as_json:
        print_json(_dataset_document(found))
    else:
        _print_dataset(found)


def _dataset_document(found: "Read") -> dict[str, Any]:
    from soundkin.datasets import DATASETS

    about = DATASETS[found.name]
    return {
        "name": found.name, "folder": found.folder, "listed": found.listed, "tracks": len(found.items),
        "artists": len(found.names("artist")), "albums": len(found.names("album")), "genres": found.names("genre"),
        "splits": found.names("split"), "problems": [asdict(problem) for problem in found.problems],
        "licence": about.licence, "citation": about.citation,
    }  # fmt: skip


def _print_dataset(found: "Read") -> None:
    from soundkin.scan import printable

    document = _dataset_document(found)
    genres = found.names("genre")
    shown = ", ".join(f"{name} {n}" for name, n in list(genres.items())[:_SHOWN])
    pairs = [
        ("tracks", f"{document['tracks']} of {document['listed']} that the labels tell of"),
        ("artists", str(document["artists"])),
        ("albums", str(document["albums"])),
        ("genres", f"{len(genres)}: {shown}{', ...' if len(genres) > _SHOWN else ''}" if genres else "0"),
        ("splits", ", ".join(f"{name} {n}" for name, n in document["splits"].items()) or "none"),
        ("licence", document["licence"]),
        ("cite", document["citation"] or "-"),
    ]
    print_pairs(pairs)
    if not found.problems:
        click.echo("nothing is missing")
    for kind, count in found.counts().items():
        first = [problem.what for problem in found.problems if problem.kind == kind][:_SHOWN_PROBLEMS]
        click.echo(f"{kind}: {count}")
        for what in first:
            click.echo(f"  {printable(what)}")
        if count > len(first):
            click.echo(f"  ... and {count - len(first)} more (--json lists all)")


def _print_evaluation(table: "Table") -> None:
    from soundkin.evaluate import tables

    click.echo(f"\n{table.protocol}: {table.question or 'not measured'}")
    for line in (table.reason,) if table.reason else (tables.counts(table),):
        click.echo(line)
    for names in tables.halves(table):
        titles = table.titles(names)
        print_table(titles, tables.cells(table, names), right=titles[1:])
    for note in table.notes:
        click.echo(f"- {note}")


@contextlib.contextmanager
def _measuring() -> Iterator["Callable[[str, int, int], None] | None"]:
    """Show on stderr what is being measured; only on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
