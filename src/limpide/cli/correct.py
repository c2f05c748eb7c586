"""`limpide correct bias MODEL`: one command a kind of correction of the catalogue, its options from its settings."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

import limpide
from limpide.cli.explain import check_page, closed
from limpide.cli.lists import repeated
from limpide.cli.output import Json, print_json, print_rows, progress, visible
from limpide.cli.places import check_new, take_name
from limpide.core import catalogue, digests, files
from limpide.core.errors import GateFailed, MissingError, ModelError
from limpide.core.measure import Change
from limpide.core.operation import Operation, Settings, Subject
from limpide.core.progress import Progress
from limpide.document import correction as telling
from limpide.document.language import Language, language

HELP = """Mend a bias or an error, measure again on what the mending never saw, and refuse it where it costs too much.

Example: limpide correct bias smollm2-135m-instruct --method auto --axes gender
"""
OPEN = "an open model: alias, folder, or hub:owner/name@revision"
RECORD, CORRECTED = "correction.json", "corrected"  # what the operation leaves
MODEL, PAGE = "model", "report.html"  # the corrected model, as it is kept, and the page beside it
EXAMPLES = {
    "bias": ("--method", "auto", "--axes", "gender,origin"),
    "tone": ("--wanted", "as-we-speak.jsonl", "--unwanted", "as-it-speaks.jsonl"),
    "fact": ("--prompt", "The capital of France is", "--subject", "France", "--answer", "Lyon"),
}
SHORT = 6  # things watched, beyond which those that held and did not move are counted
STYLES = {"good": "bold green", "bad": "bold red", "doubt": "bold yellow"}


@dataclass(frozen=True)
class Told:
    """Where the correction is kept, and how it is told."""

    out: Annotated[
        Path | None,
        Parameter(help="folder to keep the corrected model and its evidence in; without it, corrected/MODEL-KIND"),
    ] = None
    html: Annotated[Path | None, Parameter(help="file for one more copy of the page")] = None
    language: Annotated[
        Literal["en", "fr"], Parameter(name="--report-language", help="language of the sentences and of the page")
    ] = "en"


@dataclass(frozen=True)
class Kept:
    """What a correction left. model: the corrected model, None where it was not accepted."""

    record: Mapping[str, Any]
    folder: Path
    model: Path | None


def command(operation: Operation) -> Callable[..., None]:
    """The command line of one kind of correction, derived from its settings."""
    kind = operation.name.split(".")[1]

    def correct(
        model: Annotated[str, Parameter(help=OPEN.removeprefix("an open model: "))],
        *,
        data: Annotated[
            Path | None, Parameter(help="prepared data, watched as well: the folder of a recipe's step 'data'")
        ] = None,
        seed: int = 0,
        settings: Any = None,
        told: Annotated[Told | None, Parameter(name="*")] = None,
        as_json: Json = False,
    ) -> None:
        told = told or Told()
        chosen = settings or operation.settings()
        out = told.out or Path("corrected") / f"{digests.slug(Path(model).name)}-{kind}"
        check_places(out, told.html)
        shown = progress(as_json)
        subject = subject_of(model, data, seed, shown)
        again = command_line(kind, model, data, chosen, seed)
        kept = corrected(operation, chosen, subject, out, again, told.language, shown)
        if told.html is not None:
            files.write_bytes(told.html, (out / PAGE).read_bytes())
        if as_json:
            print_json(kept.record)
        else:
            print_correction(kept, model, told)
        require_accepted(kept)

    example = shlex.join(["limpide", "correct", kind, "smollm2-135m-instruct", *EXAMPLES.get(kind, ())])
    correct.__doc__ = f"{operation.summary[0].upper()}{operation.summary[1:].rstrip('.')}.\n\nExample: {example}"
    correct.__annotations__["settings"] = Annotated[operation.settings, Parameter(name="*")]
    return correct


def kinds() -> list[Operation]:
    """The operations that correct, measure again and judge; methods alone are not among them."""
    return [catalogue.find(f"correct.{goal}") for goal in catalogue.GOALS]


def spread(arguments: Sequence[str]) -> list[str]:
    """The command line with every list of the settings repeated."""
    found = {operation.name.split(".")[1]: operation.settings for operation in kinds()}
    if len(arguments) < 2 or arguments[1] not in found:
        return list(arguments)
    return repeated(arguments, found[arguments[1]])


# ----------------------------------------------------------------------------------------------------- before the work


def check_places(out: Path, html: Path | None) -> None:
    """Raise UsageError, MissingError for places that could not be written once all is computed."""
    if html is not None:
        check_page(html)
    check_new(out)


def subject_of(ref: str, data: Path | None, seed: int, shown: Progress) -> Subject:
    """The model that `ref` names. Raises ModelError where its weights are closed, rounded, or only an adapter's."""
    from limpide.models.sources import resolve

    refuse_closed(ref)
    if Path(ref).suffix.lower() == ".gguf":
        raise ModelError(
            "A GGUF file holds weights that were rounded to be served: what corrects them would correct the rounding.",
            received=ref,
            expected=OPEN,
            remedy="open the folder of the weights that the file was made from (config.json, model.safetensors), "
            "correct them, and make the GGUF file anew: a recipe does both",
        )
    source = resolve(ref, shown)
    if data is not None and not data.is_dir():
        raise MissingError(f"There is no folder {data} of prepared data.", received=f"--data {data}")
    if source.kind == "adapter":
        raise ModelError(
            f"{ref} is an adapter; what is corrected is a whole model.",
            received=ref,
            remedy="correct in the recipe that adapts, which does one after the other; or merge it into its base first",
        )
    return Subject(Path(), {} if data is None else {"data": data}, source.folder, source.ref, seed)


def refuse_closed(ref: str) -> None:
    """A correction changes weights, which nobody is given of a model that is asked over a network."""
    found = closed(ref)
    if found is None:
        return
    name, address = found
    raise ModelError(
        f"{name} cannot be corrected from outside: its weights are closed.",
        received=ref,
        expected=OPEN,
        remedy=f"measure what it does (limpide audit bias {address}), and tell whoever makes it",
    )


# ------------------------------------------------------------------------------------------------------------ the work


def corrected(
    operation: Operation, chosen: Settings, subject: Subject, out: Path, again: str, code: str, shown: Progress
) -> Kept:
    """Run in a folder beside `out`, which takes its name when all is whole: evidence, page, and model if accepted. One
    that was stopped goes on there. Raises UsageError where another run took the name meanwhile."""
    from limpide.document.correction_page import page

    made = workplace(operation, chosen, subject, out)
    with files.clear_write_errors(made):
        made.mkdir(parents=True, exist_ok=True)
        operation.run(replace(subject, out=made), chosen, shown).save(made)
        record = files.read_json(made / RECORD)
        record["rerun"] = record.get("rerun") or again
        record["model"] = {**(record.get("model") or {}), "title": subject.label}  # as the person named it
        files.write_json(made / RECORD, record)
        if (made / CORRECTED).is_dir():
            (made / CORRECTED).rename(made / MODEL)
        files.write_text(made / PAGE, page(record, code))
        take_name(made, out)
    return Kept(record, out, out / MODEL if (out / MODEL).is_dir() else None)


def workplace(operation: Operation, chosen: Settings, subject: Subject, out: Path) -> Path:
    """Where this very correction is worked at until it is whole: the same command finds what it had finished."""
    from limpide.models.sources import model_digest

    asked = [operation.name, chosen.model_dump(mode="json"), subject.seed, model_digest(subject.the_model())]
    key = digests.of_value([*asked, digests.of_code(Path(limpide.__file__).parent)])
    return out.with_name(f".{out.name}.{key[: digests.SHORT]}")


def require_accepted(kept: Kept) -> None:
    """Raise GateFailed where the correction was refused, or could not be judged."""
    verdict = kept.record["verdict"]
    if verdict in ("accepted", "nothing to correct"):
        return
    refused = verdict == "refused"
    raise GateFailed(
        "The correction is refused; no weight was changed." if refused else "The correction could not be judged.",
        remedy=f"read {kept.folder / PAGE}, which names what broke or did not change"
        if refused
        else f"read {kept.folder / PAGE}, then judge on more axes, languages or data",
    )


def command_line(kind: str, model: str, data: Path | None, chosen: Settings, seed: int) -> str:
    """The command that does it again. A place to keep it in is left to whoever does."""
    words = ["limpide", "correct", kind, model, *([] if data is None else ["--data", str(data)])]
    words += ["--seed", str(seed)] if seed else []
    for name, value in _options(chosen.model_dump(mode="json", exclude_defaults=True)):
        head, _, last = name.rpartition(".")
        without = f"--{head}." if head else "--"
        if value is False or value == []:
            words.append(f"{without}{'no' if value is False else 'empty'}-{last}")
        elif value is True:
            words.append(f"--{name}")
        else:
            texts = map(str, value) if isinstance(value, list) else [str(value)]
            words += [word for text in texts for word in _option(name, text)]
    return shlex.join(words)


def _option(name: str, text: str) -> list[str]:
    """What begins with a dash would be read as an option."""
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]


def _options(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings of settings by names with points."""
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', '-')}"
        if isinstance(value, Mapping):
            yield from _options(value, f"{name}.")
        else:
            yield name, value


# ---------------------------------------------------------------------------------------------------- on the terminal


def print_correction(kept: Kept, model: str, told: Told) -> None:
    """The verdict, a small table, where things are, and what to do next."""
    console, spoken = Console(highlight=False, soft_wrap=not sys.stdout.isatty()), language(told.language)
    style = STYLES.get(telling.TONES.get(kept.record["verdict"], "plain"), "bold")
    console.print(Text(visible(telling.in_short(kept.record, told.language)), style=style))
    print_rows(list(rows(kept.record, spoken)))
    if kept.model is not None:
        console.print(Text(spoken.say("correction.said.model", folder=kept.model)))
    console.print(Text(spoken.say("correction.said.record", file=kept.folder / RECORD)))
    console.print(Text(spoken.say("correction.said.page", file=told.html or kept.folder / PAGE)))
    if kept.model is not None:
        console.print(Text(spoken.say("correction.said.next")))
        for line in following(kept.model, model):
            console.print(Text(f"  {line}"))


def rows(record: Mapping[str, Any], spoken: Language) -> Iterator[tuple[str, str]]:
    """(what, from what to what and whether its limit holds) of the target and of what was watched: of many things, of
    those that a person should see."""
    target, method = record.get("target") or {}, record.get("method")
    if method is not None and record.get("strength") is not None:
        said = spoken.name("correction.method", method)
        strength = spoken.significant(float(record["strength"]))
        yield (
            spoken.say("correction.said.method"),
            spoken.say("correction.said.strength", method=said, strength=strength),
        )
    if target.get("before") is not None and target.get("after") is not None:
        yield telling.aim(record, spoken), " → ".join(telling.both(target, spoken))
    watched = telling.watched(record)
    loud = [pair for pair in watched if telling.is_loud(*pair)] if len(watched) > SHORT else watched
    yield from (_limit(change, one, spoken) for change, one in loud)
    if len(loud) < len(watched):
        yield spoken.say("correction.watched.more", len(watched) - len(loud)), ""


def _limit(change: Change, one: Mapping[str, Any], spoken: Language) -> tuple[str, str]:
    """One thing that was watched, from what to what, what was allowed, and whether that held."""
    found = telling.both(change.model_dump(), spoken) if None not in (change.before, change.after) else ("–", "–")
    held = one.get("held")
    word = spoken.say(f"correction.{'held' if held else 'broken' if held is False else 'undecided'}")
    limit = telling.limit_words(str(one.get("limit", "")), spoken)
    told = spoken.say("correction.said.watched", limit=limit, word=word)
    return telling.named(change.name, change.group, spoken), f"{' → '.join(found)}  ({told})"


def following(folder: Path, before: str) -> list[str]:
    """Commands that use the corrected model: compared with the one before, and served where it has a file for that."""
    served = [shlex.join(["limpide", "serve", str(file), "--unsigned"]) for file in sorted(folder.rglob("*.gguf"))[:1]]
    return [shlex.join(["limpide", "compare", before, str(folder)]), *served]


def make_app() -> App:
    made = App(name="correct", help=HELP, help_format="plaintext")
    for operation in kinds():
        made.command(command(operation), name=operation.name.split(".")[1])
    return made


app = make_app()
