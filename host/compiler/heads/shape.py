# SPDX-License-Identifier: Apache-2.0
"""Shape of a task head in the machine's units: maps in operand rows, weights in slices, results in residual rows."""

from dataclasses import dataclass

from golden.spec.heads import UPSAMPLED, WINDOWS, HeadConfig
from golden.spec.machine import LINE
from golden.spec.model import ModelConfig
from golden.spec.quantized import HeadPlan
from golden.spec.tiling import operand_rows, residual_rows, slices, tiles, window_slices


@dataclass(frozen=True)
class Conv:
    """A 3x3 convolution: ``height`` x ``width`` results, from a source of half the size if it is ``doubled`` first.

    ``rows``: operand rows of a source position in one plane, of ``planes``; ``out_rows``, ``out_planes`` of a result.
    ``tiles``, ``slices``: its output tiles, slices of 16 inputs of each.
    """

    name: str
    height: int
    width: int
    doubled: bool
    rows: int
    planes: int
    out_rows: int
    out_planes: int

    @property
    def tiles(self) -> int:
        return tiles(self.out_rows * LINE)

    @property
    def slices(self) -> int:
        return window_slices(self.rows)

    @property
    def source(self) -> tuple[int, int]:
        """Lines and columns of the source."""
        scale = 2 if self.doubled else 1
        return self.height // scale, self.width // scale

    @property
    def stride(self) -> int:
        """Operand rows of a source position, all planes."""
        return self.rows * self.planes

    @property
    def out_stride(self) -> int:
        return self.out_rows * self.out_planes


@dataclass(frozen=True)
class HeadShape:
    """The four 3x3 convolutions of a head and its last one: ``last_slices`` inputs, ``last_tiles`` tiles of outputs,
    which is also the residual rows of a result position; ``height`` x ``width`` of the result."""

    convs: tuple[Conv, ...]
    last_slices: int
    last_tiles: int
    last_wide: bool

    @property
    def height(self) -> int:
        return self.convs[-1].height

    @property
    def width(self) -> int:
        return self.convs[-1].width


def head_shape(config: ModelConfig, head: HeadConfig, plan: HeadPlan) -> HeadShape:
    """The shape of one of a model's heads."""
    (height, width), convs = config.grid, []
    for layer in range(WINDOWS):
        doubled = layer > 0 and UPSAMPLED[layer - 1]
        height, width = (2 * height, 2 * width) if doubled else (height, width)
        convs.append(Conv(
            f"heads.{head.task}.conv_{layer}", height, width, doubled,
            rows=operand_rows(head.inputs(layer, config.dim)), planes=2 if plan.norm and layer == 0 else 1,
            out_rows=operand_rows(head.outputs(layer)), out_planes=2 if plan.last and layer == WINDOWS - 1 else 1))
    return HeadShape(tuple(convs), slices(head.channels), residual_rows(head.classes), plan.last)
