"""`limpide run`: from a recipe to a signed release."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from limpide.cli.output import Json, ask, print_json, print_rows, progress
from limpide.core.errors import UsageError


def run(
    recipe: Path,
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    from_step: Annotated[str | None, Parameter(name=["--from"])] = None,
    folder: Path = Path(),
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    as_json: Json = False,
) -> None:
    """Run a recipe: its success is a signed release.

    Finished steps are kept: a second run does only what changed, and a killed run goes on where it stopped.

    Example: limpide run examples/press-operator/recipe.yaml --dry-run

    Parameters
    ----------
    recipe
        The recipe.yaml.
    dry_run
        Print the plan and do nothing.
    from_step
        Forget this step and all after it, then run.
    folder
        Where .limpide/ (finished steps) and releases/ go.
    yes
        Do not ask before forgetting finished steps.
    """
    started = time.monotonic()
    from limpide.recipe.finish import finish, refuse_remade
    from limpide.recipe.load import load_recipe
    from limpide.recipe.plan import check_ready, make_plan
    from limpide.recipe.run import Workspace, run_steps

    loaded = load_recipe(recipe)
    shown = progress(as_json)
    plan = make_plan(loaded, recipe, _source(loaded.base, recipe.parent, shown))
    workspace = Workspace(folder.absolute(), loaded.name)
    if dry_run:
        _print_plan(plan, workspace, as_json)
        return
    password = os.environ.get("LIMPIDE_KEY_PASSWORD")
    check_ready(plan, password)
    refuse_remade(plan, workspace, from_step)
    if from_step is not None and not yes:
        _confirm(from_step)
    ran = run_steps(plan, workspace, shown, from_step)
    finished = finish(plan, workspace, password)
    _print_end(plan, finished, ran, time.monotonic() - started, as_json)


def _source(ref: str, folder: Path, shown: Any) -> Any:
    """A path in a recipe is relative to the recipe."""
    from limpide.models.sources import resolve

    beside = folder / ref
    return resolve(str(beside) if not ref.startswith("hub:") and beside.exists() else ref, shown)


def _confirm(from_step: str) -> None:
    import sys

    if not sys.stdin.isatty():
        raise UsageError(f"--from {from_step} forgets finished steps.", remedy="add --yes to agree")
    if ask(f"Forget '{from_step}' and every later step? [y/N] ").lower() not in ("y", "yes", "o", "oui"):
        raise UsageError("Nothing was forgotten.")


def _print_plan(plan: Any, workspace: Any, as_json: bool) -> None:
    from limpide.recipe.held_out import too_few

    steps = [
        {"step": s.name, "operation": s.operation.name, "key": s.key, "done": workspace.finished(s)} for s in plan.steps
    ]
    missing = [path for path in plan.data_files if not Path(path).exists()]
    few = too_few(plan.recipe, plan.path.parent)
    if as_json:
        record = {"base": plan.source.ref, "base_digest": plan.source.digest, "steps": steps, "missing": missing}
        print_json(record | {"too_few": [asdict(one) for one in few]})
        return
    print_rows([("base", f"{plan.source.ref} ({plan.source.digest[:12]})")])
    rows = [
        (step.name, f"{step.key[:12]}  {'kept' if workspace.finished(step) else 'to do'}  {step.operation.summary}")
        for step in plan.steps
    ]
    print_rows(rows)
    print_rows(
        [("gates", "; ".join(plan.recipe.gates) or "none"), ("release", f"{plan.recipe.name}-{plan.recipe.version}")]
    )
    print_rows([("missing", f"{path}: the run will stop there") for path in missing])
    print_rows([("warning", f"{one} Bring more rows, or take the gate out.") for one in few])


def _print_end(plan: Any, finished: Any, ran: Any, seconds: float, as_json: bool) -> None:
    from limpide.recipe.finish import public_key

    key = os.path.relpath(public_key(plan))
    release = os.path.relpath(finished.release)
    if as_json:
        print_json(
            {
                "verdict": finished.evidence.verdict,
                "release": str(finished.release),
                "made": finished.made,
                "seconds": round(seconds, 1),
                "steps": {name: round(value, 1) for name, value in ran.seconds.items()},
                "kept": list(ran.kept),
                "reasons": [str(r) for r in finished.evidence.reasons],
            }
        )
        return
    if not ran.seconds and not finished.made:
        print(f"Nothing to do: {release} is up to date ({len(ran.kept)} steps kept, {seconds:.1f} s).")
        return
    for reason in finished.evidence.reasons:
        print(f"  {reason}")
    print(f"Verdict: {finished.evidence.verdict}. Signed release: {release} ({seconds:.0f} s)")
    print(f"  report:  {release}/evidence/report.html")
    print(f"  verify:  limpide verify {release} --key {key}")
    print(f'  ask:     limpide ask {release} "…" --key {key}')
    print(f"  serve:   limpide serve {release} --key {key}")
