"""Clients that mean harm, or are clumsy, against a gateway on a real socket."""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from limpide.core.errors import UsageError
from limpide.serve import connections, gateway, streams
from limpide.serve.seal import Seal, stamps
from limpide.serve.server import Tls, check_tls
from limpide.serve.shelf import Offered
from limpide.serve.stop_switch import stop
from serving import Listening, a_service, listening, logged
from serving_engine import WordEngine

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
SHORT = 0.3  # seconds, in place of the limits


@pytest.fixture
def engine() -> WordEngine:
    return WordEngine(context=1_000_000)


@pytest.fixture
def gate(engine: WordEngine, tmp_path: Path) -> Iterator[Listening]:
    with a_service(tmp_path, ("served", engine)) as service, listening(service) as gate:
        yield gate


def connect(gate: Listening) -> socket.socket:
    host, _, port = gate.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def said(connection: socket.socket) -> bytes:
    """All that the gateway sends until it closes."""
    pieces = []
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def request(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    return head.encode() + body


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does; fails after 20 seconds."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_head_that_does_not_end_is_dropped(gate: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SHORT)
    for sent in (b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "):
        with connect(gate) as connection:
            connection.sendall(sent)
            assert said(connection) == b""


def test_a_head_too_large_is_refused(gate: Listening) -> None:
    with connect(gate) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
        for _ in range(connections.LARGEST_HEAD // 1000 + 1):
            connection.sendall(b"a" * 1000)
        assert said(connection).startswith(b"HTTP/1.1 431")


def test_what_is_not_http_gets_an_error_in_openais_form(gate: Listening) -> None:
    with connect(gate) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_a_body_that_trickles_is_refused(gate: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "BODY_SECONDS", SHORT)
    monkeypatch.setattr(connections, "LINGER_SECONDS", SHORT)
    with connect(gate) as connection:
        connection.sendall(request(b'{"mess', 1000))
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_a_body_announced_too_large_is_refused_before_it_is_sent(
    gate: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LINGER_SECONDS", SHORT)
    with connect(gate) as connection:
        connection.sendall(request(b"{", 10**10))
        assert said(connection).startswith(b"HTTP/1.1 413")


def test_beyond_the_most_connections_requests_are_refused(gate: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    open_ones = [connect(gate) for _ in range(2)]
    try:
        until(lambda: len(gate.server.server_state.connections) == 2)
        answer = httpx.get(f"{gate.url}/health")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["error"]["code"] == "too_many_connections"
        open_ones += [connect(gate) for _ in range(3)]
        assert said(open_ones[-1]) == b""
    finally:
        for one in open_ones:
            one.close()
    until(lambda: not gate.server.server_state.connections)
    assert httpx.get(f"{gate.url}/health").status_code == 200


def test_a_websocket_is_not_spoken(gate: Listening) -> None:
    asks = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "YQ=="}
    assert httpx.get(f"{gate.url}/ws", headers=asks).status_code == 404


def stream(connection: socket.socket) -> None:
    """Ask for a stream, and read its beginning."""
    connection.sendall(request(json.dumps({**HELLO, "stream": True}).encode()))
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_who_stops_reading_is_dropped_and_the_engine_stops(
    gate: Listening, engine: WordEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STALL_SECONDS", SHORT)
    engine.words = ("word " * 400,) * 100_000
    with connect(gate) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream(connection)
        until(lambda: engine.ended == 1)
    until(lambda: bool(logged(tmp_path, "answer")))
    (answer,) = logged(tmp_path, "answer")
    assert answer["finish"] == "client_stalled"
    assert 0 < answer["n_out"] < 100_000
    until(lambda: not gate.server.server_state.connections)


def test_a_client_that_leaves_is_counted_for_what_was_made(gate: Listening, engine: WordEngine, tmp_path: Path) -> None:
    engine.words, engine.hold = ("word ",) * 10_000, 0.01
    with connect(gate) as connection:
        stream(connection)
    until(lambda: bool(logged(tmp_path, "answer")))
    assert engine.ended == 1
    (answer,) = logged(tmp_path, "answer")
    assert answer["finish"] == "client_left"
    assert answer["n_in"] == 1  # counted afterwards
    assert 0 < answer["n_out"] < 10_000


def test_what_runs_at_shutdown_is_told_and_logged(
    gate: Listening, engine: WordEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.server.config.timeout_graceful_shutdown = SHORT
    engine.words, engine.hold = ("word ",) * 10_000, 0.01
    with connect(gate) as connection:
        stream(connection)
        gate.server.should_exit = True
        assert b'"code":"shutdown"' in said(connection)
    (error,) = logged(tmp_path, "error")
    assert error["code"] == "shutdown"
    assert engine.ended == 1


def test_a_whole_answer_cut_off_by_a_shutdown_is_refused_in_openais_form(gate: Listening, engine: WordEngine) -> None:
    gate.server.config.timeout_graceful_shutdown = SHORT
    engine.words, engine.hold = ("word ",) * 10_000, 0.01
    with connect(gate) as connection:
        connection.sendall(request(json.dumps(HELLO).encode()))
        until(lambda: engine.told > 0)
        gate.server.should_exit = True
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"shutdown"' in answer
    assert b"x-content-type-options: nosniff" in answer
    assert engine.ended == 1


def test_another_process_stops_the_service(gate: Listening, engine: WordEngine, tmp_path: Path) -> None:
    engine.words, engine.hold = ("word ",) * 10_000, 0.01
    stop = [sys.executable, "-m", "limpide.cli.main", "stop", "--state", str(tmp_path), "--who", "A. Martin"]
    with connect(gate) as connection:
        stream(connection)
        subprocess.run([*stop, "--why", "wrong doses"], check=True, capture_output=True, timeout=60)
        connection.settimeout(20)
        while b"wrong doses" not in (piece := connection.recv(65536)):
            assert piece
    assert httpx.post(f"{gate.url}{CHAT}", json=HELLO).status_code == 503
    again = subprocess.run([*stop, "--why", "again"], check=True, capture_output=True, text=True, timeout=60)
    assert "stopped already, by A. Martin: wrong doses" in again.stdout
    subprocess.run([*stop, "--resume", "--why", "doses mended"], check=True, capture_output=True, timeout=60)
    engine.words = ("one",)
    assert httpx.post(f"{gate.url}{CHAT}", json=HELLO).status_code == 200
    told = [entry for entry in logged(tmp_path) if entry["event"].startswith("operator.")]
    assert [(entry["event"], entry["who"], entry["why"]) for entry in told] == [
        ("operator.stop", "A. Martin", "wrong doses"),
        ("operator.stop", "A. Martin", "again"),
        ("operator.resume", "A. Martin", "doses mended"),
    ]


@pytest.fixture(scope="module")
def made_tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate of this machine, made here."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "limpide test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "gate.pem").write_bytes(made.public_bytes(pem))
    (folder / "gate.key").write_bytes(key.private_bytes(pem, form, open_))
    return Tls(folder / "gate.pem", folder / "gate.key")


def test_tls(engine: WordEngine, tmp_path: Path, made_tls: Tls) -> None:
    trusting = ssl.create_default_context(cafile=str(made_tls.certificate))
    with a_service(tmp_path, ("served", engine)) as service, listening(service, tls=made_tls) as gate:
        assert gate.url.startswith("https://")
        assert httpx.post(f"{gate.url}{CHAT}", json=HELLO, verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{gate.url}/health")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{gate.url.replace('https', 'http')}/health")


def test_tls_files_that_do_not_fit(made_tls: Tls, tmp_path: Path) -> None:
    assert check_tls(None, None) is None
    assert check_tls(made_tls.certificate, made_tls.key) == made_tls
    with pytest.raises(UsageError, match="certificate and its key"):
        check_tls(made_tls.certificate, None)
    for wrong in (tmp_path / "none", made_tls.certificate):
        with pytest.raises(UsageError, match="cannot be used"):
            check_tls(made_tls.certificate, wrong)


ALONE = """
import socket, sys
from pathlib import Path
sys.path[:0] = ["tests", "src"]

def audit(event, arguments):
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        assert arguments[1][0] in ("127.0.0.1", "::1"), arguments[1]
    assert event not in ("socket.gethostbyname",) and (event != "socket.getaddrinfo" or arguments[0] == "127.0.0.1")

sys.addaudithook(audit)
import httpx
from limpide.models.llamacpp import LlamaEngine
from limpide.serve.engines.llamacpp import LlamaClient
from serving import a_service, listening
with LlamaEngine(Path(sys.argv[1]), context=128, threads=1) as engine:
    with a_service(Path(sys.argv[2]), ("tiny", LlamaClient(engine))) as service, listening(service) as gate:
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
        for asked in (body, {**body, "stream": True}):
            assert httpx.post(gate.url + "/v1/chat/completions", json=asked, trust_env=False).status_code == 200
try:
    socket.create_connection(("192.0.2.1", 9), timeout=0.1)
except AssertionError:
    print("nothing beyond this machine")
"""


def test_no_network_beyond_this_machine(tiny_gguf: Path, tmp_path: Path) -> None:
    """An audit hook of Python sees every connection and every name that is looked up, of any library."""
    run = [sys.executable, "-c", ALONE, str(tiny_gguf), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("nothing beyond this machine\n", 0), done.stderr


def test_verifying_a_large_release_does_not_hold_up_the_stop_switch(
    engine: WordEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "SEAL_EVERY", SHORT)
    read = threading.Event()

    def slowly() -> None:
        read.wait(60)

    seal = Seal(slowly, {})
    engine.words, engine.hold = ("word ",) * 100_000, 0.01
    offered = Offered("served", engine, None, "served-1.0.0", "root", "f", True, seal)
    with a_service(tmp_path, offered) as service, listening(service) as gate, connect(gate) as connection:
        verifying = threading.Thread(target=seal.renew)
        verifying.start()
        time.sleep(3 * SHORT)  # the watch over the files waits for the verification by now
        stream(connection)
        stop(tmp_path, "A. Martin", "wrong doses")
        try:
            until(lambda: bool(logged(tmp_path, "error")))
        finally:
            read.set()
            verifying.join()
    assert [entry["code"] for entry in logged(tmp_path, "error")] == ["stopped"]


def test_a_release_that_changes_on_disk_is_found_within_a_look(
    engine: WordEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "SEAL_EVERY", SHORT)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    offered = Offered("served", engine, None, "served-1.0.0", "root", "f", True, Seal(lambda: None, stamps([file])))
    with a_service(tmp_path / "state", offered) as service, listening(service) as gate:
        assert httpx.post(f"{gate.url}{CHAT}", json=HELLO).status_code == 200
        file.write_bytes(b"other weights")
        until(lambda: httpx.post(f"{gate.url}{CHAT}", json=HELLO).status_code == 503)
        assert httpx.post(f"{gate.url}{CHAT}", json=HELLO).json()["error"]["code"] == "release_changed"
        assert httpx.get(f"{gate.url}/health").status_code == 200  # other models may go on
