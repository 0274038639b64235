# SPDX-License-Identifier: Apache-2.0
"""Writes a float model as other projects would have saved it: the importers' opposite."""

import numpy as np

from golden.model.params import FloatModel


def parts_of_positions(model: FloatModel, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """A positional embedding (1, tokens, D) and extra tokens (1, 1, D) that add up to the model's ``pos_embed``."""
    extra = model.config.extra_tokens
    # Powers of two: the sum must give the float32 value back exactly.
    tokens = [np.float32(2.0) * np.rint(np.random.default_rng([seed, t]).standard_normal(model.config.dim)).astype("f4")
              for t in range(extra)]
    positions = model["pos_embed"].copy()
    for t, token in enumerate(tokens):
        positions[t] -= token
    return positions[None], [token[None, None] for token in tokens]


def rounded(model: FloatModel) -> FloatModel:
    """The model with positions on a grid of 2^-12, so that tokens can be split off and added back without rounding."""
    rows = (np.rint(model["pos_embed"] * 4096) / 4096).astype(np.float32)
    return FloatModel(model.config, model.tensors | {"pos_embed": rows})


def timm(model: FloatModel) -> dict[str, np.ndarray]:
    """timm's names. Experts and gates keep ours; :func:`m3vit` renames them."""
    c = model.config
    positions, tokens = parts_of_positions(model)
    state = {"cls_token": tokens[0], "pos_embed": positions}
    if c.extra_tokens == 2:
        state["dist_token"] = tokens[1]
    for name, array in model.tensors.items():
        if name.startswith("patch_embed."):
            shape = (c.dim, c.channels, c.patch, c.patch) if name.endswith("weight") else (c.dim,)
            state[name.replace("patch_embed.", "patch_embed.proj.")] = array.reshape(shape)
        elif name != "pos_embed":
            state[name] = array
    return state


def m3vit(model: FloatModel, gates: str = "multi") -> dict[str, np.ndarray]:
    """M3ViT's backbone names. ``gates``: ``multi``, one a task; ``shared``, the first task's for all."""
    state = {}
    for name, array in timm(model).items():
        block, mark, rest = name.partition(".gate.")
        if mark:
            task, _, kind = rest.rpartition(".")
            if kind == "weight" and gates == "multi":
                state[f"{block}.mlp.gate.{model.config.tasks.index(task)}.w_gate"] = np.ascontiguousarray(array.T)
            elif kind == "weight" and task == model.config.tasks[0]:
                state[f"{block}.mlp.gate.w_gate"] = np.ascontiguousarray(array.T)
        elif ".mlp.fc" in name and array.ndim == (3 if name.endswith("weight") else 2):
            state[name.replace("fc1", "experts.htoh4").replace("fc2", "experts.h4toh")] = array
        else:
            state[name] = array
    return state


def edge_moe(model: FloatModel, folder) -> None:
    """Edge-MoE's folder of raw files."""
    for name, array in model.tensors.items():
        if name.endswith(".bias") and ".gate." in name:
            continue
        if name.startswith("blocks."):
            layer, part = name.removeprefix("blocks.").split(".", 1)
            moe = model.config.is_moe(int(layer))
            part = part.replace("attn.qkv", "qkv").replace("attn.proj", "attn_proj")
            part = part.replace("mlp.fc1", "htoh4" if moe else "fc1").replace("mlp.fc2", "h4toh" if moe else "fc2")
            if part.startswith("gate."):
                part = f"w_gate_T_{part.removeprefix('gate.').removesuffix('.weight')}"
            name = f"l{layer}_{part}"
        array.astype("<f4").tofile(folder / f"{name.replace('.', '_')}.float32.bin")


_HF4 = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense", "q": "attention.attention.query",
        "k": "attention.attention.key", "v": "attention.attention.value"}
_HF5 = _HF4 | {"attn.proj": "attention.o_proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "q": "attention.q_proj",
               "k": "attention.k_proj", "v": "attention.v_proj"}
_DINO = _HF4 | {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}


def huggingface(model: FloatModel, prefix: str = "vit.", version: int = 4, dino: bool = False) -> dict:
    """Hugging Face's names, of transformers 4 or 5, or DINOv2's (LayerScale is the caller's to add)."""
    names = _DINO if dino else _HF4 if version == 4 else _HF5
    layer = f"{prefix}layers" if version == 5 else f"{prefix}encoder.layer"
    state = {f"{prefix}pooler.dense.weight": np.zeros((4, 4), np.float32)}
    embeddings = {"cls_token": "cls_token", "dist_token": "distillation_token", "pos_embed": "position_embeddings",
                  "patch_embed.proj.weight": "patch_embeddings.projection.weight",
                  "patch_embed.proj.bias": "patch_embeddings.projection.bias"}
    for name, array in timm(model).items():
        stem, _, kind = name.rpartition(".")
        if name in embeddings:
            state[f"{prefix}embeddings.{embeddings[name]}"] = array
        elif name.startswith("blocks."):
            _, i, part = stem.split(".", 2)
            if part == "attn.qkv":
                for letter, third in zip("qkv", np.split(array, 3), strict=True):
                    state[f"{layer}.{i}.{names[letter]}.{kind}"] = third
            else:
                state[f"{layer}.{i}.{names[part]}.{kind}"] = array
        elif stem == "norm":
            state[f"{prefix}layernorm.{kind}"] = array
        else:
            state[f"{'classifier' if stem == 'head' else 'distillation_classifier'}.{kind}"] = array
    return state
