"""From a recipe to steps: what will run, on what, in which order, each with the key of all it depends on.

A plan is a value: it can be printed (`--dry-run`), and it changes when and only when an outcome could.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import limpide
from limpide.core import catalogue, digests, files
from limpide.core.errors import MissingError, ModelError, UsageError
from limpide.core.operation import Operation, Settings
from limpide.data.documents import digest_of_folder
from limpide.models.families.registry import family_of
from limpide.models.sources import Source

ROOT = Path(limpide.__file__).parent
SHARED_ROOMS = ("core", "data", "models")
# A correction is a method of adaptation and the audits that judge it; other operations live in the room of their name.
ROOMS = {"correct": ("adapt", "audit", "optimise", "understand", "recipe/corrections")}
MERGED = "export/merged"  # the folder of weights that is released
LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "gguf", "xllamacpp", "numpy", "scipy")


@dataclass(frozen=True)
class Step:
    """inputs: {name the operation knows: earlier step}. model: 'base', or 'STEP/FOLDER' of an earlier step."""

    name: str
    operation: Operation
    settings: Settings
    key: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    label: str = "model"

    @property
    def folder(self) -> str:
        return f"{digests.slug(self.name)}-{self.key[: digests.SHORT]}"


@dataclass(frozen=True)
class Plan:
    """steps: in the order they run. environment: what the keys rest on besides recipe, data and code.

    text: the recipe file as it was when planned: it may be edited while the steps run.
    """

    recipe: Any
    path: Path
    source: Source
    steps: tuple[Step, ...]
    environment: Mapping[str, str]
    data_files: Mapping[str, str]
    code: Mapping[str, str]
    text: bytes

    @property
    def key(self) -> str:
        """Digest of all that the release depends on."""
        document = digests.of_code(ROOT / "document", ROOT / "recipe", ROOT / "release")
        recipe = self.recipe.model_dump(mode="json")
        return digests.of_value([recipe, document, {s.name: s.key for s in self.steps}])

    def step(self, name: str) -> Step:
        return next(s for s in self.steps if s.name == name)


def make_plan(recipe: Any, path: Path, source: Source) -> Plan:
    """The steps of a recipe whose base is `source`. path: the recipe file, to which its paths are relative."""
    maker = _Maker(recipe, path.parent, source, environment())
    data = maker.locate(recipe.data)
    maker.add("data", "data.prepare", data, files=maker.data_files)
    suites = tuple(dict.fromkeys(recipe.audit.suites))
    for suite in suites:
        maker.audit(suite, "base", model="base")
    exported = {"data": "data"}
    if recipe.adapt is not None:
        maker.adapt(recipe.adapt)
        exported["adapt"] = "adapt"
    if recipe.imported is not None:
        maker.imported(recipe.imported)
        exported["adapt"] = "adapt"
    corrected = maker.corrections(exported)
    if corrected:
        exported["correct"] = corrected[-1]
    maker.add("export", "optimise.export", recipe.optimise, inputs=exported, model="base")
    maker.add("parity", "optimise.parity", recipe.parity, inputs={**exported, "export": "export"}, model="base")
    for suite in suites:
        maker.audit(suite, "result", model=MERGED)
    if recipe.understand is not None:
        audits = {suite: f"audit-result-{suite}" for suite in ("domain", "bias") if suite in suites}
        inputs = {**exported, **audits}
        maker.add("understand", "understand.cases", recipe.understand, inputs=inputs, model=MERGED, label="result")
    ggufs = any(f.startswith("gguf:") for f in recipe.optimise.formats)
    if ggufs and "correct-bias" in corrected:
        again = catalogue.find("correct.served")
        maker.add(
            "correct-served", again.name, again.settings(), inputs={"export": "export", "correct": "correct-bias"}
        )
    if "domain" in suites and ggufs:
        served = catalogue.find("audit.served")
        maker.add("audit-served", "audit.served", served.settings(), inputs={"data": "data", "export": "export"})
    pairs = {f"{side}:{suite}": f"audit-{side}-{suite}" for suite in suites for side in ("base", "result")}
    compare = catalogue.find("audit.compare")
    maker.add("compare", "audit.compare", compare.settings(), inputs=pairs)
    return Plan(
        recipe, path, source, tuple(maker.steps), maker.environment, maker.data_files, maker.code, path.read_bytes()
    )


def environment() -> dict[str, str]:
    """Versions and machine facts that can change a result."""
    import os

    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    found = {name: version(name) for name in LIBRARIES}
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        **found,
        "limpide": limpide.__version__,
        "python": python,
        "machine": platform.machine(),
        "threads": threads,
    }


class _Maker:
    """Adds steps, giving each its key."""

    def __init__(self, recipe: Any, folder: Path, source: Source, environment: Mapping[str, str]) -> None:
        self.recipe, self.folder, self.source, self.environment = recipe, folder, source, environment
        self.steps: list[Step] = []
        self.data_files: dict[str, str] = {}
        self.code: dict[str, str] = {}

    def locate(self, data: Any) -> Any:
        """The data section with paths made absolute, and the digest of each file it reads kept."""
        from limpide.data import prepare

        charter = None if data.charter is None else self.folder / data.charter
        examples, documents = (tuple(self.folder / f for f in files) for files in (data.examples, data.documents))
        located = data.model_copy(update={"examples": examples, "documents": documents, "charter": charter})
        for file in prepare.inputs(located):
            self.data_files[str(file)] = _digest(file)
        return located

    def audit(self, suite: str, label: str, model: str) -> None:
        operation = catalogue.find(f"audit.{suite}")
        settings = getattr(self.recipe.audit, suite) or operation.settings()
        if "languages" in operation.settings.model_fields and "languages" not in settings.model_fields_set:
            settings = settings.model_copy(update={"languages": self.recipe.audit.languages})
        if suite == "memorisation" and (self.recipe.adapt is None or not self.recipe.adapt.canary):
            settings = settings.model_copy(update={"canary": False})  # nothing was planted, so nothing is looked for
        settings, read = self._located(settings)
        name, inputs = f"audit-{label}-{suite}", {"data": "data"}
        self.add(name, operation.name, settings, inputs=inputs, model=model, label=label, files=read)

    def adapt(self, settings: Any) -> None:
        settings, read = self._located(settings)
        self.add("adapt", "adapt.train", settings, inputs={"data": "data"}, model="base", files=read)

    def imported(self, settings: Any) -> None:
        from limpide.adapt import imported

        places = {name: self.folder / value for name, value in settings if isinstance(value, Path)}
        located = settings.model_copy(update=places)
        read = {str(file): digests.of_file(file) for file in imported.inputs(located)}
        self.add("adapt", "adapt.imported", located, inputs={"data": "data"}, model="base", files=read)

    def corrections(self, inputs: Mapping[str, str]) -> list[str]:
        """The steps of the section 'correct', each on what the one before left. Returns their names."""
        done: list[str] = []
        for goal in catalogue.GOALS if self.recipe.correct is not None else ():
            settings = getattr(self.recipe.correct, goal)
            if settings is None:
                continue
            settings, read = self._located(settings.model_copy(update={"write": False}))
            before = {"correct": done[-1]} if done else {}
            name = f"correct-{goal}"
            self.add(name, f"correct.{goal}", settings, inputs={**inputs, **before}, model="base", files=read)
            done.append(name)
        return done

    def _located(self, settings: Any) -> tuple[Any, dict[str, str]]:
        """Settings whose files are found from the recipe's folder, inside them too, and the digest of each file."""
        given: dict[str, Any] = {}
        read: dict[str, str] = {}
        for name, value in settings:
            if isinstance(value, Path):
                file = given[name] = self.folder / value
                read[str(file)] = digests.of_file(file) if file.is_file() else "missing"
            elif isinstance(value, Settings):
                given[name], inner = self._located(value)
                read |= inner
        return settings.model_copy(update=given), read

    def add(
        self,
        name: str,
        operation_name: str,
        settings: Any,
        *,
        inputs: Mapping[str, str] | None = None,
        model: str | None = None,
        label: str = "model",
        files: Mapping[str, str] | None = None,
    ) -> None:
        operation = catalogue.find(operation_name)
        inputs = dict(inputs or {})
        if operation.room not in self.code:
            rooms = sorted({*SHARED_ROOMS, *ROOMS.get(operation.room, (operation.room,))})
            self.code[operation.room] = digests.of_code(*(ROOT / room for room in rooms))
        above = {step: self._key(step) for step in {*inputs.values(), *((model or "").split("/")[:1])} if step}
        key = digests.of_value(
            {
                "operation": [operation.name, operation.version],
                "settings": _without_places(settings),
                "inputs": {k: above[v] for k, v in inputs.items()},
                "model": [model, above.get((model or "").split("/")[0])],
                "label": label,
                "files": [[Path(name).name, digest] for name, digest in (files or {}).items()],
                "code": self.code[operation.room],
                "seed": self.recipe.seed,
                "environment": dict(self.environment),
            }
        )
        self.steps.append(Step(name, operation, settings, key, inputs, model, label))

    def _key(self, step: str) -> str:
        return self.source.digest if step == "base" else next(s.key for s in self.steps if s.name == step)


def _digest(place: Path) -> str:
    """Of a file, or of all that a folder holds."""
    if place.is_dir():
        return digest_of_folder(place)
    return digests.of_file(place) if place.is_file() else "missing"


def _without_places(settings: Any) -> dict[str, Any]:
    """The settings as they count in a key: a file moved to another folder is the same file, so its digest counts."""

    def is_place(value: Any) -> bool:
        return isinstance(value, Path) or (isinstance(value, tuple) and any(isinstance(v, Path) for v in value))

    values = settings.model_dump(mode="json")
    for name, value in settings:
        if is_place(value):
            values[name] = "file"
        elif isinstance(value, Settings):
            values[name] = _without_places(value)
    return dict(values)


def check_able(plan: Plan) -> None:
    """Raise ModelError when the base cannot do what the recipe asks: told before the work, not after the training."""
    family = family_of(files.read_json(plan.source.folder / "config.json"))
    ggufs = [name for name in plan.recipe.optimise.formats if name.startswith("gguf:")]
    if ggufs and not family.gguf:
        raise ModelError(
            f"Limpide writes GGUF for the Llama family; the base is {family.title}.",
            received=", ".join(ggufs),
            remedy="set optimise: {formats: [safetensors]} in the recipe",
        )
    if plan.recipe.adapt is not None and "experts" in plan.recipe.adapt.targets and not family.experts:
        raise ModelError(
            f"{family.title} has no experts to adapt.",
            received="adapt.targets: experts",
            remedy="leave out adapt.targets: all linear layers are then adapted",
        )
    if ggufs and plan.recipe.adapt is not None and plan.recipe.adapt.head:
        raise ModelError(
            "A GGUF file holds no classification head.",
            received=f"adapt.head: true, and {', '.join(ggufs)}",
            remedy="set optimise: {formats: [safetensors]} in the recipe, or leave out adapt.head: the model then "
            "answers with the label",
        )


def check_ready(plan: Plan, password: str | None = None) -> None:
    """Raise now what would otherwise stop the run at its end: a missing or wrong key, a licence the base lacks."""
    from limpide.release.keys import load_private

    release, inherited = plan.recipe.release, plan.source.licence
    if plan.source.kind == "adapter":
        raise ModelError(
            f"The base {plan.source.ref} is an adapter; a recipe starts from a whole model.",
            remedy="merge it into its base first, and name the merged folder as `base`",
        )
    check_able(plan)
    if release.sign_with is None:
        raise UsageError(
            "The recipe names no key, and an unsigned release is not made.",
            remedy="make one with: limpide keys new keys/release.pem, and set release.sign_with to its path",
        )
    if not signing_key(plan).is_file():
        raise MissingError(
            "The recipe signs with a key that does not exist.",
            received=signing_key(plan),
            remedy=f"make one with: limpide keys new {signing_key(plan)}",
        )
    load_private(signing_key(plan), password)
    if release.licence is not None and release.licence.casefold() != (inherited or "").casefold():
        raise UsageError(
            "The recipe claims a licence that the base does not declare; a release inherits its base's.",
            received=f"release.licence: {release.licence}",
            expected=f"{inherited} ({plan.source.licence_source})" if inherited else "a base that declares its licence",
            remedy="leave out release.licence",
        )


def signing_key(plan: Plan) -> Path:
    return Path(plan.path.parent / str(plan.recipe.release.sign_with))
