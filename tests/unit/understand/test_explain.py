import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from adapted import save_adapter
from limpide.core import catalogue, files
from limpide.core.errors import ModelError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.understand import cost, methods
from limpide.understand import explain as explaining
from limpide.understand.comparing import changes, compare
from limpide.understand.explain import EXPLANATION, ExplainSettings, run
from limpide.understand.methods import METHODS, NAMES, Method, chosen
from limpide.understand.question import ask
from limpide.understand.settings import FaithfulnessSettings
from tiny import tiny_folder

PROMPT = "When the pressure drops the valve"
FAST = {
    "faithfulness": {"points": 2, "draws": 3},
    "attribution": {"method": "integrated-gradients", "steps": 4, "most_steps": 8},
}
KEYS = ["version", "model", "question", "settings", "methods", "not_run", "warnings", "seed", "versions"]


def settings(**more: Any) -> ExplainSettings:
    return ExplainSettings.model_validate({"prompt": PROMPT, "answer": "closes", **FAST, **more})


def subject(folder: Path, out: Path, **more: Any) -> Subject:
    out.mkdir(exist_ok=True)
    return Subject(**{"out": out, "model": folder, "label": "tiny", **more})


def explained(folder: Path, out: Path, **more: Any) -> dict[str, Any]:
    run(subject(folder, out), settings(**more), Quiet())
    record: dict[str, Any] = files.read_json(out / EXPLANATION)
    return record


@dataclass(frozen=True)
class Found:
    """What a stand-in of a method finds."""

    words: tuple[float, ...] = ()
    converged: bool | None = None

    def record(self) -> dict[str, Any]:
        return {"words": list(self.words)}


class Heard(Quiet):
    """Keeps what is said. first: what was said before anything was computed."""

    def __init__(self, computed: list[str]) -> None:
        self.computed, self.said, self.first = computed, list[str](), ""

    def say(self, text: str) -> None:
        self.said.append(text)
        self.first += "" if self.computed else text


def stand_in(monkeypatch: pytest.MonkeyPatch, name: Any, answer: Callable[..., Any]) -> None:
    module = SimpleNamespace(explain=answer, check=answer)
    monkeypatch.setitem(METHODS, name, _Loaded(METHODS[name], module))


def _Loaded(method: Method, module: Any) -> Any:  # noqa: N802
    return SimpleNamespace(title=method.title, needs=method.needs, after=method.after, load=lambda: module)


# ------------------------------------------------------------------------------------------------------------- methods


def test_methods_run_in_their_order_with_what_they_build_on() -> None:
    assert chosen(["parts,lens", "lens"]) == ("lens", "parts")
    assert chosen(["faithfulness"]) == ("attribution", "faithfulness")
    assert chosen([]) == ()
    assert tuple(METHODS) == NAMES


def test_an_unknown_method_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no method 'atribution'.*Did you mean 'attribution'") as caught:
        chosen(["lens", "atribution"])
    assert "faithfulness" in str(caught.value.expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_is_there_with_its_settings(name: methods.MethodName) -> None:
    module = METHODS[name].load()
    assert callable(module.check if name == "faithfulness" else module.explain)
    assert name in ExplainSettings.model_fields


def test_patching_is_usual_where_there_is_another_answer_or_prompt() -> None:
    assert settings().wanted == ("attribution", "lens", "parts", "faithfulness")
    assert "patching" in settings(against="opens").wanted
    assert "patching" in settings(patching={"twin": "When the pressure rises the valve"}).wanted
    assert settings(methods=("lens",), against="opens").wanted == ("lens",)


def test_settings_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError, match="methods"):
        settings(methods=("astrology",))
    with pytest.raises(ValidationError, match="at"):
        settings(at=-1)


# ---------------------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_usual_methods_of_one_question(tiny_path: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    found = explained(tiny_path(name), tmp_path / "a")
    assert list(found) == KEYS
    assert found["not_run"] == {}
    assert set(found["methods"]) == {"attribution", "lens", "parts", "faithfulness"}
    assert found["model"] | {"digest": ""} == {
        "title": "tiny",
        "digest": "",
        "family": {"llama": "Llama", "t5": "T5"}[name],
        "kind": {"llama": "decoder", "t5": "encoder-decoder"}[name],
        "precision": "float32",
        "layers": 2,
    }
    words = found["question"]["words"]
    assert len(found["methods"]["attribution"]["words"]) == len(words)
    test = found["methods"]["faithfulness"]
    assert test["of"] == "integrated-gradients"
    assert set(test["agreement"]["methods"]) == {"integrated-gradients", "gradient-x-input", "occlusion"}
    assert test["sanity"]["draws"] == 3
    again = explained(tiny_path(name), tmp_path / "b")
    assert again == found
    assert json.dumps(again) == json.dumps(found)


def test_what_ran_is_told_with_its_time(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    result = run(subject(tiny_path("llama"), tmp_path), settings(methods=("lens", "parts")), Quiet())
    assert set(result.facts["seconds"]) == {"lens", "parts"}
    assert result.facts["answer"] == "closes"
    assert result.warnings == ()
    result.save(tmp_path)


def test_an_answer_that_was_cut_is_told(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    found = explained(tiny_path("llama"), tmp_path, methods=("lens",), answer=None)
    cut = "The model would have gone on" in " ".join(warning["en"] for warning in found["warnings"])
    assert cut == found["question"]["answer_cut"] == (len(found["question"]["answer_tokens"]) == 64)


@pytest.mark.parametrize(("held", "told"), [("Q4_1", 1), ("F16", 0), (None, 0)])
def test_weights_that_were_quantised_are_told(tmp_path: Path, held: str | None, told: int) -> None:
    folder = tiny_folder("llama", tmp_path)
    source = {"gguf": {"quantisation": held}} if held else {"licence": "mit"}
    files.write_json(folder / "limpide-source.json", source)
    warnings = explained(folder, tmp_path, methods=("lens",))["warnings"]
    assert len(warnings) == told
    assert all("Q4_1" in warning[language] for warning in warnings for language in ("en", "fr"))
    assert all("Les poids" in warning["fr"] for warning in warnings)


def test_a_conversation_can_be_explained(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "the rules"}, {"role": "user", "content": "Why?"}]
    found = explained(tiny_path("llama"), tmp_path, prompt=turns, methods=("lens",))
    assert {word["part"] for word in found["question"]["words"]} == {"system", "user", "frame"}


def test_the_adapter_is_put_on_the_model_and_its_training_is_looked_for(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    save_adapter(base, tmp_path / "adapter", 0.5)
    plain = explained(base, tmp_path / "plain", methods=("lens",))
    adapted = subject(base, tmp_path / "adapted", inputs={"adapter": tmp_path / "adapter"})
    run(adapted, settings(methods=("lens",)), Quiet())
    found = files.read_json(tmp_path / "adapted" / EXPLANATION)
    assert found["question"]["log_likelihood"] != plain["question"]["log_likelihood"]
    assert found["model"]["digest"] != plain["model"]["digest"]
    assert "influence.adapter" not in found["settings"]  # the adapter is the model, not an option
    assert explaining.of_adapter(settings(), tmp_path / "adapter").influence.adapter == tmp_path / "adapter"
    named = settings(influence={"adapter": tmp_path / "another"})
    assert explaining.of_adapter(named, tmp_path / "adapter").influence.adapter == tmp_path / "another"


def test_the_record_holds_what_asks_the_same_again(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    attribution = {"method": "gradient-x-input", "steps": 16}
    how: dict[str, Any] = {"methods": ("attribution", "lens"), "raw": True, "lens": {"top": 2}}
    asked = settings(**how, attribution=attribution, influence={"examples": Path("some/train.jsonl")})
    run(subject(tiny_path("llama"), tmp_path), asked, Quiet())
    found = files.read_json(tmp_path / EXPLANATION)
    assert found["settings"] == {  # in which a default that was asked for is not there
        "attribution.method": "gradient-x-input",
        "lens.top": 2,
        "influence.examples": "some/train.jsonl",
        "faithfulness.points": 2,
        "faithfulness.draws": 3,
    }
    assert found["question"]["raw"] is True
    one = subject(tiny_path("llama"), tmp_path)
    both = compare(one, one, asked, Quiet()).record
    assert both["settings"] == both["before"]["settings"] == found["settings"]


def test_a_method_that_cannot_loses_nothing_of_the_others(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: Any) -> Any:
        raise ModelError("This cannot be done.", remedy="do another thing")

    stand_in(monkeypatch, "attribution", unable)
    stand_in(monkeypatch, "parts", lambda *_: Found())
    stand_in(monkeypatch, "lens", lambda *_: Found())
    found = explained(tiny_path("llama"), tmp_path)
    assert set(found["methods"]) == {"lens", "parts"}
    assert found["not_run"]["attribution"] == "This cannot be done. To do: do another thing."
    assert "no explanation by words" in found["not_run"]["faithfulness"]
    named = explained(tiny_path("llama"), tmp_path, methods=("lens", "attribution"))
    assert set(named["methods"]) == {"lens"}
    assert set(named["not_run"]) == {"attribution"}
    (tmp_path / EXPLANATION).unlink()
    with pytest.raises(ModelError, match="This cannot be done"):
        explained(tiny_path("llama"), tmp_path, methods=("attribution",))
    assert not (tmp_path / EXPLANATION).exists()


def test_what_cannot_be_answered_is_known_before_anything_is_computed(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []

    def compute(*_: Any) -> Any:
        computed.append("lens")
        return Found()

    stand_in(monkeypatch, "lens", compute)
    told = Heard(computed)
    run(subject(tiny_path("llama"), tmp_path), settings(methods=("lens", "influence")), told)
    found = files.read_json(tmp_path / EXPLANATION)
    assert set(found["methods"]) == {"lens"}
    assert "Influence needs an adapted model" in found["not_run"]["influence"]
    assert "influence: not run" in told.first
    (tmp_path / EXPLANATION).unlink()
    with pytest.raises(ModelError, match="Influence needs an adapted model"):
        run(subject(tiny_path("llama"), tmp_path), settings(methods=("influence",)), Quiet())


def test_a_model_before_that_has_no_training_is_still_compared(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = iter((lambda: Found(), lambda: (_ for _ in ()).throw(ModelError("There is no training."))))
    stand_in(monkeypatch, "influence", lambda *_: next(sides)())
    one = subject(tiny_path("llama"), tmp_path)
    record = compare(one, one, settings(methods=("influence",)), Quiet()).record
    assert set(record["after"]["methods"]) == {"influence"}
    assert record["before"]["not_run"] == {"influence": "There is no training."}


# ------------------------------------------------------------------------------------------------------- long prompts


LONGER = " ".join([PROMPT] * 6)


def test_a_long_prompt_has_a_shorter_test_and_says_so(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[FaithfulnessSettings] = []
    rankings: list[set[str]] = []

    def check(model: Any, question: Any, ranked: Any, how: FaithfulnessSettings, *_: Any) -> Any:
        given.append(how)
        rankings.append(set(ranked))
        return Found()

    stand_in(monkeypatch, "faithfulness", check)
    stand_in(monkeypatch, "attribution", lambda model, question, *_: Found((1.0,) * len(question.words)))
    how: dict[str, Any] = {"methods": ("faithfulness",), "attribution": {}}
    for prompt, test in ((PROMPT, {}), (LONGER, {}), (LONGER, {"points": 7, "sanity": False})):
        found = explained(tiny_path("llama"), tmp_path, **how, prompt=prompt, faithfulness=test)
        assert len(found["question"]["tokens"]) > 60 or prompt == PROMPT
        assert len(found["warnings"]) == (prompt == LONGER)
        assert all("test is shorter" in w["en"] and "plus court" in w["fr"] for w in found["warnings"])
    assert [(one.points, one.draws) for one in given] == [(10, 5), (5, 3), (7, 3)]
    assert all(one.random_orders == 20 for one in given)
    assert "integrated-gradients" in rankings[0]
    assert rankings[1] == {"occlusion", "gradient-x-input"}


def test_what_will_take_long_is_told_first_with_what_to_leave_out(
    tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    question = ask(model, LONGER, answer="closes", against="opens")
    asked = settings(prompt=LONGER, answer="closes", against="opens", attribution={})
    told = Heard([])
    cost.tell(model, question, asked, told)
    assert told.said == []  # milliseconds
    monkeypatch.setattr(cost, "seconds_per_token", lambda *_: 0.01)
    cost.tell(model, question, asked, told)
    seconds = cost.computed(model, question, asked)
    longest = max(seconds, key=lambda name: seconds[name])
    assert told.said[0].startswith(f"This may take up to {cost.duration(sum(seconds.values()) / 100)}: {longest} ")
    assert told.said[1].startswith("To leave the longest out: --method attribution,lens")
    assert longest not in told.said[1]


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_longer_prompts_cost_more_until_the_fast_way_takes_over(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    end = " [MASK]" if name == "bert" else ""
    counts = [
        cost.computed(model, ask(model, prompt + end, answer="a"), settings(methods=NAMES, patching={"twin": "x"}))
        for prompt in (PROMPT, LONGER)
    ]
    assert all(counts[0][method] < counts[1][method] for method in counts[0])
    few = settings(methods=NAMES, patching={"twin": "x", "most": 1})
    fast = cost.computed(model, ask(model, LONGER + end, answer="a"), few)
    assert fast["patching"] < counts[1]["patching"]
    assert cost.seconds_per_token(model, ask(model, PROMPT + end, answer="a")) > 0
    assert cost.duration(200) == "3 min"


def test_a_fault_is_not_taken_for_a_method_that_cannot(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    stand_in(monkeypatch, "attribution", broken)
    with pytest.raises(ZeroDivisionError):
        explained(tiny_path("llama"), tmp_path)


def test_the_test_is_of_the_chosen_attribution_beside_the_others(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []
    given: dict[str, Any] = {}
    converges = True

    def attribute(model: Any, question: Any, how: Any, *_: Any) -> Any:
        asked.append((how.method, how.steps, how.most_steps))
        settled = None if how.method != "integrated-gradients" else converges
        return Found((float(len(asked)),) * len(question.words), settled)

    def check(model: Any, question: Any, rankings: Any, how: Any, progress: Any, seed: int, again: Any) -> Any:
        given.update({name: words[0] for name, words in rankings.items()}, again=again(model)[0], seed=seed)
        return Found()

    stand_in(monkeypatch, "attribution", attribute)
    stand_in(monkeypatch, "faithfulness", check)
    chosen_one = {"method": "occlusion", "steps": 5, "most_steps": 200}
    settings_ = settings(methods=("faithfulness",), attribution=chosen_one)
    run(subject(tiny_path("llama"), tmp_path, seed=7), settings_, Quiet())
    assert given == {"occlusion": 1.0, "gradient-x-input": 2.0, "integrated-gradients": 3.0, "again": 4.0, "seed": 7}
    assert asked[-2] == ("integrated-gradients", 5, 64)  # for a ranking alone
    given.clear()
    converges = False
    run(subject(tiny_path("llama"), tmp_path, seed=7), settings_, Quiet())
    assert set(given) == {"occlusion", "gradient-x-input", "again", "seed"}  # what does not converge ranks by noise


def test_occlusion_of_a_long_prompt_is_not_computed_only_to_be_agreed_with(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    stand_in(monkeypatch, "attribution", lambda model, question, *_: Found((0.0,) * len(question.words)))
    stand_in(monkeypatch, "faithfulness", lambda model, question, rankings, *_: given.extend(rankings) or Found())
    explained(tiny_path("llama"), tmp_path, prompt="water " * 50, methods=("faithfulness",))
    assert given == ["integrated-gradients", "gradient-x-input"]


def test_the_operation_is_in_the_catalogue() -> None:
    assert catalogue.find("understand.explain").run is run


# ---------------------------------------------------------------------------------------------------- two explanations


def test_a_model_beside_itself_has_not_changed(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    one = subject(tiny_path("llama"), tmp_path)
    how = settings(methods=("attribution", "lens", "parts"))
    found = compare(one, replace(one, label="after"), how, Quiet())
    record = json.loads(json.dumps(found.record))
    assert (record["version"], record["kind"]) == (1, "comparison")
    assert [record[side]["model"]["title"] for side in ("before", "after")] == ["tiny", "after"]
    same = record["changes"]
    assert all(row["before"] == row["after"] for row in (*same["words"], *same["parts"]))
    for name in ("log_likelihood", "log_odds", "first_lead", "verdict"):
        assert same[name]["before"] == same[name]["after"], name
    assert sum(abs(row["after"]) for row in same["words"]) <= 1 + 1e-6
    assert {row["kind"] for row in same["parts"]} <= {"head", "mlp"}


def test_both_are_asked_about_the_answer_of_the_second(tmp_path: Path) -> None:
    folders = [tiny_folder("llama", tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    first, second = (subject(folder, tmp_path / "out", label=folder.parent.name) for folder in folders)
    record = compare(first, second, settings(answer=None, methods=("parts", "lens")), Quiet()).record
    before, after = record["before"]["question"], record["after"]["question"]
    assert after["answer_from"] == "model"
    assert before["answer_from"] == "given"
    assert before["answer"] == after["answer"]
    assert before["decision"]["at"] == after["decision"]["at"]
    assert before["decision"]["rival"] == after["decision"]["rival"]
    alone = explained(folders[1], tmp_path / "alone", answer=None, methods=("lens",))
    assert alone["question"]["answer"] == after["answer"]
    moved = [abs(row["after"] - row["before"]) for row in record["changes"]["parts"]]
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > 0
    heads = [record[side]["methods"]["parts"]["heads"] for side in ("before", "after")]
    row = next(row for row in record["changes"]["parts"] if row["kind"] == "head")
    assert row["before"] == heads[0][row["layer"]][row["index"]]
    assert row["after"] == heads[1][row["layer"]][row["index"]]


def side(words: list[tuple[str, str, float]], **decision: str) -> dict[str, Any]:
    """An explanation as short as `changes` takes it."""
    return {
        "question": {
            "words": [{"text": text, "part": part} for text, part, _ in words],
            "log_likelihood": -1.0,
            "log_odds": None,
            "decision": {"token": "a", "rival": "b", **decision},
        },
        "methods": {
            "attribution": {"words": [value for *_, value in words]},
            "parts": {"heads": [[1.0, 2.0]], "mlps": [0.5]},
        },
    }


def test_shares_of_words_are_compared_with_their_signs_the_largest_change_first() -> None:
    before = side([("<s>", "frame", 2.0), ("she", "user", 1.0), ("left", "user", -1.0)])
    after = side([("<s>", "frame", 0.0), ("she", "user", 1.0), ("left", "user", -3.0)])
    assert changes(before, after)["words"] == [
        {"text": "left", "before": -0.25, "after": -0.75},
        {"text": "she", "before": 0.25, "after": 0.25},
    ]


def test_what_has_no_counterpart_is_not_compared() -> None:
    one = side([("she", "user", 1.0)])
    assert changes(one, side([("she", "user", 1.0), ("left", "user", 1.0)]))["words"] is None
    assert changes(one, side([("she", "user", 1.0)], rival="c"))["parts"] is None
    assert changes(one, one | {"methods": {}})["parts"] is None
    larger = side([("she", "user", 1.0)])
    larger["methods"]["parts"]["mlps"].append(1.0)
    assert changes(one, larger)["parts"] is None
    assert changes(one, one)["verdict"] == {"before": None, "after": None}
