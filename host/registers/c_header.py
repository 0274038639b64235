# SPDX-License-Identifier: Apache-2.0
"""The register map as a C header, for C99 and C++: offsets, masks, codes, and a structure to lay over the map."""

from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.regs import ID, MAP_BYTES, REGISTERS, STRAY
from golden.spec.status import MEANING, Status
from host.registers.facts import COUNT, NAME, about, heading

PREFIX = NAME.upper()


def text(machine: MachineConfig | None = None) -> str:
    """The whole file."""
    constants = [("ABI_VERSION", f"{ABI_VERSION}u"), ("ID_VALUE", f"0x{ID:08X}u"), ("MAP_BYTES", f"0x{MAP_BYTES:X}u")]
    if machine is not None:
        constants.append(("FINGERPRINT_VALUE", f"0x{machine.fingerprint:016X}ull"))
    return "\n".join([
        "/* SPDX-License-Identifier: Apache-2.0 */",
        f"/* {heading(machine)}. Written by `edge-moe registers`.",
        "   Every access is one of 32 bits; of a 64-bit register the low word comes first.",
        f"   {COUNT}", f"   {STRAY} */",
        f"#ifndef {PREFIX}_REGISTERS_H", f"#define {PREFIX}_REGISTERS_H", "", "#include <stdint.h>", "",
        *(f"#define {PREFIX}_{name} {value}" for name, value in constants), "", *_offsets(), "",
        "/* How a job ended: the field CODE of STATUS. */", f"enum {NAME}_status {{",
        *(f"    {PREFIX}_STATUS_{status.name} = 0x{status:02X}, /* {MEANING[status]} */" for status in Status),
        "};", "",
        *_structure(), "", "#endif", ""])


def _offsets() -> list[str]:
    lines = []
    for register in REGISTERS:
        lines.append(f"#define {PREFIX}_{register.name}_OFFSET 0x{register.offset:03X}u "
                     f"/* {register.access.value.upper()}, {register.bits} bits: {about(register)} */")
        for field in register.parts:
            name = f"{PREFIX}_{register.name}_{field.name}"
            lines += [f"#define {name}_SHIFT {field.low}",
                      f"#define {name}_MASK 0x{field.mask:X}u /* {field.access.value.upper()}: {field.about} */"]
    return lines


def _structure() -> list[str]:
    lines, next_free = [f"struct {NAME}_registers {{"], 0
    for register in REGISTERS:
        if register.offset > next_free:
            lines.append(_words(f"hole_0x{next_free:03x}", (register.offset - next_free) // 4))
        lines.append(_words(register.name.lower(), register.bits // 32))
        next_free = register.offset + register.bits // 8
    return [*lines, _words(f"hole_0x{next_free:03x}", (MAP_BYTES - next_free) // 4), "};"]


def _words(name: str, count: int) -> str:
    return f"    volatile uint32_t {name}{f'[{count}]' if count > 1 else ''};"
