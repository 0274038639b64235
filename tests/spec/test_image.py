# SPDX-License-Identifier: Apache-2.0
"""The program image: round trips, every changed byte noticed, refusals by name whatever comes."""

import json
import random
import struct
import zlib
from dataclasses import replace

import pytest

from golden.spec import isa, machine, model
from golden.spec.machine import PAGE
from golden.spec.program import container, image
from golden.spec.program.container import BadChecksum, BadMagic, BadSection, BadVersion, Kind, ProgramError, Truncated
from golden.spec.program.image import BadMetadata, Image, NoSuchTask, Symbol, WrongMachine, WrongModel
from golden.spec.program.outputs import OutputBuffer, expected
from golden.spec.quantized import Plan


def program(*opcodes):
    return isa.assemble([isa.encode(opcode) for opcode in opcodes])


def small_image(**changes):
    """An image as small as can be: no weights to speak of."""
    config = model.NANO
    opcodes = (isa.Opcode.BEGIN, isa.Opcode.NORM, isa.Opcode.END)
    symbols = tuple(Symbol(f"s{i}", opcode.name, i, 10 * i, 100 * i) for i, opcode in enumerate(opcodes))
    values = {
        "machine": machine.NANO, "model": config, "plan": Plan.fast(2),
        "programs": {"task0": program(*opcodes), "task1": program(*opcodes), "task0+task1": program(*opcodes)},
        "planes": (bytes(range(64)) * 3,), "tables": b"t" * 128,
        "symbols": {task: symbols for task in ("task0", "task1", "task0+task1")},
        "input": {"height": 32, "width": 64, "channels": 3, "patch": 8, "window": 0, "row_bytes": 64, "rows": 3,
                  "bytes": 32 * 192},
        "outputs": {"+".join(tasks): OutputBuffer(tuple(expected(config, Plan.fast(2), tasks)), 66 * len(tasks))
                    for tasks in (("task0",), ("task1",), ("task0", "task1"))}}
    return Image(**(values | changes))


GOOD = small_image().to_bytes()


def sections(data):
    """The parts of a container, and a function that puts changed ones together with right checksums."""
    prints = container.unpack(data)
    return [(kind, body) for kind, bodies in prints[2].items() for body in bodies], prints[:2]


def rebuilt(change_metadata=None, change_sections=None):
    """The good image after a change, checksums repaired."""
    parts, (machine_print, model_print) = sections(GOOD)
    if change_metadata:
        meta = json.loads(parts[0][1])
        meta = change_metadata(meta) or meta
        parts[0] = (Kind.METADATA, meta if isinstance(meta, bytes) else json.dumps(meta).encode())
    if change_sections:
        parts = change_sections(parts) or parts
    return container.pack(machine_print, model_print, parts)


def test_round_trip_is_exact():
    image = Image.from_bytes(GOOD)
    assert image == small_image() and image.to_bytes() == GOOD
    assert image.stream_lines == 3 and len(GOOD) % PAGE == 0
    assert image.words("task1")[2] & 15 == isa.Opcode.END
    assert image.tasks() == ("task0",) and image.tasks("task0+task1") == ("task0", "task1")
    assert image.output_bytes("task0+task1") == 2 * image.output_bytes()


def test_sections_start_on_pages():
    parts, _ = sections(GOOD)
    entry = struct.Struct("<HHIQQ")
    for i in range(len(parts)):
        _, _, _, offset, size = entry.unpack_from(GOOD, container._HEADER.size + i * entry.size)
        assert offset % PAGE == 0 and GOOD[offset:offset + size] == parts[i][1]


def test_unknown_task_is_named():
    with pytest.raises(NoSuchTask, match="programs for .*'task0'.*not for 'depth'"):
        small_image().program("depth")


def test_every_changed_byte_is_noticed():
    rng = random.Random(5)
    end = container._HEADER.size + 6 * 24
    places = [*range(end + 8), *(rng.randrange(len(GOOD)) for _ in range(3000)), len(GOOD) - 1]
    for place in places:
        bad = bytearray(GOOD)
        bad[place] ^= 1 << rng.randrange(8)
        with pytest.raises(ProgramError):
            Image.from_bytes(bytes(bad))


def test_every_length_is_noticed():
    for size in [*range(0, 300), *range(300, len(GOOD), 997), len(GOOD) - 1, len(GOOD) + 1, len(GOOD) + PAGE]:
        with pytest.raises((Truncated, BadMagic)):
            Image.from_bytes((GOOD + bytes(PAGE))[:size])


def entry_edit(number, place, value, form):
    """The good file with one field of a section's entry replaced and the header's checksum repaired."""
    data = bytearray(GOOD)
    struct.pack_into(form, data, container._HEADER.size + number * 24 + place, value)
    return seal(data)


def header_edit(place, value, form):
    data = bytearray(GOOD)
    struct.pack_into(form, data, place, value)
    return seal(data)


def seal(data):
    head = container._HEADER.size
    count = struct.unpack_from("<I", data, 12)[0]
    crc = zlib.crc32(bytes(data[:head - 4]) + bytes(data[head:head + count * 24]))
    struct.pack_into("<I", data, head - 4, crc)
    return bytes(data)


def drop(kind):
    return lambda parts: [part for part in parts if part[0] is not kind]


def put(path, value):
    """A change of the metadata at a path of keys."""
    def change(meta):
        at = meta
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
    return change


def remove(*path):
    def change(meta):
        at = meta
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]
    return change


@pytest.mark.parametrize("data, error, words", [
    (b"", BadMagic, "starts with"),
    (b"PK\x03\x04" + bytes(5000), BadMagic, "starts with"),
    (GOOD[:100], Truncated, "at least"),
    (GOOD[:-PAGE], Truncated, "promises"),
    (GOOD + bytes(PAGE), Truncated, "promises"),
    (header_edit(8, 9, "<H"), BadVersion, "container version 2; the file has 9"),
    (header_edit(10, 77, "<H"), BadVersion, "compiled for 77"),
    (header_edit(12, 1 << 31, "<I"), BadSection, "at most"),
    (header_edit(12, 5, "<I"), BadChecksum, "fill|zero|CRC"),
    (header_edit(32, 1 << 50, "<Q"), BadSection, "at most"),
    (header_edit(16, 1, "<Q"), WrongMachine, "header names the machine"),
    (header_edit(24, 1, "<Q"), WrongModel, "header names the model"),
    (entry_edit(0, 0, 99, "<H"), BadSection, "unknown kind 99"),
    (entry_edit(2, 2, 5, "<H"), BadSection, "must be PROGRAM 1"),
    (entry_edit(1, 8, 3 * PAGE + 1, "<Q"), BadSection, "must start at"),
    (entry_edit(1, 8, 1 << 60, "<Q"), BadSection, "must start at"),
    (entry_edit(0, 16, 1 << 60, "<Q"), BadSection, "claims"),
    (entry_edit(1, 4, 1, "<I"), BadChecksum, "damaged"),
    (rebuilt(None, drop(Kind.METADATA)), BadSection, "METADATA"),
    (rebuilt(None, drop(Kind.TABLES)), BadSection, "TABLES"),
    (rebuilt(None, drop(Kind.PLANE)), BadSection, "PLANE"),
    (rebuilt(None, drop(Kind.PROGRAM)), BadSection, "PROGRAM"),
    (rebuilt(None, lambda p: p + [(Kind.TABLES, b"")]), BadSection, "TABLES"),
    (rebuilt(None, lambda p: p + [(Kind.PLANE, bytes(192))]), BadSection, "1 weight ports; the image holds 2"),
    (rebuilt(None, lambda p: p[:1] + [(Kind.PROGRAM, bytes(96))] + p[1:]), BadSection, "3 programs; the image holds 4"),
    (rebuilt(None, lambda p: p[:-1] + [(Kind.PLANE, bytes(63))]), BadSection, "multiple of 64"),
    (rebuilt(None, lambda p: [(k, b"x" if k is Kind.TABLES else d) for k, d in p]), BadSection, "lines of 64"),
    (rebuilt(None, lambda p: [(k, d[:-1] if k is Kind.PROGRAM else d) for k, d in p]), BadSection, "instructions"),
    (rebuilt(None, lambda p: [(k, d[:32] if k is Kind.PROGRAM else d) for k, d in p]), BadSection, "instructions"),
    (rebuilt(None, lambda p: [(k, d * 99 if k is Kind.PROGRAM else d) for k, d in p]), BadSection, "2 to 128"),
    (rebuilt(lambda m: b"\xff\xfe"), BadMetadata, "not JSON"),
    (rebuilt(lambda m: b"{"), BadMetadata, "not JSON"),
    (rebuilt(lambda m: b"[" * 100000), BadMetadata, "not JSON"),
    (rebuilt(lambda m: b"[]"), BadMetadata, "must be an object"),
    (rebuilt(lambda m: b'{"a": NaN}'), BadMetadata, "NaN"),
    (rebuilt(remove("plan")), BadMetadata, "keys"),
    (rebuilt(put(["extra"], 1)), BadMetadata, "keys"),
    (rebuilt(put(["machine"], 3)), BadMetadata, "numbers called"),
    (rebuilt(put(["machine", "tm"], 3)), BadMetadata, "tm must be"),
    (rebuilt(put(["machine", "tm"], True)), BadMetadata, "numbers called"),
    (rebuilt(put(["machine", "tm"], 4)), WrongMachine, "header names"),
    (rebuilt(put(["model", "dim"], 65)), BadMetadata, "dim"),
    (rebuilt(put(["model", "dim"], "64")), BadMetadata, "dim"),
    (rebuilt(put(["model", "name"], "other")), WrongModel, "'other'"),
    (rebuilt(put(["plan"], [])), BadMetadata, "plan"),
    (rebuilt(put(["programs"], {})), BadMetadata, "list"),
    (rebuilt(put(["programs", 0, "task"], "task1")), BadMetadata, "twice"),
    (rebuilt(put(["programs", 0, "task"], 7)), BadMetadata, "task"),
    (rebuilt(put(["programs", 0, "symbols", 0], [1])), BadMetadata, "two texts"),
    (rebuilt(remove("programs", 0, "symbols", 0)), BadMetadata, "one by one"),
    (rebuilt(put(["programs", 0, "symbols", 1, 1], "LINEAR")), BadMetadata, "one by one"),
    (rebuilt(put(["symbol_fields"], [])), BadMetadata, "fields"),
    (rebuilt(put(["input", "rows"], 4)), BadMetadata, "input"),
    (rebuilt(put(["input", "bytes"], -1)), BadMetadata, "count"),
    (rebuilt(put(["outputs"], [])), BadMetadata, "outputs must be an object"),
    (rebuilt(remove("outputs", "task1")), BadMetadata, "same tasks"),
    (rebuilt(put(["outputs", "task0", "lines"], 65)), BadMetadata, "take 66 lines; the output buffer has 65"),
    (rebuilt(put(["outputs", "task0", "lines"], (1 << 32) - 1)), BadMetadata, "absurd"),
    (rebuilt(put(["outputs", "task0", "lines"], 1 << 32)), BadMetadata, "count of lines"),
    (rebuilt(put(["outputs", "task0", "outputs"], [])), BadMetadata, "outputs must be .*features of task0"),
    (rebuilt(put(["outputs", "task0", "outputs", 0, "frac"], 1.5)), BadMetadata, "counts to"),
    (rebuilt(put(["outputs", "task0", "outputs", 0, "frac"], 8)), BadMetadata, "frac 9.*frac 8"),
    (rebuilt(put(["outputs", "task0", "outputs", 0, "offset"], 1)), BadMetadata, "line 0.*line 1"),
    (rebuilt(put(["outputs", "task0", "outputs", 0, "tiles"], [1])), BadMetadata, "tiles of output 'features'"),
    (rebuilt(put(["outputs", "task0", "outputs", 0, "name"], 3)), BadMetadata, "texts to"),
    (rebuilt(put(["programs", 0, "task"], "other")), BadMetadata, "same tasks"),
])
def test_malformed_images_are_refused_by_name(data, error, words):
    with pytest.raises(error, match=words) as caught:
        Image.from_bytes(data)
    assert type(caught.value) is error and len(str(caught.value)) > 20


def mutate(rng, value):
    """A neighbour of a JSON value: of another type, size or shape."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        kind = rng.randrange(4)
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        if kind == 1:
            return value | {rng.choice(["x", "name", "task", ""]): rng.choice([None, 0, []])}
        return value | {key: mutate(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        kind = rng.randrange(4)
        if kind == 0:
            return value[:at] + value[at + 1:]
        if kind == 1:
            return value[:at] + [value[at]] + value[at:]
        return value[:at] + [mutate(rng, value[at])] + value[at + 1:]
    return rng.choice([None, True, -1, 0, 1, 2, 3, 64, 2**31, 10**40, 1e308, 0.5, "", "task0", [], {}, [[]], {"a": 1}])


def test_structural_fuzz_meets_named_errors_only():
    rng, refused = random.Random(11), 0
    for _ in range(1500):
        def change(meta):
            for _ in range(rng.choice([1, 1, 2, 3])):
                meta = mutate(rng, meta)
            return meta if isinstance(meta, dict) else json.dumps(meta).encode()

        data = rebuilt(change)
        try:
            image = Image.from_bytes(data)
        except ProgramError:
            refused += 1
        else:  # harmless changes, such as another symbol name, stay what they are
            assert Image.from_bytes(image.to_bytes()) == image
    assert refused > 1000


def test_fuzz_of_headers_with_repaired_checksums():
    rng, end = random.Random(12), container._HEADER.size + 6 * 24
    for _ in range(1500):
        data = bytearray(GOOD)
        for _ in range(rng.choice([1, 2])):
            place = rng.randrange(8, end)
            data[place] = rng.choice([0, 1, 255, rng.randrange(256)])
        count = struct.unpack_from("<I", data, 12)[0]
        data = seal(data) if count < 1000 else bytes(data)
        if data == GOOD:
            continue
        with pytest.raises(ProgramError):
            Image.from_bytes(data)


def test_an_impossible_image_cannot_be_made():
    with pytest.raises(BadSection, match="planes"):
        small_image(planes=(b"", b""))
    with pytest.raises(BadMetadata, match="same tasks"):
        small_image(symbols={})
    with pytest.raises(BadMetadata, match="output"):
        small_image(model=replace(model.NANO, final_norm=True, classes=10))


def test_the_container_needs_no_third_party():
    for module in (image, container):
        names = {line.split()[1].split(".")[0] for line in open(module.__file__)
                 if line.startswith(("import ", "from "))}
        assert names <= {"enum", "json", "os", "struct", "typing", "zlib", "dataclasses", "golden"}
