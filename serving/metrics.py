"""Counters of a server for Prometheus. Knows no model."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class ServerMetrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by route and status.", "route", "status")
        self._topics = self._counter("topics", "Texts by the topic decided for; undecided ones have none.", *_TOPIC)
        self._problems = self._counter("failed_texts", "Texts of requests that failed.", "model")
        self._seconds = Histogram(
            "unskew_request_seconds", "Seconds from the request's first byte to the answer's last.", ["route"],
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._batches = Histogram(
            "unskew_batch_rows", "Texts of a batch in a stage.", ["model", "stage"],
            buckets=ROWS, registry=self._registry,
        )  # fmt: skip
        self._waiting = Gauge("unskew_waiting_texts", "Texts that wait.", ["model"], registry=self._registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, model: str, stage: str, rows: int) -> None:
        """Count a batch of rows that goes through a stage."""
        self._batches.labels(model, stage).observe(rows)

    def topic(self, model: str, topic: str | None) -> None:
        """Count a text as decided or undecided."""
        self._topics.labels(model, topic or "").inc()

    def failed(self, model: str, texts: int) -> None:
        """Count the texts of a request that failed in the model."""
        self._problems.labels(model).inc(texts)

    def page(self, waiting: dict[str, int]) -> bytes:
        """All metrics in Prometheus' text format, with the number of texts waiting for each model."""
        for model, texts in waiting.items():
            self._waiting.labels(model).set(texts)
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"unskew_{name}", text, labels, registry=self._registry)


_TOPIC = ("model", "topic")
