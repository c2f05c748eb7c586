"""A tiny llama with an adapter that changes what it says, prepared data, and the folders of a recipe's steps.

steps = make_steps(tmp_path)
export.run(steps.subject("export"), …); parity.run(steps.subject("parity"), …)
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.adapt.adapters import adapted_network
from limpide.adapt.settings import TrainSettings
from limpide.core.operation import Subject
from limpide.data.examples import Example, Message, save_examples
from limpide.models.model import open_model
from tiny import CHATML, tiny_folder

QUESTIONS = ("Why is the valve red?", "Qui arrête la presse ?", "Code 12, then 7?", "Où est l'eau…")
ANSWERS = ("The pressure drops.", "L'opérateur l'arrête.", "Stop the pump 3 times.", "À la rivière — là-bas.")


@dataclass(frozen=True)
class Steps:
    """Folders of the steps before: base model, data/, adapt/, export/."""

    root: Path
    base: Path

    def subject(self, step: str, *, adapt: bool = True) -> Subject:
        (self.root / step).mkdir(exist_ok=True)
        inputs = {"data": self.root / "data", "export": self.root / "export"}
        if adapt:
            inputs["adapt"] = self.root / "adapt"
        return Subject(out=self.root / step, inputs=inputs, model=self.base, seed=3)

    def copy(self, target: Path) -> "Steps":
        """The same in `target`, to be damaged."""
        shutil.copytree(self.root, target)
        return Steps(target, target / self.base.relative_to(self.root))


def make_steps(root: Path, *, strength: float = 0.05, bos: bool = False, **overrides: Any) -> Steps:
    """strength: standard deviation of the adapter's B matrices. bos: the chat template writes <s>.

    overrides: fields of the llama config.
    """
    base = tiny_folder("llama", root / "base", **overrides)
    (base / "LICENSE").write_text("Apache License\nVersion 2.0\n", encoding="utf-8")
    if bos:
        (base / "chat_template.jinja").write_text("{{ bos_token }}" + CHATML, encoding="utf-8")
    rows = [_example(i) for i in range(8)]
    save_examples(root / "data" / "train.jsonl", rows[2:])
    save_examples(root / "data" / "held_out.jsonl", rows[:2])
    save_adapter(base, root / "adapt" / "adapter", strength)
    return Steps(root, base)


def save_adapter(base: Path, folder: Path, strength: float) -> None:
    """Write a random adapter of rank 4 on every matrix of `base`."""
    import torch

    network = adapted_network(open_model(base), TrainSettings(rank=4), seed=1)
    random = torch.Generator().manual_seed(2)
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            weight.data = strength * torch.randn(weight.shape, generator=random)
    network.save_pretrained(str(folder), save_embedding_layers=False)


def _example(number: int) -> Example:
    question, answer = QUESTIONS[number % len(QUESTIONS)], ANSWERS[number % len(ANSWERS)]
    messages = [Message(role="user", content=f"{question} ({number})"), Message(role="assistant", content=answer)]
    if number % 2:
        messages.insert(0, Message(role="system", content="You help in a factory."))
    return Example(id=f"e{number}", messages=tuple(messages), source=f"examples.jsonl:{number + 1}")
