"""The other run of activation patching: the same question with one thing changed, token for token as long.

It is given by a person, or found, the first way that lowers the answer: a word that names a group of people is
swapped by its counterpart of the shipped bias pairs; the word on which the answer rests most is replaced by another
word; noise is put on the person's words (Meng et al. 2022, 'Locating and Editing Factual Associations in GPT', §2.1).
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache, partial
from importlib.resources import files as resources
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import torch

from limpide.core.errors import ModelError, UsageError
from limpide.data.examples import Message
from limpide.models.linear import wide_products
from limpide.models.row import embed, final_hidden
from limpide.models.trace import TOKENS, token_logits
from limpide.understand.question import Decision, Question
from limpide.understand.reading import WORD, Read, read_chat, read_raw
from limpide.understand.settings import PatchingSettings

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.models.row import Row

How = Literal["given", "counterfactual word", "replaced word", "noise"]
Swaps = tuple[tuple[str, str], ...]

LEAST = 0.1  # logits: below, the two runs hardly differ, and shares of their difference mean nothing
DRAWS = 8  # replacements tried for a word, and draws of noise
INSIDE = re.compile(r"(?<=[\w,;] )[^\W\d_]{2,}")  # a word that starts no sentence, so that a capital is its own
TRIES = 60  # words drawn to find them: most have another number of tokens
SCREENED = 2**16  # tokens of all the runs that look for the word
NOISE = 3.0  # standard deviations of this prompt's embeddings; Meng et al. take those of many prompts


@dataclass(frozen=True)
class Twin:
    """prompt: as a person reads it; the clean one where noise was put on. swaps: (words before, words after).
    row: what the network reads. embeddings: float[tokens, width] with noise, else None: those of the row."""

    prompt: str
    row: "Row"
    swaps: Swaps
    how: How
    embeddings: torch.Tensor | None = None

    @property
    def swapped(self) -> tuple[str, ...]:
        """The words that are not there any more."""
        return tuple(before for before, _ in self.swaps)


def twin_of(model: "Model", question: Question, settings: PatchingSettings, seed: int) -> Twin:
    """A run in which the answer is less likely, by LEAST logits of the decision at least.

    Raises UsageError for a twin that is given and cannot be the other run; ModelError where none is found.
    """
    reader = _reader(model, question)
    clean = decided(model, question.decision, [Twin(question.prompt, question.decision.row, (), "given")])[0]
    if settings.twin is not None:
        twin = _given(model, question, settings.twin, reader)
        _check_lower(clean, decided(model, question.decision, [twin])[0])
        return twin
    most: list[float] = []
    for found in _candidates(model, question, reader, seed):
        lowered = [clean - value for value in decided(model, question.decision, found)]
        most.append(max(lowered, default=0.0))
        if most[-1] >= LEAST:
            return _choice(found, lowered)
    raise ModelError(
        "No other run was found in which this answer is less likely: nothing that could be traced depends on the "
        "words of the prompt.",
        received=f"at most {max(most):.3g} logits less ({model.tokenizer.decode([question.decision.token])!r} over "
        f"{model.tokenizer.decode([question.decision.rival])!r}, {clean:.3g} with the prompt as it is)",
        expected=f"at least {LEAST}",
        remedy="ask about another token of the answer with --at, or give the other prompt with --patching.twin",
    )


def decided(model: "Model", decision: Decision, twins: Sequence[Twin]) -> list[float]:
    """logit(token) − logit(rival) of each run; their rows are equally long."""
    found: list[torch.Tensor] = []
    size = max(1, TOKENS // len(decision.row))
    with torch.inference_mode(), wide_products(model.network):
        for first in range(0, len(twins), size):
            some = twins[first : first + size]
            given = [embed(model, t.row.ids) if t.embeddings is None else t.embeddings for t in some]
            hidden = final_hidden(model, decision.row, torch.stack(given))[:, 0]
            logits = token_logits(model, hidden, (decision.token, decision.rival))  # [batch, 2]
            found.append(logits[:, 0] - logits[:, 1])
    return [float(value) for value in torch.cat(found)] if found else []


def _candidates(model: "Model", question: Question, reader: "_Reader | None", seed: int) -> Iterator[list[Twin]]:
    """One way after the other, each made only when those before have failed."""
    if reader is not None:
        yield _counterfactuals(question, reader)
        yield _replaced(model, question, reader, random.Random(seed))
    yield [_noised(model, question, seed + k) for k in range(DRAWS)]


def _choice(found: Sequence[Twin], lowered: Sequence[float]) -> Twin:
    """The twin of the word that lowers the answer most, among words of which one lowers it enough.

    A word's replacements count together: their mean says how much the answer rests on it. Of the word that is chosen,
    the replacement that lowers the answer most is taken.
    """
    words: dict[object, list[int]] = {}
    for k, twin in enumerate(found):
        words.setdefault(twin.swapped, []).append(k)
    enough = [several for several in words.values() if max(lowered[k] for k in several) >= LEAST]
    chosen = max(enough, key=lambda several: sum(lowered[k] for k in several) / len(several))
    return found[max(chosen, key=lambda k: lowered[k])]


def _check_lower(clean: float, other: float) -> None:
    if clean - other >= LEAST:
        return
    raise UsageError(
        "With the other prompt the answer is "
        + ("as likely: there is nothing to restore." if abs(clean - other) < LEAST else "more likely, not less."),
        received=f"logit differences {clean:.4g} (prompt) and {other:.4g} (twin)",
        expected=f"the twin's lower by {LEAST} at least",
        remedy="change a word on which the answer rests"
        + ("" if abs(clean - other) < LEAST else ", or swap the two prompts"),
    )


# ------------------------------------------------------------------------------------------- the prompt, read again


@dataclass(frozen=True)
class _Reader:
    """How the prompt was read: its messages, what reads such messages, and the places whose token must stay."""

    messages: list[Message]
    read: Callable[[list[Message]], Read]
    masks: tuple[int, ...]

    def ids(self, contents: Sequence[str]) -> tuple[int, ...]:
        """Token ids of the messages with other contents."""
        pairs = zip(self.messages, contents, strict=True)
        return self.read([m.model_copy(update={"content": content}) for m, content in pairs]).ids

    def contents(self) -> list[str]:
        return [message.content for message in self.messages]

    def twin(self, question: Question, contents: Sequence[str], swap: Swaps, how: How) -> Twin | None:
        """None where the tokens are not as many, all the same, or a mask is gone."""
        row, prompt, ids = question.decision.row, len(question.tokens), self.ids(contents)
        if len(ids) != prompt or ids == row.ids[:prompt] or any(ids[place] != row.ids[place] for place in self.masks):
            return None
        return Twin("\n".join(contents), replace(row, ids=(*ids, *row.ids[prompt:])), swap, how)


def _reader(model: "Model", question: Question) -> _Reader | None:
    """None where the messages cannot be told from the tokens."""

    def raw(given: list[Message]) -> Read:
        return read_raw(model, given[0].content)

    def chat(given: list[Message]) -> Read:
        return read_chat(model, given)

    turns = groupby(question.tokens, key=lambda token: token.part)
    texts = [(part, "".join(token.text for token in of)) for part, of in turns if part != "frame"]
    conversation = [Message.model_validate({"role": part, "content": text}) for part, text in texts]
    alone = [Message(role="user", content=question.prompt)]
    masks = question.row.read if model.kind == "encoder" else ()
    for given, read in ((alone, raw), (alone, chat), (conversation, chat)):
        if given and read(given).ids == question.row.ids[: len(question.tokens)]:
            return _Reader(given, read, masks)
    return None


def _given(model: "Model", question: Question, text: str, reader: _Reader | None) -> Twin:
    if reader is None:
        raise UsageError(
            "The other prompt cannot be put in the place of this conversation.",
            remedy="ask with a single message, or leave out --patching.twin",
        )
    last = max(k for k, message in enumerate(reader.messages) if message.role == "user")
    contents = [text if k == last else content for k, content in enumerate(reader.contents())]
    swaps = _swaps(reader.messages[last].content, text)
    twin = reader.twin(question, contents, swaps, "given")
    if twin is not None:
        return twin
    ids, own = reader.ids(contents), question.row.ids[: len(question.tokens)]
    if ids == own:
        raise UsageError("The other prompt is the prompt itself.", received=text, remedy="change a word of it")
    if len(ids) == len(own):
        raise UsageError(
            "The other prompt has its mask elsewhere.", received=text, remedy="change other words, and leave the mask"
        )
    counted = (f"{a!r} → {b!r} ({_count(model, a)} → {_count(model, b)})" for a, b in swaps)
    raise UsageError(
        "The other prompt has another number of tokens: places inside the network could not be compared.",
        received=f"{len(ids)} tokens; words that differ, with their tokens: {', '.join(counted)}",
        expected=f"{len(own)} tokens, as the prompt has",
        remedy="choose words that the model cuts into as many tokens, or give none and let Limpide find one",
    )


def _count(model: "Model", words: str) -> int:
    return len(model.tokenizer(f" {words}" if words else "", add_special_tokens=False)["input_ids"])


def _swaps(before: str, after: str) -> Swaps:
    """(words, words in their place) where two texts differ."""
    a, b = WORD.findall(before), WORD.findall(after)
    codes = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return tuple((" ".join(a[i:j]), " ".join(b[k:n])) for kind, i, j, k, n in codes if kind != "equal")


# --------------------------------------------------------------------------------------------- words to put in


def _counterfactuals(question: Question, reader: _Reader) -> list[Twin]:
    """One for each shipped counterpart of a word of the user, wherever the word stands."""
    found = []
    theirs = [
        content if m.role == "user" else "" for m, content in zip(reader.messages, reader.contents(), strict=True)
    ]
    for before, after in _pairs():
        pattern = re.compile(rf"(?<!\w){re.escape(before)}(?!\w)", re.IGNORECASE)
        if not any(map(pattern.search, theirs)) or _breaks_article(before, after, theirs):
            continue
        changed = [pattern.sub(partial(_in_its_place, after), text) for text in theirs]
        contents = [new or old for new, old in zip(changed, reader.contents(), strict=True)]
        found.append(reader.twin(question, contents, _swaps(before, after), "counterfactual word"))
    return [twin for twin in found if twin is not None]


@cache
def _pairs() -> tuple[tuple[str, str], ...]:
    """Phrases for a person of one group and of another, both ways; and the words by which two phrases differ, where
    these are plain words with the rest alike: 'My sister', 'My brother' also give 'sister', 'brother'."""
    found: dict[tuple[str, str], None] = {}
    folder = resources("limpide.data") / "probes" / "bias"
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if not path.name.endswith(".pairs.json"):
            continue
        for pairs in json.loads(path.read_text(encoding="utf-8")).values():
            for pair in pairs:
                a, b = pair["groups"].values()
                for one, other in ((a, b), *_cores(a, b)):
                    found |= {(one, other): None, (other, one): None}
    return tuple(found)


def _cores(a: str, b: str) -> Iterator[tuple[str, str]]:
    swaps = _swaps(a, b)
    if len(swaps) == 1 and swaps[0] != (a, b) and all(re.fullmatch(r"[^\W\d]+", word) for word in swaps[0]):
        yield swaps[0]


def _in_its_place(word: str, met: re.Match[str]) -> str:
    """`word`, begun by a capital or not as what it replaces."""
    first = word[:1].upper() if met[0][:1].isupper() else word[:1].lower()
    return first + word[1:]


def _breaks_article(before: str, after: str, contents: Sequence[str]) -> bool:
    """Would 'a' stand before a vowel, or 'an' before a consonant?"""
    if (before[0].lower() in "aeiou") == (after[0].lower() in "aeiou"):
        return False
    return any(re.search(rf"\ban?\s+{re.escape(before)}(?!\w)", text, re.IGNORECASE) for text in contents)


def _replaced(model: "Model", question: Question, reader: _Reader, draw: random.Random) -> list[Twin]:
    """For each word of the user, other words of its shape and number of tokens."""
    words = list(_words(reader.messages))
    room = max(1, SCREENED // len(question.decision.row))
    chosen = words if len(words) <= room else draw.sample(words, room)
    draws = max(1, min(DRAWS, room // max(1, len(chosen))))
    own = {word for _, _, word in words}
    pool = sorted({*own, *_prose(frozenset(own))})
    found = []
    for k, start, word in chosen:
        alike = [other for other in pool if _shape(other) == _shape(word) and other.lower() != word.lower()]
        contents, fitting = reader.contents(), 0
        for other in draw.sample(alike, min(TRIES, len(alike))):
            content = reader.messages[k].content
            contents[k] = content[:start] + other + content[start + len(word) :]
            twin = reader.twin(question, contents, ((word, other),), "replaced word")
            if twin is not None:
                found.append(twin)
                fitting += 1
            if fitting == draws:
                break
    # the first token of a row is what attention falls back on: changing it moves everything, whatever it says
    later = [twin for twin in found if twin.row.ids[0] == question.decision.row.ids[0]]
    return later or found


def _words(messages: Sequence[Message]) -> Iterator[tuple[int, int, str]]:
    """(message, where it starts, word) of each word of the user that begins with a letter."""
    for k, message in enumerate(messages):
        if message.role == "user":
            for match in WORD.finditer(message.content):
                if match[0][0].isalpha():
                    yield k, match.start(), match[0]


def _shape(word: str) -> str:
    return "lower" if word.islower() else "upper" if word.isupper() and len(word) > 1 else "title"


@cache
def _prose(words: frozenset[str]) -> frozenset[str]:
    """Words of the shipped paragraphs in the language that has more of the given words."""
    lines = (resources("limpide.data") / "probes" / "retention.jsonl").read_text(encoding="utf-8").splitlines()
    languages: dict[str, set[str]] = {}  # language → its words
    for row in map(json.loads, lines):
        languages.setdefault(row["language"], set()).update(INSIDE.findall(row["text"]))
    nearest = max(languages, key=lambda language: len(languages[language] & words))
    return frozenset(languages[nearest])


def _noised(model: "Model", question: Question, seed: int) -> Twin:
    """Normal noise on the embeddings of the user's words; masks that are asked about stay as they are."""
    row = question.decision.row
    masks = set(question.row.read) if model.kind == "encoder" else set()
    places = [k for k, token in enumerate(question.tokens) if token.part == "user" and k not in masks]
    places = places or [k for k in range(len(question.tokens)) if k not in masks]
    with torch.inference_mode():
        embeddings = embed(model, row.ids)
        noise = torch.randn(len(places), embeddings.shape[1], generator=torch.Generator().manual_seed(seed))
        noised = embeddings.clone()
        noised[places] += NOISE * embeddings.std() * noise.to(embeddings.dtype)
    return Twin(question.prompt, row, (), "noise", noised)
