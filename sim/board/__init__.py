# SPDX-License-Identifier: Apache-2.0
"""Python interface of the simulated board: registers, DRAM, time, internal signals and memories."""

import ctypes
import json
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from golden.spec.machine import MachineConfig
from sim.board.build import _library, build_board
from sim.board.settings import DRAM_BASE, CFault, CRead, CSettings, DramSettings, Fault
from sim.coverage import functional, instrument

DRAM_BYTES = 64 << 20
CHUNK = 20_000
"""Cycles between two calls of the progress callback."""


def is_built(config: MachineConfig) -> bool:
    """Whether the simulator of a machine is there, so that a board opens at once."""
    return _library(config).exists()


class BoardError(RuntimeError):
    """The simulated board did not answer, or is closed; the message says what was asked."""


class _Simulation:
    """The simulator of one board with its DRAM: both are freed with the last reference, views of memories included.
    What still lives when the interpreter ends is left to the operating system.
    """

    def __init__(self, lib: ctypes.CDLL, dram_bytes: int):
        self.dram = np.zeros(dram_bytes, np.uint8)
        self._as_parameter_ = ctypes.c_void_p(lib.board_create(DRAM_BASE, self.dram.ctypes.data, dram_bytes))
        weakref.finalize(self, _destroy, lib, self._as_parameter_, self.dram).atexit = False


def _destroy(lib: ctypes.CDLL, board: ctypes.c_void_p, dram: np.ndarray) -> None:
    """``dram`` is here to outlive the simulator that writes into it."""
    lib.board_destroy(board)


class Board:
    """One powered-up simulated board. ``dram`` is its memory as a writable uint8 array, ``DRAM_BASE`` its address.

    Not thread-safe. After ``close`` everything but ``close`` raises BoardError; arrays that were taken before stay
    readable. As a context manager it closes itself. Any number of boards may be open in one process.
    """

    def __init__(self, config: MachineConfig, settings: DramSettings | None = None, *, dram_bytes: int = DRAM_BYTES,
                 progress: Callable[[str], None] = lambda text: None):
        self.config = config
        library = build_board(config, progress)
        self._lib = _load(str(library))
        self._paths = json.loads(library.with_name("units.json").read_text())
        self._simulation: _Simulation | None = _Simulation(self._lib, dram_bytes)
        self.dram = self._simulation.dram
        self.configure(settings or DramSettings())
        self._watched: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self.dram, self._simulation = np.zeros(0, np.uint8), None

    @property
    def _board(self) -> _Simulation:
        """What the library's functions take first."""
        if self._simulation is None:
            raise BoardError("The simulated board was closed.")
        return self._simulation

    @property
    def cycle(self) -> int:
        """Cycles since power-up."""
        return self._lib.board_cycle(self._board)

    @property
    def stray_writes(self) -> int:
        """Bytes written outside what :meth:`allow_writes` allows, counted by the DRAM model itself."""
        return self._lib.board_stray_writes(self._board)

    @property
    def interrupt(self) -> bool:
        return bool(self._lib.board_interrupt(self._board))

    def configure(self, settings: DramSettings) -> None:
        """Change the DRAM's behaviour and restart its random numbers."""
        self._settings = settings
        self._lib.board_configure(self._board, ctypes.byref(settings.to_c()))

    def allow_writes(self, lo: int, hi: int) -> None:
        self._lib.board_allow_writes(self._board, lo, hi)

    def inject(self, faults: Sequence[Fault]) -> None:
        """Replace all injected faults."""
        array = (CFault * max(1, len(faults)))(*(fault.to_c() for fault in faults))
        self._lib.board_faults(self._board, array, len(faults))

    def reset(self) -> None:
        """Assert ``ap_rst_n`` for a few cycles; DRAM keeps its contents."""
        self._lib.board_reset(self._board)

    def write32(self, offset: int, value: int) -> int:
        """Write a register; the AXI response. Raises :class:`BoardError` when the slave does not answer."""
        response = self._lib.board_write32(self._board, offset, value)
        if response < 0:
            raise BoardError(f"The register slave did not answer a write to 0x{offset:03x} within 1000 cycles.")
        return response

    def read32(self, offset: int) -> tuple[int, int]:
        """Read a register; (value, AXI response). Raises :class:`BoardError` when the slave does not answer."""
        value = ctypes.c_uint32()
        response = self._lib.board_read32(self._board, offset, ctypes.byref(value))
        if response < 0:
            raise BoardError(f"The register slave did not answer a read of 0x{offset:03x} within 1000 cycles.")
        return value.value, response

    def run(self, cycles: int, *, stop_at_interrupt: bool = True,
            progress: Callable[[int], None] = lambda done: None) -> tuple[int, set[str]]:
        """Simulate at most ``cycles``; stops at the interrupt or when a watched signal pulses.

        Returns the cycles simulated and the names of the pulses in the last one. ``progress`` is called with the
        cycle count at intervals.
        """
        done, pulses = 0, ctypes.c_uint64()
        while done < cycles:
            step = self._lib.board_run(self._board, min(CHUNK, cycles - done), stop_at_interrupt, ctypes.byref(pulses))
            done += step
            progress(done)
            if pulses.value or (stop_at_interrupt and self.interrupt):
                break
        if self.interrupt and instrument.folder():
            functional.note_job(self, self._settings)
        return done, {name for i, name in enumerate(self._watched) if pulses.value >> i & 1}

    def find(self, unit: str, name: str) -> tuple[int, int, int]:
        """Pointer, depth and width in bits of a public signal or memory of ``unit`` (a submodule of the top)."""
        words, bits = ctypes.c_uint32(), ctypes.c_uint32()
        path = self._paths.get(unit, unit).split(".")
        scope = ".".join(["TOP", *(part if part.isidentifier() else f"\\{part} " for part in path)])  # escaped
        pointer = self._lib.board_find(self._board, scope.encode(), name.encode(), ctypes.byref(words),
                                       ctypes.byref(bits))
        if not pointer:
            raise BoardError(f"The simulated board has no public signal {unit}.{name}.")
        return pointer, words.value, bits.value

    def watch(self, unit: str, name: str) -> None:
        """Let :meth:`run` stop when this one-bit signal is high, and report it as ``unit``."""
        self._lib.board_watch(self._board, self.find(unit, name)[0])
        self._watched.append(unit)

    def unwatch(self) -> None:
        """Forget all watched signals."""
        self._lib.board_unwatch(self._board)
        self._watched.clear()

    def log_reads(self, on: bool = True) -> None:
        """Forget what was logged; from now on log every read burst that a port asks for, or none."""
        self._lib.board_log_reads(self._board, on)

    def reads(self) -> np.ndarray:
        """The logged read bursts in order: records of ``address``, ``port`` (0: main, 1 + p: weight port p), ``beats``
        (of 16 bytes)."""
        first = ctypes.POINTER(CRead)()
        count = self._lib.board_reads(self._board, ctypes.byref(first))
        return np.ctypeslib.as_array(first, (count,)).copy() if count else np.zeros(0, np.dtype(CRead))

    def memory(self, unit: str, name: str) -> np.ndarray:
        """A memory of the design as a live uint8 array (rows, bytes a row padded to what the simulator uses)."""
        simulation = self._board
        pointer, words, bits = self.find(unit, name)
        stride = 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8 if bits <= 64 else -(-bits // 32) * 4
        raw = (ctypes.c_uint8 * (words * stride)).from_address(pointer)
        raw.simulation = simulation  # a reference to the array keeps its memory alive
        return np.frombuffer(raw, dtype=np.uint8).reshape(words, stride)


def _load(path: str) -> ctypes.CDLL:
    lib = ctypes.CDLL(path)
    u32, u64, pointer = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
    signatures = {
        "board_create": (pointer, [u64, pointer, u64]), "board_destroy": (None, [pointer]),
        "board_cycle": (u64, [pointer]), "board_stray_writes": (u64, [pointer]),
        "board_interrupt": (ctypes.c_int, [pointer]),
        "board_configure": (None, [pointer, ctypes.POINTER(CSettings)]),
        "board_allow_writes": (None, [pointer, u64, u64]),
        "board_faults": (None, [pointer, ctypes.POINTER(CFault), u32]), "board_reset": (None, [pointer]),
        "board_write32": (ctypes.c_int, [pointer, u32, u32]),
        "board_read32": (ctypes.c_int, [pointer, u32, ctypes.POINTER(u32)]),
        "board_find": (pointer, [pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(u32), ctypes.POINTER(u32)]),
        "board_watch": (u32, [pointer, pointer]),
        "board_unwatch": (None, [pointer]),
        "board_log_reads": (None, [pointer, ctypes.c_int]),
        "board_reads": (u64, [pointer, ctypes.POINTER(ctypes.POINTER(CRead))]),
        "board_run": (u64, [pointer, u64, ctypes.c_int, ctypes.POINTER(u64)]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
