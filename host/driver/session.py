# SPDX-License-Identifier: Apache-2.0
"""A model loaded into a device, ready to run pictures: the same code for a board, the simulated board and golden."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.spec.abi import Image
from golden.spec.machine import ABI_VERSION, MACHINES
from golden.spec.regs import ID, Cause, Ctrl, StatusBits
from golden.spec.status import Status
from golden.spec.tiling import ceil_div
from host.driver.device import Buffer, Device
from host.driver.errors import DeviceLost, DeviceTimeout, InputError, VersionMismatch, error_of
from host.driver.layout import prepare_input, read_logits, read_output
from host.driver.registers import Registers

PAGE = 4096
GRACE = 100_000
"""Cycles the driver waits beyond the watchdog's limit before it gives the device up."""


def _silent(_: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True)
class Result:
    """One frame's answer. ``residuals``: task -> int16 (tokens, dim) in steps of 2**-frac; ``scores``: task -> int16
    (heads, classes) in the same steps, empty without a classifier; ``counters`` of the hardware; ``run_id`` of the
    device."""

    residuals: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    frac: int
    counters: dict[str, int]
    run_id: int

    @property
    def features(self) -> np.ndarray:
        """Encoder output of the (first) task as float32 (tokens, dim)."""
        return self._scaled(next(iter(self.residuals.values())))

    @property
    def by_task(self) -> dict[str, np.ndarray]:
        """Encoder output of every task that ran, float32 (tokens, dim)."""
        return {task: self._scaled(residual) for task, residual in self.residuals.items()}

    @property
    def logits(self) -> np.ndarray | None:
        """Class scores of the (first) task, float32, averaged over the heads; None without a classifier."""
        return self._scaled(next(iter(self.scores.values()))).mean(axis=0) if self.scores else None

    @property
    def cycles(self) -> int:
        return self.counters["CYCLES"]

    def _scaled(self, codes: np.ndarray) -> np.ndarray:
        return codes.astype(np.float32) * np.float32(2.0 ** -self.frac)


class Session:
    """Load ``image`` (an Image or the path of one) into ``device`` and run pictures on it.

    Raises VersionMismatch when device and program do not belong together, OutOfMemory when the device's memory is too
    small; the device is untouched then. A session stays valid until another session loads into the same device.
    """

    def __init__(self, image: Image | str | Path, device: Device, *, job_limit: int = 1 << 31,
                 bus_limit: int = 1 << 16):
        self.image = image if isinstance(image, Image) else Image.from_bytes(Path(image).read_bytes())
        self.device, self.regs = device, Registers(device)
        self.job_limit, self.bus_limit = job_limit, bus_limit
        self._identify()
        self._load()

    def run(self, picture: np.ndarray, task: str | None = None, *,
            progress: Callable[[int], None] = _silent) -> np.ndarray:
        """Features of one picture (uint8, height x width x 3): float32 (tokens, dim). See :meth:`frame`.

        A program named ``"a+b"`` runs the tasks a and b on one picture; :meth:`frame` gives both.
        """
        return self.frame(picture, task, progress=progress).features

    def frame(self, picture: np.ndarray, task: str | None = None, *,
              progress: Callable[[int], None] = _silent) -> Result:
        """Run one picture through ``task`` (the first task when None); ``progress`` hears cycle counts.

        Raises InputError before any register is touched, or the AccelError that tells how the job ended. Ends within
        ``job_limit`` cycles and a grace. Ctrl-C aborts the job, waits for the drain and passes on.
        """
        self._task(task)
        self.start(prepare_input(picture, self.image.input), task)
        try:
            self._wait(progress)
        except BaseException:
            self.regs["CTRL"] = Ctrl.ABORT
            self.device.wait(GRACE, _silent)
            raise
        return self.finish()

    def start(self, data: bytes, task: str | None = None) -> None:
        """Write prepared input bytes and start the job, without waiting. For tools that watch the machine work."""
        self._running = self._task(task)
        self._input.view[:len(data)] = np.frombuffer(data, np.uint8)
        self._input.sync_for_device()
        self.regs["PROGRAM_ADDR"] = self._programs[self._running]
        self.regs["ISR"] = self.regs["ISR"]  # toggle on write: clears what is set
        self.regs["CTRL"] = Ctrl.START

    def finish(self) -> Result:
        """Check how the job ended and read its answer. Raises the AccelError that its status names."""
        bits = self.regs["STATUS"]
        status, run_id = Status(bits & 0xFF), self.regs["RUN_ID"]
        self.regs["ISR"] = self.regs["ISR"]
        if status is not Status.OK:
            raise error_of(status, address=self.regs["ERR_ADDR"], index=self.regs["ERR_INDEX"], run_id=run_id,
                           drained=bool(bits & StatusBits.DRAINED))
        self._output.sync_for_cpu()
        data, out = self._output.view.tobytes(), self.image.output
        tasks = list(enumerate(self._running.split("+")))
        return Result({task: read_output(data, out, i) for i, task in tasks},
                      {task: read_logits(data, out, i) for i, task in tasks} if out["classes"] else {},
                      out["frac"], self.regs.counters(), run_id)

    def _task(self, task: str | None) -> str:
        known = list(self.image.programs)
        if task is not None and task not in known:
            raise InputError(f"This program knows the tasks {known}, not {task!r}.")
        return known[0] if task is None else task

    def _identify(self) -> None:
        regs, machine = self.regs, self.image.machine
        if regs["ID"] != ID:
            raise DeviceLost(f"The device {self.device.name!r} answers with ID 0x{regs['ID']:08x}, not 0x{ID:08x}: "
                             f"is the bitstream loaded?")
        if regs["ABI"] != ABI_VERSION:
            raise VersionMismatch(f"The device speaks ABI version {regs['ABI']}, this driver {ABI_VERSION}.")
        if (found := regs["FINGERPRINT"]) != machine.fingerprint:
            names = {config.fingerprint: config.name for config in MACHINES.values()}
            raise VersionMismatch(
                f"The program was compiled for the machine {machine.name!r} (0x{machine.fingerprint:016x}); the device "
                f"{self.device.name!r} is {names.get(found, 'another')!r} (0x{found:016x}). Compile it for that one.")

    def _load(self) -> None:
        image, regs = self.image, self.regs
        sizes = [_pages(len(data)) for data in image.programs.values()]
        tables, input_bytes = _pages(len(image.tables)), _pages(image.input["bytes"])
        main = self.device.allocate(sum(sizes) + tables + input_bytes)
        self._output = self.device.allocate(_pages(max(image.output_bytes(task) for task in image.programs)))
        plane = _pages(len(image.planes[0]))
        weights = self.device.allocate(plane * len(image.planes))
        offset, self._programs = 0, {}
        for (task, data), size in zip(image.programs.items(), sizes, strict=True):
            self._programs[task] = main.address + offset
            main.view[offset:offset + len(data)] = np.frombuffer(data, np.uint8)
            offset += size
        main.view[offset:offset + len(image.tables)] = np.frombuffer(image.tables, np.uint8)
        regs["TABLE_ADDR"] = main.address + offset
        offset += tables
        self._input = Buffer(main.address + offset, main.view[offset:], main.sync_for_device, main.sync_for_cpu)
        for port, data in enumerate(image.planes):
            weights.view[port * plane:port * plane + len(data)] = np.frombuffer(data, np.uint8)
            regs[f"WEIGHT_ADDR{port}"] = weights.address + port * plane
        for buffer in (main, weights, self._output):
            buffer.sync_for_device()
        regs["INPUT_ADDR"], regs["OUTPUT_ADDR"] = self._input.address, self._output.address
        for name, buffer in (("READ", main), ("WRITE", self._output), ("WEIGHT", weights)):
            regs[f"{name}_LO"], regs[f"{name}_HI"] = buffer.address, buffer.address + len(buffer.view)
        regs["JOB_LIMIT"], regs["BUS_LIMIT"] = self.job_limit, self.bus_limit
        regs["GIER"], regs["IER"] = 1, Cause.DONE | Cause.ERROR

    def _wait(self, progress: Callable[[int], None]) -> None:
        if self.device.wait(self.job_limit + GRACE, progress) or self.regs["CTRL"] & (Ctrl.DONE | Ctrl.IDLE):
            return
        raise DeviceTimeout(f"The device {self.device.name!r} neither finished nor reported an error within "
                            f"{self.job_limit + GRACE} cycles.", status=Status.JOB_TIMEOUT, run_id=self.regs["RUN_ID"])


def _pages(size: int) -> int:
    return max(1, ceil_div(size, PAGE)) * PAGE


