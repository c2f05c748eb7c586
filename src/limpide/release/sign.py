"""Sign a release: one signature over every file, with a key on this machine, offline."""

from dataclasses import dataclass
from pathlib import Path

from limpide.core import digests, files
from limpide.core.errors import IntegrityError, UsageError
from limpide.release import oms
from limpide.release.envelope import parse_envelope, verify_envelope
from limpide.release.keys import PublicKey, load_private, public_of
from limpide.release.listing import SIGNATURE, covered, inside, refuse_unfit, require_folder, shown
from limpide.release.manifest import Manifest, differences, parse, signed_manifest


@dataclass(frozen=True)
class Signature:
    """root: SHA-256 that stands for the release's bytes. fingerprint: of the key that signed. files: how many."""

    root: str
    fingerprint: str
    files: int


def sign_folder(folder: Path, private_key: Path, password: str | None = None) -> Signature:
    """Sign every file of `folder` but `model.sig` and `attestations/`, dot files included; writes `model.sig`.

    A folder already signed by this key, and unchanged since, is left as it is. The public key is not put in the
    release: what vouches for the files can't come with them.
    Raises UsageError for links, special files, unfit names, an empty folder, the private key itself among the files, or
    a signature already there that does not hold; and what `load_private` raises.
    """
    require_folder(folder)
    private = load_private(private_key, password)
    refuse_key_inside(private_key, folder)
    names = covered(folder, UsageError)
    refuse_unfit(names)
    if not names:
        raise UsageError(f"{folder} holds no file to sign.", remedy="give the folder of a release")
    public = public_of(private, f"the public half of {private_key}")
    if (folder / SIGNATURE).exists():
        return _summary(_already_signed(folder, public))
    try:
        signed = oms.sign(folder, private_key, password)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} could not be signed.",
            received=error,
            expected="files that can all be read and that nothing else is writing",
            remedy="give yourself the right to read them, stop what writes there, and sign again",
        ) from error
    envelope = parse_envelope(signed, SIGNATURE)
    manifest = parse(verify_envelope(envelope, public, SIGNATURE), envelope.hint)
    _check(folder, manifest, private_key)
    files.write_bytes(folder / SIGNATURE, signed)
    return _summary(manifest)


def refuse_key_inside(private_key: Path, folder: Path) -> None:
    """Raises UsageError when the private key would be handed out with the release."""
    if inside(private_key, folder):
        raise UsageError(
            f"The private key {private_key} lies inside the release: whoever gets the release could sign in your name.",
            remedy="move the key out of the folder, and make a new one if the folder was ever shared",
        )


def _summary(manifest: Manifest) -> Signature:
    return Signature(manifest.root, manifest.signed_by, len(manifest.files))


def _check(folder: Path, manifest: Manifest, private_key: Path) -> None:
    """That the library signed the very files listed here, and that no copy of the private key is among them."""
    key = digests.of_file(private_key)
    copies = [shown(name) for name, digest in manifest.files.items() if digest == key]
    if copies:
        raise UsageError(
            f"The release holds a copy of the private key: {', '.join(copies)}.",
            remedy="remove it, and make a new key if the folder was ever shared",
        )
    faults = differences(folder, manifest.files, names_only=True)
    if faults:
        raise UsageError(
            f"Files of {folder} came or went while it was being signed.",
            faults=faults,
            remedy="stop what writes there, and sign again",
        )


def _already_signed(folder: Path, public: PublicKey) -> Manifest:
    try:
        manifest = signed_manifest(folder, public)
        faults = differences(folder, manifest.files)
    except IntegrityError as error:
        raise UsageError(
            f"{folder} is already signed, and not by this key, or badly.",
            received=error.what,
            remedy=f"keep it, or remove {folder / SIGNATURE} to sign it anew",
        ) from error
    if faults:
        raise UsageError(
            f"{folder} is already signed, and was changed since.",
            faults=faults,
            remedy=f"release the changed files under a new version, or remove {folder / SIGNATURE} to sign anew",
        )
    return manifest
