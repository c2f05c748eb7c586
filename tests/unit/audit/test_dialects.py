"""What all dialects share: names, files and their faults, and who can be asked."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from limpide.audit.bias import BiasSettings, operation
from limpide.audit.dialects import registry, running
from limpide.audit.dialects.found import unable
from limpide.core.errors import DataError, ModelError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from told import Told

COLUMNS = "sent_more,sent_less,stereo_antistereo,bias_type"


def closed(can=("generates",), kind="endpoint"):
    return SimpleNamespace(can=frozenset(can), kind=kind, title="a model", digest=None, facts=lambda: {"seen": 1})


def ask(out: Path, respondent, dialect, file=None, category=None):
    out.mkdir(exist_ok=True)
    settings = BiasSettings(dialect=dialect, file=file, category=category)
    return operation.run(Subject(out=out, respondent=respondent), settings, Quiet())


@pytest.fixture
def crows_file(tmp_path):
    path = tmp_path / "crows.csv"
    path.write_text(f"{COLUMNS}\nShe is bad.,He is bad.,stereo,gender\nOld men nap.,Young men nap.,stereo,age\n")
    return path


def test_the_dialects_say_what_they_are_and_how_they_differ():
    assert [d.name for d in registry.DIALECTS] == [
        *("crows@nangia", "crows@lm-eval", "crows@bias-bench", "bbq@parrish", "bbq@helm", "bbq@lm-eval"),
        *("stereoset", "winobias", "pronouns@limpide", "written@limpide"),
    ]
    for dialect in registry.DIALECTS:
        assert set(running.FAMILIES) >= {dialect.family}
        assert dialect.elsewhere is None or registry.find(dialect.elsewhere)
        assert all(len(text) > 100 for text in (dialect.differs, dialect.known_limits))
        assert all(dialect.record().values())
        siblings = [d.name for d in registry.DIALECTS if d.family == dialect.family and d != dialect]
        assert not siblings or any(name in dialect.differs for name in siblings), dialect.name
    assert "Blodgett" in registry.find("crows@nangia").known_limits
    assert "French" in registry.find("crows@lm-eval").known_limits
    assert registry.find("bbq@lm-eval").slug == "bbq_lm_eval"


def test_an_unknown_dialect_names_the_nearest():
    with pytest.raises(UsageError, match=r"no dialect 'bbq@parish'\. Did you mean 'bbq@parrish'\?"):
        registry.find("bbq@parish")
    with pytest.raises(ValidationError, match="Did you mean 'crows@nangia'"):
        BiasSettings(dialect="crows@nanga", file="x.csv")


@pytest.mark.parametrize("setting", [{"file": "x.csv"}, {"category": "age"}])
def test_a_file_or_category_without_a_dialect_would_be_ignored_and_is_refused(setting):
    with pytest.raises(ValidationError, match="name its dialect too"):
        BiasSettings(**setting)


def test_a_missing_file_says_where_the_set_comes_from(tmp_path):
    with pytest.raises(UsageError, match="does not ship") as error:
        ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval")
    assert "nyu-mll/crows-pairs" in str(error.value)
    assert "--dialect crows@lm-eval --file FILE" in str(error.value)
    with pytest.raises(UsageError, match="not from the hub") as error:
        ask(tmp_path / "out", closed(["scores"]), "bbq@helm", "hub:nyu/bbq@main/Age.jsonl")
    assert "hf download" in str(error.value)


def test_a_misspelt_file_and_a_wrong_kind_of_file(tmp_path, crows_file):
    with pytest.raises(DataError, match=r"There is no file .*crow\.csv.* Did you mean 'crows.csv'"):
        ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval", tmp_path / "crow.csv")
    text = tmp_path / "crows.txt"
    text.write_text("x")
    for wrong in (text, tmp_path):
        with pytest.raises(DataError, match="not a file that the dialect 'crows@lm-eval' reads"):
            ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval", wrong)
    empty = tmp_path / "empty.csv"
    empty.write_text(f"{COLUMNS}\n")
    with pytest.raises(DataError, match="holds no row"):
        ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval", empty)


def test_missing_columns_are_named_with_those_found(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("sent_more,sent_lesser,bias_type\na,b,c\n")
    with pytest.raises(DataError) as error:
        ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval", path)
    assert "lacks columns that 'crows@lm-eval' needs: sent_less" in str(error.value)
    assert "received: sent_more, sent_lesser, bias_type" in str(error.value)


def test_unknown_values_are_reported_together_with_their_lines(tmp_path):
    """The third row spans two lines, so the fourth starts on line 6."""
    path = tmp_path / "pairs.csv"
    path.write_text(f'{COLUMNS}\na,b,sterio,age\n,b,stereo,age\n"one\ntwo",b,stereo,age\na,b,antistereo,\n')
    with pytest.raises(DataError) as error:
        ask(tmp_path / "out", Told(SimpleNamespace(kind="encoder")), "crows@nangia", path)
    assert [(f.line, f.what) for f in error.value.faults] == [
        (2, "'stereo_antistereo' is 'sterio', where it must be stereo or antistereo"),
        (3, "'sent_more' is missing"),
        (6, "'bias_type' is missing"),
    ]


def test_broken_rows_and_bytes_are_refused(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(f"{COLUMNS}\na,b,stereo\n")
    with pytest.raises(DataError, match="1 thing is wrong") as error:
        ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval", path)
    assert error.value.faults[0].line == 2
    path.write_text(f'{COLUMNS}\n"a,b,stereo,age\n')
    with pytest.raises(DataError) as error:
        ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval", path)
    assert "broken CSV" in error.value.faults[0].what
    path.write_bytes(f"{COLUMNS}\nfianc\u00e9e,b,stereo,age\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        ask(tmp_path / "out", closed(["scores"]), "crows@lm-eval", path)
    lines = tmp_path / "set.jsonl"
    lines.write_text('{"type": 1}\n[1]\n{"type"\n')
    with pytest.raises(DataError) as error:
        ask(tmp_path / "out", Told(), "stereoset", lines)
    assert [fault.line for fault in error.value.faults] == [2, 3]


def test_a_category_alone_and_an_unknown_one(tmp_path, crows_file):
    told = Told(likelihood=lambda context, continuation: -float(len(continuation)))
    result = ask(tmp_path / "out", told, "crows@lm-eval", crows_file, "age")
    assert result.facts["category"] == "age"
    assert {m.group.get("category", "age") for m in result.measures} == {"age"}
    with pytest.raises(UsageError, match=r"no category 'gendre'\. Did you mean 'gender'"):
        ask(tmp_path / "out", told, "crows@lm-eval", crows_file, "gendre")


@pytest.mark.parametrize("dialect", ["crows@lm-eval", "crows@nangia", "crows@bias-bench"])
def test_whoever_cannot_tell_likelihoods_gets_measures_that_say_so(tmp_path, crows_file, dialect):
    result = ask(tmp_path / "out", closed(), dialect, crows_file)
    assert {m.state for m in result.measures} == {"not run"}
    assert all("needs the likelihood of given words" in m.note for m in result.measures)
    assert result.facts["seen"] == 1
    assert result.facts["dialect"]["name"] == dialect
    assert json.loads((tmp_path / "out" / "specs.json").read_text())


def test_a_model_seen_from_outside_that_scores_is_not_asked_for_single_tokens(tmp_path, crows_file):
    result = ask(tmp_path / "out", closed(["scores"]), "crows@bias-bench", crows_file)
    assert {m.note for m in result.measures} == {
        "needs the likelihood of single tokens, for which the weights must be on this machine"
    }


@pytest.mark.parametrize(
    ("dialect", "kind", "instead"),
    [
        ("crows@nangia", "decoder", "crows@lm-eval"),
        ("crows@lm-eval", "encoder", "crows@nangia"),
        ("crows@bias-bench", "encoder-decoder", "crows@lm-eval"),
        ("stereoset", "encoder", "crows@nangia"),
    ],
)
def test_a_dialect_of_other_models_names_the_one_to_use(dialect, kind, instead):
    respondent = closed(["scores"], kind)
    with pytest.raises(ModelError) as error:
        unable(SimpleNamespace(dialect=registry.find(dialect), respondent=respondent), tokens=True)
    assert f"received: a model ({kind})" in str(error.value)
    assert f"to do:    use --dialect {instead}" in str(error.value)
