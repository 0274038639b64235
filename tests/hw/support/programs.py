# SPDX-License-Identifier: Apache-2.0
"""Random programs for the benches of the control units, and what they mean."""

from golden.spec.isa import FORMATS, LIMITS, MAGIC, Dest, Opcode, encode
from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.tiling import window_slices

PLAIN = (Opcode.LOAD, Opcode.STORE, Opcode.COPY, Opcode.NORM, Opcode.LINEAR, Opcode.ATTENTION, Opcode.GATE)


def begin(cfg: MachineConfig, count: int, **other) -> int:
    return encode(Opcode.BEGIN, **({"magic": MAGIC, "abi": ABI_VERSION, "fingerprint": cfg.fingerprint, "count": count}
                                   | other))


def random_word(rng, opcode: Opcode, **fixed) -> int:
    """A legal instruction with every field at random inside its limits."""
    limits = LIMITS.get(opcode, {})
    fields = {}
    for field in FORMATS[opcode].fields[1:]:
        low, high = limits.get(field.name, (field.low, field.high))
        fields[field.name] = rng.choice([low, high, rng.randint(low, high)])
    return encode(opcode, **(fields | fixed))


TAME = {**dict.fromkeys(("row", "src_row", "q_row"), (0, 60)), "dst_row": (100, 130), "normalized_row": (230, 250),
        "rows": (1, 40), **dict.fromkeys(("tokens", "queries"), (1, 8)), "keys": (1, 16), "head_slices": (2, 2),
        "heads": (1, 2), **dict.fromkeys(("src_stride", "q_stride"), (0, 4)), "slices": (1, 8), "blocks": (1, 4),
        **dict.fromkeys(("dst_stride", "normalized_stride"), (10, 12)), "tiles": (1, 2), "src_plane": (0, 8),
        **dict.fromkeys(("dst_plane", "normalized_plane"), (2, 8)),
        **dict.fromkeys(("key_tile", "value_tile", "key_pitch"), (0, 2)), "dst": (Dest.RESIDUAL, Dest.OPERAND16),
        **dict.fromkeys(("src_index", "dst_index", "src_unsigned", "gate_weight", "retain_weights", "reuse_weights",
                         "reuse_offset"), (0, 0)), "block": (0, 7),
        **dict.fromkeys(("width", "lines"), (2, 3)), "pitch": (3, 5), "edges": (0, 15), "class_scores": (0, 1),
        "score_row": (100, 130), "keep": (1, 8), "first": (0, 1)}
"""Ranges in which every instruction but GATE fits every machine, wherever it stands."""
OUTSIDE_THE_GATE = (*(opcode for opcode in PLAIN if opcode is not Opcode.GATE), Opcode.UPSAMPLE, Opcode.KEEP)
NO_WINDOW = dict.fromkeys(("window", "width", "lines", "pitch", "edges"), 0)


def window(rows: int, f: dict[str, int]) -> dict[str, int]:
    """Fields of a convolution over ``rows`` operand rows that follow from the others."""
    return {"window": rows, "tokens": f["width"] * f["lines"], "slices": window_slices(rows), "src_index": 0,
            "dst_index": 0, "gate_weight": 0, "block": 0}


def tame_word(rng, opcode: Opcode, **fixed) -> int:
    """An instruction that no machine refuses; ``fixed`` fields may be anything."""
    fields = {field.name: rng.randint(*TAME[field.name]) for field in FORMATS[opcode].fields if field.name in TAME}
    if opcode is Opcode.COPY:
        fields["dst_row"] = fields["src_row"] + fields["rows"]
    if opcode is Opcode.LINEAR:
        fields |= rng.choice([NO_WINDOW, window(1, fields) | {"src_stride": 1}])
        fields["packed"] = rng.getrandbits(1)
        fields["slices"] += fields["slices"] & fields["packed"]
    if opcode is Opcode.UPSAMPLE:
        fields["rows"] = rng.randint(1, 2)
    if opcode is Opcode.KEEP:
        fields["tokens"] = fields["keep"]
    if opcode is Opcode.ATTENTION and fields["class_scores"]:
        fields["queries"] = 1
    return random_word(rng, opcode, **(fields | fixed))


def program(cfg: MachineConfig, words: list[int]) -> list[int]:
    """``words`` between BEGIN and END."""
    return [begin(cfg, len(words) + 2), *words, encode(Opcode.END)]
