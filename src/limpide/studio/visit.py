"""Who asks, in which language, of which project: what every page is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from limpide.document.language import Language
from limpide.studio.jobs import Jobs
from limpide.studio.project import Project
from limpide.studio.session import Session
from limpide.studio.words import language


@dataclass(frozen=True)
class Visit:
    """One person on one page. session: who, and the token their forms carry."""

    project: Project
    jobs: Jobs
    session: Session
    language: str
    theme: str = "system"  # system | light | dark
    current: Callable[[], Session | None] | None = None  # the session as it is now: a role may change, or be taken

    @property
    def name(self) -> str:
        """Of the person: their account's, or the user's of this machine."""
        return self.session.name

    @property
    def words(self) -> Language:
        """Writes numbers, shares, durations, sizes and dates in this visit's language."""
        return language(self.language)

    def say(self, key: str, count: float | None = None, /, **values: object) -> str:
        """The sentence `key`, filled; with `count`, its `.one` or `.many` form."""
        return self.words.say(key, count, **values)

    def may(self, action: str) -> bool:
        """Whether this person may do that. Without accounts, who opened the studio on this machine may do all."""
        session = self.session if self.current is None else self.current()
        if session is None or session.role is None:
            return session is not None
        from limpide.serve.accounts import Action, may

        return may(session.role, cast(Action, action))

    def log(self, event: str, **facts: Any) -> None:
        """Put in the request log what was done. Raises LimpideError when it cannot be written: then it is not done."""
        from limpide.studio.traffic import record

        record(self.project, event, who=self.name, **facts)
