"""Commands of the server: start it, and say who may log in."""

import gc
import getpass
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import (
    cli,
    count_of,
    json_option,
    library_option,
    open_library,
    print_json,
    print_table,
    qdrant_options,
    record_url,
    say,
)
from soundkin.errors import InputError, NotFound

if TYPE_CHECKING:
    from fastapi import FastAPI

    from soundkin.record.database import Place
    from soundkin.serve.accounts import Accounts

_PORT = 8765
_STOP_SECONDS = 10
_SWITCH_SECONDS = 0.0005


@cli.command()
@click.argument("music", nargs=-1, type=click.Path(exists=True, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PORT,
    show_default=True,
    help="Port to listen at; 0: any free.",
)
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name the server is called by; repeatable."
)
@click.option("--root-path", default="", metavar="PATH", help="Where a reverse proxy shows it: /music.")
@click.option("--log", is_flag=True, help="Log every request on stderr, one JSON document a line.")
@library_option
@qdrant_options
def serve(
    music: tuple[str, ...],
    host: str,
    port: int,
    hosts: tuple[str, ...],
    root_path: str,
    log: bool,
    folder: str | None,
    qdrant: str | None,
    api_key: str | None,
) -> None:
    """Serve the library: the web app and the HTTP API.

    MUSIC are folders that a scan started from the app looks into; with them the library may begin empty. On another
    address than this machine's own, or under another name, users have to log in: make one with `soundkin user add`.
    """
    from soundkin.workers import ONE_THREAD

    # Before numpy is there. Questions are many and small: threads of one would wait for one another, and for the next.
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    from soundkin.serve import create_app

    shared = bool(hosts) or not _is_own(host)
    if shared and not _accounts(folder).any():
        raise InputError(
            f"at {host}{f' ({hosts[0]})' if hosts else ''} others can reach the library: first say who may log in, "
            "with soundkin user add NAME"
        )
    if root_path and (not root_path.startswith("/") or "//" in root_path):
        raise InputError(f"--root-path {root_path!r}; wanted a path that begins with a slash, like /music")
    _make_ready(open_library(folder).place, music)
    app = create_app(folder, music, hosts, root_path, shared, record_url(), qdrant, api_key)
    _run(app, host, port, root_path, log)


def _make_ready(place: "Place", music: Sequence[str]) -> None:
    """See to it that there is a library to serve: one that cannot be read would refuse every question instead."""
    from soundkin.record import Record

    try:
        Record.open(place).close()
    except NotFound as error:
        if not music:
            raise NotFound(f"{error}, or name the folders of your music: soundkin serve FOLDER") from error
        Record.open(place, write=True).close()


def _is_own(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _run(app: "FastAPI", host: str, port: int, root_path: str, log: bool) -> None:
    """Serve until interrupted; requests under way are finished, a scan of ours is stopped in order."""
    import logging

    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            # Not the one above, which would raise the signal again at the end: being stopped is no accident.
            app.state.shared.closing.set()  # answers that never end by themselves
            self.force_exit, self.should_exit = self.should_exit, True

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                heard = self.servers[0].sockets[0].getsockname()
                name = f"[{heard[0]}]" if ":" in heard[0] else heard[0]
                click.echo(f"Soundkin at http://{name}:{heard[1]}{root_path.rstrip('/')}/  (Ctrl-C stops it)")
                sys.stdout.flush()

    if log:
        access, lines = logging.getLogger("soundkin.serve.access"), logging.StreamHandler()
        lines.setFormatter(logging.Formatter("%(message)s"))
        access.addHandler(lines)
        access.setLevel(logging.INFO)
        access.propagate = False
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS, ws="none", h11_max_incomplete_event_size=64 << 10,
    )  # fmt: skip
    server = Server(config)
    refused: list[OSError] = []

    def others(line: logging.LogRecord) -> bool:
        """Keep what is logged when it cannot listen, the error itself: that is said below, once."""
        if isinstance(line.msg, OSError):
            refused.append(line.msg)
        return not isinstance(line.msg, OSError)

    logging.getLogger("uvicorn.error").addFilter(others)
    gc.collect()
    gc.freeze()  # what is imported stays: looking through it for garbage again and again would be a pause each time
    # A question computes for some ms; whoever reads from the network or sends to it should not wait for 5 each time.
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        server.run()
    except SystemExit as error:
        why = ", ".join(_reason(each) for each in refused)
        raise InputError(
            f"cannot listen at {host}, port {port} ({why}): choose others with --host and --port"
        ) from error
    say("stopped")


def _reason(error: OSError) -> str:
    """Return why it could not listen; what asyncio says names the address once more."""
    if error.errno is None or isinstance(error, socket.gaierror):  # its numbers are others than the system's
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()


@cli.group()
def user() -> None:
    """Say who may log in to the server."""


@user.command("add")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin instead of asking.")
@library_option
def add_(name: str, password_stdin: bool, folder: str | None) -> None:
    """Let NAME log in; asks for a password."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _asked_twice()
    say(f"{_accounts(folder).add(name, password)} may log in")


@user.command("list")
@library_option
@json_option
def list_(folder: str | None, as_json: bool) -> None:
    """List who may log in, and what tokens they have."""
    users = _accounts(folder).users()
    if as_json:
        print_json([asdict(one) for one in users])
    elif not users:
        click.echo("nobody: only this machine can use the server, and needs no login")
    else:
        print_table(("name", "tokens"), [(one.name, ", ".join(one.tokens)) for one in users])


@user.command("remove")
@click.argument("names", nargs=-1, required=True)
@library_option
def remove_(names: tuple[str, ...], folder: str | None) -> None:
    """Let NAMES log in no longer; their sessions and tokens end at once. What they liked and kept stays."""
    accounts = _accounts(folder)
    for name in names:
        accounts.remove(name)
    say(f"{count_of(len(names), 'user')} removed")


@user.command("token")
@click.argument("name")
@click.option("--label", default="token", show_default=True, help="What it is for.")
@library_option
def token_(name: str, label: str, folder: str | None) -> None:
    """Print a new token for a program that asks in the name of NAME; it is shown only now."""
    click.echo(_accounts(folder).token(name, label))


def _accounts(folder: str | None) -> "Accounts":
    from soundkin.serve.accounts import Accounts

    return Accounts(open_library(folder).place)


def _asked_twice() -> str:
    if not sys.stdin.isatty() and os.name == "posix":
        raise InputError("no terminal to ask for a password at: pipe it in with --password-stdin")
    first = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != first:
        raise InputError("the two are not the same: try again")
    return first
