# SPDX-License-Identifier: Apache-2.0
"""What networks have that this accelerator does not, told by names of their tensors."""

import re
from collections.abc import Iterable

from golden.files.errors import UnsupportedModel

_PARTS = (
    (r"(^|\.)(norm_pre|ln_pre|pre_layrnorm)\.", "a LayerNorm before the first block (pre-norm, as CLIP)"),
    (r"\.(q_norm|k_norm|norm_q|norm_k|query_norm|key_norm)\.", "norms of queries and keys"),
    (r"(^|\.)(rope|freqs|rope_embed|rotary)(\.|_|$)|\.freqs_cis", "rotary positions"),
    (r"\.(mlp|ffn)\.(fc1_[gx]|w12|w1|w3|gate_proj)\.", "gated FFNs (SwiGLU)"),
    (r"relative_position|rel_pos", "relative positions that are added to the scores"),
    (r"\.(attn|mlp)\.norm\.", "norms inside attention and FFN"),
    (r"blocks\.\d+\.(attns|ffns)\.", "several attentions or FFNs in parallel"),
    (r"blocks\.\d+\.(attn_out_proj|in_proj|mlp_out_proj)\.", "attention and FFN that read the same input (parallel "
     "blocks)"),
    (r"\.lambda_[qk]\d", "differential attention"),
    (r"\.cpb_mlp\.|\.attn\.logit_scale$|\.pos_proj\.", "scores that a network or a scale of its own changes"),
    (r"\.attn\.proj_[lw]\.", "attention heads that are mixed with each other (talking heads, as CaiT)"),
    (r"blocks\.\d+\.proj\.", "blocks that pool or widen the tokens (stages, as Hiera)"),
    (r"\.attn\.temperature$", "attention between channels (cross-covariance, as XCiT)"),
    (r"(^|\.)embeds\.(proj|pos_embed)", "patches of pictures of any size (NaFlexViT)"),
    (r"\.attn\.(q_bias|v_bias)$", "biases of queries and values only (EVA, BEiT and others)"),
    (r"\.downsample\.|layers\.\d+\.blocks\.", "stages of different width (Swin and its kin)"),
    (r"patch_embed\.backbone\.|patch_generator\.|patch_embeddings\.backbone", "patches embedded by a network of their "
     "own"),
    (r"mid_position_embeddings", "positions added between the blocks"),
)


def refuse_convolutions(tensors: dict) -> None:
    """Raise :class:`UnsupportedModel` for a network of no known layout with convolutions inside."""
    inside = sorted(name for name, array in tensors.items() if array.ndim == 4 and max(array.shape[2:]) > 1)
    if len(inside) > 1:
        name = inside[-1]
        raise UnsupportedModel(f"The network has convolutions between its layers ({name!r}, {tensors[name].shape}); "
                               f"this accelerator runs vision transformers whose only convolution cuts the picture "
                               f"into patches.")


def refuse_foreign(names: Iterable[str]) -> None:
    """Raise :class:`UnsupportedModel` with what the network has, and a tensor that shows it, where it is known."""
    names = sorted(names)
    for pattern, has in _PARTS:
        found = next((name for name in names if re.search(pattern, name)), None)
        if found is not None:
            raise UnsupportedModel(f"The network has {has} ({found!r}), which this accelerator does not have.")
    bias = next((name for name in names if re.fullmatch(r".*\.(query|q_proj)\.bias", name)), None)
    if bias is not None and bias.replace("query", "key").replace("q_proj", "k_proj") not in names:
        raise UnsupportedModel(f"The network has biases of queries, but none of keys ({bias!r}; BEiT, Data2Vec and "
                               f"others): its positions are relative or rotary, which this accelerator does not have.")
    norm = next((name for name in names if re.fullmatch(r".*blocks\.0\.norm1\.weight", name)), None)
    if norm is not None and norm.replace("weight", "bias") not in names:
        raise UnsupportedModel(f"The network has RMS norms ({norm!r} without a bias), which this accelerator does not "
                               f"have; it has layer norms.")
    if any(name.endswith("embeddings.patch_embeddings.weight") for name in names) and \
            any("attention" in name for name in names) and not any("position" in name for name in names):
        raise UnsupportedModel("The network has no table of positions ('position_embeddings'): they are rotary or "
                               "relative, which this accelerator does not have, or the file is cut short.")
    if "patch_embed.proj.weight" in names and "pos_embed" not in names and norm is not None:
        raise UnsupportedModel("The network has no table of positions ('pos_embed'): they are rotary or relative, "
                               "which this accelerator does not have, or the file is cut short.")
