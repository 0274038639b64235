# SPDX-License-Identifier: Apache-2.0
"""Load of the experts: tokens of each, by MoE layer and task, from the executed instructions."""

from collections.abc import Sequence

from golden.iss.trace import Entry
from golden.spec.isa import Opcode
from golden.spec.program.image import Symbol
from host.performance.layers import block_of
from host.profile.layers import queues_of


def load_of(entries: Sequence[Entry], symbols: Sequence[Symbol]) -> dict[str, list[int]]:
    """``blocks.3 depth`` -> tokens of each expert. A program of several tasks may send the tokens of all of them
    through one loop over the experts; which task a token belongs to follows from the numbers that its gate gave it."""
    found: dict[str, list[int]] = {}
    for loop in (entry for entry in entries if entry.opcode is Opcode.EXPERTS):
        block = block_of(symbols[loop.index].name)
        gates = [entry for entry in entries if entry.opcode is Opcode.GATE and entry.index < loop.index]
        emptied = max(gate.index for gate in gates if not gate.fields["append"])
        queues = queues_of(loop, entries)
        for gate in (gate for gate in gates if gate.index >= emptied):
            first, count = gate.fields["first_token"], gate.fields["tokens"]
            task = symbols[gate.index].name.removeprefix(f"{block}.gate.").removesuffix(".route")
            row = found.setdefault(f"{block} {task}", [0] * loop.fields["experts"])
            for expert, tokens in queues.items():
                row[expert] += int(((tokens >= first) & (tokens < first + count)).sum())
    return found
