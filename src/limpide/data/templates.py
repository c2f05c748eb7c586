"""The shipped counterfactual templates: a sentence to fill with a person, and an outcome that should not depend on it.

Audits measure with them and corrections are fitted on them, so they are cut in three parts by template: what a
correction learnt from must not be what it is judged on. docs/decisions/0011-correction-loop.md.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from limpide.core import digests
from limpide.core.errors import LimpideError
from limpide.data.shipped import read_probe

Axis = Literal["gender", "origin", "age", "disability", "religion", "social_class"]
AXES: tuple[Axis, ...] = get_args(Axis)
Part = Literal["fit", "choose", "judge"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Case:
    """One template filled with one pair. stereotyped, other: contexts that differ by the person alone.

    group: that of the person of `stereotyped`. pair: the two persons, shared by many templates.
    """

    id: str
    template: str
    axis: str
    language: str
    stereotyped: str
    other: str
    outcome: str
    group: str
    pair: str


def probes_digest(axes: Sequence[str]) -> str:
    """Digest of the shipped templates and pairs of these axes together."""
    return digests.of_value(
        [read_probe(f"bias/{axis}.{part}") for axis in sorted(set(axes)) for part in ("templates.jsonl", "pairs.json")]
    )


def read_cases(axes: Sequence[str], languages: Sequence[str], part: Part | None = None) -> list[Case]:
    """Every shipped template of these axes, languages and part (all of them without one), filled with every pair that
    has its group."""
    return [case for axis in dict.fromkeys(axes) for case in _axis_cases(axis, languages, part)]


def read_templates(axis: str) -> list[dict[str, str]]:
    """{id, axis, language, context with '{person}', outcome, stereotyped} of each template of an axis."""
    return [json.loads(line) for line in read_probe(f"bias/{axis}.templates.jsonl").splitlines() if line.strip()]


def read_pairs(axis: str) -> dict[str, list[dict[str, Any]]]:
    """{language: pairs of persons}, each with its id and {group: how the person is called}."""
    pairs: dict[str, list[dict[str, Any]]] = json.loads(read_probe(f"bias/{axis}.pairs.json"))
    return pairs


def parts(strata: Mapping[str, Iterable[object]]) -> dict[str, Part]:
    """{id: its part}: half to fit on, a quarter to choose a strength on, a quarter to judge on.

    strata: {id: what it is alike in with others}; each stratum is cut alike, in the order of the digests of its ids, so
    that a list that grows leaves most ids where they were, and nobody can pick. Ids must be those of templates or
    questions, never of their fillings.
    """
    alike: dict[str, list[str]] = {}
    for name, stratum in strata.items():
        alike.setdefault(digests.of_value(list(map(str, stratum))), []).append(name)
    found: dict[str, Part] = {}
    for names in alike.values():
        names.sort(key=digests.of_value)
        for rank, name in enumerate(names):
            found[name] = PARTS[(2 * rank >= len(names)) + (4 * rank >= 3 * len(names))]
    return found


def template_parts(axis: str) -> dict[str, Part]:
    """{template id: its part}, alike in each language and stereotyped group."""
    return parts({t["id"]: (t["language"], t["stereotyped"]) for t in read_templates(axis)})


def _axis_cases(axis: str, languages: Sequence[str], part: Part | None) -> list[Case]:
    pairs = read_pairs(axis)
    part_of = template_parts(axis)
    met: Counter[tuple[str, str]] = Counter()
    cases = []
    for template in read_templates(axis):
        if template["language"] not in languages:
            continue
        alike = template["language"], template["stereotyped"]
        if part in (None, part_of[template["id"]]):
            cases += [_case(template, pair) for pair in _pairs_of(template, pairs[template["language"]], met[alike])]
        met[alike] += 1
    return cases


def _pairs_of(template: dict[str, str], pairs: Sequence[dict[str, Any]], turn: int) -> list[dict[str, Any]]:
    """The pairs one of whose persons is of the group that the template's stereotype is about.

    A group that meets k others takes every k-th of its pairs, from another one at each turn: every template has as
    many pairs, and so counts alike. turn: how many templates of its language and group came before.
    """
    fitting = [pair for pair in pairs if template["stereotyped"] in pair["groups"]]
    if not fitting:
        raise LimpideError(
            f"The shipped template '{template['id']}' names a group that its pairs lack.",
            received=template["stereotyped"],
            expected=" or ".join(sorted({group for pair in pairs for group in pair["groups"]})),
        )
    kinds = len({tuple(sorted(pair["groups"])) for pair in fitting})
    return fitting[turn % kinds :: kinds]


def _case(template: dict[str, str], pair: dict[str, Any]) -> Case:
    persons = dict(pair["groups"])
    group = template["stereotyped"]
    stereotyped = persons.pop(group)
    (other,) = persons.values()
    return Case(
        id=f"{template['id']}/{pair['id']}",
        template=template["id"],
        axis=template["axis"],
        language=template["language"],
        stereotyped=template["context"].format(person=stereotyped),
        other=template["context"].format(person=other),
        outcome=template["outcome"],
        group=group,
        pair=pair["id"],
    )
