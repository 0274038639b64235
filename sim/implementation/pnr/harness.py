# SPDX-License-Identifier: Apache-2.0
"""Timing harness with three pins around a unit, or the whole machine: a shift register feeds its inputs, a registered
XOR tree observes its outputs.

    feed -> [shift register, one bit an input] -> unit -> [registers] -> [XOR of four, register] ... -> seen

Every path into, through and out of the unit then begins and ends at a register, as it does inside the machine, and
nothing of the unit is optimised away because its outputs are unused.
"""

from sim.implementation.synth.design import NAME, ports

TOP = "harness"
_CLOCKS = ("clk", "ap_clk")
"""A unit's clock, the machine's."""
_FAN_IN = 4
"""An XOR of four is one LUT4."""


def harness(text: str) -> str:
    """Verilog of the module :data:`TOP` around :data:`sim.implementation.synth.design.NAME` of an RTLIL text.

    Raises ``ValueError`` for a unit without a clock, an input or an output: there is nothing to time.
    """
    pins = ports(text)
    clock = next((name for name in _CLOCKS if name in pins), None)
    inputs = {name: bits for name, (direction, bits) in pins.items() if direction == "input" and name != clock}
    outputs = {name: bits for name, (direction, bits) in pins.items() if direction == "output"}
    if not clock or not inputs or not outputs:
        raise ValueError(f"The unit has ports {', '.join(pins) or 'none'}; a clock, an input and an output are needed.")
    fed, watched = sum(inputs.values()), sum(outputs.values())
    bound = [f".\\{clock} (clk)", *_slices(inputs, "shift"), *_slices(outputs, "answer")]
    lines = [f"module {TOP}(input clk, input feed, output seen);",
             f"  reg [{fed - 1}:0] shift;", f"  wire [{watched - 1}:0] answer;",
             "  always @(posedge clk) shift <= {shift, feed};",
             f"  {NAME} unit ({', '.join(bound)});", *_tree(watched), "endmodule"]
    return "\n".join(lines) + "\n"


def _slices(pins: dict[str, int], vector: str) -> list[str]:
    """Port connections to consecutive bits of ``vector``."""
    found, at = [], 0
    for name, bits in pins.items():
        found.append(f".\\{name} ({vector}[{at + bits - 1}:{at}])")
        at += bits
    return found


def _tree(width: int) -> list[str]:
    """Registered XOR tree from ``answer`` to ``seen``."""
    lines = [f"  reg [{width - 1}:0] level0;", "  always @(posedge clk) level0 <= answer;"]
    level = 0
    while width > 1:
        above, width, level = width, -(-width // _FAN_IN), level + 1
        lines.append(f"  reg [{width - 1}:0] level{level};")
        lines += [f"  always @(posedge clk) level{level}[{n}] <= "
                  f"^level{level - 1}[{min(above, _FAN_IN * (n + 1)) - 1}:{_FAN_IN * n}];" for n in range(width)]
    return [*lines, f"  assign seen = level{level}[0];"]
