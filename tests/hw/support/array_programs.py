# SPDX-License-Identifier: Apache-2.0
"""Random LINEARs and ATTENTIONs for the bench of the array control."""

from golden.spec.activations import ACT_SHIFT_MAX, BY_CODE
from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.isa import Dest, Index, Opcode, encode
from golden.spec.machine import MachineConfig
from golden.spec.tiling import SLICES_PER_ROW, ceil_div, window_slices
from tests.hw.support.array_model import Testbench


def linear(**fields) -> dict:
    known = {name: fields.pop(name, 0) for name in ("expert", "count")}
    return {"word": encode(Opcode.LINEAR, **fields), **known}


def random_window(cfg: MachineConfig, rng, **fields) -> dict:
    """A convolution of a small strip; ``fields`` are given, the others at random."""
    wide = int(rng.random() < 0.3)
    f = {"window": rng.choice([1, 1, 1, 2, 3, 4]), "width": rng.choice([cfg.tm, rng.randint(1, 2 * cfg.tm + 1)]),
         "lines": rng.randint(1, 2), "pitch": rng.randrange(1024), "edges": rng.randrange(16),
         "src_row": rng.randrange(1 << 16), "src_stride": rng.randrange(256), "src_plane": rng.randrange(256),
         "src_wide": wide,
         "src_unsigned": int(not wide and rng.random() < 0.7), "tiles": rng.randint(1, 2),
         "dst": rng.choice([Dest.UNSIGNED8, Dest.UNSIGNED8, Dest.OPERAND16, Dest.RESIDUAL, Dest.VALUE]),
         "dst_row": rng.randrange(1 << 16), "dst_stride": rng.randrange(256), "dst_plane": rng.randrange(256)} | fields
    while window_slices(f["window"]) > cfg.ring_rows // cfg.steps:  # a tile's weights fit the ring
        f["window"] -= 1
    f.setdefault("packed", rng.getrandbits(1))
    f |= random_block(cfg, rng, f | {"slices": window_slices(f["window"])})
    return linear(**f, tokens=f["width"] * f["lines"], slices=window_slices(f["window"]))


def random_block(cfg: MachineConfig, rng, f: dict) -> dict:
    """Any size of a block of output tiles for which ring and lane buffers have room."""
    rows, stored = ceil_div(f["slices"], SLICES_PER_ROW) * (1 + f["src_wide"]), f["slices"] >> f["packed"]
    return {"block": rng.choice([block for block in range(MAX_BLOCK) if block == 0 or (
        rows <= 2 * cfg.lane_rows and min(f["tiles"], block + 1) * stored * cfg.steps <= cfg.ring_rows)])}


def random_linear(rng, tb: Testbench) -> dict:
    dst = rng.choice(list(Dest))
    wide = rng.random() < 0.4
    fields = {
        "tokens": max(0, rng.randint(-1, 3 * tb.config.tm + 1)), "tiles": rng.choice([1, 2, 3, 4, 5, 9]),
        "slices": rng.choice([1, 2, 3, 4, 5, 8, 9]),
        "src_row": rng.randrange(1 << 16), "src_stride": rng.randrange(256), "src_plane": rng.randrange(256),
        "src_wide": wide, "src_unsigned": not wide and rng.random() < 0.3, "dst": dst,
        "dst_row": rng.randrange(1 << 16), "dst_stride": rng.randrange(256), "dst_plane": rng.randrange(256),
        **{name: rng.getrandbits(1) for name in ("accumulate", "affine", "gate_weight")},
        "activation": rng.randrange(len(BY_CODE)),
        "shift1": rng.randint(0, 47), "shift2": rng.randint(0, 40), "act_shift": rng.randint(0, ACT_SHIFT_MAX)}
    fields["packed"] = rng.getrandbits(1)
    fields["slices"] += fields["slices"] & fields["packed"]
    expert = rng.randrange(64)
    fields["gate_weight"] = 0
    if dst == Dest.GATE:
        fields["tiles"] = min(fields["tiles"], 3)
    fields |= random_block(tb.config, rng, fields)
    if dst in (Dest.RESIDUAL, Dest.OPERAND8, Dest.OPERAND16) and rng.random() < 0.6:
        count = rng.randint(1, 2 * tb.config.tm + 1)
        tb.queues[expert] = [(rng.randrange(4096), rng.randrange(1 << 16)) for _ in range(count)]
        if rng.random() < 0.5:
            fields |= {"src_index": Index.QUEUE_TOKEN, "dst_index": Index.QUEUE_SLOT, "tokens": 0}
        else:
            fields |= {"src_index": Index.QUEUE_SLOT, "dst_index": Index.QUEUE_TOKEN, "gate_weight": 1, "tokens": 0}
        return linear(**fields, expert=expert, count=count)
    return linear(**fields)


def random_attention(rng, tb: Testbench) -> dict:
    class_scores = int(rng.random() < 0.3)
    return {"word": encode(
        Opcode.ATTENTION, heads=rng.randint(1, 3), head_slices=rng.choice([2, 2, 4, 4, 6, 8]),
        class_scores=class_scores, queries=1 if class_scores else rng.randint(1, 2 * tb.config.tm + 1),
        keys=rng.choice([1, 16, 17, 32, 33, 64, 65, 70]),
        q_row=rng.randrange(1 << 16), q_stride=rng.randrange(256), key_tile=rng.randrange(1024),
        key_pitch=rng.randrange(256), value_tile=rng.randrange(1024), dst_row=rng.randrange(1 << 16),
        dst_stride=rng.randrange(256), dst_plane=rng.randrange(256), wide_p=rng.getrandbits(1),
        wide=rng.getrandbits(1), p_shift=rng.randrange(16), shift1=rng.randint(0, 47), shift2=rng.randint(0, 40))}


def random_program(rng, tb: Testbench, length: int) -> list[dict]:
    """LINEARs and ATTENTIONs. An expert's queue keeps its entries: each instruction has its own expert."""
    program = []
    while len(program) < length:
        kind = rng.random()
        if kind < 0.3:
            program.append(random_attention(rng, tb))
        elif kind < 0.5:
            program.append(random_window(tb.config, rng))
        else:
            before = dict(tb.queues)
            issue = random_linear(rng, tb)
            if issue.get("expert") in before:
                tb.queues = before
            else:
                program.append(issue)
    return program
