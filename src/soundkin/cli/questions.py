"""Commands that ask the library."""

import click

from soundkin.cli.common import (
    cli,
    json_option,
    library_option,
    print_hits,
    print_json,
    qdrant_options,
    ranked,
    say,
    space_option,
)


@cli.command()
@click.argument("query", required=False)
@library_option
@click.option("--text", help="Instead of QUERY, what it should sound like; needs a space of clap.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many tracks.")
@click.option(
    "--filter", "filters", multiple=True, help="genre=samba, year>=1990, duration<10:00; repeatable."
)
@space_option
@click.option("--m3u", type=click.Path(dir_okay=False), help="Also write the answer as a playlist.")
@qdrant_options
@json_option
def similar(
    query: str | None,
    folder: str | None,
    text: str | None,
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

    if (query is None) == (text is None):
        raise click.UsageError("give a QUERY or --text, one of them")
    with Library.open(folder, qdrant, api_key) as library:
        hits = library.similar(query, k, list(filters), space, text=text)
        if m3u:
            from soundkin.playlists import write_m3u8
            from soundkin.scan import printable

            write_m3u8(m3u, [hit for hit in hits if hit.there])
            say(f"wrote {printable(m3u)}")
        if as_json:
            asked = "+".join(one.id for one in library.asked(space, text))
            print_json({"query": query or text, "space": asked, "hits": ranked(hits)})
        else:
            print_hits(hits, library.scanning() if not hits else "")
