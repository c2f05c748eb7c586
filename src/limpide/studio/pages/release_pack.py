"""A release as one file to take away, made while it is sent: nothing is written on this machine."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from limpide.core.errors import LimpideError
from limpide.studio.pages.release_found import the_release
from limpide.studio.visit import Visit

CHUNK = 1 << 20  # bytes read at once
# Words compress; weights do not, and trying takes long.
SMALL = (".json", ".jsonl", ".yaml", ".md", ".html", ".txt", ".jinja")
OLDEST = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold; the same for every file, so that the same
# release makes the same archive


class _Sent:
    """A file that only takes: what was written since it was last emptied."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self.parts = b"".join(self.parts), []
        return taken


def packed(folder: Path) -> Iterator[bytes]:
    """A zip of the folder, its signature and attestations included, under its own name; links are left out."""
    sent = _Sent()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[call-overload]
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            entry = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", OLDEST)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED if path.suffix in SMALL else zipfile.ZIP_STORED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield sent.take()
            yield sent.take()
    yield sent.take()


def serve(visit: Visit, name: str) -> Response:
    """The archive `NAME.zip` of a release, as it is made; 404 for another name, 500 when the log cannot be written."""
    try:
        found = the_release(visit.project.folder, visit.project.keys, name.removesuffix(".zip"))
    except LimpideError as error:
        return Response(f"{error.what}\n", status_code=404, media_type="text/plain")
    try:
        visit.log("studio.release.download", release=found.id)
    except LimpideError as error:
        return Response(f"{error}\n", status_code=500, media_type="text/plain")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(found.id)}.zip"}
    return StreamingResponse(packed(found.folder), media_type="application/zip", headers=headers)
