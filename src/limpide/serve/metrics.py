"""What `/metrics` tells: counts and times of this process, no text and no name of a person. Source: Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Its own registry, so that two gateways in one process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "limpide_requests", "Requests answered, by route and status", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "limpide_request_seconds",
            "From the request's head to the last byte handed over",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "limpide_tokens", "Tokens read (in) and written (out)", ["model", "way"], registry=self.registry
        )
        self.open = Gauge("limpide_requests_open", "Accepted requests not yet answered", registry=self.registry)
        self.queue = Gauge(
            "limpide_queue_length", "Accepted requests whose first token is not there yet", registry=self.registry
        )
        self.streams = Gauge("limpide_streams_open", "Answers being streamed", registry=self.registry)
        self.entries = Counter("limpide_log_entries", "Entries written in the request log", registry=self.registry)
        self.stopped = Gauge("limpide_stopped", "1 while the stop switch is set", registry=self.registry)
        self.changed = Gauge(
            "limpide_release_changed",
            "1 for a model whose files changed while served",
            ["model"],
            registry=self.registry,
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def used(self, model: str, tokens_in: int, tokens_out: int) -> None:
        self.tokens.labels(model, "in").inc(tokens_in)
        self.tokens.labels(model, "out").inc(tokens_out)

    def text(self, stopped: bool, changed: Iterable[tuple[str, bool]]) -> bytes:
        """changed: (model, whether its files changed)."""
        self.stopped.set(stopped)
        for model, is_changed in changed:
            self.changed.labels(model).set(is_changed)
        return generate_latest(self.registry)
