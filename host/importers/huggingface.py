# SPDX-License-Identifier: Apache-2.0
"""Importer of Hugging Face checkpoints: ViT and its kin with the names of transformers 4 and 5, DeiT, DINOv2."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from golden.files.errors import BadHeader, UnsupportedModel
from golden.model.params import FloatModel
from host.importers.activations import activation_named
from host.importers.build import Tensors, as_float32, build, fill_qkv_bias, fold_layer_scale, need, refuse_unknown
from host.importers.facts import Facts
from host.importers.pixels import HALF, IMAGENET, tell_preprocessor
from host.importers.reasons import refuse_foreign

HUGGINGFACE_ANCHOR = "embeddings.patch_embeddings.projection.weight"
"""The tensor that tells the layout, after a prefix such as ``vit.``."""
_EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.bias",
}
_BLOCK = re.compile(r"(?:encoder\.|model\.)?layers?\.(\d{1,6})\.(.+)\.(weight|bias|lambda1)")
_PARTS = {
    "layernorm_before": "norm1", "layernorm_after": "norm2", "norm1": "norm1", "norm2": "norm2",
    "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    "layer_scale1": "attn.proj", "layer_scale2": "mlp.fc2",
    "attention.attention.query": "q", "attention.attention.key": "k", "attention.attention.value": "v",
    "attention.q_proj": "q", "attention.k_proj": "k", "attention.v_proj": "v",
}
_TOP = {"layernorm": "norm", "classifier": "head", "cls_classifier": "head", "distillation_classifier": "head_dist"}
_HOST = re.compile(r"(pooler|neck|head|decode_head|auxiliary_head)\..*")
_TRAINING_ONLY = re.compile(r"embeddings\.mask_token|decoder\..*")


@dataclass(frozen=True)
class _Family:
    """What models of a ``model_type`` have where no file says it."""

    pixels: dict
    eps: float = 1e-12


_FAMILIES = {
    "vit": _Family(HALF), "deit": _Family(IMAGENET), "vit_mae": _Family(IMAGENET), "vit_msn": _Family(IMAGENET, 1e-6),
    "dinov2": _Family(IMAGENET, 1e-6), "dinov2_with_registers": _Family(IMAGENET, 1e-6),
    "ijepa": _Family(IMAGENET, 1e-6), "dpt": _Family(HALF), "depth_anything": _Family(IMAGENET, 1e-6),
}
_REFUSED = {
    "vitpose_backbone": "VitPose cuts its patches from a picture with a border of 2 pixels (padding of the patch "
                        "embedding)",
    "dinov3_vit": "DINOv3 has rotary positions, which are not in the file",
    "yolos": "YOLOS adds positions between the blocks ('mid_position_embeddings')",
    "beit": "BEiT adds relative positions to the scores", "data2vec-vision": "Data2Vec adds relative positions to the "
    "scores", "vit_hybrid": "ViT-Hybrid embeds patches with a convolutional network",
    "vivit": "ViViT looks at several frames of a video", "videomae": "VideoMAE looks at several frames of a video",
    "audio-spectrogram-transformer": "The patches of an audio spectrogram transformer overlap",
}
"""What networks have that this accelerator does not."""


def import_huggingface(tensors: Tensors, facts: Facts, config: dict, preprocessor: dict, prefix: str) -> FloatModel:
    """ViT, DeiT, ViT-MAE, ViT-MSN, I-JEPA, DINOv2 with or without registers, and the backbone of DPT or Depth Anything.

    ``config`` and ``preprocessor`` are ``config.json`` and ``preprocessor_config.json`` where they exist. Without them
    the head count must be given; eps, mean and std are guessed as the family's. What follows the backbone, other than a
    classifier of class tokens, stays on the host.
    """
    refuse_foreign(tensors)
    raw, rest = _renamed(tensors)
    family = _family(config, prefix, raw, tensors)
    facts.left_out([name for name in rest if _TRAINING_ONLY.fullmatch(name)], "for training only")
    host = [name for name in rest if _HOST.fullmatch(name)]
    dim = need(raw, "patch_embed.weight", 4).shape[0]
    if "head.weight" in raw and raw["head.weight"].ndim == 2:
        both = raw["head.weight"].shape[1] == 2 * dim
        facts.guess("as the shape of the classifier shows" if both else f"as {family} models have it",
                    pool="class_mean" if both else "mean" if "cls_token" not in raw else None)
    facts.left_out(host, "no part of the backbone, stay on the host (they read features after the final norm)")
    unknown = [name for name in rest if not _TRAINING_ONLY.fullmatch(name) and name not in set(host)]
    refuse_unknown([f"{prefix}.{name}".lstrip(".") for name in unknown], "Hugging Face")
    if "head.weight" not in raw and "norm.weight" not in raw:
        raise UnsupportedModel("A Hugging Face ViT has a final norm ('layernorm.weight'); there is none.")
    _tell(facts, config)
    tell_preprocessor(facts, preprocessor)
    facts.guess(f"as {family} models have it", **_FAMILIES[family].pixels)
    facts.guess(f"as {family} models have it", eps=_FAMILIES[family].eps, activation="gelu", resize="bicubic")
    return build(raw, facts, [sum(name in raw for name in ("cls_token", "dist_token"))])


def inner(config: dict) -> dict:
    """The part of ``config.json`` that describes the picture's network, where it is one of several."""
    parts = (config.get(key) for key in ("backbone_config", "vision_config", "encoder"))
    return next((part for part in parts if isinstance(part, dict) and part), config)


def refuse_strangers(config: dict, known: Iterable[str]) -> None:
    """Raise :class:`UnsupportedModel` for a ``model_type`` that is none of the ``known``: tensors of the same names may
    mean another network.
    """
    said = inner(config).get("model_type")
    refuse_family(said)
    if isinstance(said, str) and said not in known:
        raise UnsupportedModel(f"config.json says model_type {said!r}, which is unknown here: its tensors have a ViT's "
                               f"names, but what it computes may differ. Known are {', '.join(sorted(known))}.")


def refuse_family(model_type: object) -> None:
    """Raise :class:`UnsupportedModel` for a family with parts that no machine runs, whatever its tensors are called."""
    if isinstance(model_type, str) and model_type in _REFUSED:
        raise UnsupportedModel(f"{_REFUSED[model_type]}; this accelerator has no such thing.")


def _renamed(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Tensors under our names, and those without one. Query, key and value are joined, LayerScale is folded."""
    raw, rest, scales, joined = {}, {}, {}, {}
    for full, array in tensors.items():
        stem, _, kind = full.rpartition(".")
        if full in _EMBEDDINGS:
            raw[_EMBEDDINGS[full]] = array
        elif (match := _BLOCK.fullmatch(full)) and match[2] in _PARTS:
            key = f"blocks.{match[1]}.{_PARTS[match[2]]}"
            if match[3] == "lambda1":
                scales[key] = as_float32(full, array)
            elif _PARTS[match[2]] in "qkv":
                joined.setdefault((match[1], match[3]), {})[_PARTS[match[2]]] = as_float32(full, array)
            else:
                raw[f"{key}.{match[3]}"] = array
        elif stem in _TOP and kind in ("weight", "bias"):
            raw[f"{_TOP[stem]}.{kind}"] = array
        else:
            rest[full] = array
    for (block, kind), parts in joined.items():
        three = [need(parts, part, 2 if kind == "weight" else 1) for part in "qkv"]
        if len({part.shape[1:] for part in three}) != 1:
            raise UnsupportedModel(f"Query, key and value of block {block} must read the same inputs, not "
                                   f"{[part.shape for part in three]}.")
        raw[f"blocks.{block}.attn.qkv.{kind}"] = np.concatenate(three)
    for linear, gamma in scales.items():
        fold_layer_scale(raw, linear, gamma)
    fill_qkv_bias(raw)
    return raw, rest


def _family(config: dict, prefix: str, raw: Tensors, tensors: Tensors) -> str:
    """The family of a checkpoint by ``config.json``, else by its names. Raises for those with parts that no tensor
    shows.
    """
    refuse_strangers(config, _FAMILIES)
    said = inner(config).get("model_type")
    found = said if isinstance(said, str) else {"": None, "model": None}.get(prefix, prefix.split(".")[-1])
    if found not in _FAMILIES and found not in _REFUSED:
        scaled = any(name.endswith(".lambda1") for name in tensors)
        found = ("dinov2" if scaled else "vit_mae" if any(n.startswith("decoder.decoder_") for n in tensors)
                 else "deit" if "dist_token" in raw else "ijepa" if "cls_token" not in raw else "vit")
    if said is None and found == "vit" and any(name.startswith("decoder.decoder_") for name in tensors):
        found = "vit_mae"
    old_names = any(re.fullmatch(r"encoder\.layer\.\d+\.layernorm_before\.weight", name) for name in tensors)
    if "cls_token" not in raw and old_names and any(re.fullmatch(r"encoder\.layer\.\d+\.mlp\.fc1\.weight", name)
                                                    for name in tensors):
        found = "vitpose_backbone"
    refuse_family(found)
    return found


def _tell(facts: Facts, config: dict) -> None:
    """Take what ``config.json`` says."""
    config = inner(config)
    activation = activation_named(config.get("hidden_act"), "config.json: hidden_act")
    image = config.get("image_size")
    image = (image, image) if isinstance(image, int) else tuple(image) if isinstance(image, list) else None
    found = {"heads": (config.get("num_attention_heads"), int), "eps": (config.get("layer_norm_eps"), float)}
    for name, (value, kind) in found.items():
        if value is not None and not (isinstance(value, (int, kind)) and not isinstance(value, bool)):
            raise BadHeader(f"config.json: the value for {name} must be {kind.__name__}, not {value!r}.")
    facts.told("config.json", **{name: value for name, (value, _) in found.items()}, activation=activation,
               source_image=image)
