"""`limpide correct`: its places, its exit codes, what it prints, and what it refuses before any work."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import correction_stand_in as stand_in
from adapted import save_adapter
from commands import Command, calling
from limpide.cli import correct as command
from limpide.cli.lists import repeated
from limpide.core import catalogue, files
from limpide.core.operation import Result

Path_ = Callable[[str], Path]


@pytest.fixture
def correct(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setattr(command, "kinds", lambda: [stand_in.operation])
    monkeypatch.setattr(command, "app", command.make_app())
    monkeypatch.chdir(tmp_path)

    return calling(capsys, "correct")


# ---------------------------------------------------------------------------------------------------------- the command


def test_an_accepted_correction_is_kept_with_its_evidence(correct: Command, tiny_path: Path_) -> None:
    model = tiny_path("llama")
    said = correct("bias", model, "--axes", "gender,origin", "--seed", 3, "--out", "made")
    assert said.code == 0
    assert "Accepted: the gender gap fell by 46% [38; 53]" in said.words
    assert "the gender gap 0.62 → 0.34 nats" in said.words
    assert "perplexity on ordinary text 18.20 → 18.31 (worse by less than 2%: held)" in said.words
    assert "9 more, all within their limits" in said.words
    assert "hides it there, and does not remove it" in said.words
    assert "\x1b[" not in said.out
    assert files.read_json(Path("made/model/config.json")) == {"axes": ["gender", "origin"], "seed": 3}
    assert not Path("made/corrected").exists()
    record = files.read_json(Path("made/correction.json"))
    assert record["model"]["title"] == str(model)
    assert record["rerun"] == shlex.join(
        ["limpide", "correct", "bias", str(model), "--seed", "3", "--axes", "gender", "--axes", "origin"]
    )
    assert record["rerun"].replace("'", "&#39;") in Path("made/report.html").read_text(encoding="utf-8")
    assert Result.load(Path("made")).facts["inputs"] == []


def test_what_to_do_next_names_files_that_are_there(correct: Command, tiny_path: Path_) -> None:
    said = correct("bias", tiny_path("llama"), "--out", "made")
    lines = [shlex.split(line) for line in said.out.splitlines() if line.startswith("  limpide")]
    assert [line[:2] for line in lines] == [["limpide", "compare"], ["limpide", "serve"]]
    assert lines[0][2:] == [str(tiny_path("llama")), "made/model"]
    assert Path(lines[1][2]).is_file()
    for place in ("made/model", "made/correction.json", "made/report.html"):
        assert place in said.out
        assert Path(place).exists()


def test_the_place_it_is_kept_in_follows_from_the_model(correct: Command, tiny_path: Path_) -> None:
    assert correct("bias", tiny_path("llama")).code == 0
    (kept,) = Path("corrected").iterdir()
    assert kept.name.endswith("-bias")
    again = correct("bias", tiny_path("llama"))
    assert again.code == 2
    assert "is not empty" in again.words
    assert "--out" in again.words


@pytest.mark.parametrize(
    ("outcome", "code", "expected"),
    [
        ("refused", 3, "Refused: perplexity rose by 31% where less than 2% was allowed"),
        ("undecided", 3, "Not decided: 4 templates"),
        ("nothing", 0, "Nothing to correct: the gender gap"),
    ],
)
def test_exit_codes_tell_what_came_of_it(
    correct: Command, tiny_path: Path_, outcome: str, code: int, expected: str
) -> None:
    said = correct("bias", tiny_path("llama"), "--method", outcome, "--out", "made")
    assert said.code == code
    assert expected in said.words
    assert "The weights are as they were" in said.words
    assert not Path("made/model").exists()
    assert "limpide compare" not in said.words
    assert Path("made/report.html").is_file()  # the evidence of a refusal is kept
    assert ("read made/report.html" in said.err) is (code == 3)


def test_as_json(correct: Command, tiny_path: Path_) -> None:
    said = correct("bias", tiny_path("llama"), "--json", "--out", "made")
    assert json.loads(said.out) == files.read_json(Path("made/correction.json"))
    refused = correct("bias", tiny_path("llama"), "--json", "--method", "refused", "--out", "other")
    assert json.loads(refused.out)["verdict"] == "refused"
    assert json.loads(refused.err.splitlines()[-1])["error"] == "GateFailed"


def test_in_french_with_a_page_elsewhere(correct: Command, tiny_path: Path_) -> None:
    said = correct("bias", tiny_path("llama"), "--report-language", "fr", "--html", "page.html", "--out", "made")
    assert said.code == 0
    assert "Acceptée : l’écart selon le genre a baissé de 46 %" in said.words
    assert Path("page.html").read_bytes() == Path("made/report.html").read_bytes()
    assert '<html lang="fr">' in Path("page.html").read_text(encoding="utf-8")


def test_texts_of_others_do_not_command_the_terminal(correct: Command, tiny_path: Path_) -> None:
    said = correct("bias", tiny_path("llama"), "--method", "hostile", "--out", "made")
    assert said.code == 0
    assert "<script" not in Path("made/report.html").read_text(encoding="utf-8")


def test_options_reach_the_operation_and_the_command_that_repeats_it(correct: Command, tiny_path: Path_) -> None:
    options = ("--wordings", "In Paris, that is", "--wordings=-x", "--erasure.layers", "3,4", "--erasure.no-merge")
    assert correct("bias", tiny_path("llama"), *options, "--out", "made").code == 0
    given = Result.load(Path("made")).facts["settings"]
    assert given["wordings"] == ["In Paris, that is", "-x"]
    assert given["erasure"] == {"layers": [3, 4], "merge": False}
    again = shlex.split(files.read_json(Path("made/correction.json"))["rerun"])
    assert correct(*again[2:], "--out", "again").code == 0
    assert Result.load(Path("again")).facts["settings"] == given


def test_prepared_data_is_handed_on(correct: Command, tiny_path: Path_) -> None:
    Path("data").mkdir()
    assert correct("bias", tiny_path("llama"), "--data", "data", "--out", "made").code == 0
    assert Result.load(Path("made")).facts["inputs"] == ["data"]


def test_an_interrupted_correction_goes_on(correct: Command, tiny_path: Path_, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(files, "write_text", stop)
        assert correct("bias", tiny_path("llama"), "--out", "made").code == 130
    (kept,) = Path().iterdir()
    assert kept.name.startswith(".made.")
    (kept / "finished").touch()
    assert correct("bias", tiny_path("llama"), "--out", "made").code == 0
    assert (Path("made") / "finished").exists()
    assert [path.name for path in Path().iterdir()] == ["made"]


def test_a_run_whose_name_was_taken_keeps_its_result(
    correct: Command, tiny_path: Path_, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_text

    def meanwhile(path: Path, text: str) -> None:
        write(path, text)
        Path("made").mkdir(exist_ok=True)
        (Path("made") / "others").touch()

    monkeypatch.setattr(files, "write_text", meanwhile)
    said = correct("bias", tiny_path("llama"), "--out", "made")
    assert said.code == 2
    assert "another run" in said.words
    (kept,) = (path for path in Path().iterdir() if path.name.startswith(".made."))
    assert (kept / "report.html").is_file()


def test_an_empty_folder_is_used(correct: Command, tiny_path: Path_) -> None:
    Path("made").mkdir()
    assert correct("bias", tiny_path("llama"), "--out", "made").code == 0
    assert Path("made/model").is_dir()


# ------------------------------------------------------------------------------------------------------------ bad input


def test_weights_that_cannot_be_changed(correct: Command, tiny_path: Path_) -> None:
    for ref in ("https://api.example.org/v1#large", "gpt-4o"):
        said = correct("bias", ref)
        assert said.code == 2
        assert "cannot be corrected from outside: its weights are closed" in said.words
        assert "limpide audit bias http" in said.words
    said = correct("bias", "model-q8_0.GGUF")
    assert said.code == 2
    assert "rounded" in said.words
    assert "open the folder of the weights that the file was made from" in said.words
    assert "There is no model" in correct("bias", "no-such-model").words


def test_an_adapter_alone_is_not_a_model(correct: Command, tiny_path: Path_, tmp_path: Path) -> None:
    base = tiny_path("llama")
    save_adapter(base, tmp_path / "adapter", 0.5)
    config = files.read_json(tmp_path / "adapter" / "adapter_config.json")
    files.write_json(tmp_path / "adapter" / "adapter_config.json", config | {"base_model_name_or_path": str(base)})
    said = correct("bias", tmp_path / "adapter")
    assert said.code == 2
    assert "is an adapter; what is corrected is a whole model" in said.words


def test_places_are_checked_before_the_work(correct: Command, tiny_path: Path_) -> None:
    Path("file").write_text("x")
    Path("full").mkdir()
    Path("full/x").write_text("x")
    for options, expected in (
        (("--out", "file"), "is a file"),
        (("--out", "full"), "is not empty"),
        (("--html", "."), "needs a file name"),
        (("--html", "no/such/page.html"), "There is no folder no/such"),
    ):
        said = correct("bias", tiny_path("llama"), *options)
        assert said.code == 2
        assert expected in said.words
        assert "correcting" not in said.err


def test_a_wrong_option_or_kind_is_told(correct: Command, tiny_path: Path_) -> None:
    said = correct("bias", tiny_path("llama"), "--axes", "gender,gendre")
    assert said.code == 2
    assert "--axes" in said.words
    assert "limpide correct bias --help" in said.words
    assert 'Did you mean "bias"?' in correct("biass", tiny_path("llama")).words
    assert "Did you mean --method?" in correct("bias", tiny_path("llama"), "--methd", "refused").words


def test_help_has_an_example(correct: Command) -> None:
    assert "limpide correct bias smollm2-135m-instruct --method auto" in correct("--help").words
    said = correct("bias", "--help")
    assert said.code == 0
    assert "Stand in for a correction." in said.words
    assert "Example: limpide correct bias smollm2-135m-instruct" in said.words


# --------------------------------------------------------------------------------------------- derived from operations


def test_every_goal_of_the_catalogue_has_its_command() -> None:
    assert [operation.name for operation in command.kinds()] == [f"correct.{goal}" for goal in catalogue.GOALS]
    for goal in catalogue.GOALS:
        assert goal in command.app


def test_lists_are_repeated_and_texts_are_left_whole() -> None:
    given = ["--axes", "gender, origin", "--wordings", "a, b", "--erasure.layers=1,2", "--method", "refused", "--axes="]
    assert repeated(given, stand_in.StandInSettings) == [
        *("--axes", "gender", "--axes", "origin", "--wordings", "a, b"),
        *("--erasure.layers", "1", "--erasure.layers", "2", "--method", "refused", "--axes", ""),
    ]
