# SPDX-License-Identifier: Apache-2.0
"""Training recipe: every number that a training run depends on, kept with the model that it made."""

from dataclasses import asdict, dataclass

from golden.spec.heads import HeadConfig
from golden.spec.model import GateKind, ModelConfig, require
from host.scenes.classes import CLASSES

SCENE_TASKS = ("semseg", "depth")
"""Tasks of the generated scenes, which are also the kinds of their heads."""

STREET = ModelConfig(
    name="m3vit-street", image_height=128, image_width=256, dim=192, depth=6, heads=3, mlp_hidden=768,
    moe_layers=(3, 5), experts=8, expert_hidden=384, top_k=2, gate=GateKind.TOPK_THEN_SOFTMAX, tasks=SCENE_TASKS,
    task_heads=(HeadConfig("semseg", "semseg", classes=7, channels=64, names=tuple(c.name for c in CLASSES)),
                HeadConfig("depth", "depth", classes=1, channels=64)),
    pixel_scale=255.0, pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225))
"""The model that ``make train`` trains."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters of one run. ``scenes`` are rendered from ``seed``; validation ones from ``validation_seed``.

    ``depth_unit``: metres of depth that count as 1 in the loss, |e| + e^2 of the error e. ``precision``: ``bfloat16``
    or ``float32`` products, or ``auto``: bfloat16 where the processor multiplies it in hardware.
    """

    steps: int = 9000
    batch: int = 16
    scenes: int = 4000
    seed: int = 0
    validation_scenes: int = 64
    validation_seed: int = 1
    rate: float = 1e-3
    final_rate: float = 1e-5
    warmup: int = 200
    decay: float = 0.4
    """Share of the steps, at the end, over which the rate falls."""
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.998
    """Decay of the averaged weights (EMA), which are what is kept."""
    balance: float = 0.01
    """Weight of the experts' importance and load balancing losses."""
    class_power: float = 0.5
    """Classes weigh (mean share / share) ** class_power in the loss, so that small ones are learned early; 0: alike."""
    depth_unit: float = 10.0
    halves: float = 0.85
    """Share of the steps, at the start, that see a random half of each picture, as wide as eight columns of patches
    of sixteen: for the same time twice as many pictures."""
    stride: int = 2
    """The loss takes every ``stride``-th row and column, from a random one on: neighbours tell much the same."""
    zoom: float = 1.15
    """Largest enlargement of a random crop."""
    jitter: float = 0.15
    """Range of random brightness, contrast and white balance."""
    precision: str = "auto"

    def __post_init__(self):
        require(self.steps > 0 and self.batch > 0, f"steps and batch must be positive, not {self.steps}, {self.batch}.")
        require(0 <= self.warmup < self.steps, f"warmup must lie in 0..{self.steps - 1}, not {self.warmup}.")
        require(self.precision in ("auto", "bfloat16", "float32"),
                f"precision must be auto, bfloat16 or float32, not {self.precision!r}.")
        require(self.stride >= 1, f"stride must be at least 1, not {self.stride}.")
        require(self.zoom >= 1, f"zoom must be at least 1, not {self.zoom}.")

    def to_json(self) -> dict:
        return asdict(self)


FINISHING = Recipe(steps=1000, scenes=6016, rate=3e-4, warmup=50, decay=0.9, halves=0.0, depth_unit=5.0, average=0.99)
"""Second stage for the street model, from the result of the first: more scenes, whole pictures, and a smaller unit of
depth, with which the loss is more of a squared error."""
