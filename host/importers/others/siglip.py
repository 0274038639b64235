# SPDX-License-Identifier: Apache-2.0
"""The picture towers of Hugging Face's SigLIP and BLIP, under timm's names; text tower and pooling stay on the host."""

import re

import numpy as np

from host.importers.activations import activation_named
from host.importers.facts import Facts
from host.importers.huggingface import inner, refuse_strangers
from host.importers.pixels import CLIP, HALF, tell_preprocessor

ANCHOR = "embeddings.patch_embedding.weight"
"""The tensor that tells the layout, after a prefix such as ``vision_model.``."""
_FAMILIES = ("siglip", "siglip_vision_model", "blip", "blip_vision_model", "blip_2_vision_model",
             "instructblip_vision_model", "instructblipvideo_vision_model")
_EMBEDDINGS = {"embeddings.position_embedding.weight": "pos_embed", "embeddings.position_embedding": "pos_embed",
               "embeddings.class_embedding": "cls_token"}
_STEMS = {"embeddings.patch_embedding": "patch_embed.proj", "post_layernorm": "norm"}
_PARTS = {"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj",
          "self_attn.qkv": "attn.qkv", "self_attn.projection": "attn.proj", "mlp.fc1": "mlp.fc1",
          "mlp.fc2": "mlp.fc2"}
_BLOCK = re.compile(r"encoder\.layers\.(\d{1,6})\.(.+)\.(weight|bias)")
_QKV = {f"self_attn.{letter}_proj": place for place, letter in enumerate("qkv")}


def as_timm(tensors: dict[str, np.ndarray], facts: Facts, config: dict, preprocessor: dict) -> dict[str, np.ndarray]:
    """Tensors under timm's names, others under their own. Takes what ``config.json`` says."""
    refuse_strangers(config, _FAMILIES)
    plain, joined, pooled = {}, {}, {}
    for name, array in tensors.items():
        stem, _, kind = name.rpartition(".")
        if name in _EMBEDDINGS:
            plain[_EMBEDDINGS[name]] = array
        elif stem in _STEMS:
            plain[f"{_STEMS[stem]}.{kind}"] = array
        elif (match := _BLOCK.fullmatch(name)) and match[2] in _PARTS:
            plain[f"blocks.{match[1]}.{_PARTS[match[2]]}.{match[3]}"] = array
        elif match and match[2] in _QKV and array.ndim:
            joined.setdefault(f"blocks.{match[1]}.attn.qkv.{match[3]}", {})[_QKV[match[2]]] = array
        elif name.startswith("head."):
            pooled[f"attn_pool.{name}"] = array
        elif name.startswith("classifier."):
            plain[name.replace("classifier", "head")] = array
        else:
            plain[name] = array
    for name, three in joined.items():
        if len(three) == 3 and len({array.shape for array in three.values()}) == 1:
            plain[name] = np.concatenate([three[i] for i in range(3)])
    if "head.weight" in plain:  # SigLIP's classifier reads the mean of the patches, not what attention pools
        facts.left_out(list(pooled), "not what the classifier reads")
        facts.told("the classifier", pool="mean")
    else:
        plain |= pooled
    tower, numbers = inner(config), {}
    for field, key in (("heads", "num_attention_heads"), ("eps", "layer_norm_eps")):
        value = tower.get(key)
        numbers[field] = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    activation = activation_named(tower.get("hidden_act"), "config.json: hidden_act")
    facts.told("config.json", **numbers, activation=activation)
    tell_preprocessor(facts, preprocessor)
    if "cls_token" in plain:
        facts.guess("as BLIP has it", activation="gelu", eps=1e-5, resize="bicubic", **CLIP)
    facts.guess("as SigLIP has it", activation="gelu_tanh", eps=1e-6, resize="bicubic", **HALF)
    return plain
