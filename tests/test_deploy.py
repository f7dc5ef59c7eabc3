"""What `deploy/` runs is what there is: commands, ports and variables agree with the code, files with their schemas."""

import asyncio
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
import pytest
import served
import uvicorn
import yaml
from made import Made, copied
from serving import PATIENCE, until

from soundkin.cli import cli
from soundkin.cli.serving import _PORT
from soundkin.serve.guard import OPEN

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
CLUSTER = DEPLOY / "cluster"
README = (DEPLOY / "README.md").read_text("utf-8")
VALUES = {"QDRANT_API_KEY": "k1", "POSTGRES_PASSWORD": "k2", "MUSIC": "/srv/music"}
QDRANT_PORT, PEER_PORT = 6333, 6335


def filled(text: str, values: dict[str, str]) -> str:
    """Fill in variables as compose does: ${NAME:-default} and ${NAME:?message}."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        assert kind in (":-", ":?"), f"{name} is filled in with nothing where it is missing"
        assert kind == ":-" or name in values, f"{name}: {rest}"
        return values.get(name, rest)

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


COMPOSE = yaml.safe_load(filled((CLUSTER / "compose.yaml").read_text("utf-8"), VALUES))
SERVICES: dict[str, Any] = COMPOSE["services"]
OBJECTS = list(yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text("utf-8")))


def kind_of(kind: str, name: str) -> Any:
    (found,) = (o for o in OBJECTS if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found["spec"]


def pods() -> Iterator[Any]:
    for one in OBJECTS:
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one["spec"]["template"]["spec"]
        elif one["kind"] == "CronJob":
            yield one["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Read a command line as ours is read; names that it does not know are an error."""
    command: click.Command = cli
    name = "soundkin"
    while isinstance(command, click.Group):
        word, *words = words
        assert word in command.commands, f"{name} has no command {word}"
        command, name = command.commands[word], f"{name} {word}"
    with click.Context(command, info_name=name) as context:
        values, rest, _ = command.make_parser(context).parse_args(list(words))
    assert not rest, f"{name}: {rest} is too much"
    return name, dict(values)


def every_command(group: click.Group = cli) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from every_command(command)


def commands() -> list[list[str]]:
    container = (DEPLOY / "Containerfile").read_text("utf-8")
    found = [json.loads(line) for line in re.findall(r"^CMD (.*)$", container, re.MULTILINE)]
    unit = (DEPLOY / "soundkin.service").read_text("utf-8")
    found += [shlex.split(line)[1:] for line in re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)]
    found += [service["command"] for service in SERVICES.values() if service["image"] == "soundkin"]
    found += [pod["containers"][0]["args"] for pod in pods() if pod["containers"][0]["image"] == "soundkin"]
    pages = (README, (ROOT / "docs" / "qdrant.md").read_text("utf-8"))
    for block in re.findall(r"```bash\n(.*?)```", "\n".join(pages), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            # a command of ours, or one for a container whose image's name, like the service's, is the last word before
            ours = re.search(r"(?:^|[ /])soundkin ((?!-)[a-z].*)$", line.partition(" #")[0].rstrip())
            if ours and not line.startswith(("useradd", "podman build", "kubectl create")):
                found.append(shlex.split(ours[1]))
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one_of_ours(words: list[str]) -> None:
    parsed(words)


def test_there_are_commands_of_every_file() -> None:
    names = {parsed(words)[0] for words in commands()}
    assert names >= {
        "soundkin serve", "soundkin index", "soundkin status", "soundkin user add", "soundkin qdrant create",
    }  # fmt: skip


def test_servers_listen_where_the_proxy_and_the_probes_ask() -> None:
    container = (DEPLOY / "Containerfile").read_text("utf-8")
    assert re.findall(r"^EXPOSE (\d+)$", container, re.MULTILINE) == [str(_PORT)]
    assert re.findall(r"^ENTRYPOINT (.*)$", container, re.MULTILINE) == ['["soundkin"]']
    servers = [name for name, service in SERVICES.items() if "serve" in service.get("command", ())]
    assert len(servers) == 2
    assert SERVICES["proxy"]["environment"]["SERVERS"].split() == [f"{name}:{_PORT}" for name in servers]
    pod = kind_of("Deployment", "soundkin")["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    assert ports == {"http": _PORT}
    for words in (pod["args"], *(SERVICES[name]["command"] for name in servers)):
        assert parsed(words)[1]["host"] == "0.0.0.0"
    caddy = (CLUSTER / "Caddyfile").read_text("utf-8")
    paths = {pod[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == set(re.findall(r"health_uri (\S+)", caddy)) == {"/healthz"}
    assert paths <= OPEN
    (backend,) = kind_of("Service", "soundkin")["ports"]
    assert backend["targetPort"] == "http"


def test_the_image_has_what_its_settings_ask_for() -> None:
    container = (DEPLOY / "Containerfile").read_text("utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = set(re.findall(r"(?:/source|soundkin)\[(\w+)\]", container))
    assert named == {"postgres"}
    assert named <= set(extras)
    for service in SERVICES.values():
        if service["image"] == "soundkin":
            assert urlsplit(service["environment"]["SOUNDKIN_RECORD"]).scheme == "postgresql"


def test_names_that_people_call_are_allowed() -> None:
    (rule,) = kind_of("Ingress", "soundkin")["rules"]
    pod = kind_of("Deployment", "soundkin")["template"]["spec"]["containers"][0]
    assert parsed(pod["args"])[1]["hosts"] == [rule["host"]]
    example = dict(re.findall(r"^(\w+)=(.*)$", (CLUSTER / "env.example").read_text("utf-8"), re.MULTILINE))
    assert urlsplit(example["SITE"]).hostname == example["SITE_HOST"]
    text = (CLUSTER / "compose.yaml").read_text("utf-8")
    assert set(example) == {name for name, _, _ in re.findall(r"\$\{(\w+)(:[-?])([^}]*)\}", text)}


def test_qdrant_is_where_it_is_looked_for() -> None:
    nodes = [name for name, service in SERVICES.items() if "qdrant/qdrant" in service["image"]]
    assert nodes == ["qdrant-1", "qdrant-2", "qdrant-3"]
    for name in nodes:
        told = SERVICES[name]["environment"]
        assert told["QDRANT_URI"] == f"http://{name}:{PEER_PORT}"
        assert told["QDRANT_BOOTSTRAP"] == f"http://{nodes[0]}:{PEER_PORT}"
        assert SERVICES[name]["networks"]["default"]["aliases"] == ["qdrant"]
        assert SERVICES[name]["volumes"] == [f"{name}:/qdrant/storage"]
    stateful = kind_of("StatefulSet", "qdrant")
    assert stateful["serviceName"] == "qdrant-nodes"
    pod = stateful["template"]["spec"]["containers"][0]
    told = {one["name"]: one.get("value") for one in pod["env"]}
    assert told["QDRANT_URI"] == f"http://$(POD).qdrant-nodes:{PEER_PORT}"
    assert told["QDRANT_BOOTSTRAP"] == f"http://qdrant-0.qdrant-nodes:{PEER_PORT}"
    assert {port["containerPort"] for port in pod["ports"]} == {QDRANT_PORT, PEER_PORT}
    assert [port["port"] for port in kind_of("Service", "qdrant")["ports"]] == [QDRANT_PORT]
    urls = {SERVICES["soundkin-1"]["environment"]["SOUNDKIN_QDRANT"]}
    urls |= {
        one["value"]
        for pod in pods()
        for one in pod["containers"][0]["env"]
        if one["name"] == "SOUNDKIN_QDRANT"
    }
    assert urls == {f"http://qdrant:{QDRANT_PORT}"}


def test_servers_learn_from_the_proxy_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = kind_of("Deployment", "soundkin")["template"]["spec"]["containers"][0]
    told = [{one["name"]: one.get("value") for one in pod["env"]}]
    told += [SERVICES[name]["environment"] for name in ("soundkin-1", "soundkin-2")]
    for environment in told:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", environment["FORWARDED_ALLOW_IPS"])
        passed: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any, passed: list[Any] = passed) -> None:
            passed.append((scope["client"][0], scope["scheme"]))

        config = uvicorn.Config(app, log_config=None)
        config.load()
        headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
        scope = {"type": "http", "client": ("10.1.2.3", 4), "scheme": "http", "headers": headers}
        asyncio.run(config.loaded_app(scope, None, None))
        assert passed == [("203.0.113.7", "https")]


def test_selectors_find_what_they_look_for() -> None:
    labels = [
        kind_of(*one)["template"]["metadata"]["labels"]
        for one in (("StatefulSet", "qdrant"), ("Deployment", "soundkin"))
    ]
    chosen = [o["spec"]["selector"] for o in OBJECTS if "selector" in o["spec"]]
    assert len(chosen) == 7
    assert all(one.get("matchLabels", one) in labels for one in chosen)
    for pod in pods():
        volumes = {volume["name"] for volume in pod.get("volumes", ())} | {"storage"}
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} <= volumes


def test_variables_are_those_of_the_options_and_secrets_are_elsewhere() -> None:
    options = [option for one in every_command() for option in one.params]
    envvars = [option.envvar or [] for option in options]
    known = {name for names in envvars for name in ([names] if isinstance(names, str) else names)}
    named = {name for service in SERVICES.values() for name in service.get("environment", ())}
    for pod in pods():
        for one in pod["containers"][0]["env"]:
            named.add(one["name"])
            if re.search("KEY|RECORD|PASSWORD", one["name"]):
                assert "secretKeyRef" in one["valueFrom"], one["name"]
    assert {name for name in named if name.startswith("SOUNDKIN_")} <= known
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("KEY|PASSWORD", name) or value in VALUES.values(), name
    sources = [one.get("valueFrom", {}) for pod in pods() for one in pod["containers"][0]["env"]]
    secrets = {source["secretKeyRef"]["key"] for source in sources if "secretKeyRef" in source}
    assert secrets == set(re.findall(r"--from-literal=([\w-]+)=", README))
    assert not [o for o in OBJECTS if o["kind"] == "Secret"]
    assert ".env\n" in (ROOT / ".gitignore").read_text("utf-8")


def test_the_compose_file_is_what_the_specification_allows() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="needs the extra deploy")
    # anchors and merges are YAML's, which compose resolves before it looks
    plain = yaml.safe_dump({key: value for key, value in COMPOSE.items() if not key.startswith("x-")})
    read = compose_spec.PyCompose.from_yaml(plain)
    assert sorted(read.service_names()) == sorted(SERVICES)
    with pytest.raises(ValueError, match="restart"):
        compose_spec.PyCompose.from_yaml("services: {a: {image: b, restart: sometimes}}")


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_the_manifest_is_what_kubernetes_allows(one: Any) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs the extra deploy")
    kubernetes_validate.validate(one, "1.34", strict=True)


caddy = pytest.mark.skipif(shutil.which("caddy") is None, reason="needs Caddy")


@caddy
def test_the_proxy_understands_its_file() -> None:
    told = {**os.environ, "SITE": "http://localhost:1", "SERVERS": "127.0.0.1:2 127.0.0.1:3"}
    path = str(CLUSTER / "Caddyfile")
    subprocess.run(["caddy", "validate", "--config", path, "--adapter", "caddyfile"], env=told, check=True)


@contextmanager
def proxied(*servers: str) -> Iterator[str]:
    """Run Caddy before servers, with the file that is deployed; yield its address."""
    for _ in range(5):  # another program may take the port in between
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://localhost:{probe.getsockname()[1]}"
        told = {**os.environ, "SITE": url, "SERVERS": " ".join(urlsplit(one).netloc for one in servers)}
        words = ["caddy", "run", "--config", str(CLUSTER / "Caddyfile"), "--adapter", "caddyfile"]
        with subprocess.Popen(words, env=told, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: process.poll() is not None or well(url))  # noqa: B023
                if process.poll() is None:
                    yield url
                    return
            finally:
                process.terminate()
    raise AssertionError("no port was free")


def well(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=PATIENCE).status_code == 200
    except httpx.HTTPError:
        return False


@caddy
@pytest.mark.slow
def test_who_asks_through_the_proxy_does_not_notice_that_a_server_dies(made: Made, tmp_path: Path) -> None:
    for name in ("one", "two"):
        copied(made.library, tmp_path / name)
    with (
        served.running(tmp_path / "one") as (one, first),
        served.running(tmp_path / "two") as (two, second),
        proxied(one, two) as url,
    ):
        for n in range(30):
            if n == 10:
                first.kill()
                first.wait()
            answer = httpx.get(f"{url}/api/v1/tracks", timeout=PATIENCE)
            assert (n, answer.status_code) == (n, 200)
        second.kill()
        second.wait()
        assert httpx.get(f"{url}/api/v1/tracks", timeout=PATIENCE).status_code >= 500
