# SPDX-License-Identifier: Apache-2.0
"""Gives each register that stands alone the LUT whose place it takes, so that the placer sees what it has to place.

    -> [register]      becomes      -> [LUT that passes] -> [register]

A register of this family sits behind a LUT and has no other way in. nextpnr keeps a register together with a LUT that
feeds nothing else; for one without it finds out late, place by place, that the LUT in front must be free, and on a part
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
