# SPDX-License-Identifier: Apache-2.0
"""Registers by name."""

from golden.spec.regs import BY_NAME, REGISTERS
from host.driver.device import Device


class Registers:
    """Read and write the registers of ``device`` by the names of :mod:`golden.spec.regs`; 64-bit ones whole."""

    def __init__(self, device: Device):
        self._device = device

    def __getitem__(self, name: str) -> int:
        register = BY_NAME[name]
        value = self._device.read32(register.offset)
        return value | self._device.read32(register.offset + 4) << 32 if register.wide else value

    def __setitem__(self, name: str, value: int) -> None:
        register = BY_NAME[name]
        self._device.write32(register.offset, value & 0xFFFF_FFFF)
        if register.wide:
            self._device.write32(register.offset + 4, value >> 32)

    def counters(self) -> dict[str, int]:
        """All hardware counters of the last job."""
        return {register.name: self[register.name] for register in REGISTERS if register.offset >= 0x100}
