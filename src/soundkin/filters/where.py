"""The translation of a filter for the record."""

from soundkin.filters.nodes import And, Filter, HasId, Match, Not, Or, Range
from soundkin.record.listing import Where


def where_of(filters: Filter | None) -> Where:
    """Translate a filter for the record.

    Parameters
    ----------
    filters : Filter or None
        None lets everything pass.

    Returns
    -------
    Where
        It holds for the tracks that `filters.matches` lets pass.
    """
    match filters:
        case None:
            return Where()
        case Match(field, values):
            if field in ("genre", "subgenre"):
                return Where.having(values, int(field == "subgenre"))
            return Where.named(values) if field == "title" else Where.among(f"t.{field}", values)
        case Range(field, gt, gte, lt, lte):
            column = "CAST(t.added AS INTEGER)" if field == "added" else f"t.{field}"
            bounds = [(s, v) for s, v in ((">", gt), (">=", gte), ("<", lt), ("<=", lte)) if v is not None]
            sql = " AND ".join(f"{column} {sign} ?" for sign, _ in bounds)
            return Where(f"coalesce({sql}, FALSE)", tuple(value for _, value in bounds))
        case HasId(ids):
            return Where.among("t.id", [f"{number:016x}" for number in ids])
        case Not(part):
            inner = where_of(part)
            return Where(f"NOT ({inner.sql})", inner.values)
        case And(parts) | Or(parts):
            inside = [where_of(part) for part in parts]
            sign = " AND " if isinstance(filters, And) else " OR "
            return Where(
                f"({sign.join(part.sql for part in inside)})",
                tuple(v for part in inside for v in part.values),
            )
