"""What can be said of a model from its files alone, without opening it: and, just as plainly, what cannot.

No torch. Every sentence about training is either quoted from the model card's metadata, with "declared by the
publisher", or listed under `unknown`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from limpide.core import digests, files
from limpide.core.measure import Frozen
from limpide.models.cache import file_digest
from limpide.models.classifier import is_classifier, labels_of
from limpide.models.embedded import wheel_of
from limpide.models.families.registry import family_of
from limpide.models.gguf_folder import SOURCE_FILE
from limpide.models.safetensors_header import Tensor
from limpide.models.sources import Source, card_metadata, tokenizer_size, weights

CLASSES_SHOWN = 20
NOT_DOCUMENTED = "unknown: not documented in the files"
CODE = re.compile("[a-z]{2,3}")  # of a language: ISO 639, without its region
FEW = 0.1  # share of the rows below which their language is not worth a warning
# Name of a section → headings of a model card that would describe it.
_SECTIONS = {
    "training data": re.compile(r"training data|datasets?\b|data (?:mix|collection|sources)", re.I),
    "data filtering": re.compile(r"filter|pre-?processing|dedup|data (?:cleaning|curation)", re.I),
    "safety work": re.compile(r"safety|red[ -]?team|bias|risk|limitation|responsib|ethic", re.I),
}


class FileFact(Frozen):
    name: str
    size: int = Field(description="bytes")
    digest: str = Field(description="SHA-256, hex")


class TokenizerFacts(Frozen):
    type: str = Field(description="model of the tokenizer (BPE, Unigram, WordPiece …) and the class that opens it")
    tokens: int | None = Field(description="highest token id + 1; None where only a slow tokenizer is given")
    special: dict[str, str] = Field(description="role → token")
    chat_template: bool
    chat_template_digest: str | None = Field(description="SHA-256 of the template's text")


class Passport(Frozen):
    """The facts of one source. Counts of parameters come from the headers of the weights."""

    ref: str
    kind: str
    digest: str
    family: str
    title: str
    architecture: str = Field(description="class named by config.json")
    parameters: int = Field(description="numbers in the model's weights; a tied head counts once")
    adapter_parameters: int | None
    layers: int | None
    width: int | None
    context: int | None = Field(
        description="longest input the config gives, tokens; None where positions have no limit"
    )
    precisions: dict[str, int] = Field(description="type of number → parameters stored so")
    tokenizer: TokenizerFacts
    classes: tuple[str, ...] = Field(default=(), description="of a classifier, in the order of its outputs")
    licence: str | None
    licence_source: str | None
    origin: dict[str, Any] = Field(description="what limpide-source.json records: wheel, GGUF, hub commit")
    base_models: tuple[str, ...] = Field(description="declared by the publisher in the model card")
    languages: tuple[str, ...] = Field(description="declared by the publisher in the model card or the GGUF file")
    declared: dict[str, str] = Field(description="declared by the publisher, not verified")
    unknown: dict[str, str]
    files: tuple[FileFact, ...]
    oddities: tuple[str, ...]

    def as_rows(self) -> list[tuple[str, str]]:
        """(label, value) pairs in reading order, for a table."""
        rows = [
            ("model", self.ref),
            ("family", f"{self.title} ({self.architecture})"),
            ("parameters", f"{self.parameters:,}"),
            (
                "stored as",
                ", ".join(f"{kind} ({n / max(1, self.parameters):.0%})" for kind, n in self.precisions.items()),
            ),
            ("layers × width", f"{self.layers} × {self.width}"),
            ("context", f"{self.context} tokens" if self.context else "no fixed limit in the config"),
            ("tokenizer", f"{self.tokenizer.type}, {self.tokenizer.tokens or 'unknown number of'} tokens"),
            (
                "special tokens",
                ", ".join(f"{role} {token}" for role, token in self.tokenizer.special.items()) or "none",
            ),
            ("chat template", _short(self.tokenizer.chat_template_digest) if self.tokenizer.chat_template else "none"),
            ("licence", f"{self.licence} ({self.licence_source})" if self.licence else NOT_DOCUMENTED),
            ("digest", _short(self.digest)),
        ]
        if self.adapter_parameters is not None:
            rows.insert(3, ("adapter parameters", f"{self.adapter_parameters:,}"))
        if self.classes:
            shown = ", ".join(self.classes[:CLASSES_SHOWN]) + (" …" if len(self.classes) > CLASSES_SHOWN else "")
            rows.insert(2, ("classes", f"{len(self.classes)}: {shown}"))
        rows.insert(-1, ("languages", ", ".join(self.languages) or NOT_DOCUMENTED))
        rows += [("based on", name) for name in self.base_models]
        rows += [(what, f"declared by the publisher, not verified: {said}") for what, said in self.declared.items()]
        rows += list(self.unknown.items())
        rows += [("odd", said) for said in self.oddities]
        return rows


def _short(digest: str | None) -> str:
    return f"sha256 {digest[: digests.SHORT]}…" if digest else "none"


def passport(source: Source) -> Passport:
    """The passport of a resolved source. For an adapter, the model is its base. Raises ModelError."""
    folder = source.base or source.folder
    config = files.read_json(folder / "config.json")
    family = family_of(config)
    tensors = weights(folder)
    parameters, precisions, notes = count_parameters(tensors)
    adapter = count_parameters(weights(source.folder))[0] if source.base is not None else None
    card = card_metadata(source.folder)
    declared, unknown = _declared(source.folder, card)
    record = folder / SOURCE_FILE
    return Passport(
        ref=source.ref,
        kind=source.kind,
        digest=source.digest,
        family=family.name,
        title=family.title,
        architecture=str((config.get("architectures") or [family.model_types[0]])[0]),
        parameters=parameters,
        adapter_parameters=adapter,
        layers=_first(config, "num_hidden_layers", "n_layer", "num_decoder_layers", "num_layers"),
        width=_first(config, "hidden_size", "n_embd", "d_model"),
        context=_first(config, "max_position_embeddings", "n_positions") if family.name != "t5" else None,
        precisions=precisions,
        tokenizer=_tokenizer(folder),
        classes=labels_of(config) if is_classifier(folder) else (),
        licence=source.licence,
        licence_source=source.licence_source,
        origin=files.read_json(record) if record.is_file() else {},
        base_models=_texts(card.get("base_model")),
        languages=_texts(card.get("language")) or _languages(folder),
        declared=declared,
        unknown=unknown if source.licence else {"licence": NOT_DOCUMENTED, **unknown},
        files=_file_facts(source.folder),
        oddities=(*source.oddities, *notes),
    )


def count_parameters(tensors: Mapping[str, Tensor]) -> tuple[int, dict[str, int], tuple[str, ...]]:
    """(parameters, {type: parameters}, notes) of weights. Scales of quantised weights are not parameters.

    MXFP4 stores two numbers a byte in tensors named `…_blocks`, with scales in `…_scales`.
    """
    counts: dict[str, int] = {}
    scales = 0
    for name, tensor in tensors.items():
        elements, kind = tensor.elements, tensor.dtype
        if name.endswith(("_scales", "_scale_inv", ".scales", ".weight_scale")):
            scales += elements
            continue
        if name.endswith("_blocks") and kind == "U8":
            elements, kind = 2 * elements, "MXFP4"
        counts[kind] = counts.get(kind, 0) + elements
    notes = (f"{scales:,} scales of quantised weights are not counted as parameters",) if scales else ()
    ordered = dict(sorted(counts.items(), key=lambda pair: -pair[1]))
    return sum(counts.values()), ordered, notes


def languages_of(folder: Path) -> tuple[str, ...]:
    """What the publisher of the model in `folder` declares that it speaks; empty where nobody says."""
    return _texts(card_metadata(folder).get("language")) or _languages(folder)


def unspoken(declared: Sequence[str], rows: Mapping[str, int]) -> list[str]:
    """Languages of a good part of the rows that are not among those declared; nothing where these are no codes.

    rows: code → how many.
    """
    codes = {one.lower().replace("_", "-").split("-")[0] for one in declared}
    if not codes or not all(CODE.fullmatch(code) for code in codes):
        return []
    enough = FEW * sum(rows.values())
    return [code for code, count in rows.items() if CODE.fullmatch(code) and count >= enough and code not in codes]


def _languages(folder: Path) -> tuple[str, ...]:
    """What the GGUF file that a folder was made from says, or what is known of an embedded model."""
    wheel = wheel_of(folder)
    if wheel is not None:
        return wheel.languages
    record = folder / SOURCE_FILE
    return _texts(files.read_json(record).get("languages")) if record.is_file() else ()


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    """The first of these keys that holds a number."""
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _tokenizer(folder: Path) -> TokenizerFacts:
    def read(name: str) -> dict[str, Any]:
        content = files.read_json(folder / name) if (folder / name).is_file() else {}
        return content if isinstance(content, dict) else {}

    config = {**read("special_tokens_map.json"), **read("tokenizer_config.json")}
    model = read("tokenizer.json").get("model")
    kind = model.get("type", "unknown") if isinstance(model, dict) else "unknown"
    special = {
        role.removesuffix("_token"): token.get("content", "") if isinstance(token, dict) else token
        for role, token in config.items()
        if role.endswith("_token") and isinstance(token, str | dict)
    }
    return TokenizerFacts(
        type=f"{kind} ({config.get('tokenizer_class', 'class not given')})",
        tokens=tokenizer_size(folder),
        special=special,
        chat_template=(template := _template(folder, config)) is not None,
        chat_template_digest=None if template is None else digests.of_bytes(template.encode()),
    )


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The default chat template's text, from the file that wins when there are several."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    value = config.get("chat_template")
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default", next(iter(named.values()), None))
    return value if isinstance(value, str) else None


def _declared(folder: Path, card: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """(what the model card declares, what nothing documents) about training data, filtering and safety work."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    headings = [heading.strip() for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, re.M)]
    declared: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for what, pattern in _SECTIONS.items():
        found = [f"section '{heading}' of README.md" for heading in headings if pattern.search(heading)]
        if what == "training data" and _texts(card.get("datasets")):
            found.insert(0, f"{', '.join(_texts(card['datasets']))} ('datasets' in README.md)")
        if found:
            declared[what] = "; ".join(found)
        else:
            unknown[what] = NOT_DOCUMENTED
    return declared, unknown


def _texts(value: Any) -> tuple[str, ...]:
    """A card's field that may be one text or a list of them."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _file_facts(folder: Path) -> tuple[FileFact, ...]:
    paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return tuple(FileFact(name=p.name, size=p.stat().st_size, digest=file_digest(p)) for p in paths)
