# SPDX-License-Identifier: Apache-2.0
"""Drives free-running pipelines: new inputs in every cycle, outputs read LATENCY cycles after theirs."""

from amaranth.lib.wiring import Component
from cocotb.triggers import FallingEdge

from sim.payload import pack, unpack


async def through(dut, component: Component, latency: int, inputs: list[dict], output: str) -> list:
    """One dictionary of ports a cycle; the values of port ``output``, each ``latency`` cycles after its inputs.

    Ports are named and shaped as in ``component``, an instance of the unit that was built into ``dut``.
    """
    shape = component.signature.members[output].shape
    shapes = {name: component.signature.members[name].shape for name in inputs[0]}
    found = []
    for cycle in range(len(inputs) + latency):
        values = inputs[min(cycle, len(inputs) - 1)]
        for name, value in values.items():
            getattr(dut, name).value = pack(shapes[name], value)
        await FallingEdge(dut.clk)
        # Inputs of cycle 0 are sampled by the edge just passed, which makes this the first cycle after them.
        if cycle + 1 >= latency:
            found.append(unpack(shape, int(getattr(dut, output).value)))
    return found[:len(inputs)]
