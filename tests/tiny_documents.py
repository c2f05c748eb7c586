"""Small documents of every kind, made in milliseconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Placed = tuple[float, float, float, str]  # x, y in points from the bottom left; size in points; text

TOP, PITCH, SIZE = 780.0, 14.0, 11.0


def lines(*texts: str, top: float = TOP, x: float = 60.0, size: float = SIZE) -> list[Placed]:
    """Texts one below the other; '' leaves a line empty."""
    return [(x, top - PITCH * i, size, text) for i, text in enumerate(texts) if text]


def write_pdf(
    path: Path, pages: Sequence[Sequence[Placed]], *, pictures: Sequence[int] = (), password: str = ""
) -> Path:
    """A PDF in Helvetica. pictures: numbers of the pages that hold an image."""
    from pypdf import PdfWriter
    from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, NumberObject

    writer = PdfWriter()
    named = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
    font = writer._add_object(DictionaryObject({NameObject(k): NameObject(v) for k, v in named.items()}))
    for number, placed in enumerate(pages, start=1):
        page = writer.add_blank_page(595, 842)
        content = DecodedStreamObject()
        content.set_data(b"".join(_shown(*one) for one in placed))
        page[NameObject("/Contents")] = writer._add_object(content)
        resources: dict[Any, Any] = {
            NameObject("/Font"): DictionaryObject({NameObject("/F"): font}),
        }
        if number in pictures:
            image = DecodedStreamObject()
            image.set_data(b"\x00")
            image[NameObject("/Type")], image[NameObject("/Subtype")] = NameObject("/XObject"), NameObject("/Image")
            for side in ("/Width", "/Height"):
                image[NameObject(side)] = NumberObject(1)
            image[NameObject("/ColorSpace")] = NameObject("/DeviceGray")
            image[NameObject("/BitsPerComponent")] = NumberObject(8)
            resources[NameObject("/XObject")] = DictionaryObject({NameObject("/I"): writer._add_object(image)})
        page[NameObject("/Resources")] = DictionaryObject(resources)
        page[NameObject("/Annots")] = ArrayObject()
    if password:
        writer.encrypt(password, algorithm="AES-256")
    with path.open("wb") as file:
        writer.write(file)
    return path


def _shown(x: float, y: float, size: float, text: str) -> bytes:
    coded = text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    return b"BT /F %g Tf 1 0 0 1 %g %g Tm (" % (size, x, y) + coded + b") Tj ET\n"


def prose(count: int, word: str = "valve", start: int = 0) -> str:
    """`count` words in sentences of ten, different from those of another word."""
    made = [f"{word}{start + i}{'.' if i % 10 == 9 else ''}" for i in range(count)]
    return " ".join(made)
