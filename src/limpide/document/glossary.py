"""The words of the field that a page about explanations uses, each with what it means."""

from collections.abc import Iterable

from limpide.document.language import Language
from limpide.document.weighed import Explanation

# A word, and the methods whose sentences and tables use it.
TERMS = {
    "token": ("attribution", "lens", "patching", "parts", "influence", "faithfulness"),
    "nats": ("attribution", "influence", "faithfulness"),
    "layer": ("lens", "patching", "parts"),
    "logits": ("patching", "parts"),
    "head": ("patching", "parts"),
    "mlp": ("patching", "parts"),
    "entropy": ("lens",),
    "p_value": ("faithfulness",),
    "rank_correlation": ("faithfulness",),
}


def glossary(explanations: Iterable[Explanation], spoken: Language) -> list[tuple[str, str]]:
    """(word, what it means) of the words that the methods in these explanations need."""
    pairs = [[e["before"], e["after"]] if e.get("kind") == "comparison" else [e] for e in explanations]
    used = {name for sides in pairs for side in sides for name in side.get("methods", {})}
    return [
        (spoken.say(f"explain.term.{term}"), spoken.say(f"explain.term.{term}.means"))
        for term, methods in TERMS.items()
        if used & set(methods)
    ]
