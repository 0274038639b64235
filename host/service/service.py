# SPDX-License-Identifier: Apache-2.0
"""What the routes share: models, the worker, metrics, and waiting for a job within a request's time."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from fastapi import Request

from host.driver.device import Device
from host.service.errors import BadRequest, Refused
from host.service.metrics import Metrics
from host.service.models import Model, Models
from host.service.worker import Done, Worker

QUEUE = 32
SECONDS = 60.0
"""Time in which a request is answered, unless it asks for less."""
TICK = 0.25
"""Seconds between two looks whether the client is still there."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Limits:
    """``queue``: jobs that may wait; ``seconds``: time of a request once its body has come; ``open``: requests with a
    body at a time."""

    queue: int = QUEUE
    seconds: float = SECONDS
    open: int = 64


class Service:
    """The worker of a device with what counts its jobs, and threads that prepare and draw."""

    def __init__(self, models: Models, opens: Callable[[], Device], limits: Limits | None = None,
                 report: Callable[[str], None] = print):
        self.models, self.limits, self.report = models, limits or Limits(), report
        self.worker = Worker(opens, self.limits.queue, report=report, hears=lambda *job: self.metrics.job(*job))
        self.metrics = Metrics(lambda: self.worker.state)
        self._threads = ThreadPoolExecutor(2, "edge-moe-pictures")

    def start(self) -> None:
        """Open the device and load the first model. Raises what either raises."""
        self.worker.start(next(iter(self.models.values())))

    def stop(self, patience: float) -> bool:
        """End all jobs and close the device; whether that was done in so many seconds."""
        done = self.worker.stop(patience)
        self._threads.shutdown(wait=False, cancel_futures=True)
        return done

    async def aside(self, do: Callable[..., Value], *arguments: object) -> Value:
        """Work that takes a while, in a thread: decoding, drawing, writing numbers."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, do, *arguments)

    def seconds(self, microseconds: int | None) -> float:
        """Time of a request that asks for ``microseconds``. Raises BadRequest."""
        if microseconds is None:
            return self.limits.seconds
        if microseconds <= 0:
            raise BadRequest(f"The parameter 'timeout' is in microseconds, more than 0, not {microseconds}.")
        return min(microseconds / 1e6, self.limits.seconds)

    async def run(self, request: Request, model: Model, task: str, picture: np.ndarray,
                  seconds: float | None = None) -> Done:
        """The result of a picture. Raises Refused for a full queue and where the time is over, or what the job
        raises; a client that leaves takes its job along."""
        seconds = self.limits.seconds if seconds is None else seconds
        job = self.worker.submit(model, task, picture)
        try:
            return await _within(seconds, request, asyncio.wrap_future(job.future))
        except TimeoutError:
            waited = "in the queue" if self.worker.give_up(job) else "on the device"
            raise Refused(504, "RequestTimeout", f"There was no result within {seconds:g} seconds; the request was "
                                                 f"{waited}.") from None
        finally:
            self.worker.give_up(job)


async def _within(seconds: float, request: Request, future: "Awaitable[Done]") -> Done:
    """What the future gives. Raises TimeoutError; gives up where the client is gone."""
    task, end = asyncio.ensure_future(future), asyncio.get_running_loop().time() + seconds
    try:
        while not task.done():
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait([task], timeout=min(TICK, left))
            if not task.done() and await request.is_disconnected():
                raise Refused(499, "ClientGone", "The client left before there was a result.")
        return task.result()
    finally:
        task.cancel()
