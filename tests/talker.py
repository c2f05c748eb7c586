"""An OpenAI-compatible endpoint on this machine that says what a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Said:
    """One response. slow: it comes after the client left."""

    body: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False


def chat(text: Any, finish: str = "stop", **more: Any) -> Said:
    """A well-formed answer."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 3}
    answer = {"model": "tiny-1", "system_fingerprint": "fp-1", "usage": usage}
    return Said(json.dumps(answer | {"choices": [{"message": message | more, "finish_reason": finish}]}))


def refused(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Said:
    return Said(json.dumps({"error": {"message": message, **more}}), status, headers or {})


@dataclass
class Talker:
    """script: said first, one each request. answer: last question → what is said then. bodies, keys: as received."""

    url: str = ""
    script: list[Said] = field(default_factory=list)
    answer: Callable[[str], str | Said] = lambda question: f"answer to {question}"
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    models: tuple[str, ...] = ("tiny", "large")
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, body: dict[str, Any], key: str | None) -> Said:
        with self.lock:
            self.bodies.append(body)
            self.keys.append(key)
            if self.script:
                return self.script.pop(0)
        said = self.answer(body["messages"][-1]["content"])
        return said if isinstance(said, Said) else chat(said)

    @property
    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]

    def address(self, model: str = "tiny") -> str:
        return f"{self.url}/v1#{model}"


@contextmanager
def talking() -> Iterator[Talker]:
    talker = Talker()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self.send(Said("no such route", 404))
                return
            said = talker.respond(body, self.headers["Authorization"])
            if said.slow:
                talker.over.wait(10)
                self.close_connection = True
                return
            self.send(said)

        def do_GET(self) -> None:
            self.send(Said(json.dumps({"data": [{"id": name} for name in talker.models]})))

        def send(self, said: Said) -> None:
            data = said.body.encode()
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(data)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    talker.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield talker
    finally:
        talker.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
