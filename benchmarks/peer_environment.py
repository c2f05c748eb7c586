"""The peers' own virtual environments: made by pip the first time, with the project's pinned versions."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Peers:
    """folder: of the environment, beside the project's own. packages: what pip installs there. size: for a person."""

    folder: str
    packages: tuple[str, ...]
    size: str


TRAINING = Peers(".venv-bench", ("torch", "transformers", "peft", "datasets", "trl==1.16.0"), "1.5 GB")
AUDIT = Peers(".venv-bench-audit", ("torch", "transformers", "accelerate", "lm_eval[hf]==0.4.13"), "1.6 GB")
ATTRIBUTION = Peers(".venv-bench-attribution", ("torch", "transformers", "captum==0.9.0", "inseq==0.7.1"), "1.6 GB")
PATCHING = Peers(".venv-bench-lens", ("torch", "transformers", "transformer_lens==3.9.0"), "1.6 GB")


def python(peers: Peers = TRAINING) -> Path:
    """The interpreter of the peers' environment. Makes the environment when it is not there or not as wanted."""
    folder = ROOT / peers.folder
    found = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pins = _pins()
    wanted = "\n".join([*peers.packages, *pins]) + "\n"
    note = folder / "installed"
    if found.is_file() and note.is_file() and note.read_text(encoding="utf-8") == wanted:
        return found
    print(f"Making the peers' environment {peers.folder} ({peers.size}, once) …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    _install(found, peers.packages, pins)
    note.write_text(wanted, encoding="utf-8")
    return found


def _install(found: Path, packages: Sequence[str], pins: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*command, "--constraint", str(constraints), *packages], check=False)
    if done.returncode != 0:
        sys.exit(f"pip could not install the peers ({', '.join(packages)}). On a connected machine, run this again.")


def _pins() -> list[str]:
    """The project's constraints: the peer runs on the very torch, transformers and peft that Limpide runs on."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(("-", "#"))]
