# SPDX-License-Identifier: Apache-2.0
"""Trace comparison: each instruction that the simulated machine retires against the instruction-set simulator.

Each unit retires in order; which unit retires an instruction follows from its opcode. A pulse is evaluated
SETTLE cycles later, when the last write has reached its memory; rows an instruction wrote are not written again
before their readers are done, so they are still valid. What a STORE wrote is in DRAM when it retires. Logits and expert
queues are compared when they are written (:mod:`sim.gate_trace`).

``tests/e2e/lockstep/test_trace.py`` flips bits of every kind of write and expects each to be found.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from golden.iss.trace import Entry, Write
from golden.spec.isa import UNIT, Opcode, Unit
from golden.spec.machine import LANES, LINE, TN, MachineConfig
from golden.spec.regs import BY_NAME
from golden.spec.tiling import bank_of_row
from hw.cluster.key_value import BankedMemory, KeyBanks, ValueBanks
from sim.board import Board
from sim.board.settings import DRAM_BASE
from sim.gate_trace import LOADER, GateTrace

SETTLE = 24
RETIRES = {Unit.ARRAY: "epilogue", Unit.NORM: "norm", Unit.GATE: "gate", Unit.DMA: "load_store"}
"""Component that tells when an instruction of a unit is over."""
OVER = {"epilogue": "retired", "norm": "retired", "gate": "retire", "load_store": "retire"}
"""Its signal that pulses then: those of all clusters together, where clusters have units of their own."""
RETIRED_BY = {opcode: RETIRES[unit] for opcode, unit in UNIT.items()}


class Mismatch(AssertionError):
    """The machine and the instruction-set simulator disagree; the message names the first wrong byte."""


class Memories:
    """The design's memories in the layout of ``golden.iss``: rows as they are now."""

    def __init__(self, board: Board):
        config: MachineConfig = board.config
        register = BY_NAME["OUTPUT_ADDR"]
        low, high = (board.read32(register.offset + 4 * word)[0] for word in range(2))
        self._output = board.dram[(high << 32 | low) - DRAM_BASE:]
        self._config = config
        banks = [f"bank{bank}_" for bank in range(config.banks)] if config.banks > 1 else [""]
        self._operand, self._residual = ([[board.memory(unit, f"{bank}half{half}") for bank in banks]
                                          for half in range(2)] for unit in ("operand", "residual"))
        self._key = [board.memory(f"key.bank{bank}", "store") for bank in range(config.clusters)]
        keys = config.tk // config.clusters
        self._value = [[[board.memory(f"value.bank{bank}", f"key{key}_half{half}") for half in range(TN // LANES)]
                        for key in range(keys)] for bank in range(config.clusters)]

    def place(self, memory: str, row: int, byte: int) -> tuple[np.ndarray, tuple[int, ...]]:
        """The array of the simulator that holds a byte of a row, and where in it; bytes LINE and LINE + 1 of an
        operand row are its block exponents."""
        if memory in ("operand", "residual"):
            half, within = divmod(byte, TN) if byte < LINE else (byte - LINE, TN)
            banks = (self._operand if memory == "operand" else self._residual)[half]
            return banks[bank_of_row(row, len(banks))], (row >> (len(banks) - 1).bit_length(), within)
        if memory == "key":
            bank, at = KeyBanks.byte_of(self._config, byte)
            return self._key[bank], (row, at)
        bank, at = ValueBanks.byte_of(self._config, byte)
        channel, key = divmod(at, len(self._value[bank]))
        return self._value[bank][key][channel // LANES], (row, channel % LANES)

    def _rows(self, banks: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Those rows of a memory in banks."""
        bank, place = bank_of_row(rows, len(banks)), rows >> (len(banks) - 1).bit_length()
        found = np.empty((len(rows), banks[0].shape[1]), np.uint8)
        for number, memory in enumerate(banks):
            found[bank == number] = memory[place[bank == number]]
        return found

    def operand(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        halves = [self._rows(memory, rows) for memory in self._operand]
        return (np.concatenate([half[:, :TN] for half in halves], axis=1),
                np.stack([half[:, TN] & 3 for half in halves], axis=1))

    def residual(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([self._rows(memory, rows)[:, :2 * LANES] for memory in self._residual], axis=1)

    def key(self, rows: np.ndarray) -> np.ndarray:
        return self._joined([bank[rows] for bank in self._key], KeyBanks)

    def value(self, rows: np.ndarray) -> np.ndarray:
        banks = []
        for bank in self._value:
            keys = [np.concatenate([memory[rows][:, :LANES] for memory in halves], axis=1) for halves in bank]
            banks.append(np.stack(keys, axis=2).reshape(len(rows), -1))
        return self._joined(banks, ValueBanks)

    def _joined(self, banks: list[np.ndarray], memory: type[BankedMemory]) -> np.ndarray:
        """Rows of a memory whose bytes are spread over ``banks``."""
        places = [memory.byte_of(self._config, byte) for byte in range(self._config.row_bytes)]
        return np.stack([banks[bank][:, place] for bank, place in places], axis=1)

    def output(self, rows: np.ndarray) -> np.ndarray:
        lines = self._output[:len(self._output) // LINE * LINE].reshape(-1, LINE)
        return lines[rows]


@dataclass
class Retired:
    """One retired instruction: its golden entry, and the machine's cycle when it retired."""

    entry: Entry
    cycle: int


@dataclass
class Tracer:
    """Compares a run with ``entries``, the golden trace of the same job on the same input.

    ``run`` simulates to the interrupt; ``retired`` lists what was compared, in order of retirement. Raises
    :class:`Mismatch` at the first difference, or when an instruction retires that golden did not.
    """

    board: Board
    entries: list[Entry]
    retired: list[Retired] = field(default_factory=list)

    def __post_init__(self):
        self._memories = Memories(self.board)
        self._gate = GateTrace(self.board, self.entries)
        self._due = {unit: deque(e for e in self.entries if RETIRED_BY.get(e.opcode) == unit)
                     for unit in set(RETIRED_BY.values())}
        self._pending: list[tuple[int, int, Entry]] = []
        self._base = self.board.cycle

    def run(self, limit: int, progress: Callable[[int], None] = lambda done: None) -> None:
        """Simulate at most ``limit`` cycles; the job has ended when the interrupt is up."""
        for unit in self._due:
            self.board.watch(unit, OVER[unit])
        self.board.watch(LOADER, "written")
        try:
            while self.board.cycle - self._base < limit:
                stop = self._pending[0][0] if self._pending else self.board.cycle + 20_000
                _, pulses = self.board.run(max(1, stop - self.board.cycle))
                for unit in sorted(pulses):
                    self._pulse(unit)
                progress(self.board.cycle - self._base)
                ended = self.board.interrupt
                while self._pending and (ended or self._pending[0][0] <= self.board.cycle):
                    self._compare(heapq.heappop(self._pending)[2])
                if ended:
                    break
        finally:
            self.board.unwatch()
        left = [entry.index for queue in self._due.values() for entry in queue]
        if self.board.interrupt and left:
            raise Mismatch(f"The job ended, but the instructions {sorted(left)[:8]} never retired.")
        if self.board.interrupt and self._gate.left:
            raise Mismatch(f"The job ended, but the gate was never given the logits of {self._gate.left} tokens.")

    def _pulse(self, unit: str) -> None:
        """What must be compared at once is; the rest when it has reached its memory."""
        if unit == LOADER:
            _expect_nothing(self._gate.logits())
            return
        if not self._due[unit]:
            raise Mismatch(f"{unit} retired one instruction more than golden did.")
        entry, now = self._due[unit].popleft(), self.board.cycle
        self.retired.append(Retired(entry, now - self._base))
        if entry.opcode is Opcode.GATE:  # the next one may begin at once
            _expect_nothing(self._gate.queues(entry))
        for write in entry.writes:
            if write.memory == "output":
                self._check(entry, write)
        heapq.heappush(self._pending, (now + SETTLE, len(self.retired), entry))

    def _compare(self, entry: Entry) -> None:
        for write in entry.writes:
            if write.memory != "output":
                self._check(entry, write)

    def _check(self, entry: Entry, write: Write) -> None:
        if not len(write.rows):
            return
        came = getattr(self._memories, write.memory)(write.rows)
        exp = None
        if write.memory == "operand":
            came, exp = came
        wrong = (came != write.data) & write.mask
        where = f"instruction {entry.index} ({entry.opcode.name}, expert {entry.expert})"
        if wrong.any():
            i, j = (int(v[0]) for v in np.nonzero(wrong))
            raise Mismatch(f"{where}: {int(wrong.sum())} of {int(write.mask.sum())} bytes differ in {write.memory}; "
                           f"first at row {int(write.rows[i])}, byte {j}: golden {write.data[i, j]:#04x}, "
                           f"machine {came[i, j]:#04x}.")
        if exp is not None:
            used = write.mask.reshape(len(write.rows), 2, TN).any(axis=2)
            off = (exp != write.exp) & used
            if off.any():
                i, j = (int(v[0]) for v in np.nonzero(off))
                raise Mismatch(f"{where}: {int(off.sum())} block exponents differ; first at operand row "
                               f"{int(write.rows[i])}, block {j}: golden {write.exp[i, j]}, machine {exp[i, j]}.")


def _expect_nothing(said: str) -> None:
    if said:
        raise Mismatch(said)
