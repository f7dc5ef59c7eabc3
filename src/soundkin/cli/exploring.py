"""Commands that show a library: its map, its clusters, a few tracks side by side."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import (
    cli,
    clock,
    count_of,
    json_option,
    library_option,
    name_of,
    open_library,
    print_json,
    print_table,
    rounds_progress,
    say,
    space_option,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from soundkin.explore.comparison import Comparison
    from soundkin.library import Library
    from soundkin.recommend.clusters import Cluster
    from soundkin.record import Track

_COLOURS = ("genre", "artist", "album", "cluster", "tempo", "energy", "year", "liked")
_TYPICAL = 3


@cli.command("map")
@click.argument("out", nargs=-1, required=True, type=click.Path(dir_okay=False))
@library_option
@click.option(
    "--method", type=click.Choice(["tsne", "pca", "umap"]), default="tsne", show_default=True,
    help="t-SNE and UMAP keep neighbours together; PCA keeps distances.",
)  # fmt: skip
@click.option(
    "--color", type=click.Choice(_COLOURS), default="genre", show_default=True, help="What colours stand for."
)
@click.option(
    "--profile", default="default", show_default=True, help="Whose likes are coloured, with --color liked."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the layout.")
@click.option(
    "--server", default="http://127.0.0.1:8765", show_default=True, metavar="URL",
    help="Where the server runs: the page plays a track that is clicked from there.",
)  # fmt: skip
@space_option
@json_option
def map_(
    out: tuple[str, ...],
    folder: str | None,
    method: str,
    color: str,
    profile: str,
    seed: int,
    server: str,
    space: str | None,
    as_json: bool,
) -> None:
    """Draw the library as a map: OUT is .html to look around in, or .png, .svg or .pdf; several at once.

    Tracks stay where they are as others come. Needs `pip install 'soundkin[maps]'`.
    """
    from soundkin.explore import pages, projection
    from soundkin.scan import printable

    with open_library(folder) as library:
        tracks, vectors, space_id = _loaded(library, space)
        ids = [track.id for track in tracks]
        told = _told(library, tracks, vectors, color, profile)
        with rounds_progress(f"laying out {count_of(len(tracks), 'track')}") as progress:
            layout = projection.keep_up(library.place, ids, vectors, space_id, method, seed, progress)
    colours = pages.colouring(tracks, color, told)
    trust = round(projection.trustworthiness(vectors, layout.places), 4)
    title = f"{len(tracks)} tracks by sound ({space_id}, {method})"
    for file in out:
        if os.path.splitext(file)[1].lower() in (".html", ".htm"):
            pages.page(file, tracks, layout.places, colours, title, server)
        else:
            pages.draw(file, layout.places, colours, title)
        say(f"wrote {printable(file)}")
    if as_json:
        rows = zip(ids, layout.places.tolist(), colours.labels, strict=True)
        print_json({
            "space": space_id, "method": method, "color": color, "trustworthiness": trust, "anchors": layout.anchors,
            "tracks": [{"id": i, "x": round(x, 4), "y": round(y, 4), "label": label} for i, (x, y), label in rows],
        })  # fmt: skip
        return
    click.echo(
        f"{len(tracks)} tracks; neighbours on the map are neighbours in sound: {trust:.3f} of 1 (trustworthiness)"
    )
    if method != "pca":
        click.echo("what is near is alike; how far apart groups are says nothing")


@cli.command()
@library_option
@click.option(
    "--method", type=click.Choice(["kmeans", "hdbscan"]), default="kmeans", show_default=True,
    help="k-means gives every track a cluster; HDBSCAN leaves out what belongs to none.",
)  # fmt: skip
@click.option(
    "--count",
    type=click.IntRange(min=2),
    help="How many, for k-means.  [default: about the root of half the tracks, 40 at most]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of k-means.")
@click.option(
    "--playlists",
    type=click.Path(file_okay=False),
    help="Also write each cluster as a playlist to this folder.",
)
@space_option
@json_option
def clusters(
    folder: str | None,
    method: str,
    count: int | None,
    seed: int,
    playlists: str | None,
    space: str | None,
    as_json: bool,
) -> None:
    """Group the library by sound, and name each group by what sets it apart.

    The groups have the same numbers in `soundkin playlist --cluster` and in the web app, unless other ones are asked
    for. HDBSCAN needs `pip install 'soundkin[maps]'`.
    """
    if method == "hdbscan" and count is not None:
        raise click.UsageError("--count is for k-means; HDBSCAN finds how many there are")
    left = 0
    with open_library(folder) as library:
        chosen = library.space(space).id
        if method == "hdbscan":
            found, left = _natural(library, chosen)
        else:
            found = library.clusters(chosen, count, seed)
    if method == "hdbscan" or count is not None or seed:
        say(
            "`playlist --cluster` numbers the groups of `soundkin clusters` without --method, --count and --seed"
        )
    if playlists:
        _write_playlists(playlists, found)
    if as_json:
        told = {"space": chosen, "method": method, "unassigned": left}
        print_json({**told, "clusters": as_documents(found)})
        return
    print_clusters(found)
    if left:
        click.echo(f"{left} tracks belong to none")


def as_documents(found: Sequence["Cluster"]) -> list[dict[str, Any]]:
    """Turn clusters into what --json prints."""
    return [{"number": c.number, "name": c.name, "tracks": [track.id for track in c.tracks]} for c in found]


def print_clusters(found: Sequence["Cluster"]) -> None:
    """Print clusters as a table."""
    rows = [
        [
            str(c.number),
            str(len(c.tracks)),
            c.name,
            "; ".join(list(dict.fromkeys(map(name_of, c.tracks)))[:_TYPICAL]),
        ]
        for c in found
    ]
    print_table(["#", "tracks", "set apart by", "typical"], rows, right=("#", "tracks"))


def _natural(library: "Library", space: str) -> tuple[list["Cluster"], int]:
    """Return the clusters of HDBSCAN, and how many tracks belong to none."""
    from soundkin.explore.clusters import natural
    from soundkin.recommend.clusters import UNASSIGNED, describe

    tracks, vectors, _ = _loaded(library, space)
    labels = natural(vectors)
    return describe(tracks, vectors, labels), int((labels == UNASSIGNED).sum())


def _loaded(library: "Library", space: str | None) -> tuple[list["Track"], "NDArray[np.float32]", str]:
    chosen = library.space(space).id
    ids, vectors = library.vectors(chosen)
    tracks = {track.id: track for track in library.tracks()}
    there = [row for row, name in enumerate(ids) if name in tracks]  # one may have gone while we looked
    return [tracks[ids[row]] for row in there], vectors if len(there) == len(ids) else vectors[there], chosen


def _told(
    library: "Library", tracks: Sequence["Track"], vectors: "NDArray[np.float32]", color: str, profile: str
) -> list[str] | None:
    """Return what colours need to know that tracks do not say."""
    from soundkin.explore import pages
    from soundkin.recommend.clusters import describe, group
    from soundkin.record import Record

    if color == "cluster":
        # as `Library.clusters` does, of what was read: the library may have changed since
        named = {
            row: f"{c.number} {c.name}" for c in describe(tracks, vectors, group(vectors)) for row in c.rows
        }
        return [named[row] for row in range(len(tracks))]
    if color == "liked":
        with Record.open(library.place) as record:
            return pages.opinions(tracks, record.opinions(profile))
    return None


def _write_playlists(folder: str, found: Sequence["Cluster"]) -> None:
    import re
    from pathlib import Path

    from soundkin.errors import InputError
    from soundkin.playlists import write_m3u8
    from soundkin.scan import printable

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {printable(folder)}: {error.strerror or error}") from error
    for cluster in found:
        plain = re.sub(r"[^\w ,-]+", "_", cluster.name).strip()[:60]
        write_m3u8(Path(folder) / f"{cluster.number:02} {plain}.m3u8", cluster.tracks)
    say(f"wrote {len(found)} playlists to {printable(folder)}")


@cli.command()
@click.argument("queries", nargs=-1, required=True)
@library_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="Also draw how alike their moments are: .png, .svg or .pdf.",
)
@space_option
@json_option
def compare(
    queries: tuple[str, ...], folder: str | None, out: str | None, space: str | None, as_json: bool
) -> None:
    """Compare tracks: how alike they are in every space, at which moments, and tempo, key and energy side by side.

    QUERIES are two to twelve tracks: files, in the library or not, ids or words.
    """
    from soundkin.explore import comparison
    from soundkin.scan import printable

    with open_library(folder) as library:
        found = comparison.compare(library, queries, space)
    names = [name_of(track) for track in found.tracks]
    if out:
        comparison.draw(out, found, names)
        say(f"wrote {printable(out)}")
    if as_json:
        print_json(_compared(found))
    else:
        _print_comparison(found, names)


def _compared(found: "Comparison") -> dict[str, Any]:
    facts = ("id", "path", "title", "artist", "album", "duration", "bpm", "key", "energy", "loudness")
    moments, keys = found.moments(), [track.id or track.path for track in found.tracks]
    return {
        "space": found.space,
        "tracks": [{name: getattr(track, name) for name in facts} for track in found.tracks],
        "similarity": {
            name: [[None if x != x else round(x, 4) for x in row] for row in matrix.tolist()]  # NaN is not itself
            for name, matrix in found.similar.items()
        },
        "moments": [
            {
                "first": keys[m.first], "second": keys[m.second], "at": round(m.at, 2),
                "there": round(m.there, 2), "similarity": round(m.similarity, 4),
            }
            for m in moments
        ],
    }  # fmt: skip


def _print_comparison(found: "Comparison", names: Sequence[str]) -> None:
    numbers = [str(i) for i in range(1, len(names) + 1)]
    facts = [
        [
            number, name, clock(t.duration), "-" if t.bpm is None else f"{t.bpm:.0f}", t.key or "-",
            "-" if t.energy is None else f"{t.energy:.2f}", "-" if t.loudness is None else f"{t.loudness:.0f} dB",
        ]
        for number, name, t in zip(numbers, names, found.tracks, strict=True)
    ]  # fmt: skip
    print_table(
        ["#", "track", "length", "tempo", "key", "energy", "loudness"], facts, right=("#", "length", "tempo")
    )
    for space, matrix in found.similar.items():
        click.echo(f"similarity in {space}")
        rows = [
            [numbers[i], *("-" if x != x else f"{x:.3f}" for x in row)]
            for i, row in enumerate(matrix.tolist())
        ]
        print_table(["", *numbers], rows, right=numbers)
    if moments := found.moments():
        click.echo(f"moments most alike ({found.space})")
        rows = [
            [numbers[m.first], clock(m.at), numbers[m.second], clock(m.there), f"{m.similarity:.3f}"]
            for m in moments
        ]
        print_table(["track", "at", "and", "at", "similarity"], rows, right=("at", "similarity"))


@cli.command()
@click.argument("out", type=click.Path(file_okay=False))
@library_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of maps, groups and intervals."
)
@space_option
@json_option
def report(out: str, folder: str | None, seed: int, space: str | None, as_json: bool) -> None:
    """Write all about the library to the folder OUT: a page in HTML, the same in Markdown, and every figure.

    Needs `pip install 'soundkin[maps]'`.
    """
    from soundkin import report as reports
    from soundkin.scan import printable

    with open_library(folder) as library:
        written = reports.write(library, out, space, seed, say)
    if as_json:
        print_json({"files": written})
        return
    for file in written:
        click.echo(printable(file))
