"""Models from the Hugging Face hub, when asked for by name and revision: only the files that a safe model needs."""

import re
import shutil
from pathlib import Path

from limpide.core import digests, files
from limpide.core.errors import MissingError, ModelError
from limpide.core.progress import Progress
from limpide.models import cache
from limpide.models.gguf_folder import SOURCE_FILE

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*", "NOTICE*", "USE_POLICY*")
# Second copies of the weights in other layouts, which publishers put beside or in subfolders.
NOT_WANTED = ("consolidated*", "*/*.safetensors", "*/*.json", "*/*.model", "*/*.txt", "onnx/*", "original/*", "metal/*")
_REFERENCE = re.compile(r"hub:(?P<owner>\w[\w.-]*)/(?P<name>\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch(ref: str, progress: Progress) -> tuple[Path, tuple[str, ...]]:
    """(folder, oddities) of `hub:owner/name@revision`, from the cache or the hub.

    A tag or branch is resolved to its commit, which names the folder and is recorded in it.
    Raises ModelError (no such model or revision, access refused), MissingError (offline).
    """
    found = _REFERENCE.fullmatch(ref)
    if found is None or found["revision"] is None:
        raise ModelError(
            f"'{ref}' does not say which model of the hub, and which revision of it.",
            expected="hub:owner/name@revision, the revision being a commit (40 hex digits), a tag or a branch",
            remedy=f"write {ref}@main" if found else "write hub:owner/name@main, with the model's owner and name",
        )
    repository, revision = f"{found['owner']}/{found['name']}", found["revision"]
    name = f"{found['owner']}--{found['name']}"
    commit, odd = _commit(ref, repository, revision, name)
    target = cache.model_folder(name, commit)
    if not (target / SOURCE_FILE).is_file():
        _download(ref, repository, commit, revision, target, progress)
    return target, odd


def _commit(ref: str, repository: str, revision: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The commit that `revision` stands for; offline, the one it stood for when it was last downloaded."""
    if _COMMIT.fullmatch(revision):
        return revision, ()
    import huggingface_hub

    try:
        commit = huggingface_hub.HfApi().model_info(repository, revision=revision).sha
    except client_errors() as error:
        for folder in sorted((cache.cache_folder() / "models").glob(f"{digests.slug(name)}-*")):
            record = files.read_json(folder / SOURCE_FILE) if (folder / SOURCE_FILE).is_file() else {}
            if record.get("hub", {}).get("asked_for") == revision:
                odd = f"the hub did not answer: '{revision}' is taken as it was when it was downloaded"
                return str(record["hub"]["commit"]), (odd,)
        raise _explain(error, ref, repository) from error
    return str(commit), ()


def _download(ref: str, repository: str, commit: str, revision: str, target: Path, progress: Progress) -> None:
    import huggingface_hub

    with progress.task(f"Downloading {repository}", total=None), cache.new_folder(target) as folder:
        try:
            huggingface_hub.snapshot_download(
                repository,
                revision=commit,
                local_dir=folder,
                allow_patterns=list(WANTED),
                ignore_patterns=list(NOT_WANTED),
            )
        except client_errors() as error:
            raise _explain(error, ref, repository) from error
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
        hub = {"repository": repository, "commit": commit, "asked_for": revision}
        files.write_json(folder / SOURCE_FILE, {"hub": hub})


def client_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises when it cannot do as asked."""
    from importlib import import_module
    from importlib.util import find_spec

    from huggingface_hub import errors

    # The client speaks through httpx or, since 2.x, httpx2: whichever is there may raise.
    transports = [import_module(name).HTTPError for name in ("httpx", "httpx2") if find_spec(name)]
    return (OSError, *transports, errors.HfHubHTTPError, errors.HFValidationError, errors.OfflineModeIsEnabled)


def _explain(error: Exception, ref: str, repository: str) -> ModelError | MissingError:
    """The message for a person of what the hub's client raised."""
    from huggingface_hub import errors

    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"The publisher of {repository} wants its licence accepted first.",
            received=said,
            remedy="accept the licence on the model's page, log in with `hf auth login`, and run the command again",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(f"{repository} has no such revision.", received=ref, remedy=f"write hub:{repository}@main")
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return ModelError(
            f"The hub has no public model {repository}.",
            received=said,
            remedy="check the name; for a private model, log in with `hf auth login`",
        )
    return MissingError(
        f"The hub could not be reached, and {ref} is not on this machine.",
        received=said,
        remedy=f"on a connected machine run `hf download {repository} --local-dir MODEL`, "
        "copy the folder here, and give its path instead",
    )
