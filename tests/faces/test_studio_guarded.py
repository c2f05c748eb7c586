"""Strangers at the door: no token, another site, a flood, three gigabytes, a wrong password."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from browser import RunningStudio, axe_violations, open_page, shot, start_studio, visitor
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

pytestmark = pytest.mark.whole
DAY = timedelta(days=1)
PASSWORD = "correct horse battery staple"


@contextmanager
def let_in(studio: RunningStudio) -> Iterator[httpx.Client]:
    """A program that came in with a token, as a browser does."""
    with httpx.Client(base_url=studio.url, headers={"accept": "text/html"}) as client:
        assert client.get(studio.way_in()).status_code == 200
        yield client


def form_of(client: httpx.Client) -> str:
    found = re.search(r"data-form&quot;:&quot;(\w+)|data-form\\?\":\\?\"(\w+)", client.get("/data").text)
    assert found
    return found[1] or found[2]


def test_a_token_a_cookie_and_nothing_else(studio: RunningStudio) -> None:
    with httpx.Client(base_url=studio.url) as stranger:
        for path in ("/", "/data", "/files/releases/x", "/language/fr", "/_nicegui_ws/socket.io/?transport=polling"):
            assert stranger.get(path).status_code == 401, path
        assert stranger.get("/enter?token=x").status_code == 401
        assert stranger.get("/health").json() == {"status": "ok"}
        assert stranger.get("/data", headers={"host": "evil.example"}).status_code == 403
    with let_in(studio) as client:
        assert client.get("/data").status_code == 200
        assert [path.name for path in studio.folder.iterdir()] == [".limpide"], "nothing is kept in strange places"
        assert client.get("/files/releases/../../../../etc/passwd").status_code == 404
        assert client.get("/files/%2e%2e/%2e%2e/etc/passwd").status_code == 404
        assert client.get("/language/fr", params={"back": "//evil.example"}).headers["location"] == "/"
        assert client.post("/leave").status_code == 403


def test_a_name_that_leads_out_and_three_gigabytes(studio: RunningStudio) -> None:
    with let_in(studio) as client:
        form = {"origin": studio.url, "x-limpide-form": form_of(client)}
        answer = client.post("/upload", content=b"a,b\n", headers={**form, "x-limpide-name": "..%2F..%2Fx"})
        assert (answer.status_code, answer.json()["name"]) == (200, "x")
        assert (studio.folder / "data" / "x").read_bytes() == b"a,b\n"
        assert client.post("/upload", content=b"x", headers={"x-limpide-name": "y"}).status_code == 403
        cookie = cookie_of(client)
        head = {**form, "host": urlsplit(studio.url).netloc, "cookie": cookie, "x-limpide-name": "big.csv"}
        with socket.create_connection((urlsplit(studio.url).hostname, urlsplit(studio.url).port), 20) as raw:
            lines = [f"{name}: {value}" for name, value in {**head, "content-length": str(3 * 10**9)}.items()]
            raw.sendall("\r\n".join(["POST /upload HTTP/1.1", *lines, "", ""]).encode() + b"x" * 1000)
            said = b""
            while b"}" not in said:  # it answers at once, without waiting for the rest
                said += raw.recv(65536)
        assert b" 400 " in said.partition(b"\r\n")[0]
        assert json.loads(said.rpartition(b"\r\n\r\n")[2])["what"] == "'big.csv' is larger than the studio accepts."
        assert sorted(path.name for path in (studio.folder / "data").iterdir()) == ["x"]


SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "bGltcGlkZSBsaW1waWRlIQ==",
}


def cookie_of(client: httpx.Client) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)


def flood(address: str, origin: str, cookie: str, message: str, times: int) -> int | None:
    """Send until the other side closes; the code it closed with, None when it did not."""
    with connect(address, origin=origin, additional_headers={"cookie": cookie}) as opened:
        try:
            for _ in range(times):
                opened.send(message)
            while True:
                opened.recv(timeout=20)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else -1
        except TimeoutError:
            return None


def test_a_websocket_that_floods_is_closed_and_others_do_not_notice(page: Any, studio: RunningStudio) -> None:
    open_page(page, studio.url, "/elsewhere")
    with let_in(studio) as client:
        cookie = cookie_of(client)
    for wrong in ({"cookie": cookie}, {"cookie": cookie, "origin": "http://evil.example"}, {"origin": studio.url}):
        assert httpx.get(studio.url + SOCKET, headers={**UPGRADE, **wrong}).status_code == 403
    address, event = studio.url.replace("http", "ws", 1) + SOCKET, '42["event",{"client_id":"x","id":1,"args":[]}]'
    assert flood(address, studio.url, cookie, event, 20_000) in (1008, -1)
    assert flood(address, studio.url, cookie, "4" * 5_000_000, 1) in (1008, 1009, -1)
    page.get_by_role("button", name="Make an address").click()
    page.locator("code").wait_for()


UPLOAD = """async () => (await fetch("/upload", {
    method: "POST",
    headers: {"X-Limpide-Form": document.getElementById("content").dataset.form, "X-Limpide-Name": "x.csv"},
    body: "a,b",
})).status"""


def account(folder: Path, name: str, role: str) -> None:
    command = [sys.executable, "-m", "limpide.cli.main", "accounts", "add", name, "--role", role, "--password-stdin"]
    state = ["--state", str(folder / ".limpide" / "serve")]
    subprocess.run([*command, *state], input=f"{PASSWORD}\n", text=True, check=True, capture_output=True)


def certificate(folder: Path) -> list[str]:
    """A certificate for this machine that it signed itself, as options."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = made.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    (folder / "tls.crt").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / "tls.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ["--tls-certificate", str(folder / "tls.crt"), "--tls-key", str(folder / "tls.pem")]


def test_elsewhere_people_sign_in(chromium: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    command = [sys.executable, "-m", "limpide.cli.main", "studio", str(folder), "--no-open", "--host", "0.0.0.0"]
    refused = subprocess.run([*command, "--port", "0"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "no administrator has an account" in refused.stderr
    account(folder, "Ada Martin", "administrator")
    account(folder, "Ben", "reader")
    studio = start_studio(folder, "--host", "0.0.0.0", *certificate(tmp_path))
    url = studio.url.replace("0.0.0.0", "127.0.0.1")
    assert url.startswith("https:")
    try:
        with visitor(chromium, url + "/data", theme="dark", self_signed=True) as page:
            assert page.url.endswith("/sign-in")
            assert axe_violations(page) == []
            page.get_by_label("Name").fill("Ben")
            page.get_by_label("Password").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            page.get_by_text("The name or the password is wrong.").wait_for()
            assert axe_violations(page) == []
            shot(page, "shell-sign-in", whole=False)
            page.get_by_label("Name").fill("Ben")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/model")
            assert all(cookie["secure"] for cookie in page.context.cookies() if "studio" in cookie["name"])
            page.get_by_role("button", name="You are Ben").click()
            page.get_by_text("reader").wait_for()
            shot(page, "shell-person", whole=False)
            assert page.evaluate(UPLOAD) == 403, "a reader adds no file"
            removed = ["accounts", "remove", "Ben", "--state", str(folder / ".limpide" / "serve")]
            subprocess.run([sys.executable, "-m", "limpide.cli.main", *removed], check=True, capture_output=True)
            page.wait_for_timeout(1500)
            page.goto(url + "/data")
            assert page.url.endswith("/sign-in"), "an account that is removed is out"
        spoken = (folder / ".limpide" / "serve" / "log").glob("*.jsonl")
        events = [json.loads(line)["event"] for path in spoken for line in path.read_text().splitlines()]
        assert events.count("studio.refuse") == 1
        assert events.count("studio.sign_in") == 1
    finally:
        studio.close()
