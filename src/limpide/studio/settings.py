"""What a person may set about the studio. The command line's options come from here."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from limpide.core.operation import Settings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090


class StudioSettings(Settings):
    """How the studio is reached, and what it accepts."""

    language: Literal["en", "fr"] | None = Field(
        default=None, description="language for browsers that ask for neither; default: English"
    )
    hosts: tuple[str, ...] = Field(
        default=(), description="further names under which it may be called, for example of a proxy in front of it"
    )
    largest_upload: int = Field(default=512, ge=1, description="megabytes of one file that is dropped")
    tls_certificate: Path | None = Field(default=None, description="certificate chain (PEM), to answer over HTTPS")
    tls_key: Path | None = Field(default=None, description="private key (PEM) of the certificate")
    database: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the accounts, keys and usage (or LIMPIDE_DATABASE); default: SQLite in the "
        "project's .limpide/serve",
    )
