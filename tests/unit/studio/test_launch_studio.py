"""Opening a studio: folders, addresses, TLS files and accounts that will not do, told before anything is served."""

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from limpide.core import files
from limpide.core.errors import MissingError, UsageError
from limpide.core.progress import Quiet
from limpide.studio import launch
from limpide.studio.jobs import Jobs
from limpide.studio.launch import (
    check_folder,
    forget_the_old,
    keep_faults,
    make_way_in,
    new_address,
    run_studio,
    running,
)
from limpide.studio.pages.ask_words import kept
from limpide.studio.project import Project
from limpide.studio.session import AccountSessions, LocalSessions
from limpide.studio.settings import StudioSettings


class Told(Quiet):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def pretend(folder: Path, url: str = "http://127.0.0.1:8090", **changed: float) -> Project:
    """As if this process were the folder's studio."""
    project = Project(folder)
    project.own.mkdir(parents=True)
    record = {"url": url, "pid": os.getpid(), "created": psutil.Process().create_time(), **changed}
    (project.own / "running.json").write_text(json.dumps(record))
    return project


def test_a_project_is_a_folder(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="A project is a folder"):
        check_folder(tmp_path / "file")


def test_a_fresh_address_needs_a_studio(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="No studio runs") as raised:
        new_address(tmp_path / "nothing")
    assert raised.value.remedy == "limpide studio"
    assert not (tmp_path / "nothing").exists()


def test_a_fresh_address_lets_one_browser_in(tmp_path: Path) -> None:
    project = pretend(tmp_path)
    url, _, token = new_address(tmp_path).partition("/enter?token=")
    assert url == "http://127.0.0.1:8090"
    assert LocalSessions(project.own).spend(token)


def test_a_second_studio_of_a_folder_shows_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path)
    told, shown = Told(), []
    monkeypatch.setattr(launch.webbrowser, "open", shown.append)
    run_studio(tmp_path, progress=told)
    assert told.lines[0].startswith("The studio is open at http://127.0.0.1:8090/enter?token=")
    assert len(shown) == 1
    assert shown[0] in told.lines[0]


def test_what_another_process_left_is_no_studio(tmp_path: Path) -> None:
    assert running(pretend(tmp_path / "a", created=1.0)) is None
    assert running(pretend(tmp_path / "b", pid=2**30)) is None
    project = pretend(tmp_path / "c")
    for text in ("", "[]", '{"pid": "x"}'):
        (project.own / "running.json").write_text(text)
        assert running(project) is None


def test_no_token_where_people_sign_in(tmp_path: Path) -> None:
    pretend(tmp_path, url="http://0.0.0.0:8090")
    with pytest.raises(UsageError, match="sign in with an account"):
        new_address(tmp_path)


def test_elsewhere_an_administrator_is_needed(tmp_path: Path) -> None:
    from limpide.serve import accounts
    from limpide.serve.store import DATABASE, open_store

    project, settings = Project(tmp_path), StudioSettings()
    assert isinstance(make_way_in(project, settings, "127.0.0.1").sessions, LocalSessions)
    store = open_store(project.service / DATABASE)
    accounts.add(store, "Ben", "correct horse battery", "reader")
    with pytest.raises(UsageError, match="no administrator") as raised:
        make_way_in(project, settings, "0.0.0.0")
    assert str(raised.value.remedy) == f"limpide accounts add NAME --role administrator --state {project.service}"
    accounts.set_role(store, "Ben", "administrator")
    store.close()
    way_in = make_way_in(project, settings, "0.0.0.0")
    assert isinstance(way_in.sessions, AccountSessions)
    assert way_in.reception is not None
    way_in.reception.store.close()


def test_half_of_tls_is_refused_before_a_port_is_taken(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TLS needs a certificate and its key"):
        run_studio(tmp_path, port=0, settings=StudioSettings(tls_key=tmp_path / "key.pem"))


def test_faults_are_kept_for_this_user_alone(tmp_path: Path) -> None:
    import logging

    loggers = [logging.getLogger(name) for name in ("nicegui", "limpide.studio")]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    try:
        keep_faults(tmp_path / "faults.log")
        loggers[1].error("something broke")
        assert "something broke" in (tmp_path / "faults.log").read_text()
        assert (tmp_path / "faults.log").stat().st_mode & 0o777 == 0o600
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            for handler in logger.handlers[:]:
                if handler not in handlers:
                    handler.close()
                    logger.removeHandler(handler)
            logger.propagate = propagate


def test_what_is_old_and_can_be_made_again_is_forgotten_and_the_rest_is_kept(tmp_path: Path) -> None:
    project, now = Project(tmp_path), time.time()
    for kind, day in (("explain", 1), ("explain", 31), ("verify", 31), ("run", 1), ("run", 400), ("open", 400)):
        folder = project.jobs / f"20260101-00{day:04d}-{kind}-abcdef"
        files.write_json(folder / "job.json", {"kind": kind, "argv": [], "started": now - day * 86_400, "who": ""})
        files.write_json(folder / "ended.json", {"code": 0, "ended": now})
    old, new = kept(project.asked, "old", "a"), kept(project.asked, "new", "a")
    os.utime(old, (now - 31 * 86_400,) * 2)
    forget_the_old(project)
    left = sorted((job.kind, round((now - job.started) / 86_400)) for job in Jobs(project.jobs, tmp_path).all())
    assert left == [("explain", 1), ("open", 400), ("run", 1), ("run", 400)]
    assert (old.exists(), new.exists()) == (False, True)
