# SPDX-License-Identifier: Apache-2.0
"""Every malformed checkpoint ends in a named error that says what was wanted and what came; nothing is executed."""

import os
import random
from dataclasses import replace

import numpy as np
import pytest

from golden.files import safetensors_file
from golden.files.errors import (
    AmbiguousModel,
    MissingFile,
    MissingTensor,
    ModelFileError,
    NotFinite,
    TooLarge,
    TruncatedFile,
    UnexpectedTensor,
    UnsupportedModel,
    WrongDtype,
    WrongShape,
)
from golden.model.synthetic import synthetic_model
from golden.spec.model import DEIT_TINY, ModelConfig
from host.importers import import_checkpoint
from tests.host.support import layouts

MOE = ModelConfig(name="moe", image_height=32, image_width=64, dim=32, depth=2, heads=1, mlp_hidden=64, moe_layers=(1,),
                  experts=4, expert_hidden=32, top_k=2)
DENSE = replace(DEIT_TINY, name="dense", image_height=32, image_width=32, dim=32, depth=2, heads=1, mlp_hidden=64,
                classes=5)
GIVEN = {"heads": 1, "top_k": 2, "image": (32, 64)}
LAYOUTS = {"timm": lambda: layouts.timm(synthetic_model(DENSE)), "m3vit": lambda: layouts.m3vit(synthetic_model(MOE)),
           "m3vit2": lambda: layouts.m3vit(synthetic_model(replace(MOE, moe_layers=(0, 1)))),
           "huggingface": lambda: layouts.huggingface(synthetic_model(DENSE))}


def options(layout):
    return GIVEN if layout.startswith("m3vit") else {"heads": 1}


def refused(path, error, words, **given):
    with pytest.raises(ModelFileError) as caught:
        import_checkpoint(path, **given)
    assert type(caught.value) is error, f"{type(caught.value).__name__}: {caught.value}"
    assert words in str(caught.value), str(caught.value)
    assert len(str(caught.value)) < 700


def without(name):
    return lambda state: state.pop(name)


def put(name, value):
    def change(state):
        state[name] = value(state[name]) if callable(value) else value
    return change


def rename(old, new):
    def change(state):
        state[new] = state.pop(old)
    return change


def poke(name, value):
    def change(state):
        state[name] = state[name].copy()
        state[name].flat[1] = value
    return change


ONES = np.ones((3, 3), np.float32)
QUERY, HTOH4 = "vit.encoder.layer.1.attention.attention.query.weight", "blocks.1.mlp.experts.htoh4.weight"
STATES = {
    "missing_key": ("timm", without("blocks.1.norm2.bias"), MissingTensor, "'blocks.1.norm2.bias' of shape (32,)"),
    "missing_patch": ("timm", without("patch_embed.proj.weight"), MissingTensor, "'patch_embed.weight'; there is none"),
    "missing_positions": ("timm", without("pos_embed"), UnsupportedModel, "'pos_embed'"),
    "missing_fc1": ("timm", without("blocks.0.mlp.fc1.weight"), MissingTensor, "'blocks.0.mlp.fc1.weight'"),
    "missing_head_bias": ("timm", without("head.bias"), MissingTensor, "'head.bias' of shape (5,)"),
    "missing_query": ("huggingface", without(QUERY), MissingTensor, "'q'"),
    "missing_norm": ("huggingface", without("vit.layernorm.bias"), MissingTensor, "'norm.bias'"),
    "missing_gate": ("m3vit2", without("blocks.1.mlp.gate.1.w_gate"), MissingTensor, "gate.task1.weight"),
    "missing_gate_of_a_block": ("m3vit2", lambda s: [s.pop(f"blocks.0.mlp.gate.{t}.w_gate") for t in (0, 1)],
                                MissingTensor, "'blocks.0.gate.task0.weight'"),
    "missing_gates": ("m3vit", lambda s: [s.pop(f"blocks.1.mlp.gate.{t}.w_gate") for t in (0, 1)], MissingTensor,
                      "has experts, but no gate"),
    "gap_in_tasks": ("m3vit", rename("blocks.1.mlp.gate.1.w_gate", "blocks.1.mlp.gate.2.w_gate"), MissingTensor,
                     "tasks [0, 2]; one between is missing"),
    "gap_in_blocks": ("timm", put("blocks.3.norm1.weight", np.ones(32, np.float32)), MissingTensor,
                      "blocks up to 3, but none of block 2"),
    "huge_block": ("timm", put("blocks.999999999.norm1.weight", np.ones(32, np.float32)), MissingTensor,
                   "none of block 2"),
    "extra_key": ("timm", put("blocks.0.attn.rel_pos", ONES), UnsupportedModel, "added to the scores ('blocks.0."),
    "extra_register": ("m3vit", put("reg_token", ONES), UnexpectedTensor, "'reg_token'"),
    "extra_in_huggingface": ("huggingface", put("vit.encoder.layer.0.mlp.weights_in.weight", ONES), UnexpectedTensor,
                             "vit.encoder.layer.0.mlp.weights_in.weight"),
    "extra_norm": ("m3vit", put("norm.bias", np.ones(32, np.float32)), UnexpectedTensor, "'norm.bias'"),
    "wrong_shape": ("timm", put("blocks.1.attn.proj.weight", ONES), WrongShape,
                    "'blocks.1.attn.proj.weight' must have shape (32, 32), not (3, 3)"),
    "transposed": ("timm", put("blocks.0.mlp.fc2.weight", lambda a: a.T), WrongShape, "(32, 64), not (64, 32)"),
    "flat_patches": ("timm", put("patch_embed.proj.weight", lambda a: a.reshape(32, -1)), WrongShape,
                     "must have 4 dimensions, not the shape (32, 768)"),
    "oblong_patches": ("timm", put("patch_embed.proj.weight", lambda a: a[..., :8]), UnsupportedModel,
                       "square, not 16 x 8"),
    "positions_of_another_width": ("timm", put("pos_embed", lambda a: a[..., :16]), WrongShape, "(tokens, 32)"),
    "positions_without_patches": ("timm", put("pos_embed", lambda a: a[:, :1]), WrongShape, "more rows than the 1"),
    "class_token_of_another_width": ("timm", put("cls_token", ONES), WrongShape, "'cls_token' must hold 32 values"),
    "blocks_of_different_width": ("timm", put("blocks.1.mlp.fc1.weight", lambda a: a[:32]), WrongShape,
                                  "(64, 32), not (32, 32)"),
    "gate_of_another_width": ("m3vit", put("blocks.1.mlp.gate.0.w_gate", lambda a: a[:16]), WrongShape,
                              "must have 32 rows (token 32, task embedding 0), not the shape (16, 4)"),
    "experts_and_gate_differ": ("m3vit", put(HTOH4, lambda a: a[:3]), MissingFile, "names 4 experts, "),
    "dim_that_no_machine_runs": ("timm", put("patch_embed.proj.weight", lambda a: a[:31]), WrongShape, "(tokens, 31)"),
    "value_wider_than_query": ("huggingface", put(QUERY, lambda a: a[:, :16]), UnsupportedModel, "same inputs"),
    "scalar": ("timm", put("blocks.0.mlp.fc1.weight", np.float32(1).reshape(())), WrongShape, "not ()"),
    "scalar_head": ("timm", put("head.weight", np.float32(1).reshape(())), UnexpectedTensor, "'head.bias'"),
    "nan": ("timm", poke("blocks.0.norm1.weight", np.nan), NotFinite, "'blocks.0.norm1.weight' holds 1 values"),
    "infinity": ("m3vit", poke(HTOH4, np.inf), NotFinite, "'blocks.1.mlp.fc1.weight' holds 1 values"),
    "too_large_for_float32": ("timm", lambda s: s.update({"pos_embed": s["pos_embed"].astype("f8") * 1e39}), NotFinite,
                              "too large for float32"),
    "nan_in_layer_scale": ("timm", put("blocks.0.ls1.gamma", np.full(32, np.nan, "f4")), NotFinite, "ls1.gamma"),
    "layer_scale_shape": ("timm", put("blocks.0.ls1.gamma", np.ones(31, "f4")), WrongShape, "must have shape (32,)"),
    "integers": ("timm", put("blocks.0.mlp.fc1.bias", lambda a: a.astype("i4")), WrongDtype,
                 "'blocks.0.mlp.fc1.bias' must hold floating-point numbers, not int32"),
    "integer_query": ("huggingface", put(QUERY, lambda a: a.astype("i1")), WrongDtype, "not int8"),
    "quantized_gate": ("m3vit", put("blocks.1.mlp.gate.0.w_gate", lambda a: a.astype("u1")), WrongDtype, "not uint8"),
    "task_embedding_cut": ("m3vit", put("gate_task_represent.fc1.weight", ONES), MissingTensor, "fc1.bias"),
}


@pytest.mark.parametrize("case", STATES)
def test_tensors_that_do_not_fit_are_refused(case, tmp_path):
    layout, change, error, words = STATES[case]
    state = LAYOUTS[layout]()
    change(state)
    path = tmp_path / "a.safetensors"
    safetensors_file.write(path, {name: np.ascontiguousarray(a) if a.ndim else a for name, a in state.items()})
    refused(path, error, words, **options(layout))


def cut(name, size):
    return lambda folder: (folder / f"{name}.float32.bin").write_bytes(
        (folder / f"{name}.float32.bin").read_bytes()[:size])


def longer(name):
    return lambda folder: (folder / f"{name}.float32.bin").write_bytes(
        (folder / f"{name}.float32.bin").read_bytes() + bytes(4))


def gone(name):
    return lambda folder: (folder / f"{name}.float32.bin").unlink()


def spoil(folder):
    path = folder / "l1_htoh4_weight.float32.bin"
    values = np.fromfile(path, "<f4")
    values[5] = np.nan
    values.tofile(path)


FOLDERS = {
    "truncated": (cut("l0_qkv_weight", -4), TruncatedFile, "must hold 12288 bytes for the shape (96, 32), not 12284"),
    "empty": (cut("l0_norm1_bias", 0), TruncatedFile, "must hold 128 bytes for the shape (32,), not 0"),
    "not_whole_values": (cut("l0_fc1_bias", 30), TruncatedFile, "whole float32 values, not 30 bytes"),
    "bias_cut": (cut("l1_htoh4_bias", -16), WrongShape, "bytes for the shape"),
    "width_cut": (cut("patch_embed_bias", -4), ModelFileError, ""),
    "too_long": (longer("l1_h4toh_weight"), WrongShape, "must hold 16384 bytes for the shape (4, 32, 32), not 16388"),
    "patches_gone": (gone("patch_embed_weight"), MissingTensor, "needs a file 'patch_embed_weight.float32.bin'"),
    "positions_gone": (gone("pos_embed"), MissingTensor, "needs a file 'pos_embed.float32.bin'"),
    "gates_gone": (lambda f: (gone("l1_w_gate_T_task0")(f), gone("l1_w_gate_T_task1")(f)), MissingTensor,
                   "has experts but no gate"),
    "huge_bias": (lambda f: os.truncate(f / "patch_embed_bias.float32.bin", 64 << 30), TooLarge,
                  "68,719,476,736 bytes"),
    "pipe": (lambda f: (gone("l1_qkv_bias")(f), os.mkfifo(f / "l1_qkv_bias.float32.bin")), TruncatedFile,
             "l1_qkv_bias.float32.bin must hold 384 bytes"),
    "extra_file": (lambda f: np.ones(3, "<f4").tofile(f / "l0_gamma.float32.bin"), UnexpectedTensor, "'l0_gamma'"),
    "huge_layer": (lambda f: np.ones(32, "<f4").tofile(f / "l99999999_norm1_bias.float32.bin"), MissingTensor,
                   "lacks l99999999_norm1_weight.float32.bin"),
    "nan": (spoil, NotFinite, "'blocks.1.mlp.fc1.weight' holds 1 values"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_that_do_not_fit_are_refused(case, tmp_path):
    change, error, words = FOLDERS[case]
    layouts.edge_moe(synthetic_model(MOE), tmp_path)
    change(tmp_path)
    if error is ModelFileError:
        with pytest.raises(ModelFileError):
            import_checkpoint(tmp_path, **GIVEN)
    else:
        refused(tmp_path, error, words, **GIVEN)


FILES = ("patch_embed_weight", "patch_embed_bias", "pos_embed", "l1_w_gate_T_task0", *(
    f"l{layer}_{part}_{kind}" for layer in (0, 1) for kind in ("weight", "bias")
    for part in ("norm1", "norm2", "qkv", "attn_proj", *(("htoh4", "h4toh") if layer else ("fc1", "fc2")))))


@pytest.mark.parametrize("name", FILES)
def test_each_file_that_a_folder_lacks_is_named(name, tmp_path):
    layouts.edge_moe(synthetic_model(MOE), tmp_path)
    gone(name)(tmp_path)
    refused(tmp_path, MissingTensor, f"{name}.float32.bin", **GIVEN)


def test_a_gate_that_one_layer_of_two_lacks_is_named(tmp_path):
    layouts.edge_moe(synthetic_model(replace(MOE, depth=3, moe_layers=(1, 2))), tmp_path)
    gone("l2_w_gate_T_task1")(tmp_path)
    refused(tmp_path, MissingTensor, "lacks l2_w_gate_T_task1.float32.bin: layer 2", **GIVEN)


def test_a_task_that_one_layer_alone_tells_does_not_vanish_without_a_word(tmp_path):
    layouts.edge_moe(synthetic_model(MOE), tmp_path)
    gone("l1_w_gate_T_task1")(tmp_path)
    heard = []
    assert import_checkpoint(tmp_path, note=heard.append, **GIVEN).config.tasks == ("task0",)
    told = [line for line in heard if "Layer 1 alone tells the tasks" in line]
    assert len(told) == 1 and "l1_w_gate_T_<task>" in told[0]
    refused(tmp_path, AmbiguousModel, "gates for 1 tasks, 2 names were given", **GIVEN, tasks=("task0", "task1"))


def test_pipes_and_files_beyond_all_models_are_refused_at_once(tmp_path):
    for name in ("pipe.safetensors", "pipe.pth"):
        os.mkfifo(tmp_path / name)
        refused(tmp_path / name, MissingFile, f"{name} must be a file or a folder, not a pipe or device")
    for name in ("large.safetensors", "large.pth"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(64 << 30)
        refused(tmp_path / name, TooLarge, f"{name} has 68,719,476,736 bytes; a model that any machine runs has")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_importers_survive_structure_aware_fuzz(layout, tmp_path):
    rng, good, path, outcomes = random.Random(31), LAYOUTS[layout](), tmp_path / "a.safetensors", {}
    for _ in range(200):
        state = dict(good)
        for _ in range(rng.choice((1, 1, 2, 3))):
            name = rng.choice(sorted(state))
            array, kind = state[name], rng.randrange(8)
            if kind == 0:
                del state[name]
            elif kind == 1:
                state[rng.choice(sorted(good)) + rng.choice(("", ".x", "9"))] = state.pop(name)
            elif kind == 2:
                state[name] = array.reshape(-1)
            elif kind == 3:
                state[name] = array[..., :rng.randrange(0, 5)] if array.ndim else array
            elif kind == 4:
                state[name] = array.astype(rng.choice(("i1", "f2", "f8", "?")))
            elif kind == 5:
                state[name] = np.zeros(rng.choice(((), (0,), (1,), (2, 0, 3), (1, 1, 1, 1), (32,), (4, 32, 32))), "f4")
            elif kind == 6:
                state[name.replace("1", rng.choice(("7", "-1", "01", "")), 1)] = array
            else:
                state[name] = np.concatenate([array, array]) if array.ndim else array
        safetensors_file.write(path, {n: np.ascontiguousarray(a) if a.ndim else a for n, a in state.items()})
        try:
            import_checkpoint(path, **options(layout))
            outcome = "read"
        except ModelFileError as error:
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(layout, outcomes)
    assert len(outcomes) >= 5 and outcomes.get("read", 0) < 100, outcomes
