# SPDX-License-Identifier: Apache-2.0
"""Session: a program loaded into a device, ready to run pictures on a board, the simulated board or golden."""

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import overload

import numpy as np

from golden.spec.machine import ABI_VERSION, MACHINES
from golden.spec.program.image import Image
from golden.spec.regs import Ctrl, StatusBits
from golden.spec.status import Status
from host.driver.arguments import WORD, image_of, limit_of, program_named, require_device
from host.driver.device import Device, condition_of, silent
from host.driver.errors import (
    AccelError,
    DeviceBusy,
    DeviceLost,
    DeviceTimeout,
    InputError,
    OutOfMemory,
    VersionMismatch,
    error_of,
)
from host.driver.host_part import HostPart
from host.driver.jobs import input_of, jobs
from host.driver.layout import memory_need, padded, readable_of
from host.driver.notebook.session import ShownSession
from host.driver.registers import ENDED, Registers, rest
from host.driver.result import Result, result_of

Progress = Callable[[int], None]
Pictures = list[np.ndarray] | tuple[np.ndarray, ...]
Tasks = str | Sequence[str | None] | None
LASTING = ("GIER", "IER", "JOB_LIMIT", "BUS_LIMIT", "READ_LO", "WRITE_LO", "WEIGHT_LO")
"""Registers that a reset changes and no job does: they show whether the device was reset since it was loaded."""


class _Turn:
    """Ownership of a device: one thread at a time, and the session that was loaded last."""

    def __init__(self):
        self.lock = threading.RLock()
        self.session: Callable[[], Session | None] = lambda: None


_TURNS: weakref.WeakKeyDictionary[Device, _Turn] = weakref.WeakKeyDictionary()


class Session(ShownSession):
    """Load ``image`` (an Image or the path of one) into ``device`` and run pictures on it.

    ``job_limit``: most cycles of a job; ``bus_limit``: most cycles without an answer of the bus. Raises
    VersionMismatch when device and program do not belong together, OutOfMemory when the device's memory is too small;
    no register was written then. Loading gives back all memory of the device: a session ends where the next one on
    the same device begins. Frames of several threads run one after the other.
    """

    def __init__(self, image: Image | str | Path, device: Device, *, job_limit: int = 1 << 31,
                 bus_limit: int = 1 << 16):
        require_device(device)
        self.image, self.device, self.regs = image_of(image), device, Registers(device)
        self.job_limit, self.bus_limit = limit_of("job_limit", job_limit), limit_of("bus_limit", bus_limit)
        self._waits, self._host = False, HostPart(self.image)
        self._turn, self._background = _TURNS.setdefault(device, _Turn()), None
        self._occupy()

    def _occupy(self) -> None:
        with self._turn.lock:
            self._check_open()
            self._identify()
            self._load()
            self._turn.session = weakref.ref(self)

    @overload
    def run(self, picture: np.ndarray, task: str | None = None, *, progress: Progress = silent) -> Result: ...
    @overload
    def run(self, picture: Pictures, task: Tasks = None, *, progress: Progress = silent) -> list[Result]: ...

    def run(self, picture, task=None, *, progress: Progress = silent):
        """Results of one picture (uint8, height x width x channels) by name: ``result["semseg"]`` and whatever task
        heads the program has, at the picture's size, ``result["features"]``, float32 (tokens, dim), before a final
        norm, ``result["normed_features"]``, after it, and class scores, ``result["logits"]``. See :meth:`frame`. Of a
        list or tuple of pictures a list of results in their order; ``task`` may then be a list too. They share jobs
        where the image has programs for several pictures (:mod:`host.driver.jobs`).

        A program named ``"a+b"`` runs the tasks a and b on one picture.
        """
        if not isinstance(picture, (list, tuple)):
            return self.frame(picture, task, progress=progress)
        todo = jobs(self.image, len(picture), task)
        data = [input_of([picture[place] for place in job.places], self.image, job.program) for job in todo]
        found: dict[int, Result] = {}
        for job, bytes_ in zip(todo, data, strict=True):  # all of them are checked before the first runs
            found |= zip(job.places, self._job(bytes_, job.program, progress), strict=True)
        return [found[place] for place in range(len(picture))]

    def run_async(self, picture: np.ndarray | Pictures, task: Tasks = None) -> "Future[Result] | Future[list[Result]]":
        """:meth:`run` in a thread of the session, one after the other as they were asked for; ``result()`` waits."""
        if self._background is None:
            self._background = ThreadPoolExecutor(1, "edge-moe-session")
        return self._background.submit(self.run, picture, task)  # type: ignore[arg-type]  # an overload for each kind

    def frame(self, picture: np.ndarray, task: str | None = None, *,
              progress: Progress = silent) -> Result:
        """Run one picture through ``task`` (the first when None); ``progress`` hears cycle counts.

        Raises InputError before any register is touched, or the AccelError of the job's status: DeviceLost
        soon after a reset of the device. Ends within ``job_limit``, some ``bus_limit`` s for the bus to drain,
        and a margin. An exception such as Ctrl-C is raised again when the job is aborted and the bus is drained.
        """
        name = program_named(self.image, task)
        return self._job(input_of([picture], self.image, name), name, progress)[0]

    def _job(self, data: bytes, task: str, progress: Progress) -> list[Result]:
        with self._turn.lock:
            self._check_ready()
            before = self._run_id
            try:
                self._start(data, task)
                self._waits = True
                self.regs.wait(self.job_limit + rest(self.bus_limit), progress)
                return self.finish_all()
            except BaseException:
                with suppress(AccelError):  # what went wrong first is what the caller must hear
                    self.regs.abort()
                    if (run_id := self.regs["RUN_ID"]) in (before, (before + 1) % WORD):
                        self._run_id = run_id  # whether or not the start took effect, no other job ran
                raise
            finally:
                self._waits = False

    def abort(self) -> None:
        """Stop the job that runs, if any; the session is ready for the next one. A :meth:`frame` that waits for the job
        raises Aborted: call this from its ``progress``, or on a board from another thread. Raises DeviceBusy."""
        if self._waits:
            self.regs["CTRL"] = Ctrl.ABORT  # the frame hears the end, and drains the bus
        elif not self.regs.abort():
            raise self._stuck()

    def reset(self) -> None:
        """Reset the device and load the program again: what helps when a job or the bus does not come to rest. Raises
        DeviceLost where the device cannot be reset from here."""
        with self._turn.lock:
            self.device.reset()
            self._occupy()

    def start(self, data: bytes, task: str | None = None) -> None:
        """Write prepared input bytes and start the job, without waiting. For tools that watch the machine work."""
        if len(data) != (size := self.image.input_bytes(program_named(self.image, task))):
            raise InputError(f"The input buffer has {size} bytes; {len(data)} came.")
        self._check_ready()
        self._start(data, task)

    def _start(self, data: bytes, task: str | None) -> None:
        self._running = program_named(self.image, task)
        self._main.view[self._input:self._input + len(data)] = np.frombuffer(data, np.uint8)
        self._main.sync_for_device()
        self._output.sync_for_device()
        self.regs["PROGRAM_ADDR"] = self._programs[self._running]
        self.regs.acknowledge()  # or an old interrupt would end the wait for this job
        self._run_id = (self._run_id + 1) % WORD
        self.regs["CTRL"] = Ctrl.START

    def finish(self) -> Result:
        """:meth:`finish_all` of a job with one picture."""
        found = self.finish_all()
        if len(found) > 1:
            raise InputError(f"The job computed {len(found)} pictures: finish_all gives all results.")
        return found[0]

    def finish_all(self) -> list[Result]:
        """How the job ended: the result of each picture, or the AccelError that its status names. DeviceTimeout while
        it still runs, DeviceLost when it is gone."""
        regs = self.regs
        if not regs.ended:
            if regs.gone:
                raise regs.lost()
            raise DeviceTimeout(f"The device {self.device.name!r} has neither finished nor reported an error; it was "
                                f"given {self.job_limit} cycles [{condition_of(self.device)}].",
                                status=Status.JOB_TIMEOUT, run_id=self._run_id)
        bits, run_id = regs["STATUS"], regs["RUN_ID"]
        regs.acknowledge()
        status = self._status(bits & 0xFF)
        if status is not Status.OK:
            self._check(LASTING)  # or an error caused by lost settings would be blamed on the program
            index, symbols = regs["ERR_INDEX"], self.image.symbols[self._running]
            raise error_of(status, address=regs["ERR_ADDR"], index=index, run_id=run_id,
                           drained=bool(bits & StatusBits.DRAINED), condition=condition_of(self.device),
                           where=symbols[index].name if index < len(symbols) else "")
        if run_id != self._run_id:
            raise DeviceLost(f"Job {self._run_id} was started, but the device {self.device.name!r} answers for job "
                             f"{run_id}: its result is not this picture's. Load the program again.")
        self._output.sync_for_cpu()
        count, data, counters = self.image.pictures(self._running), self._output.view.tobytes(), regs.counters()
        outputs = [[o for o in self.image.results(self._running) if o.picture == i] for i in range(count)]
        return [result_of(data, wanted, self.image, self._host, counters, run_id, count) for wanted in outputs]

    # -- before a job

    def _check_ready(self) -> None:
        """Raise unless the device still is as :meth:`_load` or the last job left it."""
        self._check_open()
        if self._turn.session() is not self:
            raise DeviceLost(f"Another program was loaded into the device {self.device.name!r} since; make a new "
                             f"Session of {self.image.model.name!r} first.")
        found = self.regs.values(("RUN_ID", *LASTING, "CTRL", "STATUS"))
        if (run_id := found["RUN_ID"]) != self._run_id:
            raise DeviceLost(f"The device {self.device.name!r} counts {run_id} jobs, not {self._run_id}: it was reset, "
                             f"loaded anew or used by somebody else. Make a new Session.")
        self._compare({name: found[name] for name in LASTING})
        if not found["CTRL"] & Ctrl.IDLE:
            raise DeviceBusy(f"The device {self.device.name!r} still runs job {run_id}.")
        if not found["STATUS"] & StatusBits.DRAINED:
            raise DeviceLost(f"The bus of the device {self.device.name!r} has not drained after an error: reset it "
                             f"(Session.reset).")

    def _check_open(self) -> None:
        if getattr(self.device, "closed", False):
            raise DeviceLost(f"The device {self.device.name!r} was closed: open it again and make a new Session.")

    def _stuck(self) -> DeviceBusy:
        return DeviceBusy(f"The device {self.device.name!r} runs a job that cannot be aborted: reset it "
                          f"(device.reset, Session.reset).")

    def _check(self, names: Iterable[str]) -> None:
        """Raise unless these settings are as :meth:`_load` made them: a reset may leave the count of jobs as it was."""
        self._compare(self.regs.values(names))

    def _compare(self, settings: Mapping[str, int]) -> None:
        for name, found in settings.items():
            if found != (value := self._settings[name]):
                raise DeviceLost(f"The register {name} of the device {self.device.name!r} holds 0x{found:x}, not "
                                 f"0x{value:x} as it was set: the device was reset or loaded anew. Make a new Session.")

    # -- loading

    def _identify(self) -> None:
        regs, machine = self.regs, self.image.machine
        regs.require_id()
        if (found := regs["ABI"]) != ABI_VERSION:
            raise VersionMismatch(f"The device {self.device.name!r} speaks ABI version {found}, this driver "
                                  f"{ABI_VERSION}: take the driver that came with the bitstream.")
        if (found := regs["FINGERPRINT"]) != machine.fingerprint:
            names = {config.fingerprint: config.name for config in MACHINES.values()}
            raise VersionMismatch(
                f"The program was compiled for the machine {machine.name!r} (0x{machine.fingerprint:016x}); the device "
                f"{self.device.name!r} is {names.get(found, 'another')!r} (0x{found:016x}). Compile it for that one.")

    def _load(self) -> None:
        """Place everything in memory, then set the registers. Buffers of one window lie side by side in it."""
        image, device, regs = self.image, self.device, self.regs
        readable, self._programs, tables, self._input = readable_of(image)
        planes = b"".join(map(padded, image.planes))
        sizes = memory_need(image)
        self._turn.session = lambda: None  # the one before loses its memory
        device.free()
        try:
            self._main, self._output, weights = (device.allocate(size) for size in sizes)
        except OutOfMemory as error:
            device.free()
            raise OutOfMemory(f"The program of {image.model.name!r} needs {sum(sizes)} bytes of device memory. "
                              f"{error}") from None
        if not regs.abort():
            raise self._stuck()
        for buffer, data in ((self._main, readable), (weights, planes)):
            buffer.view[:] = np.frombuffer(data, np.uint8)
            buffer.sync_for_device()
        main = self._main.address
        self._programs = {task: main + offset for task, offset in self._programs.items()}
        part = len(planes) // len(image.planes)
        settings = {"TABLE_ADDR": main + tables, "INPUT_ADDR": main + self._input, "OUTPUT_ADDR": self._output.address}
        settings |= {f"WEIGHT_ADDR{port}": weights.address + port * part for port in range(len(image.planes))}
        for name, buffer in (("READ", self._main), ("WRITE", self._output), ("WEIGHT", weights)):
            settings |= {f"{name}_LO": buffer.address, f"{name}_HI": buffer.address + len(buffer.view)}
        if any(image.reads_output(task) for task in image.programs):
            settings |= {"READ_LO": min(main, self._output.address),
                         "READ_HI": max(settings["READ_HI"], settings["WRITE_HI"])}
        settings |= {"JOB_LIMIT": self.job_limit, "BUS_LIMIT": self.bus_limit, "IER": ENDED, "GIER": 1}
        regs.update(settings)
        self._settings, self._run_id = settings, regs["RUN_ID"]
        self._check(settings)

    # -- words

    def _status(self, code: int) -> Status:
        try:
            return Status(code)
        except ValueError:
            raise DeviceLost(f"The device {self.device.name!r} reports the status 0x{code:02x}, which no machine of "
                             f"this ABI knows: reset it (Session.reset).") from None
