# SPDX-License-Identifier: Apache-2.0
"""Strips of a map: every result once, and the strip around it is that of the whole map, however it is cut."""

import random

import numpy as np
import pytest

from golden.ops.upsample import upsample
from golden.spec.isa import Edge
from host.compiler.heads.strips import Cuts, Span, around, cut, halved, in_slots, jobs, tile_step, to_load

RNG = random.Random(3)
CASES = [(2 * RNG.randint(2, 20), 2 * RNG.randint(2, 20), doubled, RNG.random() < 0.5)
         for doubled in (False, True) for _ in range(60)]


def strip_of(job, source, slots, memory):
    """The strip around a tile, put together from slots as the program does it."""
    for load in job.loads:
        for i in range(load.count):
            memory[load.slot + i] = source[load.first + i, job.stored.first:job.stored.end]
    columns = slice(job.source_columns.first - job.stored.first, job.source_columns.end - job.stored.first)
    parts = []
    for part in job.parts:
        assert part.count > 1 and part.slot + part.count <= slots
        lines = np.stack([memory[part.slot + i][columns] for i in range(part.count)])
        side = job.edges & (Edge.LEFT | Edge.RIGHT)
        side |= job.edges & Edge.TOP if part is job.parts[0] else 0
        side |= job.edges & Edge.BOTTOM if part is job.parts[-1] else 0
        parts.append(upsample(lines, side))
    return np.concatenate(parts)


@pytest.mark.parametrize("height, width, doubled, strips", CASES)
def test_every_result_is_computed_once_from_its_neighbours(height, width, doubled, strips):
    scale = 2 if doubled else 1
    source = np.random.default_rng(height).integers(0, 256, (height // scale, width // scale, 1)).astype(np.uint8)
    whole = upsample(source, sum(Edge)) if doubled else source
    for _ in range(5):
        unit = 2 if doubled else 1
        band, tile = (unit * RNG.randint(1, length // unit) for length in (height, width))
        needed = min(len(source), max(len((halved if doubled else around)(part, len(source)))
                                      for part in cut(height, band)) + 1)
        slots = RNG.choice([needed, min(needed + 1, len(source)), len(source)]) if doubled else len(source)
        counts, memory = np.zeros((height, width), int), {}
        for job in jobs(height, width, doubled, band, tile, slots, strips):
            counts[job.lines.first:job.lines.end, job.columns.first:job.columns.end] += 1
            y, x = around(job.lines, height), around(job.columns, width)
            wanted = whole[y.first:y.end, x.first:x.end]
            if doubled:
                np.testing.assert_array_equal(strip_of(job, source, slots, memory), wanted)
            else:
                lines, columns = job.source_lines, job.source_columns
                np.testing.assert_array_equal(source[lines.first:lines.end, columns.first:columns.end], wanted)
        assert (counts == 1).all()


def test_no_line_is_loaded_more_often_than_its_slots_need():
    for length, slots, band in ((32, 9, 4), (32, 6, 6), (120, 7, 8), (32, 32, 8)):
        loaded = [line for job in jobs(2 * length, 8, True, band, 8, slots, False) for load in job.loads
                  for line in range(load.first, load.first + load.count)]
        again = [line for line in set(loaded) if loaded.count(line) > 1]
        assert set(loaded) == set(range(length)) and len(loaded) - length == len(again)
        assert again == ([] if slots == length else list(range(slots - 1, length - 1, slots - 1)))


def test_cut_sums():
    for length in range(2, 40, 2):
        for step in range(2, length + 1, 2):
            cuts, parts = Cuts(length, step), cut(length, step)
            assert cuts.count == len(parts) and sum(n * k for n, k in cuts.parts.items()) == length
            assert cuts.widest == max(len(around(part, length)) for part in parts)
            assert cuts.with_neighbours == sum(len(around(part, length)) for part in parts)
            assert cuts.widest_source == max(len(halved(part, length // 2)) for part in parts)


def test_small_functions():
    assert tile_step(128, 3, 4) == 44 and tile_step(10, 1, 4) == 10
    assert [(p.first, p.slot, p.count) for p in in_slots(Span(7, 11), 9, 32)] == [(7, 7, 2), (8, 0, 3)]
    held = {0: 5}
    assert to_load(in_slots(Span(5, 8), 6, 32), held) == to_load(in_slots(Span(5, 8), 6, 32), {0: 5})
    assert held == {0: 5, 1: 6, 2: 7}
