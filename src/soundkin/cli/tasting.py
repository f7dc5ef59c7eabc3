"""The command about plays and what follows from them: histories in, a model of taste out."""

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
    print_table,
    rounds_progress,
    rows_progress,
    say,
)

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
    reports = []
    with open_library(folder) as library:
        for file in files:
            with rows_progress("rows") as progress:
                report = library.import_plays(file, profile, progress)
            reports.append({"file": file, **asdict(report)})
            if not as_json:
                _print_plays(file, report)
    if as_json:
        print_json(reports)


@taste.command("train")
@click.option(
    "--method", type=click.Choice(["auto", "cosine", "ease", "als", "bpr"]), default="auto", show_default=True,
    help="How; als and bpr need the extra cf.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn.")
@library_option
@json_option
def train(method: str, seed: int, folder: str | None, as_json: bool) -> None:
    """Learn from plays and likes who likes what, for soundkin recommend --hybrid and --space taste.

    Part of the plays is held out, to find what sound, taste, artist and popularity are worth. Nothing is embedded
    again. Where there are few people, what is played in one sitting is taken to go together.
    """
    with open_library(folder) as library, rounds_progress("learning") as progress:
        told = library.train_taste(method, seed, progress)
    if as_json:
        print_json(told)
        return
    _print_learned(told)
    for name, what in (("bots", "more plays in a day than a day has"), ("omnivores", "most of the library")):
        if told[name]:
            click.echo(f"left out: {count_of(told[name], 'profile')} with {what}")
    rows = [[name, f"{told[name]:.3f}"] for name in ("popularity", "sound", "taste", "together")]
    click.echo(f"nDCG@20 of {_counted(told['questions'], told['rows'])}, a fifth of each held out:")
    print_table(("by", "nDCG@20"), rows, right=("nDCG@20",))
    weights = ", ".join(f"{name} {value:g}" for name, value in told["weights"].items())
    click.echo(f"weights: {weights} (sound has the rest)")
    click.echo(
        f"of artists that nobody played, sound tells {told['by_sound']:.2f} of taste; of other tracks of an artist, "
        f"the artist {told['by_artist']:.2f} (mean cosine)"
    )
    _print_order(told["ranker"], told["ranker"]["adopted"])


@taste.command("status")
@click.option("--profile", help="Who would ask.  [default: nobody]")
@library_option
@json_option
def status(profile: str | None, folder: str | None, as_json: bool) -> None:
    """Say what was learned from plays, and whether it speaks to somebody."""
    with open_library(folder) as library:
        told = library.taste_status(profile)
    if as_json:
        print_json(told)
        return
    if not told["learned"]:
        click.echo(told["why_not"])
        return
    _print_learned(told)
    _print_order(told["ranker"], told["ranker"]["used"])
    if profile is not None:
        why = told["why_not"]
        click.echo(f"to {profile}: by sound alone: {why}" if why else f"to {profile}: by sound and taste")


def _print_learned(told: dict[str, Any]) -> None:
    plays, tracks = count_of(told["entries"], "play"), count_of(told["tracks"], "track")
    click.echo(
        f"learned by {told['method']} from {plays} of {tracks} by "
        f"{_counted(told['height'], told['rows'])}; {count_of(told['vectors'], 'taste vector')}"
    )


def _counted(n: int, rows: str) -> str:
    """Return how many people or sessions there are."""
    return f"1 {'person' if rows == 'people' else 'session'}" if n == 1 else f"{n} {rows}"


def _print_order(told: dict[str, Any], is_ranked: bool) -> None:
    for one in told.get("splits", ()):
        click.echo(
            f"a learned order, {one['split']}: nDCG@20 {one['ranker']:.3f}, the score {one['score']:.3f} "
            f"(gain {one['gain']:+.3f} ± {one['noise']:.3f})"
        )
    if is_ranked:
        click.echo("lists have the learned order: it is better than the score on every split")
    else:
        click.echo(f"lists are ordered by the score, and not by a learned order: {told['why']}")


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
