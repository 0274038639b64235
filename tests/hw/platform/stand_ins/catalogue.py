# SPDX-License-Identifier: Apache-2.0
"""What the vendor's IP offers: parameters, pins and interfaces, from its product guides."""

from dataclasses import dataclass, field

from tests.hw.platform.stand_ins.tcl import Refused

MHZ = 1_000_000
PLL_HZ = 1_499_985_000
"""Of the processing system on a 33.333 MHz reference; its outputs are whole divisions."""
WIDTHS = ("32", "64", "128")


@dataclass(frozen=True)
class Bus:
    """An AXI interface of a cell: which side, its data bits, the pin that clocks it."""

    manager: bool
    bits: int
    clock: str


@dataclass
class Cell:
    """A cell of a block design. ``pins``: direction by name, ``resets``: those that are resets, with their polarity."""

    vlnv: str
    config: dict[str, str]
    fixed: set[str] = field(default_factory=set)

    def pins(self) -> dict[str, str]:
        raise NotImplementedError

    def buses(self) -> dict[str, Bus]:
        raise NotImplementedError

    def low_resets(self) -> dict[str, bool]:
        """Reset pins: whether they are active low."""
        raise NotImplementedError

    def needed(self) -> set[str]:
        """Input pins that must not be left open."""
        return {name for name, way in self.pins().items() if way == "in"}

    def spaces(self) -> dict[str, str]:
        """Address spaces, with the interface that each reaches out by."""
        return {}

    def segments(self) -> dict[str, tuple[str, int, int]]:
        """Address segments, with their interface, lowest address and size (0: any)."""
        return {}


class SmartConnect(Cell):
    """PG247, with one side each."""

    def pins(self):
        return {"aclk": "in", "aresetn": "in"}

    def buses(self):
        if self.config != {"NUM_SI": "1", "NUM_MI": "1"}:
            raise Refused(f"this stand-in has one side each, not {self.config}")
        return {"S00_AXI": Bus(False, 0, "aclk"), "M00_AXI": Bus(True, 0, "aclk")}

    def low_resets(self):
        return {"aresetn": True}


class ProcSysReset(Cell):
    """PG164."""

    def pins(self):
        ins = ("slowest_sync_clk", "ext_reset_in", "aux_reset_in", "mb_debug_sys_rst", "dcm_locked")
        outs = ("mb_reset", "bus_struct_reset", "peripheral_reset", "interconnect_aresetn", "peripheral_aresetn")
        return dict.fromkeys(ins, "in") | dict.fromkeys(outs, "out")

    def buses(self):
        return {}

    def low_resets(self):
        return {"ext_reset_in": True, "mb_reset": False, "bus_struct_reset": False, "peripheral_reset": False,
                "interconnect_aresetn": True, "peripheral_aresetn": True}

    def needed(self):
        return {"slowest_sync_clk", "ext_reset_in"}


class ProcessingSystem(Cell):
    """PG201: zynq_ultra_ps_e. The board's preset switches on two register ports, as that of the ZCU102 does."""

    MANAGERS = ("HPM0_FPD", "HPM1_FPD", "HPM0_LPD")
    SUBORDINATES = ("HPC0_FPD", "HPC1_FPD", "HP0_FPD", "HP1_FPD", "HP2_FPD", "HP3_FPD", "LPD")
    NAMES = {"PSU__FPGA_PL0_ENABLE", "PSU__USE__IRQ0", "PSU__USE__IRQ1", "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ",
             *(f"PSU__USE__M_AXI_GP{n}" for n in range(3)), *(f"PSU__MAXIGP{n}__DATA_WIDTH" for n in range(3)),
             *(f"PSU__USE__S_AXI_GP{n}" for n in range(7)), *(f"PSU__SAXIGP{n}__DATA_WIDTH" for n in range(7))}
    PRESET = {"PSU__USE__M_AXI_GP0": "1", "PSU__USE__M_AXI_GP1": "1", "PSU__MAXIGP0__DATA_WIDTH": "128",
              "PSU__MAXIGP1__DATA_WIDTH": "128", "PSU__FPGA_PL0_ENABLE": "1", "PSU__USE__IRQ0": "1",
              "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": "100"}

    def _on(self, name: str) -> bool:
        return self.config.get(name, "0") == "1"

    def _ports(self):
        """Interface, its number, whether the processors are the manager: of all that are switched on."""
        for n, name in enumerate(self.MANAGERS):
            if self._on(f"PSU__USE__M_AXI_GP{n}"):
                yield f"M_AXI_{name}", n, True
        for n, name in enumerate(self.SUBORDINATES):
            if self._on(f"PSU__USE__S_AXI_GP{n}"):
                yield f"S_AXI_{name}", n, False

    def pins(self):
        found = {"pl_resetn0": "out"}
        if self._on("PSU__FPGA_PL0_ENABLE"):
            found["pl_clk0"] = "out"
        if self._on("PSU__USE__IRQ0"):
            found["pl_ps_irq0"] = "in"
        return found | {bus.clock: "in" for bus in self.buses().values()}

    def buses(self):
        found = {}
        for name, n, manager in self._ports():
            bits = self.config.get(f"PSU__{'M' if manager else 'S'}AXIGP{n}__DATA_WIDTH", "128")
            if bits not in WIDTHS:
                raise Refused(f"{name} cannot have {bits} bits")
            clock = f"{'m' if manager else 's'}axi{name[6:].lower()}_aclk"
            found[name] = Bus(manager, int(bits), clock)
        return found

    def low_resets(self):
        return {"pl_resetn0": True}

    def needed(self):
        return super().needed() - {"pl_ps_irq0"}

    def spaces(self):
        return {"Data": "M_AXI_HPM0_FPD"}

    def segments(self):
        found = {}
        for name, n, manager in self._ports():
            if not manager:
                short = name[6:].removesuffix("_FPD")
                parts = {"DDR_LOW": (0, 1 << 31), "QSPI": (0xC000_0000, 1 << 29), "LPS_OCM": (0xFF00_0000, 1 << 24),
                         "PCIE_LOW": (0xE000_0000, 1 << 28)}
                if self.config.get("high_memory") == "1":
                    parts["DDR_HIGH"] = (0x8_0000_0000, 1 << 35)
                found |= {f"SAXIGP{n}/{short}_{part}": (name, *where) for part, where in parts.items()}
        return found

    @property
    def clock_hz(self) -> int:
        """What the clock's divider comes closest to without being faster."""
        asked = float(self.config["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"]) * MHZ
        return PLL_HZ // max(1, -(-PLL_HZ // round(asked * 1.00002)))


CELLS = {"xilinx.com:ip:zynq_ultra_ps_e": ProcessingSystem, "xilinx.com:ip:smartconnect": SmartConnect,
         "xilinx.com:ip:proc_sys_reset": ProcSysReset}
PARAMETERS = {ProcessingSystem: ProcessingSystem.NAMES, SmartConnect: {"NUM_SI", "NUM_MI", "HAS_ARESETN"},
              ProcSysReset: {"C_EXT_RST_WIDTH", "C_AUX_RST_WIDTH"}}
REGISTER_WINDOW = range(0xA000_0000, 0xB000_0000)
"""Addresses that M_AXI_HPM0_FPD reaches."""
