# SPDX-License-Identifier: Apache-2.0
"""Shared modules: one module for units that are made alike; what is not alike is refused."""

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.lib.queue import Queue
from hw.lib.shared import SharedModules, alike
from hw.netlist import netlist, shared_netlist

pytestmark = pytest.mark.rtl


class Pair(wiring.Component):
    """Two queues, one after the other in time only."""

    def __init__(self, *shapes):
        self.shapes = shapes
        super().__init__({"i": In(4), "valid": In(1), "o": Out(4), "full": Out(2)})

    def elaborate(self, platform):
        m = Module()
        queues = [Queue(shape, 2) for shape in self.shapes]
        for n, (queue, module) in enumerate(zip(queues, alike(platform, queues), strict=True)):
            m.submodules[f"queue{n}"] = module
            m.d.comb += [queue.i.payload.eq(self.i), queue.i.valid.eq(self.valid), self.full[n].eq(~queue.i.ready)]
            m.d.comb += self.o.eq(queue.o.payload)
        return m


def modules(text: str) -> list[str]:
    return re.findall(r"(?m)^module \\(\S+)", text)


def test_alike_units_are_instances_of_one_module():
    text = shared_netlist(Pair(4, 4), "top")
    assert modules(text) == ["top", "top_Queue"]
    assert re.findall(r"(?m)^  cell \\top_Queue \\(\S+)", text) == ["queue0", "queue1"]
    assert text.count("attribute \\top 1") == 1
    pins = set(re.findall(r"(?m)^    connect \\(\S+)", text))
    assert {"clk", "rst", "i__payload", "i__valid", "o__ready"} <= pins


def test_elsewhere_each_unit_has_its_module():
    assert len(modules(netlist(Pair(4, 4), "top"))) == 3
    assert len(modules(shared_netlist(Pair(4), "top"))) == 2, "a single unit stays where it is"


def test_units_that_differ_share_nothing():
    with pytest.raises(ValueError, match="Units of different types or ports share no module: Queue, Queue"):
        shared_netlist(Pair(4, 5), "top")


def test_a_name_stands_for_one_module():
    platform = SharedModules("top")
    platform.instances([Queue(4, 2), Queue(4, 2)])
    with pytest.raises(ValueError, match="Two groups of Queue are shared"):
        platform.instances([Queue(8, 2), Queue(8, 2)])
