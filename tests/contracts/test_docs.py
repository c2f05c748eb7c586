"""What is written for people is in step with the code."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from limpide.cli.main import COMMANDS
from limpide.core import catalogue
from limpide.core.operation import Operation

ROOT = Path(__file__).parents[2]


def test_reference_and_readme_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: make reference"


@pytest.mark.parametrize("operation", catalogue.every(), ids=lambda op: op.name)
def test_every_setting_is_documented(operation: Operation) -> None:
    missing = [name for name, field in operation.settings.model_fields.items() if not field.description]
    assert missing == []
    assert operation.summary


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_readme_commands_exist() -> None:
    lines = shell_lines((ROOT / "README.md").read_text(encoding="utf-8"))
    assert lines
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for line in lines:
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make":
            assert words[1] in targets, line
        if words[0].endswith("limpide"):
            assert words[1] in COMMANDS or words[1].startswith("-"), line


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


FORBIDDEN = re.compile(r"pyth[o]nhosted|pyp[i]\.org|npmj[s]\.org|debia[n]\.org|/wor[k]/|/roo[t]/|/tm[p]/w\b")


def test_no_registry_and_no_path_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    found = []
    for name in filter(None, listed):
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".yaml", ".json", ".jsonl", ".txt", ""):
            found += [name for line in path.read_text(encoding="utf-8").splitlines() if FORBIDDEN.search(line)]
    assert sorted(set(found)) == []
