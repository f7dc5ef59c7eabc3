"""Commands that make encoders."""

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import (
    cli,
    count_of,
    hours,
    json_option,
    print_json,
    say,
)
from soundkin.training.recipes import RECIPES

if TYPE_CHECKING:
    from soundkin.training.loop import Metrics
    from soundkin.training.run import TrainReport


_LOG_SECONDS = 30.0


@cli.command()
@click.argument("audio", nargs=-1, required=True, type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Folder of the new encoder; names it, too.")
@click.option(
    "--recipe", type=click.Choice(list(RECIPES)), default="soundkin", show_default=True,
    help="; ".join(f"{name}: {recipe.about}" for name, recipe in RECIPES.items()) + ".",
)  # fmt: skip
@click.option("--minutes", type=float, help="Stop after so long.  [default: 120, if nothing else stops it]")
@click.option("--steps", type=click.IntRange(min=1), help="Stop after so many batches.")
@click.option("--epochs", type=click.IntRange(min=1), help="Stop when each track was drawn so often.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Auto takes the GPU where there is one.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch, on the CPU.  [default: its choice]")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Processes for decoding.  [default: one per core]"
)
@json_option
def train(audio: tuple[str, ...], out: str, as_json: bool, **options: Any) -> None:
    """Train an encoder on your own music. Interrupted, the same command goes on.

    Needs PyTorch: pip install 'soundkin[train]'.
    """
    from soundkin.training import run

    with _training() as (on_file, on_step):
        report = run.train(audio, out, run.TrainOptions(**options), on_file, on_step)
    if as_json:
        print_json(asdict(report))
    else:
        _print_training(report, audio, out)


def _print_training(report: "TrainReport", audio: Sequence[str], out: str) -> None:
    click.echo(
        f"{report.recipe} on {count_of(report.tracks, 'track')} of {count_of(report.albums, 'album')}, "
        f"{hours(report.hours * 3600)}: {count_of(report.steps, 'step')} in {report.minutes:.1f} minutes"
    )
    if report.left_out:
        click.echo(f"left out {count_of(report.left_out, 'file')} that cannot be decoded")
    if report.found is None or report.found_untrained is None:
        click.echo("no album was held out, there are too few: how good it is was not measured")
    else:
        click.echo(
            f"{report.validation_tracks} held-out tracks, looked for among {report.among} by beginning and end: "
            f"{report.found:.0%} found (untrained {report.found_untrained:.0%}, by chance {1 / report.among:.0%})"
        )
        if report.found <= report.found_untrained:
            click.echo(
                "no better than untrained: train longer or on more music, or stay with the built-in encoder"
            )
    command = shlex.join(["soundkin", "index", *audio, "--encoder", out])
    click.echo(f"wrote {out}; now index your music with it:\n  {command}")


@contextlib.contextmanager
def _training() -> Iterator[tuple[Callable[[str, int, int], None], Callable[["Metrics"], None]]]:
    """Show training on stderr: bars on a terminal, else a line now and then."""
    show = _TrainingLines()
    if not sys.stderr.isatty():
        yield show.file, show.step
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking at files", total=None, told="")

        def file(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total, told=f"{done}/{total}")

        def step(at: "Metrics") -> None:
            bar.update(task, description="training", completed=at.progress, total=1.0, told=show.told(at))

        yield file, step


class _TrainingLines:
    """Training in words: a line when something begins or ends, and every half minute."""

    def __init__(self) -> None:
        self._found = ""
        self._what, self._next = "", 0.0

    def file(self, what: str, done: int, total: int) -> None:
        """Tell how many files are done."""
        self._line(what, f"{what}: {done} of {total} files", done == total)

    def step(self, at: "Metrics") -> None:
        """Tell where training is."""
        self._line(
            "training",
            f"training: {at.progress:.0%}, {self.told(at)}",
            at.progress >= 1 and at.found is not None,
        )

    def told(self, at: "Metrics") -> str:
        """Put a step into words; what validation found stays until the next one."""
        if at.found is not None:
            self._found = f", validation {at.found:.0%}"
        return f"step {at.step}, loss {at.loss:.3f}, learning rate {at.learning_rate:.1e}{self._found}"

    def _line(self, what: str, text: str, last: bool) -> None:
        now = time.monotonic()
        if what != self._what or now >= self._next or last:
            self._what, self._next = what, now + _LOG_SECONDS
            say(text)
