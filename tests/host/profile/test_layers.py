# SPDX-License-Identifier: Apache-2.0
"""Layers of a run: their cycles and bytes, and what bounds them."""

from golden.iss.trace import Entry
from golden.spec.isa import Opcode
from golden.spec.machine import NANO
from golden.spec.program.image import Symbol
from host.performance.layers import part_of
from host.profile.layers import layers, total
from host.profile.table import bound
from host.profile.timing import Timed

LOAD, NORM, LINEAR, STORE = Opcode.LOAD, Opcode.NORM, Opcode.LINEAR, Opcode.STORE


def entry(index, opcode, **fields):
    usual = {"rows": 2, "blocks": 1, "tokens": 4, "tiles": 1, "slices": 1, "packed": 0,
             "reuse_weights": 0, "src_wide": 0}
    return Entry(index, opcode, usual | fields)


def timed(*ends):
    names = ("patches", "blocks.0.norm1", "patch_embed", "blocks.0.attn.q", "residual.a", "residual.a")
    opcodes = (LOAD, NORM, LINEAR, LINEAR, STORE, STORE)
    items = [Timed(entry(index, opcode), 0, end) for index, (opcode, end) in enumerate(zip(opcodes, ends, strict=True))]
    return items, [Symbol(name, "") for name in names]


def test_cycles_belong_to_what_the_array_ends_next():
    """The norm and the first STORE end while the array works and take no cycles from its layers; the last STORE ends
    after it and has the rest."""
    found = {layer.name: layer for layer in layers(*timed(10, 30, 40, 90, 60, 100), NANO, name=part_of)}
    assert {name: layer.cycles for name, layer in found.items()} == {
        "embedding": 40, "blocks.0.attn": 50, "residual": 10}
    assert found["embedding"].loaded == 128 and found["residual"].stored == 256


def test_a_program_without_products_has_cycles():
    items, symbols = timed(10, 30, 40, 90, 60, 100)
    found = layers([item for item in items if item.entry.opcode in (LOAD, STORE)], symbols, NANO)
    assert {layer.name: layer.cycles for layer in found} == {"embedding": 10, "residual": 90}


def test_total_and_bound():
    first, second = layers(*timed(10, 30, 40, 90, 60, 100), NANO)[:2]
    assert total([first, second]).cycles == first.cycles + second.cycles
    first.cycles, first.steps, first.waited = 100, 80, 0
    assert bound(first) == "array"
    first.steps, first.waited = 30, 40
    assert bound(first) == "weights"
    first.waited = 30
    assert bound(first) == "units"
    first.steps = 0
    assert bound(first) == "port"
    first.loaded = first.stored = 0
    assert bound(first) == "units"
    first.cycles = 0
    assert bound(first) == "hidden"
