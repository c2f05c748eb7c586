"""Changes of a model's weights that stay apart from them: scaled, tried, taken back, kept in a file, folded in.

Every correction is one of these, however it was found, so that strengths are tried and judged by one piece of code.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limpide.core import digests, files
from limpide.core.errors import ModelError
from limpide.models.families.registry import plain
from limpide.models.safety import MAPS

if TYPE_CHECKING:
    from limpide.models.model import Model

FILE = "update.safetensors"


@dataclass(frozen=True, eq=False)
class Affine:
    """y ← y + strength · (left · (right · y) + offset). left: float[width, rank], right: float[rank, width] (rank 0 for
    a mere shift), offset: float[width]."""

    left: Tensor
    right: Tensor
    offset: Tensor

    def __call__(self, y: Tensor, strength: float = 1.0) -> Tensor:
        """y: float[…, width]."""
        change = (y.float() @ self.right.T) @ self.left.T + self.offset
        return y + (strength * change).to(y.dtype)


@dataclass(frozen=True, eq=False)
class Update:
    """factors: {weight: (left, right)}, W ← W + strength · left · right as W is stored, float[…, rows, columns]; a
    product without a leading size is added to every expert. vectors: {bias: float[width]}, which the network may lack.
    maps: {module: Affine}, applied to what a module gives, for what no weight can hold.

    Names are those of the `transformers` network, as `named_parameters` and `named_modules` give them.
    """

    factors: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Affine] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.factors or self.vectors or self.maps)

    def scaled(self, strength: float) -> "Update":
        """The update whose strength 1 is `strength` of this one."""
        return Update(
            {name: (strength * left, right) for name, (left, right) in self.factors.items()},
            {name: strength * vector for name, vector in self.vectors.items()},
            {name: Affine(strength * m.left, m.right, strength * m.offset) for name, m in self.maps.items()},
        )

    def tensors(self) -> dict[str, Tensor]:
        found = {f"factors/{n}/{side}": t for n, pair in self.factors.items() for side, t in zip(LR, pair, strict=True)}
        found |= {f"vectors/{name}": vector for name, vector in self.vectors.items()}
        for name, m in self.maps.items():
            found |= {f"maps/{name}/left": m.left, f"maps/{name}/right": m.right, f"maps/{name}/offset": m.offset}
        return {name: tensor.detach().float().contiguous() for name, tensor in found.items()}

    def save(self, folder: Path) -> None:
        """Write update.safetensors, float32."""
        _save(folder / FILE, self.tensors())


LR = ("left", "right")


def load_update(folder: Path) -> Update:
    """Raises ModelError for a file that is no update."""
    return _of_tensors(_load(folder / FILE), folder / FILE)


def _of_tensors(tensors: Mapping[str, Tensor], path: Path) -> Update:
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    maps: dict[str, Affine] = {}
    try:
        for name in (key for key in tensors if key.endswith("/left")):
            kind, _, of = name.removesuffix("/left").partition("/")
            left, right = tensors[name], tensors[f"{kind}/{of}/right"]
            if kind == "factors":
                factors[of] = left, right
            else:
                maps[of] = _affine(left, right, tensors[f"{kind}/{of}/offset"], path)
    except KeyError as error:
        raise ModelError(f"{path} is not a whole correction.", received=f"without {error}") from error
    vectors = {key.removeprefix("vectors/"): t for key, t in tensors.items() if key.startswith("vectors/")}
    return Update(factors, vectors, maps)


def _affine(left: Tensor, right: Tensor, offset: Tensor, path: Path) -> Affine:
    width = offset.shape[0] if offset.dim() == 1 else -1
    if left.dim() != 2 or right.dim() != 2 or left.shape != (width, right.shape[0]) or right.shape[1] != width:
        raise ModelError(
            f"{path} is not a whole correction.",
            received=f"shapes {list(left.shape)}, {list(right.shape)}, {list(offset.shape)}",
            expected="[width, rank], [rank, width], [width]",
        )
    return Affine(left, right, offset)


@contextlib.contextmanager
def applied(model: "Model", update: Update, strength: float = 1.0) -> Iterator["Model"]:
    """The model with the update in its weights; on the way out they are bit for bit as before.

    Its digest is another, so that results kept of the model are not taken for its. Raises ModelError for an update of
    another network.
    """
    network = plain(model.network)
    taken_back = contextlib.ExitStack()
    with taken_back:
        for name, (left, right) in update.factors.items():
            _add(taken_back, _parameter(network, name), strength * (left @ right), name)
        for name, vector in update.vectors.items():
            _add_bias(taken_back, network, name, strength * vector)
        for name, affine in update.maps.items():
            taken_back.callback(_hook(network, name, affine, strength).remove)
        tried = digests.of_value([model.digest, update_digest(update), strength])
        yield replace(model, digest=tried)


def update_digest(update: Update) -> str:
    """Digest of every tensor, in the order of their names."""
    return digests.of_value(
        {name: digests.of_bytes(tensor.numpy().tobytes()) for name, tensor in sorted(update.tensors().items())}
    )


def fold(model: "Model", update: Update, strength: float = 1.0) -> Update:
    """Put the update into the weights for good. Returns what they cannot hold: maps, applied from now on by hooks.

    A bias that the network lacks is made where its config has a key for it. Raises ModelError where there is none.
    """
    network = plain(model.network)
    _open_biases(model, [name for name in update.vectors if _missing(network, name)])
    with torch.no_grad():
        for name, (left, right) in update.factors.items():
            weight = _parameter(network, name)
            weight.copy_(weight.float() + _fitting(strength * (left @ right), weight, name))
        for name, vector in update.vectors.items():
            bias = _parameter(network, name)
            bias.copy_(bias.float() + _fitting(strength * vector, bias, name))
    left_over = Update(maps=update.maps).scaled(strength)
    for name, affine in left_over.maps.items():
        _hook(network, name, affine, 1.0)
    return left_over


def attach_maps(network: Any, folder: Path) -> None:
    """Apply the maps kept in a model's folder, if there are any: what `save_maps` wrote."""
    for name, affine in load_maps(folder).maps.items():
        _hook(network, name, affine, 1.0)


def load_maps(folder: Path) -> Update:
    """The maps kept in a model's folder; none where there is no such file. Raises ModelError for a damaged one."""
    path = folder / MAPS
    return Update(maps=_of_tensors(_load(path), path).maps) if path.is_file() else Update()


def save_maps(folder: Path, update: Update) -> None:
    """Keep the maps of an update with the model that needs them: no other tool applies them."""
    if update.maps:
        _save(folder / MAPS, Update(maps=update.maps).tensors())


def _add(taken_back: contextlib.ExitStack, weight: nn.Parameter, change: Tensor, name: str) -> None:
    before = weight.detach().clone()
    taken_back.callback(weight.data.copy_, before)
    weight.data.copy_(before.float() + _fitting(change, weight, name))


def _add_bias(taken_back: contextlib.ExitStack, network: Any, name: str, change: Tensor) -> None:
    """Where the layer has no bias, it has one for the time being."""
    if not _missing(network, name):
        _add(taken_back, _parameter(network, name), change, name)
        return
    module = _linear_without_bias(network, name)
    taken_back.callback(setattr, module, "bias", None)
    bias = _fitting(change, module.weight[:, 0], name)
    module.bias = nn.Parameter(bias.to(module.weight.dtype), requires_grad=False)


def _hook(network: Any, name: str, affine: Affine, strength: float) -> Any:
    try:
        module = network.get_submodule(name)
    except AttributeError as error:
        raise _of_another(network, name) from error

    def change(_: Any, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (affine(output[0], strength), *output[1:])
        return affine(output, strength)

    return module.register_forward_hook(change)


def _fitting(change: Tensor, weight: Tensor, name: str) -> Tensor:
    """The change, of a shape that can be added to the weight."""
    if change.shape != weight.shape[-change.dim() :]:
        raise ModelError(
            f"A correction of '{name}' does not fit this model.",
            received=list(change.shape),
            expected=list(weight.shape),
            remedy="correct the model that the correction was made for",
        )
    return change


def _parameter(network: Any, name: str) -> nn.Parameter:
    try:
        found: nn.Parameter = network.get_parameter(name)
    except AttributeError as error:
        raise _of_another(network, name) from error
    return found


def _missing(network: Any, name: str) -> bool:
    module, _, last = name.rpartition(".")
    try:
        return getattr(network.get_submodule(module), last) is None
    except AttributeError as error:
        raise _of_another(network, name) from error


def _linear_without_bias(network: Any, name: str) -> Any:
    module = network.get_submodule(name.rpartition(".")[0])
    if not isinstance(module, nn.Linear):
        raise ModelError(f"'{name}' has no bias, and none can be given to it.")
    return module


def _open_biases(model: "Model", wanted: list[str]) -> None:
    """Give the network the biases that its config can turn on, zero where they were not wanted."""
    config = plain(model.network).config
    for key in (key for key in model.family.biases if wanted and not getattr(config, key, False)):
        setattr(config, key, True)
        with torch.device("meta"):
            expected = type(plain(model.network))(config).state_dict()
        own = plain(model.network).state_dict()
        if not set(wanted) & (set(expected) - set(own)):
            setattr(config, key, False)
            continue
        for name in sorted(set(expected) - set(own)):
            module = _linear_without_bias(plain(model.network), name)
            module.bias = nn.Parameter(torch.zeros(len(module.weight), dtype=module.weight.dtype), requires_grad=False)
    still = [name for name in wanted if _missing(plain(model.network), name)]
    if still:
        raise ModelError(
            f"{model.family.title} has no place for this correction: its layers have no bias.",
            received=", ".join(still[:3]),
            remedy="keep it as a module beside the weights, or take another method (counterfactual, erasure)",
        )


def _of_another(network: Any, name: str) -> ModelError:
    return ModelError(
        f"The correction names '{name}', which {type(network).__name__} does not have.",
        remedy="correct the model that the correction was made for",
    )


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save

    with files.clear_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, save(dict(tensors)))


def _load(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found: dict[str, Tensor] = load(path.read_bytes())
        return found
    except (OSError, SafetensorError) as error:
        raise ModelError(f"There is no whole correction in {path}.", received=str(error)) from error
