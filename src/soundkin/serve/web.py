"""The files of the web app, and a page that stands in while it is not built."""

import base64
import hashlib
import html
import mimetypes
import re
from pathlib import Path
from typing import Any

import anyio
from fastapi import Request, Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).with_name("static")
# What Vite names by its content: it never changes, so nobody asks for it twice.
_HASHED = re.compile(r"assets/.+-[\w-]{8,}\.\w+")
_FOREVER, _ASK = "public, max-age=31536000, immutable", "no-cache"
_BASE = re.compile(rb'<base href="[^"]*"\s*/?>')
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".webmanifest": "application/manifest+json"}

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}"
    "code{font-size:.9em}table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;"
    "vertical-align:top}h2{margin-top:2.5rem}td:first-child{white-space:nowrap}a{color:inherit}"
)

STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}"
"""Names the style of `page` in a content-security policy, which allows no other that stands in a page."""


async def file_of(request: Request, path: str) -> Response:
    """Return a file of the web app; a path without a dot is a page of it, which its index shows.

    Parameters
    ----------
    request : Request
        It says under which path a proxy shows us.
    path : str
        Below the root.

    Returns
    -------
    Response
        With an ETag for what may change, and a year for what cannot.
    """
    root = request.scope.get("root_path", "")
    if not (FOLDER / "index.html").is_file():
        if path and "." in path.rpartition("/")[2]:
            raise HTTPException(404, "no such file")
        return page("Soundkin", _NOT_BUILT.format(root=html.escape(root)))
    # Only names that lie in the folder, looked up and not joined: no path of a request reaches the disk.
    found = _files().get(path)
    if found is None and "." in path.rpartition("/")[2]:
        raise HTTPException(404, "no such file")
    file = found or FOLDER / "index.html"
    data = await anyio.Path(file).read_bytes()
    if file.name == "index.html":
        data = _BASE.sub(b'<base href="%s/">' % html.escape(root).encode(), data)
    kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    kept = _FOREVER if _HASHED.fullmatch(path) else _ASK
    return Response(data, media_type=kind, headers={"cache-control": kept})


def page(title: str, body: str) -> Response:
    """Return a plain page with a body in HTML; it needs no script."""
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><body>{body}</body></html>"
    )
    return Response(text, media_type="text/html; charset=utf-8", headers={"cache-control": _ASK})


_NOT_BUILT = (
    "<h1>Soundkin</h1><p>The server runs, but this installation has no web app in it. In a checkout, build it: "
    "<code>cd web &amp;&amp; npm ci &amp;&amp; npm run build</code>, then load this page again.</p>"
    '<p>The API is there: <a href="{root}/api/docs">what it can do</a>.</p>'
)
_known: dict[str, Path] = {}


def _files() -> dict[str, Path]:
    """Return the files of the web app by their paths below its folder, read once."""
    if not _known:
        _known.update({p.relative_to(FOLDER).as_posix(): p for p in FOLDER.rglob("*") if p.is_file()})
    return _known


def api_page(document: dict[str, Any], root: str) -> Response:
    """Write the OpenAPI document as a plain page: a section for each subject, a row for each route.

    Parameters
    ----------
    document : dict
        What FastAPI says of the routes.
    root : str
        Path under which a proxy shows us.

    Returns
    -------
    Response
        HTML.
    """
    sections: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            cells = (
                _code(f"{method.upper()} {path}"),
                html.escape(about.get("description", "")),
                ", ".join(_taken(about)),
                ", ".join(_given(about)),
            )
            row = "".join(f"<td>{cell}</td>" for cell in cells)
            sections.setdefault(about.get("tags", ["other"])[0], []).append(f"<tr>{row}</tr>")
    head = "<tr><th>route<th>what it does<th>takes<th>gives</tr>"
    tables = "".join(
        f"<h2>{html.escape(tag)}</h2><table>{head}{''.join(rows)}</table>" for tag, rows in sections.items()
    )
    types = "".join(
        f"<h3 id='{html.escape(name)}'>{html.escape(name)}</h3><p>{html.escape(about.get('description', ''))}</p>"
        "<table>"
        + "".join(
            f"<tr><td>{_code(field)}</td><td>{_shape(its)}</td><td>{html.escape(its.get('description', ''))}</td></tr>"
            for field, its in about.get("properties", {}).items()
        )
        + "</table>"
        for name, about in sorted(document.get("components", {}).get("schemas", {}).items())
    )
    link = f"<a href='{html.escape(root)}/api/v1/openapi.json'>OpenAPI document</a>"
    return page(
        "Soundkin API", f"<h1>Soundkin API</h1><p>For machines: {link}.</p>{tables}<h2>Types</h2>{types}"
    )


def _taken(about: dict[str, Any]) -> list[str]:
    """Say, as HTML, what a route takes: parameters of its address, and a body."""
    body = about.get("requestBody", {}).get("content", {})
    named = [_code(parameter["name"]) for parameter in about.get("parameters", ())]
    return named + [_shape(kind["schema"]) for kind in body.values()]


def _given(about: dict[str, Any]) -> list[str]:
    """Say, as HTML, what a route gives when all is well."""
    answers = [answer.get("content", {}) for code, answer in about["responses"].items() if code[0] == "2"]
    shapes = [kind["schema"] for content in answers for kind in content.values() if kind.get("schema")]
    return [_shape(schema) for schema in shapes]


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _shape(schema: dict[str, Any]) -> str:
    """Say in a few words, as HTML, what a value is."""
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(map(_shape, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(_code(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_shape(schema.get('items', {}))}"
    if "properties" in schema:
        return "form: " + ", ".join(_code(name) for name in schema["properties"])
    return html.escape(str(schema.get("type", "any")))
