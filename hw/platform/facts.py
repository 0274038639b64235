# SPDX-License-Identifier: Apache-2.0
"""``facts.tcl``: what the scripts of a kit know of board, machine, ports and registers."""

from golden.spec.boards.platform import ZynqPlatform
from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.regs import REGISTERS, Register
from hw.axi import LITE_ADDRESS_BITS
from hw.platform.choice import CLOCK, CONTROL, INTERRUPT, LIBRARY, MAIN, RESET, VENDOR, Choice
from hw.verilog import NAME

CONTROL_BYTES = 1 << LITE_ADDRESS_BITS
"""Bytes that the register port decodes."""
TOOL = "2023.2"
"""Version of Vivado whose manuals the scripts were written from."""
UNRUN = "It has not been run in the vendor's tool."


def text(choice: Choice) -> str:
    """The whole file."""
    lines = ["# SPDX-License-Identifier: Apache-2.0",
             f"# What the scripts know of {choice.board.name} and of the machine {choice.machine.name}.",
             f"# {UNRUN} A change here is lost: run make platform again.", "namespace eval facts {"]
    lines += [f"    variable {name} {_word(value)}" for name, value in _values(choice).items()]
    lines.append("    # name, offset, bits, access, meaning, memory bus, {field, lowest bit, bits, access, meaning}...")
    lines.append("    variable registers {")
    lines += [f"        {{{_register(register, choice.machine)}}}" for register in REGISTERS]
    return "\n".join([*lines, "    }", "}", ""])


def memory_bus(register: Register, machine: MachineConfig) -> str | None:
    """The memory bus that reads or writes at the address which ``register`` holds; None for any other register."""
    name, port = register.name.rstrip("0123456789"), register.name[-1:]
    if not name.endswith("_ADDR") or not register.access.writable:
        return None
    if not port.isdigit():
        return MAIN
    return f"m_axi_weights{port}" if int(port) < machine.ports else None


def _values(choice: Choice) -> dict[str, str | int | list]:
    board, machine, platform = choice.board, choice.machine, choice.board.platform
    values: dict[str, str | int | list] = {
        "tool": TOOL, "board": board.name, "machine": machine.name, "fingerprint": f"0x{machine.fingerprint:016x}",
        "part": board.device, "top": NAME, "vendor": VENDOR, "library": LIBRARY, "version": f"{ABI_VERSION}.0",
        "verilog": f"{NAME}.v", "clock_hz": choice.clock_hz, "control": CONTROL,
        "control_bytes": CONTROL_BYTES,
        "managers": _flat(choice.managers), "clock": CLOCK, "reset": RESET, "interrupt": INTERRUPT,
    }
    if not isinstance(platform, ZynqPlatform):
        return values | {"shell": platform.shell}
    family = platform.facts
    return values | {
        "board_part": platform.board_part, "control_port": family.control_port,
        "control_base": f"0x{family.control_base:X}",
        "high_memory": int(platform.dram_bytes > family.low_bytes),
        "all_ports": _flat(family.gp),
        "memory": _flat(choice.memory),
    }


def _flat(pairs: dict) -> list:
    """A dictionary as Tcl writes it."""
    return [item for pair in pairs.items() for item in pair]


def _register(register: Register, machine: MachineConfig) -> str:
    words = [register.name, f"0x{register.offset:03X}", register.bits, register.access.rights, register.about,
             memory_bus(register, machine) or ""]
    fields = [[field.name, field.low, field.width, field.access.rights, field.about] for field in register.parts]
    return " ".join(_word(word) for word in (*words, *fields))


def _word(value) -> str:
    """A Tcl word that is read as ``value``: a number, a text, or a list of such."""
    if isinstance(value, list):
        return "{" + " ".join(_word(item) for item in value) + "}"
    text = str(value)
    if any(mark in text for mark in "{}\\\n"):
        raise ValueError(f"{text!r} has a mark that needs quoting in Tcl.")
    return text if text and not any(mark in text for mark in " \t;\"$[]") else f"{{{text}}}"
