"""Verify a release: with the publisher's public key alone, offline, and name every file that differs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from limpide.core.errors import IntegrityError, UsageError
from limpide.release import oms
from limpide.release.envelope import unverified_statement
from limpide.release.keys import PublicKey, load_public
from limpide.release.listing import SIGNATURE, inside, require_folder
from limpide.release.manifest import Manifest, bundle, differences, parse, signed_manifest


@dataclass(frozen=True)
class Verified:
    """A release whose every file is as signed. root, files {name: SHA-256}: as in Manifest. fingerprint: of the key."""

    name: str
    root: str
    files: Mapping[str, str]
    fingerprint: str


def verify_folder(folder: Path, public_key: Path) -> Verified:
    """Check that `folder` holds exactly the files signed by the owner of `public_key`, byte for byte.

    Everything counts but `model.sig` (the signature itself) and `attestations/` (each signed on its own, read by
    `approve.approvals`); nothing in those two may be loaded as part of the model.
    It says who signed and that nothing changed since. It does not say that the release is good, safe or approved.
    Raises IntegrityError: not signed, damaged signature, another key, or files changed, added, removed (one fault
    each); MissingError or UsageError for a folder or a key that cannot be used.
    """
    require_folder(folder)
    return verify_with(folder, outside_key(folder, public_key))


def outside_key(folder: Path, public_key: Path) -> PublicKey:
    """Open a public key that did not come with the release. Raises as `load_public`, and UsageError when it did."""
    public = load_public(public_key)
    if inside(public_key, folder):
        raise UsageError(
            f"The public key {public_key} comes from inside the release, so it proves nothing.",
            expected="a key received from the publisher by another way",
            remedy="ask the publisher for the .pub file or its fingerprint, and give that file",
        )
    return public


def verify_with(folder: Path, public: PublicKey) -> Verified:
    """`verify_folder` with a key already open."""
    manifest = signed_manifest(folder, public)
    if differences(folder, manifest.files, names_only=True):
        raise _differ(folder, manifest)
    # Every file is read once in the good case, by the library; only when it says no are they read again, to be named.
    reason = oms.refusal(folder, public)
    if reason is not None:
        raise _differ(folder, manifest) from reason
    return Verified(manifest.name, manifest.root, manifest.files, public.fingerprint)


def read_manifest(folder: Path) -> Manifest:
    """What `folder` says was signed, and by which key, with NOTHING verified: for display before a key is at hand.

    Raises IntegrityError when there is no signature or it is damaged.
    """
    require_folder(folder)
    envelope = bundle(folder)
    return parse(unverified_statement(envelope, SIGNATURE), envelope.hint)


def _differ(folder: Path, manifest: Manifest) -> IntegrityError:
    faults = differences(folder, manifest.files)
    if not faults:
        return IntegrityError(
            f"model-signing refuses {folder}, though each file read on its own is as signed.",
            remedy="stop what writes in the folder and verify again; if it is refused again, do not use the release",
        )
    count = "1 file differs" if len(faults) == 1 else f"{len(faults)} files differ"
    return IntegrityError(
        f"{folder} is not what was signed: {count}. The signature itself is valid.",
        faults=faults,
        remedy="do not use the release; fetch it again from its publisher",
    )
