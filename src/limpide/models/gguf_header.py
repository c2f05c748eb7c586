"""Reads what a GGUF file says about itself: its metadata and where its tensors lie, every size checked before use.

Layout, all little-endian: "GGUF", version u32, number of tensors u64, number of key-value pairs u64; the pairs (key,
type u32, value); the tensors (name, number of dimensions u32, dimensions u64 …, type u32, offset u64); padding to
`general.alignment`; the data. A string is a u64 length and UTF-8 bytes. Source: the GGUF specification of ggml.
"""

import math
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core.errors import ModelError, UntrustedInput

VERSIONS = (2, 3)
LARGEST_TEXT = 4_000_000  # bytes of one metadata string
MOST_TENSORS = 100_000
MOST_PAIRS = 100_000
MOST_ITEMS = 10_000_000  # of one array: the largest vocabularies have some 300 thousand tokens
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """shape: as GGUF writes it, fastest dimension first. kind: ggml's name of the type (F32, Q4_1 …)."""

    kind: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True)
class Gguf:
    """metadata: {key: value}, arrays as lists. data_start: byte where the tensors begin."""

    version: int
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]
    data_start: int


class _Cursor:
    """Reads forward in a buffer, and says 'truncated' instead of running off its end."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path, self.data, self.at, self.end = path, data, 0, len(data)

    def take(self, size: int, what: str) -> bytes:
        if self.at + size > self.end:
            raise _truncated(self.path, f"it ends inside {what}", self.end, f"more than {self.at + size} bytes")
        piece: bytes = self.data[self.at : self.at + size]
        self.at += size
        return piece

    def number(self, form: str, what: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def text(self, what: str) -> str:
        size = self.number("<Q", what)
        if size > LARGEST_TEXT:
            raise _lies(self.path, f"{what} claims {size} bytes", f"at most {LARGEST_TEXT}")
        try:
            return self.take(size, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _lies(self.path, f"{what} is not UTF-8 text", str(error)) from error

    def bounded(self, form: str, most: int, what: str) -> int:
        value: int = self.number(form, what)
        if value > most:
            raise _lies(self.path, f"{what}: {value}", f"at most {most}")
        return value


def read_gguf(path: Path) -> Gguf:
    """Metadata and tensor table of the GGUF file at `path`.

    Raises ModelError where the file is not GGUF or is cut, UntrustedInput where its header is impossible.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        if magic != b"GGUF":
            raise ModelError(
                f"{path} is not a GGUF file.",
                received=f"first bytes {magic!r}",
                expected="b'GGUF'",
                remedy="check the name of the file, and download it again",
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(_Cursor(path, data), size)


def _read(cursor: _Cursor, size: int) -> Gguf:
    cursor.take(4, "its first bytes")
    version = cursor.number("<I", "its version")
    if version not in VERSIONS:
        raise ModelError(
            f"{cursor.path} has a GGUF version that Limpide does not read.",
            received=version,
            expected=" or ".join(map(str, VERSIONS)) + ", little-endian",
            remedy="convert the model again with a present llama.cpp",
        )
    tensor_count = cursor.bounded("<Q", MOST_TENSORS, "number of tensors")
    pair_count = cursor.bounded("<Q", MOST_PAIRS, "number of metadata entries")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = cursor.text("a metadata key")
        if key in metadata:
            raise _lies(cursor.path, f"metadata '{key[:80]}' is given twice", "each key once")
        metadata[key] = _value(cursor, cursor.number("<I", key), key, depth=0)
    table = _table(cursor, tensor_count)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment > 1 << 20 or alignment & (alignment - 1):
        raise _lies(cursor.path, f"alignment {alignment}", "a power of two")
    data_start = math.ceil(cursor.at / alignment) * alignment
    _check_extents(cursor.path, table, data_start, size, alignment)
    return Gguf(version, metadata, table, data_start)


def _value(cursor: _Cursor, kind: int, key: str, depth: int) -> Any:
    what = f"the value of '{key[:80]}'"
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind], what)
    if kind == _STRING:
        return cursor.text(what)
    if kind != _ARRAY or depth > 2:
        raise _lies(cursor.path, f"{what} has type {kind} at depth {depth}", "a type of the GGUF specification")
    item = cursor.number("<I", what)
    count = cursor.bounded("<Q", MOST_ITEMS, f"number of items of '{key[:80]}'")
    if item in _SCALARS:
        form = f"<{count}{_SCALARS[item][1:]}"
        return list(struct.unpack(form, cursor.take(struct.calcsize(form), what)))
    read: Callable[[], Any] = (
        (lambda: cursor.text(what)) if item == _STRING else (lambda: _value(cursor, item, key, depth + 1))
    )
    return [read() for _ in range(count)]


def _table(cursor: _Cursor, count: int) -> dict[str, GgufTensor]:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    table: dict[str, GgufTensor] = {}
    for _ in range(count):
        name = cursor.text("a tensor's name")
        rank = cursor.bounded("<I", 8, f"dimensions of '{name[:80]}'")
        shape = tuple(cursor.number("<Q", f"the shape of '{name[:80]}'") for _ in range(rank))
        kind = cursor.number("<I", f"the type of '{name[:80]}'")
        offset = cursor.number("<Q", f"the offset of '{name[:80]}'")
        if name in table:
            raise _lies(cursor.path, f"tensor '{name[:80]}' is given twice", "each name once")
        try:
            ggml = GGMLQuantizationType(kind)
        except ValueError as error:
            raise ModelError(
                f"{cursor.path}: tensor '{name[:80]}' has a type that the gguf library does not know.",
                received=f"type {kind}",
                remedy="install a newer gguf (pip install -U gguf), or take another quantisation of the model",
            ) from error
        block, block_size = GGML_QUANT_SIZES[ggml]
        elements = math.prod(shape)
        if elements % block:
            raise _lies(
                cursor.path, f"tensor '{name[:80]}' of shape {shape}", f"whole blocks of {block} for {ggml.name}"
            )
        table[name] = GgufTensor(ggml.name, shape, offset, elements // block * block_size)
    return table


def _check_extents(path: Path, table: dict[str, GgufTensor], data_start: int, size: int, alignment: int) -> None:
    """Require that the tensors follow each other inside the file, without overlap."""
    at = 0
    for name, tensor in sorted(table.items(), key=lambda pair: pair[1].offset):
        if tensor.offset < at or tensor.offset % alignment:
            raise _lies(path, f"tensor '{name[:80]}' starts at {tensor.offset}", f"{at} or later, on {alignment} bytes")
        at = tensor.offset + tensor.size
    if data_start + at > size:
        raise _truncated(path, "its tensors go on after the end of the file", size, f"{data_start + at} bytes")


def _truncated(path: Path, why: str, size: int, expected: str) -> ModelError:
    return ModelError(
        f"{path} is truncated: {why}.",
        received=f"{size} bytes",
        expected=expected,
        remedy="download the file again, and compare its SHA-256 with the publisher's",
    )


def _lies(path: Path, received: str, expected: str) -> UntrustedInput:
    return UntrustedInput(
        f"{path}: not a sound GGUF file: its header is impossible.",
        received=received,
        expected=expected,
        remedy="do not open it; take the file from its publisher again",
    )
