# SPDX-License-Identifier: Apache-2.0
"""Micro-operation of the array: one planned beat, its data sources, and what is released after it."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from golden.spec.machine import MachineConfig
from hw.interfaces import SOFTMAX_SLOTS


class Source(enum.Enum, shape=2):
    """Operands and weights of a beat."""

    RING = 0
    """Lane rows times the weight ring (LINEAR)."""
    KEY = 1
    """Lane rows times the K memory (scores)."""
    VALUE = 2
    """Probabilities times the V memory."""
    NONE = 3
    """No beat: the ring pointer moves to ``jump``."""


class RingMove(enum.Enum, shape=3):
    """Move of the ring pointer after a beat. The base is the ring's tail, where the oldest rows lie that are still
    retained; the start is the first row of the block of tiles;
    the mark is the first row of the tile."""

    NEXT = 0
    AGAIN = 1
    """Back to the mark (next group; second plane of the same weights)."""
    MARK = 2
    """Next row, which becomes the mark (next tile of an instruction that releases its weights only at its end)."""
    RESTART = 3
    """Back to the start (next group of a pass over the tiles of a block)."""
    RELEASE = 4
    """All rows from the base to this one are released; the next one is the base."""
    KEEP = 5
    """Nothing is released at the instruction's end."""
    BLOCK = 6
    """Next row, which becomes the mark and the start (next block of an instruction that releases its weights only at
    its end)."""
    STAY = 7
    """This row again: the next step's weights are in its high halves."""


class LaneMove(enum.Enum, shape=2):
    """Move of the lane row pointer after a beat."""

    STAY = 0
    NEXT = 1
    """Next row; this one will be read again."""
    REWIND = 2
    """Back to the first row that was not freed."""
    FREE = 3
    """Next row; this one is released to the loader."""


def micro_op(config: MachineConfig) -> data.StructLayout:
    return data.StructLayout({
        "source": Source,
        "row": unsigned((config.kv_rows - 1).bit_length()),  # KEY, VALUE
        "ring": RingMove,                  # RING
        "packed": unsigned(1),             # RING: the row holds the weights of two steps, in halves of its bytes ...
        "high": unsigned(1),               # ... of which this one takes the high ones
        "reuse": unsigned(1),              # RING: retained rows; after the last one, on to rows not yet read
        "jump": range(config.ring_rows),   # NONE: where the instruction starts, counted from the base
        "lane": LaneMove,                  # RING, KEY
        "quarter": unsigned(2),            # slice of the lane row
        "step": unsigned(3),               # step of the slice (of the chunk, for VALUE)
        "unsigned": unsigned(1),           # lane bytes are 0..255
        "scaled": unsigned(1),             # ... times 2 to the lane's block exponent; planes of wide operands are not
        "present": unsigned(config.tm),    # the other lanes are zero
        "first": unsigned(1), "shift8": unsigned(1), "last": unsigned(1),
        "slot": range(SOFTMAX_SLOTS), "chunk": unsigned(8), "plane": unsigned(1),  # VALUE: which probabilities
        "unit": unsigned(1),               # VALUE: instead of V the keys' rows of 127 times the unit matrix ...
        "diagonal": unsigned(1),           # ... of which this chunk has its half of the tile, else none
        "p_release": unsigned(1),          # last beat that reads this slot
        "final": unsigned(1),              # last beat of its instruction
    })
