"""What a release knows about itself, or an audit about whom it looked at: the one input of the card and the reports.

The recipe gathers a release's from the steps it ran and writes it as `evidence/evidence.json`; card and reports are
pure functions of it. Whatever is None or empty is shown as 'not measured' or 'unknown': nothing here has a
default that reads like a finding.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from limpide.core import files
from limpide.core.errors import DataError
from limpide.core.measure import Change, Frozen, Measure

Verdict = Literal["ship", "hold", "insufficient evidence"]
EXPLANATIONS = "understand/explanations.json"  # beside the record of evidence
CORRECTIONS = "correct/corrections.json"
Outcome = Literal["pass", "fail", "insufficient evidence"]
Slice = Literal["held_out", "unseen"]
DocumentLanguage = Literal["en", "fr"]

# A sentence somebody or some step wrote: one string, or one a language ({"en": …, "fr": …}).
Text = str | dict[str, str]

# One field of an item, as it was asked or said: text, a number, or a list of texts. None: nothing was said.
Said = str | float | tuple[str, ...] | None


class Purpose(Frozen):
    """What the organisation says the model is for. Declared, never measured."""

    intended: Text
    users: Text | None = None
    excluded: tuple[Text, ...] = ()
    contact: str | None = None


class Base(Frozen):
    """Passport of the model that was adapted."""

    ref: str = Field(description="as written in the recipe: alias, folder, .gguf file, hub:owner/name@revision")
    title: str | None = Field(default=None, description="family in words, for example 'Llama'")
    kind: Literal["decoder", "encoder", "encoder-decoder"] | None = None
    parameters: int | None = None
    context: int | None = Field(default=None, description="longest input, in tokens")
    precision: str | None = Field(default=None, description="precision of the weights as received")
    licence: str | None = Field(default=None, description="as the base declares it; never typed by the user")
    licence_source: str | None = Field(default=None, description="where the licence was read")
    digest: str | None = None
    unknowns: tuple[Text, ...] = Field(default=(), description="what nobody can tell about it")


class DataSource(Frozen):
    """One file of examples."""

    file: str
    digest: str | None = None
    rows: int | None = None


class DocumentsRead(Frozen):
    """Documents that were read, as passages. left_out: those that could not be. files: a few of many."""

    count: int
    words: int
    train: int
    held_out: int
    left_out: int = 0
    files: tuple[DataSource, ...] = Field(default=(), description="rows: passages of the file")


class DataCheck(Frozen):
    """One check of the data. severity: stops, warns or told. count: what was found, in `rows` rows."""

    name: str
    severity: str
    count: int
    rows: int


class Data(Frozen):
    """Counts of the prepared data. rows = train + held_out + unseen + what was set aside."""

    rows: int | None = None
    train: int | None = None
    held_out: int | None = None
    unseen: int | None = None
    topics: int | None = None
    tokens: int | None = Field(default=None, description="training tokens, one pass")
    truncated: int | None = Field(default=None, description="examples longer than the model accepts")
    exact_duplicates: int | None = None
    near_duplicates: int | None = None
    personal_data: dict[str, int] | None = Field(default=None, description="kind → count; None: not looked for")
    personal_data_policy: str | None = Field(default=None, description="refuse, mask, or allow: why")
    languages: dict[str, int] | None = Field(default=None, description="language → examples")
    sources: tuple[DataSource, ...] = ()
    checks: tuple[DataCheck, ...] = Field(default=(), description="every check of the data; empty: not recorded")
    synthetic: int | None = Field(default=None, description="rows of the files that a machine made")
    documents: DocumentsRead | None = None
    charter_pairs: int | None = Field(default=None, description="examples and preferences made from the charter")


class LossPoint(Frozen):
    """Losses in nats per answer token, or per text for a classification head, after `step` updates."""

    step: int
    epoch: float
    train: float | None = None
    held_out: float | None = None
    macro_f1: float | None = Field(default=None, description="of a classification head, on the rows of held_out")


class Training(Frozen):
    """What the adaptation did."""

    method: str | None = None
    elsewhere: str | None = Field(default=None, description="the tool, where the model was tuned outside Limpide")
    rank: int | None = None
    alpha: float | None = None
    learning_rate: float | None = None
    epochs_planned: float | None = None
    epochs_done: float | None = None
    best_epoch: float | None = Field(default=None, description="the epoch whose weights were kept")
    tokens_seen: int | None = None
    seconds: float | None = None
    tokens_per_second: float | None = None
    trainable_parameters: int | None = None
    precision: str | None = None
    batch: dict[str, int | float | str] = Field(default_factory=dict, description="facts about batches, shown as is")
    flops_upper_bound: float | None = None
    classes: dict[str, int] = Field(default_factory=dict, description="of a classifier: class → training rows")
    losses: tuple[LossPoint, ...] = ()


class Gate(Frozen):
    """One rule the release had to pass, as written in the recipe."""

    rule: str
    verdict: Outcome
    sentence: Text | None = None


class ParityCheck(Frozen):
    """One comparison of the tested weights with a file that is served."""

    name: str = Field(description="what is compared, for example token_ids")
    target: str = Field(description="which file, for example gguf:q8_0")
    passed: bool | None = Field(description="None: the check could not be run")
    value: float | None = None
    limit: float | None = None
    sentence: Text | None = None


class Parity(Frozen):
    """passed: every check that decides did pass; None: nothing was compared."""

    passed: bool | None = None
    checks: tuple[ParityCheck, ...] = ()


class Answered(Frozen):
    """One question, the answer expected, and what both models said."""

    prompt: str
    expected: str
    base_answer: str | None = None
    result_answer: str | None = None
    correct_before: bool | None = None
    correct_after: bool | None = None
    slice: Slice = "held_out"


class OpenedItem(Frozen):
    """One thing that was asked, for a reader to open: what was asked, and what each model made of it.

    Keys name the fields ('question', 'answer', 'gap'); the words and units of those that are known are the documents'.
    before: None where there is no other model, or it was not asked.
    """

    id: str
    group: dict[str, str] = Field(default_factory=dict)
    asked: dict[str, Said] = Field(default_factory=dict)
    before: dict[str, Said] | None = None
    after: dict[str, Said] = Field(default_factory=dict)


class Opened(Frozen):
    """Items chosen by one rule. why: the rule's name in document/opened.py. total: how many the rule fits."""

    why: str
    total: int = Field(ge=0)
    items: tuple[OpenedItem, ...]


class SuiteEvidence(Frozen):
    """What one suite shows beside its measures, which are found by its name: `bias.gap` is of the suite bias.

    facts, facts_before: what the pictures and the names of public sets are from. rerun: command line.
    """

    name: str
    opened: tuple[Opened, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)
    facts_before: dict[str, Any] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    rerun: str | None = None


class ReleaseFile(Frozen):
    name: str = Field(description="POSIX path inside the release")
    bytes: int = Field(ge=0)
    digest: str


class Environment(Frozen):
    versions: dict[str, str] = Field(default_factory=dict)
    machine: str | None = None
    seed: int | None = None
    date: str | None = Field(default=None, description="ISO 8601, when the run ended")


class Numbers(Frozen):
    """What was measured, before and after, and what each suite shows beside it."""

    measures: tuple[Measure, ...] = ()
    changes: tuple[Change, ...] = ()
    suites: tuple[SuiteEvidence, ...] = ()

    def measure(self, name: str, subject: str = "result", **group: str) -> Measure | None:
        """The measure with exactly this name, subject and slice, or None."""
        found = (m for m in self.measures if m.name == name and m.subject == subject and m.group == group)
        return next(found, None)

    def change(self, name: str, **group: str) -> Change | None:
        """The before/after comparison with exactly this name and slice, or None."""
        return next((c for c in self.changes if c.name == name and c.group == group), None)

    def suite(self, name: str) -> SuiteEvidence:
        """What the suite shows; nothing where it kept nothing."""
        return next((suite for suite in self.suites if suite.name == name), SuiteEvidence(name=name))

    def suite_names(self) -> list[str]:
        """Every suite that was run or left a number, in their order."""
        return list(dict.fromkeys([*(s.name for s in self.suites), *(m.name.split(".")[0] for m in self.measures)]))


class Audited(Frozen):
    """Who was audited. digest: of the weights, None where they are closed. command: what measures it again.

    kind: model, endpoint or answers. left_out: {suite that could not run: why}.
    """

    title: str
    kind: str = "model"
    digest: str | None = None
    seed: int | None = None
    date: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    command: str | None = None
    left_out: dict[str, str] = Field(default_factory=dict)

    @property
    def closed(self) -> bool:
        return self.kind in ("endpoint", "answers")


class AuditEvidence(Numbers):
    """An audit of one model, whose measures are of the subject 'result'; or of two, the first one being 'base'.

    left_out: {suite: why the two could not be compared on it}.
    """

    audited: Audited
    before: Audited | None = None
    left_out: dict[str, str] = Field(default_factory=dict)
    how_to_rerun: tuple[str, ...] = ()


class Evidence(Numbers):
    """Everything the documents may say. Only name, version, purpose, base and verdict must be there."""

    name: str
    version: str
    languages: tuple[str, ...] = Field(default=(), description="ISO 639 codes the model is meant for")
    report_languages: tuple[DocumentLanguage, ...] = Field(default=("en", "fr"), min_length=1)
    purpose: Purpose
    base: Base
    data: Data = Data()
    training: Training = Training()
    gates: tuple[Gate, ...] = ()
    verdict: Verdict
    reasons: tuple[Text, ...] = ()
    parity: Parity = Parity()
    examples: tuple[Answered, ...] = ()
    files: tuple[ReleaseFile, ...] = ()
    decisions: tuple[Text, ...] = ()
    how_to_verify: tuple[str, ...] = ("limpide verify . --key release.pub",)
    how_to_serve: tuple[str, ...] = ("limpide serve . --key release.pub",)
    how_to_rerun: tuple[str, ...] = ()
    environment: Environment = Environment()
    explanations: tuple[dict[str, Any], ...] = Field(
        default=(), exclude=True, description="kept in a file of their own"
    )
    corrections: tuple[dict[str, Any], ...] = Field(default=(), exclude=True, description="kept in a file of their own")


def save_evidence(path: Path, evidence: Evidence) -> None:
    """Write the record, and beside it, where there are any, the explanations and corrections, which are long."""
    files.write_json(path, evidence.model_dump(mode="json"))
    for name, found in ((EXPLANATIONS, evidence.explanations), (CORRECTIONS, evidence.corrections)):
        if found:
            files.write_json(path.parent / name, list(found))


def load_evidence(path: Path) -> Evidence:
    """Raises DataError when the file is not a record of evidence."""
    try:
        record = Evidence.model_validate_json(path.read_bytes())
        beside = {
            "explanations": read_explanations(path.parent / EXPLANATIONS),
            "corrections": read_corrections(path.parent / CORRECTIONS),
        }
        return record.model_copy(update=beside)
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors()[:5]
        )
        raise DataError(
            f"{path.name} is not a record of evidence.",
            received=where,
            expected="the file written by `limpide run`",
            remedy="run the recipe again: limpide run recipe.yaml",
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read.", received=error.strerror, remedy="run the recipe: limpide run recipe.yaml"
        ) from error


def read_explanations(path: Path) -> tuple[dict[str, Any], ...]:
    """The explanations of a file, a list of what `limpide explain` writes; none where there is no file.

    Raises DataError when it holds something else.
    """
    return _read_records(path, "explanations", "`limpide explain` writes as explanation.json")


def read_corrections(path: Path) -> tuple[dict[str, Any], ...]:
    """The corrections of a file, a list of what `limpide correct` writes; none where there is no file.

    Raises DataError when it holds something else.
    """
    return _read_records(path, "corrections", "`limpide correct` writes as correction.json")


def _read_records(path: Path, what: str, written: str) -> tuple[dict[str, Any], ...]:
    """A list of records of version 1."""
    if not path.is_file():
        return ()
    try:
        found, received = files.read_json(path), ""
    except (OSError, ValueError) as error:
        found, received = None, str(error)
    if isinstance(found, list) and all(isinstance(one, dict) and one.get("version") == 1 for one in found):
        return tuple(found)
    raise DataError(
        f"{path.name} is not a list of {what}.",
        received=received or type(found).__name__,
        expected=f"a list of what {written}, version 1",
        remedy="run the recipe again: limpide run recipe.yaml",
    )
