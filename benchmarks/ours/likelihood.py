"""Limpide's side: `scoring.score_with` on the requests, and how much arithmetic they need at least."""

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from child import digest_of_ids, peak_bytes, serve
from machine import matmul_rate

from limpide.models.encoding import encode_requests
from limpide.models.families.registry import backbone, plain
from limpide.models.model import Model, open_model
from limpide.models.requests import Request
from limpide.models.scoring import Options, score_with


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: model (folder), threads, requests (text pairs), warm_up (how many are scored first, untimed)."""
    torch.set_num_threads(job["threads"])
    model = open_model(Path(job["model"]))
    requests = [Request(str(at), context, continuation) for at, (context, continuation) in enumerate(job["requests"])]
    score_with(model, requests[: job["warm_up"]], Options())
    started, worked = time.perf_counter(), time.process_time()
    scored = score_with(model, requests, Options())
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    peak = peak_bytes()
    ids = [(item.context, item.continuation) for item in encode_requests(model, requests)]
    nodes, places = tree_nodes(ids), scored_places(ids)
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak,
        "log_likelihoods": [found.log_likelihood for found in scored.scores],
        "greedy": [found.greedy for found in scored.scores],
        "ids": digest_of_ids(ids),
        "record": dict(scored.record),
        "sent_tokens": sum(len(context) + len(continuation) - 1 for context, continuation in ids),
        "tree_tokens": nodes,
        "scored_places": places,
        "flops": _flops(model, nodes, places),
        "matmul_rate": matmul_rate("float32"),
        "threads": torch.get_num_threads(),
        "version": version("limpide"),
    }


Ids = Sequence[tuple[Sequence[int], Sequence[int]]]  # (context ids, continuation ids) of each request


def tree_nodes(ids: Ids) -> int:
    """Places of one prefix tree of all requests, the last token of each aside: it predicts nothing that is asked."""
    texts = sorted((*context, *continuation[:-1]) for context, continuation in ids)
    nodes, before = 0, tuple[int, ...]()
    for text in texts:  # sorted, so what a text shares with any text before, it shares with the last one
        shared = next((at for at, pair in enumerate(zip(before, text, strict=False)) if pair[0] != pair[1]), None)
        nodes += len(text) - (min(len(before), len(text)) if shared is None else shared)
        before = text
    return nodes


def scored_places(ids: Ids) -> int:
    """Places of that tree that are followed by a scored token, in any request: the head is needed once for each."""
    ends = ((context, continuation, at) for context, continuation in ids for at in range(len(continuation)))
    return len({(*context, *continuation[:at]) for context, continuation, at in ends})


def _flops(model: Model, nodes: int, places: int) -> float:
    """2 operations a weight: the body's matrices for each place of the tree, the head's for each scored one."""
    network = plain(model.network)
    body = sum(p.numel() for name, p in backbone(network, model.family).named_parameters() if _multiplies(name, p))
    head = int(network.get_submodule(model.family.head).weight.numel())
    return 2.0 * body * nodes + 2.0 * head * places


def _multiplies(name: str, parameter: torch.Tensor) -> bool:
    """A matrix that multiplies every token: neither a norm or bias, nor an embedding, which is looked up."""
    return parameter.ndim == 2 and "embed" not in name and "wte" not in name and "wpe" not in name


if __name__ == "__main__":
    serve(work)
