# SPDX-License-Identifier: Apache-2.0
"""Common widths and depths of the layer norm's parts."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from golden.spec.machine import MAX_NORM_DIM, MachineConfig
from golden.spec.model import BLOCK
from golden.spec.tables import NORMALIZED_FRAC, RSQRT_RADICAND_BITS
from hw.arith.rsqrt import ROOT_BITS

RING_ROWS = 128
TOKENS = 32
"""By how much the statistics run ahead of the normalising."""
MAX_BLOCKS = MAX_NORM_DIM // BLOCK
S1_SHAPE = signed(15 + MAX_NORM_DIM.bit_length())
S2_BITS = 30 + MAX_NORM_DIM.bit_length()
LEAST_SHIFT = 33 - NORMALIZED_FRAC - (RSQRT_RADICAND_BITS - 1) // 2  # 22 - j of the variance 1; shifts count from there
ROOT = data.StructLayout({"r": unsigned(ROOT_BITS), "shift": 5})
"""1 / root and how far normalized shifts right, from LEAST_SHIFT on."""


def channels(cfg: MachineConfig) -> int:
    """Channels of a part."""
    return BLOCK // cfg.serialization


def split(cfg: MachineConfig) -> int:
    """Registers after the choice of a part, where there is a choice."""
    return int(cfg.serialization > 1)


def part_tag(cfg: MachineConfig) -> data.StructLayout:
    """Which part of a block: ``ends``, of its token's last; ``final``, of its NORM's last."""
    return data.StructLayout({"number": range(cfg.serialization), "block": range(MAX_BLOCKS), "ends": 1, "final": 1})
