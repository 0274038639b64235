# SPDX-License-Identifier: Apache-2.0
"""Codes of the instruction set: opcodes, units, memories, and the enumerations that instruction fields hold."""

import enum


class Opcode(enum.IntEnum):
    """First four bits of an instruction."""

    BEGIN = 1
    LOAD = 2
    STORE = 3
    COPY = 4
    NORM = 5
    LINEAR = 6
    ATTENTION = 7
    GATE = 8
    EXPERTS = 9
    UPSAMPLE = 10
    KEEP = 11
    END = 15


class Unit(enum.IntFlag):
    """Bits of ``wait``: the instruction issues only when all these units are empty, their last writes done."""

    DMA = 1
    NORM = 2
    ARRAY = 4
    GATE = 8


class Memory(enum.IntEnum):
    """On-chip memories that LOAD, STORE and COPY address in 64-byte rows."""

    OPERAND = 0
    RESIDUAL = 1


class Region(enum.IntEnum):
    """Base-address register a LOAD starts from; OUTPUT is where STORE writes."""

    TABLES = 0
    INPUT = 1
    OUTPUT = 2


class Index(enum.IntEnum):
    """Row index of a LINEAR's i-th token.

    DIRECT: i. QUEUE_TOKEN: the token named by entry i of the current expert's queue. QUEUE_SLOT: i, counted up to
    that queue's length instead of ``tokens``.
    """

    DIRECT = 0
    QUEUE_TOKEN = 1
    QUEUE_SLOT = 2


class Dest(enum.IntEnum):
    """Destination of a LINEAR's results and their number format.

    RESIDUAL: int16, saturating. OPERAND8: int8 blocks of 32 channels with a common exponent. OPERAND16: int16 as a
    high and a low byte plane, ``dst_plane`` rows apart. KEY, VALUE: int8 in [-127, 127] into the attention memories.
    GATE: the raw accumulators, to the gate. UNSIGNED8: uint8 in [0, 255] into operand memory, exponent 0; what is
    negative becomes 0, as by ReLU.
    """

    RESIDUAL = 0
    OPERAND8 = 1
    OPERAND16 = 2
    KEY = 3
    VALUE = 4
    GATE = 5
    UNSIGNED8 = 6


class Edge(enum.IntFlag):
    """Sides on which a strip of a map ends where the map ends; on the others its outermost line or column belongs to
    its neighbour as well (a halo)."""

    TOP = 1
    BOTTOM = 2
    LEFT = 4
    RIGHT = 8


class Destination(enum.IntEnum):
    """Where a line of the weight stream goes: weights to the RING; parameters of output channels to PARAM, of
    normalised ones to NORM; the score multipliers of an ATTENTION to MULTIPLIERS."""

    RING = 0
    PARAM = 1
    NORM = 2
    MULTIPLIERS = 3


class Resource(enum.IntEnum):
    """Storage with a capacity. OPERAND, RESIDUAL: rows; KEY, VALUE: tiles; RING: slices of weights, those retained and
    one output tile's (all tiles' for dst GATE and with ``retain_weights``); LANE_BUFFER: rows of a token group's
    operands that are read more than once; SOFTMAX: keys; QUEUES: entries of all expert queues; QUEUE: entries of one.
    """

    OPERAND = 0
    RESIDUAL = 1
    KEY = 2
    VALUE = 3
    RING = 4
    LANE_BUFFER = 5
    SOFTMAX = 6
    QUEUES = 7
    QUEUE = 8


MEMORIES = (Resource.OPERAND, Resource.RESIDUAL, Resource.KEY, Resource.VALUE)
"""Resources whose rows or tiles instructions address."""

STREAM_BITS = 32
STREAM_LINES = 1 << STREAM_BITS
"""Lines of the weight stream are counted modulo this."""
