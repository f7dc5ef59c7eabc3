"""Commands that make lists: a path, a radio, a mix; and the one that shows what is there twice."""

import os
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import (
    cli,
    clock,
    count_of,
    filter_option,
    grouped,
    json_option,
    library_option,
    name_of,
    open_library,
    print_json,
    print_table,
    qdrant_options,
    ranked,
    say,
    say_taken,
    space_option,
    take,
    taken_for,
    write_list,
)
from soundkin.cli.exploring import as_documents, print_clusters
from soundkin.cli.taste import variety_of, variety_options

if TYPE_CHECKING:
    from soundkin.library import Library
    from soundkin.recommend import Hit
    from soundkin.recommend.radio import Radio
    from soundkin.recommend.versions import Group

write_options = grouped(
    click.option(
        "-o", "--output", type=click.Path(dir_okay=False), metavar="FILE",
        help="Also write it as a playlist: .m3u8, .xspf or .jspf.",
    ),
    click.option("--relative", is_flag=True, help="Write paths relative to the playlist."),
)  # fmt: skip
seed_option = click.option("--seed", type=int, help="Another seed, another list.")
who_option = click.option("--profile", help="Who asks, see soundkin profile.")


class Length(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """A length of time: 90, 60min, 1.5h, 1:30:00; a plain number is minutes."""

    name = "length"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Return seconds."""
        seconds = value if isinstance(value, float) else self._seconds(str(value).strip().lower())
        if not seconds:
            self.fail(f"{value!r} is no length, wanted one like 60min, 1.5h or 1:30:00", parameter, context)
        return seconds

    @staticmethod
    def _seconds(text: str) -> float:
        """Return 0.0 for what is no length."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|minutes|h|hours?)?", text, re.ASCII)
        if found:
            unit = {"s": 1.0, "h": 3600.0}.get((found[2] or "m")[0], 60.0)
            return float(found[1]) * unit
        if not re.fullmatch(r"\d+:\d\d(:\d\d)?", text, re.ASCII):
            return 0.0
        seconds = 0.0
        for part in text.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds


@cli.command()
@click.argument("start")
@click.argument("end")
@click.option(
    "-n", type=click.IntRange(2, 200), default=12, show_default=True, help="Tracks, with both ends."
)
@filter_option
@who_option
@seed_option
@variety_options
@write_options
@library_option
@space_option
@qdrant_options
@json_option
def path(
    start: str,
    end: str,
    n: int,
    filters: tuple[str, ...],
    profile: str | None,
    seed: int | None,
    per_artist: int | None,
    per_album: int | None,
    diversity: float | None,
    output: str | None,
    relative: bool,
    folder: str | None,
    space: str | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Go from one track to another in small steps.

    START and END are files (in the library or not), track ids, or words.
    """
    rules = variety_of(per_artist, per_album, diversity)
    with open_library(folder, qdrant, api_key) as library:
        journey = library.path(start, end, n, list(filters), space, rules, seed, profile)
        chosen = library.space(space).id
    write_list(output, journey.hits, f"{journey.hits[0].name} to {journey.hits[-1].name}", relative)
    if len(journey.hits) < n:
        say(f"only {len(journey.hits)} tracks lie on the way")
    for place in journey.jumps:
        before, here = journey.hits[place - 1 : place + 1]
        why = (
            "nothing in the library lies between"
            if len(journey.hits) > 2 or n > 2
            else "-n 2 leaves no room between"
        )
        say(f"a jump, {why}: {name_of(before)} -> {name_of(here)}")
    if as_json:
        print_json({"space": chosen, "hits": ranked(journey.hits), "jumps": journey.jumps})
    else:
        _print_list(journey.hits, "step")


@cli.command()
@click.argument("query", required=False)
@click.option("--profile", help="Who listens: likes, skips and plays are remembered.")
@click.option(
    "-n", type=click.IntRange(min=1), help="How many tracks.  [default: on and on; 20 when not on a terminal]"
)
@filter_option
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another order.")
@variety_options
@write_options
@library_option
@space_option
@qdrant_options
@json_option
def radio(
    query: str | None,
    profile: str | None,
    n: int | None,
    filters: tuple[str, ...],
    seed: int,
    per_artist: int | None,
    per_album: int | None,
    diversity: float | None,
    output: str | None,
    relative: bool,
    folder: str | None,
    space: str | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Play on and on from QUERY, or from what a profile likes.

    On a terminal it shows one track at a time and asks: Enter for the next, l to like, s to skip, d to dislike, q to
    quit. With -n, or when something else reads along, it lists tracks.
    """
    rules = variety_of(per_artist, per_album, diversity)
    asks = n is None and not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    with open_library(folder, qdrant, api_key) as library:
        taken = None if query is None else take(library, [query])[0]
        queue = library.radio(taken, profile, list(filters), space, rules, seed, remember=asks)
        if not as_json:
            say_taken([taken])
        hits = _listen(queue) if asks else [hit for hit, _ in zip(queue, range(n or 20), strict=False)]
        why = "" if hits else library.why_nothing(filters, profile, taken, space=space)
    write_list(output, hits, f"Radio {query or profile}", relative)
    if as_json:
        print_json({"query": query, "track": taken_for(taken), "profile": profile, "hits": ranked(hits)})
    elif not asks:
        _print_list(hits, "similarity")
        if hits:
            say("similarity is that with what a track follows: where the radio began, or the track before it")
    if why:
        say(why)


@cli.command()
@click.option("--from-profile", "profile", help="Of what this profile likes.")
@click.option("--like", "likes", multiple=True, metavar="QUERY", help="Of what sounds like this; repeatable.")
@click.option(
    "--mood",
    "moods",
    multiple=True,
    help="calm, energetic, happy, sad, party, ...; repeatable, all must fit.",
)
@click.option("--cluster", type=click.IntRange(min=1), help="Of this one of `soundkin clusters`.")
@click.option(
    "--clusters",
    "list_clusters",
    is_flag=True,
    help="List the clusters of the library instead, as `soundkin clusters` does.",
)
@click.option("--length", type=Length(), help="How long: 60min, 1.5h.")
@click.option(
    "-n", type=click.IntRange(min=1), help="How many tracks.  [default: 25, or what fills the length]"
)
@filter_option
@seed_option
@variety_options
@write_options
@library_option
@space_option
@qdrant_options
@json_option
def playlist(
    profile: str | None,
    likes: tuple[str, ...],
    moods: tuple[str, ...],
    cluster: int | None,
    list_clusters: bool,
    length: float | None,
    n: int | None,
    filters: tuple[str, ...],
    seed: int | None,
    per_artist: int | None,
    per_album: int | None,
    diversity: float | None,
    output: str | None,
    relative: bool,
    folder: str | None,
    space: str | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Make a mix: of a profile, of what some tracks sound like, of a mood, or of a cluster."""
    rules = variety_of(per_artist, per_album, diversity)
    with open_library(folder, qdrant, api_key) as library:
        if list_clusters:
            found = library.clusters(space)
            print_json(as_documents(found)) if as_json else print_clusters(found)
            return
        liked = take(library, likes)
        hits = library.mix(liked, profile, moods, cluster, n, length, list(filters), space, rules, seed)
        if not as_json:
            say_taken(liked)
        why = "" if hits else library.why_nothing(filters, profile, None, liked, (), moods, cluster, space)
    named = [*moods, *likes, *([profile] if profile else []), *([f"cluster {cluster}"] if cluster else [])]
    write_list(output, hits, f"Mix: {', '.join(named)}", relative)
    if as_json:
        seconds = round(sum(hit.duration for hit in hits), 3)
        print_json({"tracks": [taken_for(one) for one in liked], "seconds": seconds, "hits": ranked(hits)})
    else:
        _print_list(hits, "similarity" if likes or profile is not None else "")
        if hits:
            click.echo(f"{count_of(len(hits), 'track')}, {clock(sum(hit.duration for hit in hits))}")
    if why:
        say(why)


@cli.command()
@library_option
@space_option
@click.option(
    "--kind", type=click.Choice(["recording", "version"]),
    help="Only the same recording, or only other versions.  [default: both]",
)  # fmt: skip
@json_option
def duplicates(folder: str | None, space: str | None, kind: str | None, as_json: bool) -> None:
    """Show what the library has more than once, with evidence. Nothing is merged or deleted.

    First the same recording, also re-encoded, trimmed, louder or remastered; then likely other versions of a piece,
    such as live ones and remixes.
    """
    with open_library(folder) as library:
        groups = [group for group in library.duplicates(space) if kind in (None, group.kind)]
        if lack := library.without_fingerprint():
            say(
                f"{count_of(lack, 'track')} without a fingerprint, of which only copies of the same length are found: "
                "`soundkin index PATHS --fingerprints` makes them"
            )
    if as_json:
        print_json([_group(group) for group in groups])
    elif not groups:
        click.echo("nothing is there twice")
    else:
        for group in groups:
            _print_group(group)


def print_found(library: "Library", file: str, output: str | None, relative: bool, as_json: bool) -> None:
    """Print what the entries of a playlist are in the library; see `collection.import_`."""
    from soundkin.scan import printable

    found = library.find_list(file)
    here = [one.track for one in found if one.track is not None]
    write_list(output, here, os.path.splitext(os.path.basename(file))[0], relative)
    if as_json:
        rows = [
            {"location": one.entry.location, "by": one.by, "track": asdict(one.track) if one.track else None}
            for one in found
        ]
        print_json({"file": file, "entries": len(found), "found": len(here), "tracks": rows})
        return
    for place, one in enumerate(found, 1):
        if one.track is not None:
            click.echo(f"{place:>4}  {one.by:<6}{name_of(one.track)}")
        else:
            click.echo(f"{place:>4}  {'-':<6}{printable(one.entry.location or one.entry.title)}")
    click.echo(f"{len(here)} of {len(found)} are in the library")


def _listen(queue: "Radio") -> list["Hit"]:
    """Show one track after the other and do what is said."""
    hits = []
    for hit in queue:
        hits.append(hit)
        click.echo(
            f"{len(hits):>3}  {name_of(hit)} ({clock(hit.duration)})\n     {click.format_filename(hit.path)}"
        )
        while True:
            said = click.prompt("     next, like, skip, dislike, quit", "n", show_default=False)[:1].lower()
            if said == "q":
                return hits
            if said in "lsd":
                {"l": queue.like, "s": queue.skip, "d": queue.dislike}[said](hit)
            if said in "nsd":
                break
            if said != "l":
                click.echo("     Enter for the next, l to like, s to skip, d to dislike, q to quit")
    return hits


def _print_list(hits: list["Hit"], measure: str) -> None:
    if not hits:
        click.echo("no track in the library passes")
        return
    rows = [
        [str(i), f"{hit.similarity:.3f}", hit.name, hit.artist, hit.album, clock(hit.duration)]
        for i, hit in enumerate(hits, 1)
    ]
    titles = ["#", measure, "title", "artist", "album", "length"]
    if not measure:  # nothing was asked that a track could be similar to
        titles, rows = [titles[0], *titles[2:]], [[row[0], *row[2:]] for row in rows]
    print_table(titles, rows, right=("#", measure, "length"), one_line=True)


def _group(group: "Group") -> dict[str, Any]:
    tracks = [
        {
            "id": track.id, "path": track.path, "title": track.title, "artist": track.artist, "album": track.album,
            "format": track.format, "duration": track.duration, "size": track.size,
        }
        for track in group.tracks
    ]  # fmt: skip
    return {"kind": group.kind, "tracks": tracks, "pairs": [asdict(pair) for pair in group.pairs]}


def _print_group(group: "Group") -> None:
    from soundkin.scan import printable

    what = "the same recording" if group.kind == "recording" else "versions of a piece"
    click.echo(f"{what}: {name_of(group.tracks[0])}")
    places = {track.id: i for i, track in enumerate(group.tracks, 1)}
    for track in group.tracks:
        rate = track.size * 8 / max(track.duration, 1.0) / 1000
        click.echo(
            f"  {places[track.id]}  {track.format} {rate:.0f} kbit/s {clock(track.duration)}  {printable(track.path)}"
        )
    for track in group.tracks[1:]:
        # with the best file, if those two were found alike, else with the best one that it was found like
        pair = min(
            (pair for pair in group.pairs if track.id in (pair.a, pair.b)),
            key=lambda pair: places[pair.a] + places[pair.b],
        )
        other = places[pair.a] + places[pair.b] - places[track.id]
        one, other = sorted((places[track.id], other))
        click.echo(f"     {one} and {other}: {', '.join(pair.evidence)}")
