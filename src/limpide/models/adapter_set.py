"""Several adapters of one base in memory at once, one of them or none at work at a time."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from limpide.models.model import Model, open_model, refuse_head, with_adapter


@dataclass(frozen=True, eq=False)
class AdapterSet:
    """A base with its adapters. names: of each adapter, as people call it → as `peft` does, which takes no dots."""

    model: Model
    names: Mapping[str, str]

    @contextlib.contextmanager
    def active(self, adapter: str | None) -> Iterator[Model]:
        """The model with that adapter at work, or the base alone. One at a time: they share the base's weights."""
        if not self.names:
            yield self.model
        elif adapter is None:
            with self.model.network.disable_adapter():
                yield self.model
        else:
            self.model.network.set_adapter(self.names[adapter], inference_mode=True)
            yield self.model


def open_adapter_set(folder: Path, adapters: Mapping[str, Path]) -> AdapterSet:
    """Open the base in `folder`, and its adapters from {name: folder as `peft` writes it}, after the safety checks.

    Raises UntrustedInput and ModelError as `open_model` does.
    """
    for path in adapters.values():
        refuse_head(path)
    model = open_model(folder)
    network, names = model.network, {}
    for number, (name, path) in enumerate(adapters.items()):
        names[name] = f"adapter{number}"
        network = with_adapter(network, path, names[name])
    network.eval()
    return AdapterSet(replace(model, network=network), names)
