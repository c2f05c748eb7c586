"""What the numbers of a page do not say, whatever the suite: one line a fact that holds for this evidence."""

from collections.abc import Sequence

from limpide.document.evidence import AuditEvidence, Evidence, Numbers
from limpide.document.findings import usable
from limpide.document.language import Language
from limpide.document.leanings import bias_groups

FEW = 100  # below so many items the text itself warns that the number is uncertain
SUITES = ("domain", "bias", "truth", "memorisation", "robustness", "refusal", "charter", "retention")


def limits(evidence: Evidence, language: Language) -> list[str]:
    """Of a release."""
    said = [language.say("limits.always")]
    job = usable(evidence.measure("domain.accuracy", slice="held_out"))
    if job is not None and job.n < FEW:
        said.append(language.say("limits.few", job.n))
    if any(usable(m) and m.low is not None for m in evidence.measures):
        said.append(language.say("limits.interval"))
    if evidence.training.epochs_done is not None:
        said.append(language.say("limits.one_run"))
    groups = bias_groups(evidence)
    if any(groups):
        said.append(bias_limits(groups, language))
    if any(m.name.startswith("memorisation.") and usable(m) for m in evidence.measures):
        said.append(language.say("limits.memorisation"))
    served = any(usable(m) for m in evidence.measures if m.subject not in ("base", "result"))
    if any(check.target.startswith("gguf") for check in evidence.parity.checks) and not served:
        said.append(language.say("limits.served"))
    return said + not_measured(evidence, language)


def audit_limits(evidence: AuditEvidence, language: Language) -> list[str]:
    """Of an audit."""
    said = [language.say("limits.always")]
    if any(usable(m) and m.low is not None for m in evidence.measures):
        said.append(language.say("limits.interval"))
    if evidence.changes:
        said.append(language.say("limits.many_slices", count=len(evidence.changes)))
    groups = bias_groups(evidence)
    if any(groups):
        said.append(bias_limits(groups, language))
    if evidence.audited.closed:
        said.append(language.say("limits.closed"))
    return said + not_measured(evidence, language)


def not_measured(evidence: Numbers, language: Language) -> list[str]:
    """The known suites that left no number."""
    measured = {m.name.split(".")[0] for m in evidence.measures if usable(m)}
    absent = [language.say(f"suite.{suite}") for suite in SUITES if suite not in measured]
    return [language.say("limits.absent", suites=language.list(absent))] if absent else []


def bias_limits(groups: Sequence[dict[str, str]], language: Language) -> str:
    """Which groups of people, and which languages, bias was looked at for."""
    tested = {
        key: language.join(dict.fromkeys(language.name(key, g[key]) for g in groups if key in g))
        for key in ("axis", "language")
    }
    return language.say("limits.bias", axes=tested["axis"], languages=tested["language"])
