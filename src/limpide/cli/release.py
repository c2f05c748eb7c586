"""`limpide keys`, `limpide verify`, `limpide approve`."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from limpide.cli.output import Json, print_json

keys = App(name="keys", help="Make a key to sign releases with.", help_format="plaintext")


@keys.command
def new(path: Path, *, as_json: Json = False) -> None:
    """Make a P-256 key pair: PATH is the private key, which stays with you; the .pub beside it is handed out.

    Set LIMPIDE_KEY_PASSWORD to protect the private key with a password. Example: limpide keys new keys/release.pem

    Parameters
    ----------
    path
        Where the private key goes. Nothing is ever overwritten.
    """
    from limpide.release.keys import new_keys

    pair = new_keys(path, password=os.environ.get("LIMPIDE_KEY_PASSWORD"))
    if as_json:
        print_json({"private": str(pair.private), "public": str(pair.public), "fingerprint": pair.fingerprint})
        return
    print(f"private key: {pair.private} (keep it to yourself; without it you cannot sign a next version)")
    print(f"public key:  {pair.public} (give it to whoever verifies)")
    print(f"fingerprint: {pair.fingerprint}")


def verify(
    folder: Path,
    *,
    key: Annotated[Path, Parameter(help="the publisher's public key (.pub)")],
    approver_key: Annotated[tuple[Path, ...], Parameter(help="public keys of other approvers", negative="")] = (),
    as_json: Json = False,
) -> None:
    """Check that a release is what was signed: offline, with the public key alone. Exit code 6 when it is not.

    Example: limpide verify releases/press-operator-assistant-1.0.0 --key keys/release.pub

    Parameters
    ----------
    folder
        The release.
    """
    from limpide.release.approve import approvals
    from limpide.release.verify import verify_folder

    verified = verify_folder(folder, key)
    approved = approvals(folder, key, approver_key)
    if as_json:
        names = [{"name": a.name, "on": a.approved_on, "statement": a.statement} for a in approved]
        print_json({"valid": True, "root": verified.root, "files": dict(verified.files), "approvals": names})
        return
    print(f"{folder}: {len(verified.files)} files are exactly as signed by key {verified.fingerprint}")
    for approval in approved:
        print(f"  approved by {approval.name} on {approval.approved_on}: {approval.statement or '(no statement)'}")
    if not approved:
        print("  no approval by a named person is recorded")


def approve(
    folder: Path,
    *,
    name: Annotated[str, Parameter(help="the person who approves")],
    key: Annotated[Path, Parameter(help="the private key that signs the approval")],
    statement: Annotated[str, Parameter(help="what the person wants on record")] = "",
    release_key: Annotated[
        Path | None, Parameter(help="public key that signed the release, when it is another")
    ] = None,
    as_json: Json = False,
) -> None:
    """Record that a named person approves a release; the record is bound to its bytes and signed.

    Example: limpide approve releases/press-operator-assistant-1.0.0 --name "Ada Martin" --key keys/release.pem

    Parameters
    ----------
    folder
        The release.
    """
    from limpide.release.approve import approve as record

    password = os.environ.get("LIMPIDE_KEY_PASSWORD")
    approval = record(folder, name, key, statement=statement, password=password, release_key=release_key)
    if as_json:
        print_json(approval.model_dump(mode="json"))
        return
    print(f"Approved by {approval.name} on {approval.approved_on}: {folder / approval.file}")
