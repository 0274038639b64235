# SPDX-License-Identifier: Apache-2.0
"""Bounds check formulas: address ranges against capacities, and combinations of fields that are not allowed.

The formulas of each instruction stand in its record (``golden.spec.instructions``). The result of a program that
passes does not depend on the order inside a unit: no instruction writes a row twice or reads a row that it writes.
"""

from dataclasses import replace

from golden.spec.instructions import INSTRUCTIONS
from golden.spec.instructions.codes import MEMORIES, Opcode, Resource
from golden.spec.instructions.gate import TOKEN_NUMBERS, TOKENS, after_gate
from golden.spec.instructions.linear import LOGITS, queued, retained
from golden.spec.instructions.record import STAGES, AddressRange, ProgramState, choose
from golden.spec.machine import MachineConfig

__all__ = ["LOGITS", "MEMORIES", "SLOTS", "STAGES", "TOKENS", "TOKEN_NUMBERS", "AddressRange", "ProgramState",
           "Resource", "after", "after_gate", "capacity", "choose", "contradictions", "derived", "queued", "ranges",
           "retained"]

SLOTS = 5
"""Address ranges that an instruction can have at the same time."""


def capacity(config: MachineConfig, resource: Resource) -> int:
    """How many rows, tiles, slices, keys or entries ``resource`` has."""
    return {Resource.OPERAND: config.operand_rows, Resource.RESIDUAL: config.residual_rows,
            Resource.KEY: config.kv_tiles, Resource.VALUE: config.kv_tiles,
            Resource.RING: config.ring_slices, Resource.LANE_BUFFER: 2 * config.lane_rows,
            Resource.SOFTMAX: config.max_keys, Resource.QUEUES: config.queue_depth, Resource.QUEUE: TOKENS}[resource]


def derived(opcode: Opcode, f, pick=choose) -> dict:
    """Inputs of the functions below that depend on the fields only."""
    return INSTRUCTIONS[opcode].derived(f, pick)


def contradictions(opcode: Opcode, f, s: ProgramState, pick=choose) -> list:
    """Conditions that must all be false whatever the memory sizes; otherwise BAD_FIELD."""
    return INSTRUCTIONS[opcode].contradictions(f, s, pick)


def ranges(opcode: Opcode, f, s: ProgramState, pick=choose) -> list[AddressRange]:
    """Everything the instruction uses: RANGE_LOCAL beyond :func:`capacity`, BAD_FIELD where slots 0 and 1 overlap."""
    return INSTRUCTIONS[opcode].ranges(f, s, pick)


def after(opcode: Opcode, f: dict, s: ProgramState) -> ProgramState:
    """The state that the next instruction finds; integers only."""
    return replace(s, **INSTRUCTIONS[opcode].changes(f, s))
