"""Inside a network: activations of a run, and runs in which some of them are replaced.

Exact patching costs as little as it can: a replacement in layer l changes nothing below l, so each joins its batch
at its own layer; in a decoder one at place p changes nothing before p either, so that all that start there run from
there on, on the keys and values of what lies before. The network's own forward pass does the arithmetic (hooks only
add rows and put values in), so a family needs nothing of its own here. Against one whole run for each replacement:
tests/parity/test_patching.py.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.progress import Progress, Quiet
from limpide.models.families.registry import backbone, head, logits_from_hidden, plain
from limpide.models.linear import wide_products
from limpide.models.masks import attention_mask
from limpide.models.row import Row, embed, final_hidden
from limpide.models.stacks import Site, Stack, stacks

if TYPE_CHECKING:
    from limpide.models.model import Model

TOKENS = 4096  # rows × places of a batch: beyond, the products are no faster and memory grows
KEYS = 2**15  # rows × places whose keys and values a batch holds a copy of
KEPT = ("residual", "attention", "mlp", "mixed", "mlp_input")


@dataclass(frozen=True)
class Trace:
    """What one stack computed for one row, given its embeddings, float[tokens, width].

    residual: float[layers + 1, places, width], the stream before each block and after the last. attention, mlp:
    float[layers, places, width], what those modules gave. mixed: float[layers, places, heads · head width], what the
    heads gave before they are mixed, and mlp_input, what the module `mlp` was given (lists, since the widths of layers
    may differ). hidden: float[read, width], the final hidden states where the row is read.
    """

    row: Row
    residual: torch.Tensor
    attention: torch.Tensor
    mlp: torch.Tensor
    mixed: list[torch.Tensor]
    mlp_input: list[torch.Tensor]
    hidden: torch.Tensor
    embeddings: torch.Tensor

    def at(self, site: Site, layer: int, places: Sequence[int]) -> torch.Tensor:
        """float[places, width]."""
        values: torch.Tensor = getattr(self, site)[layer][list(places)]
        return values


@dataclass(frozen=True)
class Patch:
    """At `site` of block `layer`, the activations of `places` (ascending) become `values`, float[places, width].

    The site 'residual' is the stream before the block.
    """

    layer: int
    site: Site
    places: tuple[int, ...]
    values: torch.Tensor


def record(model: "Model", row: Row, embeddings: torch.Tensor | None = None) -> dict[str, Trace]:
    """{stack name: Trace} of one run. embeddings: float[tokens, width] in the place of the row's own."""
    recorders = [_Recorder(stack) for stack in stacks(model)]
    given = embed(model, row.ids) if embeddings is None else embeddings
    with torch.inference_mode(), contextlib.ExitStack() as hooks:
        for recorder in recorders:
            hooks.enter_context(recorder)
        hidden = final_hidden(model, row, given[None])[0]
    return {recorder.stack.name: recorder.trace(row, hidden, given) for recorder in recorders}


class _Recorder:
    """Keeps what the modules of a stack are given and give, in the first row of the batch."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.kept: dict[str, list[torch.Tensor]] = {name: [] for name in KEPT}
        self.handles: list[Any] = []

    def __enter__(self) -> None:
        for layer, block in enumerate(self.stack.blocks):
            self._before(block, "residual")
            self._before(self.stack.module(layer, self.stack.mix), "mixed")
            self._before(self.stack.module(layer, self.stack.mlp), "mlp_input")
            self._after(self.stack.module(layer, self.stack.attention), "attention")
            self._after(self.stack.module(layer, self.stack.mlp), "mlp")
        self._after(self.stack.blocks[-1], "residual")

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _before(self, module: Any, name: str) -> None:
        self.handles.append(
            module.register_forward_pre_hook(lambda _, args, kw: self._keep(name, _first(args, kw)), with_kwargs=True)
        )

    def _after(self, module: Any, name: str) -> None:
        self.handles.append(module.register_forward_hook(lambda _, __, output: self._keep(name, _tensor(output))))

    def _keep(self, name: str, tensor: torch.Tensor) -> None:
        self.kept[name].append(tensor[0].clone())

    def trace(self, row: Row, hidden: torch.Tensor, given: torch.Tensor) -> Trace:
        residual, attention, mlp = (torch.stack(self.kept[name]) for name in KEPT[:3])
        return Trace(row, residual, attention, mlp, self.kept["mixed"], self.kept["mlp_input"], hidden, given)


@dataclass(frozen=True)
class Slopes:
    """Gradients of one number with regard to what a stack computed: residual (before each block), attention, mlp,
    each float[layers, places, width]."""

    residual: torch.Tensor
    attention: torch.Tensor
    mlp: torch.Tensor

    def at(self, site: Site, layer: int, places: Sequence[int]) -> torch.Tensor:
        """float[places, width]."""
        values: torch.Tensor = getattr(self, site)[layer][list(places)]
        return values


def record_slopes(
    model: "Model", row: Row, embeddings: torch.Tensor, of: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, Slopes]:
    """{stack name: Slopes} of one number at one run: one forward pass and one backward.

    embeddings: float[tokens, width]. of: from float[1, read, width], the final hidden states, to the number.
    """
    met: dict[tuple[str, str], list[torch.Tensor]] = {}

    def keep(stack: str, site: str, values: torch.Tensor) -> None:
        if not values.requires_grad:  # an encoder–decoder's first written token, which no gradient reaches yet
            values.requires_grad_()
        met.setdefault((stack, site), []).append(values)

    with torch.enable_grad(), contextlib.ExitStack() as hooks:
        for stack in stacks(model):
            for handle in _listeners(stack, keep):
                hooks.callback(handle.remove)
        given = embeddings.clone().requires_grad_()
        number = of(final_hidden(model, row, given[None])).sum()
        found = torch.autograd.grad(number, [values for several in met.values() for values in several])
    slopes = iter(found)
    sites = {key: torch.stack([next(slopes)[0] for _ in several]) for key, several in met.items()}
    return {
        stack.name: Slopes(*(sites[stack.name, site] for site in ("residual", "attention", "mlp")))
        for stack in stacks(model)
    }


def token_logits(model: "Model", hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Logits of a few tokens, without those of all others where the head is a plain linear layer.

    hidden: float[batch, width], final hidden states. Returns float[batch, len(tokens)]. Inference only.
    """
    last: Any = head(model.network, model.family)
    wanted, is_plain = list(tokens), type(last) is torch.nn.Linear
    if not is_plain:  # BERT's transforms first; an adapter adds to it
        rows: Sequence[torch.Tensor] = torch.split(hidden, 256)
        return torch.cat([logits_from_hidden(model.network, model.family, part)[:, wanted] for part in rows]).float()
    before = vars(last).get("forward")
    bias = None if last.bias is None else last.bias[wanted]
    last.forward = partial(torch.nn.functional.linear, weight=last.weight[wanted], bias=bias)
    try:
        return logits_from_hidden(model.network, model.family, hidden).float()  # scaled and capped as the others
    finally:
        if before is None:
            del last.forward
        else:
            last.forward = before


def _listeners(stack: Stack, keep: Callable[[str, str, torch.Tensor], None]) -> Iterator[Any]:
    """Handles of hooks that hand over what each site of a stack computes, batch and all."""

    def entering(_: Any, args: Any, kwargs: Any) -> None:
        keep(stack.name, "residual", _first(args, kwargs))

    def leaving(site: str) -> Callable[..., None]:
        return lambda _, __, output: keep(stack.name, site, _tensor(output))

    for layer, block in enumerate(stack.blocks):
        yield block.register_forward_pre_hook(entering, with_kwargs=True)
        yield stack.module(layer, stack.attention).register_forward_hook(leaving("attention"))
        yield stack.module(layer, stack.mlp).register_forward_hook(leaving("mlp"))


def run_patched(
    model: "Model", base: Trace, stack: Stack, patches: Sequence[Patch], progress: Progress | None = None
) -> torch.Tensor:
    """Final hidden states of one run for each patch, all else as in the run that `base` is the trace of.

    base: the trace of `stack` in that run. Returns float[patches, read, width], in the order of the patches.
    """
    narrows = _narrows(model, stack)
    starts = sorted({patch.places[0] for patch in patches}) if narrows else [0]
    found: list[torch.Tensor | None] = [None] * len(patches)
    with (
        torch.inference_mode(),
        wide_products(model.network),
        (progress or Quiet()).task("patching", total=len(patches)) as task,
    ):
        before = _prefix(model, base) if starts[-1] > 0 else []
        for start in starts:
            chosen = [k for k, patch in enumerate(patches) if not narrows or patch.places[0] == start]
            chosen.sort(key=lambda k: patches[k].layer)
            for batch in _batches(chosen, len(base.residual[0]), start):
                run = _Run(stack, base, [patches[k] for k in batch], start)
                hidden = run.narrow(model, before) if narrows else run.wide(model)
                for k, values in zip(batch, hidden, strict=True):
                    found[k] = values
                task.advance(len(batch))
    return torch.stack([values for values in found if values is not None])


def _narrows(model: "Model", stack: Stack) -> bool:
    """Can a run start at the first replaced place? In a decoder alone: what lies before does not change."""
    return model.kind == "decoder" and stack.causal


def _batches(chosen: Sequence[int], places: int, start: int) -> Iterator[Sequence[int]]:
    size = max(1, min(TOKENS // (places - start), KEYS // places))
    for first in range(0, len(chosen), size):
        yield chosen[first : first + size]


def _prefix(model: "Model", base: Trace) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer for the whole row."""
    from transformers import DynamicCache

    cache = DynamicCache()
    backbone(model.network, model.family)(inputs_embeds=base.embeddings[None], past_key_values=cache, use_cache=True)
    return [(layer.keys, layer.values) for layer in cache.layers]


class _Run:
    """One batch of patches, those of lower layers first, over the places from `start` on.

    The batch begins with one unpatched row and grows at each layer by the patches that begin there. A narrow run has
    the keys and values of the places before `start`; a wide one has all places.
    """

    def __init__(self, stack: Stack, base: Trace, patches: Sequence[Patch], start: int) -> None:
        self.stack, self.base, self.patches, self.start = stack, base, patches, start

    def narrow(self, model: "Model", before: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        row, start = self.base.row, self.start
        positions = torch.arange(len(row))[None]
        seen = torch.ones(len(row), len(row), dtype=torch.bool).tril()[None, start:]
        config = plain(model.network).config
        with self._hooks():
            output = backbone(model.network, model.family)(
                inputs_embeds=self.base.embeddings[start:][None],
                attention_mask=attention_mask(seen, positions, config, model.network.dtype),
                position_ids=positions[:, start:],
                past_key_values=_fixed([(k[:, :, :start], v[:, :, :start]) for k, v in before]),
                use_cache=True,
            )
        hidden: torch.Tensor = output.last_hidden_state[1:]  # the first row is the unpatched one
        read = [place - start for place in row.read]
        kept = self.base.hidden.expand(len(hidden), -1, -1).clone()  # what is read before `start` is as it was
        later = [k for k, place in enumerate(read) if place >= 0]
        kept[:, later] = hidden[:, [read[k] for k in later]]
        return kept

    def wide(self, model: "Model") -> torch.Tensor:
        with self._hooks(), _as_many_written(model):
            return final_hidden(model, self.base.row, self.base.embeddings[None])[1:]

    @contextlib.contextmanager
    def _hooks(self) -> Iterator[None]:
        handles = self._last_mlp_where_read()
        for layer, block in enumerate(self.stack.blocks):
            handles.append(block.register_forward_pre_hook(self._entering(layer), with_kwargs=True))
            for site, path in (("attention", self.stack.attention), ("mlp", self.stack.mlp)):
                if self._rows(layer, site):
                    module = self.stack.module(layer, path)
                    handles.append(module.register_forward_hook(self._leaving(layer, site)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _last_mlp_where_read(self) -> list[Any]:
        """The last MLP computes only the place that is read: its sum with the stream is right there, and nobody looks
        elsewhere. An eighth of the time at twelve layers."""
        last, read = len(self.stack) - 1, [place - self.start for place in self.base.row.read]
        if len(read) != 1 or read[0] < 0 or not self.stack.causal or self._rows(last, "mlp"):
            return []

        def hook(_: Any, args: tuple[Any, ...]) -> Any:
            return (args[0][:, read], *args[1:])

        return [self.stack.module(last, self.stack.mlp).register_forward_pre_hook(hook)]

    def _rows(self, layer: int, site: str) -> list[tuple[int, Patch]]:
        """(row of the batch, patch) of those at this layer and site."""
        return [(k, p) for k, p in enumerate(self.patches, 1) if p.layer == layer and p.site == site]

    def _entering(self, layer: int) -> Callable[..., Any]:
        new = sum(patch.layer == layer for patch in self.patches)
        stream = self.base.residual[layer][self.start :]

        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = _first(args, kwargs)
            grown = torch.cat([hidden, stream.expand(new, -1, -1)]) if new else hidden
            grown = self._replaced(grown, layer, "residual")
            if grown is hidden:
                return None
            return ((grown, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": grown})

        return hook

    def _leaving(self, layer: int, site: str) -> Callable[..., Any]:
        def hook(_: Any, __: Any, output: Any) -> Any:
            changed = self._replaced(_tensor(output), layer, site)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook

    def _replaced(self, values: torch.Tensor, layer: int, site: str) -> torch.Tensor:
        rows = self._rows(layer, site)
        if not rows:
            return values
        values = values.clone()
        for row, patch in rows:
            values[row, [place - self.start for place in patch.places]] = patch.values
        return values


@contextlib.contextmanager
def _as_many_written(model: "Model") -> Iterator[None]:
    """Inside, the writing half of an encoder–decoder has as many rows as the reading half gives it."""
    if model.kind != "encoder-decoder":
        yield
        return

    def widened(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rows = len(kwargs["encoder_hidden_states"])
        return args, kwargs | {"input_ids": kwargs["input_ids"].expand(rows, -1)}

    handle = backbone(model.network, model.family).register_forward_pre_hook(widened, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _fixed(keys_and_values: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Any:
    """A cache that holds a text's beginning for rows whose number may change from layer to layer. It keeps nothing."""
    from transformers import DynamicCache

    class Fixed(DynamicCache):  # type: ignore[misc]  # transformers has no types here
        def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any) -> Any:
            if not keys_and_values or not keys_and_values[layer][0].shape[2]:
                return keys, values
            past = (part.expand(len(keys), -1, -1, -1) for part in keys_and_values[layer])
            return tuple(torch.cat([old, new], 2) for old, new in zip(past, (keys, values), strict=True))

    return Fixed()


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    found: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return found


def _tensor(output: Any) -> torch.Tensor:
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found
