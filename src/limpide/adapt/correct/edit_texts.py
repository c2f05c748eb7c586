"""Ordinary texts, at hand without a download: what the model itself writes, and contexts of shipped templates."""

from typing import TYPE_CHECKING, Any

import torch

from limpide.adapt.correct.edit_keys import Texts
from limpide.data import templates
from limpide.models.families.registry import plain
from limpide.models.linear import wide_products

if TYPE_CHECKING:
    from limpide.models.model import Model

OPENINGS = {
    "en": (
        "The",
        "In",
        "When",
        "It",
        "Many",
        "A",
        "There",
        "One",
        "For",
        "Some",
        "He",
        "She",
        "You",
        "We",
        "Most",
        "If",
    ),
    "fr": (
        "Le",
        "La",
        "Les",
        "Dans",
        "Quand",
        "Il",
        "Elle",
        "Un",
        "Une",
        "Pour",
        "On",
        "En",
        "Nous",
        "Ce",
        "Des",
        "Si",
    ),
}
LONG = 64  # tokens of each text that the model writes
AT_ONCE = 64  # texts written together
TEMPLATES = 150  # shipped contexts beside them: every kind of sentence, once


def own_texts(model: "Model", language: str, tokens: int, seed: int) -> list[tuple[int, ...]]:
    """Token ids of texts drawn from a decoder at temperature 1, each from a common first word; its end is never drawn.

    Equal seeds give equal texts. An encoder or an encoder–decoder writes none: an empty list.
    """
    if model.kind != "decoder":
        return []
    draws, words = torch.Generator().manual_seed(seed), OPENINGS[language]
    start = model.tokenizer.bos_token_id
    start = model.tokenizer.eos_token_id if start is None else start
    known = [model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]
    firsts = [[token] for token in known if token != model.tokenizer.unk_token_id] or [[]]
    long = min(LONG, model.context - 2)
    count = max(1, tokens // long)
    found: list[tuple[int, ...]] = []
    for first in range(0, count, AT_ONCE):
        some = [[start, *firsts[k % len(firsts)]] for k in range(first, min(count, first + AT_ONCE))]
        found += [tuple(row) for row in _written(model, torch.tensor(some), long, draws).tolist()]
    return found


def _written(model: "Model", ids: torch.Tensor, long: int, draws: torch.Generator) -> torch.Tensor:
    from transformers import DynamicCache

    network: Any = plain(model.network)
    never = sorted({*model.stop_ids, *model.tokenizer.all_special_ids} & set(range(network.config.vocab_size)))
    cache = DynamicCache(config=network.config)
    with torch.inference_mode(), wide_products(network):
        read = ids
        for _ in range(long):
            logits = network(input_ids=read, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            logits[:, never] = -torch.inf
            read = torch.multinomial(logits.float().softmax(-1), 1, generator=draws)
            ids = torch.cat([ids, read], 1)
    return ids


def shipped_texts(model: "Model", language: str, count: int = TEMPLATES) -> list[tuple[int, ...]]:
    """Token ids of contexts of the templates that corrections may be fitted on, one filling of each."""
    cases = {case.template: case.other for case in templates.read_cases(templates.AXES, (language,), "fit")}
    return [tuple(model.tokenizer(text)["input_ids"]) for text in list(cases.values())[:count]]


def ordinary_texts(model: "Model", language: str, tokens: int, seed: int) -> Texts:
    return Texts((*own_texts(model, language, tokens, seed), *shipped_texts(model, language)))


def beginnings(model: "Model", texts: Texts, language: str, count: int) -> list[str]:
    """What the prompt is read behind: nothing, then beginnings of texts, of about 5 and of about 10 tokens in turn."""
    found = [""]
    for k, row in enumerate(texts.rows[: max(0, count - 1)]):
        words = model.tokenizer.decode(row[: 6 + 5 * (k % 2)], skip_special_tokens=True).split()
        found.append(" ".join(words) + ". " if words else "")
    return list(dict.fromkeys(found))[:count]
