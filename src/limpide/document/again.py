"""The command line that computes an explanation again."""

import shlex
from typing import Any

from limpide.document.weighed import Explanation


def command(explanation: Explanation) -> str:
    """The command line that explains it again, or compares it again. Every word is quoted for a shell."""
    if explanation.get("kind") == "comparison":
        settings = explanation.get("settings") or explanation["after"].get("settings")
        words = _words({**explanation["after"], "settings": settings})
        return shlex.join([*words, "--compare", str(explanation["before"]["model"]["title"])])
    return shlex.join(_words(explanation))


def _words(explanation: Explanation) -> list[str]:
    question = explanation["question"]
    words = ["limpide", "explain", str(explanation["model"]["title"])]
    words += _given("prompt", question["prompt"]) if question["prompt"].startswith("-") else [question["prompt"]]
    words += _given("answer", question["answer"])
    words += _given("against", question["against"]) if question.get("against") else []
    words += ["--raw"] if question.get("raw") is True else []
    words += ["--at", str(question["decision"]["at"])] if question["decision"].get("chosen") == "given" else []
    for name in explanation.get("methods", {}):
        words += ["--method", str(name)]
    for option, value in (explanation.get("settings") or {}).items():
        words += _option(str(option).replace("_", "-"), value)
    return [*words, *(["--seed", str(explanation["seed"])] if explanation.get("seed") else [])]


def _given(name: str, value: str) -> list[str]:
    """What begins with a dash would be read as an option."""
    return [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]


def _option(name: str, value: Any) -> list[str]:
    """'--lens.top 3'; a switch is '--lens.tuned' or '--lens.no-tuned'; an option without a value is left out."""
    if isinstance(value, bool):
        group, _, switch = name.rpartition(".")
        return [f"--{name}" if value else f"--{group}.no-{switch}" if group else f"--no-{switch}"]
    return [] if value is None else [f"--{name}", str(value)]
