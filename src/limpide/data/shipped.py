"""The probes and lists that come with Limpide, as texts."""

from importlib.resources import files as resources


def read_probe(name: str) -> str:
    """Text of a probe shipped in limpide/data/probes, for example 'bias/gender.pairs.json'."""
    return (resources("limpide.data") / "probes" / name).read_text(encoding="utf-8")


def read_list(name: str) -> str:
    """Text of a list of words shipped in limpide/data/lists, for example 'first_names.tsv'."""
    return (resources("limpide.data") / "lists" / name).read_text(encoding="utf-8")
