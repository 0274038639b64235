# SPDX-License-Identifier: Apache-2.0
"""Benchmark cases: what is measured, and the threshold of each measurement."""

from dataclasses import dataclass

from golden.iss.trace import Entry
from golden.spec.isa import Opcode
from golden.spec.machine import BEAT_BYTES, LINE, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.program.image import Image
from golden.spec.program.names import program_name
from sim.demo.layers import stream_bytes


@dataclass(frozen=True)
class Case:
    """One run: a name for tables, plan, DRAM preset, program (a task, or all of them joined by +; on how many
    pictures), most cycles a picture."""

    name: str
    plan: str
    dram: str
    tasks: int
    most_cycles: int | None
    pictures: int = 1

    def program(self, model: ModelConfig) -> str:
        """Name of the program that it measures."""
        return program_name(model.tasks[:self.tasks], pictures=self.pictures)


CASES = (
    Case("fast, ideal DRAM", "fast", "ideal", 1, 600_000),
    Case("fast, ZCU102 DDR4", "fast", "zcu102-ddr4", 1, 700_000),
    Case("accurate, ideal DRAM", "accurate", "ideal", 1, 1_200_000),
    Case("fast, four pictures, ideal DRAM", "fast", "ideal", 1, 430_000, 4),
    Case("fast, all tasks, ideal DRAM", "fast", "ideal", 2, None),
)
LEAST_ARRAY_USE = 0.65
MOST_DRAM_RATIO = 1.05
MOST_TASKS_RATIO = 1.7
MOST_MODEL_ERROR = 0.03


def weight_lines(entries: list[Entry]) -> set[int]:
    """Lines of the weight stream that instructions use, each once, those of experts that were hit."""
    lines: set[int] = set()
    loops = {entry.index: entry.fields for entry in entries if entry.opcode is Opcode.EXPERTS}
    for entry in entries:
        if "stream" in entry.fields and entry.opcode is not Opcode.EXPERTS:
            first = entry.fields["stream"]
            if entry.expert >= 0:  # a body's stream counts from its expert's part
                loop = loops[max(index for index in loops if index < entry.index)]
                first += loop["stream"] + entry.expert * loop["pitch"]
            lines.update(range(first, first + stream_bytes(entry) // LINE))
    return lines


def needed_bytes(image: Image, task: str, entries: list[Entry]) -> int:
    """Least bytes that a frame needs: every weight and parameter line it uses, once; program, tables, image, result.

    Experts that no token chose are not in ``entries`` and do not count.
    """
    return (len(weight_lines(entries)) * LINE + len(image.program(task)) + len(image.tables) + image.input_bytes(task)
            + image.output_bytes(task))


def moved_bytes(counters: dict[str, int], machine: MachineConfig) -> int:
    """Bytes that crossed the pins, by the hardware's own counters of beats."""
    weights = sum(value for name, value in counters.items() if name.startswith("WEIGHT_READ"))
    return machine.port_bytes * weights + BEAT_BYTES * (counters["MAIN_READ"] + counters["MAIN_WRITTEN"])
