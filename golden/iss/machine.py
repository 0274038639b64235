# SPDX-License-Identifier: Apache-2.0
"""Simulated machine as software sees it: registers, memories, and the hardware's checks with the same status codes."""

from collections.abc import Callable

import numpy as np

from golden.iss import execute
from golden.iss.bounds_check import BoundsCheck
from golden.iss.dram import Dram
from golden.iss.faults import IssFault, check
from golden.iss.hazards import HazardRecorder
from golden.iss.memories import Memories
from golden.iss.stream import Stream
from golden.iss.trace import Entry
from golden.spec import isa
from golden.spec.isa import FORMATS, INSTRUCTIONS, STREAM_LINES, Opcode, Region
from golden.spec.machine import ABI_VERSION, LINE, MachineConfig
from golden.spec.status import Status

ADDRESSES = ("PROGRAM_ADDR", "TABLE_ADDR", "INPUT_ADDR", "OUTPUT_ADDR",
             "WEIGHT_ADDR0", "WEIGHT_ADDR1", "WEIGHT_ADDR2", "WEIGHT_ADDR3")
_BASE = {Region.TABLES: "TABLE_ADDR", Region.INPUT: "INPUT_ADDR", Region.OUTPUT: "OUTPUT_ADDR"}


class Machine:
    """Machine of configuration ``config``; its memories are zero at the start of each job.

    Instructions run one at a time in program order, ``wait`` is ignored: a program whose waits are complete gives the
    same on the hardware. With ``hazards`` a job that lacks waits ends in :class:`golden.iss.hazards.MissingWait`.
    """

    check_hazards = False
    """Default of ``hazards``: whether machines look for missing waits."""

    def __init__(self, config: MachineConfig, dram: Dram | None = None, *, hazards: bool | None = None):
        self.config = config
        self.dram = Dram() if dram is None else dram
        hazards = self.check_hazards if hazards is None else hazards
        self.recorder = HazardRecorder(config) if hazards else None
        self.memories = Memories(config, self.recorder)
        self.gate = execute.GateState()
        self.retired = 0

    def run(self, registers: dict[str, int], trace: Callable[[Entry], None] | None = None) -> None:
        """One job. ``registers``: the address registers of ``golden.spec.regs``, missing ones 0.

        Raises :class:`IssFault` with the status and instruction index of the first error, and, once the job has ended,
        :class:`golden.iss.hazards.MissingWait`.
        """
        self.registers = {name: 0 for name in (*ADDRESSES, "READ_LO", "READ_HI", "WRITE_LO", "WRITE_HI", "WEIGHT_LO",
                                               "WEIGHT_HI")} | registers
        self.trace, self.retired = trace, 0
        self.memories = Memories(self.config, self.recorder)
        self.gate = execute.GateState()
        self.stream = Stream(self.config, self._stream_lines)
        self._check_registers()
        program = self._decoded(self._fetch())
        if self.recorder is not None:
            self.recorder.start()
        position = 0
        while program[position][0] is not Opcode.END:
            opcode, fields = program[position]
            if opcode is Opcode.EXPERTS:
                self._experts(program, position)
                position += fields["body"]
            else:
                self._step(position, opcode, fields)
            position += 1
        self._retire(position, *program[position], -1, ((), {}))
        if self.recorder is not None:
            self.recorder.finish()

    # -- before the first instruction

    def _check_registers(self) -> None:
        r = self.registers
        for window in ("READ", "WRITE", "WEIGHT"):
            check(r[f"{window}_LO"] < r[f"{window}_HI"], Status.RANGE_UNSET, 0, f"the {window} window is empty")
        for name in (*ADDRESSES[:4], *ADDRESSES[4:4 + self.config.ports]):
            check(r[name] % LINE == 0, Status.MISALIGNED, 0, f"{name} is 0x{r[name]:x}")

    def _fetch(self) -> list[int]:
        """Instruction words, BEGIN included, which is checked."""
        base = self.registers["PROGRAM_ADDR"]
        first = self._word(base, 0)
        check(first & 15 == Opcode.BEGIN, Status.BAD_OPCODE, 0, "a program begins with BEGIN")
        used = FORMATS[Opcode.BEGIN].used
        begin = FORMATS[Opcode.BEGIN].unpack(first & (1 << used) - 1)
        check(begin["magic"] == isa.MAGIC and begin["abi"] == ABI_VERSION, Status.BAD_VERSION, 0,
              f"ABI {begin['abi']}, this machine has {ABI_VERSION}")
        check(begin["fingerprint"] == self.config.fingerprint, Status.BAD_CONFIG, 0,
              f"0x{begin['fingerprint']:016x}, this machine is 0x{self.config.fingerprint:016x}")
        check(2 <= begin["count"] <= self.config.program_depth and not first >> used, Status.BAD_FIELD, 0,
              f"count {begin['count']} or reserved bits")
        return [first] + [self._word(base, i) for i in range(1, begin["count"])]

    def _decoded(self, words: list[int]) -> list[tuple[Opcode, dict]]:
        """Instructions up to END. Nothing runs unless every one of them is legal."""
        program, body, check_bounds = [isa.decode(words[0])], 0, BoundsCheck(self.config)
        for position in range(1, len(words)):
            opcode, fields = self._decode(words[position], position)
            check(not body or INSTRUCTIONS[opcode].in_body, Status.BAD_OPCODE, position, f"{opcode.name} in a body")
            wrong = isa.out_of_bounds(opcode, fields)
            check(not wrong, Status.BAD_FIELD, position, wrong or "")
            check_bounds(position, opcode, fields, body > 0)
            program.append((opcode, fields))
            if opcode is Opcode.END:
                return program
            body = fields["body"] if opcode is Opcode.EXPERTS else max(0, body - 1)
        raise IssFault(Status.NO_END, len(words))

    def _word(self, base: int, index: int) -> int:
        data = self._read(base + index * isa.INSTRUCTION_BYTES, isa.INSTRUCTION_BYTES, "READ", index)
        return int.from_bytes(data.tobytes(), "little")

    # -- DRAM

    def _read(self, address: int, size: int, window: str, index: int) -> np.ndarray:
        low, high = self.registers[f"{window}_LO"], self.registers[f"{window}_HI"]
        check(low <= address and address + size <= high, Status.RANGE_READ, index,
              f"0x{address:x} .. 0x{address + size:x}", address)
        try:
            return self.dram.view(address, size)
        except IndexError as error:
            raise IssFault(Status.R_DECERR, index, str(error), address) from None

    def _stream_lines(self, first: int, count: int) -> np.ndarray:
        """``count`` lines, of whole stream beats, from the beat of line ``first`` on: uint8 [count, 64]."""
        share, ports = self.config.share_bytes, self.config.ports
        beat, beats = first // self.config.beat_lines, count // self.config.beat_lines
        planes = [self._read(self.registers[f"WEIGHT_ADDR{p}"] + beat * share, beats * share, "WEIGHT",
                             self.memories.index).reshape(beats, share) for p in range(ports)]
        return np.concatenate(planes, axis=1).reshape(count, LINE)

    # -- instructions

    def _decode(self, word: int, position: int) -> tuple[Opcode, dict]:
        check(word & 15 in set(Opcode), Status.BAD_OPCODE, position, f"opcode {word & 15}")
        opcode = Opcode(word & 15)
        check(opcode is not Opcode.BEGIN, Status.BAD_OPCODE, position, "BEGIN stands first only")
        check(word >> FORMATS[opcode].used == 0, Status.BAD_FIELD, position, "reserved bits are set")
        return isa.decode(word)

    def _experts(self, program: list[tuple[Opcode, dict]], position: int) -> None:
        """Each expert with a queue runs the body, in the order of first entries; stream lines of its LINEARs are
        relative to the expert's part."""
        fields = program[position][1]
        if self.recorder is not None:
            self.recorder.begin(position, Opcode.EXPERTS, -1, fields["wait"] | INSTRUCTIONS[Opcode.EXPERTS].waits)
        for expert in (e for e in self.gate.order if e < fields["experts"]):
            for step in range(position + 1, position + 1 + fields["body"]):
                self._step(step, *program[step], expert, fields["stream"] + expert * fields["pitch"])
        self._retire(position, Opcode.EXPERTS, fields, -1, ((), {}))

    def _step(self, index: int, opcode: Opcode, fields: dict, expert: int = -1, stream: int = 0) -> None:
        self.memories.index = index
        if self.recorder is not None:
            self.recorder.begin(index, opcode, expert, fields.get("wait", 0))
        f = fields
        if stream and INSTRUCTIONS[opcode].streams:
            f = f | {"stream": (f["stream"] + stream) % STREAM_LINES}
        context = execute.Context(self.memories, self.stream, self.gate, expert, self._load, self._store)
        result = execute.SEMANTICS[opcode](f, context)
        self._retire(index, opcode, fields, expert, result)

    # -- DRAM, for LOAD and STORE

    def _load(self, region: Region, offset: int, rows: int) -> np.ndarray:
        """uint8 [rows, 64] from line ``offset`` after a base address."""
        address = self.registers[_BASE[region]] + offset * LINE
        return self._read(address, rows * LINE, "READ", self.memories.index).reshape(-1, LINE)

    def _store(self, offset: int, lines: np.ndarray) -> None:
        """``lines`` uint8 [rows, 64] to line ``offset`` after the output's base address."""
        address, index = self.registers["OUTPUT_ADDR"] + offset * LINE, self.memories.index
        low, high = self.registers["WRITE_LO"], self.registers["WRITE_HI"]
        check(low <= address and address + lines.size <= high, Status.RANGE_WRITE, index,
              f"0x{address:x} .. 0x{address + lines.size:x}", address)
        try:
            self.dram.view(address, lines.size)[:] = lines.reshape(-1)
        except IndexError as error:
            raise IssFault(Status.B_DECERR, index, str(error), address) from None

    def _retire(self, index: int, opcode: Opcode, fields: dict, expert: int, result: execute.Result) -> None:
        self.retired += 1
        if self.trace is not None:
            writes, extra = result
            self.trace(Entry(index, opcode, fields, expert, writes, **extra))
