"""A gateway for tests: a service over engines that are given, with a real database and a real request log."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.serve.access import Doorkeeper
from limpide.serve.address import listen, url_of
from limpide.serve.engines.protocol import Engine
from limpide.serve.gateway import create_app
from limpide.serve.request_log.places import places
from limpide.serve.request_log.writer import RequestLog
from limpide.serve.server import Tls, make_server
from limpide.serve.service import Service
from limpide.serve.shelf import Offered, Shelf
from limpide.serve.store import DATABASE, open_store


@contextmanager
def a_service(state: Path, *engines: tuple[str, Engine] | Offered, key: str | None = None) -> Iterator[Service]:
    """state: an empty folder, or that of a service before. engines: (model id, engine), or what is offered."""
    offered = [
        one if isinstance(one, Offered) else Offered(one[0], one[1], None, f"{one[0]}-1.0.0", None, "gguf-1", False)
        for one in engines
    ]
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(state / DATABASE)))
        log = stack.enter_context(closing(RequestLog(places(state))))
        doorkeeper = stack.enter_context(closing(Doorkeeper(store, key)))
        yield Service(Shelf(offered), doorkeeper, log, state)


def logged(state: Path, event: str | None = None) -> list[dict[str, Any]]:
    """The entries of a service's log, in order; those of one event alone where one is named."""
    from limpide.serve.request_log.entry import parsed

    lines = [line for day in sorted((state / "log").glob("2*.jsonl")) for line in day.read_bytes().splitlines()]
    entries = [{**(made := parsed(line)).facts, "event": made.event, "texts": made.texts} for line in lines]
    return [entry for entry in entries if event in (None, entry["event"])]


@dataclass(frozen=True)
class Listening:
    url: str
    service: Service
    server: Any
    loop: asyncio.AbstractEventLoop


@contextmanager
def listening(service: Service, *, hosts: Sequence[str] = (), tls: Tls | None = None) -> Iterator[Listening]:
    """The service's gateway in a thread, on a free port of this machine."""
    with closing(listen("127.0.0.1", 0)) as bound:
        ready, loops = threading.Event(), list[asyncio.AbstractEventLoop]()

        def started() -> None:
            loops.append(asyncio.get_running_loop())
            ready.set()

        server = make_server(create_app(service, hosts=hosts), started, tls)

        def run() -> None:
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(server.serve(sockets=[bound]))

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(20)
        try:
            yield Listening(url_of(bound, tls is not None), service, server, loops[0])
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
