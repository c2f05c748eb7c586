"""`limpide data draft` and `limpide data review`: questions and answers from documents, written by the local model,
accepted by a person."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from limpide.cli.output import Json, print_json, print_rows, progress
from limpide.core import files
from limpide.core.errors import UsageError, nearest

LANGUAGES = ("en", "fr")
NAME_ANOTHER = "name another file with --out, or move this one away"
MOST_PER_PASSAGE = 20  # as DraftSettings has it


@dataclass(frozen=True)
class HowDrafted:
    """How drafts are written."""

    per_passage: Annotated[int, Parameter(help="drafts that should pass the filters, of each passage")] = 2
    answers: Annotated[
        Literal["quoted", "written"],
        Parameter(help="quoted: sentences of the document; written: the model's words, for models of 1B and more"),
    ] = "quoted"
    languages: Annotated[str, Parameter(help="of the passages to draft from: en, fr, or both")] = "en,fr"
    seed: int = 0


def draft(
    *documents: Path,
    model: Annotated[str, Parameter(help="alias, folder, .gguf file, or hub:owner/name@revision")],
    out: Annotated[Path, Parameter(help="file of drafts, one line a passage; a run that was stopped goes on there")],
    how: Annotated[HowDrafted | None, Parameter(name="*")] = None,
    skip_bad: Annotated[
        bool, Parameter(negative="", help="leave out documents that cannot be read; they are listed")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draft questions and answers from documents, by the local model only; nothing leaves this machine.

    Each draft is tied to its passage. Filters refuse what is no question, what the passage does not say, what was asked
    before; refused drafts are kept in the file with the reason. Of several questions about one place the one that best
    calls for it is kept, often that of the lowest `gain`: the less the question tells, the more the passage adds.
    What passes must still be read by a person: see
    `limpide data review`. A small model asks poorly: of what SmolLM2-135M wrote and the filters passed, read by hand,
    6 of 14 were good in English and 0 of 3 in French. A larger model is worth its time.

    Example: limpide data draft handbook.pdf manuals/ --model smollm2-135m-instruct --out drafts.jsonl

    Parameters
    ----------
    documents
        Files and folders of pdf, docx, pptx, html, md, txt.
    """
    from limpide.data.documents import read_documents

    how = how or HowDrafted()
    chosen = _languages(how.languages)
    if not 1 <= how.per_passage <= MOST_PER_PASSAGE:
        raise UsageError(
            "A number of drafts a passage cannot give was asked for.",
            received=f"--per-passage {how.per_passage}",
            expected=f"1 to {MOST_PER_PASSAGE}",
        )
    _refuse_other(out)
    if not documents:
        raise UsageError(
            "No document was named.", remedy="limpide data draft handbook.pdf --model NAME --out drafts.jsonl"
        )
    shown = progress(as_json)
    read = read_documents(documents, skip_bad=skip_bad, progress=shown)
    for warning in read.warnings:
        shown.warn(warning)
    passages = [passage for passage in read.passages if passage.language in chosen]
    if not passages:
        spoken = read.record()["languages"]
        raise UsageError(
            "No passage is in a language that is drafted in.",
            received=", ".join(f"{language} {count}" for language, count in spoken.items()),
            expected=" or ".join(chosen),
        )
    found = _draft(passages, model, out, how, chosen, as_json)
    found |= {"passages_left_out": len(read.passages) - len(passages), "out": str(out)}
    if as_json:
        print_json(found)
    else:
        _print_counts(found)
        print(f"Next: limpide data review {out}", file=sys.stderr)


def _draft(
    passages: list[Any], name: str, out: Path, how: HowDrafted, languages: tuple[str, ...], as_json: bool
) -> dict[str, Any]:
    from limpide.adapt.drafts import DraftSettings, draft_passages
    from limpide.cli.whom import whole_model
    from limpide.data.drafts import DraftsFile, Head, counts
    from limpide.models.model import open_model

    shown = progress(as_json)
    settings = DraftSettings(per_passage=how.per_passage, answers=how.answers, seed=how.seed)
    source = whole_model(name, shown)
    opened = open_model(source.folder)
    head = Head(
        model=source.ref,
        model_digest=opened.digest,
        seed=how.seed,
        per_passage=how.per_passage,
        answers=how.answers,
        languages=languages,
    )
    file = DraftsFile(out, head)
    draft_passages(opened, passages, settings, file, shown)
    return counts(file.done)


def _languages(given: str) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in given.split(",") if part.strip())
    for language in chosen:
        if language not in LANGUAGES:
            raise UsageError(
                f"Limpide does not draft in '{language}'.{nearest(language, LANGUAGES)}", expected=", ".join(LANGUAGES)
            )
    return chosen or LANGUAGES


def _print_counts(found: dict[str, Any]) -> None:
    rows = [
        ("passages", str(found["passages"])),
        ("left out: another language", str(found["passages_left_out"])),
        ("drafts", str(found["drafts"])),
        ("to review", str(found["to_review"])),
        *((f"refused: {reason}", str(count)) for reason, count in found["refused"].items()),
    ]
    print_rows([row for row in rows if row[1] != "0" or row[0] == "to review"])


def review(
    drafts: Path,
    *,
    decisions: Annotated[
        Path | None, Parameter(help="the file that the page saved; without it the page is written")
    ] = None,
    out: Annotated[Path | None, Parameter(help="the page (.html), or with --decisions the examples (.jsonl)")] = None,
    by: Annotated[str | None, Parameter(help="your name, which is recorded with the examples")] = None,
    language: Annotated[Literal["en", "fr"], Parameter(help="of the page")] = "en",
    as_json: Json = False,
) -> None:
    """Write the page where drafts are accepted, edited or rejected; then turn what was accepted into examples.

    The page is one file that works without a network: open it in a browser, decide, save decisions.json.

    Example: limpide data review drafts.jsonl
    Example: limpide data review drafts.jsonl --decisions decisions.json --by "Ada Roux" --out examples.jsonl

    Parameters
    ----------
    drafts
        The file that `limpide data draft` wrote.
    """
    from limpide.data.drafts import load_drafts
    from limpide.data.reviewed import review as reviewed

    head, drafted = load_drafts(drafts)
    if decisions is None:
        from limpide.document.review import page

        target = out or drafts.with_suffix(".review.html")
        _refuse_same(target, drafts)
        _refuse_there(target)
        files.write_text(target, page(head, drafted, drafts.name, language))
        if as_json:
            print_json({"page": str(target)})
        else:
            print(f"Open {target} in a browser, decide, and save decisions.json. Then:")
            print(f"limpide data review {drafts} --decisions decisions.json --by NAME --out examples.jsonl")
        return
    if out is None or not (by or "").strip():
        missing = " and ".join(name for name, given in (("--out", out), ("--by", (by or "").strip())) if not given)
        raise UsageError(
            f"To write the examples, {missing} must be given too.",
            remedy=f'limpide data review {drafts} --decisions {decisions} --by "YOUR NAME" --out examples.jsonl',
        )
    for other in (drafts, decisions):
        _refuse_same(out, other)
    _refuse_there(out)
    found = reviewed(drafted, decisions, str(by).strip())
    if not found.rows:
        raise UsageError("No draft was accepted, so there is no example to write.", received=found.said())
    files.write_jsonl(out, found.rows)
    if as_json:
        print_json({"examples": len(found.rows), **found.record(), "out": str(out)})
    else:
        print(f"{len(found.rows)} examples in {out}: {found.said()}.")


def _refuse_other(out: Path) -> None:
    """Raise before the model is opened where `out` is a folder, or holds what is no file of drafts."""
    from limpide.data.drafts import load_head

    if out.is_dir():
        raise UsageError(f"{out} is a folder.", remedy="name a file: --out drafts.jsonl")
    if out.is_file() and out.stat().st_size:
        load_head(out)


def _refuse_there(out: Path) -> None:
    """What was reviewed, or written beside, is not made again by itself."""
    if out.is_dir() or (out.is_file() and out.stat().st_size):
        raise UsageError(f"{out} is there already, and nothing is overwritten.", remedy=NAME_ANOTHER)


def _refuse_same(target: Path, source: Path) -> None:
    if target.resolve() == source.resolve():
        raise UsageError(f"The result would overwrite {source}.", remedy=NAME_ANOTHER)
