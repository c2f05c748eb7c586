"""Documents of releases at `/files/releases/<name>/…`: read only, under a policy that lets them reach nothing."""

import mimetypes
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response

from limpide.studio.project import Project

# A document is shown in a sandbox: its scripts run without an origin, so neither the session nor the studio is theirs.
POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; frame-ancestors 'self'"
)
SHOWN = {
    ".html": "text/html",
    ".txt": "text/plain",
    ".md": "text/plain",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def address(project: Project, path: Path) -> str:
    """Where the studio serves a file that lies under releases/."""
    return "/files/" + quote(path.relative_to(project.folder).as_posix())


def serve(project: Project, path: str, *, download: bool = False) -> Response:
    """The file, when it is one under releases/ and no link leads out of there; else 404."""
    root = (project.folder / "releases").resolve()
    try:
        place = (project.folder / path).resolve()
        found = place.is_relative_to(root) and place.is_file()
    except (OSError, ValueError):  # a name that no file can have
        found = False
    if not found:
        return Response("not found\n", status_code=404, media_type="text/plain")
    kind = SHOWN.get(place.suffix.lower())
    shown = kind is not None and not download
    return FileResponse(
        place,
        media_type=kind if shown else mimetypes.guess_type(place.name)[0] or "application/octet-stream",
        filename=place.name,
        content_disposition_type="inline" if shown else "attachment",
        headers={"content-security-policy": POLICY},
    )
