# SPDX-License-Identifier: Apache-2.0
"""Facts of models: multiply-accumulates of backbone and heads apart; a table has all facts."""

import re
from dataclasses import replace

from golden.notebook.models import model_facts, model_table
from golden.spec.heads import HeadConfig
from golden.spec.model import NANO

HEADS = replace(NANO, tasks=("a", "b"), task_heads=(HeadConfig("a", "semseg", 3), HeadConfig("b", "depth", 1)))


def test_heads_come_on_top_of_the_backbone():
    facts = model_facts(HEADS)
    assert facts["backbone_macs"] == model_facts(NANO)["backbone_macs"] == NANO.macs
    assert facts["head_macs"] == {head.task: head.macs(NANO.dim, *NANO.grid) for head in HEADS.task_heads}
    assert facts["head_macs"]["a"] > facts["head_macs"]["b"] > 0 and model_facts(NANO)["head_macs"] is None


def test_a_model_without_experts_has_none():
    facts = model_facts(replace(NANO, moe_layers=()))
    assert (facts["moe_layers"], facts["experts"], facts["top_k"]) == (None, None, None)


def test_a_table_has_every_fact_that_there_is():
    table = dict(re.findall(r"<td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td>", model_table("X", HEADS, [("more", 5)])))
    there = {name.replace("_", " ") for name, value in model_facts(HEADS).items() if value is not None}
    assert table.keys() == there - {"model"} | {"more"}
    assert table["backbone macs"] == f"{NANO.macs:,}" and table["moe layers"] == "1"
    assert re.fullmatch(r"a [\d,]{7,}, b [\d,]{7,}", table["head macs"])
