"""A web server on this machine that misbehaves as told, for tests of downloads."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """What it serves, and what it was asked.

    Parameters
    ----------
    url : str
        Where it is.
    files : dict
        Path -> content.
    plan : list
        For the next answers, one each: a status code, a dict of a code and headers, or the number of bytes after which
        the connection breaks, as a negative number. When it is empty, answers are right.
    asked : list of (str, dict)
        Path and headers of every request so far.
    ranges : bool
        Whether parts of a file can be asked for.
    headers : dict
        What else it says of every file.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    plan: list[Any] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def serving() -> Iterator[Server]:
    """Serve until the block ends."""
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.asked.append((self.path, dict(self.headers)))
            what = served.plan.pop(0) if served.plan else None
            if isinstance(what, dict) or (isinstance(what, int) and what > 0):
                headers = dict(what) if isinstance(what, dict) else {"code": what}
                self.send_response(headers.pop("code"))
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                return
            content = served.files.get(self.path.partition("?")[0])
            if content is None:
                self.send_error(404)
                return
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(start[1]) if start and served.ranges else 0
            if first >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(content) - first))
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content[first : first - what if what else None])
            if what:
                self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
