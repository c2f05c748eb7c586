"""Divide examples into train, held-out (new wordings of known topics) and unseen (whole topics kept out).

Rows that are the same, nearly the same or of one group stay on one side. The division depends on the
seed and on what the rows say, not on their order.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from limpide.core import digests
from limpide.core.errors import DataError, Fault, nearest
from limpide.data.duplicates import Duplicates, Links, find_duplicates
from limpide.data.examples import SPLITS, Example, SplitName
from limpide.data.reading import too_many
from limpide.data.sensitive import holds_placeholder

T = TypeVar("T", bound=Hashable)
TINY = 1e-9
MOST_HELD_OUT = 0.5  # of the rows, when the smallest group is larger than the share asked for
FAR_FROM_ASKED = 0.25  # relative distance between the share asked for and the share reached that is worth a word


@dataclass(frozen=True)
class SplitSettings:
    """held_out: share of rows. unseen_topics: names, or share of topics. near_duplicate: smallest similarity."""

    held_out: float = 0.2
    unseen_topics: float | tuple[str, ...] = ()
    near_duplicate: float = 0.8


@dataclass(frozen=True)
class Split:
    """A partition of the examples, each part in the order of the file."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    unseen: tuple[Example, ...]
    warnings: tuple[str, ...] = ()


def split(
    examples: Sequence[Example],
    settings: SplitSettings,
    seed: int,
    *,
    duplicates: Duplicates | None = None,
    declared: Mapping[str, SplitName] | None = None,
) -> Split:
    """Divide the examples. declared: id → part, from the file's own split column; it wins over the settings.

    Raises DataError when no row can be held out, when a named topic does not exist or is tied to another, or
    when the declared parts leak into each other.
    """
    duplicates = duplicates or find_duplicates(examples, settings.near_duplicate)
    blocks = _blocks(examples, duplicates)
    warnings: list[str] = []
    if declared:
        part = _declared(examples, blocks, declared, warnings)
    else:
        topics = _unseen_topics(examples, blocks, settings.unseen_topics, seed)
        part = ["unseen" if example.topic in topics else "train" for example in examples]
        known = [block for block in blocks if part[block[0]] != "unseen"]
        for block in _held_out(examples, known, settings.held_out, seed, warnings):
            for i in block:
                part[i] = "held_out"
    rows = {name: tuple(e for e, p in zip(examples, part, strict=True) if p == name) for name in SPLITS}
    return Split(rows["train"], rows["held_out"], rows["unseen"], tuple(warnings))


def _blocks(examples: Sequence[Example], duplicates: Duplicates) -> tuple[tuple[int, ...], ...]:
    """Sets of rows that must stay together."""
    links = Links(len(examples))
    for together in duplicates.together:
        links.join_all(together)
    groups: dict[str, list[int]] = defaultdict(list)
    for i, example in enumerate(examples):
        if example.group is not None:
            groups[example.group].append(i)
    for members in groups.values():
        links.join_all(members)
    return links.groups()


def _key(examples: Sequence[Example], block: Iterable[int], seed: int) -> str:
    """A number drawn for a block from the seed and what its rows say."""
    said = [[examples[i].topic, *(m.model_dump() for m in examples[i].messages)] for i in block]
    return min(digests.of_value([seed, "held out", row]) for row in said)


# --- the file's own split column ---


def _declared(
    examples: Sequence[Example],
    blocks: Sequence[Sequence[int]],
    declared: Mapping[str, SplitName],
    warnings: list[str],
) -> list[SplitName]:
    """The declared parts, after checking that each row has one and that none leaks. warnings: added to."""
    without = [example for example in examples if example.id not in declared]
    if without:
        faults = [Fault(*example.place, "no value in the split column") for example in without]
        raise too_many(
            faults, "missing in the split column", remedy="fill it on every row, or set data.columns: {split: null}"
        )
    part = [declared[example.id] for example in examples]
    faults = []
    for block in blocks:
        for i in block[1:]:
            if part[i] != part[block[0]]:
                faults.append(_leak(examples[i], part[i], examples[block[0]], part[block[0]]))
    trained = {example.topic: example for example, p in zip(examples, part, strict=True) if p == "train"}
    for example, p in zip(examples, part, strict=True):
        if p == "unseen" and example.topic is not None and example.topic in trained:
            where = trained[example.topic].source
            faults.append(Fault(*example.place, f"topic '{example.topic}' is unseen here and in train at {where}"))
    if faults:
        raise too_many(faults, "shared between parts of the split column", remedy="put both rows in the same part")
    counts = Counter(part)
    if not counts["train"] or not counts["held_out"]:
        raise DataError(
            "The split column leaves no row to " + ("learn from." if not counts["train"] else "test on."),
            received=", ".join(f"{counts[name]} {name}" for name in SPLITS),
            remedy="give rows to 'train' and to 'held_out', or set data.columns: {split: null} to let Limpide divide",
        )
    only_tested = {e.topic for e, p in zip(examples, part, strict=True) if p == "held_out"} - trained.keys()
    if only_tested:
        warnings.append(f"{len(only_tested)} topics are held out and never in train: {_some(only_tested)}.")
    return part


def _leak(row: Example, part: SplitName, other: Example, other_part: SplitName) -> Fault:
    same_group = row.group is not None and row.group == other.group
    why = f"has the group '{row.group}' of" if same_group else "says the same, or nearly, as"
    return Fault(*row.place, f"{part}, but {why} {other.source} ({other_part})")


# --- whole topics kept out ---


def _unseen_topics(
    examples: Sequence[Example], blocks: Sequence[Sequence[int]], asked: float | tuple[str, ...], seed: int
) -> set[str]:
    """Names of the topics to keep out."""
    if not asked:
        return set()
    topics = {example.topic for example in examples if example.topic is not None}
    if not topics:
        raise DataError(
            "data.unseen_topics needs a topic for each row, and no row has one.",
            remedy="add a column 'topic', name it in data.columns, or remove data.unseen_topics",
        )
    if isinstance(asked, float | int):
        return _drawn_topics(examples, blocks, asked, seed)
    unknown = [name for name in asked if name not in topics]
    if unknown:
        hints = "".join(nearest(name, sorted(topics)) for name in unknown[:3])
        raise DataError(
            f"data.unseen_topics names topics that no row has: {_some(unknown)}.{hints}", expected=_some(topics)
        )
    if set(asked) == topics and all(example.topic is not None for example in examples):
        raise DataError(f"data.unseen_topics names all {len(topics)} topics: none is left to learn.")
    faults = []
    for block in blocks:
        outside = [i for i in block if examples[i].topic not in asked]
        for i in block:
            if outside and examples[i].topic in asked:
                other = examples[outside[0]]
                tie = (
                    "has the group of"
                    if other.group and other.group == examples[i].group
                    else "says nearly the same as"
                )
                faults.append(
                    Fault(*examples[i].place, f"unseen topic '{examples[i].topic}', but {tie} {other.source}")
                )
    if faults:
        remedy = "name both topics in data.unseen_topics, or neither"
        raise too_many(faults, "shared between an unseen topic and a known one", remedy=remedy)
    return set(asked)


def _drawn_topics(examples: Sequence[Example], blocks: Sequence[Sequence[int]], share: float, seed: int) -> set[str]:
    """Topics drawn by the seed, in each language in proportion; topics tied by a block are drawn together."""
    languages: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        if example.topic is not None:
            languages[example.topic][example.language or ""] += 1
    names = sorted(languages)
    main = {topic: min(seen, key=lambda x: (-seen[x], x)) for topic, seen in languages.items()}
    links = Links(len(names) + 1)  # the last stands for rows without a topic
    at: dict[str | None, int] = {name: i for i, name in enumerate(names)} | {None: len(names)}
    for block in blocks:
        links.join_all(sorted({at[examples[i].topic] for i in block}))
    families = [[names[i] for i in family] for family in links.groups() if len(names) not in family]
    quota = quotas(Counter(main.values()), share, seed, what="topics")
    drawn: set[str] = set()
    for family in sorted(families, key=lambda family: digests.of_value([seed, "unseen", family[0]])):
        wanted = Counter(main[topic] for topic in family)
        if all(count <= quota[language] for language, count in wanted.items()):
            drawn.update(family)
            for language, count in wanted.items():
                quota[language] -= count
    if not drawn:
        raise DataError(
            f"No topic can be kept unseen: {share:g} of {len(names)} topics.",
            received=f"{len(names)} topics, {len(names) - sum(map(len, families))} tied to rows without a topic",
            remedy="name the topics in data.unseen_topics, or remove it",
        )
    return drawn


# --- new wordings held out ---


def quotas(sizes: Mapping[T, int], share: float, seed: int, *, what: str = "rows") -> dict[T, int]:
    """How many of each stratum to take: `share` of all, at least one, by largest remainder; a stratum keeps one."""
    total = max(1, round(share * sum(sizes.values())))
    quota = {name: min(int(share * size + TINY), size - 1) for name, size in sizes.items()}

    def order(name: T) -> tuple[float, str]:
        fraction = share * sizes[name] + TINY - int(share * sizes[name] + TINY)
        return (-round(fraction, 6), digests.of_value([seed, what, name]))

    left = total - sum(quota.values())
    for name in sorted(sizes, key=order):
        if left > 0 and quota[name] < sizes[name] - 1:
            quota[name] += 1
            left -= 1
    return quota


def _held_out(
    examples: Sequence[Example], blocks: Sequence[Sequence[int]], share: float, seed: int, warnings: list[str]
) -> list[Sequence[int]]:
    """Blocks to hold out: `share` of the rows, spread over topics, each topic keeping a row in train.

    warnings: added to when the share reached is far from the share asked for.
    """
    sizes = Counter(examples[i].topic for block in blocks for i in block)
    rows = sizes.total()
    quota = quotas(sizes, share, seed)
    target = sum(quota.values())
    # Rows whose answer was masked come last: a placeholder is no answer to test with.
    drawn = sorted(blocks, key=lambda block: (_is_masked(examples, block), _key(examples, block, seed)))
    taken: Counter[str | None] = Counter()
    chosen: list[Sequence[int]] = []

    def take(block: Sequence[int], most: Mapping[str | None, int]) -> bool:
        wanted = Counter(examples[i].topic for i in block)
        if any(taken[topic] + count > most[topic] for topic, count in wanted.items()):
            return False
        taken.update(wanted)
        chosen.append(block)
        return True

    left = [block for block in drawn if not take(block, quota)]
    # Blocks larger than their topic's share: let other topics make up the number, then one large block.
    most = {topic: size - 1 for topic, size in sizes.items()}
    for block in left:
        if taken.total() + len(block) <= target:
            take(block, most)
    if not chosen:
        for block in sorted(left, key=len):
            if len(block) <= MOST_HELD_OUT * rows and take(block, most):
                break
    if not chosen:
        raise _nothing_held_out(examples, blocks, rows, share)
    reached = taken.total() / rows
    if abs(reached - share) > FAR_FROM_ASKED * share:
        warnings.append(
            f"{reached:.0%} of the known rows are held out where {share:.0%} was asked for: "
            f"rows of one group, and duplicates, stay together (largest block: {max(map(len, blocks))} rows)."
        )
    return chosen


def _is_masked(examples: Sequence[Example], block: Sequence[int]) -> bool:
    return any(holds_placeholder(examples[i].answer) for i in block)


def _nothing_held_out(
    examples: Sequence[Example], blocks: Sequence[Sequence[int]], rows: int, share: float
) -> DataError:
    topics = {examples[i].topic for block in blocks for i in block} - {None}
    largest = max(map(len, blocks), default=0)
    return DataError(
        "No row can be held out: there would be nothing to test the result on.",
        received=f"{rows} rows in {len(blocks)} blocks of the same or nearly the same question, the largest of "
        f"{largest} rows; {len(topics)} topics; held_out {share:g}",
        expected="at least two blocks, and a topic asked in at least two wordings where there are topics",
        remedy="add wordings, leave out the group column (data.columns: {group: null}), or raise data.near_duplicate",
    )


def _some(names: Iterable[str | None], most: int = 10) -> str:
    shown = sorted(str(name) for name in names)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
