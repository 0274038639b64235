# SPDX-License-Identifier: Apache-2.0
"""Reset nets of a mapped netlist: how many flip-flops each resets."""

from collections import Counter

from sim.implementation.synth.resources import TARGET

_PINS = ("R", "S", "CLR", "PRE")


def widest_reset(module: dict) -> tuple[str, int]:
    """The net that resets the most flip-flops of a module from Yosys' ``write_json``, and how many; ``("", 0)`` where
    nothing is reset."""
    found = Counter(net for cell in module["cells"].values() if cell["type"] in TARGET.flip_flops
                    for pin in _PINS for net in cell["connections"].get(pin, ()) if isinstance(net, int))
    if not found:
        return "", 0
    net, count = found.most_common(1)[0]
    names = [name for name, wire in module["netnames"].items() if net in wire["bits"]]
    return min(names, key=lambda name: (len(name), name), default=str(net)), count
