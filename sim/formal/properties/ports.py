# SPDX-License-Identifier: Apache-2.0
"""Weight port and main port: the rules of AXI at the ports of the machine, through all that they lead to."""

from golden.spec.machine import MAX_BURST, NANO, U280, MachineConfig
from hw.dma.main_port import MainPort
from hw.dma.weight_port import WeightPort
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import stays
from sim.formal.properties.read_engine import rules
from sim.formal.properties.write_engine import rules as write_rules


def weight_port(cfg: MachineConfig = NANO) -> Harness:
    """Any ranges of lines, any base address, any subordinate; the window stays. The data queue is as shallow as it may
    be, since its memory is most of what a prover has to read."""
    h = Harness()
    unit = h.add(WeightPort(cfg, depth=2 * MAX_BURST))
    rules(h, unit.axi, "unit.engine", cfg.max_burst)
    stays(h, "o", unit.o.valid, unit.o.ready, unit.o.payload)
    return h


def hbm_port() -> Harness:
    """A port of 256 bits with bursts of at most 16 beats."""
    return weight_port(U280)


def main_port_reads() -> Harness:
    """Any transfers of both readers."""
    h = Harness()
    unit = h.add(MainPort())
    rules(h, unit.read, "unit.reader")
    h.claim("beats_go_to_one_reader", ~(unit.o_fetch.valid & unit.o_load.valid), alone=True)
    h.claim("fetches_only_while_fetching", ~unit.o_fetch.valid | unit.fetching, alone=True)
    return h


def main_port_writes() -> Harness:
    """Any transfers and data."""
    h = Harness()
    unit = h.add(MainPort())
    write_rules(h, unit.write, "unit.writer")
    return h
