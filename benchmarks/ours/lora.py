"""Limpide's side: the operation adapt.train itself, its steps timed by the progress it reports."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from child import Step, peak_bytes, serve
from machine import matmul_rate

from limpide.adapt import stages, train
from limpide.adapt.packing import packs_for
from limpide.adapt.settings import TrainSettings
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import load_examples
from limpide.models.families.registry import blocks, plain
from limpide.models.model import Model, open_model
from limpide.models.prompt import render_example


class Clock(Quiet):
    """Progress that only notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    @contextmanager
    def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator[Quiet]:
        yield self if what == "training" else Quiet()

    def advance(self, by: float = 1, **facts: Any) -> None:
        self.ends.append(time.perf_counter())


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: rows (answer of rows.py), changes to its settings, data and folder (paths), seed, epochs, threads.

    Leaves folder/adapter.
    """
    torch.set_num_threads(job["threads"])
    rows, folder = job["rows"] | job["changes"], Path(job["folder"])
    folder.mkdir(parents=True)
    settings = TrainSettings(
        **{key: rows[key] for key in ("rank", "alpha", "learning_rate", "warmup", "weight_decay")},
        **{key: rows[key] for key in ("pack_tokens", "step_tokens")},
        layers=rows.get("layers", "all"),
        epochs=job["epochs"],
        validation=0,
        canary=False,
        checkpoint_seconds=1e9,
    )
    subject = Subject(folder, inputs={"data": Path(job["data"])}, model=Path(rows["base"]), seed=job["seed"])
    clock = Clock()
    facts = train.run(subject, settings, clock).facts
    peak = peak_bytes()
    model = open_model(Path(rows["base"]))
    steps = _steps(model, settings, subject, clock.ends)
    assert sum(tokens for _, tokens in steps) == facts["tokens_seen"] == job["epochs"] * rows["row_tokens"]
    return {
        "steps": steps,
        "precision": facts["precision"],
        "flops": _flops(model, facts["trainable_parameters"], rows, job["epochs"]),
        "matmul_rate": matmul_rate(facts["precision"]),
        "peak_bytes": peak,
        "threads": torch.get_num_threads(),
        "version": version("limpide"),
    }


def _steps(model: Model, settings: TrainSettings, subject: Subject, ends: list[float]) -> list[Step]:
    """The end of each step with its tokens: the packs are a pure function of rows, settings and seed."""
    rendered = [render_example(model, e) for e in load_examples(subject.input("data") / "train.jsonl")]
    packs = packs_for(model, rendered, settings.pack_tokens, subject.seed)
    order, tokens = stages.order_of(packs, subject.seed), []
    at_once = max(1, round(settings.step_tokens / settings.pack_tokens))
    for epoch in range(settings.epochs):
        packs = order(epoch)
        tokens += [sum(p.tokens for p in packs[i : i + at_once]) for i in range(0, len(packs), at_once)]
    return list(zip(ends, tokens, strict=True))


def _flops(model: Model, adapter: int, rows: dict[str, Any], epochs: int) -> float:
    """Matrix-product operations a real token, mean over the epochs; attention left out.

    A frozen matrix costs 2 forward and 2 backward a weight (towards its input alone), a trained one 6; below the
    trained blocks there is no way back, and after the first epoch no way forward. The head is at trained tokens alone.
    """
    network = plain(model.network)
    head = int(network.get_submodule(model.family.head).weight.numel())
    targets = tuple(f".{name}" for name in rows["targets"])
    linear = sum(int(m.weight.numel()) for name, m in network.named_modules() if name.endswith(targets))
    trained_share: float = rows["trained_tokens"] / rows["row_tokens"]
    count = len(blocks(network, model.family))
    above = min(rows.get("layers", count), count) / count
    return linear * (4.0 * above + 2.0 * (1 - above) / epochs) + 6.0 * adapter + 4.0 * head * trained_share


if __name__ == "__main__":
    serve(work)
