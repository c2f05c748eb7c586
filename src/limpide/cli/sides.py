"""The two sides of a comparison: an audit that was kept, the evidence of a release, or a model that is audited now."""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from limpide.cli.output import progress
from limpide.cli.suites import AllSettings, run_all
from limpide.cli.whom import Order
from limpide.core import files
from limpide.core.measure import load_measures, save_measures
from limpide.document.evidence import Audited, Evidence, load_evidence
from limpide.document.read import is_audit, read_audited

DEFAULT = ("bias", "truth", "retention")  # of two models, when no suite is named
EVIDENCE, ITEMS = "evidence/evidence.json", "evidence/items"


@dataclass(frozen=True)
class Side:
    """Who, and the folder of each of its suites."""

    audited: Audited
    folders: dict[str, Path]


@dataclass(frozen=True)
class Wanted:
    """What both sides are asked for. order: how models are asked; its `model` is replaced by each."""

    order: Order
    settings: AllSettings
    out: Path | None


@contextmanager
def both(first: str, second: str, wanted: Wanted) -> Iterator[tuple[Side, Side]]:
    """The two sides, ready to be compared. What is made on the way goes away, but for audits where `out` is named.

    A model without suites named is asked what the other side was, or DEFAULT when that is a model too.
    Raises DataError for a folder that is broken, and what auditing a model raises.
    """
    with tempfile.TemporaryDirectory() as made:
        kept = [found(ref, Path(made) / name) for ref, name in ((first, "a"), (second, "b"))]
        asked = wanted.settings.names or _suites([side for side in kept if side is not None])
        sides = [
            side or audited(ref, (wanted.out or Path(made)) / name, asked, wanted)
            for side, ref, name in zip(kept, (first, second), ("a", "b"), strict=True)
        ]
        yield sides[0], sides[1]


def found(ref: str, made: Path) -> Side | None:
    """The side that a folder holds, None where `ref` is to be audited. made: where a release's suites are laid out."""
    folder = Path(ref)
    if folder.is_dir() and is_audit(folder):
        return Side(*read_audited(folder))
    if not (folder / EVIDENCE).is_file():
        return None
    return _release(folder, made)


def audited(ref: str, out: Path, suites: Sequence[str], wanted: Wanted) -> Side:
    """A model, audited into `out`; suites that are whole there are kept."""
    settings = wanted.settings.model_copy(update={"suites": ",".join(suites)})
    run_all(replace(wanted.order, model=ref), settings, out)
    return Side(*read_audited(out))


def _suites(kept: Sequence[Side]) -> tuple[str, ...]:
    return tuple(kept[0].folders) if kept else DEFAULT


def _release(folder: Path, made: Path) -> Side | None:
    """The result's suites of a release, from its evidence; None where it keeps too little, and is audited instead."""
    measures = [m for m in load_measures(folder / "evidence" / "measures.jsonl") if m.subject == "result"]
    suites = dict.fromkeys(m.name.split(".")[0] for m in measures)
    able = [name for name in suites if all(path.is_file() for path in _evidence_of(folder, name))]
    if not able:
        progress(False).say(f"{folder} keeps no items of its audits: it is audited as a model.")
        return None
    evidence = load_evidence(folder / EVIDENCE)
    for name in able:
        items, specs = _evidence_of(folder, name)
        files.write_bytes(made / name / "items.jsonl", items.read_bytes())
        files.write_bytes(made / name / "specs.json", specs.read_bytes())
        save_measures(made / name / "measures.jsonl", [m for m in measures if m.name.startswith(f"{name}.")])
        shown = evidence.suite(name)
        files.write_json(made / name / "result.json", {"facts": shown.facts, "warnings": list(shown.warnings)})
    return Side(_who(evidence, measures[0].model_digest), {name: made / name for name in able})


def _evidence_of(folder: Path, suite: str) -> tuple[Path, Path]:
    return folder / ITEMS / f"result-{suite}.jsonl", folder / ITEMS / f"result-{suite}.specs.json"


def _who(evidence: Evidence, digest: str | None) -> Audited:
    made = evidence.environment
    return Audited(
        title=f"{evidence.name} {evidence.version}",
        digest=digest,
        seed=made.seed,
        date=made.date,
        versions=made.versions,
        command=" && ".join(evidence.how_to_rerun) or None,
    )


def shared(first: Side, second: Side, named: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """(suites that both sides have, {suite that one side lacks: which one}). named: these suites alone, all if none."""
    every = [*first.folders, *(name for name in second.folders if name not in first.folders)]
    wanted = [*dict.fromkeys(named)] or every
    sides = {"A": first, "B": second}
    alone = {
        name: f"It was not asked of {' and '.join(who for who, side in sides.items() if name not in side.folders)}."
        for name in wanted
        if not (name in first.folders and name in second.folders)
    }
    return [name for name in wanted if name not in alone], alone
