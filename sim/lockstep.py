# SPDX-License-Identifier: Apache-2.0
"""Lock-step run: a job on the simulated board, each instruction compared with the instruction-set simulator."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.device import GoldenDevice
from golden.iss.trace import Entry
from golden.spec.program.image import Image
from host.driver.jobs import input_of
from host.driver.result import Result, same
from host.driver.session import Session
from host.progress import cycles
from sim.board.settings import DramSettings
from sim.device import SimDevice
from sim.trace import Retired, Tracer


@dataclass(frozen=True)
class LockStep:
    """A compared job: both devices' results, one for each picture, the simulator's trace, what ``retired`` and when,
    ``seconds`` of simulation."""

    goldens: list[Result]
    machines: list[Result]
    entries: list[Entry]
    retired: list[Retired]
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether the results are equal, bit for bit."""
        return all(map(same, self.machines, self.goldens))

    @property
    def machine(self) -> Result:
        """The machine's result of the first picture."""
        return self.machines[0]


def run(image: Image, device: SimDevice, pixels: np.ndarray | Sequence[np.ndarray], task: str, title: str, *,
        dram: DramSettings | None = None, job_limit: int = 1 << 31) -> LockStep:
    """Run ``task`` on ``pixels`` (uint8 [height, width, channels], or a list of such for a program of several
    pictures) with a progress bar called ``title``.

    The board's DRAM is configured as ``dram`` where one is given. Raises :class:`sim.trace.Mismatch` at the first
    difference, and the error of a job that does not end well.
    """
    entries: list[Entry] = []
    pictures = [pixels] if isinstance(pixels, np.ndarray) else list(pixels)
    goldens = Session(image, GoldenDevice(image.machine, trace=entries.append)).run(pictures, task)
    device.free()
    if dram is not None:
        device.board.configure(dram)
    session = Session(image, device, job_limit=job_limit)
    session.start(input_of(pictures, image, task), task)
    tracer, began = Tracer(device.board, entries), time.perf_counter()
    with cycles(f"{title} on {device.name}", sum(symbol.cycles for symbol in image.symbols[task])) as report:
        tracer.run(session.job_limit, report)
    seconds = time.perf_counter() - began
    return LockStep(goldens, session.finish_all(), entries, tracer.retired, seconds)
