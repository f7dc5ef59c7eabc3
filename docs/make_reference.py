"""Writes the commands of `docs/reference.md` from the command line itself; a test checks that it is up to date.

python docs/make_reference.py
"""

from pathlib import Path

import click

from soundkin.cli import cli

PAGE = Path(__file__).with_name("reference.md")
BEGIN, END = "<!-- commands: written by docs/make_reference.py -->", "<!-- end of commands -->"


def renewed(page: str) -> str:
    """Return the page with the commands as they are now; the rest of it is left alone."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{commands()}\n{END}{after}"


def commands() -> str:
    """Describe every command in Markdown."""
    return "\n".join(_section(name, command) for name, command in _below("soundkin", cli))


def _below(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    """List a command and those after it, by their full names."""
    inner = sorted(command.commands.items()) if isinstance(command, click.Group) else []
    return [(name, command), *(pair for word, part in inner for pair in _below(f"{name} {word}", part))]


def _section(name: str, command: click.Command) -> str:
    arguments = [_argument(p) for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    rest = ["COMMAND ..."] if isinstance(command, click.Group) else arguments
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *rest])
    lines = [f"### {name}", "", " ".join((command.help or "").split()), "", "```text", usage, "```", ""]
    if options:
        lines += ["| option | what it does |", "|---|---|", *map(_row, options), ""]
    return "\n".join(lines)


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or "").upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _row(option: click.Option) -> str:
    # Put together here and not by click, whose wording changes from version to version.
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    about = " ".join((option.help or "").split())
    if option.show_default and not option.is_flag:
        about += f" [default: {option.default}]"
    return f"| {names}{_value(option)} | {about.replace('|', chr(92) + '|')} |"


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return " " + " or ".join(f"`{choice}`" for choice in option.type.choices)
    kinds = {click.IntRange: "N", click.FloatRange: "X", click.Path: "PATH"}
    word = option.metavar or kinds.get(type(option.type), "N" if option.type is click.INT else "TEXT")
    return f" `{word}`"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
