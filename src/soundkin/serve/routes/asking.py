"""Questions: what is like it, what would somebody love, how to get from here to there, what comes next."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from soundkin.browsing import filter_of
from soundkin.errors import DecodeError, InputError
from soundkin.filters import Filter
from soundkin.library import Library
from soundkin.recommend import STRATEGIES, Hit
from soundkin.serve import models
from soundkin.serve.answers import answer_of, facet_of, hits_of, tracks_of
from soundkin.serve.answers import heard_of as heard
from soundkin.serve.state import Shared, State, asked_of, profile_of, variety_of

router = APIRouter(tags=["questions"])

_CHUNK = 1 << 20
_MOST_FIELDS = 40
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "k": {"type": "integer", "minimum": 1, "maximum": 500, "default": 10},
                        "filters": {"type": "array", "items": {"type": "string"}},
                        "space": {"type": "string"},
                        "profile": {"type": "string"},
                        "moments": {"type": "boolean", "default": False},
                    },
                }
            }
        },
    }
}


@router.post("/similar")
async def similar(asked: models.SimilarRequest, shared: Shared, request: Request) -> models.Answer:
    """Find what sounds like a track, like a moment of it, or as words describe it."""
    profile = profile_of(request, asked.profile)

    def answer() -> models.Answer:
        library = shared.library
        query = None if asked.query is None else library.find(asked.query, files=False)
        hits = library.similar(
            query, asked.k, asked.filters, asked.space, asked.at, asked.seconds, asked.moments,
            variety_of(asked.variety), asked.versions, profile, text=asked.text,
        )  # fmt: skip
        space = "+".join(one.id for one in library.asked(asked.space, asked.text))
        return models.Answer(**answer_of(library, hits, space, profile, asked.filters))

    waits = asked.at is not None or asked.text is not None
    return await (shared.listen(answer) if waits else shared.ask(answer))


@router.post("/similar/upload", openapi_extra=_FORM)
async def similar_upload(shared: Shared, request: Request) -> models.UploadAnswer:
    """Find what sounds like a file that is sent along; nothing of it is kept."""
    shared.begin_upload()
    try:
        async with _sent(request) as (path, name, fields):
            asked = _fields(fields)
            profile = profile_of(request, asked.profile)
            return await shared.listen(_like_upload, shared.library, path, name, asked, profile)
    finally:
        shared.end_upload()


def _like_upload(
    library: Library, path: str, name: str, asked: models.SimilarRequest, profile: str
) -> models.UploadAnswer:
    spaces = library.asked(asked.space)
    try:
        query = library.hear(path, spaces[0].id)
    except DecodeError as error:  # where it lay for a moment is nobody's business
        raise DecodeError(str(error).replace(path, "the file")) from error
    what = query if len(spaces) == 1 else path
    hits = library.similar(what, asked.k, asked.filters, asked.space, moments=asked.moments, profile=profile)
    answer = answer_of(library, hits, "+".join(one.id for one in spaces), profile, asked.filters)
    return models.UploadAnswer(**answer, heard=heard(query, name))


@asynccontextmanager
async def _sent(request: Request) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """Put the file of a form into a folder that goes when we are done; its path, its name, the other fields."""
    async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InputError("no file came: send it as the field `file` of multipart/form-data")
        named = file.filename or ""
        suffix = os.path.splitext(named)[1].lower()
        suffix = suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 6 else ""
        fields: dict[str, Any] = {key: form.get(key) for key in form if key not in ("file", "filters")}
        fields["filters"] = form.getlist("filters")
        with tempfile.TemporaryDirectory(prefix="soundkin-upload-") as folder:
            path = os.path.join(folder, f"upload{suffix}")
            with open(path, "wb") as out:
                while chunk := await file.read(_CHUNK):
                    out.write(chunk)
            yield path, named, fields


def _fields(fields: dict[str, Any]) -> models.SimilarRequest:
    """Read the fields of a form as those of a question."""
    allowed = {"k", "filters", "space", "profile", "moments"}
    if unknown := sorted(set(fields) - allowed):
        raise InputError(f"unknown field {unknown[0]!a}; there are file, {', '.join(sorted(allowed))}")
    given = {name: value for name, value in fields.items() if value not in ("", None)}
    try:
        return TypeAdapter(models.SimilarRequest).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@router.post("/recommend")
async def recommend(asked: models.RecommendRequest, shared: Shared, request: Request) -> models.Answer:
    """Recommend tracks to somebody who likes some and dislikes others."""
    mine = profile_of(request, asked.profile)
    whose = None if asked.likes and not asked.profile else mine

    def hits(library: Library, where: Filter | None) -> list[Hit]:
        likes, dislikes = asked_of(library, asked.likes), asked_of(library, asked.dislikes)
        return library.recommend(
            likes, dislikes, whose, asked.k, asked.strategy or STRATEGIES[0], where, asked.space,
            variety_of(asked.variety), asked.discover, asked.hybrid,
        )  # fmt: skip

    def alone(library: Library) -> str:
        why = library.why_no_taste(whose, asked_of(library, asked.likes)) if asked.hybrid else ""
        return f"by sound alone: {why}" if why else ""

    return await _answer(shared, asked, mine, hits, alone)


class _Asked(Protocol):
    """What questions have in common."""

    filters: list[str]
    space: str | None


async def _answer(
    shared: State,
    asked: _Asked,
    profile: str,
    ask: Callable[[Library, Filter | None], list[Hit]],
    more: Callable[[Library], str] = lambda _: "",
) -> models.Answer:
    """Ask the library, with filters as they are for a profile, also where its taste is not asked for."""

    def answer() -> models.Answer:
        library = shared.library
        hits = ask(library, filter_of(library, asked.filters, profile))
        space = library.space(asked.space).id
        told = answer_of(library, hits, space, profile, asked.filters)
        return models.Answer(**told | {"note": "; ".join(filter(None, (told["note"], more(library))))})

    return await shared.ask(answer)


@router.post("/path")
async def path(asked: models.PathRequest, shared: Shared, request: Request) -> models.PathAnswer:
    """Go from one track to another, every step small."""
    profile = profile_of(request, asked.profile)

    def answer() -> models.PathAnswer:
        library = shared.library
        start, end = asked_of(library, (asked.start, asked.end))
        journey = library.path(
            start, end, asked.n, asked.filters, asked.space, variety_of(asked.variety), asked.seed, profile
        )
        short = f"only {len(journey.hits)} tracks lie on the way" if len(journey.hits) < asked.n else ""
        return models.PathAnswer(
            space=library.space(asked.space).id,
            hits=hits_of(library, journey.hits, profile),
            note=short,
            jumps=list(journey.jumps),
        )

    return await shared.ask(answer)


@router.post("/radio")
async def radio(asked: models.RadioRequest, shared: Shared, request: Request) -> models.Answer:
    """Say what a radio plays next; the listener says what it has played so far."""
    mine = profile_of(request, asked.profile)
    whose = None if asked.queries and not asked.profile else mine

    def hits(library: Library, where: Filter | None) -> list[Hit]:
        begin, rules = asked_of(library, asked.queries), variety_of(asked.variety)
        player = library.radio(begin, whose, where, asked.space, rules, asked.seed, remember=False)
        player.resume(asked.heard, asked.liked, asked.disliked, asked.skipped)
        return [hit for hit, _ in zip(player, range(asked.n), strict=False)]

    return await _answer(shared, asked, mine, hits)


@router.post("/mix")
async def mix(asked: models.MixRequest, shared: Shared, request: Request) -> models.Answer:
    """Make a playlist: of what somebody likes, of what is like some tracks, of a mood, or of a cluster."""
    mine = profile_of(request, asked.profile)

    whose = mine if asked.profile else None

    def hits(library: Library, where: Filter | None) -> list[Hit]:
        return library.mix(
            asked_of(library, asked.likes), whose, asked.moods, asked.cluster, asked.n, asked.length,
            where, asked.space, variety_of(asked.variety), asked.seed,
        )  # fmt: skip

    return await _answer(shared, asked, mine, hits)


@router.get("/search")
async def search(
    shared: Shared,
    request: Request,
    q: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> models.SearchAnswer:
    """Find tracks, artists and albums by words as they are typed."""
    profile = profile_of(request)

    def answer() -> models.SearchAnswer:
        library = shared.browser
        return models.SearchAnswer(
            tracks=tracks_of(library, library.search(q, limit), profile),
            artists=[facet_of(one) for one in library.names_like("artist", q)],
            albums=[facet_of(one) for one in library.names_like("album", q)],
        )

    return await shared.browse(answer)
