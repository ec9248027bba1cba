"""What Prometheus is told: how many, how long, how many wait; never what a report says."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from radlite.tasks import Reading

KIND = CONTENT_TYPE_LATEST
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Metrics:
    """The numbers of one server; docs/server.md lists them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "radlite_requests", "Requests by route and status.", ("route", "method", "status"), registry=self._registry
        )
        self._request_seconds = Histogram(
            "radlite_request_seconds", "From a request's head to the end of its answer.", ("route",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._answers = Counter(
            "radlite_answers", "Answers by task and status.", ("task", "status"), registry=self._registry
        )
        self._answer_seconds = Histogram(
            "radlite_answer_seconds",
            "The engine's work on an answer.",
            ("task",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._waited = Histogram(
            "radlite_wait_seconds", "What reports waited for the engine.", buckets=_SECONDS, registry=self._registry
        )
        self._tokens = Counter(
            "radlite_tokens",
            "Tokens read anew, found computed already, and written.",
            ("kind",),
            registry=self._registry,
        )
        self._refused = Counter(
            "radlite_refused", "Requests that were refused, by code.", ("code",), registry=self._registry
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A number that is looked up when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request that was answered."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        """One that was refused."""
        self._refused.labels(code).inc()

    def waited(self, seconds: float) -> None:
        """A report whose turn has come."""
        self._waited.observe(seconds)

    def answer(self, reading: Reading) -> None:
        """An answer."""
        self._answers.labels(reading.task, reading.status).inc()
        self._answer_seconds.labels(reading.task).observe(reading.seconds)
        tokens = reading.tokens
        self.tokens(tokens.get("prompt", 0), tokens.get("cached", 0), tokens.get("generated", 0))

    def tokens(self, prompt: int, cached: int, written: int) -> None:
        """Tokens that the engine read, of which some were known, and wrote."""
        for kind, number in (("read", prompt - cached), ("cached", cached), ("written", written)):
            self._tokens.labels(kind).inc(max(0, number))

    def text(self) -> bytes:
        """All of it in Prometheus' form."""
        return generate_latest(self._registry)
