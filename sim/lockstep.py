# SPDX-License-Identifier: Apache-2.0
"""Lock-step run: a frame on the simulated board, each instruction compared with the instruction-set simulator."""

import time
from dataclasses import dataclass

import numpy as np

from golden.device import GoldenDevice
from golden.iss.trace import Entry
from golden.spec.program.image import Image
from host.driver.layout import prepare_input
from host.driver.result import Result, same
from host.driver.session import Session
from host.progress import cycles
from sim.board.settings import DramSettings
from sim.device import SimDevice
from sim.trace import Retired, Tracer


@dataclass(frozen=True)
class LockStep:
    """A compared frame: both results, the simulator's trace, what ``retired`` and when, ``seconds`` of simulation."""

    golden: Result
    machine: Result
    entries: list[Entry]
    retired: list[Retired]
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether the results are equal, bit for bit."""
        return same(self.machine, self.golden)


def run(image: Image, device: SimDevice, pixels: np.ndarray, task: str, title: str, *, dram: DramSettings | None = None,
        job_limit: int = 1 << 31) -> LockStep:
    """Run ``task`` on ``pixels`` (uint8 [height, width, channels]) with a progress bar called ``title``.

    The board's DRAM is configured as ``dram`` where one is given. Raises :class:`sim.trace.Mismatch` at the first
    difference, and the error of a job that does not end well.
    """
    entries: list[Entry] = []
    golden = Session(image, GoldenDevice(image.machine, trace=entries.append)).frame(pixels, task)
    device.free()
    if dram is not None:
        device.board.configure(dram)
    session = Session(image, device, job_limit=job_limit)
    session.start(prepare_input(pixels, image.input), task)
    tracer, began = Tracer(device.board, entries), time.perf_counter()
    with cycles(f"{title} on {device.name}", sum(symbol.cycles for symbol in image.symbols[task])) as report:
        tracer.run(session.job_limit, report)
    seconds = time.perf_counter() - began
    return LockStep(golden, session.finish(), entries, tracer.retired, seconds)
