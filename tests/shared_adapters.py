"""Random adapters of a tiny model, of any rank and modules, as `peft` itself writes them."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

STRENGTH = 0.3


def random_adapter(base: Path, folder: Path, seed: int = 0, **config: Any) -> Path:
    """Write an adapter whose factors are all random. config: of `peft`'s LoraConfig."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    values = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **config}
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**values))
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            weight.data = STRENGTH * torch.randn(weight.shape)
    network.peft_config["default"].base_model_name_or_path = base.name
    network.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def deltas(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """What `peft` adds to each weight: merged minus base, {weight: float32[as stored]}."""
    before = {name: weight.clone() for name, weight in AutoModelForCausalLM.from_pretrained(base).state_dict().items()}
    after = merged(base, adapter).state_dict()
    return {name: after[name] - weight for name, weight in before.items() if not torch.equal(after[name], weight)}


def merged(base: Path, adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).merge_and_unload()


def logits(network: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network.eval()(input_ids=torch.arange(11, 40)[None]).logits
    return found
