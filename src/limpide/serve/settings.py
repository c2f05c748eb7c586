"""What a person may set when a model is served or asked. Command-line options and documentation come from here."""

from pathlib import Path

from pydantic import Field

from limpide.core.operation import Settings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080


class ServeSettings(Settings):
    """How the engine is opened, and under which names the gateway answers."""

    context: int | None = Field(
        default=None,
        ge=64,
        description="tokens one conversation may hold, prompt and answer; default: the model's own, at most 8192",
    )
    slots: int = Field(
        default=1, ge=1, le=256, description="conversations answered at once; each takes memory for its whole context"
    )
    threads: int | None = Field(default=None, ge=1, description="processor threads; default: one a physical core")
    approver_key: tuple[Path, ...] = Field(
        default=(), description="public keys of people who approve, where they are not the one who signed"
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="further names under which a gateway bound to this machine alone may be called, "
        "for example the public name of a TLS proxy in front of it",
    )
