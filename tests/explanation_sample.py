"""Explanations of an invented model, for the tests of their pages: every method, two stacks, experts, a long prompt."""

import math
from typing import Any

WORDS = ["<s>user\n", "The", "nurse", "said", "that", "she", "was", "tired", ".", "Who", "was", "tired", "?", "</s>\n"]
PARTS = ["frame", *["user"] * 12, "frame"]
WEIGHTS = [0.12, 0.02, 1.31, 0.05, -0.01, 0.92, 0.03, -0.41, 0.02, 0.11, 0.04, -0.22, 0.05, 0.24]
LAYERS, HEADS = 6, 4


def wave(*at: int) -> float:
    """A number between -1 and 1 that depends on nothing but where it stands."""
    return round(math.sin(1 + sum((k + 1) * 1.7 * a for k, a in enumerate(at))), 4)


def question(words: list[str], parts: list[str], **changed: Any) -> dict[str, Any]:
    tokens = [
        {"id": 100 + k, "text": w if p == "frame" else f" {w}", "part": p}
        for k, (w, p) in enumerate(zip(words, parts, strict=True))
    ]
    return {
        "prompt": "The nurse said that she was tired. Who was tired?",
        "answer": "the nurse",
        "against": None,
        "answer_from": "model",
        "tokens": tokens,
        "words": [
            {"text": w.strip(), "tokens": [k], "part": p} for k, (w, p) in enumerate(zip(words, parts, strict=True))
        ],
        "answer_tokens": [
            {"id": 7, "text": " the", "part": "assistant", "nats": -0.71},
            {"id": 8, "text": " nurse", "part": "assistant", "nats": -0.33},
        ],
        "log_likelihood": -1.04,
        "log_odds": None,
        "decision": {
            "at": 1,
            "chosen": "owes the prompt most",
            "token": " nurse",
            "rival": " doctor",
            "rival_from": "model",
        },
    } | changed


def attribution() -> dict[str, Any]:
    return {
        "method": "integrated-gradients",
        "of": "answer",
        "unit": "nats",
        "tokens": WEIGHTS,
        "words": WEIGHTS,
        "answer_tokens": [[w / 3 for w in WEIGHTS], [2 * w / 3 for w in WEIGHTS]],
        "total": 2.31,
        "gap": 0.04,
        "steps": 64,
        "converged": True,
        "baseline": "zero embeddings",
    }


def lens(layers: int = LAYERS) -> dict[str, Any]:
    token = [round(0.02 + 0.7 / (1 + math.exp(4 - 1.4 * k * 6 / layers)), 4) for k in range(layers + 1)]
    rival = [round(0.25 * (1 - k / (layers + 2)), 4) for k in range(layers + 1)]
    top = [
        [{"text": " nurse" if a > b else " doctor", "probability": max(a, b)}, {"text": "\n", "probability": 0.01}]
        for a, b in zip(token, rival, strict=True)
    ]
    return {
        "lens": "logit",
        "stack": "text",
        "token": " nurse",
        "rival": " doctor",
        "probability": {"token": token, "rival": rival},
        "rank": [1 if a > b else 2 for a, b in zip(token, rival, strict=True)],
        "entropy": [round(8 - 6.5 * k / layers, 3) for k in range(layers + 1)],
        "top": top,
        "first_lead": next(k for k, (a, b) in enumerate(zip(token, rival, strict=True)) if a > b),
        "grid": {
            "tokens": WORDS,
            "top": [[WORDS[(k + at) % 14] for at in range(14)] for k in range(layers + 1)],
            "probability": [[abs(wave(k, at)) for at in range(14)] for k in range(layers + 1)],
        },
        "trained_on": None,
    }


def grid(rows: int, columns: int, best: tuple[int, int], most: float) -> list[list[float]]:
    return [[most if (k, at) == best else round(0.04 * wave(k, at), 4) for at in range(columns)] for k in range(rows)]


def stack(name: str, tokens: list[str], *, experts: bool = False) -> dict[str, Any]:
    n = len(tokens)
    residual = [
        [
            max(0.0, round(1 - k / LAYERS, 3)) if at == 2 else round(k / LAYERS, 3) if at == n - 1 else 0.01
            for at in range(n)
        ]
        for k in range(LAYERS)
    ]
    return {
        "name": name,
        "layers": LAYERS,
        "tokens": tokens,
        "sites": {
            "residual": residual,
            "attention": grid(LAYERS, n, (3, n - 1), 0.62),
            "mlp": grid(LAYERS, n, (0, 2), 0.31),
        },
        "heads": grid(LAYERS, HEADS, (3, 1), 0.28),
        "experts": grid(LAYERS, 8, (4, 6), 0.55) if experts else None,
    }


def patching(*stacks: dict[str, Any]) -> dict[str, Any]:
    return {
        "twin": {
            "prompt": "The doctor said that she was tired. Who was tired?",
            "swaps": [{"from": "nurse", "to": "doctor"}],
            "how": "counterfactual word",
        },
        "clean": 2.31,
        "corrupted": -1.62,
        "exact": True,
        "stacks": list(stacks) or [stack("text", WORDS)],
        "checks": {"everything": 0.0, "nothing": 2.4e-7},
        "screen": {"rank_agreement": 0.83, "n": 84},
    }


def parts(*, experts: bool = False) -> dict[str, Any]:
    found = [
        {"name": "layer 3 head 1", "kind": "head", "layer": 3, "index": 1, "value": 1.12},
        {"name": "layer 5 MLP", "kind": "mlp", "layer": 5, "index": None, "value": 0.71},
        {"name": "embedding", "kind": "embedding", "layer": None, "index": None, "value": -0.32},
        {"name": "layer 2 head 0", "kind": "head", "layer": 2, "index": 0, "value": -0.21},
        {"name": "all others", "kind": "others", "layer": None, "index": None, "value": 1.01, "parts": 25},
    ]
    return {
        "difference": 2.31,
        "after_cap": None,
        "sum": 2.31,
        "residual": 1.9e-6,
        "parts": found,
        "heads": grid(LAYERS, HEADS, (3, 1), 1.12),
        "cross": None,
        "mlps": [0.1] * LAYERS,
        "experts": grid(LAYERS, 8, (4, 6), 0.5) if experts else None,
        "routing": [{"layer": 4, "experts": [6, 2], "weights": [0.7, 0.3]}] if experts else None,
    }


def influence() -> dict[str, Any]:
    return {
        "raises": [
            {
                "id": "train-17",
                "prompt": "Who cares for patients at night?",
                "answer": "The nurse.",
                "influence": 0.412,
            },
            {"id": "train-3", "prompt": "Who was on duty?", "answer": "The nurse was.", "influence": 0.214},
        ],
        "lowers": [{"id": "train-9", "prompt": "Who prescribes?", "answer": "The doctor.", "influence": -0.301}],
        "checkpoints": 4,
        "examples": 120,
        "normalised": True,
        "check": {
            "removed": 5,
            "before": -1.04,
            "without_top": -2.31,
            "without_random": [-1.1, -0.98, -1.07],
            "unit": "nats",
            "verdict": "taught",
        },
    }


def faithfulness(verdict: str = "better than chance") -> dict[str, Any]:
    share = [round(k / 8, 4) for k in range(9)]
    falling = [round(-1.04 - 4 * (1 - math.exp(-4 * x)), 3) for x in share]
    random = [round(-1.04 - 4 * x, 3) for x in share]
    curve = {
        "share": share,
        "random": random,
        "random_low": [v - 0.6 for v in random],
        "random_high": [v + 0.6 for v in random],
        "area": -3.9,
        "random_area": -3.0,
        "difference": 0.9,
        "low": 0.3,
        "high": 1.4,
    }
    compared = {"value": 2.91, "random": 1.12, "difference": 1.79, "low": 0.41, "high": 2.62}
    return {
        "of": "integrated-gradients",
        "verdict": verdict,
        "n": 12,
        "p_value": 0.048,
        "random_orders": 20,
        "unit": "nats",
        "comprehensiveness": compared,
        "sufficiency": compared | {"value": 0.71},
        "deletion": curve | {"curve": falling},
        "insertion": curve | {"curve": falling[::-1], "random": random[::-1], "random_low": [], "random_high": []},
        "agreement": {
            "methods": ["integrated-gradients", "occlusion"],
            "rank_correlation": [[1.0, 0.81], [0.81, None]],
            "same_first_word": [[True, True], [True, True]],
        },
        "sanity": {"rank_correlation": 0.07, "low": -0.4, "high": 0.5, "verdict": "changes with the weights"},
    }


def explanation(**changed: Any) -> dict[str, Any]:
    """Every method, one stack, no experts."""
    return {
        "version": 1,
        "model": {
            "title": "invented-6-layers",
            "digest": "ab" * 32,
            "family": "Llama",
            "kind": "decoder",
            "precision": "float32",
            "layers": LAYERS,
        },
        "question": question(WORDS, PARTS),
        "methods": {
            "attribution": attribution(),
            "lens": lens(),
            "patching": patching(),
            "parts": parts(),
            "influence": influence(),
            "faithfulness": faithfulness(),
        },
        "not_run": {},
        "warnings": [],
        "seed": 0,
        "versions": {"limpide": "0.1.0", "torch": "2.13.0"},
    } | changed


def bare() -> dict[str, Any]:
    """No method ran, and two say why."""
    return explanation(
        methods={},
        not_run={"patching": "There is nothing to swap in this prompt.", "influence": "This model was not adapted."},
    )


def two_stacks() -> dict[str, Any]:
    """An encoder–decoder, whose stacks are patched one by one."""
    found = explanation()
    found["methods"]["patching"] = patching(stack("encoder", WORDS), stack("decoder", ["<pad>", " the"]))
    return found


def mixture() -> dict[str, Any]:
    found = explanation()
    found["methods"] |= {"patching": patching(stack("text", WORDS, experts=True)), "parts": parts(experts=True)}
    return found


def chance() -> dict[str, Any]:
    """An explanation that does no better than chance."""
    found = explanation()
    found["methods"]["faithfulness"] = faithfulness("no better than chance")
    return found


def comparison() -> dict[str, Any]:
    before, after = explanation(), explanation()
    after["methods"]["attribution"]["words"] = [w if k != 2 else 0.3 for k, w in enumerate(WEIGHTS)]
    after["methods"]["lens"] |= {"first_lead": 5}
    after["question"] |= {"log_likelihood": -0.52}
    words = [{"text": "nurse", "before": 0.37, "after": 0.12}]
    return {"version": 1, "kind": "comparison", "before": before, "after": after, "changes": {"words": words}}


def long(tokens: int = 1000) -> dict[str, Any]:
    """A prompt of a thousand tokens and a model of 48 layers."""
    words = ["<s>", *[f"word{k}" for k in range(tokens - 2)], "</s>"]
    found = explanation(question=question(words, ["frame", *["user"] * (tokens - 2), "frame"]))
    values = [wave(k) for k in range(tokens)]
    rows = [[wave(k, at) for at in range(tokens)] for k in range(48)]
    one = {
        "name": "text",
        "layers": 48,
        "tokens": words,
        "sites": dict.fromkeys(("residual", "attention", "mlp"), rows),
        "heads": [[wave(k, h) for h in range(64)] for k in range(48)],
        "experts": [[wave(k, e) for e in range(256)] for k in range(48)],
    }
    read = lens(48)
    read["grid"] = {"tokens": words, "top": [words] * 49, "probability": [[0.5] * tokens] * 49}
    found["methods"] |= {
        "attribution": attribution() | {"tokens": values, "words": values, "answer_tokens": [values, values]},
        "lens": read,
        "patching": patching(one),
    }
    return found


def hostile() -> dict[str, Any]:
    """Every text is an attack."""
    bad = "</style><script>alert(1)</script><img src=x onerror=y>\"'{{ 7*7 }}{nats}"

    def spoil(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: spoil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoil(v, key) for v in value]
        return bad if isinstance(value, str) and key != "kind" else value

    return {key: spoil(value) for key, value in mixture().items()} | {"warnings": [bad], "not_run": {bad: bad}}
