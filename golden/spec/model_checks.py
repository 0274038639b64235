# SPDX-License-Identifier: Apache-2.0
"""Model checks: which vision transformers can exist, whatever the machine; sentences for those that cannot."""

from itertools import pairwise
from typing import TYPE_CHECKING

from golden.spec.activations import ACTIVATIONS

if TYPE_CHECKING:
    from golden.spec.model import ModelConfig

BLOCK = 32
"""Channels that share one operand exponent; every on-chip width is a multiple of it."""
MOST_EXTRA_TOKENS = 64
"""Most tokens before the patches: class, distillation, registers, learnt prompts."""
POOLS = ("class", "mean", "class_mean")
"""What a classifier reads: class tokens; the mean of the patches; the class token, then that mean."""
FITS = ("middle", "shortest", "squash")
"""How a picture becomes one of the model's size: its largest middle part is resized; it is resized until it just covers
a size, or to that size whatever its proportions, 1 / ``crop_share`` of the model's, and the middle is cut out."""
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest", "box", "hamming")
"""Kinds of resizing of pictures, as Pillow has them."""


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


def check(c: "ModelConfig") -> None:
    """Raise :class:`ConfigError` unless such a network can exist."""
    for field in ("image_height", "image_width", "patch", "channels", "dim", "depth", "heads", "mlp_hidden"):
        value = getattr(c, field)
        require(isinstance(value, int) and not isinstance(value, bool) and value > 0,
                f"{field} must be a positive integer, not {value!r}.")
    require(c.image_height % c.patch == 0 and c.image_width % c.patch == 0,
            f"The image ({c.image_height} x {c.image_width}) must be a whole number of "
            f"{c.patch} x {c.patch} patches.")
    require(c.dim % c.heads == 0, f"dim {c.dim} must be a multiple of heads {c.heads}.")
    require(c.dim % BLOCK == 0, f"dim must be a multiple of {BLOCK}, not {c.dim}.")
    require(c.head_dim % BLOCK == 0, f"dim / heads must be a multiple of {BLOCK}, not {c.head_dim}.")
    require(c.mlp_hidden % BLOCK == 0, f"mlp_hidden must be a multiple of {BLOCK}, not {c.mlp_hidden}.")
    require(c.activation in ACTIVATIONS,
            f"activation must be one of {list(ACTIVATIONS)}, not {c.activation!r}.")
    require(type(c.extra_tokens) is int and 0 <= c.extra_tokens <= MOST_EXTRA_TOKENS,
            f"extra_tokens must lie in 0..{MOST_EXTRA_TOKENS}, not {c.extra_tokens!r}.")
    require(len(set(c.moe_layers)) == len(c.moe_layers)
            and all(0 <= layer < c.depth for layer in c.moe_layers),
            f"moe_layers must be distinct indices below depth {c.depth}, not {c.moe_layers}.")
    require(isinstance(c.tasks, tuple) and all(isinstance(task, str) and task for task in c.tasks),
            f"tasks must be a tuple of names, not {c.tasks!r}.")
    require(len(c.tasks) > 0 and len(set(c.tasks)) == len(c.tasks),
            f"tasks must be distinct names, at least one, not {c.tasks}.")
    if c.moe_layers:
        require(1 <= c.experts <= 64, f"experts must lie in 1..64, not {c.experts}.")
        require(1 <= c.top_k <= min(8, c.experts),
                f"top_k must lie in 1..{min(8, c.experts)}, not {c.top_k}.")
        require(c.expert_hidden > 0 and c.expert_hidden % BLOCK == 0,
                f"expert_hidden must be a positive multiple of {BLOCK}, not {c.expert_hidden}.")
    require(c.classes >= 0, f"classes must not be negative, not {c.classes}.")
    _check_classifier(c)
    _check_heads(c)
    require(c.fit in FITS, f"fit must be one of {list(FITS)}, not {c.fit!r}.")
    require(0 < c.crop_share <= 1, f"crop_share must lie above 0 and be at most 1, not {c.crop_share}.")
    require(c.interpolation in INTERPOLATIONS,
            f"interpolation must be one of {list(INTERPOLATIONS)}, not {c.interpolation!r}.")
    _check_keep(c)
    _check_windows(c)
    _check_prompts(c)
    require(0 <= c.eps < 1, f"eps must lie in [0, 1), not {c.eps}.")
    for field in ("pixel_mean", "pixel_std"):
        require(len(getattr(c, field)) == c.channels,
                f"{field} needs one value for each of {c.channels} channels, not {getattr(c, field)}.")
    require(all(s > 0 for s in c.pixel_std), f"pixel_std must be positive, not {c.pixel_std}.")
    require(0 < c.pixel_scale < float("inf"), f"pixel_scale must be positive, not {c.pixel_scale}.")


def _check_classifier(c: "ModelConfig") -> None:
    require(c.pool in POOLS, f"pool must be one of {list(POOLS)}, not {c.pool!r}.")
    require(type(c.fc_norm) is bool, f"fc_norm must be true or false, not {c.fc_norm!r}.")
    require(c.classes > 0 or c.pool == "class" and not c.fc_norm,
            "pool and fc_norm describe a classifier; the model has no classes.")
    require(c.classes == 0 or c.final_norm != c.fc_norm,
            "A classifier head needs one norm: final_norm, or fc_norm after pooling.")
    require(not c.fc_norm or c.pool == "mean", "fc_norm follows the mean of the patches (pool='mean').")
    require(c.classes == 0 or c.pool == "mean" or c.extra_tokens > 0,
            "A classifier head needs a class token to read.")


def _check_heads(c: "ModelConfig") -> None:
    names = [head.task for head in c.task_heads]
    require(len(set(names)) == len(names), f"Each task has one head at most; the heads are {names}.")
    strangers = [name for name in names if name not in c.tasks]
    require(len(c.tasks) == 1 or not strangers,
            f"There are heads for {strangers}, but the model's tasks are {list(c.tasks)}.")


def _check_keep(c: "ModelConfig") -> None:
    layers, counts = [layer for layer, _ in c.keep], [c.patches, *(count for _, count in c.keep)]
    require(all(type(number) is int for number in (*layers, *counts)) and layers == sorted(set(layers))
            and all(0 <= layer < c.depth for layer in layers),
            f"keep must name blocks below depth {c.depth} in ascending order, not {c.keep}.")
    require(all(before >= after >= c.heads for before, after in pairwise(counts)),
            f"Every block can keep at most the patches that it finds, {c.patches} at first, and no fewer than "
            f"the {c.heads} heads; keep is {c.keep}.")
    require(not c.keep or c.extra_tokens > 0, "Tokens are kept for what the class token pays to them; this "
            "model has none. Compile it without keep.")
    require(not c.keep or not c.prompt_layers, "A model that keeps some of its tokens cannot have prompts that its "
            "blocks replace. Compile it without keep.")
    require(not c.keep or not c.task_heads, f"A head makes a map of all patches; a model that keeps some of "
            f"them cannot have any, and this one has {[head.task for head in c.task_heads]}. Compile it without "
            f"keep, or use its features and their places.")


def _check_windows(c: "ModelConfig") -> None:
    side, layers = c.window, c.window_layers
    require(type(side) is int and side >= 0, f"window must be a number of patches, 0 for none, not {side!r}.")
    _check_layers("window_layers", layers, range(c.depth))
    require(bool(side) == bool(layers), f"window ({side}) and window_layers {layers} belong together.")
    if side:
        require(c.grid[0] % side == 0 and c.grid[1] % side == 0,
                f"The {c.grid[0]} x {c.grid[1]} patches must be whole windows of {side} x {side}: a map that "
                f"is filled up with zeros, as ViTDet does, does not run here. Choose an image of a multiple of "
                f"{side * c.patch} pixels.")
        require(c.extra_tokens == 0, f"Windows of patches have no place for {c.extra_tokens} extra tokens.")
        require(not c.task_heads, "A network with windows has no task heads here.")


def _check_prompts(c: "ModelConfig") -> None:
    count, layers = c.prompts, c.prompt_layers
    most = max(0, c.extra_tokens - bool(c.classes))  # a classifier needs a class token
    require(type(count) is int and 0 <= count <= most,
            f"prompts must lie in 0..{most}, as they are some of the extra tokens, not {count!r}.")
    _check_layers("prompt_layers", layers, range(1, c.depth))
    require(bool(count) == bool(layers), f"prompts ({count}) and prompt_layers {layers} belong together: prompts "
            f"that stay are extra tokens like others.")
