"""From the folders of finished steps to the one record that card and report are written from."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from limpide.core import catalogue, files
from limpide.core.measure import Change, Measure
from limpide.core.operation import Result
from limpide.document.evidence import (
    Answered,
    Base,
    Data,
    DataCheck,
    DataSource,
    DocumentsRead,
    Environment,
    Evidence,
    Gate,
    LossPoint,
    Parity,
    ParityCheck,
    Purpose,
    ReleaseFile,
    SuiteEvidence,
    Training,
    Verdict,
    read_explanations,
)
from limpide.document.read import suite_evidence
from limpide.models.families.registry import family_of
from limpide.models.passport import passport
from limpide.recipe.corrections.loop import RECORD
from limpide.recipe.gates import Judged, judge_all, parse_gate
from limpide.recipe.plan import Plan
from limpide.recipe.run import Workspace
from limpide.recipe.schema import FILES
from limpide.understand.cases import EXPLANATIONS

CLASSIFICATION = "classification"  # the task that a training with a classification head names
EXAMPLES_SHOWN = 10
MOST_FILES = 50  # documents listed by name; all are counted


class Found:
    """Results of the finished steps, read when asked."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self.plan, self.workspace = plan, workspace
        self.names = {step.name for step in plan.steps}

    def folder(self, step: str) -> Path:
        return self.workspace.done(self.plan.step(step))

    def result(self, step: str) -> Result | None:
        return Result.load(self.folder(step)) if step in self.names else None

    def facts(self, step: str) -> dict[str, Any]:
        result = self.result(step)
        return dict(result.facts) if result else {}

    def items(self, step: str) -> list[dict[str, Any]]:
        path = self.folder(step) / "items.jsonl" if step in self.names else None
        return files.read_jsonl(path) if path is not None and path.is_file() else []

    def measures(self) -> list[Measure]:
        steps = [s.name for s in self.plan.steps if s.name.startswith("audit-")]
        return [m for step in steps for m in Result.load(self.folder(step)).measures]

    def changes(self) -> list[Change]:
        rows = files.read_jsonl(self.folder("compare") / "changes.jsonl") if "compare" in self.names else []
        return [Change.model_validate(row) for row in rows]


def gather(plan: Plan, workspace: Workspace) -> Evidence:
    """The evidence of a finished run, verdict included."""
    found = Found(plan, workspace)
    recipe = plan.recipe
    measures, changes = found.measures(), found.changes()
    gates = [parse_gate(text) for text in recipe.gates]
    judged = judge_all(gates, changes, [m for m in measures if m.subject != "base"])
    parity, training = _parity(found), _training(found)
    verdict, reasons = decide(judged, parity)
    return Evidence(
        name=recipe.name,
        version=recipe.version,
        languages=_languages(found, recipe),
        report_languages=recipe.release.languages,
        purpose=Purpose.model_validate(recipe.purpose.model_dump()),
        base=_base(plan),
        data=_data(found),
        training=training,
        measures=tuple(measures),
        changes=tuple(changes),
        gates=tuple(Gate(rule=j.rule, verdict=j.verdict, sentence=j.sentence) for j in judged),
        verdict=verdict,
        reasons=tuple(reasons),
        parity=parity,
        examples=tuple(_examples(found)),
        suites=tuple(_suites(found)),
        explanations=_explanations(found),
        corrections=tuple(_corrections(found)),
        files=_files(found),
        decisions=_decisions(plan),
        **({"how_to_serve": ()} if training.classes else {}),  # it writes nothing that could be served
        how_to_rerun=(f"limpide run {plan.path.name}",),
        environment=Environment(
            versions=dict(plan.environment),
            machine=f"{platform.system()} {platform.machine()}, {plan.environment['threads']} threads",
            seed=recipe.seed,
            date=datetime.now(UTC).date().isoformat(),
        ),
    )


def decide(judged: Sequence[Judged], parity: Parity) -> tuple[Verdict, list[str]]:
    """hold when a gate or the parity certificate fails; else insufficient evidence when a gate cannot be judged."""
    failed = [f"gate '{j.rule}': {j.sentence}" for j in judged if j.verdict == "fail"]
    if parity.passed is False:
        failed += [f"parity, {c.target}: {c.sentence}" for c in parity.checks if c.passed is False]
    if failed:
        return "hold", failed
    unknown = [f"gate '{j.rule}': {j.sentence}" for j in judged if j.verdict == "insufficient evidence"]
    if unknown:
        return "insufficient evidence", unknown
    passed = [f"gate '{j.rule}': {j.sentence}" for j in judged]
    if parity.passed:
        passed.append(f"parity: all {len(parity.checks)} checks passed.")
    return "ship", passed


def _base(plan: Plan) -> Base:
    found = passport(plan.source)
    return Base(
        ref=plan.source.ref,
        title=found.title,
        kind=family_of(files.read_json(plan.source.folder / "config.json")).kind,
        parameters=found.parameters,
        context=found.context,
        precision=", ".join(found.precisions),
        licence=plan.source.licence,
        licence_source=plan.source.licence_source,
        digest=plan.source.digest,
        unknowns=tuple(found.unknown),
    )


def _languages(found: Found, recipe: Any) -> tuple[str, ...]:
    given = [name for name in found.facts("data")["languages"] if name != "not given"]
    return tuple(given) or tuple(recipe.audit.languages)


def _data(found: Found) -> Data:
    facts, adapted = found.facts("data"), found.facts("adapt")
    policy = facts["policy"]
    return Data(
        rows=facts["rows"],
        train=facts["train"],
        held_out=facts["held_out"],
        unseen=facts["unseen"],
        topics=facts["topics"]["count"],
        tokens=adapted.get("row_tokens"),
        truncated=adapted.get("truncated_rows"),
        exact_duplicates=facts["exact_duplicates"]["rows"],
        near_duplicates=facts["near_duplicates"]["rows"],
        personal_data=facts["personal_data"],
        personal_data_policy=policy if isinstance(policy, str) else f"allow: {policy['allow']}",
        languages=facts["languages"],
        sources=tuple(DataSource(file=s["file"], digest=s["digest"], rows=s["rows"]) for s in facts["sources"]),
        checks=tuple(
            DataCheck(name=name, **{key: record[key] for key in ("severity", "count", "rows")})
            for name, record in facts.get("checks", {}).items()
        ),
        synthetic=facts.get("checks", {}).get("synthetic", {}).get("count"),
        documents=_documents(facts.get("documents")),
        charter_pairs=sum(facts["charter"].get(key, 0) for key in ("answers", "preferences"))
        if "charter" in facts
        else None,
    )


def _documents(facts: dict[str, Any] | None) -> DocumentsRead | None:
    if facts is None:
        return None
    listed = facts["files"][:MOST_FILES]
    return DocumentsRead(
        count=len(facts["files"]),
        words=facts["words"],
        train=facts["train"],
        held_out=facts["held_out"],
        left_out=len(facts["skipped"]),
        files=tuple(DataSource(file=f["file"], digest=f["digest"], rows=f["passages"]) for f in listed),
    )


def _training(found: Found) -> Training:
    facts = found.facts("adapt")
    if not facts:
        return Training()
    if facts["method"] == "imported":
        return _tuned_elsewhere(facts, files.read_jsonl(found.folder("adapt") / "losses.jsonl"))
    steps_per_epoch = facts["steps_planned"] / facts["epochs_planned"]
    losses = [
        row
        for row in files.read_jsonl(found.folder("adapt") / "losses.jsonl")
        if row.get("stage") == facts.get("stage")
    ]
    kept = ("method", "rank", "alpha", "learning_rate", "epochs_planned", "epochs_done", "tokens_seen", "seconds")
    also = ("tokens_per_second", "trainable_parameters", "precision", "flops_upper_bound")
    return Training(
        **{name: facts[name] for name in (*kept, *also)},
        best_epoch=facts["best_step"] / steps_per_epoch,
        batch=_batch(facts),
        classes=facts["labels"] if facts.get("task") == CLASSIFICATION else {},
        losses=tuple(
            LossPoint(
                step=row["step"],
                epoch=row["step"] / steps_per_epoch,
                train=row["train"],
                held_out=row["held_out"],
                macro_f1=row.get("macro_f1"),
            )
            for row in losses
        ),
    )


def _batch(facts: Mapping[str, Any]) -> dict[str, Any]:
    if facts.get("task") == CLASSIFICATION:
        return {"texts": facts["rows"]} | {name: facts[name] for name in ("rows_per_step", "validation_rows")}
    found = {name: facts[name] for name in ("packs_per_step", "packs_at_once", "rows", "validation_rows")}
    stages = facts.get("stages", {})
    beside = {f"{name}_rows": stages[name]["rows"] for name in stages if name != facts["stage"]}
    return found | beside | ({"retained_rows": facts["retained_rows"]} if facts.get("retained_rows") else {})


def _tuned_elsewhere(facts: Mapping[str, Any], losses: Sequence[Mapping[str, Any]]) -> Training:
    """What the files of a training elsewhere tell of it; most is unknown."""
    known = {name: facts.get(name) for name in ("rank", "alpha", "epochs_done", "trainable_parameters")}
    return Training(
        method="imported",
        elsewhere=facts["tool"] or "unknown",
        losses=tuple(LossPoint.model_validate(row) for row in losses),
        **known,
    )


def _parity(found: Found) -> Parity:
    facts = found.facts("parity")
    return Parity(passed=facts["passed"], checks=tuple(ParityCheck(**check) for check in facts["checks"]))


def _examples(found: Found) -> list[Answered]:
    """Held-out questions, wrong answers first, then right ones; a few of unseen topics."""
    before = {item["id"]: item for item in found.items("audit-base-domain")}
    rows = []
    for item in found.items("audit-result-domain"):
        if "answer" not in item:  # a model that only fills in words
            continue
        was = before.get(item["id"])
        if was is not None and "answer" not in was:  # a base without a classification head chose nothing
            was = None
        rows.append(
            Answered(
                prompt=item["prompt"],
                expected=item["expected"],
                base_answer=was["answer"] if was else None,
                result_answer=item["answer"],
                correct_before=bool(was["metric"]["normalised"]) if was else None,
                correct_after=bool(item["metric"]["normalised"]),
                slice=item["group"]["slice"],
            )
        )
    known = [r for r in rows if r.slice == "held_out"]
    unseen = [r for r in rows if r.slice == "unseen"]
    wrong, right = [r for r in known if not r.correct_after], [r for r in known if r.correct_after]
    few = min(3, len(unseen))
    shown_wrong = wrong[: (EXAMPLES_SHOWN - few) // 2]  # failures are shown first: nobody picks the good ones
    return [*shown_wrong, *right[: EXAMPLES_SHOWN - few - len(shown_wrong)], *unseen[:few]]


def _suites(found: Found) -> Iterator[SuiteEvidence]:
    """What each suite of the recipe shows beside its measures."""
    for suite in dict.fromkeys(found.plan.recipe.audit.suites):
        base, result = f"audit-base-{suite}", f"audit-result-{suite}"
        made = found.result(result)
        yield suite_evidence(
            suite,
            found.items(result),
            found.facts(result),
            before=found.items(base),
            facts_before=found.facts(base),
            warnings=made.warnings if made else (),
            rerun=f"limpide run {found.plan.path.name}",
        )


def _explanations(found: Found) -> tuple[dict[str, Any], ...]:
    """Of the result's own failures and most biased pairs, where the recipe asks for them."""
    return read_explanations(found.folder("understand") / EXPLANATIONS) if "understand" in found.names else ()


def _corrections(found: Found) -> Iterator[dict[str, Any]]:
    """What was corrected or refused, the file that is served measured again where it was."""
    for goal in catalogue.GOALS:
        if f"correct-{goal}" in found.names:
            record = files.read_json(found.folder(f"correct-{goal}") / RECORD)
            if goal == "bias":
                record["served"] = found.facts("correct-served").get("served")
            yield record


def _files(found: Found) -> tuple[ReleaseFile, ...]:
    facts = found.facts("export")
    names = {n: n.removeprefix("merged/") for n in facts["files"]}
    return tuple(
        ReleaseFile(name=names[n], bytes=facts["bytes"][n], digest=d) for n, d in sorted(facts["files"].items())
    )


def _decisions(plan: Plan) -> tuple[str, ...]:
    recipe = plan.recipe
    personal = recipe.data.personal_data
    policy = personal if isinstance(personal, str) else f"allow, because: {personal.allow}"
    decisions = [f"Personal data in the examples: {policy}."]
    allowed = {"Secrets": recipe.data.secrets, "Items of the audits": recipe.data.leakage}
    decisions += [
        f"{what} in the examples: allow, because: {how.allow}" for what, how in allowed.items() if hasattr(how, "allow")
    ]
    decisions += _of_import(recipe.imported) if recipe.imported is not None else []
    decisions += [f"Gate chosen: {gate}." for gate in recipe.gates]
    decisions += [f"Use excluded: {use}" for use in recipe.purpose.excluded]
    able = [s for s, keys in FILES.items() if all(getattr(recipe.data, key) is not None for key in keys)]
    skipped = [s for s in able if s not in recipe.audit.suites]
    decisions += [f"Suite left out of the audit: {suite}." for suite in skipped]
    return tuple(decisions)


def _of_import(imported: Any) -> list[str]:
    """What was declared of a tuning that nobody here saw."""
    seen = (
        "Declared: the tuning elsewhere never saw the rows that are tested on."
        if imported.unseen
        else "Not declared whether the tuning elsewhere saw the rows that are tested on: right answers may be memory."
    )
    template = ["The base's chat template is used, whatever the tuning used."] if imported.template == "base" else []
    return [f"Tuned elsewhere ({imported.tool or 'tool not named'}) and taken as it was.", seen, *template]
