"""What is served: several releases side by side, each under the name a client sends as `model`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from limpide.core.errors import UsageError, nearest
from limpide.serve.engines.protocol import Engine, Gives
from limpide.serve.openai_types import ApiError
from limpide.serve.seal import Seal


@dataclass(frozen=True)
class Offered:
    """One model id. adapter: of the engine, None for the model itself. release: name and version, as answers carry it.
    root: the signed digest of the release, None where nobody signed. fingerprint: tells which file answered."""

    id: str
    engine: Engine
    adapter: str | None
    release: str
    root: str | None
    fingerprint: str
    verified: bool
    seal: Seal | None = None

    @property
    def gives(self) -> frozenset[Gives]:
        """Vectors are those of the base alone."""
        return self.engine.gives if self.adapter is None else self.engine.gives - {"embedding"}

    @cached_property
    def control(self) -> re.Pattern[str] | None:
        """Matches any control token of the model, spelled out."""
        tokens = self.engine.control_tokens
        return re.compile("|".join(map(re.escape, tokens))) if tokens else None

    def require_unchanged(self) -> None:
        """Raise ApiError (503) when a served file is no longer what was verified."""
        if self.seal is not None and self.seal.broken is not None:
            raise ApiError(
                503,
                f"The files of '{self.id}' changed while it was served ({self.seal.broken}), so it is not asked any "
                "more. Put the release back, then POST /v1/limpide/verify.",
                code="release_changed",
                param="model",
            )


class Shelf:
    """Offered models by id, in the order given; the first answers where a request names none."""

    def __init__(self, offered: Sequence[Offered]) -> None:
        """Raises UsageError when two have one id, or there is none."""
        self._offered = {one.id: one for one in offered}
        if not offered or len(self._offered) < len(offered):
            ids = [one.id for one in offered]
            raise UsageError(
                "Each model is served under a name of its own.",
                received=", ".join(sorted({name for name in ids if ids.count(name) > 1})) or "no model",
                expected="releases of different names, and adapters named otherwise",
            )

    def __iter__(self) -> Iterator[Offered]:
        return iter(self._offered.values())

    def find(self, name: str | None) -> Offered:
        """Raises ApiError (404) for a model that is not served."""
        if name is None:
            return next(iter(self))
        found = self._offered.get(name)
        if found is None:
            served = ", ".join(f"'{one}'" for one in self._offered)
            near = nearest(name[:200], list(self._offered))
            message = f"The model '{name[:200]}' is not served here; {served} {_verb(self._offered)}.{near}"
            raise ApiError(404, message, code="model_not_found", param="model")
        return found

    @property
    def engines(self) -> list[Engine]:
        """Each engine once: adapters of one base share theirs."""
        return list({id(one.engine): one.engine for one in self}.values())


def _verb(names: Sequence[str] | dict[str, Offered]) -> str:
    return "is" if len(names) == 1 else "are"
