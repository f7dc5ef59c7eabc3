"""The command line: parse, call, print. Decisions are made in the library.

What answers a question goes to stdout; progress, notes and errors go to stderr. With ``--json`` stdout is exactly one
JSON document.
"""

import errno
import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from soundkin.cli import (  # noqa: F401  (importing them adds their commands)
    collection,
    encoders,
    encoding,
    exploring,
    journeys,
    judging,
    qdrant,
    questions,
    ray,
    serving,
    sharing,
    taste,
    tasting,
)
from soundkin.cli.common import cli, clock, name_of, say
from soundkin.errors import SoundkinError

if TYPE_CHECKING:
    from soundkin.record import Track

__all__ = ["cli", "main"]

_INTERRUPTED, _OUR_BUG = 130, 70
_CHOICES = 10
# What writing to something open fails with: in the end that is what the answer goes to, which can take no more.
_UNWRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 the user's mistake, 2 usage, 70 our bug, 130 interrupted."""
    # who closes a stream (`>&-`) does not want to read it
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a title in letters that a terminal lacks is no error
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    # Where it stands does not matter: who sees an error adds it at the end of the line.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if debug := "--debug" in options:
        arguments = ["--debug", *(a for a in options if a != "--debug"), *arguments[len(options) :]]
    try:
        status = cli.main(arguments, prog_name="soundkin", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        goes_on = (
            "; what was done is kept, run the command again to go on"
            if {"index", "train"} & set(arguments)
            else ""
        )
        say(f"interrupted{goes_on}")
        return _INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click and rich exit by themselves, but only when a pipe breaks
        # Whoever read us has enough (`| head`): no more to say, and no second complaint at exit.
        _give_up_stdout()
        return 0
    except SoundkinError as error:
        if debug:
            raise
        say(f"error: {error}")
        _say_choices(getattr(error, "choices", []))
        return error.exit_status
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITTEN:
            _give_up_stdout()
            say(f"error: cannot write the answer: {error.strerror}")
            return 1
        if debug:
            raise
        say(f"internal error: {type(error).__name__}: {error}; run again with --debug and report it")
        return _OUR_BUG


def _give_up_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_choices(choices: "list[Track]") -> None:
    """List what words may have meant; where names are the same, files tell them apart."""
    from soundkin.scan import printable

    named = Counter(map(name_of, choices))
    for track in choices[:_CHOICES]:
        name = name_of(track)
        file = f"  {printable(os.path.join(*Path(track.path).parts[-2:]))}" if named[name] > 1 else ""
        say(f"  {track.id}  {name} ({clock(track.duration)}){file}")
    if len(choices) > _CHOICES:
        say(f"  ... and {len(choices) - _CHOICES} more: add words, or say which by its id or file")
