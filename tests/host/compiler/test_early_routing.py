# SPDX-License-Identifier: Apache-2.0
"""Early routing, the first tokens of a MoE layer pass its gate first: what is cut, nothing lost, what it saves."""

from dataclasses import replace

import pytest

from golden.spec import isa, machine, model
from golden.spec.isa import Dest, Opcode
from host.compiler.passes import PASSES, early_routing
from host.performance.timeline import predict
from tests.host.support.compiled import TINY, compiled


def layer(image, block: int, task: str = "task0"):
    """(name within the block, opcode, fields) of one block's instructions."""
    prefix = f"blocks.{block}."
    return [(symbol.name.removeprefix(prefix), *isa.decode(word))
            for symbol, word in zip(image.symbols[task], image.words(task), strict=True)
            if symbol.name.startswith(prefix)]


def test_a_few_tokens_are_routed_early_and_the_others_follow():
    _, image = compiled(TINY, machine.ZCU102)
    found = layer(image, 3)
    names = [name for name, _, _ in found]
    start = names.index("attn.q")
    assert names[start:] == [
        "attn.q", "attn.k", "attn.v", "attn", "attn.proj", "norm2", "gate.task0.route", "gate.task0",
        "attn.q", "attn", "attn.proj", "norm2", "gate.task0.route", "gate.task0", "mlp", "mlp.fc1", "mlp.fc2"]
    fields = [f for _, _, f in found[start:]]
    first = fields[0]["tokens"]
    assert 0 < first <= TINY.tokens // 4 and first % machine.ZCU102.tm == 0
    for early, late, key in ((0, 8, "tokens"), (3, 9, "queries"), (4, 10, "tokens"), (5, 11, "tokens"),
                             (6, 12, "tokens"), (7, 13, "tokens")):
        assert (fields[early][key], fields[late][key]) == (first, TINY.tokens - first)
    assert fields[1]["tokens"] == fields[2]["tokens"] == TINY.tokens, "all keys and values come first"
    assert [(f["first_token"], f["append"]) for f in (fields[6], fields[12])] == [(0, 0), (first, 1)]
    assert fields[0]["stream"] == fields[8]["stream"] and fields[7]["stream"] == fields[13]["stream"]


def test_dense_layers_and_other_shapes_are_left_alone():
    _, image = compiled(TINY, machine.ZCU102)
    assert sum(name == "attn" for name, _, _ in layer(image, 2)) == 1
    # The first MoE layer of a joint program begins a second copy between attention and gate.
    found = layer(image, 1, "task0+task1")
    assert sum(opcode is Opcode.ATTENTION for _, opcode, _ in found) == 1


def test_nothing_is_cut_where_the_array_sets_the_pace():
    """With as many experts as tokens need, but few of them, reading the weights takes less time than using them."""
    config = replace(TINY, name="busy", experts=2, top_k=2)
    _, image = compiled(config, machine.ZCU102)
    assert sum(name == "gate.task0" for name, _, _ in layer(image, 3)) == 1


@pytest.mark.parametrize("target, least", [(machine.ZCU102, 0.06), (machine.U280, 0.03)], ids=["zcu102", "u280"])
def test_weight_ports_need_not_wait_for_the_whole_gate(target, least):
    """With four times the multipliers what comes before the gate, in which the ports stood still, is shorter."""
    config = replace(model.M3VIT_TINY, name="four", depth=4, moe_layers=(1, 3))
    _, image = compiled(config, target)
    _, plain = compiled(config, target, passes=tuple(p for p in PASSES if p is not early_routing))
    saved = predict(plain, "task0")[-1].end - predict(image, "task0")[-1].end
    assert saved > least * predict(plain, "task0")[-1].end
    gates = [f for _, opcode, f in layer(plain, 3) if opcode is Opcode.LINEAR and f["dst"] == Dest.GATE]
    assert len(gates) == 1
