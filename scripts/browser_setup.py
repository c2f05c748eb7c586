"""What the tests of the studio need beside Python: Chromium from Debian, axe-core from npm. Called by `make test`.

Both are fetched once, when they are absent and this account may; else it says what to do, and those tests are skipped.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
AXE_FOLDER = ROOT / ".venv" / "axe"
AXE = "axe-core@4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
AXE_MEMBER = "package/axe.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
INSTALL = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]


def main() -> int:
    for name, ready, fetch, by_hand in (
        ("Chromium", browser_is_there, install_browser, f"as root: {' '.join(INSTALL)}"),
        ("axe-core", axe_is_there, fetch_axe, "install npm, which fetches it, and run `make test` again"),
    ):
        if not ready():
            print(f"{name} is not there: fetching it", flush=True)
            why = fetch()
            if why is not None:
                print(
                    f"{name} could not be fetched ({why}). The tests that need it are skipped. To run them, {by_hand}"
                )
    return 0


def browser_is_there() -> bool:
    return any(shutil.which(name) for name in BROWSERS)


def install_browser() -> str | None:
    """Why it could not be installed, or None."""
    if shutil.which("apt-get") is None:
        return "this is no Debian: install Chromium as your system does"
    # -n: no password is ever asked in the middle of a build
    first = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if first and shutil.which("sudo") is None:
        return "this account may not install packages"
    for command in (["apt-get", "update", "--quiet"], INSTALL):
        why = run([*first, *command])
        if why is not None:
            return why
    return None if browser_is_there() else "it was installed under another name"


def axe_is_there() -> bool:
    return (AXE_FOLDER / AXE_MEMBER).is_file()


def fetch_axe() -> str | None:
    """Why it could not be fetched, or None. Only the file the tests put into a page is unpacked."""
    npm = shutil.which("npm")
    if npm is None:
        return "there is no npm"
    AXE_FOLDER.mkdir(parents=True, exist_ok=True)
    why = run([npm, "pack", AXE, "--pack-destination", str(AXE_FOLDER)])
    if why is not None:
        return why
    packed = (AXE_FOLDER / f"{AXE.replace('@', '-')}.tgz").read_bytes()
    if hashlib.sha256(packed).hexdigest() != AXE_SHA256:
        return "what came is not the version whose digest is written in scripts/browser_setup.py"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = archive.extractfile(AXE_MEMBER)
        if member is None:
            return f"it holds no {AXE_MEMBER}"
        (AXE_FOLDER / "package").mkdir(exist_ok=True)
        (AXE_FOLDER / AXE_MEMBER).write_bytes(member.read())
    return None


def run(command: list[str]) -> str | None:
    """The last line a command complained with, or None when it went well."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"])[-1]


if __name__ == "__main__":
    sys.exit(main())
