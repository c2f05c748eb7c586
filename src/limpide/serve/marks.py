"""What every answer carries: which release gave it, and that a machine wrote it."""

from typing import Any

RELEASE_HEADER = "x-limpide-release"
GENERATED_HEADER = "x-limpide-ai-generated"
REQUEST_HEADER = "x-request-id"  # the same id as in the request log


def mark(release: str) -> dict[str, Any]:
    """The field `limpide` of an answer's body."""
    return {"release": release, "ai_generated": True}


def mark_headers(release: str, request: str) -> dict[str, str]:
    return {RELEASE_HEADER: release, GENERATED_HEADER: "true", REQUEST_HEADER: request}
