# SPDX-License-Identifier: Apache-2.0
"""Lowering, regions, waits, refusals: what the compiler promises about every program."""

from dataclasses import replace

import numpy as np
import pytest

from golden.iss import run_image
from golden.model.random_int_model import random_int_model
from golden.spec import isa, machine, model
from golden.spec.isa import Dest, Opcode, Unit
from golden.spec.tiling import ceil_div, slices, tiles
from host.compiler import allocate as allocation
from host.compiler.allocate import allocate
from host.compiler.compile import compile_model
from host.driver.layout import find, prepare_input, read_output
from host.ir.nodes import Access, Memory, Node, NotFitting, Region
from tests.host.support.compiled import PLANS, SMALL_DEIT, TINY, compiled, picture

# -- shapes

@pytest.mark.parametrize("config, target", [
    (replace(model.DEIT_TINY, depth=2), machine.ZCU102), (SMALL_DEIT, machine.ZCU102), (TINY, machine.U280),
], ids=lambda v: v.name)
@pytest.mark.parametrize("plan", PLANS)
def test_vit_shapes_run(config, target, plan):
    network, image = compiled(config, target, plan)
    pixels = picture(config)
    out = run_image(image, prepare_input(pixels, image.input))
    wanted = network.run(pixels)
    np.testing.assert_array_equal(read_output(out, find(image.results(), "features")), wanted)
    if config.classes:
        np.testing.assert_array_equal(read_output(out, find(image.results(), "logits")), network.logits(wanted))


@pytest.mark.parametrize("config, target", [
    (model.M3VIT_TINY, machine.ZCU102), (model.DEIT_TINY, machine.ZCU102), (model.DEIT_SMALL, machine.ZCU102),
    (model.NANO, machine.NANO), (model.NANO, machine.SMALL)], ids=lambda v: v.name)
@pytest.mark.parametrize("plan", PLANS)
def test_reference_models_fit(config, target, plan):
    _, image = compiled(config, target, plan)
    assert len(image.programs) == (3 if config.moe_layers else 1)


def test_the_largest_model_fits_the_largest_machine():
    for plan, depth in (("fast", 12), ("accurate", 2)):
        config = replace(model.M3VIT_SMALL, depth=depth, moe_layers=tuple(range(1, depth, 2)))
        _, image = compiled(config, machine.U280, plan)
        assert list(image.programs) == ["task0", "task1"]  # both at once would need twice the residual stream


def test_long_hidden_operands_are_cut_into_token_ranges():
    _, image = compiled(SMALL_DEIT, machine.ZCU102, "accurate")
    linears = [fields for word in image.words() for opcode, fields in [isa.decode(word)] if opcode is Opcode.LINEAR]
    up = [f["tokens"] for f in linears if f["activation"]]
    assert up == [66, 66, 66] * 2 and len({f["stream"] for f in linears if f["activation"]}) == 2
    _, image = compiled(SMALL_DEIT, machine.U280, "accurate")
    assert [isa.decode(w)[1].get("tokens") for w in image.words() if isa.decode(w)[1].get("activation")] == [198, 198]


# -- refusals

SHORT_RING = replace(machine.NANO, ring_lines=256)

@pytest.mark.parametrize("config, target, words", [
    (model.M3VIT_SMALL, machine.ZCU102, "'m3vit-small' has 1201 tokens; the machine 'zcu102' holds 1024"),
    (replace(model.M3VIT_TINY, image_height=16), SHORT_RING, "has 768 inputs of a linear .*; .* 'nano' holds 512"),
    (model.NANO, replace(machine.NANO, residual_rows=64),
     r"has 66 residual rows of 32 channels \(33 tokens x 2\); the machine 'nano' holds 64"),
    (replace(model.NANO, experts=64, top_k=8), replace(machine.NANO, operand_rows=4096, ring_lines=96),
     r"has 16 blocks of gate weights in the ring \(64 experts, dim 64\); the machine 'nano' holds 12"),
    (model.NANO, replace(machine.NANO, operand_rows=64),
     r"needs 6656 bytes of operand memory \(blocks.1.normalized 4224, blocks.1.norm2 2112, blocks.1.mlp.fc1 320\); "
     "the machine 'nano' has 4096: 2560 too few"),
    (model.NANO, replace(machine.NANO, operand_rows=128), None),
    (model.NANO, replace(machine.NANO, kv_tiles=8), None),
    (replace(model.NANO, dim=128), replace(machine.NANO, kv_tiles=8, operand_rows=4096, residual_rows=1024),
     r"has 16 K tiles of 32 keys x 16 channels \(33 tokens, dim 128\); the machine 'nano' holds 8"),
    (model.NANO, replace(machine.NANO, queue_depth=16), None),
    (model.NANO, replace(machine.NANO, program_depth=16), "program memory; .*has 512: 352 too few"),
    (replace(model.NANO, mlp_hidden=1024), SHORT_RING, "has 1024 inputs of a linear"),
    (replace(model.NANO, patch=32, image_height=64), SHORT_RING, "has 3072 inputs of a linear .*holds 512"),
    (replace(model.NANO, mlp_hidden=512), replace(machine.NANO, operand_rows=1024), None),
], ids=lambda v: v if isinstance(v, str) else getattr(v, "name", "fits"))
def test_what_does_not_fit_is_refused_in_a_sentence(config, target, words):
    network = random_int_model(config)
    if words is None:  # smaller than comfortable, and still enough
        compile_model(network, target)
        return
    with pytest.raises(NotFitting, match=words):
        compile_model(network, target)


def uses(*sets):
    return [Node(Opcode.NORM, "n", writes=tuple(map(Access, regions))) for regions in sets]


def region(name, size):
    return Region(name, Memory.OPERAND, size, 1)


def test_regions_alive_together_do_not_overlap():
    rng = np.random.default_rng(8)
    for _ in range(50):
        regions = [region(f"r{i}", int(rng.integers(1, 30))) for i in range(12)]
        starts, lengths = rng.integers(0, 20, 12), rng.integers(1, 6, 12)
        nodes = uses(*[[r for r, s, n in zip(regions, starts, lengths, strict=True) if s <= t < s + n]
                       for t in range(26)])
        used = allocate(nodes, replace(machine.NANO, operand_rows=256), "It")
        assert used[Memory.OPERAND] <= 256
        for node in nodes:
            spans = sorted(access.interval for access in node.writes)
            assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_tight_memory_is_packed_or_refused_in_words(monkeypatch):
    tight = replace(machine.NANO, operand_rows=64)
    regions = [region(name, size) for name, size in zip("abcde", (16, 16, 32, 24, 24), strict=True)]
    a, b, c, d, e = regions
    nodes = uses((a,), (c, e), (b, d, e), (d, e))
    assert allocate(nodes, tight, "It")[Memory.OPERAND] == 64  # not in the order in which they come
    monkeypatch.setattr(allocation, "_orders", lambda regions, lives: [])
    with pytest.raises(NotFitting, match="It needs 4096 of the 4096 bytes of operand memory .* do not pack"):
        allocate(nodes, tight, "It")


# -- regions and waits, from the instruction words alone

def rows(base, index, tokens, queue, stride, count):
    """Rows [start, end) an operand or result may touch; a queue may name any of ``queue`` tokens."""
    n = queue if index else tokens
    return (base, base + (n - 1) * stride + count)


def touches(image, fields, opcode, task_tokens):
    """(reads, writes) as (memory, start, end) of one instruction."""
    f, reads, writes = fields, [], []
    if opcode in (Opcode.LOAD, Opcode.STORE):
        (writes if opcode is Opcode.LOAD else reads).append((f["memory"], f["row"], f["row"] + f["rows"]))
    elif opcode is Opcode.COPY:
        reads.append((1, f["src_row"], f["src_row"] + f["rows"]))
        writes.append((1, f["dst_row"], f["dst_row"] + f["rows"]))
    elif opcode is Opcode.NORM:
        count = ceil_div(f["blocks"], 2)
        reads.append((1, *rows(f["src_row"], 0, f["tokens"], 0, f["src_stride"], f["blocks"])))
        for on, row, stride, plane in ((1, f["dst_row"], f["dst_stride"], f["dst_plane"] if f["wide"] else 0),
                                       (f["normalized"], f["normalized_row"], f["normalized_stride"],
                                        f["normalized_plane"])):
            if on:
                writes.append((0, *rows(row, 0, f["tokens"], 0, stride, count + plane)))
    elif opcode is Opcode.LINEAR:
        plane = f["src_plane"] if f["src_wide"] else 0
        reads.append((0, *rows(f["src_row"], f["src_index"], f["tokens"], task_tokens, f["src_stride"],
                               ceil_div(f["slices"], 4) + plane)))
        dest = Dest(f["dst"])
        if dest is Dest.RESIDUAL:
            span = (1, *rows(f["dst_row"], f["dst_index"], f["tokens"], task_tokens, f["dst_stride"], f["tiles"]))
            writes.append(span)
            reads += [span] if f["accumulate"] else []
        elif dest in (Dest.OPERAND8, Dest.OPERAND16):
            plane = f["dst_plane"] if dest is Dest.OPERAND16 else 0
            writes.append((0, *rows(f["dst_row"], f["dst_index"], f["tokens"], task_tokens, f["dst_stride"],
                                    ceil_div(f["tiles"], 2) + plane)))
        elif dest is Dest.KEY:
            writes.append((2, f["dst_row"], f["dst_row"] + tiles(f["tokens"]) * f["dst_stride"]))
        elif dest is Dest.VALUE:
            writes.append((3, f["dst_row"], f["dst_row"] + f["tiles"] * f["dst_stride"]))
        if f["src_index"] or f["dst_index"]:
            reads.append((4, 0, 1))
    elif opcode is Opcode.ATTENTION:
        width = f["heads"] * f["head_slices"]
        reads += [(0, *rows(f["q_row"], 0, f["queries"], 0, f["q_stride"], ceil_div(width, 4))),
                  (2, f["key_tile"], f["key_tile"] + tiles(f["keys"]) * f["key_pitch"]),
                  (3, f["value_tile"], f["value_tile"] + width // 2 * slices(f["keys"]))]
        writes.append((0, *rows(f["dst_row"], 0, f["queries"], 0, f["dst_stride"],
                                ceil_div(width, 4) + (f["dst_plane"] if f["wide"] else 0))))
    elif opcode is Opcode.GATE:
        writes.append((4, 0, 1))
    elif opcode is Opcode.EXPERTS:
        reads.append((4, 0, 1))
    return reads, writes


UNIT = {Opcode.LOAD: Unit.DMA, Opcode.STORE: Unit.DMA, Opcode.COPY: Unit.DMA, Opcode.NORM: Unit.NORM,
        Opcode.LINEAR: Unit.ARRAY, Opcode.ATTENTION: Unit.ARRAY, Opcode.GATE: Unit.GATE}


def unrolled(words):
    """Instructions in the order of execution, the body of EXPERTS twice."""
    decoded = [isa.decode(word) for word in words]
    at = 0
    while at < len(decoded):
        yield at, *decoded[at]
        if decoded[at][0] is Opcode.EXPERTS:
            body = range(at + 1, at + 1 + decoded[at][1]["body"])
            for step in (*body, *body):
                yield step, *decoded[step]
            at = body[-1]
        at += 1


def hazards(image, words):
    """Pairs (earlier, later) of instructions that could meet in flight, although one needs the other's outcome."""
    flying, found, tokens = {unit: [] for unit in Unit}, [], 0
    for at, opcode, fields in unrolled(words):
        if opcode is Opcode.GATE:  # queues name tokens up to its last
            tokens = max(tokens * fields["append"], fields["first_token"] + fields["tokens"])
        for unit in Unit(fields["wait"]):
            flying[unit].clear()
        reads, writes = touches(image, fields, opcode, tokens)
        mine = UNIT.get(opcode)
        for unit, earlier in flying.items():
            for other, (other_reads, other_writes) in earlier:
                def meet(one, two):
                    return any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in one for b in two)

                after_write = [r for r in reads if not (unit is mine is Unit.ARRAY and r[0] == 1)]
                if meet(after_write, other_writes) or (
                        unit is not mine and (meet(writes, other_reads) or meet(writes, other_writes))):
                    found.append((other, at))
        if mine:
            flying[mine].append((at, (reads, writes)))
    return found


@pytest.mark.parametrize("config, target", [(model.NANO, machine.NANO), (TINY, machine.ZCU102),
                                            (SMALL_DEIT, machine.ZCU102)], ids=lambda v: v.name)
@pytest.mark.parametrize("plan", PLANS)
def test_waits_keep_every_dependence_and_no_more(config, target, plan):
    _, image = compiled(config, target, plan)
    for task in image.programs:
        words = image.words(task)
        assert hazards(image, words) == []
        for at, word in enumerate(words):
            opcode, fields = isa.decode(word)
            for unit in Unit(fields["wait"]):
                fewer = isa.encode(opcode, **(fields | {"wait": fields["wait"] & ~unit}))
                assert hazards(image, [*words[:at], fewer, *words[at + 1:]]), (task, at, unit)


def test_independent_linears_overlap():
    _, image = compiled(model.M3VIT_TINY, machine.ZCU102)
    waits = {}
    for symbol, word in zip(image.symbols["task0"], image.words("task0"), strict=True):
        waits.setdefault(symbol.name, isa.decode(word)[1]["wait"])  # of several parts, the first
    assert waits["blocks.3.attn.k"] == waits["blocks.3.attn.v"] == 0 and waits["blocks.3.mlp.fc1"] == 0
    assert waits["blocks.3.attn.q"] == Unit.NORM and waits["blocks.3.attn"] == Unit.ARRAY


@pytest.mark.parametrize("plan", PLANS)
def test_no_instruction_destroys_what_is_still_needed(plan):
    """Every operand row read was written by the instruction that the network means, not by a later one."""
    _, image = compiled(TINY, machine.ZCU102, plan)
    for task in image.programs:
        names = [symbol.name for symbol in image.symbols[task]]
        owner = np.full(machine.ZCU102.operand_rows, -1)
        tokens = TINY.tokens * len(image.tasks(task))
        for at, word in enumerate(image.words(task)):
            opcode, fields = isa.decode(word)
            reads, writes = touches(image, fields, opcode, tokens)
            for memory, start, end in reads:
                if memory == 0:
                    makers = {names[i] for i in owner[start:end] if i >= 0}
                    assert len(makers) == 1, (names[at], makers)
                    assert makers <= {"patches", *(names[i] for i in range(at))}
            for memory, start, end in writes:
                if memory == 0:
                    owner[start:end] = at
