# SPDX-License-Identifier: Apache-2.0
"""Trace decoder: the tensor that an instruction wrote, from the rows in its trace entry."""

import numpy as np

from golden.iss.trace import Entry, Write
from golden.ops.operand import Operand
from golden.spec.isa import Dest, Opcode
from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from golden.spec.tiling import BLOCKS_PER_ROW, operand_rows, slices, tiles


def result(entry: Entry, config: MachineConfig) -> Operand | np.ndarray | None:
    """The main result: an :class:`Operand`, int16 residual rows or int8 keys or values [tokens, channels], or nothing.

    For a LINEAR over a queue, one row a queue entry, in the queue's order.
    """
    f = entry.fields
    if not entry.writes:
        return None
    write = entry.writes[0]
    if entry.opcode is Opcode.NORM:
        return operand(write, 32 * f["blocks"], bool(f["wide"]))
    if entry.opcode is Opcode.ATTENTION and f["class_scores"]:
        return residual(write, TN * tiles(f["keys"]))
    if entry.opcode is Opcode.ATTENTION:
        return operand(write, f["heads"] * f["head_slices"] * SLICE, bool(f["wide"]))
    if entry.opcode is Opcode.UPSAMPLE:
        return unsigned(write, LINE * f["rows"])
    if entry.opcode is not Opcode.LINEAR:
        return None
    if f["dst"] in (Dest.OPERAND8, Dest.OPERAND16):
        return operand(write, TN * f["tiles"], f["dst"] == Dest.OPERAND16)
    if f["dst"] == Dest.UNSIGNED8:
        return unsigned(write, TN * f["tiles"])
    if f["dst"] == Dest.RESIDUAL:
        return residual(write, TN * f["tiles"])
    keys = f["dst"] == Dest.KEY
    return (key if keys else value)(write, config, f["dst_row"], f["tokens"], TN * f["tiles"])


def normalized(entry: Entry) -> np.ndarray | None:
    """Normalized rows int16, before gain and offset, of a NORM that writes them."""
    if entry.opcode is not Opcode.NORM or not entry.fields["normalized"]:
        return None
    return operand(entry.writes[1], 32 * entry.fields["blocks"], True).bytes


def operand(write: Write, channels: int, wide: bool) -> Operand:
    """Operand [tokens, channels] of the rows of one instruction."""
    count = -(-channels // LINE)
    planes = 2 if wide else 1
    data = write.data.reshape(planes, -1, count * LINE)[:, :, :channels]
    if wide:
        return Operand((data[0].view(np.int8).astype(np.int16) << 8) | data[1])
    assert write.exp is not None, "An int8 operand is written with its block exponents."
    exp = write.exp.reshape(-1, count * BLOCKS_PER_ROW)[:, :channels // TN]
    return Operand(np.ascontiguousarray(data[0]).view(np.int8), np.ascontiguousarray(exp))


def unsigned(write: Write, channels: int) -> Operand:
    """Positions [positions, channels] of a map of unsigned bytes."""
    return Operand.pixels(np.ascontiguousarray(write.data.reshape(-1, operand_rows(channels) * LINE)[:, :channels]))


def residual(write: Write, channels: int) -> np.ndarray:
    """int16 [tokens, channels]."""
    return np.ascontiguousarray(write.data).view("<i2").reshape(-1, channels).astype(np.int16)


def _tiles(write: Write, config: MachineConfig) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the tiles and their contents int8 [tile, 32, 16]."""
    steps = write.data.reshape(-1, config.steps, TN, config.tk).transpose(0, 2, 1, 3)
    return write.rows[::config.steps] // config.steps, steps.reshape(-1, TN, SLICE).view(np.int8)


def key(write: Write, config: MachineConfig, base: int, tokens: int, channels: int) -> np.ndarray:
    """int8 [tokens, channels] of K tiles that follow each other from ``base``."""
    numbers, tiles = _tiles(write, config)
    assert (numbers == base + np.arange(len(numbers))).all()
    return tiles.reshape(-1, channels // SLICE, TN, SLICE).transpose(0, 2, 1, 3).reshape(-1, channels)[:tokens]


def value(write: Write, config: MachineConfig, base: int, tokens: int, channels: int) -> np.ndarray:
    """int8 [tokens, channels] of V tiles that follow each other from ``base``."""
    numbers, tiles = _tiles(write, config)
    assert (numbers == base + np.arange(len(numbers))).all()
    return tiles.reshape(channels // TN, slices(tokens), TN, SLICE).transpose(1, 3, 0, 2).reshape(-1, channels)[:tokens]
