# SPDX-License-Identifier: Apache-2.0
"""Register access by name, and the driver's access sequences: acknowledge, wait, abort, read counters."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from golden.spec.regs import BY_NAME, DRAIN_LIMITS, ID, REGISTERS, Access, Cause, Ctrl
from host.driver.device import Device, silent
from host.driver.errors import DeviceLost

ENDED = Cause.DONE | Cause.ERROR
"""Interrupt causes of the end of a job, good or bad; the driver enables these."""
GRACE = 100_000
"""Cycles the driver waits beyond every limit that the machine itself keeps, before it gives the machine up."""


def rest(bus_limit: int) -> int:
    """Most cycles that the buses take to drain before and after a job, with a margin."""
    return 2 * (1 + DRAIN_LIMITS) * bus_limit + GRACE


class Registers:
    """Read and write the registers of ``device`` by the names of :mod:`golden.spec.regs`; 64-bit ones whole, low word
    first (that captures a counter)."""

    def __init__(self, device: Device):
        self._device = device

    def __getitem__(self, name: str) -> int:
        return self.values([name])[name]

    def values(self, names: Iterable[str]) -> dict[str, int]:
        """Several registers, read in this order; in one exchange where the device is far away (``read_words``)."""
        wanted = [BY_NAME[name] for name in names]
        offsets = [register.offset + 4 * high for register in wanted for high in range(1 + register.wide)]
        together = getattr(self._device, "read_words", None)
        words = iter(map(self._device.read32, offsets) if together is None else together(offsets))
        return {register.name: next(words) | (next(words) << 32 if register.wide else 0) for register in wanted}

    def __setitem__(self, name: str, value: int) -> None:
        self.update({name: value})

    def update(self, settings: Mapping[str, int]) -> None:
        """Set several registers in this order; in one exchange where the device is far away (``write_words``)."""
        pairs = []
        for name, value in settings.items():
            register = BY_NAME[name]
            bits = 64 if register.wide else 32
            if register.access is Access.RO or not 0 <= value < 1 << bits:
                raise ValueError(f"Register {name} ({register.access.value}, {bits} bits) cannot be set to {value}.")
            pairs += [(register.offset + 4 * high, value >> 32 * high & 0xFFFF_FFFF)
                      for high in range(1 + register.wide)]
        together = getattr(self._device, "write_words", None)
        if together is not None:
            together(pairs)
            return
        for offset, word in pairs:
            self._device.write32(offset, word)

    @property
    def idle(self) -> bool:
        """Whether a job could be started."""
        return bool(self["CTRL"] & Ctrl.IDLE)

    @property
    def ended(self) -> bool:
        """Whether a job has ended since the last :meth:`acknowledge`."""
        return bool(self["ISR"] & ENDED)

    def acknowledge(self) -> None:
        """Clear what the ISR shows, and nothing that comes up meanwhile: it toggles where ones are written."""
        self["ISR"] = self["ISR"]

    @property
    def gone(self) -> bool:
        """Whether a job that was started neither runs nor has ended: a reset leaves the machine so."""
        return self.idle and not self.ended

    def wait(self, limit: int, progress: Callable[[int], None] = silent) -> None:
        """Wait for the end of a job that was started, at most ``limit`` cycles. Raises DeviceLost when it is gone, as
        soon as the device lets its progress be heard."""
        def heard(cycles: int) -> None:
            if self.gone:
                raise self.lost()
            progress(cycles)
        self._device.wait(limit, heard)

    def lost(self) -> DeviceLost:
        """What to raise when a job is gone."""
        return DeviceLost(f"The device {self._device.name!r} neither runs the job that was started nor reports its "
                          f"end: it was reset, or the start did not reach it. Make a new Session.")

    def abort(self) -> bool:
        """Stop what runs and wait until the bus is drained, a bounded time; whether the machine is idle then."""
        self.acknowledge()
        if not self.idle:
            self["CTRL"] = Ctrl.ABORT
            with suppress(DeviceLost):  # a machine that was reset runs nothing either
                self.wait(rest(self["BUS_LIMIT"]))
            self.acknowledge()
        return self.idle

    def require_id(self) -> None:
        """Raise DeviceLost unless the accelerator answers at all."""
        if (found := self["ID"]) != ID:
            raise DeviceLost(f"The device {self._device.name!r} answers with ID 0x{found:08x}, not 0x{ID:08x}: "
                             f"is the bitstream loaded?")

    def counters(self) -> dict[str, int]:
        """All hardware counters of the last job."""
        return self.values(register.name for register in REGISTERS if register.offset >= 0x100)
