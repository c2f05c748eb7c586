"""The gateway's own OpenAPI document, from the types that requests are read with. Built once, at start-up."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from limpide import __version__
from limpide.serve import answers
from limpide.serve.marks import GENERATED_HEADER, RELEASE_HEADER, REQUEST_HEADER
from limpide.serve.openai_types import (
    CHAT_ROUTE,
    COMPLETION_ROUTE,
    EMBEDDING_ROUTE,
    IGNORED,
    NEUTRAL,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    VerifyRequest,
)

REFERENCE = "#/components/schemas/{model}"
REQUESTS: tuple[type[BaseModel], ...] = (ChatRequest, CompletionRequest, EmbeddingRequest, VerifyRequest)
ANSWERS: tuple[type[BaseModel], ...] = (
    answers.Completion,
    answers.Embeddings,
    answers.ModelList,
    answers.ModelRow,
    answers.Verification,
    answers.Health,
    answers.ErrorRecord,
)
REFUSALS = {
    "400": "The request cannot be obeyed; `param` names the field.",
    "401": "The key is missing or wrong.",
    "403": "The key does not allow this, or the host name is not this server's.",
    "404": "The model, or the path, is not served here.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "429": "Too many requests, or the quota is used up; see Retry-After.",
    "500": "A fault in the server.",
    "502": "The engine failed.",
    "503": "Stopped, changed on disk, or not able to write its log.",
}


def document() -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    made, found = models_json_schema(
        [*((kind, "validation") for kind in REQUESTS), *((kind, "serialization") for kind in ANSWERS)],
        ref_template=REFERENCE,
    )
    del made
    schemas: dict[str, Any] = found["$defs"]
    for kind in REQUESTS:
        _close(schemas[kind.__name__])
    streamed = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Limpide",
            "version": __version__,
            "description": "The OpenAI API, in front of signed releases.",
        },
        "paths": {
            "/health": {"get": _operation("Whether the service answers", answers.Health, also={"503": answers.Health})},
            "/v1/models": {"get": _operation("The models served", answers.ModelList)},
            "/v1/models/{name}": {"get": _operation("One model", answers.ModelRow, parameters=[_NAME])},
            CHAT_ROUTE: {"post": _operation("Answer a conversation", answers.Completion, ChatRequest, streamed)},
            COMPLETION_ROUTE: {
                "post": _operation("Go on from a prompt", answers.Completion, CompletionRequest, streamed)
            },
            EMBEDDING_ROUTE: {"post": _operation("Vectors of texts", answers.Embeddings, EmbeddingRequest)},
            "/v1/limpide/verify": {
                "post": _operation("Verify a release's signature again", answers.Verification, VerifyRequest)
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _close(schema: dict[str, Any]) -> None:
    """Say what `parse` does with fields that the types do not have: some are ignored, some must ask for nothing."""
    extra: dict[str, Any] = {name: {} for name in sorted(IGNORED)}
    neutral = {name: {"enum": [None, *values]} for name, values in NEUTRAL.items()}
    schema["properties"] = {**extra, **neutral, **schema["properties"]}
    schema["additionalProperties"] = False


def _operation(
    summary: str,
    answer: type[BaseModel],
    request: type[BaseModel] | None = None,
    more: Mapping[str, Any] | None = None,
    *,
    parameters: Sequence[Mapping[str, Any]] = (),
    also: Mapping[str, type[BaseModel]] | None = None,
) -> dict[str, Any]:
    content = {"application/json": {"schema": _of(answer)}, **(more or {})}
    marks = {name: {"schema": {"type": "string"}} for name in (RELEASE_HEADER, GENERATED_HEADER, REQUEST_HEADER)}
    good = {
        "description": summary,
        "content": content,
        **({"headers": marks} if "usage" in answer.model_fields else {}),
    }
    refusals = {
        status: {"description": text, "content": {"application/json": {"schema": _of(answers.ErrorRecord)}}}
        for status, text in REFUSALS.items()
    }
    others = {
        status: {"description": "Otherwise", "content": {"application/json": {"schema": _of(kind)}}}
        for status, kind in (also or {}).items()
    }
    body = {"required": True, "content": {"application/json": {"schema": _of(request)}}} if request else None
    return {
        "summary": summary,
        "parameters": list(parameters),
        **({"requestBody": body} if body else {}),
        "responses": {"200": good, **refusals, **others},
    }


def _of(kind: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=kind.__name__)}
