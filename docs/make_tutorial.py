"""Runs `docs/tutorial.md` and what goes on from there, and writes the outputs they show; the tests run them too.

    python docs/make_tutorial.py

Python blocks of a page run in order in one namespace, shell blocks in bash, all pages in one folder, empty at first. A
`text` block below the comment `<!-- checked -->` must be what the block before it printed, where "..." stands for
anything; one below `<!-- example -->` depends on the weights of the encoder and is only shown.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGES = tuple(Path(__file__).with_name(name) for name in ("tutorial.md", "recommend.md", "playlists.md"))
_BLOCK = re.compile(r"^(?:<!-- (checked|example) -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Output:
    """An output the page shows.

    Parameters
    ----------
    mark : str
        "checked" or "example".
    span : tuple of int
        Where in the page it stands.
    shown, printed : str
        What the page says; what the block before it printed.
    """

    mark: str
    span: tuple[int, int]
    shown: str
    printed: str


def run(page: str, folder: Path) -> Iterator[Output]:
    """Run the blocks of a page in a folder.

    Raises
    ------
    RuntimeError
        A block fails; the message has the block and what it said.
    """
    namespace: dict[str, Any] = {"__name__": "tutorial"}
    printed = ""
    for block in _BLOCK.finditer(page):
        mark, language, text = block.groups()
        if language == "python":
            printed = _python(text, namespace, folder)
        elif language == "sh":
            printed = _shell(text, folder)
        elif mark:
            yield Output(mark, block.span(3), text, printed)


def _python(code: str, namespace: dict[str, Any], folder: Path) -> str:
    said = io.StringIO()
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(said):
            exec(compile(code, "a page of the docs", "exec"), namespace)
    except Exception as error:
        raise RuntimeError(f"this block of the docs fails:\n{code}\n{said.getvalue()}") from error
    return said.getvalue()


def _shell(code: str, folder: Path) -> str:
    with tempfile.TemporaryDirectory() as commands:
        # The command of this interpreter, whether or not its environment is the active one.
        command = Path(commands, "soundkin")
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m soundkin.cli "$@"\n')
        command.chmod(0o755)
        environment = {**os.environ, "PATH": os.pathsep.join([commands, os.environ["PATH"]])}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"this block of the docs fails:\n{code}\n{done.stdout}{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.splitlines() if line.strip()) + "\n"


def renewed(page: str, folder: Path) -> str:
    """Return the page with its examples as they are now."""
    for output in reversed([o for o in run(page, folder) if o.mark == "example"]):
        start, end = output.span
        page = page[:start] + output.printed + page[end:]
    return page


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for page in PAGES:
            page.write_text(renewed(page.read_text("utf-8"), Path(scratch)), "utf-8")
