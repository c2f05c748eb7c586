"""The hub, replaced by a folder: what is asked of it, what is kept, and what a person reads when it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import LimpideError, MissingError, ModelError
from limpide.core.progress import Quiet
from limpide.models import hub
from limpide.models.sources import resolve
from tiny import tiny_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder("llama", tmp_path / "published")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Stands for huggingface_hub: gives a tiny folder, or raises."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error, self.asked = folder, error, []

    def model_info(self, repository: str, revision: str) -> Any:
        if self.error:
            raise self.error
        return type("Info", (), {"sha": COMMIT})

    def snapshot_download(self, repository: str, **given: Any) -> None:
        if self.error:
            raise self.error
        self.asked.append({"repository": repository, **given})
        shutil.copytree(self.folder, given["local_dir"], dirs_exist_ok=True)
        (Path(given["local_dir"]) / ".cache").mkdir()


def install(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)


def test_a_hub_name_is_downloaded_once_at_its_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHub(folder)
    install(fake, monkeypatch)
    source = resolve("hub:owner/name@v1.0")
    assert source.kind == "hub"
    assert source.folder.name == f"owner-name-{COMMIT[:12]}"
    assert fake.asked[0]["revision"] == COMMIT
    assert "*.safetensors" in fake.asked[0]["allow_patterns"]
    assert not any("bin" in pattern or pattern in ("*", "*.py") for pattern in fake.asked[0]["allow_patterns"])
    record = json.loads((source.folder / "limpide-source.json").read_text())
    assert record["hub"] == {"repository": "owner/name", "commit": COMMIT, "asked_for": "v1.0"}
    assert not (source.folder / ".cache").exists()
    again = resolve(f"hub:owner/name@{COMMIT}")
    assert again.folder == source.folder
    assert len(fake.asked) == 1
    install(FakeHub(folder, OSError("no route")), monkeypatch)
    offline = resolve("hub:owner/name@v1.0")
    assert offline.folder == source.folder
    assert "did not answer" in offline.oddities[0]


def hub_error(name: str) -> Exception:
    import httpx
    from huggingface_hub import errors

    if name == "offline":
        return httpx.ConnectError("no route to host")
    response = httpx.Response(404, request=httpx.Request("GET", "https://example.org"))
    made: Exception = getattr(errors, name)("said no", response=response)
    return made


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("offline", MissingError, "could not be reached"),
        ("GatedRepoError", ModelError, "licence accepted"),
        ("RepositoryNotFoundError", ModelError, "no public model"),
        ("RevisionNotFoundError", ModelError, "no such revision"),
    ],
)
def test_what_the_hub_refuses_is_explained(
    name: str, kind: type[LimpideError], says: str, folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(FakeHub(folder, hub_error(name)), monkeypatch)
    for ref in ("hub:owner/name@main", f"hub:owner/name@{COMMIT}"):
        with pytest.raises(kind, match=says) as caught:
            resolve(ref)
        assert caught.value.remedy
    assert not list(own_cache.rglob("*.json"))


@pytest.mark.parametrize("ref", ["hub:owner/name", "hub:name@main", "hub:", "hub:../x@main/.."])
def test_a_hub_name_without_revision_is_refused(ref: str) -> None:
    with pytest.raises(ModelError, match=r"hub:owner/name@(revision|main)"):
        hub.fetch(ref, Quiet())
