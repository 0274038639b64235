# SPDX-License-Identifier: Apache-2.0
"""Parts of an instruction: the same NORM, LINEAR or ATTENTION for some of its tokens or output tiles."""

from dataclasses import replace

from golden.spec.tiling import linear_tile_lines
from host.ir.nodes import Access, Memory, Node, Row


def span(access: Access) -> tuple[int, int]:
    """Groups [first, end) of an access."""
    return access.first, access.first + (access.region.count if access.count is None else access.count)


def _cut(access: Access, first: int, count: int, tokens: int) -> Access:
    """The part of an access that belongs to tokens [first, first + count) of ``tokens``."""
    start, end = span(access)
    return Access(access.region, start + first, count) if end - start == tokens else access


def _cut_all(accesses: tuple[Access, ...], first: int, count: int, tokens: int) -> tuple[Access, ...]:
    return tuple(_cut(access, first, count, tokens) for access in accesses)


def norm_part(norm: Node, first: int, count: int) -> Node:
    """The same NORM of tokens [first, first + count)."""
    tokens = norm.fields["tokens"]
    rows = {key: value.moved(first) for key, value in norm.fields.items() if isinstance(value, Row)}
    return replace(norm, fields=norm.fields | rows | {"tokens": count}, tokens=count,
                   reads=_cut_all(norm.reads, first, count, tokens),
                   writes=_cut_all(norm.writes, first, count, tokens))


def linear_part(linear: Node, tile: int, width: int, first: int, count: int) -> Node:
    """The same LINEAR for tokens [first, first + count) and tiles [tile, tile + width)."""
    tokens, whole = linear.fields["tokens"], linear.fields["tiles"]
    rows = {key: value.moved(first) for key, value in linear.fields.items() if isinstance(value, Row)}
    if tile:
        assert linear.writes[0].region.memory is Memory.RESIDUAL, "Only residual rows hold one tile each."
        rows["dst_row"] = rows["dst_row"].moved(0, tile)
    return replace(linear, fields=linear.fields | rows | {"tokens": count, "tiles": width}, tokens=count,
                   macs=linear.macs * count * width // (tokens * whole),
                   lines=linear.lines + tile * linear_tile_lines(linear.fields["slices"], linear.fields["packed"]),
                   reads=_cut_all(linear.reads, first, count, tokens),
                   writes=_cut_all(linear.writes, first, count, tokens))


def attention_part(attention: Node, first: int, count: int) -> Node:
    """The same ATTENTION for queries [first, first + count)."""
    queries = attention.fields["queries"]
    rows = {key: attention.fields[key].moved(first) for key in ("q_row", "dst_row")}
    (q, *memories), (out,) = attention.reads, attention.writes
    return replace(attention, fields=attention.fields | rows | {"queries": count}, tokens=count,
                   macs=attention.macs * count // queries,
                   reads=(Access(q.region, q.first + first, count), *memories),
                   writes=(Access(out.region, out.first + first, count),))
