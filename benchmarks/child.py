"""Both ends of a child process: a JSON job goes in by standard input, a JSON answer comes out by standard output.

Each side of a benchmark runs in a child of its own, so that neither warms up or weighs down the other, and so that
peak memory is its own. Standard library alone: the peers' environments have no Limpide.
"""

import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHOWN = 30  # lines of a failed child's standard error that are repeated
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

Step = tuple[float, int]  # (clock at the end of an optimiser step in seconds, real tokens of that step)


def run(python: Path, script: str, job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run `benchmarks/SCRIPT` and give its answer. Ends the program with the child's last words when it fails.

    folder: a temporary folder; the caches of the child's libraries go there too.
    """
    environment = os.environ | OFFLINE | {"PYTHONPATH": str(HERE), "HF_HOME": str(folder / "hf")}
    done = subprocess.run(
        [str(python), str(HERE / script)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{script} failed:\n" + "\n".join(done.stderr.splitlines()[-SHOWN:]))
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def serve(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The child's end: do the job. Whatever libraries print goes to standard error, so the answer stays alone."""
    job = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        answer = work(job)
    print(json.dumps(answer))


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def digest_of_ids(requests: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[str]:
    """Of each request's (context ids, continuation ids), a short digest: both sides must score the same tokens."""
    texts = (json.dumps([list(context), list(continuation)]) for context, continuation in requests)
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


def rate(steps: Sequence[Step]) -> float:
    """Real tokens a second from the end of the first step, which warms up, to the end of the last.

    Between two ends lies everything a step costs: batches, forward, backward, optimiser, book-keeping.
    """
    if len(steps) < 2:
        raise ValueError("a rate needs two steps at least: the first one warms up")
    return sum(tokens for _, tokens in steps[1:]) / (steps[-1][0] - steps[0][0])
