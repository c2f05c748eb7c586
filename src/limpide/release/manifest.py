"""The signed manifest: every file of a release with its SHA-256, and the one digest that stands for them all.

Source: OpenSSF Model Signing v1.0, predicate `https://model_signing/signature/v1.0`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core import digests
from limpide.core.errors import Fault, IntegrityError
from limpide.release.envelope import Envelope, is_digest, malformed, read_envelope, subject, verify_envelope
from limpide.release.keys import PublicKey
from limpide.release.listing import SIGNATURE, UNSIGNED, covered, shown, unfit

PREDICATE = "https://model_signing/signature/v1.0"
WHOLE = ("files", "sha256", False)  # what is hashed, how, and whether links are allowed


@dataclass(frozen=True)
class Manifest:
    """What was signed. name: the folder's name then. files: {relative POSIX name: SHA-256}. signed_by: fingerprint.

    root: SHA-256 over the files' raw digests in the order of their names. It covers the bytes but *not* the names, so
    what must hold to the whole (an approval) is bound to `digest` too, which covers both.
    """

    name: str
    root: str
    files: Mapping[str, str]
    signed_by: str

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of {name: digest}."""
        return digests.of_value(dict(self.files))


def signed_manifest(folder: Path, public: PublicKey) -> Manifest:
    """The manifest of `folder`, its signature by `public` verified; the files themselves are not read.

    Raises IntegrityError when there is no signature, it is damaged, or it is not by this key.
    """
    envelope = bundle(folder)
    return parse(verify_envelope(envelope, public, SIGNATURE), envelope.hint)


def bundle(folder: Path) -> Envelope:
    """The signature file of `folder`, parsed and not verified. Raises IntegrityError."""
    path = folder / SIGNATURE
    if path.is_symlink():
        raise malformed(SIGNATURE, "a symbolic link")
    if not path.exists():
        raise IntegrityError(
            f"{folder} is not signed: it holds no {SIGNATURE}.",
            remedy="give its recipe `release.sign_with` and run it; or ask its publisher to sign it",
        )
    return read_envelope(path, SIGNATURE)


def parse(statement: dict[str, Any], signed_by: str) -> Manifest:
    """The manifest in a statement. Raises IntegrityError for what Limpide would not have signed.

    That includes a manifest signed with other paths left out, such as the `.gitattributes` that model-signing leaves
    out by default: files added there later would never be noticed.
    """
    if statement["predicateType"] != PREDICATE:
        raise malformed(SIGNATURE, f"predicate type {statement['predicateType']!r}, expected {PREDICATE!r}")
    name, root = subject(statement, SIGNATURE)
    try:
        how, resources = statement["predicate"]["serialization"], statement["predicate"]["resources"]
        left_out, coverage = set(how["ignore_paths"]), (how["method"], how["hash_type"], how["allow_symlinks"])
        rows = [(row["name"], row["algorithm"], row["digest"]) for row in resources]
    except (TypeError, KeyError) as error:
        raise malformed(SIGNATURE, f"the manifest lacks {error}") from error
    if coverage != WHOLE or left_out != set(UNSIGNED):
        raise IntegrityError(
            "The signature does not cover all the files of the release.",
            received=f"{', '.join(map(str, coverage))}, leaving out: {', '.join(sorted(map(str, left_out)))}",
            expected=f"{', '.join(map(str, WHOLE))}, leaving out: {', '.join(sorted(UNSIGNED))}",
            remedy="ask the publisher to sign the whole release, as Limpide does",
        )
    files: dict[str, str] = {}
    for file, algorithm, digest in rows:
        if not isinstance(file, str) or unfit(file) or file in files or algorithm != "sha256" or not is_digest(digest):
            raise malformed(SIGNATURE, f"the manifest's line for {file!r} is not a file with one sha256")
        files[file] = digest
    if root_of(files) != root:
        raise malformed(SIGNATURE, f"the root digest is {root}, but the files listed give {root_of(files)}")
    return Manifest(name, root, files, signed_by)


def root_of(files: Mapping[str, str]) -> str:
    """Root digest of {name: SHA-256}, taken in the order given (the manifest's own)."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()


def differences(folder: Path, signed: Mapping[str, str], *, names_only: bool = False) -> list[Fault]:
    """How the files of `folder` differ from {name: SHA-256}: changed, added, removed, unreadable; one Fault each.

    names_only: compare which files there are and read none. Raises IntegrityError for links and special files.
    """
    present = set(covered(folder, IntegrityError))
    removed = {name: digest for name, digest in signed.items() if name not in present}
    faults = []
    for name in sorted(present | set(signed)):
        if name in removed:
            faults.append(Fault(shown(name), None, "removed"))
        elif name not in signed:
            faults.append(Fault(shown(name), None, "added" + _moved(folder / name, removed)))
        elif not names_only and (what := _changed(folder / name, signed[name])):
            faults.append(Fault(shown(name), None, what))
    return faults


def _changed(path: Path, expected: str) -> str | None:
    try:
        found = digests.of_file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == expected else f"changed: sha256 expected {expected}, found {found}"


def _moved(path: Path, removed: Mapping[str, str]) -> str:
    """Says so when an added file is a removed one under another name."""
    try:
        found = digests.of_file(path) if removed else None
    except OSError:
        return ", and cannot be read"
    former = next((name for name, digest in removed.items() if digest == found), None)
    return f" (the bytes of {shown(former)}: renamed?)" if former is not None else ""
