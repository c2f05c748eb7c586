"""The two sets of texts whose difference is a direction: two persons, two requests, two ways to speak."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limpide.adapt.correct.directions import Text
from limpide.core.errors import DataError, Fault, ModelError
from limpide.data import raw
from limpide.data.examples import Example, Message
from limpide.data.reading import read_examples
from limpide.data.shipped import read_probe
from limpide.data.templates import Case, Part, parts, read_pairs
from limpide.models import prompt
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.requests import Request

if TYPE_CHECKING:
    from limpide.models.model import Model

LEAST = 8  # texts of a set
LAST_PLACES = 5  # of a prompt, where a direction of refusal is looked for
HARMFUL, HARMLESS = "harmful", "harmless"


@dataclass(frozen=True)
class Sets:
    """Texts of h⁺ and of h⁻. name: what they differ in, as 'gender: female − male'. paired: twins, in one order."""

    name: str
    above: tuple[Text, ...]
    below: tuple[Text, ...]
    paired: bool = False


def persons(model: "Model", cases: Sequence[Case]) -> list[Sets]:
    """For each two groups that templates compare, their twins, seen at the places that follow the person.

    Raises DataError for an axis whose pairs name one group alone.
    """
    requests = [Request(c.id, side, c.outcome) for c in cases for side in (c.stereotyped, c.other)]
    items = encode_requests(model, requests)
    sides: dict[tuple[str, str, str], tuple[list[Text], list[Text]]] = {}
    for k, case in enumerate(cases):
        first, second = _twins(model, items[2 * k], items[2 * k + 1], case.template)
        one, other = sorted({case.group, _other_group(case)})
        above, below = sides.setdefault((case.axis, one, other), ([], []))
        above.append(first if case.group == one else second)
        below.append(second if case.group == one else first)
    return [
        Sets(f"{axis}: {one} − {other}", tuple(above), tuple(below), paired=True)
        for (axis, one, other), (above, below) in sides.items()
    ]


def _other_group(case: Case) -> str:
    pair = next(p for p in read_pairs(case.axis)[case.language] if p["id"] == case.pair)
    others = set(pair["groups"]) - {case.group}
    if not others:
        raise DataError(
            f"A direction needs two groups, and the axis '{case.axis}' has one in the pair '{case.pair}'.",
            received=case.group,
            remedy="correct an axis that has two groups at least",
        )
    return str(others.pop())


def _twins(model: "Model", first: Encoded, second: Encoded, cluster: str) -> tuple[Text, Text]:
    """Both texts, seen where they are the same again: after the person. What an encoder–decoder has read is seen where
    it writes."""
    if model.kind == "encoder-decoder":
        places = tuple(range(len(first.continuation)))
        return Text(first, (places,), cluster), Text(second, (places,), cluster)
    same = _common_end([first.ids, second.ids])
    both = []
    for item in (first, second):
        if model.kind == "encoder":  # [CLS] stands before
            places = tuple(range(1 + len(item.ids) - same, 1 + len(item.ids)))
        else:  # the last token is not read; the place that predicts the outcome always counts
            end = len(item.ids) - 1
            places = tuple(range(min(len(item.ids) - same, len(item.context) - 1), end))
        both.append(Text(item, (places,), cluster))
    return both[0], both[1]


def _common_end(rows: Sequence[Sequence[int]]) -> int:
    """How many last tokens all rows share."""
    same = 0
    while same < min(map(len, rows)) and len({row[-1 - same] for row in rows}) == 1:
        same += 1
    return same


def refusals(model: "Model", languages: Sequence[str], part: Part = "fit") -> list[Sets]:
    """The shipped requests of one part: those to decline, and those to answer, seen at the last places of the prompt,
    which are the same in all of them. Raises ModelError for a model that does not answer."""
    if model.kind == "encoder":
        raise ModelError(
            f"{model.family.title} fills in words: it declines nothing.",
            remedy="steer its refusals in a model that answers (see: limpide families)",
        )
    part_of = request_parts(languages)
    asks = [ask for ask in _requests(languages) if part_of[ask["pair"]] == part]
    ids = [_prompt_ids(model, ask["request"]) for ask in asks]
    shared = 1 if model.kind == "encoder-decoder" else max(1, min(LAST_PLACES, _common_end(ids)))
    after = (model.stop_ids[0],)  # what comes next is not read
    sides: dict[str, list[Text]] = {HARMFUL: [], HARMLESS: []}
    for k, (ask, own) in enumerate(zip(asks, ids, strict=True)):
        last = 0 if model.kind == "encoder-decoder" else len(own) - 1
        places = tuple((last - back,) for back in range(shared))
        sides[ask["kind"]].append(Text(Encoded(k, tuple(own), after), places, ask["pair"]))
    return [Sets("requests to decline − requests to answer", tuple(sides[HARMFUL]), tuple(sides[HARMLESS]))]


def request_parts(languages: Sequence[str]) -> dict[str, Part]:
    """{pair of requests: its part}, alike in each language and topic. The two of a pair are in one part."""
    return parts({ask["pair"]: (ask["language"], ask["topic"]) for ask in _requests(languages)})


def _requests(languages: Sequence[str]) -> list[dict[str, str]]:
    lines = [
        line for name in sorted(set(languages)) for line in read_probe(f"refusal/requests.{name}.jsonl").split("\n")
    ]
    return [json.loads(line) for line in lines if line.strip()]


def _prompt_ids(model: "Model", request: str) -> list[int]:
    messages = (Message(role="user", content=request),)
    if model.kind == "encoder-decoder":
        return list(model.tokenizer(prompt.source_of(messages))["input_ids"])
    return prompt.prompt_ids(model.tokenizer, messages)


def tones(model: "Model", wanted: Path, unwanted: Path, part: Part | None = None) -> list[Sets]:
    """The texts of two files, seen at the tokens of the answer, or of the whole text where there is no question.

    Twins where both files ask the same questions in the same order; part: of the twins, those of one part alone.
    Raises DataError for files that cannot be read, are too short, or hold the same texts.
    """
    if part is None:
        above, below = (_spoken(path) for path in (wanted, unwanted))
    else:
        both = twins(wanted, unwanted, part)
        above, below = [one for one, _ in both], [other for _, other in both]
    for path, rows in ((wanted, above), (unwanted, below)):
        count = len({_said(row) for row in rows})
        if count < LEAST:
            raise DataError(
                f"{path.name} holds too few different texts to fit a direction on.",
                received=f"{count}: insufficient evidence",
                expected=f"at least {LEAST}",
            )
    shared = {_said(row) for row in above} & {_said(row) for row in below}
    if len(shared) * 2 >= min(len(above), len(below)):
        raise DataError(
            f"{wanted.name} and {unwanted.name} hold the same texts, so that there is nothing to tell them apart by.",
            received=f"{len(shared)} texts in both",
            remedy="give texts in the tone you want, and other texts, or other wordings, in the tone you do not want",
        )
    paired = _same_questions(above, below)
    return [Sets(f"{wanted.stem} − {unwanted.stem}", _seen(model, above), _seen(model, below), paired)]


def twins(wanted: Path, unwanted: Path, part: Part | None = None) -> list[tuple[Example, Example]]:
    """(answer in the tone wanted, answer in the other) to each question of one part of them.

    Raises DataError unless both files answer the same questions in the same order: elsewhere what is said and how it
    is said could not be told apart.
    """
    above, below = (_spoken(path) for path in (wanted, unwanted))
    if not _same_questions(above, below):
        at = next((k for k, rows in enumerate(zip(above, below, strict=False)) if _differ(*rows)), None)
        where = f"{above[at].source} and {below[at].source} ask differently" if at is not None else "no question"
        raise DataError(
            f"{wanted.name} and {unwanted.name} do not answer the same questions in the same order.",
            received=where if len(above) == len(below) else f"{len(above)} and {len(below)} rows",
            expected="two files of examples with the same prompts, answered in the one tone and in the other",
        )
    part_of = parts({row.question: () for row in above})
    return [both for both in zip(above, below, strict=True) if part in (None, part_of[both[0].question])]


def _same_questions(above: Sequence[Example], below: Sequence[Example]) -> bool:
    return bool(above[0].question) and [row.prompt for row in above] == [row.prompt for row in below]


def _differ(above: Example, below: Example) -> bool:
    return above.prompt != below.prompt


def _said(row: Example) -> tuple[str, str]:
    return row.question, row.answer


def _seen(model: "Model", rows: Sequence[Example]) -> tuple[Text, ...]:
    return tuple(
        Text(item, (_answer_places(model, item),), row.question or row.answer)
        for item, row in zip(encode_requests(model, [_request(model, row) for row in rows]), rows, strict=True)
    )


def _request(model: "Model", row: Example) -> Request:
    return prompt.answer_request(model, row) if row.question else Request(row.id, "", row.answer)


def _answer_places(model: "Model", item: Encoded) -> tuple[int, ...]:
    """Where the answer's tokens are read; its last is not, except by an encoder."""
    first, count = len(item.context), len(item.continuation)
    if model.kind == "encoder":
        return tuple(range(1 + first, 1 + first + count))
    if model.kind == "encoder-decoder":
        return tuple(range(count))
    return tuple(range(first, first + count - 1)) or (first - 1,)


def _spoken(path: Path) -> list[Example]:
    """Examples with a question, or texts, one a line, as examples whose question is empty."""
    reader = _TEXTS.get(path.suffix.lower())
    texts = list(reader(path)) if reader and path.is_file() else []
    if not texts:
        return list(read_examples(path).examples)
    return [_example(path, line, text) for line, text in texts]


def _example(path: Path, line: int, text: str) -> Example:
    source = f"{path.name}:{line}"
    messages = (Message(role="user", content=""), Message(role="assistant", content=text))
    return Example(id=source, messages=messages, source=source)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    raw.check_bytes(path, path.name)
    texts = [(k, line.strip()) for k, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1)]
    found = [(k, text) for k, text in texts if text]
    if not found:
        raise DataError(f"{path.name} is empty: it holds no text.", expected="one text a line")
    return iter(found)


def _text_rows(path: Path) -> Iterator[tuple[int, str]]:
    """Rows of {"text": …}; none where the first row has no text, as in a file of examples."""
    raw.check_bytes(path, path.name)
    faults, found = [], []
    for row in raw.jsonl_rows(path):
        text: Any = row.value.get("text") if isinstance(row.value, dict) else None
        if isinstance(text, str) and text.strip():
            found.append((row.line, text.strip()))
        elif not found:
            return iter(())
        else:
            faults.append(Fault(path.name, row.line, row.fault or "has no 'text', as the rows before it have"))
    if faults:
        raise DataError(f"Rows of {path.name} cannot be read.", faults=faults, remedy="correct these lines")
    return iter(found)


_TEXTS: dict[str, Callable[[Path], Iterator[tuple[int, str]]]] = {
    ".txt": _lines,
    ".jsonl": _text_rows,
    ".ndjson": _text_rows,
}
