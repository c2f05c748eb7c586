"""The likelihood engine: how likely a model finds a continuation after a context.

Decoders see requests arranged as prefix trees, so that shared text is computed once; others see them sorted by
length and padded to a token budget. The vocabulary is projected only where a token is scored, and its log-sum-exp
taken in chunks, so no [batch, tokens, vocabulary] tensor ever exists.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import LimpideError, ModelError
from limpide.core.progress import Progress, Quiet
from limpide.models.families.registry import backbone, logits_from_hidden, plain
from limpide.models.masks import attention_mask
from limpide.models.requests import Request, Score
from limpide.models.tree import ancestors, tree_packs

if TYPE_CHECKING:
    from limpide.models.model import Model

TREE_BUDGET = 768  # nodes of one prefix tree: attention grows with its square
TOKEN_BUDGET = 2048  # padded tokens a batch, where no tree is used
HEAD_ROWS = 256  # scored positions projected on the vocabulary at once


@dataclass(frozen=True)
class _Encoded:
    index: int
    context: tuple[int, ...]
    continuation: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.context) + len(self.continuation)


def score(model: "Model", requests: Sequence[Request], progress: Progress | None = None) -> list[Score]:
    """Scores in the order of `requests`.

    Raises ModelError for an empty continuation or a request longer than the context; LimpideError on NaN.
    A decoder conditions on the context; an encoder gives the pseudo-log-likelihood, each token masked in turn.
    """
    progress = progress or Quiet()
    encoded = [_encode(model, r, i) for i, r in enumerate(requests)]
    scores: list[Score | None] = [None] * len(requests)
    parts = _score_tree if model.kind == "decoder" else _score_padded
    with progress.task("scoring", total=len(requests)) as task, torch.inference_mode():
        for part in parts(model, encoded):
            for item, (values, greedy) in part:
                scores[item.index] = _score(requests[item.index].id, values, greedy)
            task.advance(len(part))
    return [s for s in scores if s is not None]


def log_probabilities(model: "Model", ids: Sequence[int], last: int) -> torch.Tensor:
    """Next-token log-probabilities, in nats, after each of the last `last` tokens of one sequence (decoders).

    Returns float32[last, vocabulary]; row −1 is what follows the whole sequence.
    """
    with torch.inference_mode():
        output = backbone(model.network, model.family)(input_ids=torch.tensor([list(ids)]), use_cache=False)
        hidden = output.last_hidden_state[0, -last:]
        return logits_from_hidden(model.network, model.family, hidden).float().log_softmax(-1)


def encode_request(model: "Model", request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(context ids, continuation ids). A token that straddles the boundary belongs to the continuation.

    A decoder's context starts with the tokenizer's own BOS, once, where it adds one; text alone is never without
    a start: the BOS, else the end token. Ids are taken as they are.
    """
    if isinstance(request.context, tuple) and isinstance(request.continuation, tuple):
        return request.context, request.continuation
    if not isinstance(request.context, str) or not isinstance(request.continuation, str):
        raise LimpideError(f"Request '{request.id}' mixes text and token ids.", expected="both of one sort")
    tokenizer = model.tokenizer
    if model.kind == "encoder-decoder":
        target = tokenizer(request.continuation, add_special_tokens=False)["input_ids"]
        return tuple(tokenizer(request.context)["input_ids"]), tuple(target)
    text = request.context + request.continuation
    joint = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = joint["input_ids"], joint["offset_mapping"]
    cut = next((i for i, (_, end) in enumerate(offsets) if end > len(request.context)), len(ids))
    start = [] if cut and ids[0] == tokenizer.bos_token_id else _start(tokenizer, cut == 0)
    return (*start, *ids[:cut]), tuple(ids[cut:])


def _start(tokenizer: Any, must: bool) -> list[int]:
    """The token before the text: the BOS that this tokenizer adds by itself, or any start when there must be one."""
    probe = tokenizer("a")["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is not None and probe and probe[0] == bos:
        return [bos]
    if not must:
        return []
    start = bos if bos is not None else tokenizer.eos_token_id
    return [] if start is None else [start]


def _encode(model: "Model", request: Request, index: int) -> _Encoded:
    context, continuation = encode_request(model, request)
    item = _Encoded(index, context, continuation)
    if not continuation:
        raise ModelError(f"Request '{request.id}' has an empty continuation, so there is nothing to score.")
    if not context and model.kind == "decoder":
        raise ModelError(
            f"Request '{request.id}' has an empty context, and a decoder predicts from what comes before.",
            remedy="start the context with the BOS token, or with any token where the model has none",
        )
    length = len(item) + (2 if model.kind == "encoder" else 0)  # [CLS] and [SEP] stand around
    if length > model.context:
        raise ModelError(
            f"Request '{request.id}' is longer than the model's context.",
            received=f"{length} tokens",
            expected=f"at most {model.context}",
            remedy="shorten it; Limpide never cuts a text in silence",
        )
    return item


def _batches(items: Sequence[_Encoded]) -> Iterator[list[_Encoded]]:
    """Neighbours in length, as many as keep the padded size within the budget."""
    batch: list[_Encoded] = []
    for item in items:  # ascending length: the newest is the longest
        if batch and (len(batch) + 1) * len(item) > TOKEN_BUDGET:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


_Values = tuple[list[float], bool]


def _score_tree(model: "Model", items: Sequence[_Encoded]) -> Iterator[list[tuple[_Encoded, _Values]]]:
    """Decoders: requests packed as prefix trees. Yields the requests of each pack with their values."""
    body = backbone(model.network, model.family)
    config, dtype = plain(model.network).config, model.network.dtype
    for pack in tree_packs([(i.context + i.continuation, len(i.context)) for i in items], TREE_BUDGET):
        positions = torch.tensor([pack.depths])
        mask = attention_mask(ancestors(pack.parents, len(pack))[None], positions, config, dtype)
        output = body(
            input_ids=torch.tensor([pack.tokens]), attention_mask=mask, position_ids=positions, use_cache=False
        )
        hidden = output.last_hidden_state[0, [node for _, node, _ in pack.scored]]  # [scored, width]
        values, greedy = _log_likelihoods(model, hidden, [token for _, _, token in pack.scored])
        chosen = [items[i] for i in dict.fromkeys(index for index, _, _ in pack.scored)]
        yield list(zip(chosen, _split(chosen, values, greedy), strict=True))


def _score_padded(model: "Model", items: Sequence[_Encoded]) -> Iterator[list[tuple[_Encoded, _Values]]]:
    """Encoders and encoder–decoders: neighbours in length, padded to a token budget."""
    score_batch = _encoder if model.kind == "encoder" else _encoder_decoder
    for batch in _batches(sorted(items, key=len)):
        yield list(zip(batch, score_batch(model, batch), strict=True))


def _encoder_decoder(model: "Model", batch: Sequence[_Encoded]) -> list[_Values]:
    pad = model.tokenizer.pad_token_id or 0
    source = torch.full((len(batch), max(1, *(len(i.context) for i in batch))), pad)
    seen = torch.zeros_like(source)
    target = torch.full((len(batch), max(len(i.continuation) for i in batch)), pad)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    start = model.network.config.decoder_start_token_id
    for row, item in enumerate(batch):
        source[row, : len(item.context)] = torch.tensor(item.context, dtype=torch.long)
        seen[row, : len(item.context)] = 1
        target[row, : len(item.continuation)] = torch.tensor((start, *item.continuation[:-1]))
        rows += [row] * len(item.continuation)
        columns += range(len(item.continuation))
        targets += item.continuation
    encoded = model.network.get_encoder()(input_ids=source, attention_mask=seen).last_hidden_state
    decoder = backbone(model.network, model.family)
    output = decoder(input_ids=target, encoder_hidden_states=encoded, encoder_attention_mask=seen, use_cache=False)
    return _split(batch, *_log_likelihoods(model, output.last_hidden_state[rows, columns], targets))


def _encoder(model: "Model", batch: Sequence[_Encoded]) -> list[_Values]:
    """Pseudo-log-likelihood (Salazar et al. 2020): each continuation token masked alone, the rest in sight."""
    tokenizer = model.tokenizer
    values: list[_Values] = []
    for item in batch:
        tokens = [tokenizer.cls_token_id, *item.context, *item.continuation, tokenizer.sep_token_id]
        positions = list(range(1 + len(item.context), 1 + len(item)))
        copies = torch.tensor(tokens).repeat(len(positions), 1)
        copies[range(len(positions)), positions] = tokenizer.mask_token_id
        hidden = _masked_hidden(model, copies, positions)
        log_likelihoods, greedy = _log_likelihoods(model, hidden, list(item.continuation))
        values.append((log_likelihoods, all(greedy)))
    return values


def _masked_hidden(model: "Model", copies: torch.Tensor, positions: list[int]) -> torch.Tensor:
    """Hidden state at the masked position of each copy. copies: long[copies, tokens]. Returns [copies, hidden]."""
    body = backbone(model.network, model.family)
    at_once = max(1, TOKEN_BUDGET // copies.shape[1])
    parts = []
    for first in range(0, len(positions), at_once):
        hidden = body(input_ids=copies[first : first + at_once]).last_hidden_state
        parts.append(hidden[range(len(hidden)), positions[first : first + at_once]])
    return torch.cat(parts)


def _log_likelihoods(model: "Model", hidden: torch.Tensor, targets: list[int]) -> tuple[list[float], list[bool]]:
    """hidden: [scored, width]. Returns nats and greedy flags, one a scored token."""
    values, greedy = [], []
    wanted = torch.tensor(targets)
    for first in range(0, len(targets), HEAD_ROWS):
        logits = logits_from_hidden(model.network, model.family, hidden[first : first + HEAD_ROWS]).float()
        picked = wanted[first : first + HEAD_ROWS, None]
        values.append(logits.gather(1, picked)[:, 0] - logits.logsumexp(1))
        greedy.append(logits.argmax(1) == picked[:, 0])
    return torch.cat(values).tolist(), torch.cat(greedy).tolist()


def _split(batch: Sequence[_Encoded], values: list[float], greedy: list[bool]) -> list[_Values]:
    split, at = [], 0
    for item in batch:
        end = at + len(item.continuation)
        split.append((values[at:end], all(greedy[at:end])))
        at = end
    return split


def _score(id: str, values: list[float], greedy: bool) -> Score:
    total = sum(values)
    if total != total:
        raise LimpideError(
            f"The model gave NaN logits for request '{id}'.",
            remedy="open it in float32, and check the weights with: limpide open MODEL",
        )
    return Score(id, total, len(values), greedy, tuple(values))
