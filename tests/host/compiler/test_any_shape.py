# SPDX-License-Identifier: Apache-2.0
"""Shapes that once gave wrong programs: each compiles, with and without passes, and gives what the network gives."""

from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec import isa, machine, model
from golden.spec.isa import Opcode, Unit
from golden.spec.model import ModelConfig
from golden.spec.program.hazards import hazards
from golden.spec.quantized import Plan
from host.compiler import compile
from host.compiler.compile import compile_model
from host.compiler.passes import PASSES, early_routing, retain_weights, software_pipelining
from host.compiler.verify import CompilerError
from host.driver.session import Session
from tests.host.support.compiled import picture

ROUNDS = ModelConfig(name="three rounds", image_height=128, image_width=224, dim=256, depth=1, heads=8, mlp_hidden=64,
                     moe_layers=(0,), experts=8, top_k=2, expert_hidden=1536, tasks=("default",))
"""A MoE layer whose hidden operands do not fit at once: three rounds of GATE and EXPERTS on zcu102."""
WIDE = replace(ROUNDS, name="wide", image_width=256, dim=384, heads=6, experts=16, expert_hidden=384)
MANY = replace(model.M3VIT_TINY, name="many", image_width=512, depth=2, moe_layers=(1,), experts=64, top_k=8)
"""257 tokens with 8 choices each: more entries than the queues of zcu102 hold, so two rounds."""
SHAPES = [
    (ROUNDS, "accurate", machine.ZCU102),
    (replace(ROUNDS, name="one choice", experts=2, top_k=1), "accurate", machine.ZCU102),
    (replace(ROUNDS, name="fast rounds", image_height=224, expert_hidden=2048), "fast", machine.ZCU102),
    (MANY, "fast", machine.ZCU102), (replace(model.NANO, name="all", experts=8, top_k=8), "fast", machine.NANO),
    (WIDE, "fast", machine.ZCU102),
    *((replace(model.NANO, name=f"{n} experts", experts=n), "fast", machine.SMALL) for n in (17, 33, 64))]


@pytest.mark.parametrize("config, plan, target", SHAPES, ids=lambda v: getattr(v, "name", v))
@pytest.mark.parametrize("passes", [PASSES, ()], ids=["passes", "plain"])
def test_the_program_gives_what_the_network_gives(config, plan, target, passes):
    network = random_int_model(config, getattr(Plan, plan)(config.depth))
    image = compile_model(network, target, passes=passes)
    session = Session(image, GoldenDevice(target))
    for task in config.tasks:
        np.testing.assert_array_equal(session.frame(picture(config), task).residuals[task],
                                      network.run(picture(config), task))


def instructions(image) -> list[tuple[Opcode, dict]]:
    return [isa.decode(word) for word in image.words()]


@pytest.mark.parametrize("passes", [PASSES, ()], ids=["passes", "plain"])
def test_a_gate_waits_until_the_queues_of_the_round_before_are_traversed(passes):
    """Without it the machine stood still: the queues were emptied while the operand loader traversed them."""
    image = compile_model(random_int_model(ROUNDS, Plan.accurate(1)), machine.ZCU102, passes=passes)
    program = instructions(image)
    gates = [at for at, (opcode, fields) in enumerate(program) if opcode is Opcode.GATE and not fields["append"]]
    assert len(gates) == 3
    for at in gates[1:]:
        assert program[at][1]["wait"] & Unit.ARRAY
        program[at][1]["wait"] &= ~Unit.ARRAY
    assert [(at, unit) for at, unit in hazards(program)] == [(at, Unit.ARRAY) for at in gates[1:]]


def test_a_layer_in_rounds_is_not_routed_early():
    network = random_int_model(ROUNDS, Plan.accurate(1))
    plain, routed = (compile_model(network, machine.ZCU102, passes=passes) for passes in ((), (early_routing,)))
    assert plain.programs == routed.programs


@pytest.mark.parametrize("broken", [early_routing, software_pipelining, retain_weights], ids=lambda p: p.__name__)
def test_a_wrong_pass_is_named_as_the_compilers_own_defect(broken):
    """A pass that spoils the first LINEAR's rows: the program is not returned, and the machine is not blamed."""
    def wrong(nodes, target):
        nodes = list(broken(nodes, target))
        at = next(at for at, node in enumerate(nodes) if node.opcode is Opcode.LINEAR)
        nodes[at] = replace(nodes[at], fields=nodes[at].fields | {"dst_stride": 0})
        return nodes

    wrong.__name__ = broken.__name__
    passes = tuple(wrong if p is broken else p for p in PASSES)
    with pytest.raises(CompilerError, match=f"in {broken.__name__}: patch_embed: BAD_FIELD"):
        compile_model(random_int_model(model.NANO), machine.NANO, passes=passes)


def test_a_missing_wait_is_the_compilers_own_defect(monkeypatch):
    def forgetful(nodes):
        for node in nodes:
            node.wait = Unit(0)

    monkeypatch.setattr(compile, "set_waits", forgetful)
    with pytest.raises(CompilerError, match="must wait for"):
        compile_model(random_int_model(model.NANO), machine.NANO)
