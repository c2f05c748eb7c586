"""Who fails too often waits, and nobody else does."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.serve import throttle as module
from limpide.serve.throttle import Throttle, network


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_next_after_too_many_waits_until_the_first_is_forgotten() -> None:
    clock = Clock()
    throttle = Throttle(3, 60, clock)
    for _ in range(3):
        assert throttle.wait("a") == 0
        throttle.failed("a")
        clock.now += 10
    assert (throttle.wait("a"), throttle.wait("b"), throttle.wait("b", "a")) == (30, 0, 30)
    clock.now += 29.5
    assert throttle.wait("a") == 1
    clock.now += 0.5
    assert throttle.wait("a") == 0


def test_a_failure_that_was_none_is_taken_back() -> None:
    throttle = Throttle(1, 60, Clock())
    throttle.failed("a", "b")
    throttle.forgive("a")
    assert (throttle.wait("a"), throttle.wait("b")) == (0, 60)
    throttle.forgive("c")


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_never_more_than_so_many_in_any_span(steps: list[float], most: int) -> None:
    clock, failed = Clock(), []
    throttle = Throttle(most, 60, clock)
    for step in steps:
        clock.now += step
        wait = throttle.wait("a")
        if wait == 0:
            throttle.failed("a")
            failed.append(clock.now)
        else:
            assert len([at for at in failed if at > clock.now - 60]) >= most
    for at in failed:
        assert len([other for other in failed if at <= other < at + 60]) <= most


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 10)
    throttle = Throttle(1, 60, Clock())
    for number in range(100):
        throttle.failed(str(number), "always")
    assert len(throttle.seen) == 10
    assert (throttle.wait("always"), throttle.wait("99"), throttle.wait("1")) == (60, 60, 0)


def test_one_subscriber_is_one_name() -> None:
    assert network("192.0.2.7") == network("::ffff:192.0.2.7") == "192.0.2.7"
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:ffff::%eth0") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::") != network("2001:db8:1:2::")
    assert network("a unix socket") == "a unix socket"


@given(st.ip_addresses())
def test_every_address_has_a_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert network(str(address))
