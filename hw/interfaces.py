# SPDX-License-Identifier: Apache-2.0
"""Interfaces between units: payload layouts of the machine's streams, and common widths and latencies."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from golden.spec.activations import ACTIVATION_BITS
from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.isa import INSTRUCTION_BYTES, Dest
from golden.spec.machine import LANES, LINE, SLICE, SOFTMAX_SLOTS, TN, MachineConfig
from golden.spec.tables import BLOCK_SHIFT_BITS

LINE_BITS = 8 * LINE
EXP_BITS = BLOCK_SHIFT_BITS
TOKEN_BITS = 12
ROW_BITS = 16
OPERAND_BITS = 9
"""A byte of an operand in the array: -128..127 signed or 0..255 unsigned, as 9 bits signed."""
SLOT_BITS = (MAX_BLOCK - 1).bit_length()
"""Number of one of the epilogue's parameter sets."""
READ_LATENCY = 2
"""Cycles from a read request at any on-chip memory to its data: array read, output register."""


class Route(enum.Enum, shape=3):
    """Destination of a finished tile: those of a LINEAR, ``golden.spec.isa.Dest``, and the softmax."""

    RESIDUAL = int(Dest.RESIDUAL)
    OPERAND8 = int(Dest.OPERAND8)
    OPERAND16 = int(Dest.OPERAND16)
    KEY = int(Dest.KEY)
    VALUE = int(Dest.VALUE)
    GATE = int(Dest.GATE)
    UNSIGNED8 = int(Dest.UNSIGNED8)
    SOFTMAX = len(Dest)


ISSUE = data.StructLayout({
    "word": unsigned(8 * INSTRUCTION_BYTES),  # the instruction, as in hw.shapes.INSTRUCTION
    "index": unsigned(16),                    # its place in the program
    "expert": unsigned(6),                    # current expert inside EXPERTS
    "count": unsigned(TOKEN_BITS),            # that expert's queue length, 0 outside EXPERTS
})

OPERAND_ROW = data.StructLayout({"data": unsigned(LINE_BITS), "exp": data.ArrayLayout(unsigned(EXP_BITS), 2)})
OPERAND_WRITE = data.StructLayout({
    "row": unsigned(ROW_BITS), "mask": unsigned(2),  # one bit a half row (block)
    "data": unsigned(LINE_BITS), "exp": data.ArrayLayout(unsigned(EXP_BITS), 2),
})
RESIDUAL_WRITE = data.StructLayout({
    "row": unsigned(ROW_BITS), "mask": unsigned(2),  # one bit for each 16 channels
    "data": unsigned(LINE_BITS),
})
KEY_WRITE = data.StructLayout({
    "tile": unsigned(10), "column": unsigned(5), "data": data.ArrayLayout(signed(8), SLICE),
})
VALUE_WRITE = data.StructLayout({
    "tile": unsigned(10), "position": unsigned(4), "half": unsigned(1), "data": data.ArrayLayout(signed(8), LANES),
})
QUEUE_ENTRY = data.StructLayout({"token": unsigned(TOKEN_BITS), "weight": unsigned(16), "last": unsigned(1)})
GATE_BEAT = data.StructLayout({
    "value": data.ArrayLayout(signed(32), LANES),
    "low": unsigned(1),                # high part (0) or low part (1) of 16 gate logits
    "tile": unsigned(2),               # experts 16 * tile ..
})
SOFTMAX_JOB = data.StructLayout({
    "multiplier": unsigned(16), "shift1": unsigned(6), "wide": unsigned(1), "p_shift": unsigned(4),
    "keys": unsigned(12),              # of a row; chunks = ceil(keys / 16)
    "lanes": unsigned(5),              # queries of this job: lanes 0 .. lanes - 1 send scores
})
SCORE_BEAT_FIELDS = {
    "value": data.ArrayLayout(signed(32), LANES),
    "chunk": unsigned(8),              # keys 16 * chunk ..
}


def lane_bits(config: MachineConfig) -> int:
    return max(1, (config.tm - 1).bit_length())


def score_beat(config: MachineConfig) -> data.StructLayout:
    """16 attention scores of one query; a row's chunks arrive in ascending order, lanes interleave."""
    return data.StructLayout(SCORE_BEAT_FIELDS | {"lane": unsigned(lane_bits(config))})


def softmax_done(config: MachineConfig) -> data.StructLayout:
    """A finished job: where its probabilities lie, and each lane's division (reciprocal and right shift 23 + sh)."""
    return data.StructLayout({
        "slot": range(SOFTMAX_SLOTS),
        "recip": data.ArrayLayout(unsigned(16), config.tm),
        "shift": data.ArrayLayout(unsigned(6), config.tm),
    })


def array_beat(config: MachineConfig) -> data.StructLayout:
    """One array step: tm x tk operand bytes, the block exponents, TN x tk weight bytes (byte c * tk + j)."""
    return data.StructLayout({
        "operand": data.ArrayLayout(data.ArrayLayout(signed(OPERAND_BITS), config.tk), config.tm),
        "exp": data.ArrayLayout(unsigned(EXP_BITS), config.tm),
        "weight": data.ArrayLayout(data.ArrayLayout(signed(8), config.tk), TN),
        "first": unsigned(1),          # accumulators start from 0
        "shift8": unsigned(1),          # accumulators shift left by 8 first
        "last": unsigned(1),           # the tile is complete after this step
    })


def tile_context(config: MachineConfig) -> data.StructLayout:
    """How the epilogue processes one finished tile; one for each tile, in the order in which tiles complete."""
    return data.StructLayout({
        "route": Route,
        "tile": unsigned(8),           # output tile (LINEAR), key tile (SOFTMAX), output block (attention)
        "slot": unsigned(SLOT_BITS),   # parameter set to use ...
        "load": unsigned(1),           # ... after pulling it from the parameter stream
        "activation": unsigned(ACTIVATION_BITS),
        "affine": unsigned(1), "gate_weight": unsigned(1), "accumulate": unsigned(1),
        "divide": unsigned(1),         # attention: multiplier and shift1 come from the lanes below
        "shift1": unsigned(6), "shift2": unsigned(6),
        "act_shift": unsigned(3),      # used with an activation only
        "pitch": unsigned(8),          # KEY: slices of a key tile; VALUE: slices of all keys; OPERAND16: plane
        "base": unsigned(10),          # KEY, VALUE: first tile
        "final": unsigned(1),          # last tile of its instruction: retire when written
        "lanes": data.ArrayLayout(data.StructLayout({
            "present": unsigned(1),
            "row": unsigned(ROW_BITS),     # RESIDUAL: row of this tile; OPERAND: row that holds this block
            "token": unsigned(TOKEN_BITS),  # KEY, VALUE: token; SOFTMAX: keys of the row
            "multiplier": unsigned(16),          # divide: reciprocal; gate_weight: expert weight
            "shift": unsigned(6),          # divide: right shift
        }), config.tm),
    })
