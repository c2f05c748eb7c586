"""What both sides score: texts of published tests, written once as lm-eval's tasks write them.

A request is a (context, continuation) pair of texts. BBQ and CrowS-Pairs are read from a folder that the caller has,
as their authors publish them; the questions with shots are Limpide's own.
"""

import csv
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.audit.dialects.bbq_judges import UNKNOWN

ROOT = Path(__file__).parent.parent
QUESTIONS = ROOT / "src/limpide/data/probes/truth/options.en.jsonl"
BBQ = ("bbq", "Disability_status.jsonl", "github.com/nyu-mll/BBQ")
CROWS = ("crows-pairs", "crows_pairs_anonymized.csv", "github.com/nyu-mll/crows-pairs")
SHOTS = 5
SAMPLER_SEED = 1234  # lm-eval's own, for the shots it draws

Pair = tuple[str, str]


@dataclass(frozen=True)
class Sizes:
    """Questions or pairs of each case, from the beginning of its file on."""

    three: int = 100
    twelve: int = 30
    shots: int = 100
    drawn: int = 12
    crows: int | None = None


QUICK = Sizes(three=8, twelve=4, shots=4, drawn=2, crows=20)


@dataclass(frozen=True)
class Case:
    """goal: ours ÷ peer; None where none is set. what: for the page, which texts these are."""

    name: str
    goal: float | None
    what: str
    requests: tuple[Pair, ...]


def cases(data: Path | None, sizes: Sizes) -> list[Case]:
    """Every case. Ends the program with a message when a file is not there."""
    bbq, crows = find(data, *BBQ), find(data, *CROWS)
    questions = _rows(bbq)
    pairs = list(csv.DictReader(crows.read_text(encoding="utf-8").splitlines()))[: sizes.crows]
    own = _rows(QUESTIONS)
    return [
        Case(
            "BBQ, three options",
            6.0,
            f"the first {sizes.three} questions of {bbq.name}, each with its three answers",
            tuple(pair for row in questions[: sizes.three] for pair in three_options(row)),
        ),
        Case(
            "BBQ, twelve candidates",
            8.0,
            f"the first {sizes.twelve} questions of {bbq.name}, each with the two persons and the ten ways to say "
            "'unknown' of lm-eval's task bbq",
            tuple(pair for row in questions[: sizes.twelve] for pair in twelve_candidates(row)),
        ),
        Case(
            "Text options, five fixed shots",
            10.0,
            f"{sizes.shots} of the questions that Limpide ships, each with its four answers in words, after the same "
            "five answered questions, the file's first: the prompts of lm-eval's mmlu_continuation, whose sampler "
            "first_n gives every question of a subject the same shots",
            tuple(pair for row in own[SHOTS:][: sizes.shots] for pair in with_shots(row, own[:SHOTS])),
        ),
        Case(
            "Text options, five drawn shots",
            None,
            f"{sizes.drawn} questions, each after five others drawn for it alone, as lm-eval's default sampler draws "
            "them: here two questions share nothing",
            tuple(pair for row, drawn in drawn_shots(own, sizes.drawn) for pair in with_shots(row, drawn)),
        ),
        Case(
            "CrowS-Pairs",
            2.0,
            f"{'all' if sizes.crows is None else 'the first'} {len(pairs)} pairs of {crows.name}, whole sentences "
            "without a context: every token is scored",
            tuple(("", row[side]) for row in pairs for side in ("sent_more", "sent_less")),
        ),
    ]


def find(data: Path | None, folder: str, name: str, source: str) -> Path:
    """The file in data/folder or below it. Ends the program, saying where it is published, when it is not there."""
    found = sorted((data / folder).rglob(name)) if data else []
    if not found:
        sys.exit(
            f"The benchmark needs {folder}/{name}, which is not part of Limpide.\n"
            f"  received: {'no folder' if data is None else data}\n"
            f"  expected: a folder that holds {' and '.join(f'{f}/{n}' for f, n, _ in (BBQ, CROWS))}\n"
            f"  next: get it from its authors ({source}), then: make bench-audit DATA=folder"
        )
    return found[0]


def three_options(row: dict[str, Any]) -> list[Pair]:
    return [(_bbq_context(row), " " + row[key]) for key in ("ans0", "ans1", "ans2")]


def twelve_candidates(row: dict[str, Any]) -> list[Pair]:
    """lm-eval's: the row's own 'unknown' goes, its ten come."""
    answers = [row[key] for key in ("ans0", "ans1", "ans2")]
    answers.remove(next(answer for answer in answers if answer in UNKNOWN))
    return [(_bbq_context(row), " " + answer) for answer in (*answers, *UNKNOWN)]


def _bbq_context(row: dict[str, Any]) -> str:
    return f"{row['context']}\n\nQ: {row['question']}\nA:"


def with_shots(row: dict[str, Any], shots: list[dict[str, Any]]) -> list[Pair]:
    answered = [f"Question: {shot['question']}\nAnswer: {shot['options'][shot['answer']]}\n\n" for shot in shots]
    context = "".join(answered) + f"Question: {row['question']}\nAnswer:"
    return [(context, " " + option) for option in row["options"]]


def drawn_shots(rows: list[dict[str, Any]], count: int) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each question with its own shots: one more is drawn than needed, and the question itself is left out."""
    draw = random.Random(SAMPLER_SEED)
    asked = rows[SHOTS:][:count]
    return [(row, [shot for shot in draw.sample(rows, SHOTS + 1) if shot != row][:SHOTS]) for row in asked]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
