# SPDX-License-Identifier: Apache-2.0
"""Common widths of the gate's stages: tokens in flight, and the experts of a token in groups."""

from amaranth.hdl import Mux, Signal, unsigned
from amaranth.lib import data

from golden.spec.machine import MAX_EXPERTS, MachineConfig
from golden.spec.tables import LOG2_FRAC
from hw.arith.exp2 import EXPONENTIAL_BITS
from hw.arith.log2_score import REFERENCE
from hw.lib.pipeline import Pipeline

SLOTS = 16
"""Tokens in flight. Each stage counts the tokens it has finished, modulo twice the slots."""
COUNT_BITS = SLOTS.bit_length()
SLOT_BITS = COUNT_BITS - 1
GROUP = 4
"""Experts a cycle through the multipliers and the exponentials."""
GROUP_BITS = (MAX_EXPERTS // GROUP - 1).bit_length()
SCORES = data.ArrayLayout(data.StructLayout({"whole": REFERENCE, "fraction": unsigned(LOG2_FRAC), "live": 1}), GROUP)
POWERS = data.ArrayLayout(EXPONENTIAL_BITS, GROUP)


def logit_slots(cfg: MachineConfig) -> int:
    """Tokens whose logits are kept."""
    return max(8, 2 * cfg.tm)


def logit_slot(cfg: MachineConfig, count):
    return count[:(logit_slots(cfg) - 1).bit_length()]


def slot_of(count):
    return count[:SLOT_BITS]


def iterate_groups(m, name: str, stages: dict[str, int], *, ready, last_group) -> tuple[Signal, Pipeline]:
    """Iterate over the groups of a token while ``ready``: (tokens done, the pipeline of the groups' tags).

    Fields: ``valid``, ``last`` of its token, ``first``, ``group``, ``slot``.
    """
    at, group = Signal(COUNT_BITS, name=f"{name}_at"), Signal(GROUP_BITS, name=f"{name}_group")
    last = Signal(name=f"{name}_last")
    m.d.comb += last.eq(ready & (group == last_group))
    with m.If(ready):
        m.d.sync += group.eq(Mux(last, 0, group + 1))
    m.d.sync += at.eq(at + last)
    return at, Pipeline(m, name, stages, flags={"valid": ready, "last": last},
                        tag={"first": group == 0, "group": group, "slot": slot_of(at)})
