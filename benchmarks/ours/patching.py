"""Limpide's side: every layer × place of the residual stream by `patching.patched`, and the arithmetic it needs."""

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from child import peak_bytes, serve
from machine import matmul_rate
from transformers import GPT2Config, GPT2LMHeadModel

from limpide.models.families.gpt2 import GPT2
from limpide.models.model import Model
from limpide.models.row import Row
from limpide.understand.patching import Cell, cells_of, pairs_of, patched
from limpide.understand.question import Decision
from limpide.understand.twins import Twin

Grid = list[list[float]]
Job = dict[str, Any]


def work(job: Job) -> Job:
    """job: config (of GPT2Config) and seed (of its random weights), clean_ids, corrupted_ids, token, rival, threads;
    naive: also one plain forward pass a cell. The grid holds logit(token) − logit(rival) at the last place."""
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    network = GPT2LMHeadModel(GPT2Config(**job["config"])).eval().requires_grad_(False)
    model = Model(Path(), "", GPT2, None, network, network.config.n_positions, "float32")
    _grid(model, job | {"clean_ids": job["clean_ids"][:4], "corrupted_ids": job["corrupted_ids"][:4]})  # warms up
    started, worked = time.perf_counter(), time.process_time()
    grid, cells = _grid(model, job)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    peak = peak_bytes()
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak,
        "grid": grid,
        "naive_grid": _naive(network, job) if job.get("naive") else None,
        "cells": len(cells),
        "flops": _flops(network, cells, len(job["clean_ids"])),
        "matmul_rate": matmul_rate("float32"),
        "threads": torch.get_num_threads(),
        "version": version("limpide"),
    }


def _grid(model: Model, job: Job) -> tuple[Grid, list[Cell]]:
    """From token ids to the grid: both runs are in it. Cells that are 0 by construction are the corrupted run's."""
    clean, corrupted = tuple(job["clean_ids"]), tuple(job["corrupted_ids"])
    row = Row(clean, (len(clean) - 1,), (job["token"],))
    decision = Decision(row, job["token"], job["rival"], False)
    [pair] = pairs_of(model, decision, Twin("", Row(corrupted, row.read, row.targets), (), "given"))
    cells = list(cells_of(model, pair, True, ("residual",)))
    logits = model.network.lm_head(pair.corrupted.hidden[0])
    base = float(logits[job["token"]] - logits[job["rival"]])
    grid = [[base] * pair.places for _ in range(len(pair.stack))]
    for cell, value in zip(cells, patched(model, decision, pair, [cell.patch for cell in cells]), strict=True):
        _, layer, place = cell.spot
        grid[layer][place] = float(value)
    return grid, cells


def _naive(network: Any, job: Job) -> Grid:
    """The definition: for each cell one whole forward pass, with nothing kept and no library of ours."""
    clean, corrupted = (torch.tensor([job[name]]) for name in ("clean_ids", "corrupted_ids"))
    with torch.inference_mode():
        states = network(clean, output_hidden_states=True).hidden_states  # before each block
        return [
            [_cell(network, corrupted, states[layer][:, place], layer, place, job) for place in range(clean.shape[1])]
            for layer in range(len(network.transformer.h))
        ]


def _cell(network: Any, ids: torch.Tensor, values: torch.Tensor, layer: int, place: int, job: Job) -> float:
    def put_in(_: Any, args: Any) -> Any:
        stream = args[0].clone()
        stream[:, place] = values
        return (stream, *args[1:])

    handle = network.transformer.h[layer].register_forward_pre_hook(put_in)
    try:
        logits = network(ids).logits[0, -1]
    finally:
        handle.remove()
    return float(logits[job["token"]] - logits[job["rival"]])


def _flops(network: Any, cells: list[Cell], places: int) -> float:
    """2 operations a weight of the blocks above each cell, for each place from the cell's on; attention left out."""
    weights = [sum(p.numel() for p in block.parameters() if p.ndim == 2) for block in network.transformer.h]
    return sum(2.0 * sum(weights[layer:]) * (places - place) for _, layer, place in (cell.spot for cell in cells))


if __name__ == "__main__":
    serve(work)
