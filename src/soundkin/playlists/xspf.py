"""XSPF, the XML playlist of VLC, Audacious, Strawberry and others: https://xspf.org/spec."""

import os
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from soundkin.errors import InputError
from soundkin.playlists.entries import (
    RECORDING,
    Entry,
    Playable,
    address_of,
    name_of,
    one_line,
    paths_of,
    recording_of,
)

_SPACE = "http://xspf.org/ns/0/"


def dump(tracks: Iterable[Playable], title: str, relative_to: str | os.PathLike[str] | None) -> str:
    """Return tracks as XSPF; see `playlists.write`."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<playlist version="1" xmlns="{_SPACE}">']
    lines += [f"  <title>{escape(one_line(title))}</title>"] if title else []
    lines += ["  <trackList>"]
    for track in tracks:
        values = [("location", address_of(track.path, relative_to))]
        if mbid := getattr(track, "recording_mbid", ""):
            values.append(("identifier", RECORDING + mbid))
        values += [("title", name_of(track)), ("creator", one_line(track.artist))]
        values.append(("album", one_line(getattr(track, "album", ""))))
        if track.duration:
            values.append(("duration", str(round(1000 * track.duration))))
        lines.append("    <track>")
        lines += [f"      <{name}>{escape(value)}</{name}>" for name, value in values if value]
        lines.append("    </track>")
    return "\n".join([*lines, "  </trackList>", "</playlist>", ""])


def load(data: bytes, folder: str) -> list[Entry]:
    """Read XSPF; see `playlists.read`."""
    plain = data.replace(b"\0", b"")  # whatever the encoding, these letters are ASCII
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:  # XSPF has neither; entities can blow up a reader
        raise InputError("a playlist with a DOCTYPE: wanted plain XSPF; save it again")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"no XSPF ({error}); save it again") from error
    tracks = [node for node in root.iter() if _name(node) == "track"]
    if _name(root) != "playlist":
        raise InputError(f"XML of another kind ({_name(root)}): wanted an XSPF playlist")
    return [_entry(node, folder) for node in tracks]


def _entry(node: ElementTree.Element, folder: str) -> Entry:
    texts: dict[str, list[str]] = {}
    for child in node:
        texts.setdefault(_name(child), []).append((child.text or "").strip())
    location = texts.get("location", [""])[0]
    milliseconds = texts.get("duration", [""])[0]
    return Entry(
        location, paths_of(location, folder, is_address=True),
        texts.get("title", [""])[0], texts.get("creator", [""])[0], texts.get("album", [""])[0],
        int(milliseconds) / 1000 if milliseconds.isdecimal() and len(milliseconds) < 12 else None,
        recording_of(texts.get("identifier", [])),
    )  # fmt: skip


def _name(node: ElementTree.Element) -> str:
    return str(node.tag).rpartition("}")[2]
