"""Commands of a Ray cluster: embed on it, load what came of it."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from soundkin.cli.common import (
    cli,
    count_of,
    hours,
    json_option,
    library_option,
    open_library,
    print_json,
    qdrant_options,
    rounds_progress,
    say,
    scan_progress,
)

if TYPE_CHECKING:
    from soundkin.cluster import ClusterOptions, ClusterReport, LoadReport


def index_with_ray(
    paths: tuple[str, ...],
    out: str | None,
    options: "ClusterOptions",
    folder: str | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Embed on a Ray cluster: into the folder of results that is named or, without one, into the library."""
    from soundkin.cluster import embed_with_ray

    if out is not None:
        with scan_progress() as progress:
            report = embed_with_ray(paths, out, options, progress)
        _print_run(report, None, as_json)
        return
    with open_library(folder, qdrant, api_key) as library:
        with scan_progress() as progress:
            report, loaded = library.add_with_ray(paths, options, progress)
        _print_run(report, loaded, as_json)


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@library_option
@qdrant_options
@json_option
def load(
    paths: tuple[str, ...], folder: str | None, qdrant: str | None, api_key: str | None, as_json: bool
) -> None:
    """Fill a library with what `soundkin index --engine ray` wrote: PATHS are its folder, here or a URL, or its files.

    Or, with --qdrant, the index on a server as well: it builds its graphs once, at the end. A second time adds nothing.
    """
    with open_library(folder, qdrant, api_key) as library, rounds_progress("loading") as progress:
        report = library.load(paths, progress)
    if as_json:
        print_json(asdict(report))
        return
    click.echo(f"{count_of(report.rows, 'row')} of {count_of(report.files, 'file')}: {_loaded(report)}")
    for line in report.reasons:
        say(f"  {line}")
    if (more := report.left_out - len(report.reasons)) > 0:
        say(f"  and {more} more")


def _loaded(report: "LoadReport") -> str:
    parts = [
        (report.added, f"new{f' ({report.copies} of them copies)' if report.copies else ''}"),
        (report.updated, "changed"), (report.failed, "new failures"), (report.known, "known before"),
        (report.left_out, "left out"),
    ]  # fmt: skip
    return ", ".join(f"{n} {what}" for n, what in parts if n) or "nothing to do"


def _print_run(report: "ClusterReport", loaded: "LoadReport | None", as_json: bool) -> None:
    from soundkin.scan import printable

    if as_json:
        print_json(asdict(report) | {"loaded": loaded and asdict(loaded)})
        return
    parts = [
        (report.embedded, "embedded"), (report.damaged, "of them damaged"),
        (report.copies, "copies, not embedded again"), (report.failed, "failed"),
        (report.settled, "done before"), (report.known_bad, "failed before"),
    ]  # fmt: skip
    told = ", ".join(f"{n} {what}" for n, what in parts if n)
    click.echo(f"{count_of(report.found, 'file')}: {told or 'nothing to do'}")
    if report.audio_seconds:
        seconds = max(report.elapsed, 1e-3)
        click.echo(
            f"{hours(report.audio_seconds)} of audio in {report.elapsed:.1f} s, the first results after "
            f"{report.starting:.1f} s: {report.embedded / seconds * 60:.0f} tracks a minute, "
            f"{report.audio_seconds / seconds:.0f} x real time"
        )
    if loaded is None:
        click.echo(f"the results are in {printable(report.out)}; next: soundkin load {printable(report.out)}")
    else:
        click.echo(f"the library: {_loaded(loaded)}")
