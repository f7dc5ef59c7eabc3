"""Commands about taste: what somebody likes, and what follows from it."""

import datetime
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import (
    cli,
    count_of,
    filter_option,
    grouped,
    json_option,
    library_option,
    name_of,
    open_library,
    print_answer,
    print_json,
    print_table,
    qdrant_options,
    ranked,
    say,
    say_taken,
    space_option,
    take,
    taken_for,
    why_option,
)
from soundkin.errors import InputError

if TYPE_CHECKING:
    from soundkin.library import Library
    from soundkin.recommend import Variety

profile_option = click.option(
    "--profile", default="default", show_default=True, help="Who, see soundkin profile."
)
variety_options = grouped(
    click.option(
        "--per-artist", type=click.IntRange(min=1), help="At most so many of one artist in ten.  [default: 2]"
    ),
    click.option(
        "--per-album", type=click.IntRange(min=1), help="At most so many of one album in ten.  [default: 2]"
    ),
    click.option(
        "--diversity", type=click.FloatRange(0, 1),
        help="0 to 1: put off what sounds like the tracks just before it.  [default: 0.1]",
    ),
)  # fmt: skip


_ORDER = (
    "similarity is that with the like a track follows; the order weighs all likes and dislikes, and variety"
)


def variety_of(per_artist: int | None, per_album: int | None, diversity: float | None) -> "Variety":
    """Return the rules that options ask for; what is not said stays as it is by default."""
    from soundkin.recommend import Variety

    said = {"per_artist": per_artist, "per_album": per_album, "diversity": diversity}
    return Variety(**{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]


def _feedback(kind: str, about: str, done: str) -> None:
    """Add a command that remembers one kind of feedback."""

    @cli.command(kind if kind != "play" else "played", help=about)
    @click.argument("queries", nargs=-1, required=True)
    @profile_option
    @click.option("--at", help="When, like 2026-05-31T20:15.  [default: now]")
    @library_option
    @json_option
    def command(
        queries: tuple[str, ...], profile: str, at: str | None, folder: str | None, as_json: bool
    ) -> None:

        with open_library(folder) as library:
            known = _judged(library, profile) if kind == "unlike" else None
            tracks = library.feedback(kind, queries, profile, _time(at))
        if as_json:
            print_json({"profile": profile, "kind": kind, "tracks": [track.id for track in tracks]})
        else:
            for track in tracks:
                nothing = known is not None and track.id not in known
                click.echo(f"{'was not liked or disliked' if nothing else done}: {name_of(track)}")


def _judged(library: "Library", profile: str) -> set[str]:
    """Return the tracks that a profile likes or dislikes now."""
    said = {
        one.track: one.kind for one in library.history(profile) if one.kind in ("like", "dislike", "unlike")
    }
    return {track for track, kind in said.items() if kind != "unlike"}


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise InputError(f"--at {text!r}; wanted a date and time, like 2026-05-31T20:15") from None


_feedback("like", "Remember that you like tracks: files, ids or words.", "liked")
_feedback("dislike", "Remember that you dislike tracks.", "disliked")
_feedback("unlike", "Take back a like or a dislike; the history keeps both.", "no longer liked or disliked")
_feedback("skip", "Remember that you skipped tracks.", "skipped")
_feedback("play", "Remember that you played tracks.", "played")


@cli.command()
@click.argument("action", type=click.Choice(["list", "create", "export", "delete"]))
@click.argument("name", required=False)
@library_option
@json_option
def profile(action: str, name: str | None, folder: str | None, as_json: bool) -> None:
    """List, create, export or delete profiles: who likes what.

    Export prints all that a profile said as JSON, with what is known of each track.
    """
    if name is None and action in ("create", "delete"):
        raise click.UsageError(f"profile {action} wants a NAME")
    with open_library(folder) as library:
        if action == "create":
            made = library.create_profile(name or "")
            _tell(as_json, {"created": made}, f"made the profile {made}")
        elif action == "delete":
            gone = library.delete_profile(name or "")
            _tell(
                as_json,
                {"deleted": name, "forgotten": gone},
                f"deleted {name}; forgot {count_of(gone, 'mark')}",
            )
        elif action == "export":
            known = {track.id: track for track in library.tracks()}
            rows = [
                {**asdict(said), **_about(known.get(said.track))}
                for said in library.history(name or "default")
            ]
            print_json({"profile": name or "default", "history": rows})
        else:
            profiles = library.profiles()
            if as_json:
                print_json([asdict(one) for one in profiles])
                return
            titles = ("name", "likes", "dislikes", "skips", "plays")
            print_table(
                titles, [[str(getattr(one, t)) for t in titles] for one in profiles], right=titles[1:]
            )


def print_taste(library: "Library", file: str, as_json: bool) -> None:
    """Take in an exported profile and say what became of it; see `collection.import_`."""
    from soundkin.scan import printable

    done = library.import_profile(file)
    told = f"{count_of(done.new, 'new mark')} of {done.marks} for the profile {printable(done.profile)}"
    _tell(
        as_json, {"file": file, **asdict(done)}, told + (f", {done.known} known before" if done.known else "")
    )
    if done.lost and not as_json:
        shown = ", ".join(map(printable, done.lost[:5])) + (" ..." if len(done.lost) > 5 else "")
        say(f"not in the library: {shown}")


def _tell(as_json: bool, document: Any, text: str) -> None:
    if as_json:
        print_json(document)
    else:
        click.echo(text)


def _about(track: Any) -> dict[str, str]:
    """Return what finds a track again in another library."""
    names = ("path", "artist", "title", "album", "content", "recording_mbid")
    return {name: getattr(track, name) if track else "" for name in names}


@cli.command()
@click.option("--like", "likes", multiple=True, metavar="QUERY", help="A file, an id or words; repeatable.")
@click.option("--dislike", "dislikes", multiple=True, metavar="QUERY", help="The same, to get away from.")
@click.option(
    "--profile",
    help="Whose likes, dislikes and skips count as well.  [default: default, if nothing is given]",
)
@click.option("-k", type=click.IntRange(min=1), default=20, show_default=True, help="How many tracks.")
@click.option(
    "--strategy", type=click.Choice(["agreement", "best", "sum", "average"]), default="agreement", show_default=True,
    help="How likes come together.",
)  # fmt: skip
@filter_option
@click.option("--discover", is_flag=True, help="Prefer what was never played, or not for long.")
@click.option("--hybrid", is_flag=True, help="Also go by what such people play; see soundkin taste train.")
@variety_options
@space_option
@click.option(
    "--m3u",
    type=click.Path(dir_okay=False),
    help="Also write the answer as a playlist: .m3u8, .xspf or .jspf.",
)
@why_option
@library_option
@qdrant_options
@json_option
def recommend(
    likes: tuple[str, ...],
    dislikes: tuple[str, ...],
    profile: str | None,
    k: int,
    strategy: str,
    filters: tuple[str, ...],
    discover: bool,
    hybrid: bool,
    per_artist: int | None,
    per_album: int | None,
    diversity: float | None,
    space: str | None,
    m3u: str | None,
    why: bool,
    folder: str | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Recommend tracks, from what you like and dislike: given here, or remembered by soundkin like."""
    if profile is None and not likes:
        profile = "default"
    variety = variety_of(per_artist, per_album, diversity)
    with open_library(folder, qdrant, api_key) as library:
        liked, disliked = take(library, likes), take(library, dislikes)
        hits = library.recommend(
            liked, disliked, profile, k, strategy, list(filters), space, variety, discover, hybrid
        )
        if not as_json:
            say_taken(liked)
            say_taken(disliked, "unlike")
        if hybrid and (reason := library.why_no_taste(profile, likes)):
            say(f"by sound alone: {reason}")
        document = {
            "profile": profile, "likes": likes, "dislikes": dislikes, "strategy": strategy,
            "space": library.space(space).id, "tracks": [taken_for(one) for one in (*liked, *disliked)],
            "hits": ranked(hits),
        }  # fmt: skip
        asked = {
            "filters": filters, "profile": profile, "likes": liked, "dislikes": disliked, "space": space,
        }  # fmt: skip
        print_answer(library, hits, document, asked, m3u, why, as_json, _ORDER)
