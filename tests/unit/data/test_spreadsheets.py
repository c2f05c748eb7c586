"""Spreadsheets and Parquet: the rows a person sees, and every file that cannot be read as one."""

import json
import random
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from limpide.core.errors import DataError, LimpideError, MissingError, UntrustedInput
from limpide.data import spreadsheet
from limpide.data.reading import Reading, read_examples

SHEET = "xl/worksheets/sheet1.xml"
HEADER = ("prompt", "answer", "topic")
ROWS = (("What is E-104?", "Pump overheated.", "E-104"), ("What is E-105?", "Oil low.", "E-105"))


def sheet(
    folder: Path, *rows: Sequence[object], name: str = "a.xlsx", edit: Callable[[Any], None] | None = None
) -> Path:
    """A workbook of one sheet, 'Cards'. edit: what else is done to the workbook."""
    book = openpyxl.Workbook()
    book.active.title = "Cards"
    for row in rows:
        book.active.append(list(row))
    if edit is not None:
        edit(book)
    book.save(folder / name)
    return folder / name


def rewritten(path: Path, part: str, change: Callable[[str], str]) -> Path:
    """The workbook with the XML of one part changed."""
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    parts[part] = change(parts[part].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return path


def answers(reading: Reading) -> list[str]:
    return [example.answer for example in reading.examples]


def refusal(path: Path, sheet: str | None = None, kind: type[LimpideError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        read_examples(path, sheet=sheet)
    return str(caught.value)


# --- what is read ---


def test_every_format_gives_the_same_examples(tmp_path: Path) -> None:
    records = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    sheet(tmp_path, HEADER, *ROWS)
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in (HEADER, *ROWS)))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "a.parquet")
    read = {kind: read_examples(tmp_path / f"a.{kind}") for kind in ("xlsx", "csv", "jsonl", "parquet")}
    kept = {kind: [e.model_dump(exclude={"id", "source"}) for e in r.examples] for kind, r in read.items()}
    assert kept["xlsx"] == kept["csv"] == kept["jsonl"] == kept["parquet"]
    assert [e.source for e in read["xlsx"].examples] == ["a.xlsx:2", "a.xlsx:3"]
    assert [e.source for e in read["parquet"].examples] == ["a.parquet:1", "a.parquet:2"]
    assert all(reading.warnings == () for reading in read.values())


def test_rows_have_the_numbers_that_a_person_sees(tmp_path: Path) -> None:
    path = sheet(tmp_path, (), HEADER, ROWS[0], (), (None, None, None), ROWS[1])
    assert [e.source for e in read_examples(path).examples] == ["a.xlsx:3", "a.xlsx:6"]


def test_the_first_sheet_with_rows_is_read_and_the_others_said(tmp_path: Path) -> None:
    def add(book: Any) -> None:
        book.create_sheet("Cover", 0).append(["Our cards"])
        book.create_sheet("Old").append(["prompt", "answer"])
        book["Old"].append(["Old?", "Old."])
        book.create_sheet("Secret", 0).append(["prompt", "answer"])
        book["Secret"].append(["?", "!"])
        book["Secret"].sheet_state = "hidden"

    path = sheet(tmp_path, HEADER, *ROWS, edit=add)
    reading = read_examples(path)
    assert answers(reading) == [row[1] for row in ROWS]
    assert reading.warnings == (
        "a.xlsx: the sheet 'Cards' was read; not read: Secret, Cover, Old. "
        "For another one, set data.sheet to its name.",
    )
    assert answers(read_examples(path, sheet="Old")) == ["Old."]
    assert answers(read_examples(path, sheet="Secret")) == ["!"]
    text = refusal(path, sheet="Card")
    assert "has no sheet 'Card'. Did you mean 'Cards'?" in text
    assert "received: sheets Secret, Cover, Cards, Old" in text


def test_a_sheet_asked_for_without_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,answer\nQ,A\n")
    assert "no file of examples is a spreadsheet" in refusal(tmp_path / "a.csv", sheet="Cards")


def test_numbers_are_read_as_they_are_seen_or_refused(tmp_path: Path) -> None:
    def formats(book: Any) -> None:
        for place, shown in (("B6", "0%"), ("B7", "0000"), ("B3", "0")):
            book.active[place].number_format = shown

    values = (
        104,
        105.0,
        -3,
        3.14,
        0.5,
        104,
        date(2024, 3, 5),
        datetime(2024, 3, 5, 9),
        timedelta(hours=2),
        True,
        10**16,
    )
    path = sheet(tmp_path, HEADER, *((f"Q{n}", value) for n, value in enumerate(values)), edit=formats)
    assert answers(read_examples(path, skip_bad_rows=True)) == ["104", "105", "-3"]
    text = refusal(path)
    for said in (
        "a.xlsx:5: 'answer' must be text, not the number 3.14 (cell B5)",
        "a.xlsx:6: 'answer' must be text, not the number 0.5 (cell B6)",
        "a.xlsx:7: 'answer' must be text, not the number 104 (cell B7)",
        "a.xlsx:8: 'answer' must be text, not a date or a time (cell B8): give the column the format Text",
        "a.xlsx:9: 'answer' must be text, not a date",
        "a.xlsx:10: 'answer' must be text, not a date",
        "a.xlsx:11: 'answer' must be text, not true or false (cell B11)",
        "a.xlsx:12: 'answer' must be text, not the number 1e+16 (cell B12)",
    ):
        assert said in text
    assert text.startswith("8 things are wrong")


def test_formulas_give_the_result_the_file_holds(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADER, ("Q1", '="A"&"1"'), ("Q2", '="A"&"2"'), ("Q3", "#N/A"), ("Q4", '=""'))
    rewritten(path, SHEET, lambda xml: xml.replace('r="B2">', 'r="B2" t="str">').replace("<v></v>", "<v>A1</v>", 1))
    rewritten(path, SHEET, lambda xml: xml.replace('r="B5">', 'r="B5" t="str">'))
    assert answers(read_examples(path, skip_bad_rows=True)) == ["A1"]
    text = refusal(path)
    assert "a.xlsx:3: 'answer' must be text, not a formula whose result the file does not hold" in text
    assert "a.xlsx:4: 'answer' must be text, not the error #N/A (cell B4)" in text
    assert "a.xlsx:5: 'answer' is empty" in text


def test_a_line_end_of_a_windows_cell(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADER, ("Q", "one_x000D_\ntwo_x000D_three"))
    assert answers(read_examples(path)) == ["one\ntwo\nthree"]


def test_texts_kept_apart_from_the_sheet_as_excel_does(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADER, ("MARK 0", "MARK 1"))
    rewritten(path, SHEET, lambda xml: re.sub(r't="inlineStr"><is><t>MARK (.)</t></is>', r't="s"><v>\1</v>', xml))
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    said = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    rewritten(path, "[Content_Types].xml", lambda xml: xml.replace("</Types>", said))
    texts = "<si><t>Why?</t></si><si><r><t>Because </t></r><r><rPr><b/></rPr><t>it is hot.</t></r></si>"
    with zipfile.ZipFile(path, "a") as package:
        main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        package.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}">{texts}</sst>')
    assert answers(read_examples(path)) == ["Because it is hot."]


def test_hidden_rows_are_read_and_said(tmp_path: Path) -> None:
    def hide(book: Any) -> None:
        book.active.row_dimensions[3].hidden = True

    reading = read_examples(sheet(tmp_path, HEADER, *ROWS, edit=hide))
    assert len(reading.examples) == 2
    assert reading.warnings == ("a.xlsx: hidden rows of the sheet 'Cards' were read like the others: 1.",)


def test_marks_are_found_wherever_the_blocks_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(book: Any) -> None:
        book.active.merge_cells("C3:C4")
        book.active.row_dimensions[3].hidden = book.active.row_dimensions[5].hidden = True

    path = sheet(tmp_path, HEADER, *((f"Q{n}", "A") for n in range(9)), ("Q", "=1+1"), edit=mark)
    monkeypatch.setattr(spreadsheet, "OVERLAP", 200)
    for block in (201, 207, 250, 2**20):
        monkeypatch.setattr(spreadsheet, "BLOCK", block)
        marks = spreadsheet._marks(path, SHEET)
        assert [merge.name for merge in marks.merges] == ["C3:C4"]
        assert (marks.hidden, marks.uncalculated) == (2, {"B11"})


# --- sheets at fault ---


def test_merged_cells_are_named_where_they_hide_what_is_needed(tmp_path: Path) -> None:
    def merge(book: Any) -> None:
        book.active.merge_cells("C2:C4")
        book.active.merge_cells("B5:C5")
        book.active.merge_cells("D2:D5")

    rows = [(f"Q{n}", f"A{n}", "T", "note") for n in range(4)]
    text = refusal(sheet(tmp_path, (*HEADER, "note"), *rows, edit=merge))
    assert "3 things are wrong" in text
    for row, cells in ((3, "C2:C4"), (4, "C2:C4"), (5, "B5:C5")):
        assert f"a.xlsx:{row}: 'topic' must be text, not a cell hidden by the merged cells {cells}: split them" in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "a.xlsx is empty: it holds no row."),
        ([HEADER], "a.xlsx is empty: it holds no row."),
        ([("Our cards",), HEADER, *ROWS], "a.xlsx:2: row 1 names one column, and this row has 3: delete the title"),
        ([("prompt", "answer", "prompt"), ROWS[0]], "a.xlsx:1: two columns are named 'prompt'"),
        ([("prompt", "answer", 2024), ROWS[0]], None),
        ([("prompt", "answer", date(2024, 1, 1)), ROWS[0]], "a.xlsx:1: column 3 has no text as its name"),
        ([("prompt", "answer"), ROWS[0]], "a.xlsx:2: a value in a column that has no name on the first row"),
        ([HEADER, ("Q", None, "T")], "a.xlsx:2: 'answer' is empty"),
    ],
)
def test_sheet_at_fault(tmp_path: Path, rows: list[Sequence[object]], said: str | None) -> None:
    path = sheet(tmp_path, *rows)
    if said is None:
        assert read_examples(path).columns.unused == ("2024",)
    else:
        assert said in refusal(path)


def test_rows_beyond_the_size_that_a_file_declares_are_not_lost(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADER, *ROWS)
    rewritten(path, SHEET, lambda xml: re.sub(r'<dimension ref="[^"]*"', '<dimension ref="A1:B2"', xml))
    assert len(read_examples(path).examples) == 2
    assert read_examples(path).examples[1].topic == "E-105"


def test_a_cell_at_the_far_corner_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheet, "MOST_ROWS", 2**16)  # a whole sheet takes a second

    def corner(book: Any) -> None:
        book.active["XFD65536"] = "x"

    text = refusal(sheet(tmp_path, HEADER, *ROWS, edit=corner))
    assert "a.xlsx:65536: a value in a column that has no name" in text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "is protected by a password."),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600 + "Workbook".encode("utf-16-le"), "a spreadsheet of an older Office (.xls)"),
        (b"\xff\xd8\xff\xe0 a picture", "it is damaged, or of another kind than its name says"),
        (b"", "it is damaged"),
        (b"prompt,answer\nQ,A\n", "save it again as 'Excel workbook (.xlsx)'"),
    ],
)
def test_no_spreadsheet(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.xlsx").write_bytes(data)
    assert said in refusal(tmp_path / "a.xlsx")


def test_a_damaged_spreadsheet(tmp_path: Path) -> None:
    whole = sheet(tmp_path, HEADER, *ROWS).read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[: len(whole) // 2])
    assert "it is damaged" in refusal(tmp_path / "cut.xlsx")
    with zipfile.ZipFile(tmp_path / "zip.xlsx", "w") as package:
        package.writestr("hello.txt", "no sheet here")
    assert "it is damaged" in refusal(tmp_path / "zip.xlsx")
    entry = whole.index(b"PK\x01\x02")
    (tmp_path / "new.xlsx").write_bytes(whole[: entry + 6] + b"\xff" + whole[entry + 7 :])
    assert "zip file version" in refusal(tmp_path / "new.xlsx")
    path = rewritten(sheet(tmp_path, HEADER, *ROWS), SHEET, lambda xml: xml[:-40])
    assert "a.xlsx:4: the rest of the sheet cannot be read" in refusal(path)


def test_a_zip_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADER, *ROWS)
    rewritten(path, SHEET, lambda xml: xml + " " * 20_000_000)
    assert path.stat().st_size < 50_000
    assert "unpacks to 20 MB" in refusal(path, kind=UntrustedInput)


def test_a_zip_bomb_is_refused_whatever_its_parts_are_called(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADER, *ROWS)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package:
        package.writestr("xl/sharedStrings.bin", bytes(20_000_000))
    assert "unpacks to 20 MB" in refusal(path, kind=UntrustedInput)


def test_a_zip_bomb_that_lies_gives_no_more_than_it_declares(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADER, *ROWS)
    rewritten(path, SHEET, lambda xml: xml.replace("<sheetData>", " " * 20_000_000 + "<sheetData>"))
    with zipfile.ZipFile(path) as package:
        declared = package.getinfo(SHEET).file_size
    path.write_bytes(path.read_bytes().replace(declared.to_bytes(4, "little"), (5000).to_bytes(4, "little")))
    assert "it is damaged" in refusal(path)


def test_entities_that_multiply_are_not_expanded(tmp_path: Path) -> None:
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    laughs = f'<!DOCTYPE x [<!ENTITY a0 "{"ha" * 50}">{levels}]>'
    path = sheet(tmp_path, HEADER, ("Q", "MARK"))
    rewritten(path, SHEET, lambda xml: laughs + xml.replace("MARK", "&a9;"))
    assert "it is damaged" in refusal(path)


@pytest.mark.parametrize(("name", "module"), [("a.xlsx", "openpyxl"), ("a.parquet", "pyarrow")])
def test_a_reader_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    (tmp_path / name).write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    text = refusal(tmp_path / name, kind=MissingError)
    assert f"Reading {name} needs {module}, which is not installed." in text
    assert "pip install 'limpide[tables]'" in text


def test_no_damage_gives_anything_but_a_message(tmp_path: Path) -> None:
    records = [{"prompt": f"Où {n} ?", "answer": f"Là, {n}.", "topic": "t"} for n in range(20)]
    whole = {
        "csv": "\n".join(["prompt,answer,topic", *(",".join(f'"{v}"' for v in r.values()) for r in records)]).encode(),
        "jsonl": "\n".join(map(json.dumps, records)).encode(),
        "json": json.dumps(records).encode(),
        "xlsx": sheet(tmp_path, HEADER, *(list(r.values()) for r in records)).read_bytes(),
    }
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "a.parquet")
    whole["parquet"] = (tmp_path / "a.parquet").read_bytes()
    draw, refused = random.Random(1), 0
    for kind in [*whole] * 30:
        data, path = bytearray(whole[kind]), tmp_path / f"damaged.{kind}"
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data))
            data[at : at + draw.choice((0, 1, 1, 30))] = draw.randbytes(draw.choice((0, 1, 1, 3)))
        path.write_bytes(data)
        try:
            read_examples(path, skip_bad_rows=draw.random() < 0.5)
        except LimpideError:
            refused += 1
    assert refused > 75


# --- Parquet ---


def test_nested_columns_are_conversations(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "tool_calls": None}]
    rows = [
        {"messages": chat, "made": datetime(2024, 1, 1), "score": 0.5},
        {"messages": [chat[0], {"role": "assistant", "content": "B"}], "made": None, "score": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    reading = read_examples(tmp_path / "a.parquet")
    assert answers(reading) == ["A", "B"]
    assert reading.columns.unused == ("made", "score")


def test_numbers_of_classes_are_read_as_their_names(tmp_path: Path) -> None:
    label = {"names": ["calm", "angry"], "_type": "ClassLabel"}
    told = {"info": {"features": {"text": {"dtype": "string"}, "label": label}}}
    table = pyarrow.Table.from_pylist([{"text": f"T{n}", "label": n % 2} for n in range(6)])
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(told)}), tmp_path / "a.parquet")
    reading = read_examples(tmp_path / "a.parquet")
    assert [e.label for e in reading.examples] == ["calm", "angry"] * 3
    assert "the numbers of 'label' are read as their names: calm, angry" in reading.warnings[0]
    parquet.write_table(table, tmp_path / "b.parquet")
    assert "the labels are numbers (0, 1)" in read_examples(tmp_path / "b.parquet").warnings[0]


def test_values_that_are_no_text(tmp_path: Path) -> None:
    arrays = {
        "prompt": pyarrow.array(["Q1", "Q2"]),
        "answer": pyarrow.array([1, 2], pyarrow.timestamp("ns")),
        "topic": pyarrow.array([b"x", b"y"]),
    }
    parquet.write_table(pyarrow.table(arrays), tmp_path / "a.parquet")
    text = refusal(tmp_path / "a.parquet")
    assert "a.parquet:1: 'answer' must be text, not a date or a time" in text
    assert "a.parquet:2: 'topic' must be text, not bytes" in text


def test_parquet_at_fault(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist([{"prompt": f"Q{n}" * 40, "answer": f"A{n}" * 40} for n in range(5000)])
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1000)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert "it is damaged, cut short, or protected" in refusal(tmp_path / "cut.parquet")
    middle = len(whole) // 2
    (tmp_path / "bad.parquet").write_bytes(whole[:middle] + bytes(20_000) + whole[middle + 20_000 :])
    assert "the rest of the file is damaged" in refusal(tmp_path / "bad.parquet")
    parquet.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    assert "none.parquet is empty: it holds no row." in refusal(tmp_path / "none.parquet")
    parquet.write_table(pyarrow.table([[1], [2]], names=["a", "a"]), tmp_path / "two.parquet")
    assert "two columns are named 'a'" in refusal(tmp_path / "two.parquet")
    (tmp_path / "text.parquet").write_text("prompt,answer\n")
    assert "is not a Parquet file" in refusal(tmp_path / "text.parquet")
