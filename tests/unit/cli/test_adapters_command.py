"""`limpide adapters`: merging, comparing and publishing from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from checked_page import Checked
from commands import Command, calling
from limpide.adapt.factors import load_adapter
from limpide.adapt.imported import CONFIG, WEIGHTS
from limpide.core import files
from shared_adapters import random_adapter


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str]) -> Command:
    return calling(capsys, "adapters")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_path: Callable[[str], Path]) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pair")
    base = tiny_path("llama")
    return random_adapter(base, root / "first", 1), random_adapter(base, root / "second", 2, r=2)


def test_merge_writes_an_adapter_and_says_how(limpide: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    said = limpide("merge", *pair, "--weights", "0.75,-0.25", "--out", tmp_path / "both")
    assert said.code == 0, said.err
    assert "weight -0.25, rank 2" in said.out
    assert "limpide adapters compare" in said.out
    assert load_adapter(tmp_path / "both").rank == 6


def test_merge_as_json_states_what_factoring_lost(limpide: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    options = ("--method", "dare", "--density", "0.5", "--rank", 2, "--seed", 7, "--json")
    said = limpide("merge", *pair, *options, "--out", tmp_path / "both")
    record = json.loads(said.out)
    assert 0 < record["relative_error"] < 1
    assert (record["seed"], record["density"], record["rank"]) == (7, 0.5, 2)


def test_nothing_is_overwritten_and_nothing_is_left_behind(
    limpide: Command, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "both").mkdir()
    assert limpide("merge", *pair, "--out", tmp_path / "both").code == 2
    said = limpide("merge", pair[0], "--out", tmp_path / "one")
    assert said.code == 2
    assert "two adapters or more" in said.err
    assert limpide("merge", *pair, "--method", "teis", "--out", tmp_path / "typo").code == 2
    said = limpide("merge", *pair, "--rank", "4", "--out", tmp_path / "unread")
    assert said.code == 2
    assert "linear keeps every entry" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["both"]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_compare_writes_a_page(limpide: Command, pair: tuple[Path, Path], tmp_path: Path, language: str) -> None:
    said = limpide("compare", *pair, "--out", tmp_path / "compared", "--report-language", language)
    assert said.code == 0, said.err
    assert "q_proj" in said.out
    assert Checked((tmp_path / "compared" / "report.html").read_text(encoding="utf-8")).attributes
    record = files.read_json(tmp_path / "compared" / "comparison.json")
    assert len(record["modules"]) == 4
    assert json.loads(limpide("compare", *pair, "--json").out) == record


def test_names_in_the_page_are_somebody_elses_text(
    limpide: Command, pair: tuple[Path, Path], tmp_path: Path, tiny_path: Callable[[str], Path]
) -> None:
    odd = random_adapter(tiny_path("llama"), tmp_path / "<b>x", 3)
    assert limpide("compare", pair[0], odd, "--out", tmp_path / "compared").code == 0
    assert "<b>x" not in (tmp_path / "compared" / "report.html").read_text(encoding="utf-8")


def test_an_adapter_that_is_not_there_is_said(limpide: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    for said in (
        limpide("merge", pair[0], tmp_path / "nothere", "--out", tmp_path / "both"),
        limpide("compare", pair[0], tmp_path / "nothere"),
    ):
        assert said.code == 2
        assert f"There is no adapter folder {tmp_path / 'nothere'}" in said.err
        assert "check the path" in said.err


def test_adapters_are_told_apart_by_their_paths(
    limpide: Command, tmp_path: Path, tiny_path: Callable[[str], Path]
) -> None:
    """`adapt` calls each of them 'adapter'."""
    made = [random_adapter(tiny_path("llama"), tmp_path / name / "adapter", k) for k, name in enumerate("ab")]
    said = limpide("merge", *made, "--out", tmp_path / "both", "--json")
    assert [one["name"] for one in json.loads(said.out)["adapters"]] == ["a/adapter", "b/adapter"]
    said = limpide("compare", *made, "--json")
    assert [one["name"] for one in json.loads(said.out)["adapters"]] == ["a/adapter", "b/adapter"]
    said = limpide("compare", made[0], made[0], "--json")
    assert [one["name"] for one in json.loads(said.out)["adapters"]] == ["adapter", "adapter"]


# --------------------------------------------------------------------------------------------------------- publishing


@pytest.fixture
def shared(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """An adapter as a training leaves it: its losses, its states and its data lie beside."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path in pair[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = files.read_json(folder / CONFIG) | {"base_model_name_or_path": "/home/alice/models/press-base"}
    files.write_json(folder / CONFIG, config)
    files.write_text(folder / "train.jsonl", '{"a": 1}\n')
    files.write_text(folder / "LICENSE", "Apache License\n")
    return folder


def test_publishing_in_a_folder_copies_the_adapter_alone(limpide: Command, shared: Path, tmp_path: Path) -> None:
    said = limpide("publish", shared, tmp_path / "public")
    assert said.code == 0, said.err
    assert "Left out: train.jsonl" in said.out
    assert sorted(p.name for p in (tmp_path / "public").iterdir()) == ["LICENSE", "README.md", CONFIG, WEIGHTS]
    assert files.read_json(tmp_path / "public" / CONFIG)["base_model_name_or_path"] == "press-base"
    assert "/home/alice" in files.read_json(shared / CONFIG)["base_model_name_or_path"]
    assert "alice" not in (tmp_path / "public" / "README.md").read_text()
    assert load_adapter(tmp_path / "public").rank == 4
    assert limpide("publish", shared, tmp_path / "public").code == 2


@pytest.mark.parametrize(
    "place", ["/home/alice/models/press-base", r"C:\Users\alice\press-base", "../alice/press-base"]
)
def test_what_is_published_tells_no_place_of_this_machine(
    limpide: Command, shared: Path, tmp_path: Path, place: str
) -> None:
    """Not even in the card that another tool wrote."""
    files.write_json(shared / CONFIG, files.read_json(shared / CONFIG) | {"base_model_name_or_path": place})
    (shared / "README.md").write_text(f"---\nbase_model: {place}\n---\nTuned from {place}.\n")
    said = limpide("publish", shared, tmp_path / "public")
    assert said.code == 0, said.err
    for path in (tmp_path / "public").iterdir():
        assert b"alice" not in path.read_bytes()
    assert "Tuned from press-base." in (tmp_path / "public" / "README.md").read_text()
    assert "in README.md" in said.out


@pytest.mark.parametrize(
    ("named", "wanted", "told"),
    [
        (
            "/home/alice/.cache/limpide/models/smollm2-135m-instruct-b179c9523d0e",
            "smollm2-135m-instruct",
            "Limpide alone",
        ),
        ("smollm2-135m-instruct-b179c9523d0e", "smollm2-135m-instruct", "--base owner/name"),
        ("/home/alice/models/press-base", "press-base", "nobody else can find the base by 'press-base'"),
        ("house/base", "house/base", None),
    ],
)
def test_the_base_is_published_as_others_can_find_it(
    limpide: Command, shared: Path, tmp_path: Path, named: str, wanted: str, told: str | None
) -> None:
    files.write_json(shared / CONFIG, files.read_json(shared / CONFIG) | {"base_model_name_or_path": named})
    said = limpide("publish", shared, tmp_path / "public")
    assert said.code == 0, said.err
    assert files.read_json(tmp_path / "public" / CONFIG)["base_model_name_or_path"] == wanted
    assert told in said.out if told else "--base" not in said.out


def test_an_interrupted_adapter_is_published_as_one(limpide: Command, shared: Path, tmp_path: Path) -> None:
    files.write_json(shared / "unfinished.json", {"stage": "answers", "validation_loss": 2.5})
    said = limpide("publish", shared, tmp_path / "public")
    assert "stopped in the stage answers and never finished" in said.out
    assert "stopped before its end" in (tmp_path / "public" / "README.md").read_text()


def test_a_base_of_the_hub_keeps_its_name_in_the_card(limpide: Command, shared: Path, tmp_path: Path) -> None:
    files.write_json(shared / CONFIG, files.read_json(shared / CONFIG) | {"base_model_name_or_path": "press"})
    (shared / "README.md").write_text("For the press.\n")
    assert limpide("publish", shared, tmp_path / "public", "--base", "house/press").code == 0
    assert (tmp_path / "public" / "README.md").read_text() == "For the press.\n"


@pytest.mark.parametrize("text", ["[]", "{"])
def test_a_broken_configuration_is_not_published(limpide: Command, shared: Path, tmp_path: Path, text: str) -> None:
    (shared / CONFIG).write_text(text)
    said = limpide("publish", shared, tmp_path / "public")
    assert said.code == 2
    assert f"{CONFIG} is not" in said.err


class Hub:
    """Stands in for the hub's client: keeps what would be sent."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault, self.made, self.sent = fault, [], {}  # type: ignore[var-annotated]

    def __call__(self) -> "Hub":
        return self

    def create_repo(self, name: str, **options: Any) -> None:
        if self.fault:
            raise self.fault
        self.made.append((name, options))

    def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> str:
        self.sent = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return f"hub address of {repo_id}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", stand_in)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    return stand_in


def test_publishing_on_the_hub_needs_a_yes(limpide: Command, shared: Path, hub: Hub) -> None:
    said = limpide("publish", shared, "hub:house/press")
    assert said.code == 2
    assert "add --yes" in said.err
    assert WEIGHTS in said.out, "what would be public is listed before anything is asked"
    assert hub.made == []


def test_publishing_on_the_hub_sends_what_was_listed(limpide: Command, shared: Path, hub: Hub) -> None:
    said = limpide("publish", shared, "hub:house/press", "--base", "house/base", "--private", "--yes", "--json")
    record = json.loads(said.out)
    assert record["published"] == "hub address of house/press"
    assert hub.made == [("house/press", {"private": True, "exist_ok": True})]
    assert set(hub.sent) == set(record["files"]) == {"LICENSE", "README.md", CONFIG, WEIGHTS}
    assert json.loads(hub.sent[CONFIG])["base_model_name_or_path"] == "house/base"
    assert record["left_out"] == ["train.jsonl"]


def test_publishing_says_why_it_cannot(
    limpide: Command, shared: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "hub:owner/name" in limpide("publish", shared, "hub:house", "--yes").err
    hub.fault = ConnectionError("no route")
    said = limpide("publish", shared, "hub:house/press", "--yes")
    assert said.code == 2
    assert "could not be reached" in said.err
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "HF_TOKEN" in limpide("publish", shared, "hub:house/press", "--yes").err
    said = limpide("publish", tmp_path / "nowhere", tmp_path / "x")
    assert "is not an adapter that can be published" in said.err


def test_a_pickle_is_never_published(limpide: Command, shared: Path, tmp_path: Path) -> None:
    (shared / WEIGHTS).write_bytes(b"\x80\x04pickle")
    said = limpide("publish", shared, tmp_path / "public")
    assert said.code == 5
    assert not (tmp_path / "public").exists()
