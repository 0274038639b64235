# SPDX-License-Identifier: Apache-2.0
"""Plans, the quantized schema and the constant tables."""

import json
from dataclasses import replace

import pytest

from golden.spec import tables
from golden.spec.heads import HeadConfig
from golden.spec.model import M3VIT_TINY, MODELS, ConfigError
from golden.spec.quantized import HeadPlan, LayerPlan, Plan, newer_plan, quantized_schema, weight_limit

HEADS = (HeadConfig("a", "semseg", 7, 48), HeadConfig("b", "depth", 1))


def test_plans_survive_json():
    for plan in (Plan.fast(3), Plan.fast(2).with_bits(7, 4), Plan.accurate(2),
                 Plan((LayerPlan(prob=True), LayerPlan(hidden=True)), head=False),
                 Plan.accurate(1, HEADS), Plan((), task_heads=(HeadPlan(frac=3), HeadPlan(norm=True)))):
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


GOOD = {"layers": [], "head": True, "residual_frac": 9, "logit_frac": 9, "task_heads": []}


@pytest.mark.parametrize(("data", "words"), [
    ([], "must be an object"), ({"layers": []}, "must be an object"), (GOOD | {"layers": {}}, "must be an object"),
    (GOOD | {"head": 1}, "head must be true or false"), (GOOD | {"residual_frac": 15}, "residual_frac must be 0 to 14"),
    (GOOD | {"logit_frac": True}, "logit_frac must be"), (GOOD | {"layers": [{"norm1": True}]}, "true or false"),
    (GOOD | {"layers": [dict.fromkeys(LayerPlan.__dataclass_fields__, 1)]}, "true or false"),
    (GOOD | {"layers": [vars(LayerPlan()) | {"expert_bits": 3}]}, "expert_bits must be 4 to 8, not 3"),
    (GOOD | {"layers": [vars(LayerPlan()) | {"weight_bits": True}]}, "number of bits"),
    (GOOD | {"task_heads": [vars(HeadPlan()) | {"norm": 1}]}, "task_heads must give true or false"),
    (GOOD | {"task_heads": [vars(HeadPlan()) | {"frac": 15}]}, "frac of a head must be 0 to 14, not 15")])
def test_strange_plans_are_refused(data, words):
    with pytest.raises(ConfigError, match=words):
        Plan.from_json(data)


def test_bits_of_a_linear_are_those_of_its_part():
    plan = Plan.fast(12).with_layers(weight_bits=6, mlp_bits=5, expert_bits=4)
    names = {"patch_embed": 8, "head": 8, "heads.a.conv_0": 8, "blocks.1.gate.task0": 8, "blocks.1.attn.q": 6,
             "blocks.10.attn.proj": 6, "blocks.10.mlp.fc1": 5, "blocks.11.mlp.fc2": 4}
    assert {name: plan.bits(name, M3VIT_TINY) for name in names} == names
    assert [name for name in names if plan.packed(name, M3VIT_TINY)] == ["blocks.11.mlp.fc2"]
    assert [weight_limit(bits) for bits in range(4, 9)] == [12, 15, 31, 63, 127]


def test_plans_have_names():
    for name, plan in {"fast": Plan.fast(12), "accurate": Plan.accurate(12), "w4": Plan.w4(12)}.items():
        assert plan.name(M3VIT_TINY) == name
    assert Plan.w4(12, dense=True).name(M3VIT_TINY) == "mixed" == Plan.fast(12).with_bits(6).name(M3VIT_TINY)
    assert Plan.w4(12).packed_parts(M3VIT_TINY) == ["experts"]
    assert Plan.w4(12) == Plan.accurate(12).with_bits(expert_bits=4)
    assert Plan.fast(12).with_bits(4, 4).packed_parts(M3VIT_TINY) == ["experts", "mlp", "attention"]
    assert Plan.w4(12).packed_parts(MODELS["deit-tiny"]) == Plan.fast(12).packed_parts(M3VIT_TINY) == []


def test_plans_of_version_7_have_whole_numbers_of_four_bits():
    old = Plan.fast(2).with_bits(4, 4).to_json()
    for layer in old["layers"]:
        del layer["mlp_bits"]
    assert Plan.from_json(newer_plan(old, "7")) == Plan.fast(2).with_bits(5, 5)
    assert newer_plan(old, "8") == old
    for strange in ([], {}, {"layers": 3}, {"layers": [3, {"weight_bits": []}]}):
        with pytest.raises(ConfigError):
            Plan.from_json(newer_plan(strange, "7"))


def test_the_quantized_schema_has_a_gate_for_each_task_and_stacked_experts():
    schema = quantized_schema(M3VIT_TINY)
    assert schema["blocks.1.mlp.fc1.weight"] == ("int8", (16, 384, 192))
    assert schema["blocks.0.mlp.fc1.weight"] == ("int8", (768, 192))
    assert {name for name in schema if name.startswith("blocks.3.gate.") and name.endswith("weight")} == {
        "blocks.3.gate.task0.weight", "blocks.3.gate.task1.weight"}
    assert "blocks.0.gate.task0.weight" not in schema and "head.weight" not in schema
    assert quantized_schema(MODELS["deit-small"])["head_dist.weight"] == ("int8", (1000, 384))


def test_the_quantized_schema_has_five_convolutions_for_each_task_head():
    schema = quantized_schema(replace(M3VIT_TINY, tasks=("default",), task_heads=HEADS))
    assert schema["heads.a.norm.gain"] == ("int16", (192,))
    assert schema["heads.b.conv_3.multiplier"] == ("uint16", (256,))
    assert schema["heads.a.conv_0.weight"] == ("int8", (48, 192, 3, 3))
    assert schema["heads.b.conv_3.weight"] == ("int8", (256, 256, 3, 3))
    assert schema["heads.a.conv_4.weight"] == ("int8", (7, 48)) and "heads.a.conv_5.weight" not in schema


def test_only_the_accurate_plan_and_depth_have_16_bit_operands_in_a_head():
    assert Plan.fast(1, HEADS).task_heads == (HeadPlan(), HeadPlan(last=True))
    assert Plan.accurate(1, HEADS).task_heads == (HeadPlan(True, True),) * 2


def test_tables_have_their_ends():
    assert tables.EXP_TABLE[0] == tables.EXP_ONE == 65280 and len(tables.EXP_TABLE) == 256
    assert list(tables.EXP_TABLE) == sorted(tables.EXP_TABLE, reverse=True) and tables.EXP_TABLE[-1] > 65280 // 2
    assert tables.EXP_ONE + 255 < 1 << 16  # a carry added, it still has 8 bits above the carry
