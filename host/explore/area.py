# SPDX-License-Identifier: Apache-2.0
"""Area formulas: LUT, FF, DSP, block and UltraRAM memories of a machine configuration, unit by unit.

What grows with the configuration follows from the gateware: products, accumulators, memories. The constants are fitted
to what Yosys makes of the units (``make synth``) of `small`, `zcu102` and configurations between;
tests/host/explore/test_explore_area.py compares. An upper bound like those figures: no two small LUTs share a site.
"""

from dataclasses import astuple, dataclass

from golden.spec.isa import INSTRUCTION_BYTES
from golden.spec.latency import COLUMN
from golden.spec.machine import LANES, LINE, SLICE, SOFTMAX_SLOTS, TN, MachineConfig
from golden.spec.tables import BLOCK_SHIFT_BITS
from host.explore.unit_area import in_luts, memory, ultra


@dataclass(frozen=True)
class Area:
    """Counts of one unit, or of all; ``bram36`` in halves."""

    lut: float = 0
    ff: float = 0
    dsp: float = 0
    bram36: float = 0
    uram: float = 0

    def __add__(self, other: "Area") -> "Area":
        return Area(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, count: float) -> "Area":
        return Area(*(count * value for value in astuple(self)))


FIXED = {
    "csr": Area(2_327, 2_153), "main": Area(1_560, 1_886, 0, 2),
    "sequencer": Area(134, 1_534), "prefetcher": Area(540, 365), "activity": Area(6, 12),
    "load_store": Area(5_832, 5_504, 0, 1), "norm_params": Area(34, 22, 0, 7.5), "multipliers": Area(307, 519),
}
"""Units that are the same, or nearly, in every machine."""
ARRAY, ARRAY_INPUT, ARRAY_CELL, ARRAY_JOIN = Area(740, 720), Area(155, 282), Area(156.5, 109.6), Area(34, 37.2)
"""Of the array: control; stages of weights and operands, for each input a cycle; a channel of two lanes with its
accumulators, drain banks and multiplexers; joining one more column of multipliers there."""
NORM_BLOCKS = {1: 7.5, 2: 7.5, 4: 8, 8: 5}
"""Block memories of the layer norm, by serial."""


def units(m: MachineConfig) -> dict[str, Area]:
    """Each unit of the machine."""
    c, clusters, banks = m.cluster, m.clusters, m.banks
    cells = c.tm // 2 * TN
    joins = cells * max(0, c.tk // COLUMN - 1)
    lines = max(1, m.row_bytes // LINE)
    chunks = SOFTMAX_SLOTS * m.max_keys // SLICE
    half_row = 8 * LINE // 2
    return FIXED | {
        "supervisor": Area(478 + 142 * m.ports, 366),
        "weights": Area(753 + 700 * m.ports, 1_927 + 809 * m.ports, 0, m.weight_bytes_per_cycle / 8),
        "front_end": Area(1_711, 2_198, 11, 2 * memory(8 * INSTRUCTION_BYTES, m.program_depth)[1]),
        "gate": Area(7_195, 5_049, 9, 3) + _of(28, m.queue_depth) + _of(m.queue_depth.bit_length() - 1, m.queue_depth),
        "control": Area(2_790 + 379 * m.tm + 62.9 * m.tm * m.tk + 17.1 * m.row_bytes,
                        3_960 + 815 * m.tm + 40 * m.tm * m.tk, 3)
        + _of(8 * LINE + 2 * BLOCK_SHIFT_BITS, 2 * m.lane_rows, m.tm),
        "array": (ARRAY + ARRAY_INPUT * c.tk + ARRAY_CELL * cells + ARRAY_JOIN * joins
                  + Area(dsp=cells * c.tk)) * clusters,
        "norm": Area(2_543 + 13_624 / m.serialization, 4_152 + 12_067 / m.serialization, 5 + 128 // m.serialization,
                     NORM_BLOCKS[m.serialization]) * clusters,
        "epilogue": Area(5_701 + 90 * c.tm + 9_128 / m.serialization, 8_198 + 155 * c.tm + 5_363 / m.serialization,
                         1 + 64 // m.serialization, 8 / m.serialization) * clusters,
        "softmax": (Area(1_060 + 175 * c.tm + 5_187 / m.serialization, 1_427 + 400 * c.tm + 2_636 / m.serialization,
                         32 // m.serialization, (1 + 8 / m.serialization) / 3)
                    + _of(16 * m.lanes + 9, m.serialization * chunks * c.tm) + _of(8 * SLICE, chunks, 2 * c.tm))
        * clusters,
        "operand": Area(550 + 528 * (m.operand_rows > 4096), 1_047) * banks + _ports(m, 2 * clusters + 1, 2)
        + _rows(m, half_row + BLOCK_SHIFT_BITS, m.operand_rows),
        "residual": Area(548 + 8 * LINE * _odd(m.residual_rows), 1_038) * banks
        + _ports(m, clusters + 1, 2 * clusters + 1) + _rows(m, half_row, m.residual_rows),
        "key": Area(80, 180 + 1.02 * 8 * m.row_bytes) + _of(8 * m.row_bytes, m.kv_rows, 1, 1.05),
        "value": Area(12, 160 + 8 * m.row_bytes) + _of(8 * LANES, m.kv_rows, m.tk * TN // LANES),
        "ring": Area(75 + 3 * lines + 8 * m.row_bytes * _odd(m.ring_lines), 560 + 515 * lines)
        + _of(8 * LINE, m.ring_lines // lines, lines, uram=m.uram),
        "params": Area(45, 28 + 500 * in_luts(m.param_lines)) + _of(8 * LINE, m.param_lines),
    }


def area(m: MachineConfig) -> Area:
    """The whole machine."""
    return sum(units(m).values(), Area())


def _odd(depth: int) -> bool:
    """Whether a memory is no power of two deep: a multiplexer then joins the blocks that make it up."""
    return depth & (depth - 1) != 0


def _rows(m: MachineConfig, width: int, rows: int) -> Area:
    """Both halves of a row memory, in banks."""
    return _of(width, rows // m.banks, 2 * m.banks, uram=m.uram)


def _ports(m: MachineConfig, writers: int, readers: int) -> Area:
    """Multiplexers between clients and banks: estimated, two inputs of a bit a LUT."""
    if m.banks == 1:
        return Area()
    bits = 8 * LINE
    return Area(bits * (m.banks * (writers - 1) + readers * (m.banks - 1)) / 2, readers * bits)


def _of(width: int, depth: int, count: int = 1, waste: float = 1.0, uram: bool = False) -> Area:
    """``count`` memories; ``waste``: how many times what the width needs, where bytes are written singly; ``uram``: of
    UltraRAM."""
    if uram:
        return Area(uram=count * ultra(width, depth))
    luts, blocks = memory(width, depth)
    return Area(lut=count * luts * waste, bram36=count * blocks * waste)
