"""Commands about encoders that are there to be used: list them, get their weights, check them."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click

from soundkin.cli.common import cli, json_option, print_json, print_table, say, size_of

_LINE_BYTES = 50_000_000
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Where it runs: auto, cpu, cuda, ...",
)


@cli.group(invoke_without_command=True)
@json_option
@click.pass_context
def encoders(context: click.Context, as_json: bool) -> None:
    """List the encoders: what they are, and whether their weights are here.

    With a command after it, get or check the weights of one.
    """
    if context.invoked_subcommand is not None:
        return
    from soundkin.encoders.catalogue import entries

    found = entries()
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    titles = ("name", "dims", "rate", "window", "licence", "weights", "here", "runs on", "about")
    rows = [
        [
            entry.name, str(entry.dims), str(entry.rate), entry.window, entry.licence, entry.size,
            "yes" if entry.here else "no", entry.device or entry.missing or "-", entry.about,
        ]
        for entry in found
    ]  # fmt: skip
    print_table(titles, rows, right=("dims", "rate"))
    click.echo(
        "weights that are not here: soundkin encoders get NAME. Others: hf:ORGANISATION/MODEL, the variants in "
        "docs/encoders.md, or the folder of one you trained"
    )


@encoders.command("get")
@click.argument("name")
@json_option
def get_(name: str, as_json: bool) -> None:
    """Fetch the weights of an encoder, check them, and keep them in the cache."""
    from soundkin.encoders import catalogue

    info, _ = catalogue.named(name)
    was_here = catalogue.is_here(info)
    say(f"licence of the weights of {name}: {info.licence}")
    with _download_progress() as progress:
        paths = catalogue.get(name, progress)
    if as_json:
        print_json(
            {"name": name, "licence": info.licence, "paths": [str(p) for p in paths], "fetched": not was_here}
        )
        return
    for path in paths:
        click.echo(f"{'was here already' if was_here else 'fetched and checked'}: {path}")
    if not paths:
        click.echo(f"{name} is in the wheel: nothing to fetch")
    if lacks := catalogue.missing(info):
        click.echo(f"to run it: {lacks}")


@encoders.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True))
@json_option
def add_(name: str, file: str, as_json: bool) -> None:
    """Put weights in place that you downloaded by hand: FILE, or the folder of a model of the Hugging Face Hub."""
    from soundkin.encoders import catalogue

    info, _ = catalogue.named(name)
    paths = catalogue.add(name, file)
    if as_json:
        print_json({"name": name, "licence": info.licence, "paths": [str(p) for p in paths]})
        return
    for path in paths:
        click.echo(f"checked and put in place: {path}")
    if not catalogue.is_here(info):
        wanted = [info.hub.url] if info.hub else [file.url for file in info.files]
        click.echo("more files are needed: " + ", ".join(wanted))


@encoders.command("verify")
@click.argument("name")
@device_option
@json_option
def verify_(name: str, device: str, as_json: bool) -> None:
    """Check the weights again, load the encoder, and compare it with what its authors published."""
    from soundkin.encoders import catalogue

    found = catalogue.verify(name, device)
    if as_json:
        print_json({"name": name, "found": list(found)})
        return
    for line in found:  # what passed is said, also when the last step fails
        click.echo(line)


@encoders.command("tags")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many tags.")
@device_option
@json_option
def tags_(name: str, file: str, k: int, device: str, as_json: bool) -> None:
    """Tell the tags that an encoder gives to an audio file."""
    from soundkin.encoders import catalogue

    told = catalogue.tags(name, file, device)[:k]
    if as_json:
        print_json(
            {"name": name, "file": file, "tags": [{"tag": t, "probability": round(p, 4)} for t, p in told]}
        )
        return
    print_table(("tag", "probability"), [[tag, f"{p:.2f}"] for tag, p in told], right=("probability",))


@contextlib.contextmanager
def _download_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show downloads on stderr: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        told: dict[str, int] = {}

        def line(name: str, have: int, total: int | None) -> None:
            if have >= told.get(name, 0) or have == total:
                told[name] = have + _LINE_BYTES
                say(f"{name}: {size_of(have)}" + (f" of {size_of(total)}" if total else ""))

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def show(name: str, have: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=have, total=total)

        yield show
