"""Responses that every layer gives: an error in OpenAI's form, and JSON as the gateway writes it."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from limpide.serve.openai_types import ApiError

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # `json.dumps` would make one each time


def encode(record: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(record).encode("utf-8", "replace")


def json_reply(record: Mapping[str, Any], headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    return Response(encode(record), status, headers, media_type="application/json")


def error_reply(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    return json_reply(error.record(), {**error.headers(), **(headers or {})}, error.status)


def sse_line(record: Mapping[str, Any]) -> bytes:
    return b"data: " + encode(record) + b"\n\n"
