"""Starting the studio: address, way in, server. Ends at Ctrl-C or SIGTERM; jobs go on."""

import asyncio
import logging
import os
import socket
import time
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import uvicorn

from limpide.core import files
from limpide.core.errors import MissingError, UsageError
from limpide.core.progress import Progress, Quiet
from limpide.serve.address import is_loopback, listen, url_of
from limpide.serve.connections import Connection
from limpide.serve.server import KEEP_ALIVE_SECONDS, GatewayServer, Tls, check_tls
from limpide.studio import traffic
from limpide.studio.door import LARGEST_MESSAGE
from limpide.studio.jobs import Jobs
from limpide.studio.project import Project
from limpide.studio.session import LocalSessions, Sessions, private_folder
from limpide.studio.settings import DEFAULT_HOST, DEFAULT_PORT, StudioSettings

if TYPE_CHECKING:
    from limpide.studio.signing_in import Reception

FAULTS_BYTES = 1_000_000
KEPT_SECONDS = 30 * 86_400.0  # of what can be made again
MADE_AGAIN = ("explain", "ask", "verify", "log-verify")  # kinds of jobs
GRACE_SECONDS = 2  # a page being sent may finish


def run_studio(
    folder: Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    show: bool = True,
    settings: StudioSettings | None = None,
    progress: Progress | None = None,
) -> None:
    """Open the studio of the project in `folder` and answer until Ctrl-C or SIGTERM; returns then.

    show: open the person's browser. When the folder's studio runs already, it is shown instead of a second one.
    Raises UsageError (folder, address, port, TLS files, no administrator).
    """
    settings, progress = settings or StudioSettings(), progress or Quiet()
    project = Project(check_folder(folder))
    private_folder(project.own)
    if running(project) is not None:
        _invite(new_address(folder), show, progress)
        return
    keep_faults(project.own / "faults.log")
    forget_the_old(project)
    tls = check_tls(settings.tls_certificate, settings.tls_key)
    listening = listen(host, port)
    try:
        url = url_of(listening).replace("http", "https" if tls else "http", 1)
        way_in = make_way_in(project, settings, host)
        if not (is_loopback(host) or tls):
            progress.warn("passwords travel unencrypted on this address: give TLS files, or put a TLS proxy in front")
        app = make_app(project, settings, way_in, host, secure=tls is not None)
        files.write_json(project.own / "running.json", {"url": url, **_this_process()})
        server = GatewayServer(server_config(app, tls), lambda: _invite(address(url, way_in.sessions), show, progress))
        asyncio.run(server.serve(sockets=[listening]))
    finally:
        listening.close()
        traffic.close(project)
        _forget(project)


def make_app(project: Project, settings: StudioSettings, way_in: "WayIn", host: str, *, secure: bool) -> Any:
    """The ASGI application. NiceGUI is imported here: it reads where to keep its files when it is."""
    os.environ["NICEGUI_STORAGE_PATH"] = str(project.own / "nicegui")
    if settings.database is not None:  # for the keys' page, and for the services that are started from here
        os.environ["LIMPIDE_DATABASE"] = settings.database
    from limpide.studio.app import Studio, create_app

    studio = Studio(project, settings, way_in.sessions, Jobs(project.jobs, project.folder), way_in.reception)
    names = (host, socket.gethostname(), *settings.hosts)
    return create_app(studio, loopback=is_loopback(host), names=names, secure=secure)


def new_address(folder: Path) -> str:
    """A fresh one-time address of the studio that runs for `folder`. Raises MissingError when none does."""
    project = Project(folder.absolute())
    url = running(project)
    if url is None:
        raise MissingError("No studio runs for this folder.", received=project.folder, remedy="limpide studio")
    if not is_loopback(urlsplit(url).hostname or ""):
        raise UsageError("This studio is open to others: people sign in with an account.", received=url)
    return address(url, LocalSessions(project.own))


def address(url: str, sessions: Sessions) -> str:
    """Where to come in: with a one-time token, or where people sign in."""
    return f"{url}/enter?token={sessions.new_token()}" if isinstance(sessions, LocalSessions) else url


def running(project: Project) -> str | None:
    """Where the project's studio answers, when it does."""
    try:
        record = files.read_json(project.own / "running.json")
        process = psutil.Process(int(record["pid"]))
        return str(record["url"]) if abs(process.create_time() - record["created"]) < 1 else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def keep_faults(place: Path) -> None:
    """Send what only a developer reads (a fault of Limpide, with where it happened) to a file of this user."""
    with files.clear_write_errors(place):
        place.touch(mode=0o600)
    handler = RotatingFileHandler(place, maxBytes=FAULTS_BYTES, backupCount=1, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in ("nicegui", "limpide.studio"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False


def forget_the_old(project: Project) -> None:
    """Remove, as a studio starts, what can be made again and was long ago: explanations and their questions, private
    services, checks."""
    before = time.time() - KEPT_SECONDS
    Jobs(project.jobs, project.folder).forget(MADE_AGAIN, before)
    for asked in project.asked.glob("*.json"):
        with suppress(FileNotFoundError):  # another studio of the folder was quicker
            if asked.stat().st_mtime < before:
                asked.unlink()


def check_folder(folder: Path) -> Path:
    """The folder of a project, made when absent. Raises UsageError when it is a file."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("A project is a folder.", received=folder, remedy="limpide studio FOLDER")
    with files.clear_write_errors(folder / "x"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


@dataclass(frozen=True)
class WayIn:
    """How people come in. reception: None on this machine alone."""

    sessions: Sessions
    reception: "Reception | None" = None


def make_way_in(project: Project, settings: StudioSettings, host: str) -> WayIn:
    """One-time tokens where only this machine reaches the studio, accounts elsewhere. Raises UsageError without any."""
    if is_loopback(host):
        return WayIn(LocalSessions(project.own))
    from limpide.studio.signing_in import account_way_in

    return WayIn(*account_way_in(project, settings, host))


def server_config(app: Any, tls: Tls | None) -> uvicorn.Config:
    """uvicorn as the gateway sets it (slow clients, large headers), with small limits on what a websocket may send."""
    return uvicorn.Config(
        app,
        http=Connection,
        log_level="critical",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # a small message could unpack to a large one
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )


def _invite(address: str, show: bool, progress: Progress) -> None:
    once = "the address works once; " if "token=" in address else ""
    progress.say(f"The studio is open at {address} ({once}Ctrl-C closes the studio, jobs go on)")
    if show:
        webbrowser.open(address)


def _this_process() -> dict[str, float]:
    return {"pid": os.getpid(), "created": psutil.Process().create_time()}


def _forget(project: Project) -> None:
    if running(project) is not None and files.read_json(project.own / "running.json")["pid"] == os.getpid():
        (project.own / "running.json").unlink(missing_ok=True)
