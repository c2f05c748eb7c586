"""Reads what a safetensors file says about itself, and refuses a file that lies.

Layout: 8 bytes, little-endian, the size of the header; the header, JSON, {name: {dtype, shape, data_offsets}}; the
data, which the offsets must cover from the first byte to the last, with no hole and no overlap.
Source: the format section of the safetensors README.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from limpide.core.errors import UntrustedInput

LARGEST_HEADER = 100_000_000  # bytes; the limit of the format
# Bits of one element. Sub-byte types fill whole bytes over a tensor.
BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor: dtype as the format names it (F32, BF16 …), shape, bytes of data."""

    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of the safetensors file at `path`, checked against the file. Raises UntrustedInput."""
    total = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            _refuse(path, "it is too short to hold a header", received=f"{total} bytes")
        (length,) = struct.unpack("<Q", start)
        if length > LARGEST_HEADER:
            _refuse(
                path,
                "its header claims an absurd size",
                received=f"{length} bytes",
                expected=f"at most {LARGEST_HEADER} bytes",
            )
        if 8 + length > total:
            _refuse(
                path,
                "the file is shorter than its header says",
                received=f"{total} bytes",
                expected=f"{8 + length} bytes or more",
                remedy=_AGAIN,
            )
        raw = file.read(length)
    metadata, entries = _parse(path, raw)
    tensors = {name: _tensor(path, name, entry) for name, entry in entries.items()}
    _check_layout(path, entries, data_size=total - 8 - length)
    return Header(tensors, metadata)


_AGAIN = "download the file again, and compare its SHA-256 with the publisher's"


def _refuse(
    path: Path, why: str, *, received: object = None, expected: object = None, remedy: str | None = None
) -> NoReturn:
    raise UntrustedInput(
        f"{path}: not a sound safetensors file: {why}.",
        received=received,
        expected=expected,
        remedy=remedy or "do not open it; take the file from its publisher again",
    )


def _parse(path: Path, raw: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """(metadata, {name: entry}) of a header's bytes."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            _refuse(path, f"its header gives '{twice[:80]}' twice, so two programs could read two different models")
        return found

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        _refuse(path, "its header is not JSON", received=str(error)[:120])
    if not isinstance(header, dict):
        _refuse(path, "its header is not a JSON object", received=type(header).__name__)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _refuse(path, "its metadata must map text to text", received=str(metadata)[:120])
    return metadata, header


def _tensor(path: Path, name: str, entry: Any) -> Tensor:
    """The record of one header entry, its length checked against its type and shape."""
    shown = name[:80]
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"tensor '{shown}' must have dtype, shape and data_offsets", received=str(entry)[:120])
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in BITS:
        _refuse(path, f"tensor '{shown}' has a type the format does not know", received=str(dtype)[:40])
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        _refuse(path, f"tensor '{shown}' has an impossible shape", received=str(shape)[:120])
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
        _refuse(path, f"tensor '{shown}' has impossible offsets", received=str(offsets)[:120])
    size, bits = offsets[1] - offsets[0], math.prod(shape) * BITS[dtype]
    if bits != size * 8:
        _refuse(
            path,
            f"tensor '{shown}' does not have the length its type and shape give",
            received=f"{size} bytes",
            expected=f"{bits / 8:g} bytes for {dtype} {shape}",
        )
    return Tensor(dtype, tuple(shape), size)


def _check_layout(path: Path, entries: dict[str, Any], data_size: int) -> None:
    """Require that the tensors cover the data exactly."""
    at = 0
    for (begin, end), name in sorted((tuple(entry["data_offsets"]), name) for name, entry in entries.items()):
        if begin != at:
            what = "overlaps the one before" if begin < at else "leaves a hole before it"
            _refuse(path, f"tensor '{name[:80]}' {what}", received=f"offset {begin}", expected=f"offset {at}")
        at = end
    if at > data_size:
        _refuse(
            path,
            "the file is shorter than its header says",
            received=f"{data_size} bytes of data",
            expected=f"{at} bytes of data",
            remedy=_AGAIN,
        )
    if at < data_size:
        _refuse(
            path,
            "it carries data that no tensor claims",
            received=f"{data_size} bytes of data",
            expected=f"{at} bytes of data",
        )
