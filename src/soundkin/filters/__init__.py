"""Filters on what is known of a track, such as `genre=samba and (year>=1990 or not liked)`, as a small tree.

`parse` reads what people type, `matches` says what a filter means. The indexes translate the same tree into
their engine's own filters, and the tests hold them to `matches`.
"""

from soundkin.filters.language import FLAGS, Values, glob, parse
from soundkin.filters.nodes import (
    FIELDS,
    And,
    Filter,
    HasId,
    Match,
    Not,
    Or,
    Range,
    clean_text,
    matches,
    payload_key,
)
from soundkin.filters.spelling import common_spelling, counted, folded
from soundkin.filters.where import where_of

__all__ = [
    "FIELDS", "FLAGS", "And", "Filter", "HasId", "Match", "Not", "Or", "Range", "Values", "clean_text",
    "common_spelling", "counted", "folded", "glob", "matches", "parse", "payload_key", "where_of",
]  # fmt: skip
