# SPDX-License-Identifier: Apache-2.0
"""A profiled run: one picture on a device, its instructions from the reference model, their times, its layers."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from golden.device import GoldenDevice
from golden.iss.trace import Entry
from golden.spec.boards import BOARD_OF, BOARDS
from golden.spec.boards.dram import DramTiming
from golden.spec.isa import INSTRUCTION_BYTES
from golden.spec.machine import BEAT_BYTES, MachineConfig
from golden.spec.program.image import Image
from host.driver.device import Device, clock_text, silent
from host.driver.result import Result, same
from host.driver.session import Progress, Session
from host.explore.routing import queues
from host.performance.layers import END, FETCH, TRANSFER, kind_of, part_of
from host.performance.timeline import predict
from host.profile.layers import Layer, count_experts, layers
from host.profile.timing import Timed, timed_by_device, timed_by_model

MEASURED, MODEL, COUNTED = "measured", "model", "counted"
"""Where a figure comes from: the device's counters and signals, the performance model, or the instructions that were
executed."""
USUAL_BOARD = "zcu102"


@dataclass(frozen=True)
class Profile:
    """One run. ``entries``: the executed instructions; ``timed``: their times, ``timing`` says whose;
    ``memory``: what the performance model assumes, ``memory_name`` in words; ``exact``: whether the device's result is
    the reference model's, bit for bit, None where the device is the reference model."""

    image: Image
    program: str
    pixels: np.ndarray
    result: Result
    device: str
    clock: str
    clock_hz: float
    entries: list[Entry]
    timed: list[Timed]
    timing: str
    predicted: float
    memory: DramTiming
    memory_name: str
    exact: bool | None

    @property
    def machine(self) -> MachineConfig:
        return self.image.machine

    @property
    def measured(self) -> bool:
        """Whether the device has counters of its own."""
        return self.result.cycles > 0

    @property
    def cycles(self) -> float:
        """From start to done: the device's, else the model's."""
        return self.result.cycles or self.predicted

    @property
    def cycles_from(self) -> str:
        return MEASURED if self.measured else MODEL

    @cached_property
    def layers(self) -> list[Layer]:
        """In program order; the first is the fetch of the program, the last what follows the last instruction, so that
        cycles and bytes add up to those of the job."""
        symbols = self.image.symbols[self.program]
        found = layers(self.timed, symbols, self.machine, part_of)
        count_experts(found, self.entries, symbols)
        for layer in found:
            layer.kind = kind_of(layer.name, self.image.model.moe_layers)
        words = len(self.image.program(self.program)) // INSTRUCTION_BYTES
        total = self.cycles if self.timing == MEASURED else self.predicted
        fetch = Layer(FETCH, TRANSFER, loaded=words * INSTRUCTION_BYTES)
        end = Layer(END, TRANSFER, cycles=total - sum(layer.cycles for layer in found))
        return [fetch, *found, end]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes from and to DRAM: of the port counters, else of the instructions."""
        if not self.measured:
            return sum(layer.bytes for layer in self.layers)
        return sum(port_bytes(self.result.counters, self.machine))

    @property
    def use(self) -> float:
        """Useful MACs over what the array could have made in all cycles."""
        return self.macs / (self.cycles * self.machine.macs_per_cycle)

    @property
    def fingerprint(self) -> str:
        """First half of the SHA-256 of the program's instructions."""
        return hashlib.sha256(self.image.program(self.program)).hexdigest()[:32]


def port_bytes(counters: dict[str, int], machine: MachineConfig) -> tuple[int, int, int]:
    """Bytes that crossed the pins, by the counters of beats: through the weight ports, read and written by the main
    port."""
    weights = sum(value for name, value in counters.items() if name.startswith("WEIGHT_READ"))
    return machine.port_bytes * weights, BEAT_BYTES * counters["MAIN_READ"], BEAT_BYTES * counters["MAIN_WRITTEN"]


def memory_of(device: Device, machine: MachineConfig) -> tuple[DramTiming, str]:
    """The timing of a device's memory and its name: its own where it tells it, else that of the board of the preset
    that the machine's name begins with."""
    own = getattr(device, "dram", None)
    if own is not None:
        return own, f"of {device.name}"
    board = BOARD_OF.get(machine.name.partition("-")[0], USUAL_BOARD)
    return BOARDS[board].dram, f"of the board {board}"


@contextmanager
def _watched(device: Device, ends: list[tuple[int, int]], progress: Progress) -> Iterator[None]:
    """Note in ``ends`` what a device that can watch its units sees."""
    def retired(unit: int, cycle: int) -> None:
        ends.append((unit, cycle))
        progress(cycle)

    watches = hasattr(device, "retired")
    try:
        if watches:
            device.retired = retired  # type: ignore[attr-defined]  # some devices have it
        yield
    finally:
        if watches:
            device.retired = None  # type: ignore[attr-defined]


def profile(image: Image, device: Device, pixels: np.ndarray, program: str, progress: Progress = silent) -> Profile:
    """Run ``program`` on one picture (uint8, the model's size). What the device is told does not depend on its being
    profiled; one that can watch its units does. Raises what :meth:`host.driver.session.Session.frame` does."""
    entries: list[Entry] = []
    is_reference = isinstance(device, GoldenDevice)
    reference = device if is_reference else GoldenDevice(image.machine)
    reference.trace = entries.append
    expected = Session(image, reference).frame(pixels, program)
    reference.trace = None
    result, ends, watches = expected, [], not is_reference and hasattr(device, "retired")
    if not is_reference:
        session = Session(image, device)
        with _watched(device, ends, progress):
            result = session.frame(pixels, program, progress=progress)
    memory, memory_name = memory_of(device, image.machine)
    spans = predict(image, program, queues(entries), memory)
    timed = timed_by_model(entries, spans)
    if watches:
        timed = timed_by_device(entries, ends, timed)
    return Profile(image, program, pixels, result, device.name, clock_text(device), device.clock_hz, entries, timed,
                   MEASURED if watches else MODEL, spans[-1].end, memory, memory_name,
                   None if is_reference else same(result, expected))
