# SPDX-License-Identifier: Apache-2.0
"""The instructions: one record each, with its fields, limits, unit, stream lines, address ranges and meaning.

Instruction formats, bounds check, hazard analysis, weight-stream layout, simulator, sequencer, compiler, performance
model and manual all read :data:`INSTRUCTIONS`. What another instruction needs besides its record and its opcode
(``codes``): a reference model (``golden.ops``) and its entry in ``golden.iss.execute.SEMANTICS``, its cycles in
``host.performance.cycles.CYCLES``, the unit in ``hw`` that executes it, and a lowering in ``host.compiler`` that uses
it. Checks, waits, disassembly and manual follow from the record.
"""

from golden.spec.instructions.attention import ATTENTION
from golden.spec.instructions.codes import Opcode
from golden.spec.instructions.control import BEGIN, END, EXPERTS
from golden.spec.instructions.gate import GATE
from golden.spec.instructions.keep import KEEP
from golden.spec.instructions.linear import LINEAR
from golden.spec.instructions.norm import NORM
from golden.spec.instructions.record import Instruction, StreamLines
from golden.spec.instructions.transfer import COPY, LOAD, STORE
from golden.spec.instructions.upsample import UPSAMPLE
from golden.spec.machine import MachineConfig

INSTRUCTIONS: dict[Opcode, Instruction] = {instruction.opcode: instruction for instruction in (
    BEGIN, LOAD, STORE, COPY, NORM, LINEAR, ATTENTION, GATE, EXPERTS, UPSAMPLE, KEEP, END)}
"""Every instruction, in the order of the opcodes."""


def stream_lines(opcode: Opcode, fields: dict, machine: MachineConfig) -> StreamLines:
    """Lines of the weight stream that an instruction with these fields uses on a machine; missing flags are 0."""
    return INSTRUCTIONS[opcode].stream(fields, machine)
