# SPDX-License-Identifier: Apache-2.0
"""Emulated maps of task heads: bit-equal to the reference models; steps that keep 0 and follow ranges."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.model.int_heads import convolve
from golden.ops.epilogue import Epilogue
from golden.ops.layernorm import Norm, layernorm
from golden.ops.operand import Operand, to_operand
from golden.ops.upsample import upsample
from golden.spec.isa import Edge
from host.quantizer import emulation
from host.quantizer.heads import maps
from host.quantizer.heads.map_steps import MapPolicy, map_step, norm_grid

RNG = np.random.default_rng(3)
SHAPE = (2, 5, 7)


def operand(kind: str, channels: int) -> tuple[Operand, torch.dtype]:
    count = int(np.prod(SHAPE))
    if kind == "bytes":
        return Operand.pixels(RNG.integers(0, 256, (count, channels), dtype=np.uint8)), torch.uint8
    spread = 30000 if kind == "wide" else 700
    return to_operand(RNG.integers(-spread, spread, (count, channels)), kind == "wide"), torch.float32


@pytest.mark.parametrize("kind", ["bytes", "blocks", "wide"])
@pytest.mark.parametrize(("channels", "peak"), [(64, 127), (96, 127), (256, 20), (1024, 127)])
def test_a_convolution_equals_the_reference(kind, channels, peak):
    """Of 1024 channels with large weights, bytes too need float64."""
    source, dtype = operand(kind, channels)
    weight = RNG.integers(-peak, peak + 1, (32, channels, 3, 3)).astype(np.int8)
    bias, multiplier = RNG.integers(-10 ** 6, 10 ** 6, 32), RNG.integers(1, 65536, 32)
    record = Epilogue(bias=bias, multiplier=multiplier, shift1=24)
    grid = torch.from_numpy(source.values()).to(dtype).reshape(*SHAPE, channels)
    rows, params = maps.matrix(torch.from_numpy(weight).double()), torch.from_numpy(np.stack([bias, multiplier]))
    found = maps.convolved(grid, lambda a: maps.linear(a, rows, *params.double(), 24), torch.float32)
    for picture, number in zip(found, range(SHAPE[0]), strict=True):
        part = source.take(np.arange(35) + 35 * number)
        wanted = convolve(part, weight, record, *SHAPE[1:])
        assert (picture.flatten(0, 1).numpy().clip(-32768, 32767) == wanted).all()
    assert (maps.from_matrix(rows, 3).numpy() == weight).all()


def test_windows_in_strips_and_at_chosen_positions_agree(monkeypatch):
    grid = torch.from_numpy(RNG.integers(0, 256, (*SHAPE, 32), dtype=np.uint8))
    monkeypatch.setattr(maps, "POSITIONS", 15)  # two lines at a time
    whole = torch.cat(list(maps.strips(grid)))
    chosen = maps.sampled_positions(grid, 40)
    assert len(chosen.unique()) == 40 and (chosen == maps.sampled_positions(grid, 40)).all()
    assert (maps.sampled_windows(grid, chosen) == whole[chosen]).all()
    assert (maps.sampled_positions(grid, 100) == torch.arange(70)).all()
    weight = torch.randn(4, 32, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = F.conv2d(grid.double().permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
    assert torch.allclose(maps.convolved(grid, lambda a: a.double() @ maps.matrix(weight).T, torch.float64), wanted)


def test_enlarged_bytes_equal_the_reference_and_enlarged_floats_torch():
    grid = RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    found = maps.doubled(torch.from_numpy(grid))
    assert found.dtype == torch.uint8
    assert all((one.numpy() == upsample(picture, sum(Edge))).all() for one, picture in zip(found, grid, strict=True))
    floats = torch.from_numpy(grid) / 7
    wanted = F.interpolate(floats.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear").permute(0, 2, 3, 1)
    assert torch.allclose(maps.doubled(floats), wanted)


@pytest.mark.parametrize("wide", [False, True])
def test_a_norm_of_gains_of_both_signs_keeps_zero_at_zero(wide):
    gain, offset = torch.tensor([2.0, -1.0, 0.0, 1e-7] * 8).double(), torch.linspace(-3, 3, 32).double()
    step, unit = torch.full((32,), 2.0 ** -9 if wide else 1 / 40).double(), 2.0 ** -11
    codes, start, shift, step = norm_grid(step, gain * unit, offset, 31)
    x = RNG.integers(-3000, 3000, (50, 32)).astype(np.int16)
    found, normalized = layernorm(x, Norm(gain=codes.numpy().astype(np.int16), offset=start.numpy().astype(np.int32),
                                          shift=shift, eps=0, wide=wide))
    values = emulation.affine(torch.from_numpy(normalized).float(), codes, start, shift, wide)
    assert (values.numpy() == found.values()).all()
    wanted = torch.from_numpy(normalized) * unit * gain + offset
    error = (torch.from_numpy(found.values()) * step - wanted).abs() / step
    assert float(error.max()) < (0.6 if wide else 2.1)  # blocks have exponents up to 2 here


def test_steps_of_a_map_follow_its_ranges_and_leave_no_channel_without_one():
    values = torch.from_numpy(RNG.normal(0, 1, (2000, 64)) * np.linspace(0.2, 3, 64)).clamp(min=0)
    values[:, 0] = 0
    top, weight = values.amax(0), torch.from_numpy(RNG.normal(0, 1, (32, 64, 3, 3)))
    step = map_step(values, top, weight, False, MapPolicy())
    # The largest may be clipped by a half, and steps may be coarser where weights gain by it.
    assert bool((step[1:] * 255 >= 0.29 * top[1:]).all()) and bool((step > 0).all())
    noise = ((values / step).round().clamp(0, 255) * step - values).square().mean()
    assert float(values.square().mean() / noise) > 10 ** 3.3
    wide = map_step(values, top, weight, True, MapPolicy())
    assert bool((wide * 32767 >= 3.99 * top).all())


def test_an_outlier_is_clipped_where_finer_steps_are_worth_more():
    """The largest value of all is 12, but of 4096 samples 4."""
    values, top = torch.from_numpy(np.abs(RNG.normal(0, 1, (4096, 32)))), torch.full((32,), 12.0).double()
    clipped = map_step(values, top, torch.ones(32, 32, 3, 3), False, MapPolicy())
    whole = map_step(values, top, torch.ones(32, 32, 3, 3), False, MapPolicy(clips=(1.0,)))
    assert bool((clipped < 0.6 * whole).all()) and bool((whole * 255 >= 11.99).all())


def test_a_map_without_any_value_has_a_step():
    zeros = torch.zeros(100, 32).double()
    step = map_step(zeros, zeros[0], torch.zeros(32, 32, 1, 1), False, MapPolicy())
    assert bool((step > 0).all()) and bool(torch.isfinite(step).all())
