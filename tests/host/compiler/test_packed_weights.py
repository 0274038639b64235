# SPDX-License-Identifier: Apache-2.0
"""Packed weights: where the stream has them, what a frame reads of DRAM with them, and what that saves where weights
bind."""

from dataclasses import replace

import numpy as np
import pytest

from golden.iss.run import run_image
from golden.model.reference_data import reference_folder, reference_image
from golden.spec import model
from golden.spec.isa import INSTRUCTION_BYTES, Opcode, decode, stream_lines
from golden.spec.machine import LINE, NANO, SLICE_LINES, SMALL, TN, U280, ZCU102
from golden.spec.quantized import Plan
from golden.spec.tables import WEIGHT_LEVELS
from host.compiler import weight_stream as lay
from host.compiler.compile import compile_model, plan_program
from host.compiler.skeleton import empty
from host.compiler.weight_stream import Stream
from host.driver.layout import prepare_input
from host.importers import import_checkpoint
from host.ir.nodes import flat
from host.performance.cycles import best_block
from host.performance.estimate import estimate
from host.quantizer.crops import crops
from host.quantizer.quantize import quantize

MOST = 0.65
"""Bytes of a frame of the plan w4, relative to the same operands, and to the plan fast, with a byte a weight."""


@pytest.mark.parametrize("target", [NANO, SMALL, ZCU102], ids=lambda m: m.name)
def test_each_weight_has_its_half_of_its_byte(target):
    rng = np.random.default_rng(target.tk)
    weight = rng.choice(WEIGHT_LEVELS, (40, 96)).astype(np.int8)
    rows = lay.weights(weight, target, packed=True).reshape(2, -1, target.row_bytes)
    assert rows.size == 2 * TN * 96 // 2
    for channel, i in zip(rng.integers(0, 40, 200), rng.integers(0, 96, 200), strict=True):
        tile, column = divmod(channel, TN)
        step, place = divmod(i, target.tk)
        byte = rows[tile, step // 2, column * target.tk + place]
        assert WEIGHT_LEVELS[byte >> 4 if step % 2 else byte & 15] == weight[channel, i], (channel, i)


def frame_bytes(config, plan, target=ZCU102) -> float:
    """Bytes from and to DRAM of a frame of the first task whose tokens hit all experts alike."""
    nodes = flat(plan_program(empty(config, plan), target, Stream(), config.tasks[:1]))
    return sum(estimate(node, target).bytes for node in nodes) + INSTRUCTION_BYTES * len(nodes)


def test_a_frame_reads_less_than_65_hundredths():
    config = model.M3VIT_TINY
    fast, accurate, packed = (frame_bytes(config, getattr(Plan, name)(config.depth))
                              for name in ("fast", "accurate", "w4"))
    assert packed / fast <= MOST and packed / accurate <= MOST
    # Half of the experts' weights, and a few parameters: fewer tokens need to pass their gate early.
    assert accurate - packed == pytest.approx(6 * 16 * 2 * config.expert_hidden * config.dim / 2, rel=0.01)


def test_dense_networks_save_half_of_their_ffns():
    config = model.MODELS["deit-tiny"]
    accurate, packed = (frame_bytes(config, plan)
                        for plan in (Plan.accurate(config.depth), Plan.w4(config.depth, dense=True)))
    assert accurate - packed == pytest.approx(config.depth * 2 * config.mlp_hidden * config.dim / 2, rel=0.01)


def test_blocks_of_tiles_use_the_space_that_packing_leaves():
    """Half of the ring holds two tiles of 48 slices, or four packed ones, with which no operand row is waited for."""
    target, f = replace(U280, ring_lines=2 * 2 * 48 * SLICE_LINES), {"tiles": 8, "slices": 48, "src_wide": 0, "dst": 0}
    assert [best_block(target, f | {"packed": packed}) for packed in (0, 1)] == [1, 3]


@pytest.mark.slow
@pytest.mark.skipif(reference_folder() is None, reason="the folder of reference weights is not here")
def test_the_street_frame_reads_less_than_65_hundredths():
    """Counted on a run of the program: every line of the weight stream, LOAD, STORE, and the program itself; compared
    with the same instructions, experts and tokens at a byte a weight."""
    folder = reference_folder()
    network = import_checkpoint(folder)
    integer = quantize(network, crops(network.config, 16), "w4")
    image, entries = compile_model(integer, ZCU102), []
    task = network.config.tasks[0]
    run_image(image, prepare_input(reference_image(folder), image.input), task, entries.append)

    def total(change: dict) -> int:
        lines = sum(stream_lines(entry.opcode, entry.fields | change, ZCU102).lines + (
            entry.fields["rows"] if entry.opcode in (Opcode.LOAD, Opcode.STORE) else 0) for entry in entries)
        return lines * LINE + len(image.program(task))

    assert sum(decode(word)[1].get("packed", 0) for word in image.words(task)) == 2 * len(network.config.moe_layers)
    assert total({}) / total({"packed": 0}) <= MOST
