# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the packages pynq and pyxrt: their names and signatures, golden as the machine, and memory of which
host and device see different copies until somebody synchronizes."""

import asyncio
import threading
from types import ModuleType, SimpleNamespace

import numpy as np

from golden.device import GoldenDevice
from golden.spec.regs import BY_NAME, MAP_BYTES, Ctrl

BASE = 0x8000_0000
ISR = BY_NAME["ISR"].offset


class Machine(GoldenDevice):
    """Golden whose jobs end ``delay`` seconds after they were started, in another thread; then ``fire`` is called.
    ``hangs``: only an abort ends them."""

    def __init__(self, machine="nano", delay=0.0):
        self.delay, self.hangs, self.fire, self.starts, self.aborts = delay, False, lambda: None, 0, 0
        self.lock = threading.RLock()
        super().__init__(machine)

    def read32(self, offset):
        with self.lock:
            return super().read32(offset)

    def write32(self, offset, value):
        with self.lock:
            if offset == 0 and value & Ctrl.ABORT:
                self.aborts, self.hangs = self.aborts + 1, False
                self._set("CTRL", Ctrl.IDLE)
            super().write32(offset, value)

    def _start(self):
        self.starts += 1
        if self.hangs or self.delay:
            self._set("CTRL", 0)
        if not self.hangs:
            threading.Timer(self.delay, self._end).start() if self.delay else self._end()

    def _end(self):
        with self.lock:
            super()._start()
        self.fire()


class Copies:
    """Device memory of a machine, and the host's copy of it."""

    def __init__(self, machine, size):
        self.address = machine._dram.allocate(size)
        self.device = machine._dram.view(self.address, size)
        self.host = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)

    def to_device(self):
        self.device[:] = self.host

    def from_device(self):
        self.host[:] = self.device


class PynqBuffer(np.ndarray):
    def sync_to_device(self):
        self.copies.to_device()

    def sync_from_device(self):
        self.copies.from_device()


def pynq(machine, blocks=None, pins=("edge_moe_0/interrupt",)):
    """A package pynq 4.0.0 whose overlays hold ``machine``."""
    package = ModuleType("pynq")
    package.loaded, package.interrupts, package.most = [], [], 1 << 30

    class Overlay:
        def __init__(self, bitfile_name, dtbo=None, download=True, ignore_version=False, device=None, gen_cache=False):
            package.loaded.append((bitfile_name, download))
            if "broken" in bitfile_name:
                raise RuntimeError("Unable to parse metadata")
            self.ip_dict = blocks or {
                "axi_intc_0": {"phys_addr": 1, "addr_range": 65536, "type": "xilinx.com:ip:axi_intc:4.1"},
                "edge_moe_0": {"phys_addr": BASE, "addr_range": MAP_BYTES, "type": "edge-moe.org:user:edge_moe:1.0"}}
            self.interrupt_pins = {pin: {"controller": "axi_intc_0", "index": 0} for pin in pins}

    class MMIO:
        def __init__(self, base_addr, length=4, device=None, **kwargs):
            assert (base_addr, length) == (BASE, MAP_BYTES)

        def read(self, offset=0, length=4, word_order="little"):
            assert length == 4 and offset % 4 == 0
            return machine.read32(offset)

        def write(self, offset, data):
            if type(data) is not int:
                raise ValueError("Data type must be int or bytes.")
            machine.write32(offset, data)

    class Interrupt:
        def __init__(self, pinname):
            if pinname not in pins:
                raise ValueError(f"No Pin of name {pinname} found")
            self.loop, self.event, self.waits = asyncio.get_running_loop(), asyncio.Event(), 0
            machine.fire = lambda: self.loop.call_soon_threadsafe(self.event.set)
            package.interrupts.append(self)

        async def wait(self):
            self.waits += 1
            self.event.clear()
            await self.event.wait()

    def allocate(shape, dtype="u4", target=None, **kwargs):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > package.most:
            raise RuntimeError("BO allocation failed")
        copies = Copies(machine, size + 64)
        buffer = copies.host[64:].view(PynqBuffer)  # not on a page
        buffer.copies, buffer.device_address = copies, copies.address + 64
        return buffer

    package.Overlay, package.MMIO, package.Interrupt, package.allocate = Overlay, MMIO, Interrupt, allocate
    package.Clocks = SimpleNamespace(fclk0_mhz=250.0)
    return package


def pyxrt(machine, kernels=("edge_moe",), registers=True):
    """A module pyxrt of XRT 2.14 whose card holds ``machine``; without ``registers`` that of a later one."""
    package = ModuleType("pyxrt")
    package.opened, package.most, package.busy = [], 1 << 30, False

    class device:
        def __init__(self, index):
            if index:
                raise RuntimeError("Could not open device with index '1'")

        def load_xclbin(self, xclbin):
            package.opened.append(xclbin.filename)
            return "uuid"

        def get_info(self, key):
            assert key == package.xrt_info_device.max_clock_frequency_mhz
            return "275"

    class xclbin:
        def __init__(self, filename):
            self.filename = filename

        def get_kernels(self):
            return [SimpleNamespace(get_name=lambda name=name: name) for name in kernels]

        def get_mems(self):
            return [SimpleNamespace(get_index=lambda i=i: i, get_used=lambda i=i: i >= 2) for i in range(4)]

    class kernel:
        exclusive = "exclusive"

        def __init__(self, device, uuid, name, mode):
            assert (uuid, mode) == ("uuid", "exclusive") and name in kernels
            if package.busy:
                raise RuntimeError("failed to open ip context")

    if registers:
        kernel.read_register = lambda self, offset: machine.read32(offset)
        kernel.write_register = lambda self, offset, data: machine.write32(offset, data)

    class bo:
        normal = "normal"

        def __init__(self, device, size, flags, group):
            assert flags == "normal" and group in (2, 3)
            if size > package.most:
                raise RuntimeError("bad_alloc")
            self.group, self.copies = group, Copies(machine, size)
            package.opened.append(self)

        def address(self):
            return self.copies.address

        def map(self):
            return memoryview(self.copies.host)

        def sync(self, dir, size, offset):
            assert (size, offset) == (len(self.copies.host), 0)
            {"to": self.copies.to_device, "from": self.copies.from_device}[dir]()

    package.device, package.xclbin, package.kernel, package.bo = device, xclbin, kernel, bo
    package.xclBOSyncDirection = SimpleNamespace(XCL_BO_SYNC_BO_TO_DEVICE="to", XCL_BO_SYNC_BO_FROM_DEVICE="from")
    package.xrt_info_device = SimpleNamespace(max_clock_frequency_mhz="clock")
    return package
