"""An explanation in sentences: what a person who decides may take from it, and what it does not say.

An explanation is a plain record, explanation.json. Every method in it may be missing. A sentence is said only where its
numbers are there; an explanation that does no better than chance says so before all else, and one that could not be
tested says so right after the question.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from limpide.document.inside import added, parts_moved, restored
from limpide.document.language import Language, language
from limpide.document.weighed import (
    CLEAR,
    LEAST,
    NAMED,
    Explanation,
    ahead_from,
    clip,
    is_mark,
    moved_words,
    named,
    quote,
    share,
    signed,
    strongest,
    unsettled,
    weightless,
    weights,
)

FRAME = 0.1  # of all weight: from there on the marks of the template are spoken of
SHORT = 8  # tokens of an answer whose probability is given as a whole
GAP = 0.05  # of the total: a completeness gap beyond it is told
SAME = 0.1  # nats by which two likelihoods, or two weights of a word, differ without a word
FEWEST = 5  # words below which no order of them can be shown to be better than chance
VERDICTS = ("better than chance", "no better than chance", "insufficient evidence")


def paragraph(explanation: Explanation, code: str) -> list[str]:
    """The explanation in the language `code`, in short sentences: what it found, then what it does not say."""
    found = [sentence for sentences in findings(explanation, code) for sentence in sentences]
    return [*found, *not_said(explanation, code)]


def findings(explanation: Explanation, code: str) -> list[list[str]]:
    """What was found, the sentences of one method together; the most important first."""
    spoken = language(code)
    verdict = (explanation.get("methods", {}).get("faithfulness") or {}).get("verdict")
    test = list(tested(explanation, spoken, options=True))
    question, words = list(asked(explanation, spoken)), list(rests_on(explanation, spoken))
    network = [list(tell(explanation, spoken)) for tell in (decided, restored, added)]
    first = next((sentences for sentences in network if sentences), None)
    if first and len(explanation["question"].get("answer_tokens", ())) > 1:
        first.insert(0, chosen(explanation["question"]["decision"], spoken))
    rest = [words, *network, list(taught(explanation, spoken))]
    if verdict == "no better than chance":
        ordered = [test, question, *rest]
    else:
        ordered = [question, test, *rest] if verdict == "insufficient evidence" else [question, *rest, test]
    return [sentences for sentences in ordered if sentences]


def changes(comparison: Explanation, code: str) -> list[str]:
    """What differs between two explanations of one question, in sentences."""
    spoken = language(code)
    before, after = comparison["before"], comparison["after"]
    said = [*_answers(before, after, spoken), *_words(before, after, spoken), *_layers(before, after, spoken)]
    said += parts_moved((comparison.get("changes") or {}).get("parts") or (), spoken)
    return [*verdicts(comparison, spoken), *(said or [spoken.say("explain.changes.none")])]


# ------------------------------------------------------------------------------------------------- the question


def asked(explanation: Explanation, spoken: Language) -> Iterator[str]:
    question = explanation["question"]
    against = question.get("against")
    kind = "gap" if explanation.get("model", {}).get("kind") == "encoder" else "answer"
    texts = {key: clip(question.get(key) or "") for key in ("prompt", "answer", "against")}
    how = "against" if against else "given" if question.get("answer_from") == "given" else "model"
    yield spoken.say(f"explain.asked.{kind}.{how}", **texts)
    odds = question.get("log_odds")
    if against and odds is not None:
        yield _odds(odds, texts, spoken)
        return
    tokens, nats = len(question.get("answer_tokens", ())), question.get("log_likelihood")
    if nats is not None and tokens:
        whole = tokens <= SHORT
        probability = spoken.percent(math.exp(min(0.0, nats if whole else nats / tokens)))
        yield spoken.say("explain.likely" if whole else "explain.likely.each", probability=probability)


def chosen(decision: Mapping[str, Any], spoken: Language) -> str:
    """Which token of the answer layers, places and parts are explained for, and against which."""
    key = f"explain.note.chosen.{decision['chosen']}"
    names = {name: quote(decision[name], spoken) for name in ("token", "rival")}
    return spoken.say(key if spoken.has(key) else "explain.note.chosen.given", **names)


def _odds(odds: float, texts: Mapping[str, str], spoken: Language) -> str:
    times = math.exp(min(abs(odds), math.log(1e6)))
    if times < 1.05:
        return spoken.say("explain.odds.same", **texts)
    key = "explain.odds.for" if odds > 0 else "explain.odds.against"
    return spoken.say(key, times=spoken.significant(times, 2), **texts)


# ------------------------------------------------------------------------------------------------------ the words


def rests_on(explanation: Explanation, spoken: Language) -> Iterator[str]:
    found = weights(explanation)
    if not found:
        return
    if unsettled(explanation):
        record = explanation["methods"]["attribution"]
        ends = {key: spoken.value(abs(record[key]), "nats", beside=(1.0,)) for key in ("total", "gap")}
        yield spoken.say("explain.rests.unsettled", **ends)
    if weightless(found):
        yield spoken.say("explain.note.weightless", least=spoken.number(LEAST, 4))
        return
    failed = (explanation["methods"].get("faithfulness") or {}).get("verdict") == "no better than chance"
    for sign, key in ((1, "claimed" if failed or unsettled(explanation) else "for"), (-1, "against")):
        top = strongest(found, sign)
        if top:
            each = [named(w, spoken, signed(w, spoken)) for w in top]
            yield spoken.say(f"explain.rests.{key}", len(top), words=spoken.join(each))
        elif sign > 0:
            yield spoken.say("explain.rests.none", len(found))
    frame = sum(w.share for w in found if w.part == "frame")
    marks = sum(w.share for w in found if w.part != "frame" and is_mark(w.text))
    for key, of in (("marks", marks), ("frame", frame)):
        if of >= FRAME:
            yield spoken.say(f"explain.rests.{key}", of=share(of, spoken))


# ----------------------------------------------------------------------------------------------------- the layers


def decided(explanation: Explanation, spoken: Language) -> Iterator[str]:
    """The layer from which the answer leads to the end, and how sure the model is then."""
    lens = explanation.get("methods", {}).get("lens")
    if not lens:
        return
    token, rival = quote(lens["token"], spoken), quote(lens["rival"], spoken)
    first, last = lens.get("first_lead"), len(lens["probability"]["token"]) - 1
    if first is None:
        last_top = (lens.get("top") or [()])[-1]
        if last_top and last_top[0]["text"] != lens["token"]:
            other = {"other": quote(last_top[0]["text"], spoken), "p": spoken.percent(last_top[0]["probability"])}
            yield spoken.say("explain.lens.never.other", token=token, **other)
        else:
            yield spoken.say("explain.lens.never", token=token)
        ahead = ahead_from(lens)
        if ahead:
            yield spoken.say("explain.lens.ahead", token=token, rival=rival, layer=ahead, layers=last)
    elif first == 0:
        yield spoken.say("explain.lens.always", token=token)
    else:
        yield spoken.say("explain.lens.lead", token=token, layer=first, layers=last)
        before = lens["top"][first - 1] if len(lens.get("top", ())) >= first else ()
        if before and before[0]["text"] != lens["token"]:
            yield spoken.say("explain.lens.before", text=quote(before[0]["text"], spoken))
    ends = {
        "p": spoken.percent(lens["probability"]["token"][-1]),
        "q": spoken.percent(lens["probability"]["rival"][-1]),
    }
    yield spoken.say("explain.lens.sure", token=token, rival=rival, **ends)


# ------------------------------------------------------------------------------------------- examples and the test


def taught(explanation: Explanation, spoken: Language) -> Iterator[str]:
    found = explanation.get("methods", {}).get("influence")
    if not found:
        return
    raises = [e for e in found.get("raises", ()) if e["influence"] > 0][:NAMED]
    if not raises:
        yield spoken.say("explain.taught.none", found.get("examples") or 0)
    else:
        each = [
            spoken.say("explain.taught.pair", prompt=clip(e["prompt"], 70), answer=clip(e["answer"], 50))
            for e in raises
        ]
        yield spoken.say("explain.taught", found.get("examples") or 0, examples=spoken.list(each))
    check = found.get("check")
    if check and check.get("without_random"):
        random = sum(check["without_random"]) / len(check["without_random"])
        found = {"top": check["without_top"] - check["before"], "random": random - check["before"]}
        change = {name: spoken.difference(value, "nats", beside=found.values()) for name, value in found.items()}
        key = "taught" if check["verdict"] == "taught" else "chance"
        yield spoken.say(f"explain.taught.check.{key}", check["removed"], **change)


def tested(explanation: Explanation, spoken: Language, *, options: bool) -> Iterator[str]:
    """Whether taking words away in the order of the explanation does more than taking them away at random.

    options: name those of the command line that would settle more.
    """
    found = explanation.get("methods", {}).get("faithfulness")
    if not found:
        return
    verdict = found.get("verdict")
    loss = found.get("comprehensiveness") or {}
    if verdict == "insufficient evidence":
        yield _too_little(found, spoken, options)
    elif verdict in VERDICTS:
        yield spoken.say(f"explain.tested.{verdict}")
    if verdict == "better than chance" and loss.get("value") is not None and loss.get("random") is not None:
        ends = {key: spoken.value(loss[key], "nats", beside=(loss["value"],)) for key in ("value", "random")}
        said = spoken.say("explain.tested.loss", **ends)
        if loss.get("low") is not None and loss.get("high") is not None:
            between = {key: spoken.difference(loss[key], "nats", with_unit=False) for key in ("low", "high")}
            said = f"{said[:-1]} ({spoken.say('explain.tested.range', **between)})."
        yield said
    if (found.get("sanity") or {}).get("verdict") == "does not depend on the weights":
        yield spoken.say("explain.sanity.bad")


def _too_little(found: Mapping[str, Any], spoken: Language, options: bool) -> str:
    """Why the test settles nothing, and what would: a longer prompt, and more random orders where there are so many."""
    said, n, p = spoken.say("explain.tested.insufficient evidence"), found.get("n"), found.get("p_value")
    if n is None:
        return said
    key = "few" if n < FEWEST else "close"
    chance = "–" if p is None else spoken.significant(p, 2)
    said = f"{said} {spoken.say(f'explain.tested.{key}', n, p=chance, orders=found.get('random_orders') or 0)}"
    return f"{said} {spoken.say('explain.tested.orders')}" if options and key == "close" and n > 1 else said


def not_said(explanation: Explanation, code: str, *, options: bool = True) -> list[str]:
    """What the explanation does not say. options: name those of the command line that would say it."""
    spoken, methods = language(code), explanation.get("methods", {})
    said = [spoken.say("explain.limit.why"), spoken.say("explain.limit.one")]
    attribution = methods.get("attribution") or {}
    total, gap = attribution.get("total"), attribution.get("gap")
    if total is not None and gap is not None and GAP * abs(total) < abs(gap) and not unsettled(explanation):
        ends = {key: spoken.value(abs(value), "nats", beside=(1.0,)) for key, value in (("gap", gap), ("total", total))}
        said.append(spoken.say("explain.limit.gap", **ends))
    if methods and "faithfulness" not in methods:
        said.append(spoken.say("explain.limit.untested"))
        said += [spoken.say("explain.limit.untested.option")] if options else []
    if (methods.get("lens") or {}).get("lens") == "logit":
        said.append(spoken.say("explain.limit.lens"))
    patching = methods.get("patching")
    if patching:
        said.append(spoken.say("explain.limit.patching" if patching.get("exact", True) else "explain.limit.screen"))
    if (methods.get("influence") or {"check": True}).get("check") is None:
        said.append(spoken.say("explain.limit.influence"))
    return said


# -------------------------------------------------------------------------------------------------- two explanations


def verdicts(comparison: Explanation, spoken: Language) -> list[str]:
    """What the tests of both explanations say; nothing where neither was tested."""
    sides = ("before", "after")
    found = [(comparison[side].get("methods", {}).get("faithfulness") or {}).get("verdict") for side in sides]
    if found[0] == found[1] and found[0] in VERDICTS:
        return [spoken.say(f"explain.changes.verdict.both.{found[0]}")]
    pairs = [(side, verdict) for side, verdict in zip(sides, found, strict=True) if verdict in VERDICTS]
    return [spoken.say(f"explain.changes.verdict.{side}.{verdict}") for side, verdict in pairs]


def _answers(before: Explanation, after: Explanation, spoken: Language) -> Iterator[str]:
    first, second = before["question"], after["question"]
    if first["answer"] != second["answer"]:
        answers = {"before": clip(first["answer"]), "after": clip(second["answer"])}
        yield spoken.say("explain.changes.answer", **answers)
        return
    for key in ("log_odds", "log_likelihood"):
        ends = first.get(key), second.get(key)
        if ends[0] is not None and ends[1] is not None:
            change = spoken.difference(ends[1] - ends[0], "nats")
            texts = {name: clip(second.get(name) or "") for name in ("answer", "against")}
            size = "same" if abs(ends[1] - ends[0]) < SAME else "more" if ends[1] > ends[0] else "less"
            yield spoken.say(f"explain.changes.{key}.{size}", change=change.lstrip("+\u2212"), **texts)
            return


def _words(before: Explanation, after: Explanation, spoken: Language) -> Iterator[str]:
    """The words that weigh more or less than before, in nats: shares of two different totals cannot be compared."""
    moved = moved_words(before, after)
    largest = max((sum(map(abs, side)) for side in zip(*((old, w.value) for w, old in moved), strict=True)), default=0)
    for word, old in moved[:NAMED]:
        if abs(word.value - old) >= max(SAME, CLEAR * largest):
            values = {"before": old, "after": word.value}
            ends = {side: spoken.difference(value, "nats", beside=(1.0,)) for side, value in values.items()}
            yield spoken.say(f"explain.changes.word.{_way(old, word.value)}", word=named(word, spoken), **ends)


def _way(old: float, new: float) -> str:
    """How the weight of a word moved. One within `SAME` of zero has no sign of its own."""
    if min(abs(old), abs(new)) >= SAME and old * new < 0:
        return "now_for" if new > 0 else "now_against"
    side = "for" if max(old, new, key=abs) > 0 else "against"
    return f"{'no' if abs(new) < SAME else 'more' if abs(new) > abs(old) else 'less'}.{side}"


def _layers(before: Explanation, after: Explanation, spoken: Language) -> Iterator[str]:
    found = [side.get("methods", {}).get("lens") for side in (before, after)]
    if not found[0] or not found[1]:
        return
    firsts, layers = [lens.get("first_lead") for lens in found], len(found[1]["probability"]["token"]) - 1
    token = quote(found[1]["token"], spoken)
    if found[0]["token"] != found[1]["token"] or (firsts[0] is None and firsts[1] is None):
        return
    if firsts[0] is None or firsts[1] is None:
        key = "explain.changes.layer.gained" if firsts[0] is None else "explain.changes.layer.lost"
        layer = firsts[1] if firsts[0] is None else firsts[0]
        yield spoken.say(key, token=token, layer=layer, layers=layers)
    elif firsts[0] != firsts[1]:
        yield spoken.say("explain.changes.layer", token=token, before=firsts[0], after=firsts[1], layers=layers)
    else:
        yield spoken.say("explain.changes.layer.same", token=token, layer=firsts[1], layers=layers)
