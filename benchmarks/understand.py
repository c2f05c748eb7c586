"""Explanations: Limpide beside TransformerLens, Captum and Inseq. Run it with: make bench-understand

Each case is one job, done by both sides in turn, each in a process of its own, in float32; the numbers that come out
are compared one by one. Nothing else should run on the machine meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import child
import machine
import peer_environment
import understand_cases
from peer_environment import Peers

from limpide.core import files
from limpide.models.model import open_tokenizer
from limpide.models.sources import resolve

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "understand.json"
MODEL = "smollm2-135m-instruct"
ALTERNATIONS = 3
PAIRS = 60  # of the shipped bias pairs, for the test of the explanations
INSEQ = (
    "the peer moves the answer's own tokens along the path too, so only its numbers of the first answer token are "
    "defined as ours, and compared"
)
ALL = (
    f"float32, medians of {ALTERNATIONS} alternating rounds, each side in its own process each time; the clock starts "
    "when the model is open and a small job has been done, and stops at the last number."
)
GIGABYTES = 3.0  # what explaining a long prompt may take

Answer = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """ours, peer: scripts. within: the largest difference of a number of the two that still counts as equal, as a
    share of the largest number; goal: the peer's time ÷ ours. what: for the page. naive: our side also computes the
    definition, one plain pass a number, once and outside the clock."""

    name: str
    goal: float | None
    within: float
    what: str
    ours: str
    peer: str
    environment: Peers
    job: Answer
    naive: bool = False


@dataclass(frozen=True)
class Measured:
    """A case with the answers of both sides, one of each a round."""

    case: Case
    ours: list[Answer] = field(default_factory=list)
    peer: list[Answer] = field(default_factory=list)

    @property
    def seconds(self) -> tuple[float, float]:
        """(ours, the peer's), medians."""
        ours, peer = (statistics.median(a["seconds"] for a in side) for side in (self.ours, self.peer))
        return ours, peer

    @property
    def ratios(self) -> list[float]:
        """The peer's time ÷ ours, of each round."""
        return [peer["seconds"] / ours["seconds"] for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def equal_within(self) -> float:
        """Largest difference of two numbers, in any round."""
        return max(
            abs(a - b)
            for sides in zip(self.ours, self.peer, strict=True)
            for a, b in zip(*_alike(self.case, *map(_rows, sides)), strict=True)
        )

    @property
    def largest(self) -> float:
        return max(abs(number) for row in _rows(self.peer[0]) for number in row)


def main() -> None:
    options = _options()
    machine.keep_to(options.threads)
    wanted = [c for c in cases(options.threads) if not options.case or options.case.lower() in c.name.lower()]
    rounds = 1 if options.quick else ALTERNATIONS
    with tempfile.TemporaryDirectory() as folder:
        for case in wanted:
            _keep([_speed(_alternate(case, rounds, Path(folder)))], options.quick)
        if not options.case:
            _keep(_alone(options.threads, Path(folder)), options.quick)
    if not options.quick:
        subprocess.run([sys.executable, str(ROOT / "scripts" / "benchmarks_page.py"), "--write"], check=True)


def _keep(rows: list[Answer], quick: bool) -> None:
    """Put the lines in the place of those of the same cases at once: a run that is stopped loses nothing."""
    if quick:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        print("A shortened run: nothing is recorded.", file=sys.stderr)
        return
    kept = {row["case"]: row for row in (files.read_json(RESULTS) if RESULTS.is_file() else [])}
    files.write_json(RESULTS, list((kept | {row["case"]: row for row in rows}).values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round; nothing is recorded")
    parser.add_argument("--case", help="only the cases with this in their name; their lines replace the old")
    parser.add_argument(
        "--threads", type=int, default=min(2, machine.cores()), help="cores, and threads of torch (default: 2)"
    )
    return parser.parse_args()


def cases(threads: int) -> list[Case]:
    return [*_patching(threads), *_attribution(threads)]


def _patching(threads: int) -> Iterator[Case]:
    for length in understand_cases.LENGTHS:
        pair = understand_cases.pair(length)
        layers = understand_cases.GPT2["n_layer"]
        yield Case(
            f"Exact patching, {length} tokens",
            20.0,
            1e-4,
            f"every layer × place of the residual stream, {layers} × {length} cells, of a network of GPT-2's shape "
            "with random weights; the second token differs, so nearly every cell has to be run",
            "ours/patching.py",
            "peers/transformer_lens_patching.py",
            peer_environment.PATCHING,
            {
                "config": understand_cases.GPT2,
                "seed": 0,
                "clean_ids": pair.clean,
                "corrupted_ids": pair.corrupted,
                "token": 1234,
                "rival": 4321,
                "threads": threads,
            },
            naive=True,
        )


def _attribution(threads: int) -> Iterator[Case]:
    folder = resolve(MODEL).folder
    tokenizer, _ = open_tokenizer(folder)
    prompt, answer = understand_cases.texts(tokenizer)
    job = {"model": str(folder), "threads": threads, "prompt_ids": prompt, "answer_ids": answer}
    job |= {"steps": understand_cases.STEPS, "baseline_id": tokenizer.eos_token_id}
    sizes = f"{MODEL}, a prompt of {len(prompt)} tokens, an answer of {len(answer)}"
    steps = f"{understand_cases.STEPS} points of the path"
    captum, inseq = "peers/captum_attribution.py", "peers/inseq_attribution.py"
    occlusion, whole, each = "occlusion", "integrated-gradients", "integrated-gradients-each"
    own = "as above; here the peer has one backward pass for the whole answer, by a forward function written for it"
    theirs = {"baseline_id": tokenizer.unk_token_id}  # what Inseq starts the path from, where Captum is given ours
    tokens = "each prompt token replaced in turn; the peer as it does by itself, one pass for each answer token"
    one = "as above; here the peer reads the answer in one pass, its option forward_in_tokens=False"
    for name, goal, what, peer, more in (
        ("Occlusion", 20.0, tokens, captum, {"method": occlusion}),
        ("Occlusion, in one pass", None, one, captum, {"method": occlusion, "one_pass": True}),
        ("Integrated gradients", 5.0, f"{steps}, the whole answer", captum, {"method": whole}),
        ("Integrated gradients, in one pass", None, own, captum, {"method": whole, "one_pass": True}),
        ("Integrated gradients of each answer token", 2.0, f"{steps}", captum, {"method": each}),
        ("Integrated gradients of each answer token", 2.0, f"{steps}; {INSEQ}", inseq, {"method": each} | theirs),
    ):
        yield Case(
            f"{name}, beside {'Captum' if peer == captum else 'Inseq'}",
            goal,
            1e-3,
            f"{sizes}; {what}",
            "ours/attribution.py",
            peer,
            peer_environment.ATTRIBUTION,
            job | more,
        )


def _alternate(case: Case, rounds: int, folder: Path) -> Measured:
    """Both sides in turn; who goes first changes from round to round."""
    measured, python = Measured(case), peer_environment.python(case.environment)
    for number in range(rounds):
        job = case.job | {"naive": True} if number == 0 and case.naive else case.job
        for side in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            if side == "ours":
                measured.ours.append(child.run(Path(sys.executable), case.ours, job, folder))
            else:
                measured.peer.append(child.run(python, case.peer, case.job, folder))
        ours, peer = measured.ours[-1], measured.peer[-1]
        print(
            f"{case.name}, {number + 1}/{rounds}: ours {ours['seconds']:.2f} s, peer {peer['seconds']:.1f} s, "
            f"{measured.ratios[-1]:.1f}×; equal within {measured.equal_within:.2g}",
            file=sys.stderr,
            flush=True,
        )
    return measured


def _rows(answer: Answer) -> list[list[float]]:
    """What the side found: a grid; or the shares of the prompt's tokens, a row each answer token or one for all."""
    found = answer["grid"] if "grid" in answer else answer["values"]
    return found if isinstance(found[0], list) else [found]


def _alike(case: Case, ours: list[list[float]], peer: list[list[float]]) -> tuple[list[float], list[float]]:
    """The numbers of both that mean the same."""
    if "inseq" in case.peer:
        return ours[0], peer[0]
    if len(ours) == 1:  # the whole answer: a sum over its tokens
        return ours[0], [sum(column) for column in zip(*peer, strict=True)]
    return list(chain.from_iterable(ours)), list(chain.from_iterable(peer))


def _speed(measured: Measured) -> Answer:
    case, (ours, peer) = measured.case, measured.seconds
    limit = statistics.median(answer["matmul_rate"] for answer in measured.ours)
    flops = measured.ours[0].get("flops")
    equal = measured.equal_within <= case.within * max(1.0, measured.largest)
    apart = "" if equal else ", which is not equal"
    notes = [
        f"{case.what[0].upper()}{case.what[1:]}; {ALL}",
        f"The ratio of each round: {', '.join(f'{ratio:.1f}' for ratio in measured.ratios)}. Largest difference of two "
        f"numbers {measured.equal_within:.2g}, beside a largest number of {measured.largest:.3g}{apart}.",
        f"In processor time {statistics.median(_processor(measured)):.1f}×. Peak memory "
        f"{measured.ours[0]['peak_bytes'] / 1e9:.2f} GB beside {measured.peer[0]['peak_bytes'] / 1e9:.2f}.",
    ]
    naive = measured.ours[0].get("naive_grid")
    if naive:
        found = zip(*map(chain.from_iterable, (_rows(measured.ours[0]), naive)), strict=True)
        off = max(abs(a - b) for a, b in found)
        notes.append(f"Beside one plain forward pass for each cell: equal within {off:.2g}.")
    title = {"captum": "Captum", "inseq": "Inseq", "transformer_lens": "TransformerLens"}
    name = next(shown for key, shown in title.items() if key in case.peer)
    return {
        "case": case.name,
        "peer_version": f"{name} {measured.peer[0]['version']}",
        "cpu": machine.cpu(),
        "date": date.today().isoformat(),
        "ours": round(ours, 3),
        "peer": round(peer, 2),
        "unit": "s",
        "ratio": round(peer / ours, 2),
        "goal": case.goal,
        "equal_within": float(f"{measured.equal_within:.2g}"),
        "machine_share": round(flops / ours / limit, 3) if flops else None,
        "notes": notes,
        "tables": [],
    }


def _processor(measured: Measured) -> list[float]:
    """The peer's processor time ÷ ours, of each round: what else ran on the machine hardly touches it."""
    pairs = zip(measured.ours, measured.peer, strict=True)
    return [peer["processor_seconds"] / ours["processor_seconds"] for ours, peer in pairs]


def _alone(threads: int, folder: Path) -> list[Answer]:
    """What has no peer: the memory that a long prompt takes, and whether explanations of bias pairs are true."""
    model = resolve(MODEL).folder
    tokenizer, _ = open_tokenizer(model)
    _, answer = understand_cases.texts(tokenizer)
    prompt = understand_cases.long_prompt(tokenizer)
    job = {"model": str(model), "threads": threads, "prompt_ids": prompt, "answer_ids": answer, "steps": 8}
    job |= {"baseline_id": tokenizer.eos_token_id, "method": "integrated-gradients"}
    long = child.run(Path(sys.executable), "ours/attribution.py", job, folder)
    true = child.run(
        Path(sys.executable),
        "ours/faithfulness.py",
        {"model": str(model), "threads": threads, "pairs": PAIRS, "seed": 0},
        folder,
    )
    gigabytes = long["peak_bytes"] / 1e9
    return [
        _line(
            f"Explaining a prompt of {len(prompt)} tokens, peak memory",
            gigabytes,
            "GB",
            f"under {GIGABYTES:g}, {'met' if gigabytes < GIGABYTES else 'not met'}",
            [f"Integrated gradients, 8 points, {long['seconds']:.0f} s; the whole process, the model included."],
        ),
        _line(
            "Deletion by attribution, on shipped bias pairs",
            true["difference"],
            "nats",
            f"interval above 0, {'met' if true['low'] > 0 else 'not met'}",
            [
                f"{true['n']} pairs, contrastive; area between the curve in random order and the curve in the order of "
                f"the attribution: {true['difference']:.3g} [{true['low']:.3g}; {true['high']:.3g}] nats (0: no better "
                f"than chance); better on {true['share_better']:.0%} of the pairs."
            ],
        ),
    ]


def _line(case: str, ours: float, unit: str, goal: str, notes: list[str]) -> Answer:
    return {
        "case": case,
        "peer_version": None,
        "cpu": machine.cpu(),
        "date": date.today().isoformat(),
        "ours": round(ours, 3),
        "peer": None,
        "unit": unit,
        "ratio": None,
        "goal": goal,
        "equal_within": None,
        "machine_share": None,
        "notes": notes,
        "tables": [],
    }


if __name__ == "__main__":
    main()
