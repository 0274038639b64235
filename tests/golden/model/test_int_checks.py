# SPDX-License-Identifier: Apache-2.0
"""Quantized models as files, and those that no machine could run: each refused by a named error, in a sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest

from golden.files import safetensors_file
from golden.files.errors import (
    BadHeader,
    MissingTensor,
    ModelFileError,
    UnexpectedTensor,
    UnknownLayout,
    WrongDtype,
    WrongShape,
)
from golden.files.sealed_file import SEAL, write_sealed
from golden.model.int_checks import OutOfRange
from golden.model.int_model import IntModel
from golden.model.random_int_model import random_int_model
from golden.spec.model import NANO, ConfigError
from golden.spec.quantized import Plan

FAST, ACCURATE = Plan.fast(NANO.depth), Plan.accurate(NANO.depth)


def image(config, seed=5):
    return np.random.default_rng(seed).integers(
        0, 256, (config.image_height, config.image_width, config.channels), dtype=np.uint8)


def test_save_and_load_give_the_same_bytes(tmp_path):
    model = IntModel(NANO, ACCURATE, random_int_model(NANO, ACCURATE).tensors, "made by hand")
    model.save(tmp_path / "a.safetensors")
    loaded = IntModel.load(tmp_path / "a.safetensors")
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (loaded.config, loaded.plan, loaded.source) == (NANO, ACCURATE, "made by hand")
    assert (loaded.run(image(NANO)) == model.run(image(NANO))).all()


def test_a_file_of_version_7_gives_the_same_results(tmp_path):
    """Its weights of four bits, whole numbers in +-7, lie in bytes of their own as they did."""
    path, plan = tmp_path / "old.safetensors", FAST.with_bits(expert_bits=5)
    tensors = {name: np.clip(tensor, -7, 7) if name.startswith("blocks.1.mlp") and name.endswith(".weight") else tensor
               for name, tensor in random_int_model(NANO, plan).tensors.items()}
    model = IntModel(NANO, plan, tensors)
    model.save(path)
    tensors, metadata = safetensors_file.read(path)
    old = json.loads(metadata["plan"])
    for layer in old["layers"]:
        del layer["mlp_bits"]
        layer["expert_bits"] = 4
    kept = {name: text for name, text in metadata.items() if name != SEAL}
    write_sealed(path, tensors, kept | {"version": "7", "plan": json.dumps(old)})
    loaded = IntModel.load(path)
    assert loaded.plan == plan and (loaded.run(image(NANO)) == model.run(image(NANO))).all()
    write_sealed(path, tensors, kept | {"version": "8", "plan": json.dumps(old)})
    with pytest.raises(BadHeader, match="mlp_bits"):
        IntModel.load(path)


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"format": "something"}, UnknownLayout, "not a quantized model"),
    ({"version": "99"}, UnknownLayout, "format version '99'"),
    ({"model": "{"}, BadHeader, "does not describe a model"),
    ({"model": "[]"}, BadHeader, "must be a JSON object"),
    ({"plan": "{}"}, BadHeader, "keys head, layers, logit_frac, residual_frac"),
    ({"plan": '{"layers": [], "head": true, "residual_frac": 9, "logit_frac": 9, "task_heads": []}'},
     WrongShape, "describes 0 layers"),
])
def test_files_with_strange_metadata_are_refused(tmp_path, change, error, words):
    path = tmp_path / "model.safetensors"
    random_int_model(NANO, FAST).save(path)
    tensors, metadata = safetensors_file.read(path)
    write_sealed(path, tensors, {name: text for name, text in metadata.items() if name != SEAL} | change)
    with pytest.raises(error, match=words):
        IntModel.load(path)


def broken(name, edit):
    tensors = dict(random_int_model(NANO, FAST).tensors)
    tensors[name] = edit(tensors[name].copy())
    return tensors


def put(value):
    def edit(array):
        array[(0,) * array.ndim] = value
        return array
    return edit


@pytest.mark.parametrize(("name", "edit", "error", "words"), [
    ("pos_embed", lambda a: a.astype(np.int32), WrongDtype, "must be int16, not int32"),
    ("pos_embed", lambda a: a[1:], WrongShape, "must have shape"),
    ("blocks.0.attn.q.weight", put(-128), OutOfRange, "-127..127"),
    ("blocks.1.mlp.fc2.shift2", put(41), OutOfRange, "0..40"),
    ("blocks.1.mlp.fc1.shift", put(-1), OutOfRange, "0..47"),
    ("blocks.0.norm1.shift", put(32), OutOfRange, "0..31"),
    ("blocks.0.norm2.eps", put(1 << 40), OutOfRange, "blocks.0.norm2.eps"),
    ("blocks.0.attn.score_shift", put(48), OutOfRange, "0..47"),
    ("blocks.0.attn.p_shift", put(1), OutOfRange, "0..0"),
    ("blocks.1.gate.task1.shift", put(64), OutOfRange, "0..63"),
    ("blocks.1.gate.task1.weight", put(16320), OutOfRange, "-16319..16319"),
    ("blocks.1.gate.task1.bias", put(1 << 38), OutOfRange, "may wrap an accumulator"),
    ("blocks.0.attn.proj.bias", put((1 << 31) - 1), OutOfRange, "may wrap an accumulator"),
    ("blocks.1.mlp.fc2.bias", put(-(1 << 31)), OutOfRange, "may wrap an accumulator"),
])
def test_models_that_no_machine_could_run_are_refused(name, edit, error, words):
    with pytest.raises(error, match=words):
        IntModel(NANO, FAST, broken(name, edit))
    assert issubclass(error, ModelFileError)


def test_weights_beyond_their_plans_bits_are_refused():
    tensors = dict(random_int_model(NANO, FAST).tensors)
    with pytest.raises(OutOfRange, match="'blocks.1.mlp.fc1.weight' must lie in -15..15"):
        IntModel(NANO, FAST.with_bits(expert_bits=5), tensors)
    with pytest.raises(OutOfRange, match="'blocks.1.mlp.fc1.weight' must lie in -12..12"):
        IntModel(NANO, FAST.with_bits(expert_bits=4), tensors)


@pytest.mark.parametrize("weight", [5, -7, 11])
def test_packed_weights_without_a_code_are_refused(weight):
    plan = FAST.with_bits(expert_bits=4)
    tensors = dict(random_int_model(NANO, plan).tensors)
    tensors["blocks.1.mlp.fc2.weight"] = tensors["blocks.1.mlp.fc2.weight"].copy()
    tensors["blocks.1.mlp.fc2.weight"][1, 2, 3] = weight
    with pytest.raises(OutOfRange, match=f"'blocks.1.mlp.fc2.weight' has the weight {weight}; one of 4 bits is one of"):
        IntModel(NANO, plan, tensors)


def test_missing_and_extra_tensors_are_refused():
    tensors = dict(random_int_model(NANO, FAST).tensors)
    with pytest.raises(UnexpectedTensor, match="no place for \\['more'\\]"):
        IntModel(NANO, FAST, tensors | {"more": np.zeros(1)})
    del tensors["blocks.0.attn.out.gain"]
    with pytest.raises(MissingTensor, match="blocks.0.attn.out.gain"):
        IntModel(NANO, FAST, tensors)


def test_wide_probabilities_of_many_keys_need_a_shift():
    config = replace(NANO, image_height=160, image_width=160, depth=1, moe_layers=())
    model = random_int_model(config, Plan.accurate(1))
    assert model["blocks.0.attn.p_shift"] == 1  # 401 tokens
    with pytest.raises(OutOfRange, match="Increase p_shift"):
        IntModel(config, model.plan, model.tensors | {"blocks.0.attn.p_shift": np.zeros((), np.int32)})


@pytest.mark.parametrize("bad", [np.zeros((32, 64, 3)), np.zeros((64, 32, 3), np.uint8), np.zeros((32, 64), np.uint8)])
def test_wrong_images_are_refused(bad):
    with pytest.raises(ConfigError, match="uint8 of shape \\(32, 64, 3\\)"):
        random_int_model(NANO, FAST).run(bad)


def test_wrong_tasks_are_refused():
    with pytest.raises(ConfigError, match="one of \\['task0', 'task1'\\], not 'depth'"):
        random_int_model(NANO, FAST).run(image(NANO), "depth")
