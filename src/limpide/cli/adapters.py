"""`limpide adapters merge|compare|publish`: what can be done with adapters once they are trained."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from limpide.adapt.merge_settings import MergeSettings
from limpide.cli.lists import repeated
from limpide.cli.output import Json, ask, print_json, print_rows, progress, visible
from limpide.core import files
from limpide.core.errors import UsageError

if TYPE_CHECKING:
    from limpide.adapt.publish import Parcel

HELP = """Combine adapters, compare two of them layer by layer, or publish one.

Example: limpide adapters merge adapter-a adapter-b --method ties --density 0.3 --out adapter-ab
"""
COMPARISON, PAGE = "comparison.json", "report.html"
Flag = Parameter(negative="")


def merge(
    *adapters: Annotated[Path, Parameter(help="adapter folders of one base, two or more")],
    out: Annotated[Path, Parameter(help="folder of the new adapter; it must not exist")],
    settings: Annotated[MergeSettings, Parameter(name="*")] = MergeSettings(),  # noqa: B008  # immutable
    as_json: Json = False,
) -> None:
    """Make one adapter of several: their weighted sum, TIES, or DARE.

    Example: limpide adapters merge adapter-a adapter-b --method ties --density 0.3 --out adapter-ab
    """
    from limpide.adapt.merge import merge as merged
    from limpide.models.cache import new_folder

    if out.exists():
        raise UsageError(f"{out} exists, and nothing is overwritten.", remedy="name a folder that does not exist yet")
    with new_folder(out) as made:
        record = merged(adapters, settings, made, progress(as_json)).record
    if as_json:
        print_json({"adapter": str(out), **record})
        return
    print_rows(list(_merge_rows(record)))
    print(f"{out} is written: an adapter for {visible(str(record['base']))}. Next:")
    print(f"  {shlex.join(['limpide', 'adapters', 'compare', str(adapters[0]), str(out)])}")


def _merge_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(one["name"], f"weight {one['weight']:g}, rank {one['rank']}") for one in record["adapters"]]
    rows.append(("together", f"{record['method']}, rank {record['rank']}, {record['modules']} modules"))
    if "relative_error" in record:
        lost = f"{record['relative_error']:.1%} of its norm; a larger --rank loses less"
        rows.append(("lost by factoring", lost))
    return rows


def compare(
    first: Annotated[Path, Parameter(help="an adapter folder")],
    second: Annotated[Path, Parameter(help="another adapter of the same base")],
    *,
    out: Annotated[Path | None, Parameter(help="folder to keep comparison.json and report.html in")] = None,
    language: Annotated[
        Literal["en", "fr"], Parameter(name="--report-language", help="language of the page and the sentences")
    ] = "en",
    as_json: Json = False,
) -> None:
    """Compare two adapters layer by layer: how much each changes, and how far they change the same directions.

    Example: limpide adapters compare adapter-a adapter-b --out compared
    """
    from limpide.adapt.differences import compare as compared
    from limpide.document.adapters_page import in_short, page
    from limpide.document.language import language as spoken
    from limpide.models.cache import new_folder

    if out is not None and out.exists():
        raise UsageError(f"{out} exists, and nothing is overwritten.", remedy="name a folder that does not exist yet")
    record = compared(first, second)
    if out is not None:
        again = shlex.join(["limpide", "adapters", "compare", str(first), str(second)])
        with new_folder(out) as made:
            files.write_json(made / COMPARISON, record)
            files.write_text(made / PAGE, page(record, language, again))
    if as_json:
        print_json(record)
        return
    print(visible(in_short(record, spoken(language))))
    print_rows(_kind_rows(record))
    if out is not None:
        print(f"page: {out / PAGE}")


def _kind_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each kind of module: means over its layers, beside what chance gives."""
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in record["modules"]):
        both = [one for one in record["modules"] if one["kind"] == kind and one["cosine"] is not None]
        if not both:
            rows.append((kind, "in one of them alone"))
            continue
        cosine, read, chance = (
            sum(one[key] for one in both) / len(both) for key in ("cosine", "read", "by_chance_read")
        )
        rows.append((kind, f"cosine {cosine:+.2f}, shared directions {read:.2f} (by chance {chance:.2f})"))
    return rows


def publish(
    folder: Annotated[Path, Parameter(help="the adapter's folder")],
    destination: Annotated[str, Parameter(help="a folder that does not exist, or hub:owner/name")],
    *,
    base: Annotated[str | None, Parameter(help="what others call the base, for example owner/name")] = None,
    private: Annotated[bool, Flag, Parameter(help="on the hub: for you and your organisation alone")] = False,
    yes: Annotated[bool, Flag, Parameter(name=["--yes", "-y"], help="publish on the hub without asking")] = False,
    as_json: Json = False,
) -> None:
    """Publish an adapter in a folder or on the hub; what will be public is listed first.

    Only the adapter's own files go: no losses, no states kept on the way, no data. The hub's token comes from HF_TOKEN
    or from its own log-in.

    Example: limpide adapters publish adapted/adapter hub:our-house/press-assistant --base owner/base-model
    """
    from limpide.adapt.publish import copy, packed, repository, upload

    name = repository(destination)
    with packed(folder, base) as parcel:
        if not as_json:
            _list(parcel, destination, private)
        if name is None:
            copy(parcel, Path(destination))
            address = destination
        else:
            _agree(destination, yes, as_json)
            address = upload(parcel, name, private=private)
        if as_json:
            print_json({"published": address, "files": parcel.sizes, "left_out": parcel.left_out, "told": parcel.told})
            return
    print(f"Published: {address}")


def _list(parcel: "Parcel", destination: str, private: bool) -> None:
    whom = "in a private repository" if private else "to everybody" if destination.startswith("hub:") else "there"
    print(f"What {destination} will show {whom}:")
    print_rows([(f"  {name}", f"{size / 1e6:.2f} MB") for name, size in parcel.sizes.items()])
    for line in parcel.told:
        print(visible(f"  {line}"))
    if parcel.left_out:
        print(visible(f"Left out: {', '.join(parcel.left_out)}."))


def _agree(destination: str, yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise UsageError(f"Nobody can be asked whether to publish on {destination}.", remedy="add --yes to agree")
    if ask("Publish it? [y/N] ").lower() not in ("y", "yes", "o", "oui"):
        raise UsageError("Nothing was published.")


def spread(arguments: Sequence[str]) -> list[str]:
    """The command line with every list of `merge` repeated."""
    if list(arguments[1:2]) != ["merge"]:
        return list(arguments)
    return repeated(arguments, MergeSettings)


def make_app() -> App:
    made = App(name="adapters", help=HELP, help_format="plaintext")
    for command in (merge, compare, publish):
        made.command(command)
    return made


app = make_app()
