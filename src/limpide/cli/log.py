"""`limpide log`: read, verify, purge, export the request log of a service."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from limpide.cli.output import Json, print_json, print_rows, progress, visible
from limpide.core.errors import DataError, Fault, IntegrityError, UsageError

if TYPE_CHECKING:
    from limpide.serve.request_log.entry import Entry
    from limpide.serve.request_log.places import Places
    from limpide.serve.request_log.verify import Verdict

HELP = """Read, verify, purge or export the request log of a service.

Example: limpide log verify
"""
app = App(name="log", help=HELP, help_format="plaintext")
Flag = Parameter(negative="")


@dataclass(frozen=True)
class Service:
    """Which service's log."""

    state: Annotated[Path, Parameter(help="state folder of the service")] = Path(".limpide/serve")
    heads: Annotated[
        Path | None, Parameter(help="folder of the signed heads; default: where they were last written")
    ] = None

    def places(self) -> "Places":
        from limpide.serve.request_log.places import places

        return places(self.state, self.heads)


Where = Annotated[Service, Parameter(name="*")]
HERE = Service()


@app.command
def verify(
    *,
    where: Where = HERE,
    public_key: Annotated[Path | None, Parameter(help="the log's public key; default: log.pub of the state")] = None,
    held: Annotated[tuple[Path, ...], Parameter(help="files of heads that were kept elsewhere", negative="")] = (),
    receipt: Annotated[Path | None, Parameter(help="check this receipt alone, without the log")] = None,
    as_json: Json = False,
) -> None:
    """Check that the request log is what was written: nothing changed, added, removed, reordered. Exit code 6 when not.

    Example: limpide log verify --held /media/usb/heads.jsonl
    """
    from limpide.serve.request_log.verify import LIMIT
    from limpide.serve.request_log.verify import verify as verified

    places = where.places()
    public_key = public_key or places.public
    if receipt is not None:
        _verify_receipt(receipt, public_key, as_json)
        return
    verdict = verified(places.folder, public_key, places.heads, elsewhere=held, progress=progress(as_json))
    if as_json:
        print_json({"intact": verdict.intact, **asdict(verdict), "limit": LIMIT})
    else:
        print_rows(_verdict_rows(verdict))
        print(f"limit: {LIMIT}")
    _refuse_damage(verdict)


def _verdict_rows(verdict: "Verdict") -> list[tuple[str, str]]:
    rest = verdict.end - verdict.covered
    days = f"{verdict.days[0]} to {verdict.days[-1]}" if verdict.days else "no day"
    heads = f"{verdict.heads} agree; the last, of {verdict.covered_at}, counts {_entries(verdict.covered)}"
    return [
        ("log", verdict.log),
        ("verdict", "intact" if verdict.intact else f"DAMAGED: {verdict.damage}"),
        ("entries that hold", f"{verdict.end - verdict.first:,} (from number {verdict.first} on), {days}"),
        *([("purged", f"{_entries(verdict.first)}, of which signed digests remain")] if verdict.first else []),
        ("signed heads", heads if verdict.heads else "none was met"),
        *([("since the last head", f"{_entries(rest)}, which whoever holds the disk could rewrite")] if rest else []),
        ("key", verdict.key_id),
        *(("note", note) for note in verdict.notes),
    ]


def _refuse_damage(verdict: "Verdict") -> None:
    if verdict.damage is not None:
        damage = verdict.damage
        raise IntegrityError(
            "The request log is not what was written.",
            faults=[Fault(damage.file, damage.line, damage.what)],
            remedy="limpide log export FOLDER keeps a copy as it is; a backup, or heads kept apart, tell more",
        )


def _verify_receipt(path: Path, public_key: Path, as_json: bool) -> None:
    from limpide.release.keys import load_public
    from limpide.serve.request_log.receipts import check_receipt

    try:
        told = json.loads(_text_of(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON.", received=error, expected="a receipt") from error
    if not isinstance(told, dict):
        raise DataError(f"{path} is not a receipt.", expected="a file that limpide log receipt wrote")
    shown = check_receipt(told, load_public(public_key))
    if as_json:
        print_json({"valid": True, "entry": shown.entry.record(), "head": shown.head.record()})
        return
    print(f"Entry {shown.entry.seq} is in log {shown.head.log}, by the head signed on {shown.head.at}:")
    print(_line(shown.entry))
    if shown.held is not None:
        print(f"Nothing that the head held since {shown.held.at} counts was changed or removed.")


@app.command
def show(
    *,
    where: Where = HERE,
    since: Annotated[str | None, Parameter(help="a time in UTC, or its beginning: 2026-11-23T08")] = None,
    until: Annotated[str | None, Parameter(help="a time in UTC, which is not included")] = None,
    event: Annotated[str | None, Parameter(help="only this event; studio.* for all that begin so")] = None,
    key: Annotated[str | None, Parameter(help="only entries of this access key, by its id")] = None,
    last: Annotated[int, Parameter(help="so many entries from the end; 0 for all")] = 50,
    as_json: Json = False,
) -> None:
    """Show entries of the request log, in order.

    Example: limpide log show --event refuse --since 2026-11-23 --last 20
    """
    from limpide.serve.request_log.read import Wanted, read
    from limpide.serve.request_log.texts import kept

    if last < 0:
        raise UsageError("--last counts entries.", received=last, expected="0 or more")
    folder = where.places().folder
    wanted = Wanted(_time(since, "--since"), _time(until, "--until"), event, key)
    found = read(folder, wanted, last or None)
    if as_json:
        for entry in found:
            print(json.dumps(entry.record()))
        return
    shown = list(found)
    if not shown:
        print("No entry of the log is like that.", file=sys.stderr)
        return
    with_key = kept(folder, since=min(entry.at for entry in shown)[:10])
    for entry in shown:
        print(_line(entry, erased=bool(entry.texts) and entry.seq not in with_key))


def _line(entry: "Entry", erased: bool = False) -> str:
    """An entry on one line of a terminal."""
    facts = [f"{visible(name)}={_short(value)}" for name, value in entry.facts.items() if value is not None]
    texts = [f"texts={'erased' if erased else ','.join(map(visible, entry.texts))}"] if entry.texts else []
    return "  ".join([f"{entry.seq:>7}", entry.at, f"{visible(entry.event):<12}", *facts, *texts])


def _short(value: Any) -> str:
    """A fact, which a caller may have chosen: nothing in it ends the line or passes for another fact."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str) or (text.isprintable() and " " not in text and '"' not in text and "=" not in text):
        return visible(text)
    return visible(json.dumps(text, ensure_ascii=False))


def _time(text: str | None, option: str) -> str | None:
    """A time as entries have it, or its beginning."""
    from datetime import datetime

    if text is None:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{option} is not a time.", received=text, expected="a day or a time in UTC: 2026-11-23, 2026-11-23T08:15"
        ) from error
    return f"{told:%Y-%m-%dT%H:%M:%S}"


@app.command
def purge(
    *,
    where: Where = HERE,
    keep_days: Annotated[int, Parameter(help="days that are kept")] = 183,
    why: Annotated[str | None, Parameter(help="why less than 183 days are kept; it is logged")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="only say which days would be removed")] = False,
    as_json: Json = False,
) -> None:
    """Remove the days of the log whose time is over, with the keys of their texts. What remains still verifies.

    Example: limpide log purge --keep-days 365
    """
    from limpide.serve.request_log import retention
    from limpide.serve.request_log.entry import stamp
    from limpide.serve.request_log.places import require_log

    places, today = where.places(), stamp(time.time())[:10]
    require_log(places.folder)
    retention.require_reason(keep_days, why)
    if dry_run:
        gone = retention.due(places.folder, today, keep_days)
    else:
        from limpide.serve.request_log.writer import RequestLog

        with RequestLog(places) as log:
            gone = retention.purge(log, today, keep_days=keep_days, why=why, progress=progress(as_json))
    if as_json:
        print_json({"days": gone, "removed": not dry_run})
        return
    told = f"{_count(len(gone), 'day')}, {gone[0]} to {gone[-1]}" if gone else f"no day is older than {keep_days} days"
    print(f"{'would be removed' if dry_run else 'removed'}: {told}")


@app.command
def sign(*, where: Where = HERE, as_json: Json = False) -> None:
    """Sign a head of all that the log holds now, as the service does every few minutes and when it stops.

    Example: limpide log sign
    """
    from limpide.serve.request_log.places import require_log
    from limpide.serve.request_log.writer import RequestLog

    places = where.places()
    require_log(places.folder)
    with RequestLog(places) as log:
        head = log.head()
    if as_json:
        print_json(head.record())
    else:
        print(f"signed: {_entries(head.tree_size)}, {head.root}")


@app.command
def export(into: Path, *, where: Where = HERE, as_json: Json = False) -> None:
    """Copy the log, its heads and its public key, with how to verify them, for somebody else. No text, no key of one.

    Example: limpide log export log-2026-11.zip

    Parameters
    ----------
    into
        A folder that does not exist, or a name that ends in .zip.
    """
    from limpide.serve.request_log.export import export as exported

    verdict = exported(where.places(), into, progress(as_json))
    if as_json:
        print_json({"written": str(into), "intact": verdict.intact, **asdict(verdict)})
    else:
        print(f"{into} is written: {_entries(verdict.end - verdict.first)}, {_count(verdict.heads, 'head')} that agree")
    _refuse_damage(verdict)


@app.command
def match(
    entry: int,
    *,
    where: Where = HERE,
    text: Annotated[Path, Parameter(help="a file with the text, to the byte; - reads it from standard input")],
    as_json: Json = False,
) -> None:
    """Check whether a text is the prompt or the answer of an entry, of which the log keeps a commitment only.

    Example: limpide log match 17 --text answer.txt

    Parameters
    ----------
    entry
        The number of the entry.
    """
    from limpide.serve.request_log import retention

    folder, given = where.places().folder, _text_of(text)
    found = retention.match(folder, entry, given)
    if found.state == "differs" and given.endswith("\n"):  # which editors add
        found = retention.match(folder, entry, given[:-1])
    if as_json:
        print_json(asdict(found))
        return
    print(
        {
            "matches": f"The text is the {' and the '.join(found.labels)} of entry {entry}, of {found.at}.",
            "differs": f"The text is not one of entry {entry}, of {found.at}.",
            "erased": f"Entry {entry}, of {found.at}, can't be told: the key of its texts was erased.",
            "no text": f"Entry {entry}, of {found.at}, is about no text.",
        }[found.state]
    )


@app.command
def erase(
    entry: int | None = None,
    *,
    where: Where = HERE,
    day: Annotated[str | None, Parameter(help="erase those of a whole day")] = None,
    why: Annotated[str | None, Parameter(help="why; it is logged")] = None,
    as_json: Json = False,
) -> None:
    """Erase the key of an entry's texts: nobody can tell any more what they were. The log stays valid.

    Example: limpide log erase 17 --why "asked by the person concerned"

    Parameters
    ----------
    entry
        The number of the entry.
    """
    from limpide.serve.request_log import retention
    from limpide.serve.request_log.places import require_log
    from limpide.serve.request_log.writer import RequestLog

    if (entry is None) == (day is None):
        raise UsageError(
            "Name one entry, or one day.", expected="limpide log erase 17, or limpide log erase --day 2026-11-23"
        )
    places = where.places()
    require_log(places.folder)
    with RequestLog(places) as log:
        count = retention.erase(log, seq=entry, day=day, why=why)
    if as_json:
        print_json({"erased": count})
        return
    print(f"{_count(count, 'key')} erased. Copies of the disk, backups and snapshots, are yours to erase.")


@app.command
def receipt(
    entry: int,
    *,
    where: Where = HERE,
    held: Annotated[Path | None, Parameter(help="heads kept elsewhere: show that the log continues them")] = None,
    out: Annotated[Path | None, Parameter(help="the file; default: receipt-N.json")] = None,
    as_json: Json = False,
) -> None:
    """Write a receipt: that one entry is in the log, for somebody who has the public key alone.

    Example: limpide log receipt 17 --out receipt.json; to check it: limpide log verify --receipt receipt.json

    Parameters
    ----------
    entry
        The number of the entry.
    """
    from limpide.core.files import write_json
    from limpide.release.keys import load_public
    from limpide.serve.request_log import receipts

    places = where.places()
    public = load_public(places.public)
    since = receipts.held_head(held, public) if held is not None else None
    made = receipts.receipt(places, public, entry, since)
    path = out or Path(f"receipt-{entry}.json")
    write_json(path, made)
    if as_json:
        print_json({"written": str(path), "receipt": made})
        return
    print(f"{path} is written. To check it: limpide log verify --receipt {path} --public-key log.pub")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _entries(number: int) -> str:
    return f"{number:,} entr{'y' if number == 1 else 'ies'}"


def _text_of(path: Path) -> str:
    try:
        return (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read.", received=error.strerror, remedy="give another file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text.", received=error, expected="UTF-8") from error
