# SPDX-License-Identifier: Apache-2.0
"""Weights, parameters and arithmetic fields of any value: sums wrap, scores and results saturate, and golden and RTL
agree on every byte of every instruction."""

import random
from copy import copy

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec import isa
from golden.spec.activations import ACT_SHIFT_MAX, BY_CODE
from golden.spec.isa import Dest, Opcode, Unit
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.program.image import Image
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.layout import prepare_input
from host.driver.session import Session
from sim.board.settings import DramSettings
from sim.trace import Tracer
from tests.e2e.support.programs import with_program, words_of

pytestmark = pytest.mark.rtl
LIMIT = 2_000_000
EVERY_UNIT = Unit.DMA | Unit.NORM | Unit.ARRAY | Unit.GATE


def planes(image: Image, rng: random.Random) -> tuple[bytes, ...]:
    """Other bytes for weights and parameters alike: any, only extremes, or the compiler's with a few others among them.
    None is -128: golden refuses it as a weight."""
    gen, kind, found = np.random.default_rng(rng.getrandbits(64)), rng.randrange(3), []
    for plane in image.planes:
        noise = gen.integers(0, 256, len(plane)) if kind != 1 else gen.choice([0, 1, 127, 129, 255], len(plane))
        kept = gen.random(len(plane)) < (0.98 if kind == 2 else 0)
        mixed = np.where(kept, np.frombuffer(plane, np.uint8), noise)
        found.append(np.where(mixed == 128, 129, mixed).astype(np.uint8).tobytes())
    return tuple(found)


def linear(f: dict, rng: random.Random) -> dict:
    new = {"shift1": rng.choice((rng.randint(0, 47), rng.randint(16, 34)))}
    if f["dst"] == Dest.GATE or f["retain_weights"] or f["reuse_weights"]:
        return new
    new |= {name: rng.randint(least, f[name]) for name, least in (("tokens", 0), ("tiles", 1), ("slices", 1))}
    new["packed"] = f["packed"] or int(new["slices"] % 2 == 0 and rng.random() < 0.3)  # never more lines than before
    if new["packed"]:
        new["slices"] += new["slices"] % 2
    if f["dst"] == Dest.RESIDUAL:
        new["accumulate"] = rng.getrandbits(1)
    if not f["gate_weight"]:
        new |= {"activation": rng.choice((0, rng.randrange(len(BY_CODE)))), "affine": rng.getrandbits(1),
                "act_shift": rng.randint(0, ACT_SHIFT_MAX)}
    if f["gate_weight"] or new["affine"]:
        new["shift2"] = rng.choice((rng.randint(0, 40), rng.randint(10, 30)))
    if rng.random() < 0.3:  # the same rows read as the other kind: planes, whose exponents mean nothing, or blocks
        new |= {"src_wide": 1 - f["src_wide"], "src_plane": 0, "src_unsigned": 0}
    return f | {"act_shift": 0, "shift2": 0} | new


def norm(f: dict, rng: random.Random) -> dict:
    return {"normalized_shift": rng.randint(0, 3), "shift": rng.choice((rng.randint(0, 31), rng.randint(8, 20))),
            "eps": rng.choice((0, f["eps"], (1 << 40) - 1, rng.getrandbits(40))), "blocks": rng.randint(1, f["blocks"])}


def attention(f: dict, rng: random.Random) -> dict:
    wide_p = rng.getrandbits(1)
    return {"shift1": rng.choice((rng.randint(0, 47), rng.randint(14, 26))), "wide_p": wide_p,
            "shift2": rng.choice((rng.randint(0, 40), rng.randint(8, 24))),
            "p_shift": rng.randint(0, 14), "keys": rng.randint(1, f["keys"])}


def gate(f: dict, rng: random.Random) -> dict:
    return {"multiplier": rng.getrandbits(16), "shift1": rng.choice((rng.randint(0, 63), rng.randint(20, 40))),
            "renormalise": rng.getrandbits(1), "top_k": rng.randint(1, f["top_k"])}


CHANGES = {Opcode.LINEAR: linear, Opcode.NORM: norm, Opcode.ATTENTION: attention, Opcode.GATE: gate}


def changed(image: Image, task: str, rng: random.Random) -> Image:
    """One instruction after the other, since what they touch is no longer what their ``wait`` was made for."""
    words = []
    for word in words_of(image, task):
        opcode, f = isa.decode(word)
        if opcode in CHANGES:
            f = f | CHANGES[opcode](f, rng)
        to_gate = opcode is Opcode.LINEAR and f["dst"] == Dest.GATE  # the gate is at work until it has come
        if opcode not in (Opcode.BEGIN, Opcode.END):
            f = f | {"wait": EVERY_UNIT & ~Unit.GATE if to_gate else EVERY_UNIT}
        words.append(isa.encode(opcode, **f))
    other = copy(image)
    object.__setattr__(other, "planes", planes(image, rng))
    return with_program(other, task, isa.assemble(words))


@pytest.mark.parametrize("seed", range(16))
def test_any_numbers_give_the_same_everywhere(seed, device):
    rng, config = random.Random(seed), MODELS["nano"]
    plan = getattr(Plan, rng.choice(("fast", "accurate")))(config.depth).with_bits(*rng.choices((8, 4), k=2))
    image, task = compile_model(random_int_model(config, plan, seed=1), NANO), rng.choice(config.tasks)
    other, entries = changed(image, task, rng), []
    picture = np.random.default_rng(seed).integers(0, 256, (config.image_height, config.image_width, 3), dtype=np.uint8)
    wanted = Session(other, GoldenDevice(NANO, trace=entries.append)).frame(picture, task).residuals[task]
    device.free()
    device.board.configure(DramSettings(latency=20))
    device.board.inject([])
    session = Session(other, device, job_limit=LIMIT)
    session.start(prepare_input(picture, image.input), task)
    Tracer(device.board, entries).run(LIMIT)
    assert np.array_equal(session.finish().residuals[task], wanted)
