# SPDX-License-Identifier: Apache-2.0
"""Ideas switched off in the performance model: formulas by hand, and that no idea is better off than on."""

from dataclasses import replace

import pytest

from golden.spec import isa, model
from golden.spec.isa import Opcode
from golden.spec.machine import LINE, NANO, U280, ZCU102
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.compiler.skeleton import empty
from host.performance.ablation import (
    AblatedTimeline,
    Idea,
    attention_bytes,
    best_shares,
    bytes_a_cycle,
    dram_bytes,
    kinds_of,
)
from host.performance.cycles import attention_group
from host.performance.timeline import predict

ATTENTION = {"heads": 2, "head_slices": 2, "queries": 5, "keys": 7}


@pytest.fixture(scope="module")
def image():
    return compile_model(empty(model.NANO, Plan.fast(2)), NANO)


def run(image, off, shares=None):
    """The timeline of the first program after it ran, and the program's words."""
    words = image.words("task0")
    timeline = AblatedTimeline(NANO, None, frozenset(off), kinds_of(image.symbols["task0"], words), shares or {})
    timeline.run(words)
    return timeline, words


def test_with_all_ideas_it_is_the_performance_model(image):
    assert run(image, ())[0].spans == predict(image, "task0")


def test_bytes_of_attention_by_hand():
    """64 channels: K and V of 7 keys are 896 bytes; they come for each of 5 queries, or of 2 groups, and leave once."""
    assert attention_bytes(ATTENTION) == 896 * (5 + 1)
    assert attention_bytes(ATTENTION, 4) == 896 * (2 + 1)


def test_bytes_a_cycle_do_not_grow_with_the_lanes_that_share_them():
    machines = [ZCU102, replace(ZCU102, name="eight", tm=8), U280]
    assert {bytes_a_cycle(machine, machine.tm) for machine in machines} == {512}
    assert [bytes_a_cycle(machine, 1) for machine in machines] == [2048, 4096, 8192]


def test_multipliers_are_divided_in_the_best_proportion():
    work = {"a": 1.0, "b": 4.0, "c": 9.0}
    shares = best_shares(work)
    assert shares == pytest.approx({"a": 1 / 6, "b": 2 / 6, "c": 3 / 6})
    least = sum(work[kind] / shares[kind] for kind in work)
    assert least == pytest.approx((1 + 2 + 3) ** 2)
    for more in work:
        for less in set(work) - {more}:
            moved = shares | {more: shares[more] + 0.01, less: shares[less] - 0.01}
            assert sum(work[kind] / moved[kind] for kind in work) > least


def test_kinds_of_layers(image):
    words = image.words("task0")
    kinds = dict(zip([symbol.name for symbol in image.symbols["task0"]], kinds_of(image.symbols["task0"], words),
                     strict=True))
    assert kinds["patch_embed"] == "patches and heads" and kinds["blocks.0.attn.q"] == "attention's linears"
    assert kinds["blocks.0.attn"] == "scores and P x V" and kinds["blocks.0.mlp.fc1"] == "dense FFN"
    assert kinds["blocks.1.gate.task0"] == "gate" and kinds["blocks.1.mlp.fc2"] == "experts"
    assert kinds["blocks.0.norm1"] == kinds["blocks.1.gate.task0.route"] == kinds["end"] == ""


def test_a_second_pass_over_the_scores_takes_the_softmax_as_long_again():
    """On zcu102 a group of M3ViT-Tiny's queries has 36 beats of scores and 38 cycles of the array, which then waits."""
    fields = {"heads": 3, "head_slices": 4, "queries": 129, "keys": 129, "wide_p": 0}
    groups, scores, mixed, beats = attention_group(ZCU102, fields)
    assert (groups, scores + mixed, beats) == (99, 38, 36)
    word = isa.encode(Opcode.ATTENTION, **fields, q_stride=3, key_pitch=12, dst_stride=3)
    cycles = []
    for off in (frozenset[Idea](), frozenset({Idea.SINGLE_PASS})):
        timeline = AblatedTimeline(ZCU102, None, off, ["scores and P x V"], {})
        span, = timeline.run([word])
        cycles.append(span.end - span.start)
    assert cycles[0] == pytest.approx(99 * 38, rel=0.05) and cycles[1] == pytest.approx(99 * 72, rel=0.05)


def test_keys_and_values_from_dram_set_the_pace():
    fields = {"heads": 3, "head_slices": 4, "queries": 129, "keys": 129, "wide_p": 0}
    word = isa.encode(Opcode.ATTENTION, **fields, q_stride=3, key_pitch=12, dst_stride=3)
    timeline = AblatedTimeline(ZCU102, None, frozenset({Idea.ATTENTION_REORDERING}), ["scores and P x V"], {})
    span, = timeline.run([word])
    assert span.end - span.start == pytest.approx(attention_bytes(fields) / 64, rel=0.05)  # 4 ports of 16 bytes
    lines = 1 + 3 * 2 * 6
    assert dram_bytes(timeline.machine, [word], [span], timeline.off) == 32 + LINE * lines + attention_bytes(fields)


@pytest.mark.parametrize("idea", [idea for idea in Idea if idea is not Idea.EXPERT_BY_EXPERT])
def test_no_idea_is_better_off(image, idea):
    full, words = run(image, ())
    without, _ = run(image, {idea}, best_shares(full.work))
    assert without.spans[-1].end >= full.spans[-1].end
    machine = full.machine
    assert dram_bytes(machine, words, without.spans, without.off) >= dram_bytes(machine, words, full.spans, full.off)
    slower = {Idea.UNIFIED_LINEAR, Idea.ATTENTION_REORDERING, Idea.SINGLE_PASS}
    assert (without.spans[-1].end > full.spans[-1].end) == (idea in slower)


def test_without_a_unified_unit_the_array_takes_as_long_as_the_shares_say(image):
    """All multipliers for one kind of layer, a quarter of them for another."""
    full, words = run(image, ())
    whole, quarter = dict.fromkeys(full.work, 1.0), dict.fromkeys(full.work, 0.25)
    assert run(image, {Idea.UNIFIED_LINEAR}, whole)[0].spans == full.spans
    slow = run(image, {Idea.UNIFIED_LINEAR}, whole | {"dense FFN": quarter["dense FFN"]})[0]
    longer = slow.spans[-1].end - full.spans[-1].end
    assert 0 < longer <= 3 * full.work["dense FFN"]
