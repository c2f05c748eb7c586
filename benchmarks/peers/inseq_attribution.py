"""A peer: Inseq's integrated gradients on the same tokens. Runs in its own environment, offline."""

import time
from importlib.metadata import version
from typing import Any

import inseq  # type: ignore[import-not-found]  # in .venv-bench-attribution alone
import torch
from child import peak_bytes, serve
from transformers import AutoModelForCausalLM, AutoTokenizer

Job = dict[str, Any]


def work(job: Job) -> Job:
    """job: as for ours/attribution.py, method 'integrated-gradients-each'.

    values: [answer token][prompt token]. Inseq moves the answer's earlier tokens along the path too and explains them
    beside the prompt's, so only the values of the first answer token are defined as ours are. Its cross-entropy is
    minus the log-likelihood.
    """
    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    network = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    model = inseq.load_model(network, "integrated_gradients", tokenizer=tokenizer)
    prompt = tokenizer.decode(job["prompt_ids"])
    answer = tokenizer.decode(job["answer_ids"])
    if tokenizer(prompt + answer)["input_ids"] != job["prompt_ids"] + job["answer_ids"]:
        raise ValueError("the texts do not give their tokens back")
    _found(model, prompt, tokenizer.decode(job["answer_ids"][:1]), 2)  # warms up
    started, worked = time.perf_counter(), time.process_time()
    found = _found(model, prompt, answer, job["steps"])
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    shares = -found[: len(job["prompt_ids"])].sum(-1).T  # [answer token, prompt token]
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak_bytes(),
        "values": shares.tolist(),
        "total": float(shares.sum()),
        "threads": torch.get_num_threads(),
        "version": version("inseq"),
    }


def _found(model: Any, prompt: str, answer: str, steps: int) -> torch.Tensor:
    """float[tokens, answer tokens, width], as Inseq gives them before it puts them together."""
    out = model.attribute(
        prompt, prompt + answer, n_steps=steps, attributed_fn="crossentropy", show_progress=False, pretty_progress=False
    )
    found: torch.Tensor = out.sequence_attributions[0].target_attributions
    return found


if __name__ == "__main__":
    serve(work)
