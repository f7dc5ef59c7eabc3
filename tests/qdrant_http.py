"""A Qdrant server for tests: what a real client sends arrives over HTTP and is held to Qdrant's published models.

The models of `qdrant_client.http.models` are made from Qdrant's OpenAPI document and refuse unknown keys, so a request
that no server would understand fails here. What it asks for is done by the client's in-memory mode; what that mode
does not have (layouts, graphs, versions, keys) is kept here. Trouble is made on demand.
"""

import json
import socket
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, TypeAdapter
from qdrant_client import QdrantClient, models

GREEN = models.CollectionStatus.GREEN


@dataclass
class Request:
    """What came: method, path without its query, body as JSON, the key, and the query string."""

    method: str
    path: str
    body: Any
    key: str | None
    query: str


@dataclass
class FakeQdrant:
    """State of one server; `requests` is all that came, `trouble` what to answer instead to the next ones.

    A trouble is an HTTP status, "reset" (the connection breaks), "hang" (no answer until the end), or a pair of a
    status and the seconds of a Retry-After. "lost" does what is asked for, and breaks the connection then. A function
    is called before what is asked for is done.
    """

    version: str = "1.18.0"
    key: str | None = None
    requests: list[Request] = field(default_factory=list)
    trouble: list[Any] = field(default_factory=list)
    statuses: list[models.CollectionStatus] = field(default_factory=list)  # of the next looks at a collection
    created: dict[str, models.CreateCollection] = field(default_factory=dict)
    indexing: dict[str, int | None] = field(default_factory=dict)
    fields: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)
    local: QdrantClient = field(
        default_factory=lambda: QdrantClient(":memory:", force_disable_check_same_thread=True)
    )
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def sent(self, method: str, ending: str) -> list[Any]:
        """Return the bodies of all requests of a kind."""
        return [r.body for r in self.requests if r.method == method and r.path.endswith(ending)]

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Do what a request asks for."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match method, parts:
            case "GET", ["aliases"]:
                return self.local.get_aliases()
            case "GET", ["collections"]:
                return self.local.get_collections()
            case "POST", ["collections", "aliases"]:
                steps = models.ChangeAliasesOperation.model_validate(body).actions
                return self.local.update_collection_aliases(steps)
            case "GET", ["collections", name, "exists"]:
                return {"exists": self.local.collection_exists(name)}
            case "GET", ["collections", name]:
                return self.info(name)
            case "PUT", ["collections", name]:
                return self.create(name, models.CreateCollection.model_validate(body))
            case "PATCH", ["collections", name]:
                return self.update(name, models.UpdateCollection.model_validate(body))
            case "DELETE", ["collections", name]:
                self.created.pop(name, None)
                return self.local.delete_collection(name)
            case "PUT", ["collections", name, "index"]:
                asked = models.CreateFieldIndex.model_validate(body)
                self.fields.setdefault(name, []).append((asked.field_name, asked.field_schema))
                return {"operation_id": 1, "status": "completed"}
            case "PUT", ["collections", name, "vectors", space]:
                config = TypeAdapter(models.VectorNameConfig).validate_python(body)
                return self.local.create_vector_name(name, space, config)
            case _, ["collections", name, "points", *what]:
                return self.points(name, what, body)
        return None

    def points(self, name: str, what: list[str], body: Any) -> Any:
        match what:
            case []:
                return self.local.upsert(name, models.PointsList.model_validate(body).points)
            case ["delete"]:
                return self.local.delete(name, models.PointIdsList.model_validate(body))
            case ["count"]:
                return self.local.count(name, models.CountRequest.model_validate(body).filter)
            case ["query"]:
                asked = models.QueryRequest.model_validate(body)
                return self.local.query_points(
                    name,
                    query=asked.query,
                    using=asked.using,
                    limit=asked.limit or 10,
                    query_filter=asked.filter,
                )
        return None

    def create(self, name: str, asked: models.CreateCollection) -> bool:
        self.local.create_collection(name, vectors_config=asked.vectors, metadata=asked.metadata)
        self.created[name] = asked
        return True

    def update(self, name: str, asked: models.UpdateCollection) -> bool:
        if asked.optimizers_config and asked.optimizers_config.indexing_threshold is not None:
            self.indexing[name] = asked.optimizers_config.indexing_threshold
        return self.local.update_collection(name, metadata=asked.metadata)

    def info(self, name: str) -> models.CollectionInfo:
        info = self.local.get_collection(name)
        if asked := self.created.get(name):
            params = info.config.params
            params.shard_number = asked.shard_number or 3
            params.replication_factor = asked.replication_factor or 1
            params.write_consistency_factor = asked.write_consistency_factor or 1
            params.on_disk_payload = asked.on_disk_payload
            info.config.quantization_config = asked.quantization_config
        info.config.optimizer_config.indexing_threshold = self.indexing.get(name, 10_000)
        info.status = self.statuses.pop(0) if self.statuses else GREEN
        if info.status == models.CollectionStatus.RED:
            info.optimizer_status = models.OptimizersStatusOneOf1(error="no space left on device")
        return info


def handler(fake: FakeQdrant) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            path, _, query = self.path.partition("?")
            key = self.headers.get("api-key")
            body = json.loads(raw or "null")
            fake.requests.append(Request(self.command, path, body, key, query))
            trouble = fake.trouble.pop(0) if fake.trouble else None
            if callable(trouble):
                trouble = trouble()
            if trouble == "hang":
                fake.over.wait(60)
            if trouble in ("hang", "reset"):
                return self.break_off()
            if trouble not in (None, "lost"):
                status, after = trouble if isinstance(trouble, tuple) else (trouble, None)
                return self.send(status, {"status": {"error": "made up"}}, after)
            if path == "/":
                return self.send(200, {"title": "qdrant - vector search engine", "version": fake.version})
            if fake.key is not None and key != fake.key:
                return self.send(401, {"status": {"error": "Invalid API key"}})
            with fake.lock:
                status, answer = self.done(path, body)
            return self.break_off() if trouble == "lost" else self.send(status, answer)

        def done(self, path: str, body: Any) -> tuple[int, Any]:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    result = fake.answer(self.command, path, body)
            except ValueError as error:
                status = 409 if "already exists" in str(error) else 404 if "not found" in str(error) else 400
                return status, {"status": {"error": str(error)}}
            if result is None:
                return 404, {"status": {"error": "no such page"}}
            plain = (
                result.model_dump(mode="json", exclude_none=True) if isinstance(result, BaseModel) else result
            )
            return 200, {"result": plain, "status": "ok", "time": 0.0}

        def send(self, status: int, answer: Any, after: int | None = None) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            if after is not None:
                self.send_header("retry-after", str(after))
            self.end_headers()
            self.wfile.write(content)

        def break_off(self) -> None:
            self.close_connection = True
            # with a linger of 0 the other side is told that the connection broke, not that it ended
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def fake_qdrant(**settings: Any) -> Iterator[FakeQdrant]:
    """Run a server on this machine for as long as the block lasts."""
    fake = FakeQdrant(**settings)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of clients that went away."""

    with Server(("127.0.0.1", 0), handler(fake)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield fake
        finally:
            fake.over.set()
            server.shutdown()
            thread.join()
