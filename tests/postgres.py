"""A PostgreSQL of the test's own: a throwaway cluster on a socket in a temporary folder, where it is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "planted-password-7"


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "pg_ctl").exists()), None)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of an empty database, for as long as the context lasts. folder: of `programs`."""
    who = _who()
    home = Path(tempfile.mkdtemp(prefix="limpide-pg-"))  # short: the name of a socket has at most 107 characters
    try:
        (home / "password").write_text(PASSWORD)
        for path in (home, home / "password"):
            shutil.chown(path, who.get("user"))
        data, password = str(home / "data"), str(home / "password")
        made = [folder / "initdb", "-D", data, "-U", "limpide", "--pwfile", password, "-A", "scram-sha-256", "-N"]
        subprocess.run([*made, "-E", "UTF8", "--locale", "C"], check=True, capture_output=True, cwd=home, **who)
        options = f"-k {home} -c listen_addresses= -c fsync=off -c shared_buffers=16MB"
        started = [folder / "pg_ctl", "-D", data, "-w", "-l", str(home / "log"), "-o", options, "start"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(started, check=True, cwd=home, **quiet, **who)
        try:
            yield f"postgresql+psycopg://limpide:{PASSWORD}@/postgres?host={home}"
        finally:
            stop = [folder / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, cwd=home, **quiet, **who)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _who() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: another account, then, for subprocess.run."""
    if os.geteuid() != 0:
        return {"user": None}
    names = [one.pw_name for one in pwd.getpwall()]
    name = "postgres" if "postgres" in names else "nobody"
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
