# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in wrappers: nested dictionaries, prefixes, training-only tensors, folders with other files, parts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.files.errors import AmbiguousModel, MissingFile, PickleRefused, UnsupportedModel
from host.importers import import_checkpoint
from tests.host.support import layouts
from tests.host.support.checkpoints import DEIT, HALF, IMAGENET, made, same, save_pth, save_safe

ONE = np.ones((2, 2), np.float32)


def tensors(model=None):
    return {name: torch.from_numpy(np.array(array)) for name, array in layouts.timm(model or made(DEIT)).items()}


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "encoder.", "backbone.", "module._orig_mod.",
                                    "model.encoder._orig_mod.", "base_encoder."])
def test_prefixes_are_stripped(prefix, tmp_path):
    model = made(DEIT)
    state = {prefix + name: array for name, array in layouts.timm(model).items()}
    same(import_checkpoint(save_safe(tmp_path / "deit.safetensors", state), heads=2), model)


@pytest.mark.parametrize("place", ["state_dict", "model", "teacher", "model_ema", "state_dict_ema", "ema.model"])
def test_an_only_dictionary_is_taken(place, tmp_path):
    payload = tensors()
    for name in reversed(place.split(".")):
        payload = {name: payload, "epoch": 3}
    torch.save(payload | {"optimizer": {"state": {0: {"exp_avg": torch.ones(2), "step": torch.ones(1)}}}},
               tmp_path / "deit.pth")
    same(import_checkpoint(tmp_path / "deit.pth", heads=2), made(DEIT))


def test_several_dictionaries_are_listed_and_chosen(tmp_path):
    path, teacher = tmp_path / "dino.pth", made(DEIT, seed=2)
    torch.save({"student": {f"module.backbone.{n}": a for n, a in tensors().items()},
                "teacher": {f"backbone.{n}": a for n, a in tensors(teacher).items()}
                | {"head.mlp.0.weight": torch.ones(2, 2), "head.last_layer.weight_v": torch.ones(2, 2)}}, path)
    with pytest.raises(AmbiguousModel, match="2 dictionaries of tensors, 'student', 'teacher': choose one with --key"):
        import_checkpoint(path, heads=2)
    with pytest.raises(AmbiguousModel, match="no dictionary of tensors named 'ema'; it has 'student', 'teacher'"):
        import_checkpoint(path, heads=2, key="ema")
    said = []
    same(import_checkpoint(path, heads=2, key="teacher", note=said.append), teacher)
    assert any("2 tensors are outside the network 'backbone', stay on the host" in line for line in said)


def test_two_networks_in_one_dictionary_are_asked_for(tmp_path):
    state = {f"encoder_q.{name}": array for name, array in layouts.timm(made(DEIT)).items()}
    state |= {f"encoder_k.{name}": array for name, array in layouts.timm(made(DEIT, seed=2)).items()}
    path = save_safe(tmp_path / "moco.safetensors", state)
    with pytest.raises(AmbiguousModel, match="2 networks, 'encoder_k', 'encoder_q': choose one with --key"):
        import_checkpoint(path, heads=2)
    same(import_checkpoint(path, heads=2, key="encoder_q"), made(DEIT))


def test_training_only_tensors_are_dropped_and_said(tmp_path):
    said, model = [], made(replace(DEIT, **IMAGENET))
    state = layouts.timm(model) | {"mask_token": ONE, "decoder_embed.weight": ONE, "decoder_pos_embed": ONE}
    path = save_safe(tmp_path / "mae_vit.safetensors", state)
    same(import_checkpoint(path, heads=2, note=said.append), model)
    assert any(line.startswith("3 tensors are for training only and left out") for line in said)


@pytest.mark.parametrize("names", [("cls_token", "reg_token"), ("cls_token", "register_tokens"), ("reg_token",), ()])
@pytest.mark.parametrize("embedded", [True, False], ids=["positions_for_all", "positions_for_patches"])
def test_extra_tokens(names, embedded, tmp_path):
    """Rows of the stream: tokens in their order, plus their positions where the file has them."""
    rng, state = np.random.default_rng(3), layouts.timm(made(replace(DEIT, classes=0)))
    patches = state.pop("pos_embed")[0, 1:]
    del state["cls_token"]
    tokens = {name: rng.standard_normal((1, 1 if name == "cls_token" else 4, 64)).astype(np.float32) for name in names}
    wanted = np.concatenate([np.zeros((0, 64), np.float32), *(array[0] for array in tokens.values())])
    positions = rng.standard_normal(wanted.shape).astype(np.float32) if embedded else wanted[:0]
    state |= tokens | {"pos_embed": np.concatenate([positions, patches])[None]}
    found = import_checkpoint(save_safe(tmp_path / "deit.safetensors", state), heads=2)
    assert found.config.extra_tokens == len(wanted) and found.config.tokens == 16 + len(wanted)
    np.testing.assert_array_equal(found["pos_embed"][len(wanted):], patches)
    np.testing.assert_allclose(found["pos_embed"][:len(wanted)], wanted + positions if embedded else wanted, rtol=1e-6)


def test_positions_that_fit_two_ways_are_asked_for(tmp_path):
    """196 rows and a class token: a 14 x 14 grid without a row for it, or 13 x 15 with one."""
    state = layouts.timm(made(replace(DEIT, image_height=208, image_width=240)))
    path = save_safe(tmp_path / "deit.safetensors", state)
    with pytest.raises(AmbiguousModel, match="224 x 224 or 208 x 240: give --source-image"):
        import_checkpoint(path, heads=2, image=(208, 240))
    assert import_checkpoint(path, heads=2).config.grid == (14, 14)
    assert import_checkpoint(path, heads=2, source_image=(208, 240)).config.grid == (13, 15)


def test_lost_class_token_is_named(tmp_path):
    state = layouts.timm(made(DEIT))
    del state["cls_token"]
    with pytest.raises(ValueError, match="there is no 'cls_token'"):
        import_checkpoint(save_safe(tmp_path / "deit.safetensors", state), heads=2)


def test_a_trainers_folder_is_read_without_its_arguments(tmp_path):
    model = made(replace(DEIT, eps=1e-12, **HALF))
    state, names = layouts.huggingface(model), sorted(layouts.huggingface(model))
    parts = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    for i, part in enumerate(parts):
        save_pth(tmp_path / part, {name: state[name] for name in names[i::2]})
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x02cos\nsystem\nX\x05\x00\x00\x00false\x85R.")
    (tmp_path / "optimizer.pt").write_bytes(b"\x80\x02cos\nsystem\n.")
    same(import_checkpoint(tmp_path, heads=2), model)
    index = {"weight_map": {name: parts[names.index(name) % 2] for name in names}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    same(import_checkpoint(tmp_path, heads=2), model)
    with pytest.raises(MissingFile, match="is part 1 of 2 of a model: give the folder"):
        import_checkpoint(tmp_path / parts[0], heads=2)
    (tmp_path / parts[1]).unlink()
    with pytest.raises(MissingFile, match="names 2 parts; pytorch_model-00002-of-00002.bin is missing"):
        import_checkpoint(tmp_path, heads=2)
    (tmp_path / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(MissingFile, match="holds 1 of the 2 parts of 'pytorch_model'; part 2 is missing"):
        import_checkpoint(tmp_path, heads=2)


def test_git_lfs_pointer_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(MissingFile, match="is a pointer of Git LFS, .* fetch it with 'git lfs pull'"):
            import_checkpoint(path, heads=2)


def test_torchscript_is_named(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "model.pth"))
    with pytest.raises(PickleRefused, match="is a TorchScript archive: a program, which is not run"):
        import_checkpoint(tmp_path / "model.pth", heads=2)


@pytest.mark.parametrize("name, words", [
    ("visual.ln_pre.weight", "a LayerNorm before the first block"), ("blocks.0.attn.q_norm.weight", "norms of queries"),
    ("rope.freqs", "rotary positions"), ("blocks.0.mlp.w12.weight", "gated FFNs"),
    ("blocks.0.attn.relative_position_bias_table", "relative positions"),
    ("blocks.0.attn.q_bias", "biases of queries")])
def test_foreign_parts_are_named(name, words, tmp_path):
    state = layouts.timm(made(DEIT)) | {name: ONE}
    if name.startswith("visual."):
        state = {name: ONE, "visual.conv1.weight": ONE, "text_projection": ONE}
    with pytest.raises(UnsupportedModel, match=words):
        import_checkpoint(save_safe(tmp_path / "a.safetensors", state), heads=2)


def test_a_dim_that_no_machine_runs_is_refused_at_import(tmp_path):
    config = replace(DEIT, dim=1152, heads=36, depth=1, mlp_hidden=64)
    with pytest.raises(UnsupportedModel, match="has dim 1152 .*; this accelerator runs at most 1024"):
        import_checkpoint(save_safe(tmp_path / "deit.safetensors", layouts.timm(made(config))), heads=36)
