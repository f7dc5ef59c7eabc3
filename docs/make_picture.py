"""Draws `docs/similar.svg`: what `soundkin similar` really prints, asked of the demo library.

python docs/make_picture.py [TITLE]
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

PICTURE = Path(__file__).with_name("similar.svg")
TITLE = "Valwyn"


def picture(title: str) -> str:
    """Make the demo library in a temporary folder, ask it, and return the answer as SVG."""
    with tempfile.TemporaryDirectory() as folder:
        _soundkin(folder, "demo", "--folder", ".")
        answer = _soundkin(folder, "similar", title, "-k", "8")
    lines = [line.rstrip() for line in answer.strip("\n").splitlines() if line.strip()]
    command = Text.assemble(("$ ", "dim"), (f'soundkin similar "{title}" -k 8', "bold"))
    console = Console(record=True, width=max(map(len, lines)) + 1, file=io.StringIO())
    console.print(command, Text("\n".join(lines)), sep="\n\n", highlight=False)
    # Rich's page asks a server for its font: whoever looks at the picture has one of his own.
    page = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="soundkin", code_format=page, unique_id="soundkin")


def _soundkin(folder: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "soundkin.cli", *arguments]
    environment = {**os.environ, "SOUNDKIN_LIBRARY": "library"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout


if __name__ == "__main__":
    PICTURE.write_text(picture(*sys.argv[1:] or [TITLE]), "utf-8")
