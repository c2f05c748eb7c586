"""What an edit reads in a network: the contexts of a prompt, the memory that is changed, and its keys."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limpide.core.errors import ModelError
from limpide.models import experts
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.families.registry import backbone, plain
from limpide.models.likelihood import read
from limpide.models.linear import wide_products
from limpide.models.requests import Request
from limpide.models.stacks import Stack
from limpide.models.writes import Write, writes

if TYPE_CHECKING:
    from limpide.models.model import Model

BATCH = 2048  # tokens of texts read together
CLOSE = ("'", "’", "(", "-", "«\u00a0")  # after these an answer follows without a space
Side = int  # 0: what a module is given, 1: what it gives
GIVEN, GIVES = 0, 1


@dataclass(frozen=True)
class Contexts:
    """One prompt behind several beginnings. items: what is read. subject: the places of its tokens in each of them."""

    items: tuple[Encoded, ...]
    subject: tuple[tuple[int, ...], ...]

    def rows(self, kind: str) -> tuple[Tensor, Tensor]:
        """(rows, places) of the subject's last token, long[rows] each, in the batch that `likelihood.read` makes: an
        encoder reads each item once for each token of the answer."""
        times = [len(item.continuation) if kind == "encoder" else 1 for item in self.items]
        places = [of[-1] for of, count in zip(self.subject, times, strict=True) for _ in range(count)]
        return torch.arange(len(places)), torch.tensor(places)


def follow(model: "Model", prompt: str, answer: str) -> str:
    """The answer as it goes on with a prompt: behind one space, unless the prompt ends so that none is wanted."""
    if model.kind == "encoder-decoder" or answer[:1].isspace() or prompt.endswith(CLOSE) or prompt[-1:].isspace():
        return answer
    return f" {answer}"


def contexts_of(
    model: "Model", prompt: str, span: tuple[int, int], answer: str, beginnings: Sequence[str] = ("",)
) -> Contexts:
    """span: the subject's characters in the prompt. Raises ModelError for what is too long, or where the subject is
    not read before the answer."""
    texts = [beginning + prompt for beginning in beginnings]
    items = encode_requests(model, [Request(prompt, text, follow(model, prompt, answer)) for text in texts])
    ends = [(len(b) + span[0], len(b) + span[1]) for b in beginnings]
    joint = [text if model.kind == "encoder-decoder" else text + follow(model, prompt, answer) for text in texts]
    places = [_places(model, item, text, at) for item, text, at in zip(items, joint, ends, strict=True)]
    return Contexts(tuple(items), tuple(places))


def _places(model: "Model", item: Encoded, text: str, span: tuple[int, int]) -> tuple[int, ...]:
    """Places, in what the network reads, of the tokens that hold characters of the span."""
    special = model.kind == "encoder-decoder"
    found = model.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    before = {"encoder": 1, "encoder-decoder": 0, "decoder": len(item) - len(found["input_ids"])}[model.kind]
    held = [i for i, (a, b) in enumerate(found["offset_mapping"]) if a < span[1] and b > span[0]]
    limit = len(item.context) if model.kind != "decoder" else len(item.context) - before
    held = [i for i in held if i < limit]
    if not held:
        raise ModelError(
            "The subject is not read before the answer: one token holds the end of one and the start of the other.",
            received=text[-80:],
            remedy="write a word, or a space, between the subject and the answer",
        )
    return tuple(before + i for i in held)


# ------------------------------------------------------------------------------------------------------- the memory


@dataclass(frozen=True, eq=False)
class Memory:
    """The weight of a layer that is edited. module: what is given the keys: a linear layer; for a routed expert, the
    MLP it is part of. expert: its number, None for a linear layer."""

    layer: int
    write: Write
    stack: Stack
    module: Any
    expert: int | None = None

    def keys(self, model: "Model", given: Tensor) -> tuple[Tensor, Tensor]:
        """given: float[n, in], what the module is given. Returns (keys float[n, width], weights float[n]): the weight
        that the router gives the expert, 0 where it is not chosen; 1 for a linear layer."""
        if self.expert is None:
            return given, given.new_ones(len(given))
        routed = experts.routing(model, self.stack, self.layer, given)
        assert routed is not None
        ids, weights = routed
        return self._expert_keys(model, given), (weights * (ids == self.expert)).sum(1)

    def _expert_keys(self, model: "Model", given: Tensor) -> Tensor:
        """What an expert gives its last layer, whatever its arithmetic: its output when that layer is the identity.

        As many passes as the key is longer than the output.
        """
        module = self.stack.module(self.layer, str(model.family.experts_module))
        last, bias = self.write.name.rpartition(".")[2], (self.write.bias or "").rpartition(".")[2]
        weight, offset = getattr(module, last), getattr(module, bias, None) if bias else None
        kept, shape = weight.data, weight.data.shape
        width, out = (shape[1], shape[2]) if self.write.transposed else (shape[2], shape[1])
        assert self.expert is not None
        chosen = torch.full((len(given), 1), self.expert)
        ones, parts = given.new_ones(len(given), 1), []
        shift = 0 if offset is None else offset[self.expert]
        try:
            for first in range(0, width, out):
                block = torch.eye(width, dtype=kept.dtype)[:, first : first + out]  # [width, ≤ out]
                block = torch.nn.functional.pad(block, (0, out - block.shape[1]))
                weight.data = (block if self.write.transposed else block.T).expand(shape).contiguous()
                parts.append(module(given, chosen, ones) - shift)
        finally:
            weight.data = kept
        return torch.cat(parts, 1)[:, :width]

    def factors(self, left: Tensor, right: Tensor, experts_count: int) -> tuple[Tensor, Tensor]:
        """The change left · right, float[out, n] and float[n, width], as the weight is stored."""
        pair = (right.T, left.T) if self.write.transposed else (left, right)
        if self.expert is None:
            return pair[0].contiguous(), pair[1].contiguous()
        whole = [part.new_zeros(experts_count, *part.shape) for part in pair]
        for held, part in zip(whole, pair, strict=True):
            held[self.expert] = part
        return whole[0], whole[1]


def memory_of(model: "Model", stack: Stack, layer: int, contexts: Sequence[Contexts]) -> Memory:
    """The MLP's output weight; in a mixture of experts, that of the shared expert, through which every place goes;
    where there is none, that of the routed expert that weighs most at the subjects. Raises UsageError for no layer."""
    found = writes(model, stack, layer, "mlp")
    linear = [write for write in found if not write.fused]
    if linear:
        module = plain(model.network).get_submodule(linear[-1].name.removesuffix(".weight"))
        return Memory(layer, linear[-1], stack, module)
    whole = stack.module(layer, stack.mlp)
    given = torch.cat([at_subject(model, [(whole, GIVEN)], each)[0] for each in contexts])
    routed = experts.routing(model, stack, layer, given)
    assert routed is not None
    ids, weights = routed
    total = torch.zeros(int(ids.max()) + 1).index_add(0, ids.flatten(), weights.flatten().float())
    return Memory(layer, found[0], stack, whole, int(total.argmax()))


# --------------------------------------------------------------------------------------------- what modules are given


class _Enough(Exception):  # not an error: everything asked for was met
    pass


def met(modules: Sequence[tuple[Any, Side]], run: Callable[[], object]) -> list[Tensor]:
    """What each module is given, or gives, in a run, which ends as soon as all of them were met."""
    kept: list[Tensor | None] = [None] * len(modules)

    def keep(k: int, value: Any) -> None:
        kept[k] = (value[0] if isinstance(value, tuple) else value).detach()
        if all(tensor is not None for tensor in kept):
            raise _Enough

    with contextlib.ExitStack() as hooks:
        for k, (module, side) in enumerate(modules):
            if side == GIVEN:
                handle = module.register_forward_pre_hook(lambda _, args, k=k: keep(k, args))
            else:
                handle = module.register_forward_hook(lambda _, __, output, k=k: keep(k, output))
            hooks.callback(handle.remove)
        with torch.no_grad(), contextlib.suppress(_Enough):
            run()
    return [tensor for tensor in kept if tensor is not None]


def at_subject(model: "Model", modules: Sequence[tuple[Any, Side]], contexts: Contexts) -> list[Tensor]:
    """What each module meets at the subject's last token, float[rows, width]."""
    rows, places = contexts.rows(model.kind)
    return [found[rows, places] for found in met(modules, lambda: read(model, contexts.items))]


@dataclass(frozen=True, eq=False)
class Texts:
    """Token ids of ordinary texts, by which a memory's ordinary keys are known."""

    rows: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.rows))

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(ids, 1 where there is one), long[rows, longest] each."""
        ordered, batch = sorted(self.rows, key=len), list[Tensor]()
        for row in ordered:
            if batch and (len(batch) + 1) * len(row) > BATCH:
                yield _padded(batch)
                batch = []
            batch.append(torch.tensor(row))
        yield _padded(batch)


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    seen = [torch.ones_like(row) for row in rows]
    return pad_sequence(list(rows), batch_first=True), pad_sequence(seen, batch_first=True)


def key_totals(model: "Model", memories: Sequence[Memory], texts: Texts) -> list[tuple[Tensor, int]]:
    """(Σ k kᵀ float64[width, width], how many keys) of each memory over the texts. Of an expert: where it is chosen."""
    network = plain(model.network)
    body = network.get_encoder() if model.kind == "encoder-decoder" else backbone(model.network, model.family)
    totals: list[tuple[Tensor, int]] = [(torch.zeros(()), 0)] * len(memories)
    with wide_products(network):
        for ids, seen in texts.batches():
            given = met([(m.module, GIVEN) for m in memories], partial(body, input_ids=ids, attention_mask=seen))
            for k, (memory, values) in enumerate(zip(memories, given, strict=True)):
                with torch.no_grad():
                    keys, weights = memory.keys(model, values[seen.bool()])
                keys = keys[weights > 0].double()
                totals[k] = totals[k][0] + keys.T @ keys, totals[k][1] + len(keys)
    return totals
