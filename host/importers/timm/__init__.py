# SPDX-License-Identifier: Apache-2.0
"""Importer of timm, DeiT and DINOv2 checkpoints (``blocks.i.attn.qkv``), whose names M3ViT's dense parts share."""

import math
import re

from golden.files.errors import AmbiguousModel
from golden.model.params import FloatModel
from host.importers.activations import activation_named
from host.importers.build import (
    TOKENS,
    Tensors,
    as_float32,
    build,
    fill_qkv_bias,
    fold_layer_scale,
    need,
    refuse_unknown,
)
from host.importers.facts import Facts
from host.importers.pixels import HALF, IMAGENET, tell_pretrained_cfg
from host.importers.reasons import refuse_foreign
from host.importers.timm import names as timm_names
from host.importers.timm import pooling

_SAME = re.compile(r"blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)"
                   r"|(norm|fc_norm|head|head_dist)\.(weight|bias)|cls_token|dist_token|reg_token|pos_embed")
_SCALE = re.compile(r"(blocks\.\d+\.)(?:ls([12])\.gamma|gamma_([12]))")
_TARGET = {"1": "attn.proj", "2": "mlp.fc2"}
TIMM_ANCHOR = "blocks.0.attn.qkv.weight"
"""The tensor that tells the layout, after a prefix such as ``backbone.``."""
_META = {"register_tokens": "reg_token"}
"""Meta's own names where they are others than timm's."""


def import_timm(tensors: Tensors, facts: Facts, config: dict, hint: str = "") -> FloatModel:
    """ViT, DeiT and DINOv2 with any extra tokens. ``config`` is the ``config.json`` next to the file, if any, ``hint``
    the file's name.

    What decides: options, then ``config.json`` (``pretrained_cfg``, ``model_args``, ``global_pool``), then timm's name
    of the network, which it holds or the option ``architecture`` gives. Heads are asked for where none of them tells.
    A classifier that pools by attention, by maxima or over the extra tokens too is left out.
    """
    architecture = facts.options.architecture or config.get("architecture")
    architecture = architecture if isinstance(architecture, str) else ""
    timm_names.refuse(architecture or timm_names.in_file_name(hint))
    refuse_foreign(tensors)
    raw, rest = convert_dense({_META.get(name, name): array for name, array in tensors.items()})
    refuse_unknown(pooling.take_classifier(raw, rest, facts, config, architecture), "timm")
    prefix = sum(raw[name].size // max(1, raw[name].shape[-1]) for name in TOKENS if name in raw and raw[name].ndim)
    scaled = [name for name in tensors if _SCALE.fullmatch(name)]
    if prefix and any(".gamma_" in name for name in scaled) and "deit" not in (architecture or hint).lower() and \
            math.isqrt(_rows(raw)) ** 2 == _rows(raw):
        raise AmbiguousModel("These tensors may be DeiT-III's, or those of a network with rotary positions "
                             "(vit_*_rope_ape_*), which are not in the file: give --architecture with timm's name "
                             "(architecture=... in Python), such as deit3_small_patch16_224.")
    if "fc_norm.weight" in tensors and not prefix and "norm.weight" not in tensors and not architecture and \
            not config and not timm_names.in_file_name(hint):
        raise AmbiguousModel("These tensors may be those of a network with norms before attention and FFN, or after "
                             "them (vit_*_rpn_*): give --architecture with timm's name (architecture=... in Python), "
                             "such as vit_base_patch16_gap_224.")
    _tell(facts, config, architecture)
    why, pixels = timm_names.usual_pixels(architecture or hint) or (
        ("as DeiT's distilled models have it", IMAGENET) if "dist_token" in raw
        else ("as DeiT-III and DINOv2 have it", IMAGENET) if scaled and "cls_token" in raw
        else ("as most of timm's vit_* models have it (DeiT, DINO and MAE have mean 0.485 0.456 0.406, std 0.229 0.224 "
              "0.225)", HALF))
    facts.guess(why, **pixels)
    facts.guess("as timm's ViT has it", activation="gelu", eps=1e-6, resize="bicubic_antialias")
    extras = (prefix,) if "dist_token" in raw else (prefix, 0, min(prefix, 1))
    facts.told("config.json", source_image=_image(config, need(raw, "patch_embed.weight", 4).shape[2],
                                                  [_rows(raw) - extra for extra in extras]))
    return build(raw, facts, extras)


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
    for linear, gamma in scales.items():
        fold_layer_scale(raw, linear, gamma)
    fill_qkv_bias(raw)
    return raw, rest


def _tell(facts: Facts, config: dict, architecture: str) -> None:
    arguments, known = config.get("model_args"), timm_names.known(architecture)
    arguments = arguments if isinstance(arguments, dict) else {}
    heads = arguments.get("num_heads")
    facts.told("config.json", activation=activation_named(arguments.get("act_layer"), "config.json: act_layer"),
               heads=heads if isinstance(heads, int) and not isinstance(heads, bool) else None)
    if facts.said_by("heads") == "config.json":
        known.pop("heads", None)
    facts.told(f"the name {architecture}", **known)
    tell_pretrained_cfg(facts, config)


def _rows(raw: Tensors) -> int:
    """Rows of the positional embedding."""
    shape = need(raw, "pos_embed").shape
    return shape[-2] if len(shape) >= 2 else 0


def _image(config: dict, patch: int, counts: list[int]) -> tuple[int, int] | None:
    """Height and width that ``config.json`` says, where they have as many patches as one of ``counts``."""
    arguments, cfg = config.get("model_args"), config.get("pretrained_cfg")
    size = arguments.get("img_size") if isinstance(arguments, dict) else None
    if size is None:
        size = (cfg if isinstance(cfg, dict) else config).get("input_size")
        size = size[1:] if isinstance(size, list) else None
    size = [size, size] if isinstance(size, int) else size
    if not (isinstance(size, list) and len(size) == 2 and all(type(v) is int and v > 0 for v in size) and patch):
        return None
    return (size[0], size[1]) if (size[0] // patch) * (size[1] // patch) in counts else None
