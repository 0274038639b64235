# SPDX-License-Identifier: Apache-2.0
"""Task heads on the simulator: whatever the machine's memories, the outputs are the integer network's, bit for bit."""

import random
from dataclasses import replace

import numpy as np
import pytest

from golden.iss import placed, run_image
from golden.iss.tensors import result
from golden.model.random_int_model import random_int_model
from golden.spec import isa, machine, model
from golden.spec.heads import HeadConfig
from golden.spec.isa import Dest, Opcode
from golden.spec.machine import LINE
from golden.spec.model import ConfigError
from golden.spec.program.image import Image
from golden.spec.quantized import HeadPlan, Plan
from host.compiler.compile import compile_model
from host.compiler.heads import lower
from host.compiler.heads.plan import Fate, _levels
from host.driver.layout import find, prepare_input, read_output
from host.ir.nodes import NotFitting
from tests.host.support.compiled import picture

GREY = replace(model.NANO, patch=16, channels=1, pixel_mean=(0.0,), pixel_std=(1.0,))
ONE = replace(GREY, name="one", image_height=64, image_width=128, dim=64, moe_layers=(), tasks=("all",),
              task_heads=(HeadConfig("classes", "semseg", 7, 64),))
TWO = replace(GREY, name="two", image_height=48, image_width=80, tasks=("semseg", "depth"),
              task_heads=(HeadConfig("semseg", "semseg", 40, 80), HeadConfig("depth", "depth", 1, 64)))
SEVERAL = replace(ONE, name="several", dim=96, heads=3, image_height=32, image_width=80, classes=5, final_norm=True,
                  task_heads=(HeadConfig("normals", "normals", 3, 72), HeadConfig("edge", "edge", 1, 130)))
NANO, SMALL = replace(machine.NANO, program_depth=256), machine.SMALL
TIGHT = replace(machine.ZCU102, operand_rows=256, residual_rows=256, program_depth=4096)
NO_RING = replace(TIGHT, name="no ring", ring_lines=768)


def model_of(config, plan, seed=0):
    return random_int_model(config, plan(config.depth, config.task_heads), seed)


def run(network, image, program, trace=None):
    """Outputs of a program by task and name, after comparison with the network."""
    pixels = picture(network.config)
    out = run_image(image, prepare_input(pixels, image.input), program, trace)
    found = {}
    for output in image.results(program):
        wanted = network.run(pixels, output.task)
        if output.kind == "logits":
            wanted = network.logits(wanted)
        elif output.kind != "features":
            wanted = network.maps(wanted, output.task)[output.name]
        found[output.task, output.name] = read_output(out, output)
        np.testing.assert_array_equal(found[output.task, output.name], wanted, err_msg=output.name)
        assert output.kind == "features" or wanted.std() > 10
    return found


@pytest.mark.parametrize("target", [NANO, SMALL, machine.ZCU102, TIGHT, NO_RING], ids=lambda m: m.name)
@pytest.mark.parametrize("plan", [Plan.fast, Plan.accurate], ids=["fast", "accurate"])
def test_one_head(target, plan):
    network = model_of(ONE, plan)
    run(network, compile_model(network, target), "all")


@pytest.mark.parametrize("plan", [Plan.fast, Plan.accurate], ids=["fast", "accurate"])
@pytest.mark.parametrize("target", [SMALL, TIGHT], ids=["small", "tight"])
def test_two_tasks_with_a_head_each(plan, target):
    target = replace(target, program_depth=4096, operand_rows=1024, ring_lines=4096, residual_rows=512)
    network = model_of(TWO, plan, 1)
    image = compile_model(network, target)
    assert list(image.programs) == ["semseg", "depth", "semseg+depth"]
    for program in image.programs:
        found = run(network, image, program)
        assert [task for task, name in found if name != "features"] == program.split("+")


def test_several_heads_of_one_pass():
    network = model_of(SEVERAL, Plan.fast, 2)
    found = run(network, compile_model(network, replace(machine.ZCU102, operand_rows=768)), "all")
    assert [name for _, name in found] == ["features", "logits", "normals", "edge"]


@pytest.mark.parametrize("rows", [192, 256, 384, 512, 768, 1024])
@pytest.mark.parametrize("last", [False, True])
def test_ever_less_operand_memory(rows, last):
    """Bands, then tiles, then column strips of sources too; always the same result."""
    config = replace(ONE, moe_layers=(1,), dim=32, heads=1, image_height=64, image_width=96, mlp_hidden=64,
                     expert_hidden=32)
    network = random_int_model(config, replace(Plan.fast(2), task_heads=(HeadPlan(True, last),)), rows)
    target = replace(machine.ZCU102, operand_rows=rows, residual_rows=128, program_depth=4096)
    image = compile_model(network, target)
    run(network, image, "all")
    assert Image.from_bytes(image.to_bytes()) == image


def any_plan(seed, seen):
    """Stands in for the planner: any chain of plans that fit, each as likely as the other."""
    rng = random.Random(seed)

    def choose(shape, room, what):
        levels, source = [], Fate.KEPT
        for i in range(4):
            fates = (Fate.KEPT, Fate.STORED) if i < 3 else (Fate.CONSUMED,)
            found = [level for fate in fates for _, level in _levels(shape, i, source, fate, room)
                     if len(level.jobs) <= 24]
            fate = rng.choice(fates)
            levels.append(rng.choice([level for level in found if level.result is fate] or found))
            source = levels[-1].result
            seen.add((i, levels[-1].source, source, levels[-1].strips))
        return tuple(levels)

    return choose


def test_any_plan_gives_the_same_result(monkeypatch):
    seen = set()
    network = model_of(replace(ONE, image_height=32, image_width=80), Plan.fast)
    for seed in range(20):
        monkeypatch.setattr(lower, "plan_head", any_plan(seed, seen))
        run(network, compile_model(network, replace(machine.ZCU102, operand_rows=2048, program_depth=4096)), "all")
    assert {(i, source, result) for i, source, result, _ in seen} == {
        (i, source, result) for i in range(4) for source in ((Fate.KEPT, Fate.STORED) if i else (Fate.KEPT,))
        for result in ((Fate.KEPT, Fate.STORED) if i < 3 else (Fate.CONSUMED,))}
    assert {i for i, _, _, strips in seen if strips} == {1, 2, 3}


def test_intermediate_maps():
    """Tiles of every convolution and of every enlargement put together are the network's maps, where each is a band."""
    network = model_of(ONE, Plan.fast)
    image = compile_model(network, replace(machine.ZCU102, operand_rows=768))
    entries, wanted, got = [], {}, {}
    run(network, image, "all", entries.append)
    network.run(picture(ONE), "all", trace=wanted.__setitem__)
    for entry in entries:
        name = image.symbols["all"][entry.index].name
        if entry.opcode is Opcode.LINEAR and entry.fields["dst"] == Dest.UNSIGNED8:
            got.setdefault(name, []).append(result(entry, image.machine).bytes)
    assert sorted(got) == [f"heads.classes.conv_{i}" for i in range(4)]
    for name, parts in got.items():
        values = np.concatenate(parts)[:, :64]
        assert values.shape == wanted[name].shape
        if len(parts) == 1:
            np.testing.assert_array_equal(values, wanted[name])
        np.testing.assert_array_equal(np.sort(values, 0), np.sort(wanted[name], 0))


def test_weights_come_once():
    network = model_of(ONE, Plan.fast)
    image = compile_model(network, machine.ZCU102)
    decoded = [(symbol.name, isa.decode(word)[1]) for symbol, word in zip(image.symbols["all"], image.words("all"),
                                                                        strict=True) if symbol.kind == "LINEAR"]
    heads = [(name, f) for name, f in decoded if name.startswith("heads.")]
    assert {f["stream"] for name, f in heads if name.endswith("conv_3")} and len(heads) > 6
    loaded = [name for name, f in heads if not f["reuse_weights"]]
    assert loaded == [f"heads.classes.conv_{i}" for i in range(5)]
    assert not heads[-1][1]["retain_weights"]


def test_windows_cover_the_output_only_where_it_is_read():
    network = model_of(ONE, Plan.fast)
    pixels = prepare_input(picture(ONE), compile_model(network, machine.ZCU102).input)
    for target, reads in ((machine.ZCU102, False), (NANO, True)):
        image = compile_model(network, target)
        assert image.reads_output() == reads
        _, registers, size = placed(image, pixels)
        assert (registers["READ_HI"] == registers["OUTPUT_ADDR"] + size) == reads
        assert size >= find(image.results(), "classes").end * LINE


def test_the_same_bytes_every_time():
    network = model_of(TWO, Plan.fast)
    target = replace(TIGHT, operand_rows=768)
    assert compile_model(network, target).to_bytes() == compile_model(network, target).to_bytes()


@pytest.mark.parametrize("config, target, words", [
    (ONE, replace(NANO, program_depth=64), "program memory|has no strip"),
    (ONE, replace(NANO, ring_lines=256, program_depth=4096), "576 inputs of a linear"),
    (replace(ONE, task_heads=(HeadConfig("x", "semseg", 2, 512),)), TIGHT, "has no strip of heads.x.conv_"),
    (replace(ONE, task_heads=(HeadConfig("x", "semseg", 2, 900),)), machine.U280, "maps of 900 channels; .* most 896"),
    (replace(ONE, image_height=16), machine.U280, "has 1 x 8 patches"),
])
def test_refusals(config, target, words):
    with pytest.raises((NotFitting, ConfigError), match=words):
        compile_model(model_of(config, Plan.fast), target)


