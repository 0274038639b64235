# SPDX-License-Identifier: Apache-2.0
"""Model configuration: shape of a vision transformer whose FFNs may be mixtures of experts, with presets."""

import enum
import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from golden.spec.heads import HeadConfig, HeadError
from golden.spec.model_checks import (
    BLOCK,
    FITS,
    INTERPOLATIONS,
    MOST_EXTRA_TOKENS,
    POOLS,
    ConfigError,
    check,
    require,
)

__all__ = ["BLOCK", "FITS", "INTERPOLATIONS", "MODELS", "MOST_EXTRA_TOKENS", "PATCH_AXES", "POOLS", "ConfigError",
           "GateKind", "ModelConfig", "require"]

PATCH_AXES = (0, 2, 4, 1, 3)
"""Axes of an image [patch row, row, patch column, column, channel] in the order of the patch embedding's inputs:
patches row by row; channel, row, column within a patch."""


class GateKind(enum.Enum):
    """How gate logits become expert weights.

    ``SOFTMAX_THEN_TOPK``: softmax over all experts, the top k kept and not renormalised (Edge-MoE, ``noisy_vmoe``).
    ``TOPK_THEN_SOFTMAX``: the k largest logits, softmax over those k (``noisy`` of M3ViT).
    """

    SOFTMAX_THEN_TOPK = "softmax_then_topk"
    TOPK_THEN_SOFTMAX = "topk_then_softmax"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of one vision transformer. All counts are positive integers; images are height x width pixels.

    Blocks listed in ``moe_layers`` hold experts, the others a dense FFN. ``tasks`` names one gate each; a model
    without experts has the single task ``"default"`` by default. ``activation`` is a name of
    :data:`golden.spec.activations.ACTIVATIONS`. Before the patches stand ``extra_tokens``: none,
    the class token, class and distillation token, or more (registers, learnt prompts) of which the first is the class
    token; a classifier reads those of :attr:`class_heads`, or what ``pool`` of :data:`POOLS` says: features after the
    final norm, or with ``fc_norm`` those before it, which are normalised once they are pooled. ``fit``, one of
    :data:`FITS`, ``crop_share`` and ``interpolation`` say how a picture becomes one of the model's size.
    ``task_heads`` turn the patch tokens into maps: with several
    ``tasks`` each head belongs to the one of its name, which runs the backbone with its gates; with a single task all
    heads share one pass of the backbone, whatever their names.

    ``keep`` prunes tokens: pairs of a block and how many patches its attention leaves. Those stay to which the class
    token, token 0, pays most: a patch's score is the mean over the heads of the softmax of its attention; of equal ones
    the first. The extra tokens always stay, and the order. The block's keys and values are those of all tokens before.
    In the blocks ``window_layers`` a token sees the others of its window of ``window`` x ``window`` patches only.
    ``prompts`` of the extra tokens, the last ones, are learnt: their values before the blocks ``prompt_layers`` replace
    what the block before left there; those before block 0 are rows of the positions, as of any extra token.
    """

    name: str = "m3vit"
    image_height: int = 128
    image_width: int = 256
    patch: int = 16
    channels: int = 3
    dim: int = 192
    depth: int = 12
    heads: int = 3
    mlp_hidden: int = 768
    moe_layers: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    experts: int = 16
    expert_hidden: int = 384
    top_k: int = 2
    gate: GateKind = GateKind.SOFTMAX_THEN_TOPK
    activation: str = "gelu"
    tasks: tuple[str, ...] = ("task0", "task1")
    keep: tuple[tuple[int, int], ...] = ()
    extra_tokens: int = 1
    final_norm: bool = False
    classes: int = 0
    task_heads: tuple[HeadConfig, ...] = ()
    eps: float = 1e-6
    pixel_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    pixel_std: tuple[float, ...] = (1.0, 1.0, 1.0)
    pool: str = "class"
    fc_norm: bool = False
    fit: str = "middle"
    crop_share: float = 1.0
    interpolation: str = "bilinear"
    pixel_scale: float = 256.0
    """A pixel code 0..255 means code / pixel_scale before mean and std (Edge-MoE: 256; most others: 255)."""
    window: int = 0
    window_layers: tuple[int, ...] = ()
    prompts: int = 0
    prompt_layers: tuple[int, ...] = ()

    def __post_init__(self):
        check(self)

    def keys(self, layer: int) -> int:
        """Tokens that a token sees in ``layer``: those of its window, or all."""
        return self.window ** 2 if layer in self.window_layers else self.tokens

    def patch_order(self) -> list[int]:
        """Patches, numbered row by row over the image, in the order in which the machine holds them: with windows one
        window after the other, row by row, as the patches of each."""
        (rows, columns), side = self.grid, self.window
        if not side:
            return list(range(rows * columns))
        return [(top + y) * columns + left + x for top in range(0, rows, side) for left in range(0, columns, side)
                for y in range(side) for x in range(side)]

    def heads_of(self, task: str) -> tuple[HeadConfig, ...]:
        """The heads that follow a backbone pass for ``task``."""
        return self.task_heads if len(self.tasks) == 1 else tuple(h for h in self.task_heads if h.task == task)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across the image."""
        return self.image_height // self.patch, self.image_width // self.patch

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def class_heads(self) -> tuple[str, ...]:
        """Names of the classifier heads; number ``i`` reads token ``i``, and the logits are their mean. With two extra
        tokens each has its own."""
        two = self.extra_tokens == 2 and self.pool == "class"
        return ("head", "head_dist")[:2 if two else 1] if self.classes else ()

    @property
    def pooled(self) -> bool:
        """Whether the classifier reads a mean over patches, which the host computes, and the scores with it."""
        return self.pool != "class"

    @property
    def head_inputs(self) -> int:
        """Values that a classifier head reads."""
        return 2 * self.dim if self.pool == "class_mean" else self.dim

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """Patches plus extra tokens."""
        return self.patches + self.extra_tokens

    @property
    def patch_dim(self) -> int:
        """Inputs of the patch embedding, ordered channel, row, column."""
        return self.channels * self.patch * self.patch

    def tokens_after(self, layer: int) -> int:
        """Tokens that leave the attention of block ``layer``; of block -1: all."""
        return self.extra_tokens + min((count for at, count in self.keep if at <= layer), default=self.patches)

    @property
    def last_tokens(self) -> int:
        """Tokens of the residual stream after the last block."""
        return self.tokens_after(self.depth)

    def is_moe(self, layer: int) -> bool:
        return layer in self.moe_layers

    def ffn_hidden(self, layer: int) -> int:
        """Channels between the two matrices of ``layer``'s FFN, or of each of its experts."""
        return self.expert_hidden if self.is_moe(layer) else self.mlp_hidden

    def narrowed(self, width: float) -> "ModelConfig":
        """The same network with the first neurons only of every FFN: the fraction ``width`` of them, above 0 and at
        most 1, rounded up to whole blocks of 32.
        """
        require(0 < width <= 1, f"The width of an FFN must lie above 0 and be at most 1, not {width}.")
        part = Fraction(str(width))
        mlp, expert = (math.ceil(part * hidden / BLOCK) * BLOCK for hidden in (self.mlp_hidden, self.expert_hidden))
        return replace(self, mlp_hidden=mlp, expert_hidden=expert)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one frame, one task, without the task heads and without choosing tokens."""
        d, total = self.dim, self.patches * self.patch_dim * self.dim
        total += len(self.class_heads) * self.head_inputs * self.classes
        for layer in range(self.depth):
            before, n = self.tokens_after(layer - 1), self.tokens_after(layer)
            keys = self.window ** 2 if layer in self.window_layers else before
            total += 2 * (n + before) * d * d + 2 * n * keys * d
            total += (n * d * self.experts + self.top_k * 2 * n * d * self.expert_hidden if self.is_moe(layer)
                      else 2 * n * d * self.mlp_hidden)
        return total

    def to_json(self) -> dict:
        """A JSON-ready dictionary; :meth:`from_json` is its inverse."""
        data = asdict(self)
        for key in [key for key, usual in _LATER.items() if data[key] == usual]:
            del data[key]
        data["gate"] = self.gate.value
        data["task_heads"] = [asdict(head) for head in self.task_heads]
        if self.keep:
            data["keep"] = [list(pair) for pair in self.keep]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}

    @classmethod
    def from_json(cls, data: dict) -> "ModelConfig":
        """Build from :meth:`to_json`'s form. Raises :class:`ConfigError` for unknown or missing keys and bad values."""
        require(isinstance(data, dict), f"A model description must be a JSON object, not {type(data).__name__}.")
        known = set(cls.__dataclass_fields__)
        unknown, missing = set(data) - known, known - set(data) - set(_LATER)
        require(not unknown, f"The model description has unknown keys {sorted(unknown)}; known are {sorted(known)}.")
        require(not missing, f"The model description lacks the keys {sorted(missing)}.")
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value
                                  for key, value in data.items()}
        try:
            fields["gate"] = GateKind(fields["gate"])
        except ValueError:
            raise ConfigError(f"gate must be one of {[g.value for g in GateKind]}, not {data['gate']!r}.") from None
        try:
            fields["keep"] = tuple((layer, count) for layer, count in data.get("keep", []))
        except (TypeError, ValueError):
            raise ConfigError(f"keep must be a list of pairs, not {data['keep']!r}.") from None
        try:
            fields["task_heads"] = tuple(HeadConfig(**head) for head in fields["task_heads"])
        except (HeadError, TypeError) as error:
            raise ConfigError(f"task_heads must be a list of heads: {error}.") from None
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConfigError(f"The model description has a value of the wrong type: {error}.") from None

    @cached_property
    def fingerprint(self) -> int:
        """64-bit hash of everything above."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


_LATER = {"pool": "class", "fc_norm": False, "fit": "middle", "crop_share": 1.0, "interpolation": "bilinear",
          "keep": (), "window": 0, "window_layers": (), "prompts": 0, "prompt_layers": ()}
"""Fields that descriptions leave out where they have these values, as all did before there were such fields."""

M3VIT_TINY = ModelConfig(name="m3vit-tiny")
M3VIT_SMALL = ModelConfig(
    name="m3vit-small", image_height=480, image_width=640, dim=384, heads=12, mlp_hidden=1536, expert_hidden=384,
    top_k=4, pixel_scale=255.0, pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225))
DEIT_TINY = ModelConfig(
    name="deit-tiny", image_height=224, image_width=224, moe_layers=(), experts=0, expert_hidden=0, top_k=0,
    tasks=("default",), final_norm=True, classes=1000, pixel_scale=255.0,
    pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225))
DEIT_SMALL = replace(DEIT_TINY, name="deit-small", dim=384, heads=6, mlp_hidden=1536, extra_tokens=2)
DINOV2_SMALL = replace(DEIT_SMALL, name="dinov2-small", patch=14, extra_tokens=1, classes=0, fit="shortest",
                       crop_share=0.875, interpolation="bicubic")
NANO = ModelConfig(
    name="nano", image_height=32, image_width=64, patch=8, dim=64, depth=2, heads=2, mlp_hidden=128, moe_layers=(1,),
    experts=4, expert_hidden=64, top_k=2)
MODELS = {model.name: model for model in (M3VIT_TINY, M3VIT_SMALL, DEIT_TINY, DEIT_SMALL, DINOV2_SMALL, NANO)}
