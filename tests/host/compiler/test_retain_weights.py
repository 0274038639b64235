# SPDX-License-Identifier: Apache-2.0
"""Retained weights: the right ones stay in the ring, come once from DRAM, and are never more than allowed."""

from collections import Counter
from dataclasses import replace

import pytest

from golden.spec import isa, machine, model
from golden.spec.isa import Opcode, stream_lines
from golden.spec.machine import PARAM_LINES, SLICE_LINES
from golden.spec.tiling import linear_tile_lines
from host.compiler.passes import retain_weights
from host.ir.nodes import Node
from host.ir.weight_ring import most_retained
from tests.host.support.compiled import PLANS, SMALL_DEIT, TINY, compiled


def slices_of(fields: dict) -> list[int]:
    """First stream line of each slice of a LINEAR's weights, in the order in which the ring holds them."""
    return [fields["stream"] + tile * linear_tile_lines(fields["slices"]) + PARAM_LINES + n * SLICE_LINES
            for tile in range(fields["tiles"]) for n in range(fields["slices"])]


def followed(words: list[int], most: int) -> Counter:
    """How often each slice comes from DRAM, bodies of EXPERTS left out; what is retained is tracked and checked."""
    read, held, body = Counter(), [], 0
    for opcode, fields in map(isa.decode, words):
        inside, body = body > 0, fields["body"] if opcode is Opcode.EXPERTS else max(0, body - 1)
        assert not (opcode is Opcode.EXPERTS and held)
        assert not (inside and (fields.get("retain_weights") or fields.get("reuse_weights")))
        if opcode is not Opcode.LINEAR or inside:
            continue
        wanted = slices_of(fields)
        if fields["reuse_weights"]:
            end = fields["reuse_offset"] + len(wanted)
            assert held[fields["reuse_offset"]:end] == wanted, "other weights are retained there"
        else:
            read.update(wanted)
            held, end = held + wanted, len(held) + len(wanted)
        held = held if fields["retain_weights"] else held[end:] if fields["reuse_weights"] else []
        assert len(held) <= most
    return read


@pytest.mark.parametrize("config, target", [
    (model.NANO, machine.NANO), (TINY, machine.ZCU102), (SMALL_DEIT, machine.ZCU102), (TINY, machine.U280),
    (model.NANO, replace(machine.NANO, ring_lines=96))], ids=lambda v: v.name)
@pytest.mark.parametrize("plan", PLANS)
def test_reused_weights_are_the_retained_ones(config, target, plan):
    _, image = compiled(config, target, plan)
    for task in image.programs:
        followed(image.words(task), most_retained(target))


@pytest.mark.parametrize("plan", PLANS)
def test_no_weight_comes_twice(plan):
    _, image = compiled(model.M3VIT_TINY, machine.ZCU102, plan)
    for task in image.programs:
        words = image.words(task)
        assert set(followed(words, most_retained(machine.ZCU102)).values()) == {1}
        assert sum(isa.decode(word)[1].get("reuse_weights", 0) for word in words) > 20, "hardly anything was cut"


def test_a_ring_too_small_to_retain_reads_again():
    tight = replace(machine.ZCU102, ring_lines=512)
    _, image = compiled(TINY, tight)
    assert max(followed(image.words("task0"), most_retained(tight)).values()) > 1


def linears(text: str, slices: int = 10) -> list[Node]:
    """A LINEAR for each letter, all different; ``|`` is EXPERTS."""
    return [Node(Opcode.EXPERTS, "experts") if letter == "|" else
            Node(Opcode.LINEAR, letter, {"tiles": 2, "slices": slices, "dst": 0}, payload=letter) for letter in text]


@pytest.mark.parametrize("text, retain, reuse, offset", [
    ("ab", "00", "00", [0, 0]), ("aa", "10", "01", [0, 0]), ("aaa", "110", "011", [0, 0, 0]),
    ("aab", "100", "010", [0, 0, 0]), ("abab", "1100", "0011", [0, 0, 0, 0]),
    ("aabb", "1010", "0101", [0, 0, 0, 0]), ("abcacb", "111000", "000110", [0, 0, 0, 0, 20, 0]),
    ("a|a", "0.0", "0.0", [0, None, 0]), ("aa|bb", "10.10", "01.01", [0, 0, None, 0, 0]),
    # What was loaded in between would remain: nothing frees it before EXPERTS or the end.
    ("aba", "000", "000", [0, 0, 0]), ("abac", "1100", "0010", [0, 0, 0, 0]),
    ("abba", "0100", "0010", [0, 0, 0, 0]), ("abac|", "1100.", "0010.", [0, 0, 0, 0, None])])
def test_fields(text, retain, reuse, offset):
    nodes = linears(text)
    nodes = retain_weights(nodes, machine.ZCU102)
    for name, wanted in (("retain_weights", retain), ("reuse_weights", reuse)):
        assert "".join(str(node.fields.get(name, ".")) for node in nodes) == wanted, name
    assert [node.fields.get("reuse_offset") for node in nodes] == offset


def test_what_lies_too_far_apart_is_not_retained():
    most = most_retained(machine.ZCU102)
    nodes = linears("abab", most // 4)
    nodes = retain_weights(nodes, machine.ZCU102)
    assert [node.fields["reuse_weights"] for node in nodes] == [0, 0, 1, 1]
    nodes = linears("abab", most // 4 + 1)
    nodes = retain_weights(nodes, machine.ZCU102)
    assert not any(node.fields["reuse_weights"] or node.fields["retain_weights"] for node in nodes)
    read, again = (stream_lines(Opcode.LINEAR, nodes[0].fields | {"reuse_weights": reuse}, machine.ZCU102).lines
                   for reuse in (0, 1))
    assert read > again == 2 * PARAM_LINES
