# SPDX-License-Identifier: Apache-2.0
"""One random program as a job on the reference and on the simulated board: what comes out, and how it ended."""

from dataclasses import dataclass

import numpy as np

from golden.iss.dram import Dram
from golden.iss.faults import IssFault
from golden.iss.machine import Machine
from golden.spec import isa
from golden.spec.machine import LINE, NANO, PAGE, MachineConfig
from golden.spec.regs import Ctrl
from golden.spec.status import Status
from host.driver.registers import Registers
from sim.device import SimDevice
from tests.fuzz.programs import INPUT_ROWS, OUTPUT_LINES, TABLE_ROWS, stream_bytes

LIMIT = 4_000_000
"""Cycles that a job may take."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: status, the instruction it names, the output buffer, instructions retired."""

    status: Status
    index: int
    output: bytes
    retired: int

    def rows(self) -> np.ndarray:
        """The output buffer, uint8 [OUTPUT_LINES, 64]: operand rows, then residual rows."""
        return np.frombuffer(self.output, np.uint8).reshape(-1, LINE)

    def differs(self, golden: "Outcome") -> str:
        """What is wrong with the output, empty where nothing is."""
        came, wanted = self.rows(), golden.rows()
        rows = np.flatnonzero((came != wanted).any(axis=1))
        if not rows.size:
            return ""
        first = rows[0]
        return (f"{rows.size} rows of the output differ, first row {first} (operand rows, then residual rows): "
                f"machine {came[first].tolist()}, golden {wanted[first].tolist()}")


@dataclass(frozen=True)
class Contents:
    """What lies in memory in addition to the program."""

    tables: bytes
    pixels: bytes
    weights: bytes

    @classmethod
    def of(cls, seed: int) -> "Contents":
        rng = np.random.default_rng(seed)
        return cls(rng.bytes(TABLE_ROWS * LINE), rng.bytes(INPUT_ROWS * LINE), stream_bytes(seed).tobytes())

    def planes(self, machine: MachineConfig) -> tuple[bytes, dict[str, int]]:
        """The weights as planes of one region, each on a page of its own, and where each port's begins in it. With
        stream beats of several lines there are more, since norms take more there than the grammar thinks."""
        weights = machine.beat_lines * self.weights
        share = len(weights) // machine.ports
        planes = [weights[p * share:(p + 1) * share] for p in range(machine.ports)]
        region = b"".join(plane + bytes(-len(plane) % PAGE) for plane in planes[:-1]) + planes[-1]
        pitch = share + -share % PAGE
        return region, {f"WEIGHT_ADDR{p}": p * pitch for p in range(machine.ports)}


def _padded(data: bytes) -> int:
    """Bytes of whole pages that hold ``data``, and one page of zeros after them."""
    return (len(data) + PAGE - 1) // PAGE * PAGE + PAGE


def on_golden(words: list[int], contents: Contents, config: MachineConfig = NANO) -> Outcome:
    """The job on the instruction-set simulator. Raises MissingWait where the program lacks a wait."""
    dram, parts = Dram(), {"PROGRAM_ADDR": isa.assemble(words), "TABLE_ADDR": contents.tables,
                           "INPUT_ADDR": contents.pixels, "OUTPUT_ADDR": bytes(OUTPUT_LINES * LINE)}
    registers, end = {}, dram.allocate(sum(_padded(data) for data in parts.values()))
    for name, data in parts.items():  # one region: the simulated board has memory between its buffers too
        registers[name] = end
        dram.write(end, data)
        end += _padded(data)
    registers |= {"READ_LO": registers["PROGRAM_ADDR"], "READ_HI": registers["OUTPUT_ADDR"] + OUTPUT_LINES * LINE}
    region, places = contents.planes(config)
    output, weights = registers["OUTPUT_ADDR"], dram.put(region)
    registers |= {name: weights + place for name, place in places.items()}
    registers |= {"WRITE_LO": output, "WRITE_HI": output + OUTPUT_LINES * LINE,
                  "WEIGHT_LO": weights, "WEIGHT_HI": weights + len(region)}
    machine, status, index = Machine(config, dram, hazards=True), Status.OK, 0
    try:
        machine.run(registers)
    except IssFault as fault:
        status, index = fault.status, fault.index
    return Outcome(status, index, dram.read(output, OUTPUT_LINES * LINE), machine.retired)


class Rig:
    """A simulated board with buffers in the same order as on the reference."""

    def __init__(self, device: SimDevice):
        self.device, self.regs = device, Registers(device)

    def run(self, words: list[int], contents: Contents) -> Outcome:
        """The job in RTL; the machine is idle afterwards."""
        device, regs = self.device, self.regs
        device.free()
        region, places = contents.planes(device.board.config)
        parts = {"PROGRAM_ADDR": isa.assemble(words), "TABLE_ADDR": contents.tables, "INPUT_ADDR": contents.pixels,
                 "OUTPUT_ADDR": bytes(OUTPUT_LINES * LINE), "WEIGHT_ADDR0": region}
        buffers = {}
        for name, data in parts.items():
            buffers[name] = device.allocate(_padded(data))
            buffers[name].view[:] = 0
            buffers[name].view[:len(data)] = np.frombuffer(data, np.uint8)
            regs[name] = buffers[name].address
        for name, place in places.items():
            regs[name] = buffers["WEIGHT_ADDR0"].address + place
        ends = {name: buffer.address + len(parts[name]) for name, buffer in buffers.items()}
        for window, first, last in (("READ", "PROGRAM_ADDR", "OUTPUT_ADDR"), ("WRITE", "OUTPUT_ADDR", "OUTPUT_ADDR"),
                                    ("WEIGHT", "WEIGHT_ADDR0", "WEIGHT_ADDR0")):
            regs[f"{window}_LO"], regs[f"{window}_HI"] = buffers[first].address, ends[last]
        regs["JOB_LIMIT"], regs["BUS_LIMIT"], regs["IER"], regs["GIER"] = LIMIT, 1 << 16, 5, 1
        regs.acknowledge()
        regs["CTRL"] = Ctrl.START
        device.wait(2 * LIMIT, lambda cycles: None)
        status = Status(regs["STATUS"] & 0xFF)
        output = buffers["OUTPUT_ADDR"].view[:OUTPUT_LINES * LINE].tobytes()
        outcome = Outcome(status, regs["ERR_INDEX"], output, regs["RETIRED"])
        regs.acknowledge()
        assert regs.idle, "the machine is still busy"
        return outcome
