# SPDX-License-Identifier: Apache-2.0
"""Machine and model descriptions: presets, fingerprints, JSON, refusals in sentences."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from golden.spec import machine
from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import DEIT_TINY, M3VIT_SMALL, M3VIT_TINY, MODELS, ConfigError, ModelConfig


@pytest.mark.parametrize("config", MACHINES.values(), ids=MACHINES)
def test_machine_presets(config):
    assert config.row_bytes * config.ring_rows == config.ring_lines * machine.LINE
    assert config.share_bytes * config.ports == config.beat_lines * machine.LINE
    assert config.share_beats * config.port_bytes == config.share_bytes
    assert config.share_beats * config.weight_bytes_per_cycle == config.beat_lines * machine.LINE
    assert config.whole_beats(1) == config.beat_lines and config.whole_beats(6) == 6
    assert config.steps * config.tk == machine.SLICE
    assert replace(config).fingerprint == config.fingerprint
    assert replace(config, name="other").fingerprint != config.fingerprint
    with pytest.raises(FrozenInstanceError):
        config.tm = 8


def test_fingerprints_differ():
    for presets in (MACHINES, MODELS):
        assert len({config.fingerprint for config in presets.values()}) == len(presets)
        assert all(0 <= config.fingerprint < 1 << 64 for config in presets.values())


def test_the_reference_machine():
    assert MACHINES["zcu102"].macs_per_cycle == 2048 and MACHINES["zcu102"].row_bytes == 512


@pytest.mark.parametrize(("change", "words"), [
    ({"tm": 3}, "tm must be 2, 4, 8 or 16, not 3"), ({"tk": 32}, "tk must be"), ({"ports": 3}, "ports must be"),
    ({"operand_rows": 500}, "operand_rows must be a power of two, or three quarters of one"),
    ({"max_keys": 4096}, "max_keys"), ({"ring_lines": 32}, "ring_lines"), ({"ring_lines": 320}, "three quarters"),
    ({"kv_tiles": 2048}, "kv_tiles"),
    ({"port_bytes": 64}, "port_bytes must be 16 or 32, not 64"), ({"max_burst": 48}, "max_burst must be"),
    ({"ports": 4, "port_bytes": 32, "tk": 2},
     "4 ports of 32 bytes carry more than the 64 bytes a cycle that the array"),
    ({"serialization": 3}, "serialization must be")])
def test_impossible_machines_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        replace(MACHINES["nano"], **change)


def test_machine_configurations_are_built_by_name_only():
    with pytest.raises(TypeError):
        MachineConfig("nano", 2, 4)


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_model_presets_survive_json(config):
    again = ModelConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config and again.fingerprint == config.fingerprint


def test_the_models_that_the_field_compares():
    assert (M3VIT_TINY.tokens, M3VIT_TINY.head_dim, M3VIT_TINY.patch_dim) == (129, 64, 768)
    assert round(M3VIT_TINY.macs / 1e6, 1) == 782.7
    assert M3VIT_SMALL.tokens == 1201 and DEIT_TINY.tokens == 197 and MODELS["deit-small"].tokens == 198


@pytest.mark.parametrize(("change", "words"), [
    ({"dim": 200}, "dim"), ({"dim": 0}, "dim must be a positive integer"), ({"depth": True}, "depth must be"),
    ({"heads": 5}, "multiple of heads"), ({"heads": 12}, "dim / heads must be a multiple of 32"),
    ({"image_height": 100}, "whole number of"), ({"mlp_hidden": 100}, "mlp_hidden"), ({"extra_tokens": 65}, "0..64"),
    ({"moe_layers": (1, 1)}, "distinct"), ({"moe_layers": (12,)}, "below depth"), ({"experts": 65}, "1..64"),
    ({"top_k": 9}, "top_k"), ({"top_k": 0}, "top_k"), ({"expert_hidden": 31}, "expert_hidden"),
    ({"tasks": ()}, "tasks"), ({"tasks": ("a", "a")}, "tasks must be distinct"),
    ({"tasks": "depth"}, "tuple of names, not 'depth'"), ({"tasks": ("",)}, "tuple of names"),
    ({"pixel_scale": 0.0}, "pixel_scale"), ({"pixel_scale": float("nan")}, "pixel_scale"),
    ({"classes": 10}, "needs one norm"), ({"classes": -1}, "classes"),
    ({"classes": 10, "final_norm": True, "pool": "max"}, "pool must be one of"),
    ({"classes": 10, "final_norm": True, "pool": ["mean"]}, "pool must be one of"),
    ({"classes": 10, "final_norm": True, "pool": "mean", "fc_norm": True}, "needs one norm"),
    ({"classes": 10, "fc_norm": True}, "fc_norm follows the mean"), ({"pool": "mean"}, "the model has no classes"),
    ({"classes": 10, "fc_norm": 1, "pool": "mean"}, "fc_norm must be true or false"),
    ({"classes": 10, "final_norm": True, "extra_tokens": 0}, "class token to read"),
    ({"classes": 10, "final_norm": True, "extra_tokens": 0, "pool": "class_mean"}, "class token to read"),
    ({"fit": "pad"}, "fit must be one of"), ({"crop_share": 0.0}, "crop_share"), ({"crop_share": 1.5}, "crop_share"),
    ({"interpolation": "random"}, "interpolation must be one of"),
    ({"eps": 1.0}, "eps"), ({"pixel_std": (1.0, 0.0, 1.0)}, "pixel_std"), ({"pixel_mean": (0.0,)}, "pixel_mean")])
def test_impossible_models_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        replace(M3VIT_TINY, **change)


@pytest.mark.parametrize(("edit", "words"), [
    (lambda d: [d], "JSON object"), (lambda d: d | {"colour": 1}, "unknown keys \\['colour'\\]"),
    (lambda d: {k: v for k, v in d.items() if k != "dim"}, "lacks the keys \\['dim'\\]"),
    (lambda d: d | {"gate": "maybe"}, "gate must be one of"), (lambda d: d | {"eps": "small"}, "wrong type")])
def test_strange_model_descriptions_are_refused(edit, words):
    with pytest.raises(ConfigError, match=words):
        ModelConfig.from_json(edit(M3VIT_TINY.to_json()))


def test_descriptions_without_the_later_fields_are_read_and_written():
    """Files of models that need none of these fields look, and hash, as before there were such fields."""
    data = M3VIT_SMALL.to_json()
    assert not {"pool", "fc_norm", "fit", "crop_share", "interpolation"} & set(data)
    assert M3VIT_SMALL.fingerprint == ModelConfig.from_json(data).fingerprint
    pooled = replace(DEIT_TINY, pool="mean", fit="squash", crop_share=0.9, interpolation="bicubic")
    assert ModelConfig.from_json(pooled.to_json()) == pooled and pooled.fingerprint != DEIT_TINY.fingerprint
