"""A library in one page: what it holds, how good its vectors are, how it lies, who is everywhere and who nowhere.

`figures` draws, `findings` finds, this file puts them into HTML and Markdown. The HTML needs nothing else; every figure
is also there as PNG and SVG, with its data as CSV.
"""

import base64
import csv
import html
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from soundkin.errors import InputError, NotFound
from soundkin.evaluate import FROM_VECTORS, Options, Table, evaluate, tables
from soundkin.evaluate.tables import cells, counts
from soundkin.explore.clusters import LEAST
from soundkin.library import Library, Status
from soundkin.record import Record
from soundkin.report import figures, findings
from soundkin.report.figures import Drawn
from soundkin.scan import printable

_NUMBER, _CODE = re.compile(r"<?-?[\d.]+( \([-\d.]+\))?|-?"), re.compile(r"`([^`]*)`")
_STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")


@dataclass(frozen=True)
class Listing:
    """A table of the report.

    Parameters
    ----------
    title, note : str
        Above and below it; empty for none.
    columns : list of str
        Their names.
    rows : list of list of str
        Cells.
    """

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


Section = tuple[str, Sequence[Listing | Drawn]]


def write(
    library: Library,
    folder: str | os.PathLike[str],
    space: str | None = None,
    seed: int = 0,
    step: Callable[[str], None] | None = None,
) -> list[str]:
    """Write the report of a library.

    Parameters
    ----------
    library : Library
        Which.
    folder : path-like
        Made when missing; files of the same names are replaced.
    space : str, optional
        Whose vectors; default those that answer queries.
    seed : int
        Of maps, clusters and intervals.
    step : callable, optional
        Called with what is being done.

    Returns
    -------
    list of str
        The pages: HTML and Markdown.

    Raises
    ------
    InputError
        Fewer than ten tracks, or the folder cannot be written.
    NotFound
        There is no library, or no such space.
    MissingExtra
        The extra `maps` is not installed.
    """
    step = step or (lambda what: None)
    status = library.status()
    if not status.spaces:
        raise NotFound(f"there is no track in {library.folder}: index some with `soundkin index PATH...`")
    found = findings.look(library, space, seed)
    if len(found.tracks) < LEAST:
        raise InputError(f"{len(found.tracks)} tracks; a report needs {LEAST} or more")
    step("evaluating")
    found_tables = evaluate(library, Options(FROM_VECTORS, (found.space,), seed=seed))
    step("drawing")
    sections: list[Section] = [
        ("The library", [_holdings(status), *_scan(library), *figures.distributions(found.tracks)]),
        ("How good the vectors are", _evaluations(found_tables)),
        ("Maps", figures.maps(library.place, found, seed)),
        ("Groups", [_groups(found), figures.matrix(found)]),
        ("Everywhere and nowhere", [_hubs(found), _orphans(found), figures.hubs(found)]),
        ("Pairs", [_pairs(found), _loners(found)]),
    ]  # fmt: skip
    step("writing")
    return _written(Path(folder), f"{len(found.tracks)} tracks by sound", found.space, sections)


def _holdings(status: Status) -> Listing:
    summary = status.summary
    rows = [
        ["tracks", str(summary.tracks)],
        ["hours", f"{summary.seconds / 3600:.1f}"],
        ["audio", f"{summary.audio_bytes / 1e9:.2f} GB"],
        ["record", f"{summary.record_bytes / 1e6:.1f} MB"],
        ["formats", ", ".join(f"{name} {n}" for name, n in summary.formats.items())],
        ["files that failed", ", ".join(f"{name} {n}" for name, n in summary.failures.items()) or "none"],
        ["spaces", ", ".join(f"{space.id} ({n} tracks)" for space, n, _ in status.spaces)],
    ]
    return Listing("What it holds", "", ["", ""], rows)


def _scan(library: Library) -> list[Listing]:
    """Say what the last scan that embedded anything cost; nothing where nobody remembers."""
    with Record.open(library.place) as record:
        run = record.last_run()
    if run is None:
        return []
    hours, minutes = run.audio_seconds / 3600, run.elapsed / 60
    workers = f"{run.workers} worker{'s' * (run.workers != 1)}"
    rows = [
        ["embedded", f"{run.tracks} tracks, {hours:.1f} hours of audio; {run.failed} failed"],
        ["time", f"{minutes:.1f} minutes, {run.cpu_seconds / 60:.1f} of CPU, in {workers}"],
        [
            "speed",
            f"{run.tracks / max(minutes, 1e-3):.0f} tracks a minute, {hours * 60 / max(minutes, 1e-3):.0f} x real time",
        ],
        ["memory", f"{run.memory / 1e6:.0f} MB at most, main process and largest worker"],
    ]  # fmt: skip
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.at))
    return [Listing("The last scan", f"Ended {when}.", ["", ""], rows)]


def _evaluations(found: Sequence[Table]) -> list[Listing]:
    """Lay out all tables; what was said under one is not said again."""
    out, said = [], set[str]()
    for table in found:
        out += _evaluation(replace(table, notes=[note for note in table.notes if note not in said]))
        said |= set(table.notes)
    return out


def _evaluation(table: Table) -> list[Listing]:
    title = f"{table.protocol}: {table.question}" if table.question else table.protocol
    if table.reason:
        return [Listing(title, f"Not measured: {table.reason}.", [], [])]
    note = ". ".join(text[0].upper() + text[1:] for text in [counts(table), *table.notes]) + "."
    parts = tables.halves(table)
    out = []
    for number, columns in enumerate(parts):
        last = number == len(parts) - 1
        out.append(
            Listing(
                "" if number else title, note if last else "", table.titles(columns), cells(table, columns)
            )
        )
    return out


def _groups(found: findings.Findings) -> Listing:
    rows = [
        [
            str(c.number),
            str(len(c.tracks)),
            c.name,
            "; ".join(list(dict.fromkeys(map(found.name, c.rows)))[:3]),
        ]
        for c in found.clusters
    ]
    return Listing(
        "Groups by sound",
        "k-means; see `soundkin clusters`.",
        ["", "tracks", "set apart by", "typical"],
        rows,
    )


def _hubs(found: findings.Findings) -> Listing:
    rows = [[found.name(i), str(found.counts[i])] for i in found.hubs()]
    note = f"In how many lists of ten neighbours; ten is the average. Skewness {found.skew:.2f}: above 1 is much."
    return Listing("Hubs: tracks that are everywhere", note, ["track", "lists"], rows)


def _orphans(found: findings.Findings) -> Listing:
    orphans = found.orphans()
    shown = [[found.name(i)] for i in orphans[: findings.SHOWN]]
    note = f"{len(orphans)} of {len(found.tracks)} tracks are in nobody's list."
    return Listing("Orphans: tracks that are nowhere", note, ["track"], shown)


def _pairs(found: findings.Findings) -> Listing:
    rows = [[found.name(i), found.name(j), f"{cosine:.3f}"] for i, j, cosine in found.closest()]
    return Listing(
        "Closest pairs of different albums", "Copies are left out.", ["track", "and", "similarity"], rows
    )


def _loners(found: findings.Findings) -> Listing:
    rows = [[found.name(i), found.name(j), f"{cosine:.3f}"] for i, j, cosine in found.strangest()]
    note = "Even their nearest is far away."
    return Listing("Strangest tracks", note, ["track", "nearest", "similarity"], rows)


# ---- writing


def _written(folder: Path, title: str, space: str, sections: Sequence[Section]) -> list[str]:
    drawn = [part for _, parts in sections for part in parts if isinstance(part, Drawn)]
    made = f"Soundkin {version('soundkin')}, space {space}, {time.strftime('%Y-%m-%d')}"
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for part in drawn:
            for suffix in (".png", ".svg"):
                part.save(folder / "figures" / f"{part.name}{suffix}")
            with open(folder / "figures" / f"{part.name}.csv", "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(part.columns)
                writer.writerows([[printable(str(cell)) for cell in row] for row in part.rows])
        (folder / "report.html").write_text(_html(folder, title, made, sections), "utf-8")
        (folder / "report.md").write_text(_markdown(title, made, sections), "utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
    return [os.fspath(folder / "report.html"), os.fspath(folder / "report.md")]


def _html(folder: Path, title: str, made: str, sections: Sequence[Section]) -> str:
    out = [
        "<!doctype html>", '<html lang="en">', '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>", f"<style>{_STYLE}</style>",
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(made)}</p></header>",
    ]  # fmt: skip
    for heading, parts in sections:
        out.append(f"<section><h2>{html.escape(heading)}</h2>")
        for part in parts:
            out += _html_figure(folder, part) if isinstance(part, Drawn) else _html_table(part)
        out.append("</section>")
    return "\n".join([*out, "</html>", ""])


def _html_figure(folder: Path, part: Drawn) -> list[str]:
    data = base64.b64encode((folder / "figures" / f"{part.name}.png").read_bytes()).decode()
    words = html.escape(printable(part.title))
    return [
        f"<figure{' class=small' if part.small else ''}>"
        f'<img alt="{words}" src="data:image/png;base64,{data}"><figcaption>{words}</figcaption></figure>'
    ]


def _html_table(part: Listing) -> list[str]:
    out = [f"<h3>{html.escape(part.title)}</h3>"] if part.title else []
    if part.rows:
        # Numbers stand under each other.
        kinds = [
            ' class="number"' if all(map(_NUMBER.fullmatch, column)) else ""
            for column in zip(*part.rows, strict=True)
        ]
        head = [f"<th{kind}>{html.escape(name)}</th>" for name, kind in zip(part.columns, kinds, strict=True)]
        out += ['<div class="wide"><table>']
        out += [f"<thead><tr>{''.join(head)}</tr></thead>"] if any(part.columns) else []
        for row in part.rows:
            cells = [
                f"<td{kind}>{html.escape(printable(c))}</td>" for c, kind in zip(row, kinds, strict=True)
            ]
            out.append(f"<tr>{''.join(cells)}</tr>")
        out.append("</table></div>")
    note = _CODE.sub(r"<code>\1</code>", html.escape(part.note))
    return [*out, f"<p>{note}</p>"] if note else out


def _markdown(title: str, made: str, sections: Sequence[Section]) -> str:
    out = [f"# {title}", ""]
    for heading, parts in sections:
        out += [f"## {heading}", ""]
        for part in parts:
            if isinstance(part, Drawn):
                out += [f"![{part.title}](figures/{part.name}.svg)", ""]
                continue
            out += [f"### {part.title}", ""] if part.title else []
            if part.rows:
                out += [_line(part.columns), "|---" * len(part.columns) + "|", *map(_line, part.rows), ""]
            out += [part.note, ""] if part.note else []
    return "\n".join([*out, made, ""])


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in row) + " |"
