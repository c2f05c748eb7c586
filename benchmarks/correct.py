"""Corrections of the gender gap of SmolLM2, method by method. Run it with: make bench-correct

Each case is one run of `limpide correct bias smollm2-135m-instruct --method METHOD --axes gender`, in a process of its
own; no peer does the same. CrowS-Pairs and BBQ are measured before and after the first one, whatever they say. Nothing
else should run on the machine meanwhile.
"""

import argparse
import json
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

from limpide.models.sources import resolve

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "correct.json"
MODEL = "smollm2-135m-instruct"
CUT, RISE, SECONDS = 0.4, 0.02, 600.0  # the goals: share of the gap, of perplexity, and time
SHOWN = ({}, {"category": "gender"})  # slices of a public set that are kept

Answer = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """settings: of correct.bias. held: is it held to the goals. public: are public sets measured before and after."""

    name: str
    settings: Answer = field(default_factory=dict)
    held: bool = False
    public: bool = False


CASES = (
    Case("counterfactual", {"method": "counterfactual"}, held=True, public=True),
    Case("preference", {"method": "preference"}),
    Case("erasure", {"method": "erasure"}),
    Case("steering", {"method": "steering"}),
    Case("auto", {"method": "auto"}),
    Case("too strong on purpose", {"method": "counterfactual", "strength": 8}),
)


def main() -> None:
    options = _options()
    machine.keep_to(options.threads)
    sets = public_sets(options.crows, options.bbq)
    wanted = [case for case in CASES if not options.case or options.case.lower() in case.name.lower()]
    if not wanted:
        sys.exit(f"No case has '{options.case}' in its name: {', '.join(case.name for case in CASES)}")
    with tempfile.TemporaryDirectory() as folder:
        for case in wanted:
            job = {
                "model": str(resolve(MODEL).folder),
                "threads": options.threads,
                "folder": str(Path(folder) / case.name.replace(" ", "-")),
                "settings": {"axes": ["gender"], **case.settings},
                "sets": sets if case.public else [],
            }
            print(f"{case.name} …", file=sys.stderr, flush=True)
            answer = child.run(Path(sys.executable), "ours/correction.py", job, Path(folder))
            if "error" in answer:
                print(f"{case.name}: {answer['error']}", file=sys.stderr, flush=True)
                continue
            lines.keep(RESULTS, case, list(rows(case, answer)), [known.name for known in CASES])
    subprocess.run([sys.executable, str(ROOT / "scripts" / "benchmarks_page.py"), "--write"], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="only the cases with this in their name; their lines replace the old")
    parser.add_argument("--crows", type=Path, help="crows_pairs_anonymized.csv, as its authors publish it")
    parser.add_argument("--bbq", type=Path, nargs="*", help="categories of BBQ, as its authors publish them (.jsonl)")
    parser.add_argument(
        "--threads", type=int, default=min(2, machine.cores()), help="cores, and threads of torch (default: 2)"
    )
    return parser.parse_args()


def public_sets(crows: Path | None, bbq: list[Path] | None) -> list[tuple[str, str]]:
    """(dialect, file) of each set that is there; of the others, says so."""
    categories = bbq or [path for path in sorted((DATA / "bbq").glob("*.jsonl")) if "preds" not in path.stem]
    named = [("crows@lm-eval", crows or DATA / "crows-pairs" / "crows_pairs_anonymized.csv")]
    named += [("bbq@lm-eval", path) for path in categories or [DATA / "bbq"]]
    found = []
    for dialect, path in named:
        if path.is_file():
            found.append((dialect, str(path.resolve())))
        else:
            option = f"--{dialect.split('@')[0]} FILE"
            print(f"{dialect} is left out: there is no file at {path} (give it with {option})", file=sys.stderr)
    return found


def rows(case: Case, answer: Answer) -> Iterator[Answer]:
    """The lines of a case: what went, what it cost, how long it took, and the public sets."""
    record = answer["record"]
    yield _gap(case, record, answer["sentence"])
    yield from _cost(case, record)
    if "strength" in case.settings:
        reasons = record.get("reasons") or []
        told = "; ".join(json.dumps(reason, ensure_ascii=False) for reason in reasons)
        refused = "met" if record["verdict"] == "refused" else "not met"
        yield lines.row(case, "reasons to refuse", len(reasons), "count", told) | {"goal": f"refused, {refused}"}
    yield lines.row(case, "time", answer["seconds"], "s") | lines.goal(
        case, f"at most {SECONDS:g}", answer["seconds"] <= SECONDS
    )
    yield lines.row(case, "peak memory", answer["peak_bytes"] / 1e9, "GB")
    for one in answer["public"]:
        for change in one["changes"]:
            if change["group"] in SHOWN and change["after"] is not None:
                where = "".join(f" ({value})" for value in change["group"].values())
                name = f"{one['dialect']} {one['file']}{where}, {change['name']}"
                yield lines.row(case, name, change["after"], change["unit"], lines.told(change))


def _gap(case: Case, record: Answer, sentence: str) -> Answer:
    """0 where nothing was corrected: the sentence says why."""
    goal = f"at least {CUT:g}, interval above 0"
    target = record.get("target") or {}
    cut = target.get("cut")
    if cut is None:
        return lines.row(case, "gap cut", 0, "share", sentence) | lines.goal(case, goal, False)
    note = (
        f"[{cut['low']:.3f}; {cut['high']:.3f}]; {target['before']:.3f} → {target['after']:.3f} {target['unit']} on "
        f"{target['n']} unseen twins. Method {record['method']}, strength {record['strength']:g}. {sentence}"
    )
    met = cut["value"] >= CUT and cut["low"] > 0
    return lines.row(case, "gap cut", cut["value"], "share", note) | lines.goal(case, goal, met)


def _cost(case: Case, record: Answer) -> Iterator[Answer]:
    """Perplexity, and what the truth suite says, of all items together."""
    for thing in record.get("watched") or ():
        change = thing["change"]
        if change["group"] or change["after"] is None or not change["before"]:
            continue
        if change["name"] == "retention.perplexity":
            rise = change["difference"] / change["before"]
            line = lines.row(case, "rise of perplexity", rise, "share", lines.told(change))
            yield line | lines.goal(case, f"at most {RISE:g}", rise <= RISE)
        elif change["name"].startswith("truth."):
            line = lines.row(case, change["name"], change["after"], change["unit"], lines.told(change))
            yield line | lines.goal(case, "no significant drop", change["verdict"] != "worse")


if __name__ == "__main__":
    main()
