# SPDX-License-Identifier: Apache-2.0
"""Random programs for the benches of the control units, and what they mean."""

from golden.spec.isa import FORMATS, LIMITS, MAGIC, Opcode, encode
from golden.spec.machine import ABI_VERSION, MachineConfig

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


def program(cfg: MachineConfig, words: list[int]) -> list[int]:
    """``words`` between BEGIN and END."""
    return [begin(cfg, len(words) + 2), *words, encode(Opcode.END)]
