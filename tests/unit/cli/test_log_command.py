"""`limpide log`, as a person runs it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from commands import Command, calling
from limpide.serve.request_log.places import Places, heads_path, places
from request_logs import DAY, NOON, Clock, lines_of, put, told, written


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str]) -> Command:
    return calling(capsys)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """In the working folder's own state: three days, entries 0 to 35."""
    monkeypatch.chdir(tmp_path)
    return written(Path(".limpide/serve"))


def test_verify_says_what_holds_and_what_it_cannot_say(limpide: Command, log: Places) -> None:
    code, out, _ = limpide("log", "verify")
    assert code == 0
    assert "intact" in out
    assert "36 (from number 0 on), 2026-11-23 to 2026-11-25" in out
    assert "counts 36 entries" in out
    assert "limit: Whoever holds the key and the disk can rewrite everything since the last head" in out
    code, out, _ = limpide("log", "verify", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["intact"], found["end"], found["damage"], found["notes"]) == (True, 36, None, [])


def test_verify_leaves_with_six_and_the_place(limpide: Command, log: Places) -> None:
    lines = lines_of(log, 1)
    put(log, 1, [line.replace(b'"n":3', b'"n":4') for line in lines])
    code, out, err = limpide("log", "verify")
    assert code == 6
    assert "DAMAGED: 2026-11-24.jsonl:4: this line was changed" in out
    assert "The request log is not what was written." in err
    assert "2026-11-24.jsonl:4" in err
    assert "limpide log export FOLDER" in err
    code, out, err = limpide("log", "verify", "--json")
    assert code == 6
    assert json.loads(out)["damage"]["seq"] == 15
    assert json.loads(err.splitlines()[-1])["faults"][0]["line"] == 4


def test_verify_with_heads_that_were_held_elsewhere(limpide: Command, log: Places) -> None:
    held = Path("held.jsonl")
    held.write_bytes(heads_path(log.heads).read_bytes())
    lines = lines_of(log, 2)
    put(log, 2, lines[:-2])
    heads_path(log.heads).write_bytes(b"".join(held.read_bytes().splitlines(keepends=True)[:-1]))
    code, out, _ = limpide("log", "verify")
    assert code == 0
    assert "3 entries, which whoever holds the disk could rewrite" in out
    code, out, _ = limpide("log", "verify", "--held", held)
    assert code == 6
    assert "the end was cut" in out


def test_show_is_one_line_an_entry_whatever_a_caller_put_in_it(limpide: Command, tmp_path: Path) -> None:
    with Clock().open(tmp_path / "state") as writer:
        writer.append("refuse", model="x\x1b[31m\n  99  forged", path="/v1/ok", n=3, why="a=b", nothing=None)
        writer.append("answer", texts={"prompt": "hidden"}, key="k1", names=["a", "b"])
    code, out, _ = limpide("log", "show", "--state", tmp_path / "state")
    assert code == 0
    assert out.count("\n") == 3
    assert "\x1b" not in out
    assert 'model="x\\u001b[31m\\n  99  forged"  n=3  path=/v1/ok  why="a=b"\n' in out
    assert 'key=k1  names=["a", "b"]  texts=prompt\n' in out
    assert "hidden" not in out


def test_show_finds_entries(limpide: Command, log: Places) -> None:
    _, out, _ = limpide("log", "show", "--last", "2", "--since", "2026-11-24", "--until", "2026-11-25T00:00")
    assert [line.split()[0] for line in out.splitlines()] == ["22", "23"]
    _, out, _ = limpide("log", "show", "--event", "log.*", "--json")
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [0]
    _, out, _ = limpide("log", "show", "--last", "0")
    assert out.count("\n") == 36
    code, out, err = limpide("log", "show", "--key", "k9")
    assert (code, out) == (0, "")
    assert "No entry of the log is like that." in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["show", "--since", "yesterday"], "--since is not a time"),
        (["show", "--last", "-1"], "--last counts entries"),
        (["show", "--state", "nowhere"], "There is no request log in nowhere"),
        (["purge", "--keep-days", "30"], "less than the six months"),
        (["purge", "--state", "nowhere"], "There is no request log in nowhere"),
        (["erase"], "Name one entry, or one day"),
        (["erase", "5", "--day", "2026-11-23"], "Name one entry, or one day"),
        (["erase", "500"], "The log has no entry 500"),
        (["erase", "5", "--state", "nowhere"], "There is no request log in nowhere"),
        (["match", "5", "--text", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["match", "5", "--text", "latin.txt"], "latin.txt is not text"),
        (["receipt", "500"], "The log has no entry 500"),
        (["export", "latin.txt"], "latin.txt already exists"),
        (["verify", "--receipt", "not.json"], "not.json is not JSON"),
        (["verify", "--receipt", "list.json"], "list.json is not a receipt"),
        (["verify", "--receipt", "object.json"], "not a receipt"),
    ],
)
def test_what_cannot_be_done_is_said(limpide: Command, log: Places, options: list[str], said: str) -> None:
    for name, content in (
        ("latin.txt", b"\xe9t\xe9"),
        ("not.json", b"{"),
        ("list.json", b"[]"),
        ("object.json", b"{}"),
    ):
        Path(name).write_bytes(content)
    code, _, err = limpide("log", *options)
    assert code == 2
    assert said in err
    assert not Path("nowhere").exists()


def test_purge_says_what_it_would_remove_and_removes_it(limpide: Command, log: Places) -> None:
    with Clock(now=NOON + 2.2 * DAY).open(log.folder.parent) as writer:
        writer.append("answer")
    code, out, _ = limpide("log", "purge", "--dry-run", "--keep-days", "183")
    assert code == 0
    ages = out
    code, out, _ = limpide("log", "purge", "--json")
    assert code == 0
    assert json.loads(out)["removed"] is True
    assert ("no day is older" in ages) == (json.loads(out)["days"] == [])
    assert limpide("log", "verify")[0] == 0


def test_a_head_is_signed_on_demand(limpide: Command, log: Places) -> None:
    before = len(heads_path(log.heads).read_bytes().splitlines())
    code, out, _ = limpide("log", "sign", "--json")
    assert code == 0
    head = json.loads(out)
    assert head["tree_size"] == 36
    assert len(heads_path(log.heads).read_bytes().splitlines()) == before + 1
    assert limpide("log", "verify")[0] == 0


def test_match_and_erase(limpide: Command, log: Places) -> None:
    text = Path("question.txt")
    text.write_text("question 3\n")  # an editor adds the newline
    code, out, _ = limpide("log", "match", "15", "--text", text)
    assert (code, out) == (0, "The text is the prompt of entry 15, of 2026-11-24T12:00:15.000Z.\n")
    _, out, _ = limpide("log", "match", "16", "--text", text, "--json")
    assert json.loads(out)["state"] == "differs"
    _, out, _ = limpide("log", "match", "0", "--text", text)
    assert "is about no text" in out
    code, out, _ = limpide("log", "erase", "15", "--why", "asked for")
    assert (code, out.split(".")[0]) == (0, "1 key erased")
    _, out, _ = limpide("log", "match", "15", "--text", text)
    assert "can't be told: the key of its texts was erased" in out
    _, out, _ = limpide("log", "show", "--last", "0")
    assert [line.split()[0] for line in out.splitlines() if "texts=erased" in line] == ["15"]
    _, out, _ = limpide("log", "erase", "--day", "2026-11-24", "--json")
    assert json.loads(out) == {"erased": 11}
    assert limpide("log", "verify")[0] == 0


def test_a_receipt_is_checked_with_the_public_key_alone(limpide: Command, log: Places, tmp_path: Path) -> None:
    code, out, _ = limpide("log", "receipt", "17")
    assert code == 0
    assert "receipt-17.json is written" in out
    Path("held.jsonl").write_text(heads_path(log.heads).read_text().splitlines(keepends=True)[2])
    assert limpide("log", "receipt", "18", "--held", "held.jsonl", "--out", "r.json", "--json")[0] == 0
    public = tmp_path / "their.pub"
    log.public.rename(public)
    log.folder.rename(tmp_path / "gone")
    code, out, _ = limpide("log", "verify", "--receipt", "receipt-17.json", "--public-key", public)
    assert code == 0
    assert "Entry 17 is in log" in out
    assert "key=k1" in out
    code, out, _ = limpide("log", "verify", "--receipt", "r.json", "--public-key", public)
    assert "Nothing that the head held since 2026-11-23T12:00:11.000Z counts was changed or removed." in out
    receipt = json.loads(Path("r.json").read_text())
    Path("r.json").write_text(json.dumps({**receipt, "path": []}))
    code, _, err = limpide("log", "verify", "--receipt", "r.json", "--public-key", public)
    assert code == 6
    assert "The receipt does not hold" in err


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_an_export_verifies_alone_with_and_without_limpide(limpide: Command, log: Places, name: str) -> None:
    code, out, _ = limpide("log", "export", name)
    assert (code, out) == (0, f"{name} is written: 36 entries, {len(told(heads_path(log.heads)))} heads that agree\n")
    if name.endswith(".zip"):
        zipfile.ZipFile(name).extractall("copy")
    names = {path.relative_to("copy").as_posix() for path in Path("copy").rglob("*") if path.is_file()}
    days = {f"log/2026-11-{day}.jsonl" for day in (23, 24, 25)}
    assert names == {"README.md", "log.pub", "heads/heads.jsonl", *days}
    assert limpide("log", "verify", "--state", "copy")[0] == 0
    readme = Path("copy/README.md").read_text(encoding="utf-8")
    assert "When this copy was made: it verified." in readme
    script = readme.split("```python\n")[1].split("```")[0]
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, cwd="copy", capture_output=True, text=True, check=True)
    assert done.stdout.startswith("36 entries")
    put(places(Path("copy")), 1, lines_of(places(Path("copy")), 1)[1:])
    assert "does not follow" in subprocess.run(run, cwd="copy", capture_output=True, text=True, check=False).stderr


def test_a_damaged_log_is_exported_as_it_is_and_says_so(limpide: Command, log: Places) -> None:
    put(log, 1, lines_of(log, 1)[1:])
    code, out, err = limpide("log", "export", "copy")
    assert code == 6
    assert "copy is written" in out
    assert "2026-11-24.jsonl:1" in err
    assert "it did NOT verify: 2026-11-24.jsonl:1: entry 12 is missing" in Path("copy/README.md").read_text()
    assert not list(Path().glob(".copy*"))


def test_help_has_an_example(limpide: Command) -> None:
    for command in ("verify", "show", "purge", "export", "match", "erase", "receipt"):
        code, out, _ = limpide("log", command, "--help")
        assert code == 0
        assert f"Example: limpide log {command}" in out
