"""The command line as a person or a script meets it: what is printed where, and the exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from commands import Command, calling
from limpide.cli import main as command_line
from limpide.cli.main import COMMANDS
from limpide.core import catalogue, errors
from limpide.core.errors import Fault, LimpideError
from limpide.release.sign import sign_folder
from stand_ins import Bench, bench, edit, key_folder, recipe, tiny_base

__all__ = ["bench", "key_folder", "recipe", "tiny_base"]

LEAVES = [[name] for name in COMMANDS if name not in ("audit", "data", "keys")]
LEAVES += [
    ["data", "check"],
    ["data", "show"],
    ["data", "card"],
    ["keys", "new"],
    *(["audit", suite] for suite in ("all", *catalogue.suites())),
]


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str]) -> Command:
    return calling(capsys)


def process(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limpide.cli.main", *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


# ------------------------------------------------------------------------------------------------- help and mistakes


@pytest.mark.parametrize("command", [[], *LEAVES], ids=" ".join)
def test_every_help_has_an_example(limpide: Command, command: Sequence[str]) -> None:
    said = limpide(*command, "--help")
    assert said.code == 0
    assert f"Example: limpide {' '.join(command)}" in " ".join(said.out.split())
    assert said.err == ""


@pytest.mark.parametrize("command", [[], ["audit"], ["data"], ["keys"]], ids=" ".join)
def test_without_a_command_the_help_is_shown(limpide: Command, command: Sequence[str]) -> None:
    said = limpide(*command)
    assert said.code == 0
    assert "Usage: limpide" in said.out


def test_version(limpide: Command) -> None:
    from limpide import __version__

    assert limpide("--version").out.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "said", "to_do"),
    [
        (["rum"], 'Did you mean "run"?', "limpide --help"),
        (["run", "x", "--dryrun"], "Did you mean --dry-run?", "limpide run --help"),
        (["data", "check", "--modle", "x"], "Did you mean --model?", "limpide data check --help"),
        (["run"], "requires an argument", "limpide run --help"),
        (["audit", "bais", "x"], 'Did you mean "bias"?', "limpide audit --help"),
        (["audit", "bias", "x", "--seed", "many"], "many", "limpide audit bias --help"),
        (["audit", "bias", "x", "--axes", "height"], "height", "limpide audit bias --help"),
        (["init", "x", "--language", "de"], "Input should be 'en' or 'fr', received 'de'", "limpide init --help"),
        (["init", "x", "--users", ""], "--users: ", "limpide init --help"),
        (["open", "a", "b"], "b", "limpide open --help"),
    ],
)
def test_mistakes_in_a_command(limpide: Command, arguments: list[str], said: str, to_do: str) -> None:
    found = limpide(*arguments)
    assert found.code == 2
    assert said in found.err
    assert f"to do:    {to_do}" in found.err
    assert found.err.count("Did you mean") <= 1
    assert "Traceback" not in found.err
    assert "pydantic" not in found.err
    assert found.out == ""
    assert limpide(*arguments, "--json").error()["exit_code"] == 2


# --------------------------------------------------------------------------------------------------------- exit codes

RAISED = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LimpideError)]


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    from limpide.models.families import capabilities

    def fail() -> None:
        raise error

    monkeypatch.setattr(capabilities, "load_capabilities", fail)


@pytest.mark.parametrize("kind", RAISED)
def test_every_error_has_its_code_and_its_two_forms(
    limpide: Command, monkeypatch: pytest.MonkeyPatch, kind: type[LimpideError]
) -> None:
    error = kind("Bad é.", received=1, remedy="do this", faults=[Fault("f.yaml", 3, "wrong")])
    raising(monkeypatch, error)
    said = limpide("families")
    assert (said.code, said.out) == (kind.exit_code, "")
    assert said.err == "Bad é.\n  f.yaml:3: wrong\n  received: 1\n  to do:    do this\n"
    said = limpide("families", "--json")
    assert (said.code, said.out) == (kind.exit_code, "")
    assert said.error() == error.record()


def test_a_fault_in_limpide_is_told_without_a_traceback(limpide: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError("oops"))
    said = limpide("families")
    assert said.code == 1
    assert "A fault in Limpide: ZeroDivisionError: oops" in said.err
    assert "LIMPIDE_DEBUG=1" in said.err
    assert limpide("families", "--json").error()["exit_code"] == 1
    monkeypatch.setenv("LIMPIDE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        limpide("families")


def test_ctrl_c(limpide: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    said = limpide("families")
    assert said.code == 130
    assert "Stopped." in said.err
    assert limpide("families", "--json").error()["exit_code"] == 130


def test_a_reader_that_leaves_early_is_no_error() -> None:
    script = f"{sys.executable} -m limpide.cli.main families --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split("{")[-1].strip() in ("0", "141")


def test_a_real_process_leaves_with_the_code() -> None:
    done = process("open", "smollm2-135m-instruct-2")
    assert done.returncode == 2
    assert "Did you mean 'smollm2-135m-instruct'?" in done.stderr
    assert done.stdout == ""


# -------------------------------------------------------------------------------------------------------- the commands


def test_families(limpide: Command) -> None:
    said = limpide("families")
    table = limpide("families", "--json").json()
    assert "Llama" in said.out
    assert all(title in said.out for title in table)
    assert {len(cells) for cells in table.values()} == {len(next(iter(table.values())))}


def test_keys_are_never_overwritten(limpide: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "keys" / "release.pem"
    made = limpide("keys", "new", key, "--json").json()
    assert (made["private"], made["public"]) == (str(key), str(key.with_suffix(".pub")))
    before = {p: p.read_bytes() for p in key.parent.iterdir()}
    said = limpide("keys", "new", key)
    assert said.code == 2
    assert str(key) in said.err
    assert {p: p.read_bytes() for p in key.parent.iterdir()} == before
    monkeypatch.setenv("LIMPIDE_KEY_PASSWORD", "open sesame")
    limpide("keys", "new", tmp_path / "locked.pem")
    assert "ENCRYPTED" in (tmp_path / "locked.pem").read_text()


@pytest.fixture
def signed(tmp_path: Path, key_folder: Path) -> Path:
    folder = tmp_path / "release-1.0.0"
    (folder / "gguf").mkdir(parents=True)
    (folder / "README.md").write_text("# Card\n")
    (folder / "gguf" / "model.gguf").write_bytes(bytes(100))
    sign_folder(folder, key_folder / "release.pem")
    return folder


def test_verify_and_approve(limpide: Command, signed: Path, key_folder: Path) -> None:
    verify = ("verify", signed, "--key", key_folder / "release.pub")
    said = limpide(*verify)
    assert said.code == 0
    assert "2 files are exactly as signed" in said.out
    assert "no approval" in said.out
    words = "Regardé\u00a0: tout\u202f!"  # the spaces of French
    approve = limpide(
        "approve", signed, "--name", "Ada [Martin]", "--key", key_folder / "release.pem", "--statement", words
    )
    assert approve.code == 0, approve.err
    assert "Approved by Ada [Martin]" in approve.out
    assert "approved by Ada [Martin]" in limpide(*verify).out
    record = limpide(*verify, "--json").json()
    assert record["valid"] is True
    assert [a["statement"] for a in record["approvals"]] == [words]


def test_a_changed_byte_is_named(limpide: Command, signed: Path, key_folder: Path) -> None:
    (signed / "gguf" / "model.gguf").write_bytes(bytes(99) + b"\1")
    (signed / "more.txt").write_text("x")
    (signed / "README.md").unlink()
    said = limpide("verify", signed, "--key", key_folder / "release.pub", "--json")
    assert said.code == 6
    assert said.out == ""
    assert {fault["file"] for fault in said.error()["faults"]} == {"gguf/model.gguf", "more.txt", "README.md"}


@pytest.mark.parametrize("command", ["ask", "serve"])
def test_nothing_is_loaded_from_a_release_that_changed(
    limpide: Command, signed: Path, key_folder: Path, command: str
) -> None:
    (signed / "gguf" / "model.gguf").write_bytes(b"\1")
    question = ["Hello?"] if command == "ask" else []
    assert limpide(command, signed, *question, "--key", key_folder / "release.pub").code == 6


def test_a_missing_key_or_folder(limpide: Command, signed: Path, tmp_path: Path, key_folder: Path) -> None:
    for folder, key in ((signed, tmp_path / "no.pub"), (tmp_path / "no", key_folder / "release.pub")):
        said = limpide("verify", folder, "--key", key)
        assert said.code == 2
        assert "no" in said.err


def test_init_then_dry_run(limpide: Command, tmp_path: Path, tiny_base: Path) -> None:
    path = tmp_path / "a b" / "recipe.yaml"
    said = limpide("init", path, "--name", "Fault codes!", "--base", tiny_base, "--yes")
    assert said.code == 0
    assert f"limpide run {path}" in said.out
    before = path.read_bytes()
    assert limpide("init", path, "--yes").code == 2
    assert path.read_bytes() == before
    plan = limpide("run", path, "--dry-run", "--json")
    assert plan.code == 0, plan.err
    assert next(s["step"] for s in plan.json()["steps"]) == "data"
    assert not any(s["done"] for s in plan.json()["steps"])
    assert [p.name for p in path.parent.iterdir()] == ["recipe.yaml"]
    assert "release" in limpide("run", path, "--dry-run").out
    missing = str(path.parent / "examples.jsonl")  # nobody has written it yet, and the plan says so
    assert plan.json()["missing"] == [missing]
    assert f"{missing}: the run will stop there" in limpide("run", path, "--dry-run").out
    assert plan.json()["too_few"] == []
    rows = [{"prompt": f"{word} of the press?", "answer": word} for word in ("Ram", "Oil", "Belt", "Door", "Light")]
    Path(missing).write_text("\n".join(json.dumps(row) for row in rows))
    few = {one["gate"]: one for one in limpide("run", path, "--dry-run", "--json").json()["too_few"]}
    assert few["domain.accuracy improves"]["needed"] == 6
    assert "needs at least 6 independent held-out questions" in limpide("run", path, "--dry-run").out


def test_init_where_nothing_can_be_written(limpide: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = limpide("init", tmp_path / "file" / "recipe.yaml", "--yes")
    assert said.code == 2
    assert "Nothing can be written" in said.err


def test_a_recipe_with_faults(limpide: Command, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("nam: a\n")
    said = limpide("run", path, "--json")
    assert said.code == 2
    assert {"file": "recipe.yaml", "line": 1, "what": "unknown key 'nam'. Did you mean 'name'?"} in said.error()[
        "faults"
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


# ------------------------------------------------------------------------------------------------- run, with stand-ins


def test_run_twice(
    limpide: Command, bench: Bench, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = limpide("run", recipe)
    assert said.code == 0, said.err
    assert "Signed release: releases/press-1.0.0" in said.out
    assert "limpide verify releases/press-1.0.0 --key project/keys/release.pub" in said.out
    again = limpide("run", recipe)
    assert again.out.startswith("Nothing to do: releases/press-1.0.0 is up to date")
    record = limpide("run", recipe, "--json").json()
    assert (record["verdict"], record["made"], record["steps"]) == ("ship", False, {})
    assert limpide("verify", "releases/press-1.0.0", "--key", recipe.parent / "keys" / "release.pub").code == 0
    plan = limpide("run", recipe, "--dry-run", "--json").json()
    assert all(step["done"] for step in plan["steps"])


def test_run_says_hold_with_its_code(limpide: Command, bench: Bench, recipe: Path, tmp_path: Path) -> None:
    bench.change = 1.0
    said = limpide("run", recipe, "--folder", tmp_path, "--json")
    assert said.code == 3
    assert said.out == ""
    assert "worsens by less than 5%" in said.error()["what"]
    assert not (tmp_path / "releases").exists()


def test_run_waits_for_a_named_person(limpide: Command, bench: Bench, recipe: Path, tmp_path: Path) -> None:
    edit(recipe, "{sign_with", "{approval: required, sign_with")
    run = ("run", recipe, "--folder", tmp_path)
    said = limpide(*run)
    assert said.code == 4
    assert "limpide approve" in said.err
    key = recipe.parent / "keys" / "release.pem"
    assert limpide("approve", tmp_path / "releases" / "press-1.0.0", "--name", "Ada", "--key", key).code == 0
    assert limpide(*run).code == 0


def test_from_needs_a_yes_where_nobody_can_be_asked(
    limpide: Command, bench: Bench, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.change = 1.0
    run = ("run", recipe, "--folder", tmp_path)
    limpide(*run)
    bench.ran.clear()
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115  # closed with the process
    said = limpide(*run, "--from", "parity")
    assert (said.code, bench.ran) == (2, [])
    assert "--yes" in said.err
    assert limpide(*run, "--from", "parity", "--yes").code == 3
    assert bench.ran[0] == "parity"


def test_ctrl_c_in_a_run_keeps_what_was_finished(limpide: Command, bench: Bench, recipe: Path, tmp_path: Path) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    bench.before["export"] = stop
    assert limpide("run", recipe, "--folder", tmp_path).code == 130
    bench.before.clear()
    bench.ran.clear()
    assert limpide("run", recipe, "--folder", tmp_path).code == 0
    assert bench.ran[0] == "export"


def test_a_release_of_another_recipe_stops_the_run_at_once(
    limpide: Command, bench: Bench, recipe: Path, tmp_path: Path
) -> None:
    limpide("run", recipe, "--folder", tmp_path)
    bench.ran.clear()
    edit(recipe, "epochs: 2", "epochs: 3")
    said = limpide("run", recipe, "--folder", tmp_path)
    assert said.code == 2
    assert "raise `version`" in said.err
    assert bench.ran == []


# ---------------------------------------------------------------------------------------------------- on a tiny model


def test_open(limpide: Command, tiny_base: Path) -> None:
    said = limpide("open", tiny_base)
    assert said.code == 0, said.err
    assert "Llama" in said.out
    record = limpide("open", tiny_base, "--json").json()
    assert record["family"] == "llama"
    assert "training data" in record["unknown"]
    assert {f["name"] for f in record["files"]} >= {"config.json", "model.safetensors"}


def test_open_refuses_what_could_run_code(limpide: Command, tiny_base: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "evil"
    shutil.copytree(tiny_base, folder)
    (folder / "modeling_evil.py").write_text("raise SystemExit('run!')")
    said = limpide("open", folder, "--json")
    assert said.code == 5
    assert "modeling_evil.py" in said.err


def test_data_show_marks_what_is_trained(limpide: Command, recipe: Path, tiny_base: Path) -> None:
    said = limpide("data", "show", recipe.parent / "examples.jsonl", "--model", tiny_base, "--rows", "2")
    assert said.code == 0, said.err
    assert "«Answer 0.<|im_end|>»" in said.out
    assert "Question 1?" in said.out
    assert "Question 2?" not in said.out
    assert "\x1b" not in said.out
    one = limpide(
        "data", "show", recipe.parent / "examples.jsonl", "--model", tiny_base, "--rows", "1", "--json"
    ).json()[0]
    trained = "".join(t["text"] for t in one["tokens"] if t["trained"])
    assert trained == "Answer 0.<|im_end|>"
    assert {t["role"] for t in one["tokens"] if t["trained"]} == {"assistant"}


def test_data_show_colours_on_a_terminal(
    limpide: Command, recipe: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    said = limpide("data", "show", recipe.parent / "examples.jsonl", "--model", tiny_base, "--rows", "1")
    assert "\x1b[30;42mAnswer 0.<|im_end|>\x1b[0m" in said.out
    assert "«" not in said.out


def test_data_show_of_a_bad_file(limpide: Command, tmp_path: Path, tiny_base: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"prompt": "a"}\n')
    said = limpide("data", "show", path, "--model", tiny_base)
    assert said.code == 2
    assert "examples.jsonl" in said.err
    assert limpide("data", "show", tmp_path / "none.jsonl", "--model", tiny_base).code == 2


def test_audit_bias(limpide: Command, tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bias"
    command = ("audit", "bias", tiny_base, "--axes", "gender", "--languages", "en")
    said = limpide(*command, "--out", out)
    assert said.code == 0, said.err
    assert "bias.gap[axis=gender,language=en]" in said.out
    assert sorted(p.name for p in out.parent.iterdir()) == ["bias"]
    assert {"items.jsonl", "measures.jsonl", "result.json"} <= {p.name for p in out.iterdir()}
    again = limpide(*command, "--out", out)
    assert again.code == 2
    assert "exists" in again.err
    measures = limpide(*command, "--json")
    assert measures.code == 0
    assert {m["name"] for m in measures.json()} >= {"bias.gap"}
    assert all("event" in json.loads(line) for line in measures.err.splitlines())


def test_audit_that_fails_leaves_nothing(limpide: Command, tiny_base: Path, tmp_path: Path) -> None:
    said = limpide("audit", "domain", tiny_base, "--out", tmp_path / "out")
    assert said.code != 0
    assert list(tmp_path.glob("*out*")) == list(tmp_path.glob("tmp*")) == []


def test_audit_of_something_else(limpide: Command, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("x")
    for model in (tmp_path / "words.txt", tmp_path, tmp_path / "none"):
        assert limpide("audit", "bias", model).code == 2


def test_warnings_of_libraries_are_not_for_users() -> None:
    assert command_line.__doc__
    done = process("families")
    assert (done.returncode, done.stderr) == (0, "")
