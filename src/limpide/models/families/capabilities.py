"""What each family can do, as the tests last found it: `capabilities.json` is written by them, never by hand.

`make families` runs the tests and writes the file; `make test` fails when it no longer tells what they find.
"""

from pathlib import Path

from limpide.core import files

PATH = Path(__file__).with_name("capabilities.json")
Capabilities = dict[str, dict[str, str]]


def load_capabilities() -> Capabilities:
    """{family title: {capability: 'yes' | 'no' | 'n/a'}}. 'n/a': the architecture has no such thing."""
    table: Capabilities = files.read_json(PATH)
    return table


def markdown(table: Capabilities) -> str:
    columns = list(next(iter(table.values())))
    head = f"| family | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}"
    rows = [f"| {name} | {' | '.join(cells[c] for c in columns)} |" for name, cells in table.items()]
    return "\n".join([head, *rows])
