"""From what a person names to what may be loaded: verify, choose the file and the engine, remember how it was."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core import digests, files
from limpide.core.errors import IntegrityError, MissingError, UsageError
from limpide.core.progress import Progress
from limpide.models import cache
from limpide.models.classifier import is_classifier
from limpide.models.embedded import EMBEDDED
from limpide.models.llamacpp import LlamaEngine
from limpide.models.sources import Source, aliases, resolve
from limpide.release.listing import SIGNATURE
from limpide.release.verify import verify_folder
from limpide.serve.seal import ABSENT, Seal, stamps
from limpide.serve.settings import EngineKind, ServeSettings

PREFERRED = ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_1", "q4_0", "bf16", "f16", "f32")
LOCK = "recipe.lock.json"  # signed with the release, so it can be believed


@dataclass(frozen=True)
class Chosen:
    """A model that may be loaded. name: the model id. model: a GGUF file, or a model folder. root: the signed digest,
    None where nobody signed. digest: of what is loaded, hex SHA-256."""

    name: str
    model: Path
    engine: EngineKind
    root: str | None
    digest: str
    seal: Seal | None = None

    @property
    def verified(self) -> bool:
        return self.root is not None

    @property
    def fingerprint(self) -> str:
        return f"{'gguf' if self.model.is_file() else 'folder'}-{self.digest[: digests.SHORT]}"


def choose(
    named: Path, *, public_key: Path | None, unsigned: bool, progress: Progress, engine: EngineKind = "auto"
) -> Chosen:
    """Verify a release folder and choose what of it is loaded. With `unsigned`: a .gguf file, a model folder, an alias.

    Raises IntegrityError, UsageError (a MissingError where there is nothing), UntrustedInput.
    """
    if unsigned and (named.is_file() or public_key is None):
        return _unsigned(named, progress, engine)
    if not named.exists():
        raise MissingError(
            "There is nothing to serve there.",
            received=named,
            expected="the folder of a release; with --unsigned also a .gguf file, a model folder or a model's name",
            remedy=f"limpide serve {named} --unsigned" if str(named) in aliases() else None,
        )
    if named.is_file():
        raise UsageError(
            "A lone file carries no signature, so nobody vouches for it.",
            received=named,
            expected="the folder of a signed release",
            remedy=f"if you trust this file anyway: limpide serve {named} --unsigned",
        )
    if public_key is None or unsigned:
        raise UsageError(
            "A release is served only after its signature was verified, which needs the publisher's public key.",
            received="--unsigned" if unsigned else "no public key",
            remedy=f"limpide serve {named} --key KEY.pub  (or name one .gguf file with --unsigned)",
        )
    before = stamps(path for path in named.rglob("*") if path.is_file())
    verified = verify_folder(named, public_key)
    model = _model_of(named, engine)
    digest = verified.root
    if model.is_file():
        listed = verified.files.get(model.relative_to(named).as_posix())
        if listed is None:
            raise IntegrityError(
                "The signature does not cover the GGUF file.", received=model, remedy="do not use the release"
            )
        digest = listed
    progress.say(f"signature verified: {verified.name}, key {verified.fingerprint}")
    signed = [named / name for name in (*verified.files, SIGNATURE)]
    seal = Seal(_same_release(named, public_key, verified.root), {path: before.get(path, ABSENT) for path in signed})
    return Chosen(verified.name, model, _engine(model, engine), verified.root, digest, seal)


def _same_release(folder: Path, public_key: Path, root: str) -> Callable[[], None]:
    """A function that verifies the folder again, and that it is still the release that was loaded."""

    def verify() -> None:
        if verify_folder(folder, public_key).root != root:
            raise IntegrityError(
                "The folder holds another signed release than the one that was loaded.", remedy="start the server again"
            )

    return verify


def _unsigned(named: Path, progress: Progress, engine: EngineKind) -> Chosen:
    if named.is_file() and named.suffix.lower() == ".gguf" and engine in ("auto", "llamacpp"):
        model, name, digest = named, named.stem, digests.of_file(named)
    else:
        source = resolve(str(named), progress)
        model, name, digest = source_model(source, engine), name_of(str(named)), source.digest
    progress.warn(f"{named.name} is not signed: nothing shows where it comes from")
    return Chosen(name, model, _engine(model, engine), None, digest, unsigned_seal(model))


def unsigned_seal(model: Path) -> Seal:
    """Of a file, or of the files of a folder, as they are now."""
    paths = [model] if model.is_file() else [path for path in model.iterdir() if path.is_file()]
    before = {path: digests.of_file(path) for path in paths}

    def verify() -> None:
        for path, digest in before.items():
            if not path.is_file() or digests.of_file(path) != digest:
                raise IntegrityError(f"{path.name} is not what was loaded.", remedy="start the server again")

    return Seal(verify, stamps(paths))


def base_of(folder: Path, progress: Progress, engine: EngineKind) -> Chosen:
    """The base that a release was made from, found on this machine. Nobody signed it: it is compared with the digest
    that the release's signature covers. Raises MissingError, IntegrityError, and what `resolve` raises."""
    lock: dict[str, Any] = files.read_json(folder / LOCK) if (folder / LOCK).is_file() else {}
    if "base" not in lock:
        raise MissingError("This release does not say what it was made from.", received=folder, expected=LOCK)
    ref = str(lock["base"]["ref"])
    source = resolve(ref, progress)
    if source.digest != lock["base"]["digest"]:
        raise IntegrityError(
            f"'{ref}' on this machine is not the base that {folder.name} was made from.",
            received=source.digest[: digests.SHORT],
            expected=str(lock["base"]["digest"])[: digests.SHORT],
            remedy="serve it without --base",
        )
    progress.warn(f"the base {ref} is not signed: its files are those that the release names")
    model = source_model(source, engine)
    return Chosen(name_of(ref), model, _engine(model, engine), None, source.digest, unsigned_seal(model))


def name_of(ref: str) -> str:
    """The model id of an unsigned model: an alias as it is, the last part of a path or of a hub's name."""
    return ref.removeprefix("hub:").partition("@")[0].rstrip("/").rpartition("/")[2].removesuffix(".gguf")


def source_model(source: Source, engine: EngineKind) -> Path:
    """What of a model on this machine is loaded: the GGUF file of an embedded one, else its folder."""
    wheel = EMBEDDED.get(source.ref)
    if wheel is None or engine not in ("auto", "llamacpp"):
        return source.folder
    return cache.cache_folder() / "gguf" / wheel.sha256[: digests.SHORT] / Path(wheel.member).name


def require_approved(folder: Path, public_key: Path | None, approvers: tuple[Path, ...]) -> None:
    """A release whose recipe asks for a named person's approval is not served before. Raises ApprovalNeeded.

    It may be asked (`limpide ask`): a person looks before approving.
    """
    lock = folder / LOCK
    if public_key is not None and lock.is_file() and files.read_json(lock).get("approval") == "required":
        from limpide.release.approve import require_approval

        require_approval(folder, public_key, approvers)


def _engine(model: Path, engine: EngineKind) -> EngineKind:
    """The engine meant by 'auto'. Raises UsageError when the one asked for cannot read the model."""
    if engine == "llamacpp" and not model.is_file():
        raise UsageError(
            "llama.cpp reads GGUF files, and this model has none.", received=model, remedy="use --engine transformers"
        )
    if engine != "auto":
        return engine
    return "llamacpp" if model.is_file() else "transformers"


def _model_of(folder: Path, engine: EngineKind) -> Path:
    """What of a release is loaded. Raises MissingError for one that gives no text."""
    _refuse_classifier(folder)
    if engine in ("transformers", "vllm"):
        return folder
    return find_gguf(folder) if engine == "llamacpp" or any((folder / "gguf").glob("*.gguf")) else folder


def _refuse_classifier(folder: Path) -> None:
    if is_classifier(folder):
        raise MissingError(
            "This release is a classifier: it gives the probability of each class, and the gateway serves text.",
            received=folder,
            remedy="use it in Python: transformers.pipeline('text-classification', model='THE FOLDER')",
        )


def find_gguf(folder: Path) -> Path:
    """The GGUF file of a release to serve. Raises MissingError when it has none."""
    _refuse_classifier(folder)
    found = sorted(path for path in (folder / "gguf").glob("*.gguf") if path.is_file())
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
    """llama.cpp with a GGUF file."""
    return LlamaEngine(
        chosen.model, context=settings.context, slots=settings.slots, threads=settings.threads, embeds=True
    )
