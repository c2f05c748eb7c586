import socket
from contextlib import closing

import pytest

from limpide.core.errors import UsageError
from limpide.serve.address import check_address, host_name, is_loopback, listen, url_of

LONG_KEY = "k" * 32


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "LOCALHOST", "::1"])
def test_this_machine_alone_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    check_address(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "localhost.example.org", ""])
def test_an_address_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="no key protects it") as caught:
        check_address(host, None)
    assert caught.value.exit_code == 2
    check_address(host, LONG_KEY)


def test_a_short_key_is_refused_where_others_can_guess_it() -> None:
    check_address("127.0.0.1", "short")
    with pytest.raises(UsageError, match="too short"):
        check_address("0.0.0.0", "short")


@pytest.mark.parametrize("key", ["", " ", "a b", "clé-clé-clé-clé-clé", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="HTTP header"):
        check_address("127.0.0.1", key)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8080", "localhost"),
        ("LocalHost", "localhost"),
        ("[::1]:80", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("evil.example:8080", "evil.example"),
        ("127.0.0.1:8080@evil.example", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with closing(listen("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} is taken") as caught:
            listen("127.0.0.1", port)
    assert "--port 0" in str(caught.value)


def test_port_0_takes_a_free_one() -> None:
    with closing(listen("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        assert url_of(listening) == f"http://{host}:{port}"
        socket.create_connection((host, port), timeout=5).close()


@pytest.mark.parametrize("port", [-1, 65536])
def test_impossible_ports(port: int) -> None:
    with pytest.raises(UsageError, match="not a port number"):
        listen("127.0.0.1", port)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UsageError, match="cannot listen"):
        listen("203.0.113.7", 0)  # reserved for documentation
