# SPDX-License-Identifier: Apache-2.0
"""The register map as a Python module of enumerations, which needs nothing else of this project."""

from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.regs import ID, MAP_BYTES, REGISTERS
from golden.spec.status import Status
from host.registers.facts import ACCESSES, about, heading


def text(machine: MachineConfig | None = None) -> str:
    """The whole file."""
    lines = ["# SPDX-License-Identifier: Apache-2.0",
             f'"""{heading(machine)}. Written by `edge-moe registers`."""', "", "import enum", "",
             f"ABI_VERSION = {ABI_VERSION}", f"ID = 0x{ID:08X}", f"MAP_BYTES = 0x{MAP_BYTES:X}"]
    if machine is not None:
        lines.append(f"FINGERPRINT = 0x{machine.fingerprint:016X}")
    lines += ["", "", "class Offset(enum.IntEnum):", f'    """Bytes from the base. {ACCESSES}"""', ""]
    for register in REGISTERS:
        lines.append(f"    {register.name} = 0x{register.offset:03X}  # {register.access.value.upper()}, "
                     f"{register.bits} bits: {about(register)}")
    for register in REGISTERS:
        if register.parts:
            lines += ["", "", f"class {register.name.title()}(enum.IntFlag):", f'    """Fields of {register.name}."""',
                      "", *(f"    {field.name} = 0x{field.mask:X}  # {field.access.value.upper()}: {field.about}"
                            for field in register.parts)]
    lines += ["", "", "class Code(enum.IntEnum):", '    """How a job ended: the field CODE of STATUS."""', "",
              *(f"    {status.name} = 0x{status:02X}" for status in Status)]
    return "\n".join([*lines, ""])
