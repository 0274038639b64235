# SPDX-License-Identifier: Apache-2.0
"""Token pruning: what a user asks for, and the attention of a block that keeps the tokens its class token pays to.

    norm1 | Q of the class token | K | its scores over K | KEEP | V        | norm1 of the kept | their Q | attention ...
                                                          DMA    array      norm                 array

The scores need K and one query, so the rest of the attention is made for the kept tokens only: no later step reads the
other results. V of all tokens occupies the array while KEEP moves rows and the norm reads them.
"""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import floor
from typing import TYPE_CHECKING

from golden.ops.keep import CLASS_PARAMETERS
from golden.spec.isa import Dest, Opcode
from golden.spec.machine import SLICE
from golden.spec.model import ConfigError, ModelConfig, require
from golden.spec.program.outputs import kept_name
from golden.spec.tiling import residual_rows, slices, tiles
from host.compiler import weight_stream as lay
from host.ir.nodes import Access, Memory, Region, Row

if TYPE_CHECKING:
    from host.compiler.lower import Lowering


def pruned(config: ModelConfig, text: str) -> ModelConfig:
    """The same network with tokens kept as ``text`` says: ``3:0.7,6:0.7,9:0.7`` keeps in the blocks 3, 6 and 9 seven
    tenths of the patches that came in, rounded down; ``3:137`` keeps 137. Raises :class:`ConfigError`."""
    found, left = [], config.patches
    for part in text.split(","):
        layer, colon, share = (piece.strip() for piece in part.partition(":"))
        try:
            block, amount = int(layer), Fraction(share)
        except (ValueError, ZeroDivisionError):
            raise ConfigError(f"Give each block that keeps tokens and how many, like 3:0.7,6:0.7 or 3:137, not "
                              f"{part.strip()!r}.") from None
        share_of_all = "." in share or "/" in share
        require(not share_of_all or 0 < amount <= 1,
                f"A block keeps a share of its patches above 0 and at most 1, like 3:0.7, or a number of them, like "
                f"3:137; {part.strip()!r} is neither.")
        left = floor(amount * left) if share_of_all else int(amount)
        found.append((block, left))
    return replace(config, keep=tuple(found))


def prune(low: "Lowering", i: int, a: Region) -> Region:
    """Attention of block ``i`` on normalized tokens ``a``, before the projection; it keeps some tokens. Only programs
    of one task and one picture prune."""
    c, b, plan, keys, at = low.config, f"blocks.{i}.", low.plan.layers[i], low.left, f"blocks.{i}.attn"
    assert low.copies == 1, "The tokens of several copies would not follow each other."
    square = partial(low.linear, outputs=c.dim, inputs=c.dim)
    first = low.operand(f"{at}.class", 1, c.dim)
    q_shift = low.number(f"{at}.q.shift")
    low.nodes.append(replace(square(f"{at}.q", a, first, Dest.OPERAND8, tokens=1, shift1=q_shift), name=f"{at}.class"))
    k = Region(f"{at}.k", Memory.KEY, tiles(keys), slices(c.dim))
    v = Region(f"{at}.v", Memory.VALUE, tiles(c.dim), slices(keys))
    low.nodes.append(square(f"{at}.k", a, k, Dest.KEY, tokens=keys, shift1=low.number(f"{at}.k.shift")))
    paid = _scores(low, at, first, k, keys)
    _keep(low, i, paid, keys)
    low.nodes.append(square(f"{at}.v", a, v, Dest.VALUE, tokens=keys, shift1=low.number(f"{at}.v.shift")))
    line = next(o.offset for o in low.outputs if o.name == kept_name(i))
    low.store(kept_name(i), paid, 0, tiles(low.left), line)  # waits for KEEP, while the array is busy
    kept = low.norm(f"{b}norm1", plan.norm1, low.left)
    low.nodes[-1].name = f"{b}norm1.kept"
    q, out = low.operand(f"{at}.q", low.left, c.dim), low.operand(f"{at}.out", low.left, c.dim, plan.attn)
    low.nodes.append(square(f"{at}.q", kept, q, Dest.OPERAND8, tokens=low.left, shift1=q_shift))
    low.attention(i, q, k, v, out, 0, low.left, keys)
    return out


def _scores(low: "Lowering", at: str, first: Region, k: Region, keys: int) -> Region:
    """What the class token, the query in ``first``, pays to each of ``keys``: 32 a row."""
    c, paid = low.config, Region(f"{at}.paid", Memory.RESIDUAL, tiles(keys), 1)
    payload = low.payload(f"{at}.paid", lambda: lay.attention(
        low.machine, low.t(f"{at}.score_multiplier"), CLASS_PARAMETERS["gain"], CLASS_PARAMETERS["offset"]))
    low.add(Opcode.ATTENTION, f"{at}.paid", payload=payload, macs=keys * c.dim, tokens=1,
            reads=(Access(first), Access(k)), writes=(Access(paid),), fields={
                "class_scores": 1, "heads": c.heads, "head_slices": c.head_dim // SLICE, "queries": 1, "keys": keys,
                "q_row": Row(first), "q_stride": first.stride, "key_tile": Row(k), "key_pitch": k.stride,
                "dst_row": Row(paid), "wide_p": 1, "shift1": low.number(f"{at}.score_shift"),
                "shift2": CLASS_PARAMETERS["shift2"]})
    return paid


def _keep(low: "Lowering", i: int, paid: Region, keys: int) -> None:
    """KEEP: the residual stream of the tokens that stay, and their numbers in place of the scores."""
    c, b = low.config, f"blocks.{i}."
    low.left = c.tokens_after(i)
    low.add(Opcode.KEEP, f"{b}keep", tokens=keys, reads=(Access(paid), Access(low.x, 0, keys)),
            writes=(Access(paid, 0, tiles(low.left)), Access(low.x, 0, low.left)), fields={
                "score_row": Row(paid), "row": Row(low.x), "blocks": residual_rows(c.dim), "tokens": keys,
                "first": c.extra_tokens, "keep": low.left})
