# SPDX-License-Identifier: Apache-2.0
"""The register map as SystemRDL 2.0."""

from golden.spec.machine import MachineConfig
from golden.spec.regs import REGISTERS, Access, Field, Register
from host.registers.facts import ACCESSES, NAME, about, heading, reset_of

PROPERTIES = {
    Access.RO: "sw = r; hw = w;", Access.RW: "sw = rw; hw = r;", Access.COR: "sw = r; onread = rclr; hw = w;",
    Access.TOW: "sw = rw; onwrite = wot; hw = w;", Access.SOW: "sw = rw; onwrite = woset; hw = rw; hwclr;",
}
"""What each access is in SystemRDL."""


def text(machine: MachineConfig | None = None) -> str:
    """The whole file."""
    lines = ["// SPDX-License-Identifier: Apache-2.0", f"// {heading(machine)}. Written by `edge-moe registers`.",
             f"addrmap {NAME} {{", f'    name = "{heading(machine)}";', f'    desc = "{ACCESSES}";',
             "    default accesswidth = 32;", "    addressing = regalign;", "    littleendian;", "    lsb0;"]
    for register in REGISTERS:
        lines += _register(register, reset_of(register, machine))
    return "\n".join([*lines, "};", ""])


def _register(register: Register, reset: int | None) -> list[str]:
    return ["    reg {", f'        desc = "{about(register)}";', f"        regwidth = {register.bits};",
            *(f"        {_field(field, reset)}" for field in register.fields),
            f"    }} {register.name} @ 0x{register.offset:03X};"]


def _field(field: Field, reset: int | None) -> str:
    high, value = field.low + field.width - 1, "" if reset is None else f" = 0x{(reset & field.mask) >> field.low:X}"
    return f'field {{ desc = "{field.about}"; {PROPERTIES[field.access]} }} {field.name}[{high}:{field.low}]{value};'
