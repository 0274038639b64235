# SPDX-License-Identifier: Apache-2.0
"""The U280's kit runs from Verilog to xclbin against stand-ins; kernel.xml and link.cfg say what Verilog and registers
say."""

from xml.etree import ElementTree

import pytest

from golden.spec.boards import BOARDS
from golden.spec.machine import NANO, U280
from golden.spec.regs import BY_NAME
from hw.platform.choice import choice
from hw.platform.kit import files
from tests.hw.platform.stand_ins.tcl import Refused
from tests.hw.platform.stand_ins.verilog import read
from tests.hw.platform.support import built, kit, needs_tcl, spoil

pytestmark = needs_tcl


def test_one_command_ends_in_an_xclbin(tmp_path):
    tool = built(kit(tmp_path, "u280"), "u280")
    assert (tmp_path / "result/edge_moe.xclbin").exists() and tool.tcl.said[-1].startswith("Done")
    assert tool.kernel["-ctrl_protocol"] == "user_managed"
    assert tool.packager.core.properties["vitis_drc"] == "ctrl_protocol user_managed"
    assert [command[0] for command in tool.executed] == ["v++"]


@pytest.mark.parametrize("machine", [U280, NANO], ids=lambda machine: machine.name)
def test_the_kernel_has_the_ports_and_registers_of_the_verilog(machine, tmp_path):
    folder = kit(tmp_path, "u280", machine=machine)
    root = ElementTree.parse(folder / "kernel.xml").getroot()
    kernel = root.find("kernel")
    assert root.tag == "root" and [part.tag for part in kernel] == ["ports", "args"]
    assert kernel.get("hwControlProtocol") == "user_managed" and kernel.get("interrupt") == "true"
    top = read((folder / "edge_moe.v").read_text(), kernel.get("name"))
    buses = {label: one for label, one in top.interfaces.items() if one.kind == "interface:aximm"}
    ports = {port.get("name"): port for port in kernel.iter("port")}
    assert set(ports) == set(buses)
    for name, port in ports.items():
        assert port.get("mode") == ("master" if buses[name].manager else "slave")
        assert port.get("dataWidth") == buses[name].parameters["DATA_WIDTH"]
        bits = int(buses[name].parameters["ADDR_WIDTH"])
        assert int(port.get("range"), 16) == ((1 << bits) - 1 if buses[name].manager else 1 << bits)
    arguments = list(kernel.iter("arg"))
    assert [int(one.get("id")) for one in arguments] == list(range(4 + machine.ports))
    for one in arguments:
        register = BY_NAME[one.get("name").upper()]
        assert int(one.get("offset"), 16) == register.offset and int(one.get("size"), 16) == register.bits // 8
        assert one.get("port") in buses and one.get("addressQualifier") == "1"
    assert {one.get("port") for one in arguments} == {name for name, bus in buses.items() if bus.manager}


def test_every_bus_is_linked_to_memory_of_the_card():
    lines = files(choice(BOARDS["u280"]))["link.cfg"].splitlines()
    kernel = ElementTree.fromstring(files(choice(BOARDS["u280"]))["kernel.xml"].split("-->")[1]).find("kernel")
    managers = [port.get("name") for port in kernel.iter("port") if port.get("mode") == "master"]
    assert [line for line in lines if line.startswith("sp=")] == [f"sp=edge_moe_1.{name}:HBM[0:3]" for name in managers]
    assert "nk=edge_moe:1:edge_moe_1" in lines and "kernel_frequency=300" in lines
    assert f"platform={BOARDS['u280'].platform.shell}" in lines


@pytest.mark.parametrize("file, before, after, said", [
    ("package_xo.tcl", "-kernel_xml", "-kernel_xlm", "unknown option -kernel_xlm"),
    ("package_xo.tcl", "$here ip]", "$here ips]", "the IP is not saved"),
    ("package_xo.tcl", "-kernel_name $facts::top", "-kernel_name other", "the IP is not called other"),
    ("package_ip.tcl", "set_property sdx_kernel true $core", "", "not marked as a kernel"),
    ("facts.tcl", "variable shell", "variable card", "not marked as a kernel"),
    ("build.tcl", "--report_dir", "--report-dir", "unknown option --report-dir"),
    ("build.tcl", "link.cfg", "link.ini", "a file is missing"),
    ("build.tcl", "edge_moe.xo]", "edge_moe_1.xo]", "a file is missing"),
])
def test_a_planted_defect_is_found(file, before, after, said, tmp_path):
    spoil(kit(tmp_path, "u280") / file, before, after)
    with pytest.raises(Refused, match=said):
        built(tmp_path, "u280")


def test_a_missing_linker_is_named_before_anything_runs(tmp_path):
    with pytest.raises(Refused, match="v.. is not on PATH"):
        built(kit(tmp_path, "u280"), "u280", programs=())
    assert not (tmp_path / "work").exists()
