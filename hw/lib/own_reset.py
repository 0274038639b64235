# SPDX-License-Identifier: Apache-2.0
"""Submodules with a reset register of their own, so that no reset net spans the machine."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal, ValueLike

LATENCY = 1
"""Cycles from a module's reset to that of a submodule."""


def add_with_own_reset(m: Module, name: str, component, also: ValueLike = 0) -> None:
    """Make ``component`` the submodule ``name`` of ``m``, in a domain of its own: the clock of ``sync``, and a reset
    LATENCY cycles after that of ``sync`` or after ``also``. The registers of all parts are alike; tools keep each."""
    domain = ClockDomain(name, local=True)
    reset = Signal(name=f"{name}_reset", init=1, reset_less=True, attrs={"keep": "true"})
    m.domains += domain
    m.d.sync += reset.eq(ResetSignal() | also)
    m.d.comb += [ClockSignal(name).eq(ClockSignal()), ResetSignal(name).eq(reset)]
    m.submodules[name] = DomainRenamer(name)(component)
