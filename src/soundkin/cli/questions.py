"""Commands that ask the library."""

import re
from typing import Any

import click

from soundkin.cli.common import (
    cli,
    filter_option,
    json_option,
    library_option,
    open_library,
    print_answer,
    qdrant_options,
    ranked,
    say_taken,
    space_option,
    take,
    taken_for,
    why_option,
)

_ORDER = "ordered by how rare such a similarity is for both tracks: what resembles everything comes later"
_MOMENT = 10.0  # seconds


class Clock(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """Seconds, or m:ss, or h:mm:ss."""

    name = "time"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        text = str(value)
        if not re.fullmatch(r"(\d+:)?(\d+:)?\d+(\.\d+)?", text, re.ASCII):
            self.fail(f"{text!r} is no time, wanted seconds or m:ss", parameter, context)
        seconds = 0.0
        for part in text.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds


@cli.command()
@click.argument("query", required=False)
@library_option
@click.option("--text", help="Instead of QUERY, what it should sound like; needs a space of clap.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many tracks.")
@filter_option
@click.option("--at", type=Clock(), metavar="TIME", help="Ask with the moment that begins here, like 1:30.")
@click.option("--seconds", type=click.FloatRange(min=0.5), help="How long it is, with --at.  [default: 10]")
@click.option("--moments", is_flag=True, help="Order tracks by the moment of each that comes nearest.")
@click.option(
    "--versions", is_flag=True, help="Keep copies and other versions of it in the answer, and name them."
)
@click.option("--profile", help="Who asks, for filters like liked, see soundkin profile.")
@space_option
@click.option(
    "--m3u",
    type=click.Path(dir_okay=False),
    help="Also write the answer as a playlist: .m3u8, .xspf or .jspf.",
)
@why_option
@qdrant_options
@json_option
def similar(
    query: str | None,
    folder: str | None,
    text: str | None,
    k: int,
    filters: tuple[str, ...],
    at: float | None,
    seconds: float | None,
    moments: bool,
    versions: bool,
    profile: str | None,
    space: str | None,
    m3u: str | None,
    why: bool,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Find what sounds like QUERY: a file (in the library or not), a track id, or words."""
    if (query is None) == (text is None):
        raise click.UsageError("give a QUERY or --text, one of them")
    if seconds is not None and at is None:
        raise click.UsageError("--seconds says how long the moment of --at is: give both")
    seconds = _MOMENT if seconds is None else seconds
    with open_library(folder, qdrant, api_key) as library:
        asked = "+".join(one.id for one in library.asked(space, text))
        taken = None if query is None else take(library, [query])[0]
        hits = library.similar(
            taken,
            k,
            list(filters),
            space,
            at,
            seconds,
            moments,
            versions=versions,
            profile=profile,
            text=text,
        )
        document: dict[str, Any] = {
            "query": query or text, "track": taken_for(taken), "space": asked, "hits": ranked(hits),
        }  # fmt: skip
        if at is not None:
            document |= {"at": at, "seconds": seconds}
        if not as_json:
            say_taken([taken])
        again = {"filters": filters, "profile": profile, "query": taken, "space": asked.split("+")[0]}
        print_answer(library, hits, document, again, m3u, why, as_json, _ORDER, by_moment=moments)
