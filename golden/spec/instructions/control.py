# SPDX-License-Identifier: Apache-2.0
"""Instructions that the sequencer executes itself: BEGIN, EXPERTS, END."""

from golden.spec.instructions.codes import Opcode, Unit
from golden.spec.instructions.record import READS_QUEUES, STREAM, Instruction, ProgramState, choose
from golden.spec.instructions.words import Field
from golden.spec.machine import MAX_EXPERTS

MAGIC = 0x454F4D45
"""The bytes "EMOE"."""

BEGIN = Instruction(
    opcode=Opcode.BEGIN,
    about="First instruction of every program. Refused with BAD_VERSION or BAD_CONFIG before anything else runs.",
    fields=(
        Field("magic", 32, "0x454F4D45"), Field("abi", 16, "ABI version"),
        Field("fingerprint", 64, "of the machine configuration"),
        Field("count", 16, "instructions, BEGIN and END included")))


def _experts(f, s: ProgramState, pick=choose) -> list:
    return [s.left != 0, s.held != 0]


def _end(f, s: ProgramState, pick=choose) -> list:
    return [s.left != 0]


EXPERTS = Instruction(
    opcode=Opcode.EXPERTS,
    about="Runs the next `body` instructions once for each expert whose queue is not empty, in the order in which the "
          "queues got their first entries. Their `stream` fields are relative to `stream + expert * pitch` of this "
          "one. Not allowed in a body, nor while the gate waits for tokens or weights are retained.",
    fields=(STREAM, Field("experts", 7, "experts from this number on do not run"), Field("body", 4, "instructions"),
            Field("pitch", 32, "stream lines of one expert")),
    limits={"experts": (1, MAX_EXPERTS), "body": (1, 15)},
    waits=Unit.GATE, in_body=False,
    contradictions=_experts, queues=lambda f: (READS_QUEUES,))

END = Instruction(
    opcode=Opcode.END,
    about="Last instruction: the job is done when every unit is empty. Not allowed in a body, nor while the gate "
          "waits for tokens.",
    waits=Unit.DMA | Unit.NORM | Unit.ARRAY | Unit.GATE, in_body=False, contradictions=_end)
