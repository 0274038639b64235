# SPDX-License-Identifier: Apache-2.0
"""A weight of -128 is refused when an image is made or read, wherever a program could load it; other bytes are free."""

import time
from dataclasses import replace

import numpy as np
import pytest

from golden.iss.stream import Stream
from golden.spec import isa, machine, model
from golden.spec.isa import INSTRUCTION_BYTES, STREAM_LINES, Opcode
from golden.spec.machine import LINE, PARAM_LINES, SLICE_LINES
from golden.spec.program.container import Kind, pack, unpack
from golden.spec.program.image import BadWeight, Image
from golden.spec.program.weights import Found, Weights, find_forbidden, loaded
from tests.host.support.compiled import compiled

FAR = 1 << 28


def changed(planes, port, byte, value=0x80):
    plane = bytearray(planes[port])
    plane[byte] = value
    return tuple(bytes(plane) if p == port else other for p, other in enumerate(planes))


def multiplied(image, planes):
    """Every weight that a program may multiply by, as the instruction-set simulator reads them."""
    parts = [np.frombuffer(plane, np.uint8).reshape(-1, image.machine.line_bytes_per_port) for plane in planes]
    lines = np.concatenate(parts, axis=1)
    for task in image.programs:
        stream, body, part = Stream(image.machine, lambda first, count: lines[first:first + count]), 0, {}
        for word in image.words(task):
            opcode, f = isa.decode(word)
            if opcode is Opcode.EXPERTS:
                body, part = f["body"], f
            elif opcode is Opcode.LINEAR:
                for expert in range(part["experts"]) if body else [None]:
                    base = 0 if expert is None else part["stream"] + expert * part["pitch"]
                    yield stream.linear(f | {"stream": base + f["stream"]}).weight
            body -= bool(body) and opcode is not Opcode.EXPERTS


@pytest.mark.parametrize("target", [machine.NANO, machine.ZCU102], ids=lambda target: target.name)
@pytest.mark.parametrize("plan", ["fast", "accurate"])
def test_a_byte_is_refused_where_and_only_where_it_is_a_weight(plan, target):
    _, image = compiled(model.NANO, target, plan)
    rng, refused = np.random.default_rng(3), 0
    for _ in range(60):
        port, byte = int(rng.integers(target.ports)), int(rng.integers(len(image.planes[0])))
        planes = changed(image.planes, port, byte)
        if any((weights == -128).any() for weights in multiplied(image, planes)):
            with pytest.raises(BadWeight, match=f" -128 from byte {byte} of the plane of weight port {port}; "):
                replace(image, planes=planes)
            refused += 1
        else:
            assert replace(image, planes=planes).planes == planes
    assert 20 < refused < 60


def test_a_made_and_a_read_image_say_where():
    _, image = compiled(model.NANO, machine.NANO)
    task, at, experts = next((task, at, fields) for task in image.programs for at, word in enumerate(image.words(task))
                             for opcode, fields in [isa.decode(word)] if opcode is Opcode.EXPERTS)
    _, first = isa.decode(image.words(task)[at + 1])
    byte = (experts["stream"] + 2 * experts["pitch"] + first["stream"] + PARAM_LINES) * LINE + 5
    planes = changed(image.planes, 0, byte)
    name = image.symbols[task][at + 1].name
    words = (rf"In the program '{task}' instruction {at + 1} \({name}, expert 2\) takes the weight -128 "
             rf"from byte {byte} of the plane of weight port 0; weights lie in -127..127")
    with pytest.raises(BadWeight, match=words):
        replace(image, planes=planes)
    machine_print, model_print, sections = unpack(image.to_bytes())
    sections[Kind.PLANE] = list(planes)
    data = pack(machine_print, model_print, [(kind, body) for kind, bodies in sections.items() for body in bodies])
    with pytest.raises(BadWeight, match=words):
        Image.from_bytes(data)


def test_a_large_image_is_looked_through_in_no_time():
    _, image = compiled(model.M3VIT_TINY, machine.ZCU102)
    assert sum(map(len, image.planes)) > 18_000_000
    began = time.perf_counter()
    for data in image.programs.values():
        assert find_forbidden(loaded(data), image.planes, image.machine) is None
    assert time.perf_counter() - began < 0.8


# -- programs by hand

def linear(stream, **fields):
    return isa.encode(Opcode.LINEAR, **{"stream": stream, "tokens": 1, "tiles": 1, "slices": 1} | fields)


def program(*words):
    return isa.assemble([*words, isa.encode(Opcode.END)])


def places(*words):
    return [(w.index, w.expert, w.first, w.tiles, w.slices) for w in loaded(program(*words))]


def test_retained_weights_are_those_of_the_linear_that_loaded_them():
    assert places(linear(7, retain_weights=1), linear(100, reuse_weights=1, retain_weights=1),
                  linear(200, reuse_weights=1, reuse_offset=0), linear(50, tiles=2)) \
        == [(0, -1, 7, 1, 1), (3, -1, 50, 2, 1)]


def test_each_expert_counts_from_its_part_modulo_the_length_of_a_stream():
    experts = isa.encode(Opcode.EXPERTS, stream=STREAM_LINES - 8, experts=3, body=2, pitch=10)
    assert places(linear(1), experts, linear(9), linear(0, slices=2), linear(2)) == [
        (0, -1, 1, 1, 1), *((2, e, (1 + 10 * e), 1, 1) for e in range(3)),
        *((3, e, (10 * e - 8) % STREAM_LINES, 1, 2) for e in range(3)), (4, -1, 2, 1, 1)]


@pytest.mark.parametrize("word", [
    0, 8, linear(0) | 1 << 255, linear(0, tiles=0), linear(0, slices=0), isa.encode(Opcode.LOAD),
    isa.encode(Opcode.EXPERTS, experts=1, body=3), isa.encode(Opcode.EXPERTS, experts=0, body=1)],
    ids=["no opcode", "a field", "reserved bit", "no tiles", "no slices", "no rows", "END in a body", "no experts"])
def test_a_program_that_is_refused_loads_nothing(word):
    assert not places(linear(0), word, linear(5))


def test_a_program_without_an_end_loads_nothing_and_what_stands_behind_it_does_not_matter():
    assert not list(loaded(isa.assemble([linear(0)])))
    assert len(list(loaded(program(linear(0)) + b"\xff" * INSTRUCTION_BYTES))) == 1


def test_the_stream_does_not_depend_on_the_width_of_its_ports():
    """Two ports of 32 bytes and four of 16 carry the same lines; a program image keeps the planes."""
    streams = []
    for ports, port_bytes, max_burst in ((4, 16, 64), (2, 32, 16)):
        target = replace(machine.NANO, name=f"nano-{ports}", ports=ports, port_bytes=port_bytes, max_burst=max_burst)
        _, image = compiled(model.NANO, target, "fast")
        again = Image.from_bytes(image.to_bytes())
        assert again.planes == image.planes and again.machine == target and len(image.planes) == ports
        parts = [np.frombuffer(plane, np.uint8).reshape(-1, LINE // ports) for plane in again.planes]
        streams.append(np.concatenate(parts, axis=1))
    assert (streams[0] == streams[1]).all() and streams[0].any()


@pytest.mark.parametrize("ports, port_bytes", [(1, 16), (2, 16), (4, 16), (1, 32), (2, 32)])
def test_every_weight_of_every_tile_and_port_is_looked_at_and_no_parameter(ports, port_bytes):
    config = replace(machine.NANO, ports=ports, port_bytes=port_bytes)
    share, weights = LINE // ports, Weights(3, -1, 2, 3, 2)
    pitch = PARAM_LINES + 2 * SLICE_LINES
    planes = (bytes(share * (2 + 3 * pitch)),) * ports
    for line in range(2 + 3 * pitch):
        is_weight = line >= 2 and (line - 2) % pitch >= PARAM_LINES
        for port in range(ports):
            for byte in (line * share, (line + 1) * share - 1):
                found = find_forbidden([weights], changed(planes, port, byte), config)
                assert found == (Found(weights, port, byte) if is_weight else None)


@pytest.mark.parametrize("first", [FAR, STREAM_LINES - 1, 1000])
def test_what_lies_outside_the_planes_is_the_machines_to_refuse(first):
    planes = (b"\x80" * LINE * 20,)
    assert find_forbidden([Weights(0, -1, first, 255, 511)], planes, machine.NANO) is None
    assert find_forbidden([Weights(0, -1, 0, 255, 511)], planes, machine.NANO).byte == PARAM_LINES * LINE


def test_an_image_whose_instructions_mean_nothing_is_still_read():
    _, image = compiled(model.NANO, machine.NANO)
    task = next(iter(image.programs))
    planes = tuple(b"\x80" * len(plane) for plane in image.planes)
    words = image.words(task)
    words[1] |= 1 << 255
    with pytest.raises(BadWeight):
        replace(image, planes=planes)
    bad = replace(image, planes=planes, programs={name: isa.assemble(words) for name in [task]},
                  symbols={task: image.symbols[task]}, outputs={task: image.outputs[task]})
    assert Image.from_bytes(bad.to_bytes()) == bad
