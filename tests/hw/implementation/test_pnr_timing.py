# SPDX-License-Identifier: Apache-2.0
"""Delays of a routed netlist: the slowest path, through DSP blocks too."""

import pytest

from sim.implementation.pnr import products, timing
from sim.implementation.pnr.part import TARGET

PRODUCT_PS = TARGET.product_ps
SDF = """
        (INTERCONNECT ck/O unit.x_DFF_Q/CLK (900:900:900) (900:900:900))
        (INTERCONNECT ck/O unit.s_DFF_Q_1/CLK (900:900:900) (900:900:900))
        (INTERCONNECT unit.x_DFF_Q/Q unit.l\\$/I0 (0:0:1000) (1:1:1000))
        (INTERCONNECT unit.l\\$/F unit.c/I1 (0:0:500) (0:0:500))
        (INTERCONNECT unit.c/SUM unit.s_DFF_Q_1/D (0:0:250) (0:0:250))
        (INTERCONNECT \\$PACKER_GND_DRV/G unit.l\\$/I1 (9000:9000:9000) (9000:9000:9000))
    (CELLTYPE "DFF")
    (INSTANCE unit.x_DFF_Q)
        (IOPATH CLK Q (1:2:200) (1:2:200))
      (SETUPHOLD (posedge D) (posedge CLK) (1:2:30) (10:10:10))
    (CELLTYPE "LUT4")
    (INSTANCE unit.l\\$)
        (IOPATH I0 F (1:2:400) (1:2:400))
        (IOPATH I1 F (1:2:400) (1:2:400))
    (CELLTYPE "ALU")
    (INSTANCE unit.c)
        (IOPATH I1 SUM (1:2:600) (1:2:600))
    (CELLTYPE "DFF")
    (INSTANCE unit.s_DFF_Q_1)
        (IOPATH CLK Q (1:2:200) (1:2:200))
      (SETUPHOLD (posedge D) (posedge CLK) (1:2:30) (10:10:10))
"""


def test_delays_become_a_path():
    found = timing.slowest(SDF.splitlines(), {})
    assert (found.picoseconds, found.wires) == (2980, 1750)
    assert str(found) == "x -> 1 LUT, 1 adder: 1.2 ns, wires 1.8 ns -> s"
    with pytest.raises(ValueError, match="no path from register to register"):
        timing.slowest((line for line in SDF.splitlines() if "SETUPHOLD" not in line), {})


@pytest.mark.parametrize("inside, ends, time", [
    (set(), "x s", 1200 + PRODUCT_PS + 500 + 600 + 250 + 30),  # through the block to the register after it
    ({"DOUT"}, "x p", 1200 + PRODUCT_PS + 35),
    ({"A"}, "p s", 307 + PRODUCT_PS + 500 + 600 + 250 + 30),
    ({"A", "DOUT"}, "p p", 307 + PRODUCT_PS + 35)])
def test_a_product_takes_its_time(inside, ends, time):
    block = SDF.replace("unit.l\\$/I0", "unit.p/A3").replace("unit.l\\$/F", "unit.p/DOUT7").replace(
        '"LUT4")\n    (INSTANCE unit.l\\$)', f'"{products.CELL}")\n    (INSTANCE unit.p)')
    lines = [line for line in block.splitlines() if "IOPATH I" not in line or "I1 SUM" in line]
    found = timing.slowest(lines, {"unit.p": inside})
    assert (timing.short(found.begin), timing.short(found.end)) == tuple(ends.split())
    assert found.picoseconds == time and found.through["product"] == 1
