"""The peer: TransformerLens's own patching of the residual stream. Runs in its own environment, offline.

The same weights: the network is made by transformers from the same seed, and converted by TransformerLens's own
function, with nothing folded or centred, so that both compute the same numbers.
"""

import time
from importlib.metadata import version
from typing import Any

import torch
from child import peak_bytes, serve
from transformer_lens import (  # type: ignore[import-not-found]  # in .venv-bench-lens alone
    HookedTransformer,
    HookedTransformerConfig,
    patching,
)
from transformer_lens.pretrained.weight_conversions.gpt2 import (  # type: ignore[import-not-found]  # as above
    convert_gpt2_weights,
)
from transformers import GPT2Config, GPT2LMHeadModel

Job = dict[str, Any]


def work(job: Job) -> Job:
    """job: as that of ours/patching.py."""
    torch.set_num_threads(job["threads"])
    torch.set_grad_enabled(False)
    model = _model(job)
    _grid(model, job | {"clean_ids": job["clean_ids"][:2], "corrupted_ids": job["corrupted_ids"][:2]})  # warms up
    started, worked = time.perf_counter(), time.process_time()
    grid = _grid(model, job)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak_bytes(),
        "grid": grid,
        "threads": torch.get_num_threads(),
        "version": version("transformer_lens"),
    }


def _model(job: Job) -> Any:
    torch.manual_seed(job["seed"])
    network = GPT2LMHeadModel(GPT2Config(**job["config"])).eval()
    config = network.config
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=config.n_layer,
            d_model=config.n_embd,
            n_heads=config.n_head,
            d_head=config.n_embd // config.n_head,
            d_mlp=4 * config.n_embd,
            d_vocab=config.vocab_size,
            n_ctx=config.n_positions,
            act_fn=config.activation_function,
            eps=config.layer_norm_epsilon,
            normalization_type="LN",
            default_prepend_bos=False,
        )
    )
    model.load_state_dict(convert_gpt2_weights(network, model.cfg), strict=False)  # its masks are buffers, not weights
    return model.eval()


def _grid(model: Any, job: Job) -> list[list[float]]:
    """logit(token) − logit(rival) at the last place, for every layer and place: as its documentation calls it."""
    clean, corrupted = (torch.tensor([job[name]]) for name in ("clean_ids", "corrupted_ids"))
    _, cache = model.run_with_cache(clean)

    def difference(logits: torch.Tensor) -> torch.Tensor:
        return logits[0, -1, job["token"]] - logits[0, -1, job["rival"]]

    found: list[list[float]] = patching.get_act_patch_resid_pre(model, corrupted, cache, difference).tolist()
    return found


if __name__ == "__main__":
    serve(work)
