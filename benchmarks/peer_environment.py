"""The peers' own virtual environment, `.venv-bench`: made by pip the first time, with the project's pinned versions."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venv-bench"
PACKAGES = ("torch", "transformers", "peft", "datasets", "trl==1.16.0")


def python() -> Path:
    """The interpreter of the peers' environment. Makes the environment when it is not there or not as wanted."""
    found = FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pins = _pins()
    wanted = "\n".join([*PACKAGES, *pins]) + "\n"
    note = FOLDER / "installed"
    if found.is_file() and note.is_file() and note.read_text(encoding="utf-8") == wanted:
        return found
    print("Making the peers' environment .venv-bench (1.5 GB, once) …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*command, "--constraint", str(constraints), *PACKAGES], check=False)
    if done.returncode != 0:
        sys.exit(f"pip could not install the peers ({', '.join(PACKAGES)}). On a connected machine, run this again.")
    note.write_text(wanted, encoding="utf-8")
    return found


def _pins() -> list[str]:
    """The project's constraints: the peer runs on the very torch, transformers and peft that Limpide runs on."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(("-", "#"))]
