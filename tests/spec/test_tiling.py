# SPDX-License-Identifier: Apache-2.0
"""Layouts: every byte has one place, lines hold their bytes."""

import pytest

from golden.spec import machine, tiling


def test_key_tiles_cover_every_byte_once():
    tokens, slices, tile_bytes = 70, 4, set()
    for token in range(tokens):
        for s in range(slices):
            tile_bytes.add(tiling.key_tile(3, slices, token, s))
    assert len(tile_bytes) == tokens * slices
    tiles = {tile for tile, _ in tile_bytes}
    assert tiles == set(range(3, 3 + tiling.tiles(tokens) * slices)) and max(c for _, c in tile_bytes) == machine.TN - 1


def test_value_tiles_cover_every_byte_once():
    tokens, pitch = 70, tiling.slices(70)
    places = {tiling.value_tile(5, pitch, token, tile) for token in range(tokens) for tile in range(3)}
    assert len(places) == tokens * 3 and {tile for tile, _ in places} == set(range(5, 5 + 3 * pitch))
    assert {p for _, p in places} == set(range(machine.SLICE))


@pytest.mark.parametrize(("channels", "operand", "residual", "slices", "tiles"),
                         [(1, 1, 1, 1, 1), (64, 1, 2, 4, 2), (65, 2, 3, 5, 3), (192, 3, 6, 12, 6)])
def test_rows_round_up(channels, operand, residual, slices, tiles):
    assert (tiling.operand_rows(channels), tiling.residual_rows(channels), tiling.slices(channels),
            tiling.tiles(channels)) == (operand, residual, slices, tiles)


def test_stream_lines_hold_their_bytes():
    assert tiling.linear_lines(6, 12) * machine.LINE == 6 * 32 * machine.PARAM_BYTES + 192 * 192
    assert tiling.norm_lines(6, machine.NANO) * machine.LINE == 192 * machine.NORM_PARAM_BYTES
    assert tiling.attention_lines(3, 4, machine.NANO) == 1 + 192 * machine.PARAM_BYTES // machine.LINE
    assert tiling.attention_lines(2, 2, machine.NANO) == 1 + 64 * machine.PARAM_BYTES // machine.LINE
