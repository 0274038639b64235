# SPDX-License-Identifier: Apache-2.0
"""Plans of heads: they fit the machine, their maps do not overlap, and the full head keeps its figures on zcu102."""

import random
from dataclasses import replace

import pytest

from golden.spec import machine, model
from golden.spec.heads import HeadConfig
from golden.spec.machine import LINE, MACHINES, PARAM_LINES
from golden.spec.quantized import HeadPlan
from golden.spec.tiling import linear_lines
from host.compiler.heads.plan import Fate, Room, place, plan_head
from host.compiler.heads.shape import head_shape
from host.ir.nodes import NotFitting

RNG = random.Random(4)
MANY = [(RNG.choice(list(MACHINES)), RNG.randint(2, 16), RNG.randint(2, 24), 32 * RNG.randint(1, 12),
         RNG.randint(64, 256), RNG.choice([1, 3, 7, 40]), RNG.random() < 0.5, RNG.random() < 0.5)
        for _ in range(60)]
MANY += [("u280", 30, 40, 384, 256, 40, False, False), ("zcu102", 8, 16, 192, 256, 7, False, False)]


def planned(target, height, width, dim, channels, classes, norm=False, last=False, residual=None):
    config = replace(model.NANO, image_height=16 * height, image_width=16 * width, patch=16, dim=dim, heads=1)
    shape = head_shape(config, HeadConfig("t", "semseg", classes, channels), HeadPlan(norm, last))
    return shape, plan_head(shape, Room(target, residual or target.residual_rows), "It")


def check(shape, levels, target, residual):
    size, placed = place(levels)
    assert size <= target.operand_rows
    for at, before in zip(placed, (None, *placed), strict=False):
        level, conv = at.level, at.level.conv
        spans = [(at.source, at.source + level.source_rows), (at.enlarged, at.enlarged + level.enlarged_rows)]
        if level.result is Fate.KEPT:
            spans.append((at.results[0], at.results[0] + conv.height * conv.width * conv.out_stride))
        else:
            assert len(at.results) == (2 if level.result is Fate.STORED else 1)
            spans += [(row, row + level.band * level.tile * conv.out_stride) for row in at.results]
        spans = sorted(span for span in spans if span[0] < span[1])
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False)) and spans[-1][1] <= size
        if level.source is Fate.KEPT:
            assert level.slots == conv.source[0]
            assert before is None or (before.level.result is Fate.KEPT and before.results[0] == at.source)
        else:
            assert before.level.result is Fate.STORED
        results = [job.positions for job in level.jobs]
        assert sum(results) == conv.height * conv.width and max(results) <= 4095
        assert all(len(job.columns) <= 1023 and len(job.lines) <= 255 for job in level.jobs)
        weights = conv.tiles * conv.slices
        if level.result is Fate.CONSUMED:
            weights += shape.last_tiles * shape.last_slices
            assert level.buffers * level.band * level.tile * shape.last_tiles <= residual
        assert level.retain == (weights <= target.ring_slices)


@pytest.mark.parametrize("name, height, width, dim, channels, classes, norm, last", MANY)
def test_plans_fit(name, height, width, dim, channels, classes, norm, last):
    target = replace(MACHINES[name], program_depth=4096)
    residual = max(target.residual_rows // 4, target.residual_rows - height * width * dim // 32)
    while True:
        try:
            shape, levels = planned(target, height, width, dim, channels, classes, norm, last, residual)
            break
        except NotFitting as refusal:  # then a machine with more memory holds it
            assert "has no strip of heads.t.conv_" in str(refusal) and "Take a larger machine" in str(refusal)
            assert target.operand_rows < 1 << 16
            target = replace(target, operand_rows=2 * target.operand_rows)
    check(shape, levels, target, residual)


@pytest.mark.parametrize("rows", [4096, 2048, 1536, 1024, 768])
def test_less_memory_gives_smaller_strips(rows):
    target = replace(machine.ZCU102, operand_rows=rows, residual_rows=512)
    shape, levels = planned(target, 8, 16, 192, 128, 7)
    check(shape, levels, target, 512)
    assert rows > 1024 or any(level.strips or level.tile < level.conv.width for level in levels)


def test_a_full_head_on_zcu102():
    """The price in lines and instructions of the head that the accelerator is made for."""
    shape, levels = planned(machine.ZCU102, 8, 16, 192, 256, 7, residual=4096 - 774)
    assert [level.result for level in levels] == [Fate.KEPT, Fate.KEPT, Fate.STORED, Fate.CONSUMED]
    assert all(level.retain for level in levels)
    lines = once = 0
    for level in levels:
        conv, again = level.conv, len(level.jobs) - 1
        once += linear_lines(conv.tiles, conv.slices)
        lines += again * conv.tiles * PARAM_LINES
        if level.result is Fate.STORED:
            once += 2 * conv.height * conv.width * conv.out_stride
            lines -= conv.height * conv.width * conv.out_stride
        if level.source is Fate.STORED:
            lines += sum(load.count * len(job.stored) * conv.stride for job in level.jobs for load in job.loads)
    last = levels[-1]
    once += linear_lines(1, shape.last_slices) + shape.height * shape.width
    lines += (len(last.jobs) - 1) * PARAM_LINES
    assert lines <= 0.04 * once, (lines, once)


def test_a_refusal_names_the_convolution():
    with pytest.raises(NotFitting, match=f"It has no strip of heads.t.conv_0, 16 x 16 positions of {6 * LINE} bytes"):
        planned(machine.NANO, 16, 16, 384, 64, 7)
