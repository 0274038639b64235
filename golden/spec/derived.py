# SPDX-License-Identifier: Apache-2.0
"""Derived values of an instruction: what depends on its fields only and the bounds check needs, in stages.

As in ``golden.spec.legality``, arithmetic on fields that are integers for the simulator, signals for the gateware.
"""

from golden.spec.isa import Dest, Opcode
from golden.spec.machine import SLICE, TN
from golden.spec.tiling import BLOCKS_PER_ROW


def choose(condition, yes, no):
    """``yes`` where ``condition`` holds, else ``no``: for integers; the gateware passes a multiplexer instead."""
    return yes if condition else no


def derived(opcode: Opcode, f, pick=choose) -> dict:
    """Inputs of the functions of ``golden.spec.legality`` that are no fields."""
    found = {}
    for stage in DERIVED:
        found |= stage(opcode, f | found, pick)
    return found


def _extents(opcode: Opcode, f, pick) -> dict:
    """Lines and columns of strips: of what LINEAR with ``window`` and UPSAMPLE read (less one), of what UPSAMPLE
    writes."""
    if opcode not in (Opcode.LINEAR, Opcode.UPSAMPLE):
        return {}
    top, bottom, left, right = (f["edges"] >> side & 1 for side in range(4))
    if opcode is Opcode.LINEAR:
        return {"line_last": f["lines"] + 1 - top - bottom, "column_last": f["width"] + 1 - left - right}
    return {"line_last": f["lines"] - 1, "column_last": f["width"] - 1,
            "result_lines": 2 * f["lines"] - 2 + top + bottom, "result_columns": 2 * f["width"] - 2 + left + right}


def _products(opcode: Opcode, f, pick) -> dict:
    if opcode is Opcode.ATTENTION:
        return {"head_rows": f["heads"] * f["head_slices"]}
    if opcode is Opcode.LINEAR:
        return {"weights": f["tiles"] * f["slices"], "positions": f["lines"] * f["width"],
                "strip_lines": f["line_last"] * f["pitch"]}
    if opcode is Opcode.UPSAMPLE:
        return {"results": f["result_lines"] * f["result_columns"], "strip_lines": f["line_last"] * f["pitch"]}
    return {}


def _totals(opcode: Opcode, f, pick) -> dict:
    """``strip_last``: the last position of the strip that is read. ``crowded``: results of two tokens, or the two byte
    planes of a token, overlap."""
    if opcode is Opcode.LINEAR:
        return ({"until": f["reuse_offset"] + f["weights"], "strip_last": f["strip_lines"] + f["column_last"]}
                | _crowded_linear(f, pick))
    if opcode is Opcode.UPSAMPLE:
        return {"strip_last": f["strip_lines"] + f["column_last"]}
    if opcode is Opcode.NORM:
        rows = ceil_shift(f["blocks"], BLOCKS_PER_ROW)
        main = crowded(f["tokens"] > 1, f["dst_stride"], rows, f["wide"], f["dst_plane"], pick)
        normalized = crowded(f["tokens"] > 1, f["normalized_stride"], rows, 1, f["normalized_plane"], pick)
        return {"crowded": main, "crowded_normalized": f["normalized"] & normalized}
    return {}


DERIVED = (_extents, _products, _totals)
"""Stages of :func:`derived`, each a sum or a product of fields and of what the stages before it gave; the gateware
computes one a cycle."""


def crowded(several, stride, rows, wide, plane, pick):
    """Operand rows of several tokens, ``stride`` apart, overlap, or a token's planes do."""
    return several & (stride < rows + pick(wide, plane, 0)) | wide & (plane < rows)


def _crowded_linear(f, pick) -> dict:
    """``overlapping``: the stride is too small for two tokens; ``crowded``: results overlap whatever queues hold."""
    dst, stride = f["dst"], f["dst_stride"]
    rows = ceil_shift(f["tiles"], BLOCKS_PER_ROW)
    wide, operand = dst == Dest.OPERAND16, is_operand(dst)
    key, value = dst == Dest.KEY, dst == Dest.VALUE
    return {
        "overlapping": (dst == Dest.RESIDUAL) & (stride < f["tiles"])
        | operand & (stride < rows + pick(wide, f["dst_plane"], 0)),
        "crowded": wide & (f["dst_plane"] < rows)
        | key & (f["tokens"] > TN) & (stride < f["tiles"] * (TN // SLICE))
        | value & (f["tiles"] > 1) & (stride < ceil_shift(f["tokens"], SLICE)),
    }


def is_operand(dst):
    """Whether a LINEAR's results go to operand memory."""
    return (dst == Dest.OPERAND8) | (dst == Dest.OPERAND16) | (dst == Dest.UNSIGNED8)


def ceil_shift(value, by: int):
    """``value / by`` rounded up, ``by`` a power of two."""
    return (value + by - 1) >> by.bit_length() - 1
