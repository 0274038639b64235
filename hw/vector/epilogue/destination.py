# SPDX-License-Identifier: Apache-2.0
"""Destination of a result: clipping of its values, and their address."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data

from golden.spec.machine import SLICE, TN, MachineConfig
from golden.spec.tables import UNSIGNED_MAX, WEIGHT_MAX
from hw.interfaces import ROW_BITS, TOKEN_BITS, Route
from hw.lib.pipeline import delay
from hw.vector.epilogue.write_back import TILE_BITS

PLACE = data.StructLayout({"tile": TILE_BITS, "place": 5, "low_row": ROW_BITS, "beyond": 1})
"""K or V tile and place within it, row of the low plane; one of them lies ``beyond`` its memory."""
PLACE_LATENCY = 3


def clipped(m, values, route, latency: int) -> list:
    """``sat16`` for OPERAND16, [-127, 127] for KEY and VALUE, [0, 255] for UNSIGNED8, ``latency`` cycles later;
    RESIDUAL keeps 17 bits."""
    is_byte = (route == Route.KEY) | (route == Route.VALUE)
    is_word, is_map = route == Route.OPERAND16, route == Route.UNSIGNED8
    results = []
    for n, value in enumerate(values):
        high = Mux(is_byte, WEIGHT_MAX, Mux(is_map, UNSIGNED_MAX, Mux(is_word, (1 << 15) - 1, (1 << 16) - 1)))
        low = Mux(is_byte, -WEIGHT_MAX, Mux(is_map, 0, Mux(is_word, -(1 << 15), -(1 << 16))))
        clip = Signal.like(value, name=f"clip_{n}", reset_less=True)
        m.d.sync += clip.eq(Mux(value > high, high, Mux(value < low, low, value)))
        results.append(delay(m, clip, latency - 1, f"clip_{n}"))
    return results


def place(m, cfg: MachineConfig, factors, product, total) -> data.View:
    """PLACE of a beat: ``factors``, ``product``, ``total`` are its fields PLACE_LATENCY, 2 and 1 cycles ahead."""
    tile_factor, pitch = Signal(8, reset_less=True), Signal(8, reset_less=True)
    tiles, inner = Signal(16, name="place_tiles", reset_less=True), Signal(TOKEN_BITS, reset_less=True)
    key_log2, value_log2 = TN.bit_length() - 1, SLICE.bit_length() - 1
    m.d.sync += [
        tile_factor.eq(Mux(factors.route == Route.KEY, factors.token[key_log2:], factors.tile)),
        pitch.eq(factors.pitch), tiles.eq(tile_factor * pitch),
        inner.eq(Mux(product.route == Route.KEY, Cat(product.part[-1], product.tile), product.token[value_log2:])
                 + product.base),
    ]
    result, tile, low_row = Signal(PLACE, name="place", reset_less=True), Signal(17), Signal(ROW_BITS + 1)
    is_key = total.route == Route.KEY
    m.d.comb += [tile.eq(tiles + inner), low_row.eq(total.row + total.pitch)]
    m.d.sync += [
        result.tile.eq(tile), result.low_row.eq(low_row),
        result.place.eq(Mux(is_key, total.token[:key_log2], total.token[:value_log2])),
        result.beyond.eq(Mux(is_key | (total.route == Route.VALUE), tile >= cfg.kv_tiles,
                             (total.route == Route.OPERAND16) & low_row[-1])),
    ]
    return result
