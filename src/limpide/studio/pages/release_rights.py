"""Who may do what: a control that one may not use says who may, and is never hidden in silence."""

from pathlib import Path
from typing import get_args

from nicegui import ui

from limpide.core.errors import UsageError
from limpide.release.keys import PASSWORD_VARIABLE, load_private
from limpide.serve.accounts import Action, Role, may
from limpide.studio import parts
from limpide.studio.visit import Visit


def allowed(visit: Visit, action: Action) -> bool:
    """Whether this person may; where not, a line says who may."""
    if visit.may(action):
        return True
    parts.text(refusal(visit, action)).classes("muted").props("role=note")
    return False


def require(visit: Visit, action: Action) -> None:
    """The same when it is done: a page that was drawn earlier proves nothing. Raises UsageError."""
    if not visit.may(action):
        raise UsageError(refusal(visit, action))


def refusal(visit: Visit, action: Action) -> str:
    """'This is for an approver or an administrator. You are signed in as a reader.'"""
    able = [visit.say(f"frame.role.{role}") for role in get_args(Role) if may(role, action)]
    own = visit.say(f"frame.role.{visit.session.role}") if visit.session.role else visit.name
    return visit.say("release.may", roles=visit.words.join(able), own=own)


def secret(label: str) -> ui.input:
    """A field for a password: shown as dots, kept nowhere."""
    made = ui.input(label, password=True, password_toggle_button=True)
    return made.props('outlined autocomplete="off" spellcheck=false').classes("field")


def check_opens(visit: Visit, key: Path, password: str | None) -> None:
    """Raises UsageError, in the words of a page, where a private key does not open with what was typed."""
    try:
        load_private(key, password)
    except UsageError as error:
        if PASSWORD_VARIABLE not in (error.remedy or ""):
            raise
        why = "wrong" if "does not open" in error.what else "missing" if password is None else "needless"
        raise UsageError(visit.say(f"release.password.{why}", key=key.name)) from error


def taken(field: ui.input) -> str | None:
    """The password typed, which the field forgets."""
    value: str = field.value or ""
    field.set_value("")
    return value or None
