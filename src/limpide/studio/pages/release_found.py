"""The releases of a folder: who signed each, who approved it, and what it holds to read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from limpide.core.errors import LimpideError, MissingError
from limpide.release.approve import Approval, approvals
from limpide.release.keys import load_public
from limpide.release.listing import SIGNATURE
from limpide.release.verify import read_manifest
from limpide.studio.project import LOCK, approval_required

# (what it is: a word of the page, which files), in the order in which people read them.
DOCUMENTS = (
    ("report", ("evidence/report.html", "evidence/report.*.html")),
    ("card", ("README.md", "README.*.md")),
    ("documents", ("documents/**/*",)),
    ("data", ("evidence/*data*.md", "evidence/*data*.html")),
    ("explanations", ("evidence/understand/*",)),
    ("measures", ("evidence/measures.jsonl", "evidence/changes.jsonl", "evidence/parity.json")),
    ("recipe", ("recipe.yaml", LOCK)),
    ("licence", ("LICENSE*", "NOTICE*")),
)


@dataclass(frozen=True)
class Document:
    """kind: a word of the page, `release.document.KIND`. path: relative to the release. bytes: its size."""

    kind: str
    path: str
    bytes: int

    @property
    def opens(self) -> bool:
        """Whether a browser shows it as a page."""
        return self.path.endswith(".html")


@dataclass(frozen=True)
class Signed:
    """What the signature says, before its files are read. key: the public key here that has its fingerprint."""

    fingerprint: str
    root: str
    files: int
    key: Path | None


@dataclass(frozen=True)
class Found:
    """A release. approval: is a named person's approval asked for before it is served. fault: why nothing more is
    known of it, as an error's record."""

    folder: Path
    signed: Signed | None
    approval: bool
    approved: tuple[Approval, ...]
    fault: dict[str, object] | None

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def waits(self) -> bool:
        """Whether a person has to approve it before it may be served."""
        return self.approval and not self.approved


def releases(project: Path, keys: Path) -> list[Found]:
    """Every folder of `releases/`, the last changed first. keys: the folder of keys; the public ones are tried."""
    public = public_keys(keys)
    newest = sorted(_folders(project), key=lambda path: path.stat().st_mtime, reverse=True)
    return [found(folder, public) for folder in newest]


def the_release(project: Path, keys: Path, id: str) -> Found:
    """The release named `id`, which may come from an address that anybody wrote. Raises MissingError."""
    folder = next((path for path in _folders(project) if path.name == id), None)
    if folder is None:
        raise MissingError("There is no such release in this project.", received=id[:80])
    return found(folder, public_keys(keys))


def found(folder: Path, public: Sequence[tuple[str, Path]]) -> Found:
    """What is known of a release without reading its large files. public: (fingerprint, file) of keys at hand."""
    approval = approval_required(folder)
    if not (folder / SIGNATURE).exists():
        return Found(folder, None, approval, (), None)
    try:
        manifest = read_manifest(folder)
        key = next((path for fingerprint, path in public if fingerprint == manifest.signed_by), None)
        others = [path for _, path in public if path != key]
        approved = approvals(folder, key, others) if key else ()
    except LimpideError as error:
        return Found(folder, None, approval, (), error.record())
    return Found(folder, Signed(manifest.signed_by, manifest.root, len(manifest.files), key), approval, approved, None)


def documents(folder: Path) -> list[Document]:
    """What of a release a person reads, each file once; links are left out."""
    made: dict[str, Document] = {}
    for kind, patterns in DOCUMENTS:
        for path in _files(folder, patterns):
            name = path.relative_to(folder).as_posix()
            made.setdefault(name, Document(kind, name, path.stat().st_size))
    return list(made.values())


def size(folder: Path) -> int:
    """Bytes of all its files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def public_keys(keys: Path) -> list[tuple[str, Path]]:
    """(fingerprint, file) of each public key in the folder; a file that is none is left out."""
    made = []
    for path in sorted(keys.glob("*.pub")):
        try:
            made.append((load_public(path).fingerprint, path))
        except LimpideError:
            continue
    return made


def private_keys(keys: Path) -> list[Path]:
    """The private keys in the folder, by the customary names; none is opened."""
    return sorted(path for pattern in ("*.pem", "*.key") for path in keys.glob(pattern) if path.is_file())


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    paths = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _folders(project: Path) -> list[Path]:
    """A release being made has a name that begins with a dot."""
    root = project / "releases"
    if not root.is_dir():
        return []
    return [p for p in root.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")]
