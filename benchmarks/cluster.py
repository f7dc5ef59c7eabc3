"""Runs a PostgreSQL of its own, before an empty folder: what the tests and the benchmarks of its record share."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_USER = "soundkin"
# What is thrown away need not outlive a power cut, but the benchmarks want the price of what should.
_SETTINGS = {"listen_addresses": "", "max_connections": "200", "log_min_messages": "fatal"}


def _program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL's; Debian keeps them out of the way."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(kept[-1]) if kept else None)


def missing() -> str:
    """Return what this machine lacks to run a PostgreSQL, and how to get it; "" when nothing."""
    if None in map(_program, ("initdb", "pg_ctl")):
        return "no PostgreSQL on this machine: apt-get install postgresql"
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install -e '.[postgres]'"
    return ""


class Cluster:
    """A PostgreSQL that can be stopped and started again.

    Parameters
    ----------
    folder : Path
        Where it keeps its data and its socket.
    safe : bool
        Whether a commit waits for the disk.
    """

    def __init__(self, folder: Path, safe: bool) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._data, self._who = folder / "data", ["-U", _USER, "-A", "trust", "--locale=C.UTF-8"]
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:  # as root it refuses to run
            user = min(
                (u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody")), key=lambda u: u.pw_uid
            )
            self._user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", str(self._data), "--no-sync", *self._who)
        settings = {**_SETTINGS, "unix_socket_directories": f"'{folder}'"}
        if not safe:
            settings["fsync"] = "off"
        told = "".join(f"{name} = {value or chr(39) * 2}\n" for name, value in settings.items())
        with open(self._data / "postgresql.conf", "a") as file:
            file.write(told)

    @property
    def url(self) -> str:
        """Of its one database."""
        return f"postgresql://{_USER}@/postgres?host={self._folder}"

    def new_place(self) -> str:
        """Make an empty schema in it and return the URL that leads there."""
        import psycopg

        name = f"s{next(self._numbers)}"
        with psycopg.connect(self.url, autocommit=True) as session:
            session.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(self._folder / "log"))

    def stop(self, how: str = "fast") -> None:
        """Stop it; "immediate" is as if it were killed."""
        self._run("pg_ctl", "stop", "-w", "-m", how, "-D", str(self._data))

    def _run(self, name: str, *arguments: str) -> None:
        program = _program(name)
        assert program is not None
        done = subprocess.run(
            [program, *arguments], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, check=False, **self._user,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")


@contextmanager
def postgres(safe: bool = False) -> Iterator[Cluster]:
    """Run a PostgreSQL until the block ends, on a socket of its own; `safe` makes a commit wait for the disk."""
    with tempfile.TemporaryDirectory(prefix="sk-pg-") as folder:  # a socket's path has to be short
        os.chmod(folder, 0o755)
        cluster = Cluster(Path(folder), safe)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop("immediate")
