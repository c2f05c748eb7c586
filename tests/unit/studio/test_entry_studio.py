"""The way in, where the request log is damaged: one must be able to come in to see what is wrong with it."""

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from limpide.core.errors import IntegrityError
from limpide.studio.entry import Entrance
from limpide.studio.session import LocalSessions


def damaged(event: str, **facts: Any) -> None:
    raise IntegrityError("The request log is damaged.")


def test_a_damaged_log_shuts_nobody_out(tmp_path: Path) -> None:
    sessions = LocalSessions(tmp_path)
    entrance = Entrance(sessions, lambda request: "en", "press", None, False, damaged)

    async def enter(request: Request) -> Response:
        return await entrance.enter(request, request.query_params["token"])

    app = Starlette(routes=[Route("/enter", enter)])
    with TestClient(app, base_url="http://127.0.0.1:8090") as client:
        answer = client.get("/enter", params={"token": sessions.new_token()})
    assert answer.status_code == 200
    assert sessions.of(answer.cookies[sessions.cookie]) is not None
