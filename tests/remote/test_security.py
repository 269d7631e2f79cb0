from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the extra 'remote' is not installed")

from napari_promise.remote.security import (
    checked_address,
    knock,
    load_credentials,
    make_credentials,
    server_credentials,
)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("tls://gpu.example:9000", "tls://gpu.example:9000"),
        (" gpu.example ", "tls://gpu.example:8786"),
        ("tls://[::1]:1", "tls://[::1]:1"),
        ("tcp://127.0.0.1:8786", "tcp://127.0.0.1:8786"),
        ("tcp://localhost", "tcp://localhost:8786"),
    ],
)
def test_an_address_is_read_with_what_is_usual_for_what_is_left_out(
    text: str, read: str
) -> None:
    assert str(checked_address(text)) == read


@pytest.mark.parametrize(
    "text", ["", "tls://", "http://host:1", "tls://host:99999", "a b", "tls://h:p"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="tls://host:8786"):
        checked_address(text)


@pytest.mark.parametrize(
    "host", ["192.168.1.2", "gpu.example", "0.0.0.0", "localhost.evil.example"]
)
def test_plain_connections_go_to_this_computer_alone_unless_a_setting_says_so(
    host: str,
) -> None:
    with pytest.raises(ValueError, match="without encryption"):
        checked_address(f"tcp://{host}:8786")
    assert checked_address(f"tcp://{host}:8786", plain=True).host == host


def test_certificates_are_made_once_and_for_the_user_alone(tmp_path: Path) -> None:
    own, client = server_credentials(tmp_path / "server")
    assert server_credentials(tmp_path / "server") == (own, client)
    for path in (tmp_path / "server").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_credentials(client).authority == own.authority


def test_a_file_that_is_no_certificate_is_refused_and_says_which_to_copy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "client.pem"
    with pytest.raises(ValueError, match="cannot be read.*copy client.pem"):
        load_credentials(path)
    path.write_bytes(b"\xff\x00 nonsense")
    with pytest.raises(ValueError, match="no certificate of a server"):
        load_credentials(path)
    own, _ = make_credentials()
    path.write_bytes(own.to_file().replace(b"\nMI", b"\nNI"))
    with pytest.raises(ValueError, match="damaged"):
        load_credentials(path)


def test_where_nothing_listens_the_line_says_what_to_look_at() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = checked_address(f"tls://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(ConnectionError, match="nothing answers.*serve"):
        knock(address, make_credentials()[1])


def test_without_a_certificate_nobody_knocks() -> None:
    with pytest.raises(PermissionError, match="wants a certificate.*client.pem"):
        knock(checked_address("tls://127.0.0.1:1"), None)
