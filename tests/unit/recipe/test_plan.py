import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from limpide.core import catalogue, digests
from limpide.core.errors import MissingError, ModelError, UsageError
from limpide.core.operation import Operation
from limpide.models.sources import Source
from limpide.recipe import plan as planning
from limpide.recipe.plan import Plan, check_ready, make_plan
from limpide.release.keys import new_keys
from stand_ins import Bench, edit, plan_of

BASE = {"audit-base-domain", "audit-base-retention"}
RESULT = {"audit-result-domain", "audit-result-retention", "audit-served"}
AFTER_TRAINING = {"adapt", "export", "parity", "compare", *RESULT}
ALL = {"data", *BASE, *AFTER_TRAINING}


def keys(plan: Plan) -> dict[str, str]:
    return {step.name: step.key for step in plan.steps}


def changed(before: Plan, after: Plan) -> set[str]:
    old, new = keys(before), keys(after)
    assert set(old) == set(new)
    return {name for name in old if old[name] != new[name]}


def test_the_same_recipe_gives_the_same_plan(bench: Bench, recipe: Path, source: Source) -> None:
    one, two = plan_of(recipe, source), plan_of(recipe, source)
    assert keys(one) == keys(two)
    assert one.key == two.key
    assert set(keys(one)) == ALL
    assert len({step.folder for step in one.steps}) == len(ALL)
    assert bench.ran == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("epochs: 2", "epochs: 3", AFTER_TRAINING),
        ("epochs: 2", "epochs: 10", AFTER_TRAINING),  # a default, written out
        ("languages: [en]", "languages: [fr]", {"audit-base-retention", "audit-result-retention", "compare"}),
        ("adapt:", "parity: {conversations: 3}\nadapt:", {"parity"}),
        ("adapt:", "optimise: {formats: ['gguf:f16']}\nadapt:", AFTER_TRAINING - {"adapt"}),
        ("adapt:", "seed: 1\nadapt:", ALL),
        ("examples.jsonl}", "examples.jsonl, held_out: 0.5}", ALL),
        ("version: 1.0.0", "version: 1.0.1", set()),
        ("name: press", "name: other", set()),
        ("Answer questions.", "Answer them.", set()),
        ("less than 5%", "less than 6%", set()),
        ("adapt:", "# a comment\nadapt:", set()),
    ],
)
def test_keys_change_when_and_only_when_an_outcome_could(
    bench: Bench, recipe: Path, source: Source, before: str, after: str, expected: set[str]
) -> None:
    old = plan_of(recipe, source)
    edit(recipe, before, after)
    new = plan_of(recipe, source)
    assert changed(old, new) == expected
    assert (old.key == new.key) == (after == "# a comment\nadapt:")


def test_data_bytes_count(bench: Bench, recipe: Path, source: Source) -> None:
    old = plan_of(recipe, source)
    edit(recipe.parent / "examples.jsonl", "Answer 1.", "Answer 2.")
    assert changed(old, plan_of(recipe, source)) == ALL


def test_a_charter_counts_by_its_bytes(bench: Bench, recipe: Path, source: Source) -> None:
    bare = plan_of(recipe, source)
    charter = recipe.parent / "charter.yaml"
    charter.write_text("style: {no_emoji: true}\n")
    edit(recipe, "examples.jsonl}", "examples.jsonl, charter: charter.yaml}")
    old = plan_of(recipe, source)
    assert changed(bare, old) == ALL
    assert list(old.data_files) == [str(recipe.parent / "examples.jsonl"), str(charter)]
    edit(charter, "no_emoji", "no_lists")
    assert changed(old, plan_of(recipe, source)) == ALL


def test_the_same_file_in_another_folder_keeps_every_key(
    bench: Bench, recipe: Path, source: Source, tmp_path: Path
) -> None:
    old = plan_of(recipe, source)
    (recipe.parent / "sub").mkdir()
    shutil.move(recipe.parent / "examples.jsonl", recipe.parent / "sub" / "examples.jsonl")
    edit(recipe, "examples.jsonl", "sub/examples.jsonl")
    assert changed(old, plan_of(recipe, source)) == set()
    shutil.move(recipe.parent, tmp_path / "moved")
    assert changed(old, plan_of(tmp_path / "moved" / "recipe.yaml", source)) == set()


def test_a_new_name_counts_because_evidence_tells_it_and_its_ending_decides_how_it_is_read(
    bench: Bench, recipe: Path, source: Source
) -> None:
    old = plan_of(recipe, source)
    shutil.move(recipe.parent / "examples.jsonl", recipe.parent / "rows.json")
    edit(recipe, "examples.jsonl", "rows.json")
    assert changed(old, plan_of(recipe, source)) == ALL


def test_the_order_of_files_counts(bench: Bench, recipe: Path, source: Source) -> None:
    shutil.copy(recipe.parent / "examples.jsonl", recipe.parent / "more.jsonl")
    edit(recipe.parent / "more.jsonl", "Answer", "Reply")
    edit(recipe, "examples.jsonl", "[examples.jsonl, more.jsonl]")
    old = plan_of(recipe, source)
    edit(recipe, "[examples.jsonl, more.jsonl]", "[more.jsonl, examples.jsonl]")
    assert changed(old, plan_of(recipe, source)) == ALL


def test_the_model_counts_by_its_digest_alone(bench: Bench, recipe: Path, source: Source) -> None:
    old = plan_of(recipe, source)
    elsewhere = replace(source, ref="other", folder=Path("/elsewhere"), kind="hub")
    assert changed(old, plan_of(recipe, elsewhere)) == set()
    assert changed(old, plan_of(recipe, replace(source, digest="0" * 64))) == ALL - {"data"}


@pytest.mark.parametrize("name", ["torch", "limpide", "python", "machine", "threads"])
def test_versions_and_machine_count(
    bench: Bench, recipe: Path, source: Source, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    old = plan_of(recipe, source)
    here = planning.environment()
    assert here[name]
    monkeypatch.setattr(planning, "environment", lambda: here | {name: "other"})
    assert changed(old, plan_of(recipe, source)) == ALL


def test_threads_are_those_torch_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert planning.environment()["threads"] == "3"


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ("core", ALL),
        ("data", ALL),
        ("models", ALL),
        ("adapt", AFTER_TRAINING),
        ("audit", {*BASE, *RESULT, "compare"}),
        ("optimise", AFTER_TRAINING - {"adapt"}),
        ("document", set()),
        ("release", set()),
    ],
)
def test_code_counts_where_it_is_used(
    bench: Bench, recipe: Path, source: Source, monkeypatch: pytest.MonkeyPatch, room: str, expected: set[str]
) -> None:
    old = plan_of(recipe, source)
    whole = old.key
    real = digests.of_code

    def edited(*packages: Path) -> str:
        return real(*packages) + ("edited" if room in [p.name for p in packages] else "")

    monkeypatch.setattr(digests, "of_code", edited)
    new = plan_of(recipe, source)
    assert changed(old, new) == expected
    assert whole != new.key


def test_an_operation_that_changes_its_version_runs_again(
    bench: Bench, recipe: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = plan_of(recipe, source)
    real = catalogue.find

    def find(name: str) -> Operation:
        return replace(real(name), version=2) if name == "optimise.parity" else real(name)

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "find", find)
        assert changed(old, plan_of(recipe, source)) == {"parity"}


def test_a_missing_data_file_does_not_stop_the_plan(bench: Bench, recipe: Path, source: Source) -> None:
    (recipe.parent / "examples.jsonl").unlink()
    assert set(keys(plan_of(recipe, source))) == ALL


# ---------------------------------------------------------------------------------- what is checked before the run


def test_a_good_recipe_is_ready(bench: Bench, recipe: Path, source: Source) -> None:
    check_ready(plan_of(recipe, source))


def test_a_recipe_without_a_key_is_told_before_the_work(bench: Bench, recipe: Path, source: Source) -> None:
    edit(recipe, "{sign_with: keys/release.pem}", "{}")
    with pytest.raises(UsageError, match="no key"):
        check_ready(plan_of(recipe, source))


def test_a_missing_key_tells_how_to_make_it(bench: Bench, recipe: Path, source: Source) -> None:
    key = recipe.parent / "keys" / "release.pem"
    key.unlink()
    with pytest.raises(MissingError) as caught:
        check_ready(plan_of(recipe, source))
    assert caught.value.remedy == f"make one with: limpide keys new {key}"


@pytest.mark.parametrize("content", [b"", b"not a key", b"\xff\xfe"])
def test_a_wrong_key_is_told_before_the_run(bench: Bench, recipe: Path, source: Source, content: bytes) -> None:
    (recipe.parent / "keys" / "release.pem").write_bytes(content)
    with pytest.raises(UsageError):
        check_ready(plan_of(recipe, source))


def test_a_locked_key_needs_its_password_before_the_run(bench: Bench, recipe: Path, source: Source) -> None:
    new_keys(recipe.parent / "keys" / "locked.pem", password="open sesame")
    edit(recipe, "keys/release.pem", "keys/locked.pem")
    plan = plan_of(recipe, source)
    for password in (None, "wrong"):
        with pytest.raises(UsageError):
            check_ready(plan, password)
    check_ready(plan, "open sesame")


@pytest.mark.parametrize(
    ("declared", "claimed", "fine"),
    [
        ("Apache-2.0", "apache-2.0", True),
        ("Apache-2.0", "mit", False),
        (None, "mit", False),
    ],
)
def test_a_licence_is_inherited_never_typed(
    bench: Bench, recipe: Path, source: Source, declared: str | None, claimed: str, fine: bool
) -> None:
    edit(recipe, "{sign_with", f"{{licence: {claimed}, sign_with")
    plan = plan_of(recipe, replace(source, licence=declared))
    if fine:
        check_ready(plan)
    else:
        with pytest.raises(UsageError, match="licence"):
            check_ready(plan)


def test_an_adapter_is_no_base(bench: Bench, recipe: Path, source: Source) -> None:
    with pytest.raises(ModelError, match="adapter"):
        check_ready(plan_of(recipe, replace(source, kind="adapter")))


def test_plans_can_be_made_from_another_folder(bench: Bench, recipe: Path, source: Source) -> None:
    """Paths of a recipe are relative to the recipe, not to where the command is typed."""
    from limpide.recipe.load import load_recipe

    plan = make_plan(load_recipe(recipe), recipe, source)
    assert list(plan.data_files) == [str(recipe.parent / "examples.jsonl")]
    assert planning.signing_key(plan) == recipe.parent / "keys" / "release.pem"


def with_config(source: Source, folder: Path, model_type: str) -> Source:
    folder.mkdir()
    (folder / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    return replace(source, folder=folder)


def test_a_base_that_has_no_gguf_is_told_before_the_work(
    bench: Bench, recipe: Path, source: Source, tmp_path: Path
) -> None:
    plan = replace(plan_of(recipe, source), source=with_config(source, tmp_path / "gpt2", "gpt2"))
    formats = plan.recipe.optimise.model_copy(update={"formats": ("safetensors", "gguf:q8_0")})
    with pytest.raises(ModelError, match="GGUF for the Llama family"):
        check_ready(replace(plan, recipe=plan.recipe.model_copy(update={"optimise": formats})))


def test_a_base_without_the_parts_to_adapt_is_told_before_the_work(bench: Bench, recipe: Path, source: Source) -> None:
    plan = plan_of(recipe, source)
    adapt = plan.recipe.adapt.model_copy(update={"targets": ("attention", "experts")})
    with pytest.raises(ModelError, match=r"(?s)Llama has no experts to adapt.*leave out adapt\.targets"):
        check_ready(replace(plan, recipe=plan.recipe.model_copy(update={"adapt": adapt})))


def test_general_examples_count_in_the_key_by_their_content(bench: Bench, recipe: Path, source: Source) -> None:
    edit(recipe, "adapt: {epochs: 2}", "adapt: {epochs: 2, retain: {examples: general.jsonl}}")
    general = recipe.parent / "general.jsonl"
    general.write_text('{"prompt": "a", "answer": "b"}\n')
    first = plan_of(recipe, source).step("adapt")
    general.write_text('{"prompt": "a", "answer": "c"}\n')
    assert plan_of(recipe, source).step("adapt").key != first.key
    assert first.settings.retain.examples == general


def test_a_canary_that_is_not_planted_is_not_looked_for() -> None:
    from limpide.recipe.schema import Recipe

    def canary_of(adapt: dict[str, object] | None) -> bool:
        values = {
            "name": "a",
            "version": "1",
            "purpose": {"intended": "x"},
            "base": "b",
            "data": {"examples": "e.jsonl"},
        }
        loaded = Recipe.model_validate({**values, "adapt": adapt})
        source = Source("b", "folder", Path(), "0" * 64, None, None)
        made = planning.make_plan(loaded, Path(__file__), source)
        return bool(made.step("audit-result-memorisation").settings.canary)  # type: ignore[attr-defined]  # of its suite

    assert canary_of({"canary": True})
    assert not canary_of({"canary": False})
    assert not canary_of(None)


def test_a_public_set_is_found_from_the_recipe_and_counts_by_its_bytes(tmp_path: Path) -> None:
    from limpide.recipe.schema import Recipe

    bias = {"dialect": "bbq@parrish", "file": "sets/bbq.jsonl"}
    loaded = Recipe.model_validate(
        {
            "name": "a",
            "version": "1",
            "purpose": {"intended": "x"},
            "base": "b",
            "data": {"examples": "e.jsonl"},
            "audit": {"suites": ["bias"], "bias": bias},
        }
    )

    def planned(folder: Path, text: str) -> Plan:
        (folder / "sets").mkdir(parents=True, exist_ok=True)
        (folder / "sets" / "bbq.jsonl").write_text(text)
        (folder / "recipe.yaml").write_text("")
        return planning.make_plan(loaded, folder / "recipe.yaml", Source("b", "folder", Path(), "0" * 64, None, None))

    one, moved, other = (planned(tmp_path / name, text) for name, text in (("a", "1"), ("b", "1"), ("c", "2")))
    step = one.step("audit-base-bias")
    assert step.settings.file == tmp_path / "a" / "sets" / "bbq.jsonl"  # type: ignore[attr-defined]  # of its suite
    assert changed(one, moved) == set()
    assert changed(one, other) == {"audit-base-bias", "audit-result-bias", "compare"}
