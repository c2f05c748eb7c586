"""From a folder on disk to a served model: verify, choose the file, load it, answer until told to stop."""

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from limpide.core import digests, files
from limpide.core.errors import IntegrityError, MissingError, UsageError
from limpide.core.progress import Progress, Quiet
from limpide.models.classifier import is_classifier
from limpide.models.llamacpp import LlamaEngine
from limpide.release.verify import verify_folder
from limpide.serve.address import check_address, is_loopback, listen, url_of
from limpide.serve.engine import LlamaClient
from limpide.serve.gateway import create_app
from limpide.serve.settings import DEFAULT_HOST, DEFAULT_PORT, ServeSettings

PREFERRED = ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_1", "q4_0", "bf16", "f16", "f32")
GRACE_SECONDS = 5  # an answer under way may go on this long after the order to stop
KEEP_ALIVE_SECONDS = 30


@dataclass(frozen=True)
class Chosen:
    """A GGUF file that may be loaded. digest: its SHA-256. verified: whether a signature vouches for it."""

    name: str
    gguf: Path
    digest: str
    verified: bool

    @property
    def fingerprint(self) -> str:
        return f"gguf-{self.digest[: digests.SHORT]}"


def serve_release(
    folder: Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    key: str | None = None,
    public_key: Path | None = None,
    unsigned: bool = False,
    settings: ServeSettings | None = None,
    progress: Progress | None = None,
) -> None:
    """Serve a signed release (or, with `unsigned`, a .gguf file) until Ctrl-C or SIGTERM; returns then.

    The signature is verified before anything is loaded. Raises IntegrityError, UsageError (address, port, key,
    options), MissingError (no GGUF file in the release), ModelError, UntrustedInput.
    """
    settings, progress = settings or ServeSettings(), progress or Quiet()
    check_address(host, key)
    if not is_loopback(host):
        progress.warn("the key and the answers travel unencrypted on this address: put a TLS proxy in front of it")
    listening = listen(host, port)
    try:
        chosen = choose(folder, public_key=public_key, unsigned=unsigned, progress=progress)
        if chosen.verified:
            _require_approved(folder, public_key, settings.approver_key)
        with open_engine(chosen, settings) as engine:
            app = create_app(
                LlamaClient(engine),
                chosen.name,
                key,
                loopback=is_loopback(host),
                hosts=settings.hosts,
                fingerprint=chosen.fingerprint,
            )
            run_app(app, listening, lambda: progress.say(_invitation(chosen, engine, url_of(listening), key)))
    finally:
        listening.close()


def choose(folder: Path, *, public_key: Path | None, unsigned: bool, progress: Progress) -> Chosen:
    """Verify `folder` and pick its GGUF file. A lone .gguf file needs `unsigned`. Raises as `serve_release`."""
    if not folder.exists():
        raise MissingError("There is nothing to serve there.", received=folder, expected="the folder of a release")
    if folder.is_file():
        if not unsigned:
            raise UsageError(
                "A lone file carries no signature, so nobody vouches for it.",
                received=folder,
                expected="the folder of a signed release",
                remedy=f"if you trust this file anyway: limpide serve {folder} --unsigned",
            )
        progress.warn(f"{folder.name} is not signed: nothing shows where it comes from")
        return Chosen(folder.stem, folder, digests.of_file(folder), verified=False)
    if public_key is None or unsigned:
        raise UsageError(
            "A release is served only after its signature was verified, which needs the publisher's public key.",
            received="--unsigned" if unsigned else "no public key",
            remedy=f"limpide serve {folder} --key KEY.pub  (or name one .gguf file with --unsigned)",
        )
    verified = verify_folder(folder, public_key)
    gguf = find_gguf(folder)
    digest = verified.files.get(gguf.relative_to(folder).as_posix())
    if digest is None:
        raise IntegrityError(
            "The signature does not cover the GGUF file.", received=gguf, remedy="do not use the release"
        )
    progress.say(f"signature verified: {verified.name}, key {verified.fingerprint}")
    return Chosen(verified.name, gguf, digest, verified=True)


def _require_approved(folder: Path, public_key: Path | None, approvers: tuple[Path, ...]) -> None:
    """A release whose recipe asks for a named person's approval is not served before. Raises ApprovalNeeded.

    It may be asked (`limpide ask`): a person looks before approving.
    """
    lock = folder / "recipe.lock.json"  # signed with the release, so it can be believed
    if public_key is not None and lock.is_file() and files.read_json(lock).get("approval") == "required":
        from limpide.release.approve import require_approval

        require_approval(folder, public_key, approvers)


def find_gguf(folder: Path) -> Path:
    """The GGUF file of a release to serve. Raises MissingError when it has none."""
    found = sorted(path for path in (folder / "gguf").glob("*.gguf") if path.is_file())
    if not found and is_classifier(folder):
        raise MissingError(
            "This release is a classifier: it gives the probability of each class, and the gateway serves text.",
            received=folder,
            remedy="use it in Python: transformers.pipeline('text-classification', model='THE FOLDER')",
        )
    if not found:
        raise MissingError(
            "This release has no GGUF file, which the engine needs.",
            received=folder / "gguf",
            expected="gguf/NAME.gguf",
            remedy="add `optimise: {formats: [safetensors, gguf:q8_0]}` to the recipe and run it again",
        )
    return min(found, key=lambda path: (_rank(path.name.lower()), path.name))


def _rank(name: str) -> int:
    return next((rank for rank, kind in enumerate(PREFERRED) if kind in name), len(PREFERRED))


def open_engine(chosen: Chosen, settings: ServeSettings) -> LlamaEngine:
    return LlamaEngine(chosen.gguf, context=settings.context, slots=settings.slots, threads=settings.threads)


def run_app(app: Any, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer on `listening` until Ctrl-C or SIGTERM. `ready` is called once, when requests are accepted."""
    asyncio.run(make_server(app, ready).serve(sockets=[listening]))


def make_server(app: Any, ready: Callable[[], None]) -> "GatewayServer":
    """uvicorn, set so that it logs nothing of what people ask. Setting `should_exit` stops it from another thread."""
    config = uvicorn.Config(
        app,
        log_level="critical",  # uvicorn's lines would add nothing to ours; requests are never logged
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    return GatewayServer(config, ready)


class GatewayServer(uvicorn.Server):
    """uvicorn, which says when it is ready and returns after a signal instead of raising it again:
    the engine still has to be closed."""

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


def _invitation(chosen: Chosen, engine: LlamaEngine, url: str, key: str | None) -> str:
    """One line: where it answers, and a command to try."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
    secret = ' -H "Authorization: Bearer $LIMPIDE_API_KEY"' if key is not None else ""
    limit = engine.training_context
    context = f"{engine.context} tokens" + (f" of {limit}" if limit and limit > engine.context else "")
    return (
        f"{chosen.name} answers at {url}/v1 (context {context}, Ctrl-C stops). "
        f"Try: curl {url}/v1/chat/completions -H 'Content-Type: application/json'{secret} -d '{body}'"
    )
