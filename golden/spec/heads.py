# SPDX-License-Identifier: Apache-2.0
"""Task heads: shapes of the up-sampling heads that turn tokens into a map of classes, depth or directions.

One head, as in M3ViT: layer norm of the patch tokens of the last block (not of the class token, without a norm of the
backbone), a map [dim, h, w]; four times a 3x3 convolution with bias and ReLU, each of the first three followed by a
bilinear enlargement by 2; a 1x1 convolution to ``classes`` maps; a last enlargement by 2. So the result has 16 times
the height and width of the token grid.
"""

from dataclasses import dataclass

from golden.spec.activations import ACT_IN_FRAC, ACT_OUT_FRAC

WINDOWS = 4
"""3x3 convolutions of a head: ``conv_0`` .. ``conv_3``; ``conv_4`` is the 1x1 convolution."""
UPSAMPLED = (True, True, True, False, True)
"""Whether the map of ``conv_i`` is enlarged by 2 afterwards."""
ENLARGED_PARTS_LOG2 = 4
"""log2 of the parts 9, 3, 3, 1 that the four nearest positions have in a value enlarged by 2."""
NORM_EPS = 1e-6
RELU_SHIFT2 = ACT_OUT_FRAC - ACT_IN_FRAC
"""Right shift of the affine after ReLU (gain 1, offset 0) that gives a 16-bit result of ``conv_3`` in the steps of its
input."""
ENLARGEMENT = 2 ** sum(UPSAMPLED)
"""Height and width of a head's result over those of the token grid."""


@dataclass(frozen=True)
class HeadKind:
    """Kind of task: how many maps it has (0: one per class) and what the maps mean."""

    maps: int
    meaning: str


HEAD_KINDS: dict[str, HeadKind] = {
    "semseg": HeadKind(0, "a score per class; the class of a pixel is the largest"),
    "depth": HeadKind(1, "depth as trained, in metres for M3ViT"),
    "edge": HeadKind(1, "log odds of an edge"),
    "saliency": HeadKind(1, "log odds of a salient pixel"),
    "normals": HeadKind(3, "a direction, to be scaled to unit length"),
}


class HeadError(ValueError):
    """A task head that does not exist; the message states the expected and the actual value."""


@dataclass(frozen=True)
class HeadConfig:
    """Up-sampling head of one task: ``channels`` of its convolutions, ``classes`` maps of its result.

    ``names``: what the classes are called, in their order; none if unknown. ``kind`` is a key of :data:`HEAD_KINDS`.
    Raises :class:`HeadError`.
    """

    task: str
    kind: str
    classes: int
    channels: int = 256
    names: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.task, str) or not self.task:
            raise HeadError(f"A head's task must be a name, not {self.task!r}.")
        if self.kind not in HEAD_KINDS:
            raise HeadError(f"The kind of head {self.task!r} must be one of {list(HEAD_KINDS)}, not {self.kind!r}.")
        for field in ("classes", "channels"):
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= 1024:
                raise HeadError(f"{field} of head {self.task!r} must be an integer in 1..1024, not {value!r}.")
        object.__setattr__(self, "names", tuple(self.names))  # JSON has lists
        if self.names and len(self.names) != self.classes or not all(type(name) is str for name in self.names):
            raise HeadError(f"Head {self.task!r} needs a name for each of {self.classes} classes, not {self.names}.")
        maps = HEAD_KINDS[self.kind].maps
        if maps and self.classes != maps:
            raise HeadError(f"Head {self.task!r} of kind {self.kind} has {maps} maps, not {self.classes}.")

    def inputs(self, layer: int, dim: int) -> int:
        """Input channels of ``conv_<layer>`` of a head on tokens of ``dim`` channels."""
        return dim if layer == 0 else self.channels

    def outputs(self, layer: int) -> int:
        return self.classes if layer == WINDOWS else self.channels

    def macs(self, dim: int, height: int, width: int) -> int:
        """Multiply-accumulates on a token grid of ``height`` x ``width``."""
        total, positions = 0, height * width
        for layer, doubled in enumerate(UPSAMPLED):
            taps = 9 if layer < WINDOWS else 1
            total += positions * taps * self.inputs(layer, dim) * self.outputs(layer)
            positions *= 4 if doubled else 1
        return total
