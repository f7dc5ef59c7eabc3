"""The rules of the house that no linter knows: who imports whom, what is public, what a docstring says."""

import ast
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import soundkin

ROOT = Path(soundkin.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)

# in the order of the line: a file imports only stations above its own
STATIONS = (
    "errors", "synth", "decoding", "audio", "tags", "features", "fingerprint", "encoders", "workers", "embed",
    "record", "filters", "index", "holding", "recommend", "fusion", "playlists", "plays", "taste", "spaces", "scan",
    "exchange", "cluster", "keeping", "asking", "noting", "finding", "mixing", "browsing", "tasting", "filling",
    "library", "explore", "datasets", "evaluate", "report", "training", "demo", "doctor", "serve", "cli",
)  # fmt: skip


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_type_check(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(path):
    """Yield the station of every import of our own, lazy ones too, but not those for type checkers."""
    waiting = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if is_type_check(node):
            continue
        waiting.extend(ast.iter_child_nodes(node))
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names = [f"soundkin.{a.name}" for a in node.names] if module == "soundkin" else [module]
        yield from (name.split(".")[1] for name in names if name.startswith("soundkin."))


def test_every_file_belongs_to_a_station():
    assert {module_of(path)[0] for path in FILES if module_of(path)} <= set(STATIONS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: ".".join(module_of(path)) or "soundkin")
def test_a_file_imports_only_stations_above_it(path):
    if not module_of(path):
        return  # the package itself names everything, lazily
    own = STATIONS.index(module_of(path)[0])
    below = {name for name in imports(path) if name not in STATIONS or STATIONS.index(name) > own}
    assert not below, f"{module_of(path)[0]} imports what stands below it"


def test_the_public_names_exist_and_are_all_there_is():
    assert soundkin.__all__ == sorted(
        soundkin.__all__, key=lambda name: (name.upper() != name, name[0].islower(), name)
    )
    for name in soundkin.__all__:
        assert getattr(soundkin, name) is not None
    assert set(dir(soundkin)) == set(soundkin.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        soundkin.nonsense  # noqa: B018


def test_what_a_library_returns_can_be_named():
    from soundkin.library import Library

    waiting, found = [], set()
    for name, method in inspect.getmembers(Library, inspect.isfunction):
        if not name.startswith("_"):
            waiting.append(typing.get_type_hints(method).get("return"))
    while waiting:
        kind = waiting.pop()
        waiting.extend(typing.get_args(kind))
        if isinstance(kind, type) and kind.__module__.startswith("soundkin"):
            found.add(kind.__name__)
    assert {"Hit", "Journey", "Radio", "Group"} <= found
    assert found <= set(soundkin.__all__)


def public(path):
    """Yield (dotted name, node) of every public class, function and method of a file."""

    def inside(body, prefix):
        for node in body:
            if (
                isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
                and node.name[0] != "_"
            ):
                yield f"{prefix}{node.name}", node
                if isinstance(node, ast.ClassDef):
                    yield from inside(node.body, f"{prefix}{node.name}.")

    yield from inside(ast.parse(path.read_text("utf-8")).body, "")


def parameters(node):
    """Return the parameters that a docstring has to explain: those of a function, or the fields of a dataclass."""
    decorators = {ast.unparse(d).split("(")[0] for d in node.decorator_list}
    if isinstance(node, ast.ClassDef):
        fields = [
            f.target.id for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
        ]
        made = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
        if "dataclass" in decorators:
            return [name for name in fields if not name.startswith("_")]
        # where `open` makes the object, what it takes is explained there
        opens = any(isinstance(f, ast.FunctionDef) and f.name == "open" for f in node.body)
        return parameters(made) if made and not opens else []
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument.arg for argument in given if argument.arg not in ("self", "cls")]


def is_command(node):
    return any("command" in ast.unparse(d) or "group" in ast.unparse(d) for d in node.decorator_list)


@pytest.mark.parametrize("path", FILES, ids=lambda path: ".".join(module_of(path)) or "soundkin")
def test_public_names_say_what_they_take(path):
    assert (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").strip()
    silent = []
    for name, node in public(path):
        text = ast.get_docstring(node) or ""
        wanted = [] if is_command(node) else parameters(node)  # a command's options have their own help
        one_line = len(text.splitlines()) == 1  # says it all, or mypy does
        section = "Parameters\n---" in text or "Attributes\n---" in text
        told = all(f"`{parameter}`" in text for parameter in wanted)
        if not text or (wanted and not (one_line or section or told)):
            silent.append(name)
    assert not silent


def test_importing_the_package_is_cheap_and_pulls_in_nothing_heavy():
    code = (
        "import sys, time; begin = time.process_time(); import soundkin; seconds = time.process_time() - begin\n"
        "heavy = {'numpy', 'onnxruntime', 'av', 'soundfile', 'qdrant_edge', 'torch', 'click', 'rich'}\n"
        "print(seconds, *(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 0.1


def test_help_is_quick():
    code = (
        "import sys, resource, contextlib, soundkin.cli\n"
        "with contextlib.suppress(SystemExit): soundkin.cli.main(['--help'])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {'numpy', 'onnxruntime', 'av', 'rich'} & set(sys.modules)\n"
        "print(used.ru_utime + used.ru_stime, *heavy, file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "index" in done.stdout
        seconds, *heavy = done.stderr.split()
        assert heavy == []
        times.append(float(seconds))
    assert min(times) < 0.3
