"""The steps of a recipe up to its comparison with the base, as `limpide run` takes them; no release. No peer."""

import time
from pathlib import Path
from typing import Any

import torch
from child import peak_bytes, serve

from limpide.audit.compare import CHANGES, load_changes
from limpide.core.errors import LimpideError
from limpide.core.operation import Result
from limpide.core.progress import Plain
from limpide.models.sources import resolve
from limpide.recipe.load import load_recipe
from limpide.recipe.plan import make_plan
from limpide.recipe.run import Workspace, run_steps


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: recipe (file), sections (values put in its sections), threads, folder (of finished steps, kept by the next
    run). changes: of every measure. facts: of the steps data and adapt. seconds: of each step. error: instead."""
    torch.set_num_threads(job["threads"])
    path = Path(job["recipe"])
    recipe = load_recipe(path)
    for section, values in job["sections"].items():
        read = type(getattr(recipe, section)).model_validate(getattr(recipe, section).model_dump() | values)
        recipe = recipe.model_copy(update={section: read})
    workspace = Workspace(Path(job["folder"]), recipe.name)
    started = time.perf_counter()
    try:
        plan = make_plan(recipe, path, resolve(recipe.base))
        ran = run_steps(plan, workspace, Plain())
    except LimpideError as error:
        return {"error": str(error)}
    facts = {step: dict(Result.load(workspace.done(plan.step(step))).facts) for step in ("data", "adapt")}
    return {
        "changes": [c.model_dump(mode="json") for c in load_changes(workspace.done(plan.step("compare")) / CHANGES)],
        "facts": facts,
        "seconds": ran.seconds,
        "whole": time.perf_counter() - started,
        "peak_bytes": peak_bytes(),
    }


if __name__ == "__main__":
    serve(work)
