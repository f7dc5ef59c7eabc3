"""Large files read a piece at a time: lines in whatever letters, and the values of JSON one after the other.

A history may have gigabytes; what is held of it is one line, or one value. What is broken is told and passed over.
"""

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from soundkin.plays.rows import BROKEN, Refused

_LINE = 1 << 20  # bytes: a longer line is no line of a history
_PIECE = 1 << 16
_VALUE = 1 << 26  # letters of one value
_NEAR_THE_END = 64  # letters: a value that breaks off so near to the end of what was read may go on


def lines(file: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a file.

    Parameters
    ----------
    file : binary file
        In UTF-8, in UTF-16 with its mark, or (line by line, where it is no UTF-8) in the letters of Windows.

    Yields
    ------
    str
        With the end of the line.
    """
    raw = file.readline(_LINE)
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        yield from _lines_of_utf16(raw, file)
        return
    raw = raw.removeprefix(codecs.BOM_UTF8)
    decoder = codecs.getincrementaldecoder("utf-8")()  # a piece of a long line may end within a letter
    while raw:
        try:
            text = decoder.decode(raw)
        except UnicodeDecodeError:
            decoder.reset()
            text = raw.decode("cp1252", "replace")
        yield text.replace("\0", "")
        raw = file.readline(_LINE)


def _lines_of_utf16(head: bytes, file: IO[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    text = decoder.decode(head)
    while piece := file.read(_PIECE):
        *whole, text = (text + decoder.decode(piece)).split("\n")
        yield from (line + "\n" for line in whole)
    yield text


def values(file: IO[bytes]) -> Iterator[dict[str, Any] | Refused]:
    """Yield the objects of JSON: those of a list, or one a line, or a single one.

    Parameters
    ----------
    file : binary file
        A list of objects, or objects one after the other.

    Yields
    ------
    dict or Refused
        A refusal for what is broken, or no object; reading goes on with the next line.
    """
    decode = json.JSONDecoder().raw_decode
    source = lines(file)
    text, at, is_all = "", 0, False
    while True:
        at = _skipped(text, at)
        if at >= len(text):
            text, at = "".join(_taken(source, _PIECE)), 0
            if not text:
                return
            continue
        try:
            value, end = decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            if not is_all and _may_go_on(error, text) and len(text) - at < _VALUE:
                more = "".join(_taken(source, max(_PIECE, len(text) - at)))
                is_all = not more
                text, at = text[at:] + more, 0
                continue
            yield BROKEN
            at, is_all = _next_line(text, at), False
            continue
        yield value if isinstance(value, dict) else BROKEN
        at = end


def _skipped(text: str, at: int) -> int:
    """Return the place of the next value: lists are opened, and what stands between values is passed over."""
    while at < len(text) and text[at] in " \t\r\n,[]":
        at += 1
    return at


def _taken(source: Iterator[str], letters: int) -> Iterator[str]:
    """Yield lines until there are so many letters."""
    for line in source:
        yield line
        letters -= len(line)
        if letters <= 0:
            return


def _may_go_on(error: Exception, text: str) -> bool:
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos > len(text) - _NEAR_THE_END


def _next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1
