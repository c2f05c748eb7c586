"""What can be told of a drafted question and answer from their words and the passage: reasons to refuse it."""

import re
from collections.abc import Callable

from limpide.data.duplicates import codes, normalise
from limpide.data.passages import Passage
from limpide.data.writing import FUNCTION_WORDS, language_of, words

LEAST_QUESTION, MOST_QUESTION = 4, 40  # words
MOST_ANSWER = 80  # words
FOUND = 0.8  # share of the answer's words of content that the passage must hold
ABOUT = 0.5  # the same of the question's
STEM = 5  # letters by which 'checked' and 'checks' are the same word
COPIED = 45  # words of the passage, one after the other, that an answer may repeat
LEAST_CONTENT = 3  # letters of a word of content, unless it holds a digit
# A question is asked without the passage at hand.
POINTS_AT_TEXT = re.compile(
    r"\b(?:passage|excerpt|paragraph|(?:this|the|above) (?:text|section|document|sentence)|"
    r"extrait|paragraphe|(?:ce|le) (?:texte|document)|(?:cette|la) (?:section|phrase)|ci-dessus|mentioned|mentionné)",
    re.IGNORECASE,
)
MARKS = re.compile(r"(?i)\b(?:question|answer|réponse|passage|text|texte)\s*:|<\||\|>|\[/?INST\]|https?://example")
QUESTION_WORDS = """
    what which when where how who whom whose why does did should must many much long often happen happens
    quel quelle quels quelles quand comment combien pourquoi qui quoi faut doit peut faire être fait arrive
"""
SMALL = frozenset(QUESTION_WORDS.split()).union(*FUNCTION_WORDS.values())


def refusal(passage: Passage, question: str, answer: str) -> str | None:
    """The first reason to refuse a draft, None where none is found. A reason is a key of `CHECKS`."""
    return next((name for name, wrong in CHECKS.items() if wrong(passage, question, answer)), None)


def _no_question(passage: Passage, question: str, answer: str) -> bool:
    """Ends as a question, in one sentence of a usual length."""
    count = len(words(question))
    return not question.endswith("?") or "\n" in question or not LEAST_QUESTION <= count <= MOST_QUESTION


def _no_answer(passage: Passage, question: str, answer: str) -> bool:
    said = normalise(answer)
    is_cut = len(words(answer)) > 6 and not re.search(r"[.!…)»\"”’]$", answer)
    return not said or len(words(answer)) > MOST_ANSWER or answer.endswith("?") or is_cut


def _marks(passage: Passage, question: str, answer: str) -> bool:
    return MARKS.search(f"{question} {answer}") is not None


def _other_language(passage: Passage, question: str, answer: str) -> bool:
    found = language_of(f"{question} {answer}")
    return passage.language is not None and found not in (passage.language, None)


def _points_at_text(passage: Passage, question: str, answer: str) -> bool:
    return POINTS_AT_TEXT.search(question) is not None or POINTS_AT_TEXT.search(answer) is not None


def _not_in_passage(passage: Passage, question: str, answer: str) -> bool:
    """A number that the passage does not have, or too few of its words."""
    said = {n for numbers, _ in codes(passage.text) for n in numbers.split("|")}
    asked = {n for numbers, _ in codes(f"{question} {answer}") for n in numbers.split("|")}
    return not asked <= said or _share_found(answer, passage.text) < FOUND


def _off_topic(passage: Passage, question: str, answer: str) -> bool:
    return _share_found(question, passage.text) < ABOUT


def _copied(passage: Passage, question: str, answer: str) -> bool:
    """Much of the passage repeated at one go, or the question repeated as an answer."""
    text, said = f" {normalise(passage.text)} ", normalise(answer).split()
    runs = (said[i : i + COPIED + 1] for i in range(len(said) - COPIED))
    return any(f" {' '.join(run)} " in text for run in runs) or normalise(question) in normalise(answer)


def _says_nothing(passage: Passage, question: str, answer: str) -> bool:
    """The answer is in the question already."""
    return not content(answer) - content(question)


def content(text: str) -> frozenset[str]:
    """Stems of the words that carry meaning."""
    found = (word for word in normalise(text).split() if word not in SMALL)
    return frozenset(word[:STEM] for word in found if len(word) >= LEAST_CONTENT or any(map(str.isdigit, word)))


def _share_found(text: str, passage: str) -> float:
    needed = content(text)
    return len(needed & content(passage)) / len(needed) if needed else 0.0


# In this order; the names are told to people in document/words under review.refused.*
CHECKS: dict[str, Callable[[Passage, str, str], bool]] = {
    "no question": _no_question,
    "no answer": _no_answer,
    "marks": _marks,
    "other language": _other_language,
    "points at the text": _points_at_text,
    "not in the passage": _not_in_passage,
    "off topic": _off_topic,
    "copied": _copied,
    "says nothing": _says_nothing,
}
# Refused later: for the model's control tokens, by its likelihoods, as a repetition, or for a better one.
LATER = ("control token", "asks of another place", "not supported", "repeated", "another is better")
