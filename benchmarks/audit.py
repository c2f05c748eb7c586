"""Likelihood scoring: Limpide beside lm-eval's Hugging Face backend. Run it with: make bench-audit DATA=folder

The requests are built once, as texts; then each side scores them in turn, in a process of its own, in float32. Every
log-likelihood is compared with the peer's. Nothing else should run on the machine meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import audit_cases
import child
import machine
import peer_environment
from audit_cases import Case

from limpide.core import files
from limpide.models.sources import resolve

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "audit.json"
MODEL = "smollm2-135m-instruct"
ALTERNATIONS = 3
BATCH = 8  # the peer's
BATCHES = (1, 4, 8, 16, 32)
SWEPT = {"BBQ, three options": 48}  # how many requests try the peer's batch sizes
WARM_UP = 8  # requests scored before the clock starts
NATS = 1e-3  # what two computations in float32 may differ in

Answer = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """A case with the answers of both sides, one of each a round."""

    case: Case
    ours: list[Answer]
    peer: list[Answer]

    @property
    def seconds(self) -> tuple[float, float]:
        """(ours, the peer's), medians."""
        return statistics.median(a["seconds"] for a in self.ours), statistics.median(a["seconds"] for a in self.peer)

    @property
    def gigabytes(self) -> tuple[float, float]:
        ours, peer = ([answer["peak_bytes"] / 1e9 for answer in side] for side in (self.ours, self.peer))
        return statistics.median(ours), statistics.median(peer)

    @property
    def ratios(self) -> list[float]:
        """The peer's time ÷ ours, of each round."""
        return [peer["seconds"] / ours["seconds"] for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def equal_within(self) -> float:
        """Largest difference of a request's log-likelihood, in nats, in any round."""
        return max(
            abs(a - b)
            for ours, peer in zip(self.ours, self.peer, strict=True)
            for a, b in zip(ours["log_likelihoods"], peer["log_likelihoods"], strict=True)
        )

    @property
    def greedy_differences(self) -> int:
        """Requests of which the sides disagree whether each token was the likeliest, in the worst round."""
        return max(
            sum(a != b for a, b in zip(ours["greedy"], peer["greedy"], strict=True))
            for ours, peer in zip(self.ours, self.peer, strict=True)
        )


def main() -> None:
    options = _options()
    found = audit_cases.cases(options.data, audit_cases.QUICK if options.quick else audit_cases.Sizes())
    wanted = [case for case in found if not options.case or options.case.lower() in case.name.lower()]
    began = time.monotonic()
    machine.keep_to(options.threads)
    peer_python = peer_environment.python(peer_environment.AUDIT)
    with tempfile.TemporaryDirectory() as folder:
        job = {"model": str(resolve(MODEL).folder), "threads": options.threads, "warm_up": WARM_UP}
        bench = Bench(job, peer_python, Path(folder))
        swept = {} if options.quick else {case.name: bench.sweep(case) for case in wanted if case.name in SWEPT}
        measured = [bench.alternate(case, 1 if options.quick else ALTERNATIONS) for case in wanted]
    made = [*(_speed(m, swept.get(m.case.name)) for m in measured), _memory(measured)]
    if wanted[0] == found[0]:  # the page's first line says what holds for all
        made[0]["notes"] += _notes(measured[0], options.threads)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    if options.case and not options.quick and RESULTS.is_file():
        made = _merged(files.read_json(RESULTS), made[:-1])  # the memory line is of a whole run
    elif options.quick or options.case:
        print(json.dumps(made, indent=2, ensure_ascii=False))
        print("A shortened run: nothing is recorded.", file=sys.stderr)
        return
    for row in made:
        print(f"{row['case']}: {row['ours']} beside {row['peer']} {row['unit']}, {row['ratio']:.2f}×")
    files.write_json(RESULTS, made)
    print(f"written: {RESULTS.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, str(ROOT / "scripts" / "benchmarks_page.py"), "--write"], check=True)


def _merged(kept: list[Answer], new: list[Answer]) -> list[Answer]:
    """The kept lines, those of the cases that were measured again replaced."""
    again = {row["case"]: row for row in new}
    return [again.get(row["case"], row) for row in kept]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder that holds bbq/ and crows-pairs/ as their authors publish them"
    )
    parser.add_argument("--quick", action="store_true", help="few questions, one round; nothing is recorded")
    parser.add_argument("--case", help="only the cases with this in their name; their lines replace the old")
    parser.add_argument(
        "--threads", type=int, default=min(2, machine.cores()), help="cores, and threads of torch (default: 2)"
    )
    return parser.parse_args()


class Bench:
    """The children of one benchmark, with what they share."""

    def __init__(self, job: Answer, peer_python: Path, folder: Path) -> None:
        self.job, self.peer_python, self.folder = job, peer_python, folder

    def sweep(self, case: Case) -> list[tuple[int, float]]:
        """Each batch size of the peer with its requests a second, on the first requests of the case."""
        requests = case.requests[: SWEPT[case.name]]
        print(f"{case.name}: trying {len(BATCHES)} batch sizes of the peer …", file=sys.stderr, flush=True)
        job = self.job | {"requests": requests, "batch_sizes": BATCHES}
        seconds = child.run(self.peer_python, "peers/lm_eval_likelihood.py", job, self.folder)["seconds"]
        return [(size, len(requests) / taken) for size, taken in zip(BATCHES, seconds, strict=True)]

    def alternate(self, case: Case, rounds: int) -> Measured:
        """Both sides in turn; who goes first changes from round to round."""
        sides: dict[str, list[Answer]] = {"ours": [], "peer": []}
        for number in range(rounds):
            for side in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
                sides[side].append(self._side(side, case))
            measured = Measured(case, **sides)
            print(f"{case.name}, {number + 1}/{rounds}: {_progress(measured)}", file=sys.stderr, flush=True)
        _check_ids(measured)
        return measured

    def _side(self, side: str, case: Case) -> Answer:
        job = self.job | {"requests": case.requests}
        if side == "ours":
            return child.run(Path(sys.executable), "ours/likelihood.py", job, self.folder)
        return child.run(self.peer_python, "peers/lm_eval_likelihood.py", job | {"batch_size": BATCH}, self.folder)


def _progress(measured: Measured) -> str:
    """The newest round. Where the cores are busy less than whole, something else used them."""
    ours, peer = measured.ours[-1], measured.peer[-1]
    busy = [f"{a['processor_seconds'] / a['seconds'] / a['threads']:.0%}" for a in (ours, peer)]
    return (
        f"ours {ours['seconds']:.1f} s, lm-eval {peer['seconds']:.1f} s, {measured.ratios[-1]:.2f}× "
        f"({peer['processor_seconds'] / ours['processor_seconds']:.2f}× in processor time; cores busy {busy[0]} and "
        f"{busy[1]}); equal within {measured.equal_within:.2g} nats"
    )


def _check_ids(measured: Measured) -> None:
    """The comparison means something only when both sides score the same tokens after the same tokens."""
    ours, peer = measured.ours[0]["ids"], measured.peer[0]["ids"]
    different = [at for at, pair in enumerate(zip(ours, peer, strict=True)) if pair[0] != pair[1]]
    if different:
        request = measured.case.requests[different[0]]
        sys.exit(f"{measured.case.name}: the sides tokenise {len(different)} requests differently, first {request!r}")


def _speed(measured: Measured, swept: list[tuple[int, float]] | None) -> Answer:
    count, (ours, peer) = len(measured.case.requests), measured.seconds
    limit = statistics.median(answer["matmul_rate"] for answer in measured.ours)
    flops = measured.ours[0]["flops"]
    return _row(measured.case.name, measured) | {
        "ours": round(count / ours, 2),
        "peer": round(count / peer, 2),
        "unit": "requests/s",
        "ratio": round(peer / ours, 2),
        "goal": measured.case.goal,
        "equal_within": float(f"{measured.equal_within:.2g}"),
        "machine_share": round(flops / ours / limit, 3),
        "notes": [_asked(measured), _found(measured, flops, limit)],
        "tables": [] if swept is None else [_sweep_table(swept, measured.case)],
    }


def _asked(measured: Measured) -> str:
    ours = measured.ours[0]
    return (
        f"{len(measured.case.requests)} requests: {measured.case.what}. They are {ours['sent_tokens']} tokens as sent, "
        f"{ours['tree_tokens']} as one prefix tree, of which {ours['scored_places']} are followed by a scored token."
    )


def _found(measured: Measured, flops: float, limit: float) -> str:
    ours, peer = measured.seconds
    met = "" if measured.equal_within <= NATS else f", more than the goal of {NATS:g}"
    return (
        f"{ours:.1f} s beside {peer:.1f} s; the ratio of each round: "
        f"{', '.join(f'{ratio:.2f}' for ratio in measured.ratios)}. Largest difference of a request: "
        f"{measured.equal_within:.2g} nats{met}; the sides disagree on {measured.greedy_differences} of "
        f"{len(measured.case.requests)} greedy flags. Share of the machine: {flops / 1e12:.2f} TFLOP ÷ {ours:.1f} s ÷ "
        f"{limit / 1e9:.0f} GFLOP/s."
    )


def _memory(measured: list[Measured]) -> Answer:
    """The case where the peer needs least beside us."""
    worst = min(measured, key=lambda m: m.gigabytes[1] / m.gigabytes[0])
    ours, peer = worst.gigabytes
    cells = [[m.case.name, *(f"{side:.2f}" for side in m.gigabytes)] for m in measured]
    return _row("Likelihood scoring, peak memory", worst) | {
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "unit": "GB",
        "ratio": round(peer / ours, 2),
        "goal": 1.0,
        "equal_within": None,
        "machine_share": None,
        "notes": [
            "Highest resident memory of the whole process, opening the model included; lower is better, so ratio = "
            f"peer ÷ ours. The line is of the case with the smallest ratio, {worst.case.name}."
        ],
        "tables": [{"title": "Peak memory, GB", "columns": ["case", "Limpide", "lm-eval"], "rows": cells}],
    }


def _row(case: str, measured: Measured) -> Answer:
    return {
        "case": case,
        "peer_version": f"lm-eval {measured.peer[0]['version']}",
        "cpu": machine.cpu(),
        "date": date.today().isoformat(),
    }


def _notes(measured: Measured, threads: int) -> list[str]:
    """What holds for every case."""
    record = measured.ours[0]["record"]
    return [
        f"Every case: {MODEL} from the same folder, float32, {threads} threads; medians of {len(measured.ours)} "
        "alternating rounds, each side in its own process each time. Both get the same texts, tokenise them to the "
        "same ids (checked one by one), and give each request's log-likelihood and greedy flag. The clock starts when "
        f"the model is open and {WARM_UP} requests have been scored, and stops at the last score: tokenising is in it, "
        "opening the model is not.",
        f"The peer is lm_eval.models.huggingface.HFLM with batch_size={BATCH}, dtype float32, device cpu and otherwise "
        "its own settings: it sorts by length and computes once what differs in the last token alone. Other batch "
        "sizes are in the table below; 'auto', which searches for one for minutes before it starts, is left out.",
        "Limpide's side is limpide.models.scoring.score_with as `limpide audit` calls it, without the results it keeps "
        f"between runs; its time holds the sample ({record['parity_sample']} requests here) that every run computes "
        f"again the plain way. Its matrix products are by {record['products']}; the peer's are by what torch chooses.",
        "Share of the machine: 2 operations a weight of the body for each token of the prefix tree and of the head for "
        "each place that is followed by a scored token (attention left out), ÷ seconds ÷ the fastest matrix product in "
        "float32 measured in the same run.",
    ]


def _sweep_table(swept: list[tuple[int, float]], case: Case) -> Answer:
    chosen = dict(swept)[BATCH]
    cells = [[str(size), f"{rate:.2f}", f"{rate / chosen:.2f}×"] for size, rate in swept]
    title = f"The peer's batch sizes, first {min(SWEPT[case.name], len(case.requests))} requests"
    return {"title": title, "columns": ["batch size", "requests/s", f"beside {BATCH}"], "rows": cells}


if __name__ == "__main__":
    main()
