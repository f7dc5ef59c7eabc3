"""The command about plays and what follows from them: histories in, a model of taste out."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import cli, count_of, json_option, library_option, print_json, rows_progress, say

if TYPE_CHECKING:
    from soundkin.plays import PlaysReport

_SHOWN = 10


@cli.group()
def taste() -> None:
    """Take in what people play elsewhere, and learn from it."""


@taste.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--profile", help="Whose history it is.  [default: as it says, or default]")
@library_option
@json_option
def import_(files: tuple[str, ...], profile: str | None, folder: str | None, as_json: bool) -> None:
    """Take in histories of plays from FILES.

    FILES are exports of ListenBrainz, the CSV of Last.fm, the streaming history of Spotify, the database of
    Navidrome, answers of a Subsonic server, the libraries of Rhythmbox and iTunes, playlists, and tables with
    columns like user, track, time, weight. What was read before adds nothing.
    """
    from soundkin.library import Library

    reports = []
    with Library.open(folder) as library:
        for file in files:
            with rows_progress("rows") as progress:
                report = library.import_plays(file, profile, progress)
            reports.append({"file": file, **asdict(report)})
            if not as_json:
                _print_plays(file, report)
    if as_json:
        print_json(reports)


def _print_plays(file: str, report: "PlaysReport") -> None:
    from soundkin.scan import printable

    found = sum(report.matched.values())
    ways = ", ".join(f"{n} by {_WAYS[way]}" for way, n in report.matched.items())
    click.echo(
        f"{printable(file)}: {count_of(report.rows, 'row')}, {found} of tracks in the library"
        + (f" ({ways})" if ways else "")
    )
    people = f" of {count_of(report.profiles, 'profile')}" if report.profiles > 1 else ""
    click.echo(f"{count_of(report.new, 'new mark')}{people}, {report.known} known before")
    for reason, n in report.refused.items():
        say(f"left out: {count_of(n, 'row')} {reason}")
    if report.unmatched:
        say(
            f"not in the library: {count_of(report.unmatched, 'row')} of "
            f"{count_of(report.tracks_unmatched, 'track')}"
        )
    for lost in report.not_found[:_SHOWN]:
        name = f"{lost.artist} - {lost.title}" if lost.artist else lost.title
        near = f"; nearest: {', '.join(lost.nearest)}" if lost.nearest else ""
        say(printable(f"  {lost.rows} x {name}{near}"))
    if report.tracks_unmatched > _SHOWN:
        say(f"  and {report.tracks_unmatched - _SHOWN} more; --json lists the first {len(report.not_found)}")


_WAYS: dict[str, Any] = {
    "id": "their ids", "mbid": "MusicBrainz id", "isrc": "ISRC", "name": "artist and title", "path": "file",
}  # fmt: skip
