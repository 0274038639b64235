# SPDX-License-Identifier: Apache-2.0
"""Token pruning by the DMA unit: KEEP."""

from golden.spec.instructions.codes import Opcode, Resource, Unit
from golden.spec.instructions.record import AddressRange, Instruction, ProgramState, choose, round_up
from golden.spec.instructions.words import Field
from golden.spec.machine import TN


def _contradictions(f, s: ProgramState, pick=choose) -> list:
    return [f["keep"] > f["tokens"], f["first"] > f["keep"]]


def _ranges(f, s: ProgramState, pick=choose) -> list[AddressRange]:
    """Scores and tokens are read, then partly written; the unit keeps the order."""
    residual, blocks = Resource.RESIDUAL, f["blocks"]
    return [AddressRange(0, residual, base=f["score_row"], count=round_up(f["tokens"], TN)),
            AddressRange(1, residual, base=f["row"], steps=f["tokens"] - 1, stride=blocks, count=blocks),
            AddressRange(2, residual, base=f["score_row"], count=round_up(f["keep"], TN), write=True),
            AddressRange(3, residual, base=f["row"], steps=f["keep"] - 1, stride=blocks, count=blocks, write=True),
            AddressRange(4, Resource.SOFTMAX, count=f["tokens"])]


KEEP = Instruction(
    opcode=Opcode.KEEP, unit=Unit.DMA,
    about="Keeps `keep` of `tokens` tokens of the residual stream: the first `first` ones and those with the largest "
          "scores, of equal ones the first. Scores are int16 values of consecutive residual rows, 32 a row, one for "
          "each token. The kept tokens move together, in their order, to the first rows; the rows of the others after "
          "them stay as they are. The numbers that the kept tokens had replace the first scores; the last row of "
          "numbers is filled with zeros.",
    fields=(
        Field("score_row", 16, "first residual row of the scores"), Field("row", 16, "residual row of token 0"),
        Field("blocks", 6, "residual rows of a token; the tokens follow each other"),
        Field("tokens", 12, "how many there are"), Field("first", 7, "how many stay whatever their scores"),
        Field("keep", 12, "how many stay in all")),
    limits={"blocks": (1, 63), "tokens": (1, 2048), "keep": (1, 2048)},
    contradictions=_contradictions, ranges=_ranges)
