# SPDX-License-Identifier: Apache-2.0
"""Attention on the array: ATTENTION."""

from golden.spec.instructions.codes import Destination, Opcode, Resource, Unit
from golden.spec.instructions.linear import SHIFT2
from golden.spec.instructions.record import (
    STREAM,
    AddressRange,
    Instruction,
    ProgramState,
    Segment,
    StreamLines,
    choose,
    crowded,
    round_down,
    round_up,
)
from golden.spec.instructions.words import Field
from golden.spec.machine import MAX_HEADS, PARAM_LINES, SLICE, TN, MachineConfig
from golden.spec.tiling import BLOCKS_PER_ROW, SLICES_PER_ROW, attention_param_lines


def _products(f, pick=choose) -> dict:
    """``head_rows``: slices of all heads."""
    return {"head_rows": f["heads"] * f["head_slices"]}


def _contradictions(f, s: ProgramState, pick=choose) -> list:
    rows = round_up(f["head_rows"], SLICES_PER_ROW)
    return [f["head_slices"] & 1,
            (f["class_scores"] == 0) & crowded(f["queries"] > 1, f["dst_stride"], rows, f["wide"], f["dst_plane"],
                                               pick),
            f["class_scores"] & (f["queries"] != 1)]


def _ranges(f, s: ProgramState, pick=choose) -> list[AddressRange]:
    rows, last = f["head_rows"], f["queries"] - 1
    operand_rows, average = round_up(rows, SLICES_PER_ROW), f["class_scores"] == 0
    return [AddressRange(0, Resource.OPERAND, base=f["q_row"], steps=last, stride=f["q_stride"], count=operand_rows),
            AddressRange(1, Resource.OPERAND, when=average, base=f["dst_row"], steps=last, stride=f["dst_stride"],
                         count=operand_rows + pick(f["wide"], f["dst_plane"], 0), write=True),
            AddressRange(1, Resource.RESIDUAL, when=f["class_scores"], base=f["dst_row"],
                         count=round_up(f["keys"], TN), write=True),
            AddressRange(2, Resource.KEY, base=f["key_tile"], steps=round_down(f["keys"] - 1, TN),
                         stride=f["key_pitch"], count=rows),
            AddressRange(3, Resource.VALUE, when=average, base=f["value_tile"], steps=round_up(rows, BLOCKS_PER_ROW),
                         stride=round_up(f["keys"], SLICE)),
            AddressRange(4, Resource.SOFTMAX, count=f["keys"])]


def _stream(f, machine: MachineConfig) -> StreamLines:
    """A line of score multipliers, filled up to a stream beat, then the parameters of the output channels; with
    ``class_scores`` one set of them for all tiles."""
    lines = PARAM_LINES if f.get("class_scores") else attention_param_lines(f["heads"], f["head_slices"])
    return StreamLines((Segment(Destination.MULTIPLIERS, machine.beat_lines), Segment(Destination.PARAM, lines)))


ATTENTION = Instruction(
    opcode=Opcode.ATTENTION, unit=Unit.ARRAY,
    about="softmax(Q K^T) V for `heads` heads of 16 * head_slices channels; queries in lanes, keys streamed. With "
          "`class_scores` what the one query pays to each key instead, the sum of softmax(Q K^T) over the heads: as if "
          "V were 127 times the unit matrix, of as many channels as there are keys. It goes to residual rows, 32 keys "
          "a row, those of the last row beyond the last key included; one set of 32 parameters serves all rows.",
    fields=(
        STREAM, Field("heads", 6, "attention heads"), Field("head_slices", 4, "16-channel slices of a head; even"),
        Field("queries", 12, "how many"), Field("keys", 12, "how many"),
        Field("q_row", 16, "operand row of query 0"), Field("q_stride", 8, "operand rows from query to query"),
        Field("key_tile", 10, "first K tile"), Field("key_pitch", 8, "slices of one key tile"),
        Field("value_tile", 10, "first V tile"), Field("dst_row", 16, "operand row of output token 0"),
        Field("dst_stride", 8, "operand rows from token to token"),
        Field("dst_plane", 8, "rows from high to low bytes when wide"),
        Field("wide_p", 1, "16-bit probabilities, two passes"), Field("wide", 1, "16-bit result"),
        Field("p_shift", 4, "extra right shift of 16-bit probabilities; ignored for 8-bit ones"),
        Field("shift1", 6, "right shift after the attention score's multiplication"), SHIFT2,
        Field("class_scores", 1, "probabilities of one query, summed over the heads, to residual rows from dst_row; "
                                 "value_tile, dst_stride, dst_plane and wide do not count")),
    # With a p_shift beyond 14 a row could be left without any probability.
    limits={"heads": (1, MAX_HEADS), "head_slices": (2, 8), "queries": (1, 4095), "keys": (1, 2048),
            "p_shift": (0, 14), "shift1": (0, 47), "shift2": (0, 40)},
    products=_products, contradictions=_contradictions, ranges=_ranges, stream=_stream)
