import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands import Command, Said, calling
from limpide.audit.items import AuditSettings, Item, Spec, frame_of, not_run, respondent_of, save_evidence, summarise
from limpide.cli import audit, suites, whom
from limpide.cli.audit import in_words
from limpide.cli.main import make_app
from limpide.core import catalogue
from limpide.core.measure import Measure
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.models.address import EndpointSettings
from limpide.models.recorder import Recorder
from limpide.models.requests import Asked, Request
from limpide.models.respondents import GENERATES, SCORES, Opened
from limpide.models.sources import Source
from talker import Talker, refused, talking

KEY = "sk-a-secret-that-nobody-may-see"


# --------------------------------------------------------------------------------------------- suites that take no time


def spec(name: str) -> Spec:
    return Spec(name=f"{name}.right", metric="right", kind="share", unit="share", better="higher", method=f"{name}@1()")


def asking(name: str, data: bool = False) -> Callable[[Subject, AuditSettings, Progress], Result]:
    """A suite of 12 questions, each right when its answer says yes."""

    def run(subject: Subject, settings: AuditSettings, progress: Progress) -> Result:
        more = (subject.input("data") / "more.txt").read_text() if data else ""
        respondent = respondent_of(subject, settings)
        made, frame = spec(name), frame_of(subject, respondent, "data")
        if GENERATES not in respondent.can:
            return Result((not_run(made, frame, "it cannot write"),))
        asked = [Asked.question(f"{k}", f"{name} {k}?{more}") for k in range(12)]
        answers = respondent.answer(asked, 8, progress)
        items = [
            Item(one.id, one.id, {}, {"right": float("yes" in a)}, {"answer": a})
            for one, a in zip(asked, answers, strict=True)
        ]
        save_evidence(subject.out, items, [made])
        return Result(tuple(summarise(items, [made], frame)), respondent.facts())

    return run


def scoring(subject: Subject, settings: AuditSettings, progress: Progress) -> Result:
    respondent = respondent_of(subject, settings)
    frame = frame_of(subject, respondent, "data")
    if SCORES not in respondent.can:
        return Result((not_run(spec("likely"), frame, "it does not tell how likely words are"),))
    respondent.score([Request("a", "One", " two")], progress)
    return Result((not_run(spec("likely"), frame, "scored"),), respondent.facts())


def refusing(subject: Subject, settings: AuditSettings, progress: Progress) -> Result:
    respondent_of(subject, settings).score([], progress)
    return Result()


def operation(name: str, run: Any, needs: tuple[Any, ...]) -> Operation:
    return Operation(f"audit.{name}", "look", f"Whether {name}.", AuditSettings, run, needs)


@dataclass
class Shelf:
    """A catalogue of stand-ins."""

    held: dict[str, Operation] = field(default_factory=dict)

    def suites(self) -> list[str]:
        return list(self.held)

    def find(self, name: str) -> Operation:
        return self.held[name.removeprefix("audit.")]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    for name in ("quiz", "trivia"):
        shelf.held[name] = operation(name, asking(name), ("generates",))
    shelf.held["own"] = operation("own", asking("own", data=True), ("generates",))
    shelf.held["likely"] = operation("likely", scoring, ("scores",))
    for module in (audit, suites):
        monkeypatch.setattr(module, "catalogue", shelf)
    app = audit.App(name="audit", help_format="plaintext")
    for name in shelf.suites():
        app.command(audit.command(shelf.find(name)), name=name)
    app.command(audit.all_, name="all")
    monkeypatch.setattr(audit, "app", app)
    return shelf


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Talker]:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIMPIDE_ENDPOINT_KEY", KEY)
    with talking() as talker:
        talker.answer = lambda question: "yes"
        yield talker


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115  # closed with the process

    call = calling(capsys, "audit")

    def run(*arguments: object) -> Said:
        said = call(*arguments)
        assert KEY not in said.out + said.err
        return said

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "more.txt").write_text(" Our own words.")
    return folder


# ------------------------------------------------------------------------------------------------------- an endpoint


def test_an_endpoint_is_audited(limpide: Command, shelf: Shelf, talker: Talker, tmp_path: Path) -> None:
    said = limpide("quiz", talker.address(), "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert said.out.startswith("quiz.right  1 [0.7575; 1] share (n = 12; sees differences ≥ 0.37)")
    host = talker.url.removeprefix("http://")
    assert f"12 requests to {host} for tiny: about 22 tokens of questions" in said.err
    assert "price unknown" in said.err
    result = Result.load(tmp_path / "out")
    assert result.facts["endpoint"]["requests_sent"] == 12
    assert result.measures[0].subject == f"tiny at {host}"
    assert result.measures[0].model_digest is None
    assert all(KEY not in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    again = limpide("quiz", talker.address())
    assert "Nothing to send" in again.err
    assert len(talker.bodies) == 12
    assert limpide("quiz", talker.address(), "--fresh").code == 0
    assert len(talker.bodies) == 24


def test_a_price_needs_a_yes(limpide: Command, shelf: Shelf, talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    priced = ("quiz", talker.address(), "--price-in", "1000", "--price-out", "1000")
    said = limpide(*priced)
    assert (said.code, talker.bodies) == (2, [])
    assert "price at most 0.12" in said.err
    assert "to do:    add --yes to agree" in said.err
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    answers = ["no", "y"]
    monkeypatch.setattr("builtins.input", lambda _: answers.pop(0))
    refused = limpide(*priced)
    assert (refused.code, talker.bodies) == (2, [])
    assert "Send them? [y/N] Nothing was sent." in refused.err
    assert refused.out == ""
    assert limpide(*priced).code == 0
    assert limpide(*priced, "--fresh", "--json").code == 2
    assert limpide(*priced, "--fresh", "--json", "--yes").code == 0
    assert len(talker.bodies) == 24


def test_leaving_this_machine_needs_a_yes(limpide: Command, shelf: Shelf, talker: Talker, data: Path) -> None:
    said = limpide("own", "https://api.example.org/v1#large", "--data", data)
    assert said.code == 2
    assert "The questions, some of them from your own data, leave this machine." in said.err
    assert "--yes" in said.err
    assert "leave this machine" not in limpide("own", talker.address(), "--data", data).err


def test_what_an_endpoint_cannot_tell(limpide: Command, shelf: Shelf, talker: Talker) -> None:
    said = limpide("likely", talker.address())
    assert (said.code, talker.bodies) == (0, [])
    assert said.out.split() == [
        "likely.right",
        "not",
        "run:",
        "it",
        "does",
        "not",
        "tell",
        "how",
        "likely",
        "words",
        "are",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["https://api.example.org/v1"], "write https://api.example.org/v1#MODEL"),
        (["http://api.example.org/v1#m"], "unencrypted"),
        (["https://api.example.org/v1#m", "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
        (["https://api.example.org/v1#m", "--price-in", "1"], "One price is given"),
        (["https://api.example.org/v1#m", "--at-once", "0"], "--at-once: "),
        ([], "Nobody to audit"),
        (["m", "--write-questions", "q.jsonl"], "asks nobody"),
        (["--answers", "a.jsonl", "--write-questions", "q.jsonl"], "asks nobody"),
        (["--answers", "none.jsonl"], "There is no file none.jsonl"),
    ],
)
def test_mistakes(limpide: Command, shelf: Shelf, arguments: list[str], said: str) -> None:
    found = limpide("quiz", *arguments)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert "Traceback" not in found.err


# ------------------------------------------------------------------------------------------ questions and given answers


def test_questions_then_answers(limpide: Command, shelf: Shelf, tmp_path: Path) -> None:
    questions, answers = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    said = limpide("quiz", "--write-questions", questions)
    assert said.code == 0, said.err
    assert "12 questions are in" in said.out
    assert "limpide audit quiz --answers" in said.out
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    assert rows[0] == {"id": "0", "messages": [{"role": "user", "content": "quiz 0?"}]}
    answers.write_text("".join(json.dumps({"id": r["id"], "said": "yes"}) + "\n" for r in rows))
    done = limpide("quiz", "gpt-9", "--answers", answers, "--answer-field", "said", "--json")
    assert done.code == 0, done.err
    (measure,) = json.loads(done.out)
    assert (measure["value"], measure["subject"], measure["model_digest"]) == (1.0, "gpt-9", None)
    wrong = limpide("quiz", "--answers", answers)
    assert (wrong.code, "--answer-field" in wrong.err) == (2, True)
    again = limpide("quiz", "--write-questions", questions)
    assert (again.code, "exists" in again.err) == (2, True)
    answers.write_text(answers.read_text().split("\n", 1)[1])
    short = limpide("quiz", "--answers", answers, "--answer-field", "said", "--out", tmp_path / "out")
    assert (short.code, "no answer to 1 of the 12 questions: '0'" in short.err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_questions_of_a_suite_that_has_none(limpide: Command, shelf: Shelf, tmp_path: Path) -> None:
    said = limpide("likely", "--write-questions", tmp_path / "q.jsonl")
    assert (said.code, "no question that could be answered in text" in said.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_questions_of_every_suite(limpide: Command, shelf: Shelf, tmp_path: Path, data: Path) -> None:
    path = tmp_path / "q.jsonl"
    said = limpide("all", "--write-questions", path, "--json")
    assert json.loads(said.out)["questions"] == {"quiz": 12, "trivia": 12, "likely": 0}
    assert "own: left out. It needs prepared data: --data." in said.err
    ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert ids == [f"{suite}/{k}" for suite in ("quiz", "trivia") for k in range(12)]
    path.write_text("".join(json.dumps({"id": i, "answer": "yes" if i < "r" else "no"}) + "\n" for i in ids))
    said = limpide("all", "--answers", path, "--out", tmp_path / "out", "--json")
    values = {m["name"]: m["value"] for m in json.loads(said.out)["measures"]}
    assert values == {"quiz.right": 1.0, "trivia.right": 0.0, "likely.right": None}
    assert Result.load(tmp_path / "out" / "quiz").facts["answers"]["answers_used"] == 12


# ---------------------------------------------------------------------------------------------------- several suites


def test_all_asks_once_and_says_what_was_left_out(
    limpide: Command, shelf: Shelf, talker: Talker, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    said = limpide("all", talker.address(), "--out", out)
    assert said.code == 0, said.err
    assert said.err.count("24 requests to") == said.err.count("requests to") == 1
    assert "own: not run. It needs prepared data: --data." in said.err
    assert "own           not run: It needs prepared data: --data." in said.out
    assert sorted(p.name for p in out.iterdir()) == [
        "audit.json",
        "likely",
        "quiz",
        "report.fr.html",
        "report.html",
        "trivia",
    ]
    record = json.loads((out / "audit.json").read_text())
    assert (record["kind"], record["model_digest"]) == ("endpoint", None)
    assert record["title"].startswith("tiny at 127.0.0.1")
    states = {name: suite["state"] for name, suite in record["suites"].items()}
    assert states == {"quiz": "finished", "trivia": "finished", "own": "not run", "likely": "finished"}
    assert record["command"] == f"limpide audit all '{talker.address()}' --out {out}"
    assert Result.load(out / "trivia").facts["endpoint"]["answers"] == 12


def test_all_goes_on_where_it_stopped(limpide: Command, shelf: Shelf, talker: Talker, tmp_path: Path) -> None:
    talker.answer = lambda question: refused(401, "no more") if question == "trivia 5?" else "yes"
    command = ("all", talker.address(), "--suites", "quiz,trivia", "--out", tmp_path / "out", "--at-once", "1")
    said = limpide(*command)
    assert said.code == 2
    assert "5 of 12 answers are kept" in said.err
    assert list(json.loads((tmp_path / "out" / "audit.json").read_text())["suites"]) == ["quiz"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["audit.json", "quiz"]
    talker.answer = lambda question: "yes"
    talker.bodies.clear()
    said = limpide(*command)
    assert said.code == 0, said.err
    assert talker.questions == [f"trivia {k}?" for k in range(5, 12)]
    assert "quiz: kept, measured on 20" in said.err
    assert "quiz.right" in said.out
    whole = limpide(*command)
    assert (whole.code, len(talker.bodies)) == (0, 7)
    other = limpide(*command, "--seed", "1")
    assert (other.code, "holds an audit of another model" in other.err) == (2, True)


def test_fresh_measures_whole_suites_again(limpide: Command, shelf: Shelf, talker: Talker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("all", talker.address(), "--suites", "quiz,trivia", "--out", out, "--at-once", "1")
    assert limpide(*command).code == 0
    talker.answer = lambda question: refused(401, "no more") if question == "trivia 5?" else "no"
    said = limpide(*command, "--fresh")
    assert (said.code, "kept, measured" in said.err) == (2, False)
    assert [Result.load(out / name).measures[0].value for name in ("quiz", "trivia")] == [0.0, 1.0]
    talker.answer = lambda question: "no"
    talker.bodies.clear()
    said = limpide(*command, "--fresh")
    assert (said.code, len(talker.bodies)) == (0, 24)
    assert [Result.load(out / name).measures[0].value for name in ("quiz", "trivia")] == [0.0, 0.0]
    names = ["audit.json", "quiz", "report.fr.html", "report.html", "trivia"]
    assert sorted(p.name for p in out.iterdir()) == names
    other = limpide(*command, "--fresh", "--seed", "1")
    assert (other.code, "holds an audit of another model" in other.err) == (2, True)


def test_a_folder_stays_where_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("kept")
    with pytest.raises(FileNotFoundError):
        suites._settle(tmp_path / "missing", tmp_path / "out", replaced=True)
    assert (tmp_path / "out" / "old").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_all_with_data(limpide: Command, shelf: Shelf, talker: Talker, tmp_path: Path, data: Path) -> None:
    command = ("all", talker.address(), "--out", tmp_path / "out", "--data", data, "--suites", "own")
    assert limpide(*command).code == 0
    assert "Our own words." in talker.questions[0]
    (data / "more.txt").write_text("changed")
    assert "other settings or data" in limpide(*command).err


def test_a_suite_that_was_named_and_cannot_run(limpide: Command, shelf: Shelf, talker: Talker, tmp_path: Path) -> None:
    shelf.held["refusing"] = operation("refusing", refusing, ("scores",))
    said = limpide("all", talker.address(), "--out", tmp_path / "out", "--suites", "refusing,quiz")
    assert said.code == 2
    assert "refusing: This audit needs the likelihood of given words" in said.err
    assert "quiz.right" in said.out
    assert (tmp_path / "out" / "quiz" / "measures.jsonl").is_file()
    assert limpide("all", talker.address(), "--out", tmp_path / "out2").code == 0


def test_all_opens_a_model_once(
    limpide: Command, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_once(subject: Subject, settings: AuditSettings) -> Recorder:
        opened.append(settings.precision)
        return Recorder()

    source = Source("tiny", "folder", tmp_path, "d" * 64, None, None)
    monkeypatch.setattr("limpide.models.sources.resolve", lambda ref, progress: source)
    monkeypatch.setattr(suites, "respondent_of", open_once)
    command = ("all", "tiny", "--out", tmp_path / "out", "--suites", "quiz,likely", "--precision", "bfloat16")
    said = limpide(*command)
    assert said.code == 0, said.err
    assert opened == ["bfloat16"]
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (record["title"], record["kind"], record["model_digest"]) == ("tiny", "model", "d" * 64)
    assert record["suites"]["quiz"]["settings"]["precision"] == "bfloat16"
    assert "--precision bfloat16" in record["command"]
    assert limpide(*command).code == 0
    assert opened == ["bfloat16"]


def test_each_suite_of_one_model_has_its_own_records() -> None:
    model: Any = SimpleNamespace()
    shared = Opened(model, records=[{"pass": 1}])
    found = whom.Whom("tiny", "model", ("d",), respondent=shared).for_suite("quiz")
    assert isinstance(found, Opened)
    assert (found.model, found.records) == (model, [])
    assert shared.records == [{"pass": 1}]


def test_all_needs_known_suites_and_a_folder(limpide: Command, shelf: Shelf, talker: Talker) -> None:
    said = limpide("all", talker.address(), "--suites", "quizz")
    assert (said.code, "there is no suite 'quizz'. Did you mean 'quiz'?" in said.err) == (2, True)
    assert "name one with --out" in limpide("all", talker.address()).err


def test_the_command_that_does_it_again_has_no_key(shelf: Shelf, tmp_path: Path) -> None:
    endpoint = EndpointSettings(key_env="MY_KEY", at_once=2)
    outside = whom.Outside(yes=True)
    order = whom.Order("https://h.example/v1#m", {"data": tmp_path / "a b"}, 3, endpoint, outside, False)
    words = suites.command_line(order, suites.AllSettings(suites="quiz"), Path("out"))
    assert words == (
        f"limpide audit all 'https://h.example/v1#m' --out out --data '{tmp_path}/a b' --seed 3 --suites quiz "
        "--key-env MY_KEY --at-once 2"
    )


# ------------------------------------------------------------------------------------------------------------- words


def measure(**more: Any) -> Measure:
    base = {"name": "a.b", "subject": "m", "value": 0.5, "unit": "share", "better": "higher", "n": 100, "method": "m"}
    return Measure.model_validate(base | more)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (measure(), "0.5 share (n = 100)"),
        (measure(low=0.4, high=0.6), "0.5 [0.4; 0.6] share (n = 100; sees differences ≥ 0.14)"),
        (measure(low=0.4, high=0.6, clusters=25), "0.5 [0.4; 0.6] share (n = 100; sees differences ≥ 0.27)"),
        (measure(low=-1.0, high=1.0, unit="nats"), "0.5 [-1; 1] nats (n = 100; sees differences ≥ 1.4)"),
        (measure(low=0.4, high=0.6, unit="rank"), "0.5 [0.4; 0.6] rank (n = 100)"),
        (measure(value=None, state="insufficient evidence"), "insufficient evidence (n = 100)"),
        (measure(value=None, state="not run", n=0, note="closed"), "not run: closed"),
    ],
)
def test_in_words(found: Measure, words: str) -> None:
    assert in_words(found) == words


def test_no_suite_has_a_setting_of_the_same_name_as_an_option() -> None:
    taken = {*EndpointSettings.model_fields, *whom.Outside.__dataclass_fields__, "model", "data", "out", "seed"}
    for name in catalogue.suites():
        assert not taken & set(catalogue.find(f"audit.{name}").settings.model_fields), name


def test_help_has_an_example(limpide: Command) -> None:
    make_app()["audit"]  # listed before, by another command of the same process
    assert "Example: limpide audit bias" in " ".join(limpide().out.split())
    assert "Example: limpide audit all" in " ".join(limpide("all", "--help").out.split())
