"""A release that asks for a named person's approval is not served before."""

import json
from pathlib import Path

import pytest

from limpide.core.errors import ApprovalNeeded
from limpide.release.approve import approve
from limpide.release.keys import new_keys
from limpide.release.sign import sign_folder
from limpide.serve.release import require_approved


def a_release(folder: Path, approval: str) -> Path:
    folder.mkdir()
    (folder / "recipe.lock.json").write_text(json.dumps({"approval": approval}))
    return folder


def test_served_only_once_approved_also_by_another_key(tmp_path: Path) -> None:
    publisher, person = new_keys(tmp_path / "release.pem"), new_keys(tmp_path / "ada.pem")
    release = a_release(tmp_path / "release-1.0", "required")
    sign_folder(release, publisher.private)
    with pytest.raises(ApprovalNeeded):
        require_approved(release, publisher.public, ())
    approve(release, "Ada Martin", person.private, release_key=publisher.public)
    require_approved(release, publisher.public, (person.public,))


def test_without_the_demand_none_is_needed(tmp_path: Path) -> None:
    publisher = new_keys(tmp_path / "release.pem")
    release = a_release(tmp_path / "release-1.0", "none")
    sign_folder(release, publisher.private)
    require_approved(release, publisher.public, ())
