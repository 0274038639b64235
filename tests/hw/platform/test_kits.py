# SPDX-License-Identifier: Apache-2.0
"""Platform kits of boards with processors run from Verilog to bitstream in a Tcl interpreter, against stand-ins for the
vendor's commands; planted defects are found."""

from dataclasses import replace

import pytest

from golden.spec import regs
from golden.spec.boards import BOARDS, FOLDER, read_board
from golden.spec.machine import NANO, ZCU102
from golden.spec.model import ConfigError
from hw.platform.choice import choice
from tests.hw.platform.stand_ins.interpreters import interpreters
from tests.hw.platform.stand_ins.packager import Core
from tests.hw.platform.stand_ins.tcl import Refused
from tests.hw.platform.support import ZYNQ, built, kit, needs_tcl, spoil

pytestmark = needs_tcl
FILES = {"edge_moe.bit", "edge_moe.hwh", "edge_moe.xsa", "edge_moe.bit.bin", "timing.txt", "utilization.txt",
         "power.txt", "drc.txt"}
INFERS = ("all", "parameters", "interfaces")
"""What the packager makes of the Verilog's attributes depends on its version (``stand_ins/packager.py``)."""


@pytest.mark.parametrize("infers", INFERS)
@pytest.mark.parametrize("board", ZYNQ)
def test_one_command_ends_in_a_bitstream(board, infers, tmp_path):
    tool = built(kit(tmp_path, board), board, infers=infers)
    assert tool.tcl.said[-1].startswith("Done"), tool.tcl.said
    assert not [line for line in tool.tcl.said if "WARNING" in line]
    assert tool.steps == ["route_design", "write_bitstream"]
    results = {path.name for path in (tmp_path / "result").iterdir()}
    assert {*FILES, "edge_moe.dtbo"} <= results
    assert ("shell.json" in results) == (BOARDS[board].platform.loader == "dfx-mgr")


@pytest.mark.parametrize("board", ZYNQ)
def test_buses_are_connected_and_mapped_as_the_board_file_says(board, tmp_path):
    chosen, tool = choice(BOARDS[board]), built(kit(tmp_path, board), board)
    family, design = BOARDS[board].platform.facts, tool.design
    used = set(chosen.memory.values())
    assert set(chosen.memory) == {"m_axi_main", *(f"m_axi_weights{p}" for p in range(chosen.machine.ports))}
    for bus, port in chosen.memory.items():
        number = family.gp[port]
        assert design.reached(f"/accelerator/{bus}") == f"/ps/S_AXI_{port}_FPD"
        assert design.cells["ps"].config[f"PSU__SAXIGP{number}__DATA_WIDTH"] == "128"
        low, high = (f"/ps/SAXIGP{number}/{port}_DDR_{part}" for part in ("LOW", "HIGH"))
        assert design.mapped[f"/accelerator/{bus}", low] == (0, 1 << 31)
        assert ((f"/accelerator/{bus}", high) in design.mapped) == (BOARDS[board].platform.dram_bytes > 1 << 31)
    on = {n for n in range(7) if design.cells["ps"].config.get(f"PSU__USE__S_AXI_GP{n}") == "1"}
    assert on == {family.gp[port] for port in used} and len(used) == len(chosen.memory)
    assert {name for name in design.cells["ps"].buses() if name.startswith("M_")} == {"M_AXI_HPM0_FPD"}
    assert design.mapped["/ps/Data", "/accelerator/s_axi_control/reg0"] == (0xA000_0000, 4096)
    assert design.nets["/ps/pl_ps_irq0"] == "/accelerator/interrupt"
    assert not {"HP1", "HP2"} <= used, "two ports share a port of the DDR controller while another is free"


@pytest.mark.parametrize("infers", INFERS)
def test_the_packaged_register_map_is_the_register_table(infers, tmp_path):
    core: Core = built(kit(tmp_path, "kv260"), "kv260", infers=infers).packager.core
    block = core.parts["map:s_axi_control"].parts["block:reg0"]
    found = list(block.parts.values())
    assert [(one.name, int(one.properties["address_offset"], 0), int(one.properties["size"])) for one in found] \
        == [(one.name, one.offset, one.bits) for one in regs.REGISTERS]
    for one, register in zip(found, regs.REGISTERS, strict=True):
        assert one.properties["description"] == register.about
        assert (one.properties["access"] == "read-write") == (
            register.access in (regs.Access.RW, regs.Access.TOW, regs.Access.SOW))
        fields = [part for part in one.parts.values() if part.kind == "field"]
        assert [(part.name, int(part.properties["bit_offset"]), int(part.properties["bit_width"]))
                for part in fields] == [(part.name, part.low, part.width) for part in register.parts]
    buses = {one.name: one.parts["parameter:ASSOCIATED_BUSIF"].properties["value"] for one in found
             if "parameter:ASSOCIATED_BUSIF" in one.parts}
    assert buses == dict.fromkeys(("PROGRAM_ADDR", "TABLE_ADDR", "INPUT_ADDR", "OUTPUT_ADDR"), "m_axi_main") | {
        f"WEIGHT_ADDR{p}": f"m_axi_weights{p}" for p in range(4)}
    assert core.vlnv == f"edge-moe:ip:edge_moe:{regs.ABI_VERSION}.0"


def test_a_machine_with_one_weight_port_takes_the_first_two(tmp_path):
    tool = built(kit(tmp_path, "zcu104", machine=NANO), "zcu104")
    assert tool.design.reached("/accelerator/m_axi_weights0") == "/ps/S_AXI_HP0_FPD"
    assert tool.design.reached("/accelerator/m_axi_main") == "/ps/S_AXI_HP1_FPD"


@pytest.mark.parametrize("interpreter", interpreters(), ids=lambda kind: kind.__name__)
def test_every_interpreter_says_the_same(interpreter, tmp_path):
    tool = built(kit(tmp_path, "kv260"), "kv260", interpreter=interpreter)
    assert tool.tcl.said[-1].startswith("Done") and tool.design.nets["/ps/pl_ps_irq0"] == "/accelerator/interrupt"
    (tmp_path / "build.tcl").write_text((tmp_path / "build.tcl").read_text().replace("_fpd_aclk", "_aclk"))
    with pytest.raises(Refused, match="pin ps/saxihp0_aclk"):
        built(tmp_path, "kv260", interpreter=interpreter)


def test_a_new_board_is_one_file(tmp_path):
    text = (FOLDER / "zcu104.toml").read_text().replace("zcu104", "zcu106")
    (tmp_path / "zcu106.toml").write_text(text)
    board = read_board(tmp_path / "zcu106.toml")
    assert built(kit(tmp_path, board), board).steps == ["route_design", "write_bitstream"]
    assert "The accelerator on zcu106" in (tmp_path / "README.md").read_text()


# -- what stops a build

def test_missed_timing_names_a_clock_and_makes_no_bitstream(tmp_path):
    with pytest.raises(Refused, match="Timing is missed by 0.5 ns. About 260 MHz would do.*--clock 260"):
        built(kit(tmp_path, "kv260"), "kv260", slack=(-0.5, 0.1))
    assert (tmp_path / "result/timing.txt").exists() and not (tmp_path / "result/edge_moe.bit").exists()
    with pytest.raises(Refused, match="Hold is missed by 0.1 ns"):
        built(kit(tmp_path, "kv260"), "kv260", slack=(0.5, -0.1))


def test_a_clock_that_the_processing_system_does_not_make_is_refused_with_the_one_it_makes(tmp_path):
    with pytest.raises(Refused, match=r"makes 249.99\d* MHz for the 290.0 asked"):
        built(kit(tmp_path, "kv260", clock_hz=290_000_000), "kv260")
    assert built(kit(tmp_path, "kv260", clock_hz=250_000_000), "kv260").steps


@pytest.mark.parametrize("step", ["route_design", "write_bitstream"])
def test_an_implementation_that_fails_is_told_with_its_step(step, tmp_path):
    with pytest.raises(Refused, match=f"did not come to the end of {step}: {step} ERROR"):
        built(kit(tmp_path, "zcu102"), "zcu102", fails=step)


def test_a_second_build_in_the_same_folder_is_a_build_of_its_own(tmp_path):
    built(kit(tmp_path, "kv260"), "kv260")
    left = tmp_path / "ip/component.xml"
    left.write_text("of an older machine")
    built(kit(tmp_path, "kv260"), "kv260")
    assert left.read_text() == f"edge-moe:ip:edge_moe:{regs.ABI_VERSION}.0"


def test_what_is_not_installed_is_named(tmp_path):
    with pytest.raises(Refused, match="no board files xilinx.com:zcu102:part0"):
        built(kit(tmp_path, "zcu102"), "zcu102", boards=False)
    with pytest.raises(Refused, match="bootgen"):
        built(kit(tmp_path, "zcu102"), "zcu102", programs=("dtc",))
    tool = built(kit(tmp_path, "zcu102"), "zcu102", programs=("bootgen",))
    assert (tmp_path / "result/edge_moe.dts").exists() and any("dtc is not here" in line for line in tool.tcl.said)


def test_another_version_of_the_tool_is_warned_of(tmp_path):
    assert any("written for Vivado 2023.2; this is 2025.1" in line
               for line in built(kit(tmp_path, "zcu102"), "zcu102", version="2025.1").tcl.said)


def test_choices_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="5 memory ports, zcu102 4"):
        choice(replace(BOARDS["zcu102"], ports=4), ZCU102)
    with pytest.raises(ConfigError, match="The clock must be 25 to 500 MHz, not 1000"):
        choice(BOARDS["kv260"], clock_hz=1_000_000_000)
    with pytest.raises(ConfigError, match="zcu104 has 2147483648 bytes of memory"):
        choice(BOARDS["zcu104"], buffer_bytes=1 << 31)


# -- planted defects

DEFECTS = {
    "edge_moe.v": [
        ("m_axi_main AWADDR", "m_axi_mian AWADDR", "m_axi_main has no AWADDR"),
        ("m_axi_weights2 ARREADY", "m_axi_weights2 ARREADI", "m_axi_weights2 has no ARREADY"),
        ("m_axi_weights1, PROTOCOL AXI4, DATA_WIDTH 128", "m_axi_weights1, PROTOCOL AXI4, DATA_WIDTH 64",
         "DATA_WIDTH is 64, RDATA has 128 bits"),
        ("module edge_moe (", "module edge_mo (", "no module edge_moe"),
        ("POLARITY ACTIVE_LOW", "POLARITY ACTIVE_HIGH", "POLARITY of ap_rst_n must be ACTIVE_LOW"),
        ("interrupt INTERRUPT", "irq INTERRUPT", "irq has parameters of interrupt"),
        ("SENSITIVITY LEVEL_HIGH", "SENSITIVITY EDGE_RISING", "SENSITIVITY of interrupt must be LEVEL_HIGH"),
    ],
    "facts.tcl": [
        ("xck26-sfvc784-2LV-c", "xck26-sfvc784-1LV-c", "no part xck26-sfvc784-1LV-c"),
        ("m_axi_main HPC1}", "m_axi_main HP7}", 'key "HP7" not known'),
        ("HP0 2 HP1 3", "HP0 3 HP1 2", "address segment ps/SAXIGP3/HP0_DDR_LOW"),
        ("{m_axi_weights0 HP0", "{m_axi_weights9 HP0", "m_axi_weights9"),
        ("control_base 0xA0000000", "control_base 0x80000000", "does not reach 0x80000000"),
        ("control_base 0xA0000000", "control_base 0xA0000800", "cannot stand at 0xa0000800"),
        ("m_axi_weights1 128", "m_axi_weights1 64", "DATA_WIDTH of m_axi_weights1 must be 64, not 128"),
        ("TABLE_ADDR 0x048", "TABLE_ADDR 0x044", "TABLE_ADDR at 68 overlaps"),
        ("of port 3} m_axi_weights3", "of port 3} m_axi_weights4", "m_axi_weights4, which is no interface"),
        ("xilinx.com:kv260_som", "xilinx.com:kv260", "no board files xilinx.com:kv260:part0"),
    ],
    "package_ip.tcl": [
        ("-taxonomy /UserIP", "-taxnomy /UserIP", "unknown option -taxnomy"),
        ("set_property address_offset", "set_property adress_offset", "no property adress_offset"),
        ("ipx::add_field $field_name", "ipx::add_fields $field_name", "ipx::add_fields"),
        ("set_property slave_memory_map_ref $facts::control", "#", "s_axi_control has no memory map"),
        ("leave_frequency_open $core", "", "FREQ_HZ of ap_clk does not match 299997000"),
        ("ipx::save_core $core", "", "the catalogue has no edge-moe:ip:edge_moe"),
        ("close_project", "", "a project is open"),
    ],
    "build.tcl": [
        ("PSU__SAXIGP${number}__DATA_WIDTH", "PSU__SAXIGP${number}_DATA_WIDTH", "no parameter CONFIG.PSU__SAXIGP2"),
        ("DATA_WIDTH [dict get $facts::managers $manager]", "DATA_WIDTH 64", "has 64 bits|has 128 bits, /ps/S_AXI"),
        ("PSU__MAXIGP0__DATA_WIDTH 32", "PSU__MAXIGP0__DATA_WIDTH 128", "128 bits"),
        ("CONFIG.PSU__USE__M_AXI_GP1 0", "CONFIG.PSU__USE__M_AXI_GP1 1", "maxihpm1_fpd_aclk is not connected"),
        ("CONFIG.PSU__USE__IRQ0 1", "CONFIG.PSU__USE__IRQ0 0", "pin ps/pl_ps_irq0"),
        ("xilinx.com:ip:smartconnect", "xilinx.com:ip:smart_connect", "catalogue has no"),
        ("_fpd_aclk", "_aclk", "pin ps/saxihp0_aclk"),
        ("$cell/aresetn", "$cell/aresetN", "aresetN"),
        ("reset/peripheral_aresetn", "reset/peripheral_reset", "other polarity"),
        ("connect_bd_net [pin ps/pl_resetn0] [pin reset/ext_reset_in]", "", "ext_reset_in is not connected"),
        ("connect_bd_net [pin accelerator/$facts::interrupt] [pin ps/pl_ps_irq0]", "", "interrupt is not connected"),
        ("_*] {", "_Q*] {", "_LPS_OCM is neither assigned"),
        ("validate_bd_design", "", "the block design is not valid"),
        ("run_to route_design", "run_to route", "no step route"),
        ("STATS.WNS", "STATS.WSN", "no property STATS.WSN"),
        ("set_property top system_wrapper", "#", "no valid top"),
        ("-include_bit", "-include_bits", "unknown option -include_bits"),
        ("build.runs", "build.run", "system_wrapper.bit"),
        ("hw_handoff system.hwh", "hw_handoff design.hwh", "design.hwh"),
        ("-process_bitstream bin", "-process_bitstream", "bootgen"),
        ("edge_moe.xdc", "edge_mo.xdc", "there is no file .*edge_mo.xdc"),
        ("proc pin {name}", "proc pins {name}", "invalid command name"),
    ],
}


@pytest.mark.parametrize("before, said", [
    ("ensure $facts::reset POLARITY ACTIVE_LOW", "ap_rst_n was packaged without POLARITY"),
    ("ensure $bus DATA_WIDTH $bits", "m_axi_.* was packaged without DATA_WIDTH"),
    ("ipx::associate_bus_interfaces -busif $bus -clock $facts::clock $core", "has no clock"),
])
def test_what_a_version_does_not_infer_is_needed(before, said, tmp_path):
    spoil(kit(tmp_path, "kv260") / "package_ip.tcl", before, "")
    with pytest.raises(Refused, match=said):
        built(tmp_path, "kv260", infers="interfaces")


@pytest.mark.parametrize("file, before, after, said", [
    pytest.param(file, *defect, id=f"{file}-{n}")
    for file, listed in DEFECTS.items() for n, defect in enumerate(listed)])
def test_a_planted_defect_is_found(file, before, after, said, tmp_path):
    spoil(kit(tmp_path, "kv260") / file, before, after)
    with pytest.raises(Refused, match=said):
        built(tmp_path, "kv260")
