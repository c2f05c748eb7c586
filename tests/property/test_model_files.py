"""Whatever happens to the bytes of a model file, it is read right or refused in words: never a crash."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limpide.core.errors import ModelError, UntrustedInput
from limpide.models.gguf_header import read_gguf
from limpide.models.safetensors_header import read_header
from limpide.models.template_safety import check_template
from tiny import tiny_folder, tiny_gguf

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("files")
    return tiny_folder("llama", root) / "model.safetensors", tiny_gguf(root / "tiny.gguf")


@SETTINGS
@given(share=st.floats(0, 0.9999))
def test_a_cut_file_is_never_accepted(share: float, files: tuple[Path, Path], tmp_path: Path) -> None:
    for path, read in zip(files, (read_header, read_gguf), strict=True):
        whole = path.read_bytes()
        (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises((UntrustedInput, ModelError)):
            read(tmp_path / "cut")


@SETTINGS
@given(at=st.integers(0, 4000), value=st.integers(0, 255))
def test_a_changed_byte_of_the_header_never_crashes(
    at: int, value: int, files: tuple[Path, Path], tmp_path: Path
) -> None:
    for path, read in zip(files, (read_header, read_gguf), strict=True):
        data = bytearray(path.read_bytes())
        data[at] = value
        (tmp_path / "changed").write_bytes(data)
        refusal = None
        try:
            read(tmp_path / "changed")
        except (UntrustedInput, ModelError) as error:
            refusal = error
        assert refusal is None or refusal.remedy


@SETTINGS
@given(shapes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4), extra=st.integers(-3, 3))
def test_only_an_exact_cover_is_accepted(shapes: list[tuple[int, int]], extra: int, tmp_path: Path) -> None:
    import json

    header, at = {}, 0
    for i, (rows, columns) in enumerate(shapes):
        size = rows * columns * 4
        header[f"t{i}"] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    (tmp_path / "made").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(max(0, at + extra)))
    if max(0, at + extra) == at:
        assert {n: t.shape for n, t in read_header(tmp_path / "made").tensors.items()} == {
            f"t{i}": shape for i, shape in enumerate(shapes)
        }
    else:
        with pytest.raises(UntrustedInput):
            read_header(tmp_path / "made")


@SETTINGS
@given(text=st.text(max_size=200))
def test_any_text_as_a_template(text: str) -> None:
    refusal = None
    try:
        check_template(text, "here")
    except (UntrustedInput, ModelError) as error:
        refusal = error
    assert refusal is None or refusal.what.startswith("here")


@SETTINGS
@given(name=st.from_regex(r"_[a-z_]{0,12}", fullmatch=True))
def test_no_underscored_attribute_ever_passes(name: str) -> None:
    for text in ("{{ messages.%s }}", "{{ x['%s'] }}", "{{ (x | list).%s }}", "{%% for a in b.%s %%}{%% endfor %%}"):
        with pytest.raises(UntrustedInput):
            check_template(text % name, "here")
