"""Commands of a Qdrant server or cluster: how the collection of a library lies on it."""

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
    qdrant_options,
)
from soundkin.errors import StoreError

if TYPE_CHECKING:
    from soundkin.index.settings import QdrantCollection
    from soundkin.library import Library

_STATUS = {
    "green": "all is well",
    "yellow": "building graphs; it answers meanwhile, more slowly",
    "grey": "graphs wait to be built; any change starts it",
    "red": "something is wrong: see the server's log",
}


@cli.group("qdrant")
def qdrant_group() -> None:
    """Lay out the index on a Qdrant server or cluster."""


@qdrant_group.command("create")
@click.option(
    "--shards", type=click.IntRange(min=1), help="Parts, spread over the nodes.  [default: one per node]"
)
@click.option(
    "--replicas", type=click.IntRange(min=1), help="Copies of each part on different nodes.  [default: 1]"
)
@click.option(
    "--write-consistency",
    type=click.IntRange(min=1),
    help="Copies that must have a change before it counts as made.  [default: 1]",
)
@click.option(
    "--quantization",
    type=click.Choice(("none", "int8", "binary")),
    help="What is kept of each vector in memory to search by; whole vectors score what is found.  [default: none]",
)
@click.option(
    "--on-disk/--in-memory",
    default=None,
    help="Where whole vectors, payload and its indexes are.  [default: in memory]",
)
@library_option
@qdrant_options
@json_option
def create(
    shards: int | None,
    replicas: int | None,
    write_consistency: int | None,
    quantization: str | None,
    on_disk: bool | None,
    folder: str | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Make the library's collection on a Qdrant server, or make it anew with another layout.

    It is filled from the record beside the one that answers, which it replaces in one step when it is whole: nobody
    who asks waits. What is not said stays as it is. Before the first scan it makes an empty one.
    """
    from soundkin.index.settings import QdrantLayout

    layout = QdrantLayout(shards, replicas, write_consistency, quantization, on_disk)
    with open_library(folder, qdrant, api_key) as library:
        state = library.lay_out(layout)
    if as_json:
        print_json(asdict(state))
    else:
        print_pairs(told(state))


def told(state: "QdrantCollection") -> list[tuple[str, str]]:
    """Return what people want to know of a collection, as names and values."""
    layout = state.layout
    copies = f"{count_of(layout.shards or 1, 'shard')}, {_copies(layout.replicas or 1)}"
    if layout.replicas and layout.replicas > 1:
        copies += f", a write waits for {layout.write_consistency or 1}"
    where = "vectors on disk" if layout.on_disk else "vectors in memory"
    quantized = layout.quantization or "quantized in another way"
    searched = "not quantized" if quantized == "none" else f"searched by {quantized} in memory"
    status = (
        "no graphs are built: a load is under way, or was killed a moment ago"
        if state.loading
        else _STATUS[state.status]
    )
    return [
        ("qdrant", f"{state.place}: {state.alias}, now {state.collection}"),
        ("points", f"{state.points}, {state.indexed} vectors in graphs"),
        ("layout", f"{copies}; {where}, {searched}"),
        ("state", f"{state.status}: {status}"),
    ]


def _copies(replicas: int) -> str:
    return "1 copy of each" if replicas == 1 else f"{replicas} copies of each"


def ask_collection(library: "Library") -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
    """Ask how the collection is, for `status`: for --json and for people; trouble is told, not raised."""
    try:
        state = library.collection()
    except StoreError as error:
        return {"error": str(error)}, [("qdrant", str(error))]
    return (asdict(state), told(state)) if state else (None, [])
