# SPDX-License-Identifier: Apache-2.0
"""Calibration findings: a line for each place that the integer model does badly, none where it does well."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from golden.files.errors import ModelFileError
from golden.model.float_model import M3ViT, to_pixels
from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.cli import app
from host.quantizer.crops import crops
from host.quantizer.findings import Findings
from host.quantizer.quantize import quantize
from tests.host.quantizer.test_large_activations import changed, scaled

NANO = replace(MODELS["nano"], name="findings")


def found(model, count=16, plan="fast"):
    """The findings as text, by place."""
    heard = []
    quantize(model, crops(model.config, count), plan, report=heard.append)
    return {finding.place: finding for finding in heard}


@pytest.mark.parametrize("plan", ["fast", "accurate", "mixed"])
def test_a_good_model_gives_no_finding(plan):
    assert found(synthetic_model(NANO, seed=2), plan=plan) == {}


@pytest.mark.parametrize("count, text", [(1, "1 picture is too few"), (2, "2 pictures are too few"), (7, "7 pictures")])
def test_few_calibration_pictures(count, text):
    assert text in str(found(synthetic_model(NANO, seed=2), count)["calibration"])


def test_scores_beyond_their_format():
    there = found(changed(NANO, scaled("blocks.0.attn.qkv.weight", 1000, slice(NANO.head_dim))))
    assert "scores reach" in str(there["blocks.0.attn"]) and "are clipped" in str(there["blocks.0.attn"])


def test_gelu_inputs_beyond_their_format():
    there = found(changed(NANO, scaled("blocks.0.mlp.fc1.weight", 500)))["blocks.0.mlp.fc1"]
    assert "activation inputs reach" in str(there) and "% of them are clipped" in str(there)
    assert 0 < there.share < 1 and there.sqnr < 45


def test_gelu_inputs_near_the_end_of_their_format():
    model = synthetic_model(NANO, seed=2)
    top = largest_gelu_input(model, crops(NANO, 16))
    there = found(changed(NANO, scaled("blocks.0.mlp.fc1.weight", 850 / top)))["blocks.0.mlp.fc1"]
    assert "of the 1024 that the format holds: those of other pictures may be clipped" in str(there)


def largest_gelu_input(model, images) -> float:
    tops, net = [], M3ViT(model).eval()
    net.blocks[0].mlp.fc1.register_forward_hook(lambda module, given, result: tops.append(float(result.max())))
    net(to_pixels(model.config, np.stack(images)), model.config.tasks[0])
    return max(tops)


def test_a_residual_stream_beyond_the_step_of_ones_own_plan():
    """A named plan would choose a step for it."""
    def change(tensors):
        tensors["pos_embed"][5, 3] += 200
    there = found(changed(NANO, change), plan=Plan.fast(NANO.depth))
    assert "reach 3.12 times what the format holds" in str(there["pos_embed"])
    assert there["patch_embed"].sqnr < 18, "the place where the stream went wrong, and how far"


def test_a_residual_stream_beyond_every_step():
    def change(tensors):
        tensors["pos_embed"][5, 3] += 40_000
    with pytest.raises(ModelFileError, match=r"The residual stream after pos_embed reaches .*; 16 bits hold 32767"):
        found(changed(NANO, change))


def test_weights_that_leave_the_range_of_floats():
    with pytest.raises(ModelFileError, match="The float network itself gives values that are infinite or no numbers"):
        found(changed(NANO, scaled("mlp.fc2.weight", 1e38)))


def test_only_a_later_place_that_is_much_worse_is_named_again():
    heard = []
    findings = Findings(heard.append)
    wanted = torch.ones(4, 8)
    for noise in (0.2, 0.21, 0.5, 0.5):
        findings.stream(f"after {noise}", wanted, wanted + noise)
    assert [finding.place for finding in heard] == ["after 0.2", "after 0.5"]


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_float(synthetic_model(NANO, seed=2), tmp_path / "float.safetensors")

    def run(*words):
        return CliRunner().invoke(app, ["quantize", "float.safetensors", "-o", "int.safetensors", *words])
    return run


def test_the_command_prints_each_finding_and_goes_on(command, tmp_path):
    result = command("--crops", "2", "--json")
    assert result.exit_code == 0 and (tmp_path / "int.safetensors").exists()
    assert "edge-moe: warning: calibration: 2 pictures are too few" in result.stderr
    assert len(json.loads(result.stdout.splitlines()[-1])["warnings"]) == 1


def test_strict_makes_a_finding_an_error_and_writes_nothing(command, tmp_path):
    result = command("--crops", "2", "--strict")
    assert "1 finding of calibration, and --strict: nothing is written" in str(result.exception)
    assert not (tmp_path / "int.safetensors").exists()
    assert command("--crops", "16", "--strict").exit_code == 0
