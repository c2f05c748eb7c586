"""The parity certificate: the file that is served behaves as the model that was trained and measured.

Prompt bytes, token ids, stop ids and BOS are compared exactly, with what the training runtime makes of the same
conversations. Distributions cannot be equal where a runtime rounds differently, so their divergence is bounded, format
by format; each file must be far nearer to the adapted model than to its base; and flips of the greedy text are counted:
those at near ties apart from real ones.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from limpide.core import files
from limpide.core.errors import DataError
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress

MOST_LIKELY = 1000  # tokens whose probabilities llama.cpp writes out; all 49 thousand would take 0.7 s a place
FORCED = 1000.0  # added to a logit, makes its token certain

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from limpide.data.examples import Example
    from limpide.models.llamacpp import LlamaEngine
    from limpide.models.model import Model


class ParitySettings(Settings):
    """How close is close enough. Divergences are Kullback–Leibler, in nats, the largest over all positions compared."""

    conversations: int = Field(16, ge=2, description="conversations compared")
    answer_tokens: int = Field(48, ge=4, description="longest answer compared, in tokens")
    merged_divergence: float = Field(1e-3, gt=0, description="limit for the merged folder")
    f16_divergence: float = Field(1e-3, gt=0, description="limit for GGUF F16")
    q8_0_divergence: float = Field(5e-2, gt=0, description="limit for GGUF Q8_0")
    f16_near_tie: float = Field(0.1, gt=0, description="GGUF F16: nats of preference under which a flip is a near tie")
    q8_0_near_tie: float = Field(
        0.6, gt=0, description="GGUF Q8_0: nats of preference under which a flip is a near tie"
    )
    flips: float = Field(0.0, ge=0, le=1, description="largest share of answers that may flip away from near ties")
    adapter_effect: float = Field(1e-4, gt=0, description="least divergence from the base that shows the adapter acts")
    adapter_lost: float = Field(
        0.25, gt=0, lt=1, description="largest mean divergence from the adapted model, as a share of that from the base"
    )


@dataclass(frozen=True)
class Check:
    """name: what is compared; target: which file. value and limit: in the unit the sentence names."""

    name: str
    target: str
    passed: bool
    sentence: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Probe:
    """One conversation: its prompt, as text and ids, and ids with the expected answer behind."""

    example: Example
    text: str
    prompt: tuple[int, ...]
    whole: tuple[int, ...]


def limits(target: str, settings: ParitySettings) -> tuple[float, float]:
    """(divergence, near tie) allowed to a GGUF file, in nats.

    A divergence of d moves the difference of two logits by some 2·√d, so the wider format has the wider ties: Q8_0 of
    SmolLM2-135M turned preferences of 0.4 nats at a largest divergence of 0.011, F16 of 0.009 at 0.00003.
    """
    if target == "gguf:f16":
        return settings.f16_divergence, settings.f16_near_tie
    return settings.q8_0_divergence, settings.q8_0_near_tie


@dataclass(frozen=True)
class Served:
    """What llama.cpp finds most likely at one place. ids: long[tokens]. logs: float32[tokens], nats."""

    ids: torch.Tensor
    logs: torch.Tensor


def run(subject: Subject, settings: ParitySettings, progress: Progress) -> Result:
    """Compare runtime, merged folder and each GGUF. Writes parity.json; a failed check makes facts['passed'] False."""
    from limpide.models.changed import correction_of, of_steps
    from limpide.models.classifier import is_classifier
    from limpide.models.model import open_model
    from limpide.optimise.parity_classifier import classifier_checks

    if is_classifier(subject.input("export") / "merged"):
        return _certificate(classifier_checks(subject, settings, progress), subject.out)
    what = "adapter" if "adapt" in subject.inputs else "correction" if correction_of(subject) else None
    export = subject.input("export")
    base = open_model(subject.the_model())
    probes = choose_probes(base, subject.input("data"), settings.conversations, subject.seed)
    ggufs = sorted((export / "gguf").glob("*.gguf"))
    checks: list[Check] = []
    with progress.task("comparing runtimes", total=2 + len(ggufs)) as task:
        plain = runtime = _distributions(base, probes)
        if what is not None:
            runtime = _distributions(of_steps(subject), probes)
            checks.append(acting_check(what, plain, runtime, settings))
        acts = bool(checks) and checks[0].passed
        task.advance()
        merged = open_model(export / "merged")
        checks += folder_checks(base, merged, probes)
        measured = _distributions(merged, probes)
        checks.append(_divergence_check("merged", runtime, measured, settings.merged_divergence))
        if acts:
            checks.append(_kept_check("merged", divergences(runtime, measured), divergences(plain, measured), settings))
        task.advance()
        for path in ggufs:
            checks += gguf_checks(path, merged, probes, measured, plain if acts else None, settings)
            task.advance()
    return _certificate(checks, subject.out)


def _certificate(checks: list[Check], out: Path) -> Result:
    record = {"passed": all(c.passed for c in checks), "checks": [asdict(c) for c in checks]}
    files.write_json(out / "parity.json", record)
    warnings = tuple(f"parity, {c.target}: {c.sentence}" for c in checks if not c.passed)
    return Result(facts=record, warnings=warnings)


def choose_probes(model: Model, data: Path, count: int, seed: int) -> list[Probe]:
    """A seeded choice among held-out and training conversations, held-out first."""
    import random

    from limpide.data.examples import load_examples
    from limpide.models.prompt import prompt_text, render_example

    chosen: list[Example] = []
    for name in ("held_out", "train"):
        rows = load_examples(data / f"{name}.jsonl")
        chosen += random.Random(f"{seed}/{name}").sample(rows, min(len(rows), count - len(chosen)))
    if not chosen:
        raise DataError(
            "There is no conversation to compare runtimes on.", received=data, expected="rows in train.jsonl"
        )
    probes = []
    for example in chosen:
        rendered = render_example(model, example)
        last = max(i for i, t in enumerate(rendered.trained) if t) + 1
        start = rendered.answer_start
        text = prompt_text(model.tokenizer, example.prompt)
        probes.append(Probe(example, text, rendered.ids[:start], rendered.ids[:last]))
    return probes


def folder_checks(base: Model, merged: Model, probes: list[Probe]) -> list[Check]:
    """The folder asks as the base does, reads as it reads, and stops where it stops."""
    from limpide.models.prompt import encode

    same = base.tokenizer.chat_template == merged.tokenizer.chat_template
    stops = set(base.stop_ids) == set(merged.stop_ids)
    words = "is the base's, byte for byte" if same else "is not the base's"
    stop_words = f"stop ids are the base's {list(base.stop_ids)}"
    if not stops:
        stop_words = f"stop ids are {list(merged.stop_ids)}, the base's are {list(base.stop_ids)}"
    vocabulary = merged.tokenizer.get_vocab()
    moved = sum(vocabulary.get(token) != i for token, i in base.tokenizer.get_vocab().items())
    differ = sum(tuple(encode(merged.tokenizer, p.text)) != p.prompt for p in probes)
    return [
        Check("chat template", "merged", same, f"The chat template {words}."),
        Check("stop ids", "merged", stops, f"The {stop_words}."),
        ids_check("merged", len(probes), differ, moved),
    ]


def ids_check(target: str, prompts: int, differ: int, moved: int, more: str = "") -> Check:
    sentence = f"{prompts - differ} of {prompts} prompts give the same token ids{more}; "
    sentence += f"{moved} tokens of the vocabulary have another id."
    return Check("token ids", target, differ == moved == 0, sentence, float(differ + moved), 0.0)


def acting_check(what: str, plain: list[torch.Tensor], adapted: list[torch.Tensor], settings: ParitySettings) -> Check:
    """An adapter, or a correction, that changes nothing (wrong names, all zeros) gives the base's distributions."""
    effect = max(divergences(adapted, plain))
    acts = effect >= settings.adapter_effect
    words = "changes the model's answers" if acts else "changes nothing: it is a no-op"
    sentence = f"The {what} {words} (largest divergence from the base {effect:.3g} nats)."
    return Check(f"{what} acts", what, acts, sentence, shown(effect), settings.adapter_effect)


def _kept_check(target: str, adapted: list[float], plain: list[float], settings: ParitySettings) -> Check:
    """adapted, plain: divergences of `target` from the adapted model and from its base, place by place.

    Catches what a limit in nats cannot where the adapter is light: base weights exported, or the adapter rounded away.
    """
    lost = sum(adapted) / sum(plain) if sum(plain) else math.inf
    sentence = f"Mean divergence from the adapted model is {lost:.2g} times that from the base"
    sentence += f" (limit {settings.adapter_lost:g})."
    return Check("adapter kept", target, lost <= settings.adapter_lost, sentence, shown(lost), settings.adapter_lost)


def gguf_checks(
    path: Path,
    merged: Model,
    probes: list[Probe],
    measured: list[torch.Tensor],
    plain: list[torch.Tensor] | None,
    settings: ParitySettings,
) -> list[Check]:
    """Everything compared between the merged folder and one GGUF file in llama.cpp.

    measured, plain: log-probabilities of the merged folder and of the base, float32[answer tokens, vocabulary] each.
    """
    from limpide.models.gguf_header import read_gguf
    from limpide.models.llamacpp import LlamaEngine

    target = f"gguf:{path.stem.removeprefix('model-')}"
    metadata = read_gguf(path).metadata
    limit, _ = limits(target, settings)
    longest = max(len(p.whole) for p in probes) + settings.answer_tokens
    with LlamaEngine(path, context=min(merged.context, max(256, longest))) as engine:
        checks = [_stop_check(engine, metadata, merged, target), _prompt_check(engine, probes, target)]
        checks.append(_token_check(engine, metadata, probes, merged, target))
        stop = merged.stop_ids[0]
        served = [_served(engine, ids, stop) for probe in probes for ids in (probe.prompt, probe.whole[:-1])]
        found = _served_rows(measured, served)
        largest = max(found)
        sentence = f"The largest divergence of next-token distributions is {largest:.2g} nats (limit {limit:g})."
        checks.append(Check("distributions", target, largest <= limit, sentence, shown(largest), limit))
        if plain is not None:
            checks.append(_kept_check(target, found, _served_rows(plain, served), settings))
        checks.append(_text_check(engine, merged, probes, target, settings))
    return checks


def _stop_check(engine: LlamaEngine, metadata: dict[str, object], merged: Model, target: str) -> Check:
    """The end token the file names, and what llama.cpp does when it writes each of the folder's stop tokens."""
    stop = metadata.get("tokenizer.ggml.eos_token_id")
    expected = merged.tokenizer.eos_token_id
    sentence = f"The file stops at token {stop}" + (
        ", as the folder does." if stop == expected else f"; the folder at {expected}."
    )
    deaf = []
    for token in merged.stop_ids:
        answer = engine.complete((token,), n_predict=2, logit_bias=[[token, FORCED]])
        if answer["stop_type"] != "eos":
            deaf.append(token)
    if deaf:
        sentence += f" llama.cpp goes on after {deaf}, which end an answer in the folder."
    return Check("stop ids", target, stop == expected and stop in merged.stop_ids and not deaf, sentence)


def _prompt_check(engine: LlamaEngine, probes: list[Probe], target: str) -> Check:
    """Prompt bytes as llama.cpp renders the template embedded in the file."""
    differ = 0
    for probe in probes:
        messages = [{"role": m.role, "content": m.content} for m in probe.example.prompt]
        differ += engine.apply_template(messages) != probe.text
    sentence = f"{len(probes) - differ} of {len(probes)} prompts are equal, byte for byte."
    return Check("prompt bytes", target, differ == 0, sentence, float(differ), 0.0)


def _token_check(
    engine: LlamaEngine, metadata: dict[str, Any], probes: list[Probe], merged: Model, target: str
) -> Check:
    """Token ids as the server makes them (its own BOS included), so a doubled BOS shows as a difference."""
    made = [tuple(engine.tokenize(p.text, add_special=True)) for p in probes]
    differ = sum(ids != p.prompt for ids, p in zip(made, probes, strict=True))
    tokens = dict(enumerate(metadata["tokenizer.ggml.tokens"]))
    moved = sum(tokens.get(i) != token for token, i in merged.tokenizer.get_vocab().items())
    most = max(ids[:2].count(merged.tokenizer.bos_token_id) for ids in made)
    return ids_check(target, len(probes), differ, moved, f", with {most} BOS at the start")


def _distributions(model: Model, probes: list[Probe]) -> list[torch.Tensor]:
    """Log-probabilities of each answer token's place. Each float32[answer tokens, vocabulary]."""
    from limpide.models.scoring import log_probabilities

    return [log_probabilities(model, p.whole[:-1], len(p.whole) - len(p.prompt)) for p in probes]


def _served(engine: LlamaEngine, prompt: tuple[int, ...], stop: int) -> Served:
    """llama.cpp's log-probabilities after `prompt`, before any sampling.

    Whatever they are, `stop` is written: llama.cpp reports no probability beside half a character.
    """
    import torch

    bias = [[stop, FORCED]]
    answer = engine.complete(prompt, n_predict=1, n_probs=MOST_LIKELY, post_sampling_probs=False, logit_bias=bias)
    found = answer["completion_probabilities"][0]["top_logprobs"]
    logs = [math.nan if t["logprob"] is None else t["logprob"] for t in found]
    return Served(torch.tensor([t["id"] for t in found]), torch.tensor(logs))


def _served_rows(measured: list[torch.Tensor], served: list[Served]) -> list[float]:
    """Divergences at the first and the last answer token of each probe, in the order of `served`."""
    places = [row for probe in measured for row in probe[[0, -1]]]
    return [lumped_divergence(p, q) for p, q in zip(places, served, strict=True)]


def lumped_divergence(p: torch.Tensor, served: Served) -> float:
    """KL(p‖served), in nats, with all tokens that `served` leaves out taken as one: never more than the whole KL.

    p: log-probabilities, float32[vocabulary]. Infinite where either is not a number.
    """
    chosen, logs = p[served.ids].double(), served.logs.double()
    left = p.double().exp().sum() - chosen.exp().sum()
    rest = left * (left.clamp(min=1e-12).log() - (1 - logs.exp().sum()).clamp(min=1e-12).log())
    inside = (chosen.exp() * (chosen - logs)).sum()
    return _nats(float(inside + (rest if len(served.ids) < len(p) else 0.0)))


def divergences(p: list[torch.Tensor], q: list[torch.Tensor]) -> list[float]:
    """KL(p‖q) of every row, in nats. Log-probabilities, each [places, vocabulary]."""
    return [_nats(float(row)) for a, b in zip(p, q, strict=True) for row in (a.exp() * (a - b)).sum(-1)]


def _nats(value: float) -> float:
    """A divergence: rounding below zero is zero, and what is not a number is infinitely far."""
    return math.inf if math.isnan(value) else max(0.0, value)


def shown(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def _divergence_check(target: str, runtime: list[torch.Tensor], found: list[torch.Tensor], limit: float) -> Check:
    largest = max(divergences(runtime, found))
    sentence = f"The largest divergence from the training runtime is {largest:.2g} nats (limit {limit:g})."
    return Check("distributions", target, largest <= limit, sentence, shown(largest), limit)


def _text_check(
    engine: LlamaEngine, merged: Model, probes: list[Probe], target: str, settings: ParitySettings
) -> Check:
    """Greedy answers of llama.cpp, followed token by token by the merged model.

    Where an answer ends is the stop check's: llama.cpp also ends at control tokens it knows by their spelling.
    """
    _, near_tie = limits(target, settings)
    ties = flips = 0
    for probe in probes:
        written = engine.complete(probe.prompt, n_predict=settings.answer_tokens, return_tokens=True)["tokens"]
        margin = largest_disagreement(merged, probe.prompt, tuple(written))
        flips += margin >= near_tie
        ties += 0 < margin < near_tie
    same = len(probes) - ties - flips
    sentence = f"{same} of {len(probes)} greedy answers are the same; {ties} part at a near tie, {flips} elsewhere."
    share = flips / len(probes)
    return Check("greedy text", target, share <= settings.flips, sentence, share, settings.flips)


def largest_disagreement(model: Model, prompt: tuple[int, ...], written: tuple[int, ...]) -> float:
    """Nats by which `model`, after the same tokens, prefers another token to the one written: the most in the answer.

    0 where it would have written the same. A flip at a near tie does not hide a real one behind it.
    """
    from limpide.models.scoring import log_probabilities

    if not written:
        return 0.0
    rows = log_probabilities(model, prompt + written[:-1], len(written))
    chosen = rows[range(len(written)), list(written)]
    return _nats(float((rows.amax(-1) - chosen).max()))


operation = Operation(
    name="optimise.parity",
    verb="look",
    summary="compare what was trained with each file that is served",
    settings=ParitySettings,
    run=run,
    needs=("generates",),
    source="certificate of Limpide; divergence of Kullback and Leibler 1951",
)
