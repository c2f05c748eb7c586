"""The one place that calls the model-signing library, so that each of its traps is closed once.

1. `import model_signing` takes about half a second and needs pyOpenSSL, which it does not declare: imported here, late.
2. By default it leaves out `.git`, `.gitattributes`, `.github` and `.gitignore`: files that could be added or changed
   unnoticed. And a verifier left to guess takes that default again, whatever was signed: both sides get `_hashing()`.
3. Its Python interface does not leave out the signature file by itself; its command line does.
4. `password` is declared as text but must be bytes.
5. Paths must be `Path`, not text.
6. Without `use_elliptic_key_signer` it signs over the network. It is never called so.
7. It accepts bundles and manifests of its first versions, and prints on standard output when one has no key hint:
   `manifest.signed_manifest` comes first and is strict.
Read in model-signing 1.1.1.
"""

import tempfile
from pathlib import Path
from typing import Any

from limpide.core.errors import MissingError
from limpide.release.keys import PublicKey
from limpide.release.listing import SIGNATURE, UNSIGNED


def sign(folder: Path, private_key: Path, password: str | None) -> bytes:
    """Hash every file of `folder` and sign; returns the bundle's bytes and writes nothing in `folder`."""
    secret = password.encode("utf-8") if password else None
    signer = _library().signing.Config().use_elliptic_key_signer(private_key=private_key, password=secret)
    with tempfile.TemporaryDirectory(prefix="limpide-sign-") as beside:
        target = Path(beside) / SIGNATURE
        signer.set_hashing_config(_hashing()).sign(folder, target)
        return target.read_bytes()


def refusal(folder: Path, public: PublicKey) -> Exception | None:
    """Why model-signing refuses `folder`, or None when it holds. Reads every file."""
    library = _library()
    with tempfile.TemporaryDirectory(prefix="limpide-verify-") as beside:
        pem = Path(beside) / "key.pub"
        pem.write_bytes(public.pem)
        verifier = library.verifying.Config().use_elliptic_key_verifier(public_key=pem).set_hashing_config(_hashing())
        try:
            verifier.verify(folder, folder / SIGNATURE)
        except Exception as error:  # whatever the library stumbles on, the answer is no; the caller reports it
            return error
    return None


def _hashing() -> Any:
    """Every file but `model.sig` and `attestations/`, git's own files included, links refused."""
    config = _library().hashing.Config().set_ignored_paths(paths=list(UNSIGNED), ignore_git_paths=False)
    return config.set_allow_symlinks(False)


def _library() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise MissingError(
            "Signing and verifying need the packages model-signing and pyopenssl.",
            received=f"no module named {error.name}",
            remedy="pip install 'model-signing>=1.1.1' 'pyopenssl>=25'",
        ) from error
    return model_signing
