# SPDX-License-Identifier: Apache-2.0
"""Importer of timm and DeiT checkpoints (``blocks.i.attn.qkv``), whose names M3ViT's dense parts share."""

import re

from golden.files.errors import UnsupportedModel
from golden.model.params import FloatModel
from host.importers.activations import activation_named
from host.importers.build import (
    Tensors,
    as_float32,
    build,
    fill_qkv_bias,
    fold_layer_scale,
    refuse_unknown,
)
from host.importers.options import Options

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225), "pixel_scale": 255.0}

_SAME = re.compile(r"blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)"
                   r"|(norm|head|head_dist)\.(weight|bias)|cls_token|dist_token|pos_embed")
_SCALE = re.compile(r"(blocks\.\d+\.)(?:ls([12])\.gamma|gamma_([12]))")
_TARGET = {"1": "attn.proj", "2": "mlp.fc2"}


def is_timm(names: set[str]) -> bool:
    return any(re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", name) for name in names)


def import_timm(tensors: Tensors, options: Options, config: dict | None = None) -> FloatModel:
    """ViT and DeiT, distilled or not. ImageNet mean and std unless given; eps 1e-6; head count must be
    given. The activation is GELU unless ``config``, the ``config.json`` next to the file, names another ``act_layer``.
    """
    arguments = (config or {}).get("model_args")
    act_layer = arguments.get("act_layer") if isinstance(arguments, dict) else None
    options = options.or_else(activation=activation_named(act_layer, "config.json: act_layer"))
    raw, rest = convert_dense(tensors)
    refuse_unknown(rest, "timm")
    return build(raw, options.or_else(**IMAGENET, eps=1e-6))


def convert_dense(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Tensors under our names, and those that are not part of a plain ViT. LayerScale is folded."""
    raw, rest, scales = {}, {}, {}
    for name, array in tensors.items():
        if name.startswith("patch_embed.proj."):
            raw[name.replace("proj.", "")] = array
        elif _SAME.fullmatch(name):
            raw[name] = array
        elif match := _SCALE.fullmatch(name):
            scales[match[1] + _TARGET[match[2] or match[3]]] = as_float32(name, array)
        else:
            rest[name] = array
    if "fc_norm.weight" in rest:
        raise UnsupportedModel("The classifier averages the patches ('fc_norm'); only the class token is supported.")
    for linear, gamma in scales.items():
        fold_layer_scale(raw, linear, gamma)
    fill_qkv_bias(raw)
    return raw, rest
