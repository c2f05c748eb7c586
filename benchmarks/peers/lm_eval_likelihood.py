"""The peer: lm-eval's Hugging Face backend on the same requests. Runs in its own environment, offline.

It gets what `lm_eval` gives it for a task of options: Instance objects with a (context, continuation) each, in the
order of the questions, so that its own sorting, batching and caching of logits do their work.
"""

import gc
import time
from importlib.metadata import version
from typing import Any

import torch
from child import digest_of_ids, peak_bytes, serve
from lm_eval.api.instance import Instance  # type: ignore[import-not-found]  # in .venv-bench-audit alone
from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]  # in .venv-bench-audit alone

Job = dict[str, Any]


def work(job: Job) -> Job:
    """job: model (folder), threads, requests (text pairs), warm_up (how many first), then one of

    batch_size: score the requests; or batch_sizes: only time each size (a number or 'auto'), 'auto' with its search.
    """
    torch.set_num_threads(job["threads"])
    if "batch_sizes" in job:
        return {"seconds": [_timed(job, size)[1][0] for size in job["batch_sizes"]]}
    lm, (seconds, worked), found = _timed(job, job["batch_size"])
    peak = peak_bytes()
    ids = [_ids(lm, *pair) for pair in job["requests"]]
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak,
        "log_likelihoods": [value for value, _ in found],
        "greedy": [greedy for _, greedy in found],
        "ids": digest_of_ids(ids),
        "threads": torch.get_num_threads(),
        "version": version("lm_eval"),
    }


def _timed(job: Job, batch_size: int | str) -> tuple[HFLM, tuple[float, float], list[tuple[float, bool]]]:
    """(backend, (seconds, the processor's), (nats, greedy) of each request), opening and warming up left out."""
    gc.collect()
    lm = HFLM(pretrained=job["model"], dtype="float32", device="cpu", batch_size=batch_size)
    asked = [_instance(pair, at) for at, pair in enumerate(job["requests"])]
    if batch_size != "auto":  # its search warms up as well
        lm.loglikelihood(asked[: job["warm_up"]], disable_tqdm=True)
    started, worked = time.perf_counter(), time.process_time()
    found = lm.loglikelihood(asked, disable_tqdm=True)
    return lm, (time.perf_counter() - started, time.process_time() - worked), found


def _instance(pair: list[str], at: int) -> Instance:
    return Instance(request_type="loglikelihood", doc={}, arguments=(pair[0], pair[1]), idx=at)


def _ids(lm: HFLM, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """(context ids, continuation ids) as the backend takes them: by its own functions."""
    if context:
        first, second = lm._encode_pair(context, continuation)
        return first, second
    ids = lm.tok_encode(continuation, add_special_tokens=False)
    return ([lm.prefix_token_id], ids) if ids[0] != lm.prefix_token_id else (ids[:1], ids[1:])


if __name__ == "__main__":
    serve(work)
