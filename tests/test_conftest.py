"""The guards around the tests hold: otherwise a test could pass because of the machine it ran on."""

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import platformdirs
import pytest

CLOSED = "a test reached for"


@pytest.mark.parametrize("address", ["192.0.2.1", "soundkin.invalid"])
def test_network_is_closed(address: str) -> None:
    with pytest.raises(RuntimeError, match=CLOSED):
        socket.create_connection((address, 80), timeout=1)
    with pytest.raises(RuntimeError, match=CLOSED):
        urllib.request.urlopen(f"http://{address}/", timeout=1)


def test_no_kind_of_socket_gets_out() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        pytest.raises(RuntimeError, match=CLOSED),
    ):
        stream.connect_ex(("192.0.2.1", 80))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        with pytest.raises(RuntimeError, match=CLOSED):
            datagram.sendto(b"?", ("192.0.2.1", 53))
        with pytest.raises(RuntimeError, match=CLOSED):
            datagram.sendto(b"?", 0, ("192.0.2.1", 53))
    with socket.socket(socket.AF_INET6) as stream, pytest.raises(RuntimeError, match=CLOSED):
        stream.connect(("2001:db8::1", 80))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_open(host: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection((host, server.getsockname()[1]), timeout=5) as client,
    ):
        client.sendall(b"hello")
        peer, _ = server.accept()
        with peer:
            assert peer.recv(5) == b"hello"


def test_unix_sockets_are_open(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(os.fspath(tmp_path / "s"))
        server.listen()
        client.connect(os.fspath(tmp_path / "s"))


def test_home_is_a_temporary_folder_for_this_process_and_its_children() -> None:
    temporary = Path(os.environ["HOME"])
    assert temporary.name.startswith("soundkin-test-")
    show = "import os, platformdirs; print(os.path.expanduser('~')); print(platformdirs.user_data_dir('soundkin'))"
    child = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    folders = (os.fspath(Path.home()), platformdirs.user_data_dir("soundkin"), *child.stdout.split())
    for folder in folders:
        assert Path(folder).is_relative_to(temporary)
    assert not [name for name in os.environ if name.startswith("SOUNDKIN_")]


@pytest.mark.parametrize("run", [1, 2])
def test_dice_fall_the_same(run: int) -> None:
    assert np.random.randint(1 << 30) == np.random.RandomState(0).randint(1 << 30)  # noqa: NPY002
