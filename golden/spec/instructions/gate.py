# SPDX-License-Identifier: Apache-2.0
"""Instruction of the gate: GATE."""

from golden.spec.instructions.codes import Opcode, Resource, Unit
from golden.spec.instructions.record import WRITES_QUEUES, AddressRange, Instruction, ProgramState, choose
from golden.spec.instructions.words import Field
from golden.spec.machine import MAX_EXPERTS, MAX_TOP_K

TOKENS = 4095
"""Most entries a queue can have: its counters have 12 bits."""
TOKEN_NUMBERS = TOKENS + 1
"""Token numbers that a queue entry can hold."""


def after_gate(f, s: ProgramState, pick=choose) -> dict:
    """Fields of the state after a GATE. Every LINEAR into the gate then decreases ``left``."""
    end = f["first_token"] + f["tokens"]
    return {"left": f["tokens"], "experts": f["experts"],
            "named": pick(f["append"] & (s.named > end), s.named, end),
            "slots": f["tokens"] + f["append"] * s.slots,
            "entries": f["tokens"] * f["top_k"] + f["append"] * s.entries}


def _contradictions(f, s: ProgramState, pick=choose) -> list:
    return [f["top_k"] > f["experts"], s.left != 0, s.body != 0, f["first_token"] + f["tokens"] > TOKEN_NUMBERS]


def _ranges(f, s: ProgramState, pick=choose) -> list[AddressRange]:
    return [AddressRange(0, Resource.QUEUES, base=f["append"] * s.entries, steps=f["tokens"], stride=f["top_k"]),
            AddressRange(1, Resource.QUEUE, base=f["append"] * s.slots, count=f["tokens"])]


GATE = Instruction(
    opcode=Opcode.GATE, unit=Unit.GATE,
    about="Empties the queues (unless append); sets the gate for the next LINEARs with dst GATE, which bring `tokens` "
          "tokens together. Not allowed in a body.",
    fields=(
        Field("tokens", 12, "how many"),
        Field("first_token", 12, "number of the first token that a LINEAR brings"),
        Field("experts", 7, "how many"), Field("top_k", 4, "experts that a token goes to"),
        Field("renormalise", 1, "softmax over the chosen experts only"),
        Field("append", 1, "keep the queues"), Field("multiplier", 16, "logit to log2 units"),
        Field("shift1", 6, "right shift after the multiplier")),
    limits={"tokens": (1, TOKENS), "experts": (1, MAX_EXPERTS), "top_k": (1, MAX_TOP_K), "shift1": (0, 63)},
    contradictions=_contradictions, ranges=_ranges, changes=after_gate, queues=lambda f: (WRITES_QUEUES,))
