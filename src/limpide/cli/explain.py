"""`limpide explain MODEL "prompt"`: why a model gave an answer, in a coloured sentence, a paragraph, and a page."""

import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from limpide.cli.output import Json, print_json, print_rows, progress, visible
from limpide.core import files
from limpide.core.errors import DataError, MissingError, ModelError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Progress
from limpide.document import notes, telling
from limpide.document.language import Language, language
from limpide.document.weighed import CLEAR, LEAST, Weight, share, weights
from limpide.models.address import is_address, parse_address
from limpide.understand.explain import EXPLANATION, Explained, ExplainSettings, HowExplained, operation
from limpide.understand.methods import NAMES, MethodName, chosen

NO_BETTER = "no better than chance"  # a verdict of understand/faithfulness.py, which loads torch
WORDS = 8  # words listed with their numbers
# From weak to strong; blue and orange, which everybody tells apart, and a line where there are no colours.
FOR = ("black on #cfe3f7", "black on #7fb4e6", "bold white on #1f6fb5")
AGAINST = ("underline black on #fbe0c3", "underline black on #f3ae66", "bold underline white on #b45a0a")
CLOSED = ("gpt-3", "gpt-4", "gpt-5", "chatgpt", "claude", "gemini")  # beginnings of names of models sold as a service
SAID = {
    "en": {"took": "Took {each}.", "page": "Page: {file}", "not run": "{method}: not run. {why}"},
    "fr": {"took": "Durée : {each}.", "page": "Page : {file}", "not run": "{method} : non calculé. {why}"},
}
ASKED = "JSON file that holds prompt and answer, so that they stand in no list of processes; instead of PROMPT"
OPEN = "an open model: alias, folder, adapter folder, .gguf file, or hub:owner/name@revision"


@dataclass(frozen=True)
class Given:
    """What may stand beside the model and the question, or in the question's place."""

    asked: Annotated[Path | None, Parameter(help=ASKED)] = None
    compare: Annotated[
        str | None, Parameter(help="the model before: say what changed in how MODEL decides since then")
    ] = None


@dataclass(frozen=True)
class Told:
    """How the explanation is shown."""

    html: Annotated[Path | None, Parameter(help="file of a page to keep: words, layers, parts and their test")] = None
    language: Annotated[Literal["en", "fr"], Parameter(help="language of the sentences and of the page")] = "en"


def explain(
    model: Annotated[str, Parameter(help=OPEN.removeprefix("an open model: "))],
    prompt: Annotated[str | None, Parameter(help="what the model is asked; for BERT a text with [MASK]")] = None,
    *,
    method: Annotated[
        tuple[str, ...],
        Parameter(negative="", help=f"{', '.join(NAMES)}, separated by commas; default: those that fit the question"),
    ] = (),
    given: Annotated[Given | None, Parameter(name="*")] = None,
    how: Annotated[HowExplained | None, Parameter(name="*")] = None,
    told: Annotated[Told | None, Parameter(name="*")] = None,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Say why a model gave an answer: which words, which layer, which parts, and whether that is true.

    Without --answer the model is asked first. With --compare, both models are explained on one question.

    Example: limpide explain smollm2-135m-instruct "The nurse was late because" --raw --answer she --against he
    """
    given, told = given or Given(), told or Told()
    if told.html is not None:
        check_page(told.html)
    methods = chosen(method)
    settings = question(prompt, given.asked, how or HowExplained(), methods)
    shown = progress(as_json)
    subject = subject_of(model, shown, seed)
    before = None if given.compare is None else subject_of(given.compare, shown, seed)
    found = explained(subject, settings, shown) if before is None else compared(before, subject, settings, shown)
    if as_json:
        print_json(found.record)
    else:
        print_explanation(found.record, told.language)
    said, spoken = SAID[told.language], language(told.language)
    took = ", ".join(f"{name} {spoken.number(seconds, 1)} s" for name, seconds in found.seconds.items())
    shown.say(said["took"].format(each=took))
    if told.html is not None:
        from limpide.document.explanation import page

        files.write_text(told.html, page([found.record], told.language))
        shown.say(said["page"].format(file=told.html))


def question(
    prompt: str | None, asked: Path | None, how: HowExplained, methods: Sequence[MethodName]
) -> ExplainSettings:
    """The settings, with the prompt that was typed or the one of a file. Raises UsageError, MissingError, DataError."""
    if (prompt is None) == (asked is None):
        raise UsageError(
            "Say what the model is asked." if asked is None else "The question is typed, or stands in a file.",
            received=f"a prompt and --asked {asked}" if asked is not None else "no prompt",
            expected="a prompt, or --asked FILE",
            remedy='limpide explain MODEL "The nurse was late because"',
        )
    texts = {"prompt": prompt} if asked is None else read_asked(asked)
    if how.answer is not None and "answer" in texts:
        raise UsageError("The answer is typed, or stands in the file.", received=f"--answer and --asked {asked}")
    return ExplainSettings(methods=tuple(methods), **{**dict(how), **texts})


def read_asked(file: Path) -> dict[str, Any]:
    """{"prompt", perhaps "answer"} of a file. Raises MissingError, DataError."""
    try:
        found = files.read_json(file)
    except FileNotFoundError as error:
        raise MissingError("There is no such file.", received=file, expected=ASKED) from error
    except (OSError, ValueError):
        found = None
    fits = isinstance(found, dict) and {"prompt"} <= set(found) <= {"prompt", "answer"}
    if not fits or not all(isinstance(text, str) for text in found.values()):
        raise DataError(
            "This file holds no question.",
            received=file,
            expected='{"prompt": "…", "answer": "…"}; answer may be left out',
        )
    return dict(found)


def check_page(file: Path) -> None:
    """Raise UsageError, MissingError for a page that could not be written once all is computed."""
    if file.is_dir():
        raise UsageError("The page needs a file name.", received=file, remedy=f"--html {file / 'why.html'}")
    if not file.parent.is_dir():
        raise MissingError(
            f"There is no folder {file.parent} for the page.",
            received=f"--html {file}",
            remedy=f"make it first (mkdir -p {shlex.quote(str(file.parent))}), or name a file elsewhere",
        )


def subject_of(ref: str, shown: Progress, seed: int) -> Subject:
    """The model that `ref` names, with its adapter if it is one. Raises ModelError where its weights are closed."""
    from limpide.models.sources import resolve

    refuse_closed(ref)
    source = resolve(ref, shown)
    if source.base is not None:
        return Subject(Path(), {"adapter": source.folder}, source.base, source.ref, seed)
    return Subject(Path(), {}, source.folder, source.ref, seed)


def closed(ref: str) -> tuple[str, str] | None:
    """(name, address to audit it at) of a model that is asked over a network; None where weights may be open."""
    if is_address(ref):
        return str(parse_address(ref).model), ref
    return (ref, f"https://HOST/v1#{ref}") if ref.lower().startswith(CLOSED) else None


def refuse_closed(ref: str) -> None:
    """Explanations follow gradients and activations, which nobody is given of a model that is asked over a network."""
    found = closed(ref)
    if found is None:
        return
    name, address = found
    raise ModelError(
        f"Why {name} says something cannot be seen from outside: its weights are closed.",
        received=ref,
        expected=OPEN,
        remedy=f"measure what it does instead, for example whether its answers change with the wording: "
        f"limpide audit robustness {address}; where its weights are published, open them",
    )


def explained(subject: Subject, settings: ExplainSettings, shown: Progress) -> Explained:
    with tempfile.TemporaryDirectory() as made:
        result = operation.run(replace(subject, out=Path(made)), settings, shown)
        return Explained(files.read_json(Path(made) / EXPLANATION), result.facts["seconds"])


def compared(before: Subject, after: Subject, settings: ExplainSettings, shown: Progress) -> Explained:
    from limpide.understand.comparing import compare

    return compare(before, after, settings, shown)


# ---------------------------------------------------------------------------------------------------- on the terminal


def print_explanation(record: Mapping[str, Any], code: str) -> None:
    """One explanation, or what changed between two. A test that failed is said before all else."""
    console, spoken = Console(highlight=False, soft_wrap=not sys.stdout.isatty()), language(code)
    sides = [record[side] for side in ("before", "after")] if record.get("kind") == "comparison" else [record]
    found = [telling.changes(record, code)] if len(sides) == 2 else telling.findings(record, code)
    if len(sides) == 1 and _verdict(record) == NO_BETTER:
        console.print(_said(found.pop(0), "bold red"))
    for side in sides:
        if len(sides) == 2:
            console.print(Text(side["model"]["title"], style="bold"))
        print_words(side, console, spoken)
    for sentences in found:
        console.print(_said(sentences))
    console.print(_said(telling.not_said(sides[-1], code), "dim"))
    for line in dict.fromkeys(chain(*(left_out(side, spoken) for side in sides))):
        console.print(_said([line]))
    for line in dict.fromkeys(spoken.text(warning) or "" for side in sides for warning in side["warnings"]):
        console.print(_said([line], "dim"))


def _said(sentences: Sequence[str], style: str = "") -> Text:
    return Text(visible(" ".join(sentences)), style=style)


def left_out(explanation: Mapping[str, Any], spoken: Language) -> Iterator[str]:
    """Methods that could not answer, each with the reason."""
    for name, why in explanation["not_run"].items():
        reason, _ = notes.in_words(why, spoken)
        yield SAID[spoken.code]["not run"].format(method=name, why=reason)


def print_words(explanation: Mapping[str, Any], console: Console, spoken: Language) -> None:
    """The prompt, its words shaded by their share of all weight; then those that weigh most, in numbers."""
    found = [weight for weight in weights(explanation) if weight.part != "frame"]
    if not found:
        return
    console.print(sentence(explanation["question"]["prompt"], found))
    largest = sorted(found, key=lambda weight: -weight.share)[:WORDS]
    print_rows([(f"  {w.text}", _number(w, spoken)) for w in largest if w.value])


def sentence(prompt: str, found: Sequence[Weight]) -> Text:
    """The prompt as it was written. Blue words speak for the answer, orange underlined ones against it."""
    text, at = Text(), 0
    strongest = max((weight.share for weight in found), default=0.0)
    for weight in found:
        start = prompt.find(weight.text, at)
        if start < 0:  # a word that the tokenizer writes otherwise
            continue
        text.append(visible(prompt[at:start]))
        at = start + len(weight.text)
        text.append(visible(prompt[start:at]), style=_shade(weight, strongest))
    return text.append(visible(prompt[at:]))


def _shade(weight: Weight, strongest: float) -> str:
    """Three strengths, as a share of the strongest word's; none for a word that hardly counts."""
    if weight.share < CLEAR or abs(weight.value) < LEAST:
        return ""
    level = min(2, int(3 * weight.share / strongest))
    return (FOR if weight.value > 0 else AGAINST)[level]


def _number(weight: Weight, spoken: Language) -> str:
    signed = share(weight.share if weight.value > 0 else -weight.share, spoken)
    return f"{signed}  {spoken.difference(weight.value, 'nats')}"


def _verdict(explanation: Mapping[str, Any]) -> str | None:
    verdict: str | None = explanation["methods"].get("faithfulness", {}).get("verdict")
    return verdict
