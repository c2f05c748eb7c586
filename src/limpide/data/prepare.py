"""`data.prepare`: from the user's files to checked, divided examples and a report of what was done to them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from limpide.core import digests, files
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.data.charter import NAME as CHARTER_NAME
from limpide.data.charter import load_charter
from limpide.data.duplicates import Duplicates, find_duplicates
from limpide.data.examples import Example, save_examples
from limpide.data.personal import KINDS, Allow, Kind, Policy, apply_policy
from limpide.data.reading import Reading, read_all
from limpide.data.splits import Split, SplitSettings, split

MOST_LISTED = 50  # groups and faults written in the report; all are counted


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def _as_topics(value: Any) -> Any:
    """YAML reads a topic called 104 as a number."""
    return (
        tuple(str(name) if type(name) is int else name for name in value) if isinstance(value, list | tuple) else value
    )


class PrepareSettings(Settings):
    examples: Annotated[tuple[Path, ...], BeforeValidator(_as_list)] = Field(
        min_length=1, description="file or files of examples: .jsonl, .json or .csv, in UTF-8"
    )
    columns: dict[str, str | None] = Field(
        default_factory=dict,
        description="our column name: the file's, where it is not recognised; null leaves a column out",
    )
    charter: Path | None = Field(
        default=None, description="editorial charter (.yaml): terms, tone and style, which the suite 'charter' checks"
    )
    held_out: float = Field(default=0.2, gt=0, lt=1, description="share of rows kept to test on, 0 to 1")
    unseen_topics: Annotated[Annotated[float, Field(ge=0, lt=1)] | tuple[str, ...], BeforeValidator(_as_topics)] = (
        Field(default=0.0, description="topics kept out of training whole: their names, or a share of topics, 0 to 1")
    )
    personal_data: Policy = Field(
        default="refuse", description="what to do with personal data: refuse, mask, or {allow: why it may be learnt}"
    )
    skip_bad_rows: bool = Field(
        default=False, description="leave out rows at fault, counted and listed, instead of stopping"
    )
    near_duplicate: float = Field(
        default=0.8, ge=0.5, le=1, description="smallest similarity of two questions that are nearly the same, 0.5 to 1"
    )


def inputs(settings: PrepareSettings) -> list[Path]:
    """The files whose content decides the result."""
    return [*settings.examples, *([settings.charter] if settings.charter else [])]


def run(subject: Subject, settings: PrepareSettings, progress: Progress) -> Result:
    """Read, check, divide. Writes train.jsonl, held_out.jsonl, unseen.jsonl, report.json, the charter, or nothing.

    Raises DataError with every fault of the data, or of the charter; nothing is written then.
    """
    if settings.charter is not None:
        load_charter(settings.charter)  # refused before the longer work
    with progress.task("Reading the examples", total=4) as task:
        readings = read_all(settings.examples, settings.columns, skip_bad_rows=settings.skip_bad_rows)
        task.advance()
        found = [example for reading in readings for example in reading.examples]
        examples, personal = apply_policy(found, settings.personal_data)
        task.advance()
        duplicates = find_duplicates(examples, settings.near_duplicate)
        task.advance()
        parts = split(
            examples,
            SplitSettings(settings.held_out, settings.unseen_topics, settings.near_duplicate),
            subject.seed,
            duplicates=duplicates,
            declared={id: name for reading in readings for id, name in reading.splits.items()},
        )
        task.advance()
    warnings = _warnings(readings, settings, personal, duplicates, parts)
    report = _report(readings, examples, settings, duplicates, parts) | {
        "personal_data": {kind: personal[kind] for kind in KINDS},
        "seed": subject.seed,
        "warnings": warnings,
    }
    if settings.charter is not None:
        report |= {"charter": {"file": settings.charter.name, "digest": digests.of_file(settings.charter)}}
    save_examples(subject.out / "train.jsonl", parts.train)
    save_examples(subject.out / "held_out.jsonl", parts.held_out)
    save_examples(subject.out / "unseen.jsonl", parts.unseen)
    if settings.charter is not None:
        files.write_bytes(subject.out / CHARTER_NAME, settings.charter.read_bytes())
    files.write_json(subject.out / "report.json", report)
    progress.say(
        f"{len(examples)} examples: {len(parts.train)} to learn from, {len(parts.held_out)} held out, "
        f"{len(parts.unseen)} on unseen topics"
    )
    return Result(facts=report, warnings=tuple(warnings))


def _report(
    readings: Sequence[Reading],
    examples: Sequence[Example],
    settings: PrepareSettings,
    duplicates: Duplicates,
    parts: Split,
) -> dict[str, Any]:
    policy = settings.personal_data
    topics = {example.topic for example in examples} - {None}
    tested = {example.topic for example in (*parts.held_out, *parts.unseen)}
    return {
        "rows": sum(reading.rows for reading in readings),
        "examples": len(examples),
        "train": len(parts.train),
        "held_out": len(parts.held_out),
        "unseen": len(parts.unseen),
        "split_by": "column" if any(reading.splits for reading in readings) else "seed",
        "topics": {
            "count": len(topics),
            "unseen": sorted({str(example.topic) for example in parts.unseen} - {"None"}),
            "only_in_train": sorted(str(topic) for topic in topics - tested),
            "rows_without": sum(example.topic is None for example in examples),
        },
        "languages": dict(Counter(example.language or "not given" for example in examples).most_common()),
        "exact_duplicates": _groups(examples, duplicates.exact),
        "near_duplicates": _groups(examples, duplicates.near),
        "conflicts": _groups(examples, duplicates.conflicts),
        "policy": {"allow": policy.allow} if isinstance(policy, Allow) else policy,
        "columns": {reading.name: reading.columns.record() for reading in readings},
        "sources": [{"file": r.name, "digest": r.digest, "rows": r.rows, "skipped": r.skipped} for r in readings],
        "skipped": [str(fault) for reading in readings for fault in reading.faults][:MOST_LISTED],
    }


def _groups(examples: Sequence[Example], groups: Sequence[Sequence[int]]) -> dict[str, Any]:
    """rows: all rows of the groups, not only the repeated ones."""
    return {
        "groups": len(groups),
        "rows": sum(map(len, groups)),
        "listed": [[examples[i].source for i in group] for group in groups[:MOST_LISTED]],
    }


def _warnings(
    readings: Sequence[Reading],
    settings: PrepareSettings,
    personal: Counter[Kind],
    duplicates: Duplicates,
    parts: Split,
) -> list[str]:
    warnings = [warning for reading in readings for warning in reading.warnings]
    for reading in readings:
        if reading.columns.guessed:
            guessed = ", ".join(f"'{theirs}' as {ours}" for ours, theirs in reading.columns.guessed.items())
            warnings.append(f"{reading.name}: columns were recognised by their name: {guessed}.")
        if reading.columns.unused:
            warnings.append(f"{reading.name}: columns left out: {', '.join(reading.columns.unused)}.")
        if reading.skipped:
            share = reading.skipped / reading.rows
            warnings.append(
                f"{reading.name}: {reading.skipped} of {reading.rows} rows ({share:.0%}) were left out as faulty."
            )
    if personal:
        done = {"refuse": "found", "mask": "masked"}.get(
            str(settings.personal_data), "kept, as data.personal_data allows"
        )
        counted = ", ".join(f"{count} × {KINDS[kind]}" for kind, count in sorted(personal.items()))
        warnings.append(f"Personal data {done}: {counted}.")
    if duplicates.exact:
        repeated = sum(len(group) - 1 for group in duplicates.exact)
        warnings.append(f"Rows that repeat another word for word: {repeated}. They were kept, on the same side.")
    if duplicates.conflicts:
        warnings.append(
            f"Questions with several different answers: {len(duplicates.conflicts)}. See 'conflicts' in the report."
        )
    if any(reading.splits for reading in readings) and {"held_out", "unseen_topics"} & settings.model_fields_set:
        warnings.append("The file's split column was followed; held_out and unseen_topics were not used.")
    return [*warnings, *parts.warnings]


operation = Operation(
    name="data.prepare",
    verb="change",
    summary="Check the examples, report every fault, and divide them into train, held-out and unseen",
    settings=PrepareSettings,
    run=run,
    source="prefix-filtered similarity join: Bayardo, Ma and Srikant 2007",
)
