# SPDX-License-Identifier: Apache-2.0
"""Metrics of the service for Prometheus, in a registry of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from host.service.errors import Refused
from host.service.worker import Done, Job, State

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
UNKNOWN = "-"
"""Model and task of a request that named none, or one that there is not."""


class _Device(Collector):
    """What the worker tells of itself when it is asked."""

    def __init__(self, state: Callable[[], State]):
        self._state = state

    def collect(self) -> list[Metric]:
        state = self._state()
        restarts = CounterMetricFamily("edge_moe_device_restarts", "Times that the device was opened again.")
        restarts.add_metric([], state.restarts)
        up = GaugeMetricFamily("edge_moe_device_up", "Whether the device is open.", labels=["device"])
        up.add_metric([state.name], state.status in ("ready", "busy"))
        return [GaugeMetricFamily("edge_moe_queue_length", "Requests that wait for the device.", value=state.queue),
                GaugeMetricFamily("edge_moe_queue_capacity", "Requests that may wait.", value=state.capacity),
                restarts, up]


class Metrics:
    """Counters of requests and jobs. ``state`` is the worker's."""

    def __init__(self, state: Callable[[], State]):
        disable_created_metrics()  # or each counter has a second series, of when it began
        self.registry = CollectorRegistry()
        self.registry.register(_Device(state))
        labels = ["model", "task"]
        self._requests = Counter("edge_moe_requests", "Requests for a result, by HTTP status.", [*labels, "status"],
                                 registry=self.registry)
        self._active = Gauge("edge_moe_requests_active", "Requests for a result that are not answered yet.",
                             registry=self.registry)
        self._queue = Histogram("edge_moe_queue_seconds", "Time that jobs waited for the device.", labels,
                                buckets=BUCKETS, registry=self.registry)
        self._device = Histogram("edge_moe_device_seconds", "Time that jobs took on the device, with their data.",
                                 labels, buckets=BUCKETS, registry=self.registry)
        self._cycles = Counter("edge_moe_device_cycles", "Machine cycles of jobs; a device without timing has none.",
                               labels, registry=self.registry)
        self._failures = Counter("edge_moe_job_failures", "Jobs that failed on the device, or were given up.",
                                 [*labels, "error"], registry=self.registry)

    def begins(self) -> None:
        """A request for a result came."""
        self._active.inc()

    def ends(self, model: str, task: str, status: int) -> None:
        """It was answered."""
        self._active.dec()
        self._requests.labels(model, task, str(status)).inc()

    def job(self, job: Job, outcome: "Done | Exception") -> None:
        """A job ran, or failed."""
        labels = job.model.name, job.task
        if isinstance(outcome, Done):
            self._queue.labels(*labels).observe(outcome.queued)
            self._device.labels(*labels).observe(outcome.taken)
            self._cycles.labels(*labels).inc(outcome.result.cycles)
        else:
            name = outcome.name if isinstance(outcome, Refused) else type(outcome).__name__
            self._failures.labels(*labels, name).inc()

    def text(self) -> bytes:
        """In the text format."""
        return generate_latest(self.registry)
