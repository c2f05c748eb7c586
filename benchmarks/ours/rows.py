"""Prepare and render the example recipe's training rows once, for both sides: same ids, same trained tokens."""

from pathlib import Path
from typing import Any

from child import serve

from limpide.adapt.packing import pack
from limpide.core import files
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data import prepare
from limpide.data.examples import load_examples, save_examples
from limpide.models.families.registry import family_of
from limpide.models.model import open_tokenizer
from limpide.models.prompt import render
from limpide.models.sources import resolve
from limpide.recipe.load import load_recipe


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: recipe (path), folder, rows (at most; null: all). Writes folder/train.jsonl, held_out.jsonl, rows.json."""
    path, folder = Path(job["recipe"]), Path(job["folder"])
    recipe = load_recipe(path)
    found = tuple(path.parent / file for file in recipe.data.examples)
    alone = recipe.data.model_copy(update={"examples": found, "charter": None})
    prepare.run(Subject(folder, seed=recipe.seed), alone, Quiet())
    if job["rows"]:
        for name in ("train.jsonl", "held_out.jsonl"):
            save_examples(folder / name, load_examples(folder / name)[: job["rows"]])
    base = resolve(recipe.base)
    tokenizer, stop_ids = open_tokenizer(base.folder)
    rendered = [render(tokenizer, e.messages, stop_ids) for e in load_examples(folder / "train.jsonl")]
    labels = [[i if t else -100 for i, t in zip(r.ids, r.trained, strict=True)] for r in rendered]
    rows = [{"input_ids": list(r.ids), "labels": targets} for r, targets in zip(rendered, labels, strict=True)]
    files.write_json(folder / "rows.json", rows)
    adapt = recipe.adapt
    packs_a_step = max(1, round(adapt.step_tokens / adapt.pack_tokens))
    steps = -(-len(pack(rendered, adapt.pack_tokens)) // packs_a_step)
    return {
        "base": str(base.folder),
        "base_name": recipe.base,
        "targets": list(family_of(files.read_json(base.folder / "config.json")).lora_targets),
        "rank": adapt.rank,
        "alpha": adapt.alpha if adapt.alpha is not None else adapt.rank,
        "learning_rate": adapt.learning_rate,
        "warmup": adapt.warmup,
        "weight_decay": adapt.weight_decay,
        "pack_tokens": adapt.pack_tokens,
        "step_tokens": adapt.step_tokens,
        "rows": len(rows),
        "row_tokens": sum(len(r.ids) for r in rendered),
        "trained_tokens": sum(sum(r.trained) for r in rendered),
        "packs_a_step": packs_a_step,
        "rows_a_step": max(1, round(len(rows) / steps)),
    }


if __name__ == "__main__":
    serve(work)
