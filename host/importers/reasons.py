# SPDX-License-Identifier: Apache-2.0
"""What networks have that this accelerator does not, told by names of their tensors."""

import re
from collections.abc import Iterable

from golden.files.errors import UnsupportedModel

_PARTS = (
    (r"(^|\.)(norm_pre|ln_pre|pre_layrnorm)\.", "a LayerNorm before the first block (pre-norm, as CLIP)"),
    (r"\.(q_norm|k_norm|norm_q|norm_k|query_norm|key_norm)\.", "norms of queries and keys"),
    (r"(^|\.)(rope|freqs|rope_embed|rotary)(\.|_|$)|\.freqs_cis", "rotary positions"),
    (r"\.mlp\.(fc1_[gx]|w12|w1|w3|gate_proj)\.", "gated FFNs (SwiGLU)"),
    (r"relative_position|rel_pos", "relative positions that are added to the scores"),
    (r"\.(attn|mlp)\.norm\.", "norms inside attention and FFN"),
    (r"blocks\.\d+\.(attns|ffns)\.", "several attentions or FFNs in parallel"),
    (r"blocks\.\d+\.(attn_out_proj|in_proj|mlp_out_proj)\.", "attention and FFN that read the same input (parallel "
     "blocks)"),
    (r"\.lambda_[qk]\d", "differential attention"),
    (r"\.attn\.(q_bias|v_bias)$", "biases of queries and values only (EVA, BEiT and others)"),
    (r"\.downsample\.|layers\.\d+\.blocks\.", "stages of different width (Swin and its kin)"),
    (r"patch_embed\.backbone\.|patch_generator\.|patch_embeddings\.backbone", "patches embedded by a network of their "
     "own"),
    (r"mid_position_embeddings", "positions added between the blocks"),
)


def refuse_foreign(names: Iterable[str]) -> None:
    """Raise :class:`UnsupportedModel` with what the network has, and a tensor that shows it, where it is known."""
    names = sorted(names)
    for pattern, has in _PARTS:
        found = next((name for name in names if re.search(pattern, name)), None)
        if found is not None:
            raise UnsupportedModel(f"The network has {has} ({found!r}), which this accelerator does not have.")
    norm = next((name for name in names if re.fullmatch(r".*blocks\.0\.norm1\.weight", name)), None)
    if norm is not None and norm.replace("weight", "bias") not in names:
        raise UnsupportedModel(f"The network has RMS norms ({norm!r} without a bias), which this accelerator does not "
                               f"have; it has layer norms.")
    if "patch_embed.proj.weight" in names and "pos_embed" not in names and "cls_token" in names:
        raise UnsupportedModel("The network has no table of positions ('pos_embed'): they are rotary or relative, "
                               "which this accelerator does not have, or the file is cut short.")
