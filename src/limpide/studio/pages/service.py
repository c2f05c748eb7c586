"""The service: start and stop it, its keys and their use, the request log and its verification, the stop switch."""

from limpide.studio.frame import Page
from limpide.studio.pages.release_look import dress
from limpide.studio.pages.service_keys import keys
from limpide.studio.pages.service_log import log
from limpide.studio.pages.service_state import state
from limpide.studio.pages.service_stop import switch
from limpide.studio.visit import Visit


async def build(visit: Visit) -> None:
    dress()
    state(visit)
    switch(visit)
    await keys(visit)
    await log(visit)


PAGE = Page("/service", "service", build, icon="dns")
