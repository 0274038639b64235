# SPDX-License-Identifier: Apache-2.0
"""Networks with attention in windows, as ViTDet: Detectron2's names, which are timm's, and Hugging Face's.

Which blocks look at windows only stands in no tensor: ``config.json`` of Hugging Face says it, or the options.
"""

import math
import re

import numpy as np

from golden.files.errors import AmbiguousModel
from host.importers.activations import activation_named
from host.importers.facts import Facts
from host.importers.pixels import IMAGENET

_RELATIVE = re.compile(r"(.*\.)?attn\.rel_pos_[hw]|(.*\.)?attention\.rel_pos_[hw]")
_POSITIONS = re.compile(r"(.*\.)?(pos_embed|position_embeddings)")


def prepare(tensors: dict[str, np.ndarray], facts: Facts, config: dict) -> dict[str, np.ndarray]:
    """The tensors without what says nothing in a network with windows: relative positions of zeros, and the position of
    a class token that only training had. Takes what ``config`` says of windows.
    """
    zeros = [name for name, array in tensors.items() if _RELATIVE.fullmatch(name) and not np.any(array)]
    facts.left_out(zeros, "relative positions of zeros, which add nothing,")
    tensors = {name: array for name, array in tensors.items() if name not in set(zeros)}
    if config.get("model_type") == "vitdet":
        _tell(facts, config)
    if not facts.options.window:
        return tensors
    facts.guess("as ViTDet's models have it", resize="bicubic", eps=1e-6, activation="gelu", **IMAGENET)
    if any(name.rpartition(".")[2] in ("cls_token", "class_token") for name in tensors):
        return tensors  # it has a class token indeed, which is refused with windows
    for name, array in tensors.items():
        rows = array.shape[-2] if array.ndim in (2, 3) else 0
        if _POSITIONS.fullmatch(name) and not _square(rows) and _square(rows - 1):
            facts.note(f"{name} begins with the position of a class token that the network does not have: left out.")
            tensors[name] = array[..., 1:, :]
    return tensors


def window_blocks(facts: Facts, depth: int) -> tuple[int, ...]:
    """The blocks that look at windows only: those of the options, else all but the last of each quarter of the
    network, which is a guess."""
    if not facts.options.window or facts.options.window_blocks is not None:
        return facts.options.window_blocks or ()
    found = tuple(i for i in range(depth) if (i + 1) % max(1, depth // 4))
    if not found:
        raise AmbiguousModel(f"Nothing tells which of the {depth} blocks look at windows only: give --window-blocks "
                             f"(window_blocks=... in Python).")
    facts.note(f"a guess, as ViTDet's models have it: blocks {', '.join(map(str, found))} look at windows of "
               f"{facts.options.window} x {facts.options.window} patches, the others at all. If the model was trained "
               f"otherwise give --window-blocks.")
    return found


def _tell(facts: Facts, config: dict) -> None:
    def count(name: str) -> int | None:
        value = config.get(name)
        return value if type(value) is int and value > 0 else None

    blocks, size, eps = config.get("window_block_indices"), count("image_size"), config.get("layer_norm_eps")
    listed = isinstance(blocks, list) and all(type(i) is int for i in blocks)
    facts.told("config.json", window=count("window_size") if blocks else None,
               window_blocks=tuple(sorted(blocks)) if listed and blocks else None, heads=count("num_attention_heads"),
               image=(size, size) if size else None, eps=eps if isinstance(eps, float) else None,
               activation=activation_named(config.get("hidden_act"), "config.json: hidden_act"))


def _square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count
