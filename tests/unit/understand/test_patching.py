"""Effects of single activations: against plain runs, by their definition, and where the answer is known to pass."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from limpide.core.errors import LimpideError, UsageError
from limpide.core.progress import Quiet
from limpide.models.row import embed, final_hidden
from limpide.models.trace import Patch, record_slopes
from limpide.understand import patching
from limpide.understand.patching import Pair, agreement, cells_of, estimate, explain, pairs_of, patched
from limpide.understand.question import Question, ask
from limpide.understand.settings import PatchingSettings
from limpide.understand.twins import Twin
from tiny import FAMILY_NAMES

Open = Callable[[str], Any]


def changed(question: Question) -> int:
    """The place whose token the twin changes: within every window of where the answer is read."""
    row = question.decision.row
    return 2 if row.written or row.read[0] < len(row) - 1 else len(row) - 4


def question_of(model: Any) -> Question:
    text = "The man [MASK] the press" if model.kind == "encoder" else "The man stops the press and the light"
    return ask(model, text, answer="e" if model.kind == "encoder" else " turns", raw=True)


def twin_of_one_token(question: Question, token: int = 300) -> Twin:
    ids = list(question.decision.row.ids)
    ids[changed(question)] = token + (ids[changed(question)] == token)
    return Twin("", replace(question.decision.row, ids=tuple(ids)), (("a", "b"),), "given")


def explained(
    model: Any, question: Question, twin: Twin, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> dict[str, Any]:
    monkeypatch.setattr(patching, "twin_of", lambda *_: twin)
    return explain(model, question, PatchingSettings(**settings), Quiet()).record()


def plain_effects(model: Any, question: Question, pair: Pair, site: str) -> list[list[float]]:
    """Each cell by one whole forward pass of the corrupted text, with a hook of our own."""
    decision, base = question.decision, pair.corrupted

    def difference(layer: int, place: int) -> float:
        values = pair.clean.at(site, layer, [place])  # type: ignore[arg-type]

        def before(_: Any, args: Any, kwargs: Any) -> Any:
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            hidden[:, [place]] = values
            return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})

        def after(_: Any, __: Any, output: Any) -> Any:
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            hidden[:, [place]] = values
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        if site == "residual":
            handle = pair.stack.blocks[layer].register_forward_pre_hook(before, with_kwargs=True)
        else:
            path = pair.stack.attention if site == "attention" else pair.stack.mlp
            handle = pair.stack.module(layer, path).register_forward_hook(after)
        try:
            return float(decision.difference(model, final_hidden(model, base.row, base.embeddings[None])))
        finally:
            handle.remove()

    with torch.inference_mode():
        clean, corrupted = (
            float(decision.difference(model, final_hidden(model, run.row, run.embeddings[None])))
            for run in (pair.clean, pair.corrupted)
        )
        return [
            [(difference(layer, place) - corrupted) / (clean - corrupted) for place in range(pair.places)]
            for layer in range(len(pair.stack))
        ]


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "gemma2", "deepseek_v2"])
def test_every_cell_of_the_grids_also_those_not_run_is_what_a_plain_run_gives(
    tiny_model: Open, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(name)
    question = question_of(model)
    twin = twin_of_one_token(question)
    record = explained(model, question, twin, monkeypatch)
    for found, pair in zip(record["stacks"], pairs_of(model, question.decision, twin), strict=True):
        assert len(found["tokens"]) == pair.places
        for site in ("residual", "attention", "mlp"):
            wanted = torch.tensor(plain_effects(model, question, pair, site))
            torch.testing.assert_close(torch.tensor(found["sites"][site]), wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_family_has_its_effects_and_they_end_where_they_must(
    tiny_model: Open, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(name)
    question = question_of(model)
    record = explained(model, question, twin_of_one_token(question), monkeypatch)
    span = abs(record["clean"] - record["corrupted"])
    assert record["exact"] is True
    assert max(record["checks"].values()) < 1e-4 < span
    assert [stack["name"] for stack in record["stacks"]] == (["encoder", "decoder"] if name == "t5" else ["text"])
    first = record["stacks"][0]
    embedded = first["sites"]["residual"][0]
    assert embedded[changed(question)] == pytest.approx(1, abs=1e-4 / span)  # alone it is the clean text
    assert [value for k, value in enumerate(embedded) if k != changed(question) and value] == []
    for stack in record["stacks"]:
        assert {len(row) for grid in stack["sites"].values() for row in grid} == {len(stack["tokens"])}
        assert {len(row) for row in stack["heads"]} == {4}
        assert len(stack["heads"]) == stack["layers"] == 2
        wanted = {"gpt_oss": [4, 4], "deepseek_v2": [0, 4], "deepseek_v3": [0, 4]}.get(name)
        assert (stack["experts"] and [len(row) for row in stack["experts"]]) == wanted
    assert record["screen"]["n"] > 10
    assert -1 <= record["screen"]["rank_agreement"] <= 1


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_heads_and_experts_add_up_to_their_module(tiny_model: Open, name: str) -> None:
    """Mixing heads is linear, and a mixture is the sum of its experts: so what they change must add up as well."""
    model = tiny_model(name)
    question = question_of(model)
    for pair in pairs_of(model, question.decision, twin_of_one_token(question)):
        cells = list(cells_of(model, pair, True))
        for kind, site in (("head", "attention"), ("expert", "mlp")):
            for layer in range(len(pair.stack)):
                own = [cell.patch for cell in cells if cell.spot[:2] == (kind, layer)]
                if not own or (kind == "expert" and name.startswith("deepseek")):  # these have shared experts as well
                    continue
                clean, other = (run.at(own[0].site, layer, own[0].places) for run in (pair.clean, pair.corrupted))
                assert {patch.site for patch in own} == {site}
                total = torch.stack([patch.values - other for patch in own]).sum(0)
                torch.testing.assert_close(total, clean - other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "gemma3", "gpt_oss"])
def test_the_screen_is_right_for_small_changes(tiny_model: Open, name: str) -> None:
    """To first order is to first order: a little of the way, exact run and gradient agree at every site."""
    model = tiny_model(name)
    question = question_of(model)
    decision = question.decision
    torch.manual_seed(0)
    for pair in pairs_of(model, decision, twin_of_one_token(question)):
        base = pair.corrupted
        slopes = record_slopes(model, base.row, base.embeddings, lambda hidden: decision.difference(model, hidden))
        place = base.row.read[0] if pair.stack.name != "encoder" else changed(question)
        patches, mirrored = [], []
        for site in ("residual", "attention", "mlp"):
            for layer in range(len(pair.stack)):
                values = base.at(site, layer, [place])  # type: ignore[arg-type]
                moved = 0.002 * values.std() * torch.randn_like(values)
                patches.append(Patch(layer, site, (place,), values + moved))  # type: ignore[arg-type]
                mirrored.append(Patch(layer, site, (place,), values - moved))  # type: ignore[arg-type]
        there, back = (patched(model, decision, pair, several) for several in (patches, mirrored))
        exact = (there - back) / 2  # what is quadratic is in both
        guessed = torch.tensor([estimate(pair, slopes, patch) for patch in patches])
        torch.testing.assert_close(guessed, exact, atol=2e-5, rtol=0.1)
        assert exact.abs().max() > 2e-4  # else this shows nothing


# --------------------------------------------------------------------------------------------------- a planted path


HEAD, LAYER = 2, 1


def planted(model: Any) -> Any:
    """GPT-2 with three blocks that add nothing, but for one head of one: it looks everywhere alike and copies."""
    from tiny import tiny_network

    network = tiny_network("gpt2", n_layer=3)
    for layer, block in enumerate(network.transformer.h):
        for module in (block.attn.c_proj, block.mlp.c_proj):
            module.weight.data.zero_()
            module.bias.data.zero_()
        if layer == LAYER:
            block.attn.c_attn.weight.data.zero_()
            block.attn.c_attn.bias.data.zero_()
            own = slice(8 * HEAD, 8 * HEAD + 8)
            block.attn.c_attn.weight.data[:, 64:][:, own] = torch.eye(32)[:, :8] * 40
            block.attn.c_proj.weight.data[own] = torch.eye(32)[:8]
    return replace(model, network=network.eval().requires_grad_(False))


def test_a_planted_path_is_found_and_nothing_else(tiny_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    model = planted(tiny_model("gpt2"))
    question = question_of(model)
    record = explained(model, question, twin_of_one_token(question), monkeypatch)
    [stack] = record["stacks"]
    last = len(stack["tokens"]) - 1
    wanted = {site: torch.zeros(3, last + 1) for site in ("residual", "attention", "mlp")}
    wanted["residual"][: LAYER + 1, changed(question)] = 1  # the token waits where it stands,
    wanted["attention"][LAYER, last] = 1  # is fetched by one layer,
    wanted["residual"][LAYER + 1 :, last] = 1  # and waits where the answer is read
    for site, grid in wanted.items():
        torch.testing.assert_close(torch.tensor(stack["sites"][site]), grid, atol=1e-4, rtol=0)
    heads = torch.zeros(3, 4)
    heads[LAYER, HEAD] = 1
    torch.testing.assert_close(torch.tensor(stack["heads"]), heads, atol=1e-4, rtol=0)


def test_the_fast_screen_finds_the_planted_path_too(tiny_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    model = planted(tiny_model("gpt2"))
    question = question_of(model)
    record = explained(model, question, twin_of_one_token(question), monkeypatch, screen=True)
    assert record["exact"] is False
    assert record["checks"] == {"everything": None, "nothing": None}
    assert record["screen"] is None
    grid = torch.tensor(record["stacks"][0]["sites"]["attention"])
    assert int(grid.abs().argmax()) == LAYER * grid.shape[1] + grid.shape[1] - 1
    assert int((grid.abs() > 1e-6).sum()) == 1


def test_too_much_to_run_is_screened_and_said(tiny_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Quiet, "say", lambda _, text: said.append(text))
    model = tiny_model("gpt2")
    question = question_of(model)
    record = explained(model, question, twin_of_one_token(question), monkeypatch, most=10)
    assert record["exact"] is False
    assert "patching.most" in said[0]


def test_noise_is_the_other_run_from_its_embeddings_on(tiny_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gpt2", "bert", "t5"):
        model = tiny_model(name)
        question = question_of(model)
        noised = embed(model, question.decision.row.ids).clone()
        noised[1:3] += torch.randn(2, noised.shape[1], generator=torch.Generator().manual_seed(1))
        twin = Twin("", question.decision.row, (), "noise", noised)
        record = explained(model, question, twin, monkeypatch)
        assert max(record["checks"].values()) < 1e-4
        found = record["stacks"][0]["sites"]
        wanted = plain_effects(model, question, pairs_of(model, question.decision, twin)[0], "mlp")
        torch.testing.assert_close(torch.tensor(found["mlp"]), torch.tensor(wanted), atol=1e-3, rtol=1e-3)
        assert found["residual"][0][0] == 0
        assert found["residual"][0][1] != 0


def test_an_engine_that_does_not_end_where_it_must_is_not_believed(
    tiny_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("gpt2")
    question = question_of(model)
    run = patching.run_patched
    monkeypatch.setattr(patching, "run_patched", lambda *args: run(*args) * 1.5)
    with pytest.raises(LimpideError, match="cannot be trusted"):
        explained(model, question, twin_of_one_token(question), monkeypatch)


def test_the_whole_way_from_a_question(tiny_model: Open) -> None:
    model = copy.copy(tiny_model("gpt2"))
    question = ask(model, "The operator stops the press and the light turns", raw=True)
    record = explain(model, question, PatchingSettings(), Quiet(), seed=3).record()
    assert record == explain(model, question, PatchingSettings(), Quiet(), seed=3).record()
    assert record["twin"]["how"] == "replaced word"
    assert record["clean"] > record["corrupted"]
    with pytest.raises(UsageError):
        explain(model, question, PatchingSettings(twin="Another text"), Quiet())


def test_agreement_is_spearman_s() -> None:
    found = agreement([1.0, 2.0, 3.0, 40.0], [1.0, 3.0, 2.0, 4.0])
    assert found.rank_agreement == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert agreement([1.0, 1.0], [0.0, 2.0]).rank_agreement is None
    assert agreement([1.0], [0.0]).rank_agreement is None
