# SPDX-License-Identifier: Apache-2.0
"""Programs on several pictures: each picture's results are those of the integer network, each weight is read once."""

from dataclasses import replace

import numpy as np
import pytest

from golden.iss import run_image
from golden.iss.machine import Machine
from golden.spec import isa, machine, model
from golden.spec.heads import HeadConfig
from golden.spec.isa import Opcode, stream_lines
from golden.spec.model import ConfigError
from golden.spec.program.image import Image
from golden.spec.program.names import pictures_of, program_name, tasks_of, width_of
from host.driver.layout import prepare_input, read_output
from host.ir.nodes import NotFitting
from tests.host.support.compiled import PLANS, TINY, compiled, picture

CLASSIFIER = replace(model.NANO, name="classifier", moe_layers=(), tasks=("default",), final_norm=True, classes=40,
                     extra_tokens=2)
FEW_QUEUES = replace(machine.SMALL, name="few-queues", queue_depth=64)
"""Experts in several rounds of tokens that end in the middle of a picture."""
HEADS = replace(model.NANO, name="mapped", image_height=16, image_width=24, tasks=("semseg", "depth"), task_heads=(
    HeadConfig("semseg", "semseg", 3, channels=32), HeadConfig("depth", "depth", 1, channels=32)))


def check(network, image: Image) -> None:
    """Every result of every program is the integer network's, on pictures that all differ."""
    shown = [picture(network.config, seed) for seed in range(16)]
    for name in image.programs:
        pixels = shown[:image.pictures(name)]
        out = run_image(image, b"".join(prepare_input(p, image.input) for p in pixels), name)
        for output in image.results(name):
            residual = network.run(pixels[output.picture], output.task)
            wanted = {"features": residual, "logits": network.logits(residual) if network.config.classes else None,
                      **network.maps(residual, output.task)}[output.name]
            np.testing.assert_array_equal(read_output(out, output), wanted, err_msg=f"{name} {output}")


@pytest.fixture(autouse=True)
def waits_complete(monkeypatch):
    monkeypatch.setattr(Machine, "check_hazards", True)


@pytest.mark.parametrize("config, target, count, names", [
    (model.NANO, machine.NANO, 2, "task0 task1 task0+task1 task0#2 task1#2"),
    (replace(model.NANO, depth=4, moe_layers=(1, 3)), FEW_QUEUES, 3,
     "task0 task1 task0+task1 task0#3 task1#3 task0+task1#3"),
    (replace(model.NANO, depth=3, moe_layers=(0, 2)), replace(machine.SMALL, operand_rows=512), 4,
     "task0 task1 task0+task1 task0#4 task1#4"),
    (CLASSIFIER, machine.SMALL, 4, "default default#4")], ids=lambda v: getattr(v, "name", None))
@pytest.mark.parametrize("plan", PLANS)
def test_each_picture_equals_the_integer_network(config, target, count, names, plan):
    network, image = compiled(config, target, plan, seed=3, pictures=count)
    wanted = set(names.split())
    assert set(image.programs) <= wanted and {n for n in wanted if "+" not in n} <= set(image.programs)
    check(network, image)
    again = Image.from_bytes(image.to_bytes())
    assert again == image and [again.pictures(n) for n in again.programs] == [image.pictures(n) for n in image.programs]


@pytest.mark.parametrize("passes", [(), None], ids=["plain", "passes"])
def test_with_and_without_passes(passes):
    options = {} if passes is None else {"passes": passes}
    check(*compiled(model.NANO, FEW_QUEUES, "accurate", pictures=2, **options))


def test_narrow_ffns_on_several_pictures():
    from golden.model.nested import narrow

    network, image = compiled(replace(model.NANO, mlp_hidden=256, expert_hidden=128), machine.SMALL, widths=(0.5, 1),
                              pictures=2)
    assert image.pictures("task1@0.5#2") == 2
    pixels = [picture(network.config, seed) for seed in (4, 5)]
    out = run_image(image, b"".join(prepare_input(p, image.input) for p in pixels), "task1@0.5#2")
    part = narrow(network, 0.5)
    for output in image.results("task1@0.5#2"):
        np.testing.assert_array_equal(read_output(out, output), part.run(pixels[output.picture], "task1"))


def test_task_heads_of_every_picture():
    from golden.model.random_int_model import random_int_model
    from golden.spec.quantized import Plan
    from host.compiler.compile import compile_model

    network = random_int_model(HEADS, Plan.fast(HEADS.depth, HEADS.task_heads), 2)
    image = compile_model(network, machine.SMALL, pictures=2)
    assert [(o.name, o.picture) for o in image.results("semseg#2")] == [
        ("features", 0), ("semseg", 0), ("features", 1), ("semseg", 1)]
    check(network, image)


def test_each_weight_is_read_once():
    """On a ring that holds a layer: lines of the weight stream that a program of four pictures reads are few more than
    those of one, the parameters of cut instructions; experts' too, where the queues hold all tokens."""
    _, image = compiled(TINY, replace(machine.U280, name="roomy"), pictures=4)

    def lines(name: str) -> int:
        found = [isa.decode(word) for word in image.words(name)]
        return sum(stream_lines(opcode, fields, image.machine).lines for opcode, fields in found
                   if opcode is Opcode.LINEAR)

    assert lines("task0#4") < 1.1 * lines("task0")
    for name in ("task0", "task0#4"):
        assert sum(isa.decode(word)[0] is Opcode.EXPERTS for word in image.words(name)) == 2


def test_names():
    config = replace(model.NANO, tasks=("a", "a#2", "b@0.5"))
    assert program_name(("a", "b"), 0.5, 4) == "a+b@0.5#4" and program_name(("a",)) == "a"
    for name, tasks, width, pictures in (
            ("a+b@0.5#4", ("a", "b"), 0.5, 4), ("a#3", ("a",), 1, 3), ("a#2", ("a#2",), 1, 1),
            ("a#2#4", ("a#2",), 1, 4), ("b@0.5", ("b@0.5",), 1, 1), ("b@0.5#2", ("b@0.5",), 1, 2)):
        assert (tasks_of(name, config), width_of(name, config), pictures_of(name, config)) == (tasks, width, pictures)
    for name in ("a#0", "a#17", "a#x", "a#1.5", "a#-2", "a#²"):
        with pytest.raises(ConfigError, match="computes 1 to 16 pictures, a whole number like 4, not"):
            pictures_of(name, config)


def test_refusals():
    with pytest.raises(NotFitting, match=r"'nano' on 8 pictures at a time needs .* of residual memory for 264 tokens; "
                                         r"the machine 'nano' has .* It holds 3 pictures at a time\."):
        compiled(model.NANO, machine.NANO, pictures=8)
    with pytest.raises(ConfigError, match="computes 1 to 16 pictures, not 17"):
        compiled(model.NANO, machine.NANO, pictures=17)
    with pytest.raises(ConfigError, match="two programs called 'a#2'"):
        compiled(replace(model.NANO, tasks=("a", "a#2"), moe_layers=()), machine.NANO, pictures=2)
    with pytest.raises(NotFitting, match="tokens; an instruction takes at most 4095"):
        compiled(replace(model.NANO, image_height=256, image_width=136), replace(machine.U280, residual_rows=32768),
                 pictures=16)
