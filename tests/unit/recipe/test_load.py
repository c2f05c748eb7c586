import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.core.errors import MissingError, RecipeError
from limpide.recipe.load import load_recipe
from limpide.recipe.schema import DEFAULT_SUITES

GOOD = """\
name: press
version: 1.0.0
purpose:
  intended: Answer questions.
base: smollm2-135m-instruct
data:
  examples: examples.jsonl
"""
EXAMPLE = Path(__file__).parents[3] / "examples" / "press-operator" / "recipe.yaml"


def load(tmp_path: Path, text: str | bytes) -> Any:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(path)


def faults(tmp_path: Path, text: str | bytes) -> list[tuple[int | None, str]]:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    assert "recipe.yaml" in caught.value.what
    assert {fault.file for fault in caught.value.faults} <= {"recipe.yaml"}
    return [(fault.line, fault.what) for fault in caught.value.faults]


def test_the_example_loads() -> None:
    recipe = load_recipe(EXAMPLE)
    assert recipe.name == "press-operator-assistant"
    assert recipe.adapt.rank == 32
    assert recipe.release.languages == ("en", "fr")


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD)
    assert recipe.adapt is None
    assert recipe.gates == ()
    assert recipe.seed == 0
    assert recipe.audit.suites == DEFAULT_SUITES
    assert "charter" not in recipe.audit.suites
    assert recipe.data.charter is None
    assert recipe.data.examples == (Path("examples.jsonl"),)


def test_a_charter_is_measured_where_it_is_given_and_the_suites_are_not_chosen(tmp_path: Path) -> None:
    with_charter = GOOD + "  charter: charter.yaml\n"
    recipe = load(tmp_path, with_charter)
    assert recipe.data.charter == Path("charter.yaml")
    assert set(recipe.audit.suites) == {*DEFAULT_SUITES, "charter"}
    some = load(tmp_path, with_charter + "audit: {languages: [fr]}\n")
    assert "charter" in some.audit.suites
    assert some.audit.languages == ("fr",)
    chosen = load(tmp_path, with_charter + "audit: {suites: [domain]}\n")
    assert chosen.audit.suites == ("domain",)


def test_a_suite_without_its_file_is_told_before_the_run(tmp_path: Path) -> None:
    text = GOOD + "audit:\n  suites: [domain, charter]\n  charter: {charter: mine.yaml}\n"
    assert faults(tmp_path, text) == [
        (9, "audit.suites: 'charter' needs data.charter, which is not given"),
        (10, "audit.charter.charter: in a recipe, give this file as data.charter"),
    ]


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
nmae: press
version: one
purpose:
  intended: Answer questions.
  excludd: []
data:
  examples: examples.jsonl
  held_out: 2
audit:
  suites: [domain, bais]
  bias:
    axs: [gender]
adapt:
  epochs: many
gates:
  - domain.accuracy improves
  - domain.accuracy is nice
release:
  aproval: required
"""
    found = faults(tmp_path, text)
    assert [line for line, _ in found] == sorted(line for line, _ in found if line)
    expected = {
        (1, "unknown key 'nmae'. Did you mean 'name'?"),
        (1, "missing key 'name'"),
        (1, "missing key 'base'"),
        (5, "unknown key 'purpose.excludd'. Did you mean 'excluded'?"),
        (12, "unknown key 'audit.bias.axs'. Did you mean 'axes'?"),
        (19, "unknown key 'release.aproval'. Did you mean 'approval'?"),
    }
    assert expected <= set(found)
    told = dict(found)
    assert told[2].startswith("version: ")
    assert "'one'" in told[2]
    assert told[8].startswith("data.held_out: ")
    assert told[10].startswith("audit.suites.1: ")
    assert told[10].endswith("received 'bais'. Did you mean 'bias'?")
    assert told[14].startswith("adapt.epochs: ")
    assert told[17].startswith("'domain.accuracy is nice' is no gate. Examples: ")
    assert len(found) == len(expected) + 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bse: x", "unknown key 'bse'. Did you mean 'base'?"),
        ("Name: x", "unknown key 'Name'."),
        ("'a[0]': x", "unknown key 'a[0]'."),
        ("'(a)': x", "unknown key '(a)'."),
        ("data-x: 1", "unknown key 'data-x'."),
        ("1: x", "unknown key '1'."),
        ("null: x", "unknown key 'None'."),
        ("zzzz: x", "unknown key 'zzzz'."),
        ("optimise: {format: [safetensors]}", "unknown key 'optimise.format'. Did you mean 'formats'?"),
        ("parity: {Conversations: 3}", "unknown key 'parity.Conversations'. Did you mean 'conversations'?"),
        ("adapt: {learning-rate: 1}", "unknown key 'adapt.learning-rate'. Did you mean 'learning_rate'?"),
    ],
)
def test_unknown_keys(tmp_path: Path, line: str, said: str) -> None:
    ((at, what),) = faults(tmp_path, GOOD + line + "\n")
    assert what.startswith(said)
    assert at in (8, 1)  # 1 for keys that are no text
    assert at == 8 or line[:1] in "1n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gates: domain.accuracy improves", "gates: "),
        ("gates: [1]", "gates.0: "),
        ("gates: {a: b}", "gates: "),
        ("audit: ", "audit: "),
        ("audit: {suites: domain}", "audit.suites: "),
        ("audit: {languages: []}", "audit.languages: "),
        ("audit: {languages: [de]}", "audit.languages.0: "),
        ("seed: -1", "seed: "),
        ("seed: 1.5", "seed: "),
        ("adapt: {learning_rate: .inf}", "adapt.learning_rate: "),
        ("parity: {adapter_effect: .nan}", "parity.adapter_effect: "),
        ("parity: {adapter_effect: .inf}", "parity.adapter_effect: "),
        ("release: {approval: yes}", "release.approval: "),
        ("release: []", "release: Input should be a section"),
        ("optimise: {formats: [gguf]}", "optimise.formats.0: "),
    ],
)
def test_wrong_values(tmp_path: Path, line: str, said: str) -> None:
    ((at, what),) = faults(tmp_path, GOOD + line + "\n")
    assert at == 8
    assert what.startswith(said)
    assert "received" in what
    assert "pydantic" not in what


@pytest.mark.parametrize("policy", ["{alow: why}", "{allow: ''}", "{allow: why, more: 1}", "yes please", "[refuse]"])
def test_personal_data_policies_that_are_none(tmp_path: Path, policy: str) -> None:
    found = faults(tmp_path, GOOD + f"  personal_data: {policy}\n")
    assert {line for line, _ in found} == {8}
    assert all("data.personal_data" in what for _, what in found)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("press", "Press!"),
        ("press", "../../etc"),
        ("press", "123"),
        ("press", "a" * 81),
        ("1.0.0", "1.0"),
        ("1.0.0", "latest"),
        ("1.0.0", "1.0.0/.."),
        ("Answer questions.", "''"),
        ("smollm2-135m-instruct", "''"),
        ("smollm2-135m-instruct", ""),
        ("examples.jsonl", "{}"),
    ],
)
def test_names_and_versions_make_safe_folders(tmp_path: Path, before: str, after: str) -> None:
    line = next(i for i, text in enumerate(GOOD.splitlines(), start=1) if before in text)
    found = faults(tmp_path, GOOD.replace(before, after))
    assert {at for at, _ in found} == {line}


def test_a_recipe_without_anything_to_learn_from_says_so(tmp_path: Path) -> None:
    """Documents alone would do, so that the fault is of the section and not of its examples."""
    ((line, said),) = faults(tmp_path, GOOD.replace("examples.jsonl", "[]"))
    assert GOOD.splitlines()[line - 1] == "data:"
    assert "needs examples, documents, or both" in said


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("retenton.loss improves", "the suite 'retenton' is not measured. Did you mean 'retention'?"),
        ("bias.gender.gap does not worsen", "the suite 'bias' is not measured. audit.suites has: domain, retention"),
    ],
)
def test_a_gate_that_could_never_pass_is_told_before_the_run(tmp_path: Path, gate: str, said: str) -> None:
    text = GOOD + f"audit: {{suites: [domain, retention]}}\ngates:\n  - domain.accuracy improves\n  - {gate}\n"
    ((line, what),) = faults(tmp_path, text)
    assert line == 11
    assert said in what


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("domain.acuracy improves", "the suite 'domain' does not measure 'acuracy'. Did you mean 'domain.accuracy'?"),
        (
            "bias.gendr.gap does not worsen",
            "no such part of bias.gap. Did you mean 'bias.gender.gap'? There is: bias.g",
        ),
        ("bias.gap improves", "no such part of bias.gap."),
        ("bias.age.gap improves", "There is: bias.gender.gap, bias.origin.gap, bias.gender.en.gap, bias.origin.en.gap"),
        ("bias.gender.fr.gap improves", "Did you mean 'bias.gender.gap'?"),  # a language that is not asked
        ("domain.unseen.fr.accuracy improves", "There is: domain.accuracy, domain.held_out.….accuracy, domain.unseen."),
        ("domain.borrowed improves", "Did you mean 'domain.unseen.borrowed'?"),
        ("retention.bias improves", "It measures: loss, perplexity, truth_accuracy"),
        ("domain.accuracy is above 80", "domain.accuracy lies between 0 and 1. Did you mean 80% or 0.8?"),
        ("memorisation.min_k_auc is below 60", "Did you mean 60% or 0.6?"),
        ("domain.accuracy is above 100%", "lies between 0 and 1, so this never passes"),
        ("memorisation.verbatim is below 0", "lies between 0 and 1, so this never passes"),
        ("domain.accuracy is below 150%", "so this always passes"),
        ("domain.accuracy is above -1%", "so this always passes"),
        ("retention.loss is below 300%", "retention.loss is in nats per token, not a share; write 300 without %"),
        ("domain.accuracy worsens by less than 2", "Write 2% for a part of its value before, or 0.02 for 2 points"),
        (
            "robustness.mended improves",
            "of robustness.mended, neither direction is better; use 'is above' or 'is below'",
        ),
    ],
)
def test_a_gate_on_what_no_suite_measures_is_told_before_the_run(tmp_path: Path, gate: str, said: str) -> None:
    suites = "audit: {suites: [domain, bias, retention, memorisation, robustness], languages: [en], BIAS}\n"
    text = GOOD + suites.replace("BIAS", "bias: {axes: [gender, origin]}") + f"gates:\n  - {gate}\n"
    ((line, what),) = faults(tmp_path, text)
    assert line == 10
    assert what.startswith(f"'{gate}': ")
    assert said in what


@pytest.mark.parametrize(
    "gate",
    [
        "bias.gender.gap does not worsen",
        "bias.en.gender.gap improves",
        "bias.gender.gap is below 0.5",
        "domain.held_out.accuracy improves",
        "domain.held_out.de.accuracy improves",  # the examples' own language, which the recipe does not tell
        "domain.unseen.accuracy is below 20%",
        "domain.accuracy worsens by less than 0.02",
        "domain.accuracy worsens by less than 200%",
        "domain.log_likelihood is above -2.5",
        "retention.loss worsens by less than 2",
        "retention.perplexity is below 30",
        "robustness.mended is above 1%",
        "robustness.typos.flipped does not worsen",
        "memorisation.min_k_auc is below 60%",
        "memorisation.exposure is below 5",
    ],
)
def test_a_gate_on_what_is_measured_loads(tmp_path: Path, gate: str) -> None:
    text = GOOD + "audit: {suites: [domain, bias, retention, memorisation, robustness]}\n" + f"gates: [{gate}]\n"
    assert load(tmp_path, text).gates == (gate,)


def test_gates_follow_the_settings_of_their_suite(tmp_path: Path) -> None:
    """With a public set the templates are not measured."""
    text = GOOD + "audit: {bias: {dialect: winobias, file: x.txt}}\ngates: [bias.gender.gap improves]\n"
    ((_, what),) = faults(tmp_path, text)
    assert "It measures: winobias_gap, winobias_accuracy_pro, winobias_accuracy_anti" in what
    assert load(tmp_path, text.replace("bias.gender.gap", "bias.winobias_gap"))


def test_gates_are_checked_beside_other_faults(tmp_path: Path) -> None:
    """A suite whose own settings are wrong is not asked what it measures: one fault is told, not two."""
    gates = "gates: [domain.acuracy improves, bias.gendr.gap improves, retenton.loss improves]\n"
    found = faults(tmp_path, GOOD + "audit: {bias: {axes: [gendr]}}\n" + gates)
    assert [what[:30] for _, what in found] == [
        "audit.bias.axes.0: Input shoul",
        "'domain.acuracy improves': the",
        "'retenton.loss improves': the ",
    ]
    assert found[2][1].endswith("is not measured. Did you mean 'retention'?")
    for broken in ("audit: [domain]\n", "audit: {domain: 3}\n", "audit:\n"):
        assert any("acuracy" in what for _, what in faults(tmp_path, GOOD + broken + gates)) == (": 3" not in broken)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: [press\nversion: 1\n", 2),
        ("name: press\n\tversion: 1\n", 2),
        ("name: press\nversion: 1: 2\n", 2),
        ("name: a\nname: b\n", 2),
        ("name: a\npurpose:\n  intended: b\n  intended: c\n", 4),
        ("a: *b\n", 1),
        ("--- \na: 1\n---\nb: 2\n", 3),
        ("a: 'x\n", 2),
    ],
)
def test_faults_of_yaml_are_told_with_their_line(tmp_path: Path, text: str, line: int) -> None:
    ((at, what),) = faults(tmp_path, text)
    assert at == line
    assert "\n" not in what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"just words\n", "holds no keys"),
        (b"- a\n- b\n", "holds no keys"),
        (b"a: \xe9t\xe9\n", "is not UTF-8"),
        ("name: x\n".encode("utf-16"), "is not UTF-8"),
        (b"a: \x00\n", "is not valid YAML"),
        (b"gates: &a [*a]\n", "fault"),
        (b"a: " + b"[" * 1500, "nested without end"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load(tmp_path, content)


def test_aliases_that_unfold_without_measure_are_refused(tmp_path: Path) -> None:
    """Nine lines that stand for a thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    with pytest.raises(RecipeError, match="unfolds to more than 200,000 values"):
        load(tmp_path, "\n".join(lines))


def test_wrong_encoding_tells_how_to_convert(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, b"name: caf\xe9\n")
    assert caught.value.received == "byte 0xe9 at offset 9"
    assert "iconv" in str(caught.value.remedy)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()).name == "press"


def test_a_missing_recipe_suggests_the_one_beside(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(GOOD)
    with pytest.raises(MissingError, match=r"Did you mean 'recipe\.yaml'\?") as caught:
        load_recipe(tmp_path / "recipe.yml")
    assert "limpide init" in str(caught.value.remedy)
    with pytest.raises(MissingError):
        load_recipe(tmp_path / "nowhere" / "recipe.yaml")
    with pytest.raises(MissingError):
        load_recipe(tmp_path)


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab:[]{}&*!|>'\"#-\n é", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abN[", max_size=3), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = st.sampled_from(("name", "purpose", "data", "audit", "adapt", "gates", "release", "parity", "x"))


@given(st.dictionaries(SECTIONS, YAML))
def test_any_value_anywhere_is_told_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    import json

    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(re.sub(r"\b(NaN|-?Infinity)\b", ".nan", json.dumps(document)))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert "missing key 'base'" in str(caught.value) or not caught.value.faults or "not valid YAML" in caught.value.what


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_told_and_never_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "text.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(RecipeError):
        load_recipe(path)
