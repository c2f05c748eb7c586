"""Where the gateway listens: which addresses are this machine alone, which need a key, and is the port free."""

import errno
import ipaddress
import re
import socket

from limpide.core.errors import UsageError

SEND_BUFFER = 2**16  # bytes; accepted connections inherit it
SHORTEST_KEY = 16  # characters, for an address that others can reach


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address without brackets, is this machine alone. Names are not looked up."""
    if host.lower() in ("localhost", "127.0.0.1"):  # nearly always
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """The name in a Host header, lowercase, without port and brackets; '' when there is none."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]*))(?::\d*)?", header.strip())
    return (found.group(1) or found.group(2) or "").lower() if found else ""


def check_address(host: str, key: str | None, *, has_keys: bool = False) -> None:
    """Raise UsageError when others could reach `host` without a key, or the key could not be sent or be guessed.

    has_keys: whether the database has a key that opens.
    """
    if key is not None and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UsageError(
            "The key is empty, or has a space or a character that an HTTP header cannot carry.",
            expected="letters, digits and signs, for example the output of: openssl rand -hex 24",
        )
    if is_loopback(host):
        return
    if key is None and has_keys:
        return
    if key is None:
        raise UsageError(
            "Others can reach this address, and no key protects it.",
            received=host,
            expected="127.0.0.1, localhost or ::1 without a key",
            remedy="leave --host out, or make a key: limpide access new --name NAME",
        )
    if len(key) < SHORTEST_KEY:
        raise UsageError(
            "The key is too short for an address that others can reach.",
            received=f"{len(key)} characters",
            expected=f"{SHORTEST_KEY} or more",
            remedy="use the output of: openssl rand -hex 24",
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises UsageError naming what to change."""
    if not 0 <= port <= 65535:
        raise UsageError("This is not a port number.", received=port, expected="0 (any free port) to 65535")
    made: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        if socket.has_ipv6 and family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where SO_REUSEADDR would let two servers share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What a client does not read waits here, then in this process, which notices: see streams.STALL_SECONDS.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        made.bind(address)
        # From now on the port is taken; who calls while the model loads waits instead of being turned away.
        made.listen(128)
        made.setblocking(False)
        return made
    except OSError as error:
        if made is not None:
            made.close()
        raise _cannot_listen(host, port, error) from error


def url_of(listening: socket.socket, tls: bool = False) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"Port {port} is taken by another program.",
            received=f"{host}:{port}",
            remedy=f"use --port 0 for any free port, or another one: --port {port + 1 if port < 65535 else 8080}",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(
            f"This account may not listen on port {port}.",
            received=error.strerror,
            expected="a port from 1024 up",
            remedy="use --port 8080",
        )
    return UsageError(
        "Limpide cannot listen on this address.",
        received=f"{host}:{port} ({error.strerror or error})",
        expected="an address of this machine",
        remedy="use --host 127.0.0.1",
    )
