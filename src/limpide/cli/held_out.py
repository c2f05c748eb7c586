"""What a training came to on rows that were held out, before and after, paired row by row.

Answers and texts: how likely the model finds them. Preferences: how often it finds the preferred answer the likelier.
Classes: how often a classifier gives the right label, beside the commonest label of the rows it learnt from.
Charter: how often what the model writes keeps to every rule of the charter, on a few questions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from limpide.audit.compare import paired_change
from limpide.audit.items import Item, Spec
from limpide.core.measure import Change
from limpide.core.progress import Progress
from limpide.data.charter import NAME, load_charter
from limpide.data.charter_pairs import said_of
from limpide.data.charter_rules import breaks
from limpide.data.examples import Example, load_examples
from limpide.data.passages import HELD_OUT as HELD_OUT_PASSAGES
from limpide.data.passages import load_passages
from limpide.models.requests import Request

if TYPE_CHECKING:
    from limpide.models.classifier import Classifier
    from limpide.models.model import Model

Found = Mapping[str, Sequence[Item]]  # part → an item a row
HELD_OUT, UNSEEN, TEXTS, PREFERENCES, CLASSES = "held_out", "unseen", "texts", "preferences", "classes"
CHARTER = "charter"
ASKED, ANSWER_TOKENS = 12, 96  # questions whose answers are held against the charter, and their length
MOST_WEIGHTS = 5e8  # of a model whose answers are waited for: a minute or two on two cores
SHARES = (PREFERENCES, CLASSES, CHARTER)  # parts that count rows; the others add up nats


def words(model: "Model", data: Path, progress: Progress) -> Found:
    """Of a model that predicts words: each part that data.prepare left rows for in the folder `data`."""
    rows = {part: _rows(data, part) for part in (HELD_OUT, UNSEEN)}
    made = {part: _losses(model, examples, progress) for part, examples in rows.items() if examples}
    passages = load_passages(data / HELD_OUT_PASSAGES) if (data / HELD_OUT_PASSAGES).is_file() else []
    if passages:
        asked = [Request(passage.id, "", passage.text) for passage in passages]
        made[TEXTS] = _scored(model, asked, [passage.document for passage in passages], progress)
    pairs = [example for examples in rows.values() for example in examples if example.rejected is not None]
    if pairs:
        made[PREFERENCES] = _preferred(model, pairs, progress)
    return made


def commonest(data: Path) -> Found:
    """What always giving the commonest label of the training rows would come to on the held-out ones."""
    counts = Counter(example.label for example in _rows(data, "train"))
    label = min(counts, key=lambda name: (-counts[name], str(name))) if counts else None
    return _right(_rows(data, HELD_OUT), [label] * len(_rows(data, HELD_OUT)))


def classes(classifier: "Classifier", data: Path, progress: Progress) -> Found:
    """How often the likeliest label is the right one on the held-out rows."""
    from limpide.models.respondents import Sorter

    rows = _rows(data, HELD_OUT)
    found = Sorter(classifier).classify(rows, progress) if rows else []
    return _right(rows, [max(shares, key=lambda name: shares[name]) for shares in found])


def kept_to_charter(model: "Model", data: Path, progress: Progress) -> Found:
    """What the model writes to a few held-out questions, held against the charter that lies in `data`.

    Nothing of a model that writes none, or of one so large that its answers would be long waited for.
    """
    from limpide.audit.thoughts import spoken
    from limpide.models.requests import Asked
    from limpide.models.respondents import GENERATES, Opened

    respondent, rows = Opened(model), _of_different_topics(_rows(data, HELD_OUT), ASKED)
    weights = sum(weight.numel() for weight in model.network.parameters())
    if not rows or GENERATES not in respondent.can or weights > MOST_WEIGHTS:
        return {}
    charter = load_charter(data / NAME)
    asked = [Asked(row.id, row.prompt) for row in rows]
    answers, _ = spoken(respondent.answer(asked, ANSWER_TOKENS, progress))
    return {
        CHARTER: [
            Item(row.id, _cluster(row), {}, {"right": float(not breaks(charter, replace(said_of(row), answer=answer)))})
            for row, answer in zip(rows, answers, strict=True)
        ]
    }


def _of_different_topics(rows: Sequence[Example], most: int) -> list[Example]:
    """Up to so many: one of each topic, in the order of the file, before a second of any."""
    met: Counter[str] = Counter()
    turns = []
    for row in rows:
        turns.append(met[_cluster(row)])
        met[_cluster(row)] += 1
    first = sorted(range(len(rows)), key=lambda k: turns[k])[:most]
    return [rows[k] for k in sorted(first)]


def changes(before: Found, after: Found, seed: int) -> list[Change]:
    """The change of each part, with its interval; 'insufficient evidence' where the rows are too few."""
    return [paired_change(spec(part), {}, items, after[part], seed=seed) for part, items in before.items()]


def spec(part: str) -> Spec:
    name, method = f"adapted.{part}", f"adapted.{part}@1()"
    if part in SHARES:
        return Spec(name=name, metric="right", kind="share", unit="share", better="higher", method=method)
    unit = "nats per text token" if part == TEXTS else "nats per answer token"
    return Spec(name=name, metric="loss", weight="tokens", kind="mean", unit=unit, better="lower", method=method)


def _rows(data: Path, name: str) -> list[Example]:
    path = data / f"{name}.jsonl"
    return load_examples(path) if path.is_file() else []


def _cluster(example: Example) -> str:
    return example.topic or example.group or example.id


def _losses(model: "Model", examples: Sequence[Example], progress: Progress) -> list[Item]:
    from limpide.models.prompt import answer_request

    asked = [answer_request(model, example) for example in examples]
    return _scored(model, asked, [_cluster(example) for example in examples], progress)


def _scored(model: "Model", asked: Sequence[Request], clusters: Sequence[str], progress: Progress) -> list[Item]:
    """Nats and tokens of each request. Documents longer than the context are read in windows; answers never are."""
    from limpide.models.scoring import Options, score_with

    texts = all(request.context == "" for request in asked)
    options = Options(overlong="window" if texts and model.kind == "decoder" else "refuse")
    scores = score_with(model, asked, options, progress).scores
    return [
        Item(score.id, cluster, {}, {"loss": -score.log_likelihood, "tokens": float(score.tokens)})
        for score, cluster in zip(scores, clusters, strict=True)
    ]


def _preferred(model: "Model", pairs: Sequence[Example], progress: Progress) -> list[Item]:
    """1 where the whole preferred answer is likelier than the whole rejected one."""
    turned = [
        example.model_copy(
            update={
                "messages": (*example.prompt, example.messages[-1].model_copy(update={"content": example.rejected})),
                "rejected": None,
                "label": None,
            }
        )
        for example in pairs
    ]
    chosen, rejected = (_losses(model, rows, progress) for rows in (pairs, turned))
    return [
        Item(one.id, one.cluster, {}, {"right": float(one.metric["loss"] < other.metric["loss"])})
        for one, other in zip(chosen, rejected, strict=True)
    ]


def _right(rows: Sequence[Example], given: Sequence[str | None]) -> Found:
    items = [
        Item(example.id, _cluster(example), {}, {"right": float(label == example.label)})
        for example, label in zip(rows, given, strict=True)
    ]
    return {CLASSES: items} if items else {}
