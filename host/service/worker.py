# SPDX-License-Identifier: Apache-2.0
"""The thread that owns the device: jobs of a bounded queue one after the other; a device that fails is opened again."""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from host.driver.device import Device, clock_text, condition_of
from host.driver.errors import InputError
from host.driver.registers import Registers
from host.driver.result import Result
from host.driver.session import Session
from host.service.errors import RETRY_SECONDS, Refused
from host.service.models import Model

WATCH = 2.0
"""Seconds after which the device is looked at, between two jobs."""
REOPEN = 5.0
"""Seconds that a job waits for a device that has to be opened again."""
NEVER = float("-inf")
PAUSE = 0.2
"""Seconds between two attempts to open it."""


class _GivenUp(Exception):
    """Ends a job whose request was given up: it timed out, or its client left."""


@dataclass(eq=False)
class Job:
    """One picture for one task; ``future`` gets its :class:`Done`."""

    model: Model
    task: str
    picture: np.ndarray
    future: "Future[Done]" = field(default_factory=Future)
    asked: float = field(default_factory=time.monotonic)
    given_up: bool = False
    cycles: int = 0

    def check(self, cycles: int = 0) -> None:
        """Progress of the job, in machine cycles: raises where it is not wanted any more."""
        self.cycles = cycles
        if self.given_up:
            raise _GivenUp


@dataclass(frozen=True)
class Done:
    """A result, the seconds that its job waited and ran, and the clock of the device."""

    result: Result
    queued: float
    taken: float
    clock_hz: float
    clock: str


@dataclass(frozen=True)
class State:
    """What is known of the device: ``status`` is ``ready``, ``busy``, ``lost`` or ``closed``."""

    status: str
    name: str
    clock: str
    condition: str
    queue: int
    capacity: int
    restarts: int
    error: str


class Worker:
    """Run jobs on the device that ``opens`` gives, at most ``capacity`` of them waiting. ``hears`` is told of each job
    that ran: the job, and its Done or the exception. ``report`` hears sentences about the device.
    """

    def __init__(self, opens: Callable[[], Device], capacity: int, *, report: Callable[[str], None] = print,
                 hears: Callable[[Job, "Done | Exception"], None] = lambda job, outcome: None):
        self.capacity, self.restarts, self._opens, self._report, self._hears = capacity, 0, opens, report, hears
        self._jobs: deque[Job] = deque()
        self._turn = threading.Condition()
        self._running: Job | None = None
        self._stopping = False
        self._device: Device | None = None
        self._session: tuple[Model, Session] | None = None
        self._known = {"name": "", "clock": "", "condition": ""}
        self._error = ""
        self._opened: Future[None] = Future()
        self._looked = NEVER

    def start(self, first: Model) -> None:
        """Open the device and load the ``first`` model. Raises what either raises."""
        self._thread = threading.Thread(target=self._work, args=(first,), name="edge-moe-device", daemon=True)
        self._thread.start()
        self._opened.result()

    def submit(self, model: Model, task: str, picture: np.ndarray) -> Job:
        """Queue a job. Raises Refused where the queue is full or the service ends."""
        job = Job(model, task, picture)
        with self._turn:
            if self._stopping:
                raise _closing()
            if len(self._jobs) >= self.capacity:
                raise Refused(503, "QueueFull", f"{self.capacity} requests wait for the device already: try again "
                                                f"later.", RETRY_SECONDS)
            self._jobs.append(job)
            self._turn.notify_all()
        return job

    def give_up(self, job: Job) -> bool:
        """Take a job out of the queue, or stop it at its next sign of progress; whether it still waited."""
        job.given_up = True
        with self._turn:
            waits = job in self._jobs
            if waits:
                self._jobs.remove(job)
            return waits

    def stop(self, patience: float) -> bool:
        """Refuse what waits, give the job that runs so many seconds, close the device; whether all that was done. May
        be called more than once."""
        end = time.monotonic() + patience
        with self._turn:
            self._stopping = True
            while self._jobs:
                _answer(self._jobs.popleft(), _closing())
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._running is None, patience)
            if (job := self._running) is not None:
                job.given_up = True
        self._thread.join(max(1.0, end - time.monotonic()))
        if job is not None and self._thread.is_alive():  # the device hears nothing; its client shall
            _answer(job, _closing())
        return not self._thread.is_alive()

    @property
    def running(self) -> Job | None:
        """The job on the device."""
        return self._running

    @property
    def state(self) -> State:
        with self._turn:
            status = ("closed" if self._stopping else "lost" if self._device is None else
                      "busy" if self._running is not None else "ready")
            return State(status, **self._known, queue=len(self._jobs), capacity=self.capacity, restarts=self.restarts,
                         error=self._error)

    # -- in the thread

    def _work(self, first: Model) -> None:
        try:
            self._open()
            self._load(first)
        except BaseException as error:
            self._close()
            self._opened.set_exception(error)
            return
        self._looked = time.monotonic()
        self._opened.set_result(None)
        while (job := self._next()) is not None or not self._stopping:
            if job is None:
                self._look()
            else:
                self._do(job)
        self._close()

    def _next(self) -> Job | None:
        """The next job; None where it is time to look at the device, or the service ends."""
        with self._turn:
            self._running = None
            self._turn.notify_all()
            left = self._looked + WATCH - time.monotonic()
            self._turn.wait_for(lambda: self._jobs or self._stopping, max(0.0, left))
            if self._jobs and left > 0:
                self._running = self._jobs.popleft()
            return self._running

    def _do(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        began = time.monotonic()
        try:
            self._reopen(job)
            session = self._load(job.model)
            device = session.device
            result = session.frame(job.picture, job.task, progress=job.check)
            outcome: Done | Exception = Done(result, began - job.asked, time.monotonic() - began, device.clock_hz,
                                             clock_text(device))
        except Exception as error:
            outcome = error if not isinstance(error, _GivenUp) else _closing() if self._stopping else Refused(
                499, "GivenUp", "The request of this job was given up.")
            if not isinstance(error, (InputError, _GivenUp)):
                self._lose(error)
        self._hears(job, outcome)
        _answer(job, outcome)

    def _load(self, model: Model) -> Session:
        """The session of a model; it is made where the device holds another one."""
        if self._session is None or self._session[0] is not model:
            assert self._device is not None
            self._session = None
            self._session = model, Session(model.image, self._device)
        return self._session[1]

    def _look(self) -> None:
        """Whether the device still answers, and how it is; a lost one is opened where that can be done."""
        try:
            if self._device is None:
                self._open()
                self._regained()
            assert self._device is not None
            Registers(self._device).require_id()
            self._learn(self._device)
        except Exception as error:
            self._lose(error)
        self._looked = time.monotonic()

    def _reopen(self, job: Job) -> None:
        """Open a lost device, if need be after some time. Raises what the last attempt raised."""
        end = time.monotonic() + REOPEN
        while self._device is None:
            job.check()
            try:
                self._open()
                self._regained()
            except Exception:
                if self._stopping or time.monotonic() + PAUSE > end:
                    raise
                time.sleep(PAUSE)

    def _open(self) -> None:
        device = self._opens()
        self._learn(device)
        self._device = device

    def _regained(self) -> None:
        self.restarts += 1
        self._report(f"The device {self._known['name']} was opened again.")

    def _learn(self, device: Device) -> None:
        self._known = {"name": device.name, "clock": clock_text(device), "condition": condition_of(device)}

    def _lose(self, error: Exception) -> None:
        """Close a device that failed: whatever state it is in, it is opened anew."""
        text = f"{type(error).__name__}: {error}"
        if text != self._error or self._device is not None:
            self._report(f"The device {self._known['name']} failed and is opened again. {text}")
        if not type(error).__module__.startswith("host."):
            self._report("".join(traceback.format_exception(error)).rstrip())
        self._error, self._looked = text, NEVER  # so the next look is due
        self._close()

    def _close(self) -> None:
        device, self._device, self._session = self._device, None, None
        if device is not None:
            with suppress(Exception):
                device.close()


def _answer(job: Job, outcome: "Done | Exception") -> None:
    """Give a job its outcome, unless its client is gone or was told that the service ends."""
    with suppress(InvalidStateError):
        if isinstance(outcome, Done):
            job.future.set_result(outcome)
        else:
            job.future.set_exception(outcome)


def _closing() -> Refused:
    return Refused(503, "ServiceClosing", "The service ends; ask the next one.", RETRY_SECONDS)
