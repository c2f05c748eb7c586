"""Does a classifier's choice change when only the gender of the person in a text changes?

Asked of the organisation's own texts that were kept out of training: each is read as it is and as its twin about the
other gender (data/swaps.py). Where no twin is sure to be grammatical there is none, and the text does not count.
Source: counterfactual token fairness, Garg et al. 2019 (arXiv:1809.10610), here as a share of changed choices.
"""

from collections.abc import Sequence
from pathlib import Path

from limpide.audit.domain import read_questions
from limpide.audit.items import Item, Spec, data_digest, frame_of, method_id, not_run, save_evidence, summarise
from limpide.core.operation import Result, Subject
from limpide.core.progress import Progress
from limpide.data.examples import Example, Message
from limpide.data.swaps import LANGUAGES, swapped
from limpide.models.respondents import Sorter

AXIS = "gender"  # the one axis whose words are shipped
SLICES: tuple[dict[str, str], ...] = ({"axis": "*"}, {"axis": "*", "language": "*"})
NO_TWIN = "needs texts kept out of training that name a woman or a man, in a language that is given"
LIMITS = (
    "Only texts that name a woman or a man count, by words of a list: a first name that it lacks stays, and a class "
    "that follows from anything else than gender is not seen."
)
Twin = tuple[Example, Example]  # a text, and the same about the other gender


def run(
    subject: Subject, respondent: Sorter, languages: Sequence[str], others: Sequence[Spec], progress: Progress
) -> Result:
    """others: what the suite measures of models that predict words, which a classifier cannot have.

    Raises DataError where data is given and nothing was held out.
    """
    folder = subject.inputs.get("data")
    pairs, asked = twins(folder, languages) if folder is not None else ([], 0)
    found = respondent.classify([text for pair in pairs for text in pair], progress)
    items = [_item(pair, *found[2 * k : 2 * k + 2]) for k, pair in enumerate(pairs)]
    made = specs()
    names = ("held_out.jsonl", "unseen.jsonl")
    read = data_digest(folder, [name for name in names if (folder / name).is_file()]) if folder is not None else ""
    frame = frame_of(subject, respondent, read)
    measures = [not_run(spec, frame, "") for spec in others]
    if items:
        measures += summarise(items, made, frame)
    else:
        measures += [not_run(spec, frame, "").model_copy(update={"note": NO_TWIN}) for spec in made]
    save_evidence(subject.out, items, made)
    facts = {"texts": asked, "texts_with_a_twin": len(items)}
    return Result(tuple(measures), facts | respondent.facts())


def twins(folder: Path, languages: Sequence[str]) -> tuple[list[Twin], int]:
    """(the texts that have a twin, each with it; how many texts were looked at).

    A text whose language is not given is read in the only one of `languages`; where there are two, it has no twin.
    """
    examples = [example for _, example in read_questions(folder)]
    only = languages[0] if len(set(languages)) == 1 else None
    pairs = []
    for example in examples:
        language = example.language or only
        last = example.prompt[-1]
        other = swapped(last.content, language) if language in LANGUAGES and language in languages else None
        if other is not None and language is not None:
            before = example.model_copy(update={"language": language})
            messages = (*example.prompt[:-1], Message(role=last.role, content=other), example.messages[-1])
            pairs.append((before, before.model_copy(update={"messages": messages})))
    return pairs, len(examples)


def _item(pair: Twin, before: dict[str, float], after: dict[str, float]) -> Item:
    """before, after: {class: probability} of the text and of its twin."""
    example, twin = pair
    chosen = [max(found, key=found.__getitem__) for found in (before, after)]
    return Item(
        id=example.id,
        cluster=example.topic or example.group or example.id,
        group={"axis": AXIS, "language": str(example.language)},
        metric={
            "own_flipped": float(chosen[0] != chosen[1]),
            "own_shift": sum(abs(before[label] - after[label]) for label in before) / 2,
        },
        shown={
            "question": example.prompt[-1].content,
            "written_otherwise": twin.prompt[-1].content,
            "answer": chosen[0],
            "answer_otherwise": chosen[1],
        },
    )


def specs() -> tuple[Spec, Spec]:
    def method(name: str) -> str:
        return method_id(name, 1, twins="shipped words", axis=AXIS)

    return (
        Spec(
            name="bias.own_flipped",
            metric="own_flipped",
            kind="share",
            unit="share",
            better="lower",
            slices=SLICES,
            method=method("bias.own_flipped"),
            note=f"Share of texts that get another class when only the gender of the person changes. {LIMITS}",
        ),
        Spec(
            name="bias.own_shift",
            metric="own_shift",
            kind="mean",
            ends=(0.0, 1.0),
            unit="share",
            better="lower",
            slices=SLICES,
            method=method("bias.own_shift"),
            note=f"Probability that moves from some classes to others, on average: total variation distance. {LIMITS}",
        ),
    )
