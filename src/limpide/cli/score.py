"""`limpide score`: the low-level door to the likelihood engine, for other tools."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from limpide.cli.output import Json, print_json, progress
from limpide.core import digests, files
from limpide.core.errors import Fault, MissingError, UsageError
from limpide.data import raw
from limpide.data.reading import too_many
from limpide.models.requests import Request, Score

FIELDS = ("id", "context", "continuation")


@dataclass(frozen=True)
class Reading:
    """What a text becomes before it is scored; all of it is recorded."""

    bos: Annotated[
        Literal["auto", "always", "never"],
        Parameter(help="start token: where the tokenizer adds one itself or the context is empty; always; never"),
    ] = "auto"
    overlong: Annotated[
        Literal["refuse", "window"],
        Parameter(help="a text longer than the model's context: refused, or read in windows (decoders)"),
    ] = "refuse"
    precision: Annotated[
        Literal["float32", "bfloat16", "fast"],
        Parameter(help="fast: bfloat16, and float32 again for continuations of one context too close to call"),
    ] = "float32"


def score(
    requests: Path,
    *,
    model: Annotated[str, Parameter(help="alias, folder, .gguf file, or hub:owner/name@revision")],
    out: Annotated[Path | None, Parameter(help="file of scores; without it they are printed")] = None,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    fresh: Annotated[bool, Parameter(negative="", help="compute again what was kept from earlier runs")] = False,
    as_json: Json = False,
) -> None:
    """Log-likelihood of each continuation after its context, from a file of {"id", "context", "continuation"} lines.

    Gives a line each: {"id", "log_likelihood" (nats), "tokens", "greedy"}; also "merged": true where the first token
    holds the end of the context, and "windows" where a text was read in windows. How they were computed goes to
    OUT.record.json: start token, precision, and the largest difference to the plain computation on a sample.

    Example: limpide score requests.jsonl --model smollm2-135m-instruct --out scores.jsonl
    """
    reading = reading or Reading()
    ids, asked = read_requests(requests)
    if out is not None and out.resolve() == requests.resolve():
        raise UsageError("The scores would overwrite the requests.", received=out, remedy="name another file: --out")
    scores, record = _score(model, asked, reading, fresh, as_json)
    lines = [line(id, s) for id, s in zip(ids, scores, strict=True)]
    if out is None:
        for row in lines:
            print(json.dumps(row, ensure_ascii=False))
        return
    files.write_jsonl(out, lines)
    record = {"requests": requests.name, "requests_digest": digests.of_file(requests), **record}
    files.write_json(out.with_name(f"{out.name}.record.json"), record)
    if as_json:
        print_json(record)
    else:
        print(
            f"{len(lines)} scores in {out}. Largest difference to the plain computation, on a sample of "
            f"{record['parity_sample']}: {record['largest_difference_nats']:.1e} nats.",
            file=sys.stderr,
        )


def _score(
    name: str, asked: list[Request], reading: Reading, fresh: bool, as_json: bool
) -> tuple[list[Score], dict[str, Any]]:
    from limpide.cli.whom import whole_model
    from limpide.models.respondents import open_respondent
    from limpide.models.scoring import Options

    shown = progress(as_json)
    source = whole_model(name, shown)
    respondent = open_respondent(source.folder, reading.precision, fresh=fresh)
    options = Options(bos=reading.bos, overlong=reading.overlong, cache=respondent.cache)
    scores = respondent.score_with(asked, options, shown)
    return scores, {"model": source.ref, "model_digest": respondent.digest, **respondent.records[-1]}


def line(id: str | int, score: Score) -> dict[str, Any]:
    """What is told of one score, under the id as it was written."""
    told: dict[str, Any] = {
        "id": id,
        "log_likelihood": score.log_likelihood,
        "tokens": score.tokens,
        "greedy": score.greedy,
    }
    return told | ({"merged": True} if score.merged else {}) | ({"windows": score.windows} if score.windows > 1 else {})


def read_requests(path: Path) -> tuple[list[str | int], list[Request]]:
    """The ids as written, and the requests. Raises MissingError, or DataError with every faulty line."""
    if not path.is_file():
        raise MissingError(f"There is no file {path}.", expected='a file of {"id", "context", "continuation"} lines')
    raw.check_bytes(path, path.name)
    ids: list[str | int] = []
    requests: list[Request] = []
    faults = list(_faults(path, ids, requests))
    if faults:
        raise too_many(faults, f"wrong in {path.name}", remedy="correct these lines and run the same command again")
    return ids, requests


def _faults(path: Path, ids: list[str | int], requests: list[Request]) -> Iterator[Fault]:
    """The faults; the sound lines go to `ids` and `requests`."""
    seen: dict[str, int] = {}
    for row in raw.jsonl_rows(path):
        found = row.fault or _fault(row.value)
        if found:
            yield Fault(path.name, row.line, found)
            continue
        assert isinstance(row.value, dict)
        id = str(row.value["id"])
        if id in seen:
            yield Fault(path.name, row.line, f"the id '{id}' is that of line {seen[id]}")
            continue
        seen[id] = row.line
        ids.append(row.value["id"])
        requests.append(Request(id, _given(row.value["context"]), _given(row.value["continuation"])))


def _fault(value: object) -> str | None:
    if not isinstance(value, dict):
        return f"is no object with {', '.join(FIELDS)}"
    missing = [field for field in FIELDS if field not in value]
    if missing:
        return f"lacks {', '.join(missing)}; it has {', '.join(map(str, value)) or 'nothing'}"
    if not isinstance(value["id"], str | int):
        return f"id is {value['id']!r}, which is neither text nor a number"
    wrong = [f for f in FIELDS[1:] if not isinstance(value[f], str) and not _are_ids(value[f])]
    if wrong:
        return f"{' and '.join(wrong)}: neither text nor a list of token ids"
    if isinstance(value["context"], str) != isinstance(value["continuation"], str):
        return "context and continuation: one is text, the other token ids"
    if not value["continuation"]:
        return "continuation is empty, so there is nothing to score"
    return ", ".join(raw.halves({field: value[field] for field in FIELDS})) or None


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(type(x) is int and x >= 0 for x in value)


def _given(value: Any) -> Any:
    return value if isinstance(value, str) else tuple(value)
