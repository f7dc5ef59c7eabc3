"""What the docs say is so: the tutorial runs, the reference is complete, links lead somewhere, examples hold."""

import doctest
import importlib
import inspect
import json
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import click
import pytest

import soundkin
from soundkin.cli import cli
from soundkin.filters import FIELDS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / name))


# ---- the tutorial


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Return the folder the tutorial ran in with the pages that follow, and the outputs they show."""
    folder = tmp_path_factory.mktemp("tutorial")
    make = script("make_tutorial.py")
    return folder, [o for page in make["PAGES"] for o in make["run"](page.read_text("utf-8"), folder)]


def test_tutorial_shows_what_it_prints(tutorial: tuple[Path, list[Any]]) -> None:
    _, outputs = tutorial
    checked = [output for output in outputs if output.mark == "checked"]
    assert len(checked) >= 10
    for output in checked:
        assert doctest.OutputChecker().check_output(output.shown, output.printed, SAME), (
            f"the tutorial shows\n{output.shown}\nbut this is printed\n{output.printed}"
        )


def test_tutorial_examples_have_the_form_of_what_is_printed(tutorial: tuple[Path, list[Any]]) -> None:
    _, outputs = tutorial
    for output in outputs:
        if output.mark == "example":
            shown, printed = output.shown.splitlines(), output.printed.splitlines()
            assert shown, "an example is empty: run docs/make_tutorial.py"
            assert len(shown) == len(printed)
            assert len(shown) == 1 or shown[0].split() == printed[0].split()


# ---- the reference

JSON_EXAMPLES = re.findall(r"<!-- json: ([^\n]+) -->\n```json\n(.*?)```", REFERENCE, re.DOTALL)


def same_form(shown: Any, real: Any) -> bool:
    """Tell whether two documents have the same keys and types; maps of names to counts may differ in the names."""
    if isinstance(shown, dict) and isinstance(real, dict):
        if set(map(type, [*shown.values(), *real.values()])) <= {int}:
            return True
        return shown.keys() == real.keys() and all(same_form(shown[k], real[k]) for k in shown)
    if isinstance(shown, list) and isinstance(real, list):
        return bool(shown) == bool(real) and all(same_form(shown[0], item) for item in real)
    return type(shown) is type(real)


@pytest.mark.parametrize(("arguments", "shown"), JSON_EXAMPLES, ids=[name for name, _ in JSON_EXAMPLES])
def test_json_in_the_reference_has_the_form_of_the_answer(
    arguments: str, shown: str, tutorial: tuple[Path, list[Any]]
) -> None:
    folder, _ = tutorial
    library = [] if arguments == "encoders" else ["--library", "library"]
    command = [sys.executable, "-m", "soundkin.cli", *shlex.split(arguments), "--json", *library]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    real = json.loads(done.stdout)
    assert same_form(json.loads(shown), real), f"the reference shows\n{shown}\nthe answer is\n{done.stdout}"


def test_every_command_that_answers_has_its_json_in_the_reference() -> None:
    described = {arguments.split()[0] for arguments, _ in JSON_EXAMPLES}
    section = REFERENCE.partition("## Answers in JSON")[2].partition("\n## ")[0]
    for name, command in cli.commands.items():
        if any("--json" in parameter.opts for parameter in command.params):
            assert name in described or f"`{name}`" in section, name


def test_commands_in_the_reference_are_up_to_date() -> None:
    assert script("make_reference.py")["renewed"](REFERENCE) == REFERENCE, "run docs/make_reference.py"


def test_every_command_and_option_is_in_the_reference() -> None:
    assert len(cli.commands) >= 7
    for name, command in cli.commands.items():
        section = REFERENCE.partition(f"### soundkin {name}\n")[2].partition("\n##")[0]
        assert section, f"no section for soundkin {name}"
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                wanted = f"`{option}`" if isinstance(parameter, click.Option) else option.upper()
                assert wanted in section, f"soundkin {name}: {wanted}"


def test_every_filter_field_is_in_the_reference() -> None:
    section = REFERENCE.partition("## Filters")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+`) \| (text|number) \|", section, re.MULTILINE)
    documented = {field: kind for fields, kind in rows for field in re.findall(r"`(\w+)`", fields)}
    assert documented == FIELDS


def test_every_public_name_is_in_the_reference() -> None:
    section = REFERENCE.partition("## Python")[2]
    assert not [name for name in soundkin.__all__ if f"`{name}`" not in section]


def test_every_environment_variable_is_in_the_reference() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    named = set(re.findall(r"\b(SOUNDKIN_[A-Z_]+|QDRANT_[A-Z_]+)\b", source))
    section = REFERENCE.partition("## Environment")[2].partition("\n## ")[0]
    assert named
    assert named == set(re.findall(r"`([A-Z_]+)`", section))


# ---- README


@pytest.mark.parametrize(("name", "last"), [("demo", "soundkin demo"), ("tests", "pytest")])
def test_commands_in_the_readme_are_one_line_that_bash_reads(name: str, last: str) -> None:
    (command,) = re.findall(rf"<!-- ci: {name} -->\n```sh\n(.*)\n```\n", README)
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert command.endswith(f"&& .venv/bin/{last}")
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_readme_has_two_shell_commands() -> None:
    assert len(re.findall(r"^```(?:sh|bash|shell|console)\n", README, re.MULTILINE)) == 2


def test_soundkin_commands_in_the_pages_exist() -> None:
    for page in PAGES:
        for line in re.findall(r"`soundkin ([^`\n]+)`", page.read_text("utf-8")):
            words = shlex.split(line)
            command = cli.commands.get(words[0])
            if words[0].startswith("-"):
                continue
            assert command is not None, f"{page.name}: soundkin {line}"
            known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
            assert not [w for w in words[1:] if w.startswith("-") and w not in known], f"{page.name}: {line}"


# ---- every page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_benchmark_is_in_the_readme_of_the_benchmarks() -> None:
    listed = set(re.findall(r"\b(\w+\.py)\b", (ROOT / "benchmarks" / "README.md").read_text("utf-8")))
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} <= listed


# ---- docstrings

MODULES = [module.name for module in pkgutil.walk_packages(soundkin.__path__, "soundkin.")]


def load(name: str) -> Any:
    if name.startswith(("soundkin.training", "soundkin.encoders.networks")):
        pytest.importorskip("torch", reason="the train extra is not installed")
    return importlib.import_module(name)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    found = doctest.testmod(load(name), optionflags=SAME)
    assert found.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_name_the_parameters_there_are(name: str) -> None:
    from numpydoc.validate import validate

    for full_name in public_names(load(name)):
        result = validate(full_name)
        if "Parameters\n" not in result["docstring"]:  # one line may be enough
            continue
        problems = [text for code, text in result["errors"] if code in ("PR01", "PR02") and "'_" not in text]
        assert not problems, f"{full_name}: {problems}"


def public_names(module: Any) -> Iterator[str]:
    """Yield the full names of the public functions, classes and methods that a module defines."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{module.__name__}.{name}"
        if inspect.isclass(thing):
            for inner, method in vars(thing).items():
                if not inner.startswith("_") and isinstance(
                    method, FunctionType | classmethod | staticmethod
                ):
                    yield f"{module.__name__}.{name}.{inner}"


def test_the_check_of_docstrings_sees_them() -> None:
    assert {"soundkin.library.Library", "soundkin.library.Library.similar"} <= set(
        public_names(load("soundkin.library"))
    )
