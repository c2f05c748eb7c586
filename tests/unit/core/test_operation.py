from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from limpide.core.errors import LimpideError
from limpide.core.measure import Measure
from limpide.core.operation import Operation, Result, Settings, Subject


class Some(Settings):
    rate: float = Field(1.0, description="a rate")


def test_result_round_trip(tmp_path: Path) -> None:
    one = Measure(name="a.b", subject="base", value=0.25, unit="share", better="higher", n=4, method="a.b/1")
    result = Result((one,), {"rows": 3, "names": ["é"]}, ("Careful.",))
    result.save(tmp_path)
    assert Result.load(tmp_path) == result


def test_an_empty_result_round_trip(tmp_path: Path) -> None:
    Result().save(tmp_path)
    assert Result.load(tmp_path) == Result()


def test_subject_says_what_is_missing(tmp_path: Path) -> None:
    subject = Subject(tmp_path, inputs={"data": tmp_path})
    assert subject.input("data") == tmp_path
    with pytest.raises(LimpideError, match="'adapt'") as caught:
        subject.input("adapt")
    assert caught.value.received == "data"
    assert caught.value.exit_code == 2
    with pytest.raises(LimpideError, match="needs a model"):
        subject.the_model()
    assert Subject(tmp_path, model=tmp_path).the_model() == tmp_path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a", None])
def test_settings_take_no_number_that_cannot_be_written_down(value: object) -> None:
    with pytest.raises(ValidationError):
        Some.model_validate({"rate": value})


def test_settings_are_immutable_and_refuse_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Some().rate = 2.0  # type: ignore[misc]  # what is tested
    with pytest.raises(ValidationError, match="extra"):
        Some.model_validate({"rat": 1})


def test_room_is_the_first_word_of_the_name() -> None:
    operation = Operation("audit.bias", "look", "s", Some, lambda subject, settings, progress: Result())
    assert operation.room == "audit"
