"""A copy of the log for somebody else: the days, the heads, the public key, and how to verify without Limpide.

The keys of texts stay where they are: with them, whoever has the copy could try texts against it.
"""

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from limpide.core.errors import UsageError
from limpide.core.files import clear_write_errors
from limpide.core.progress import Progress
from limpide.serve.request_log.places import Places, day_path, heads_path, places, require_log, sizes
from limpide.serve.request_log.purged import purged_path
from limpide.serve.request_log.verify import LIMIT, Verdict, verify

README = """# Request log {log}

{count} entries from {first} to {last}, in `log/`, one file a day (UTC), one JSON object a line. No text is in it:
`texts` holds keyed commitments, whose keys stayed with the service.

When this copy was made: {verdict}.

## Verify

With Limpide: `limpide log verify --state .` in this folder. Compare the fingerprint it prints with one that the
operator of the service gave you by another way: whoever could change this folder could change the key in it too.

Without it, the chain alone, with Python:

```python
import hashlib, json, pathlib

seq, previous = {start}, "{previous}"
for day in sorted(pathlib.Path("log").glob("????-??-??.jsonl")):
    for number, line in enumerate(day.read_bytes().splitlines(), 1):
        entry = json.loads(line)
        rest = line.replace(b'"hash":"%s",' % entry["hash"].encode(), b"", 1)
        assert hashlib.sha256(rest).hexdigest() == entry["hash"], f"{{day}}:{{number}} was changed"
        assert (entry["seq"], entry["prev"]) == (seq, previous), f"{{day}}:{{number}} does not follow"
        seq, previous = seq + 1, entry["hash"]
print(seq, "entries, the last hash is", previous)
```

- Lines are canonical JSON (RFC 8785). `hash` is the SHA-256 of the line without its member `hash`; `prev` is the `hash`
  of the entry before; `seq` counts from 0.
- `heads/heads.jsonl` holds signed tree heads: `root` is the root of the Merkle tree (RFC 9162, section 2.1; SHA-256)
  whose leaves are the `hash`es, 32 bytes each, of the first `tree_size` entries. `signature` is ECDSA (P-256, SHA-256,
  base64 of DER) over the canonical JSON of the record without `signature`, by the key in `log.pub`.
- `log/purged.jsonl`, where there is one, stands for days that were removed when their time was over: entries `first` to
  `end` - 1, the hash of the last, and the digests of their whole subtrees, signed in the same way.

{limit}
"""


def export(source: Places, into: Path, progress: Progress | None = None) -> Verdict:
    """Write the copy as the folder `into`, or as a zip when its name ends so; whole or not at all. A damaged log is
    copied as it is. Returns what verifying the copy gave. Raises UsageError when `into` exists; MissingError."""
    require_log(source.folder)
    if into.exists():
        raise UsageError(f"{into} already exists, and is not overwritten.", remedy="give another place")
    with clear_write_errors(into):
        into.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{into.name}.", dir=into.parent))
        try:
            verdict = _fill(source, beside / "log-copy", progress)
            if into.suffix == ".zip":
                made = shutil.make_archive(str(beside / "made"), "zip", beside / "log-copy")
                os.rename(made, into)
            else:
                os.rename(beside / "log-copy", into)
        finally:
            shutil.rmtree(beside)
    return verdict


def _fill(source: Places, folder: Path, progress: Progress | None) -> Verdict:
    copy = places(folder)
    copy.folder.mkdir(parents=True)
    copy.heads.mkdir()
    for path, to in (
        (heads_path(source.heads), heads_path(copy.heads)),  # before the entries, which may only be more
        (purged_path(source.folder), purged_path(copy.folder)),
        (source.public, copy.public),
    ):
        if path.exists():
            shutil.copyfile(path, to)
    files = sizes(source.folder)
    for day, size in files.items():
        _copy_start(day_path(source.folder, day), day_path(copy.folder, day), size)
    verdict = verify(copy.folder, copy.public, copy.heads, progress=progress)
    (folder / "README.md").write_text(_readme(verdict, files, copy), encoding="utf-8")
    return verdict


def _copy_start(path: Path, to: Path, size: int) -> None:
    """The first `size` bytes: a line that is being added now is left out."""
    with path.open("rb") as source, to.open("wb") as target:
        while size and (part := source.read(min(size, 1 << 20))):
            target.write(part)
            size -= len(part)


def _readme(verdict: Verdict, files: dict[str, int], copy: Places) -> str:
    said = "it verified" if verdict.damage is None else f"it did NOT verify: {verdict.damage}"
    return README.format(
        log=verdict.log,
        count=verdict.end - verdict.first,
        first=min(files, default="-"),
        last=max(files, default="-"),
        verdict=said,
        start=verdict.first,
        previous=verdict.before,
        limit=LIMIT,
    )
