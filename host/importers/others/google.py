# SPDX-License-Identifier: Apache-2.0
"""Google's ViT as ``.npz`` (vision_transformer, big_vision), under timm's names: kernels are transposed."""

import re

import numpy as np

from golden.files.errors import WrongShape
from host.importers.facts import Facts
from host.importers.pixels import HALF

ANCHOR = "embedding/kernel"
"""The array that tells the layout, after a prefix such as ``params/``."""
_BLOCK = re.compile(r"Transformer/encoderblock_(\d{1,6})/(LayerNorm|MlpBlock|MultiHeadDotProductAttention)_\d/(.+)")
_NAMES = {"cls": "cls_token", "Transformer/posembed_input/pos_embedding": "pos_embed", "pos_embedding": "pos_embed",
          "embedding/bias": "patch_embed.proj.bias", "Transformer/encoder_norm/scale": "norm.weight",
          "Transformer/encoder_norm/bias": "norm.bias", "head/bias": "head.bias"}


def as_timm(tensors: dict[str, np.ndarray], facts: Facts, config: dict, preprocessor: dict) -> dict[str, np.ndarray]:
    """Arrays under timm's names, others under their own. The kernels tell the attention heads."""
    plain, joined = {}, {}
    for name, array in tensors.items():
        match = _BLOCK.fullmatch(name)
        if match is None:
            if name in ("embedding/kernel", "head/kernel"):
                part = "patch_embed.proj.weight" if array.ndim == 4 else "head.weight"
                plain[part] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            elif name.startswith(("pre_logits/", "MAPHead")):
                plain[f"attn_pool.{name}"] = array
            else:
                plain[_NAMES.get(name, name)] = array
            continue
        block, kind, part = f"blocks.{match[1]}.", match[2], match[3]
        if kind == "LayerNorm":
            first = min(n for n in tensors if n.startswith(name[:name.index("/LayerNorm_")] + "/LayerNorm_"))
            norm = "norm1" if name.split("/")[2] == first.split("/")[2] else "norm2"
            plain[f"{block}{norm}.{'weight' if part == 'scale' else part}"] = array
        elif kind == "MlpBlock":
            layer, _, what = part.partition("/")
            plain[f"{block}mlp.fc{int(layer[-1:] == '1') + 1}.{'weight' if what == 'kernel' else what}"] = array.T
        elif part.startswith("out/"):
            plain[f"{block}attn.proj.{'bias' if array.ndim == 1 else 'weight'}"] = (
                array.reshape(-1, array.shape[-1]).T if array.ndim > 1 else array)
        else:
            facts.told("the file", heads=int(array.shape[-2]) if array.ndim > 1 else None)
            flat = array.reshape(-1) if array.ndim == 2 else array.reshape(array.shape[0], -1).T
            what = "bias" if array.ndim == 2 else "weight"
            joined.setdefault(f"{block}attn.qkv.{what}", {})[part.split("/")[0]] = flat
    for name, three in joined.items():
        if set(three) != {"query", "key", "value"} or len({array.shape for array in three.values()}) != 1:
            raise WrongShape(f"{name!r} needs query, key and value of one shape, not "
                             f"{ {key: array.shape for key, array in three.items()} }.")
        plain[name] = np.concatenate([three[key] for key in ("query", "key", "value")])
    facts.guess("as Google's ViT has it", activation="gelu", eps=1e-6, resize="bicubic_antialias", **HALF)
    return plain
