# SPDX-License-Identifier: Apache-2.0
"""Layouts of torchvision and Google come back as the model they were written from; what follows a backbone is said."""

import io
import pickle
from dataclasses import replace

import numpy as np
import pytest

from golden.files.errors import AmbiguousModel, BadHeader, PickleRefused
from host.importers import import_checkpoint
from tests.host.support import layouts
from tests.host.support.checkpoints import DEIT, HALF, IMAGENET, made, same, save_safe


def torchvision(model) -> dict:
    """The state dict that torchvision's VisionTransformer of this shape has."""
    parts = {"norm1": "ln_1", "norm2": "ln_2", "attn.proj": "self_attention.out_proj", "mlp.fc1": "mlp.0",
             "mlp.fc2": "mlp.3"}
    state = {}
    for name, array in layouts.timm(model).items():
        stem, _, kind = name.rpartition(".")
        if name.startswith("blocks."):
            _, i, part = stem.split(".", 2)
            block = f"encoder.layers.encoder_layer_{i}."
            joined = f"{block}self_attention.in_proj_{kind}"
            state[joined if part == "attn.qkv" else f"{block}{parts[part]}.{kind}"] = array
        else:
            state[{"cls_token": "class_token", "pos_embed": "encoder.pos_embedding"}.get(name) or {
                "patch_embed.proj": "conv_proj", "norm": "encoder.ln", "head": "heads.head"}[stem] + f".{kind}"] = array
    return state


def google(model, second: bool = False) -> dict:
    """The arrays of Google's vision_transformer, or of big_vision, whose names count otherwise."""
    c, state = model.config, {}
    norm2, ffn, attention = ("LayerNorm_1", "MlpBlock_0", "MultiHeadDotProductAttention_0") if second else (
        "LayerNorm_2", "MlpBlock_3", "MultiHeadDotProductAttention_1")
    for name, array in layouts.timm(model).items():
        stem, _, kind = name.rpartition(".")
        if not name.startswith("blocks."):
            fixed = {"cls_token": "cls", "pos_embed": "Transformer/posembed_input/pos_embedding",
                     "patch_embed.proj.bias": "embedding/bias", "norm.weight": "Transformer/encoder_norm/scale",
                     "norm.bias": "Transformer/encoder_norm/bias", "head.bias": "head/bias"}
            if name == "patch_embed.proj.weight":
                state["embedding/kernel"] = array.transpose(2, 3, 1, 0)
            elif name == "head.weight":
                state["head/kernel"] = array.T
            else:
                state[fixed[name]] = array
            continue
        _, i, part = stem.split(".", 2)
        block = f"Transformer/encoderblock_{i}/"
        if part in ("norm1", "norm2"):
            norm = "LayerNorm_0" if part == "norm1" else norm2
            state[f"{block}{norm}/{'scale' if kind == 'weight' else kind}"] = array
        elif part in ("mlp.fc1", "mlp.fc2"):
            state[f"{block}{ffn}/Dense_{int(part[-1]) - 1}/{'kernel' if kind == 'weight' else kind}"] = array.T
        elif part == "attn.proj":
            shaped = array.T.reshape(c.heads, c.head_dim, c.dim) if kind == "weight" else array
            state[f"{block}{attention}/out/{'kernel' if kind == 'weight' else kind}"] = shaped
        else:
            for letter, third in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                shaped = third.T.reshape(c.dim, c.heads, c.head_dim) if kind == "weight" else third.reshape(c.heads, -1)
                state[f"{block}{attention}/{letter}/{'kernel' if kind == 'weight' else kind}"] = shaped
    return state


def test_torchvision(tmp_path):
    model, said = made(replace(DEIT, **IMAGENET)), []
    path = save_safe(tmp_path / "vit_b_16.safetensors", {n: np.ascontiguousarray(a) for n, a in
                                                         torchvision(model).items()})
    with pytest.raises(AmbiguousModel, match="give --heads"):
        import_checkpoint(path)
    same(import_checkpoint(path, heads=2, note=said.append), model)
    assert any("as torchvision's models have it" in line for line in said)


@pytest.mark.parametrize("second", [False, True], ids=["vision_transformer", "big_vision"])
@pytest.mark.parametrize("prefix", ["", "params/"])
def test_google(prefix, second, tmp_path):
    model = made(replace(DEIT, **HALF))
    np.savez(tmp_path / "vit.npz", **{prefix + name: array for name, array in google(model, second).items()})
    same(import_checkpoint(tmp_path / "vit.npz"), model)  # the kernels tell the heads


def test_npz_is_read_without_pickle(tmp_path):
    class Mischief:
        def __reduce__(self):
            return (tmp_path / "touched").touch, ()
    np.savez(tmp_path / "a.npz", **{"embedding/kernel": np.array([Mischief()], object)})
    with pytest.raises(PickleRefused, match="holds Python objects"):
        import_checkpoint(tmp_path / "a.npz")
    assert not (tmp_path / "touched").exists()
    (tmp_path / "b.npz").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BadHeader, match="a zip of numpy arrays"):
        import_checkpoint(tmp_path / "b.npz")
    whole = io.BytesIO()
    np.savez(whole, **{"embedding/kernel": np.zeros((2, 2, 3, 8), np.float32)})
    damaged = bytearray(whole.getvalue())
    damaged[60:90] = bytes(30)
    (tmp_path / "c.npz").write_bytes(bytes(damaged))
    with pytest.raises(ValueError):
        import_checkpoint(tmp_path / "c.npz")


def test_depth_anything_of_its_authors(tmp_path):
    """The backbone under ``pretrained.`` is taken; the depth head stays on the host."""
    model, said = made(replace(DEIT, classes=0, **IMAGENET)), []
    state = {f"pretrained.{name}": array for name, array in layouts.timm(model).items()}
    state |= {"pretrained.mask_token": np.zeros((1, 64), np.float32),
              "depth_head.projects.0.weight": np.zeros((2, 2, 1, 1), np.float32)}
    path = save_safe(tmp_path / "depth_anything_dinov2.safetensors", state)
    same(import_checkpoint(path, heads=2, note=said.append), model)
    assert any("outside the network 'pretrained', stay on the host" in line for line in said)


def test_open_clip_with_timms_tower(tmp_path):
    model, said = made(replace(DEIT, classes=0, **HALF)), []
    state = {f"visual.trunk.{name}": array for name, array in layouts.timm(model).items()}
    state["text.token_embedding.weight"] = np.zeros((4, 4), np.float32)
    same(import_checkpoint(save_safe(tmp_path / "siglip.safetensors", state), heads=2, note=said.append), model)
    assert any("text.token_embedding.weight" in line for line in said)
