# SPDX-License-Identifier: Apache-2.0
"""``make accuracy-packed``: the plan w4 of a DeiT-shaped network of seeded weights with ReLU, next to the plan fast, to
packed weights everywhere, and to what rounding weights and operands to 4 bits by their ranges alone would give.

SQNR and MSE of the residual stream after the last block, median over photographs that calibration has not seen.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from golden.model.float_model import M3ViT, run_float, to_pixels
from golden.model.params import FloatModel
from golden.model.synthetic import synthetic_model
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from host.progress import printer, steps
from host.quantizer.crops import crops
from host.quantizer.quantize import quantize
from host.report.compare import Error
from host.report.thresholds import HELD_OUT, held_out

out = printer()


class RangeRounding:
    """Fake quantization of every linear of a float network's blocks: weights to ``weight_bits`` by the largest of each
    row, operands to ``bits`` by the least and the largest value that calibration saw, one range a linear."""

    def __init__(self, model: FloatModel, images: np.ndarray, weight_bits: int, bits: int):
        self.config, self.net, self.bits = model.config, M3ViT(model).eval(), bits
        self.ranges: dict[nn.Module, tuple[float, float]] = {}
        linears = [module for module in self.net.blocks.modules() if isinstance(module, nn.Linear)]
        limit = (1 << weight_bits - 1) - 1
        with torch.no_grad():
            for linear in linears:
                step = linear.weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / limit
                linear.weight.copy_((linear.weight / step).round() * step)
            hooks = [linear.register_forward_pre_hook(self._observe) for linear in linears]
            self.run(images)
        for hook, linear in zip(hooks, linears, strict=True):
            hook.remove()
            linear.register_forward_pre_hook(self._rounded)

    def _observe(self, linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        low, high = self.ranges.get(linear, (0.0, 0.0))
        self.ranges[linear] = min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))

    def _rounded(self, linear: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        low, high = self.ranges[linear]
        step = max(high - low, 1e-12) / ((1 << self.bits) - 1)
        return (((inputs[0].clamp(low, high) - low) / step).round() * step + low, *inputs[1:])

    @torch.no_grad()
    def run(self, images: np.ndarray) -> np.ndarray:
        """Residual stream of uint8 images, float32 [B, tokens, dim]."""
        return self.net(to_pixels(self.config, images), self.config.tasks[0]).numpy()


def measure(model: FloatModel, images: list[np.ndarray], pictures: np.ndarray) -> dict[str, list[Error]]:
    """Errors of each way to quantize, by name, on every picture."""
    wanted, c, found = run_float(model, pictures), model.config, {}
    plans: dict[str, Plan | str] = {
        "fast": "fast", "w4": "w4", "fast, packed FFNs": Plan.fast(c.depth).with_layers(mlp_bits=4),
        "fast, all packed": Plan.fast(c.depth).with_bits(4, 4)}
    for name, plan in plans.items():
        with steps(f"quantize {c.name}, {name}") as report:
            integer = quantize(model, images, plan, progress=report)
        found[name] = [Error.between(integer.features(picture), y) for picture, y in zip(pictures, wanted, strict=True)]
    for name, weight_bits, bits in (("W4A8 by ranges", 4, 8), ("W4A4 by ranges", 4, 4)):
        came = RangeRounding(model, np.stack(images), weight_bits, bits).run(pictures)
        found[name] = [Error.between(x, y) for x, y in zip(came, wanted, strict=True)]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make accuracy-packed", description=__doc__)
    parser.add_argument("--model", default="deit-tiny", help="shape of the network, a preset")
    parser.add_argument("--depth", type=int, help="blocks, if not the preset's")
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--crops", type=int, default=16, help="calibration crops")
    options = parser.parse_args(arguments)
    config = replace(MODELS[options.model], activation=options.activation)
    config = replace(config, depth=options.depth or config.depth)
    pictures = np.stack(list(held_out(config).values()))
    found = measure(synthetic_model(config, seed=1), crops(config, options.crops, exclude=HELD_OUT), pictures)
    table = Table("weights and operands", "SQNR dB", "MSE", title=f"{config.name}, {options.activation}, seeded")
    for name, errors in found.items():
        table.add_row(name, f"{np.median([e.sqnr for e in errors]):.1f}", f"{np.median([e.mse for e in errors]):.2e}")
    out.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
