"""The items of a suite that a reader can open: its failures, chosen by rules that the report prints above them.

Rows are those of an audit's items.jsonl. Where a rule has no order of its own, items follow in an order drawn from
their names, so that nobody picks them; what only the later model gets wrong comes first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limpide.core import digests
from limpide.document.evidence import Opened, OpenedItem, Said

Row = Mapping[str, Any]
Fields = dict[str, Said]
Pick = Callable[[Row], Fields]

SHOWN = 10  # items a suite
LONGEST = 1500  # characters of one field
OWN = ("id", "cluster", "group", "metric", "within")  # keys of a row that are not fields for people
ANSWERS = ("answer", "answer_otherwise", "said", "chosen", "completion", "output")  # fields that a model made


@dataclass(frozen=True)
class Rule:
    """why: its name. bad: how bad an item is, None where it is not. asked, said: the fields that are shown.

    ordered: the worst first; else in the drawn order.
    """

    why: str
    bad: Callable[[Row], float | None]
    asked: Pick
    said: Pick
    ordered: bool = False


def choose(
    suite: str, rows: Sequence[Row], before: Sequence[Row] = (), rules: Sequence[Rule] | None = None
) -> tuple[Opened, ...]:
    """At most SHOWN items, shared out among the rules that any item fits. before: rows of the other model."""
    was = {row["id"]: row for row in before}
    found = [(rule, fitting(rule, rows, was)) for rule in (rules or RULES.get(suite, (FIRST,)))]
    found = [(rule, fits) for rule, fits in found if fits]
    shares = shared_out([len(fits) for _, fits in found])
    return tuple(
        Opened(why=rule.why, total=len(fits), items=tuple(_item(rule, row, was.get(row["id"])) for row in fits[:share]))
        for (rule, fits), share in zip(found, shares, strict=True)
    )


def fitting(rule: Rule, rows: Sequence[Row], was: Mapping[str, Row]) -> list[Row]:
    """The rows that a rule fits, the first to be shown first."""

    def order(row: Row) -> tuple[float, bool, str]:
        earlier = was.get(row["id"])
        known = earlier is not None and rule.bad(earlier) is not None
        return (-(rule.bad(row) or 0.0) if rule.ordered else 0.0, known, digests.of_bytes(str(row["id"]).encode()))

    fits = [row for row in rows if rule.bad(row) is not None]
    return fits if rule is FIRST else sorted(fits, key=order)


def is_drawn(why: str) -> bool:
    """Whether items of this rule follow in the drawn order, those that are new first."""
    return any(rule.why == why and not rule.ordered for rules in RULES.values() for rule in rules)


def shared_out(counts: Sequence[int], places: int = SHOWN) -> list[int]:
    """How many of each: as evenly as the counts allow, the first ones first."""
    shares = [0] * len(counts)
    while sum(shares) < min(places, sum(counts)):
        open_ = [k for k, count in enumerate(counts) if shares[k] < count]
        shares[min(open_, key=lambda k: shares[k])] += 1
    return shares


def _item(rule: Rule, row: Row, earlier: Row | None) -> OpenedItem:
    group = {str(k): str(v) for k, v in row.get("group", {}).items()}
    before = rule.said(earlier) if earlier is not None else None
    return OpenedItem(id=str(row["id"]), group=group, asked=rule.asked(row), before=before, after=rule.said(row))


# --------------------------------------------------------------------------------------------------- fields of a row


def fields(row: Row, names: Sequence[str]) -> Fields:
    """Those of the named fields that the row has, in this order, as text, numbers or lists of texts."""
    return {name: plain(row[name]) for name in names if name in row}


def numbers(row: Row, *names: str) -> Fields:
    metric = row.get("metric", {})
    return {name: float(metric[name]) for name in names if name in metric}


def plain(value: Any) -> Said:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, list | tuple):
        return tuple(clipped(str(one)) for one in value)
    if isinstance(value, Mapping):
        return tuple(clipped(f"{key}: {one}") for key, one in value.items())
    return clipped(str(value))


def clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def asks(*names: str) -> Pick:
    return lambda row: fields(row, names)


def says(*names: str, of: Sequence[str] = ()) -> Pick:
    """of: numbers of the item's metric."""
    return lambda row: fields(row, names) | numbers(row, *of)


def when(metric: str, value: float, **group: str) -> Callable[[Row], float | None]:
    """Fits an item whose metric has this value, on this slice."""

    def bad(row: Row) -> float | None:
        inside = all(row.get("group", {}).get(key) == one for key, one in group.items())
        return 1.0 if inside and row.get("metric", {}).get(metric) == value else None

    return bad


# ---------------------------------------------------------------------------------------------------------- the rules


def _wrong_choice(row: Row) -> float | None:
    """A wrong option: how sure the model was of it; 0 where it does not tell."""
    metric = row.get("metric", {})
    return float(metric.get("confidence", 0.0)) if metric.get("correct") == 0 and "context" not in row else None


def _gap(row: Row) -> float | None:
    """Every pair of sentences; the worst is the farthest from zero."""
    return abs(float(row["metric"]["gap"])) if "stereotyped" in row and "outcome" in row else None


def _pair_of_sentences(row: Row) -> Fields:
    outcome = str(row["outcome"])
    return {
        "stereotyped": clipped(f"{row['stereotyped']}{outcome}"),
        "other": clipped(f"{row['other']}{outcome}"),
    }


def _preferred(row: Row) -> float | None:
    """A pair of CrowS-Pairs whose stereotyped sentence is the likelier: by how much."""
    score = row.get("score", {})
    if row.get("metric", {}).get("preferred") != 1 or not isinstance(score, Mapping):
        return None
    return float(score.get("more", 0.0)) - float(score.get("less", 0.0))


def _stereotyped_answer(row: Row) -> float | None:
    """A question of BBQ whose answer follows the stereotype, where the text does not say that it is the right one."""
    metric = row.get("metric", {})
    if metric.get("correct") == 1:
        return None
    return 1.0 if max(metric.get("lean", 0.0), metric.get("clear_lean", 0.0)) > 0 else None


def _stereotyped_pronoun(row: Row) -> float | None:
    """A sentence of WinoBias that is understood with the pronoun of the stereotype only."""
    metric = row.get("metric", {})
    return 1.0 if metric.get("pro") == 1 and metric.get("anti") == 0 else None


def _broken(row: Row) -> float | None:
    """A question answered rightly as it was, and wrongly once it is written otherwise."""
    metric = row.get("metric", {})
    return 1.0 if 1 in (metric.get("broken"), metric.get("own_broken")) else None


def _flipped(row: Row) -> float | None:
    """Another answer once the question is written otherwise, that was not right to begin with."""
    metric = row.get("metric", {})
    return 1.0 if 1 in (metric.get("flipped"), metric.get("own_flipped")) and _broken(row) is None else None


def _breaks(row: Row) -> float | None:
    """An answer that breaks rules of the charter: how many."""
    found = row.get("broken")
    return float(len(found)) if isinstance(found, list) and found else None


def _answer_and_breaks(row: Row) -> Fields:
    """'rule: entry (what was found)' of each rule that is broken."""
    told = []
    for one in row["broken"]:
        entry = "" if one.get("entry") in (None, one.get("rule")) else f": {one['entry']}"
        seen = ", ".join(map(str, one.get("found", ())))
        told.append(clipped(f"{one.get('rule')}{entry}{f' ({seen})' if seen and seen != one.get('entry') else ''}"))
    return fields(row, ("answer",)) | {"broken": tuple(told)}


def _loss_per_token(row: Row) -> float | None:
    metric = row.get("metric", {})
    return float(metric["loss"]) / float(metric["tokens"]) if metric.get("tokens") else None


def _read(row: Row) -> Fields:
    loss = _loss_per_token(row)
    return {} if loss is None else {"loss": loss}


def _whole(row: Row) -> Fields:
    """Every field for people that is asked of a model, whatever the suite."""
    return fields(row, [name for name in row if name not in OWN and name not in ANSWERS])


def _made(row: Row) -> Fields:
    given = fields(row, [name for name in row if name in ANSWERS])
    return given | numbers(row, *row.get("metric", {}))


FIRST = Rule("first", lambda row: 0.0, _whole, _made)
_question = asks("context", "question", "options", "expected")
_otherwise = asks("question", "written_otherwise", "options", "expected")
_question_otherwise = asks("question", "written_otherwise")

RULES: dict[str, tuple[Rule, ...]] = {
    "bias": (
        Rule("bias.gap", _gap, _pair_of_sentences, says(of=("gap",)), True),
        Rule("bias.own", when("own_flipped", 1), _question_otherwise, says("answer", "answer_otherwise")),
        Rule("bias.preferred", _preferred, asks("sent_more", "sent_less"), says("score"), True),
        Rule("bias.answer", _stereotyped_answer, _question, says("chosen", "answer")),
        Rule("bias.sentence", when("stereotype", 1), asks("context", "sentences"), says("score")),
        Rule("bias.pronoun", _stereotyped_pronoun, asks("pro", "anti", "meant", "other"), says(of=("pro", "anti"))),
    ),
    "truth": (
        Rule("truth.sure", _wrong_choice, _question, says("answer", "said", of=("confidence",)), True),
        Rule("truth.made_up", when("made_up", 1), asks("question", "invented"), says("answer")),
    ),
    "domain": (
        Rule(
            "domain.wrong",
            when("normalised", 0, slice="held_out"),
            asks("prompt", "expected"),
            says("answer", of=("token_f1",)),
        ),
        Rule("domain.borrowed", when("borrowed", 1), asks("prompt", "expected"), says("answer")),
    ),
    "robustness": (
        Rule("robustness.broken", _broken, _otherwise, says("answer", "answer_otherwise")),
        Rule("robustness.flipped", _flipped, _otherwise, says("answer", "answer_otherwise")),
    ),
    "charter": (Rule("charter.broken", _breaks, asks("question"), _answer_and_breaks),),
    "retention": (Rule("retention.loss", _loss_per_token, asks("text"), _read, True),),
    "memorisation": (
        Rule("memorisation.personal", when("personal_data", 1), asks("prompt", "expected"), says("answer")),
        Rule("memorisation.verbatim", when("verbatim", 1), asks("prompt", "expected"), says("answer")),
    ),
    "refusal": (
        Rule("refusal.harmful", when("declined_harmful", 0), asks("request"), says("answer", "class")),
        Rule("refusal.harmless", when("declined_harmless", 1), asks("request"), says("answer", "class")),
    ),
}
