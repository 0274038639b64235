# SPDX-License-Identifier: Apache-2.0
"""Moves registers that hold nothing but a product into the DSP block that makes it, which has one behind its adder.

    A, B -> [x] -> DOUT -> [register] -> Q      becomes      A, B -> [x, register] -> DOUT = Q

Yosys does this for other families. Each register so moved is one LUT's place less, and a product no longer travels
before it is caught. A block whose bits are also read by anything else, or into registers with different controls, keeps
them outside.
"""

CELL = "MULTALU27X18"


def absorb(module: dict) -> int:
    """How many registers went into blocks of a module of a JSON netlist, changed in place."""
    cells, readers = module["cells"], _readers(module)
    gone: set[str] = set()
    for cell in cells.values():
        if cell["type"] == CELL and (registers := _registers(cell["connections"]["DOUT"], cells, readers)):
            _move(cell, {bit: cells[name]["connections"] for bit, name in registers.items()})
            gone.update(registers.values())
    for name in gone:
        del cells[name]
    return len(gone)


def _readers(module: dict) -> dict[int, list[tuple[str, str]]]:
    """Bit -> (cell, port) of every input that it reaches; a port of the module counts as a cell without a name."""
    found: dict[int, list[tuple[str, str]]] = {}
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    found.setdefault(bit, []).append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            found.setdefault(bit, []).append(("", ""))
    return found


def _registers(product: list, cells: dict, readers: dict) -> dict[int, str]:
    """Bit of a product -> the one register that reads it; empty unless all of its bits are read by alike registers."""
    found, controls = {}, set()
    for bit in product:
        users = readers.get(bit, [])
        if not users:
            continue
        (name, port), *others = users
        if others or port != "D" or cells[name]["type"] not in ("DFF", "DFFRE"):
            return {}
        found[bit] = name
        controls.add(tuple(cells[name]["connections"].get(pin, ["-"])[0] for pin in ("CLK", "CE", "RESET")))
    return found if len(controls) == 1 else {}


def _move(cell: dict, registers: dict[int, dict]) -> None:
    pins = next(iter(registers.values()))
    wires = cell["connections"]
    wires["DOUT"] = [registers[bit]["Q"][0] if bit in registers else bit for bit in wires["DOUT"]]
    for pin, idle in (("CLK", "0"), ("CE", "1"), ("RESET", "0")):
        wires[pin] = [*pins.get(pin, [idle]), "0"]
    cell["parameters"] |= {"OREG_CLK": "CLK0", "OREG_CE": "CE0", "OREG_RESET": "RESET0"}
