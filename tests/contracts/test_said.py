"""What jobs say on the studio's pages is known in every language: each sentence of the code has its template."""

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

import limpide
from limpide.document.notes import Pattern, patterns
from limpide.studio.said import TASK, said, task
from limpide.studio.words import language

ROOT = Path(inspect.getfile(limpide)).parent
ROOMS = ("serve", "audit", "recipe", "models", "data", "adapt", "understand", "optimise")
COMMANDS = ("data.py", "explain.py", "models.py", "run.py", "log.py", "serve.py", "stop.py", "suites.py", "sides.py")
FR, EN = language("fr"), language("en")
SPEAKER = re.compile(r"(progress|shown|shown_how|Quiet\(\)\)|progress\(.*\))$")
HOLE = "x7"
# Arguments that are no sentences of their own, or hold a part that comes and goes, with what they may say.
BY_HAND = {
    "_invitation(service, url, tls)": [
        "press answers at http://127.0.0.1:8080/v1 (context 2048 tokens, Ctrl-C stops). Try: curl http://x",
        "press, base answer at http://127.0.0.1:8080/v1 (context 2048 tokens, Ctrl-C stops). Try: curl http://x",
    ],
    "options.cache.trouble": ["Results are not kept, so that a stopped run starts anew: a/b.db: disk full"],
    "documents.said()": [
        "12 passages of 3 documents: 9 to learn from, 3 held out",
        "1 passage of 1 document: 1 to learn from, 0 held out",
        "3 passages of 1 document: 2 to learn from, 1 held out",
    ],
    "line": ["put right, a.csv:3: machine → press", "put right: 4 more, all in report.json"],
    "state.trunk.keep(folder, [*epoch_packs(0), *held_out], state.plan.trunk_bytes)": [
        "the frozen layers' output for 12 packs is 3.4 MB, kept on disk and computed once",
        "the frozen layers' output for 12 packs is 3.4 MB, more than the 1.0 MB allowed: "
        "it is computed again in each epoch",
        "the frozen layers' output for 12 packs is 3.4 MB and cannot be kept on disk (No space left on device): "
        "it is computed again in each epoch",
    ],
    "told(best, trials, facts)": [
        "search: of 4 trials, learning rate 0.001 and rank 8 lose least on rows kept aside (1.2345 nats a token)"
        f"{next}{left}"
        for next in ("", "; the next best cannot be told from it by chance")
        for left in ("", "; 2 trials were left out for want of time")
    ],
    "f'stopped after {state.step} of {state.plan.steps} steps{_best_so_far(state)}; all of it is kept, and the same "
    "command goes on from there'": [
        f"stopped after 5 of 20 steps{best}; all of it is kept, and the same command goes on from there"
        for best in ("", ", the best held-out loss so far 1.2345 after 4")
    ],
    "f'stopped in the stage {name}: the best so far{how_good} is kept in {place}'": [
        f"stopped in the stage answers: the best so far{loss} is kept in a/b" for loss in ("", " (validation loss 1.2)")
    ],
    "f\"{name}: {plan['n']} questions {plan['in_words']}\"": [
        "truth.accuracy: 96 questions find a change of 12.5 points 8 times in 10, if one answer in five changes.",
        "truth.semantic_entropy_auc: 96 questions find an AUC of 0.66 8 times in 10, if half of the answers are wrong.",
        "truth.semantic_entropy_auc: 4 questions are too few to find any AUC 8 times in 10, "
        "if half of the answers are wrong.",
    ],
    "said['took'].format(each=took)": ["Took occlusion 3.2 s.", "Durée : occlusion 3,2 s."],
    "said['page'].format(file=told.html)": ["Page: why.html", "Page : why.html"],
    "warning": ["Classes with fewer than 20 training rows: 'a' (3)."],  # those of results: see the test of warnings
}

WARNED_BY_HAND = {
    "Files in the folders that were not read: x7x7.": "Files in the folders that were not read: 2 "
    "(a.zip: '.zip' is not a kind of document that is read; b: a link).",
    "memory ran out: x7 at a time after step x7, the steps themselves unchanged": "memory ran out: 2 packs at a time "
    "after step 5, the steps themselves unchanged",
}


def files_of(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from sorted((ROOT / room).rglob("*.py"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in nodes(path) if isinstance(node, ast.Call))


def spoken(attribute: str) -> Iterator[ast.expr]:
    """First arguments of `progress.<attribute>(…)`, whatever the progress is called."""
    for path in (*files_of(*ROOMS), *(ROOT / "cli" / name for name in COMMANDS)):
        for call in calls(path):
            made = call.func
            told = isinstance(made, ast.Attribute) and made.attr == attribute and call.args
            if told and SPEAKER.search(ast.unparse(made.value)):
                yield call.args[0]


def samples(node: ast.expr) -> list[str]:
    """What a literal or an f-string may say, its holes filled with a word; nothing for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        pieces = [samples(piece) or [HOLE] for piece in node.values]
        return ["".join(chosen) for chosen in itertools.product(*pieces)]
    if isinstance(node, ast.FormattedValue):
        return samples(node.value)
    if isinstance(node, ast.IfExp):
        return [*samples(node.body), *samples(node.orelse)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [left + right for left in samples(node.left) for right in samples(node.right)]
    return []


def known(sample: str, forms: tuple[Pattern, ...]) -> bool:
    """Whether templates hold all of its own words, sentence after sentence."""
    for pattern in forms:
        for match in (pattern.form.fullmatch(sample), pattern.form.match(sample)):
            if match is None or any(re.sub(rf"{HOLE}|[\W\d]", "", hole) for hole in match.groups()):
                continue
            rest = sample[match.end() :].strip()
            if not rest or known(rest, forms):
                return True
    return False


SENTENCES = patterns({k: v for k, v in EN.words.items() if not k.startswith(TASK)}, "said.", "note.")
TASKS = patterns(EN.words, TASK)


def test_every_piece_of_work_has_its_name() -> None:
    found = [sample for argument in spoken("task") for sample in samples(argument)]
    assert len(found) > 30
    plain = [sample for sample in found if not FR.has(f"run.task.{sample.lower().replace(' ', '_')}")]
    assert [sample for sample in plain if not known(sample, TASKS)] == []
    assert [sample for sample in found if task(sample, FR)[1] is not None] == []


def test_every_message_and_warning_has_its_template() -> None:
    arguments = [*spoken("say"), *spoken("warn")]
    assert len(arguments) > 30
    told = {ast.unparse(argument): samples(argument) for argument in arguments}
    unread = {source for source in told if not told[source]}
    assert unread - BY_HAND.keys() == set(), "no literal: say in BY_HAND what it may be"
    assert {
        sample
        for source, found in told.items()
        if source not in BY_HAND
        for sample in found
        if not known(sample, SENTENCES)
    } == set(), "words/en/said.json and words/fr/said.json, under 'said.…', hold the sentences of jobs"


@pytest.mark.parametrize("text", [text for texts in BY_HAND.values() for text in texts])
def test_what_is_put_together_is_known(text: str) -> None:
    assert said(text, FR)[1] is None


def test_every_operation_says_what_it_does() -> None:
    found = [
        keyword.value.value
        for path in files_of(*ROOMS)
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id == "Operation"
        for keyword in call.keywords
        if keyword.arg == "summary" and isinstance(keyword.value, ast.Constant)
    ]
    assert len(found) > 25
    assert [summary for summary in found if said(summary, FR)[1] is not None] == []
    assert all(said(f"[3/7] step-x: {summary}", FR)[1] is None for summary in found)


# What may stand at placeholders whose names say so; a word at the others.
HELD = {
    "sentence": "check its permissions",
    "number": "3",
    "durations": "lens 4.5 s, patching 3 min",
    "checks": "rows, secrets",
    "guessed": "'Q' as prompt",
    "kinds": "3 × e-mail address",
    "place": "a.csv:3: 'x' is empty",
    "rules": "address (3)",
    "suites": "2 of truth",
}
KINDS = {key.split(".")[2]: text for key, text in EN.words.items() if key.startswith("said.word.")}
TOLD = [key for key in EN.words if key.startswith("said.") and not key.startswith("said.word.")]


@pytest.mark.parametrize("key", TOLD)
def test_every_sentence_is_found_again(key: str) -> None:
    """Filled in English, it is read as itself: no other takes its place, and its placeholders hold what they say."""
    names = [name for _, name, *_ in Formatter().parse(EN.words[key]) if name is not None]
    written = EN.say(key, **{name: (HELD | KINDS).get(name.partition("_")[0], HOLE) for name in names})
    told, lang = (task if key.startswith(TASK) else said)(written, FR)
    assert (lang, "None" in told) == (None, False), written
    own = max((literal for literal, *_ in Formatter().parse(FR.words[key])), key=len)
    assert own in told, written


def warned(path: Path) -> Iterator[ast.expr]:
    """What functions called `_warnings` yield, and what is put in lists called warnings, notes or told."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef) and node.name.endswith(("_warnings", "_placeholders")):
            yield from (one.value for one in ast.walk(node) if isinstance(one, ast.Yield) and one.value is not None)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.append", "state.notes.append"):
            yield node.args[0]


def test_warnings_of_results_are_known() -> None:
    found = [sample for path in files_of(*ROOMS) for argument in warned(path) for sample in samples(argument)]
    assert len(found) > 20
    assert {sample for sample in found if not known(sample, SENTENCES)} == set(WARNED_BY_HAND)
    assert [text for text in WARNED_BY_HAND.values() if said(text, FR)[1] is not None] == []
