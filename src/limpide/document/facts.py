"""Lists of plain facts, name and value, shared by the card and the report. What is not known says 'unknown'."""

from typing import Any

from limpide.document.evidence import Evidence
from limpide.document.language import Language

Rows = list[tuple[str, str]]


def training(evidence: Evidence, spoken: Language) -> Rows:
    t = evidence.training
    rows: list[tuple[str, str]] = [
        ("method", t.method or spoken.say("unknown")),
        ("rank", write_or_unknown(t.rank, spoken, spoken.whole)),
        ("alpha", write_or_unknown(t.alpha, spoken, spoken.significant)),
        ("learning_rate", write_or_unknown(t.learning_rate, spoken, spoken.significant)),
        ("trainable", write_or_unknown(t.trainable_parameters, spoken, spoken.whole)),
        ("precision", t.precision or spoken.say("unknown")),
        ("tokens_seen", write_or_unknown(t.tokens_seen, spoken, spoken.whole)),
        ("duration", write_or_unknown(t.seconds, spoken, spoken.duration)),
        ("speed", write_or_unknown(t.tokens_per_second, spoken, spoken.whole)),
        (
            "flops",
            write_or_unknown(t.flops_upper_bound, spoken, lambda v: spoken.say("flops", value=spoken.significant(v))),
        ),
    ]
    if t.method == "full":  # no adapter, so no shape of one
        rows = [row for row in rows if row[0] not in ("rank", "alpha")]
    if t.classes:
        counts = (f"{name} ({spoken.whole(count)})" for name, count in t.classes.items())
        rows.append(("classes", spoken.join(counts)))
    named = [(spoken.say(f"training_fact.{key}"), value) for key, value in rows]
    return named + [(spoken.name("batch_fact", key), spoken.plain(value)) for key, value in t.batch.items()]


def data(evidence: Evidence, spoken: Language) -> Rows:
    d = evidence.data
    counts = ("rows", "train", "held_out", "unseen", "topics", "tokens", "truncated")
    rows = [(key, write_or_unknown(getattr(d, key), spoken, spoken.whole)) for key in counts]
    rows += [
        (key, write_or_unknown(getattr(d, key), spoken, spoken.whole))
        for key in ("exact_duplicates", "near_duplicates")
    ]
    spread = (
        spoken.join(f"{spoken.name('language', code)} ({spoken.whole(n)})" for code, n in d.languages.items())
        if d.languages
        else spoken.say("unknown")
    )
    rows.append(("languages", spread))
    if d.synthetic is not None:
        rows.append(("synthetic", spoken.whole(d.synthetic)))
    if d.charter_pairs is not None:
        rows.append(("charter_pairs", spoken.whole(d.charter_pairs)))
    if d.documents is not None:
        read = d.documents
        of_documents = {"documents": read.count, "documents_left_out": read.left_out, "document_words": read.words}
        of_documents |= {"passages": read.train, "passages_held_out": read.held_out}
        rows += [(key, spoken.whole(count)) for key, count in of_documents.items()]
    return [(spoken.say(f"data_fact.{key}"), value) for key, value in rows] + checks(evidence, spoken)


TOLD_ABOVE = (
    "personal_data",
    "exact_duplicates",
    "near_duplicates",
    "synthetic",
)  # elsewhere in the section


def checks(evidence: Evidence, spoken: Language) -> Rows:
    """What the checks of the data found, a row each; those that found nothing in one row."""
    every = [check for check in evidence.data.checks if check.name not in TOLD_ABOVE]
    rows = [
        (
            spoken.say(f"data_check.{check.name}"),
            spoken.say("data_fact.found", count=spoken.whole(check.count), rows=spoken.whole(check.rows)),
        )
        for check in every
        if check.severity != "told"
    ]
    quiet = [spoken.say(f"data_check.{check.name}") for check in every if check.severity == "told"]
    return rows + ([(spoken.say("data_fact.checks"), spoken.list(quiet))] if quiet else [])


def base(evidence: Evidence, spoken: Language) -> Rows:
    b, unknown = evidence.base, spoken.say("unknown")
    rows = [
        ("ref", b.ref),
        ("family", b.title or unknown),
        ("parameters", write_or_unknown(b.parameters, spoken, spoken.whole)),
        ("context", write_or_unknown(b.context, spoken, lambda v: spoken.say("tokens", v))),
        ("precision", b.precision or unknown),
        ("licence", b.licence or unknown),
        ("licence_source", b.licence_source or unknown),
        ("digest", b.digest or unknown),
    ]
    return [(spoken.say(f"base_fact.{key}"), value) for key, value in rows]


def environment(evidence: Evidence, spoken: Language) -> Rows:
    record = evidence.environment
    rows = [
        (spoken.say("environment.date"), spoken.date(record.date) or spoken.say("unknown")),
        (spoken.say("environment.machine"), record.machine or spoken.say("unknown")),
        (spoken.say("environment.seed"), spoken.say("unknown") if record.seed is None else str(record.seed)),
    ]
    return rows + versions(record.versions, spoken)


def versions(found: dict[str, str], spoken: Language) -> Rows:
    return list(found.items()) or [(spoken.say("environment.versions"), spoken.say("unknown"))]


def write_or_unknown(value: Any, spoken: Language, write: Any) -> str:
    """The value as `write` writes it, or 'unknown'."""
    return spoken.say("unknown") if value is None else str(write(value))
