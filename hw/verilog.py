# SPDX-License-Identifier: Apache-2.0
"""Verilog export of the accelerator for use in other designs: ``python -m hw.verilog --config zcu102``."""

import argparse
import re
import warnings
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import UnusedElaboratable

from golden.files.machine_file import machine_of
from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import ConfigError
from golden.spec.regs import MAP_BYTES
from hw.axi import BEAT_BITS, LITE_ADDRESS_BITS
from hw.netlist import shared_netlist, without_zeros
from hw.top import Accelerator, ports

NAME = "edge_moe"
_BUSES = {
    # Prefix: interface parameters for Vivado.
    "s_axi_control": f"XIL_INTERFACENAME s_axi_control, PROTOCOL AXI4LITE, DATA_WIDTH 32, "
                     f"ADDR_WIDTH {LITE_ADDRESS_BITS}, HAS_BURST 0",
    "m_axi_main": f"XIL_INTERFACENAME m_axi_main, PROTOCOL AXI4, DATA_WIDTH {BEAT_BITS}, ADDR_WIDTH 64, "
                  f"MAX_BURST_LENGTH 64, NUM_READ_OUTSTANDING 16, NUM_WRITE_OUTSTANDING 16, "
                  f"READ_WRITE_MODE READ_WRITE, HAS_REGION 0, HAS_QOS 0, HAS_LOCK 0, SUPPORTS_NARROW_BURST 0",
    **{f"m_axi_weights{p}": f"XIL_INTERFACENAME m_axi_weights{p}, PROTOCOL AXI4, DATA_WIDTH {BEAT_BITS}, "
                            f"ADDR_WIDTH 64, MAX_BURST_LENGTH 64, NUM_READ_OUTSTANDING 16, READ_WRITE_MODE READ_ONLY, "
                            f"HAS_REGION 0, HAS_QOS 0, HAS_LOCK 0, SUPPORTS_NARROW_BURST 0" for p in range(4)},
}
_XILINX = "xilinx.com"


def _attributes(cfg: MachineConfig) -> dict[str, list[tuple[str, str]]]:
    """Vivado's interface attributes of each port."""
    buses = ["s_axi_control", "m_axi_main", *(f"m_axi_weights{p}" for p in range(cfg.ports))]
    found = {
        "ap_clk": [("X_INTERFACE_INFO", f"{_XILINX}:signal:clock:1.0 ap_clk CLK"),
                   ("X_INTERFACE_PARAMETER", f"XIL_INTERFACENAME ap_clk, ASSOCIATED_BUSIF {':'.join(buses)}, "
                                             "ASSOCIATED_RESET ap_rst_n")],
        "ap_rst_n": [("X_INTERFACE_INFO", f"{_XILINX}:signal:reset:1.0 ap_rst_n RST"),
                     ("X_INTERFACE_PARAMETER", "XIL_INTERFACENAME ap_rst_n, POLARITY ACTIVE_LOW")],
        "interrupt": [("X_INTERFACE_INFO", f"{_XILINX}:signal:interrupt:1.0 interrupt INTERRUPT"),
                      ("X_INTERFACE_PARAMETER", "XIL_INTERFACENAME interrupt, SENSITIVITY LEVEL_HIGH")],
    }
    for bus in buses:
        pins = [name for name in ports(cfg) if name.startswith(f"{bus}_")]
        for n, pin in enumerate(pins):
            role = pin.removeprefix(f"{bus}_").upper()
            found[pin] = [("X_INTERFACE_INFO", f"{_XILINX}:interface:aximm:1.0 {bus} {role}")]
            if n == 0:
                found[pin].append(("X_INTERFACE_PARAMETER", _BUSES[bus]))
    return found


def wrapper(cfg: MachineConfig) -> str:
    """The top module: the ports with Vivado's attributes, around the core."""
    attributes, declared, bound = _attributes(cfg), [], []
    for name, member in ports(cfg).items():
        width = member.shape if isinstance(member.shape, int) else len(member.shape)
        marks = ", ".join(f'{key} = "{value}"' for key, value in attributes[name])
        direction = "input " if member.flow.name == "In" else "output"
        span = f"[{width - 1}:0] " if width > 1 else ""
        declared.append(f"  (* {marks} *)\n  {direction} wire {span}{name}")
        bound.append(f"    .{name}({name})")
    return (f"// Machine {cfg.name}, fingerprint 0x{cfg.fingerprint:016x}; registers: {MAP_BYTES} bytes.\n"
            f"module {NAME} (\n" + ",\n".join(declared) + f"\n);\n  {NAME}_core core (\n" + ",\n".join(bound)
            + "\n  );\nendmodule\n")


_CONSTANT_BLOCK = re.compile(r"^  always @\*\n    (.* = \d+'[hbd][0-9a-fx_]+;)$", re.MULTILINE)
_HEAD = """\
// SPDX-License-Identifier: Apache-2.0
// Operands are extended, results cut and cases completed by a default in front, as in the Amaranth sources:
/* verilator lint_off WIDTHEXPAND */
/* verilator lint_off WIDTHTRUNC */
/* verilator lint_off CASEINCOMPLETE */
/* verilator lint_off SYMRSVDWORD */
"""


def wake_constants(text: str) -> str:
    """Give ``always @*`` blocks that assign a constant a sensitivity; without one an event-driven simulator never runs
    them, and their bits stay unknown."""
    parts = re.split(r"(?m)^(?=module )", text)
    for n, part in enumerate(parts):
        woken, count = _CONSTANT_BLOCK.subn(r"  always @* begin\n    if (once) begin end\n    \1\n  end", part)
        if count:
            head, tail = woken.split(";\n", 1)
            parts[n] = f"{head};\n  reg once = 0;\n{tail}"
    return "".join(parts)


def plain_names(text: str) -> str:
    """Replace brackets inside escaped names by underscores: some tools confuse ``\\x[0]`` with bit 0 of ``x``."""
    return re.sub(r"\\\S*\[\d+\]\S*(?=\s)", lambda name: name[0].replace("[", "_").replace("]", ""), text)


def verilog_of(il: str) -> str:
    """Verilog-2001 of a netlist, for any tool."""
    text = verilog._convert_rtlil_text(il, strip_internal_attrs=True)  # private: amaranth is pinned
    return wake_constants(plain_names(text))


def shipped_verilog(cfg: MachineConfig) -> str:
    """Verilog-2001 of the accelerator; its top module is ``edge_moe``."""
    return f"{_HEAD}{wrapper(cfg)}\n{verilog_of(without_zeros(shared_netlist(Accelerator(cfg), f'{NAME}_core')))}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m hw.verilog", description=__doc__)
    parser.add_argument("--config", default="zcu102", help=f"which machine: {', '.join(MACHINES)}, or a JSON file")
    parser.add_argument("-o", "--output", type=Path, help="file to write; build/verilog/edge_moe_CONFIG.v by default")
    options = parser.parse_args(arguments)
    try:
        machine = machine_of(options.config)
    except ConfigError as error:
        parser.error(str(error))
    path = options.output or Path("build/verilog") / f"{NAME}_{machine.name}.v"
    if path.is_dir():
        parser.error(f"-o must name a file; {path} is a folder.")
    warnings.simplefilter("ignore", UnusedElaboratable)
    text = shipped_verilog(machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(f"{path}: {len(text.splitlines())} lines, top module {NAME}")


if __name__ == "__main__":
    main()
