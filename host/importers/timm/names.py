# SPDX-License-Identifier: Apache-2.0
"""What timm's name of a network says that its tensors do not: heads, activation, eps, pooling and pixels."""

import re

from golden.files.errors import UnsupportedModel
from host.importers.pixels import CLIP, HALF, IMAGENET

_HEADS = {"tiny": 3, "xsmall": 4, "wee": 4, "little": 5, "small": 6, "medium": 8, "mediumd": 8, "betwixt": 10,
          "base": 12, "so150m2": 13, "so150m": 14, "large": 16, "huge": 16, "giant": 16, "giantopt": 16,
          "gigantic": 16, "so400m": 16, "intern300m": 16}
_HEADS_OF = {"vit_base_patch16_gap_224": 16, "vit_base_patch16_plus_240": 14, "vit_base_patch32_plus_256": 14,
             "test_vit": 2, "test_vit2": 2, "test_vit3": 3}
"""Networks whose size in the name tells another count."""
_PLAIN = re.compile(r"(?:vit|deit|deit3|flexivit|beit3|eva)_([a-z0-9]+?)(?:_|$)|test_vit\d?")
_GELU_TANH = re.compile(r"vit_(base_patch32|giantopt_patch16|so400m_patch16|large_patch16)_siglip_(gap_)?(\d+)")
_REFUSED = {
    "rope": "rotary positions, which are not in the file and which this accelerator does not have",
    "quickgelu": "the activation x * sigmoid(1.702 x) (quick GELU), which this accelerator does not have",
    "_clip_": "a LayerNorm before the first block (pre-norm of CLIP), which this accelerator does not have",
    "_pe_": "rotary positions and a LayerNorm before the first block, which this accelerator does not have",
    "_dlittle_": "differential attention, which this accelerator does not have",
    "_dwee_": "differential attention, which this accelerator does not have",
    "radio": "patches embedded by its own picture encoder ('patch_generator'), which this accelerator does not have",
    "_rpn_": "norms after attention and FFN (res-post-norm), which this accelerator does not have",
    "swin": "shifted windows of tokens; only global attention is supported",
    "beit_": "relative positions added to the scores, which this accelerator does not have",
    "beitv2_": "relative positions added to the scores, which this accelerator does not have",
    "samvit": "relative positions added to the scores, which this accelerator does not have",
    "eva02": "rotary positions and gated FFNs, which this accelerator does not have",
    "aimv2": "RMS norms and gated FFNs, which this accelerator does not have",
}


def refuse(architecture: str) -> None:
    """Raise :class:`UnsupportedModel` for a network that has what no tensor shows and no machine runs."""
    for part, has in _REFUSED.items():
        if part in f"_{architecture}_":
            raise UnsupportedModel(f"{architecture} has {has}.")


def in_file_name(name: str) -> str:
    """timm's name of a network that a file is called after; empty for others."""
    return name.split(".")[0] if re.match(r"(vit|deit3?|flexivit|beit3?|eva\w*)_\w*patch\d+", name) else ""


def known(architecture: str) -> dict:
    """Options that timm's name of a network decides; empty for a name unknown here."""
    architecture = architecture.split(".")[0]
    match = _PLAIN.match(architecture)
    heads = _HEADS_OF.get(architecture) or (_HEADS.get(match[1] or "") if match else None)
    if match is None or heads is None:
        return {}
    tanh = (found := _GELU_TANH.fullmatch(architecture)) and (found[1] != "large_patch16" or found[3] == "512")
    eps = 1e-5 if architecture.startswith("beit3") else 1e-6
    return {"heads": heads, "activation": "gelu_tanh" if tanh else "gelu", "eps": eps}


def averages(architecture: str) -> bool:
    """Whether the classifier of a network reads the mean of the patches."""
    return "_gap_" in f"{architecture.split('.')[0]}_" or architecture.startswith(("beit3", "eva_", "test_vit2"))


def usual_pixels(name: str) -> tuple[str, dict] | None:
    """Mean, std and scale that the pretrained models of a name have, with the reason; None for a name unknown here."""
    tag = name.lower().replace("-", "_")
    for part in ("augreg", "siglip", "sbb", "flexivit"):
        if part in tag:
            return f"as {part} models have it", HALF
    for part in ("deit", "dino", "mae", "msn", "moco", "ijepa", "beit3"):
        if part in tag:
            return f"as {part.upper() if len(part) < 4 else part} models have it", IMAGENET
    if "clip" in tag or tag.startswith("eva_"):
        return "as CLIP models have it", CLIP
    if tag.startswith("vit_"):
        return "as most of timm's vit_* models have it", HALF
    return None
