# SPDX-License-Identifier: Apache-2.0
"""M3ViT checkpoints come back bit for bit; what one cannot tell is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.files.errors import (
    AmbiguousModel,
    MissingFile,
    UnexpectedTensor,
    UnsupportedModel,
    WrongShape,
)
from golden.spec.model import GateKind
from host.importers import import_checkpoint
from tests.host.support import layouts
from tests.host.support.checkpoints import GIVEN, IMAGENET, MOE, made, same, save_pth, save_safe, with_equal_gates


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
        assert said[0] == (
            "5 tensors are for training only and left out: blocks.1.mlp.gate.0.head.weight, "
            "blocks.1.mlp.gate.0.w_gate_aux, decoders.semseg.fc_aux.weight, tam_model1.fc.weight, ...")

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
        with pytest.raises(MissingFile, match="names 4 experts, the 1 shards hold 2; is 1.pth missing?"):
            import_checkpoint(folder, **GIVEN)
        with pytest.raises(MissingFile, match="give the folder with 0.pth and all others"):
            import_checkpoint(folder / "0.pth", **GIVEN)

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

    def test_cityscapes_pixels_are_known_and_the_size_is_asked_for(self, tmp_path):
        model = made(replace(MOE, image_height=128, image_width=256))
        path = save_safe(tmp_path / "a.safetensors", layouts.m3vit(model))
        with pytest.raises(AmbiguousModel, match="images of 128 x 256 or 256 x 128: give --image"):
            import_checkpoint(path, heads=2, top_k=2)
        same(import_checkpoint(path, heads=2, top_k=2, image=(128, 256)), model)

    @pytest.mark.parametrize("absent, words", [("heads", "give --heads"), ("top_k", "give --top-k"),
                                               ("image", "give --image")])
    def test_what_it_cannot_tell_is_asked_for(self, absent, words, tmp_path):
        path = save_safe(tmp_path / "a.safetensors", layouts.m3vit(made(MOE)))
        with pytest.raises(AmbiguousModel, match=words):
            import_checkpoint(path, **{key: value for key, value in GIVEN.items() if key != absent})
