"""A peer: Captum's attribution of language models on the same tokens. Runs in its own environment, offline."""

import time
from importlib.metadata import version
from typing import Any

import torch
from captum.attr import (  # type: ignore[import-not-found]  # in .venv-bench-attribution alone
    FeatureAblation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)
from child import peak_bytes, serve
from transformers import AutoModelForCausalLM, AutoTokenizer

Job = dict[str, Any]


def work(job: Job) -> Job:
    """job: as for ours/attribution.py, and one_pass: the whole answer is read in one pass, not token by token; for
    integrated gradients by a forward function of one's own, since Captum's classes for language models have none.

    Token by token, Captum's own default, is run without use_cached_outputs: with the cache, Captum 0.9.0 gives other
    log-likelihoods on transformers 5.23 (totals of opposite sign on the same tokens).
    Its classes give each answer token in any case: values are [answer token][prompt token].
    """
    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    network = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    given = TextTokenInput(tokenizer.decode(job["prompt_ids"]), tokenizer, baselines=job["baseline_id"])
    if given.inp_tensor[0].tolist() != job["prompt_ids"]:
        raise ValueError("the prompt's text does not give its tokens back")
    answer = torch.tensor(job["answer_ids"])
    alone = job.get("one_pass", False) and job["method"] != "occlusion"
    run = _whole if alone else _found
    run(job | {"steps": 2}, network, tokenizer, given, answer[:1])  # warms up
    started, worked = time.perf_counter(), time.process_time()
    values = run(job, network, tokenizer, given, answer)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak_bytes(),
        "values": values.tolist(),
        "total": float(values.sum()),
        "threads": torch.get_num_threads(),
        "version": version("captum"),
    }


def _found(job: Job, network: Any, tokenizer: Any, given: Any, answer: torch.Tensor) -> torch.Tensor:
    """Integrated gradients run all the steps as one batch, Captum's default and its fastest setting here."""
    if job["method"] == "occlusion":
        method: Any = LLMAttribution(FeatureAblation(network), tokenizer)
        with torch.no_grad():
            tokens = not job.get("one_pass", False)
            return method.attribute(given, target=answer, forward_in_tokens=tokens, use_cached_outputs=False).token_attr
    layer = LayerIntegratedGradients(network, network.get_input_embeddings())
    method = LLMGradientAttribution(layer, tokenizer)
    return method.attribute(given, target=answer, n_steps=job["steps"], method="gausslegendre").token_attr


def _whole(job: Job, network: Any, tokenizer: Any, given: Any, answer: torch.Tensor) -> torch.Tensor:
    """Integrated gradients of the answer's log-likelihood, float[prompt token], from one backward pass a point."""
    ids = given.inp_tensor
    baseline = torch.full_like(ids, job["baseline_id"])

    def likelihood(prompt: torch.Tensor) -> torch.Tensor:
        row = torch.cat([prompt, answer[None, :-1].expand(len(prompt), -1)], 1)
        logits = network(row, use_cache=False).logits[:, ids.shape[1] - 1 :]
        targets = answer[None, :, None].expand(len(prompt), -1, 1)
        return logits.log_softmax(-1).gather(2, targets)[..., 0].sum(1)

    layer = LayerIntegratedGradients(likelihood, network.get_input_embeddings())
    found: torch.Tensor = layer.attribute(ids, baseline, n_steps=job["steps"], method="gausslegendre")
    return found[0, : ids.shape[1]].sum(-1)


if __name__ == "__main__":
    serve(work)
