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

from golden.spec.activations import ACTIVATIONS
from golden.spec.heads import HeadConfig, HeadError

BLOCK = 32
"""Channels that share one operand exponent; every on-chip width is a multiple of it."""
MOST_EXTRA_TOKENS = 64
"""Most tokens before the patches: class, distillation, registers, learnt prompts."""
RARE = ("window", "window_layers", "prompts", "prompt_layers")
"""Fields of a model that a description may leave out."""
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


class ConfigError(ValueError):
    """A configuration that no machine could run; the message states the expected and the actual value."""


def require(condition: bool, message: str) -> None:
    """Raise :class:`ConfigError` with a full sentence unless ``condition`` holds."""
    if not condition:
        raise ConfigError(message)


def _check_layers(name: str, layers: object, allowed: range) -> None:
    require(isinstance(layers, tuple) and all(type(layer) is int and layer in allowed for layer in layers)
            and list(layers) == sorted(set(layers)),
            f"{name} must be ascending numbers of blocks in {allowed.start}..{allowed.stop - 1}, not {layers!r}.")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of one vision transformer. All counts are positive integers; images are height x width pixels.

    Blocks listed in ``moe_layers`` hold experts, the others a dense FFN. ``tasks`` names one gate each; a model
    without experts has the single task ``"default"`` by default. ``activation`` is a name of
    :data:`golden.spec.activations.ACTIVATIONS`. Before the patches stand ``extra_tokens``: none,
    the class token, class and distillation token, or more (registers, learnt prompts) of which the first is the class
    token; a classifier reads those of :attr:`class_heads`. ``task_heads`` turn the patch tokens into maps: with several
    ``tasks`` each head belongs to the one of its name, which runs the backbone with its gates; with a single task all
    heads share one pass of the backbone, whatever their names.

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
    extra_tokens: int = 1
    final_norm: bool = False
    classes: int = 0
    task_heads: tuple[HeadConfig, ...] = ()
    eps: float = 1e-6
    pixel_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    pixel_std: tuple[float, ...] = (1.0, 1.0, 1.0)
    pixel_scale: float = 256.0
    """A pixel code 0..255 means code / pixel_scale before mean and std (Edge-MoE: 256; most others: 255)."""
    window: int = 0
    window_layers: tuple[int, ...] = ()
    prompts: int = 0
    prompt_layers: tuple[int, ...] = ()

    def __post_init__(self):
        for field in ("image_height", "image_width", "patch", "channels", "dim", "depth", "heads", "mlp_hidden"):
            value = getattr(self, field)
            require(isinstance(value, int) and not isinstance(value, bool) and value > 0,
                    f"{field} must be a positive integer, not {value!r}.")
        require(self.image_height % self.patch == 0 and self.image_width % self.patch == 0,
                f"The image ({self.image_height} x {self.image_width}) must be a whole number of "
                f"{self.patch} x {self.patch} patches.")
        require(self.dim % self.heads == 0, f"dim {self.dim} must be a multiple of heads {self.heads}.")
        require(self.dim % BLOCK == 0, f"dim must be a multiple of {BLOCK}, not {self.dim}.")
        require(self.head_dim % BLOCK == 0, f"dim / heads must be a multiple of {BLOCK}, not {self.head_dim}.")
        require(self.mlp_hidden % BLOCK == 0, f"mlp_hidden must be a multiple of {BLOCK}, not {self.mlp_hidden}.")
        require(self.activation in ACTIVATIONS,
                f"activation must be one of {list(ACTIVATIONS)}, not {self.activation!r}.")
        require(type(self.extra_tokens) is int and 0 <= self.extra_tokens <= MOST_EXTRA_TOKENS,
                f"extra_tokens must lie in 0..{MOST_EXTRA_TOKENS}, not {self.extra_tokens!r}.")
        require(len(set(self.moe_layers)) == len(self.moe_layers)
                and all(0 <= layer < self.depth for layer in self.moe_layers),
                f"moe_layers must be distinct indices below depth {self.depth}, not {self.moe_layers}.")
        require(isinstance(self.tasks, tuple) and all(isinstance(task, str) and task for task in self.tasks),
                f"tasks must be a tuple of names, not {self.tasks!r}.")
        require(len(self.tasks) > 0 and len(set(self.tasks)) == len(self.tasks),
                f"tasks must be distinct names, at least one, not {self.tasks}.")
        if self.moe_layers:
            require(1 <= self.experts <= 64, f"experts must lie in 1..64, not {self.experts}.")
            require(1 <= self.top_k <= min(8, self.experts),
                    f"top_k must lie in 1..{min(8, self.experts)}, not {self.top_k}.")
            require(self.expert_hidden > 0 and self.expert_hidden % BLOCK == 0,
                    f"expert_hidden must be a positive multiple of {BLOCK}, not {self.expert_hidden}.")
        require(self.classes >= 0, f"classes must not be negative, not {self.classes}.")
        require(self.classes == 0 or self.final_norm, "A classifier head needs final_norm.")
        require(self.classes == 0 or self.extra_tokens > 0, "A classifier head needs a class token to read.")
        self._check_heads()
        self._check_windows()
        self._check_prompts()
        require(0 <= self.eps < 1, f"eps must lie in [0, 1), not {self.eps}.")
        for field in ("pixel_mean", "pixel_std"):
            require(len(getattr(self, field)) == self.channels,
                    f"{field} needs one value for each of {self.channels} channels, not {getattr(self, field)}.")
        require(all(s > 0 for s in self.pixel_std), f"pixel_std must be positive, not {self.pixel_std}.")
        require(0 < self.pixel_scale < float("inf"), f"pixel_scale must be positive, not {self.pixel_scale}.")

    def _check_heads(self) -> None:
        names = [head.task for head in self.task_heads]
        require(len(set(names)) == len(names), f"Each task has one head at most; the heads are {names}.")
        strangers = [name for name in names if name not in self.tasks]
        require(len(self.tasks) == 1 or not strangers,
                f"There are heads for {strangers}, but the model's tasks are {list(self.tasks)}.")

    def _check_windows(self) -> None:
        side, layers = self.window, self.window_layers
        require(type(side) is int and side >= 0, f"window must be a number of patches, 0 for none, not {side!r}.")
        _check_layers("window_layers", layers, range(self.depth))
        require(bool(side) == bool(layers), f"window ({side}) and window_layers {layers} belong together.")
        if side:
            require(self.grid[0] % side == 0 and self.grid[1] % side == 0,
                    f"The {self.grid[0]} x {self.grid[1]} patches must be whole windows of {side} x {side}: a map that "
                    f"is filled up with zeros, as ViTDet does, does not run here. Choose an image of a multiple of "
                    f"{side * self.patch} pixels.")
            require(self.extra_tokens == 0, f"Windows of patches have no place for {self.extra_tokens} extra tokens.")
            require(not self.task_heads, "A network with windows has no task heads here.")

    def _check_prompts(self) -> None:
        count, layers = self.prompts, self.prompt_layers
        most = max(0, self.extra_tokens - bool(self.classes))  # a classifier needs a class token
        require(type(count) is int and 0 <= count <= most,
                f"prompts must lie in 0..{most}, as they are some of the extra tokens, not {count!r}.")
        _check_layers("prompt_layers", layers, range(1, self.depth))
        require(bool(count) == bool(layers), f"prompts ({count}) and prompt_layers {layers} belong together: prompts "
                f"that stay are extra tokens like others.")

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
        return ("head", "head_dist")[:2 if self.extra_tokens == 2 else 1] if self.classes else ()

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
        """Multiply-accumulates of one frame, one task, without the task heads."""
        n, d = self.tokens, self.dim
        moe = len(self.moe_layers)
        return (self.patches * self.patch_dim * d + self.depth * 4 * n * d * d
                + sum(2 * n * self.keys(i) * d for i in range(self.depth))
                + (self.depth - moe) * 2 * n * d * self.mlp_hidden
                + moe * (n * d * self.experts + self.top_k * 2 * n * d * self.expert_hidden)
                + len(self.class_heads) * d * self.classes)

    def to_json(self) -> dict:
        """A JSON-ready dictionary; :meth:`from_json` is its inverse. :data:`RARE` fields are named only where they say
        something, so that models without them keep their fingerprint."""
        data = {key: value for key, value in asdict(self).items() if key not in RARE or value}
        data["gate"] = self.gate.value
        data["task_heads"] = [asdict(head) for head in self.task_heads]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}

    @classmethod
    def from_json(cls, data: dict) -> "ModelConfig":
        """Build from :meth:`to_json`'s form. Raises :class:`ConfigError` for unknown or missing keys and bad values."""
        require(isinstance(data, dict), f"A model description must be a JSON object, not {type(data).__name__}.")
        known = set(cls.__dataclass_fields__)
        unknown, missing = set(data) - known, known - set(data) - set(RARE)
        require(not unknown, f"The model description has unknown keys {sorted(unknown)}; known are {sorted(known)}.")
        require(not missing, f"The model description lacks the keys {sorted(missing)}.")
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value
                                  for key, value in data.items()}
        try:
            fields["gate"] = GateKind(fields["gate"])
        except ValueError:
            raise ConfigError(f"gate must be one of {[g.value for g in GateKind]}, not {data['gate']!r}.") from None
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


M3VIT_TINY = ModelConfig(name="m3vit-tiny")
M3VIT_SMALL = ModelConfig(
    name="m3vit-small", image_height=480, image_width=640, dim=384, heads=12, mlp_hidden=1536, expert_hidden=384,
    top_k=4, pixel_scale=255.0, pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225))
DEIT_TINY = ModelConfig(
    name="deit-tiny", image_height=224, image_width=224, moe_layers=(), experts=0, expert_hidden=0, top_k=0,
    tasks=("default",), final_norm=True, classes=1000, pixel_scale=255.0,
    pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225))
DEIT_SMALL = replace(DEIT_TINY, name="deit-small", dim=384, heads=6, mlp_hidden=1536, extra_tokens=2)
NANO = ModelConfig(
    name="nano", image_height=32, image_width=64, patch=8, dim=64, depth=2, heads=2, mlp_hidden=128, moe_layers=(1,),
    experts=4, expert_hidden=64, top_k=2)
MODELS = {model.name: model for model in (M3VIT_TINY, M3VIT_SMALL, DEIT_TINY, DEIT_SMALL, NANO)}
