# SPDX-License-Identifier: Apache-2.0
"""Pass-through LUTs for registers without a LUT, so that the placer accounts for the LUT places they take.

    -> [register]      becomes      -> [LUT as a wire] -> [register]

A register of this family is fed by its LUT and has no other input. nextpnr keeps a register together with a LUT that
feeds nothing else; for one without it detects late, place by place, that the LUT before it must be free, and on a part
that is nearly full it goes on looking for hours.
"""

from collections import Counter

PASSES = "10"
"""Table of a LUT of one input."""


def complete(module: dict) -> int:
    """How many registers of a module of a JSON netlist, changed in place, got a LUT."""
    cells = module["cells"]
    readers, driver = Counter(), {}
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                readers.update(bits)
            else:
                driver |= dict.fromkeys(bits, cell["type"])
    for port in module["ports"].values():
        readers.update(port["bits"])
    fresh = 1 + max(bit for bit in (*readers, *driver) if isinstance(bit, int))
    alone = [name for name, cell in cells.items() if cell["type"].startswith("DFF")
             and isinstance(data := cell["connections"]["D"][0], int)
             and not (driver.get(data, "").startswith("LUT") and readers[data] == 1)]
    for bit, name in enumerate(alone, fresh):
        wires = cells[name]["connections"]
        cells[f"{name}_D_LUT"] = {
            "hide_name": 0, "type": "LUT1", "parameters": {"INIT": PASSES}, "attributes": {},
            "port_directions": {"I0": "input", "F": "output"}, "connections": {"I0": wires["D"], "F": [bit]}}
        wires["D"] = [bit]
    return len(alone)
