"""The service page: the command and where it answers, keys in words, entries of the log in cells."""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from limpide import serve
from limpide.core.errors import UsageError
from limpide.serve.access import AccessKey, Usage, revoke
from limpide.serve.request_log.entry import Entry
from limpide.serve.request_log.read import Wanted
from limpide.serve.stop_switch import stopped
from limpide.studio.pages.service_keys import asked, caller, in_words, keys_asked, known, made, opened, standing
from limpide.studio.pages.service_log import line, wanted
from limpide.studio.pages.service_process import Ready, argv, curl, python, ready, running
from limpide.studio.pages.service_said import raw, reason, told
from limpide.studio.pages.service_state import checked_port
from limpide.studio.pages.service_stop import order
from limpide.studio.project import Project
from limpide.studio.words import language

SAID = (
    "press-1.0.0, smollm2 answer at http://127.0.0.1:8080/v1 (context 2048 tokens, Ctrl-C stops). "
    "Try: curl http://127.0.0.1:8080/v1/chat/completions"
)


def visit(code: str = "en") -> Any:
    words = language(code)
    return SimpleNamespace(words=words, say=words.say, language=code)


def key(**changed: Any) -> AccessKey:
    facts: dict[str, Any] = {
        "id": "abc", "name": "HR tool", "created": datetime.now(UTC), "expires": None, "revoked": None,
        "models": (), "requests_per_minute": None, "tokens_per_day": None,
    }  # fmt: skip
    return AccessKey(**facts | changed)


def test_where_a_service_answers_is_read_from_what_it_says() -> None:
    events = [{"event": "message", "text": "signature verified"}, {"event": "message", "text": SAID}]
    assert ready(events) == Ready("http://127.0.0.1:8080", ("press-1.0.0", "smollm2"))
    assert ready(events[:1]) is None
    assert ready([{"event": "warning", "text": SAID}]) is None


def test_the_line_that_serving_prints_is_the_one_that_is_read() -> None:
    from limpide.serve.serving import _invitation

    engine = SimpleNamespace(gives={"chat"}, context=64)
    shelf = [SimpleNamespace(id="press-1.0.0", engine=engine), SimpleNamespace(id="base", engine=engine)]
    for models in (shelf, shelf[:1]):
        service: Any = SimpleNamespace(shelf=models, doorkeeper=SimpleNamespace(asked=True))
        said = _invitation(service, "http://127.0.0.1:1", None)
        told = ready([{"event": "message", "text": said}])
        assert told == Ready("http://127.0.0.1:1", tuple(one.id for one in models))


def test_the_command_of_a_service() -> None:
    words = argv(Path("r"), Path("k.pub"), Path("s"), port=8080, base=True, approvers=[Path("a.pub")])
    assert words == [
        "serve", "r", "--key", "k.pub", "--port", "8080", "--state", "s", "--no-request-lines", "--approver-key",
        "a.pub", "--base",
    ]  # fmt: skip


def test_the_service_that_runs_is_found_among_jobs() -> None:
    old, new = SimpleNamespace(id="old"), SimpleNamespace(id="new")
    jobs: Any = SimpleNamespace(all=lambda kind: [new, old], state=lambda job: "running" if job is old else "done")
    assert running(jobs) is old
    jobs = SimpleNamespace(all=lambda kind: [new, old], state=lambda job: "done")
    assert running(jobs) is None


def test_lines_to_try_compile_and_ask_for_a_key_where_one_is_needed() -> None:
    one, question = Ready("http://127.0.0.1:8080", ('a"b',)), "Qu'est-ce que “E-104” ?"
    for with_key in (True, False):
        compile(python(one, question, key=with_key), "example", "exec")
        assert ("LIMPIDE_API_KEY" in python(one, question, key=with_key)) is with_key
        assert ("Authorization: Bearer" in curl(one, question, key=with_key)) is with_key
        body = json.loads(shlex.split(curl(one, question, key=with_key))[-1])
        assert body["messages"] == [{"role": "user", "content": question}]
        assert question in python(one, question, key=with_key)


@pytest.mark.parametrize("value", [None, "", "8080", 80, 70000, 8080.5, float("nan")])
def test_what_is_no_port_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="not a port"):
        checked_port(visit(), value)


def test_a_port_is_a_whole_number() -> None:
    assert checked_port(visit(), 8080.0) == 8080


# -------------------------------------------------------------------------------------------------------------- keys


def test_how_a_key_stands() -> None:
    now = datetime.now(UTC)
    assert [standing(key()), standing(key(expires=now - timedelta(days=1))), standing(key(revoked=now))] == [
        "open", "expired", "revoked"
    ]  # fmt: skip


def test_what_a_key_allows_in_words() -> None:
    assert in_words(visit(), key()) == "all models; any number of requests; any number of tokens; never expires"
    until = datetime(2027, 3, 1, tzinfo=UTC)
    limits = {"models": ("a", "b"), "requests_per_minute": 1, "tokens_per_day": 1000, "expires": until}
    assert in_words(visit(), key(**limits)) == "a, b; 1 request a minute; 1,000 tokens a day; until 1\u00a0March 2027"
    assert "requêtes sans limite" in in_words(visit("fr"), key())


def test_the_form_of_a_key() -> None:
    made_of = asked("  HR tool ", 30, 60.0, None, ["press-1.0.0"])
    assert made_of["expires"] > datetime.now(UTC) + timedelta(days=29)
    assert {k: v for k, v in made_of.items() if k != "expires"} == {
        "name": "HR tool", "requests_per_minute": 60, "tokens_per_day": None, "models": ("press-1.0.0",)
    }  # fmt: skip
    assert asked(None, 0, None, None, None)["expires"] is None


def test_keys_are_made_listed_and_looked_for_without_making_a_database(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert known(project) == ([], [])
    assert not keys_asked(project)
    assert not (tmp_path / ".limpide").exists()
    new, secret = made(project, asked("HR tool", 30, None, None, None))
    assert secret.startswith(f"lmp_{new.id}_")
    assert [one.name for one in known(project)[0]] == ["HR tool"]
    assert keys_asked(project)
    with opened(project) as store:
        revoke(store, new.id)
    assert keys_asked(project)  # as the gateway: the last one revoked opens it to nobody


def test_callers_without_a_key_have_a_name() -> None:
    assert caller(visit(), Usage("anyone", "anyone", "2026-11-23", "m", 1, 2, 3)) == "without a key"
    assert caller(visit(), Usage("abc", "HR tool", "2026-11-23", "m", 1, 2, 3)) == "HR tool"


# --------------------------------------------------------------------------------------------------------------- log


def entry(event: str, **facts: Any) -> Entry:
    return Entry(1234, "2026-11-23T08:20:00.123Z", event, facts, {}, "0" * 64, "1" * 64)


def test_an_entry_in_cells() -> None:
    cells = line(visit(), entry("answer", key="abc", model="m", n_out=12, finish=None), {"abc": "HR tool"})
    assert cells[:4] == ["1,234", "2026-11-23\u00a008:20:00", "answered", "HR tool"]
    assert line(visit(), entry("studio.thing", who="Ada"), {})[2:4] == ["studio.thing", "Ada"]
    assert line(visit(), entry("accept", key="anyone"), {})[3] == "without a key"
    assert line(visit("fr"), entry("operator.stop", who="Ada"), {})[2] == "arrêt, sur ordre"


def test_an_answer_is_told_in_words_and_its_raw_facts_are_kept() -> None:
    facts = {"model": "m", "n_in": 42, "n_out": 1, "milliseconds": 1500.0, "finish": "stop", "request": "f0"}
    said = "model m; 42 tokens in the question; 1 token in the answer; the answer was whole; in 1.5\u00a0s"
    assert told(visit(), facts) == said
    assert "42 jetons dans la question" in told(visit("fr"), facts)
    assert raw(visit(), facts).endswith("finish stop; request f0")
    assert told(visit(), {"n_out": 9, "n_out_exact": False, "finish": "odd"}) == "at most 9 tokens in the answer; odd"


@pytest.mark.parametrize("code", ["en", "fr"])
def test_every_code_that_the_gateway_gives_has_words(code: str) -> None:
    """They are read where they are written: a new one must not reach a director as it is."""
    sources = "".join(path.read_text() for path in (Path(serve.__file__).parent).rglob("*.py"))
    codes = set(re.findall(r'code="([a-z_]+)"', sources)) | set(re.findall(r'\(\d{3}, "([a-z_]+)"', sources))
    assert len(codes) > 30
    assert {one for one in codes if reason(visit(code), one) == one} == set()


def test_a_caller_s_long_text_is_cut() -> None:
    assert told(visit(), {"why": "x" * 1000}) == f"reason: {'x' * 59}…"


def test_the_filter() -> None:
    assert wanted(visit(), "", "", "") == Wanted()
    assert wanted(visit(), "answer", "abc", "2026-11-23") == Wanted("2026-11-23", None, "answer", "abc")
    with pytest.raises(UsageError, match="not a day"):
        wanted(visit(), "", "", "tomorrow")


@pytest.mark.parametrize(("role", "who"), [("operator", "Ada"), (None, "somebody else")])
def test_nobody_stops_the_service_in_the_name_of_another_account(tmp_path: Path, role: str | None, who: str) -> None:
    """The field can't be changed where there are accounts; what a browser sends can be."""
    told: list[dict[str, Any]] = []
    ada: Any = SimpleNamespace(
        name="Ada",
        session=SimpleNamespace(role=role),
        project=Project(tmp_path),
        may=lambda action: True,
        log=lambda event, **facts: told.append(facts),
    )
    order(ada, "somebody else", "wrong doses")
    found = stopped(ada.project.service)
    assert found is not None
    assert (found.who, told[0]["name"]) == (who, who)
