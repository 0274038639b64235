# SPDX-License-Identifier: Apache-2.0
"""Plans, the quantized schema and the constant tables."""

import json
from dataclasses import replace

import pytest

from golden.spec import tables
from golden.spec.heads import HeadConfig
from golden.spec.model import M3VIT_TINY, MODELS, ConfigError
from golden.spec.quantized import HeadPlan, LayerPlan, Plan, quantized_schema

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
