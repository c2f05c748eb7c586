"""How much of an editorial charter SmolLM2 learns, and what it costs elsewhere. Run it with: make bench-charter

Each case is the recipe of examples/bicycle-hire up to its comparison with the base, trained on: the firm's answers as
they are written, most of which break the charter; as the recipe has it, the same with the answers put right; and with
preference pairs besides. Answers are counted before and after on the same questions, none of which was trained on.
Nothing else should run on the machine meanwhile.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import child
import lines
import machine

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "examples" / "bicycle-hire" / "recipe.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "charter.json"
CUT, RISE = 0.5, 0.1  # the goals: share of the violations, of perplexity
SHOWN = ("charter.terms", "charter.required", "charter.style", "retention.truth_accuracy")

Answer = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """sections: what is changed in the recipe. held: is it held to the goals."""

    name: str
    sections: Answer = field(default_factory=dict)
    held: bool = False


PREFERENCES = {"loss": "dpo", "epochs": 1, "learning_rate": 1e-4, "sft": 0.1}
CASES = (
    Case("answers as written", {"data": {"charter_pairs": False}}),
    Case("answers put right"),
    Case("answers put right, and preferences", {"adapt": {"preferences": PREFERENCES}}, held=True),
)


def main() -> None:
    options = _options()
    machine.keep_to(options.threads)
    wanted = [case for case in CASES if options.case in (None, case.name)]
    if not wanted:
        sys.exit(f"No case is called '{options.case}': {', '.join(case.name for case in CASES)}")
    with tempfile.TemporaryDirectory() as folder:
        for case in wanted:
            job = {
                "recipe": str(RECIPE),
                "sections": case.sections,
                "threads": options.threads,
                "folder": str(options.folder or folder),
            }
            print(f"{case.name} …", file=sys.stderr, flush=True)
            answer = child.run(Path(sys.executable), "ours/charter.py", job, Path(folder))
            if "error" in answer:
                print(f"{case.name}: {answer['error']}", file=sys.stderr, flush=True)
                continue
            lines.keep(RESULTS, case, list(rows(case, answer)), [known.name for known in CASES])
    subprocess.run([sys.executable, str(ROOT / "scripts" / "benchmarks_page.py"), "--write"], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="only this case; its lines replace the old")
    parser.add_argument("--folder", type=Path, help="where finished steps are kept for the next run (default: nowhere)")
    parser.add_argument(
        "--threads", type=int, default=min(2, machine.cores()), help="cores, and threads of torch (default: 2)"
    )
    return parser.parse_args()


def rows(case: Case, answer: Answer) -> Iterator[Answer]:
    """The lines of a case: what was taught, the answers that break the charter, what it cost, and the time."""
    charter, adapt = answer["facts"]["data"]["charter"], answer["facts"]["adapt"]
    taught = f"{charter.get('mended', 0)} answers put right, {charter.get('answers', 0)} of the glossary's own"
    yield lines.row(case, "rows to learn from", adapt["rows"], "count", taught)
    yield lines.row(case, "preference pairs made", charter.get("preferences", 0), "count")
    changes = {change["name"]: change for change in answer["changes"] if not change["group"]}
    yield _violations(case, changes["charter.respected"])
    for change in answer["changes"]:
        if not change["group"] and change["after"] is not None and change["name"].startswith(SHOWN):
            yield lines.row(case, change["name"], change["after"], change["unit"], lines.told(change))
    perplexity = changes["retention.perplexity"]
    rise = perplexity["difference"] / perplexity["before"]
    goal = lines.goal(case, f"at most {RISE:g}", rise <= RISE)
    yield lines.row(case, "rise of perplexity", rise, "share", lines.told(perplexity)) | goal
    yield lines.row(case, "training", answer["seconds"].get("adapt", 0.0), "s")
    yield lines.row(case, "peak memory", answer["peak_bytes"] / 1e9, "GB")


def _violations(case: Case, respected: Answer) -> Answer:
    """Share of answers that break a rule, after. The interval is that of the paired difference."""
    before, after = 1 - respected["before"], 1 - respected["after"]
    note = (
        f"before {before:.3f}, difference {-respected['difference']:.3f} "
        f"[{-respected['high']:.3f}; {-respected['low']:.3f}], n = {respected['n']}: {respected['verdict']}"
    )
    met = after <= (1 - CUT) * before and respected["low"] > 0
    goal = f"at most {1 - CUT:g} of those before, interval below 0"
    return lines.row(case, "answers that break the charter", after, "share", note) | lines.goal(case, goal, met)


if __name__ == "__main__":
    main()
