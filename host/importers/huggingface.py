# SPDX-License-Identifier: Apache-2.0
"""Importer of Hugging Face checkpoints: ViT with the names of transformers 4 and 5, DeiT, DINOv2 with LayerScale."""

import re

import numpy as np

from golden.files.errors import BadHeader, UnsupportedModel
from golden.model.params import FloatModel
from host.importers.activations import activation_named
from host.importers.build import Tensors, as_float32, build, fill_qkv_bias, fold_layer_scale, need, refuse_unknown
from host.importers.options import Options
from host.importers.timm import IMAGENET

_PREFIX = re.compile(r"(vit|deit|dinov2)\.")
_EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.bias",
}
_BLOCK = re.compile(r"(?:encoder\.)?layers?\.(\d{1,6})\.(.+)\.(weight|bias|lambda1)")
_PARTS = {
    "layernorm_before": "norm1", "layernorm_after": "norm2", "norm1": "norm1", "norm2": "norm2",
    "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    "layer_scale1": "attn.proj", "layer_scale2": "mlp.fc2",
    "attention.attention.query": "q", "attention.attention.key": "k", "attention.attention.value": "v",
    "attention.q_proj": "q", "attention.k_proj": "k", "attention.v_proj": "v",
}
_TOP = {"layernorm": "norm", "classifier": "head", "cls_classifier": "head", "distillation_classifier": "head_dist"}
_NOT_USED = re.compile(r"pooler\..*|embeddings\.mask_token|decoder\..*")


def is_huggingface(names: set[str]) -> bool:
    return any(name.endswith("embeddings.patch_embeddings.projection.weight") for name in names)


def import_huggingface(tensors: Tensors, options: Options, configs: tuple[dict, dict] = ({}, {})) -> FloatModel:
    """ViT, DeiT, DINOv2. ``configs`` are ``config.json`` and ``preprocessor_config.json`` where they
    exist.

    Without them the head count must be given, and eps is 1e-12 (DINOv2 1e-6), mean and std 0.5 (DeiT and
    DINOv2 ImageNet's), the defaults of these families.
    """
    family = next((m[1] for name in sorted(tensors) if (m := _PREFIX.match(name))), "vit")
    raw, rest, scales, joined = {}, {}, {}, {}
    for full, array in tensors.items():
        name = _PREFIX.sub("", full)
        stem, _, kind = name.rpartition(".")
        if name in _EMBEDDINGS:
            raw[_EMBEDDINGS[name]] = array
        elif (match := _BLOCK.fullmatch(name)) and match[2] in _PARTS:
            key = f"blocks.{match[1]}.{_PARTS[match[2]]}"
            if match[3] == "lambda1":
                scales[key] = as_float32(full, array)
            elif _PARTS[match[2]] in "qkv":
                joined.setdefault((match[1], match[3]), {})[_PARTS[match[2]]] = as_float32(full, array)
            else:
                raw[f"{key}.{match[3]}"] = array
        elif stem in _TOP and kind in ("weight", "bias"):
            raw[f"{_TOP[stem]}.{kind}"] = array
        elif not _NOT_USED.fullmatch(name):
            rest[full] = array
    refuse_unknown(rest, "Hugging Face")
    for (block, kind), parts in joined.items():
        three = [need(parts, part, 2 if kind == "weight" else 1) for part in "qkv"]
        if len({part.shape[1:] for part in three}) != 1:
            raise UnsupportedModel(f"Query, key and value of block {block} must read the same inputs, not "
                                   f"{[part.shape for part in three]}.")
        raw[f"blocks.{block}.attn.qkv.{kind}"] = np.concatenate(three)
    for linear, gamma in scales.items():
        fold_layer_scale(raw, linear, gamma)
    fill_qkv_bias(raw)
    if family == "vit" and scales:
        family = "dinov2"
    _classifier(raw)
    if "head.weight" not in raw and "norm.weight" not in raw:
        raise UnsupportedModel("A Hugging Face ViT has a final norm ('layernorm.weight'); there is none.")
    return build(raw, _configured(options, family, *configs))


def _classifier(raw: Tensors) -> None:
    """Replaces the single head of a distilled model, which reads the class token only, by two heads whose mean is
    equal: twice the head, and zero.
    """
    if "dist_token" in raw and "head.weight" in raw and "head_dist.weight" not in raw:
        for kind in ("weight", "bias"):
            head = as_float32(f"head.{kind}", need(raw, f"head.{kind}"))
            raw[f"head.{kind}"], raw[f"head_dist.{kind}"] = 2 * head, np.zeros_like(head)


def _configured(options: Options, family: str, config: dict, preprocessor: dict) -> Options:
    """Options, completed by the two JSON files and by what the family usually has."""
    activation = activation_named(config.get("hidden_act"), "config.json: hidden_act")
    image = config.get("image_size")
    image = (image, image) if isinstance(image, int) else tuple(image) if isinstance(image, list) else None
    numbers = {"heads": (config.get("num_attention_heads"), int), "eps": (config.get("layer_norm_eps"), float)}
    for name, (value, kind) in numbers.items():
        if value is not None and not (isinstance(value, (int, kind)) and not isinstance(value, bool)):
            raise BadHeader(f"config.json: the value for {name} must be {kind.__name__}, not {value!r}.")
    options = options.or_else(**{name: value for name, (value, _) in numbers.items()}, activation=activation,
                              source_image=image)
    usual = IMAGENET if family in ("deit", "dinov2") else IMAGENET | {"pixel_mean": (0.5,) * 3,
                                                                      "pixel_std": (0.5,) * 3}
    if "image_mean" in preprocessor and "image_std" in preprocessor:
        try:
            usual = usual | {"pixel_mean": tuple(map(float, preprocessor["image_mean"])),
                             "pixel_std": tuple(map(float, preprocessor["image_std"]))}
        except (TypeError, ValueError):
            raise BadHeader("preprocessor_config.json: image_mean and image_std must be lists of numbers, not "
                            f"{preprocessor['image_mean']!r} and {preprocessor['image_std']!r}.") from None
    return options.or_else(**usual, eps=1e-6 if family == "dinov2" else 1e-12)
