"""A gateway over llama.cpp in one process, until standard input ends; tells both addresses on standard output."""

import json
import os
import sys
from contextlib import closing
from pathlib import Path

from limpide.models.llamacpp import LlamaEngine
from limpide.serve.access import Doorkeeper
from limpide.serve.address import listen, url_of
from limpide.serve.engines.llamacpp import LlamaClient
from limpide.serve.gateway import create_app
from limpide.serve.request_log.places import places
from limpide.serve.request_log.writer import RequestLog
from limpide.serve.server import run_app
from limpide.serve.service import Service
from limpide.serve.shelf import Offered, Shelf
from limpide.serve.store import DATABASE, open_store


def main() -> None:
    """The job, one line of JSON: gguf, state (an empty folder), slots, context, threads."""
    job = json.loads(sys.stdin.readline())
    state = Path(job["state"])
    opened = LlamaEngine(Path(job["gguf"]), context=job["context"], slots=job["slots"], threads=job["threads"])
    with (
        opened as engine,
        closing(open_store(state / DATABASE)) as store,
        closing(RequestLog(places(state))) as log,
        closing(Doorkeeper(store, None)) as doorkeeper,
        closing(listen("127.0.0.1", 0)) as listening,
    ):
        offered = Offered("model", LlamaClient(engine), None, "model", None, "gguf", False)
        service = Service(Shelf([offered]), doorkeeper, log, state)
        told = {"engine": engine.url, "headers": dict(engine.headers), "gateway": url_of(listening), "pid": os.getpid()}
        run_app(create_app(service), listening, lambda: print(json.dumps(told), flush=True))


if __name__ == "__main__":
    main()
