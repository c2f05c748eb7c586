"""A whole recipe on texts and labels: from a tiny BERT and a table to a signed classifier that any tool opens."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from labelled import LABELS, WORDS
from limpide.core.errors import ModelError
from limpide.core.measure import Measure
from limpide.core.progress import Quiet
from limpide.document.card import card
from limpide.document.report import report
from limpide.models.sources import resolve
from limpide.recipe.finish import Finished, finish
from limpide.recipe.load import load_recipe
from limpide.recipe.plan import check_ready, make_plan
from limpide.recipe.run import Workspace, run_steps
from limpide.release.keys import new_keys
from tiny import tiny_folder

RECIPE = """\
name: sorter
version: 1.0.0
purpose: {intended: Sort messages.}
base: BASE
data: {examples: rows.csv}
audit:
  suites: [domain, robustness]
  languages: [en]
  robustness: {questions: 2, examples: 8, perturbations: [typos, lowercase]}
adapt: {rank: 4, epochs: 8, learning_rate: 0.01, validation: 0.1, class_weights: balanced}
understand: {}
optimise: {formats: [safetensors]}
gates:
  - domain.gain is above 0
release: {sign_with: keys/release.pem, languages: [en, fr]}
"""


@dataclass(frozen=True)
class Made:
    finished: Finished
    text: str

    def measure(self, label: str, subject: str = "result") -> Measure:
        return next(m for m in self.finished.evidence.measures if (m.label, m.subject) == (label, subject))


def project(folder: Path, recipe: str) -> Path:
    """A folder with the recipe, a table of texts and labels, and a key. Water is the commonest."""
    base = tiny_folder("bert", folder / "base")
    lines = ["text,label"]
    for k in range(120):
        label = LABELS[k % 3] if k % 7 else "water"
        lines.append(f"The {WORDS[label][(k // 3) % 4]} is number {k * 37 % 1000}.,{label}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    new_keys(folder / "keys" / "release.pem")
    path = folder / "recipe.yaml"
    path.write_text(recipe.replace("BASE", str(base)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    path = project(tmp_path_factory.mktemp("sorter"), RECIPE)
    recipe = load_recipe(path)
    plan = make_plan(recipe, path, resolve(recipe.base))
    check_ready(plan)
    workspace = Workspace(path.parent, "sorter")
    run_steps(plan, workspace, Quiet())
    finished = finish(plan, workspace)
    return Made(finished, (finished.release / "README.md").read_text(encoding="utf-8"))


def test_the_release_is_a_classifier_that_plain_transformers_open(made: Made) -> None:
    from transformers import pipeline

    release = made.finished.release
    (found,) = pipeline("text-classification", model=str(release))(["The pump is number 900."], top_k=None)
    assert {row["label"] for row in found} == set(LABELS)
    assert found[0]["label"] == "water"
    assert (release / "adapter" / "labels.json").is_file()
    assert (release / "model.sig").is_file()
    assert not (release / "gguf").exists()


def test_the_base_is_not_measured_and_the_commonest_class_stands_beside(made: Made) -> None:
    assert made.measure("domain.accuracy", "base").state == "not run"
    majority = made.measure("domain.majority[slice=held_out]")
    assert majority.value == made.measure("domain.majority[slice=held_out]", "base").value
    accuracy, gain = (made.measure(f"domain.{name}[slice=held_out]").value for name in ("accuracy", "gain"))
    assert accuracy is not None
    assert majority.value is not None
    assert gain == pytest.approx(accuracy - majority.value)
    assert gain > 0.2
    for name in ("balanced_accuracy", "macro_f1", "ece", "brier"):
        assert made.measure(f"domain.{name}[slice=held_out]").n == 24
    assert {m.group["class"] for m in made.finished.evidence.measures if m.name == "domain.recall" and m.group} == set(
        LABELS
    )


def test_suites_of_words_say_that_they_do_not_apply(made: Made) -> None:
    why = "needs words from the model, and a classifier gives only the probability of each class"
    assert made.measure("robustness.flipped").note == why
    own = made.measure("robustness.own_flipped")  # whether the organisation's own texts keep their class
    assert own.state == "measured"
    assert own.n > 6
    assert "il faut des mots du modèle" in report(made.finished.evidence, "fr")


def test_card_and_reports_say_what_it_is(made: Made) -> None:
    evidence = made.finished.evidence
    assert evidence.verdict == "ship"
    assert set(evidence.training.classes) == set(LABELS)
    assert "sorts texts into 3 classes (people; time; water) and writes nothing" in made.text
    assert "pipeline_tag: text-classification" in made.text
    assert 'pipeline("text-classification", model=".")' in made.text
    assert "limpide serve" not in made.text
    assert "Always answering the commonest class" in made.text
    assert "Macro-F1 on the stopping examples" in made.text
    french = card(evidence, "fr")
    assert "range des textes dans 3 classes" in french
    assert "Répondre toujours la classe la plus fréquente" in french
    french_page = report(evidence, "fr")
    assert "nats par texte" in french_page
    assert "Quelles classes il prend l’une pour l’autre" in french_page


def test_nothing_is_explained_and_the_run_says_why(made: Made) -> None:
    assert made.finished.evidence.explanations == ()


def test_a_head_and_a_gguf_file_are_refused_before_the_work(tmp_path: Path) -> None:
    text = RECIPE.replace("{rank: 4,", "{head: true, rank: 4,").replace("[safetensors]", "[safetensors, 'gguf:f16']")
    path = project(tmp_path, text)
    llama = tiny_folder("llama", tmp_path / "llama")
    with pytest.raises(ModelError, match="GGUF file holds no classification head"):
        check_ready(make_plan(load_recipe(path), path, resolve(str(llama))))
