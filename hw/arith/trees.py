# SPDX-License-Identifier: Apache-2.0
"""Reduction trees: pipelined sum, maximum of up to four."""

from amaranth.hdl import Mux, Signal, signed, unsigned


def sum_tree(m, name: str, terms: list):
    """Sum of a power of two of ``terms`` of one shape, two by two; log2 of their number cycles later."""
    level = 0
    while len(terms) > 1:
        shape = terms[0].shape()
        wider = signed(shape.width + 1) if shape.signed else unsigned(shape.width + 1)
        sums = [Signal(wider, name=f"{name}_level{level}_{i}", reset_less=True) for i in range(len(terms) // 2)]
        m.d.sync += [s.eq(terms[2 * i] + terms[2 * i + 1]) for i, s in enumerate(sums)]
        terms, level = sums, level + 1
    return terms[0]


def top_of_four(m, values: list, name: str) -> Signal:
    """The largest of up to four ``values`` (a power of two of them), a cycle later."""
    top = Signal(values[0].shape(), name=name, reset_less=True)
    while len(values) > 1:
        values = [Mux(x > y, x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
    m.d.sync += top.eq(values[0])
    return top
