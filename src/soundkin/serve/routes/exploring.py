"""The library as a whole: its map, its clusters, what it has twice, tracks side by side."""

import json
import struct
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from soundkin.explore import comparison
from soundkin.recommend.versions import Group
from soundkin.serve import models
from soundkin.serve.answers import tracks_of
from soundkin.serve.jobs import best_method
from soundkin.serve.state import ProfileParameter, Shared, State, profile_of

router = APIRouter(tags=["exploring"])

SpaceParameter = Annotated[str | None, Query(max_length=500)]
_RETRY_SECONDS = 2
_KINDS = {"uint64": "u64", "float32": "f32", "uint16": "u16", "uint32": "u32", "uint8": "u8"}
_WORKING: dict[int | str, dict[str, Any]] = {
    202: {"description": "It is being made: ask again", "model": models.Working}
}


def _working() -> JSONResponse:
    return JSONResponse(
        models.Working(state="working", retry=_RETRY_SECONDS).model_dump(),
        202,
        {"retry-after": str(_RETRY_SECONDS)},
    )


@router.get("/map", response_class=Response, responses=_WORKING)
async def map_(
    shared: Shared,
    request: Request,
    method: Literal["tsne", "umap", "pca"] | None = None,
    space: SpaceParameter = None,
    profile: ProfileParameter = None,
) -> Response:
    """Return every track with its place on the map, in columns; docs/api.md has the format."""
    who = profile_of(request, profile)

    def answer() -> bytes | None:
        library = shared.browser
        chosen, revision = library.space(space).id, library.revision
        how = method or best_method(library.place, chosen, library.page(limit=0)[0])
        verdicts, played = library.verdicts(who), library.played(who)
        found = shared.jobs.get(revision, "map", chosen, how)
        return None if found is None else _packed(found, revision, verdicts, played)

    data = await shared.browse(answer)
    return _working() if data is None else Response(data, media_type="application/octet-stream")


def _packed(found: dict[str, Any], revision: int, verdicts: dict[str, str], played: set[str]) -> bytes:
    columns: dict[str, NDArray[Any]] = dict(found["columns"])
    place = {number: row for row, number in enumerate(columns["id"].tolist())} if verdicts or played else {}
    columns["verdict"] = np.zeros(found["count"], np.uint8)
    columns["played"] = np.zeros(found["count"], np.uint8)
    for id_, verdict in verdicts.items():
        if (row := place.get(int(id_, 16))) is not None:
            columns["verdict"][row] = 1 if verdict == "like" else 2
    for id_ in played:
        if (row := place.get(int(id_, 16))) is not None:
            columns["played"][row] = 1
    head: dict[str, Any] = {name: value for name, value in found.items() if name != "columns"}
    head |= {"revision": revision, "columns": {}}
    parts, at = [], 0
    for name, column in columns.items():
        head["columns"][name] = {"type": _KINDS[column.dtype.name], "at": at}
        data = column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()
        parts.append(data + bytes(-len(data) % 8))
        at += len(parts[-1])
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return b"".join([struct.pack("<I", len(text)), text, *parts])


@router.get("/clusters", response_model=list[models.Cluster], responses=_WORKING)
async def clusters(shared: Shared, request: Request, space: SpaceParameter = None) -> Any:
    """Put the tracks that sound alike together."""
    who = profile_of(request)

    def answer() -> list[models.Cluster] | None:
        library = shared.browser
        found = shared.jobs.get(library.revision, "clusters", library.space(space).id)
        if found is None:
            return None
        return [
            models.Cluster(
                number=number, name=name, count=count, tracks=tracks_of(library, library.tracks_of(ids), who)
            )
            for number, (name, count, ids) in enumerate(found, 1)
        ]

    made = await shared.browse(answer)
    return _working() if made is None else made


@router.get("/duplicates", response_model=models.Duplicates, responses=_WORKING)
async def duplicates(
    shared: Shared,
    request: Request,
    kind: Literal["recording", "version"] | None = None,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    space: SpaceParameter = None,
) -> Any:
    """Find what the library has more than once, with evidence; nothing is changed."""
    who = profile_of(request)

    def answer() -> models.Duplicates | None:
        library = shared.browser
        found: list[Group] | None = shared.jobs.get(library.revision, "duplicates", library.space(space).id)
        if found is None:
            return None
        wanted = [group for group in found if kind in (None, group.kind)]
        groups = [_group(shared, group, who) for group in wanted[offset : offset + limit]]
        return models.Duplicates(total=len(wanted), offset=offset, groups=groups)

    made = await shared.browse(answer)
    return _working() if made is None else made


def _group(shared: State, group: Group, profile: str) -> models.DuplicateGroup:
    pairs = [models.DuplicatePair.model_validate(pair, from_attributes=True) for pair in group.pairs]
    return models.DuplicateGroup.model_validate(
        {"kind": group.kind, "tracks": tracks_of(shared.browser, group.tracks, profile), "pairs": pairs}
    )


@router.post("/compare")
async def compare(asked: models.CompareRequest, shared: Shared, request: Request) -> models.Comparison:
    """Put two to twelve tracks side by side, in every space."""
    who = profile_of(request)

    def answer() -> models.Comparison:
        library = shared.browser
        ids = [library.find(query, files=False).id for query in asked.tracks]
        found = comparison.compare(library, ids, asked.space)
        return models.Comparison(
            space=found.space,
            tracks=tracks_of(library, found.tracks, who),
            similarity={
                name: [
                    [None if x != x else round(x, 4) for x in row] for row in matrix.tolist()
                ]  # NaN is not itself
                for name, matrix in found.similar.items()
            },
            moments=[
                models.AlikeMoment(
                    first=found.tracks[m.first].id,
                    second=found.tracks[m.second].id,
                    at=m.at,
                    there=m.there,
                    similarity=m.similarity,
                )
                for m in found.moments()
            ],
        )

    return await shared.browse(answer)
