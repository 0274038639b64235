# SPDX-License-Identifier: Apache-2.0
"""A board laid out in files: UIO registers, a u-dma-buf, their sysfs entries, and golden as the machine."""

import mmap
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np

from golden.device import GoldenDevice
from golden.iss.dram import Dram
from golden.spec.machine import NANO
from golden.spec.regs import BY_NAME, MAP_BYTES, REGISTERS, Cause, Ctrl, StatusBits
from golden.spec.status import Status
from host.driver import Session
from host.driver.uio import UioDevice
from tests.host.support.devices import compiled, picture

PHYS_ADDR, DMA_BYTES = 0x8_0010_0000, 1 << 20
CTRL, GIER, IER, ISR = (BY_NAME[name].offset // 4 for name in ("CTRL", "GIER", "IER", "ISR"))


def property_of(root: Path, uio: str, name: str, *cells: int) -> None:
    """Give a node's device-tree entry a property of cells."""
    node = root / "sys/class/uio" / uio / "device/of_node"
    node.mkdir(parents=True, exist_ok=True)
    (node / name).write_bytes(struct.pack(f">{len(cells)}I", *cells))


def monitors(root: Path) -> None:
    """Make the layout a stock kernel's: uio0 to uio3 are performance monitors, the accelerator is uio4."""
    for folder in ("dev", "sys/class/uio"):
        (root / folder / "uio0").rename(root / folder / "uio4")
    for number in range(4):
        node = root / f"sys/class/uio/uio{number}"
        (node / "maps/map0").mkdir(parents=True)
        (node / "maps/map0/size").write_text("0x0000000000010000\n")
        (node / "name").write_text("axi-pmon\n")
        (root / f"dev/uio{number}").write_bytes(b"\xa5" * 65536)


def lay_out(root: Path, registers: int = MAP_BYTES, dma_bytes: int = DMA_BYTES) -> dict[str, str]:
    """Files as UIO and u-dma-buf show them; the arguments that make a UioDevice find them."""
    files = {"sys/class/uio/uio0/maps/map0/size": f"0x{registers:016x}\n", "sys/class/uio/uio0/name": "edge-moe\n",
             "sys/class/u-dma-buf/udmabuf0/phys_addr": f"0x{PHYS_ADDR:016x}\n",
             "sys/class/u-dma-buf/udmabuf0/size": f"{dma_bytes}\n",
             "sys/class/u-dma-buf/udmabuf0/sync_for_cpu": "0\n",
             "sys/class/u-dma-buf/udmabuf0/sync_for_device": "0\n"}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    property_of(root, "uio0", "clock-frequency", 300_000_000)
    (root / "dev").mkdir()
    words = np.zeros(registers // 4, "<u4")
    for offset, value in GoldenDevice(NANO)._words.items():
        words[offset // 4:offset // 4 + 1] = value
    (root / "dev/uio0").write_bytes(words.tobytes())
    (root / "dev/udmabuf0").write_bytes(bytes(dma_bytes))
    return {"dev": str(root / "dev"), "sysfs": str(root / "sys")}


class Memory(Dram):
    """The machine's view of the u-dma-buf."""

    def __init__(self, data: np.ndarray):
        super().__init__()
        self._regions.append((PHYS_ADDR, data))


class Board(threading.Thread):
    """The machine that the files stand for, in a thread: obeys START and ABORT, raises the interrupt as UIO delivers
    it.

    ``hangs``: jobs run until they are aborted. ``mute``: the interrupt never comes. ``events`` is the driver's side of
    the interrupt: 4 bytes written enable it, 4 bytes come when it fired, and it is masked again.
    """

    def __init__(self, root: Path):
        super().__init__(daemon=True)
        self.words, self.memory = (np.frombuffer(_mapped(root / "dev" / name), dtype)
                                   for name, dtype in (("uio0", "<u4"), ("udmabuf0", np.uint8)))
        self.events, self._mine = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.events.setblocking(False)  # a dead board must not hang the driver
        self.lock = threading.Lock()
        self.hangs = self.mute = False
        self.jobs = self.aborts = self.enables = self.fired = 0
        self._enabled, self._stopping, self._golden = False, threading.Event(), GoldenDevice(NANO)
        self._golden._machine.dram = Memory(self.memory)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self.join(10)
        for end in (self.events, self._mine):
            end.close()

    def run(self):
        while not self._stopping.is_set():
            if select.select([self._mine], [], [], 0.0002)[0]:
                packet = self._mine.recv(64)
                assert packet == struct.pack("=I", 1), packet
                self.enables += 1
                self._enabled = True
            with self.lock:
                self._step()
            if self._enabled and self.words[GIER] & 1 and self.words[ISR] & self.words[IER] and not self.mute:
                self._enabled = False
                self.fire()

    def reset(self):
        """The reset pin: what ran is gone, registers are as at first."""
        with self.lock:
            for offset, value in GoldenDevice(NANO)._words.items():
                self.words[offset // 4] = value

    def fire(self):
        """One interrupt, asked for or not."""
        self.fired += 1
        self._mine.send(struct.pack("=I", self.fired))

    def _step(self):
        command = int(self.words[CTRL])
        if command & Ctrl.ABORT:
            self.aborts += 1
            self._end(Status.ABORTED)
        elif command & Ctrl.START:
            self.jobs += 1
            self.words[CTRL] = 0
            if self.hangs:
                self.words[BY_NAME["RUN_ID"].offset // 4] += 1
            else:
                self._run()

    def _run(self):
        golden = self._golden
        for register in REGISTERS:
            for offset in range(register.offset, register.offset + 4 + 4 * register.wide, 4):
                golden._words[offset] = int(self.words[offset // 4])
        golden._start()
        for offset, value in golden._words.items():
            if offset not in (0, BY_NAME["ISR"].offset):
                self.words[offset // 4] = value
        self._end(Status(golden._get("STATUS") & 0xFF))

    def _end(self, status):
        self.words[BY_NAME["STATUS"].offset // 4] = int(status | StatusBits.DRAINED)
        self.words[ISR] |= int(Cause.DONE | Cause.READY | (Cause.ERROR if status else 0))
        self.words[CTRL] = int(Ctrl.DONE | Ctrl.IDLE)


class StandIn(UioDevice):
    """The driver's own device; only what a regular file cannot be is added: the interrupt, and ISR's toggling.

    ``clock_hz`` is low because limits count cycles and this machine is a thread on a busy computer.
    """

    def __init__(self, board: Board, *, clock_hz: float = 3e5, **options):
        self.board = board
        super().__init__(clock_hz=clock_hz, **options)

    def _interrupt_fd(self):
        return self.board.events.fileno()

    def write32(self, offset, value):
        with self.board.lock:
            super().write32(offset, value ^ self.read32(offset) if offset == 4 * ISR else value)


def _mapped(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, path.stat().st_size)
    finally:
        os.close(fd)


def loaded(device, job_limit=3_000_000):
    """A session of the nano model; 3 million cycles are 10 s of StandIn's clock."""
    return Session(compiled()[1], device, job_limit=job_limit)


def running(board):
    """Wait until the board has begun a job."""
    deadline = time.monotonic() + 10
    while not board.jobs and time.monotonic() < deadline:
        time.sleep(0.001)
    assert board.jobs and not board.words[0] & Ctrl.IDLE


def works(session, seed=1, task="task0"):
    """A frame is, bit for bit, what the integer network says."""
    wanted = compiled()[0].run(picture(seed=seed), task)
    np.testing.assert_array_equal(session.frame(picture(seed=seed), task).residuals[task], wanted)
