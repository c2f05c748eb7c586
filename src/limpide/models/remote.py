"""A model seen from outside: any endpoint that speaks OpenAI's chat completions.

What an audit would ask is counted before anything is sent; each answer is kept as soon as it comes. An endpoint
writes text and does not tell how likely other words were: audits of likelihoods say so instead of running.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from limpide.core import digests
from limpide.core.errors import UsageError
from limpide.core.progress import Progress, Quiet
from limpide.data.examples import Message
from limpide.models.address import Address, EndpointError, EndpointSettings, read_key
from limpide.models.journal import KEPT, Journal, Reply, utc
from limpide.models.recorder import Call, no_likelihoods
from limpide.models.remote_call import Caller, Clock, Stopped
from limpide.models.requests import Answer, Asked, Compared, Request, Sampling, Score
from limpide.models.respondents import GENERATES, SAMPLES

CHARACTERS = 4  # of a question to a token: an estimate, since a closed model's tokens are not known
MILLION = 1_000_000
NOTE = (
    "A hosted model may give another answer to the same question even at temperature 0, and may change behind its "
    "name without notice: these numbers are of the days they were taken on."
)


@dataclass(frozen=True)
class Wanted:
    """One answer. key: digest of endpoint, model, messages and sampling. index: which of several."""

    key: str
    messages: tuple[Message, ...]
    sampling: Sampling
    index: int


@dataclass(frozen=True)
class Estimate:
    """What remains to be asked. kept: answers that are there already. characters: of all questions.

    tokens_in: estimated. tokens_out, price: upper bounds, without what is asked again after a failure; price in the
    currency of the prices given, None without them.
    """

    requests: int
    kept: int
    characters: int
    tokens_in: int
    tokens_out: int
    price: float | None

    def sentence(self, address: Address) -> str:
        """What a person agrees to."""
        kept = f"answers kept from the last {KEPT.days} days: {self.kept:,}; --fresh asks again."
        if not self.requests:
            return f"Nothing to send to {address.host}: {kept}"
        requests = "1 request" if self.requests == 1 else f"{self.requests:,} requests"
        price = "price unknown (--price-in, --price-out)"
        if self.price is not None:
            price = f"price at most {self.price:,.2f}" if self.price >= 1 else f"price at most {self.price:.2g}"
        return (
            f"{requests} to {address.host} for {address.model}: about {self.tokens_in:,} tokens of questions "
            f"(estimated at {CHARACTERS} characters a token), {self.tokens_out:,} of answers at most; {price}."
            + (f" Moreover, {kept}" if self.kept else "")
        )


class Endpoint:
    """A Respondent behind an address. approve: called with what is about to be asked, and raises to refuse.

    fresh: answers kept from earlier runs are not used. Not for use from several threads; it has its own.
    """

    kind = "endpoint"
    digest: str | None = None
    can = frozenset({GENERATES, SAMPLES})

    def __init__(
        self,
        address: Address,
        settings: EndpointSettings | None = None,
        *,
        approve: Callable[[Estimate], None] | None = None,
        fresh: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Nothing is sent. Raises UsageError for a key that cannot be sent, or one price without the other."""
        self.address, self.settings = address, settings or EndpointSettings()
        if (self.settings.price_in is None) != (self.settings.price_out is None):
            raise UsageError("One price is given and the other is not.", remedy="give both --price-in and --price-out")
        self.approve, self.fresh = approve, fresh
        clock = clock or Clock()
        self._caller = Caller(address, self.settings, read_key(self.settings.key_env), clock)
        self._journal = Journal(address.url, address.model)
        self._kept: dict[str, Reply] = {} if fresh else self._journal.load(utc(clock.wall()))
        self._approved: set[str] = set()
        self.begin()

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self._caller.close()

    def begin(self) -> None:
        """What `facts` tells starts here: another suite."""
        self._used: dict[str, Reply] = {}
        self._asked_here: set[str] = set()
        self._before = (self._caller.sent, self._caller.retried)

    @property
    def title(self) -> str:
        return f"{self.address.model} at {self.address.host}"

    def score(
        self,
        requests: Sequence[Request],
        progress: Progress | None = None,
        compared: Compared | None = None,
    ) -> list[Score]:
        """Raises ModelError: the likelihood of given words is not told."""
        raise no_likelihoods("This audit needs the likelihood of given words, which an endpoint does not tell.")

    def answer(self, asked: Sequence[Asked], max_new_tokens: int, progress: Progress | None = None) -> list[str]:
        """One answer to each, at temperature 0. Raises EndpointError; finished answers are kept."""
        replies = self._ask(asked, Sampling(max_new_tokens=max_new_tokens), progress or Quiet())
        return [reply.text for reply in replies]

    def sample(
        self, asked: Sequence[Asked], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Answer]]:
        """`sampling.count` answers to each, the seed raised by one each time. Raises as `answer`."""
        answers = [Answer(r.text, None, r.tokens_out) for r in self._ask(asked, sampling, progress or Quiet())]
        return [answers[first : first + sampling.count] for first in range(0, len(answers), sampling.count)]

    def estimate(self, calls: Sequence[Call]) -> Estimate:
        """What `calls` (questions, sampling) would still cost. Equal questions are asked once."""
        return self._estimate({w.key: w for asked, sampling in calls for w in self._wanted(asked, sampling)})

    def agree(self, calls: Sequence[Call]) -> None:
        """Have all of `calls` approved now, so that nobody is asked again in the middle."""
        wanted = {w.key: w for asked, sampling in calls for w in self._wanted(asked, sampling)}
        if wanted and self.approve is not None:
            self.approve(self._estimate(wanted))
        self._approved |= wanted.keys()

    def facts(self) -> dict[str, Any]:
        """What was sent since `begin`, and what the endpoint told of itself."""
        used = list(self._used.values())
        tokens = [sum(getattr(r, name) or 0 for r in used) for name in ("tokens_in", "tokens_out")]
        without = sorted({name for r in used for name in r.without})
        dates = sorted(r.date for r in used)
        left = f" It does not accept {', '.join(without)}, which it sets as it likes." if without else ""
        sent, retried = self._caller.sent - self._before[0], self._caller.retried - self._before[1]
        return {
            "endpoint": {
                "host": self.address.host,
                "model": self.address.model,
                "model_reported": sorted({r.model for r in used if r.model}),
                "system_fingerprints": sorted({r.fingerprint for r in used if r.fingerprint}),
                "answers": len(used),
                "answers_kept_from_before": len(self._used.keys() - self._asked_here),
                "answered": [dates[0], dates[-1]] if dates else [],
                "requests_sent": sent,
                "requests_retried": retried,
                "tokens_in": tokens[0],
                "tokens_out": tokens[1],
                "cost": self._price(*tokens),
                "empty": sum(not r.text for r in used),
                "filtered": sum(r.finish == "content_filter" for r in used),
                "cut": sum(r.finish == "length" for r in used),
                "not_accepted": without,
                "note": NOTE + left,
            }
        }

    def _wanted(self, asked: Sequence[Asked], sampling: Sampling) -> Iterator[Wanted]:
        how = [sampling.temperature, sampling.max_new_tokens, sampling.seed]
        for one in asked:
            said = [[m.role, m.content] for m in one.messages]
            for index in range(sampling.count):
                key = digests.of_value([self.address.url, self.address.model, said, how, index])
                yield Wanted(key, one.messages, sampling, index)

    def _estimate(self, wanted: dict[str, Wanted]) -> Estimate:
        todo = [w for key, w in wanted.items() if key not in self._kept]
        characters = sum(len(m.content) for w in todo for m in w.messages)
        tokens_in, tokens_out = math.ceil(characters / CHARACTERS), sum(w.sampling.max_new_tokens for w in todo)
        price = self._price(tokens_in, tokens_out)
        return Estimate(len(todo), len(wanted) - len(todo), characters, tokens_in, tokens_out, price)

    def _price(self, tokens_in: int, tokens_out: int) -> float | None:
        price_in, price_out = self.settings.price_in, self.settings.price_out
        if price_in is None or price_out is None:
            return None
        return (tokens_in * price_in + tokens_out * price_out) / MILLION

    def _ask(self, asked: Sequence[Asked], sampling: Sampling, progress: Progress) -> list[Reply]:
        wanted = list(self._wanted(asked, sampling))
        todo = {w.key: w for w in wanted if w.key not in self._kept}
        if todo:
            if self.approve is not None and not todo.keys() <= self._approved:
                self.approve(self._estimate(todo))
            self._fetch(list(todo.values()), progress)
        replies = [self._kept[w.key] for w in wanted]
        if replies and not any(reply.text for reply in replies):
            raise self._all_empty(replies)
        self._used |= {w.key: reply for w, reply in zip(wanted, replies, strict=True)}
        return replies

    def _fetch(self, todo: list[Wanted], progress: Progress) -> None:
        """Ask for all of `todo`, several at once. What is under way when something fails is waited for: it is paid."""
        self._caller.stop.clear()
        self._caller.say = progress.say
        try:
            with (
                progress.task(f"asking {self.address.host}", total=len(todo)) as task,
                ThreadPoolExecutor(self.settings.at_once) as pool,
            ):
                futures = [pool.submit(self._one, wanted) for wanted in todo]
                try:
                    for future in as_completed(futures):
                        with suppress(Stopped):  # the one that stopped it comes too
                            future.result()
                            task.advance()
                except BaseException:
                    self._caller.stop.set()
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        except EndpointError as error:
            raise self._with_kept(error, todo) from None

    def _one(self, wanted: Wanted) -> None:
        try:
            reply = self._caller.ask(wanted.messages, wanted.sampling, wanted.index)
        except EndpointError:
            self._caller.stop.set()  # at once: other threads would send more
            raise
        if reply.text:  # an empty answer may be a passing fault: a next run asks again
            self._journal.add(wanted.key, reply)
        self._kept[wanted.key] = reply
        self._asked_here.add(wanted.key)

    def _with_kept(self, error: EndpointError, todo: Sequence[Wanted]) -> EndpointError:
        kept = sum(w.key in self._kept for w in todo)
        again = "the same command, without --fresh," if self.fresh else "the same command"
        more = f"{kept} of {len(todo)} answers are kept: {again} asks only for the rest"
        remedy = more if error.remedy is None else f"{error.remedy}; {more}"
        return EndpointError(error.what, received=error.received, expected=error.expected, remedy=remedy)

    def _all_empty(self, replies: Sequence[Reply]) -> EndpointError:
        cut = sum(reply.finish == "length" for reply in replies)
        filtered = sum(reply.finish == "content_filter" for reply in replies)
        remedy = "let it write more tokens: it may think before it answers" if cut else "check which model this is"
        return EndpointError(
            f"{self.address.host} gave nothing but empty answers.",
            received=f"{len(replies)} answers, of which {cut} cut at their longest and {filtered} filtered",
            remedy=remedy,
        )
