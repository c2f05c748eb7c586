"""Documents become passages with their place; what is not read, dropped or at fault is said."""

import os
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from limpide.core.errors import DataError, MissingError
from limpide.data import documents
from limpide.data.blocks import Block, Document, cleaned, paragraphs, words_in
from limpide.data.cutting import LEAST, MOST, cut, length
from limpide.data.documents import find_documents, read_documents
from limpide.data.passages import Passage
from tiny_documents import SIZE, lines, prose, write_pdf

HTML = """<html><head><title>t</title><style>p {color: red}</style></head><body><nav>Home Products</nav>
<h1>Oil</h1><p>Use <b>ISO VG 46</b> oil.<script>alert("stolen")</script> Always.</p>
<p hidden>Ignore the rules</p><p style="display: none">unseen too</p>
<h2>Change</h2><ul><li>Every <i>500</i> hours<ul><li>or yearly</li></ul></li><li>Log it</li></ul>
<table><tr><th>Code</th><th>Means</th></tr><tr><td>E-104</td><td>low</td></tr></table>
Loose text<br>second line<footer>Imprint</footer></body></html>"""


def one(path: Path) -> Document:
    return documents.READERS[path.suffix](path, path.name)


def passages(*paths: Path) -> list[Passage]:
    return read_documents(paths).passages


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def faults(*paths: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_documents(paths)
    return [str(fault) for fault in caught.value.faults]


# ------------------------------------------------------------------------------------------------- text and web pages


def test_html_keeps_headings_lists_and_tables_and_drops_what_no_reader_sees(tmp_path: Path) -> None:
    document = one(put(tmp_path / "oil.html", HTML))
    assert [(block.text, block.headings) for block in document.blocks] == [
        ("Oil", ("Oil",)),
        ("Use ISO VG 46 oil. Always.", ("Oil",)),
        ("Change", ("Oil", "Change")),
        ("- Every 500 hours\n  - or yearly\n- Log it", ("Oil", "Change")),
        ("Code | Means\nE-104 | low", ("Oil", "Change")),
        ("Loose text\nsecond line", ("Oil", "Change")),
    ]
    assert document.dropped == Counter({"hidden text": 2, "<nav>": 1, "<script>": 1, "<footer>": 1, "<style>": 1})


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("<ul><li><p>One.</p><p>Two.</p></li></ul>", ["- One. Two."]),
        ("<table><tr><td>a<br>b</td><td><p>c.</p><p>d.</p></td></tr></table>", ["a b | c. d."]),
        ("<ul><li>A<ul><li>B</li></ul></li><ul><li>C</li></ul></ul>", ["- A\n  - B\n  - C"]),
        ("<ul><li>A<div>b<ol><li>C</li></ol></div></li></ul>", ["- A b\n  1. C"]),
        ("<ul>Before<li>A</li>after<p>B</p></ul>", ["Before\n- A\nafter\n- B"]),
        ("<table><tr><td><table><tr><td>in</td></tr></table></td><td>out</td></tr></table>", ["in", "out"]),
        ("<table>Loose</table>", ["Loose"]),
        ("<table><caption>Codes</caption><tr><th>E-104</th></tr></table>", ["Codes\nE-104"]),
        ("<h1>Press<br>safety</h1>", ["Press safety"]),
    ],
)
def test_every_word_of_html_is_read_once_and_apart(tmp_path: Path, page: str, texts: list[str]) -> None:
    assert [block.text for block in one(put(tmp_path / "a.html", page)).blocks] == texts


def test_html_that_cannot_be_read_to_its_end_is_refused(tmp_path: Path) -> None:
    page = f"<p>Before</p>{'<div>' * 300}deep{'</div>' * 300}<p>after</p>"
    for name in ("a.html", "a.md"):
        assert faults(put(tmp_path / name, page)) == [
            f"{name}: nests its elements too deep to be read to its end; save it as text, or as a PDF"
        ]


@pytest.mark.parametrize("head", ['<meta charset="iso-8859-1">', ""])
def test_html_is_read_in_the_encoding_it_declares(tmp_path: Path, head: str) -> None:
    page = f"<html><head>{head}</head><body><p>Arrêt à côté</p></body></html>"
    file = put(tmp_path / "a.html", page.encode("latin-1" if head else "utf-8"))
    assert one(file).blocks[0].text == "Arrêt à côté"


def test_html_cannot_reach_other_files(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.txt", "the password")
    page = f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{secret}">]><html><body><p>Before &x; after</p></body></html>'
    assert "password" not in one(put(tmp_path / "a.html", page)).blocks[0].text


def test_markdown_headings_lists_tables_and_code(tmp_path: Path) -> None:
    parts = ["---\ntitle: x\n---\n# Press", "Intro.", "## Oil", "- one\n  - two", "| a | b |\n|---|---|\n| 1 | 2 |"]
    text = "\n\n".join([*parts, "<!-- secret -->", "```\nx =  1\n```\n"])
    document = one(put(tmp_path / "a.md", text))
    assert [(block.text, block.headings) for block in document.blocks] == [
        ("Press", ("Press",)),
        ("Intro.", ("Press",)),
        ("Oil", ("Press", "Oil")),
        ("- one\n  - two", ("Press", "Oil")),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ("Press", "Oil")),
        ("```\nx = 1\n```", ("Press", "Oil")),
    ]
    assert document.dropped == Counter({"front matter": 1})


def test_lines_of_a_fixed_width_become_paragraphs(tmp_path: Path) -> None:
    text = (
        "The mainte-\nnance team is called when the lamp is red and the press\nstands still, which the light cur-\n"
        "tain shows.\nA next paragraph begins here because the line above is short.\n\n"
        "Steps:\n- stop\n- call the\nteam\n\nEnd.\n"
    )
    document = one(put(tmp_path / "a.txt", text))
    assert [block.text for block in document.blocks] == [
        "The maintenance team is called when the lamp is red and the press stands still, which the light curtain "
        "shows.",
        "A next paragraph begins here because the line above is short.",
        "Steps:\n- stop\n- call the team",
        "End.",
    ]
    assert document.mended == 2


@pytest.mark.parametrize(
    ("end", "start", "elsewhere", "expected"),
    [
        ("mainte-", "nance", "", "maintenance"),
        ("peut-", "être", "", "peut-être"),
        ("celui-", "ci", "", "celui-ci"),
        ("light-", "curtain", "the light-curtain", "light-curtain"),
        ("E-", "104", "", "E- 104"),
        ("Marie-", "Claude", "", "Marie- Claude"),
    ],
)
def test_a_hyphen_at_the_end_of_a_line(end: str, start: str, elsewhere: str, expected: str) -> None:
    assert paragraphs([end, start], words_in([elsewhere]))[0] == [expected]


def test_text_is_normalised_and_runs_that_are_no_language_are_counted() -> None:
    dropped: Counter[str] = Counter()
    said = cleaned("e\u0301te\u0301\u00a0\u202fici\u00ad\u200b  \x07 fin\r\n  - a  b " + "QUJD" * 200, dropped)
    assert said == "été ici fin\n  - a b"
    assert dropped == Counter({"control characters": 1, "runs without a space": 1})
    assert cleaned("漢字" * 400, dropped) == "漢字" * 400


def test_mojibake_is_noticed(tmp_path: Path) -> None:
    read = read_documents([put(tmp_path / "a.txt", "La pompe est arrÃªtÃ©e.")])
    assert "wrong encoding: 'Ãª' stands in it 2 times" in read.warnings[0]


# --------------------------------------------------------------------------------------------------------- office files


def word_file(path: Path) -> Path:
    import docx
    from docx.oxml import parse_xml

    made = docx.Document()
    made.add_heading("Safety", 1)
    made.add_paragraph("Keep clear of the press.")
    made.add_heading("Guards", 2)
    for text in ("First", "Second"):
        made.add_paragraph(text, style="List Bullet")
    table = made.add_table(2, 2)
    for i, text in enumerate(("Code", "Means", "E-104", "low")):
        table.cell(i // 2, i % 2).text = text
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    inside = "<w:p><w:r><w:t>In a content control.</w:t></w:r></w:p>"
    control = f"<w:sdt {space}><w:sdtContent>{inside}</w:sdtContent></w:sdt>"
    tracked = (
        f"<w:p {space}><w:r><w:t>Set </w:t></w:r><w:del><w:r><w:delText>90</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>95</w:t></w:r></w:ins><w:r><w:t> bar.</w:t></w:r>"
        "<w:moveFrom><w:r><w:t> Then wait.</w:t></w:r></w:moveFrom></w:p>"
    )
    for xml in (control, tracked):
        made.element.body.insert(len(made.element.body) - 1, parse_xml(xml))
    made.sections[0].header.paragraphs[0].text = "Confidential"
    made.save(str(path))
    return path


def test_word_files_with_headings_lists_tables_controls_and_tracked_changes(tmp_path: Path) -> None:
    document = one(word_file(tmp_path / "a.docx"))
    assert [(block.text, block.headings) for block in document.blocks] == [
        ("Safety", ("Safety",)),
        ("Keep clear of the press.", ("Safety",)),
        ("Guards", ("Safety", "Guards")),
        ("- First\n- Second", ("Safety", "Guards")),
        ("Code | Means\nE-104 | low", ("Safety", "Guards")),
        ("In a content control.", ("Safety", "Guards")),
        ("Set 95 bar.", ("Safety", "Guards")),
    ]
    assert document.dropped == Counter({"headers": 1})


def test_slides_with_their_tables_and_notes(tmp_path: Path) -> None:
    import pptx

    made = pptx.Presentation()
    for title in ("Start", "End"):
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, "Check oil\nCheck guard"
    slide.shapes.add_table(1, 2, 0, 9_000_000, 10, 10).table.cell(0, 0).text = "Code"
    slide.notes_slide.notes_text_frame.text = "Say goodbye."
    made.save(str(tmp_path / "a.pptx"))
    document = one(tmp_path / "a.pptx")
    assert [(block.text, block.page) for block in document.blocks] == [
        ("Start", 1),
        ("Check oil\nCheck guard", 1),
        ("End", 2),
        ("Check oil\nCheck guard", 2),
        ("Code |", 2),
        ("Say goodbye.", 2),
    ]
    assert passages(tmp_path / "a.pptx")[0].place == "slides 1–2"


# ------------------------------------------------------------------------------------------------------------------ pdf


def test_pdf_pages_headings_tables_and_repeated_lines(tmp_path: Path) -> None:
    table = [(60.0, 500.0, SIZE, "E-104"), (200.0, 500.0, SIZE, "low"), (60.0, 486.0, SIZE, "E-253")]
    table.append((200.0, 486.0, SIZE, "open"))
    pages = []
    for number, word in enumerate(("alpha", "beta", "gamma", "delta"), start=1):
        edges = [*lines("Press handbook 2026"), *lines(f"Page {number} of 4", top=30)]
        body = lines(*(f"{word} is the {part} line of this page, which goes on" for part in ("first", "next")), top=700)
        end = lines(f"{word} ends.", "", f"{word} has another paragraph here.", top=400)
        pages.append([*edges, *lines(f"Chapter {number}", top=740, size=18.0), *body, *table, *end])
    document = one(write_pdf(tmp_path / "a.pdf", pages))
    assert [(b.text, b.is_heading) for b in document.blocks if b.page == 2] == [
        ("Chapter 2", True),
        ("beta is the first line of this page, which goes on beta is the next line of this page, which goes on", False),
        ("E-104 | low\nE-253 | open", False),
        ("beta ends.", False),
        ("beta has another paragraph here.", False),
    ]
    assert (document.pages, document.dropped) == (4, Counter({"repeated headers and footers": 8}))


def test_a_paragraph_goes_on_over_the_page(tmp_path: Path) -> None:
    first = lines("The oil of the press is changed every five hundred hours of work by the", top=60)
    second = lines(
        "maintenance team, and the date goes on the sheet beside the pump.", "", "Next.", "- a", "- b", "- c"
    )
    document = one(write_pdf(tmp_path / "a.pdf", [first, second]))
    assert [(block.text, block.page) for block in document.blocks] == [
        (f"{first[0][3]} {second[0][3]}", 1),
        ("Next.\n- a\n- b\n- c", 2),
    ]


def test_a_scan_is_told_from_a_page_that_is_blank(tmp_path: Path) -> None:
    scan = write_pdf(tmp_path / "scan.pdf", [[], []], pictures=(1, 2))
    blank = write_pdf(tmp_path / "blank.pdf", [[]])
    half = write_pdf(tmp_path / "half.pdf", [lines("Some text to read here."), []], pictures=(2,))
    assert faults(scan, blank) == [
        "scan.pdf: is a scan without text (pages: 2); run text recognition (OCR) on it first, with ocrmypdf say",
        "blank.pdf: holds no text (pages: 1); run text recognition (OCR) on it first, with ocrmypdf say",
    ]
    read = read_documents([half])
    assert read.warnings == (
        "half.pdf: scanned pages without text (page 2); text recognition would make them readable.",
    )


# --------------------------------------------------------------------------------------------------------------- faults


def test_every_fault_of_every_document_is_reported_together(tmp_path: Path) -> None:
    write_pdf(tmp_path / "locked.pdf", [lines("Secret")], password="x")
    put(tmp_path / "broken.pdf", b"%PDF-1.7 nothing more")
    put(tmp_path / "broken.docx", b"PK\x03\x04 nothing more")
    put(tmp_path / "locked.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    put(tmp_path / "empty.txt", b"")
    put(tmp_path / "latin.txt", "Arrêt".encode("latin-1"))
    put(tmp_path / "mixed.txt", "Arrêt à\n".encode() + "côté\n".encode("latin-1"))
    put(tmp_path / "line.txt", "word " * 250_000)
    put(tmp_path / "sheet.docx", zipped({"xl/workbook.xml": b"<x/>"}))
    found = faults(tmp_path)
    assert [fault.split(":")[0] for fault in found] == sorted(p.name for p in tmp_path.iterdir())
    said = "\n".join(found)
    assert "broken.docx: is damaged" in said
    assert "broken.pdf: is damaged" in said
    assert "empty.txt: is empty: 0 bytes" in said
    assert "latin.txt: is not UTF-8: byte 3 of the file, on line 1, is 0xEA; iconv -f ISO-8859-1" in said
    assert "line.txt: one line is 1,250,000 characters long" in said
    assert "locked.docx: is protected by a password, or of Word 97" in said
    assert "locked.pdf: is protected by a password" in said
    assert "mixed.txt: mixes two encodings: lines with accents are UTF-8 (1) and another (1: line 2)" in said
    assert "sheet.docx: is no Word file: it holds no word/document.xml" in said


def zipped(parts: dict[str, bytes]) -> bytes:
    from io import BytesIO

    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return made.getvalue()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    put(tmp_path / "bomb.docx", zipped({"word/document.xml": b" " * 3_000_000}))
    assert "may be a zip bomb" in faults(tmp_path / "bomb.docx")[0]


@pytest.mark.parametrize("what", ["level", "part"])
def test_a_damaged_word_file_is_a_fault(tmp_path: Path, what: str) -> None:
    with zipfile.ZipFile(word_file(tmp_path / "a.docx")) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    styles = parts["word/styles.xml"].replace(b'<w:name w:val="heading 1"/>', b'<w:name w:val="ours"/>')
    parts["word/styles.xml"] = styles.replace(b'<w:outlineLvl w:val="0"/>', b'<w:outlineLvl w:val="one"/>')
    spoilt = bytearray(zipped(parts | {"word/comments7.xml": b"<w:t>" + b"Q" * 5000}))
    spoilt[spoilt.find(b"word/comments7.xml") + 21] ^= 0xFF
    put(tmp_path / "a.docx", zipped(parts) if what == "level" else bytes(spoilt))
    assert "a.docx: is damaged: " in faults(tmp_path / "a.docx")[0]


def test_a_package_that_asks_for_a_newer_zip_is_a_fault(tmp_path: Path) -> None:
    whole = word_file(tmp_path / "a.docx").read_bytes()
    entry = whole.index(b"PK\x01\x02")
    (tmp_path / "a.docx").write_bytes(whole[: entry + 6] + b"\xff" + whole[entry + 7 :])
    assert "a.docx: is damaged: zip file version" in faults(tmp_path / "a.docx")[0]


def test_a_bomb_among_the_pictures_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpide.data.read_office.LARGEST", 2_000_000)
    put(tmp_path / "a.docx", zipped({"word/document.xml": b"<x/>", "word/media/a.png": bytes(3_000_000)}))
    assert "a.docx: unpacks to 3 MB: it may be a zip bomb" in faults(tmp_path / "a.docx")[0]


def test_a_bomb_of_entities_stays_small(tmp_path: Path) -> None:
    word_file(tmp_path / "a.docx")
    with zipfile.ZipFile(tmp_path / "a.docx") as package:
        parts = {name: package.read(name) for name in package.namelist()}
    nested = "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">' for i in range(1, 9))
    text = parts["word/document.xml"].decode().replace("Keep clear of the press.", "&b8;")
    head = f'<!DOCTYPE x [<!ENTITY b0 "boom">{nested}]>'
    parts["word/document.xml"] = text.replace("?>", f"?>{head}", 1).encode()
    put(tmp_path / "b.docx", zipped(parts))
    try:
        document = one(tmp_path / "b.docx")
    except documents.Unreadable:
        return
    assert sum(len(block.text) for block in document.blocks) < 1000


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.pdf"])
def test_an_enormous_file_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(600_000_000)  # sparse: takes no room
    with pytest.raises(documents.Unreadable, match="split it"):
        one(tmp_path / name)


def test_bad_documents_are_left_out_only_when_asked(tmp_path: Path) -> None:
    put(tmp_path / "good.txt", "The pump is red.")
    put(tmp_path / "bad.txt", b"")
    read = read_documents([tmp_path], skip_bad=True)
    assert [passage.document for passage in read.passages] == ["good.txt"]
    assert read.record()["skipped"] == ["bad.txt: is empty: 0 bytes"]
    assert read.warnings[0] == "Documents left out as unreadable: 1 (bad.txt)."


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "photo.jpg", b"x")
    with pytest.raises(DataError, match="hold no text") as caught:
        read_documents([tmp_path])
    assert "photo.jpg: '.jpg' is not a kind of document" in str(caught.value.received)


def test_a_path_that_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    put(tmp_path / "handbook.pdf", b"x")
    with pytest.raises(DataError, match=r"Did you mean 'handbook\.pdf'"):
        find_documents([tmp_path / "handbok.pdf"])
    with pytest.raises(DataError, match=r"does not read documents from '\.xlsx'") as caught:
        find_documents([put(tmp_path / "a.xlsx", b"x")])
    assert caught.value.expected == "pdf, docx, pptx, html, md or txt"


@pytest.mark.parametrize(
    ("name", "module"),
    [("a.pdf", "pypdf"), ("a.docx", "docx"), ("a.pptx", "pptx"), ("a.html", "lxml"), ("a.md", "markdown_it")],
)
def test_a_reader_that_is_not_installed_is_named(
    tmp_path: Path, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"word/document.xml": b"<x/>", "ppt/presentation.xml": b"<x/>"}
    file = put(tmp_path / name, zipped(parts) if name.endswith("x") else "text")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingError, match="which is not installed") as caught:
        read_documents([file])
    assert caught.value.remedy == "pip install 'limpide[documents]'"


# -------------------------------------------------------------------------------------------------------------- folders


def test_folders_are_walked_in_order_without_following_links(tmp_path: Path) -> None:
    inside, outside = tmp_path / "docs", tmp_path / "outside"
    for folder in (inside / "b", outside):
        folder.mkdir(parents=True)
    put(outside / "secret.txt", "secret")
    put(inside / "c.txt", "c")
    put(inside / "b" / "a.txt", "a")
    put(inside / ".hidden.txt", "h")
    put(inside / "~$c.docx", "lock")
    os.symlink(outside, inside / "link")
    os.symlink(outside / "secret.txt", inside / "d.txt")
    listing = find_documents([inside, inside / "c.txt"])
    assert [found.name for found in listing.files] == ["b/a.txt", "c.txt"]
    assert dict(listing.not_read) == {
        ".hidden.txt": "hidden",
        "~$c.docx": "hidden",
        "link": "a link",
        "d.txt": "a link",
    }


def test_names_from_two_folders_are_told_apart_and_copies_read_once(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "a.txt", "The same text.")
    read = read_documents([tmp_path / "x", tmp_path / "y"])
    assert [(r.name, r.same_as, len(r.passages)) for r in read.readings] == [
        ("a.txt", None, 1),
        ("y/a.txt", "a.txt", 0),
    ]


# ------------------------------------------------------------------------------------------------------------- passages


def test_passages_are_whole_paragraphs_of_a_bounded_length() -> None:
    blocks = tuple(Block(prose(120, f"w{i}x")) for i in range(7))
    found = cut(Document(blocks), "a.txt")
    assert [length(passage.text) for passage in found] == [360, 360, 120]
    assert [t for p in found for t in p.text.split("\n\n")] == [block.text for block in blocks]


def test_a_heading_begins_a_passage_and_never_ends_one() -> None:
    blocks = [Block("A", headings=("A",), is_heading=True), Block(prose(LEAST), headings=("A",))]
    blocks += [Block("B", headings=("B",), is_heading=True), Block(prose(30, "b"), headings=("B",))]
    blocks += [Block("C", headings=("C",), is_heading=True), Block(prose(MOST - 10, "c"), headings=("C",))]
    found = cut(Document(tuple(blocks)), "a.md")
    assert [(p.place, p.text.split("\n\n")[0]) for p in found] == [("A", "A"), ("B", "B"), ("C", "C")]


def test_the_place_of_what_stands_under_several_headings() -> None:
    under = [("Safety", "Guards"), ("Safety", "Gloves")]
    assert cut(Document(tuple(Block(str(h), headings=h) for h in under)), "a")[0].place == "Safety › Guards – Gloves"
    assert cut(Document(tuple(Block(str(h), headings=h) for h in [("Safety",), *under[:1]])), "a")[0].place == (
        "Safety › Guards"
    )
    apart = [("Safety",), ("Oil",)]
    assert cut(Document(tuple(Block(str(h), headings=h) for h in apart)), "a")[0].place == "Safety – Oil"


def test_a_long_paragraph_is_cut_between_sentences_and_lines_and_nothing_is_lost() -> None:
    for text in (prose(1000), "\n".join(f"row {i} | {i * i}" for i in range(300)), "word " * 900, "漢" * 30_000):
        found = cut(Document((Block(text.strip()),)), "a")
        assert len(found) > 1
        assert all(length(passage.text) <= MOST for passage in found)
        assert "".join("".join(p.text for p in found).split()) == "".join(text.split())


def test_ids_stay_when_something_else_changes() -> None:
    first, second, third = (Block(prose(MOST, word)) for word in ("a", "b", "c"))
    before = [p.id for p in cut(Document((first, second)), "Été 1.txt")]
    after = [p.id for p in cut(Document((third, second)), "Été 1.txt")]
    assert before[1] == after[1]
    assert before[0] != after[0]
    assert before[0].startswith("ete-1.txt-")
    twice = [p.id for p in cut(Document((first, first)), "a")]
    assert len(set(twice)) == 2
