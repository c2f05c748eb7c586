"""What was found inside the network, in sentences: which places restore the answer, and which parts write it.

Layers, heads and experts are counted from 0 in the record, and from 1 in whatever is written for people.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limpide.document.language import Language
from limpide.document.weighed import CLEAR, NAMED, Explanation, Place, best_parts, best_place, quote

ALONE = 0.5  # of the answer restored: from there on one head or expert is said to do it
FAINT = 0.5  # logits between the two runs, below which shares of their difference say little
MOVED = 0.1  # logits by which a part changes between two models without a word


def restored(explanation: Explanation, spoken: Language) -> Iterator[str]:
    found = explanation.get("methods", {}).get("patching")
    if not found:
        return
    yield _twin(found, explanation["question"], spoken)
    if abs(found["clean"] - found["corrupted"]) < FAINT:
        yield spoken.say("explain.patching.faint")
        return
    places = [place for site in ("attention", "mlp") if (place := best_place(found, site)) and place.effect >= CLEAR]
    places.sort(key=lambda place: -place.effect)
    if places:
        yield spoken.say("explain.patching.restores", places=spoken.list(_place(place, spoken) for place in places))
    alone = [said for kind in ("heads", "experts") for said in _alone(best_parts(found, kind), kind, spoken)]
    yield from alone
    if places or alone:
        yield spoken.say("explain.patching.shares")


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
    key = "explain.twin.random" if twin.get("how") == "replaced word" else "explain.twin.swap"
    return spoken.say(key, swaps=spoken.join(pairs), **ends, **names)


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


def parts_moved(rows: Sequence[Mapping[str, Any]], spoken: Language) -> Iterator[str]:
    """The parts whose push changed most between two models. rows: {"kind", "layer", "index", "before", "after"}."""
    top = [row for row in rows if abs(row["after"] - row["before"]) >= MOVED][:NAMED]
    each = [
        spoken.say(
            "explain.changes.part",
            part=part_name(row, spoken),
            **{side: spoken.number(row[side], 2, sign=True) for side in ("before", "after")},
        )
        for row in top
    ]
    if each:
        yield spoken.say("explain.changes.parts", parts=spoken.list(each))
