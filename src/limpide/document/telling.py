"""An explanation in sentences: what a person who decides may take from it, and what it does not say.

An explanation is a plain record, explanation.json. Every method in it may be missing; layers, heads and experts are
counted from 0 there, and from 1 in whatever is written for people. A sentence is said only where its numbers are
there, and an explanation that does no better than chance says so before all else.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limpide.document.language import Language, language
from limpide.document.weighed import (
    CLEAR,
    NAMED,
    Explanation,
    Place,
    ahead_from,
    best_parts,
    best_place,
    clip,
    quote,
    share,
    strongest,
    unsettled,
    weights,
)

FRAME = 0.1  # of all weight: from there on the marks of the template are spoken of
ALONE = 0.5  # of the answer restored: from there on one head or expert is said to do it
FAINT = 0.5  # logits between the two runs, below which shares of their difference say little
SHORT = 8  # tokens of an answer whose probability is given as a whole
GAP = 0.05  # of the total: a completeness gap beyond it is told
SAME = 0.1  # nats by which two likelihoods differ without a word
VERDICTS = ("better than chance", "no better than chance", "insufficient evidence")


def paragraph(explanation: Explanation, code: str) -> list[str]:
    """The explanation in the language `code`, in short sentences: what it found, then what it does not say."""
    found = [sentence for sentences in findings(explanation, code) for sentence in sentences]
    return [*found, *not_said(explanation, code)]


def findings(explanation: Explanation, code: str) -> list[list[str]]:
    """What was found, the sentences of one method together; the most important first."""
    spoken = language(code)
    verdict = (explanation.get("methods", {}).get("faithfulness") or {}).get("verdict")
    test = list(tested(explanation, spoken))
    told = [asked, rests_on, decided, restored, added, taught]
    said = [list(tell(explanation, spoken)) for tell in told]
    ordered = [test, *said] if verdict == "no better than chance" else [*said, test]
    return [sentences for sentences in ordered if sentences]


def changes(comparison: Explanation, code: str) -> list[str]:
    """What differs between two explanations of one question, in sentences."""
    spoken = language(code)
    before, after = comparison["before"], comparison["after"]
    said = [*_chance(before, after, spoken), *_answers(before, after, spoken), *_words(before, after, spoken)]
    said += [*_layers(before, after, spoken)]
    return said or [spoken.say("explain.changes.none")]


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
    failed = (explanation["methods"].get("faithfulness") or {}).get("verdict") == "no better than chance"
    for sign, key in ((1, "claimed" if failed or unsettled(explanation) else "for"), (-1, "against")):
        named = strongest(found, sign)
        if named:
            each = [spoken.say("explain.with", what=quote(w.text, spoken), of=share(w.share, spoken)) for w in named]
            yield spoken.say(f"explain.rests.{key}", len(named), words=spoken.join(each))
        elif sign > 0:
            yield spoken.say("explain.rests.none", len(found))
    frame = sum(w.share for w in found if w.part == "frame")
    if frame >= FRAME:
        yield spoken.say("explain.rests.frame", of=share(frame, spoken))


# ----------------------------------------------------------------------------------------------------- the layers


def decided(explanation: Explanation, spoken: Language) -> Iterator[str]:
    """The layer from which the answer leads to the end, and how sure the model is then."""
    lens = explanation.get("methods", {}).get("lens")
    if not lens:
        return
    token, rival = quote(lens["token"], spoken), quote(lens["rival"], spoken)
    first, last = lens.get("first_lead"), len(lens["probability"]["token"]) - 1
    if first is None:
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


# ---------------------------------------------------------------------------------------------- inside the network


def restored(explanation: Explanation, spoken: Language) -> Iterator[str]:
    found = explanation.get("methods", {}).get("patching")
    if not found:
        return
    yield _twin(found, explanation["question"], spoken)
    if abs(found["clean"] - found["corrupted"]) < FAINT:
        yield spoken.say("explain.patching.faint")
        return
    places = [place for site in ("attention", "mlp") if (place := best_place(found, site)) and place.effect >= CLEAR]
    if places:
        yield spoken.say("explain.patching.restores", places=spoken.list(_place(place, spoken) for place in places))
    for kind in ("heads", "experts"):
        yield from _alone(best_parts(found, kind), kind, spoken)


def _twin(found: Mapping[str, Any], question: Mapping[str, Any], spoken: Language) -> str:
    twin, decision = found["twin"], question["decision"]
    ends = {key: spoken.number(found[key], 1, sign=True) for key in ("clean", "corrupted")}
    names = {key: quote(decision[key], spoken) for key in ("token", "rival")}
    swaps = twin.get("swaps") or ()
    if not swaps:
        return spoken.say("explain.twin.noise" if twin.get("how") == "noise" else "explain.twin.other", **ends, **names)
    pairs = [
        spoken.say("explain.swap", old=quote(s["from"], spoken), new=quote(s["to"], spoken)) for s in swaps[:NAMED]
    ]
    return spoken.say("explain.twin.swap", swaps=spoken.join(pairs), **ends, **names)


def _place(place: Place, spoken: Language) -> str:
    key = "explain.place.stack" if place.stack else "explain.place"
    values = {"site": spoken.name("explain.site", place.site), "stack": spoken.name("explain.stack", place.stack)}
    of, text = spoken.percent(place.effect, 0), quote(place.text, spoken)
    return spoken.say(key, layer=place.layer + 1, text=text, of=of, **values)


def _alone(found: Sequence[tuple[int, int, float]], kind: str, spoken: Language) -> Iterator[str]:
    """Whether one head or expert does it, or several together."""
    top = [cell for cell in found[:NAMED] if cell[2] >= CLEAR]
    if not found:
        return
    if not top:
        yield spoken.say(f"explain.{kind}.none")
        return
    each = [
        spoken.say(f"explain.{kind}.one", layer=layer + 1, index=index + 1, of=spoken.percent(effect, 0))
        for layer, index, effect in top
    ]
    if top[0][2] >= ALONE:
        yield spoken.say(f"explain.{kind}.alone", what=each[0])
    else:
        yield spoken.say(f"explain.{kind}.several", what=spoken.list(each))


def added(explanation: Explanation, spoken: Language) -> Iterator[str]:
    """The parts that push most for the answer, and against it."""
    found = explanation.get("methods", {}).get("parts")
    if not found:
        return
    decision = explanation["question"]["decision"]
    for sign, key in ((1, "for"), (-1, "against")):
        top = [p for p in found.get("parts", ()) if sign * p["value"] > 0 and p["kind"] != "others"][:NAMED]
        each = [f"{part_name(p, spoken)} ({spoken.number(p['value'], 2, sign=True)})" for p in top]
        if each:
            token, rival = (quote(decision[name], spoken) for name in ("token", "rival"))
            total = spoken.number(found["difference"], 2, sign=True)
            yield spoken.say(f"explain.parts.{key}", parts=spoken.list(each), total=total, token=token, rival=rival)
    routing = found.get("routing")
    if routing:
        last = routing[-1]
        experts = spoken.join(spoken.say("explain.expert", index=e + 1) for e in last["experts"])
        yield spoken.say("explain.routing", layer=last["layer"] + 1, experts=experts)


def part_name(part: Mapping[str, Any], spoken: Language) -> str:
    """'head 5 of layer 14', whatever the record calls it."""
    kind, layer, index = part.get("kind", ""), part.get("layer"), part.get("index")
    if kind == "others":
        return spoken.say("explain.part.others", parts=part.get("parts", 0))
    if not spoken.has(f"explain.part.{kind}") or (layer is None and kind not in ("embedding", "bias")):
        return str(part.get("name", kind))
    numbers = {"layer": "" if layer is None else layer + 1, "index": "" if index is None else index + 1}
    return spoken.say(f"explain.part.{kind}", **numbers)


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


def tested(explanation: Explanation, spoken: Language) -> Iterator[str]:
    """Whether taking words away in the order of the explanation does more than taking them away at random."""
    found = explanation.get("methods", {}).get("faithfulness")
    if not found:
        return
    verdict = found.get("verdict")
    loss = found.get("comprehensiveness") or {}
    if verdict in VERDICTS:
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


def not_said(explanation: Explanation, code: str) -> list[str]:
    """What the explanation does not say."""
    spoken, methods = language(code), explanation.get("methods", {})
    said = [spoken.say("explain.limit.why"), spoken.say("explain.limit.one")]
    attribution = methods.get("attribution") or {}
    total, gap = attribution.get("total"), attribution.get("gap")
    if total is not None and gap is not None and GAP * abs(total) < abs(gap) and not unsettled(explanation):
        ends = {key: spoken.value(abs(value), "nats", beside=(1.0,)) for key, value in (("gap", gap), ("total", total))}
        said.append(spoken.say("explain.limit.gap", **ends))
    if methods and "faithfulness" not in methods:
        said.append(spoken.say("explain.limit.untested"))
    if (methods.get("lens") or {}).get("lens") == "logit":
        said.append(spoken.say("explain.limit.lens"))
    patching = methods.get("patching")
    if patching:
        said.append(spoken.say("explain.limit.patching" if patching.get("exact", True) else "explain.limit.screen"))
    if (methods.get("influence") or {"check": True}).get("check") is None:
        said.append(spoken.say("explain.limit.influence"))
    return said


# -------------------------------------------------------------------------------------------------- two explanations


def _chance(before: Explanation, after: Explanation, spoken: Language) -> Iterator[str]:
    for side, key in ((before, "before"), (after, "after")):
        if side.get("methods", {}).get("faithfulness", {}).get("verdict") == "no better than chance":
            yield spoken.say(f"explain.changes.chance.{key}")


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
    """Which words the answer rests on more or less than before, by their share of all weight, signs kept."""
    sides = [{}, {}]  # type: list[dict[tuple[int, str], float]]
    for found, side in ((before, sides[0]), (after, sides[1])):
        named = [w for w in weights(found) if w.part != "frame"]
        side.update({(k, w.text): math.copysign(w.share, w.value) for k, w in enumerate(named)})
    shared = [key for key in sides[1] if key in sides[0]]
    moved = sorted(shared, key=lambda key: -abs(sides[1][key] - sides[0][key]))[:NAMED]
    for key in moved:
        old, new = sides[0][key], sides[1][key]
        if abs(new - old) >= CLEAR:
            ends = {"before": share(old, spoken), "after": share(new, spoken)}
            which = "more" if new > old else "less"
            yield spoken.say(f"explain.changes.word.{which}", word=quote(key[1], spoken), **ends)


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
