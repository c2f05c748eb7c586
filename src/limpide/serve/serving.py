"""`limpide serve` from end to end: check the address, verify, load, answer until told to stop, leave in good order."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from limpide.core import digests
from limpide.core.errors import LimpideError, ModelError, UsageError
from limpide.core.progress import Events, Progress, Quiet
from limpide.serve.access import Doorkeeper, listed
from limpide.serve.address import check_address, is_loopback, listen, url_of
from limpide.serve.engines.llamacpp import LlamaClient
from limpide.serve.engines.protocol import Engine
from limpide.serve.gateway import create_app
from limpide.serve.release import Chosen, base_of, choose, open_engine, require_approved, unsigned_seal
from limpide.serve.request_log.places import places
from limpide.serve.request_log.writer import RequestLog
from limpide.serve.server import Tls, check_tls, run_app
from limpide.serve.service import Service
from limpide.serve.settings import DEFAULT_HOST, DEFAULT_PORT, ServeSettings
from limpide.serve.shelf import Offered, Shelf
from limpide.serve.store import database_of, open_store
from limpide.serve.structured_logs import Lines


def serve_releases(
    named: Sequence[Path],
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    key: str | None = None,
    public_key: Path | None = None,
    unsigned: bool = False,
    settings: ServeSettings | None = None,
    progress: Progress | None = None,
) -> None:
    """Serve signed releases (with `unsigned`: other models) until Ctrl-C or SIGTERM; returns then.

    key: one that is accepted beside those in the database. Signatures are verified before anything is loaded. Raises
    IntegrityError, UsageError (address, port, keys, options; MissingError, ModelError), UntrustedInput, ApprovalNeeded.
    """
    settings, progress = settings or ServeSettings(), progress or Quiet()
    adapters = read_adapters(settings.adapter)
    tls = check_tls(settings.tls_certificate, settings.tls_key)
    check_address(host, key, has_keys=not is_loopback(host) and _has_open_key(settings))
    if tls is None and not is_loopback(host):
        progress.warn("keys and answers travel unencrypted on this address: give --tls-certificate and --tls-key")
    with ExitStack() as stack:
        listening = listen(host, port)
        stack.callback(listening.close)
        chosen = _choose_all(named, public_key, unsigned, settings, progress)
        store = open_store(database_of(settings.state, settings.database))
        stack.callback(store.close)
        log = RequestLog(places(settings.state, settings.heads))
        stack.callback(log.close)
        shelf = stack.enter_context(open_shelf(chosen, adapters, settings))
        doorkeeper = Doorkeeper(store, key)
        stack.callback(doorkeeper.close)
        lines = Lines.on_stderr() if isinstance(progress, Events) and settings.request_lines else Lines()
        service = Service(shelf, doorkeeper, log, settings.state, lines)
        stack.enter_context(_in_the_log(service, host))
        app = create_app(service, loopback=is_loopback(host), hosts=settings.hosts)
        url = url_of(listening, tls is not None)
        run_app(app, listening, lambda: progress.say(_invitation(service, url, tls)), tls)


def read_adapters(given: Sequence[str]) -> dict[str, Path]:
    """{name: folder} of options NAME=FOLDER. Raises UsageError."""
    found: dict[str, Path] = {}
    for option in given:
        name, sign, folder = option.partition("=")
        if not name or not sign or not folder or name in found:
            raise UsageError(
                "An adapter is given a name of its own.",
                received=option,
                expected="--adapter NAME=FOLDER, each name once",
            )
        found[name] = Path(folder)
    return found


def _has_open_key(settings: ServeSettings) -> bool:
    now = datetime.now(UTC)
    with closing(open_store(database_of(settings.state, settings.database))) as store:
        return any(key.opens(now) for key in listed(store))


def _choose_all(
    named: Sequence[Path], public_key: Path | None, unsigned: bool, settings: ServeSettings, progress: Progress
) -> list[Chosen]:
    if (settings.engine == "vllm") != (settings.engine_url is not None):
        raise UsageError(
            "--engine vllm and --engine-url go together.", remedy="--engine vllm --engine-url http://…:8000"
        )
    chosen = []
    for one in named:
        made = choose(one, public_key=public_key, unsigned=unsigned, progress=progress, engine=settings.engine)
        if made.verified:
            require_approved(one, public_key, settings.approver_key)
        chosen.append(made)
    if settings.base:
        chosen.append(base_of(named[0], progress, "transformers" if settings.adapter else settings.engine))
    return chosen


@contextmanager
def open_shelf(chosen: Sequence[Chosen], adapters: Mapping[str, Path], settings: ServeSettings) -> Iterator[Shelf]:
    """Load what was chosen. adapters: of the last one chosen with --base, of the first one else.

    Raises UsageError, ModelError; IntegrityError when a file changed between its verification and now.
    """
    with ExitStack() as stack:
        offered: list[Offered] = []
        bearer = chosen[-1 if settings.base else 0]
        for one in chosen:
            its = adapters if one is bearer else {}
            engine = _open(one, its, settings, stack)
            facts = (one.name, one.root, one.fingerprint, one.verified, one.seal)
            offered.append(Offered(one.name, engine, None, *facts))
            offered += [_adapter(name, folder, engine) for name, folder in its.items()]
            if one.seal is not None and one.seal.look():
                one.seal.renew()
        yield Shelf(offered)


def _adapter(name: str, folder: Path, engine: Engine) -> Offered:
    digest = digests.of_file(folder / "adapter_model.safetensors")
    return Offered(name, engine, name, name, None, f"adapter-{digest[: digests.SHORT]}", False, unsigned_seal(folder))


def _open(chosen: Chosen, adapters: Mapping[str, Path], settings: ServeSettings, stack: ExitStack) -> Engine:
    if chosen.engine == "vllm":
        from limpide.serve.engines.vllm import KEY_VARIABLE, open_vllm

        return open_vllm(str(settings.engine_url), os.environ.get(KEY_VARIABLE))
    if chosen.engine == "transformers":
        from limpide.serve.engines.transformers import open_transformers

        return open_transformers(chosen.model, adapters=adapters, threads=settings.threads)
    if adapters:
        raise ModelError(
            "Adapters are swapped by the transformers engine only.",
            received=f"--adapter with {chosen.model.name}",
            remedy="add --engine transformers",
        )
    return LlamaClient(stack.enter_context(open_engine(chosen, settings)))


@contextmanager
def _in_the_log(service: Service, host: str) -> Iterator[None]:
    """The service's first and last entries. Raises LimpideError when the first cannot be written."""
    service.log.append("service.start", host=host, keys_asked=service.doorkeeper.asked)
    for one in service.shelf:
        service.log.append(
            "model.load",
            model=one.id,
            release=one.release,
            root=one.root,
            fingerprint=one.fingerprint,
            adapter=one.adapter,
            signed=one.verified,
        )
    began = time.monotonic()
    try:
        yield
    finally:
        with suppress(LimpideError):
            service.log.append("service.stop", seconds=round(time.monotonic() - began, 1))


def _invitation(service: Service, url: str, tls: Tls | None) -> str:
    """One line: where it answers, and a command to try."""
    first = next(iter(service.shelf))
    names = ", ".join(one.id for one in service.shelf)
    many = len(list(service.shelf)) > 1
    chat = "chat" in first.engine.gives
    content = {"messages": [{"role": "user", "content": "Hello"}]} if chat else {"prompt": "Hello"}
    secret = ' -H "Authorization: Bearer $LIMPIDE_API_KEY"' if service.doorkeeper.asked else ""
    trust = f" --cacert {tls.certificate}" if tls is not None else ""
    route = "chat/completions" if chat else "completions"
    return (
        f"{names} {'answer' if many else 'answers'} at {url}/v1 (context {first.engine.context} tokens, Ctrl-C stops). "
        f"Try: curl{trust} {url}/v1/{route} -H 'Content-Type: application/json'{secret} -d '{json.dumps(content)}'"
    )
