# SPDX-License-Identifier: Apache-2.0
"""Halves of a lane in parts of ``cfg.lanes`` values: splitting, numbering, joining."""

from amaranth.hdl import Array, Cat, Signal

from golden.spec.machine import MachineConfig


def part_of(cfg: MachineConfig, values, number) -> list:
    """Part ``number`` of ``values``."""
    firsts = range(0, len(values), cfg.lanes)
    return [Array(values[first + n] for first in firsts)[number] for n in range(cfg.lanes)]


def within_half(cfg: MachineConfig, number):
    """A part's number in its half."""
    return number & (cfg.serialization - 1)


def ends_half(cfg: MachineConfig, number):
    return within_half(cfg, number) == cfg.serialization - 1


def half(m, cfg: MachineConfig, name: str, values):
    """A half: its earlier parts, delayed, and its last part ``values``."""
    part = whole = Cat(*values)
    for n in range(1, cfg.serialization):
        before = Signal.like(part, name=f"{name}_before{n}", reset_less=True)
        m.d.sync += before.eq(part)
        part, whole = before, Cat(before, whole)
    return whole
