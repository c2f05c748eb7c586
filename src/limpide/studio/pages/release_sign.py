"""The signature of a release: who signed it, or what it takes to sign it now."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from nicegui import ui

from limpide.core.errors import UsageError
from limpide.release.keys import new_keys
from limpide.release.sign import sign_folder
from limpide.studio import parts
from limpide.studio.pages.release_found import Found, private_keys
from limpide.studio.pages.release_rights import allowed, check_opens, require, secret, taken
from limpide.studio.visit import Visit

NEW_KEY = "release.pem"
Again = Callable[[], Awaitable[None]]


def signature(visit: Visit, found: Found, again: Again) -> None:
    """A card. again: draws the page anew, once something has changed."""
    with parts.card(visit.say("release.signature")):
        if found.signed is not None:
            signed(visit, found)
        elif found.fault is not None:
            parts.text(visit.say("release.signature.damaged"))
        else:
            parts.text(visit.say("release.signature.none"))
            if allowed(visit, "sign"):
                to_sign(visit, found, again)


def signed(visit: Visit, found: Found) -> None:
    """Which key signed, whether its public half is here, and what stands for all bytes."""
    assert found.signed is not None
    key = found.signed.key
    parts.text(visit.say("release.signature.said" if key else "release.signature.unknown", found.signed.files))
    with parts.facts().classes("long"):
        parts.fact(visit.say("release.signature.fingerprint"), found.signed.fingerprint)
        if key is not None:
            parts.fact(visit.say("release.signature.key"), str(key.relative_to(visit.project.folder)))
        parts.fact(visit.say("release.signature.root"), found.signed.root)
    if key is None:
        parts.text(visit.say("release.signature.add_key")).classes("muted")


def to_sign(visit: Visit, found: Found, again: Again) -> None:
    """A key, its password, and the button; or the button that makes a first key."""
    keys = private_keys(visit.project.keys)
    if not keys:
        make_key(visit, again)
        return
    chosen, password = key_and_password(visit, keys)

    async def go() -> None:
        await sign(visit, found, Path(chosen.value), taken(password))
        parts.tell("good", visit.say("release.sign.done"))
        await again()

    password.on("keydown.enter", lambda: parts.safely(go), args=[])
    parts.button(visit.say("release.sign"), go, kind="primary", icon="draw")


async def sign(visit: Visit, found: Found, key: Path, password: str | None) -> None:
    """Sign, and put it on record once it is done. Raises UsageError where the key does not open."""
    require(visit, "sign")
    check_opens(visit, key, password)
    await asyncio.to_thread(sign_folder, found.folder, key, password)
    visit.log("studio.release.sign", release=found.id, key=key.name)


def key_and_password(visit: Visit, keys: list[Path]) -> tuple[ui.select, ui.input]:
    """Which private key, and its password. Neither is written anywhere."""
    options = {str(path): path.name for path in keys}
    chosen = ui.select(options, value=str(keys[0]), label=visit.say("release.key")).props("outlined").classes("field")
    password = secret(visit.say("release.password"))
    parts.text(visit.say("release.password.why")).classes("muted small")
    return chosen, password


def make_key(visit: Visit, again: Again) -> None:
    """The first key of a project. A key is never overwritten, so this is there only where there is none."""
    parts.text(visit.say("release.key.none"))
    first, second = secret(visit.say("release.key.password")), secret(visit.say("release.key.password.again"))
    parts.text(visit.say("release.key.password.why")).classes("muted small")

    async def go() -> None:
        require(visit, "sign")
        password = taken(first)
        if taken(second) != password:
            raise UsageError(visit.say("release.key.password.differ"))
        visit.log("studio.keys.new", key=NEW_KEY)
        await asyncio.to_thread(new_keys, visit.project.keys / NEW_KEY, None, password)
        parts.tell("good", visit.say("release.key.made"))
        await again()

    parts.button(visit.say("release.key.make"), go, kind="primary", icon="key")
