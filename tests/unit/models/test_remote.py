import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import ModelError, UsageError
from limpide.core.progress import Quiet
from limpide.models.address import EndpointError, EndpointSettings, parse_address, read_key
from limpide.models.journal import KEPT, Journal, utc
from limpide.models.remote import Endpoint, Estimate
from limpide.models.remote_call import LONGEST_WAIT, Clock, retry_after, short, spellings
from limpide.models.requests import Asked, Sampling
from limpide.models.respondents import GENERATES, SAMPLES
from talker import Said, Talker, chat, refused, talking

KEY = "sk-a-secret-that-nobody-may-see"
START = 1_700_000_000.0  # seconds since 1970
HTML = "<html><body>Sign in to the network</body></html>"


@dataclass
class Watch:
    """Time that passes only when somebody waits."""

    now: float = 100.0
    waits: list[float] = field(default_factory=list)

    def wait(self, stop: threading.Event, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: START + self.now, self.wait)


@pytest.fixture
def talker() -> Iterator[Talker]:
    with talking() as talker:
        yield talker


@pytest.fixture
def watch() -> Watch:
    return Watch()


Make = Callable[..., Endpoint]


@pytest.fixture
def make(talker: Talker, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """An endpoint on the talker, one question at a time unless told otherwise."""
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIMPIDE_ENDPOINT_KEY", KEY)
    opened: list[Endpoint] = []

    def make(*, model: str = "tiny", clock: Clock | None = None, fresh: bool = False, **settings: Any) -> Endpoint:
        chosen = EndpointSettings(**{"at_once": 1, **settings})
        endpoint = Endpoint(parse_address(talker.address(model)), chosen, fresh=fresh, clock=clock or watch.clock)
        opened.append(endpoint)
        return endpoint

    yield make
    for endpoint in opened:
        with endpoint:
            pass


def asked(*questions: str) -> list[Asked]:
    return [Asked.question(f"q{number}", text) for number, text in enumerate(questions)]


def told(endpoint: Endpoint) -> dict[str, Any]:
    facts: dict[str, Any] = endpoint.facts()["endpoint"]
    return facts


# ------------------------------------------------------------------------------------------------------- what is sent


def test_questions_are_answered_in_their_order(make: Make, talker: Talker) -> None:
    endpoint = make(at_once=4)
    questions = [f"question {number}" for number in range(12)]
    assert endpoint.answer(asked(*questions), 16) == [f"answer to {q}" for q in questions]
    body = next(b for b in talker.bodies if b["messages"][0]["content"] == "question 3")
    said = [{"role": "user", "content": "question 3"}]
    assert body == {"model": "tiny", "messages": said, "temperature": 0.0, "max_tokens": 16, "seed": 0}
    assert set(talker.keys) == {f"Bearer {KEY}"}
    assert (endpoint.digest, endpoint.kind, endpoint.can) == (None, "endpoint", {GENERATES, SAMPLES})
    assert endpoint.title == f"tiny at {talker.url.removeprefix('http://')}"


def test_facts_tell_what_the_endpoint_told(make: Make, talker: Talker) -> None:
    endpoint = make(price_in=1.0, price_out=10.0)
    endpoint.answer(asked("a", "b"), 16)
    facts = told(endpoint)
    assert facts["model"] == "tiny"
    assert facts["model_reported"] == ["tiny-1"]
    assert facts["system_fingerprints"] == ["fp-1"]
    assert (facts["answers"], facts["requests_sent"], facts["requests_retried"]) == (2, 2, 0)
    assert (facts["tokens_in"], facts["tokens_out"], facts["answers_kept_from_before"]) == (20, 6, 0)
    assert facts["cost"] == pytest.approx((20 * 1 + 6 * 10) / 1e6)
    assert "even at temperature 0" in facts["note"]
    assert KEY not in json.dumps(facts)
    endpoint.begin()
    endpoint.answer(asked("a", "c"), 16)
    assert (told(endpoint)["requests_sent"], told(endpoint)["answers_kept_from_before"]) == (1, 1)


def test_samples_have_their_own_seeds(make: Make, talker: Talker) -> None:
    sampling = Sampling(count=3, temperature=0.7, max_new_tokens=8, seed=5)
    answers = make().sample(asked("a", "b"), sampling)
    assert [[a.text for a in of] for of in answers] == [["answer to a"] * 3, ["answer to b"] * 3]
    assert answers[0][0].tokens == 3
    assert answers[0][0].log_likelihood is None
    assert [b["seed"] for b in talker.bodies] == [5, 6, 7, 5, 6, 7]
    assert {b["temperature"] for b in talker.bodies} == {0.7}


def test_equal_questions_are_asked_once(make: Make, talker: Talker) -> None:
    assert make().answer(asked("a", "a"), 16) == ["answer to a"] * 2
    assert len(talker.bodies) == 1


def test_likelihoods_are_refused_in_words(make: Make) -> None:
    with pytest.raises(ModelError, match="likelihood of given words, which an endpoint does not tell"):
        make().score([])


def test_without_a_key_none_is_sent(make: Make, talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMPIDE_ENDPOINT_KEY")
    make().answer(asked("a"), 16)
    assert talker.keys == [None]


# ------------------------------------------------------------------------------------------------------ asked again


def test_429_waits_as_long_as_asked(make: Make, talker: Talker, watch: Watch) -> None:
    talker.script = [refused(429, "slow down", {"Retry-After": "7"})]
    endpoint = make()
    assert endpoint.answer(asked("a"), 16) == ["answer to a"]
    assert watch.waits == [7.0]
    assert (told(endpoint)["requests_sent"], told(endpoint)["requests_retried"]) == (2, 1)


def test_429_with_a_date(make: Make, talker: Talker, watch: Watch) -> None:
    date = format_datetime(utc(START + watch.now + 30), usegmt=True)
    talker.script = [refused(429, "slow down", {"Retry-After": date})]
    make().answer(asked("a"), 16)
    assert watch.waits == [pytest.approx(30.0)]


def test_a_429_holds_every_thread_back(make: Make, talker: Talker, watch: Watch) -> None:
    talker.script = [refused(429, "slow down", {"Retry-After": "7"})]
    endpoint = make()
    endpoint._caller.pace.hold(0)
    endpoint.answer(asked("a"), 16)
    endpoint._caller.pace.hold(5)
    assert endpoint._caller.pace.take() == pytest.approx(5)


def test_429_without_a_time_outlasts_a_minute(
    make: Make, talker: Talker, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits are counted by the minute. Even where chance makes every wait as short as it can."""
    monkeypatch.setattr("limpide.models.remote_call.random.uniform", lambda low, high: low)
    talker.answer = lambda question: refused(429, "slow down")
    with pytest.raises(EndpointError, match=r"said HTTP 429. It was asked 6 times."):
        make().answer(asked("a"), 16)
    assert watch.waits == [2.5, 5.0, 10.0, 20.0, 30.0]
    assert sum(watch.waits) > 60
    watch.waits.clear()
    talker.script = [refused(429, "slow down", {"Retry-After": "3"})]
    talker.answer = lambda question: "yes"
    make(fresh=True).answer(asked("a"), 16)
    assert watch.waits == [3.0]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408])
def test_faults_of_the_server_pass(make: Make, talker: Talker, watch: Watch, status: int) -> None:
    talker.script = [refused(status, "oops")] * 3
    assert make().answer(asked("a"), 16) == ["answer to a"]
    assert len(watch.waits) == 3
    assert all(2**k / 2 <= wait <= 2**k for k, wait in enumerate(watch.waits))


def test_a_server_that_stays_at_fault(make: Make, talker: Talker) -> None:
    talker.answer = lambda question: refused(503, f"no {question} today")
    with pytest.raises(EndpointError, match=r"said HTTP 503. It was asked 3 times.") as caught:
        make(attempts=3).answer(asked("a"), 16)
    assert "no a today" in str(caught.value.received)
    assert len(talker.bodies) == 3


def test_a_wait_too_long_is_told_instead(make: Make, talker: Talker, watch: Watch) -> None:
    talker.script = [refused(429, "come back tomorrow", {"Retry-After": str(LONGEST_WAIT + 1)})]
    with pytest.raises(EndpointError, match="asks to wait 601 s"):
        make().answer(asked("a"), 16)
    assert watch.waits == []


def test_a_long_wait_is_said_once(make: Make, talker: Talker) -> None:
    said: list[str] = []

    class Loud(Quiet):
        def say(self, text: str) -> None:
            said.append(text)

    talker.script = [refused(429, "slow down", {"Retry-After": "20"})]
    make().answer(asked("a"), 16, Loud())
    assert [line.partition(" ")[2] for line in said] == ["said HTTP 429. Asking again in 20 s."]


def test_a_slow_endpoint_is_asked_again(make: Make, talker: Talker, watch: Watch) -> None:
    talker.script = [Said("", slow=True)]
    clock = Clock(time.monotonic, watch.clock.wall, watch.wait)
    assert make(timeout_s=0.2, clock=clock).answer(asked("a"), 16) == ["answer to a"]
    assert len(talker.bodies) == 2
    talker.script = [Said("", slow=True)] * 2
    with pytest.raises(EndpointError, match=r"did not answer within 0.1 s"):
        make(timeout_s=0.1, attempts=2, clock=clock, fresh=True).answer(asked("b"), 16)


def test_a_server_that_drips_for_ever(make: Make, talker: Talker, watch: Watch) -> None:
    ticks = iter(range(1000))
    clock = Clock(lambda: float(next(ticks)), watch.clock.wall, watch.wait)
    with pytest.raises(EndpointError, match=r"did not answer within 0.5 s"):
        make(timeout_s=0.5, attempts=1, clock=clock).answer(asked("a"), 16)


def test_an_answer_without_end(make: Make, talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpide.models.remote_call.LARGEST", 2_000_000)
    talker.answer = lambda question: "x" * 2_000_001
    with pytest.raises(EndpointError, match="sent more than 2 MB"):
        make(attempts=1).answer(asked("a"), 16)


def test_nobody_there(make: Make, talker: Talker, watch: Watch) -> None:
    endpoint = Endpoint(parse_address("http://127.0.0.1:1/v1#tiny"), EndpointSettings(attempts=2), clock=watch.clock)
    with endpoint, pytest.raises(EndpointError, match="could not be reached") as caught:
        endpoint.answer(asked("a"), 16)
    assert caught.value.exit_code == 2
    assert "ConnectError" in str(caught.value.received)


RUBBISH = {
    "no JSON": Said("surely an answer"),
    "no choices": Said('{"choices": []}'),
    "another shape": Said('[{"message": "hello"}]'),
    "no content": chat(None),
    "a page": Said(HTML, headers={"Content-Type": "text/html"}),
    "an error with status 200": Said('{"error": {"message": "overloaded"}}'),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_is_asked_again_then_shown(make: Make, talker: Talker, kind: str) -> None:
    talker.script = [RUBBISH[kind]]
    assert make().answer(asked("a"), 16) == ["answer to a"]
    talker.script = [RUBBISH[kind]] * 2
    with pytest.raises(EndpointError, match="It was asked 2 times") as caught:
        make(attempts=2).answer(asked("b"), 16)
    assert str(caught.value.received).startswith(RUBBISH[kind].body[:50])


def test_empty_answers(make: Make, talker: Talker) -> None:
    """One is asked again, and is then an empty answer; nothing but empty ones is a fault."""
    talker.answer = lambda question: "" if question == "a" else "yes"
    endpoint = make(attempts=2)
    assert endpoint.answer(asked("a", "b"), 16) == ["", "yes"]
    assert talker.questions == ["a", "a", "b"]
    assert told(endpoint)["empty"] == 1
    with pytest.raises(EndpointError, match="nothing but empty answers"):
        make(attempts=2).answer(asked("a"), 16)


def test_thoughts_that_took_every_token(make: Make, talker: Talker) -> None:
    talker.answer = lambda question: chat(None, finish="length")
    with pytest.raises(EndpointError) as caught:
        make().answer(asked("a"), 16)
    assert "let it write more tokens" in str(caught.value.remedy)
    assert len(talker.bodies) == 1


def test_refusals_and_filters_are_answers(make: Make, talker: Talker) -> None:
    filtered = refused(400, "The prompt was filtered", code="content_filter")
    talker.script = [chat(None, refusal="I cannot help."), chat(None, finish="content_filter"), filtered]
    endpoint = make()
    assert endpoint.answer(asked("a", "b", "c"), 16) == ["I cannot help.", "", ""]
    assert told(endpoint)["filtered"] == 2


def test_content_in_parts(make: Make, talker: Talker) -> None:
    talker.answer = lambda question: chat([{"type": "thinking"}, {"type": "text", "text": "ye"}, {"text": "s"}])
    assert make().answer(asked("a"), 16) == ["yes"]


def test_what_comes_back_is_shown_short_and_harmless() -> None:
    assert short("a\n\n b\x1b[31m") == "a b\ufffd[31m"
    assert len(short("a" * 1000)) == 201
    assert short("") == "nothing"


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3.0), (" 1.5 ", 1.5), ("-3", None), ("soon", None), (None, None), ("9" * 99, None)]
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, START) == seconds
    assert retry_after("Tue, 14 Nov 2023 22:13:20 GMT", START + 60) == 0.0


# -------------------------------------------------------------------------------------- where asking again cannot help


@pytest.mark.parametrize(
    ("said", "what", "remedy"),
    [
        (
            refused(401, f"Incorrect key {KEY}"),
            r"refuses the key \(HTTP 401\)",
            "check the key in LIMPIDE_ENDPOINT_KEY",
        ),
        (refused(403, "no"), r"refuses the key \(HTTP 403\)", "that it may use this model"),
        (refused(402, "pay"), "wants to be paid first", "credit"),
        (refused(429, "quota", code="insufficient_quota"), "wants to be paid first", "credit"),
        (refused(404, "model not found"), "Did you mean 'tiny'?", "it has: large, tiny"),
        (refused(400, "too long"), r"refused the request \(HTTP 400\)", "chat messages"),
        (Said("", 302, {"Location": "https://elsewhere.example/v1"}), "sends elsewhere", "if you trust that address"),
    ],
)
def test_told_at_once(make: Make, talker: Talker, watch: Watch, said: Said, what: str, remedy: str) -> None:
    talker.script = [said]
    with pytest.raises(EndpointError, match=what) as caught:
        make(model="tinny").answer(asked("a"), 16)
    assert remedy in str(caught.value.remedy)
    assert (len(talker.bodies), watch.waits) == (1, [])
    assert KEY not in str(caught.value)


def test_a_missing_key_is_asked_for(make: Make, talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMPIDE_ENDPOINT_KEY")
    talker.script = [refused(401, "who are you?")]
    with pytest.raises(EndpointError, match="asks for a key") as caught:
        make().answer(asked("a"), 16)
    assert "--key-env" in str(caught.value.remedy)


def test_a_wrong_route(make: Make, talker: Talker) -> None:
    talker.models = ()
    endpoint = Endpoint(parse_address(f"{talker.url}/api#tiny"))
    with endpoint, pytest.raises(EndpointError, match="does not know this address") as caught:
        endpoint.answer(asked("a"), 16)
    assert "often with /v1" in str(caught.value.remedy)


def test_settings_that_are_not_accepted_are_left_out(make: Make, talker: Talker) -> None:
    talker.script = [
        refused(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", param="max_tokens"),
        refused(400, "'temperature' does not support 0 with this model.", param="temperature"),
        Said('{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}', 422),
    ]
    endpoint = make()
    assert endpoint.answer(asked("a", "b"), 16) == ["answer to a", "answer to b"]
    assert set(talker.bodies[-1]) == {"model", "messages", "max_completion_tokens"}
    assert told(endpoint)["not_accepted"] == ["seed", "temperature"]
    assert "does not accept seed, temperature" in told(endpoint)["note"]
    assert len(talker.bodies) == 5


def test_a_fault_that_only_mentions_a_setting_is_told(make: Make, talker: Talker) -> None:
    talker.script = [refused(400, "your question on the temperature is too long")]
    with pytest.raises(EndpointError, match="refused the request"):
        make().answer(asked("a"), 16)


# ----------------------------------------------------------------------------------------------------- kept answers


def test_a_second_run_sends_only_what_is_missing(make: Make, talker: Talker) -> None:
    talker.answer = lambda question: refused(401, "no more") if question == "c" else "yes"
    with pytest.raises(EndpointError) as caught:
        make().answer(asked("a", "b", "c", "d"), 16)
    assert "2 of 4 answers are kept: the same command asks only for the rest" in str(caught.value.remedy)
    talker.answer = lambda question: "later"
    talker.bodies.clear()
    endpoint = make()
    assert endpoint.answer(asked("a", "b", "c", "d"), 16) == ["yes", "yes", "later", "later"]
    assert talker.questions == ["c", "d"]
    assert (told(endpoint)["answers"], told(endpoint)["answers_kept_from_before"]) == (4, 2)


def test_what_is_under_way_when_something_fails_is_kept(make: Make, talker: Talker) -> None:
    """It is paid for. The others are not sent."""
    failed = threading.Event()

    def answer(question: str) -> str | Said:
        if question == "bad":
            failed.set()
            return refused(401, "no")
        failed.wait(5)
        time.sleep(0.05)
        return "paid"

    talker.answer = answer
    many = asked("slow", "bad", *map(str, range(20)))
    with pytest.raises(EndpointError):
        make(at_once=2).answer(many, 16)
    assert "slow" in talker.questions
    assert len(talker.bodies) < len(many)
    before = len(talker.bodies)
    assert make().answer(asked("slow"), 16) == ["paid"]
    assert len(talker.bodies) == before


@pytest.mark.parametrize(
    "change", [{"model": "large"}, {"max_new_tokens": 17}, {"fresh": True}, {"question": "b"}, {"later": True}], ids=str
)
def test_kept_answers_are_of_the_same_question(
    make: Make, talker: Talker, watch: Watch, change: dict[str, Any]
) -> None:
    make().answer(asked("a"), 16)
    watch.now += KEPT.total_seconds() + 1 if change.get("later") else 0
    endpoint = make(model=change.get("model", "tiny"), fresh=change.get("fresh", False))
    endpoint.answer(asked(change.get("question", "a")), change.get("max_new_tokens", 16))
    assert len(talker.bodies) == 2


def test_the_journal_is_private_and_holds_no_key(make: Make, talker: Talker) -> None:
    talker.answer = lambda question: f"your key is {KEY}"
    assert make().answer(asked("a very personal question"), 16) == ["your key is [the key]"]
    path = Journal(parse_address(talker.address()).url, "tiny").path
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert KEY not in path.read_text()
    assert "personal" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


SLASHED = "sk/a-secret/that-nobody-may-see"
ESCAPES = {
    "slash": SLASHED.replace("/", r"\/"),
    "code": SLASHED.replace("a", r"\u0061").replace("/", r"\u002F"),
    "every": "".join(f"\\u{ord(c):04x}" for c in SLASHED),
    "JSON in JSON": SLASHED.replace("/", r"\\\/"),
}


@pytest.mark.parametrize("kind", ESCAPES)
def test_a_key_that_json_escaped_is_blotted_out(
    make: Make, talker: Talker, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("LIMPIDE_ENDPOINT_KEY", SLASHED)
    written = ESCAPES[kind]
    whole = (
        chat("the key @ it is", model="x").body.replace("tiny-1", "m @").replace("fp-1", "f @").replace("@", written)
    )
    talker.script = [Said(whole)]
    endpoint = make()
    assert endpoint.answer(asked("a"), 16) == ["the key [the key] it is"]
    assert told(endpoint)["model_reported"] == ["m [the key]"]
    assert told(endpoint)["system_fingerprints"] == ["f [the key]"]
    path = Journal(parse_address(talker.address()).url, "tiny").path
    assert "nobody-may-see" not in path.read_text()
    assert written not in path.read_text()
    for said in (Said(f'{{"error": "@{written}@"}}'.replace("@", " "), 400), Said(f"no answer {written}")):
        talker.script = [said]
        with pytest.raises(EndpointError) as caught:
            make(attempts=1).answer(asked("b"), 16)
        assert "[the key]" in str(caught.value.received)
        assert written not in str(caught.value)
        assert "see" not in str(caught.value.received)


def test_a_key_among_the_names_of_models_is_blotted_out(make: Make, talker: Talker) -> None:
    talker.models = (f"tiny-{KEY}",)
    talker.script = [refused(404, "no such model")]
    with pytest.raises(EndpointError) as caught:
        make().answer(asked("a"), 16)
    assert "it has: tiny-[the key]" in str(caught.value.remedy)
    assert KEY not in f"{caught.value.what} {caught.value.remedy}"


def test_many_backslashes_take_no_time() -> None:
    text = "\\" * 200_000
    started = time.monotonic()
    assert spellings(SLASHED).sub("", text) == text
    assert time.monotonic() - started < 2


def test_half_a_character_is_replaced(make: Make, talker: Talker) -> None:
    talker.script = [Said(chat("hi @").body.replace("tiny-1", "m@").replace("@", r"\ud83d"))]
    endpoint = make()
    assert endpoint.answer(asked("a"), 16) == ["hi ?"]
    assert told(endpoint)["model_reported"] == ["m?"]
    assert make().answer(asked("a"), 16) == ["hi ?"]
    assert len(talker.bodies) == 1


def test_a_line_that_was_cut_is_passed_over(make: Make, talker: Talker) -> None:
    make().answer(asked("a", "b"), 16)
    path = Journal(parse_address(talker.address()).url, "tiny").path
    path.write_text(path.read_text()[:-20])
    assert make().answer(asked("a", "b", "c"), 16) == ["answer to a", "answer to b", "answer to c"]
    assert talker.questions == ["a", "b", "b", "c"]
    make().answer(asked("a", "b", "c"), 16)
    assert len(talker.bodies) == 4


def test_ctrl_c_keeps_what_was_answered(make: Make, talker: Talker) -> None:
    class Impatient(Quiet):
        def advance(self, by: float = 1, **facts: Any) -> None:
            raise KeyboardInterrupt

    many = asked(*map(str, range(40)))
    with pytest.raises(KeyboardInterrupt):
        make().answer(many, 16, Impatient())
    sent = len(talker.bodies)
    assert 1 <= sent < 40
    assert make().answer(many, 16) == [f"answer to {number}" for number in range(40)]
    assert len(talker.bodies) == 40


# ------------------------------------------------------------------------------------------------------ pace and cost


def test_requests_are_spaced(make: Make, watch: Watch) -> None:
    make(requests_per_minute=30).answer(asked("a", "b", "c", "d"), 16)
    assert watch.waits == pytest.approx([2.0, 2.0, 2.0])


def test_the_cost_is_counted_before_anything_is_sent(make: Make, talker: Talker) -> None:
    endpoint = make(price_in=2.0, price_out=8.0)
    endpoint.answer(asked("known"), 10)
    talker.bodies.clear()
    calls = [(tuple(asked("known", "x" * 400, "y" * 401)), Sampling(max_new_tokens=10))]
    calls.append((tuple(asked("z" * 8)), Sampling(count=3, temperature=1.0, max_new_tokens=5)))
    found = endpoint.estimate(calls)
    characters = 400 + 401 + 3 * 8
    assert found == Estimate(5, 1, characters, 207, 35, pytest.approx((207 * 2 + 35 * 8) / 1e6))
    assert talker.bodies == []
    sentence = found.sentence(endpoint.address)
    assert sentence.startswith(f"5 requests to {endpoint.address.host} for tiny: about 207 tokens of questions")
    assert sentence.endswith(
        "price at most 0.00069. Moreover, answers kept from the last 7 days: 1; --fresh asks again."
    )
    assert endpoint.estimate(calls[:1]).requests == 2
    known = endpoint.estimate([(tuple(asked("known")), Sampling(max_new_tokens=10))])
    assert known.sentence(endpoint.address).startswith("Nothing to send to ")
    assert "price unknown" in make().estimate(calls).sentence(endpoint.address)


def test_what_was_agreed_to_is_not_asked_about_again(make: Make, talker: Talker) -> None:
    seen: list[Estimate] = []
    endpoint = make()
    endpoint.approve = seen.append
    endpoint.agree([(tuple(asked("a", "b")), Sampling(max_new_tokens=16))])
    endpoint.answer(asked("a"), 16)
    endpoint.answer(asked("a", "b"), 16)
    assert [e.requests for e in seen] == [2]
    endpoint.answer(asked("b", "c"), 16)
    assert [e.requests for e in seen] == [2, 1]
    assert talker.questions == ["a", "b", "c"]


def test_nothing_is_sent_without_agreement(make: Make, talker: Talker) -> None:
    def refuse(estimate: Estimate) -> None:
        raise UsageError("No.")

    endpoint = make()
    endpoint.approve = refuse
    with pytest.raises(UsageError, match=r"No\."):
        endpoint.answer(asked("a"), 16)
    assert talker.bodies == []


def test_one_price_is_not_enough(make: Make) -> None:
    with pytest.raises(UsageError, match="One price"):
        make(price_in=1.0)


# ------------------------------------------------------------------------------------------------- addresses and keys


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://API.example.org/v1#a/b:c", "https://api.example.org/v1"),
        ("https://api.example.org:8443/v1/#a/b:c", "https://api.example.org:8443/v1"),
        ("https://api.example.org/v1/chat/completions#a/b:c", "https://api.example.org/v1"),
        ("http://localhost:8000/v1#a/b:c", "http://localhost:8000/v1"),
        ("http://[::1]:8000/v1#a/b:c", "http://[::1]:8000/v1"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    address = parse_address(text)
    assert (address.url, address.model) == (url, "a/b:c")
    assert address.local == url.startswith("http://")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("https://api.example.org/v1", "does not say which model"),
        ("http://api.example.org/v1#m", "unencrypted"),
        ("http://192.168.1.2:8000/v1#m", "unencrypted"),
        ("https://me:secret@api.example.org/v1#m", "no password"),
        ("https://api.example.org/v1?key=secret#m", "no password"),
        ("https:///v1#m", "cannot be read"),
        ("https://api.example.org:port/v1#m", "cannot be read"),
        ("https://[::1/v1#m", "cannot be read"),
    ],
)
def test_addresses_that_will_not_do(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    assert read_key("MY_KEY") == KEY
    monkeypatch.setenv("MY_KEY", "clé secrète")
    with pytest.raises(UsageError, match="cannot carry") as caught:
        read_key("MY_KEY")
    assert "secr" not in str(caught.value)
    with pytest.raises(UsageError, match="OTHER_KEY is not set"):
        read_key("OTHER_KEY")
