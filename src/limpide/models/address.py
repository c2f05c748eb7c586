"""Which endpoint is asked, and how: its address, its key, and the settings of a conversation with it. No network."""

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import Field

from limpide.core.errors import ModelError, UsageError
from limpide.core.operation import Settings

FORM = "https://HOST/v1#MODEL"
KEY_VARIABLE = "LIMPIDE_ENDPOINT_KEY"  # its own: a key that was set for one provider must not be sent to another


class EndpointError(ModelError):
    """An endpoint that does not answer as it should. What it answered before is kept."""


class EndpointSettings(Settings):
    """How a closed model is asked."""

    key_env: str = Field(
        default=KEY_VARIABLE, min_length=1, description="environment variable that holds the endpoint's key"
    )
    requests_per_minute: float | None = Field(
        default=None, gt=0, description="requests a minute at most; without it, as fast as answers come"
    )
    at_once: int = Field(default=4, ge=1, le=64, description="requests under way at the same time")
    timeout_s: float = Field(default=120.0, gt=0, description="seconds that one answer may take")
    attempts: int = Field(default=6, ge=1, le=20, description="times one question is sent before giving up")
    price_in: float | None = Field(default=None, ge=0, description="price of a million tokens of questions")
    price_out: float | None = Field(default=None, ge=0, description="price of a million tokens of answers")


@dataclass(frozen=True)
class Address:
    """url: where the API is, without '/' at its end; requests go to url/chat/completions. model: as sent."""

    url: str
    model: str

    @property
    def host(self) -> str:
        """Host, with its port where one is written."""
        return urlsplit(self.url).netloc

    @property
    def local(self) -> bool:
        """Whether it is this very machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(text: str) -> bool:
    return text.strip().lower().startswith(("https://", "http://"))


def parse_address(text: str) -> Address:
    """An address as a person writes it: https://HOST/v1#MODEL. Raises UsageError; no error repeats a password."""
    url, _, model = text.strip().partition("#")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError("This address cannot be read.", received=error, expected=FORM) from None
    if parts.username is not None or parts.password is not None or "?" in url:
        raise UsageError(
            "The address of an endpoint may hold no password and no '?': it goes into the evidence.",
            expected=FORM,
            remedy=f"put the key into the environment variable {KEY_VARIABLE}",
        )
    if not host or re.search(r"[\s\x00-\x1f]", url):
        raise UsageError("This address cannot be read.", received=url, expected=FORM)
    if parts.scheme.lower() == "http" and not is_loopback(host):
        tunnel = f"ssh -L 8000:127.0.0.1:{port or 80} {host}"
        raise UsageError(
            "Questions, answers and the key would travel unencrypted.",
            received=url,
            expected="https, or http on this machine",
            remedy=f"use https; or open a tunnel with `{tunnel}` and ask http://127.0.0.1:8000",
        )
    url = f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path}".rstrip("/").removesuffix("/chat/completions")
    if not model:
        raise UsageError(
            "The address does not say which model to ask.", received=url, expected=FORM, remedy=f"write {url}#MODEL"
        )
    return Address(url, model)


def read_key(variable: str) -> str | None:
    """The key in an environment variable. None where it is LIMPIDE_ENDPOINT_KEY and not set: some ask for none."""
    key = os.environ.get(variable, "").strip()
    if not key and variable != KEY_VARIABLE:
        raise UsageError(
            f"The environment variable {variable} is not set.", remedy=f"export {variable}=… and run it again"
        )
    if re.search(r"[^\x21-\x7e]", key):
        raise UsageError(f"The key in {variable} has a space or a character that an HTTP header cannot carry.")
    return key or None
