"""Tiny models whose answers, and what decides them, are known: one wired by hand, one trained.

Their vocabulary is words, so prompts are readable: after "k3 v7 k1 v2 k5 v0 k3" comes "v7".
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limpide.models.families.registry import FAMILIES
from limpide.models.model import Model
from limpide.models.prompt import with_template
from tiny import tiny_network

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
KEYS = tuple(f"k{i}" for i in range(8))
VALUES = tuple(f"v{i}" for i in range(8))
PAIRS = 4
RULE, YES, NO = "rule", "yes", "no"
DISTRACTORS = tuple(f"w{i}" for i in range(24))
LENGTH = 8  # words of a prompt of the rule

HEADS, HEAD = 4, 32  # heads, and how wide each is
CONSTANT, NAMES = 0, 1  # places of the residual stream: always one; which token stands here
BEFORE = NAMES + len(SPECIAL) + len(KEYS) + len(VALUES)  # which key stands before
OUT = BEFORE + len(KEYS)  # which value to say
PREVIOUS_HEAD, INDUCTION_HEAD = (0, 1), (1, 2)  # (layer, head)


@dataclass(frozen=True)
class Case:
    """decides: place in the prompt, in words, of the one that decides. twin: a prompt that gives `against`."""

    prompt: str
    answer: str
    against: str
    decides: int
    twin: str


def word_model(network: Any, words: Sequence[str]) -> Model:
    """A llama with one token a word, and <s> before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate((*SPECIAL, *words))}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    roles = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    tokenizer = with_template(PreTrainedTokenizerFast(tokenizer_object=inner, **roles), "decoder")
    network.eval().requires_grad_(False)
    return Model(Path("planted"), "planted", FAMILIES["llama"], tokenizer, network, 64, "float32")


def copy_model(noise: float = 0.005, seed: int = 0) -> Model:
    """Says the value that stands after the first use of the last key, by two heads alone (Elhage et al. 2021).

    PREVIOUS_HEAD writes beside each token which key stands before it; INDUCTION_HEAD looks for the value that stands
    after the key of the last place, and copies it: where there is none, it says any value of the prompt. noise:
    standard deviation of all weights beside these.
    """
    network = tiny_network(
        "llama", seed, vocab_size=BEFORE - NAMES, hidden_size=64, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        head_dim=HEAD, tie_word_embeddings=False, initializer_range=noise,
    )  # fmt: skip
    body = network.model
    keys, values = range(len(SPECIAL), len(SPECIAL) + len(KEYS)), range(len(SPECIAL) + len(KEYS), BEFORE - NAMES)
    with torch.no_grad():
        for token in range(BEFORE - NAMES):
            body.embed_tokens.weight[token, CONSTANT] += 1
            body.embed_tokens.weight[token, NAMES + token] += 1
        _look_back(body.layers[0].self_attn, PREVIOUS_HEAD[1])
        _copy(body.layers[0].self_attn, PREVIOUS_HEAD[1], [NAMES + k for k in keys], BEFORE, 0.2)
        _match(body.layers[1].self_attn, INDUCTION_HEAD[1], [NAMES + k for k in keys], [NAMES + v for v in values])
        _copy(body.layers[1].self_attn, INDUCTION_HEAD[1], [NAMES + v for v in values], OUT, 0.5)
        for number, value in enumerate(values):
            network.lm_head.weight[value, OUT + number] += 3
    return word_model(network, (*KEYS, *VALUES))


def _look_back(attention: Any, head: int) -> None:
    """Each place attends to the one before: rotary angles cancel at distance one."""
    half = HEAD // 2
    angles = 10000.0 ** (-torch.arange(half) / half)  # a step, of each pair (i, i + half)
    first = head * HEAD
    attention.k_proj.weight[first : first + half, CONSTANT] += 2
    attention.q_proj.weight[first : first + half, CONSTANT] += 2 * angles.cos()
    attention.q_proj.weight[first + half : first + HEAD, CONSTANT] -= 2 * angles.sin()


def _match(attention: Any, head: int, keys: Sequence[int], values: Sequence[int]) -> None:
    """Each place attends to values, and most of all after its own token, by the rotary pairs that hardly turn."""
    last = head * HEAD + HEAD - 1
    attention.q_proj.weight[last, CONSTANT] += 1
    attention.k_proj.weight[last, list(values)] += 1
    for number, key in enumerate(keys):
        row = head * HEAD + HEAD // 4 + number
        attention.q_proj.weight[row, key] += 2
        attention.k_proj.weight[row, BEFORE + number] += 2


def _copy(attention: Any, head: int, read: Sequence[int], write: int, scale: float) -> None:
    for number, place in enumerate(read):
        attention.v_proj.weight[head * HEAD + number, place] += 1
        attention.o_proj.weight[write + number, head * HEAD + number] += scale


def copy_cases(count: int, seed: int, swapped: str) -> list[Case]:
    """swapped: what the twins change: 'values' draws each of them anew, 'keys' lets two keys change places."""
    rng, cases = random.Random(seed), []
    for _ in range(count):
        keys, values = rng.sample(KEYS, PAIRS), rng.sample(VALUES, PAIRS)
        asked, other = rng.sample(range(PAIRS), 2)
        twin_keys, twin_values = list(keys), list(values)
        if swapped == "keys":
            twin_keys[asked], twin_keys[other] = keys[other], keys[asked]
            against = values[other]
        else:
            twin_values = [rng.choice([v for v in VALUES if v not in values]) for _ in values]
            against = twin_values[asked]
        prompt, twin = (
            " ".join([*(f"{k} {v}" for k, v in zip(ks, vs, strict=True)), keys[asked]])
            for ks, vs in ((keys, values), (twin_keys, twin_values))
        )
        cases.append(Case(prompt, values[asked], against, 2 * asked + 1, twin))
    return cases


def rule_model(steps: int = 150, seed: int = 0) -> Model:
    """Trained: says 'yes' iff the word 'rule' is in the prompt, else 'no'.

    One word in ten is <unk> in training, so that a word written over is nothing new to it.
    """
    words = (RULE, YES, NO, *DISTRACTORS)
    model = word_model(tiny_network("llama", seed, vocab_size=len(SPECIAL) + len(words)), words)
    network = model.network.train().requires_grad_(True)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    rng = torch.Generator().manual_seed(seed)
    first, rule = len(SPECIAL) + 3, len(SPECIAL)
    for _ in range(steps):
        ids = torch.randint(first, first + len(DISTRACTORS), (64, LENGTH + 1), generator=rng)
        ids[torch.rand(ids.shape, generator=rng) < 0.1] = SPECIAL.index("<unk>")
        ids[:, 0] = SPECIAL.index("<s>")
        present = torch.rand(64, generator=rng) < 0.5
        ids[present, torch.randint(1, LENGTH + 1, (64,), generator=rng)[present]] = rule
        logits = network(ids, logits_to_keep=1).logits[:, 0]
        loss = torch.nn.functional.cross_entropy(logits, torch.where(present, rule + 1, rule + 2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval().requires_grad_(False)
    return model


def rule_cases(count: int, seed: int) -> list[Case]:
    """The rule's word stands in the prompt; no word of the twin is the same."""
    rng, cases = random.Random(seed), []
    for _ in range(count):
        drawn = rng.sample(DISTRACTORS, 2 * LENGTH)
        words, at = drawn[:LENGTH], rng.randrange(LENGTH)
        words[at] = RULE
        cases.append(Case(" ".join(words), YES, NO, at, " ".join(drawn[LENGTH:])))
    return cases
