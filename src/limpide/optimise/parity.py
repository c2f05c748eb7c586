"""The parity certificate: the file that is served behaves as the model that was trained and measured.

Prompt bytes, token ids, stop ids and BOS are compared exactly. Distributions cannot be equal where a runtime rounds
differently, so their divergence is bounded, format by format, and flips of the greedy text are counted: those at
near ties apart from real ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from limpide.core import files
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from limpide.data.examples import Example, Message
    from limpide.models.llamacpp import LlamaEngine
    from limpide.models.model import Model


class ParitySettings(Settings):
    """How close is close enough. Divergences are Kullback–Leibler, in nats, the largest over all positions compared."""

    conversations: int = Field(16, ge=2, description="conversations compared")
    answer_tokens: int = Field(48, ge=4, description="longest answer compared, in tokens")
    merged_divergence: float = Field(1e-3, gt=0, description="limit for the merged folder")
    f16_divergence: float = Field(5e-3, gt=0, description="limit for GGUF F16")
    q8_0_divergence: float = Field(5e-2, gt=0, description="limit for GGUF Q8_0")
    near_tie: float = Field(0.2, gt=0, description="nats between the two best tokens below which a flip is a near tie")
    flips: float = Field(0.0, ge=0, le=1, description="largest share of answers that may flip away from near ties")
    adapter_effect: float = Field(1e-4, gt=0, description="least divergence from the base that shows the adapter acts")


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


def run(subject: Subject, settings: ParitySettings, progress: Progress) -> Result:
    """Compare runtime, merged folder and each GGUF. Writes parity.json; a failed check makes facts['passed'] False."""
    from limpide.models.model import open_model

    adapted = subject.inputs.get("adapt")
    adapter = adapted / "adapter" if adapted else None
    export = subject.input("export")
    merged = open_model(export / "merged")
    probes = choose_probes(merged, subject.input("data"), settings.conversations, subject.seed)
    ggufs = sorted((export / "gguf").glob("*.gguf"))
    checks: list[Check] = []
    with progress.task("comparing runtimes", total=2 + len(ggufs)) as task:
        base = open_model(subject.the_model())
        checks += template_checks(base, merged)
        plain = _distributions(base, probes)
        task.advance()
        runtime = _distributions(open_model(subject.the_model(), adapter=adapter), probes) if adapter else plain
        if adapter is not None:
            checks.append(adapter_check(plain, runtime, settings))
        measured = _distributions(merged, probes)
        checks.append(_divergence_check("merged", runtime, measured, settings.merged_divergence))
        task.advance()
        for path in ggufs:
            checks += gguf_checks(path, merged, probes, measured, settings)
            task.advance()
    record = {"passed": all(c.passed for c in checks), "checks": [asdict(c) for c in checks]}
    files.write_json(subject.out / "parity.json", record)
    warnings = tuple(f"parity, {c.target}: {c.sentence}" for c in checks if not c.passed)
    return Result(facts=record, warnings=warnings)


def choose_probes(model: Model, data: Path, count: int, seed: int) -> list[Probe]:
    """A seeded choice among held-out and training conversations, held-out first."""
    import random

    from limpide.data.examples import load_examples
    from limpide.models.prompt import render_example

    chosen: list[Example] = []
    for name in ("held_out", "train"):
        rows = load_examples(data / f"{name}.jsonl")
        chosen += random.Random(f"{seed}/{name}").sample(rows, min(len(rows), count - len(chosen)))
    probes = []
    for example in chosen:
        rendered = render_example(model, example)
        last = max(i for i, t in enumerate(rendered.trained) if t) + 1
        start = rendered.answer_start
        text = prompt_of(model, example.prompt)
        probes.append(Probe(example, text, rendered.ids[:start], rendered.ids[:last]))
    return probes


def prompt_of(model: Model, messages: tuple[Message, ...]) -> str:
    from limpide.models.prompt import prompt_text

    return prompt_text(model.tokenizer, messages)


def template_checks(base: Model, merged: Model) -> list[Check]:
    """The folder asks as the base does, and stops where the base stops."""
    same = base.tokenizer.chat_template == merged.tokenizer.chat_template
    stops = set(base.stop_ids) == set(merged.stop_ids)
    words = "is the base's, byte for byte" if same else "is not the base's"
    stop_words = f"stop ids are the base's {list(base.stop_ids)}"
    if not stops:
        stop_words = f"stop ids are {list(merged.stop_ids)}, the base's are {list(base.stop_ids)}"
    return [
        Check("chat template", "merged", same, f"The chat template {words}."),
        Check("stop ids", "merged", stops, f"The {stop_words}."),
    ]


def adapter_check(plain: list[torch.Tensor], adapted: list[torch.Tensor], settings: ParitySettings) -> Check:
    """An adapter that changes nothing (wrong names, all zeros) gives the base's distributions."""
    effect = max(_divergence(p, a) for p, a in zip(plain, adapted, strict=True))
    acts = effect >= settings.adapter_effect
    words = "changes the model's answers" if acts else "changes nothing: it is a no-op"
    sentence = f"The adapter {words} (largest divergence from the base {effect:.3g} nats)."
    return Check("adapter acts", "adapter", acts, sentence, effect, settings.adapter_effect)


def gguf_checks(
    path: Path, merged: Model, probes: list[Probe], measured: list[torch.Tensor], settings: ParitySettings
) -> list[Check]:
    """Everything compared between the merged folder and one GGUF file in llama.cpp."""
    from limpide.models.gguf_header import read_gguf
    from limpide.models.llamacpp import LlamaEngine

    target = f"gguf:{path.stem.removeprefix('model-')}"
    metadata = read_gguf(path).metadata
    limit = settings.f16_divergence if target == "gguf:f16" else settings.q8_0_divergence
    longest = max(len(p.whole) for p in probes) + settings.answer_tokens
    checks = [_stop_check(metadata, merged, target)]
    with LlamaEngine(path, context=min(merged.context, max(256, longest))) as engine:
        checks += [_prompt_check(engine, probes, target), _token_check(engine, probes, merged, target)]
        served = [_served_distribution(engine, probe, len(m)) for probe, m in zip(probes, measured, strict=True)]
        pairs = zip(measured, served, strict=True)
        largest = max(_divergence(m[[0, -1]], s) for m, s in pairs)
        sentence = f"The largest divergence of next-token distributions is {largest:.2g} nats (limit {limit:g})."
        checks.append(Check("distributions", target, largest <= limit, sentence, largest, limit))
        checks.append(_text_check(engine, merged, probes, target, settings))
    return checks


def _stop_check(metadata: dict[str, object], merged: Model, target: str) -> Check:
    stop = metadata.get("tokenizer.ggml.eos_token_id")
    expected = merged.tokenizer.eos_token_id
    same = stop == expected and stop in merged.stop_ids
    sentence = f"The file stops at token {stop}" + (", as the folder does." if same else f"; the folder at {expected}.")
    return Check("stop ids", target, same, sentence)


def _prompt_check(engine: LlamaEngine, probes: list[Probe], target: str) -> Check:
    """Prompt bytes as llama.cpp renders the template embedded in the file."""
    differ = 0
    for probe in probes:
        messages = [{"role": m.role, "content": m.content} for m in probe.example.prompt]
        differ += engine.apply_template(messages) != probe.text
    sentence = f"{len(probes) - differ} of {len(probes)} prompts are equal, byte for byte."
    return Check("prompt bytes", target, differ == 0, sentence, float(differ), 0.0)


def _token_check(engine: LlamaEngine, probes: list[Probe], merged: Model, target: str) -> Check:
    """Token ids as the server makes them (its own BOS included), so a doubled BOS shows as a difference."""
    differ = sum(tuple(engine.tokenize(p.text, add_special=True)) != p.prompt for p in probes)
    bos = merged.tokenizer.bos_token_id
    most = max((p.prompt[:2].count(bos) for p in probes), default=0)
    sentence = f"{len(probes) - differ} of {len(probes)} prompts give the same token ids, with {most} BOS."
    return Check("token ids", target, differ == 0, sentence, float(differ), 0.0)


def _distributions(model: Model, probes: list[Probe]) -> list[torch.Tensor]:
    """Log-probabilities of each answer token's place. Each float32[answer tokens, vocabulary]."""
    from limpide.models.scoring import log_probabilities

    return [log_probabilities(model, p.whole[:-1], len(p.whole) - len(p.prompt)) for p in probes]


def _served_distribution(engine: LlamaEngine, probe: Probe, places: int) -> torch.Tensor:
    """llama.cpp's log-probabilities at the first and the last answer token. float32[2, vocabulary]."""
    import torch

    rows = []
    for prompt in (probe.prompt, probe.whole[:-1]):
        answer = engine.complete(prompt, n_predict=1, n_probs=10**6, post_sampling_probs=False)
        found = answer["completion_probabilities"][0]["top_logprobs"]
        row = torch.full((max(t["id"] for t in found) + 1,), -100.0)
        for token in found:
            row[token["id"]] = max(token["logprob"], -100.0)
        rows.append(row)
    width = max(map(len, rows))
    return torch.stack([torch.nn.functional.pad(r, (0, width - len(r)), value=-100.0) for r in rows])


def _divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    """Largest KL(p‖q) over rows, in nats. p, q: log-probabilities, [places, vocabulary]; q may have fewer columns."""
    import torch

    if q.shape[1] < p.shape[1]:
        q = torch.nn.functional.pad(q, (0, p.shape[1] - q.shape[1]), value=-100.0)
    return max(0.0, float((p.exp() * (p - q[:, : p.shape[1]])).sum(-1).max()))


def _divergence_check(target: str, runtime: list[torch.Tensor], found: list[torch.Tensor], limit: float) -> Check:
    largest = max(_divergence(r, f) for r, f in zip(runtime, found, strict=True))
    sentence = f"The largest divergence from the training runtime is {largest:.2g} nats (limit {limit:g})."
    return Check("distributions", target, largest <= limit, sentence, largest, limit)


def _text_check(
    engine: LlamaEngine, merged: Model, probes: list[Probe], target: str, settings: ParitySettings
) -> Check:
    """Greedy answers of llama.cpp, followed token by token by the merged model."""
    ties = flips = 0
    for probe in probes:
        written = engine.complete(probe.prompt, n_predict=settings.answer_tokens, return_tokens=True)["tokens"]
        margin = first_disagreement(merged, probe.prompt, tuple(written))
        ties += margin is not None and margin < settings.near_tie
        flips += margin is not None and margin >= settings.near_tie
    same = len(probes) - ties - flips
    sentence = f"{same} of {len(probes)} greedy answers are the same; {ties} part at a near tie, {flips} elsewhere."
    share = flips / len(probes)
    return Check("greedy text", target, share <= settings.flips, sentence, share, settings.flips)


def first_disagreement(model: Model, prompt: tuple[int, ...], written: tuple[int, ...]) -> float | None:
    """Nats by which `model` prefers another token, at the first token of `written` that it would not choose."""
    from limpide.models.scoring import log_probabilities

    if not written:
        return None
    rows = log_probabilities(model, prompt + written[:-1], len(written))
    for row, token in zip(rows, written, strict=True):
        margin = float(row.max() - row[token])
        if margin > 0:
            return margin
    return None


operation = Operation(
    name="optimise.parity",
    verb="look",
    summary="compare what was trained with each file that is served",
    settings=ParitySettings,
    run=run,
    needs=("generates",),
    source="certificate of Limpide; divergence of Kullback and Leibler 1951",
)
