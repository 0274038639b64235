# SPDX-License-Identifier: Apache-2.0
"""Activations at import: as the configuration next to the tensors names them, or as the user does."""

import json
from dataclasses import replace

import pytest

from golden.files.errors import UnsupportedModel
from golden.spec.activations import ACTIVATIONS
from host.importers import import_checkpoint
from host.importers.activations import NAMES
from tests.host.support import layouts
from tests.host.support.checkpoints import DEIT, HALF, made, same, save_safe


def test_every_name_means_an_activation():
    assert set(NAMES.values()) == set(ACTIVATIONS)


@pytest.mark.parametrize(("told", "wanted"), [
    ({}, "gelu"), ({"model_args": {"act_layer": "relu"}}, "relu"), ({"model_args": {"depth": 3}}, "gelu")])
def test_act_layer_of_timm(told, wanted, tmp_path):
    model = made(DEIT)
    path = save_safe(tmp_path / "deit.safetensors", layouts.timm(model))
    (tmp_path / "config.json").write_text(json.dumps(told))
    same(import_checkpoint(path, heads=2), model, activation=wanted)
    same(import_checkpoint(path, heads=2, activation="silu"), model, activation="silu")
    (tmp_path / "config.json").write_text(json.dumps({"model_args": {"act_layer": "mish"}}))
    with pytest.raises(UnsupportedModel, match="act_layer must be one of .*, not 'mish'"):
        import_checkpoint(path, heads=2)


@pytest.mark.parametrize(("name", "wanted"), [
    ("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh"), ("relu", "relu"),
    ("silu", "silu"), ("swish", "silu"), (None, "gelu")])
def test_hidden_act_of_huggingface(name, wanted, tmp_path):
    model = made(replace(DEIT, eps=1e-12, classes=0, **HALF))
    path = save_safe(tmp_path / "model.safetensors", layouts.huggingface(model))
    (tmp_path / "config.json").write_text(json.dumps({"hidden_act": name} if name else {}))
    same(import_checkpoint(path, heads=2), model, activation=wanted)
