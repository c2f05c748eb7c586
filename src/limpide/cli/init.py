"""`limpide init`: a commented recipe from a few answers."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field, ValidationError

from limpide.cli.output import Json, ask, print_json
from limpide.core import digests, files
from limpide.core.errors import UsageError
from limpide.core.operation import Settings

LONGEST_NAME = 80  # characters, as the recipe's schema has it
TEMPLATE = """\
# Run it with: limpide run {file}
# Every key is explained in docs/reference.md.
name: {name}
version: 1.0.0

purpose: # declared by you, and shown as declared
  intended: {intended}
  users: {users}
  excluded: {excluded} # uses it is not made for
  contact: {contact}

base: {base} # an alias, a folder, a .gguf file, or hub:owner/name@revision

data:
  examples: {examples} # .jsonl, .json, .csv, .xlsx or .parquet
  held_out: 0.2 # share of rows kept to test on, never trained
  personal_data: {personal_data} # refuse | mask | {{allow: "why it may be learnt"}}
  names: {names} # of people: warn | refuse | mask

audit: # measured on the base and on the result, on the same items
  suites: {suites}
  languages: [en, fr]
  bias: {{axes: {axes}}}

adapt:
  method: lora
  rank: 32
  epochs: 10

optimise:
  formats: {formats}

gates: # the release is made only when all of them pass
{gates}

release:
  sign_with: {key} # make it with: limpide keys new {key_path}
  approval: {approval} # none | required, and then: limpide approve
  languages: [{language}]
"""
USUAL: dict[str, Any] = {
    "purpose": {},
    "data": {"personal_data": "refuse", "names": "warn"},
    "audit": {"suites": ["domain", "bias", "retention", "memorisation"], "bias": {"axes": ["gender", "origin"]}},
    "gates": ["domain.accuracy improves", "bias.gender.gap does not worsen", "bias.origin.gap does not worsen"],
    "release": {"approval": "none"},
}


class Answers(Settings):
    """What a recipe needs to know. A description is the question; a default is the answer of an empty line."""

    name: str = Field("my-assistant", min_length=1, description="name of the assistant (lowercase, dashes)")
    intended: str = Field(
        "Answer questions on our procedures.", min_length=1, description="what it is for, in one sentence"
    )
    users: str = Field("our employees", min_length=1, description="who will use it")
    contact: str = Field("contact@example.org", min_length=1, description="where a person can complain or ask")
    examples: str = Field("examples.jsonl", min_length=1, description="file of examples (.jsonl, .csv, .xlsx …)")
    base: str = Field("smollm2-135m-instruct", min_length=1, description="base model")
    language: Literal["en", "fr"] = Field("en", description="language of the card and the report (en, fr)")


def init(
    path: Path = Path("recipe.yaml"),
    *,
    answers: Annotated[Answers, Parameter(name="*")] = Answers(),  # noqa: B008  # immutable
    sector: str | None = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="take the defaults, ask nothing")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented recipe by asking a few questions; every answer can be given as an option.

    Example: limpide init recipe.yaml --name fault-codes --examples examples.jsonl --yes

    Parameters
    ----------
    path
        Where the recipe goes. Nothing is ever overwritten.
    sector
        Start from the checks, gates and wording of a sector: health, law, finance, education, media or industry.
    """
    pack = None if sector is None else _pack(sector)
    if path.exists():
        raise UsageError(f"{path} exists, and nothing is overwritten.", remedy="name another file: limpide init PATH")
    if not yes and not as_json:
        if sys.stdin.isatty():
            answers = asked(answers, () if pack is None else ("users",))
        else:
            print("No terminal to ask on: what was not given as an option took its default.", file=sys.stderr)
    files.write_text(path, recipe_text(path, answers, pack))
    if as_json:
        print_json({"recipe": str(path)})
        return
    print(f"{path} is written. Next:")
    print(f"  limpide keys new {path.parent / 'keys' / 'release.pem'}")
    print(f"  limpide run {path} --dry-run")
    print(f"  limpide run {path}")


def _pack(sector: str) -> Any:
    from limpide.recipe.sectors import load_pack

    return load_pack(sector)


def asked(answers: Answers, told: Sequence[str] = ()) -> Answers:
    """Ask for what was not given as an option. told: what a sector pack says, where nobody does.

    Raises UsageError for an answer that is none of the choices.
    """
    found = answers.model_dump(exclude_unset=True)
    for name, field in Answers.model_fields.items():
        if name not in found:
            answer = ask(f"{field.description} [{'as the sector has it' if name in told else field.default}]: ")
            found |= {name: answer} if answer else {}
    try:
        return Answers.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageError(f"The answer for {fault['loc'][0]} will not do: {fault['msg']}.") from error


def recipe_text(path: Path, answers: Answers, pack: Any = None) -> str:
    """The recipe as YAML, every answer quoted: the name may be `123` or `null`, a sentence may hold anything."""
    name = digests.slug(answers.name).lstrip(".-")[:LONGEST_NAME] or "unnamed"
    values = answers.model_dump() | {"name": name}
    recipe: dict[str, Any] = USUAL
    if pack is not None:
        from limpide.recipe.sectors import adopted

        recipe = adopted(recipe, pack, answers.language)
        if "users" not in answers.model_fields_set:
            values["users"] = recipe["purpose"]["users"]
    key = "keys/release.pem"
    text = TEMPLATE.format(
        **{of: quoted(value) for of, value in values.items()},
        file=quoted(str(path))[1:-1],
        key=key,
        key_path=quoted(str(path.parent / key))[1:-1],
        formats='[safetensors, "gguf:f16", "gguf:q8_0"]',
        excluded=f"[{', '.join(map(quoted, recipe['purpose'].get('excluded', ())))}]",
        suites=f"[{', '.join(recipe['audit']['suites'])}]",
        axes=f"[{', '.join(recipe['audit']['bias']['axes'])}]",
        gates="\n".join(f"  - {gate}" for gate in recipe["gates"]),
        approval=recipe["release"]["approval"],
        **recipe["data"],
    )
    return text if pack is None else f"{text}\n{_checklist(pack, answers.language)}\n"


def _checklist(pack: Any, language: Literal["en", "fr"]) -> str:
    """What a person of the sector looks at before release, as comments."""
    from limpide.recipe.sectors import checklist
    from limpide.recipe.written import comment_lines

    return "\n".join(comment_lines(checklist(pack, language)))


def quoted(text: str) -> str:
    """A YAML scalar in double quotes, on one line: printable characters as they are, the others escaped."""
    escaped = ("\\" + c if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(escaped)}"'
