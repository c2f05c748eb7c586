"""One pair of keys for all the tests of this room, and a small release as Limpide makes them."""

from pathlib import Path

import pytest

from limpide.release.keys import KeyPair, new_keys
from limpide.release.sign import sign_folder

FILES = {
    "README.md": b"# A model\n",
    "config.json": b"{}\n",
    "model.safetensors": bytes(range(256)),
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "evidence/measures.jsonl": b"",
    "evidence/items/domain.jsonl": b'{"id": "1"}\n',
}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return new_keys(tmp_path_factory.mktemp("keys") / "release.pem")


@pytest.fixture(scope="session")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return new_keys(tmp_path_factory.mktemp("keys") / "other.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release not signed yet."""
    folder = tmp_path / "releases" / "assistant-1.0.0"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def signed(folder: Path, keys: KeyPair) -> Path:
    sign_folder(folder, keys.private)
    return folder
