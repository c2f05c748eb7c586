"""What a model is shown so that it asks about an excerpt and answers from it, and how its text is read.

The texts need no chat template: a base model goes on with them as well as one that was taught to converse.
"""

import re

from limpide.data.passages import Passage
from limpide.data.writing import sentences, words

LEAST, MOST = 12, 40  # words of an excerpt
# A sentence that begins so says little without the one before.
LEANS = re.compile(
    r"(?:it|they|he|she|this|these|that|those|there|then|but|and|also|otherwise|if (?:it|they|this)|"
    r"il|ils|elle|elles|ce|cet|cette|ces|cela|ceci|c'|mais|et|sinon|puis|alors|s'il|si (?:elle|cela))\b",
    re.IGNORECASE,
)
MARK = re.compile(r"^\W*(?:[-*•]|\d+[.)])\s+")
LABELS = {"en": ("Text: ", "Question: ", "Answer:"), "fr": ("Texte : ", "Question : ", "Réponse :")}
# How a question may begin, and what in the excerpt suggests it; the first few that fit are tried, so that even a weak
# model asks several things, each of them possible.
OPENINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        (r"\bbecause\b|\bso that\b", "Why"),
        (r"\bif\b", "What must be done if"),
        (r"\bmeans?\b", "What does"),
        (r"\b(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)\b", "How long"),
        (r"\b(?:in|into|behind|beside|under|near|inside|outside) (?:the|an?)\b", "Where"),
        (r"\bwhen\b|\bbefore\b|\bafter\b|\buntil\b", "When"),
        ("", "Which"),
        ("", "How"),
        ("", "What"),
        ("", "Who"),
    ),
    "fr": (
        (r"\bparce qu|\bafin\b|\bcar\b", "Pourquoi"),
        (r"\bs(?:i\b|'il)", "Que faut-il faire si"),
        (r"\bsignifie", "Que signifie"),
        (r"\b(?:secondes?|minutes?|heures?|jours?|semaines?|mois|ans?)\b", "Combien de temps"),
        (r"\b(?:dans|derrière|sous|près|au|à la)\b", "Où"),
        (r"\bquand\b|\blorsqu|\bavant\b|\baprès\b", "Quand"),
        ("", "Quel"),
        ("", "Comment"),
        ("", "Que"),
        ("", "Qui"),
    ),
}
# Excerpt, question, answer. Of places that are no house's own, so that what is taken from them is seen.
SHOTS = {
    "en": (
        (
            "Before cleaning, switch the coffee machine off and let it cool for ten minutes.",
            "How long must the coffee machine cool before it is cleaned?",
            "It must cool for ten minutes.",
        ),
        (
            "Visitors receive a blue badge, which opens the doors of the ground floor only.",
            "Which doors does a visitor's badge open?",
            "A visitor's badge opens the doors of the ground floor only.",
        ),
        (
            "If the parcel weighs more than 20 kg, it is carried by two persons or with the trolley.",
            "What must be done if the parcel weighs more than 20 kg?",
            "It must be carried by two persons or with the trolley.",
        ),
        (
            "The night guard locks the gate at 22:00 and writes the time in the green book.",
            "Where does the night guard write the time?",
            "The night guard writes it in the green book.",
        ),
        (
            "Wet paper is not printed on, because it jams the printer.",
            "Why is wet paper not printed on?",
            "It jams the printer.",
        ),
    ),
    "fr": (
        (
            "Avant le nettoyage, éteignez la machine à café et laissez-la refroidir dix minutes.",
            "Combien de temps la machine à café doit-elle refroidir avant le nettoyage ?",
            "Elle doit refroidir dix minutes.",
        ),
        (
            "Les visiteurs reçoivent un badge bleu, qui n'ouvre que les portes du rez-de-chaussée.",
            "Quelles portes le badge d'un visiteur ouvre-t-il ?",
            "Le badge d'un visiteur n'ouvre que les portes du rez-de-chaussée.",
        ),
        (
            "Si le colis pèse plus de 20 kg, il est porté à deux ou avec le chariot.",
            "Que faut-il faire si le colis pèse plus de 20 kg ?",
            "Il faut le porter à deux ou avec le chariot.",
        ),
        (
            "Le gardien de nuit ferme le portail à 22 h et note l'heure dans le cahier vert.",
            "Où le gardien de nuit note-t-il l'heure ?",
            "Le gardien de nuit la note dans le cahier vert.",
        ),
        (
            "On n'imprime pas sur du papier humide, parce qu'il bloque l'imprimante.",
            "Pourquoi n'imprime-t-on pas sur du papier humide ?",
            "Il bloque l'imprimante.",
        ),
    ),
}


def excerpts(passage: Passage) -> list[str]:
    """Pieces of a passage small enough to ask one thing about: whole sentences, in order.

    A sentence that leans on the one before ('It must …') stays with it. Headings alone are left out.
    """
    found = []
    for paragraph in passage.text.split("\n\n"):
        lines = [MARK.sub("", line).strip() for line in paragraph.split("\n")]
        said = [sentence.strip() for line in lines for sentence in sentences(line)]
        held: list[str] = []
        for sentence in said:
            size = len(words(" ".join(held)))
            if held and size >= LEAST and (not LEANS.match(sentence) or size + len(words(sentence)) > MOST):
                found.append(" ".join(held))
                held = []
            held.append(sentence)
        if len(words(" ".join(held))) >= LEAST:
            found.append(" ".join(held))
        elif 0 < len(held) < len(said) and found and found[-1].endswith(said[-len(held) - 1]):
            found[-1] = " ".join([found[-1], *held])
    return found


def openings(excerpt: str, language: str, count: int) -> list[str]:
    """The `count` first ways to begin a question that the words of the excerpt suggest."""
    fitting = [opening for cue, opening in OPENINGS[language] if re.search(cue, excerpt, re.IGNORECASE)]
    return fitting[:count]


def to_ask(excerpt: str, language: str, opening: str) -> str:
    """A text that a model goes on with by asking about the excerpt."""
    text, question, _ = LABELS[language]
    shots = [f"{text}{shown}\n{question}{asked}" for shown, asked, _ in SHOTS[language]]
    return "\n\n".join([*shots, f"{text}{excerpt}\n{question}{opening}"])


def to_answer(excerpt: str, language: str, asked: str) -> str:
    """A text that a model goes on with by answering from the excerpt."""
    text, question, answer = LABELS[language]
    shots = [f"{text}{shown}\n{question}{q}\n{answer} {a}" for shown, q, a in SHOTS[language]]
    return "\n\n".join([*shots, f"{text}{excerpt}\n{question}{asked}\n{answer}"])


def first_question(text: str) -> str:
    """The line through its first question mark: weak models go on with more."""
    line = text.strip().split("\n")[0]
    asked, mark, _ = line.partition("?")
    return " ".join(f"{asked}{mark}".split())


def first_line(text: str) -> str:
    return " ".join(text.strip().split("\n")[0].split())
