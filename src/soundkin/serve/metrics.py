"""Numbers for Prometheus: how many requests, how long they took, what waits."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The numbers of one server; each has its own, so that several may live in a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "soundkin_requests", "Requests answered", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "soundkin_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS, registry=self._registry
        )
        self._gauges = {
            name: Gauge(f"soundkin_{name}", about, registry=self._registry)
            for name, about in (
                ("tracks", "Tracks in the library"),
                ("uploads_waiting", "Uploads that wait or are listened to"),
                ("media_waiting", "Covers, peaks and transcodings that wait or are made"),
            )
        }

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note a request.

        Parameters
        ----------
        method, route : str
            As the route is declared: without names, ids or words.
        status : int
            What was answered.
        seconds : float
            How long that took.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, **gauges: float) -> bytes:
        """Return all numbers in Prometheus' text format, with `gauges` as they are now."""
        for name, value in gauges.items():
            self._gauges[name].set(value)
        return generate_latest(self._registry)
