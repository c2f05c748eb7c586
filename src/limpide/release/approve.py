"""Named approval: a person answers for a release, in a signed note that is appended after the release is signed.

Each approval is an envelope of its own in `attestations/`, outside the release's signature, so that the release need
not be signed again. It is bound to the exact files approved, names included.
What it proves: the holder of the key wrote this name. Who may hold a key is for the organisation to keep.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from limpide.core import files
from limpide.core.digests import slug
from limpide.core.errors import ApprovalNeeded, IntegrityError, UsageError
from limpide.core.measure import Frozen
from limpide.release.envelope import STATEMENT_TYPE, malformed, read_envelope, seal, subject, verify_envelope
from limpide.release.keys import PublicKey, load_private, public_of
from limpide.release.listing import ATTESTATIONS, covered, require_folder, shown
from limpide.release.manifest import Manifest, signed_manifest
from limpide.release.sign import refuse_key_inside
from limpide.release.verify import outside_key, verify_with

PREDICATE = "urn:limpide:approval:v1"
PLACEHOLDER = "FIRST LAST"  # shown in the command to run; refused when run as shown
LONGEST_NAME = 200  # characters
LONGEST_STATEMENT = 4000  # characters


class Approval(Frozen):
    """One person's approval of one release."""

    name: str = Field(description="who approves, as they wrote it")
    statement: str = Field(description="what they say, in their words; may be empty")
    approved_on: str = Field(description="UTC, YYYY-MM-DDThh:mm:ssZ, by the approver's clock")
    release: str = Field(description="folder name of the release when it was signed")
    root: str = Field(description="SHA-256 that stands for the bytes approved")
    manifest: str = Field(description="SHA-256 that stands for the names and bytes approved")
    key: str = Field(description="fingerprint of the key that signed the approval")
    file: str = Field(description="where it is kept, relative to the release")


def approve(
    folder: Path,
    name: str,
    private_key: Path,
    *,
    statement: str = "",
    password: str | None = None,
    release_key: Path | None = None,
    now: datetime | None = None,
) -> Approval:
    """Verify the release, then record that `name` approves it; writes `attestations/approval-….json`.

    private_key: signs the approval. release_key: public key that signed the release, when it is another one.
    Raises UsageError for a name that is none; IntegrityError when the release does not verify.
    """
    name, statement = _checked(name, statement)
    require_folder(folder)
    private = load_private(private_key, password)
    refuse_key_inside(private_key, folder)
    public = public_of(private, f"the public half of {private_key}")
    release_public = public if release_key is None else outside_key(folder, release_key)
    verify_with(folder, release_public)
    manifest = signed_manifest(folder, release_public)
    at = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    approval = Approval(
        name=name,
        statement=statement,
        approved_on=at,
        release=manifest.name,
        root=manifest.root,
        manifest=manifest.digest,
        key=public.fingerprint,
        file=_free_name(folder, at, name),
    )
    files.write_bytes(folder / approval.file, seal(_statement(approval), private))
    return approval


def approvals(folder: Path, public_key: Path, others: Sequence[Path] = ()) -> tuple[Approval, ...]:
    """Every approval of `folder`, oldest first, each verified. Files are not read: `verify_folder` does that.

    public_key: signed the release, and may have signed approvals. others: public keys of other approvers.
    Raises IntegrityError when the release's own signature does not hold, and for an approval that is damaged, changed,
    signed by a key that is not given, or made for another release.
    """
    require_folder(folder)
    keys = [outside_key(folder, path) for path in (public_key, *others)]
    manifest = signed_manifest(folder, keys[0])
    covered(folder, IntegrityError)  # no links, in attestations/ either
    found = [_read(path, manifest, keys) for path in sorted((folder / ATTESTATIONS).glob("approval-*.json"))]
    return tuple(sorted(found, key=lambda approval: (approval.approved_on, approval.file)))


def require_approval(folder: Path, public_key: Path, others: Sequence[Path] = ()) -> tuple[Approval, ...]:
    """The approvals of `folder`; raises ApprovalNeeded, with the command to run, when there is none."""
    found = approvals(folder, public_key, others)
    if not found:
        raise ApprovalNeeded(
            f"The release {folder} is signed and waits for a named person to approve it.",
            expected=f"an approval in {folder / ATTESTATIONS}",
            remedy=f'read its report, then: limpide approve {folder} --name "{PLACEHOLDER}" --key PRIVATE_KEY',
        )
    return found


def _checked(name: str, statement: str) -> tuple[str, str]:
    name, statement = " ".join(name.split()), statement.strip()
    letters = sum(letter.isalpha() for letter in name)
    if letters < 2 or name == PLACEHOLDER or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(
            "An approval needs the name of a person.",
            received=ascii(name) if name else "nothing",
            expected=f"first and last name, at most {LONGEST_NAME} characters",
            remedy=f'limpide approve RELEASE --name "{PLACEHOLDER}" --key PRIVATE_KEY',
        )
    if len(statement) > LONGEST_STATEMENT or not all(map(_plain, statement)):
        raise UsageError(
            "The statement of the approval is too long or holds control characters.",
            received=f"{len(statement)} characters",
            expected=f"plain text of at most {LONGEST_STATEMENT} characters",
            remedy="shorten it, and put the details in the release's documents",
        )
    return name, statement


def _plain(letter: str) -> bool:
    """Whether a text may hold it: printable, a line's end, or any space (`isprintable` refuses those of French)."""
    return letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"


def _free_name(folder: Path, at: str, name: str) -> str:
    stem = f"{ATTESTATIONS}/approval-{re.sub('[^0-9TZ]', '', at)}-{slug(name)[:60]}"
    number = 1
    while (folder / (file := f"{stem}.json" if number == 1 else f"{stem}-{number}.json")).exists():
        number += 1
    return file


def _statement(approval: Approval) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": approval.release, "digest": {"sha256": approval.root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "approver": approval.name,
            "statement": approval.statement,
            "approvedOn": approval.approved_on,
            "manifest": {"sha256": approval.manifest},
        },
    }


def _read(path: Path, manifest: Manifest, keys: Sequence[PublicKey]) -> Approval:
    file = f"{ATTESTATIONS}/{path.name}"
    where = shown(file)
    envelope = read_envelope(path, where)
    key = next((key for key in keys if key.fingerprint == envelope.hint), None)
    if key is None:
        raise IntegrityError(
            f"{where} is signed by a key that was not given.",
            received=f"signed, it says, by key {envelope.hint}",
            expected="one of: " + ", ".join(f"{key.fingerprint} ({key.source})" for key in keys),
            remedy=f"give the approver's public key too, or remove {where} if nobody knows that key",
        )
    statement = verify_envelope(envelope, key, where)
    if statement["predicateType"] != PREDICATE:
        raise malformed(where, f"predicate type {statement['predicateType']!r}, expected {PREDICATE!r}")
    release, root = subject(statement, where)
    said = statement["predicate"]
    try:
        approval = Approval(
            name=said["approver"],
            statement=said["statement"],
            approved_on=said["approvedOn"],
            release=release,
            root=root,
            manifest=said["manifest"]["sha256"],
            key=key.fingerprint,
            file=file,
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise malformed(where, "it does not say who approved, when, or which files") from error
    if (approval.root, approval.manifest) != (manifest.root, manifest.digest):
        raise IntegrityError(
            f"{where} approves other files than this release holds.",
            received=f"approval of {shown(release)}, root {root}, manifest {approval.manifest}",
            expected=f"root {manifest.root}, manifest {manifest.digest}",
            remedy=f"remove {where}, and have this release approved: limpide approve RELEASE --name … --key …",
        )
    return approval
