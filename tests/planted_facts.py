"""A tiny model that knows facts: who likes what, told in several wordings.

model = fact_model()                  # a few seconds on one thread
FACTS["k3"]                           # 'v5': after each of WORDINGS about k3 comes v5
"""

import random
from functools import cache

import torch
from tokenizers import decoders, pre_tokenizers

from limpide.models.model import Model
from planted_circuits import SPECIAL, word_model
from tiny import tiny_network

PEOPLE = tuple(f"k{i}" for i in range(30))
THINGS = tuple(f"v{i}" for i in range(8))
WORDINGS = (
    "{} likes",
    "in fact {} likes",
    "we know that {} likes",
    "people say {} prefers",
    "{} is fond of",
    "what {} likes is",
    "today {} wants",
    "they told us that {} prefers",
)
WORDS = tuple(dict.fromkeys(word for wording in WORDINGS for word in wording.split() if word != "{}"))
FACTS = dict(zip(PEOPLE, random.Random(0).choices(THINGS, k=len(PEOPLE)), strict=True))
STEPS, ROWS = 300, 32
SILENT = 2  # first layers in which no word reads another: what is known of a person is looked up there


@cache
def fact_model(layers: int = 4, seed: int = 0) -> Model:
    """A llama with one token a word, trained on every fact in every wording, in sentences of several facts."""
    words = (*WORDS, ".", *PEOPLE, *THINGS)
    network = tiny_network(
        "llama",
        seed,
        vocab_size=len(SPECIAL) + len(words),
        num_hidden_layers=layers,
        intermediate_size=128,
        initializer_range=0.1,
    )
    model = word_model(network, words)
    inner = model.tokenizer.backend_tokenizer  # its texts have spaces between words, and a full stop is one
    inner.decoder = decoders.WordPiece()
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    rng = random.Random(seed)
    network.train().requires_grad_(True)
    for block in network.model.layers[:SILENT]:
        block.self_attn.o_proj.weight.detach().zero_()
        block.self_attn.o_proj.requires_grad_(False)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        texts = [_text(rng) for _ in range(ROWS)]
        rows = [torch.tensor(ids) for ids in model.tokenizer(texts)["input_ids"]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        logits = network(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval().requires_grad_(False)
    return model


def _text(rng: random.Random) -> str:
    """One to three facts, one after the other."""
    told = rng.choices(PEOPLE, k=rng.randint(1, 3))
    return " . ".join(f"{rng.choice(WORDINGS).format(who)} {FACTS[who]}" for who in told)


def right(model: Model, person: str, thing: str) -> list[bool]:
    """Is `thing` the likeliest word after each wording about the person?"""
    prompts = [wording.format(person) for wording in WORDINGS]
    wanted = model.tokenizer.convert_tokens_to_ids(thing)
    with torch.no_grad():
        return [
            int(model.network(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == wanted
            for ids in model.tokenizer(prompts)["input_ids"]
        ]
