"""What an evaluation found, as data, and as JSON, CSV and Markdown."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from soundkin.errors import InputError

# What the lists are like, besides right or wrong.
BEYOND = ("skew", "orphans", "coverage", "diversity", "novelty", "artists")


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval.

    Parameters
    ----------
    mean, low, high : float or None
        None where there is none.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """What one system reached.

    Parameters
    ----------
    system : str
        Its name.
    baseline : bool
        Whether it is there to compare with.
    figures : dict of str to Figure
        By column.
    difference : float or None
        Of the headline figure from that of the first row.
    p : float or None
        How likely at least such a difference would be if there were none.
    """

    system: str
    baseline: bool
    figures: dict[str, Figure]
    difference: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Table:
    """What one protocol found.

    Parameters
    ----------
    protocol, question : str
        Its name; what was asked, in words.
    reason : str
        Why nothing could be measured; empty when it could.
    questions, candidates : int
        How many tracks asked, and how many there were to choose from.
    told : dict of str to int
        Further counts: labels, groups, tracks left out.
    headline : str
        The column that systems are compared by.
    rows : list of Row
        The first is the one the others are compared with.
    notes : list of str
        What else must be known to read the figures.
    """

    protocol: str
    question: str = ""
    reason: str = ""
    questions: int = 0
    candidates: int = 0
    told: dict[str, int] = field(default_factory=dict)
    headline: str = ""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """The names of the figures, in the order of the first row."""
        return list(dict.fromkeys(name for row in self.rows for name in row.figures))

    def titles(self, columns: Sequence[str]) -> list[str]:
        """Return the heads over the `cells` of some columns."""
        return ["", *columns, *(["p"] if self.compares(columns) else [])]

    def compares(self, columns: Sequence[str]) -> bool:
        """Whether rows are compared by one of the columns."""
        return self.headline in columns and any(row.p is not None for row in self.rows)


def figure(mean: float, low: float = math.nan, high: float = math.nan) -> Figure:
    """Make a Figure of numbers that may be NaN."""
    return Figure(*map(rounded, (mean, low, high)))


def rounded(value: float) -> float | None:
    """Return a number as it is written: None for NaN."""
    return None if math.isnan(value) else round(float(value), 6)


def halves(table: Table) -> list[list[str]]:
    """Return the columns in two parts that are narrow enough to read: how right answers are, and what else."""
    columns = table.columns
    parts = [c for c in columns if c not in BEYOND], [c for c in columns if c in BEYOND]
    return [part for part in parts if part]


def cells(table: Table, columns: Sequence[str]) -> list[list[str]]:
    """Lay out rows for people: system, the figures of some columns, the chance that the difference is none.

    Parameters
    ----------
    table : Table
        One that has rows.
    columns : sequence of str
        Which.

    Returns
    -------
    list of list of str
        One list per row that has any of them; "-" where there is no figure. The headline has its interval.
    """
    out = []
    for row in table.rows:
        if not row.figures.keys() & set(columns):
            continue
        line = [row.system, *(_cell(row.figures.get(name), name == table.headline) for name in columns)]
        if table.compares(columns):
            line.append("" if row.p is None else f"{row.p:.2g}" if row.p >= 0.001 else "<0.001")
        out.append(line)
    return out


def _cell(found: Figure | None, with_interval: bool) -> str:
    if found is None or found.mean is None:
        return "-"
    if with_interval and found.low is not None and found.high is not None:
        return f"{found.mean:.3f} ({found.low:.3f}-{found.high:.3f})"
    return f"{found.mean:.3f}"


# Where not a track asks.
_ASKED = {
    "taste": "{} times some likes were hidden among {} tracks",
    "text": "{} questions in words to {} tracks",
    **dict.fromkeys(
        ("taste-time", "taste-cold-track", "taste-cold-artist"), "{} rows of plays ask for {} tracks"
    ),
}


def counts(table: Table) -> str:
    """Say in one line what was asked of what."""
    rest = ", ".join(f"{name.replace('_', ' ')}: {n}" for name, n in table.told.items() if n)
    asked = _ASKED.get(table.protocol, "{} of {} tracks ask")
    return f"{asked.format(table.questions, table.candidates)}; {rest}"


def to_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return tables as JSON knows them."""
    return [asdict(table) for table in tables]


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables as a Markdown page."""
    lines = ["# Evaluation", ""]
    for table in tables:
        lines += [f"## {table.protocol}", ""]
        if table.reason:
            lines += [f"Not measured: {table.reason}.", ""]
            continue
        lines += [f"{table.question.capitalize()} {counts(table)}.", ""]
        titles = ["system", *table.titles(table.columns)[1:]]
        lines += [f"| {' | '.join(titles)} |", "|---" + "|--:" * (len(titles) - 1) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in cells(table, table.columns)]
        lines += ["", *(f"- {note}" for note in table.notes), ""]
    return "\n".join(lines)


def to_csv(table: Table) -> str:
    """Return a table as CSV: a line per system and column, with the interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "system", "baseline", "figure", "mean", "low", "high"])
    for row in table.rows:
        for name, found in row.figures.items():
            numbers = ["" if x is None else x for x in (found.mean, found.low, found.high)]
            writer.writerow([table.protocol, row.system, int(row.baseline), name, *numbers])
    return text.getvalue()


def write(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write tables to a folder: all as Markdown and JSON, each as CSV.

    Parameters
    ----------
    tables : sequence of Table
        What was found.
    folder : Path
        Made when missing; files of the same names are replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    texts = {
        "evaluation.md": to_markdown(tables),
        "evaluation.json": json.dumps(to_json(tables), indent=2) + "\n",
    }
    texts |= {f"{table.protocol}.csv": to_csv(table) for table in tables if table.rows}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
    return [folder / name for name in texts]
