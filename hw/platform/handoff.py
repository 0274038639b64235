# SPDX-License-Identifier: Apache-2.0
"""``python -m hw.platform.handoff result/edge_moe.hwh --board kv260``: whether the design that the vendor's tool built
is the one that overlay, driver and register table describe.

A ``.hwh`` file is what the tool writes of a block design for software, PYNQ for one. Each line printed is ok, or says
what was found and what was wanted.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from golden.spec.boards import BOARDS
from golden.spec.boards.platform import ZynqPlatform
from golden.spec.model import ConfigError, require
from golden.spec.regs import REGISTERS
from hw.platform.choice import CLOCK, CONTROL, INTERRUPT, LIBRARY, VENDOR, Choice
from hw.platform.command import add_choice, chosen
from hw.platform.facts import CONTROL_BYTES
from hw.verilog import NAME

TOLERANCE = 1000
"""Share of the clock by which it may differ: one in so many."""
INTERRUPT_PIN = "pl_ps_irq0"


def compare(text: str, choice: Choice) -> list[tuple[str, str | None]]:
    """What was looked at, and what is wrong with it, None where nothing is. Raises ConfigError where ``text`` is not
    XML or has no accelerator."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigError(f"This is no .hwh file: {error}.") from None
    wanted = f"{VENDOR}:{LIBRARY}:{NAME}:"
    units = [unit for unit in root.iter("MODULE") if unit.get("VLNV", "").startswith(wanted)]
    require(len(units) == 1, f"The design has {len(units)} modules {wanted}*; wanted is one.")
    return [*_part(root, choice), *_registers(units[0]), *_pins(units[0], choice), *_addresses(root, units[0], choice)]


def _part(root: ElementTree.Element, choice: Choice) -> Iterator[tuple[str, str | None]]:
    system = next(root.iter("SYSTEMINFO"), ElementTree.Element("SYSTEMINFO"))
    found = f"{system.get('DEVICE')}-{system.get('PACKAGE')}{system.get('SPEEDGRADE')}"
    yield "device", _differs(found, choice.board.device[:len(found)])


def _registers(unit: ElementTree.Element) -> Iterator[tuple[str, str | None]]:
    found = {}
    for register in unit.iter("REGISTER"):
        values = {item.get("NAME"): item.get("VALUE", "0") for item in register.findall("PROPERTY")}
        found[register.get("NAME")] = int(values["ADDRESS_OFFSET"], 0), int(values["SIZE"], 0)
    wanted = {register.name: (register.offset, register.bits) for register in REGISTERS}
    wrong = [name for name in wanted | found if found.get(name) != wanted.get(name)]
    yield "registers", _differs(found.get(wrong[0]), wanted.get(wrong[0]), wrong[0]) if wrong else None


def _pins(unit: ElementTree.Element, choice: Choice) -> Iterator[tuple[str, str | None]]:
    pins = {pin.get("NAME"): pin for pin in unit.iter("PORT")}
    hz = int(pins[CLOCK].get("CLKFREQUENCY", "0")) if CLOCK in pins else 0
    close = abs(hz - choice.clock_hz) * TOLERANCE <= choice.clock_hz
    yield "clock", None if close else f"{hz} Hz; the kit and its overlay say {choice.clock_hz}"
    ends = [end.get("PORT") for end in pins[INTERRUPT].iter("CONNECTION")] if INTERRUPT in pins else []
    yield "interrupt", _differs(ends, [INTERRUPT_PIN])


def _addresses(root: ElementTree.Element, unit: ElementTree.Element,
               choice: Choice) -> Iterator[tuple[str, str | None]]:
    platform, name = choice.board.platform, unit.get("INSTANCE")
    assert isinstance(platform, ZynqPlatform)
    family = platform.facts
    found = {_range(item) for item in root.iter("MEMRANGE")
             if item.get("INSTANCE") == name and item.get("SLAVEBUSINTERFACE") == CONTROL}
    yield "register address", _differs(found, {(family.control_base, CONTROL_BYTES)})
    for bus, port in choice.memory.items():
        reached = {item.get("SLAVEBUSINTERFACE") for item in unit.iter("MEMRANGE")
                   if item.get("MASTERBUSINTERFACE") == bus}
        yield bus, _differs(reached, {f"S_AXI_{port}_FPD"})


def _range(item: ElementTree.Element) -> tuple[int, int]:
    low, high = (int(item.get(key, "0"), 0) for key in ("BASEVALUE", "HIGHVALUE"))
    return low, high - low + 1


def _differs(found, wanted, what: str = "") -> str | None:
    return None if found == wanted else f"{what}{' ' if what else ''}{found}, wanted is {wanted}"


def main(arguments: list[str] | None = None) -> int:
    """Print the lines; status 1 where one is not ok."""
    parser = argparse.ArgumentParser(prog="python -m hw.platform.handoff", description=__doc__)
    parser.add_argument("file", type=Path, help="what build.tcl wrote: result/edge_moe.hwh")
    add_choice(parser, [name for name, board in BOARDS.items() if isinstance(board.platform, ZynqPlatform)])
    options = parser.parse_args(arguments)
    try:
        lines = compare(options.file.read_text(), chosen(options))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        parser.error(str(error))
    for what, wrong in lines:
        print(f"{'ok' if wrong is None else 'WRONG':6}{what}{'' if wrong is None else f': {wrong}'}")
    return 1 if any(wrong for _, wrong in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
