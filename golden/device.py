# SPDX-License-Identifier: Apache-2.0
"""Simulated device: the instruction-set simulator with the register interface, for the host driver; no RTL.

It implements the driver's device protocol without inheriting from it, so that golden/ does not depend on host/.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.files.machine_file import machine_of
from golden.iss.dram import Dram
from golden.iss.faults import IssFault
from golden.iss.machine import Machine
from golden.iss.trace import Entry
from golden.spec.machine import ZCU102, MachineConfig
from golden.spec.model import require
from golden.spec.program.html_table import html_table
from golden.spec.regs import BY_NAME, REGISTERS, Access, Cause, Ctrl, StatusBits

_BY_OFFSET = {register.offset + 4 * high: register for register in REGISTERS for high in range(1 + register.wide)}
_CAUSES = Cause.DONE | Cause.READY | Cause.ERROR


@dataclass(frozen=True)
class GoldenBuffer:
    """Memory of the simulated machine; nothing needs to be synchronised."""

    address: int
    view: np.ndarray

    def sync_for_device(self) -> None:
        """Nothing to do: there is no cache."""

    def sync_for_cpu(self) -> None:
        """Nothing to do: there is no cache."""


class GoldenDevice:
    """Device that runs jobs on the simulator. ``machine``: a configuration or its name. A job runs to its end within
    the write that starts it; cycle counters stay 0. ``trace`` is called with an Entry for each retired instruction.
    ``hazards``: a program that lacks waits raises :class:`golden.iss.hazards.MissingWait` from that write; on
    the hardware its result would depend on timing.
    """

    clock_hz = 300e6

    def __init__(self, machine: MachineConfig | str = ZCU102, *, trace: Callable[[Entry], None] | None = None,
                 hazards: bool | None = None):
        config = machine_of(machine)
        self.name = f"golden:{config.name}"
        self.trace, self.closed = trace, False
        self._dram = Dram()
        self._machine = Machine(config, self._dram, hazards=hazards)
        self.reset()

    def __enter__(self) -> "GoldenDevice":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _repr_html_(self) -> str:
        machine = self._machine.config
        return html_table(f"{type(self).__name__} {self.name}", [
            ("is", "the instruction-set simulator; it has no time"), ("closed", "yes" if self.closed else None),
            ("machine", f"{machine.name}, {machine.macs_per_cycle:,} MAC/cycle, 0x{machine.fingerprint:016x}"),
            ("clock", f"assumed {self.clock_hz / 1e6:g} MHz")])

    def reset(self) -> None:
        """Same as the reset pin: registers get their reset values; memory keeps its contents."""
        self._words = dict.fromkeys(_BY_OFFSET, 0)
        for register in REGISTERS:
            self._set(register.name, register.reset or 0)
        self._set("FINGERPRINT", self._machine.config.fingerprint)

    def _get(self, name: str) -> int:
        register = BY_NAME[name]
        low = self._words[register.offset]
        return low | self._words[register.offset + 4] << 32 if register.wide else low

    def _set(self, name: str, value: int) -> None:
        register = BY_NAME[name]
        self._words[register.offset] = value & 0xFFFF_FFFF
        if register.wide:
            self._words[register.offset + 4] = value >> 32

    def read32(self, offset: int) -> int:
        """A register's value; 0, noted in STATUS, where there is none. Raises ValueError after :meth:`close`."""
        self._check_open()
        if offset not in _BY_OFFSET:
            self._stray()
            return 0
        value = self._words[offset]
        if _BY_OFFSET[offset].name == "CTRL":
            self._words[offset] = value & ~(Ctrl.DONE | Ctrl.READY)
        return value

    def write32(self, offset: int, value: int) -> None:
        """Set a register; CTRL's start bit runs the job. Where nothing can be written it is only noted in STATUS.

        Raises ValueError after :meth:`close`.
        """
        self._check_open()
        register = _BY_OFFSET.get(offset)
        if register is None or register.access is Access.RO:
            self._stray()
        elif register.name == "CTRL":
            if value & Ctrl.START:
                self._start()
        elif register.access is Access.TOW:
            self._words[offset] ^= value & _CAUSES
        else:
            self._words[offset] = value & 0xFFFF_FFFF

    def _stray(self) -> None:
        self._set("STATUS", self._get("STATUS") | StatusBits.STRAY_ACCESS)

    def _start(self) -> None:
        self._set("RUN_ID", self._get("RUN_ID") + 1)
        addresses = {register.name: self._get(register.name) for register in REGISTERS
                     if 0x40 <= register.offset < 0x100}
        status = index = address = 0
        try:
            self._machine.run(addresses, self.trace)
        except IssFault as fault:
            status, index, address = int(fault.status), fault.index, fault.address
        self._set("STATUS", status | StatusBits.DRAINED)
        self._set("ERR_INDEX", index)
        self._set("ERR_ADDR", address)
        self._set("RETIRED", self._machine.retired)
        self._set("CTRL", Ctrl.DONE | Ctrl.IDLE | Ctrl.READY)
        causes = Cause.DONE | Cause.READY | (Cause.ERROR if status else 0)
        self._set("ISR", self._get("ISR") | causes)

    def allocate(self, size: int) -> GoldenBuffer:
        """``size`` bytes of new memory."""
        self._check_open()
        address = self._dram.allocate(size)
        return GoldenBuffer(address, self._dram.view(address, size))

    def free(self) -> None:
        """Forget every buffer."""
        self._dram = self._machine.dram = Dram()

    def wait(self, limit: int, progress: Callable[[int], None]) -> bool:
        """Jobs have always ended already."""
        self._check_open()
        return bool(self._get("GIER") & 1 and self._get("ISR") & self._get("IER"))

    def close(self) -> None:
        """Nothing runs; whatever is asked afterwards is refused, as by every device."""
        self.closed = True

    def _check_open(self) -> None:
        require(not self.closed, f"The device {self.name} was closed.")
