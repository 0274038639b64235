# SPDX-License-Identifier: Apache-2.0
"""Instruction set: 256-bit words, one format per opcode, executed alike by ``golden.iss`` and the gateware."""

import enum

from golden.spec.activations import ACT_SHIFT_MAX, ACTIVATION_BITS, BY_CODE
from golden.spec.machine import MAX_EXPERTS, MAX_HEADS, MAX_NORM_DIM, MAX_TOP_K
from golden.spec.model import ConfigError, require
from golden.spec.words import Field, Word

INSTRUCTION_BYTES = 32
MAGIC = 0x454F4D45
"""The bytes "EMOE"."""


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
    END = 15


class Unit(enum.IntFlag):
    """Bits of ``wait``: the instruction issues only when all these units are empty, their last writes done."""

    DMA = 1
    NORM = 2
    ARRAY = 4
    GATE = 8


UNIT = {Opcode.LOAD: Unit.DMA, Opcode.STORE: Unit.DMA, Opcode.COPY: Unit.DMA, Opcode.UPSAMPLE: Unit.DMA,
        Opcode.NORM: Unit.NORM,
        Opcode.LINEAR: Unit.ARRAY, Opcode.ATTENTION: Unit.ARRAY, Opcode.GATE: Unit.GATE}
"""Unit that executes an instruction; the sequencer itself executes BEGIN, EXPERTS and END."""


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


STREAM_BITS = 32
STREAM_LINES = 1 << STREAM_BITS
"""Lines of the weight stream are counted modulo this."""

_HEAD = [Field("opcode", 4, "instruction format"), Field("wait", 4, "units that must be empty first")]
_STREAM = Field("stream", STREAM_BITS,
                "first 64-byte line of this instruction's parameters and weights in the weight stream")
_SHIFT2 = Field("shift2", 6, "right shift after the second multiplication")


def _word(name: str, *fields: Field) -> Word:
    return Word(name, [*_HEAD, *fields], total=8 * INSTRUCTION_BYTES)


FORMATS: dict[Opcode, Word] = {
    # First instruction of every program. Refused with BAD_VERSION or BAD_CONFIG before anything else runs.
    Opcode.BEGIN: _word(
        "BEGIN", Field("magic", 32, "0x454F4D45"), Field("abi", 16, "ABI version"),
        Field("fingerprint", 64, "of the machine configuration"),
        Field("count", 16, "instructions, BEGIN and END included")),
    # DRAM to on-chip rows. Operand rows get exponent 0.
    Opcode.LOAD: _word(
        "LOAD", Field("region", 2, "base address: tables, input or output"),
        Field("offset", 32, "64-byte lines from there"),
        Field("memory", 1, "operand or residual"), Field("row", 16, "first row"), Field("rows", 17, "how many")),
    # On-chip rows to DRAM, from the output base address.
    Opcode.STORE: _word(
        "STORE", Field("offset", 32, "64-byte lines from the output base"),
        Field("memory", 1, "operand or residual"), Field("row", 16, "first row"), Field("rows", 17, "how many")),
    # Residual rows to residual rows; the ranges do not overlap.
    Opcode.COPY: _word("COPY", Field("src_row", 16), Field("dst_row", 16), Field("rows", 17)),
    # Layer norm of the residual rows of `tokens` tokens into operand blocks; optionally also before gain and offset.
    Opcode.NORM: _word(
        "NORM", _STREAM, Field("tokens", 12, "how many"), Field("blocks", 6, "32-channel blocks of a token"),
        Field("src_row", 16, "residual row of token 0"), Field("src_stride", 6, "residual rows from token to token"),
        Field("dst_row", 16, "operand row of token 0"), Field("dst_stride", 8, "operand rows from token to token"),
        Field("dst_plane", 8, "rows from high to low bytes when wide"), Field("wide", 1, "16-bit result"),
        Field("normalized", 1, "also write the normalized rows before gain and offset, 16 bit"),
        Field("normalized_row", 16), Field("normalized_stride", 8), Field("normalized_plane", 8),
        Field("shift", 6, "right shift after gain and offset"),
        Field("normalized_shift", 2, "normalized values have 11 - normalized_shift fraction bits"),
        Field("eps", 40, "round(eps * 4**9 * D**2)")),
    # acc = operand . weights over 16 * slices inputs, for each of 32 * tiles channels; then the epilogue. Weights leave
    # the ring in stream order: a LINEAR without `retain_weights` releases its own and all retained so far; with
    # `reuse_weights` only those up to its own last. Neither flag in a body; nothing may be retained at EXPERTS.
    # With `window` it is a 3x3 convolution: index i is position (i // width, i % width) of `lines` lines; its operand
    # are the nine positions around it in a strip of a map whose lines are `pitch` positions apart, zeros beyond an
    # edge of the map. The strip has a halo of one position on each side without an edge. Inputs are ordered by map
    # line, operand row of a position, map column, channel: `golden.spec.tiling.window_order`.
    Opcode.LINEAR: _word(
        "LINEAR", _STREAM, Field("tokens", 12, "how many, for DIRECT"), Field("tiles", 8, "32-channel output tiles"),
        Field("slices", 9, "16-input slices"), Field("src_index", 2, "rows of the operands: Index"),
        Field("src_row", 16, "operand row of index 0"), Field("src_stride", 8, "operand rows from index to index"),
        Field("src_plane", 8, "rows from high to low bytes when wide"),
        Field("src_wide", 1, "16-bit operands, two passes"),
        Field("src_unsigned", 1, "bytes are 0..255 (8-bit operands only)"),
        Field("dst", 3, "Dest"), Field("dst_index", 2, "rows of the results: Index (RESIDUAL and OPERAND only)"),
        Field("dst_row", 16, "row of index 0; for KEY and VALUE the first tile"),
        Field("dst_stride", 8, "rows from index to index; for KEY the slices of a key tile, for VALUE of all keys"),
        Field("dst_plane", 8, "rows from high to low bytes for OPERAND16"),
        Field("accumulate", 1, "add to the residual row instead of replacing it"),
        Field("activation", ACTIVATION_BITS, "code of the activation between the two multiplications; 0 none"),
        Field("affine", 1, "apply gain and offset"),
        Field("gate_weight", 1, "multiply by the queue entry's expert weight instead of a gain"),
        Field("shift1", 6, "right shift after the multiplier"), _SHIFT2,
        Field("retain_weights", 1, "the weights stay in the ring after this instruction"),
        Field("reuse_weights", 1, "multiply by retained weights; only parameters are read from the stream"),
        Field("reuse_offset", 14, "with reuse_weights: slices from the oldest retained one to the first one used"),
        Field("act_shift", 3, "the activation's input has 9 - act_shift fraction bits"),
        Field("window", 4, "3x3 convolution: operand rows of a position; 0: none, src_row is a token's operand"),
        Field("width", 10, "with window: positions of a line of results"),
        Field("lines", 8, "with window: lines of results"),
        Field("pitch", 10, "with window: positions from line to line of the operands"),
        Field("edges", 4, "with window: Edge bits of the operands' strip")),
    # softmax(Q K^T) V for `heads` heads of 16 * head_slices channels; queries in lanes, keys streamed.
    Opcode.ATTENTION: _word(
        "ATTENTION", _STREAM, Field("heads", 6), Field("head_slices", 4), Field("queries", 12), Field("keys", 12),
        Field("q_row", 16, "operand row of query 0"), Field("q_stride", 8),
        Field("key_tile", 10, "first K tile"), Field("key_pitch", 8, "slices of one key tile"),
        Field("value_tile", 10, "first V tile"), Field("dst_row", 16, "operand row of output token 0"),
        Field("dst_stride", 8), Field("dst_plane", 8), Field("wide_p", 1, "16-bit probabilities, two passes"),
        Field("wide", 1, "16-bit result"),
        Field("p_shift", 4, "extra right shift of 16-bit probabilities; ignored for 8-bit ones"),
        Field("shift1", 6, "right shift after the attention score's multiplication"), _SHIFT2),
    # Empties the queues (unless append); sets the gate for the next LINEARs with dst GATE, which bring
    # `tokens` tokens together.
    Opcode.GATE: _word(
        "GATE", Field("tokens", 12), Field("first_token", 12, "number of the first token that a LINEAR brings"),
        Field("experts", 7), Field("top_k", 4), Field("renormalise", 1, "softmax over the chosen experts only"),
        Field("append", 1, "keep the queues"), Field("multiplier", 16, "logit to log2 units"), Field("shift1", 6)),
    # Runs the next `body` instructions once for each expert whose queue is not empty, in the order in which the
    # queues got their first entries. Their `stream` fields are relative to `stream + expert * pitch` of this one.
    Opcode.EXPERTS: _word(
        "EXPERTS", _STREAM, Field("experts", 7), Field("body", 4), Field("pitch", 32, "stream lines of one expert")),
    # Bilinear enlargement by 2 of a strip of a map of unsigned bytes, `rows` operand rows a position:
    # (9 a + 3 b + 3 c + d + 8) >> 4, borders repeated. On a side without an edge the outermost line or column of the
    # result is left out, since it depends on what lies beyond the strip. Result lines follow each other.
    Opcode.UPSAMPLE: _word(
        "UPSAMPLE", Field("src_row", 16, "operand row of the strip's first position"),
        Field("dst_row", 16, "operand row of the first result"), Field("rows", 4, "operand rows of a position"),
        Field("width", 10, "positions of a line of the strip"), Field("lines", 8, "lines of the strip"),
        Field("pitch", 10, "positions from line to line of the strip"), Field("edges", 4, "Edge bits of the strip")),
    Opcode.END: _word("END"),
}
"""Layout of every instruction. Fields that do not apply to an instruction are zero."""


def encode(opcode: Opcode, **fields: int) -> int:
    """One instruction word; omitted fields are 0. Raises :class:`ConfigError` when a value does not fit."""
    word = FORMATS[opcode]
    values = {field.name: 0 for field in word.fields} | {"opcode": int(opcode)}
    unknown = set(fields) - set(values)
    require(not unknown, f"{word.name} has no field {sorted(unknown)}.")
    return word.pack(**(values | fields))


def decode(word: int) -> tuple[Opcode, dict[str, int]]:
    """Opcode and fields of one word. Raises :class:`ConfigError` for an unknown opcode or a reserved bit."""
    try:
        opcode = Opcode(word & 15)
    except ValueError:
        raise ConfigError(f"There is no opcode {word & 15}.") from None
    fields = FORMATS[opcode].unpack(word)
    del fields["opcode"]
    return opcode, fields


def assemble(words: list[int]) -> bytes:
    """Instruction words as they lie in memory: 32 bytes each, little-endian."""
    return b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in words)


def disassemble(data: bytes) -> list[tuple[Opcode, dict[str, int]]]:
    """Inverse of :func:`assemble`, decoded."""
    require(len(data) % INSTRUCTION_BYTES == 0,
            f"A program is a multiple of {INSTRUCTION_BYTES} bytes, not {len(data)}.")
    return [decode(int.from_bytes(data[i:i + INSTRUCTION_BYTES], "little"))
            for i in range(0, len(data), INSTRUCTION_BYTES)]


LIMITS: dict[Opcode, dict[str, tuple[int, int]]] = {
    Opcode.LOAD: {"region": (0, 2), "rows": (1, 1 << 16)},
    Opcode.STORE: {"rows": (1, 1 << 16)},
    Opcode.COPY: {"rows": (1, 1 << 16)},
    Opcode.NORM: {"tokens": (1, 4095), "blocks": (1, MAX_NORM_DIM // 32), "shift": (0, 31)},
    Opcode.LINEAR: {"tokens": (0, 4095), "tiles": (1, 255), "slices": (1, 511), "src_index": (0, 2), "dst": (0, 6),
                    "dst_index": (0, 2), "shift1": (0, 47), "shift2": (0, 40), "activation": (0, len(BY_CODE) - 1),
                    "act_shift": (0, ACT_SHIFT_MAX), "window": (0, 14)},
    Opcode.ATTENTION: {"heads": (1, MAX_HEADS), "head_slices": (2, 8), "queries": (1, 4095), "keys": (1, 2048),
                       "p_shift": (0, 14), "shift1": (0, 47), "shift2": (0, 40)},
    Opcode.GATE: {"tokens": (1, 4095), "experts": (1, MAX_EXPERTS), "top_k": (1, MAX_TOP_K), "shift1": (0, 63)},
    Opcode.EXPERTS: {"experts": (1, MAX_EXPERTS), "body": (1, 15)},
    Opcode.UPSAMPLE: {"rows": (1, 15), "width": (2, 1023), "lines": (2, 255), "pitch": (2, 1023)},
}
"""Fields the machine refuses with BAD_FIELD outside these inclusive bounds."""


def bounds(opcode: Opcode, name: str) -> tuple[int, int]:
    """The least and the largest value that the machine accepts in a field, by :data:`LIMITS` or else by its width."""
    field = next(field for field in FORMATS[opcode].fields if field.name == name)
    return LIMITS.get(opcode, {}).get(name, (field.low, field.high))
