# SPDX-License-Identifier: Apache-2.0
"""What every format tells of the register map besides the registers themselves."""

from collections.abc import Iterator

from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.regs import REGISTERS, STRAY, Register

NAME = "edge_moe"
SLAVE = "s_axi_control"
"""Bus interface of the exported Verilog that the map belongs to."""
COUNT = "A 64-bit counter is captured whole when its low word is read."
ACCESSES = f"{COUNT} {STRAY}"
"""What accesses do that the access of a register does not tell."""
KEY = ("Access: RO read only, RW read and write, COR cleared by reading, TOW toggled by writing ones, SOW set by "
       "writing ones; writes to locked registers while a job runs are ignored.")


def heading(machine: MachineConfig | None) -> str:
    """One line on what the map is of."""
    where = "" if machine is None else f", machine {machine.name}"
    return f"Registers of the Edge-MoE accelerator ({SLAVE}), ABI version {ABI_VERSION}{where}"


def reset_of(register: Register, machine: MachineConfig | None) -> int | None:
    """Value after a reset; None where it depends on a machine that is not known."""
    return register.reset if register.reset is not None or machine is None else machine.fingerprint


COLUMNS = ("register", "offset", "field", "low", "width", "access", "reset", "about")
"""Names of what :func:`rows` tells."""


def rows(machine: MachineConfig | None) -> Iterator[dict]:
    """Registers, and after each its fields, by :data:`COLUMNS`; a register itself has no field's name."""
    for register in REGISTERS:
        values = (register.name, register.offset, None, 0, register.bits, register.access.value,
                  reset_of(register, machine), about(register))
        yield dict(zip(COLUMNS, values, strict=True))
        for part in register.parts:
            values = (register.name, register.offset, part.name, part.low, part.width, part.access.value, None,
                      part.about)
            yield dict(zip(COLUMNS, values, strict=True))


def about(register: Register) -> str:
    """Meaning of a register, with what its access does not tell."""
    return register.about + ("; writes while a job runs are ignored" if register.locked else "")
