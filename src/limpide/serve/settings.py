"""What a person may set when models are served or asked. Command-line options and documentation come from here."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from limpide.core.operation import Settings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
DEFAULT_STATE = Path(".limpide") / "serve"
EngineKind = Literal["auto", "llamacpp", "transformers", "vllm"]


class ServeSettings(Settings):
    """How the engines are opened, under which names the gateway answers, and where it keeps its state."""

    engine: EngineKind = Field(
        default="auto",
        description="what computes the answers; auto: llamacpp where there is a GGUF file, transformers else",
    )
    engine_url: str | None = Field(
        default=None, description="address of the OpenAI-speaking server that --engine vllm passes requests on to"
    )
    base: bool = Field(default=False, description="also serve the base that the first release was made from, unsigned")
    adapter: tuple[str, ...] = Field(
        default=(),
        description="NAME=FOLDER: also serve an adapter of the base (with --base) or of the first model; "
        "needs the transformers engine",
    )
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
    state: Path = Field(
        default=DEFAULT_STATE, description="folder of access keys, usage, the request log and the stop switch"
    )
    heads: Path | None = Field(
        default=None, description="folder of the log's signed heads, best on another disk; default: heads/ in --state"
    )
    database: str | None = Field(
        default=None,
        description="URL of a PostgreSQL database for keys and usage (or LIMPIDE_DATABASE); default: a file in --state",
    )
    request_lines: bool = Field(
        default=True, description="with --json, a line on standard error for each request, for who collects logs"
    )
    tls_certificate: Path | None = Field(
        default=None, description="certificate chain in PEM form: clients are answered over TLS"
    )
    tls_key: Path | None = Field(default=None, description="private key of --tls-certificate, in PEM form")
