# SPDX-License-Identifier: Apache-2.0
"""DRAM of the simulator: a few regions of bytes in a 64-bit address space."""

import numpy as np

from golden.spec.machine import PAGE


class Dram:
    """Page-aligned regions with an unmapped page between them; accesses outside raise :class:`IndexError`."""

    def __init__(self, base: int = 0x1000_0000):
        self._next = base
        self._regions: list[tuple[int, np.ndarray]] = []

    def allocate(self, size: int) -> int:
        """Address of ``size`` new zero bytes."""
        address = self._next
        self._regions.append((address, np.zeros(size, np.uint8)))
        self._next += (size + PAGE - 1) // PAGE * PAGE + PAGE
        return address

    def put(self, data: bytes) -> int:
        """Address of a new region that holds ``data``."""
        address = self.allocate(len(data))
        self.view(address, len(data))[:] = np.frombuffer(data, np.uint8)
        return address

    def view(self, address: int, size: int) -> np.ndarray:
        """The bytes ``[address, address + size)``, writable. Raises :class:`IndexError` where there are none."""
        for start, data in self._regions:
            if start <= address and address + size <= start + len(data):
                return data[address - start:address - start + size]
        raise IndexError(f"There is no memory at 0x{address:x} .. 0x{address + size:x}.")

    def read(self, address: int, size: int) -> bytes:
        """A copy of these bytes."""
        return self.view(address, size).tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Replace bytes."""
        self.view(address, len(data))[:] = np.frombuffer(data, np.uint8)
