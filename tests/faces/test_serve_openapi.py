"""The gateway against its own OpenAPI document: whatever schemathesis sends, each answer is one that it describes."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from limpide.serve.gateway import create_app
from limpide.serve.openapi import document
from serving import a_service
from serving_engine import WordEngine

CONFORM = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = [
    (path, method, mode)
    for path, methods in document()["paths"].items()
    for method in methods
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or "requestBody" in methods[method]  # without a body nothing can be wrong
]
SOME = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_every_answer_is_one_that_the_document_describes(
    path: str, method: str, mode: GenerationMode, tmp_path: Path
) -> None:
    """What fits the document, and what does not: the second is always refused."""
    with a_service(tmp_path, ("served", WordEngine(context=10**9))) as service:
        schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(service, loopback=False))

        @SOME
        @given(case=schema[path][method].as_strategy(mode))
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=[*CONFORM, negative_data_rejection])

        check()


def test_the_document_holds_together() -> None:
    made = document()
    routes = {path for path, methods in made["paths"].items() if "post" in methods}
    assert routes == {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/limpide/verify"}
    chat = made["components"]["schemas"]["ChatRequest"]
    assert chat["additionalProperties"] is False
    assert chat["properties"]["n"] == {"enum": [None, 1]}  # a field obeyed only where it asks for nothing
    assert chat["required"] == ["messages"]
