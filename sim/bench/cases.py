# SPDX-License-Identifier: Apache-2.0
"""Benchmark cases: what is measured, and the threshold of each measurement."""

from dataclasses import dataclass, replace

from golden.iss.trace import Entry
from golden.spec.boards import BOARD_OF, BOARDS
from golden.spec.isa import Opcode
from golden.spec.machine import BEAT_BYTES, LINE, MachineConfig
from golden.spec.model import MODELS, ModelConfig
from golden.spec.program.image import Image
from golden.spec.program.names import program_name
from host.profile.work import weight_bytes
from sim.board.settings import IDEAL, DramSettings, memory_of


@dataclass(frozen=True)
class Case:
    """One run: a name for tables, plan (``packed``: fast, with packed weights of experts), the memory (``board``: that
    of the machine's board, else 100 cycles of latency and as many bytes a cycle as the weight ports take), program (a
    task, or all of them joined by +; on how many pictures)."""

    name: str
    plan: str
    board: bool
    tasks: int = 1
    pictures: int = 1

    def program(self, model: ModelConfig) -> str:
        """Name of the program that it measures."""
        return program_name(model.tasks[:self.tasks], pictures=self.pictures)

    def dram(self, machine: MachineConfig) -> DramSettings:
        """The memory on a machine. What is no preset has the board of the preset that its name begins with, else
        zcu102."""
        if self.board:
            return memory_of(BOARDS[BOARD_OF.get(machine.name.partition("-")[0], "zcu102")])
        return replace(IDEAL, bytes_per_cycle=max(IDEAL.bytes_per_cycle, machine.weight_bytes_per_cycle))


FAST = Case("fast, ideal DRAM", "fast", False)
FAST_ON_BOARD = Case("fast, DRAM of the board", "fast", True)
ACCURATE = Case("accurate, ideal DRAM", "accurate", False)
FOUR_PICTURES = Case("fast, four pictures, ideal DRAM", "fast", False, pictures=4)
ALL_TASKS = Case("fast, all tasks, ideal DRAM", "fast", False, tasks=2)
PACKED_ON_BOARD = Case("fast, packed experts, DRAM of the board", "packed", True)
CASES = (FAST, FAST_ON_BOARD, ACCURATE, FOUR_PICTURES, ALL_TASKS, PACKED_ON_BOARD)
USUAL = (FAST, FAST_ON_BOARD)
"""What is measured of networks and machines other than the reference."""
REFERENCE = ("m3vit-tiny", "zcu102")
MOST_CYCLES: dict[tuple[str, str], dict[Case, int]] = {
    REFERENCE: {FAST: 600_000, FAST_ON_BOARD: 700_000, ACCURATE: 1_200_000, FOUR_PICTURES: 430_000},
    ("m3vit-tiny", "kv260"): {FAST_ON_BOARD: 950_000},
    ("m3vit-tiny", "u280"): {FAST_ON_BOARD: 240_000, PACKED_ON_BOARD: 240_000},
    ("m3vit-small", "u280"): {FAST_ON_BOARD: 7_500_000},
    ("deit-tiny", "zcu102"): {FAST: 665_000}, ("deit-tiny", "u280-half"): {FAST: 380_000},
    ("deit-tiny", "u280"): {FAST: 230_000},
    ("deit-small", "zcu102"): {FAST: 2_340_000}, ("deit-small", "u280-half"): {FAST: 1_270_000},
    ("deit-small", "u280"): {FAST: 720_000},
}
"""Most cycles a picture, by model and machine. ``u280-half`` has two clusters of u280's four
(``sim/bench/u280-half.json``)."""


def cases_of(model: str, machine: str) -> tuple[Case, ...]:
    """What is measured of a model on a machine unless the user says. Packed experts where there are experts: their
    weights are most of what such a network reads."""
    if (model, machine) == REFERENCE:
        return CASES
    return (*USUAL, PACKED_ON_BOARD) if MODELS[model].moe_layers else USUAL


LEAST_ARRAY_USE = 0.65
MOST_DRAM_RATIO = 1.05
MOST_TASKS_RATIO = 1.7
MOST_TASKS_RATIO_SEEDED = 1.85
"""The same with weights drawn by seed, whose gates send the two tasks' tokens to more experts than trained gates do."""
MOST_MODEL_ERROR = 0.03


def weight_lines(entries: list[Entry], machine: MachineConfig) -> set[int]:
    """Lines of the weight stream that instructions use on a machine, each once, those of experts that were hit."""
    lines: set[int] = set()
    loops = {entry.index: entry.fields for entry in entries if entry.opcode is Opcode.EXPERTS}
    for entry in entries:
        if "stream" in entry.fields and entry.opcode is not Opcode.EXPERTS:
            first = entry.fields["stream"]
            if entry.expert >= 0:  # a body's stream counts from its expert's part
                loop = loops[max(index for index in loops if index < entry.index)]
                first += loop["stream"] + entry.expert * loop["pitch"]
            lines.update(range(first, first + weight_bytes(entry, machine) // LINE))
    return lines


def needed_bytes(image: Image, task: str, entries: list[Entry]) -> int:
    """Least bytes that a frame needs: every weight and parameter line it uses, once; program, tables, image, result.

    Experts that no token chose are not in ``entries`` and do not count.
    """
    streamed = LINE * len(weight_lines(entries, image.machine))
    return (streamed + len(image.program(task)) + len(image.tables) + image.input_bytes(task)
            + image.output_bytes(task))


def moved_bytes(counters: dict[str, int], machine: MachineConfig) -> int:
    """Bytes that crossed the pins, by the hardware's own counters of beats."""
    weights = sum(value for name, value in counters.items() if name.startswith("WEIGHT_READ"))
    return machine.port_bytes * weights + BEAT_BYTES * (counters["MAIN_READ"] + counters["MAIN_WRITTEN"])
