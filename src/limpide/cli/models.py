"""`limpide open` and `limpide families`."""

from limpide.cli.output import Json, print_json, print_rows, progress


def open_(model: str, *, as_json: Json = False) -> None:
    """Print the passport of a model: what it is, what it is licensed for, and what nobody knows about it.

    Example: limpide open smollm2-135m-instruct

    Parameters
    ----------
    model
        An alias, a folder, a .gguf file, an adapter folder, or hub:owner/name@revision.
    """
    from limpide.models.passport import passport
    from limpide.models.sources import resolve

    found = passport(resolve(model, progress(as_json)))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_rows(found.as_rows())


def families(*, as_json: Json = False) -> None:
    """Print what each family of models can do, as the tests last found it.

    Example: limpide families
    """
    from limpide.models.families.capabilities import load_capabilities

    table = load_capabilities()
    if as_json:
        print_json(table)
        return
    columns = list(next(iter(table.values())))
    width = max(len(name) for name in table)
    print("  ".join([" " * width, *columns]))
    for name, cells in table.items():
        shown = [str(cells[column]).center(len(column)) for column in columns]
        print("  ".join([name.ljust(width), *shown]).rstrip())
