# SPDX-License-Identifier: Apache-2.0
"""Windows (ViTDet) and prompts (VPT): what is read from a checkpoint, what is asked for, what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from golden.files.errors import AmbiguousModel, MissingTensor, UnsupportedModel, WrongShape
from golden.model.params import FloatModel
from golden.model.store import save_float
from golden.spec.model import NANO
from host.importers import import_checkpoint
from tests.host.support import layouts
from tests.host.support.checkpoints import DEIT, DISTILLED, IMAGENET, made, same, save_pth, save_safe

VITDET = replace(NANO, name="vitdet", image_height=64, image_width=64, patch=8, depth=4, moe_layers=(),
                 tasks=("default",), experts=0, expert_hidden=0, top_k=0, extra_tokens=0, window=4,
                 window_layers=(0, 1, 3), pixel_scale=255.0, **IMAGENET)
DEEP = replace(DEIT, name="deep", extra_tokens=5, prompts=4, prompt_layers=(1, 2))


def as_timm(model) -> dict[str, np.ndarray]:
    """Without a class token, whose position a network trained from a classifier still has."""
    config = replace(model.config, window=0, window_layers=(), extra_tokens=1)
    rows = np.concatenate([np.full((1, config.dim), 7, np.float32), model["pos_embed"]])
    state = layouts.timm(FloatModel(config, model.tensors | {"pos_embed": rows}))
    del state["cls_token"]
    return state


def detectron2(model, relative: float = 0.0) -> dict[str, np.ndarray]:
    state = {f"backbone.net.{name}": array for name, array in as_timm(model).items()}
    for i in range(model.config.depth):
        for side in "hw":
            state[f"backbone.net.blocks.{i}.attn.rel_pos_{side}"] = np.full((7, 32), relative, np.float32)
    return state | {"backbone.simfp_2.0.weight": np.ones((2, 2), np.float32)}


def huggingface(model, folder) -> None:
    c = model.config
    names = {"pos_embed": "embeddings.position_embeddings", "patch_embed.proj.weight": "embeddings.projection.weight",
             "patch_embed.proj.bias": "embeddings.projection.bias"}
    state = {names.get(name, name.replace("blocks.", "encoder.layer.").replace(".attn.", ".attention.")): array
             for name, array in as_timm(model).items()}
    save_safe(folder / "model.safetensors", state)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "vitdet", "image_size": 64, "window_size": c.window, "num_attention_heads": c.heads,
        "window_block_indices": list(c.window_layers), "layer_norm_eps": 1e-6, "hidden_act": "gelu"}))


class TestWindows:
    def test_detectron2(self, tmp_path):
        model, told = made(VITDET), []
        path = save_pth(tmp_path / "vitdet.pth", detectron2(model))
        same(import_checkpoint(path, heads=2, window=4, window_blocks=(0, 1, 3), note=told.append), model)
        assert any("8 tensors are relative positions of zeros" in line for line in told)
        assert any("position of a class token that the network does not have" in line for line in told)

    def test_which_blocks_is_a_guess(self, tmp_path):
        told = []
        path = save_pth(tmp_path / "vitdet.pth", detectron2(made(replace(VITDET, depth=8))))
        model = import_checkpoint(path, heads=2, window=4, note=told.append)
        assert model.config.window_layers == (0, 2, 4, 6)
        assert any("a guess, as ViTDet's models have it: blocks" in line for line in told)

    def test_hugging_face(self, tmp_path):
        model = made(VITDET)
        huggingface(model, tmp_path)
        same(import_checkpoint(tmp_path, name="vitdet"), model)

    def test_another_size(self, tmp_path):
        path = save_pth(tmp_path / "vitdet.pth", detectron2(made(VITDET)))
        config = import_checkpoint(path, heads=2, window=4, window_blocks=(0, 1, 3), image=(96, 128)).config
        assert config.grid == (12, 16) and config.window == 4

    @pytest.mark.parametrize("options, words", [
        ({"window": 3, "window_blocks": (0,)}, "windows of 3 x 3: .* filled up with zeros, as ViTDet"),
        ({"window": 4, "window_blocks": (0, 9)}, "ascending numbers of blocks")])
    def test_refusals(self, options, words, tmp_path):
        path = save_pth(tmp_path / "vitdet.pth", detectron2(made(VITDET)))
        with pytest.raises(UnsupportedModel, match=words):
            import_checkpoint(path, heads=2, **options)

    def test_relative_positions_are_refused(self, tmp_path):
        path = save_pth(tmp_path / "vitdet.pth", detectron2(made(VITDET), relative=0.1))
        with pytest.raises(UnsupportedModel, match="relative positions that are added to the scores"):
            import_checkpoint(path, heads=2, window=4, window_blocks=(0,))

    def test_a_class_token_is_refused(self, tmp_path):
        path = save_safe(tmp_path / "deit.safetensors", layouts.timm(made(DEIT)))
        with pytest.raises(UnsupportedModel, match="no place for 1 extra tokens"):
            import_checkpoint(path, heads=2, window=4, window_blocks=(0,))

    def test_what_cannot_be_guessed_is_asked_for(self, tmp_path):
        path = save_pth(tmp_path / "vitdet.pth", detectron2(made(VITDET)))
        with pytest.raises(AmbiguousModel, match="which of the 4 blocks look at windows only: give --window-blocks"):
            import_checkpoint(path, heads=2, window=4)

    def test_of_our_own_file(self, tmp_path):
        plain = replace(VITDET, window=0, window_layers=())
        save_float(made(plain), tmp_path / "m.safetensors")
        found = import_checkpoint(tmp_path / "m.safetensors", window=4, window_blocks=(0, 1, 3))
        assert found.config == VITDET
        with pytest.raises(UnsupportedModel, match=r"window \(0\) and window_layers \(0,\) belong together"):
            import_checkpoint(tmp_path / "m.safetensors", window_blocks=(0,))


def prompted(model) -> dict[str, np.ndarray]:
    """VPT's tensors and timm's: prompts have no positions."""
    c, end = model.config, model.config.extra_tokens
    plain = replace(c, extra_tokens=1, prompts=0, prompt_layers=())
    rows = model["pos_embed"]
    tensors = {name: array for name, array in model.tensors.items()
               if not name.endswith(".prompts") and not name.startswith("head_dist.")}
    without = FloatModel(plain, tensors | {"pos_embed": np.concatenate([rows[:1], rows[end:]])})
    state = layouts.timm(without) | {"prompt_embeddings": rows[None, 1:end]}
    deep = [model[f"blocks.{i}.prompts"] for i in c.prompt_layers]
    return state | ({"enc.deep_prompt_embeddings": np.stack(deep)} if deep else {})


class TestPrompts:
    OPTIONS = {"heads": 2, "name": "deep"}

    @pytest.mark.parametrize("config", [DEEP, replace(DEEP, prompts=0, prompt_layers=()),
                                        replace(DEEP, extra_tokens=3, prompts=2)], ids=["deep", "shallow", "two"])
    def test_beside_timm(self, config, tmp_path):
        model = made(config)
        path = save_safe(tmp_path / "deit.safetensors", prompted(model))
        same(import_checkpoint(path, **self.OPTIONS), model)

    def test_one_prompt_of_a_classifier(self, tmp_path):
        """Two extra tokens have two heads: the class token's counts twice, the prompt's not."""
        model = made(replace(DEEP, extra_tokens=2, prompts=1))
        found = import_checkpoint(save_safe(tmp_path / "deit.safetensors", prompted(model)), **self.OPTIONS)
        np.testing.assert_array_equal(found["head.weight"], 2 * model["head.weight"])
        assert not found["head_dist.weight"].any() and found.config.prompts == 1

    @pytest.mark.parametrize("change, error, words", [
        ({"prompt_embeddings": None}, MissingTensor, "no 'prompt_embeddings'"),
        ({"prompt_embeddings": np.ones((1, 4, 32), np.float32)}, WrongShape, "64 channels, as the network, not 32"),
        ({"prompt_embeddings": np.ones((2, 4, 64), np.float32)}, WrongShape, r"\(1, prompts, dim\), not \(2, 4, 64\)"),
        ({"prompt_embeddings": np.ones((1, 3, 64), np.float32)}, WrongShape, r"\(2, 3, 64\), .* not \(2, 4, 64\)"),
        ({"enc.prompt_proj.weight": np.ones((64, 64), np.float32)}, UnsupportedModel, "go through a projection"),
        (layouts.timm(made(DISTILLED)), UnsupportedModel, "this network has 2 extra tokens"),
        ({"prompt_embeddings": np.ones((1, 64, 64), np.float32),
          "enc.deep_prompt_embeddings": np.ones((2, 64, 64), np.float32)}, UnsupportedModel, r"in 0\.\.64, not 65")])
    def test_refusals(self, change, error, words, tmp_path):
        state = {name: array for name, array in (prompted(made(DEEP)) | change).items() if array is not None}
        with pytest.raises(error, match=words):
            import_checkpoint(save_safe(tmp_path / "deit.safetensors", state), **self.OPTIONS)
