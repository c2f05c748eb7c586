"""uvicorn, set so that it logs nothing of what people ask, says when it is ready, and leaves in good order."""

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from limpide.core.errors import UsageError
from limpide.serve.connections import Connection

GRACE_SECONDS = 5  # an answer under way may go on this long after the order to stop
KEEP_ALIVE_SECONDS = 30


@dataclass(frozen=True)
class Tls:
    """Files in PEM form."""

    certificate: Path
    key: Path


def check_tls(certificate: Path | None, key: Path | None) -> Tls | None:
    """None when neither is given. Raises UsageError when they cannot be used together."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UsageError(
            "TLS needs a certificate and its key.", remedy="give both --tls-certificate FILE and --tls-key FILE"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # SSLError is one
        raise UsageError(
            "The certificate and the key cannot be used.",
            received=f"{certificate}, {key}: {error.strerror or error}",
            expected="a certificate chain and its unencrypted private key, both in PEM form",
        ) from error
    return Tls(certificate, key)


def run_app(app: Any, listening: socket.socket, ready: Callable[[], None], tls: Tls | None = None) -> None:
    """Answer on `listening` until Ctrl-C or SIGTERM. `ready` is called once, when requests are accepted."""
    server = make_server(app, ready, tls)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listening]))


def make_server(app: Any, ready: Callable[[], None], tls: Tls | None = None) -> "GatewayServer":
    """Setting `should_exit` of what is returned stops it from another thread."""
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="critical",  # uvicorn's lines would add nothing to ours; requests are never logged
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    return GatewayServer(config, ready)


class GatewayServer(uvicorn.Server):
    """uvicorn, which says when it is ready and returns after a signal instead of raising it again:
    the engines still have to be closed."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
