"""How long rows are for one model, which are too long, and what exactly would be lost if they were cut.

Limpide never cuts a row: training refuses those longer than the context. Other tools keep the first tokens and say
nothing, and what they lose is the end of the answer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from limpide.core.errors import DataError, Fault
from limpide.data.checks import Check
from limpide.data.examples import Example
from limpide.models.model import context_of, open_tokenizer, quiet_transformers
from limpide.models.prompt import refuse_special_tokens, render, source_of

AT_ONCE = 512  # conversations encoded together
SHOWN = 60  # characters of what would be lost


@dataclass(frozen=True)
class Reader:
    """What is needed of a model to count its tokens. context: longest input, in tokens, of its config."""

    kind: str
    tokenizer: Any
    stop_ids: tuple[int, ...]
    context: int


@dataclass(frozen=True)
class Lost:
    """What is beyond a limit of tokens. of_the_answer: trained tokens lost, of `trained`. begins: where it is cut."""

    tokens: int
    of_the_answer: int
    trained: int
    begins: str


def open_reader(folder: Path) -> Reader:
    """The reader of a model's folder, without its weights. Raises what `open_tokenizer` raises."""
    from transformers import AutoConfig

    from limpide.models.families.registry import family_of

    tokenizer, stop_ids = open_tokenizer(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return Reader(family_of(config).kind, tokenizer, stop_ids, context_of(config))


def lengths(reader: Reader, examples: Sequence[Example], advance: Callable[[int], None]) -> Iterator[int]:
    """Tokens of each example as the model reads it, special ones included. advance: called with how many are done."""
    for at in range(0, len(examples), AT_ONCE):
        some = examples[at : at + AT_ONCE]
        if reader.kind == "decoder":
            talks = [[m.model_dump() for m in example.messages] for example in some]
            texts = [reader.tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
            encoded = reader.tokenizer(texts, add_special_tokens=False)["input_ids"]
        else:
            texts = [f"{source_of(example.prompt)}\n{example.answer}" for example in some]
            encoded = reader.tokenizer(texts)["input_ids"]
        yield from map(len, encoded)
        advance(len(some))


def lost(reader: Reader, example: Example, limit: int) -> Lost:
    """What keeping the first `limit` tokens would lose of a row. Raises DataError where it cannot be rendered."""
    rendered = render(reader.tokenizer, example.messages, reader.stop_ids)
    text = reader.tokenizer.decode(list(rendered.ids[limit:]))
    return Lost(
        tokens=max(0, len(rendered.ids) - limit),
        of_the_answer=sum(rendered.trained[limit:]),
        trained=sum(rendered.trained),
        begins=" ".join(text.split())[:SHOWN],
    )


def length_checks(
    reader: Reader, examples: Sequence[Example], pack_tokens: int, advance: Callable[[int], None] = lambda done: None
) -> list[Check]:
    """The checks that need a tokenizer: `template` (can rows be rendered and learnt) and `tokens` (too long)."""
    with quiet_transformers():  # which warns of the very rows that are looked for
        broken = _template(reader, examples)
        at_fault = {(fault.file, fault.line) for fault in broken.places}
        readable = [example for example in examples if example.place not in at_fault]
        counts = list(lengths(reader, readable, advance))
        return [broken, _tokens(reader, readable, counts, pack_tokens)]


def _template(reader: Reader, examples: Sequence[Example]) -> Check:
    """Special tokens in every row; the template itself on one row of each order of roles."""
    places, shapes = [], set()
    for example in examples:
        shape = tuple(m.role for m in example.messages)
        try:
            if reader.kind == "decoder" and shape not in shapes:
                render(reader.tokenizer, example.messages, reader.stop_ids)
                shapes.add(shape)
            refuse_special_tokens(reader.tokenizer, example.messages)
        except DataError as error:
            places.append(Fault(*example.place, error.what.rstrip(".")))
    if not places:
        return Check("template", "told", f"Template: every order of roles can be rendered and learnt ({len(shapes)}).")
    said = f"Rows that this model's template cannot render to be learnt: {len(places)}."
    remedy = "correct these rows, or choose another base"
    what = "rows that this model's template cannot render to be learnt"
    return Check("template", "stops", said, len(places), len(places), tuple(places), {}, what, remedy)


def _tokens(reader: Reader, examples: Sequence[Example], counts: Sequence[int], pack_tokens: int) -> Check:
    long = [(e, n) for e, n in zip(examples, counts, strict=True) if n > reader.context]
    wide = sum(n > pack_tokens for n in counts)
    facts = {
        "total": sum(counts),
        "median": median(counts) if counts else 0,
        "longest": max(counts, default=0),
        "context": reader.context,
        "pack_tokens": pack_tokens,
        "longer_than_context": len(long),
        "longer_than_a_pack": wide,
    }
    said = (
        f"Tokens: {facts['total']:,} in all, {facts['median']:,.0f} a row in the middle, {facts['longest']:,} in the "
        f"longest; the model reads {reader.context:,}."
    )
    if wide:
        rows = "1 row is" if wide == 1 else f"{wide} rows are"
        said += f" {rows} longer than adapt.pack_tokens ({pack_tokens}): each gets a pack of its own, whole."
    if not long:
        return Check("tokens", "told", said, facts=facts)
    places = tuple(Fault(*e.place, _told(reader, e, n)) for e, n in long)
    what = f"rows longer than the model's context of {reader.context} tokens"
    remedy = "shorten or split these rows, or choose a base with a longer context"
    return Check(
        "tokens",
        "stops",
        f"{said} Too long for the model: {len(long)}.",
        len(long),
        len(long),
        places,
        facts,
        what,
        remedy,
    )


def _told(reader: Reader, example: Example, count: int) -> str:
    if reader.kind != "decoder":
        return f"{count} tokens: {count - reader.context} too many"
    found = lost(reader, example, reader.context)
    return (
        f"{count} tokens: cut, it would lose the last {found.tokens}, {found.of_the_answer} of the {found.trained} "
        f"that are learnt, from '{found.begins}…'"
    )
