# SPDX-License-Identifier: Apache-2.0
"""Registers: rules of an AXI4-Lite subordinate, and settings that stay while a job runs."""

from amaranth.hdl import Cat, Mux

from golden.spec.machine import NANO
from hw.axi import Response
from hw.ctrl.csr import SETTINGS, Csr
from sim.formal.harness import Harness
from sim.formal.properties.bus_rules import soon, stays, waits_steadily


def registers() -> Harness:
    """Any accesses of a manager that keeps its payload until it is taken; any events of the machine."""
    h = Harness()
    unit = h.add(Csr(NANO))
    m, axi = h.m, unit.axi
    for valid, ready, payload in ((axi.awvalid, axi.awready, axi.awaddr), (axi.arvalid, axi.arready, axi.araddr),
                                  (axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb))):
        waits_steadily(h, valid, ready, payload)
    h.claim("quiet_after_reset", h.later | ~axi.bvalid & ~axi.rvalid, alone=True)
    stays(h, "b", axi.bvalid, axi.bready, axi.bresp)
    stays(h, "r", axi.rvalid, axi.rready, axi.rdata, axi.rresp)
    h.claim("always_okay", (axi.bresp == Response.OKAY.value) & (axi.rresp == Response.OKAY.value), alone=True)

    taken = {name: h.live & getattr(axi, f"{name}valid") & getattr(axi, f"{name}ready")
             for name in ("aw", "w", "b", "ar", "r")}
    open_ = {name: h.register(3, f"open_{name}") for name in ("aw", "w", "ar")}
    for name, answer in (("aw", "b"), ("w", "b"), ("ar", "r")):
        m.d.watch += open_[name].eq(open_[name] + taken[name] - taken[answer])
    h.claim("no_b_without_aw_and_w", ~axi.bvalid | (open_["aw"] != 0) & (open_["w"] != 0))
    h.claim("no_r_without_ar", ~axi.rvalid | (open_["ar"] != 0))
    h.claim("few_outstanding", (open_["aw"] <= 2) & (open_["w"] <= 2) & (open_["ar"] <= 1))
    both = (open_["aw"] != 0) & (open_["w"] != 0)
    h.claim("b_in_time", soon(h, axi.bvalid | ~both, 2, "b"))
    h.claim("r_in_time", soon(h, axi.rvalid | (open_["ar"] == 0), Csr.LATENCY, "r"))
    h.claim("takes_addresses_in_time", soon(h, axi.awready | axi.bvalid & ~axi.bready | (open_["w"] == 0), 3, "aw"))
    h.claim("takes_reads_in_time", soon(h, axi.arready | axi.rvalid & ~axi.rready, Csr.LATENCY + 1, "ar"))

    settings = [getattr(unit, register.name.lower()) for register in SETTINGS]
    busy = h.past(unit.busy)
    h.claim("settings_stay_in_a_job", ~h.later | ~busy | Cat(value == h.past(value) for value in settings).all(),
            alone=True)
    h.claim("no_start_while_busy", ~h.later | ~unit.start | ~busy, alone=True)
    h.claim("abort_only_while_busy", ~h.later | ~unit.abort | busy, alone=True)
    h.claim("settings_change_only_by_a_write", ~h.later | h.past(Mux(both, 1, 0)) | Cat(
        value == h.past(value) for value in settings).all(), alone=True)
    h.cover("two_writes_outstanding", (open_["aw"] == 2) & (open_["w"] == 2))
    h.cover("start", unit.start)
    return h
