"""Who fails too often waits: a count of failures in a sliding time, for each address, key id or name."""

import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

MOST_KEPT = 10_000  # names and addresses remembered; beyond it the longest unseen are forgotten, so memory is bounded


class Throttle:
    """At most `failures` in any `seconds`, for each name. Used from one thread."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures, self.seconds, self.clock = failures, seconds, clock
        self.seen: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, *names: str) -> int:
        """Whole seconds until every one of `names` may try again; 0: now."""
        now, longest = self.clock(), 0.0
        for name in names:
            times = self._recent(name, now)
            if len(times) >= self.failures:
                longest = max(longest, times[-self.failures] + self.seconds - now)
        return math.ceil(longest)

    def failed(self, *names: str) -> None:
        """Count a failure. One that is told to wait is not to be counted: it must be able to come back."""
        now = self.clock()
        for name in names:
            times = self._recent(name, now)
            times.append(now)
            self.seen[name] = times
            self.seen.move_to_end(name)
        while len(self.seen) > MOST_KEPT:
            self.seen.popitem(last=False)

    def forgive(self, *names: str) -> None:
        """Take back the last failure of each: it was counted before the answer was known, and was none."""
        for name in names:
            if self.seen.get(name):
                self.seen[name].pop()

    def _recent(self, name: str, now: float) -> deque[float]:
        times = self.seen.get(name, deque())
        while times and times[0] <= now - self.seconds:
            times.popleft()
        return times


def network(address: str) -> str:
    """The name under which an address is counted: of IPv6 the /64, which one subscriber has whole."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
