"""What must hold of a checkpoint made elsewhere before anything is measured on it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from limpide.adapt.factors import moves_the_base
from limpide.core import files
from limpide.core.errors import ModelError
from limpide.data.examples import Message
from limpide.models import safety
from limpide.models.model import Model, open_model, open_tokenizer
from limpide.models.sources import check_complete, weights
from limpide.models.template_safety import check_template as check_template_code

LISTED = 3
# Conversations rendered with both templates: alone, with a system message, and over several turns.
PROBES: tuple[tuple[Message, ...], ...] = (
    (Message(role="user", content="Why?"), Message(role="assistant", content="Because.")),
    (
        Message(role="system", content="Be brief."),
        Message(role="user", content=" Why ?"),
        Message(role="assistant", content="Because.\n"),
    ),
    tuple(Message(role=role, content=f"{role} {k}") for k in range(2) for role in ("user", "assistant")),
)


def check_adapter(folder: Path, base: Path) -> dict[str, Any]:
    """Facts of the adapter, once it is known that it is safe, lands whole on the base, and changes something.

    Raises UntrustedInput, ModelError.
    """
    safety.check_folder(folder)
    config = files.read_json(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA" or moves_the_base(config):
        raise ModelError(
            "Only LoRA adapters on unchanged weights of their base can be imported.",
            received=f"peft_type: {config.get('peft_type')}, init_lora_weights: {config.get('init_lora_weights')}",
            expected="peft_type: LORA (rank-stabilised and DoRA too)",
            remedy="merge it into its base with the tool that made it, and import the whole model: imported.model",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that are missing, which are counted below
        model = open_model(base, adapter=folder)
    _check_landed(model, folder)
    return {
        "rank": max([config.get("r") or 0, *(config.get("rank_pattern") or {}).values()]),
        "alpha": config.get("lora_alpha"),
        "trainable_parameters": sum(tensor.elements for tensor in weights(folder).values()),
        "variant": "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora",
    }


def _check_landed(model: Model, folder: Path) -> None:
    """Every tensor of the file must be in the network, none made up beside them, and B must not be zero everywhere."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inside = get_peft_model_state_dict(model.network, save_embedding_layers=False)
    given = load_file(str(folder / "adapter_model.safetensors"))
    lost = sorted(n for n, t in given.items() if n not in inside or not torch.equal(inside[n].float(), t.float()))
    made_up = sorted(set(inside) - set(given))
    if lost or made_up:
        raise ModelError(
            "The adapter does not fit this base: some of it would be left out without a word.",
            received="; ".join(
                f"{len(names)} {what}, the first {names[0]}"
                for names, what in ((lost, "tensors that find no place"), (made_up, "that the file lacks"))
                if names
            ),
            expected="an adapter trained on this very model, with its names of modules",
            remedy="look which base it names in adapter_config.json, and give that one as `base`",
        )
    if not all(bool(tensor.isfinite().all()) for tensor in given.values()):
        raise ModelError("A weight of the adapter is not a finite number.", remedy="take an earlier checkpoint")
    if not any(_acts(name, given) for name in given):
        raise ModelError(
            "The adapter changes nothing: of each pair of factors one is zero, as before the first step of a training.",
            received=f"{len(given)} tensors",
            remedy="take a checkpoint of the training's end",
        )


def _acts(name: str, tensors: Mapping[str, Any]) -> bool:
    """Can this tensor change an answer: a lora_B that is not zero beside such a lora_A, or one of another kind?"""
    if ".lora_" not in name:
        return bool(tensors[name].any())
    beside = name.replace("lora_B", "lora_A").replace("embedding_B", "embedding_A")
    return beside != name and bool(tensors[name].any()) and bool(tensors[beside].any())


def check_whole(folder: Path, base: Path) -> dict[str, Any]:
    """Facts of a whole model, once it is known that it is safe, has the base's shape, and differs from it."""
    safety.check_folder(folder)
    check_complete(folder)
    before, after = weights(base), weights(folder)
    shapes = [{name: tensor.shape for name, tensor in found.items()} for found in (before, after)]
    differ = sorted(n for n in shapes[0].keys() | shapes[1].keys() if shapes[0].get(n) != shapes[1].get(n))
    tied = {n for n in differ if n.endswith("lm_head.weight")}  # a tied head is written by some tools and not by others
    if set(differ) - tied:
        raise ModelError(
            "The imported model has not the shape of the base.",
            received=f"{len(differ)} tensors differ, the first {differ[0]}",
            expected="the same architecture and vocabulary, tensor by tensor",
            remedy="name the model it was tuned from as `base`",
        )
    changed, total = _changed(folder, base)
    if not changed:
        raise ModelError(
            "The imported model is its base: not one of its weights differs.",
            received=f"{total} tensors compared",
            remedy="name the folder of the tuned model",
        )
    return {"trainable_parameters": sum(t.elements for t in after.values()), "changed_tensors": changed}


def _changed(folder: Path, base: Path) -> tuple[int, int]:
    """(tensors that differ in float32, tensors compared), one at a time. Raises ModelError for one with no number."""
    import torch
    from safetensors import safe_open

    from limpide.models.sources import weight_files

    def places(of: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in weight_files(of):
            with safe_open(path, "pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        return found

    def tensor(path: Path, name: str) -> Any:
        with safe_open(path, "pt") as file:
            return file.get_tensor(name).float()

    before, after = places(base), places(folder)
    shared = sorted(before.keys() & after.keys())
    found = 0
    for name in shared:
        tuned = tensor(after[name], name)
        if not bool(tuned.isfinite().all()):
            raise ModelError(f"A weight of {name} is not a finite number.", remedy="take an earlier checkpoint")
        found += not torch.equal(tensor(before[name], name), tuned)
    return found, len(shared)


# -------------------------------------------------------------------------------------------------- words and templates


def check_tokenizer(folder: Path, base: Path) -> str | None:
    """What to tell of the checkpoint's own tokenizer: tokens that were added to the base's, if any.

    Raises ModelError where a token has another id than the base's, or an id that another token has there.
    """
    own, expected = _vocabulary(folder), _vocabulary(base)
    if not own or not expected:
        return None
    taken = set(expected.values())
    moved = sorted(t for t, number in own.items() if number != expected.get(t) and (t in expected or number in taken))
    if moved:
        raise ModelError(
            "The checkpoint was tuned with another vocabulary than the base's.",
            received=f"{len(moved)} tokens with another id, the first {moved[0]!r}: {own[moved[0]]}",
            expected=f"{moved[0]!r}: {expected.get(moved[0], 'no such token')}",
            remedy="name the very model it was tuned from as `base`",
        )
    added = sorted(own.keys() - expected.keys())
    if not added:
        return None
    few = ", ".join(repr(token) for token in added[:LISTED])
    return f"The checkpoint's tokenizer has {len(added)} tokens more than the base's, which are not kept: {few}."


def _vocabulary(folder: Path) -> dict[str, int]:
    """{token: id} of tokenizer.json; empty where there is none."""
    path = folder / "tokenizer.json"
    content = safety.read_object(path) if path.is_file() else {}
    model = content.get("model") if isinstance(content.get("model"), dict) else {}
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):  # Unigram: (piece, score), the id is the place
        vocabulary = {str(pair[0]): k for k, pair in enumerate(vocabulary)}
    found = dict(vocabulary or {})
    return found | {
        str(t.get("content")): t.get("id") for t in content.get("added_tokens") or () if isinstance(t, dict)
    }


def check_template(folder: Path, base: Path, wanted: Literal["same", "base"]) -> str | None:
    """What to tell of the conversation template: nothing where it renders as the base's does.

    Raises ModelError where it renders otherwise and `wanted` is 'same'; UntrustedInput for a template with code in it.
    """
    own = _template(folder)
    if own is None:
        return (
            "The checkpoint holds no chat template, so that it was tuned with the base's cannot be checked: "
            "the domain suite tells whether it answers."
        )
    check_template_code(own, f"the chat template of {folder.name}")
    tokenizer, _ = open_tokenizer(base)
    if not getattr(tokenizer, "chat_template", None):
        return "The checkpoint has a chat template and the base, which is no decoder, has none: it is not used."
    different = _first_difference(tokenizer, own)
    if different is None:
        return None
    if wanted == "base":
        return (
            "The checkpoint's chat template is not the base's, which is used all the same, as declared "
            f"(imported.template: base): {different[0]!r} against {different[1]!r}."
        )
    raise ModelError(
        "The checkpoint was tuned with another chat template than the base's: it would be asked otherwise than it was "
        "taught.",
        received=f"{different[0]!r}",
        expected=f"{different[1]!r}, as the base's template has it",
        remedy="copy the base's folder, put the checkpoint's template into it (chat_template.jinja) and name that as "
        "`base`; or set imported.template: base to go on with the base's",
    )


def _template(folder: Path) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    found = safety.read_object(path).get("chat_template") if path.is_file() else None
    if isinstance(found, list):  # named templates: the default one is what a conversation is rendered with
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = named.get("default") or next(iter(named.values()), None)
    return found if isinstance(found, str) and found.strip() else None


def _first_difference(tokenizer: Any, own: str) -> tuple[str, str] | None:
    """(as the checkpoint's template renders, as the base's does) around the first place where they differ."""
    for messages in PROBES:
        for part, generation in ((messages[:-1], True), (messages, False)):
            texts = _rendered(tokenizer, part, own, generation), _rendered(tokenizer, part, None, generation)
            if texts[0] != texts[1]:
                at = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
                start = max(0, at - 20)
                return texts[0][start : at + 40], texts[1][start : at + 40]
    return None


def _rendered(tokenizer: Any, messages: Sequence[Message], template: str | None, generation: bool) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    options = {"tokenize": False, "add_generation_prompt": generation, "chat_template": template}
    try:
        return str(tokenizer.apply_chat_template(turns, **options))
    except Exception as error:  # somebody else's template, which may raise anything
        return f"refused: {error}"
