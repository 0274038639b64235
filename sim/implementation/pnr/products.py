# SPDX-License-Identifier: Apache-2.0
"""DSP register packing: moves registers around a product into its DSP block, which has one after each operand and one
after its adder.

    [register] -> A -> [x] -> DOUT -> [register] -> Q      becomes      A -> [register, x, register] -> DOUT = Q

Yosys does this for other families. Each register so moved is one LUT's place less, and neither operand nor product
travels in the cycle of the multiplication. Registers of one operand, or of the product, move when they are alike; those
of a product when nothing else reads it. A block has two clocks, enables and resets to choose from.
"""

CELL = "MULTALU27X18"
REGISTERS = {"A": "AREG", "B": "BREG", "DOUT": "OREG"}
"""Ports of the block, and how the parameters of the register at each begin."""
_CONTROLS = {"CLK": "0", "CE": "1", "RESET": "0"}
"""Controls of a register, and what one without such a pin has."""


def absorb(module: dict) -> int:
    """How many registers went into blocks of a module of a JSON netlist, changed in place."""
    cells = module["cells"]
    before, blocks = len(cells), [cell for cell in cells.values() if cell["type"] == CELL]
    readers = _ends(module, "input")
    for cell in blocks:
        found = {bit: readers[bit] for bit in cell["connections"]["DOUT"] if bit in readers}
        if all(len(users) == 1 for users in found.values()):
            for name in _move(cell, "DOUT", {bit: users[0] for bit, users in found.items()}, "D", "Q", cells):
                del cells[name]
    drivers = _ends(module, "output")  # as they are now: a product's register may have been the next one's operand
    copied = set()
    for cell in blocks:
        for port in ("A", "B"):
            sources = {bit: drivers.get(bit, [("", "")])[0] for bit in cell["connections"][port]}
            changing = {bit: end for bit, end in sources.items() if bit != "0" and not _is_zero(end, cells)}
            copied |= _move(cell, port, changing, "Q", "D", cells)
    readers = _ends(module, "input")
    for name in copied:
        if not any(bit in readers for bit in cells[name]["connections"]["Q"]):
            del cells[name]
    return before - len(cells)


def registered(module: dict) -> dict[str, set[str]]:
    """Each block of a module -> the ports of :data:`REGISTERS` at which it has a register."""
    return {name: {port for port, register in REGISTERS.items()
                   if cell["parameters"].get(f"{register}_CLK", _BYPASS) != _BYPASS}
            for name, cell in module["cells"].items() if cell["type"] == CELL}


_PINS = {"DFF": ("CLK",), "DFFRE": ("CLK", "CE", "RESET")}
"""Registers that a block can replace, and their controls."""
_BYPASS = "BYPASS"


def _ends(module: dict, direction: str) -> dict[int, list[tuple[str, str]]]:
    """Bit -> (cell, port) of every cell's input, or output, that it is on; the module's ports are without a cell."""
    found: dict[int, list[tuple[str, str]]] = {}
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == direction:
                for bit in bits:
                    found.setdefault(bit, []).append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            found.setdefault(bit, []).append(("", ""))
    return found


def _is_zero(end: tuple[str, str], cells: dict) -> bool:
    """Whether this output is zero for ever, which passes a register as it is."""
    return end[0] in cells and cells[end[0]]["type"] == "GND"


def _move(cell: dict, port: str, ends: dict, inner: str, outer: str, cells: dict) -> set[str]:
    """The registers at ``port`` that went into the block: none unless each of ``ends`` (bit -> cell, port) is pin
    ``inner`` of one, and all are alike. The block then has what was at ``outer``."""
    if any(pin != inner or cells[name]["type"] not in _PINS for name, pin in ends.values()):
        return set()
    alike = {tuple(cells[name]["connections"][pin][0] if pin in _PINS[cells[name]["type"]] else idle
                   for pin, idle in _CONTROLS.items()) for name, _ in ends.values()}
    if len(alike) != 1:
        return set()
    wires, at = cell["connections"], {}
    for pin, net in zip(_CONTROLS, *alike, strict=True):
        used = [wires[pin][n] for n in range(2) if _uses(cell, pin, n)]
        if net not in used and len(used) == 2:
            return set()
        at[pin] = used.index(net) if net in used else len(used)
    for pin, net in zip(_CONTROLS, *alike, strict=True):
        wires[pin][at[pin]] = net
        cell["parameters"][f"{REGISTERS[port]}_{pin}"] = f"{pin}{at[pin]}"
    wires[port] = [cells[ends[bit][0]]["connections"][outer][0] if bit in ends else bit for bit in wires[port]]
    return {name for name, _ in ends.values()}


def _uses(cell: dict, pin: str, number: int) -> bool:
    """Whether a register in the block uses this control already."""
    parameters = cell["parameters"]
    return any(parameters.get(f"{register}_CLK", _BYPASS) != _BYPASS
               and parameters[f"{register}_{pin}"] == f"{pin}{number}" for register in REGISTERS.values())
