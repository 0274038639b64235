# SPDX-License-Identifier: Apache-2.0
"""Layers of a run: names, kinds, and whose the cycles are where units overlap."""

import pytest

from golden.iss.trace import Entry
from golden.spec.isa import Opcode
from golden.spec.machine import NANO
from golden.spec.program.image import Symbol
from host.profile.layers import block_of, kind_of, layers, part_of, total
from host.profile.table import bound
from host.profile.timing import Timed

LOAD, NORM, LINEAR, STORE = Opcode.LOAD, Opcode.NORM, Opcode.LINEAR, Opcode.STORE


@pytest.mark.parametrize("symbol, block, part", [
    ("patch_embed", "embedding", "embedding"), ("pos_embed", "embedding", "embedding"),
    ("blocks.11.norm1.kept", "blocks.11", "blocks.11.attn"), ("blocks.3.attn", "blocks.3", "blocks.3.attn"),
    ("blocks.3.prompts", "blocks.3", "blocks.3.attn"), ("blocks.3.norm2", "blocks.3", "blocks.3.ffn"),
    ("blocks.3.gate.a.b.route", "blocks.3", "blocks.3.ffn"), ("blocks.3.mlp.fc2", "blocks.3", "blocks.3.ffn"),
    ("heads.depth.norm", "heads.depth.norm", "heads.depth.conv_0"),
    ("heads.depth.conv_1.3", "heads.depth.conv_1", "heads.depth.conv_1"),
    ("heads.depth.map_0", "heads.depth.map_0", "heads.depth.conv_1"),
    ("heads.depth.up_0", "heads.depth.up_0", "heads.depth.conv_1"),
    ("heads.depth.up_2", "heads.depth.up_2", "heads.depth.last"),
    ("heads.depth.conv_4.7", "heads.depth.last", "heads.depth.last"), ("heads.depth", "heads.depth.last",
                                                                      "heads.depth.last"),
    ("heads.a.b.conv_0", "heads.a.b.conv_0", "heads.a.b.conv_0"), ("heads.a.b", "heads.a.b.last", "heads.a.b.last"),
    ("residual.depth", "residual", "residual"), ("head", "head", "head")])
def test_names(symbol, block, part):
    assert block_of(symbol) == block and part_of(symbol) == part


def test_kinds():
    assert [kind_of(layer, False) for layer in ("embedding", "blocks.0.attn", "blocks.0.ffn", "heads.a.conv_0", "head",
                                                "residual")] == [
        "patch embedding", "attention", "dense FFN", "convolution", "classifier", "transfer"]
    assert kind_of("blocks.0.ffn", True) == "MoE FFN"


def entry(index, opcode, **fields):
    usual = {"rows": 2, "blocks": 1, "tokens": 4, "tiles": 1, "slices": 1, "packed": 0, "reuse_weights": 0}
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
