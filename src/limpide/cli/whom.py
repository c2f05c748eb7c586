"""Who is audited: an open model, an endpoint that is asked from outside, or answers that somebody already has."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from limpide.cli.output import ask, progress
from limpide.core.errors import ModelError, UsageError
from limpide.core.operation import Operation, Settings, Subject
from limpide.core.progress import Progress, Quiet
from limpide.models.address import Address, EndpointSettings, is_address, parse_address
from limpide.models.given import Given, read_given
from limpide.models.recorder import Call, Recorder
from limpide.models.respondents import Opened, Respondent

if TYPE_CHECKING:
    from limpide.models.remote import Endpoint, Estimate
    from limpide.models.sources import Source

OUTSIDE = Group("Closed models", sort_key=1)
MODEL = "alias, folder, .gguf file, hub:owner/name@revision, or https://HOST/v1#MODEL for a closed model"
Model = Annotated[str | None, Parameter(help=MODEL)]
HowAsked = Annotated[EndpointSettings, Parameter(name="*", group=OUTSIDE)]
Flag = Parameter(negative="")


@dataclass(frozen=True)
class Outside:
    """What the command line can be told about models whose weights are closed."""

    answers: Annotated[
        Path | None, Parameter(help="answers that you already have: .jsonl, .json, .csv or .xlsx with a column 'id'")
    ] = None
    answer_field: Annotated[str, Parameter(help="column of the answers in that file")] = "answer"
    write_questions: Annotated[
        Path | None, Parameter(help="write the questions into this new .jsonl file, to answer them elsewhere, and stop")
    ] = None
    yes: Annotated[bool, Flag, Parameter(name=["--yes", "-y"], help="send the questions without asking first")] = False
    fresh: Annotated[bool, Flag, Parameter(help="compute and ask again what is kept of earlier runs")] = False


HowOutside = Annotated[Outside, Parameter(name="*", group=OUTSIDE)]


@dataclass(frozen=True)
class Order:
    """One command line. inputs: folders of earlier steps, by name."""

    model: str | None
    inputs: Mapping[str, Path]
    seed: int
    endpoint: EndpointSettings
    outside: Outside
    as_json: bool


@dataclass(frozen=True)
class Whom:
    """Who is audited. label: in measures. kind: model, endpoint, answers. identity: what tells it from any other.

    digest: of the weights, None where they are closed. folder: where they are. respondent: None where the suite opens
    the folder itself.
    """

    label: str
    kind: str
    identity: tuple[str, ...]
    digest: str | None = None
    folder: Path | None = None
    respondent: Respondent | None = None

    def for_suite(self, suite: str) -> Respondent | None:
        """The respondent as one suite of several meets it: what it tells of itself begins anew."""
        if isinstance(self.respondent, Opened):
            return replace(self.respondent, records=[])
        if isinstance(self.respondent, Given):
            return replace(self.respondent, suite=suite, used=set())
        if self.endpoint is not None:
            self.endpoint.begin()
        return self.respondent

    @property
    def endpoint(self) -> "Endpoint | None":
        if self.respondent is None or self.respondent.kind != "endpoint":
            return None
        from limpide.models.remote import Endpoint

        return self.respondent if isinstance(self.respondent, Endpoint) else None


def check_order(order: Order) -> None:
    """Raise UsageError where nobody is named, or two are."""
    model, outside = order.model, order.outside
    if outside.write_questions is not None:
        if model is not None or outside.answers is not None:
            raise UsageError(
                "--write-questions asks nobody: the questions are written for somebody else to answer.",
                received=model if model is not None else f"--answers {outside.answers}",
                remedy="leave it out, and audit again with --answers once they are answered",
            )
        if outside.write_questions.exists():
            raise UsageError(f"{outside.write_questions} exists.", remedy="name a file that does not exist yet")
    elif model is None and outside.answers is None:
        raise UsageError(
            "Nobody to audit.", expected=MODEL, remedy="name a model, or the file of its answers with --answers"
        )


@contextmanager
def opened(order: Order, suite: str, *, several: bool = False) -> Iterator[Whom]:
    """Find who is audited; nothing is sent yet. several: one file of answers serves several suites."""
    outside, model = order.outside, order.model
    if outside.answers is not None:
        given = read_given(outside.answers, outside.answer_field, suite=suite, prefixed=several, name=model)
        yield Whom(given.title, given.kind, (given.file_digest, given.field, given.title), respondent=given)
    elif model is not None and is_address(model):
        from limpide.models.remote import Endpoint

        address = parse_address(model)
        with Endpoint(address, order.endpoint, fresh=outside.fresh) as endpoint:
            endpoint.approve = lambda estimate: confirm(estimate, address, order)
            yield Whom(endpoint.title, endpoint.kind, (address.url, address.model), respondent=endpoint)
    else:
        source = whole_model(str(model), progress(order.as_json))
        yield Whom(source.ref, "model", (source.digest,), source.digest, source.folder)


def whole_model(ref: str, shown: Progress) -> "Source":
    """The open model that `ref` names. Raises ModelError for an adapter alone, and what `resolve` raises."""
    from limpide.models.sources import resolve

    source = resolve(ref, shown)
    if source.kind == "adapter":
        raise ModelError(
            f"{ref} is an adapter; what is measured is a whole model.",
            remedy="merge it into its base first (`limpide run` does, and measures both)",
        )
    return source


def confirm(estimate: "Estimate", address: Address, order: Order) -> None:
    """Say what is about to be sent, and have it agreed to where it costs something or leaves this machine."""
    said = [estimate.sentence(address)]
    if not address.local:
        own = ", some of them from your own data," if order.inputs else ""
        said.append(f"The questions{own} leave this machine.")
    progress(order.as_json).say("\n".join(said))
    if not estimate.requests or order.outside.yes or (address.local and not estimate.price):
        return
    if order.as_json or not sys.stdin.isatty():
        raise UsageError("Nobody can be asked whether to send these questions.", remedy="add --yes to agree")
    print("Send them? [y/N] ", end="", file=sys.stderr, flush=True)
    if ask("").lower() not in ("y", "yes", "o", "oui"):
        raise UsageError("Nothing was sent.")


def calls_of(operation: Operation, settings: Settings, subject: Subject, recorder: Recorder) -> list[Call]:
    """What a suite would ask, found by running it with nobody to answer. Raises what the suite does."""
    with TemporaryDirectory() as made:
        operation.run(replace(subject, out=Path(made), respondent=recorder), settings, Quiet())
    return recorder.calls


def rehearsed(whom: Whom, operation: Operation, settings: Settings, subject: Subject) -> list[Call]:
    """What a suite will ask an endpoint. A suite that cannot run raises here, before anything is sent and paid."""
    if whom.endpoint is None:
        return []
    recorder = Recorder(can=whom.endpoint.can, kind=whom.endpoint.kind, title=whom.endpoint.title)
    return calls_of(operation, settings, subject, recorder)


def agree(whom: Whom, calls: Sequence[Call]) -> None:
    """Have all that will be asked of an endpoint counted, and agreed to once."""
    if whom.endpoint is not None:
        whom.endpoint.agree(calls)
