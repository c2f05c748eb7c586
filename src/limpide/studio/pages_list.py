"""The pages, in the order of the way."""

from limpide.studio.frame import Page
from limpide.studio.pages import ask, data, elsewhere, model, recipe, release, report, run, service

PAGES: tuple[Page, ...] = (
    model.PAGE,
    data.PAGE,
    recipe.PAGE,
    run.PAGE,
    report.PAGE,
    ask.PAGE,
    release.PAGE,
    service.PAGE,
)
HIDDEN_PAGES: tuple[Page, ...] = (elsewhere.PAGE,)  # reached from the header, not a step of the way
