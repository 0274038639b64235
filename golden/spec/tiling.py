# SPDX-License-Identifier: Apache-2.0
"""Data layout of tensors in memories and in the weight stream: row, tile and byte order, as index arithmetic.

Operand row: 64 bytes of one token, channels ascending, two blocks of 32 with an exponent each. A wide operand has a
plane of high bytes (signed) and a plane of low bytes (unsigned). Residual row: 32 int16 of one token, little-endian.

A *step row* is what the array takes in a cycle: TN channels x tk inputs, byte ``c * tk + j`` = channel c, input j.
Weights, K and V share it: for K the channels are keys and the inputs head channels; for V the channels are head
channels and the inputs keys. A K or V *tile* is TN x SLICE bytes: ``steps`` step rows.

The weight stream is a sequence of 64-byte lines. LINEAR: for each output tile, PARAM_LINES of parameters (32 channels
of PARAM_BYTES), then for each slice and step one step row, or, packed, for each two steps: of each byte the low half is
the first step's code, the high half the second one's. NORM: for each block NORM_PARAM_LINES. ATTENTION: one line
of uint16 score multipliers (head order, zero-filled), then PARAM_LINES for each 32 output channels (gain and offset
used). EXPERTS: for each expert the streams of its body, ``pitch`` lines apart.

The weight ports together carry a *stream beat* of ``beat_lines`` lines; with P ports and beats of B bytes, port p
carries bytes [p * B / P, (p + 1) * B / P) of each. Where a beat has several lines, every record (the parameters of
a tile, a slice, those of a block of a NORM, the multipliers of an ATTENTION) is filled up to whole beats, and the bits
of a line's number below a beat do not count.
"""

from golden.spec.machine import (
    LINE,
    NORM_PARAM_LINES,
    PARAM_LINES,
    SLICE,
    SLICE_LINES,
    TN,
    MachineConfig,
)

SLICES_PER_ROW = LINE // SLICE
BLOCKS_PER_ROW = LINE // TN


def bank_of_row(row, banks: int):
    """Bank of an operand or residual row, where it is row ``row >> log2(banks)``; ``row`` may be a signal.

    Groups of bits are folded, so that rows of neighbouring tokens lie in different banks whatever their stride.
    """
    bits = banks.bit_length() - 1
    return (row ^ row >> bits ^ row >> 2 * bits) & banks - 1


def ceil_div(value: int, by: int) -> int:
    return -(-value // by)


def operand_rows(channels: int) -> int:
    """Operand rows of one token (of one plane, when wide)."""
    return ceil_div(channels, LINE)


def residual_rows(channels: int) -> int:
    """Residual rows of one token."""
    return ceil_div(channels, TN)


def slices(inputs: int) -> int:
    """Slices of 16 that ``inputs`` values (or keys) take."""
    return ceil_div(inputs, SLICE)


def tiles(channels: int) -> int:
    """Tiles of 32 that ``channels`` values (or keys) take."""
    return ceil_div(channels, TN)


def key_tile(base: int, pitch: int, token: int, slice_: int) -> tuple[int, int]:
    """K tile and column of one token's 16 channels ``slice_``."""
    return base + token // TN * pitch + slice_, token % TN


def value_tile(base: int, pitch: int, token: int, tile: int) -> tuple[int, int]:
    """V tile and input position of one token's 32 channels ``tile``."""
    return base + tile * pitch + token // SLICE, token % SLICE


def linear_tile_lines(slice_count: int, packed: int = 0) -> int:
    """Stream lines of one output tile: parameters and weights, two of these to a byte when ``packed``."""
    return PARAM_LINES + (slice_count * SLICE_LINES >> packed)


def linear_lines(tile_count: int, slice_count: int, packed: int = 0) -> int:
    return tile_count * linear_tile_lines(slice_count, packed)


def norm_lines(blocks: int, machine: MachineConfig) -> int:
    """Stream lines of a NORM: gain and offset of each block, filled up to whole stream beats."""
    return blocks * machine.whole_beats(NORM_PARAM_LINES)


def attention_param_lines(heads: int, head_slices: int) -> int:
    """Stream lines of the parameters of an ATTENTION's output channels."""
    return heads * head_slices * SLICE // TN * PARAM_LINES


def attention_lines(heads: int, head_slices: int, machine: MachineConfig) -> int:
    """Stream lines of an ATTENTION: a line of score multipliers, filled up to a stream beat, and parameters."""
    return machine.beat_lines + attention_param_lines(heads, head_slices)


WINDOW = 3
"""Lines and columns of a convolution's window."""


def window_slices(rows: int) -> int:
    """Slices of 16 inputs of a 3x3 convolution whose positions have ``rows`` operand rows."""
    return WINDOW * WINDOW * rows * SLICES_PER_ROW


def window_order(channels: int) -> list[tuple[int, int, int]]:
    """(line, column, channel) of each input of a 3x3 convolution, in the order of its weights.

    Line and column lie in 0..2; channels are counted to the end of the last operand row, beyond ``channels`` too, where
    weights are zero.
    """
    return [(line, column, row * LINE + channel) for line in range(WINDOW) for row in range(operand_rows(channels))
            for column in range(WINDOW) for channel in range(LINE)]


def upsampled(length: int, edges: int) -> int:
    """Lines (or columns) of an enlarged strip of ``length`` that ends at ``edges`` (0..2) edges of the map."""
    return 2 * length - 2 + edges
