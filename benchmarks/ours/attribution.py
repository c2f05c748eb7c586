"""Limpide's side: occlusion, or integrated gradients at a fixed number of points, of a given answer."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from child import peak_bytes, serve
from machine import matmul_rate

from limpide.models.model import Model, open_model
from limpide.models.row import Row, row_of
from limpide.understand.attribution import baseline_of, occluded
from limpide.understand.integrated import Term, gauss_legendre, path_gradients

Shares = Callable[[Model, Row, range, dict[str, Any]], torch.Tensor]


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: model (folder), threads, prompt_ids, answer_ids, method, steps, baseline_id.

    values: of each prompt token, or for 'integrated-gradients-each' and 'occlusion' [answer token][prompt token].
    total: what they sum to.
    """
    torch.set_num_threads(job["threads"])
    model = open_model(Path(job["model"]))
    row = row_of(model, job["prompt_ids"], job["answer_ids"])
    places = range(len(job["prompt_ids"]))
    shares = {
        "occlusion": _occlusion,
        "integrated-gradients": _whole,
        "integrated-gradients-each": _each,
    }[job["method"]]
    shares(model, row, places[:2], job | {"steps": 2})  # warms up
    started, worked = time.perf_counter(), time.process_time()
    values = shares(model, row, places, job)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak_bytes(),
        "values": values.tolist(),
        "total": float(values.sum()),
        "matmul_rate": matmul_rate("float32"),
        "threads": torch.get_num_threads(),
        "version": version("limpide"),
    }


def _occlusion(model: Model, row: Row, places: range, job: dict[str, Any]) -> torch.Tensor:
    return occluded(model, [Term(row)], [(place,) for place in places], job["baseline_id"])[0].T


def _whole(model: Model, row: Row, places: range, job: dict[str, Any], each_token: bool = False) -> torch.Tensor:
    nodes, weights = gauss_legendre(job["steps"])
    baseline = baseline_of(model, row, places, job["baseline_id"])
    found = path_gradients(model, Term(row), baseline, nodes, each_token=each_token)
    return (weights @ found)[..., : len(places)]


def _each(model: Model, row: Row, places: range, job: dict[str, Any]) -> torch.Tensor:
    return _whole(model, row, places, job, each_token=True)


if __name__ == "__main__":
    serve(work)
