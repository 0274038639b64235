# SPDX-License-Identifier: Apache-2.0
"""Each importer gives back, bit for bit, a model written in its layout; what a checkpoint cannot tell is asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.files import safetensors_file
from golden.files.errors import (
    AmbiguousModel,
    BadHeader,
    MissingFile,
    MissingTensor,
    UnexpectedTensor,
    UnsupportedModel,
    WrongShape,
)
from golden.model.float_model import classify_float, run_float
from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import DEIT_TINY, NANO, GateKind, ModelConfig
from host.importers import import_checkpoint
from host.importers.resize import resize_positions
from tests.host.support import layouts

MOE = ModelConfig(name="moe", image_height=64, image_width=96, dim=64, depth=4, heads=2, mlp_hidden=128,
                  moe_layers=(1, 3), experts=4, expert_hidden=64, top_k=2, pixel_scale=255.0)
IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
HALF = {"pixel_mean": (0.5,) * 3, "pixel_std": (0.5,) * 3}
DEIT = replace(DEIT_TINY, name="deit", image_height=64, image_width=64, dim=64, depth=3, heads=2, mlp_hidden=128,
               classes=10)
DISTILLED = replace(DEIT, extra_tokens=2)
GIVEN = {"heads": 2, "top_k": 2, "image": (64, 96)}


def made(config, seed=1):
    return layouts.rounded(synthetic_model(config, seed))


def save_pth(path, state, **around):
    """A .pth of tensors; ``around`` puts the state dict under a name among other entries."""
    state = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    wrapped = {key: state if value is ... else value for key, value in around.items()}
    torch.save(wrapped or state, path)
    return path


def save_safe(path, state):
    safetensors_file.write(path, state)
    return path


def same(found, wanted, **config):
    """Equal parameters, and the description apart from what ``config`` says; a given name is a file's."""
    assert found.config == replace(wanted.config, name=found.config.name, **config)
    for name, array in wanted.tensors.items():
        assert np.array_equal(found[name], array), f"{name} differs by {np.abs(found[name] - array).max()}"


def with_equal_gates(model):
    tensors = dict(model.tensors)
    for name in tensors:
        if ".gate." in name:
            tensors[name] = tensors[name.replace("task1", "task0")]
    return type(model)(model.config, tensors)


class TestEdgeMoe:
    def test_folder(self, tmp_path):
        model = made(replace(MOE, pixel_scale=256.0))
        layouts.edge_moe(model, tmp_path)
        np.zeros(3, "<f4").tofile(tmp_path / "image.float32.bin")
        np.zeros(3, "<f4").tofile(tmp_path / "l3_x_post_moe.float32.bin")
        same(import_checkpoint(tmp_path, **GIVEN), model)

    def test_published_dimensions_need_no_options(self, tmp_path):
        config = ModelConfig(name="m", depth=2, moe_layers=(1,))
        model = synthetic_model(config)
        layouts.edge_moe(model, tmp_path)
        same(import_checkpoint(tmp_path), model)

    def test_task_names_may_be_given(self, tmp_path):
        layouts.edge_moe(made(MOE), tmp_path)
        found = import_checkpoint(tmp_path, tasks=("semseg", "depth"), **GIVEN)
        assert found.config.tasks == ("semseg", "depth")
        assert np.array_equal(found["blocks.1.gate.depth.weight"], made(MOE)["blocks.1.gate.task1.weight"])
        with pytest.raises(AmbiguousModel, match="gates for 2 tasks, 1 names were given"):
            import_checkpoint(tmp_path, tasks=("one",), **GIVEN)

    def test_other_dimensions_ask(self, tmp_path):
        layouts.edge_moe(made(MOE), tmp_path)
        for name in GIVEN:
            with pytest.raises(AmbiguousModel, match=f"give --{name.replace('_', '-')}"):
                import_checkpoint(tmp_path, **{key: value for key, value in GIVEN.items() if key != name})


class TestM3vit:
    @pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "module.base_encoder."])
    def test_prefixes(self, prefix, tmp_path):
        model = made(replace(MOE, **IMAGENET))
        state = {prefix + name: array for name, array in layouts.m3vit(model).items()}
        same(import_checkpoint(save_safe(tmp_path / "a.safetensors", state), **GIVEN), model)

    def test_training_checkpoint(self, tmp_path):
        model = made(replace(MOE, **IMAGENET))
        state = {f"module.backbone.{name}": array for name, array in layouts.m3vit(model).items()}
        one = np.ones((2, 2), np.float32)
        state |= {f"module.{name}": one for name in (
            "backbone.blocks.1.mlp.gate.0.w_gate_aux", "tam_model2.conv.weight", "decoders.semseg.fc_aux.weight",
            "backbone.blocks.1.mlp.gate.0.head.weight", "backbone.tam_model1.fc.weight", "backbone.head.weight")}
        path = save_pth(tmp_path / "checkpoint.pth.tar", state, epoch=7, backbone="VisionTransformer_moe",
                        state_dict=..., best_result={"multi_task_performance": 1.5}, optimizer={"state": {}, "lr": 0.1})
        said: list[str] = []
        found = import_checkpoint(path, note=said.append, **GIVEN)
        same(found, model)
        assert found.config.name == "checkpoint"
        assert said == ["5 tensors are for training only and left out: blocks.1.mlp.gate.0.head.weight, "
                        "blocks.1.mlp.gate.0.w_gate_aux, decoders.semseg.fc_aux.weight, tam_model1.fc.weight, ..."]

    def test_momentum_encoder_is_left_out(self, tmp_path):
        model = made(replace(MOE, **IMAGENET))
        plain = layouts.m3vit(model)
        state = {f"module.base_encoder.{name}": array for name, array in plain.items()}
        state |= {f"module.momentum_encoder.{name}": array + 1 for name, array in plain.items()}
        state["module.predictor.0.weight"] = state["module.base_encoder.head.0.weight"] = np.ones((3, 3), np.float32)
        same(import_checkpoint(save_safe(tmp_path / "a.safetensors", state), **GIVEN), model)

    def test_gate_prefix(self, tmp_path):
        model = made(replace(MOE, **IMAGENET))
        state = {("module.gate_model." if ".gate." in name else "module.base_encoder.") + name: array
                 for name, array in layouts.m3vit(model).items()}
        same(import_checkpoint(save_safe(tmp_path / "a.safetensors", state), **GIVEN), model)

    def test_gate_network_is_refused(self, tmp_path):
        state = layouts.m3vit(made(MOE)) | {"module.gate_model.patch_embed.proj.weight": np.ones((2, 2), np.float32)}
        with pytest.raises(UnsupportedModel, match="separate gate network"):
            import_checkpoint(save_safe(tmp_path / "a.safetensors", state), **GIVEN)

    def test_noisy_gate_is_recognised(self, tmp_path):
        model = made(replace(MOE, gate=GateKind.TOPK_THEN_SOFTMAX, **IMAGENET))
        state = layouts.m3vit(model) | {"blocks.1.mlp.gate.0.w_noise": np.zeros((64, 4), np.float32)}
        path = save_safe(tmp_path / "a.safetensors", state)
        same(import_checkpoint(path, **GIVEN), model)
        forced = import_checkpoint(path, gate="softmax_then_topk", **GIVEN)
        assert forced.config.gate is GateKind.SOFTMAX_THEN_TOPK

    def test_shared_gate_serves_every_task(self, tmp_path):
        model = with_equal_gates(made(replace(MOE, **IMAGENET)))
        path = save_safe(tmp_path / "a.safetensors", layouts.m3vit(model, gates="shared"))
        same(import_checkpoint(path, tasks=("task0", "task1"), **GIVEN), model)
        assert import_checkpoint(path, **GIVEN).config.tasks == ("task0",)

    def test_task_conditioned_gate_becomes_a_bias(self, tmp_path):
        model, size, tasks = made(replace(MOE, **IMAGENET)), 16, 3
        rng = np.random.default_rng(9)
        state = layouts.m3vit(model, gates="shared")
        for i in MOE.moe_layers:
            name = f"blocks.{i}.mlp.gate.w_gate"
            state[name] = np.concatenate([state[name], rng.standard_normal((size, 4)).astype("f4")])
        for part, shape in (("fc1", (size, tasks)), ("fc2", (size, size)), ("norm", (size,))):
            state[f"gate_task_represent.{part}.weight"] = rng.standard_normal(shape).astype("f4")
            state[f"gate_task_represent.{part}.bias"] = rng.standard_normal(size).astype("f4")
        path = save_safe(tmp_path / "a.safetensors", state)
        found = import_checkpoint(path, tasks=("a", "b", "c"), **GIVEN)
        # The definition, in torch: the task's embedding follows every token into the gate.
        p = {name: torch.from_numpy(array).double() for name, array in state.items()}
        tokens = torch.from_numpy(rng.standard_normal((5, 64)))
        for t, task in enumerate(found.config.tasks):
            one = F.one_hot(torch.tensor(t), tasks).double()
            r = "gate_task_represent."
            x = F.gelu(F.linear(one, p[f"{r}fc1.weight"], p[f"{r}fc1.bias"]))
            x = F.linear(x, p[f"{r}fc2.weight"], p[f"{r}fc2.bias"])
            x = F.layer_norm(x, (size,), p[f"{r}norm.weight"], p[f"{r}norm.bias"], 1e-6)
            for i in MOE.moe_layers:
                wanted = torch.cat([tokens, x.expand(5, -1)], -1) @ p[f"blocks.{i}.mlp.gate.w_gate"]
                got = tokens.numpy() @ found[f"blocks.{i}.gate.{task}.weight"].T + found[f"blocks.{i}.gate.{task}.bias"]
                np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)  # the bias is float32
        with pytest.raises(AmbiguousModel, match="gates for 3 tasks"):
            import_checkpoint(path, tasks=("a",), **GIVEN)

    def test_rank_shards_are_joined_in_order(self, tmp_path):
        model = made(replace(MOE, **IMAGENET))
        state, folder = layouts.m3vit(model), tmp_path / "checkpoint.pth.tar"
        folder.mkdir()
        for rank in range(2):
            shard = {f"module.backbone.{name}": array[2 * rank:2 * rank + 2] if "experts." in name else array
                     for name, array in state.items() if rank == 0 or "experts." in name}
            save_pth(folder / f"{rank}.pth", shard, epoch=1, state_dict=...)
        same(import_checkpoint(folder, **GIVEN), model)
        (folder / "1.pth").rename(folder / "2.pth")
        with pytest.raises(MissingFile, match="1.pth is missing"):
            import_checkpoint(folder, **GIVEN)
        (folder / "2.pth").unlink()
        with pytest.raises((WrongShape, UnsupportedModel)):
            import_checkpoint(folder, **GIVEN)

    @pytest.mark.parametrize("change, error, words", [
        (lambda s: s.update({"blocks.0.norm1.bias": np.zeros(64, "f4")}), UnexpectedTensor, "slices of rank 0's"),
        (lambda s: s.pop("blocks.3.mlp.experts.h4toh.bias"), MissingFile, "is in 1 of 2 shards"),
        (lambda s: s.update({"blocks.1.mlp.experts.htoh4.bias": np.zeros((2, 9), "f4")}), WrongShape, "(experts, 64)"),
        (lambda s: s.update({"blocks.1.mlp.experts.htoh4.bias": np.zeros((), "f4")}), WrongShape, "not ()"),
    ], ids=["foreign", "incomplete", "other_shape", "scalar"])
    def test_shards_that_do_not_fit_are_refused(self, change, error, words, tmp_path):
        state = layouts.m3vit(made(MOE))
        shard = {name: array[2:] for name, array in state.items() if "experts." in name}
        change(shard)
        save_pth(tmp_path / "0.pth", {n: array[:2] if "experts." in n else array for n, array in state.items()})
        save_pth(tmp_path / "1.pth", shard)
        with pytest.raises(error) as caught:
            import_checkpoint(tmp_path, **GIVEN)
        assert words in str(caught.value)

    def test_cityscapes_size_and_pixels_are_known(self, tmp_path):
        model = made(replace(MOE, image_height=128, image_width=256))
        path = save_safe(tmp_path / "a.safetensors", layouts.m3vit(model))
        same(import_checkpoint(path, heads=2, top_k=2), model)

    @pytest.mark.parametrize("absent, words", [("heads", "give --heads"), ("top_k", "give --top-k"),
                                               ("image", "give --image")])
    def test_what_it_cannot_tell_is_asked_for(self, absent, words, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.m3vit(made(MOE)))
        with pytest.raises(AmbiguousModel, match=words):
            import_checkpoint(path, **{key: value for key, value in GIVEN.items() if key != absent})


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

    def test_pooling_classifier_is_refused(self, tmp_path):
        state = layouts.timm(made(DEIT)) | {"fc_norm.weight": np.ones(64, np.float32)}
        with pytest.raises(UnsupportedModel, match="fc_norm"):
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


class TestImageSize:
    @pytest.mark.parametrize("old, new", [((8, 16), (30, 40)), ((14, 14), (7, 9)), ((3, 5), (6, 10)), ((1, 4), (2, 1))])
    def test_equals_torch(self, old, new):
        rows = np.random.default_rng(0).standard_normal((old[0] * old[1], 32)).astype(np.float32)
        grid = torch.from_numpy(rows).double().reshape(1, *old, 32).permute(0, 3, 1, 2)
        wanted = F.interpolate(grid, new, mode="bilinear", align_corners=False).permute(0, 2, 3, 1).reshape(-1, 32)
        np.testing.assert_allclose(resize_positions(rows, old, new), wanted, rtol=0, atol=1e-6)

    def test_import_at_another_size_keeps_the_extra_rows(self, tmp_path):
        model = made(DISTILLED)
        path = save_safe(tmp_path / "a.safetensors", layouts.timm(model))
        found = import_checkpoint(path, heads=2, image=(32, 96))
        assert (found.config.image_height, found.config.image_width, found.config.tokens) == (32, 96, 14)
        assert np.array_equal(found["pos_embed"][:2], model["pos_embed"][:2])
        assert np.array_equal(found["pos_embed"][2:], resize_positions(model["pos_embed"][2:], (4, 4), (2, 6)))
        assert run_float(found, np.zeros((1, 32, 96, 3), np.uint8)).shape == (1, 14, 64)

    def test_same_number_of_patches_is_ambiguous(self, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.timm(made(DEIT)))
        with pytest.raises(AmbiguousModel, match="give --source-image"):
            import_checkpoint(path, heads=2, image=(32, 128))
        kept = import_checkpoint(path, heads=2, image=(32, 128), source_image=(32, 128))
        assert np.array_equal(kept["pos_embed"], made(DEIT)["pos_embed"])
        turned = import_checkpoint(path, heads=2, image=(32, 128), source_image=(64, 64))
        assert not np.array_equal(turned["pos_embed"], made(DEIT)["pos_embed"])

    def test_unknown_grid_is_ambiguous_and_a_wrong_one_refused(self, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.m3vit(made(MOE)))
        with pytest.raises(AmbiguousModel, match="give --source-image"):
            import_checkpoint(path, heads=2, top_k=2, image=(128, 128))
        with pytest.raises(WrongShape, match="16 patches of 16 x 16; the checkpoint's 'pos_embed' has 24"):
            import_checkpoint(path, heads=2, top_k=2, source_image=(64, 64))
        found = import_checkpoint(path, heads=2, top_k=2, source_image=(64, 96), image=(128, 128))
        assert found.config.patches == 64

    def test_size_that_is_no_multiple_of_the_patch_is_refused(self, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.timm(made(DEIT)))
        with pytest.raises(UnsupportedModel, match="whole number of 16 x 16 patches"):
            import_checkpoint(path, heads=2, image=(70, 64))


class TestOurs:
    def test_file_comes_back_and_may_be_changed(self, tmp_path):
        model, path = synthetic_model(NANO), tmp_path / "m.safetensors"
        save_float(model, path)
        same(import_checkpoint(path), model)
        found = import_checkpoint(path, name="other", top_k=1, image=(64, 64), gate="topk_then_softmax")
        assert found.config == replace(NANO, name="other", top_k=1, image_height=64, gate=GateKind.TOPK_THEN_SOFTMAX)
        with pytest.raises(UnsupportedModel, match="top_k must lie in 1..4, not 9"):
            import_checkpoint(path, top_k=9)
