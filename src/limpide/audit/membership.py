"""Can a training row be told from a row that was kept out, by how likely the model finds its answer?"""

from collections.abc import Sequence
from pathlib import Path

from limpide.audit.items import Frame, Item, Spec, method_id, not_run, summarise
from limpide.core.measure import Measure
from limpide.data.examples import Example, load_examples
from limpide.models.requests import Score

PERCENT = 20  # of the tokens: the share that the source found best on most models
FEW = 20  # held-out rows, below which rows of topics never taught are taken too
ALARMS_NEED = 100  # rows kept out, below which a rate of 1 % is no rate
NO_ROWS = "needs training rows and rows kept out of training with answers long enough, and one of the two is missing"


def min_k(token_log_likelihoods: Sequence[float]) -> float:
    """Mean log-likelihood, in nats, of the 20 % of the tokens that are least likely; of one token at least.

    Source: Shi et al. 2023, arXiv:2310.16789, section 4 (Min-K% Prob).
    """
    lowest = sorted(token_log_likelihoods)[: max(1, len(token_log_likelihoods) * PERCENT // 100)]
    return sum(lowest) / len(lowest)


def kept_out(folder: Path, minimum_words: int) -> tuple[list[Example], tuple[str, ...]]:
    """Rows that no training saw, whose answers have at least `minimum_words` words; and the splits they are from."""
    found: list[Example] = []
    splits: list[str] = []
    for split in ("held_out", "unseen"):
        path = folder / f"{split}.jsonl"
        if len(found) >= FEW or not path.is_file():
            continue
        long_enough = [row for row in load_examples(path) if len(row.answer.split()) >= minimum_words]
        if long_enough:
            found += long_enough
            splits.append(split)
    return found, tuple(splits)


def membership_item(row: Example, member: bool, score: Score) -> Item:
    """score: of the row's answer after its own prompt, end token included."""
    return Item(
        id=f"{'member' if member else 'kept-out'}/{row.id}",
        cluster=row.topic or row.group or row.id,
        group={"part": "membership"} | ({"language": row.language} if row.language else {}),
        metric={"min_k": min_k(score.token_log_likelihoods), "member": float(member)},
        shown={"row": row.id, "tokens": score.tokens},
    )


def membership_measures(items: Sequence[Item], specs: Sequence[Spec], frame: Frame) -> tuple[list[Spec], list[Measure]]:
    """The specs that the items are enough for, and a measure for each of `specs`."""
    others = sum(item.metric["member"] == 0 for item in items)
    if not 0 < others < len(items):
        return [], [not_run(spec, frame, NO_ROWS) for spec in specs]
    usable = [spec for spec in specs if spec.statistic == "auc" or others >= ALARMS_NEED]
    few = f"{others} rows kept out of training were compared, where a rate of 1 % needs {ALARMS_NEED} at least."
    rest = [
        not_run(spec, frame, few).model_copy(update={"state": "insufficient evidence", "n": len(items)})
        for spec in specs
        if spec not in usable
    ]
    return usable, summarise(items, usable, frame) + rest


def membership_specs(rows: int, minimum_words: int, splits: Sequence[str]) -> tuple[Spec, Spec]:
    """AUC, and the share of training rows found at 1 % false alarms.

    rows: most rows of each side. splits: where the rows that were kept out are from.
    """
    note = (
        "0.5 is chance, and near it is expected where training and held-out rows are alike. Rows that differ without "
        "any training, such as newer ones, move it too: the base model, which saw neither, shows by how much. Training "
        "may have kept a few of its rows aside."
    )
    if "unseen" in splits:
        note += " Rows of topics never taught were added to the few held-out ones: knowing the topics raises it also."

    def method(name: str) -> str:
        return method_id(name, 1, score=f"min-{PERCENT}%", rows=rows, minimum_words=minimum_words, others=splits)

    auc = Spec(
        name="memorisation.min_k_auc",
        metric="min_k",
        kind="statistic",
        statistic="auc",
        columns=("min_k", "member"),
        unit="AUC",
        better="lower",
        method=method("memorisation.min_k_auc"),
        note=note,
    )
    found = auc.model_copy(
        update={
            "name": "memorisation.tpr_at_1_fpr",
            "statistic": "tpr_at_1_percent_fpr",
            "unit": "share",
            "method": method("memorisation.tpr_at_1_fpr"),
            "note": (
                "Share of the training rows that are told apart when 1 in 100 rows that were kept out may be taken "
                "for one; 0.01 is chance."
            ),
        }
    )
    return auc, found
