"""What the gateway costs: llama.cpp's own server asked directly, and through the gateway. Run it with: make bench-serve

Both are the same engine in the same process, asked in turn by the same clients in this one: the difference is the
gateway's checks, its request log, its counts. Memory is watched over 10,000 requests to a tiny random model.
Nothing else should run on the machine meanwhile.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import child
import lines
import machine
import psutil

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "serve.json"
ROUTE = "/v1/chat/completions"
CLIENTS, SLOTS, CONTEXT = 16, 16, 512
ADDED, LOST, GROWN = 2.0, 0.05, 0.05  # the goals: milliseconds, share of the throughput, share of the memory
WARM = 0.2  # of the requests, after which memory is held to be flat

Answer = dict[str, Any]


@dataclass(frozen=True)
class Case:
    name: str
    held: bool = True


LATENCY = Case("one client, answers of one token")
WHOLE, STREAMED = Case("16 clients, whole answers"), Case("16 clients, streams")
MEMORY = Case("10,000 requests")
CASES = (LATENCY, WHOLE, STREAMED, MEMORY)


@dataclass(frozen=True)
class Side:
    """Where one side is asked. headers: those that it wants."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Running:
    engine: Side
    gateway: Side
    pid: int


def main() -> None:
    options = _options()
    machine.keep_to(machine.cores())
    sizes = Sizes(2, 40, 1, 400) if options.quick else Sizes(10, 300, 4, 10_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [*_speed(folder / "speed", sizes), *_memory(folder / "memory", sizes)]
    if options.quick:
        print(json.dumps(made, indent=2, ensure_ascii=False))
        print("A shortened run: nothing is recorded.", file=sys.stderr)
        return
    for case in CASES:
        rows = [row for row in made if row["case"].startswith(f"{case.name}: ")]
        lines.keep(RESULTS, case, rows, [known.name for known in CASES])
    subprocess.run([sys.executable, str(ROOT / "scripts" / "benchmarks_page.py"), "--write"], check=True)


@dataclass(frozen=True)
class Sizes:
    """turns: of each side, many and short, as the pace of a machine drifts. singles: one-token answers a turn.

    each: answers a client. many: requests watched.
    """

    turns: int
    singles: int
    each: int
    many: int


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few requests; nothing is recorded")
    return parser.parse_args()


def _speed(folder: Path, sizes: Sizes) -> Iterator[Answer]:
    """With the embedded model: latency of one client, throughput of sixteen."""
    from limpide.core import digests
    from limpide.models import cache, sources
    from limpide.models.embedded import SMOLLM2

    sources.resolve(SMOLLM2.alias)
    gguf = cache.cache_folder() / "gguf" / SMOLLM2.sha256[: digests.SHORT] / Path(SMOLLM2.member).name
    with _running(gguf, folder, machine.cores()) as both:
        sides = (both.engine, both.gateway)
        for side in sides:
            _singles(side, 20)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(sizes.turns):
            for side, kept in zip(sides, times, strict=True):
                kept += _singles(side, sizes.singles)
        engine, gateway = (1000 * statistics.median(kept) for kept in times)
        note = f"median of {len(times[0])}: {gateway:.2f} ms, the engine alone {engine:.2f} ms"
        goal = lines.goal(LATENCY, f"less than {ADDED:g} ms", gateway - engine < ADDED)
        yield lines.row(LATENCY, "time added", gateway - engine, "ms", note) | goal
        for case, stream in ((WHOLE, False), (STREAMED, True)):
            rates: tuple[list[float], list[float]] = ([], [])
            for _ in range(sizes.turns):
                for side, kept in zip(sides, rates, strict=True):
                    kept.append(_throughput(side, sizes.each, stream))
            engine, gateway = (statistics.median(kept) for kept in rates)
            lost = 1 - gateway / engine
            note = f"{gateway:.1f} tokens/s, the engine alone {engine:.1f}; medians of {sizes.turns} turns"
            goal = lines.goal(case, f"less than {LOST:.0%}", lost < LOST)
            yield lines.row(case, "throughput lost", lost, "share", note) | goal


def _memory(folder: Path, sizes: Sizes) -> Iterator[Answer]:
    """Resident memory of the process that holds both, over many requests, a third of them streams."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_gguf import write_gguf

    folder.mkdir()
    with _running(write_gguf(folder / "tiny.gguf"), folder / "state", 1) as both:
        seen, process = [], psutil.Process(both.pid)
        connection = _connect(both.gateway)
        for index in range(sizes.many):
            _ask(connection, both.gateway, tokens=4, stream=index % 3 == 0)
            if index % (sizes.many // 100) == 0:
                seen.append(process.memory_info().rss)
        connection.close()
    warm = seen[int(WARM * len(seen)) :]
    third = len(warm) // 3
    first, last = statistics.median(warm[:third]), statistics.median(warm[-third:])
    grown = last / first - 1
    note = (
        f"{seen[0] / 1e6:.0f} MB at the first request, {first / 1e6:.0f} MB once warm, {last / 1e6:.0f} MB at the end"
    )
    goal = lines.goal(MEMORY, f"less than {GROWN:.0%}", grown < GROWN)
    yield lines.row(MEMORY, "growth of memory once warm", grown, "share", note) | goal


@contextmanager
def _running(gguf: Path, state: Path, threads: int) -> Iterator[Running]:
    job = {"gguf": str(gguf), "state": str(state), "slots": SLOTS, "context": CONTEXT, "threads": threads}
    command = [sys.executable, str(child.HERE / "ours" / "gateway.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            yield Running(Side(told["engine"], told["headers"]), Side(told["gateway"], {}), told["pid"])
        finally:
            process.terminate()


def _connect(side: Side) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(side.url.removeprefix("http://"))


def _ask(connection: http.client.HTTPConnection, side: Side, *, tokens: int, stream: bool, about: str = "x") -> int:
    """One answer; how many tokens it has."""
    body: Answer = {"messages": [{"role": "user", "content": f"Tell me about {about}."}], "max_tokens": tokens}
    body |= {"temperature": 0, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    headers = {"Content-Type": "application/json", **side.headers}
    connection.request("POST", ROUTE, json.dumps(body), headers)
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        sys.exit(f"{side.url} answered {response.status}: {content.decode()}")
    if not stream:
        return int(json.loads(content)["usage"]["completion_tokens"])
    events = [line[6:] for line in content.decode().split("\n") if line.startswith("data: {")]
    return next(
        int(made["usage"]["completion_tokens"]) for made in map(json.loads, reversed(events)) if made.get("usage")
    )


def _singles(side: Side, count: int) -> list[float]:
    """Seconds of each of `count` answers of one token, one after the other, on one connection."""
    connection, times = _connect(side), []
    for _ in range(count):
        began = time.perf_counter()
        _ask(connection, side, tokens=1, stream=False)
        times.append(time.perf_counter() - began)
    connection.close()
    return times


def _throughput(side: Side, each: int, stream: bool) -> float:
    """Answer tokens a second of all clients together, `each` answers of 48 tokens a client."""

    def client(number: int) -> int:
        total = 0
        for index in range(each):
            # llama.cpp drops a connection that it streamed on, so both sides get a new one each time
            connection = _connect(side)
            total += _ask(connection, side, tokens=48, stream=stream, about=f"the number {100 * number + index}")
            connection.close()
        return total

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        tokens = sum(clients.map(client, range(CLIENTS)))
    return tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
