# SPDX-License-Identifier: Apache-2.0
"""Pool: one program on several devices, here or elsewhere; results in order, whatever device computed them."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from golden.spec.machine import MACHINES
from golden.spec.program.image import Image
from host.driver.arguments import image_of
from host.driver.device import Device, Handle, open_device
from host.driver.errors import AccelError, DeviceLost, InputError, ProgramRefused, VersionMismatch
from host.driver.jobs import input_of, jobs
from host.driver.pool.figures import Figures
from host.driver.pool.member import Member
from host.driver.registers import Registers
from host.driver.result import Result

RETRIES = 2
AHEAD = 2
"""Jobs for each device whose pictures are read, or whose results are kept, before those that come first are done."""
OURS = (InputError, ProgramRefused, VersionMismatch)
"""Failures that another device would repeat."""

Batch = tuple[Sequence[np.ndarray], str]


@dataclass
class _Job:
    batch: Batch
    attempts: int = 0
    taken: float = 0.0
    results: list[Result] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class _Stopped(Exception):
    """Ends the frames of a run that is given up."""


class Pool(Handle):
    """Run ``image`` on ``devices``: names as :func:`open_device` takes them, which the pool opens and closes, or
    devices, which stay the caller's.

    A job whose device fails is run again, by whichever device is free, up to ``retries`` times; a device that fails is
    opened again (a name) or reset (a device), and set aside where that fails. What another device would repeat (a
    wrong picture, a refused program) is raised at once. ``options`` go to each :class:`Session`. Raises
    VersionMismatch unless all devices are the machine that the image was compiled for, and what opening raises.
    """

    def __init__(self, devices: Sequence[Device | str], image: Image | str | os.PathLike, *, retries: int = RETRIES,
                 **options):
        if isinstance(devices, str) or not devices:
            raise InputError("A pool needs a list of devices, or of their names.")
        self.image, self.retries, self.figures = image_of(image), retries, Figures()
        self._turn, self._members = threading.Lock(), []
        try:
            for device in devices:
                made, opens = (device, None) if not isinstance(device, str) else _opened(device)
                again = sum(made.name == member.device.name for member in self._members)
                name = f"{made.name} ({again + 1})" if again else made.name
                self._members.append(Member(name, self.image, options, made, opens))
            self._check()
            for member in self._members:
                member.session  # noqa: B018  # loads the program: what does not fit is raised here
        except BaseException:
            self.close()
            raise
        self.name = f"{len(self._members)} devices"

    @property
    def devices(self) -> list[Device]:
        """Those that have not been set aside."""
        return [member.device for member in self._members]

    def run(self, pictures: Sequence[np.ndarray], task: str | Sequence[str | None] | None = None) -> list[Result]:
        """Results of ``pictures`` in their order, as :meth:`Session.run` of a list gives them. Raises InputError before
        any runs, the error of a job that failed too often, DeviceLost when no device is left."""
        todo = jobs(self.image, len(pictures), task)
        batches = [([pictures[place] for place in job.places], job.program) for job in todo]
        for batch in batches:
            input_of(batch[0], self.image, batch[1])
        found: dict[int, Result] = {}
        for job, results in zip(todo, self.batches(batches), strict=True):
            found |= zip(job.places, results, strict=True)
        return [found[place] for place in range(len(pictures))]

    def batches(self, todo: Iterable[Batch]) -> Iterator[list[Result]]:
        """The results of each of ``todo``, pictures and the program for that many, in their order. It is read as far
        ahead as the devices need it, so it may be endless. One at a time."""
        if not self._turn.acquire(blocking=False):
            raise InputError("This pool runs already: finish or close what it runs first.")
        try:
            yield from _Run(self._members, self.retries, figures := Figures()).results(todo)
        finally:
            self.figures = figures
            self._turn.release()

    def close(self) -> None:
        """Close the devices that the pool has opened."""
        for member in self._members:
            member.close()

    def _check(self) -> None:
        """Raise VersionMismatch unless all devices are one machine."""
        names = {config.fingerprint: config.name for config in MACHINES.values()}
        found = [(member.device.name, Registers(member.device)["FINGERPRINT"]) for member in self._members]
        if len({fingerprint for _, fingerprint in found}) > 1:
            each = ", ".join(f"{name} is {names.get(fingerprint, 'another')!r} (0x{fingerprint:016x})"
                             for name, fingerprint in found)
            raise VersionMismatch(f"The devices of a pool must be one machine: {each}.")


def _opened(name: str) -> tuple[Device, Callable[[], Device]]:
    opens = partial(open_device, name)
    return opens(), opens


class _Run:
    """One run of a pool: a thread for each device takes jobs from the front of one queue."""

    def __init__(self, members: list[Member], retries: int, figures: Figures):
        self._members, self._retries, self._figures = members, retries, figures
        self._waiting: deque[_Job] = deque()
        self._order: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopping, self._at_work = False, len(members)

    def results(self, todo: Iterable[Batch]) -> Iterator[list[Result]]:
        began, members = time.monotonic(), list(self._members)
        threads = [threading.Thread(target=self._work, args=(member,), name=f"edge-moe-pool-{number}")
                   for number, member in enumerate(members)]
        for thread in threads:
            thread.start()
        try:
            for batch in todo:
                self._put(_Job(batch))
                while len(self._order) >= AHEAD * len(members):
                    yield self._first()
            while self._order:
                yield self._first()
        finally:
            with self._changed:
                self._stopping = True
                self._changed.notify_all()
            for thread in threads:
                thread.join()
            self._figures.seconds = time.monotonic() - began

    def _put(self, job: _Job) -> None:
        with self._changed:
            self._order.append(job)
            self._waiting.append(job)
            self._changed.notify_all()

    def _first(self) -> list[Result]:
        job = self._order[0]
        with self._changed:
            self._changed.wait_for(lambda: job.done or not self._at_work)
        if not job.done:
            raise DeviceLost(f"No device of the pool is left: {self._reasons()}")
        if job.error is not None:
            raise job.error
        self._order.popleft()
        return job.results

    def _reasons(self) -> str:
        return " ".join(f"{name}: {why}" for name, why in self._figures.lost.items()) or "all were lost before."

    # -- in a device's thread

    def _work(self, member: Member) -> None:
        try:
            while (job := self._next()) is not None and self._does(member, job):
                pass
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            return None if self._stopping else self._waiting.popleft()

    def _does(self, member: Member, job: _Job) -> bool:
        """Run a job on a device; whether the device can take another."""
        began = time.monotonic()
        job.taken, alive = job.taken or began, True
        try:
            pictures, program = job.batch
            job.results = member.session.run(list(pictures), program, progress=self._heard)
        except _Stopped:
            return False
        except OURS as error:
            job.error = error
        except AccelError as error:
            job.attempts += 1
            alive = self._revived(member, error)
            if job.attempts <= self._retries:
                return self._again(job, alive)
            job.error = error
        except BaseException as error:  # of the driver itself: whoever wants the result must hear it
            job.error = error
        with self._changed:
            self._figures.latencies.append(time.monotonic() - job.taken)
            self._figures.frames[member.name] = self._figures.frames.get(member.name, 0) + len(job.results)
            job.done = True
            self._changed.notify_all()
        return alive

    def _again(self, job: _Job, alive: bool) -> bool:
        with self._changed:
            self._figures.retries += 1
            self._waiting.appendleft(job)
            self._changed.notify_all()
        return alive

    def _revived(self, member: Member, error: AccelError) -> bool:
        try:
            member.revive()
            return True
        except AccelError as why:
            with self._changed:
                self._figures.lost[member.name] = f"{error} {why}"
                self._members.remove(member)
            member.close()
            return False

    def _heard(self, cycles: int) -> None:
        if self._stopping:
            raise _Stopped
