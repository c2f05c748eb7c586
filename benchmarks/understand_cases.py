"""What both sides explain: a text for attribution, and pairs of texts that differ by one token for patching."""

from dataclasses import dataclass
from typing import Any

PROMPT = (
    "The operator noticed that the pressure gauge of the second press had fallen well below its usual mark, so before "
    "starting the night shift he decided to"
)
ANSWER = (
    " call the maintenance team and wait until the pump had been checked, because the manual forbids running the press"
)
PROMPT_TOKENS, ANSWER_TOKENS = 27, 16
LONG = 1000  # tokens of the prompt whose memory is measured
STEPS = 32  # of integrated gradients

# GPT-2's own shape, with random weights: patching costs the same whatever the weights are.
GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "vocab_size": 50257}
LENGTHS = (15, 40)


@dataclass(frozen=True)
class Pair:
    """Two texts as token ids, alike but for one place."""

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]


def texts(tokenizer: Any) -> tuple[list[int], list[int]]:
    """(prompt ids, answer ids)."""
    prompt, answer = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (PROMPT, ANSWER))
    return prompt[:PROMPT_TOKENS], answer[:ANSWER_TOKENS]


def long_prompt(tokenizer: Any) -> list[int]:
    """`LONG` token ids: the prompt again and again."""
    ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    return [ids[at % len(ids)] for at in range(LONG)]


def pair(length: int, seed: int = 0) -> Pair:
    """The second token differs: all but the first place have to be patched, so that our shortcut saves little."""
    import random

    draw = random.Random(seed)
    clean = [draw.randrange(1000, 40000) for _ in range(length)]
    corrupted = list(clean)
    corrupted[1] = clean[1] + 1
    return Pair(tuple(clean), tuple(corrupted))
