"""`data.prepare`: from the user's files to checked, divided examples and a report of what was done to them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from limpide.core import digests, files
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.data.charter import NAME as CHARTER_NAME
from limpide.data.charter import load_charter
from limpide.data.charter_pairs import PAIRS, Made, make
from limpide.data.checks import Check, LeakPolicy, NamesPolicy, Policies
from limpide.data.duplicates import Duplicates
from limpide.data.examine import Examined, Rules, examine
from limpide.data.examples import Example, save_examples
from limpide.data.personal import Allow, Policy
from limpide.data.reading import Reading
from limpide.data.sensitive import holds_placeholder
from limpide.data.splits import Split, SplitSettings
from limpide.data.texts import where_they_differ

if TYPE_CHECKING:
    from limpide.data.prepare_documents import PreparedDocuments

MOST_SHOWN = 5  # answers put right that are told; report.json holds all
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
        default=(),
        description="file or files of examples, .jsonl, .json, .csv, .xlsx or .parquet: prompt and answer, chat "
        "messages, preference pairs (chosen, rejected), or text and label",
    )
    documents: Annotated[tuple[Path, ...], BeforeValidator(_as_list)] = Field(
        default=(),
        description="documents to learn from as texts: files and whole folders of pdf, docx, pptx, html, md, txt",
    )
    columns: dict[str, str | None] = Field(
        default_factory=dict,
        description="our column name: the file's, where it is not recognised; null leaves a column out",
    )
    sheet: str | None = Field(
        default=None, description="sheet of an .xlsx file to read; null for the first that holds rows"
    )
    charter: Path | None = Field(
        default=None, description="editorial charter (.yaml): terms, tone and style, which the suite 'charter' checks"
    )
    charter_pairs: bool = Field(
        default=True,
        description="learn the charter too: training answers that break it are put right where code can, and pairs "
        "of which one breaks a rule are made (charter.jsonl); held-out rows are left as they are",
    )
    held_out: float = Field(default=0.2, gt=0, lt=1, description="share of rows kept to test on, 0 to 1")
    unseen_topics: Annotated[Annotated[float, Field(ge=0, lt=1)] | tuple[str, ...], BeforeValidator(_as_topics)] = (
        Field(default=0.0, description="topics kept out of training whole: their names, or a share of topics, 0 to 1")
    )
    personal_data: Policy = Field(
        default="refuse", description="what to do with personal data: refuse, mask, or {allow: why it may be learnt}"
    )
    secrets: Policy = Field(
        default="refuse",
        description="what to do with secrets (keys, tokens, passwords): refuse, mask, or {allow: why}",
    )
    names: NamesPolicy = Field(
        default="warn",
        description="what to do with names of people, by a dictionary of first names: warn, refuse or mask",
    )
    leakage: LeakPolicy = Field(
        default="refuse",
        description="what to do with rows that hold items of the shipped audits: refuse, or {allow: why}",
    )
    skip_bad_rows: bool = Field(
        default=False, description="leave out rows at fault, counted and listed, instead of stopping"
    )
    near_duplicate: float = Field(
        default=0.8, ge=0.5, le=1, description="smallest similarity of two questions that are nearly the same, 0.5 to 1"
    )

    @model_validator(mode="after")
    def _has_data(self) -> "PrepareSettings":
        if not self.examples and not self.documents:
            raise ValueError("needs examples, documents, or both: there is nothing to learn from")
        return self


def inputs(settings: PrepareSettings) -> list[Path]:
    """The files, and folders, whose content decides the result."""
    return [*settings.examples, *settings.documents, *([settings.charter] if settings.charter else [])]


def run(subject: Subject, settings: PrepareSettings, progress: Progress) -> Result:
    """Read, check, divide. Writes train.jsonl, held_out.jsonl, unseen.jsonl, report.json; the charter and the passages
    of documents where they are given; or nothing.

    Raises DataError with every fault of the data, or of the charter; nothing is written then.
    """
    if settings.charter is not None:
        load_charter(settings.charter)  # refused before the longer work
    examined = examine(settings.examples, settings.columns, rules(settings), subject.seed, progress)
    documents = _documents(settings, subject.seed, progress)
    parts, readings, examples = examined.the_parts(), examined.readings, examined.examples
    taught = _taught(settings, parts)
    if taught is not None:
        parts = replace(parts, train=taught.train, warnings=(*parts.warnings, *taught.warnings))
    warnings = _warnings(readings, settings, examined.checks, parts)
    if documents is not None:
        warnings += [*documents.warnings, *_asked_about(documents, parts.train)]
    report = _report(readings, examples, settings, examined.duplicates, parts) | {
        "personal_data": _check(examined, "personal_data").facts["kinds"] if examined.checks else {},
        "checks": {check.name: check.record() for check in examined.checks},
        "seed": subject.seed,
        "warnings": warnings,
    }
    if settings.charter is not None:
        learnt = taught.facts if taught is not None else {}
        report |= {"charter": {"file": settings.charter.name, "digest": digests.of_file(settings.charter)} | learnt}
    if documents is not None:
        report |= {"documents": documents.record()}
        documents.save(subject.out)
        progress.say(documents.said())
    save_examples(subject.out / "train.jsonl", parts.train)
    save_examples(subject.out / "held_out.jsonl", parts.held_out)
    save_examples(subject.out / "unseen.jsonl", parts.unseen)
    if taught is not None:
        save_examples(subject.out / PAIRS, taught.examples)
    if settings.charter is not None:
        files.write_bytes(subject.out / CHARTER_NAME, settings.charter.read_bytes())
    files.write_json(subject.out / "report.json", report)
    for reading in readings:
        progress.say(f"{reading.name}: {reading.rows} rows, read as {reading.columns.title}")
    if taught is not None:
        for line in put_right_said(taught.facts["put_right"]):
            progress.say(line)
    progress.say(
        f"{len(examples)} examples: {len(parts.train)} to learn from, {len(parts.held_out)} held out, "
        f"{len(parts.unseen)} on unseen topics"
    )
    return Result(facts=_in_short(report), warnings=tuple(warnings))


def _in_short(report: dict[str, Any]) -> dict[str, Any]:
    """A few of the answers put right; report.json holds them all."""
    learnt = report.get("charter", {})
    if "put_right" not in learnt:
        return report
    return report | {"charter": learnt | {"put_right": learnt["put_right"][:MOST_SHOWN]}}


def put_right_said(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A few answers put right as the charter asks, before → after, where they differ."""
    for row in rows[:MOST_SHOWN]:
        yield f"put right, {row['row']}: {' → '.join(where_they_differ(row['before'], row['after']))}"
    if len(rows) > MOST_SHOWN:
        yield f"put right: {len(rows) - MOST_SHOWN} more, all in report.json"


def _documents(settings: PrepareSettings, seed: int, progress: Progress) -> "PreparedDocuments | None":
    if not settings.documents:
        return None
    from limpide.data.prepare_documents import prepare_documents  # its readers are many imports

    asked = rules(settings)
    return prepare_documents(settings.documents, asked.policies, asked.division, seed, settings.skip_bad_rows, progress)


def _asked_about(documents: "PreparedDocuments", train: Sequence[Example]) -> list[str]:
    """Held-out passages from which training rows were drafted: `data review` makes the passage their group."""
    held_out = {passage.id for passage in documents.parts.held_out}
    asked = held_out & {example.group for example in train}
    return [
        f"Training rows were drafted from {len(asked)} of the {len(held_out)} held-out passages: the loss on held-out "
        "texts will look better than it is."
    ] * bool(asked)


def _taught(settings: PrepareSettings, parts: Split) -> Made | None:
    """What the charter teaches besides the examples; made from the training rows alone."""
    if settings.charter is None or not settings.charter_pairs:
        return None
    return make(load_charter(settings.charter), parts.train, (*parts.held_out, *parts.unseen))


def rules(settings: PrepareSettings) -> Rules:
    """What the settings ask of reading, checking and dividing."""
    return Rules(
        Policies(settings.personal_data, settings.secrets, settings.names, settings.leakage),
        SplitSettings(settings.held_out, settings.unseen_topics, settings.near_duplicate),
        settings.skip_bad_rows,
        settings.sheet,
    )


def _check(examined: Examined, name: str) -> Check:
    return next(check for check in examined.checks if check.name == name)


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
    checks: Sequence[Check],
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
    # Rows at fault and damaged characters were told above, file by file.
    warnings += [
        check.warning for check in checks if check.severity == "warns" and check.name not in ("rows", "encoding")
    ]
    if any(reading.splits for reading in readings) and {"held_out", "unseen_topics"} & settings.model_fields_set:
        warnings.append("The file's split column was followed; held_out and unseen_topics were not used.")
    return [*warnings, *_placeholders(parts), *parts.warnings]


def _placeholders(parts: Split) -> Iterator[str]:
    """What was masked is taught, and tested with where it could not be kept in training."""
    taught = sum(holds_placeholder(example.answer) for example in parts.train)
    tested = sum(holds_placeholder(example.answer) for example in (*parts.held_out, *parts.unseen))
    if taught:
        yield (
            f"Training answers that hold a placeholder, as [EMAIL]: {taught}. The model learns to answer with it: "
            "write these answers anew, or leave these rows out."
        )
    if tested:
        yield f"Held-out answers that hold a placeholder: {tested}. What is measured on them says nothing of them."


operation = Operation(
    name="data.prepare",
    verb="change",
    summary="Check the examples, report every fault, and divide them into train, held-out and unseen",
    settings=PrepareSettings,
    run=run,
    source="prefix-filtered similarity join: Bayardo, Ma and Srikant 2007",
)
