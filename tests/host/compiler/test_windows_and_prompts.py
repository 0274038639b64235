# SPDX-License-Identifier: Apache-2.0
"""Windowed attention, deep prompts: quantized they are near the float network, compiled they equal the integer one."""

from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.iss import run_image
from golden.iss.machine import Machine
from golden.model.float_model import run_float
from golden.model.int_model import IntModel
from golden.model.synthetic import synthetic_model
from golden.spec import isa, machine
from golden.spec.isa import Opcode, Region
from golden.spec.model import NANO, ConfigError, ModelConfig
from golden.spec.program.image import Image
from host.compiler.compile import compile_model
from host.driver.layout import prepare_input, read_output
from host.driver.session import Session
from host.ir.nodes import NotFitting
from host.quantizer.crops import crops
from host.quantizer.quantize import quantize
from tests.host.support.compiled import PLANS, compiled, picture

WINDOWS = replace(NANO, name="windows", depth=3, extra_tokens=0, window=2, window_layers=(0, 1))
WIDE = replace(WINDOWS, name="wide", image_width=96, image_height=48, window=3, tasks=("only",), moe_layers=())
PROMPTS = replace(NANO, name="prompts", depth=3, extra_tokens=6, prompts=5, prompt_layers=(1, 2))
SCORED = replace(PROMPTS, name="scored", moe_layers=(), tasks=("default",), final_norm=True, classes=10, prompts=2,
                 prompt_layers=(2,))
FEW_QUEUES = replace(machine.SMALL, name="few-queues", queue_depth=64)


@pytest.fixture(autouse=True)
def waits_complete(monkeypatch):
    monkeypatch.setattr(Machine, "check_hazards", True)


@pytest.mark.parametrize("config, target, count", [
    (WINDOWS, machine.NANO, 1), (WINDOWS, machine.SMALL, 2), (WIDE, machine.SMALL, 1),
    (WIDE, replace(machine.SMALL, name="few-tiles", kv_tiles=16), 2), (PROMPTS, machine.SMALL, 2),
    (PROMPTS, FEW_QUEUES, 2), (SCORED, machine.SMALL, 3)], ids=lambda v: getattr(v, "name", v))
@pytest.mark.parametrize("plan", PLANS)
def test_programs_equal_the_integer_network(config, target, count, plan):
    if target.name == "few-tiles":  # windows come in several rounds; one block of all tokens would need more tiles
        config = replace(config, window_layers=(0, 1, 2))
    network, image = compiled(config, target, plan, seed=3, pictures=count)
    shown = [picture(config, seed) for seed in range(count)]
    for name in image.programs:
        pixels = shown[:image.pictures(name)]
        out = run_image(image, b"".join(prepare_input(p, image.input) for p in pixels), name)
        for output in image.results(name):
            wanted = network.run(pixels[output.picture], output.task)
            wanted = network.logits(wanted) if output.name == "logits" else wanted
            np.testing.assert_array_equal(read_output(out, output), wanted, err_msg=f"{name} {output}")
    assert Image.from_bytes(image.to_bytes()) == image


def test_windows_are_attentions_of_their_own():
    _, image = compiled(WINDOWS, machine.NANO)
    found = [isa.decode(word)[1] for word in image.words("task0") if isa.decode(word)[0] is Opcode.ATTENTION]
    assert [f["keys"] for f in found] == [4] * 8 + [4] * 8 + [32]
    assert {f["queries"] for f in found[:16]} == {4}


def test_prompts_come_from_the_tables():
    _, image = compiled(PROMPTS, machine.SMALL)
    loads = [isa.decode(word)[1] for word in image.words("task0") if isa.decode(word)[0] is Opcode.LOAD]
    rows = [(f["offset"], f["rows"]) for f in loads if f["region"] == Region.TABLES][-2:]
    assert rows == [(2 * PROMPTS.tokens, 10), (2 * (PROMPTS.tokens + 5), 10)]


@pytest.mark.parametrize("config", [WINDOWS, PROMPTS], ids=lambda v: v.name)
def test_quantized_it_is_near_the_float_network(config, tmp_path):
    model = synthetic_model(config, seed=1)
    shown = crops(config, 8)
    network = quantize(model, shown, "accurate")
    network.save(tmp_path / "m.safetensors")
    network = IntModel.load(tmp_path / "m.safetensors")
    session = Session(compile_model(network, machine.SMALL), GoldenDevice(machine.SMALL))
    for task in config.tasks:
        wanted = run_float(model, shown[0][None], task)[0]
        error = wanted - session.run(shown[0], task).features
        assert 10 * np.log10((wanted ** 2).sum() / (error ** 2).sum()) > 40


def test_models_without_them_are_described_as_before():
    assert not {"window", "window_layers", "prompts", "prompt_layers"} & set(NANO.to_json())
    for config in (WINDOWS, PROMPTS):
        assert ModelConfig.from_json(config.to_json()) == config and config.fingerprint != NANO.fingerprint
    assert WINDOWS.macs < replace(WINDOWS, window=0, window_layers=()).macs


@pytest.mark.parametrize("changes, words", [
    ({"window": 3}, r"4 x 8 patches must be whole windows of 3 x 3: .* Choose an image of a multiple of 24 pixels"),
    ({"extra_tokens": 1}, "no place for 1 extra tokens"), ({"window_layers": ()}, r"window \(2\) and window_layers"),
    ({"window_layers": (0, 3)}, r"ascending numbers of blocks in 0\.\.2, not \(0, 3\)"),
    ({"window_layers": (1, 0)}, "ascending"), ({"window_layers": [0]}, "ascending"), ({"window": -1}, "0 for none"),
    ({"window": 0, "window_layers": (), "prompts": 1, "prompt_layers": (1,)}, r"prompts must lie in 0\.\.0"),
    ({"window": 0, "window_layers": (), "extra_tokens": 3, "prompts": 2, "prompt_layers": (0,)},
     r"in 1\.\.2, not \(0,\)"),
    ({"window": 0, "window_layers": (), "extra_tokens": 3, "prompts": 2}, "belong together"),
    ({"window": 0, "window_layers": (), "extra_tokens": 3, "prompts": True, "prompt_layers": (1,)}, "not True")])
def test_refusals(changes, words):
    with pytest.raises(ConfigError, match=words):
        replace(WINDOWS, **changes)


def test_a_machine_that_holds_windows_but_not_all_tokens():
    few = replace(machine.SMALL, name="few-keys", max_keys=16)
    compiled(replace(WINDOWS, window_layers=(0, 1, 2)), few)
    with pytest.raises(NotFitting, match="'windows' has 32 tokens; the machine 'few-keys' holds 16"):
        compiled(WINDOWS, few)
    with pytest.raises(NotFitting, match="64 tokens of a window; the machine 'few-keys' holds 16"):
        compiled(replace(WINDOWS, image_height=64, image_width=128, window=8, window_layers=(0, 1, 2)), few)
