# SPDX-License-Identifier: Apache-2.0
"""Area of a machine without one of the ideas, as a difference to the full one, by the area formulas."""

from golden.spec.machine import SLICE, SOFTMAX_SLOTS, MachineConfig
from golden.spec.tables import EXPONENTIAL_BITS, SCORE_BITS
from host.explore.area import Area, units
from host.explore.unit_area import memory
from host.performance.ablation import Idea

CODE_BITS = 16
"""Of an activation's input and of its result."""
PORTS = 2
"""Of a block memory: lanes that can share a table."""
REFERENCE_BITS = 9
"""Of the running maximum, which is kept with each chunk's exponentials."""


def wide_gelu(machine: MachineConfig) -> Area:
    """A table with the result of every 16-bit input instead of chords of a small correction.

    ``2**16`` codes of 16 bits for each pair of lanes of each cluster, since a block memory has two ports. In favour of
    the wide table: one function only, and what the chords' multipliers and logic take now stays uncounted.
    """
    tables = machine.clusters * -(-machine.lanes // PORTS)
    luts, blocks = memory(CODE_BITS, 1 << CODE_BITS)
    return Area(lut=tables * luts, bram36=tables * blocks)


def two_passes(machine: MachineConfig) -> Area:
    """Scores are kept for their second pass, of 20 bits each, instead of exponentials of 16 and a running maximum."""
    rows = machine.serialization * SOFTMAX_SLOTS * machine.max_keys // SLICE * machine.cluster.tm
    wide = memory(SCORE_BITS * machine.lanes, rows)
    narrow = memory(EXPONENTIAL_BITS * machine.lanes + REFERENCE_BITS, rows)
    return Area(lut=wide[0] - narrow[0], bram36=wide[1] - narrow[1]) * machine.clusters


def keys_from_dram(machine: MachineConfig) -> Area:
    """Keys and values that come from DRAM for every query need no memories on chip."""
    return (units(machine)["key"] + units(machine)["value"]) * -1


def separate_engines(machine: MachineConfig, engines: int) -> Area:
    """Engines that are each as fast as the unified one: as many arrays as kinds of layers. What feeds and drains them
    is counted once, in favour of separate engines."""
    return units(machine)["array"] * (engines - 1)


def difference(idea: Idea, machine: MachineConfig) -> Area:
    """What the machine has more without the idea, at the speed that the performance model gives it then."""
    found = {Idea.LOW_COST_GELU: wide_gelu, Idea.SINGLE_PASS: two_passes, Idea.ATTENTION_REORDERING: keys_from_dram}
    return found[idea](machine) if idea in found else Area()
