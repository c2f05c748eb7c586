"""The plain sentences of the documents: rules from numbers to words, shared by the card and the report.

Every function takes the evidence and a language and returns plain text; what is not in the evidence is said to be
'not measured' or 'unknown'. No rule here turns a missing or undecided number into good news.
"""

from collections.abc import Sequence
from typing import Literal

from limpide.core.measure import Change, Frozen, Measure
from limpide.document.evidence import Evidence, Numbers, Slice
from limpide.document.language import Language
from limpide.document.notes import in_words

Tone = Literal["good", "bad", "doubt", "plain"]
NEAR_ZERO = 0.05  # a share of right answers on untaught topics whose whole interval is above it calls for a look
RISE = 0.05  # of the fall of the held-out loss: a smaller rise afterwards is not worth a director's time
CLASSES_NAMED = 10
WORST_FIRST = ("worse", "insufficient evidence", "no detectable change", "better")


class Finding(Frozen):
    """A sentence and how it should feel: good and bad only when the numbers decide."""

    sentence: str
    tone: Tone = "plain"


def usable(measure: Measure | None) -> Measure | None:
    """The measure when it holds a number, else None."""
    return measure if measure is not None and measure.state == "measured" and measure.value is not None else None


def tone_of(verdict: str | None) -> Tone:
    tones: dict[str, Tone] = {"better": "good", "pass": "good", "ship": "good", "worse": "bad", "fail": "bad"}
    tones |= {"hold": "bad", "insufficient evidence": "doubt", "not compared": "doubt"}
    return tones.get(verdict or "", "plain")


def missing(measure: Measure | None, language: Language, key: str) -> str:
    """Why there is no number: it cannot be asked of such a model, was never measured, or has too little evidence."""
    if measure is not None and measure.state == "not run" and measure.note:
        return language.say("missing.not_run", why=in_words(measure.note, language)[0].rstrip("."))
    undecided = measure is not None and measure.state == "insufficient evidence"
    return language.say(f"{key}.{'insufficient' if undecided else 'absent'}")


# ------------------------------------------------------------------------------------------------ verdict and gates
def verdict(evidence: Evidence, language: Language) -> Finding:
    """The banner: what the organisation may do, and why, from the gates and the parity checks."""
    counts = {v: sum(g.verdict == v for g in evidence.gates) for v in ("pass", "fail", "insufficient evidence")}
    total = len(evidence.gates)
    if evidence.verdict == "ship":
        if total == 0:
            return Finding(sentence=language.say("verdict.ship.no_gate"), tone="doubt")
        if counts["pass"] == total and evidence.parity.passed is not False:
            return Finding(sentence=language.say("verdict.ship.sentence", total), tone="good")
        return Finding(sentence=language.say("verdict.ship.despite", passed=counts["pass"], total=total), tone="doubt")
    if evidence.verdict == "hold":
        if counts["fail"]:
            return Finding(sentence=_of_all("verdict.hold", counts["fail"], total, language), tone="bad")
        key = "verdict.hold.parity" if evidence.parity.passed is False else "verdict.hold.other"
        return Finding(sentence=language.say(key), tone="bad")
    undecided = counts["insufficient evidence"]
    if undecided:
        return Finding(sentence=_of_all("verdict.undecided", undecided, total, language), tone="doubt")
    return Finding(sentence=language.say("verdict.undecided.other"), tone="doubt")


def _of_all(key: str, count: int, total: int, language: Language) -> str:
    """'2 of the 5 checks …', or 'The only check …'."""
    return language.say(f"{key}.only") if total == 1 else language.say(f"{key}.sentence", count, total=total)


def gates(evidence: Evidence, language: Language) -> str:
    if not evidence.gates:
        return language.say("gates.none")
    parts = []
    for outcome, key in (("pass", "gates.pass"), ("fail", "gates.fail"), ("insufficient evidence", "gates.undecided")):
        count = sum(gate.verdict == outcome for gate in evidence.gates)
        if count:
            parts.append(language.say(key, count))
    return language.say("gates.sentence", len(evidence.gates), parts=language.join(parts))


# ------------------------------------------------------------------------------------------------------ the model
def what_it_is(evidence: Evidence, language: Language) -> str:
    base = evidence.base
    size = language.say("base.size", size=language.about(base.parameters)) if base.parameters else None
    inside = ", ".join(part for part in (base.title, size) if part)
    named = f"{base.ref} ({inside})" if inside else base.ref
    classes = evidence.training.classes
    if classes:
        listed = language.list(list(classes)[:CLASSES_NAMED]) + (" …" if len(classes) > CLASSES_NAMED else "")
        said = {"name": evidence.name, "version": evidence.version, "base": named, "classes": listed}
        return language.say("what.classes", len(classes), **said)
    return language.say("what.sentence", name=evidence.name, version=evidence.version, base=named)


def base(evidence: Evidence, language: Language) -> str:
    record = evidence.base
    licence = (
        language.say("base.licence", licence=record.licence, source=record.licence_source or language.say("unknown"))
        if record.licence
        else language.say("base.no_licence")
    )
    unknowns = len(record.unknowns)
    known = language.say("base.unknown_count", unknowns) if unknowns else language.say("base.no_list")
    return f"{licence} {known}"


# ------------------------------------------------------------------------------------------------------- the job
def share_of(measure: Measure, language: Language) -> str:
    """'91.7% (33 of 36)' for a share of items; the value alone for anything else."""
    assert measure.value is not None
    shown = language.measured(measure)
    right = measure.value * measure.n
    if measure.unit != "share" or measure.n == 0 or abs(right - round(right)) > 1e-6:
        return shown
    return language.say("share_of", share=shown, right=round(right), total=measure.n)


def learned(evidence: Numbers, language: Language) -> Finding:
    """Did it learn its job: domain accuracy on wordings it has not seen of topics it was taught."""
    found = evidence.measure("domain.accuracy", slice="held_out")
    after, before = usable(found), usable(evidence.measure("domain.accuracy", "base", slice="held_out"))
    if after is None:
        return Finding(sentence=missing(found, language, "learned"), tone="doubt")
    majority = usable(evidence.measure("domain.majority", slice="held_out"))
    if majority is not None:
        return _sorted_rightly(evidence, after, before, majority, language)
    said = language.say("learned.after", after=share_of(after, language))
    if before is None:
        return Finding(sentence=f"{said} {language.say('learned.no_base')}", tone="doubt")
    change = evidence.change("domain.accuracy", slice="held_out")
    word = change.verdict if change else "not compared"
    said = language.say("learned.both", after=share_of(after, language), before=share_of(before, language))
    return Finding(sentence=f"{said} {language.say(f'learned.{word}')}", tone=tone_of(word))


def _sorted_rightly(
    evidence: Numbers, after: Measure, before: Measure | None, majority: Measure, language: Language
) -> Finding:
    """The same where answers are labels: beside what always answering the commonest label gives."""
    gain = usable(evidence.measure("domain.gain", slice="held_out"))
    low, high = (gain.low, gain.high) if gain else (None, None)
    word = "better" if low is not None and low > 0 else "worse" if high is not None and high < 0 else "unsure"
    baseline = language.say("learned.majority", majority=share_of(majority, language))
    baseline = f"{baseline} {language.say(f'learned.gain.{word}')}"
    tone: Tone = {"better": "good", "worse": "bad"}.get(word, "doubt")  # type: ignore[assignment]
    change = evidence.change("domain.accuracy", slice="held_out")
    if before is None or change is None:
        said = language.say("learned.labels", after=share_of(after, language))
        alone = evidence.measure("domain.accuracy", "base")
        why = f" {language.say('learned.no_head')}" if alone is not None and alone.state == "not run" else ""
        return Finding(sentence=f"{said} {baseline}{why}", tone=tone)
    shares = {"after": share_of(after, language), "before": share_of(before, language)}
    said = f"{language.say('learned.labels.both', **shares)} {language.say(f'learned.{change.verdict}')}"
    return Finding(sentence=f"{said} {baseline}", tone=tone_of(change.verdict) if tone == "good" else tone)


def unseen(evidence: Numbers, language: Language) -> str:
    """Topics kept out of training: answers there are guesses, and should fail."""
    found = evidence.measure("domain.accuracy", slice="unseen")
    after, before = usable(found), usable(evidence.measure("domain.accuracy", "base", slice="unseen"))
    if after is None:
        return missing(found, language, "unseen")
    if usable(evidence.measure("domain.majority", slice="unseen")):
        return language.say("unseen.labels", after=share_of(after, language))
    key = "unseen.after" if before is None else "unseen.both"
    shown = share_of(before, language) if before else ""
    said = language.say(key, after=share_of(after, language), before=shown)
    high = after.low is not None and after.low > NEAR_ZERO
    return f"{said} {language.say('unseen.high' if high else 'unseen.meaning')}"


def training(evidence: Evidence, language: Language) -> str:
    record = evidence.training
    if record.elsewhere is not None:
        return language.say("training.elsewhere", tool=record.elsewhere)
    if not record.losses and record.epochs_done is None:
        return language.say("training.absent")
    said = []
    if record.epochs_done is not None:
        key = "training.planned" if record.epochs_planned is not None else "training.epochs"
        planned = language.significant(record.epochs_planned) if record.epochs_planned is not None else ""
        said.append(language.say(key, record.epochs_done, planned=planned))
    points = [(p.held_out, p.epoch) for p in record.losses if p.held_out is not None]
    if record.best_epoch is not None:
        said.append(language.say("training.best", epoch=language.significant(record.best_epoch)))
    if len(points) > 1:
        first, lowest, last = points[0][0], min(points)[0], points[-1][0]
        key = "grew" if last > first == lowest else "rose" if last - lowest > RISE * (first - lowest) else "fell"
        numbers = {n: language.significant(v) for n, v in (("first", first), ("lowest", lowest), ("last", last))}
        said.append(language.say(f"training.{key}{'.labels' if record.classes else ''}", **numbers))
    elif not points:
        said.append(language.say("training.no_held_out"))
    scored = [(p.held_out, p.macro_f1) for p in record.losses if p.macro_f1 is not None and p.held_out is not None]
    if scored:
        ends = {"first": scored[0][1], "kept": min(scored)[1]}
        said.append(language.say("training.f1", **{name: language.value(f1, "share") for name, f1 in ends.items()}))
    return " ".join(said)


def where(group: dict[str, str], language: Language) -> str:
    """A slice in words: 'gender (English)', 'French', 'new wordings'."""
    said = {key: language.name(key, value) for key, value in sorted(group.items())}
    spoken = said.pop("language", None)
    others = ", ".join(said.values())
    if spoken is None or not others:
        return spoken or others
    return f"{others} ({spoken})"


def finest(groups: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The slices that no other slice refines, each once."""
    once = [dict(items) for items in dict.fromkeys(tuple(sorted(g.items())) for g in groups)]
    return [g for g in once if not any(g.items() < other.items() for other in once)]


def worst_verdict(changes: Sequence[Change]) -> str:
    """The verdict a reader must not miss among at least one change; doubt comes before good news."""
    found = {change.verdict for change in changes}
    return next(word for word in WORST_FIRST if word in found)


# --------------------------------------------------------------------------------------- what it kept, what it repeats
def retention(evidence: Numbers, language: Language) -> Finding:
    """Did general language get worse: loss on ordinary text, before and after."""
    changes = retention_changes(evidence)
    if not changes:
        measured = [m for m in evidence.measures if m.name.startswith("retention.") and m.subject == "result"]
        if any(usable(m) for m in measured):
            return Finding(sentence=language.say("retention.not compared"), tone="doubt")
        return Finding(sentence=missing(measured[0] if measured else None, language, "retention"), tone="doubt")
    said = [_retained(change, language) for change in changes]
    return Finding(sentence=" ".join(said), tone=tone_of(worst_verdict(changes)))


def retention_changes(evidence: Numbers) -> list[Change]:
    """Changes of the loss over the widest slices, and on any finer slice where it became worse."""
    changes = [c for c in evidence.changes if c.name == "retention.loss"]
    wide = widest(changes)
    return wide + [c for c in changes if c not in wide and c.verdict == "worse"]


def widest(changes: Sequence[Change]) -> list[Change]:
    """The changes whose slice refines no other's."""
    return [c for c in changes if not any(o.group.items() < c.group.items() for o in changes)]


def _retained(change: Change, language: Language) -> str:
    on = language.say("retention.on", where=where(change.group, language)) if change.group else ""
    if change.before is None or change.after is None:
        return language.say("retention.no_numbers", on=on)
    relative = (
        language.relative((change.after - change.before) / change.before) if change.before else language.say("unknown")
    )
    both = (change.before, change.after)
    numbers = {
        "before": language.value(change.before, change.unit, with_unit=False, beside=both),
        "after": language.value(change.after, change.unit, beside=both),
        "relative": relative,
    }
    return language.say(f"retention.{change.verdict}", on=on, **numbers)


def memorisation(evidence: Numbers, language: Language) -> Finding:
    """Does it repeat its training answers, and did a planted secret leave a trace."""
    verbatim = evidence.measure("memorisation.verbatim")
    after = usable(verbatim)
    canaries = usable(evidence.measure("memorisation.exposure")) or usable(evidence.measure("memorisation.canary_rank"))
    if after is None and canaries is None:
        return Finding(sentence=missing(verbatim, language, "memorisation"), tone="doubt")
    said = []
    if after is not None:
        before = usable(evidence.measure("memorisation.verbatim", "base"))
        key = "memorisation.verbatim.both" if before else "memorisation.verbatim.after"
        shown = share_of(before, language) if before else ""
        said.append(language.say(key, after=share_of(after, language), before=shown))
    rank = usable(evidence.measure("memorisation.canary_rank"))
    if rank is not None and rank.value is not None:
        said.append(language.say("memorisation.rank", rank=language.whole(rank.value), total=rank.n))
    exposure = usable(evidence.measure("memorisation.exposure"))
    if exposure is not None and exposure.value is not None:
        said.append(language.say("memorisation.exposure", bits=language.value(exposure.value, "bits")))
    return Finding(sentence=" ".join(said))


def parity(evidence: Evidence, language: Language) -> Finding:
    checks = evidence.parity.checks
    failed = sum(check.passed is False for check in checks)
    skipped = sum(check.passed is None for check in checks)
    if evidence.parity.passed is None:
        return Finding(sentence=language.say("parity.absent"), tone="doubt")
    if evidence.parity.passed:
        said = language.say("parity.same", len(checks) - failed - skipped)
        if failed:
            said = f"{said} {language.say('parity.noted', failed)}"
        if skipped:
            said = f"{said} {language.say('parity.skipped', skipped)}"
        return Finding(sentence=said, tone="good")
    return Finding(sentence=language.say("parity.different", failed, total=len(checks)), tone="bad")


# ----------------------------------------------------------------------------------------------------------- data
def data(evidence: Evidence, language: Language) -> str:
    record = evidence.data
    if record.train is None:
        return language.say("data.absent")
    said = [language.say("data.taught", record.train)]
    if record.topics:
        said = [language.say("data.taught_topics", record.train, topics=record.topics)]
    if record.held_out is not None:
        said.append(language.say("data.held_out", record.held_out))
    if record.unseen:
        said.append(language.say("data.unseen", record.unseen))
    if record.charter_pairs:
        said.append(language.say("data.charter", record.charter_pairs))
    if record.documents is not None:
        read = record.documents
        said.append(language.say("data.documents", read.count, train=language.whole(read.train)))
    return " ".join([*said, personal_data(evidence, language)])


def personal_data(evidence: Evidence, language: Language) -> str:
    found, policy = evidence.data.personal_data, evidence.data.personal_data_policy
    if found is None:
        return language.say("personal.absent")
    rule = language.say("personal.no_policy")
    if policy:
        why = policy.removeprefix("allow:").strip()
        named = language.say("policy.allow", why=why) if why != policy else language.name("policy", policy)
        rule = language.say("personal.policy", policy=named)
    kinds = {kind: count for kind, count in found.items() if count}
    if not kinds:
        return f"{language.say('personal.none')} {rule}"
    listed = language.join(f"{language.name('personal_kind', k)} ({language.whole(n)})" for k, n in kinds.items())
    return f"{language.say('personal.found', sum(kinds.values()), kinds=listed)} {rule}"


def examples(evidence: Evidence, language: Language, shown: int, part: Slice = "held_out") -> str:
    chosen = [e for e in evidence.examples if e.slice == part]
    if not chosen:
        return language.say(f"examples.absent.{part}")
    return language.say("examples.shown", min(shown, len(chosen)), shown=min(shown, len(chosen)))
