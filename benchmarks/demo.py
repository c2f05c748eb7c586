"""Run the README's first command as a newcomer would, from a fresh clone and an empty cache, and keep its figures.

Writes benchmarks/results/demo.json. Usage: .venv/bin/python benchmarks/demo.py [--commit HEAD] [--keep FOLDER]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from machine import cpu

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "demo.json"
RELEASE = "releases/press-operator-assistant-1.0.0"


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """(seconds, peak memory in GB of the process and its children). Stops the benchmark when the command fails."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peak), daemon=True)
    watcher.start()
    if process.wait() != 0:
        sys.exit(f"{' '.join(command)} left with {process.returncode}")
    return time.monotonic() - started, peak[0] / 1e9


def _watch(process: psutil.Process, peak: list[int]) -> None:
    """Every half second, memory that belongs to the tree alone (weights mapped from files count once read)."""
    while process.is_running():
        try:
            tree = [process, *process.children(recursive=True)]
            peak[0] = max(peak[0], sum(p.memory_info().rss for p in tree))
        except psutil.Error:
            pass  # a process of the tree ended between two lines
        time.sleep(0.5)


def help_seconds(folder: Path, environment: dict[str, str]) -> float:
    """Median of seven runs of `limpide --help`."""
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([".venv/bin/limpide", "--help"], cwd=folder, env=environment, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def rows(folder: Path, environment: dict[str, str], setup: float, demo: tuple[float, float]) -> list[dict[str, Any]]:
    evidence = json.loads((folder / RELEASE / "evidence" / "evidence.json").read_text(encoding="utf-8"))
    again, _ = timed([".venv/bin/limpide", "run", "examples/press-operator/recipe.yaml"], folder, environment)
    found = [
        row("make setup, fresh clone", setup, "s"),
        row("make demo after make setup, empty cache", demo[0], "s", goal="at most 600"),
        row("both", setup + demo[0], "s", goal="at most 900"),
        row("peak memory of make demo", demo[1], "GB", goal="at most 4"),
        row("second run, nothing changed", again, "s", goal="under 5"),
        row("limpide --help", help_seconds(folder, environment), "s", goal="under 0.5"),
        row("training", evidence["training"]["tokens_per_second"], "tokens/s"),
    ]
    for measure in evidence["measures"]:
        group = measure["group"]
        if measure["name"] == "domain.accuracy" and set(group) == {"slice"} and measure["value"] is not None:
            interval = f"[{measure['low']:.3f}; {measure['high']:.3f}], n = {measure['n']}"
            case = f"expected answers, {group['slice']}, {measure['subject']}"
            found.append(row(case, measure["value"], "share", note=interval))
    return found


def row(case: str, value: float, unit: str, goal: str | None = None, note: str | None = None) -> dict[str, Any]:
    return {
        "case": case,
        "ours": round(value, 3),
        "unit": unit,
        "goal": goal,
        "note": note,
        "cpu": cpu(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", default="HEAD", help="what to clone")
    parser.add_argument("--keep", type=Path, help="copy the release that was made to this new folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "limpide"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        subprocess.run(["git", "checkout", "--quiet", options.commit], cwd=folder, check=True)
        environment = {**os.environ, "LIMPIDE_CACHE": str(Path(made) / "cache")}
        setup, _ = timed(["make", "setup"], folder, environment)
        demo = timed(["make", "demo"], folder, environment)
        if options.keep:
            shutil.copytree(folder / RELEASE, options.keep)
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(rows(folder, environment, setup, demo), indent=2) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
