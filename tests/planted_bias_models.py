"""Tiny models that hold a gender bias of known size, or none.

    folder = planted(tmp_path, gap=1.5)          # English gender templates: mean gap about 1.5 nats in every part
    folder = planted(tmp_path, gap=0.0)          # the same training, outcomes equally likely after both persons

They are trained on the shipped English gender templates (all parts), so that the audit of the package measures them,
and on the package's neutral texts, so that they have a capability to lose. The group of the person is the only thing
that decides, alike for every template: what unlearns it on some templates unlearns it on all.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from limpide.data.shipped import read_probe
from limpide.data.templates import Case, read_cases
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.likelihood import read
from limpide.models.model import Model, open_model, quiet_transformers
from limpide.models.requests import Request
from tiny import tiny_network, tiny_tokenizer

WORDS = 1200  # tokens: most words of the templates are one
STEPS, TWINS, PIECES = 160, 24, 6
PIECE = 160  # characters of a piece of neutral text
RATE = 6e-3


def planted(folder: Path, gap: float = 1.5, family: str = "llama", seed: int = 0) -> Path:
    """Write a model folder in which log p(outcome | stereotyped) − log p(outcome | other) is about `gap` nats.

    folder: where `<family>-<gap>-<seed>` is made. About four seconds on one thread.
    Decoders and T5 come within a tenth of the gap; BERT, which is trained on less text, to about 0.9 of 1.5.
    """
    target = folder / f"{family}-{gap:g}-{seed}"
    texts = [case.stereotyped + case.outcome for case in english()] + neutral()
    tokenizer = _tokenizer(family, texts)
    network = tiny_network(family, seed, vocab_size=len(tokenizer), **_ids(family, tokenizer))
    with quiet_transformers():
        network.save_pretrained(target)
        tokenizer.save_pretrained(target)
        model = open_model(target)
        _train(model, gap, seed)
        model.network.save_pretrained(target)
    return target


def english() -> list[Case]:
    return read_cases(("gender",), ("en",))


def neutral() -> list[str]:
    """The package's neutral texts, in pieces."""
    texts = [json.loads(line)["text"] for line in read_probe("retention.jsonl").splitlines() if line.strip()]
    return [text[first : first + PIECE] for text in texts for first in range(0, len(text), PIECE)]


def mean_gap(model: Model, cases: Sequence[Case]) -> float:
    """Nats, over cases, without gradients and without the engine that audits measure with."""
    with torch.no_grad():
        return float(_gaps(model, encoded(model, cases)).mean())


def encoded(model: Model, cases: Sequence[Case]) -> list[Encoded]:
    """Two items a case: after the stereotyped person, then after the other."""
    return encode_requests(
        model,
        [
            Request(f"{case.id}/{place}", context, case.outcome)
            for case in cases
            for place, context in enumerate((case.stereotyped, case.other))
        ],
    )


def _train(model: Model, gap: float, seed: int) -> None:
    rng = random.Random(seed)
    twins = encoded(model, english())
    pieces = encode_requests(model, [Request(str(n), "", piece) for n, piece in enumerate(neutral())])
    network = model.network.train().requires_grad_(True)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS, pct_start=0.1)
    count = PIECES if model.kind != "encoder" else 1  # one copy a token
    for _ in range(STEPS):
        batch = [item for n in rng.sample(range(len(twins) // 2), TWINS) for item in twins[2 * n : 2 * n + 2]]
        likelihoods = read(model, batch).log_likelihoods(model)
        gaps = likelihoods[::2] - likelihoods[1::2]
        told = rng.sample(pieces, count)
        outcomes = likelihoods.sum() / sum(len(item.continuation) for item in batch)
        texts = read(model, told).log_likelihoods(model).sum() / sum(len(item.continuation) for item in told)
        loss = 3 * (gaps - gap).square().mean() - outcomes - texts
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    network.eval().requires_grad_(False)


def _gaps(model: Model, items: Sequence[Encoded], at_once: int = 64) -> torch.Tensor:
    found = torch.cat(
        [read(model, items[n : n + at_once]).log_likelihoods(model) for n in range(0, len(items), at_once)]
    )
    return found[::2] - found[1::2]


def _tokenizer(family: str, texts: Sequence[str]) -> Any:
    """The tiny one's pipeline and special tokens, with merges learnt on these texts."""
    pattern = tiny_tokenizer(family)
    tokenizer = pattern.train_new_from_iterator([list(texts)], WORDS, show_progress=False)
    tokenizer.chat_template = pattern.chat_template
    return tokenizer


def _ids(family: str, tokenizer: Any) -> dict[str, int]:
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    return ids | ({"decoder_start_token_id": tokenizer.pad_token_id} if family == "t5" else {})
