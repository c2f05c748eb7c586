"""`limpide`: parses, calls, prints. Commands are named here and imported when they are used."""

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from cyclopts import App, CycloptsError
from pydantic import ValidationError

from limpide import __version__
from limpide.cli.option_words import options_named
from limpide.cli.output import exit_codes
from limpide.core.errors import UsageError

HELP = """Open an open-weight language model: audit it, adapt it, compare it with its base, sign it, serve it.

Example: limpide run examples/press-operator/recipe.yaml
"""

# command → (module:function, one line of help). The order is the order of `limpide --help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("limpide.cli.init:init", "Write a commented recipe by asking a few questions."),
    "run": ("limpide.cli.run:run", "Run a recipe: its success is a signed release."),
    "open": ("limpide.cli.models:open_", "Print the passport of a model."),
    "families": ("limpide.cli.models:families", "Print what each family of models can do, from the tests' results."),
    "audit": ("limpide.cli.audit:app", "Measure one thing about a model."),
    "explain": ("limpide.cli.explain:explain", "Say why a model gave an answer, and whether that is true."),
    "advise": ("limpide.cli.advise:advise", "Say what to expect of a training before it takes its time."),
    "adapt": ("limpide.cli.adapt:adapt", "Adapt a model to examples and documents, and measure what it learnt."),
    "correct": ("limpide.cli.correct:app", "Mend a bias or an error, measure again, and refuse what costs too much."),
    "compare": ("limpide.cli.compare:compare", "Say what differs between two models, audits or releases."),
    "import": ("limpide.cli.import_:import_", "Write the recipe of a model that was tuned with another tool."),
    "adapters": ("limpide.cli.adapters:app", "Combine adapters, compare two of them, or publish one."),
    "score": ("limpide.cli.score:score", "Log-likelihoods of any texts: the low-level door for other tools."),
    "data": ("limpide.cli.data:app", "Check examples, look at them as the model will, describe them."),
    "keys": ("limpide.cli.release:keys", "Make a key to sign releases with."),
    "verify": ("limpide.cli.release:verify", "Check that a release is what was signed, offline."),
    "approve": ("limpide.cli.release:approve", "Record that a named person approves a release."),
    "ask": ("limpide.cli.serve:ask", "Ask a release one question, on this machine."),
    "studio": ("limpide.cli.studio:studio", "Open the web application of a project, for people who do not code."),
    "serve": ("limpide.cli.serve:serve", "Serve releases on this machine, with the OpenAI API."),
    "log": ("limpide.cli.log:app", "Read, verify, purge or export the request log of a service."),
    "stop": ("limpide.cli.stop:stop", "Stop answering at once, and say who and why; or answer again."),
    "access": ("limpide.cli.access:app", "Make, list and revoke the keys that callers of a service send."),
    "accounts": ("limpide.cli.accounts:app", "Say who may sign in to the studio, and do what there."),
}


def make_app(command: str = "") -> App:
    """command: the one that is called; its help is its docstring, which has an example, in place of the one line."""
    app = App(
        name="limpide", help=HELP, version=__version__, help_format="plaintext", suppress_keyboard_interrupt=False
    )
    for name, (target, text) in COMMANDS.items():
        app.command(target, name=name, **({} if name == command else {"help": text}))
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with one of the exit codes of `core/errors.py`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not os.environ.get("LIMPIDE_DEBUG"):
        warnings.simplefilter("ignore")  # libraries warn their developers; Limpide says what a user needs
    with exit_codes("--json" in arguments), options_named(arguments[:1] in (["adapt"], ["advise"], ["data"])):
        if arguments[:1] in (["audit"], ["correct"], ["adapters"]):
            group = import_module(f"limpide.cli.{arguments[0]}")
            group.app.help = group.HELP  # one that was listed before, in this process, was given the one line
            arguments = group.spread(arguments)
        if arguments[:1] in (["adapt"], ["advise"]):
            arguments = import_module(f"limpide.cli.{arguments[0]}").spread(arguments)
        try:
            make_app(arguments[0] if arguments else "")(arguments, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            raise usage_error(error, arguments) from error


def usage_error(error: CycloptsError, arguments: Sequence[str]) -> UsageError:
    """cyclopts' complaint, which names the nearest command or option, as ours, with where to read more."""
    words = [a for a in arguments if not a.startswith("-")]
    command = words[0] if words and words[0] in COMMANDS else ""
    if command and words[1:2] and words[1] in below(command):
        command += f" {words[1]}"
    what = str(error).strip()
    if isinstance(error.__cause__, ValidationError):  # a settings model said no; pydantic's own text is for programmers
        what = "; ".join(_option_fault(fault["loc"], fault) for fault in error.__cause__.errors()) + "."
    return UsageError(what, remedy=f"limpide {command} --help".replace("  ", " "))


def below(command: str) -> list[str]:
    """The commands below one that has some."""
    module, _, name = COMMANDS[command][0].partition(":")
    group = getattr(import_module(module), name)
    return [word for word in group if not word.startswith("-")] if isinstance(group, App) else []


def _option_fault(place: Sequence[int | str], fault: Mapping[str, Any]) -> str:
    option = ".".join(map(str, place)).replace("_", "-")
    return f"--{option}: {fault['msg']}, received {fault['input']!r}"


if __name__ == "__main__":
    main()
