# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of timm and Hugging Face come back bit for bit; what one cannot tell is asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.files.errors import (
    BadHeader,
    MissingTensor,
    UnsupportedModel,
)
from golden.model.float_model import classify_float
from host.importers import import_checkpoint
from tests.host.support import layouts
from tests.host.support.checkpoints import (
    DEIT,
    DISTILLED,
    HALF,
    made,
    same,
    save_pth,
    save_safe,
)


class TestTimm:
    @pytest.mark.parametrize("config", [DEIT, DISTILLED], ids=["deit", "distilled"])
    def test_wrapped_pth(self, config, tmp_path):
        model = made(config)
        path = save_pth(tmp_path / "deit.pth", layouts.timm(model), model=...)
        same(import_checkpoint(path, heads=2), model)

    def test_bare_safetensors_and_overrides(self, tmp_path):
        model = made(replace(DEIT, **HALF, eps=1e-5))
        path = save_safe(tmp_path / "a.safetensors", layouts.timm(model))
        same(import_checkpoint(path, heads=2, eps=1e-5, **HALF), model)

    def test_half_precision_is_converted(self, tmp_path):
        model = made(DEIT)
        state = {name: torch.from_numpy(array).bfloat16() for name, array in layouts.timm(model).items()}
        torch.save(state, tmp_path / "a.pth")
        found = import_checkpoint(tmp_path / "a.pth", heads=2)
        wanted = torch.from_numpy(model["blocks.0.mlp.fc1.weight"]).bfloat16().float().numpy()
        assert np.array_equal(found["blocks.0.mlp.fc1.weight"], wanted)

    def test_layer_scale_is_folded(self, tmp_path):
        model = made(DEIT)
        state = layouts.timm(model)
        scaled = dict(model.tensors)
        for i in range(3):
            for ls, linear in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
                gamma = 2.0 ** np.random.default_rng(i).integers(-3, 3, 64).astype(np.float32)
                state[f"blocks.{i}.{ls}.gamma"] = gamma
                scaled[f"blocks.{i}.{linear}.weight"] = scaled[f"blocks.{i}.{linear}.weight"] * gamma[:, None]
                scaled[f"blocks.{i}.{linear}.bias"] = scaled[f"blocks.{i}.{linear}.bias"] * gamma
        found = import_checkpoint(save_safe(tmp_path / "a.safetensors", state), heads=2)
        same(found, type(model)(model.config, scaled))

    def test_no_qkv_bias_means_zero(self, tmp_path):
        state = {name: array for name, array in layouts.timm(made(DEIT)).items() if not name.endswith("qkv.bias")}
        found = import_checkpoint(save_safe(tmp_path / "a.safetensors", state), heads=2)
        assert not found["blocks.2.attn.qkv.bias"].any()
        state["blocks.0.attn.qkv.bias"] = np.zeros(192, np.float32)
        with pytest.raises(MissingTensor, match="blocks.1.attn.qkv.bias"):
            import_checkpoint(save_safe(tmp_path / "a.safetensors", state), heads=2)



class TestHuggingface:
    @pytest.mark.parametrize("version", [4, 5])
    @pytest.mark.parametrize("prefix", ["vit.", ""])
    def test_vit(self, version, prefix, tmp_path):
        model = made(replace(DEIT, eps=1e-12, **HALF))
        state = layouts.huggingface(model, prefix, version)
        same(import_checkpoint(save_safe(tmp_path / "model.safetensors", state), heads=2), model)

    def test_backbone_without_classifier(self, tmp_path):
        config = replace(DEIT, eps=1e-12, classes=0, **HALF)
        model = made(config)
        same(import_checkpoint(save_safe(tmp_path / "a.safetensors", layouts.huggingface(model)), heads=2), model)

    def test_folder_with_its_configuration(self, tmp_path):
        model = made(replace(DEIT, eps=1e-7, pixel_mean=(0.1, 0.2, 0.3), pixel_std=(0.5, 0.6, 0.7)))
        state = layouts.huggingface(model)
        names = sorted(state)
        save_safe(tmp_path / "model-00001-of-00002.safetensors", {n: state[n] for n in names[::2]})
        save_safe(tmp_path / "model-00002-of-00002.safetensors", {n: state[n] for n in names[1::2]})
        (tmp_path / "config.json").write_text(json.dumps(
            {"num_attention_heads": 2, "layer_norm_eps": 1e-7, "image_size": 64, "hidden_act": "gelu"}))
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(
            {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}))
        same(import_checkpoint(tmp_path), model)
        (tmp_path / "config.json").write_text(json.dumps({"hidden_act": "mish"}))
        with pytest.raises(UnsupportedModel, match="one of .*gelu, .*silu, swish, not 'mish'"):
            import_checkpoint(tmp_path, heads=2)
        for text in ("{", "[]", '{"num_attention_heads": "2"}', '{"layer_norm_eps": []}'):
            (tmp_path / "config.json").write_text(text)
            with pytest.raises(BadHeader, match="config.json"):
                import_checkpoint(tmp_path, heads=2)

    def test_deit_with_both_heads(self, tmp_path):
        model = made(replace(DISTILLED, eps=1e-12))
        state = layouts.huggingface(model, "deit.")
        state = {name.removeprefix("cls_"): array for name, array in state.items()}
        same(import_checkpoint(save_safe(tmp_path / "a.safetensors", state), heads=2), model)

    def test_deit_with_one_head_reads_the_class_token_only(self, tmp_path):
        model = made(replace(DISTILLED, eps=1e-12))
        state = {n: a for n, a in layouts.huggingface(model, "deit.").items() if not n.startswith("distillation_")}
        found = import_checkpoint(save_safe(tmp_path / "a.safetensors", state), heads=2)
        image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
        single = type(model)(model.config, model.tensors | {
            "head_dist.weight": np.zeros_like(model["head.weight"]), "head_dist.bias": np.zeros(10, np.float32)})
        np.testing.assert_allclose(classify_float(found, image), 2 * classify_float(single, image), rtol=1e-6)

    def test_dinov2_layer_scale(self, tmp_path):
        model = made(replace(DEIT, classes=0, patch=8))
        scaled, state = dict(model.tensors), layouts.huggingface(model, "", dino=True)
        state["embeddings.mask_token"] = np.zeros((1, 64), np.float32)
        for i in range(3):
            for scale, linear in (("layer_scale1", "attn.proj"), ("layer_scale2", "mlp.fc2")):
                gamma = 2.0 ** np.random.default_rng(i).integers(-3, 3, 64).astype(np.float32)
                state[f"encoder.layer.{i}.{scale}.lambda1"] = gamma
                scaled[f"blocks.{i}.{linear}.weight"] = scaled[f"blocks.{i}.{linear}.weight"] * gamma[:, None]
                scaled[f"blocks.{i}.{linear}.bias"] = scaled[f"blocks.{i}.{linear}.bias"] * gamma
        found = import_checkpoint(save_safe(tmp_path / "a.safetensors", state), heads=2)
        same(found, type(model)(model.config, scaled))
