# SPDX-License-Identifier: Apache-2.0
"""Instruction of the norm unit: NORM."""

from golden.spec.instructions.codes import Destination, Opcode, Resource, Unit
from golden.spec.instructions.record import (
    STREAM,
    AddressRange,
    Instruction,
    ProgramState,
    Segment,
    StreamLines,
    choose,
    crowded,
    round_up,
)
from golden.spec.instructions.words import Field
from golden.spec.machine import MAX_NORM_DIM
from golden.spec.tiling import BLOCKS_PER_ROW, norm_lines


def _totals(f, pick=choose) -> dict:
    """``crowded``: results of two tokens, or the two byte planes of a token, overlap."""
    rows = round_up(f["blocks"], BLOCKS_PER_ROW)
    main = crowded(f["tokens"] > 1, f["dst_stride"], rows, f["wide"], f["dst_plane"], pick)
    normalized = crowded(f["tokens"] > 1, f["normalized_stride"], rows, 1, f["normalized_plane"], pick)
    return {"crowded": main, "crowded_normalized": f["normalized"] & normalized}


def _contradictions(f, s: ProgramState, pick=choose) -> list:
    return [f["crowded"], f["crowded_normalized"]]


def _ranges(f, s: ProgramState, pick=choose) -> list[AddressRange]:
    last, rows = f["tokens"] - 1, round_up(f["blocks"], BLOCKS_PER_ROW)
    return [AddressRange(0, Resource.OPERAND, base=f["dst_row"], steps=last, stride=f["dst_stride"],
                         count=rows + pick(f["wide"], f["dst_plane"], 0), write=True),
            AddressRange(1, Resource.OPERAND, when=f["normalized"], base=f["normalized_row"], steps=last,
                         stride=f["normalized_stride"], count=rows + f["normalized_plane"], write=True),
            AddressRange(2, Resource.RESIDUAL, base=f["src_row"], steps=last, stride=f["src_stride"],
                         count=f["blocks"])]


NORM = Instruction(
    opcode=Opcode.NORM, unit=Unit.NORM,
    about="Layer norm of the residual rows of `tokens` tokens into operand blocks; optionally also before gain and "
          "offset.",
    fields=(
        STREAM, Field("tokens", 12, "how many"), Field("blocks", 6, "32-channel blocks of a token"),
        Field("src_row", 16, "residual row of token 0"), Field("src_stride", 6, "residual rows from token to token"),
        Field("dst_row", 16, "operand row of token 0"), Field("dst_stride", 8, "operand rows from token to token"),
        Field("dst_plane", 8, "rows from high to low bytes when wide"), Field("wide", 1, "16-bit result"),
        Field("normalized", 1, "also write the normalized rows before gain and offset, 16 bit"),
        Field("normalized_row", 16, "operand row of token 0 of these"),
        Field("normalized_stride", 8, "operand rows from token to token"),
        Field("normalized_plane", 8, "rows from high to low bytes"),
        Field("shift", 6, "right shift after gain and offset"),
        Field("normalized_shift", 2, "normalized values have 11 - normalized_shift fraction bits"),
        Field("eps", 40, "round(eps * 4**9 * D**2)")),
    limits={"tokens": (1, 4095), "blocks": (1, MAX_NORM_DIM // 32), "shift": (0, 31)},
    totals=_totals, contradictions=_contradictions, ranges=_ranges,
    stream=lambda f, machine: StreamLines((Segment(Destination.NORM, norm_lines(f["blocks"], machine)),)))
