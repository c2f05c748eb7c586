"""What was computed once is not computed again: likelihoods and answers by the digest of model and request.

A killed audit goes on where it stopped, and a base audited for one recipe is not audited again for the next. Texts
are kept as digests, answers as token ids, in one file that only its owner can read, in Limpide's cache folder.
"""

import os
import sqlite3
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limpide.core import digests
from limpide.core.errors import LimpideError
from limpide.models.cache import cache_folder

if TYPE_CHECKING:
    from limpide.models.model import Model

NAME = "scores.sqlite"
TIMEOUT = 30.0  # seconds to wait for another process that writes
ASKED_AT_ONCE = 500

Values = tuple[list[float], bool]


@cache
def _code() -> str:
    """Digest of the code that computes, and of the library under it: another version computes anew."""
    import torch
    import transformers

    here = Path(__file__).parent
    return digests.of_value([digests.of_code(here), torch.__version__, transformers.__version__])


class ScoreCache:
    """Results of one model. Where the file cannot be used `trouble` says why, and everything is computed."""

    def __init__(self, model: "Model", folder: Path | None = None) -> None:
        self._own = digests.of_value([model.digest, model.precision, model.kind, _code()]).encode()
        self._file = (folder or cache_folder()) / NAME
        self._connection: sqlite3.Connection | None = None
        self.trouble: str | None = None

    def key(self, kind: str, *parts: Sequence[int]) -> bytes:
        """Of a request: what is asked, and its parts, each token ids."""
        hashed = sha256(self._own + kind.encode())
        for part in parts:
            ids = array("q", part)
            hashed.update(len(ids).to_bytes(8, "little") + ids.tobytes())
        return hashed.digest()

    def known(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values kept under those of the keys that are there."""
        found: dict[bytes, bytes] = {}
        for first in range(0, len(keys), ASKED_AT_ONCE):
            some = keys[first : first + ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            found |= dict(self._do(f"SELECT key, value FROM kept WHERE key IN ({marks})", some))
        return found

    def drop(self, keys: Sequence[bytes]) -> None:
        """Forget these."""
        self._change("DELETE FROM kept WHERE key = ?", [(key,) for key in keys])

    def keep(self, values: Mapping[bytes, bytes]) -> None:
        self._change("INSERT OR REPLACE INTO kept VALUES (?, ?)", list(values.items()))

    def _change(self, query: str, rows: Sequence[tuple[bytes, ...]]) -> None:
        if rows and (connection := self._open()) is not None:
            try:
                with connection:
                    connection.executemany(query, rows)
            except sqlite3.Error as error:
                self._give_up(error)

    def _do(self, query: str, values: Sequence[bytes]) -> Iterable[Any]:
        connection = self._open()
        if connection is None:
            return []
        try:
            return connection.execute(query, list(values)).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def _open(self) -> sqlite3.Connection | None:
        if self._connection is None and self.trouble is None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
                self._connection = sqlite3.connect(self._file, timeout=TIMEOUT)
                self._connection.execute("CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB)")
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)
        return self._connection

    def _give_up(self, error: Exception) -> None:
        self.close()
        self.trouble = f"Results are not kept, so that a stopped run starts anew: {self._file}: {error}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self.close()


def pack_values(values: Values) -> bytes:
    """Nats (float32, as computed) and the greedy flag, as bytes."""
    nats, greedy = values
    return bytes([greedy]) + array("f", nats).tobytes()


def unpack_values(data: bytes) -> Values:
    nats = array("f")
    nats.frombytes(data[1:])
    return list(nats), bool(data[0])


def pack_ids(ids: Sequence[int]) -> bytes:
    return array("q", ids).tobytes()


def unpack_ids(data: bytes) -> list[int]:
    ids = array("q")
    if len(data) % ids.itemsize:
        raise LimpideError("A kept answer is not whole.", remedy="delete the file scores.sqlite in Limpide's cache")
    ids.frombytes(data)
    return list(ids)
