"""Scores of whole sentences as the papers' own code computes them, asked of the likelihood engine in batches."""

import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.models.requests import Request
from limpide.models.respondents import Opened

Ids = tuple[int, ...]


def encoded(tokenizer: Any, sentences: Iterable[str]) -> dict[str, Ids]:
    """Token ids of each sentence, without special tokens. Raises ModelError for a sentence that has none."""
    found = {text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in dict.fromkeys(sentences)}
    empty = [text for text, ids in found.items() if not ids]
    if empty:
        raise ModelError("The tokenizer leaves nothing of a sentence.", received=repr(empty[0]))
    return found


def geometric_means(
    respondent: Opened, sentences: Sequence[str], compared: Sequence[tuple[str, ...]], progress: Progress
) -> dict[str, float]:
    """sentence → geometric mean of its token probabilities, for a decoder.

    As bias-bench and StereoSet compute it for GPT-2: the first token after the start token alone; each other one after
    the tokens before it, the start token not among them. compared: sentences whose scores are compared.
    """
    tokenizer = respondent.model.tokenizer
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise ModelError("The tokenizer has neither a start nor an end token, and the first word needs one before it.")
    ids = encoded(tokenizer, sentences)
    firsts = {first: place for place, first in enumerate(dict.fromkeys(tokens[:1] for tokens in ids.values()))}
    requests = [Request(f"first-{tokens[0]}", (start,), tokens) for tokens in firsts]
    rests: dict[str, int] = {}
    for text, tokens in ids.items():
        if len(tokens) > 1:
            rests[text] = len(requests)
            requests.append(Request(f"rest-{len(requests)}", tokens[:1], tokens[1:]))

    def parts(text: str) -> tuple[int, ...]:
        return (firsts[ids[text][:1]], *([rests[text]] if text in rests else []))

    groups = [tuple(parts(text) for text in group) for group in compared]
    scores = respondent.score(requests, progress, groups)
    return {
        text: math.exp(sum(scores[place].log_likelihood for place in parts(text)) / len(tokens))
        for text, tokens in ids.items()
    }


def token_scores(
    respondent: Opened, sentences: Sequence[str], compared: Sequence[tuple[str, ...]], progress: Progress
) -> dict[str, tuple[float, ...]]:
    """sentence → log-likelihood of each of its tokens, masked alone, the others in sight; for an encoder. Nats."""
    ids = encoded(respondent.model.tokenizer, sentences)
    places = {text: place for place, text in enumerate(ids)}
    requests = [Request(str(place), (), ids[text]) for text, place in places.items()]
    # A sum over some of the tokens decides, so every pair counts as close: an option is as near as can be to itself.
    groups = [tuple(places[text] for text in (*group, group[0])) for group in compared]
    scores = respondent.score(requests, progress, groups)
    return {text: scores[place].token_log_likelihoods for text, place in places.items()}


def aligned(first: Ids, second: Ids) -> tuple[list[tuple[int, int]], tuple[list[int], list[int]]]:
    """(places shared by both, places that differ in each), by difflib's blocks, as the authors' code finds them.

    The order of the two matters where several alignments are equally long.
    """
    shared: list[tuple[int, int]] = []
    differing: tuple[list[int], list[int]] = ([], [])
    matcher = SequenceMatcher(None, [str(i) for i in first], [str(i) for i in second])
    for operation, start, end, other_start, other_end in matcher.get_opcodes():
        if operation == "equal":
            shared += zip(range(start, end), range(other_start, other_end), strict=True)
        else:
            differing[0].extend(range(start, end))
            differing[1].extend(range(other_start, other_end))
    return shared, differing


def is_uncased(tokenizer: Any) -> bool:
    """Whether case is lost on this tokenizer."""
    mixed, lower = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Paris", "paris"))
    return list(mixed) == list(lower)
