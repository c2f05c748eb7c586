"""What the gateway answers: the engine's words in OpenAI's form, under the name of what is served, with its mark.

The types describe; nothing is validated against them while serving.
"""

import base64
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from limpide.serve.engines.protocol import Embedded
from limpide.serve.marks import mark
from limpide.serve.shelf import Offered


class Mark(BaseModel):
    """release: the id of the release that answered. ai_generated: always true, for whoever shows the text."""

    release: str
    ai_generated: Literal[True]


class Usage(BaseModel):
    """In tokens, as the model read and wrote them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Choice(BaseModel):
    index: int
    message: dict[str, Any] | None = None
    text: str | None = None
    logprobs: dict[str, Any] | None
    finish_reason: str | None


class Completion(BaseModel):
    """Of a chat (`message`) or of a raw prompt (`text`)."""

    id: str
    object: Literal["chat.completion", "text_completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[Choice]
    usage: Usage
    limpide: Mark


class Vector(BaseModel):
    """embedding: numbers, or their little-endian float32 bytes in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    object: Literal["list"]
    data: list[Vector]
    model: str
    usage: EmbeddingUsage
    limpide: Mark


class ModelRow(BaseModel):
    """max_model_len: tokens of the context. limpide: what is known of it, and whether a signature vouches for it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    limpide: dict[str, Any]


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelRow]


class Verification(BaseModel):
    """root: the signed digest of the release, null for files that nobody signed."""

    object: Literal["limpide.verification"]
    model: str
    release: str
    root: str | None
    signed: bool
    unchanged: Literal[True]


class Health(BaseModel):
    status: Literal["ok", "stopped"]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorRecord(BaseModel):
    error: ErrorBody


def answer(raw: Mapping[str, Any], offered: Offered) -> dict[str, Any]:
    """An engine's answer or chunk under the name of what is served, without the engine's own fields."""
    made: dict[str, Any] = {
        "id": raw.get("id"),
        "object": raw.get("object"),
        "created": raw.get("created"),
        "model": offered.id,
        "system_fingerprint": offered.fingerprint,
        "choices": [_choice(choice) for choice in raw.get("choices", [])],
    }
    if raw.get("usage"):
        made["usage"] = raw["usage"]
    made["limpide"] = mark(offered.release)
    return made


def _choice(raw: Mapping[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "logprobs": None, **raw}
    delta = choice.get("delta")
    if isinstance(delta, dict) and delta.get("role") and delta.get("content") is None:
        choice["delta"] = {**delta, "content": ""}
    return choice


def embeddings(made: Embedded, offered: Offered, in_base64: bool) -> dict[str, Any]:
    """made.vectors: float32[text, width]."""
    rows: list[Any] = made.vectors.tolist()
    if in_base64:
        rows = [base64.b64encode(row.tobytes()).decode() for row in made.vectors.astype("<f4")]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "model": offered.id,
        "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens},
        "limpide": mark(offered.release),
    }


def model_row(offered: Offered, created: int) -> dict[str, Any]:
    return {
        "id": offered.id,
        "object": "model",
        "created": created,
        "owned_by": "limpide",
        "max_model_len": offered.engine.context,
        "limpide": {
            "release": offered.release,
            "root": offered.root,
            "signed": offered.verified,
            "gives": sorted(offered.gives),
        },
    }


def verification(offered: Offered) -> dict[str, Any]:
    return {
        "object": "limpide.verification",
        "model": offered.id,
        "release": offered.release,
        "root": offered.root,
        "signed": offered.verified,
        "unchanged": True,
    }
