# SPDX-License-Identifier: Apache-2.0
"""Token group: the record that the loader passes to a schedule for one group of tokens, one token a lane."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from golden.spec.machine import MachineConfig
from hw.interfaces import ROW_BITS, TOKEN_BITS


def group(config: MachineConfig) -> data.StructLayout:
    """Group record: the lanes of one pass over a group; lane rows of groups are in the order of their records."""
    return data.StructLayout({
        "first": unsigned(1),              # first group of its pass (of an output tile, of a head)
        "last": unsigned(1),               # last group of its pass
        "count": unsigned(5),              # lanes 0 .. count - 1 carry tokens
        "lanes": data.ArrayLayout(data.StructLayout({
            "present": unsigned(1),
            "row": unsigned(ROW_BITS),     # row of the result; attention: of the token's first output block
            "token": unsigned(TOKEN_BITS),
            "multiplier": unsigned(16),          # expert weight
        }), config.tm),
    })


def load_order(config: MachineConfig) -> data.StructLayout:
    """Load order: which operand rows to copy into the lanes for one group."""
    return data.StructLayout({
        "address": data.ArrayLayout(unsigned(ROW_BITS), config.tm),  # first row of each lane's token; window: corner
        "lanes_last": unsigned(4),         # last lane with a token
        "rows_last": unsigned(7),          # rows of a plane, less one; window: of a position
        "wide": unsigned(1),               # two planes ...
        "plane": unsigned(8),              # ... this many rows apart
        "window": unsigned(1),             # the lanes' tokens are neighbours in a line; operands are 3x3 positions
        "stride": unsigned(8), "step": unsigned(ROW_BITS),  # window: rows from column to column, from line to line
        "edges": unsigned(4),              # window: Edge bits; on these sides the outer positions are zero
    })
