"""Held-out loss of each adapter, ours or a peer's, by one function: Limpide's scoring, in float32."""

from pathlib import Path
from typing import Any

import torch
from child import serve

from limpide.data.examples import load_examples
from limpide.models.model import open_model
from limpide.models.prompt import answer_request
from limpide.models.scoring import score


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: base, data, adapters (paths; null: the base alone), threads. Gives nats a trained token, in their order."""
    torch.set_num_threads(job["threads"])
    examples = load_examples(Path(job["data"]) / "held_out.jsonl")
    losses = []
    for adapter in job["adapters"]:
        model = open_model(Path(job["base"]), adapter=None if adapter is None else Path(adapter))
        scores = score(model, [answer_request(model, e) for e in examples])
        losses.append(-sum(s.log_likelihood for s in scores) / sum(s.tokens for s in scores))
    return {"losses": losses, "rows": len(examples)}


if __name__ == "__main__":
    serve(work)
