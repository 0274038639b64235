# SPDX-License-Identifier: Apache-2.0
"""Limits: what no machine runs is refused at import, what a machine does not hold by name, in the model's own terms."""

import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from golden.device import GoldenDevice
from golden.files.errors import UnsupportedModel
from golden.model.random_int_model import random_int_model
from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec import isa, machine, model
from golden.spec.isa import Opcode
from golden.spec.limits import MODEL_LIMITS, check_model
from golden.spec.model import ConfigError, ModelConfig
from golden.spec.quantized import Plan
from host.cli import app
from host.compiler.compile import compile_model
from host.compiler.passes import PASSES
from host.compiler.presets import require_fit
from host.driver.session import Session
from host.importers import import_checkpoint
from host.ir.nodes import NotFitting
from tests.host.support.compiled import picture

VIT = replace(model.DEIT_TINY, depth=1)
BASE = replace(VIT, name="vit-base", dim=768, heads=12, mlp_hidden=3072)
LARGE = replace(VIT, name="vit-large", dim=1024, heads=16, mlp_hidden=4096)
WIDE = ModelConfig(name="wide", image_height=32, image_width=32, dim=1280, depth=1, heads=20, mlp_hidden=64,
                   moe_layers=(), experts=0, expert_hidden=0, top_k=0, tasks=("default",))


@pytest.mark.parametrize("config, words", [
    (replace(VIT, dim=960, heads=6), "head_dim 160 .* at most 128"),
    (replace(VIT, dim=768, heads=4), "head_dim 192 .* at most 128"),
    (replace(VIT, dim=1152, heads=18), "dim 1152 .* at most 1024"),
    (replace(VIT, dim=1280, heads=20), "dim 1280 .* at most 1024"),
    (replace(VIT, dim=1280, heads=40), "dim 1280 .* at most 1024"),
    (replace(VIT, image_height=800, image_width=720), "tokens 2251 .* at most 2048"),
    (replace(VIT, mlp_hidden=8192), "mlp_hidden 8192 .* at most 8128"),
    (replace(VIT, patch=56), "patch_dim 9408 .* at most 8176")])
def test_what_no_machine_runs(config, words):
    with pytest.raises(ConfigError, match=words):
        check_model(config)
    with pytest.raises(ConfigError, match=words):
        require_fit(config, Plan.fast(1), machine.U280)


def test_the_largest_of_each_is_accepted():
    largest = {limit.name: limit.most for limit in MODEL_LIMITS}
    check_model(replace(VIT, dim=largest["dim"], heads=largest["heads"], mlp_hidden=largest["mlp_hidden"]))
    check_model(replace(VIT, dim=largest["head_dim"], heads=1))
    check_model(replace(model.M3VIT_TINY, experts=largest["experts"], top_k=largest["top_k"]))


@pytest.mark.parametrize("config, words", [
    (model.M3VIT_SMALL, "has 1201 tokens; the machine 'zcu102' holds 1024. .* and 1536, .* It fits the machine u280."),
    (BASE, r"197 tokens x 24\).* 197 tokens of 768 channels, FFNs of 3072. It fits the machine u280."),
    (replace(VIT, image_height=528, image_width=528), "has 1090 tokens; .* holds 1024. .* It fits the machine u280."),
    (replace(BASE, image_height=384, image_width=384), "577 tokens of 768 channels, .* It fits the machine u280."),
    (LARGE, r"197 tokens x 32\).* 197 tokens of 1024 channels, FFNs of 4096. It fits the machine u280."),
    (replace(LARGE, image_height=384, image_width=384), r"577 tokens of 1024 .* No preset .* \(577 tokens x 32\)"),
    (replace(model.M3VIT_SMALL, experts=64, top_k=8), "FFNs of 384 and 1536, 64 experts of which a token uses 8. It "
     "fits the machine u280."),
    (replace(VIT, image_height=720, image_width=720, dim=1024, heads=32), "No preset machine holds it")])
def test_what_a_machine_does_not_hold(config, words):
    with pytest.raises(NotFitting, match=words):
        require_fit(config, Plan.fast(config.depth), machine.ZCU102)


@pytest.mark.parametrize("config", [
    replace(VIT, image_height=256, image_width=256), replace(VIT, image_height=384, image_width=384),
    replace(VIT, dim=384, heads=6, mlp_hidden=1536, image_height=224, image_width=224, patch=14)],
    ids=["257", "577", "dinov2-small"])
def test_more_than_256_tokens_run_on_zcu102(config):
    """Patches beyond the operand memory come range by range."""
    require_fit(config, Plan.fast(config.depth), machine.ZCU102)
    with pytest.raises(NotFitting, match="holds 256|residual rows"):
        require_fit(config, Plan.fast(config.depth), machine.SMALL)


@pytest.mark.parametrize("passes", [PASSES, ()], ids=["passes", "plain"])
def test_patches_that_do_not_fit_together_come_range_by_range(passes):
    """48 patches of 12 rows in an operand memory of 512; the results are the network's."""
    config = replace(model.NANO, image_height=96, image_width=128, patch=16, tasks=("task0",))
    network, pixels = random_int_model(config), picture(config)
    image = compile_model(network, machine.NANO, passes=passes)
    loads = [f["rows"] for opcode, f in map(isa.decode, image.words()) if opcode is Opcode.LOAD and f["memory"] == 0]
    assert len(loads) > 1 and sum(loads) == 48 * 12 > machine.NANO.operand_rows
    result = Session(image, GoldenDevice(machine.NANO)).frame(pixels)
    np.testing.assert_array_equal(result.residuals["task0"], network.run(pixels, "task0"))


def test_a_program_that_keeps_tokens_computes_one_picture():
    config = replace(model.NANO, keep=((0, 20),), moe_layers=(), experts=0, top_k=0, expert_hidden=0,
                     tasks=("default",))
    with pytest.raises(ConfigError, match="keeps some of its tokens computes one picture, not 2"):
        compile_model(random_int_model(config), machine.NANO, pictures=2)


def test_import_refuses_and_writes_nothing(tmp_path):
    source, target = tmp_path / "wide.safetensors", tmp_path / "out.safetensors"
    save_float(synthetic_model(WIDE), source)
    with pytest.raises(UnsupportedModel, match="dim 1280"):
        import_checkpoint(source)
    result = CliRunner().invoke(app, ["import", str(source), "-o", str(target)])
    assert isinstance(result.exception, UnsupportedModel) and not target.exists()


@pytest.mark.parametrize("verb", ["import", "quantize"])
@pytest.mark.parametrize("config, words", [
    (replace(VIT, image_height=256, image_width=256), "257 tokens of 192 channels, FFNs of 768. It fits .* zcu102 and"),
    (replace(VIT, image_height=384, image_width=384), "577 tokens of 192 channels, FFNs of 768. It fits .* zcu102 and"),
    (BASE, "197 tokens of 768 channels, FFNs of 3072. It fits the machine u280."),
    (replace(model.M3VIT_SMALL, depth=2, moe_layers=(1,), experts=64), "1201 tokens of 384 channels, FFNs of 384 and "
     "1536, 64 experts of which a token uses 4. It fits the machine u280.")], ids=["257", "577", "vit-base", "experts"])
def test_the_refusal_names_tokens_widths_and_a_preset(verb, config, words, tmp_path):
    source, target = tmp_path / "m.safetensors", tmp_path / "out.safetensors"
    save_float(synthetic_model(config), source)
    result = CliRunner().invoke(app, [verb, str(source), "-o", str(target), "--machine", "kv260"])
    assert isinstance(result.exception, NotFitting) and not target.exists()
    assert re.search(words, str(result.exception)), str(result.exception)


@pytest.mark.parametrize("verb", ["import", "quantize"])
def test_a_machine_is_asked_before_work_begins(verb, tmp_path):
    source, target = tmp_path / "m.safetensors", tmp_path / "out.safetensors"
    save_float(synthetic_model(replace(model.NANO, image_height=128, image_width=128)), source)
    result = CliRunner().invoke(app, [verb, str(source), "-o", str(target), "--machine", "nano"])
    assert isinstance(result.exception, NotFitting) and not target.exists()
    assert "257 tokens; the machine 'nano' holds 64. It fits the machines small" not in str(result.exception)
    assert "It fits the machines zcu102 and u280." in str(result.exception)


def test_a_classifier_of_any_size():
    """Heads of more than 255 tiles are several LINEARs."""
    config = replace(model.NANO, moe_layers=(), experts=0, top_k=0, expert_hidden=0, tasks=("default",),
                     final_norm=True, classes=21843)
    network = random_int_model(config)
    pixels = picture(config)
    result = Session(compile_model(network, machine.ZCU102), GoldenDevice(machine.ZCU102)).frame(pixels)
    np.testing.assert_array_equal(result.scores["default"], network.logits(network.run(pixels)))
