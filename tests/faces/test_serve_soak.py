"""64 clients at once, some of which are killed in mid-stream: nothing leaks, no entry is lost, every token is counted.

LIMPIDE_SOAK_SECONDS=120 runs it for two minutes; by default it takes 10 seconds.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from limpide.models.llamacpp import LlamaEngine
from limpide.serve.access import usage
from limpide.serve.engines.llamacpp import LlamaClient
from limpide.serve.request_log.places import places
from limpide.serve.request_log.verify import verify
from limpide.serve.store import DATABASE, open_store
from serving import a_service, listening, logged

SECONDS = float(os.environ.get("LIMPIDE_SOAK_SECONDS", "10"))
CLIENTS = 64
# Each client asks again and again: a third wants whole answers, a third reads streams to the end, a third hangs up
# after a few events. What each was told is written down at once, as the process is killed at the end.
CLIENT = """
import asyncio, json, random, sys
host, port, told, clients = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "a", buffering=1), int(sys.argv[4])
random.seed(0)

async def ask(way):
    reader, writer = await asyncio.open_connection(host, port)
    body = {"messages": [{"role": "user", "content": "a" * random.randrange(1, 60)}]}
    body["max_tokens"] = random.randrange(5, 120)
    if way != "whole":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    sent = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: application/json\\r\\n"
    writer.write(head.encode() + b"Connection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(sent) + sent)
    status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name] = value.strip()
    record = {"status": status, "request": headers.get("x-request-id"), "seen": 0, "usage": None, "done": False}
    left = random.randrange(1, 12) if way == "killed" else -1
    if way == "whole":
        made = json.loads(await reader.readexactly(int(headers["content-length"])))
        record.update(usage=made["usage"], seen=len(made["choices"][0]["message"]["content"]), done=True)
    else:
        async for line in reader:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                record["done"] = True
                continue
            event = json.loads(line[6:])
            record["usage"] = event.get("usage") or record["usage"]
            record["seen"] += sum(len(choice["delta"].get("content") or "") for choice in event["choices"])
            left -= 1
            if left == 0:
                break
    writer.transport.abort()
    told.write(json.dumps(record) + "\\n")

async def client(number):
    while True:
        await ask(("whole", "stream", "killed")[number % 3])

async def main():
    await asyncio.gather(*(client(number) for number in range(clients)))

asyncio.run(main())
"""


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()


def descriptors() -> Counter[str]:
    """What this process has open: sockets, and files by name; not the database, whose pool has a size of its own."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            found.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
    return Counter(name for name in found if DATABASE not in name)


@pytest.mark.whole
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_many_clients_of_which_some_are_killed(tiny_gguf: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.jsonl"
    with (
        LlamaEngine(tiny_gguf, context=256, slots=4, threads=1) as engine,
        a_service(tmp_path / "state", ("tiny", LlamaClient(engine))) as service,
        listening(service) as gate,
    ):
        httpx.post(f"{gate.url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]})
        before = descriptors()  # what opens with the first request is open
        tasks = len(asyncio.all_tasks(gate.loop))
        port = gate.url.rpartition(":")[2]
        command = [sys.executable, "-c", CLIENT, "127.0.0.1", port, str(told), str(CLIENTS)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as clients:
            time.sleep(SECONDS)
            assert clients.poll() is None, clients.stderr
            clients.kill()  # all 64 at once, wherever they are
        until(lambda: not service.exchanges)
        until(lambda: not gate.server.server_state.connections)
        until(lambda: len(asyncio.all_tasks(gate.loop)) <= tasks)
        until(lambda: descriptors() <= before)
        gauges = {
            metric.name: metric.samples[0].value for metric in service.metrics.registry.collect() if metric.samples
        }
        assert [gauges[f"limpide_{name}"] for name in ("requests_open", "streams_open", "queue_length")] == [0, 0, 0]
    entries = logged(tmp_path / "state")
    ends = {entry["request"]: entry for entry in entries if entry["event"] in ("answer", "error")}
    accepted = [entry["request"] for entry in entries if entry["event"] == "accept"]
    assert len(accepted) == len(set(accepted)) == len(ends)
    assert set(accepted) == set(ends)
    assert not [entry for entry in ends.values() if entry["event"] == "error"]
    records = [json.loads(line) for line in told.read_text().splitlines()]
    assert {record["status"] for record in records} == {200}
    for record in records:
        end = ends[record["request"]]
        if record["done"]:
            counts = record["usage"]["prompt_tokens"], record["usage"]["completion_tokens"]
            assert (end["n_in"], end["n_out"]) == counts
            assert record["seen"] == counts[1]  # this model's tokens are letters
        else:
            assert end["n_in"] > 0
            assert end["n_out"] >= record["seen"]
    killed = [end for end in ends.values() if end["finish"] == "client_left"]
    assert len(killed) > 10
    whole = len([record for record in records if record["done"]])
    print(
        f"{len(accepted)} requests, {whole} whole, {len(killed)} left, {sum(e['n_out'] for e in ends.values())} tokens"
    )
    with closing(open_store(tmp_path / "state" / DATABASE)) as store:
        (row,) = usage(store)
    assert row.requests == len(accepted)
    assert row.prompt_tokens == sum(end["n_in"] or 0 for end in ends.values())
    assert row.answer_tokens == sum(end["n_out"] for end in ends.values())
    where = places(tmp_path / "state")
    assert verify(where.folder, where.public, where.heads).intact
