"""Whatever an audit can measure has words in every language of the documents: its name, its limits, its reasons."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import limpide.audit
from limpide.audit import (
    bias,
    bias_classes,
    charter,
    domain,
    domain_labels,
    leaks,
    membership,
    memorisation,
    refusal,
    retention,
    robustness,
    semantic,
    truth_answers,
    truth_options,
)
from limpide.audit.dialects import bbq, crows, pronouns, registry, stereoset, winobias, written
from limpide.audit.items import Spec
from limpide.core import catalogue
from limpide.data.charter import Charter, Style
from limpide.data.perturbations import PERTURBATIONS
from limpide.document import leads
from limpide.document.language import WORDS, language
from limpide.document.notes import in_words
from limpide.document.opened import RULES

AUDIT = Path(inspect.getfile(limpide.audit)).parent
FR, EN = language("fr"), language("en")
DIGEST = "0" * 64
CHARTER = Charter.model_validate(
    {
        "glossary": [{"term": "press", "instead_of": ["machine"]}],
        "forbidden": [{"term": "guaranteed"}],
        "required": [{"when": ["danger"], "say": "Call 112."}],
        "style": {"max_words": 80},
    }
)
GREEDY = {"decoding": "greedy", "max_new_tokens": 48}
FAMILIES = {
    "crows": crows,
    "bbq": bbq,
    "stereoset": stereoset,
    "winobias": winobias,
    "pronouns": pronouns,
    "written": written,
}


def of_dialects() -> Iterator[Spec]:
    for dialect in registry.DIALECTS:
        made: Callable[..., tuple[Spec, ...]] = FAMILIES[dialect.family].specs
        flags = [(False,), (True,)] if len(inspect.signature(made).parameters) == 2 else [()]
        for flag in flags:
            yield from made(dialect, *flag)


def of_memorisation() -> Iterator[Spec]:
    settings = memorisation.MemorisationSettings()
    yield from memorisation._written_specs(settings, GREEDY, frozenset())
    yield memorisation._extracted_spec(settings)
    yield from memorisation.canary_specs(255)
    for splits in (("held_out",), ("held_out", "unseen")):
        yield from membership.membership_specs(100, 5, splits)
    yield leaks.personal_spec(frozenset({("email", "a@example.org")}))


def of_robustness() -> Iterator[Spec]:
    settings = robustness.RobustnessSettings()
    yield from robustness.question_specs(settings, "likelihood")
    yield from robustness.example_specs(settings, GREEDY)


def of_truth() -> Iterator[Spec]:
    for how in ("likelihood", "letter"):
        yield truth_options.accuracy_spec(how)
    yield truth_options.unreadable_spec()
    yield from truth_options.likelihood_specs()
    yield from truth_answers.short_specs({})
    yield from truth_answers.unanswerable_specs({})
    yield from semantic.specs("likelihood", {})


# Files of the audits that make measures' specs, and those specs.
MADE: dict[str, Callable[[], Iterator[Spec]]] = {
    "bias.py": lambda: iter(bias.specs(bias.BiasSettings(), DIGEST)),
    "bias_classes.py": lambda: iter(bias_classes.specs()),
    "charter.py": lambda: iter(charter.specs(CHARTER, charter.CharterSettings())),
    "dialects/found.py": of_dialects,
    "domain.py": lambda: iter(domain.specs(GREEDY)),
    "domain_labels.py": lambda: iter(domain_labels.specs(("no", "yes"), "no", "classes")),
    "leaks.py membership.py memorisation.py": of_memorisation,
    "refusal.py": lambda: iter(refusal.specs(refusal.RefusalSettings(), DIGEST)),
    "retention.py": lambda: retention_specs(),
    "robustness.py": of_robustness,
    "semantic.py truth_answers.py truth_options.py": of_truth,
}


def retention_specs() -> Iterator[Spec]:
    for name, made in inspect.getmembers(retention, inspect.isfunction):
        if name.endswith(("specs", "_spec")):
            given = [retention.RetentionSettings(), DIGEST]
            found = made(*given[: len(inspect.signature(made).parameters)])
            yield from (found,) if isinstance(found, Spec) else found


def every_spec() -> list[Spec]:
    return [spec for made in MADE.values() for spec in made()]


def test_no_file_that_makes_specs_is_forgotten() -> None:
    making = set()
    for path in AUDIT.rglob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        if any(isinstance(call.func, ast.Name) and call.func.id == "Spec" for call in calls):
            making.add(path.relative_to(AUDIT).as_posix())
    assert making == {name for names in MADE for name in names.split()}


@pytest.mark.parametrize("code", ["en", "fr"])
def test_every_measure_has_a_name(code: str) -> None:
    names = dict.fromkeys(spec.name for spec in every_spec())
    assert len(names) > 60
    assert [name for name in names if not language(code).has(f"measure.{name}")] == []


def test_every_limit_of_a_measure_is_translated() -> None:
    foreign = {spec.name: spec.note for spec in every_spec() if spec.note and in_words(spec.note, FR)[1] is not None}
    assert foreign == {}, "words/en.json and words/fr.json, under 'note.…', hold the sentences of notes"


def test_every_reason_is_translated() -> None:
    """Reasons are constants of the audits' modules: sentences that begin with 'needs'."""
    found = set()
    for path in AUDIT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = " ".join(node.value.split())
                if re.match(r"(?i)needs\b.{20}", text) and "\n" not in node.value and "{" not in text:
                    found.add(text)
    assert len(found) > 8
    reasons = {text for text in found if not text.endswith(":") and not text.endswith("template: ")}
    assert {text for text in reasons if in_words(text, FR)[1] is not None} == set()


def test_every_suite_has_its_words_its_headlines_and_its_items() -> None:
    for suite in catalogue.suites():
        assert EN.has(f"suite.{suite}"), suite
        assert EN.has(f"table.{suite}"), suite
        assert suite in RULES, suite
        for name in leads.HEADLINES[suite]:
            assert EN.has(f"measure.{name}"), name
    for rule in (rule for rules in RULES.values() for rule in rules):
        assert EN.has(f"opened.{rule.why}"), rule.why
        assert EN.has(f"opened.{rule.why}.rule"), rule.why


def test_slices_have_words() -> None:
    assert [name for name in PERTURBATIONS if not EN.has(f"perturbation.{name}")] == []
    assert [name for name in bias.AXES if not EN.has(f"axis.{name}")] == []
    assert [name for name in Style.model_fields if not EN.has(f"rule.{name}")] == []


def test_words_are_sorted_and_none_is_left_from_another_time() -> None:
    for path in WORDS.glob("*.json"):
        keys = re.findall(r'^  "([^"]+)": ', path.read_text(encoding="utf-8"), re.M)
        assert keys == sorted(keys)
    known = {spec.name for spec in every_spec()} | {"domain.normalised"}
    assert [k for k in EN.words if k.startswith("measure.") and k.removeprefix("measure.") not in known] == []
