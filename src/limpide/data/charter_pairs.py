"""What a charter teaches: answers put right, answers on its own terms, and pairs of which one breaks exactly one rule.

All that is written is from the charter, from the training answers, or one of the fixed wordings here and in
charter_faults.py. Every pair is checked by the rules that audit (charter_rules.py): its chosen answer breaks nothing,
its rejected one exactly the rule aimed at. What is audited is not taught: nothing is made from held-out rows, and no
question is made that is nearly one of theirs or of the charter's own `ask` and `questions`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limpide.core import digests
from limpide.data import french, writing
from limpide.data.charter import NAME, Charter, Entry
from limpide.data.charter_faults import faults
from limpide.data.charter_mends import Mended, mend, sentence, stands_alone
from limpide.data.charter_rules import Said, asked_to_say, breaks
from limpide.data.duplicates import Links, near_pairs
from limpide.data.examples import Example, Message
from limpide.data.french import Gender

PAIRS = "charter.jsonl"  # in the folder of data.prepare
MOST = 24  # pairs of one rule of style
MOST_OF_WORDS = 8  # pairs of one term, forbidden word or required text
MOST_ANSWERS = 2000  # that pairs are sought in
LANGUAGE_RULES = ("same_language", "language")
MEANING = {
    "en": (("What does '{term}' mean?", "Can you tell me what '{term}' stands for?"), "{named}: {means}."),
    "fr": (("Que veut dire « {term} » ?", "Pouvez-vous me dire ce que désigne « {term} » ?"), "{named} : {means}."),
}
RIGHT_WORD = {
    "en": ("What is the right word for '{word}'?", "The right word is {term}."),
    "fr": ("Quel est le mot juste pour « {word} » ?", "Le mot juste est {term}."),
}
NAMED = {
    "en": (("What do we call {means}?", "It is called {term}."), ("Name {means}.", "That is {term}.")),
    "fr": (("Comment appelle-t-on {means} ?", "Cela s'appelle {term}."), ("Nommez {means}.", "C'est {term}.")),
}
ABOUT = {
    "en": ("What should I know about '{when}'?", "I have a question on '{when}'."),
    "fr": ("Que faut-il savoir au sujet de « {when} » ?", "J'ai une question sur « {when} »."),
}
AND_ABOUT = {"en": "About '{when}': {question}", "fr": "Au sujet de « {when} » : {question}"}
IN_CONTEXT = 4  # answers that are asked again together with each piece of text that requires something
WHY_NONE = {
    "instead_of": "no answer that keeps to the charter holds the term, or none of its wrong words fits there",
    "forbidden": "no answer keeps to the rest of the charter",
    "required": "no answer that keeps to the charter holds this text as a sentence of its own",
    "address": "no French answer that keeps to the charter can be turned for certain",
    "same_language": "no topic has answers that keep to the charter in both languages",
    "language": "no topic has answers that keep to the charter in both languages",
    "no_contractions": "no answer that keeps to the charter holds a form that can be contracted",
    "max_words_per_sentence": "no answer that keeps to the charter has sentences that are too long together",
}
NO_WRONG_WORD = "the glossary names no wrong word for it"
NO_ANSWER = "no answer that keeps to the charter can be made to break it and nothing else"


@dataclass(frozen=True)
class Made:
    """train: the training rows, their answers put right where code can. examples: what is learnt besides, preferences
    among them. facts: how many of what, and of which rules there is no pair, with the reason."""

    train: tuple[Example, ...]
    examples: tuple[Example, ...]
    facts: dict[str, Any]
    warnings: tuple[str, ...]


def make(charter: Charter, train: Sequence[Example], tested: Sequence[Example]) -> Made:
    """tested: rows held out, which are read to stay away from their questions and for nothing else."""
    gender = french.genders(_texts(charter, train))
    mended = {row.id: mend(charter, said_of(row), gender) for row in train if _is_answer(row)}
    rows = tuple(_put_right(row, mended.get(row.id)) for row in train)
    audited = [*_own_questions(charter), *(row.question for row in tested)]
    right = [row for row in rows if _is_answer(row) and not breaks(charter, said_of(row))]
    own = _kept(charter, [*_glossary(charter), *_sayings(charter)], gender)
    own = _apart([*own, *_in_context(charter, _drawn(right), gender)], audited)
    bases = [*own, *right]
    pairs = _Pairs(charter)
    for row in _drawn(train)[:MOST_ANSWERS]:
        if row.id in mended:
            pairs.add_written(row, mended[row.id], gender)
    drawn = _drawn(bases)[:MOST_ANSWERS]
    for turn, row in enumerate(drawn):
        pairs.add_faults(row, gender, turn)
    pairs.add_translations(drawn)
    asked_too = _near(_own_questions(charter), [row.question for row in train])
    facts = {
        "mended": sum(before.answer != row.answer for before, row in zip(train, rows, strict=True)),
        "put_right": [
            {"row": row.source, "rules": sorted(mended[row.id].rules), "before": before.answer, "after": row.answer}
            for before, row in zip(train, rows, strict=True)
            if before.answer != row.answer
        ],
        "mended_rules": _counted(rule for one in mended.values() for rule in one.rules),
        "not_mended": _counted(rule for one in mended.values() for rule in {b.rule for b in one.left}),
        "answers": len(own),
        "preferences": len(pairs.made),
        "rules": pairs.told(bool(bases)),
        "own_questions_in_training": len(asked_too),
    }
    warnings = _warnings(charter, facts, mended.values(), tested)
    return Made(rows, (*own, *pairs.made.values()), facts, tuple(warnings))


def said_of(row: Example) -> Said:
    """The answer of a row as the rules look at it."""
    question = row.prompt[-1].content
    return Said(question, row.answer, row.language or writing.language_of(question))


def _is_answer(row: Example) -> bool:
    return row.rejected is None and row.label is None


def _put_right(row: Example, mended: Mended | None) -> Example:
    if mended is None or not mended.rules:
        return row
    return _answering(row, mended.text).model_copy(
        update={"synthetic": f"{NAME}, mended: {', '.join(sorted(mended.rules))}"}
    )


def _answering(row: Example, answer: str) -> Example:
    return row.model_copy(update={"messages": (*row.prompt, Message(role="assistant", content=answer))})


def _texts(charter: Charter, train: Iterable[Example]) -> Iterator[str]:
    """The organisation's own texts, which show the gender of its words."""
    for entry in charter.glossary:
        yield from (text for text in (entry.means, entry.ask) if text)
    yield from (rule.say for rule in charter.required)
    yield from (question.ask for question in charter.questions)
    for row in train:
        yield from (message.content for message in row.messages)


def _drawn(rows: Sequence[Example]) -> list[Example]:
    """In an order that follows from what they say, so that the first of them are of all kinds."""
    return sorted(rows, key=lambda row: digests.of_value([row.id, row.question]))


def _counted(rules: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(rules).items()))


# ------------------------------------------------------------------------------------------- answers of its own


def _glossary(charter: Charter) -> Iterator[Example]:
    """What a term means, what a thing is called, and what to say in the place of a wrong word."""
    for k, entry in enumerate(charter.glossary):
        language = entry.language or writing.language_of(entry.means or "") or charter.style.language
        if language is None:
            continue
        name = f"glossary {k + 1}"
        if entry.means:
            means = _inside(entry.means)
            questions, answer = MEANING[language]
            told = answer.format(named=entry.term[:1].upper() + entry.term[1:], means=means)
            for question in questions:
                yield _own(question.format(term=entry.term), told, language, name)
            for asked, answer in NAMED[language]:
                yield _own(asked.format(means=means), answer.format(term=_in_text(entry)), language, name)
        for word in entry.instead_of:
            asked, answer = RIGHT_WORD[language]
            yield _own(asked.format(word=word), answer.format(term=_in_text(entry)), language, name)


def _sayings(charter: Charter) -> Iterator[Example]:
    """What is required of some questions, asked for by the piece of text that calls for it."""
    for k, rule in enumerate(charter.required):
        language = rule.language or writing.language_of(rule.say) or charter.style.language
        if language is not None and stands_alone(rule):
            for piece in rule.when:
                for question in ABOUT[language]:
                    yield _own(question.format(when=piece), sentence(rule.say), language, f"required {k + 1}")


def _in_context(charter: Charter, rows: Sequence[Example], gender: Mapping[str, Gender]) -> Iterator[Example]:
    """Training questions asked again, together with what requires a text, so that the answer is followed by it."""
    for k, rule in enumerate(charter.required):
        if not stands_alone(rule):
            continue
        fitting = [
            row
            for row in rows
            if row.language in AND_ABOUT
            and rule.language in (None, row.language)
            and rule not in asked_to_say(charter, said_of(row))
        ]
        for n, piece in enumerate(rule.when):
            for row in fitting[n * IN_CONTEXT : (n + 1) * IN_CONTEXT]:
                question = AND_ABOUT[row.language or ""].format(when=piece, question=row.prompt[-1].content)
                asked = (*row.prompt[:-1], Message(role="user", content=question), row.messages[-1])
                put = row.model_copy(update={"messages": asked, "synthetic": f"{NAME}, required {k + 1}"})
                answer = mend(charter, said_of(put), gender)
                if not answer.left:
                    id = f"charter-{digests.of_value([row.id, question])[: digests.SHORT]}"
                    yield _answering(put, answer.text).model_copy(update={"id": id})


def _in_text(entry: Entry) -> str:
    return f"« {entry.term} »" if entry.language == "fr" else f"'{entry.term}'"


def _inside(text: str) -> str:
    """A definition as a part of a sentence: no full stop, and no capital that only began it."""
    words = text.rstrip(".").split(" ", 1)
    if any(words[0].casefold() in known for known in writing.FUNCTION_WORDS.values()):
        words[0] = words[0].lower()
    return " ".join(words)


def _own(question: str, answer: str, language: str, name: str) -> Example:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    id = f"charter-{digests.of_value([question, answer])[: digests.SHORT]}"
    group = f"{NAME}, {name}"
    return Example(id=id, group=group, language=language, messages=messages, source=NAME, synthetic=group)


def _kept(charter: Charter, made: Iterable[Example], gender: Mapping[str, Gender]) -> list[Example]:
    """Those that keep to the charter themselves, with what it requires of every answer; each question once."""
    found: dict[str, Example] = {}
    for row in made:
        mended = mend(charter, said_of(row), gender)
        if not mended.left:
            found.setdefault(row.question, _answering(row, mended.text))
    return list(found.values())


def _own_questions(charter: Charter) -> list[str]:
    asked = [entry.ask for entry in charter.glossary if entry.ask]
    return list(dict.fromkeys([*asked, *(question.ask for question in charter.questions)]))


def _apart(made: Sequence[Example], audited: Sequence[str]) -> list[Example]:
    near = _near([row.question for row in made], audited)
    return [row for k, row in enumerate(made) if k not in near]


def _near(texts: Sequence[str], others: Sequence[str], threshold: float = 0.8) -> set[int]:
    """Places of the texts that are nearly one of the others (duplicates.near_pairs)."""
    links = Links(len(texts) + len(others))
    for first, second in near_pairs([*texts, *others], threshold):
        links.join(first, second)
    touched = {links.find(len(texts) + k) for k in range(len(others))}
    return {k for k in range(len(texts)) if links.find(k) in touched}


# -------------------------------------------------------------------------------------------------- preferences


class _Pairs:
    """Pairs that were checked, up to so many of a rule, by what they say."""

    def __init__(self, charter: Charter) -> None:
        self.charter = charter
        self.made: dict[str, Example] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def add_written(self, row: Example, mended: Mended, gender: Mapping[str, Gender]) -> None:
        """A row's own answer with all its breaks put right but one, against all of them."""
        if not mended.left:
            for rule in (rule for rule in mended.rules if not self._has_enough((rule, rule))):
                self._add(_answering(row, mended.text), mend(self.charter, said_of(row), gender, keep=rule).text)

    def add_faults(self, row: Example, gender: Mapping[str, Gender], turn: int) -> None:
        for rule, entry, text in faults(self.charter, said_of(row), gender, turn):
            self._add(row, text, (rule, entry))

    def add_translations(self, rows: Sequence[Example]) -> None:
        """The answer to the same topic in the other language."""
        told = {(row.topic, row.language): row.answer for row in rows}
        for rule in set(LANGUAGE_RULES) & set(self.charter.style_rules):
            for row in rows:
                other = told.get((row.topic, {"en": "fr", "fr": "en"}.get(row.language or "")))
                if row.topic is not None and other is not None:
                    self._add(row, other, (rule, rule))

    def _add(self, row: Example, rejected: str, aimed: tuple[str, str] | None = None) -> None:
        """Only if the rejected answer breaks one rule, that which was aimed at where one was."""
        if aimed is not None and self._has_enough(aimed):
            return
        found = breaks(self.charter, replace(said_of(row), answer=rejected))
        if len(found) != 1 or rejected == row.answer:
            return
        rule = found[0].rule, found[0].entry
        if aimed not in (None, rule) or self._has_enough(rule):
            return
        id = f"charter-{digests.of_value([row.id, rule, rejected])[: digests.SHORT]}"
        if id in self.made:
            return
        self.counts[rule] += 1
        name = rule[0] if rule[0] == rule[1] else f"{rule[0]}: {rule[1]}"
        self.made[id] = row.model_copy(update={"id": id, "rejected": rejected, "synthetic": f"{NAME}, {name}"})

    def _has_enough(self, rule: tuple[str, str]) -> bool:
        return self.counts[rule] >= (MOST if rule[0] == rule[1] else MOST_OF_WORDS)

    def told(self, bases: bool) -> list[dict[str, Any]]:
        """Every rule that a pair could be made for, how many there are, and why there is none."""
        rules = [("instead_of", entry.term) for entry in self.charter.glossary]
        rules += [("forbidden", ban.term) for ban in self.charter.forbidden]
        rules += [("required", rule.say) for rule in self.charter.required]
        rules += [(rule, rule) for rule in self.charter.style_rules]
        return [
            {"rule": rule, "entry": entry, "pairs": count}
            | ({} if count else {"why": self._why(rule, entry) if bases else "no answer keeps to the charter"})
            for rule, entry in dict.fromkeys(rules)
            for count in [self.counts[rule, entry]]
        ]

    def _why(self, rule: str, entry: str) -> str:
        if rule == "instead_of" and not any(e.instead_of for e in self.charter.glossary if e.term == entry):
            return NO_WRONG_WORD
        return WHY_NONE.get(rule, NO_ANSWER)


def _warnings(
    charter: Charter, facts: Mapping[str, Any], mended: Iterable[Mended], tested: Sequence[Example]
) -> Iterator[str]:
    if facts["mended"]:
        yield (
            f"Training answers put right as the charter asks: {facts['mended']}. Your files are not changed, and "
            "report.json beside the prepared rows holds each answer before and after; "
            "data.charter_pairs: false learns the answers as they are written."
        )
    left = sum(bool(one.left) for one in mended)
    if left:
        counted = ", ".join(f"{rule} ({count})" for rule, count in facts["not_mended"].items())
        yield f"Training answers that break the charter where no code can mend them: {left}, of {counted}."
    broken = sum(_is_answer(row) and bool(breaks(charter, said_of(row))) for row in tested)
    if broken:
        yield (
            f"Held-out answers that break the charter as they are written: {broken}. They are not touched, "
            "and the suite 'domain' compares with them."
        )
    if facts["own_questions_in_training"]:
        yield (
            f"Questions of the charter that training rows ask too, nearly word for word: "
            f"{facts['own_questions_in_training']}. The suite 'charter' then measures what was taught."
        )
